Feature: TrafficScript of one's own
  request-trafficscript and response-trafficscript run first, before what the
  controller itself put there, if the setting vtm_enable_trafficscript allows them.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

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

  Scenario Outline: Both spellings are taken
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/<request>  | http.addHeader("X-Via", "Pulse vTM");               |
      | vtm.pulsesecure.net/<response> | if(http.getResponseCode() == 500) {http.redirect("https://my.services/sorry");} |
    Then "http://web.example/" at 10.0.2.223 is answered with a text that holds "X-Via"
    And "http://web.example/?status=500" at 10.0.2.223 is redirected to "https://my.services/sorry"

    Examples:
      | request               | response               |
      | request-trafficscript | response-trafficscript |
      | requesttrafficscript  | responsetrafficscript  |

  Scenario: Browsers are told to come by HTTPS alone (HSTS)
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223 with annotations
      | ingress.kubernetes.io/ssl-redirect         | true                                                                                       |
      | vtm.pulsesecure.net/response-trafficscript | http.setResponseHeader("Strict-Transport-Security", "max-age=31536000; includeSubDomains"); |
    Then "https://web.example/" at 10.0.2.223 is answered with the header Strict-Transport-Security "max-age=31536000; includeSubDomains"
    And "http://web.example/x" at 10.0.2.223 is redirected to "https://web.example/x"

  Scenario: A request rule runs before routing, and can change what is routed
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a Deployment "api" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/request-trafficscript: |
            if( http.getPath() == "/old" ) { http.setPath( "/api/new" ); }
      spec:
        ingressClassName: vtm
        rules:
        - host: web.example
          http:
            paths:
            - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
            - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}
      """
    Then "http://web.example/old" at 10.0.2.223 is answered by a pod of Deployment "api"
    And "http://web.example/older" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: TrafficScript is ignored and told unless the setting allows it
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/request-trafficscript  | http.addHeader("X-Via", "Pulse vTM");         |
      | vtm.pulsesecure.net/response-trafficscript | http.redirect("https://my.services/sorry");   |
    Then "http://web.example/" at 10.0.2.223 is answered with a text that lacks "X-Via"
    And Ingress "web" has a warning "AnnotationIgnored" that names "request-trafficscript"
    And Ingress "web" has a warning "AnnotationIgnored" that names "response-trafficscript"
    When the setting vtm_enable_trafficscript is "true"
    Then "http://web.example/" at 10.0.2.223 is redirected to "https://my.services/sorry"

  Scenario: TrafficScript on a shared address is refused, and served on an address of its own
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.2.223 with annotations
      | vtm.pulsesecure.net/request-trafficscript | http.addHeader("X-Via", "Pulse vTM"); |
    Then Ingress "web" has a warning "NotOnSharedAddress" that names "request-trafficscript"
    And nothing of ours is left on the traffic manager
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/request-trafficscript | http.addHeader("X-Via", "Pulse vTM"); |
    Then "http://web.example/" at 10.0.2.223 is answered with a text that holds "X-Via"

  @lenient
  Scenario: A rule that does not compile is told, and the others serve
    Given the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "good" for host "good.example" to Service "web" at 10.0.2.224
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/request-trafficscript | http.addHeader("X-Via" |
    Then Ingress "web" has a warning that names "Line 3"
    And "http://good.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
