Feature: TLS is ended on the traffic manager
  Secrets of type kubernetes.io/tls become server keys; spec.tls says who gets which.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Each host gets the certificate of its Secret, others the first
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "one" for "one.example,*.one.example"
    And a TLS Secret "two" for "two.example"
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
        tls:
        - {secretName: two, hosts: [two.example]}
        - {secretName: one}
        defaultBackend: {service: {name: web, port: {number: 80}}}
        rules:
        - host: one.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
        - host: "*.one.example"
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then "https://one.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "https://one.example/" at 10.0.2.223 is answered with the certificate of Secret "one"
    And "https://a.one.example/" at 10.0.2.223 is answered with the certificate of Secret "one"
    And "https://two.example/" at 10.0.2.223 is answered with the certificate of Secret "two"
    And "https://other.example/" at 10.0.2.223 is answered with the certificate of Secret "two"
    And "https://one.example/" at 10.0.2.223 is answered with a text that holds "https"
    And Ingress "web" has the address 10.0.2.223 with port 443 in its status
    And nobody listens at 10.0.2.223 on port 80
    When I delete Ingress "web"
    And I delete Secret "one"
    And I delete Secret "two"
    Then nothing of ours is left on the traffic manager

  Scenario: A renewed Secret is one write, and no request fails
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    And I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223
    And "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    And Ingress "web" has the address 10.0.2.223 with port 443 in its status
    When steady requests to "https://web.example/" at 10.0.2.223
    And I count the writes from now on
    And I renew TLS Secret "cert" for "web.example"
    Then "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    When 10 resyncs go by
    Then at most 1 write was made, all of them to server keys
    And no request has failed

  Scenario: A restart with TLS writes nothing
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    And I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223
    And "https://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 443 in its status
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 10 resyncs go by
    Then no write was made

  Scenario: An Ingress waits for its Secret
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply a TLS Ingress "web" for host "web.example" with Secret "late" to Service "web" at 10.0.2.223
    Then Ingress "web" has a warning "SecretNotFound" that names "late"
    And the controller logs "ingresscontroller:" and "default/web" and "late"
    And nothing of ours is left on the traffic manager
    When a TLS Secret "late" for "web.example"
    Then "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "late"

  Scenario: What serves goes on with its key when the Secret is deleted, over a restart too
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    And I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223
    And "https://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 443 in its status
    When I delete Secret "cert"
    Then Ingress "web" has a warning "SecretNotFound" that names "cert"
    And "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    When the controller stops
    And the controller runs
    And the controller is ready
    And 10 resyncs go by
    Then "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    When a TLS Secret "cert" for "web.example"
    Then "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    When I delete Ingress "web"
    And I delete Secret "cert"
    Then nothing of ours is left on the traffic manager

  Scenario: Each Secret that the label selector matches becomes a server key
    Given the setting secret_label_selector is "for=vtm"
    And the controller runs
    And a TLS Secret "b" for "b.example" with label "for=vtm"
    And a TLS Secret "c" for "c.example" with label "for=others"
    And a TLS Secret "a" for "a.example" with label "for=vtm"
    Then the traffic manager has the server keys "k8s_default_a_key, k8s_default_b_key"
    When I delete Secret "a"
    Then the traffic manager has the server key "k8s_default_b_key"

  Scenario: A certificate that no client of a shared address gets is told
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.2.223"
      spec:
        ingressClassName: vtm
        tls: [{secretName: cert}]
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then Ingress "web" has a warning "CertificateNotShown" that names "Secret default/cert"

  Scenario: A certificate for other hosts is shown as asked, and told
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "other.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223
    Then "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    And Ingress "web" has a warning "CertificateForOtherHosts" that names "web.example"

  Scenario: A Secret that can't be used is refused, what serves goes on, and both heal
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "*.example"
    And I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223
    And "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    When steady requests to "https://web.example/" at 10.0.2.223
    And somebody writes rubbish into Secret "cert"
    Then Ingress "web" has a warning "InvalidSecret" that names "goes on with what it has"
    When I apply a TLS Ingress "late" for host "late.example" with Secret "cert" to Service "web" at 10.0.2.224
    Then Ingress "late" has a warning "InvalidSecret" that names "Secret default/cert can't be used"
    When I renew TLS Secret "cert" for "*.example"
    Then "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    And "https://late.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"
    And no request has failed
