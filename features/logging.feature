Feature: The traffic manager's event log tells what the controller does
  Every line begins with "ingresscontroller:"; errors alone, unless verbose.

  Background:
    Given a cluster with 2 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the setting event_log_relay is "true"

  Scenario: Errors alone unless verbose
    Given the setting vtm_verbose is "false"
    And the controller runs
    When I apply an Ingress "web" for host "web.example" to Service "none" at 10.0.2.223
    Then the traffic manager's event log has a line with "ingresscontroller: " and "Service default/none"
    Given a Deployment "web" with 1 pod behind a NodePort Service
    When I apply an Ingress "other" for host "other.example" to Service "web" at 10.0.2.224
    Then "http://other.example/" at 10.0.2.224 is answered by a pod of Deployment "web"
    And the traffic manager's event log lacks a line with "ingresscontroller: " and "default/other"

  @needs-fake-time
  Scenario: An event log that can't be reached is told by an Event of the controller's Lease
    Given clients can't reach the virtual servers
    And the controller runs
    Then the controller's Lease has a warning "EventLogUnreachable" that names "9072"
    And the controller logs "log lines don't get into the traffic manager's event log" and "9072" and "level=WARN"

  Scenario: With vtm_verbose it tells what went well, too
    Given the setting vtm_verbose is "true"
    And a Deployment "web" with 1 pod behind a NodePort Service
    And the controller runs
    When I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    Then the traffic manager's event log has a line with "INFO" and "ingresscontroller: Ingress default/web"
