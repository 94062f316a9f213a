Feature: Several Ingresses share an address
  Ingresses with the annotation shared-ip-address stand beside each other. What can't
  stand beside another is refused, with the other's name, whoever comes first: the
  older one keeps what it has. As soon as the conflict is gone, the younger is served,
  without being touched.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Each is served on the same address, the older first where both want a path
    Given the controller runs
    And a Deployment "one" with 1 pod behind a NodePort Service
    And a Deployment "two" with 1 pod behind a NodePort Service
    When I apply an Ingress "a-one" for host "one.example" to Service "one" at shared address 10.0.5.223
    Then "http://one.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    When I apply an Ingress "b-two" for host "two.example" to Service "two" at shared address 10.0.5.223
    And I apply an Ingress "c-late" for host "one.example" to Service "two" at shared address 10.0.5.223
    Then "http://two.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    And Ingress "c-late" has a warning "UnreachableRule" that names "default/a-one"
    And "http://one.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    And "http://three.example/" at 10.0.5.223 is answered with status 404
    When I delete Ingress "a-one"
    Then "http://one.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    When I delete Ingress "b-two"
    And I delete Ingress "c-late"
    Then nothing of ours is left on the traffic manager

  Scenario: Each host gets its own certificate, others one that is no Ingress's
    Given the controller runs
    And a Deployment "one" with 1 pod behind a NodePort Service
    And a Deployment "two" with 1 pod behind a NodePort Service
    And a TLS Secret "one" for "one.example"
    And a TLS Secret "two" for "two.example"
    When I apply a TLS Ingress "a-one" for host "one.example" with Secret "one" to Service "one" at shared address 10.0.5.223
    And I apply a TLS Ingress "b-two" for host "two.example" with Secret "two" to Service "two" at shared address 10.0.5.223
    Then "https://one.example/" at 10.0.5.223 is answered by a pod of Deployment "one"
    And "https://two.example/" at 10.0.5.223 is answered by a pod of Deployment "two"
    And "https://one.example/" at 10.0.5.223 is answered with the certificate of Secret "one"
    And "https://two.example/" at 10.0.5.223 is answered with the certificate of Secret "two"
    And "https://three.example/" at 10.0.5.223 is answered with the certificate of no Secret
    And Ingress "b-two" has the address 10.0.5.223 with port 443 in its status
    When I count the writes from now on
    And the controller stops
    And the controller runs
    And the controller is ready
    And 10 resyncs go by
    Then no write was made
    When I delete Ingress "a-one"
    Then "https://one.example/" at 10.0.5.223 is answered with the certificate of no Secret
    And "https://two.example/" at 10.0.5.223 is answered with the certificate of Secret "two"
    When I delete Ingress "b-two"
    And I delete Secret "one"
    And I delete Secret "two"
    Then nothing of ours is left on the traffic manager

  Scenario: The certificate for all other hosts can be chosen
    Given the setting default_certificate is "default/standard"
    And the controller runs
    And a Deployment "one" with 1 pod behind a NodePort Service
    And a TLS Secret "one" for "one.example"
    When I apply a TLS Ingress "one" for host "one.example" with Secret "one" to Service "one" at shared address 10.0.5.223
    Then Ingress "one" has a warning "DefaultCertificateMissing" that names "default/standard"
    And "https://other.example/" at 10.0.5.223 is answered with the certificate of no Secret
    When a TLS Secret "standard" for "*.example"
    Then "https://other.example/" at 10.0.5.223 is answered with the certificate of Secret "standard"
    And "https://one.example/" at 10.0.5.223 is answered with the certificate of Secret "one"

  Scenario: Who serves on port 80 excludes a redirect from it
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "tls.example"
    When I apply an Ingress "a-plain" for host "plain.example" to Service "web" at shared address 10.0.5.223
    And "http://plain.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And I apply a TLS Ingress "b-tls" for host "tls.example" with Secret "cert" to Service "web" at shared address 10.0.5.223
    Then "https://tls.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I annotate Ingress "b-tls" with ingress.kubernetes.io/ssl-redirect "true"
    Then Ingress "b-tls" has a warning "PortConflict" that names "default/a-plain"
    And "http://plain.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I delete Ingress "a-plain"
    Then "http://tls.example/x" at 10.0.5.223 is redirected to "https://tls.example/x"
    And "https://tls.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario: A redirect excludes who wants to serve on port 80
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "tls.example"
    When I apply a TLS Ingress "a-tls" for host "tls.example" with Secret "cert" to Service "web" at shared address 10.0.5.223
    And I annotate Ingress "a-tls" with ingress.kubernetes.io/ssl-redirect "true"
    Then "http://tls.example/x" at 10.0.5.223 is redirected to "https://tls.example/x"
    When I apply an Ingress "b-plain" for host "plain.example" to Service "web" at shared address 10.0.5.223
    Then Ingress "b-plain" has a warning "PortConflict" that names "default/a-tls"
    And Ingress "b-plain" has no address in its status
    When I annotate Ingress "a-tls" with ingress.kubernetes.io/ssl-redirect "false"
    Then "http://plain.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And "https://tls.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario: TLS and plain exclude each other on one port, and stand beside each other on two
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "tls.example"
    When I apply a TLS Ingress "a-tls" for host "tls.example" with Secret "cert" to Service "web" at shared address 10.0.5.223
    And "https://tls.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And I apply an Ingress "b-plain" for host "plain.example" to Service "web" at shared address 10.0.5.223
    Then "http://plain.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I annotate Ingress "b-plain" with vtm.pulsesecure.net/port "443"
    Then Ingress "b-plain" has a warning "PortConflict" that names "default/a-tls"
    And "https://tls.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I annotate Ingress "b-plain" with vtm.pulsesecure.net/port "8080"
    Then "http://plain.example:8080/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario: One host has one certificate
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "first" for "web.example"
    And a TLS Secret "second" for "web.example"
    When I apply a TLS Ingress "a-first" for host "web.example" with Secret "first" to Service "web" at shared address 10.0.5.223
    And "https://web.example/" at 10.0.5.223 is answered with the certificate of Secret "first"
    And I apply a TLS Ingress "b-second" for host "web.example" with Secret "second" to Service "web" at shared address 10.0.5.223
    Then Ingress "b-second" has a warning "CertificateConflict" that names "default/a-first"
    And "https://web.example/" at 10.0.5.223 is answered with the certificate of Secret "first"
    When I delete Ingress "a-first"
    Then "https://web.example/" at 10.0.5.223 is answered with the certificate of Secret "second"

  Scenario: An address is one Ingress's own or shared, not both
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "a-shared" for host "web.example" to Service "web" at shared address 10.0.5.223
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And I apply an Ingress "b-dedicated" for host "own.example" to Service "web" at 10.0.5.223
    Then Ingress "b-dedicated" has a warning "AddressConflict" that names "default/a-shared"
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I delete Ingress "a-shared"
    Then "http://own.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I apply an Ingress "c-shared" for host "web.example" to Service "web" at shared address 10.0.5.223
    Then Ingress "c-shared" has a warning "AddressConflict" that names "default/b-dedicated"

  Scenario Outline: What concerns a whole virtual server needs an address of its own
    Given the setting vtm_enable_trafficscript is "true"
    And the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And I annotate Ingress "web" with <annotation> "<value>"
    Then Ingress "web" has a warning "<reason>" that names "<annotation>"
    And nothing of ours is left on the traffic manager

    Examples:
      | annotation                                      | value  | reason              |
      | ingress.kubernetes.io/ssl-passthrough           | true   | PassthroughConflict |
      | vtm.pulsesecure.net/request-trafficscript       | break; | NotOnSharedAddress  |
      | vtm.pulsesecure.net/response-trafficscript      | break; | NotOnSharedAddress  |
      | vtm.pulsesecure.net/virtualserver-customization | {}     | NotOnSharedAddress  |

  Scenario: An Ingress among others restricts nobody on the default group until a second one comes
    Given somebody's Traffic IP Group "edge" with the address 10.0.9.1
    And the setting default_traffic_ip_group is "edge"
    And the setting vtm_enable_trafficscript is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "a-script" for host "web.example" to Service "web" without an address
    And I annotate Ingress "a-script" with vtm.pulsesecure.net/request-trafficscript "http.addHeader( 'X-Seen', 'here' );"
    Then "http://web.example/" at 10.0.9.1 is answered with a text that holds "X-Seen"
    When I apply an Ingress "b-second" for host "second.example" to Service "web" without an address
    Then Ingress "b-second" has a warning "PortConflict" that names "default/a-script"
    When I delete Ingress "a-script"
    Then "http://second.example/" at 10.0.9.1 is answered by a pod of Deployment "web"

  Scenario: An older Ingress that is changed to claim what a younger one has gets it, and the younger is told of the change
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "a-older" for host "older.example" to Service "web" at shared address 10.0.5.223
    And "http://older.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And I apply an Ingress "b-younger" for host "younger.example" to Service "web" at 10.0.5.224
    And "http://younger.example/" at 10.0.5.224 is answered by a pod of Deployment "web"
    And Ingress "b-younger" has the address 10.0.5.224 with port 80 in its status
    When I annotate Ingress "a-older" with vtm.pulsesecure.net/shared-ip-address "10.0.5.224"
    Then "http://older.example/" at 10.0.5.224 is answered by a pod of Deployment "web"
    And Ingress "b-younger" has a warning "AddressConflict" that names "held by Ingress default/a-older"
    And Ingress "b-younger" has a warning "AddressConflict" that names "this one was served until that Ingress claimed it"
    And Ingress "b-younger" loses its address in its status
    When I annotate Ingress "a-older" with vtm.pulsesecure.net/shared-ip-address "10.0.5.223"
    Then "http://younger.example/" at 10.0.5.224 is answered by a pod of Deployment "web"

  Scenario: On a shared address a redirect needs port 443
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at shared address 10.0.5.223 with annotations
      | ingress.kubernetes.io/ssl-redirect | true |
      | vtm.pulsesecure.net/port           | 8443 |
    Then Ingress "web" has a warning "NotOnSharedAddress" that names "needs port 443, not 8443"
    And nobody listens at 10.0.5.223 on port 80
    When I annotate Ingress "web" with vtm.pulsesecure.net/port "443"
    Then "http://web.example/x" at 10.0.5.223 is redirected to "https://web.example/x"
    And "https://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
