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
    And 60 minutes go by
    Then no write was made
    When Kubernetes' API server is back
    And a controller is the writer
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed
