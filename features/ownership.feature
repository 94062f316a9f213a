Feature: What is not ours is not touched

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service

  Scenario: Somebody else's virtual server survives
    Given somebody's virtual server "intranet" on port 8443 of every address
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager
    And somebody's virtual server "intranet" is as it was

  Scenario: An address of somebody's Traffic IP Group is refused, naming it
    Given somebody's Traffic IP Group "edge" with the address 10.0.2.223
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then Ingress "web" has a warning that names "edge"
    And Ingress "web" has no address in its status
    When somebody deletes the Traffic IP Group "edge"
    And the traffic manager is looked at again
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: Two Ingresses claim one dedicated address: the older keeps it
    Given I apply an Ingress "first" for host "first.example" to Service "web" at 10.0.2.223
    And "http://first.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I apply an Ingress "second" for host "second.example" to Service "web" at 10.0.2.223
    Then Ingress "second" has a warning that names "first"
    And "http://second.example/" at 10.0.2.223 is answered with status 404
    When I delete Ingress "first"
    Then "http://second.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
