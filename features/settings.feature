Feature: Settings change without a restart
  The controller looks at its settings again every ten seconds, in its file and,
  where settings_source says so, on the traffic manager.

  Background:
    Given a cluster with 2 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And a Deployment "web" with 1 pod behind a NodePort Service

  @needs-fake-time
  Scenario: Switched off and on again on the traffic manager's page
    Given the setting settings_source is "vtm"
    And the traffic manager keeps the settings
      | enable_ingctrl | false |
      | k8s_verify_ssl | true  |
    And the controller runs
    When the controller is ready
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And I count the writes from now on
    And 30 resyncs go by
    Then no write was made
    When the traffic manager keeps the settings
      | enable_ingctrl | true |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When the traffic manager keeps the settings
      | enable_ingctrl | false |
    And 30 resyncs go by
    And I count the writes from now on
    And I delete Ingress "web"
    And 30 resyncs go by
    Then no write was made
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: New settings are taken up while everything serves
    Given the controller runs
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And the IngressClass "other" of this controller
    And I apply an Ingress "second" of class "other" for host "second.example" to Service "web" at 10.0.2.224
    And "http://second.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And steady requests to "http://web.example/" at 10.0.2.223
    When the setting ingress_class_names is "vtm"
    Then nobody listens at 10.0.2.224 on port 80
    And no request has failed

  Scenario: Wrong settings are told, and what runs goes on
    Given the setting settings_source is "vtm"
    And the controller runs
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When the traffic manager keeps the settings
      | resync_perod  | 1m     |
      | vtm_endpoints | 10.9.9 |
    Then the controller logs "what runs goes on" and "did you mean resync_period" and "vtm_endpoints: is never kept there"
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario: A secret kept where everybody can read it works, and is told
    Given the setting settings_source is "vtm"
    And the traffic manager keeps the settings
      | vtm_password | sandbox |
    When the controller runs
    Then the controller logs "traffic manager" and "a secret that every user of the REST API can read" and "vtm_password_file"
    And the controller is ready

  Scenario: One namespace is watched, or all but kube-system
    Given the setting watch_namespace is "default"
    And the controller runs
    And I apply
      """
      apiVersion: v1
      kind: Namespace
      metadata: {name: shop}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: any, namespace: shop}
      spec:
        type: NodePort
        selector: {app: any}
        ports: [{name: http, port: 80, targetPort: 8080}]
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: any
        namespace: shop
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.224"
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: any, port: {number: 80}}}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: any, namespace: kube-system}
      spec:
        type: NodePort
        selector: {app: any}
        ports: [{name: http, port: 80, targetPort: 8080}]
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: any
        namespace: kube-system
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.225"
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: any, port: {number: 80}}}
      """
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And nobody listens at 10.0.2.224 on port 80
    When steady requests to "http://web.example/" at 10.0.2.223
    And the setting watch_namespace is ""
    Then "http://shop.example/" at 10.0.2.224 is answered with status 503
    And nobody listens at 10.0.2.225 on port 80
    And no request has failed
