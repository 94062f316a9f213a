Feature: A cluster of IPv6
  Nodes, pods and Services have IPv6 addresses; clients come by either family.

  Background:
    Given a cluster of IPv6 with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs

  Scenario: Nodes are reached by their IPv6 addresses, from addresses of both families
    Given a Deployment "local" with 2 pods behind a NodePort Service with externalTrafficPolicy Local
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a Deployment "tls" with 1 pod that speaks TLS behind a NodePort Service
    When I apply an Ingress "local" for host "local.example" to Service "local" at 2001:db8::1
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223
    And I apply an Ingress "tls" for host "tls.example" to Service "tls" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/re-encrypt | true                                                                             |
      | vtm.pulsesecure.net/monitor    | {"properties": {"basic": {"type": "http", "use_ssl": true}, "http": {"path": "/ready"}}} |
    Then "http://local.example/" at 2001:db8::1 is answered by 2 different pods
    And a pool for Ingress "local" has the nodes of 2 pods
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And a pool for Ingress "web" has 3 nodes
    And "http://tls.example/" at 10.0.2.223 is answered by a pod of Deployment "tls" over TLS
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 5 resyncs go by
    Then no write was made
    When I exclude the node of Deployment "web" from external load balancers
    Then a pool for Ingress "web" has 2 nodes
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario Outline: An address of the cluster's own is refused
    Given a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at <address>
    Then Ingress "web" has a warning "InvalidAddress" that names "<whose>"
    And nothing of ours is left on the traffic manager

    Examples:
      | address         | whose                          |
      | fd00:96::7      | Services' range fd00:96::/112  |
      | fd00:244:0:1::9 | Pods' range fd00:244:0:1::/120 |
      | fd00:2::1       | node-1                         |
