Feature: Session persistence
  The annotation persistence keeps the requests of a session on one pod.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Clients stay with the pod that set the cookie of the application
    Given the controller runs
    And a Deployment "web" with 3 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by 3 different pods
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/persistence | {"properties": {"basic": {"type": "cookie", "cookie": "ChocChip"}}} |
    Then "http://web.example/?header=Set-Cookie:ChocChip=<client>" at 10.0.2.223 is answered to each client that keeps its cookies by one pod
    And a persistence class of Ingress "web" has basic/cookie "ChocChip"
    And a pool of Ingress "web" has basic/persistence_class "k8s_default_web_persistence"
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then Ingress "web" has no persistence class on the traffic manager
    And "http://web.example/" at 10.0.2.223 is answered by 3 different pods

  Scenario: Clients stay with their pod by a cookie of the traffic manager
    Given the controller runs
    And a Deployment "web" with 3 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223 with annotations
      | vtm.pulsesecure.net/persistence | {"properties": {"basic": {"type": "transparent"}}} |
    Then "http://web.example/" at 10.0.5.223 is answered to each client that keeps its cookies by one pod
    When I scale Deployment "web" to 2
    Then a pool for Ingress "web" has the nodes of 2 pods
    And "http://web.example/" at 10.0.5.223 is answered to each client that keeps its cookies by one pod
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario: Two pods of a backend on one node are told
    Given the controller runs
    And a Deployment "web" with 4 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/persistence | {"properties": {"basic": {"type": "ip"}}} |
    Then Ingress "web" has a warning "PodNotIdentified" that names "podAntiAffinity"
    When I scale Deployment "web" to 3
    Then "http://web.example/" at 10.0.2.223 is answered by 1 different pod

  Scenario: A Service that hides its pods is told
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/persistence: |
            {"properties": {
                "basic": {
                    "type":"cookie",
                    "cookie":"ChocChip"
                }
            }}
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has a warning "PodNotIdentified" that names "externalTrafficPolicy"

  Scenario Outline: What could not work is refused
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/persistence | <persistence> |
    Then Ingress "web" has a warning "InvalidAnnotation" that names "<word>"
    And nothing of ours is left on the traffic manager

    Examples:
      | persistence                                                | word         |
      | {"properties": {"basic": {"type": "cookie"}}}              | basic/cookie |
      | {"properties": {"basic": {"failure_mode": "url"}}}         | basic/url    |
      | {"properties": {"basic": {"type": "biscuit"}}}             | basic/type   |
      | {"properties": {"basic": {"tpye": "ip"}}}                  | tpye         |
      | ["cookie"]                                                 | JSON         |
