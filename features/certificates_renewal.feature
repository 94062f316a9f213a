Feature: Certificates are renewed in time
  Eight days before its end, at two thirds of a life of less than 24 days, or when the
  certificate authority says so, a certificate is replaced by a new one. What serves goes
  on meanwhile, and whatever fails.

  Background:
    Given a cluster with 3 nodes, a traffic manager and a certificate authority
    And the IngressClass "vtm" of this controller
    And a Deployment "web" with 1 pod behind a NodePort Service

  Scenario: Clients that verify see the old certificate, then the new one, which one controller of three ordered once
    Given the setting acme_profile is "minute"
    And 3 controllers run
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    When steady requests to "https://web.example/" at 10.0.2.223 by clients that verify the certificate
    And 25 seconds go by
    Then each of these clients saw 2 certificates, the last of them that of Secret "issued"
    And no request has failed
    And 2 certificates were issued, all of them by one controller
    And no challenge is left on the traffic manager

  @needs-fake-time
  Scenario: A certificate is renewed when the certificate authority wants it
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When the certificate authority wants the noted certificate renewed in 10 days
    And 9 days go by
    Then "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    When 3 days go by
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And 2 certificates were issued

  @needs-fake-time
  Scenario: The certificate authority does not find what a new certificate replaces, and issues it nevertheless
    Given the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When the certificate authority wants the noted certificate renewed in 10 days
    And the certificate authority refuses new orders 1 times with serverInternal
    And 12 days go by
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And the controller has not logged "could not be issued"

  @needs-fake-time
  Scenario: In ninety days a certificate is renewed once, eight days before its end
    Given the certificate authority says nothing of renewals
    And the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When 81 days go by
    Then "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    And 1 certificate was issued
    When 1 day goes by
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And 2 certificates were issued
    And no challenge is left on the traffic manager
    When 8 days go by
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And 2 certificates were issued

  @needs-fake-time
  Scenario: The certificate authority is down for a week when the certificate is due
    Given the certificate authority says nothing of renewals
    And the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When 81 days go by
    And the certificate authority is down
    And 7 days go by
    Then Ingress "web" has a warning "CertificateFailed" that names "the next attempt is at"
    And "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    When the certificate authority is well
    And 1 day goes by
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And 2 certificates were issued
    And no challenge is left on the traffic manager

  @needs-fake-time
  Scenario Outline: A renewal fails for a while, and what serves goes on: <party>
    Given the certificate authority says nothing of renewals
    And the controller runs
    When I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When 81 days go by
    And <fails>
    And 1 day goes by
    Then Ingress "web" has a warning that names "<words>"
    And "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    When <heals>
    And 1 day goes by
    Then "https://web.example/" at 10.0.2.223 is answered with another certificate of the certificate authority
    And the certificate of "https://web.example/" at 10.0.2.223 is that of Secret "issued", and the only one for it
    And no challenge is left on the traffic manager

    Examples:
      | party      | fails                                                         | heals                                                       | words                 |
      | garbage    | the certificate authority answers with garbage                | the certificate authority is well                           | can't be used         |
      | Secrets    | the API server refuses what the controller writes into Secrets | the API server takes what the controller writes into Secrets | could not be written  |
      | DNS        | DNS does not point "web.example" at the traffic manager       | DNS points "web.example" at the traffic manager             | could not be verified |
      | server key | the traffic manager refuses server keys                       | the traffic manager takes server keys                       | ssl/server_keys       |

  Scenario: A certificate that somebody else made is not renewed, and its end is told
    Given a TLS Secret "mine" for "web.example"
    And I apply a TLS Ingress "web" for host "web.example" with Secret "mine" to Service "web" at 10.0.2.223
    When the controller runs
    Then Ingress "web" has a warning "CertificateEnds" that names "was not issued by this controller"
    And "https://web.example/" at 10.0.2.223 is answered with the certificate of Secret "mine"

  @needs-fake-time
  Scenario: A certificate that no Ingress has named for thirty days goes
    Given the controller runs
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    And "https://web.example/" at 10.0.2.223 is answered with a certificate of the certificate authority
    And I note the certificate of "https://web.example/" at 10.0.2.223
    When I delete Ingress "web"
    And 29 days go by
    And I apply a TLS Ingress "web" for host "web.example" with Secret "issued" to Service "web" at 10.0.2.223
    And I annotate Ingress "web" with vtm.pulsesecure.net/use-lets-encrypt "true"
    Then "https://web.example/" at 10.0.2.223 is answered with the noted certificate of the certificate authority
    When I delete Ingress "web"
    And 32 days go by
    Then there is no Secret "issued" in Namespace "default"
    And nothing of ours is left on the traffic manager
