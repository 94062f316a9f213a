Feature: Annotations change how an Ingress is served
  Each does what it says, or its Ingress is refused with the reason.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: A monitor of one's own decides which nodes serve
    Given the controller runs
    And a Deployment "web" with 2 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/monitor: |
            {"properties": {
                "basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 1},
                "http": {"path": "/?status=403", "status_regex": "^403$"}
            }}
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered by 2 different pods
    And a monitor of Ingress "web" has http/path "/?status=403"
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/monitor: |
            {"properties": {
                "basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 1},
                "http": {"path": "/?status=500", "status_regex": "^200$"}
            }}
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered with status 503
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario: A persistence class of one's own
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
    And a persistence class of Ingress "web" has basic/cookie "ChocChip"
    And a pool of Ingress "web" has basic/persistence_class "k8s_default_web_persistence"
    And Ingress "web" has a warning "PodNotIdentified" that names "externalTrafficPolicy"
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario Outline: What a monitor may not be is refused before anything is sent
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
          vtm.pulsesecure.net/monitor: '<monitor>'
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then Ingress "web" has a warning "InvalidAnnotation" that names "<word>"
    And nothing of ours is left on the traffic manager

    Examples:
      | monitor                                             | word     |
      | {"properties": {"basic": {"type": "program"}}}      | program  |
      | {"properties": {"basic": {"delay": 0}}}             | delay    |
      | {"properties": {"basic": {"note": "mine"}}}         | note     |
      | {"properties": {"basic": {"type": "http"}           | JSON     |

  Scenario: Customizations are merged into what was computed
    Given the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/pool-customization: '{"properties": {"basic": {"passive_monitoring": false}}}'
          vtm.pulsesecure.net/virtualserver-customization: '{"properties": {"web_cache": {"enabled": true}, "http": {"add_x_forwarded_for": false}}}'
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/passive_monitoring false
    And a virtual server of Ingress "web" has web_cache/enabled true
    And "http://web.example/" at 10.0.2.223 is answered with a text that lacks "X-Forwarded-For"

  Scenario: Customizations and TrafficScript are ignored and told unless a setting allows them
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
          vtm.pulsesecure.net/pool-customization: '{"properties": {"basic": {"passive_monitoring": false}}}'
          vtm.pulsesecure.net/request-trafficscript: http.addHeader("X-Via", "Pulse vTM");
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered with a text that lacks "X-Via"
    And a pool of Ingress "web" has basic/passive_monitoring true
    And Ingress "web" has a warning that names "vtm_enable_customizations"
    And Ingress "web" has a warning that names "vtm_enable_trafficscript"

  Scenario: TrafficScript of one's own goes before routing
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/request-trafficscript: http.addHeader("X-Via", "Pulse vTM");
          vtm.pulsesecure.net/response-trafficscript: |
            if(http.getResponseCode() == 500) {
               http.redirect("https://my.services/sorry") ;
            }
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
    Then "http://web.example/" at 10.0.2.223 is answered with a text that holds "X-Via"
    And "http://web.example/?status=500" at 10.0.2.223 is redirected to "https://my.services/sorry"
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/?status=500" at 10.0.2.223 is answered with status 500
    And "http://web.example/" at 10.0.2.223 is answered with a text that lacks "X-Via"
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario: TrafficScript on a shared address is refused
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.2.223"
          vtm.pulsesecure.net/request-trafficscript: http.addHeader("X-Via", "Pulse vTM");
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then Ingress "web" has a warning "NotOnSharedAddress" that names "request-trafficscript"
    And nothing of ours is left on the traffic manager

  Scenario: Pools re-encrypt
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
          vtm.pulsesecure.net/re-encrypt: "true"
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then a pool of Ingress "web" has ssl/enable true
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
