Feature: High availability where traffic managers replicate after a second
  What high_availability_late.feature shows with the times of real traffic managers.

  @needs-real-sockets
  Scenario: A writer that is killed right after its writes is not repeated
    Given a cluster with 3 nodes and 2 traffic managers that replicate after 1 seconds
    And the IngressClass "vtm" of this controller
    And the setting resync_period is "5m"
    And each traffic manager has a controller
    And a Deployment "web" with 2 pods behind a NodePort Service
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    And Ingress "late" has the address 10.0.2.224 with port 80 in its status
    And I count the writes from now on
    And the writer is killed
    Then another controller is the writer within the time of the Lease
    And each traffic manager has what Ingress "late" needs
    And 5 seconds go by
    And no write was made
