Feature: Names on the traffic manager
  What is ours is known by its mark, and not by its name: a release may name it otherwise
  than the one before.

  Background:
    Given a cluster with 3 nodes and 3 traffic managers
    And the IngressClass "vtm" of this controller
    And the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 2 pods behind a NodePort Service with externalTrafficPolicy Local
    And a TLS Secret "cert" for "tls.example"
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/monitor               | {"properties": {"basic": {"type": "http"}}}        |
      | vtm.pulsesecure.net/persistence           | {"properties": {"basic": {"type": "transparent"}}} |
      | vtm.pulsesecure.net/request-trafficscript | http.addHeader("X-Via", "vTM");                    |
    And I apply an Ingress "shared" for host "shared.example" to Service "web" at shared address 10.0.5.223
    And I apply a TLS Ingress "tls" for host "tls.example" with Secret "cert" to Service "web" at 10.0.2.224
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://shared.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And "https://tls.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"
    And the controller stops
    And I note what is ours on the traffic manager

  Scenario: What doesn't listen gets today's names, and no request notices
    Given what is ours and doesn't listen has names of an older release
    And requests around each write to "http://web.example/" at 10.0.2.223
    And requests around each write to "http://shared.example/" at 10.0.5.223
    And requests around each write to "https://tls.example/" at 10.0.2.224
    When the controller runs
    Then what is ours on the traffic manager becomes what I noted
    And no request has failed
    And "https://tls.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"

  Scenario: Virtual servers make way for those with today's names, and no request is answered wrongly
    Given everything of ours has names of an older release
    And requests around each write to "http://web.example/" at 10.0.2.223
    And requests around each write to "http://shared.example/" at 10.0.5.223
    And requests around each write to "https://tls.example/" at 10.0.2.224
    When the controller runs
    Then what is ours on the traffic manager becomes what I noted
    And each request that was answered was answered well
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://shared.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And "https://tls.example/" at 10.0.2.224 is answered with the certificate of Secret "cert"
