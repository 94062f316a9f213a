Feature: Re-encryption
  With the annotation re-encrypt the traffic manager speaks TLS to the pods.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Requests arrive at the pod over TLS, whether the client used it or not
    Given the controller runs
    And a Deployment "web" with 1 pod that speaks TLS behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply an Ingress "plain" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/re-encrypt | true |
    And I apply a TLS Ingress "tls" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.224 with annotations
      | vtm.pulsesecure.net/re-encrypt | true |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web" over TLS
    And "https://web.example/" at 10.0.2.224 is answered by a pod of Deployment "web" over TLS
    And "https://web.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"
    And a pool of Ingress "tls" has ssl/enable true

  Scenario: On a shared address each Ingress decides for its own pools
    Given the controller runs
    And a Deployment "inner" with 1 pod that speaks TLS behind a NodePort Service
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "inner" for host "inner.example" to Service "inner" at shared address 10.0.5.223 with annotations
      | vtm.pulsesecure.net/re-encrypt | true |
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223
    Then "http://inner.example/" at 10.0.5.223 is answered by a pod of Deployment "inner" over TLS
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario: Switched on and off
    Given the controller runs
    And a Deployment "web" with 1 pod that speaks TLS behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/re-encrypt | false |
    Then "http://web.example/" at 10.0.2.223 is answered with status 400
    When I annotate Ingress "web" with vtm.pulsesecure.net/re-encrypt "true"
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web" over TLS
    When I annotate Ingress "web" with vtm.pulsesecure.net/re-encrypt "false"
    Then "http://web.example/" at 10.0.2.223 is answered with status 400

  Scenario: Anything but true and false is refused
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/re-encrypt | yes |
    Then Ingress "web" has a warning "InvalidAnnotation" that names "re-encrypt"
    And nothing of ours is left on the traffic manager
