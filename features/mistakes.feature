Feature: Mistakes are told where their owner looks, and heal by themselves
  What can't be programmed is refused with its cause and its remedy; the others are
  not affected; no one has to touch it again once the cause is gone.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "good" for host "good.example" to Service "web" at 10.0.2.223
    And "http://good.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A Service that does not exist yet
    When I apply an Ingress "early" for host "early.example" to Service "later" at 10.0.2.240
    Then Ingress "early" has a warning "ServiceNotFound" that names "later"
    When a Deployment "later" with 1 pod behind a NodePort Service
    Then "http://early.example/" at 10.0.2.240 is answered by a pod of Deployment "later"
    And "http://good.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  @needs-fake-time
  Scenario: Pods that are just starting are no mistake
    When a Deployment "slow" with 0 pods behind a NodePort Service
    And I apply an Ingress "slow" for host "slow.example" to Service "slow" at 10.0.2.240
    Then Ingress "slow" has the address 10.0.2.240 with port 80 in its status
    And Ingress "slow" has no Event
    When I scale Deployment "slow" to 1
    Then "http://slow.example/" at 10.0.2.240 is answered by a pod of Deployment "slow"
    And Ingress "slow" has an Event "Programmed"
    And the controller has not logged "no ready endpoints"

  @needs-fake-time
  Scenario: Pods that do not come are told after a while
    When a Deployment "slow" with 0 pods behind a NodePort Service
    And I apply an Ingress "slow" for host "slow.example" to Service "slow" at 10.0.2.240
    Then Ingress "slow" has a warning "NoReadyEndpoints" that names "slow"

  Scenario: A Service that is not a NodePort
    Given a Deployment "inner" with 1 pod behind a ClusterIP Service
    When I apply an Ingress "inner" for host "inner.example" to Service "inner" at 10.0.2.240
    Then Ingress "inner" has a warning "ServiceNotNodePort" that names "inner"
    When I turn Service "inner" into a NodePort Service
    Then "http://inner.example/" at 10.0.2.240 is answered by a pod of Deployment "inner"

  Scenario: A Service that is a name elsewhere, and a backend that is no Service
    When I apply
      """
      apiVersion: v1
      kind: Service
      metadata: {name: elsewhere}
      spec: {type: ExternalName, externalName: shop.elsewhere.example}
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: bucket
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.241"
      spec:
        ingressClassName: vtm
        defaultBackend: {resource: {apiGroup: example.com, kind: Bucket, name: pictures}}
      """
    And I apply an Ingress "elsewhere" for host "elsewhere.example" to Service "elsewhere" at 10.0.2.240
    Then Ingress "elsewhere" has a warning "ServiceNotNodePort" that names "shop.elsewhere.example"
    And Ingress "bucket" has a warning "NotSupported" that names "resource backends"
    And "http://good.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A port that the Service does not have
    When I apply an Ingress "port" for host "port.example" to port 81 of Service "web" at 10.0.2.240
    Then Ingress "port" has a warning "ServicePortNotFound" that names "81"

  Scenario: No address
    When I apply an Ingress "nowhere" for host "nowhere.example" to Service "web" without an address
    Then Ingress "nowhere" has a warning "NoAddress" that names "ip-address"
    And "http://good.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: A misspelt annotation is told with the nearest name
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: typo
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.241"
          vtm.pulsesecure.net/prot: "8080"
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://typo.example/" at 10.0.2.241 is answered by a pod of Deployment "web"
    And Ingress "typo" has a warning that names "vtm.pulsesecure.net/port"

  Scenario: A traffic manager that is down
    When the traffic manager's REST API goes away
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.240
    Then Ingress "late" has a warning that names "traffic manager"
    And "http://good.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When the traffic manager's REST API is back
    Then "http://late.example/" at 10.0.2.240 is answered by a pod of Deployment "web"

  Scenario: A traffic manager that refuses the password
    When the traffic manager refuses the password
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.240
    Then Ingress "late" has a warning that names "vtm_password"
    When the traffic manager's REST API is back
    Then "http://late.example/" at 10.0.2.240 is answered by a pod of Deployment "web"

  Scenario: A traffic manager that answers nonsense
    When the traffic manager answers nonsense
    And I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.240
    Then Ingress "late" has a warning that names "traffic manager"
    When the traffic manager's REST API is back
    Then "http://late.example/" at 10.0.2.240 is answered by a pod of Deployment "web"
