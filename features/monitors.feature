Feature: Health monitors
  The annotation monitor replaces the built-in Connect monitor on the pools of an
  Ingress. Monitors see nodes, so they see pods only where a node stands for one pod.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: Without the annotation a TCP connection is tried
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/monitors ["Connect"]
    And Ingress "web" has no monitor on the traffic manager

  Scenario: A monitor takes out the node of a pod that Kubernetes believes to be well
    Given the controller runs
    And a Deployment "web" with 2 pods that Kubernetes does not check behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 2}, "http": {"path": "/ready"}}} |
    Then "http://web.example/" at 10.0.2.223 is answered by 2 different pods
    And a monitor of Ingress "web" has http/path "/ready"
    And a pool of Ingress "web" has basic/monitors ["k8s_default_web_monitor"]
    When steady requests to "http://web.example/" at 10.0.2.223
    And the pod that answers "http://web.example/" at 10.0.2.223 fails its checks from now on
    Then "http://web.example/" at 10.0.2.223 is answered by 1 different pod
    And a pool for Ingress "web" has the nodes of 2 pods
    When I restart Deployment "web"
    Then "http://web.example/" at 10.0.2.223 is answered by 2 different pods
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario: The monitor of the specification's example, and one that every pod fails
    Given the controller runs
    And a Deployment "web" with 2 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/monitor: |
            {"properties": {
                "basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 1},
                "http": {"path": "/?status=403", "status_regex": "^403$"}
            }}
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered by 2 different pods
    And a monitor of Ingress "web" has http/path "/?status=403"
    When I annotate Ingress "web" with vtm.pulsesecure.net/monitor
      """
      {"properties": {
          "basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 1},
          "http": {"path": "/?status=500", "status_regex": "^200$"}
      }}
      """
    Then "http://web.example/" at 10.0.2.223 is answered with status 503

  Scenario: A monitor asks pods that speak TLS over TLS
    Given the controller runs
    And a Deployment "web" with 2 pods that speak TLS behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/re-encrypt | true |
      | vtm.pulsesecure.net/monitor    | {"properties": {"basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 1, "use_ssl": true}, "http": {"path": "/?status=403", "status_regex": "^403$"}}} |
    Then "http://web.example/" at 10.0.2.223 is answered by 2 different pods
    When I annotate Ingress "web" with vtm.pulsesecure.net/monitor
      """
      {"properties": {"basic": {"type": "http", "delay": 1, "timeout": 1, "failures": 1, "use_ssl": false}, "http": {"path": "/", "status_regex": "^200$"}}}
      """
    Then "http://web.example/" at 10.0.2.223 is answered with status 503

  Scenario: Services and pods that monitors cannot tell apart are told
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"type": "connect"}}} |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has a warning "PodNotIdentified" that names "externalTrafficPolicy: Local"
    Given a Deployment "crowd" with 4 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply an Ingress "crowd" for host "crowd.example" to Service "crowd" at 10.0.2.224 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"type": "connect"}}} |
    Then "http://crowd.example/" at 10.0.2.224 is answered by a pod of Deployment "crowd"
    And Ingress "crowd" has a warning "PodNotIdentified" that names "podAntiAffinity"

  Scenario Outline: What a monitor may not be is refused before anything is sent
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
          vtm.pulsesecure.net/monitor: '<monitor>'
      spec:
        ingressClassName: vtm
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    Then Ingress "web" has a warning "InvalidAnnotation" that names "<word>"
    And nothing of ours is left on the traffic manager

    Examples:
      | monitor                                             | word     |
      | {"properties": {"basic": {"type": "program"}}}      | program  |
      | {"properties": {"basic": {"scope": "poolwide"}}}    | poolwide |
      | {"properties": {"basic": {"delay": 0}}}             | delay    |
      | {"properties": {"basic": {"note": "mine"}}}         | note     |
      | {"properties": {"basic": {"type": "http"}           | JSON     |

  Scenario: Namespaces that a setting lists may run programs and ask any machine
    Given the setting privileged_monitor_namespaces is "other"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"type": "program"}, "script": {"program": "dns.pl"}}} |
    Then Ingress "web" has a warning "InvalidAnnotation" that names "privileged_monitor_namespaces"
    When I apply an Ingress "two" for host "two.example" to Service "web" at 10.0.2.224 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"scope": "poolwide", "machine": "10.9.9.9:80"}}} |
    Then Ingress "two" has a warning "InvalidAnnotation" that names "privileged_monitor_namespaces"
    When the setting privileged_monitor_namespaces is "default,other"
    Then a monitor of Ingress "web" has basic/type "program"
    And a monitor of Ingress "two" has basic/machine "10.9.9.9:80"

  Scenario: What the traffic manager refuses is told in its own words, and concerns no other Ingress
    Given the setting privileged_monitor_namespaces is "*"
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service with externalTrafficPolicy Local
    And I apply an Ingress "good" for host "good.example" to Service "web" at 10.0.2.224
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"type": "program"}, "script": {"program": "none.pl"}}} |
    Then Ingress "web" has a warning "TrafficManagerRefused" that names "monitor_scripts/none.pl does not exist"
    When I apply an Ingress "late" for host "late.example" to Service "web" at 10.0.2.225
    Then "http://late.example/" at 10.0.2.225 is answered by a pod of Deployment "web"
    And "http://good.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223 with annotations
      | vtm.pulsesecure.net/monitor | {"properties": {"basic": {"type": "connect"}}} |
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
