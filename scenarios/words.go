package scenarios

import "maps"

// addSteps adds the words about backends, nodes, sessions, changes by hand and failed
// writes.
func (s *scenario) addSteps(steps map[string]any) {
	maps.Copy(steps, map[string]any{
		`^a Deployment "([^"]*)" with (\d+) pods? that speaks? TLS behind a NodePort Service$`:                                                        s.tlsDeployment,
		`^a Deployment "([^"]*)" with (\d+) pods? that Kubernetes does not check behind a NodePort Service$`:                                          s.uncheckedDeployment,
		`^the pod that answers "([^"]*)" at (\S+) fails its checks from now on$`:                                                                      s.podFailsChecks,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" to Service "([^"]*)" at (shared address )?(\S+) with annotations$`:                          s.applyAnnotated,
		`^I apply a TLS Ingress "([^"]*)" for host "([^"]*)" with Secret "([^"]*)" to Service "([^"]*)" at (shared address )?(\S+) with annotations$`: s.applyAnnotatedTLS,
		`^I apply an Ingress "([^"]*)" for all hosts to Service "([^"]*)" at (\S+) with annotations$`:                                                 s.applyAnnotatedDefault,
		`^the controller's Lease has a warning "([^"]*)" that names "([^"]*)"$`:                                                                       s.leaseHasWarning,
		`^somebody writes the address (\S+) into the status of Ingress "([^"]*)"$`:                                                                    s.somebodyWritesStatus,
		`^another controller runs beside, with controller_id "([^"]*)" for the IngressClass "([^"]*)"$`:                                               s.anotherController,
		`^I run the command (adopt|cleanup), which tells "([^"]*)"$`:                                                                                  s.byHand,
		`^what is ours was made for a cluster that is gone$`:                                                                                          s.otherClusters,
		`^"([^"]*)" at (\S+) is answered at once$`:                                                                                                    s.answeredAtOnce,
		`^another Kubernetes cluster with a controller of controller_id "([^"]*)" on the same traffic manager$`:                                       s.otherCluster,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" to Service "([^"]*)" at (\S+) in the other cluster$`:                                        s.applyInOther,
		`^Ingress "([^"]*)" of the other cluster has a warning "([^"]*)" that names "([^"]*)"$`:                                                       s.otherHasWarning,
		`^I delete Ingress "([^"]*)" of the other cluster$`:                                                                                           s.otherDeletes,
		`^the traffic manager takes (\d+) seconds to make or delete a Traffic IP Group$`:                                                              s.groupsTake,
		`^Ingress "([^"]*)" has the address (\S+) with port (\d+) in its status, and no (\d+) seconds went by$`:                                       s.ingressHasAddressSoon,
		`^a traffic manager that nothing is written through is down$`:                                                                                 s.anotherManagerDown,
		`^"([^"]*)" at (\S+) is answered with the header (\S+) "([^"]*)"$`:                                                                            s.answeredWithHeader,
		`^clients can't reach the virtual servers$`:                                                                                                   s.clientsCutOff,
		`^somebody removes all that is ours from the traffic manager$`:                                                                                s.somebodyRemovesAll,
		`^I delete the IngressClass "([^"]*)"$`:                                                                                                       s.deleteClass,
		`^I delete the Namespace "([^"]*)"$`:                                                                                                          s.deleteNamespace,
		`^I cordon the node of Deployment "([^"]*)"$`:                                                                                                 s.cordon,
		`^I exclude the node of Deployment "([^"]*)" from external load balancers$`:                                                                   s.excludeNode,
		`^I delete the node of Deployment "([^"]*)"$`:                                                                                                 s.deleteNode,
		`^"([^"]*)" at (\S+) is answered to each client that keeps its cookies by one pod$`:                                                           s.stickyClients,
		`^"([^"]*)" at (\S+) is answered (from the cache|anew each time)$`:                                                                            s.answeredAgain,
		`^"([^"]*)" at (\S+) is answered by a pod of Deployment "([^"]*)" over TLS$`:                                                                  s.answeredOverTLSToPod,
		`^"([^"]*)" at (\S+) is answered by a pod of Deployment "([^"]*)" with its own certificate$`:                                                  s.answeredWithPodsOwn,
		`^somebody sets (\S+)/(\S+) of the (pool|virtual server|monitor|persistence class|Traffic IP Group) of Ingress "([^"]*)" to (.+)$`:            s.somebodySets,
		`^somebody deletes the (pool|virtual server|monitor|persistence class|rule|Traffic IP Group) of Ingress "([^"]*)"$`:                           s.somebodyDeletes,
		`^somebody writes into the rule of Ingress "([^"]*)"$`:                                                                                        s.somebodyWritesRule,
		`^Ingress "([^"]*)" has a (pool|virtual server|monitor|persistence class|rule|Traffic IP Group) on the traffic manager$`:                      s.resourceIsBack,
		`^Ingress "([^"]*)" has no (pool|virtual server|monitor|persistence class|rule|Traffic IP Group) on the traffic manager$`:                     s.resourceIsGone,
		`^I apply and delete this, again for each of its writes, which fails (.+)$`:                                                                   s.eachWriteFails,
		`^Ingress "([^"]*)" of Namespace "([^"]*)" has a warning that names "([^"]*)"$`:                                                               s.ingressOfHasWarning,
		`^I delete all Ingresses$`:                            s.deleteAllIngresses,
		`^Ingress "([^"]*)" loses its address in its status$`: s.ingressLosesAddress,
		`^I annotate Ingress "([^"]*)" with (\S+)$`:           s.annotateWithText,
		`^the controller has not logged "([^"]*)"$`:           s.controllerHasNotLogged,
		`^a pool for Ingress "([^"]*)" has (\d+) nodes?$`:     s.poolHasNodes,
		`^nobody speaks TLS at (\S+) on port (\d+)$`:          s.nobodySpeaksTLS,
	})
}
