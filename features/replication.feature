Feature: Members of a cluster learn of changes late
  A traffic manager tells the others what was written to it when nobody has asked it
  anything for a while, and any of them may hold an address. What is told to be live is
  live there.

  @needs-fake-time
  Scenario: An address is in the status when it is served, whichever member holds it
    Given a cluster with 3 nodes and 3 traffic managers that replicate after 5 seconds
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "one" for host "one.example" to Service "web" at 10.0.2.1
    And I apply an Ingress "two" for host "two.example" to Service "web" at 10.0.2.2
    And I apply an Ingress "three" for host "three.example" to Service "web" at 10.0.2.3
    And I apply an Ingress "four" for host "four.example" to Service "web" at 10.0.2.4
    Then Ingress "four" has the address 10.0.2.4 with port 80 in its status
    And "http://four.example/" at 10.0.2.4 is answered at once
    And Ingress "three" has the address 10.0.2.3 with port 80 in its status
    And "http://three.example/" at 10.0.2.3 is answered at once
    And Ingress "two" has the address 10.0.2.2 with port 80 in its status
    And "http://two.example/" at 10.0.2.2 is answered at once
    And Ingress "one" has the address 10.0.2.1 with port 80 in its status
    And "http://one.example/" at 10.0.2.1 is answered at once

  @needs-fake-time
  Scenario: A traffic manager that is down holds back no address
    Given a cluster with 3 nodes and 3 traffic managers that replicate after 5 seconds
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a traffic manager that nothing is written through is down
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.1
    Then Ingress "web" has the address 10.0.2.1 with port 80 in its status, and no 15 seconds went by
    And "http://web.example/" at 10.0.2.1 is answered at once

  @needs-fake-time
  Scenario: On an address that others can't hold a change is live as soon as it is written
    Given a cluster with 3 nodes and 3 traffic managers that replicate after 5 seconds
    And the IngressClass "vtm" of this controller
    And somebody's Traffic IP Group "edge" with the address 10.0.9.1 on the first traffic manager alone
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.9.1
    Then Ingress "web" has the address 10.0.9.1 with port 80 in its status, and no 3 seconds went by
    And "http://web.example/" at 10.0.9.1 is answered at once
