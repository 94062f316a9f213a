Feature: Routing
  Hosts and paths choose the backend. On a shared address the oldest Ingress that takes
  a request gets it; within an Ingress the more specific host and path goes first.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "one" with 1 pod behind a NodePort Service
    And a Deployment "two" with 1 pod behind a NodePort Service

  Scenario: A wildcard host stands for one label, and yields to a host that is named
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.5.223"
      spec:
        ingressClassName: vtm
        rules:
        - host: "*.web.example"
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}
        - host: a.web.example
          http: {paths: [{path: /two, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}]}
      """
    Then these are answered at 10.0.5.223
      | url                       | by  |
      | http://b.web.example/two  | one |
      | http://a.web.example/     | one |
      | http://a.web.example/two  | two |
      | http://a.web.example/two/ | two |
      | http://a.web.example/twos | one |
    And "http://web.example/" at 10.0.5.223 is answered with status 404
    And "http://a.b.web.example/" at 10.0.5.223 is answered with status 404

  Scenario: Default backends are tried after all rules, the oldest first
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: a-default
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.5.223"
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: one, port: {number: 80}}}
      """
    And I apply an Ingress "b-host" for host "two.example" to Service "two" at shared address 10.0.5.223
    Then "http://two.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    And "http://any.example/" at 10.0.5.223 is answered by a pod of Deployment "one"

  Scenario: Paths that mean two things are refused
    When I apply an Ingress "web" for host "web.example" to Service "one" at shared address 10.0.5.223
    Then "http://web.example/a/b" at 10.0.5.223 is answered by a pod of Deployment "one"
    And "http://web.example/a%2Fb" at 10.0.5.223 is answered with status 400
    And "http://web.example/a/%2e%2e/b" at 10.0.5.223 is answered with status 400

  Scenario: More than a handful of Ingresses on one address
    When I apply 40 Ingresses "crowd" for hosts "crowd<n>.example" to Service "one" at shared address 10.0.5.223
    Then "http://crowd1.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    And "http://crowd40.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    And "http://crowd41.example/" at 10.0.5.223 is answered with status 404
    And Ingress "crowd40" has the address 10.0.5.223 with port 80 in its status
    When I count the writes from now on
    And I apply an Ingress "one-more" for host "more.example" to Service "two" at shared address 10.0.5.223
    Then "http://more.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    And at most 2 writes were made, none of them to virtual servers
    When I count the writes from now on
    And I apply an Ingress "one-more" for host "other.example" to Service "two" at shared address 10.0.5.223
    Then "http://other.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    And "http://more.example/" at 10.0.5.223 is answered with status 404
    And at most 2 writes were made, none of them to virtual servers
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 10 resyncs go by
    Then no write was made

  Scenario: Coming and going at the edge of a handful writes little
    When I apply 33 Ingresses "crowd" for hosts "crowd<n>.example" to Service "one" at shared address 10.0.5.223
    Then "http://crowd33.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    And Ingress "crowd33" has the address 10.0.5.223 with port 80 in its status
    When I count the writes from now on
    And I delete Ingress "crowd33"
    Then "http://crowd33.example/" at 10.0.5.223 is answered with status 404
    And at most 2 writes were made, none of them to virtual servers
    When the controller stops
    And I count the writes from now on
    And the controller runs
    And the controller is ready
    And 5 resyncs go by
    Then no write was made
    When I apply an Ingress "crowd33" for host "crowd33.example" to Service "two" at shared address 10.0.5.223
    Then "http://crowd33.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    And at most 2 writes were made, none of them to virtual servers

  Scenario: Growing beyond a handful, and back, no request fails
    When I apply an Ingress "web" for host "web.example" to Service "one" at shared address 10.0.5.223
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    And steady requests to "http://web.example/" at 10.0.5.223
    And I apply 40 Ingresses "crowd" for hosts "crowd<n>.example" to Service "two" at shared address 10.0.5.223
    Then "http://crowd40.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    When I delete 40 Ingresses "crowd"
    Then "http://crowd40.example/" at 10.0.5.223 is answered with status 404
    And no request has failed
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager
