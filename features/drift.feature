Feature: Drift
  What somebody changes by hand on a resource of ours is put right and told; what is
  not ours stays as it is.

  Background:
    Given a cluster with 3 nodes and a traffic manager
    And the IngressClass "vtm" of this controller
    And the controller runs
    And a Deployment "web" with 1 pod behind a NodePort Service
    And I apply an Ingress "web" for host "web.example" to Service "web" at 10.0.2.223
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And Ingress "web" has the address 10.0.2.223 with port 80 in its status

  Scenario Outline: A changed value is put right
    When somebody sets <key> of the <kind> of Ingress "web" to <wrong>
    Then a <kind> of Ingress "web" has <key> <right>
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And the controller logs "put right what somebody else changed" and "<folder>/" and "<key>"

    Examples:
      | key                       | kind             | folder            | wrong    | right       |
      | basic/monitors            | pool             | pools             | ["Ping"] | ["Connect"] |
      | basic/enabled             | virtual server   | virtual_servers   | false    | true        |
      | basic/enabled             | Traffic IP Group | traffic_ip_groups | false    | true        |
      | basic/passive_monitoring  | pool             | pools             | false    | true        |

  Scenario: A rule written over by hand is put right
    When somebody writes into the rule of Ingress "web"
      """
      http.redirect( "https://elsewhere.example/" );
      """
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    Then the controller logs "put right what somebody else changed" and "rules/" and "k8s_"

  Scenario: A deleted virtual server comes back
    When somebody deletes the virtual server of Ingress "web"
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And the controller logs "put back what somebody else deleted" and "virtual_servers/" and "k8s_"

  @lenient
  Scenario Outline: What is deleted while it is in use comes back
    When somebody deletes the <kind> of Ingress "web"
    Then Ingress "web" has a <kind> on the traffic manager
    And "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And the controller logs "put back what somebody else deleted" and "<folder>/" and "k8s_"

    Examples:
      | kind             | folder            |
      | pool             | pools             |
      | rule             | rules             |
      | Traffic IP Group | traffic_ip_groups |

  Scenario: What was changed while the controller was away is put right when it is back
    When the controller stops
    And somebody sets basic/monitors of the pool of Ingress "web" to ["Ping"]
    And somebody deletes the virtual server of Ingress "web"
    And the controller runs
    Then "http://web.example/" at 10.0.2.223 is answered by a pod of Deployment "web"
    And a pool of Ingress "web" has basic/monitors ["Connect"]

  Scenario: What somebody adds beside us stays
    Given somebody's virtual server "intranet" on port 8443 of every address
    And somebody's Traffic IP Group "edge" with the address 10.0.9.1
    When somebody sets basic/monitors of the pool of Ingress "web" to ["Ping"]
    Then a pool of Ingress "web" has basic/monitors ["Connect"]
    And somebody's virtual server "intranet" is as it was
    And somebody's Traffic IP Group "edge" is as it was
