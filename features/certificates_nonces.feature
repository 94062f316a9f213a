Feature: Certificates are issued whatever the certificate authority thinks of nonces
  A certificate authority may call any nonce a bad one, and wants another request then.

  @needs-real-sockets
  Scenario: Every third nonce is refused
    Given a cluster with 3 nodes, a traffic manager and a certificate authority that refuses 33 of a hundred good nonces
    And the IngressClass "vtm" of this controller
    And a Deployment "web" with 1 pod behind a NodePort Service
    And the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And no challenge is left on the traffic manager
