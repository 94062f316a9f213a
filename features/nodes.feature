Feature: Nodes come and go
  Pools hold nodes; Kubernetes says which. Requests don't notice.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool for Ingress "web" has 3 nodes
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status

  Scenario: A cordoned node goes on passing requests
    When I count the writes from now on
    And steady requests to "http://web.example/" at 10.0.2.223
    And I cordon the node of Deployment "web"
    And 10 resyncs go by
    Then no write was made
    And no request has failed

  Scenario: A node that is excluded from load balancers leaves the pools, by one write
    When I count the writes from now on
    And steady requests to "http://web.example/" at 10.0.2.223
    And I exclude the node of Deployment "web" from external load balancers
    Then a pool for Ingress "web" has 2 nodes
    And at most 1 writes were made, all of them to pools
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And no request has failed

  @needs-fake-time
  Scenario: While no node is ready, as Kubernetes sees it, pools keep them all
    When Kubernetes' API server misbehaves by "status 503 method=PUT path=leases/node-*"
    Then Ingress "web" has a warning "NodesNotReady" that names "no node is ready"
    And a pool for Ingress "web" has 3 nodes
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    When Kubernetes' API server is well again
    And 30 resyncs go by
    Then a pool for Ingress "web" has 3 nodes
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  @needs-fake-time
  Scenario: A node that Kubernetes misses goes on serving the only pod of a Service
    When the node of Deployment "web" can't reach Kubernetes
    Then Ingress "web" has a warning "NodesNotReady" that names "they stay in the pool"
    And a pool for Ingress "web" has 3 nodes
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When the node of Deployment "web" reaches Kubernetes
    And 30 resyncs go by
    Then a pool for Ingress "web" has 3 nodes
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A node that is deleted leaves the pools, and its pods run elsewhere
    When I delete the node of Deployment "web"
    Then a pool for Ingress "web" has 2 nodes
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A Service that had no pod for a moment is served again soon after
    When I scale Deployment "web" to 0
    Then "http://web.example/" at 10.0.2.223 is answered with status 503
    And "http://web.example/" at 10.0.2.223 is answered with status 503
    And "http://web.example/" at 10.0.2.223 is answered with status 503
    And "http://web.example/" at 10.0.2.223 is answered with status 503
    When I scale Deployment "web" to 1
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A pod that moves takes its pool along where nodes stand for pods
    Given a Deployment "local" with 1 pod behind a NodePort Service with externalTrafficPolicy Local
    And I apply an Ingress "local" for host "local.example" to Service "local" at 10.0.2.224
    And "http://local.example/" at 10.0.2.224 is answered by a pod of Deployment "local"
    When I cordon the node of Deployment "local"
    And steady requests to "http://local.example/" at 10.0.2.224
    And I restart Deployment "local"
    And the rollout of Deployment "local" is done
    And the pods that were replaced have ended
    Then a pool for Ingress "local" has 1 node
    And no request has failed

  Scenario: Nodes are reached by the type of address that a setting names
    When the controller stops
    And the setting node_address_type is "ExternalIP"
    And the controller runs
    Then Ingress "web" has a warning "NoNodes" that names "node_address_type"
    When the setting node_address_type is "InternalIP"
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool for Ingress "web" has 3 nodes
