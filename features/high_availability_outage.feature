Feature: An outage of Kubernetes' API server
  While Kubernetes can't be reached nobody writes, and everything serves.

  @needs-fake-time
  Scenario: The API server is away for an hour
    Given a cluster with 1 nodes and 2 traffic managers
    And the IngressClass "vtm" of this controller
    And each traffic manager has a controller
    And a Deployment "web" with 2 pods behind a NodePort Service
    And I apply an Ingress "one" for host "one.example" to Service "web" at 10.0.2.221
    And "http://one.example/" at 10.0.2.221 is answered by a pod of Deployment "web"
    And requests all the time to "http://one.example/" at 10.0.2.221
    When I count the writes from now on
    And Kubernetes' API server goes away
    And 60 minutes go by for all
    Then no write was made
    When Kubernetes' API server is back
    And a controller is the writer
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed

  Scenario Outline: The API server misbehaves towards the controllers: <fault>
    Given a cluster with 1 nodes and 2 traffic managers
    And the IngressClass "vtm" of this controller
    And each traffic manager has a controller
    And a Deployment "web" with 2 pods behind a NodePort Service
    And I apply an Ingress "one" for host "one.example" to Service "web" at 10.0.2.221
    And "http://one.example/" at 10.0.2.221 is answered by a pod of Deployment "web"
    And requests all the time to "http://one.example/" at 10.0.2.221
    When Kubernetes' API server misbehaves by "<fault>"
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When Kubernetes' API server is well again
    Then Ingress "late" has the address 10.0.2.224 with port 80 in its status
    And no request has failed

    Examples:
      | fault                                      |
      | status 500 user=vtm-ingress chance=0.3     |
      | drop after user=vtm-ingress chance=0.3     |
      | delay 300ms user=vtm-ingress               |
