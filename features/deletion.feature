Feature: Deletion
  What is deleted in Kubernetes goes from the traffic manager; what others need stays,
  and a mistake that would end everything waits until Kubernetes confirms it.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller

  Scenario: One of several Ingresses of a shared address goes, the others serve on
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "one" for host "one.example" to Service "web" at shared address 10.0.5.223
    And I apply an Ingress "two" for host "two.example" to Service "web" at shared address 10.0.5.223
    And "http://one.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And "http://two.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And steady requests to "http://two.example/" at 10.0.5.223
    And I delete Ingress "one"
    Then "http://one.example/" at 10.0.5.223 is answered with status 404
    And no request has failed
    And Ingress "one" has no pool on the traffic manager
    When I delete Ingress "two"
    Then nothing of ours is left on the traffic manager

  Scenario: A Namespace that is deleted takes its Ingresses with it, and nobody else's
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.5.223
    When I apply
      """
      apiVersion: v1
      kind: Namespace
      metadata: {name: shop}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: shop, namespace: shop}
      spec:
        type: NodePort
        selector: {app: shop}
        ports: [{name: http, port: 80, targetPort: 8080}]
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: shop
        namespace: shop
        annotations:
          vtm.pulsesecure.net/shared-ip-address: "10.0.5.223"
      spec:
        ingressClassName: vtm
        rules:
        - host: shop.example
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
      """
    Then "http://shop.example/" at 10.0.5.223 is answered with status 503
    And "http://web.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    When steady requests to "http://web.example/" at 10.0.5.223
    And I delete the Namespace "shop"
    Then "http://shop.example/" at 10.0.5.223 is answered with status 404
    And no request has failed
    When I delete Ingress "web"
    Then nothing of ours is left on the traffic manager

  Scenario: A Service that is deleted and made again serves again
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete Service "web"
    Then "http://web.example/" at 10.0.2.223 is answered with status 503
    And Ingress "web" has a warning "ServiceNotFound" that names "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    When a Deployment "web" with 1 pod behind a NodePort Service
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: An Ingress that gets another controller's class leaves us, and comes back
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And the IngressClass "nginx" of controller "k8s.io/ingress-nginx"
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    When I apply an Ingress "web" of class "nginx" for host "web.example" to Service "web" at 10.0.2.223
    Then nothing of ours is left on the traffic manager
    And Ingress "web" loses its address in its status
    When I apply an Ingress "web" of class "vtm" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: An Ingress that left us while no controller ran loses the address that we wrote
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And the IngressClass "nginx" of controller "k8s.io/ingress-nginx"
    And I apply an Ingress "web" for host "web.example" to Service "web" at shared address 10.0.2.223
    And I apply an Ingress "stays" for host "stays.example" to Service "web" at shared address 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    And Ingress "stays" has the address 10.0.2.223 with port 80 in its status
    When the controller stops
    And I apply an Ingress "web" of class "nginx" for host "web.example" to Service "web" at 10.0.2.223
    And the controller runs
    Then Ingress "web" loses its address in its status
    And "http://web.example/" at 10.0.2.223 is answered with status 404
    And Ingress "stays" has the address 10.0.2.223 with port 80 in its status

  Scenario: An Ingress that left us loses the address that we wrote, though the controller died before
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And the IngressClass "nginx" of controller "k8s.io/ingress-nginx"
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And I apply an Ingress "theirs" of class "nginx" for host "theirs.example" to Service "web" at 10.0.2.224
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    And somebody writes the address 10.0.2.223 into the status of Ingress "theirs"
    When the controller stops
    And I apply an Ingress "web" of class "nginx" for host "web.example" to Service "web" at 10.0.2.223
    And somebody removes all that is ours from the traffic manager
    And the controller runs
    Then Ingress "web" loses its address in its status
    And Ingress "theirs" has the address 10.0.2.223 with port 80 in its status

  Scenario: When most Ingresses are gone, Kubernetes is asked a second time before they go
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply 12 Ingresses "shop" for hosts "shop<n>.example" to Service "web" at shared address 10.0.5.223
    Then "http://shop1.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And Ingress "shop12" has the address 10.0.5.223 with port 80 in its status
    When the controller stops
    And I delete all Ingresses
    And I count the writes from now on
    And the controller runs
    Then the controller's Lease has a warning "DeletionHeld" that names "12 of 12"
    And the controller logs "nothing is taken away until Kubernetes, asked again, agrees" and "ceasing=12" and "level=ERROR"
    When 3 resyncs go by
    Then no write was made
    And "http://shop1.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And nothing of ours is left on the traffic manager
    And the controller logs "Kubernetes, asked again, agrees" and "going on" and "level=WARN"

  Scenario: A list that came empty by mistake takes nothing away, and is asked for anew
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply 12 Ingresses "shop" for hosts "shop<n>.example" to Service "web" at shared address 10.0.5.223
    Then "http://shop12.example/" at 10.0.5.223 is answered by a pod of Deployment "web"
    And Ingress "shop12" has the address 10.0.5.223 with port 80 in its status
    When the controller stops
    And Kubernetes' API server misbehaves by "empty user=vtm-ingress path=ingresses"
    And I count the writes from now on
    And the controller runs
    Then the controller's Lease has a warning "DeletionHeld" that names "12 of 12"
    When Kubernetes' API server is well again
    Then the controller logs "does not agree" and "all is listed anew" and "level=WARN"
    And the controller logs "takes away less now" and "going on" and "level=WARN"
    And no write was made
    When I delete Ingress "shop12"
    Then "http://shop12.example/" at 10.0.5.223 is answered with status 404
    And "http://shop1.example/" at 10.0.5.223 is answered by a pod of Deployment "web"

  Scenario: Fewer Ingresses than ten go at once
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    When I apply 9 Ingresses "shop" for hosts "shop<n>.example" to Service "web" at shared address 10.0.5.223
    And Ingress "shop9" has the address 10.0.5.223 with port 80 in its status
    And I delete all Ingresses
    Then nothing of ours is left on the traffic manager
    And the controller has not logged "asked again"

  Scenario: An IngressClass that is deleted and made again disturbs nobody
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status
    When I count the writes from now on
    And steady requests to "http://web.example/" at 10.0.2.223
    And I delete the IngressClass "vtm"
    Then Ingress "web" has a warning that names "IngressClass"
    When the IngressClass "vtm" of this controller
    And 10 resyncs go by
    Then no request has failed
    And no write was made

  @needs-fake-time
  Scenario: An IngressClass that stays away ends the service of its Ingresses
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete the IngressClass "vtm"
    And 50 resyncs go by
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When 20 resyncs go by
    Then nothing of ours is left on the traffic manager
    And Ingress "web" has no address in its status
    When the IngressClass "vtm" of this controller
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"

  Scenario: The default IngressClass goes: those that name no class are told
    Given the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata:
        name: web
        annotations:
          vtm.pulsesecure.net/ip-address: "10.0.2.223"
      spec:
        defaultBackend: {service: {name: web, port: {number: 80}}}
      """
    When I apply
      """
      apiVersion: networking.k8s.io/v1
      kind: IngressClass
      metadata:
        name: usual
        annotations:
          ingressclass.kubernetes.io/is-default-class: "true"
      spec:
        controller: pulsesecure.net/vtm-ingress-controller
      """
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    When I delete the IngressClass "usual"
    Then Ingress "web" has a warning "IngressClassMissing" that names "usual"
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
