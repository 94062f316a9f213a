Feature: An Ingress is served
  What is asked of Kubernetes is what the traffic manager does: nothing else needs
  to be told to it.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: A new Ingress answers on its address
    Given the controller runs
    And a Deployment "web" with 2 pods behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
      spec:
        ingressClassName: vtm
        rules:
        - host: web.example
          http:
            paths:
            - path: /
              pathType: Prefix
              backend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://other.example/" at 10.0.2.223 is answered with status 404
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    And Ingress "web" has an Event "Programmed"

  Scenario: Hosts and paths choose the backend
    Given the controller runs
    And a Deployment "shop" with 1 pod behind a NodePort Service
    And a Deployment "cart" with 1 pod behind a NodePort Service
    And a Deployment "rest" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: shop
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.224"
          vtm.pulsesecure.net/port: "8080"
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: rest, port: {name: http}}}
        rules:
        - host: shop.example
          http:
            paths:
            - path: /
              pathType: Prefix
              backend: {service: {name: shop, port: {name: http}}}
            - path: /cart
              pathType: Prefix
              backend: {service: {name: cart, port: {number: 80}}}
            - path: /exact
              pathType: Exact
              backend: {service: {name: cart, port: {number: 80}}}
        - host: "*.shop.example"
          http:
            paths:
            - path: /
              pathType: Prefix
              backend: {service: {name: cart, port: {number: 80}}}
      """
    Then these are answered at 10.0.2.224
      | url                                   | by   |
      | http://shop.example:8080/             | shop |
      | http://shop.example:8080/carton       | shop |
      | http://shop.example:8080/cart         | cart |
      | http://shop.example:8080/cart/1       | cart |
      | http://shop.example:8080/exact        | cart |
      | http://shop.example:8080/exact/more   | shop |
      | http://a.shop.example:8080/           | cart |
      | http://a.b.shop.example:8080/         | rest |
      | http://elsewhere.example:8080/        | rest |
      | http://SHOP.example:8080/cart         | cart |
      | http://shop.example:8080/x/../cart/2  | cart |
    And Ingress "shop" has the address 10.0.2.224 with port 8080 in its status

  Scenario: Without an address annotation the default Traffic IP Group is used
    Given somebody's Traffic IP Group "edge" with the address 10.0.9.1
    And the setting default_traffic_ip_group is "edge"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a Deployment "api" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" without an address
    And I apply an Ingress "api" for host "api.example" to Service "api" without an address
    Then "http://web.example/" at 10.0.9.1 is answered by a pod of Deployment "web"
    And "http://api.example/" at 10.0.9.1 is answered by a pod of Deployment "api"
    When I delete Ingress "web"
    And I delete Ingress "api"
    Then nothing of ours is left on the traffic manager
    And somebody's Traffic IP Group "edge" is as it was

  Scenario: The class annotation of old serves too
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          kubernetes.io/ingress.class: vtm
          vtm.pulsesecure.net/ip-address: "10.0.2.225"
      spec:
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://anything.example/" at 10.0.2.225 is answered by a pod of Deployment "web"

  Scenario: An Ingress of another class is left alone
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And the IngressClass "nginx" of controller "k8s.io/ingress-nginx"
    When I apply an Ingress "web" of class "nginx" for host "web.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "ours" for host "ours.example" to Service "web" at 10.0.2.226
    Then "http://ours.example/" at 10.0.2.226 is answered by a pod of Deployment "web"
    And nobody listens at 10.0.2.223 on port 80
    And Ingress "web" has no address in its status
    And Ingress "web" has no Event

  Scenario: The longest names that Kubernetes allows, which differ in their last letter alone
    Given the controller runs
    And a Deployment "de-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-p1" with 1 pod behind a NodePort Service with externalTrafficPolicy Local
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-a
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/monitor: '{"properties": {"basic": {"type": "connect"}}}'
      spec:
        ingressClassName: vtm
        rules:
        - host: long223.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: de-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-p1, port: {name: http}}}}]}
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-b
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.224"
          vtm.pulsesecure.net/monitor: '{"properties": {"basic": {"type": "connect"}}}'
      spec:
        ingressClassName: vtm
        rules:
        - host: long224.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: de-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-e-p1, port: {name: http}}}}]}
      """
    Then "http://long223.example/" at 10.0.2.223 is answered with status 200
    And "http://long224.example/" at 10.0.2.224 is answered with status 200
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 5 resyncs go by
    Then no write was made
    When I delete Ingress "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-a"
    Then nobody listens at 10.0.2.223 on port 80
    And "http://long224.example/" at 10.0.2.224 is answered with status 200
    When I delete all Ingresses
    Then nothing of ours is left on the traffic manager
