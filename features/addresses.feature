Feature: Addresses
  Which address an Ingress gets, who may have it, and what else is on it already.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Without an address and a default group an Ingress is refused
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" without an address
    Then Ingress "web" has a warning "NoAddress" that names "default_traffic_ip_group"

  Scenario: A group that is there already is used as it is when it is shared, and refused when not
    Given somebody's Traffic IP Group "edge" with the address 10.0.9.1
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "a-shared" for host "web.example" to Service "web" at shared address 10.0.9.1
    Then "http://web.example/" at 10.0.9.1 is answered by a pod of Deployment "web"
    When I apply an Ingress "b-dedicated" for host "web.example" to Service "web" at 10.0.9.1
    Then Ingress "b-dedicated" has a warning "AddressInUse" that names "edge"
    When I delete Ingress "a-shared"
    And I delete Ingress "b-dedicated"
    Then nothing of ours is left on the traffic manager
    And somebody's Traffic IP Group "edge" is as it was

  Scenario: A Traffic IP Group of ours follows who joins the cluster of traffic managers, and who leaves it
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a Traffic IP Group of Ingress "web" has basic/machines ["vtm-1"]
    When a traffic manager joins the cluster
    Then a Traffic IP Group of Ingress "web" has basic/machines ["vtm-1","vtm-2"]
    When the traffic manager "vtm-2" leaves the cluster
    Then a Traffic IP Group of Ingress "web" has basic/machines ["vtm-1"]
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: The other spelling of a shared address
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "a-web" for host "web.example" to Service "web" at shared address 10.0.5.223
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: b-other
        annotations:
          vtm.pulsesecure.net/shared-ipaddress: "10.0.5.223"
      spec:
        ingressClassName: vtm
        rules:
        - host: other.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
      """
    Then "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And "http://other.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario: A virtual server of somebody else keeps its port
    Given somebody's virtual server "theirs" on port 80 of every address
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223
    Then Ingress "web" has a warning "AddressInUse" that names "theirs"
    When I annotate Ingress "web" with vtm.pulsesecure.net/port "8080"
    Then "http://web.example:8080/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And somebody's virtual server "theirs" is as it was

  Scenario Outline: An address of the cluster's own is refused
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at <address>
    Then Ingress "web" has a warning "InvalidAddress" that names "<whose>"
    And nothing of ours is left on the traffic manager

    Examples:
      | address    | whose                        |
      | 10.96.7.7  | Services' range 10.96.0.0/16 |
      | 10.244.1.9 | Pods' range 10.244.1.0/24    |
      | 127.2.0.1  | loopback                     |
      | 224.0.0.1  | multicast                    |
      | fe80::1    | link-local                   |

  Scenario: IPv6 addresses, of one's own and shared
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a Deployment "two" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "tls.example"
    When I apply an Ingress "own" for host "own.example" to Service "web" at 2001:DB8::0:1
    And I apply an Ingress "a-shared" for host "web.example" to Service "web" at shared address 2001:db8::2
    And I apply an Ingress "b-shared" for host "two.example" to Service "two" at shared address 2001:db8::2
    And I apply a TLS Ingress "tls" for host "tls.example" with Secret "cert" to Service "web" at shared address 2001:db8::2
    Then "http://own.example/" at 2001:db8::1 is answered by a pod of Deployment "web"
    And Ingress "own" has the address 2001:db8::1 with port 80 in its status
    And "http://web.example/" at 2001:db8::2 is answered by a pod of Deployment "web"
    And "http://two.example/" at 2001:db8::2 is answered by a pod of Deployment "two"
    And "https://tls.example/" at 2001:db8::2 is answered with the certificate of Secret "cert"
    And Ingress "tls" has the address 2001:db8::2 with port 443 in its status
    When I apply an Ingress "late" for host "late.example" to Service "web" at ::ffff:10.0.2.223
    Then Ingress "late" has the address 10.0.2.223 with port 80 in its status
    When the controller stops
    And I count the writes from now on
    And the controller runs
    And the controller is ready
    And 5 resyncs go by
    Then no write was made
    When I delete all Ingresses
    And I delete Secret "cert"
    Then nothing of ours is left on the traffic manager

  Scenario: Addresses that Services get later are refused too
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: ServiceCIDR
      metadata: {name: more}
      spec: {cidrs: [172.20.0.0/16]}
      """
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 172.20.0.7
    Then Ingress "web" has a warning "InvalidAddress" that names "172.20.0.0/16"

  Scenario: An Ingress moves to another address
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When I annotate Ingress "web" with vtm.pulsesecure.net/shared-ip-address "10.0.5.224"
    Then "http://web.example/" at 10.0.5.224 is answered by a pod of Deployment "web"
    And nobody listens at 10.0.5.223 on port 80
    And Ingress "web" has the address 10.0.5.224 with port 80 in its status

  Scenario: Namespaces have the addresses and hosts that the settings give them
    Given the setting allowed_addresses is "default=10.0.2.0/24,other=10.0.3.0/24"
    And the setting allowed_hosts is "default=web.example,other=other.example"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "good" for host "a.web.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "bad-address" for host "b.web.example" to Service "web" at 10.0.3.223
    And I apply an Ingress "bad-host" for host "b.other.example" to Service "web" at 10.0.2.224
    Then "http://a.web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "bad-address" has a warning "AddressNotAllowed" that names "10.0.3.223"
    And Ingress "bad-host" has a warning "HostNotAllowed" that names "b.other.example"

  Scenario: Port 80 redirects to HTTPS by a setting, unless an Ingress says no
    Given the setting default_ssl_redirect is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "web.example"
    When I apply a TLS Ingress "web" for host "web.example" with Secret "cert" to Service "web" at 10.0.2.223
    Then "http://web.example/x" at 10.0.2.223 is redirected to "https://web.example/x"
    When I annotate Ingress "web" with ingress.kubernetes.io/ssl-redirect "false"
    Then nobody listens at 10.0.2.223 on port 80
    And "https://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
