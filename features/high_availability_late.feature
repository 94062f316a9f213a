Feature: High availability where traffic managers replicate late
  Traffic managers tell each other of changes only seconds later. A new writer must
  not undo or repeat what the last one wrote, nor lose what a dead traffic manager did
  not tell any more.

  Background:
    Given a cluster with 3 nodes and 2 traffic managers that replicate late
    And the IngressClass "vtm" of this controller
    And the setting resync_period is "5m"
    And each traffic manager has a controller
    And a Deployment "web" with 2 pods behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And each traffic manager has what Ingress "web" needs

  @needs-fake-time
  Scenario: A writer that is killed right after its writes is not repeated
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    And Ingress "late" has the address 10.0.2.224 with port 80 in its status
    And I count the writes from now on
    And the writer is killed
    Then another controller is the writer within the time of the Lease
    And each traffic manager has what Ingress "late" needs
    And 30 seconds go by
    And no write was made

  @needs-fake-time
  Scenario: What a traffic manager did not tell any more before it died is written through another one
    When I apply an Ingress "lost" for host "lost.example" to Service "web" at 10.0.2.224
    And Ingress "lost" has the address 10.0.2.224 with port 80 in its status
    And the writer and its traffic manager are killed
    Then another controller is the writer within the time of the Lease
    When I apply an Ingress "new" for host "new.example" to Service "web" at 10.0.2.225
    Then "http://new.example/" at 10.0.2.225 is answered by a pod of Deployment "web"
    And the controller logs "goes on through another traffic manager" and "until" and "endpoint"
    And "http://lost.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When the traffic manager is started again
    Then each traffic manager has what Ingress "new" needs
    And each traffic manager has what Ingress "lost" needs
    And each write names the controller that made it and its term
