Feature: Customizations
  pool-customization and virtualserver-customization are merged, key by key, into what
  the controller computed, if the setting vtm_enable_customizations allows them.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Customizations are merged into what was computed
    Given the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/pool-customization: '{"properties": {"basic": {"passive_monitoring": false}}}'
          vtm.pulsesecure.net/virtualserver-customization: '{"properties": {"web_cache": {"enabled": true}, "http": {"add_x_forwarded_for": false}}}'
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/passive_monitoring false
    And a virtual server of Ingress "web" has web_cache/enabled true
    And "http://web.example/" at 10.0.2.223 is answered with a text that lacks "X-Forwarded-For"

  Scenario: A web cache really caches
    Given the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/?header=Cache-Control:max-age=300" at 10.0.2.223 is answered anew each time
    When I annotate Ingress "web" with vtm.pulsesecure.net/virtualserver-customization
      """
      {"properties": {
          "web_cache": {
              "enabled": true
          }
      }}
      """
    Then "http://web.example/?header=Cache-Control:max-age=300" at 10.0.2.223 is answered from the cache
    And "http://web.example/?header=Cache-Control:no-store" at 10.0.2.223 is answered anew each time

  Scenario Outline: Every pool of an Ingress is customized, in both spellings
    Given the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223 with annotations
      | <annotation> | {"properties": {"basic": {"passive_monitoring": false}, "load_balancing": {"algorithm": "least_connections"}}} |
    Then "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/passive_monitoring false
    And a pool of Ingress "web" has load_balancing/algorithm "least_connections"
    When I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223 with annotations
      | <annotation> | {"properties": {}} |
    Then a pool of Ingress "web" has basic/passive_monitoring true

    Examples:
      | annotation                             |
      | vtm.pulsesecure.net/pool-customization |
      | vtm.pulsesecure.net/poolcustomization  |

  Scenario: Customizations are ignored and told unless the setting allows them, at once when it does
    Given the setting vtm_enable_customizations is "false"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/pool-customization | {"properties": {"basic": {"passive_monitoring": false}}} |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/passive_monitoring true
    And Ingress "web" has a warning "AnnotationIgnored" that names "vtm_enable_customizations"
    When the setting vtm_enable_customizations is "true"
    Then a pool of Ingress "web" has basic/passive_monitoring false

  Scenario: Customizations and TrafficScript can be for some namespaces alone
    Given the setting vtm_enable_customizations is "true"
    And the setting customization_namespaces is "other"
    And the setting vtm_enable_trafficscript is "true"
    And the setting trafficscript_namespaces is "other"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/pool-customization     | {"properties": {"basic": {"passive_monitoring": false}}} |
      | vtm.pulsesecure.net/response-trafficscript | http.setResponseHeader("X-Via", "Pulse vTM");            |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/passive_monitoring true
    And Ingress "web" has a warning "AnnotationIgnored" that names "customization_namespaces"
    And Ingress "web" has a warning "AnnotationIgnored" that names "trafficscript_namespaces"
    When the setting customization_namespaces is "default,other"
    And the setting trafficscript_namespaces is "default"
    Then a pool of Ingress "web" has basic/passive_monitoring false
    And Ingress "web" has an Event "Programmed"
    And a virtual server of Ingress "web" has basic/response_rules ["k8s_default_web_response"]

  Scenario Outline: What is no customization is refused before anything is sent
    Given the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/<annotation> | <json> |
    Then Ingress "web" has a warning "InvalidAnnotation" that names "<word>"
    And nothing of ours is left on the traffic manager

    Examples:
      | annotation                   | json                                                                | word                |
      | pool-customization           | {"properties": {"basic": {"nodes_table": []}}}                      | nodes_table         |
      | pool-customization           | {"properties": {"basic": {"passive_monitoring": "no"}}}             | passive_monitoring  |
      | pool-customization           | {"properties": {"basic": {"pasive_monitoring": true}}}              | pasive_monitoring   |
      | pool-customization           | {"properties": {"basic": {"monitors": ["theirs"]}}}                 | theirs              |
      | virtualserver-customization  | {"properties": {"basic": {"port": 81}}}                             | port                |
      | virtualserver-customization  | {"properties": {"basic": {"request_rules": ["theirs"]}}}            | request_rules       |
      | virtualserver-customization  | {"properties": {"ssl": {"server_cert_default": "theirs"}}}          | server_cert_default |
      | virtualserver-customization  | {"properties": {"web_cache": {"max_time": -1}}}                     | max_time            |
      | virtualserver-customization  | nonsense                                                            | JSON                |

  Scenario: A customization that the traffic manager takes concerns no other Ingress
    Given the setting vtm_enable_customizations is "true"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "good" for host "good.example" to Service "web" at 10.0.2.224
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/virtualserver-customization | {"properties": {"basic": {"protocol": "ftp", "ssl_decrypt": true}}} |
    Then a virtual server of Ingress "web" has basic/protocol "ftp"
    And "http://good.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
