Feature: A cluster of both IP families
  Nodes and pods have an IPv4 and an IPv6 address each, and Services one, the other, or
  both.

  Background:
    Given a dual-stack cluster with 2 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs

  Scenario: Nodes are reached by addresses of a family that the Service has
    Given a Deployment "six" with 1 pod behind a NodePort Service with ipFamilies IPv6
    And a Deployment "four" with 1 pod behind a NodePort Service with ipFamilies IPv4
    And a Deployment "both" with 1 pod behind a NodePort Service with ipFamilies IPv6,IPv4
    When I apply an Ingress "six" for host "six.example" to Service "six" at 10.0.5.223
    And I apply an Ingress "four" for host "four.example" to Service "four" at 2001:db8::1
    And I apply an Ingress "both" for host "both.example" to Service "both" at 10.0.6.223
    Then a pool for Ingress "six" has the IPv6 addresses of 2 nodes with the node port of Service "six"
    And a pool for Ingress "four" has the IPv4 addresses of 2 nodes with the node port of Service "four"
    And a pool for Ingress "both" has the IPv4 addresses of 2 nodes with the node port of Service "both"
    And "http://six.example/" at 10.0.5.223 is answered by a pod of Deployment "six"
    And "http://four.example/" at 2001:db8::1 is answered by a pod of Deployment "four"
    And "http://both.example/" at 10.0.6.223 is answered by a pod of Deployment "both"
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 5 resyncs go by
    Then no write was made

  Scenario: A Service gets a second family, and gives it up
    Given a Deployment "web" with 1 pod behind a NodePort Service with ipFamilies IPv6
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.5.223
    And a pool for Ingress "web" has the IPv6 addresses of 2 nodes with the node port of Service "web"
    When I set the ipFamilyPolicy of Service "web" to PreferDualStack
    Then a pool for Ingress "web" has the IPv4 addresses of 2 nodes with the node port of Service "web"
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I set the ipFamilyPolicy of Service "web" to SingleStack
    Then a pool for Ingress "web" has the IPv6 addresses of 2 nodes with the node port of Service "web"
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario Outline: An address of the cluster's own is refused, of either family
    Given a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at <address>
    Then Ingress "web" has a warning "InvalidAddress" that names "<whose>"
    And nothing of ours is left on the traffic manager

    Examples:
      | address         | whose                          |
      | 10.96.0.7       | Services' range 10.96.0.0/16   |
      | fd00:96::7      | Services' range fd00:96::/112  |
      | 10.244.1.9      | Pods' range 10.244.1.0/24      |
      | fd00:244:0:1::9 | Pods' range fd00:244:0:1::/120 |
      | fd00:2::1       | node-1                         |
