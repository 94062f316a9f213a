Feature: Certificates come through failures
  Whatever fails while a certificate is issued is told, leaves nothing behind, and heals
  by itself.

  Background:
    Given a cluster with 3 nodes, a traffic manager and a certificate authority
    And the IngressClass "vtm" of this controller
    And a Deployment "web" with 1 pod behind a NodePort Service

  Scenario Outline: The controller that writes is killed while a new certificate is issued, before it <moment>
    Given 3 controllers run
    And the controller that writes is killed before it <moment>
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then it has been killed
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And the certificate of "https://web.example/" at 10.0.2.223 is that of Secret "issued", and the only one for it
    And no challenge is left on the traffic manager

    Examples:
      | moment                                       |
      | tells the certificate authority to look      |
      | asks for the certificate                     |
      | stores the certificate                       |
      | sends the certificate to the traffic manager |

  Scenario Outline: The controller that writes is killed while a certificate is replaced, before it <moment>
    Given 3 controllers run
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    When steady requests to "https://web.example/" at 10.0.2.223 by clients that verify the certificate
    And the controller that writes is killed before it <moment>
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
    Then it has been killed
    And "https://more.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And the certificate of "https://more.example/" at 10.0.2.223 is that of Secret "issued", and the only one for it
    And no challenge is left on the traffic manager
    And each of these clients saw 2 certificates, the last of them that of Secret "issued"
    And no request has failed

    Examples:
      | moment                                       |
      | tells the certificate authority to look      |
      | asks for the certificate                     |
      | stores the certificate                       |
      | sends the certificate to the traffic manager |

  Scenario: The Ingress is deleted while its certificate is ordered
    Given the controller runs
    And the traffic manager takes 2 seconds for a rule
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "CertificatePending" that names "issued"
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager
    And there is no Secret "issued" in Namespace "default"

  Scenario: The Secret is deleted by hand, and a new certificate takes its place
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When steady requests to "https://web.example/" at 10.0.2.223 by clients that verify the certificate
    And I delete Secret "issued"
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And each of these clients saw 2 certificates, the last of them that of Secret "issued"
    And the certificate of "https://web.example/" at 10.0.2.223 is that of Secret "issued", and the only one for it
    And no request has failed

  Scenario: Somebody writes rubbish into the Secret, and a new certificate takes its place
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When steady requests to "https://web.example/" at 10.0.2.223 by clients that verify the certificate
    And somebody writes rubbish into Secret "issued"
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And each of these clients saw 2 certificates, the last of them that of Secret "issued"
    And the certificate of "https://web.example/" at 10.0.2.223 is that of Secret "issued", and the only one for it
    And no request has failed

  Scenario: The traffic manager refuses the server key
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When steady requests to "https://web.example/" at 10.0.2.223 by clients that verify the certificate
    And the traffic manager refuses server keys
    And I delete Secret "issued"
    Then Ingress "web" has a warning that names "ssl/server_keys"
    And "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    When the traffic manager takes server keys
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And each of these clients saw 2 certificates, the last of them that of Secret "issued"
    And no request has failed

  Scenario: Somebody writes rubbish into the Secret with the account's key
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    When the controller stops
    And somebody writes rubbish into Secret "vtm-ingress-k8s-acme"
    And the controller runs
    And I delete Secret "issued"
    Then Ingress "web" has a warning "CertificateFailed" that names "restore it, or delete the Secret to begin with a new account"
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority

  @needs-fake-time
  Scenario Outline: The certificate authority can't be used: <fault>
    Given the controller runs
    And the certificate authority <fault>
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "CertificateFailed" that names "can't be used"
    When the certificate authority is well
    And 10 minutes go by
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority

    Examples:
      | fault                |
      | is down              |
      | answers with garbage |

  Scenario Outline: A host that no certificate authority takes: <why>
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
        - {secretName: issued, hosts: ["<host>"]}
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then Ingress "web" has a warning "InvalidTLS" that names "<words>"
    And nothing of ours is left on the traffic manager

    Examples:
      | why                        | host          | words                                      |
      | no dot                     | localhost     | it has no dot                              |
      | an IP address              | 192.0.2.7     | it is an IP address                        |
      | no international name      | xn--0.example | stands for no international name           |
      | a part of 64 characters    | aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example | longer than 63 characters |

  Scenario: More hosts than a certificate can have
    Given the controller runs
    When I apply a TLS Ingress "web" for 101 hosts "h*.web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "InvalidTLS" that names "it has 101 hosts, and a certificate is issued for at most 100"

  Scenario: Two Ingresses together want more hosts in one Secret than a certificate can have
    Given the controller runs
    When I apply a TLS Ingress "web" for 60 hosts "h*.web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://h60.web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I apply a TLS Ingress "shop" for 60 hosts "h*.shop.example" with Secret "issued" to Service "web" at 10.0.2.224
    And I annotate Ingress "shop" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "shop" has a warning "CertificateFailed" that names "for 120 hosts, and a certificate is issued for at most 100"
    And "https://h60.web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority

  Scenario: An international name, as DNS has it
    Given the controller runs
    When I apply a TLS Ingress "web" for host "xn--bcher-kva.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://xn--bcher-kva.example/" at 10.0.2.223 is answered with a certificate of the certificate authority

  @needs-real-sockets
  Scenario: The controller's clock is wrong, and when it is right again nothing waits for the time that it was
    Given DNS does not point "web.example" at the traffic manager
    And the controller's clock is 30 days ahead
    And the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then Ingress "web" has a warning "CertificateFailed" that names "before the certificate authority's: set it right"
    When the controller stops
    And the controller's clock is right again
    And DNS points "web.example" at the traffic manager
    And the controller runs
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority

  Scenario: Rubbish for certificates of the certificate authority is told, and what runs goes on
    Given the controller runs
    And the controller is ready
    When the setting acme_ca_file is "rubbish.pem"
    Then the controller logs "acme_ca_file" and "rubbish.pem holds no PEM certificate" and "what runs goes on"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
