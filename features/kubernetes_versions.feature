Feature: Kubernetes from 1.19 on

  Scenario Outline: Clusters without EndpointSlices are served from Endpoints
    Given a cluster of Kubernetes <version> with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 2 pods behind a NodePort Service with externalTrafficPolicy Local
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then "http://web.example/" at 10.0.2.223 is answered by 2 different pods

    Examples:
      | version |
      | 1.19    |
      | 1.20    |
      | 1.21    |

  Scenario: Kubernetes 1.18 is refused in the event log
    Given a cluster of Kubernetes 1.18 with 3 nodes and a traffic manager
    When the controller runs
    Then the controller logs "ingresscontroller: " and "1.18" and "1.19"
    And nothing of ours is left on the traffic manager

  Scenario: The refusal of Kubernetes 1.18 stands in the traffic manager's own event log
    Given a cluster of Kubernetes 1.18 with 3 nodes and a traffic manager
    And the setting event_log_relay is "true"
    When the controller runs
    Then the traffic manager's event log has a line with "ingresscontroller: " and "1.19"
