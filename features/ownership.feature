Feature: What is not ours is not touched

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service

  Scenario: Somebody else's virtual server survives
    Given somebody's virtual server "intranet" on port 8443 of every address
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager
    And somebody's virtual server "intranet" is as it was

  Scenario: An address of somebody's Traffic IP Group is refused, naming it
    Given somebody's Traffic IP Group "edge" with the address 10.0.2.223
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then Ingress "web" has a warning that names "edge"
    And Ingress "web" has no address in its status
    When somebody deletes the Traffic IP Group "edge"
    And the traffic manager is looked at again
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: Two Ingresses claim one dedicated address: the older keeps it
    Given I apply an Ingress "first" for host "first.example" to Service "web" at 10.0.2.223
    And "http://first.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I apply an Ingress "second" for host "second.example" to Service "web" at 10.0.2.223
    Then Ingress "second" has a warning that names "first"
    And "http://second.example/" at 10.0.2.223 is answered with status 404
    When I delete Ingress "first"
    Then "http://second.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  @lenient
  Scenario: A Traffic IP Group of ours stays while somebody listens on it
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    Given somebody's virtual server "intranet" on port 8443 of the Traffic IP Group "k8s_10.0.2.223_group"
    And the traffic manager is looked at again
    When I delete Ingress "web"
    Then "traffic_ip_groups/k8s_10.0.2.223_group" is all that is left of ours on the traffic manager
    When the traffic manager is looked at again
    Then "traffic_ip_groups/k8s_10.0.2.223_group" is all that is left of ours on the traffic manager
    And somebody's virtual server "intranet" is as it was
    When somebody deletes the virtual server "intranet"
    And the traffic manager is looked at again
    Then nothing of ours is left on the traffic manager

  Scenario: Two controllers work beside each other on one traffic manager
    Given the IngressClass "edge" of this controller
    And the controller stops
    And the setting ingress_class_names is "vtm"
    And the controller runs
    And another controller runs beside, with controller_id "edge" for the IngressClass "edge"
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "a-web" of class "vtm" for host "web.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "b-web" of class "edge" for host "web.example" to Service "web" at 10.0.2.224
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://web.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And Ingress "a-web" has the address 10.0.2.223 with port 80 in its status
    And Ingress "b-web" has the address 10.0.2.224 with port 80 in its status
    When I apply an Ingress "late" of class "edge" for host "late.example" to Service "web" at 10.0.2.223
    Then Ingress "late" has a warning "AddressInUse" that names "k8s_10.0.2.223_group"
    When I count the writes from now on
    And 5 resyncs go by
    Then no write was made
    When I delete Ingress "a-web"
    Then "http://late.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://web.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And nothing of ours is left on the traffic manager

  Scenario: Controllers of two Kubernetes clusters work beside each other on one traffic manager
    Given a Deployment "web" with 1 pod behind a NodePort Service
    And another Kubernetes cluster with a controller of controller_id "second" on the same traffic manager
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.224 in the other cluster
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://web.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    When I apply an Ingress "same" for host "same.example" to Service "web" at 10.0.2.223 in the other cluster
    Then Ingress "same" of the other cluster has a warning "AddressInUse" that names "k8s_10.0.2.223_group"
    When I count the writes from now on
    And 5 resyncs go by
    Then no write was made
    When I delete Ingress "web" of the other cluster
    Then nobody listens at 10.0.2.224 on port 80
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete Ingress "web"
    Then "http://same.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And nothing of ours is left on the traffic manager

  Scenario: Controllers of two Kubernetes clusters claim one address at the same moment: one keeps it, and both are told
    Given the setting resync_period is "1h"
    And another Kubernetes cluster with a controller of controller_id "second" on the same traffic manager
    And the traffic manager takes 2 seconds to make or delete a Traffic IP Group
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "same" for host "same.example" to Service "web" at 10.0.2.223 in the other cluster
    Then Ingress "same" of the other cluster has a warning "AddressInUse" that names "k8s_10.0.2.223_group"
    And Ingress "web" has a warning that names "second_10.0.2.223_group"
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status

  Scenario: Who comes to an address later takes nothing away from who serves there, and is told of
    Given I apply an Ingress "own" for host "own.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "shared" for host "shared.example" to Service "web" at shared address 10.0.5.223
    And "http://own.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "http://shared.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And steady requests to "http://own.example/" at 10.0.2.223
    When somebody's Traffic IP Group "edge" with the address 10.0.2.223
    And the traffic manager is looked at again
    Then Ingress "own" has a warning "AddressContested" that names "edge"
    When somebody's virtual server "theirs" on port 80 of every address
    And the traffic manager is looked at again
    Then Ingress "shared" has a warning "AddressContested" that names "theirs"
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.224
    Then Ingress "late" has a warning "AddressInUse" that names "theirs"
    When the controller stops
    And the controller runs
    And the controller is ready
    And 2 resyncs go by
    Then "http://shared.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And no request has failed
    And somebody's Traffic IP Group "edge" is as it was
    And somebody's virtual server "theirs" is as it was

  Scenario: What was made for a cluster that is gone serves on until it is adopted
    Given a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "tls.example"
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And I apply a TLS Ingress "tls" for host "tls.example" with Secret "cert" to Service "web" at shared address 10.0.5.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And "https://tls.example/" at 10.0.5.223 is answered with the certificate of Secret "cert"
    When the controller stops
    And what is ours was made for a cluster that is gone
    And I count the writes from now on
    And the controller runs
    Then the controller logs "belong to the Kubernetes cluster a-cluster-that-is-gone" and "nothing is written" and "level=ERROR"
    When I apply an Ingress "more" for host "more.example" to Service "web" at 10.0.2.224
    Then Ingress "more" has a warning "TrafficManagerOwnedByOther" that names "a-cluster-that-is-gone"
    And no write was made
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When the controller stops
    And I run the command adopt, which tells "adopt virtual_servers/k8s_10.0.2.223_80_http"
    And the controller runs
    Then "http://more.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And "https://tls.example/" at 10.0.5.223 is answered with the certificate of Secret "cert"
    When I delete Ingress "more"
    Then nobody listens at 10.0.2.224 on port 80

  Scenario: The command cleanup leaves nothing of ours, and all of others
    Given somebody's Traffic IP Group "edge" with the address 10.0.9.1
    And a Deployment "web" with 1 pod behind a NodePort Service
    And a TLS Secret "cert" for "tls.example"
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.9.1
    And I apply a TLS Ingress "tls" for host "tls.example" with Secret "cert" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.9.1 is answered by a pod of Deployment "web"
    And "https://tls.example/" at 10.0.2.223 is answered with the certificate of Secret "cert"
    When the controller stops
    And I run the command cleanup, which tells "delete ssl/server_keys/k8s_default_cert_key"
    Then nothing of ours is left on the traffic manager
    And somebody's Traffic IP Group "edge" is as it was
    When the controller runs
    Then "http://web.example/" at 10.0.9.1 is answered by a pod of Deployment "web"
