Feature: Certificates are issued and renewed by themselves
  An Ingress with use-lets-encrypt needs no Secret: the controller gets one from a
  certificate authority, which asks the traffic manager on port 80.

  Background:
    Given a cluster with 3 nodes, a traffic manager and a certificate authority
    And the IngressClass "vtm" of this controller
    And a Deployment "web" with 1 pod behind a NodePort Service

  Scenario: A certificate is issued, on an address of its own
    Given the controller runs
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/use-lets-encrypt: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: issued, hosts: [web.example, www.web.example]}
        - {secretName: more, hosts: [more.example]}
        rules:
        - host: web.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
        - host: www.web.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
        - host: more.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And "https://www.web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And "https://more.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And "https://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://web.example/" at 10.0.2.223 is answered with status 404
    And no challenge is left on the traffic manager
    When I delete Ingress "web"
    And I delete Secret "issued"
    And I delete Secret "more"
    Then nothing of ours is left on the traffic manager

  Scenario: A certificate is issued on a shared address, and undisturbed is who else is there
    Given the controller runs
    And a TLS Secret "cert" for "other.example"
    And I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: other
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.2.224"
          ingress.kubernetes.io/ssl-redirect: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: cert, hosts: [other.example]}
        rules:
        - host: other.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: plain
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.2.224"
          vtm.pulsesecure.net/port: "8080"
      spec:
        ingressClassName: vtm
        rules:
        - host: plain.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    And "https://other.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"
    And "http://other.example/x" at 10.0.2.224 is redirected to "https://other.example/x"
    And "http://plain.example:8080/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When steady requests to "https://other.example/" at 10.0.2.224
    And steady requests to "http://plain.example:8080/" at 10.0.2.224
    And steady requests to "http://other.example/" at 10.0.2.224 that are redirected
    And I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.2.224"
          vtm.pulsesecure.net/use-lets-encrypt: "true"
          ingress.kubernetes.io/ssl-redirect: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: issued, hosts: [web.example]}
        rules:
        - host: web.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then "https://web.example/" at 10.0.2.224 is answered with a certificate of the certificate authority
    And "https://other.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"
    And "http://web.example/x" at 10.0.2.224 is redirected to "https://web.example/x"
    And "http://other.example/x" at 10.0.2.224 is redirected to "https://other.example/x"
    And no challenge is left on the traffic manager
    And no request has failed

  Scenario: The annotation's other spelling
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/use-letsencrypt | true |
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority

  Scenario: A Secret of somebody else is never overwritten
    Given the controller runs
    And a TLS Secret "mine" for "else.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "mine" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "CertificateFailed" that names "was not made by this controller"
    And "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "mine"

  Scenario: An Ingress that asks for a wildcard is told that it can't have it
    Given the controller runs
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/use-lets-encrypt: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: issued, hosts: ["*.web.example"]}
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then Ingress "web" has a warning "InvalidTLS" that names "a wildcard needs another way to prove who owns it"
    And nothing of ours is left on the traffic manager

  @needs-real-sockets
  Scenario Outline: A wildcard is proved by a record in DNS, which <provider> makes
    Given wildcard hosts are proved by <provider>
    And the controller runs
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/use-lets-encrypt: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: issued, hosts: ["*.web.example", web.example]}
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "https://any.web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And no record is left in DNS for "web.example"
    And no challenge is left on the traffic manager

    Examples:
      | provider |
      | rfc2136  |
      | httpreq  |
      | exec     |

  Scenario: Port 80 of the address is the certificate authority's
    Given the controller runs
    And I apply an Ingress "plain" for host "plain.example" to Service "web" at shared address 10.0.2.224
    And "http://plain.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at shared address 10.0.2.224
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "PortConflict" that names "where the certificate authority asks, is served by Ingress default/plain"
    And "http://plain.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When I delete Ingress "plain"
    Then "https://web.example/" at 10.0.2.224 is answered with a certificate of the certificate authority

  Scenario: Port 80 of an address that certificates are issued on is nobody else's
    Given the controller runs
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at shared address 10.0.2.224
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://web.example/" at 10.0.2.224 is answered with a certificate of the certificate authority
    When I apply an Ingress "young" for host "young.example" to Service "web" at shared address 10.0.2.224
    Then Ingress "young" has a warning "PortConflict" that names "answers the certificate authority for Ingress default/web"
    And "http://young.example/" at 10.0.2.224 is answered with status 404
    When I delete Ingress "web"
    Then "http://young.example/" at 10.0.2.224 is answered by a pod of Deployment "web"

  Scenario: Two namespaces name one host, and the younger gets no certificate for it
    Given the controller runs
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at shared address 10.0.2.224
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://web.example/" at 10.0.2.224 is answered with a certificate of the certificate authority
    When I apply
      """
      apiVersion: v1
      kind: Namespace
      metadata: {name: shop}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: web, namespace: shop}
      spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        namespace: shop
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.2.224"
          vtm.pulsesecure.net/use-lets-encrypt: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: stolen, hosts: [web.example]}
        rules:
        - host: web.example
          http: {paths: [{path: /shop, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then Ingress "web" of Namespace "shop" has a warning that names "no certificate is issued for this namespace, since Ingress default/web"
    And there is no Secret "stolen" in Namespace "shop"
    And "https://web.example/" at 10.0.2.224 is answered by a pod of Deployment "web"

  Scenario: An Ingress that comes back has its certificate again
    Given the controller runs
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When I delete Ingress "web"
    And nobody listens at 10.0.2.223 on port 443
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    And the certificate of "https://web.example/" at 10.0.2.223 is that of Secret "issued", and the only one for it

  Scenario: A host more, and the certificate is for it too; a host less, and the others go on
    Given the controller runs
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    When steady requests to "https://web.example/" at 10.0.2.223
    And I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/use-lets-encrypt: "true"
      spec:
        ingressClassName: vtm
        tls:
        - {secretName: issued, hosts: [web.example, more.example]}
        rules:
        - host: web.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
        - host: more.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then "https://more.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    Then "https://more.example/" at 10.0.2.223 is answered with status 404
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And no challenge is left on the traffic manager
    And no request has failed

  @needs-fake-time
  Scenario: A host that has been gone for ten minutes is in the next certificate no more
    Given the controller runs
    And I apply a TLS Ingress "web" for 2 hosts "h*.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://h2.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://h1.example/" at 10.0.2.223
    When I apply a TLS Ingress "web" for host "h1.example" with Secret "issued" to Service "web" at 10.0.2.223
    And 9 minutes go by
    Then "https://h1.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    When 2 minutes go by
    Then "https://h1.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And the certificate of "https://h1.example/" at 10.0.2.223 is not for "h2.example"
    And 2 certificates were issued

  @needs-fake-time
  Scenario Outline: The certificate authority refuses for a while, and it is told and tried again: <problem>
    Given the controller runs
    And the certificate authority refuses new orders 2 times with <problem>
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "CertificateFailed" that names "<problem>"
    When 7 minutes go by
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And 1 certificate was issued

    Examples:
      | problem        |
      | rateLimited    |
      | serverInternal |

  @needs-fake-time
  Scenario: DNS does not point here yet, and the certificate comes when it does
    Given the controller runs
    And DNS does not point "web.example" at the traffic manager
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "CertificateFailed" that names "host web.example could not be verified"
    And no challenge is left on the traffic manager
    When DNS points "web.example" at the traffic manager
    And 30 minutes go by
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And no challenge is left on the traffic manager

  @needs-fake-time
  Scenario: A restart of the controller orders nothing
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    When the controller stops
    And the controller runs
    And 10 minutes go by
    Then 1 certificate was issued
