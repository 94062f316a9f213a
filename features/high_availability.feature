Feature: High availability
  Each traffic manager has a controller. One of them writes, the others wait, and
  whatever becomes of them, what is served goes on being served.

  Background:
    Given a cluster with 3 nodes and 3 traffic managers
    And the IngressClass "vtm" of this controller
    And each traffic manager has a controller
    And a Deployment "web" with 2 pods behind a NodePort Service
    And I apply an Ingress "one" for host "one.example" to Service "web" at 10.0.2.221
    And I apply an Ingress "two" for host "two.example" to Service "web" at 10.0.2.222
    And I apply an Ingress "three" for host "three.example" to Service "web" at 10.0.2.223
    And "http://one.example/" at 10.0.2.221 is answered by a pod of Deployment "web"
    And "http://two.example/" at 10.0.2.222 is answered by a pod of Deployment "web"
    And "http://three.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And requests all the time to "http://one.example/" at 10.0.2.221
    And requests all the time to "http://two.example/" at 10.0.2.222
    And requests all the time to "http://three.example/" at 10.0.2.223

  Scenario: The writer's process is killed
    When I count the writes from now on
    And the writer is killed
    Then another controller is the writer within the time of the Lease
    And 2 seconds go by
    And no write was made
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed
    And each write names the controller that made it and its term

  Scenario: The writer is stopped
    When I count the writes from now on
    And the writer is stopped
    Then another controller is the writer within 1 second
    And 2 seconds go by
    And no write was made
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed

  Scenario: The writer's traffic manager is killed
    When the writer's traffic manager is killed
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And another controller is the writer
    And only requests to addresses of that traffic manager have failed, within 6 seconds
    When the traffic manager is started again
    Then each traffic manager has what Ingress "late" needs
    And each write names the controller that made it and its term

  Scenario: The writer and its traffic manager are killed
    When the writer and its traffic manager are killed
    Then another controller is the writer within the time of the Lease
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And only requests to addresses of that traffic manager have failed, within 6 seconds

  Scenario: The writer is cut off from Kubernetes
    When the writer is cut off from Kubernetes
    Then another controller is the writer within the time of the Lease
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When it is no longer cut off
    And 5 seconds go by
    Then the writer is still the same
    And no request has failed
    And each write names the controller that made it and its term

  Scenario: The writer is cut off from the traffic managers
    When the writer is cut off from the traffic managers
    Then another controller is the writer
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When it is no longer cut off
    And 5 seconds go by
    Then the writer is still the same
    And no request has failed
    And each write names the controller that made it and its term

  Scenario: The writer is cut off from everything
    When the writer is cut off from everything
    Then another controller is the writer within the time of the Lease
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When it is no longer cut off
    And 5 seconds go by
    Then the writer is still the same
    And no request has failed
    And each write names the controller that made it and its term

  @needs-real-sockets
  Scenario: The API server is away for longer than a Lease lasts
    When I count the writes from now on
    And Kubernetes' API server goes away
    And 8 seconds go by
    Then no write was made
    When Kubernetes' API server is back
    And a controller is the writer
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed

  Scenario: All controllers restart at once
    When I count the writes from now on
    And all controllers are killed and started again
    Then another controller is the writer within the time of the Lease
    And 2 seconds go by
    And no write was made
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed

  Scenario: A rolling upgrade
    When I count the writes from now on
    And the controllers are stopped and started again one after the other
    Then no write was made
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And no request has failed
    And each write names the controller that made it and its term

  Scenario: The cluster of traffic managers is split in two
    When the cluster of traffic managers is split in two
    And 8 seconds go by
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    And "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And the traffic managers find each other again
    Then each traffic manager has what Ingress "late" needs
    And the writer is still the same
    And no request has failed

  Scenario: A traffic manager that is down keeps its place in our Traffic IP Groups
    Given a Traffic IP Group of Ingress "one" has basic/machines ["vtm-1","vtm-2","vtm-3"]
    When a traffic manager that nothing is written through is down
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then "http://late.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When I apply an Ingress "late" for host "later.example" to Service "web" at 10.0.2.224
    Then "http://later.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When 3 resyncs go by
    Then a Traffic IP Group of Ingress "one" has basic/machines ["vtm-1","vtm-2","vtm-3"]
    And a Traffic IP Group of Ingress "late" has basic/machines ["vtm-1","vtm-2","vtm-3"]
    And "http://one.example/" at 10.0.2.221 is answered by a pod of Deployment "web"
    And "http://two.example/" at 10.0.2.222 is answered by a pod of Deployment "web"
    And "http://three.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And only requests to addresses of that traffic manager have failed, within 6 seconds
    When I count the writes from now on
    And the traffic manager is started again
    Then each traffic manager has what Ingress "late" needs
    When 3 resyncs go by
    Then no write was made
    And "http://later.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
