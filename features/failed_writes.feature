Feature: Writes that fail
  The traffic manager may refuse any write, or take it without saying so. Nothing that
  serves may notice, and in the end all must be as if nothing had happened.

  @needs-fake-time
  Scenario Outline: Each write of a change fails once, <how>
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the setting vtm_enable_customizations is "true"
    And the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 2 pods behind a NodePort Service with externalTrafficPolicy Local
    And a TLS Secret "cert" for "web.example"
    And a TLS Secret "late" for "late.example"
    And I apply an Ingress "own" for host "own.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "shared" for host "shared.example" to Service "web" at shared address 10.0.5.223
    And I apply a TLS Ingress "tls" for host "web.example" with Secret "cert" to Service "web" at shared address 10.0.5.223
    And "http://own.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://shared.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And "https://web.example/" at 10.0.5.223 is answered with the certificate of Secret "cert"
    And requests around each write to "http://own.example/" at 10.0.2.223
    And requests around each write to "http://shared.example/" at 10.0.5.223
    And requests around each write to "https://web.example/" at 10.0.5.223
    When I apply and delete this, again for each of its writes, which fails <how>
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: x-own
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.224"
          ingress.kubernetes.io/ssl-redirect: "true"
          vtm.pulsesecure.net/monitor: '{"properties": {"basic": {"type": "http"}}}'
          vtm.pulsesecure.net/persistence: '{"properties": {"basic": {"type": "transparent"}}}'
          vtm.pulsesecure.net/virtualserver-customization: '{"properties": {"web_cache": {"enabled": true}}}'
          vtm.pulsesecure.net/request-trafficscript: http.addHeader("X-Via", "Pulse vTM");
      spec:
        ingressClassName: vtm
        tls: [{secretName: late, hosts: [late.example]}]
        rules:
        - host: late.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: x-shared
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.5.223"
      spec:
        ingressClassName: vtm
        tls: [{secretName: late, hosts: [late.example]}]
        rules:
        - host: late.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then no request has failed

    Examples:
      | how                   |
      | before it took effect |
      | after it took effect  |
      | with status 503       |
