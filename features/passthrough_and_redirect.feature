Feature: Pass-through and redirect
  ssl-passthrough hands connections to the pods unread; ssl-redirect sends clients of
  port 80 to the port that decrypts.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario Outline: The pod itself ends TLS, with its own certificate
    Given the controller runs
    And a Deployment "web" with 1 pod that speaks TLS behind a NodePort Service
    When I apply an Ingress "web" for all hosts to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/port | 443  |
      | <annotation>             | true |
    Then "https://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web" with its own certificate
    And a virtual server of Ingress "web" has basic/protocol "ssl"
    And a virtual server of Ingress "web" has basic/ssl_decrypt false
    And Ingress "web" has the address 10.0.2.223 with port 443 in its status
    When I annotate Ingress "web" with <annotation> "false"
    Then nobody speaks TLS at 10.0.2.223 on port 443
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

    Examples:
      | annotation                            |
      | ingress.kubernetes.io/ssl-passthrough |
      | ingress.kubernetes.io/sslpassthrough  |

  Scenario: Without a port, pass-through listens on 80, and that is told
    Given the controller runs
    And a Deployment "web" with 1 pod that speaks TLS behind a NodePort Service
    When I apply an Ingress "web" for all hosts to Service "web" at 10.0.2.223 with annotations
      | ingress.kubernetes.io/ssl-passthrough | true |
    Then "https://web.example:80/" at 10.0.2.223 is answered by a pod of Deployment "web" with its own certificate
    And Ingress "web" has a warning "PassthroughOnPort80" that names "443"

  Scenario: Pass-through excludes spec.tls and spec.rules
    Given the controller runs
    And a Deployment "web" with 1 pod that speaks TLS behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply an Ingress "rules" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | ingress.kubernetes.io/ssl-passthrough | true |
    Then Ingress "rules" has a warning "PassthroughConflict" that names "spec.rules"
    When I apply a TLS Ingress "tls" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.224 with annotations
      | ingress.kubernetes.io/ssl-passthrough | true |
    Then Ingress "tls" has a warning "PassthroughConflict" that names "spec.tls"
    When I apply an Ingress "again" for all hosts to Service "web" at 10.0.2.225 with annotations
      | ingress.kubernetes.io/ssl-passthrough | true |
      | vtm.pulsesecure.net/re-encrypt        | true |
    Then Ingress "again" has a warning "PassthroughConflict" that names "re-encrypt"
    And nobody listens at 10.0.2.223 on port 80
    And nobody listens at 10.0.2.225 on port 80

  Scenario Outline: Two spellings that differ are refused, naming both
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for all hosts to Service "web" at 10.0.2.223 with annotations
      | <one>   | true  |
      | <other> | false |
    Then Ingress "web" has a warning "ConflictingAnnotations" that names "<one>"
    And Ingress "web" has a warning "ConflictingAnnotations" that names "<other>"
    And nothing of ours is left on the traffic manager

    Examples:
      | one                                   | other                                |
      | ingress.kubernetes.io/ssl-passthrough | ingress.kubernetes.io/sslpassthrough |
      | ingress.kubernetes.io/ssl-redirect    | vtm.pulsesecure.net/ssl-redirect     |

  Scenario Outline: Port 80 redirects to the port that decrypts
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
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/port: "<port>"
          ingress.kubernetes.io/ssl-redirect: "true"
      spec:
        ingressClassName: vtm
        tls: [{secretName: cert, hosts: [web.example]}]
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/a/b?c=d%20e" at 10.0.2.223 is redirected to "<to>/a/b?c=d%20e"
    And "<to>/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete Ingress "web"
    Then nobody listens at 10.0.2.223 on port 80

    Examples:
      | port | to                       |
      | 443  | https://web.example      |
      | 8443 | https://web.example:8443 |

  Scenario: The redirect's other spelling, and the redirect switched off
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/ssl-redirect | true |
    Then "http://web.example/a" at 10.0.2.223 is redirected to "https://web.example/a"
    When steady requests to "https://web.example/" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/ssl-redirect "false"
    Then nobody listens at 10.0.2.223 on port 80
    And no request has failed

  Scenario: Without spec.tls a redirect has no effect, and that is told
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | ingress.kubernetes.io/ssl-redirect | true |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has a warning "AnnotationIgnored" that names "spec.tls"

  Scenario: A redirect needs port 80 for itself
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223 with annotations
      | ingress.kubernetes.io/ssl-redirect | true |
      | vtm.pulsesecure.net/port           | 80   |
    Then Ingress "web" has a warning that names "ssl-redirect"
    And nobody listens at 10.0.2.223 on port 80
