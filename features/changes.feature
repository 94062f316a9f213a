Feature: What changes in Kubernetes changes on the traffic manager
  One change is one small write; what has not changed is not touched.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service with externalTrafficPolicy Local
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A scaled Deployment changes the pool, by one write for each node that joins
    Given I count the writes from now on
    When I scale Deployment "web" to 3
    Then a pool for Ingress "web" has the nodes of 3 pods
    And "http://web.example/" at 10.0.2.223 is answered by 3 different pods
    And at most 2 writes were made, all of them to pools
    When I scale Deployment "web" to 1
    Then a pool for Ingress "web" has the nodes of 1 pod
    And "http://web.example/" at 10.0.2.223 is answered by 1 different pod

  Scenario: A changed Ingress is changed in place
    When I apply an Ingress "web" for host "new.example" to Service "web" at 10.0.2.223
    Then "http://new.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://web.example/" at 10.0.2.223 is answered with status 404

  Scenario: An Ingress that moves to another address leaves the old one
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.230
    Then "http://web.example/" at 10.0.2.230 is answered by a pod of Deployment "web"
    And nobody listens at 10.0.2.223 on port 80
    And Ingress "web" has the address 10.0.2.230 with port 80 in its status

  Scenario: A deleted Ingress leaves the traffic manager as it was
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager
    And nobody listens at 10.0.2.223 on port 80

  Scenario: A backend that goes away answers 503 and is told, the rest serves
    Given a Deployment "extra" with 1 pod behind a NodePort Service
    And I apply an Ingress "two" for host "two.example" with paths to Services at 10.0.2.224
      | path   | service |
      | /      | web     |
      | /extra | extra   |
    And "http://two.example/extra" at 10.0.2.224 is answered by a pod of Deployment "extra"
    When I delete Service "extra"
    Then "http://two.example/extra" at 10.0.2.224 is answered with status 503
    And "http://two.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And Ingress "two" has a warning "ServiceNotFound" that names "extra"
    And Ingress "two" has the error "vtm.pulsesecure.net/ServiceNotFound" at port 80 in its status
    When a Deployment "extra" with 1 pod behind a NodePort Service
    Then "http://two.example/extra" at 10.0.2.224 is answered by a pod of Deployment "extra"
    And Ingress "two" has no error at port 80 in its status

  Scenario: Requests go on while a Deployment is rolled
    Given steady requests to "http://web.example/" at 10.0.2.223
    When I restart Deployment "web"
    And the rollout of Deployment "web" is done
    And the pods that were replaced have ended
    Then no request has failed

  Scenario: A restart with nothing changed writes nothing
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 10 resyncs go by
    Then no write was made
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: What happened while the controller was away is made good
    Given the controller stops
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.231
    And I delete Ingress "web"
    When the controller runs
    Then "http://late.example/" at 10.0.2.231 is answered by a pod of Deployment "web"
    And nobody listens at 10.0.2.223 on port 80
