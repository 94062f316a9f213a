package scenarios

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cucumber/godog"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/testenv"
)

// scenario is the state of one scenario: the system it runs on, and what its
// steps have to remember.
type scenario struct {
	lane       testenv.Lane
	env        testenv.Env
	kubernetes *kubeclient.Client
	other      *kubeclient.Client // of another cluster; nil: there is none
	lenient    bool               // tagged so: see testenv.Options

	writesBefore int               // when "I count the writes" was said
	foreign      map[string]string // somebody's objects, as they were when made
	certificates map[string][]byte // DER, of the Secrets that the scenario made
	notedOurs    map[string]string // our resources, when "I note what is ours" was said
	load         *load             // steady requests, if any
	noted        *x509.Certificate // when "I note the certificate" was said
	ahead        time.Duration     // of what the controller's clock was put forward
	requests     int               // made so far: each has an actor of its own
	available    availability
}

// register says which words features may use.
func (s *scenario) register(sc *godog.ScenarioContext) {
	steps := map[string]any{
		`^a cluster with (\d+) nodes and a traffic manager$`:                                                   s.cluster,
		`^a cluster with (\d+) nodes and (\d+) traffic managers that replicate after (\d+) seconds$`:           s.clusterThatReplicates,
		`^a cluster of Kubernetes (\S+) with (\d+) nodes and a traffic manager$`:                               s.clusterOfVersion,
		`^a cluster of IPv6 with (\d+) nodes and a traffic manager$`:                                           s.clusterOfIPv6,
		`^the IngressClass "([^"]*)" of this controller$`:                                                      s.ownClass,
		`^the IngressClass "([^"]*)" of controller "([^"]*)"$`:                                                 s.class,
		`^the setting (\S+) is "([^"]*)"$`:                                                                     s.setting,
		`^the traffic manager keeps the settings$`:                                                             s.keptSettings,
		`^the controller runs$`:                                                                                s.controllerRuns,
		`^the controller stops$`:                                                                               s.controllerStops,
		`^the controller is ready$`:                                                                            s.controllerIsReady,
		`^the controller logs "([^"]*)" and "([^"]*)" and "([^"]*)"$`:                                          s.controllerLogs,
		`^the traffic manager's event log (has|lacks) a line with "([^"]*)" and "([^"]*)"$`:                    s.eventLog,
		`^(\d+) resyncs go by$`:                                                                                s.resyncsGoBy,
		`^a traffic manager joins the cluster$`:                                                                func() error { return s.env.Join() },
		`^the traffic manager "([^"]*)" leaves the cluster$`:                                                   func(name string) error { return s.env.Leave(name) },
		`^the traffic manager is looked at again$`:                                                             s.oneResyncGoesBy,
		`^a Deployment "([^"]*)" with (\d+) pods? behind a (\S+) Service$`:                                     s.deploymentAndService,
		`^a Deployment "([^"]*)" with (\d+) pods? behind a NodePort Service with externalTrafficPolicy Local$`: s.deploymentAndLocalService,

		`^I apply$`: s.applyManifest,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" to Service "([^"]*)" at (\S+)$`:                                         s.applyIngress,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" to port (\d+) of Service "([^"]*)" at (\S+)$`:                           s.applyIngressPort,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" to Service "([^"]*)" without an address$`:                               s.applyIngressWithoutAddress,
		`^I apply an Ingress "([^"]*)" of class "([^"]*)" for host "([^"]*)" to Service "([^"]*)" at (\S+)$`:                      s.applyIngressOfClass,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" with paths to Services at (\S+)$`:                                       s.applyIngressWithPaths,
		`^I apply a TLS Ingress "([^"]*)" for host "([^"]*)" with Secret "([^"]*)" to Service "([^"]*)" at (\S+)$`:                s.applyTLSIngress,
		`^I apply a TLS Ingress "([^"]*)" for (\d+) hosts "([^"]*)" with Secret "([^"]*)" to Service "([^"]*)" at (\S+)$`:         s.applyTLSIngressForHosts,
		`^I apply an Ingress "([^"]*)" for host "([^"]*)" to Service "([^"]*)" at shared address (\S+)$`:                          s.applySharedIngress,
		`^I apply a TLS Ingress "([^"]*)" for host "([^"]*)" with Secret "([^"]*)" to Service "([^"]*)" at shared address (\S+)$`: s.applySharedTLSIngress,
		`^I apply (\d+) Ingresses "([^"]*)" for hosts "([^"]*)" to Service "([^"]*)" at shared address (\S+)$`:                    s.applySharedIngresses,
		`^I delete (\d+) Ingresses "([^"]*)"$`:                               s.deleteIngresses,
		`^I annotate Ingress "([^"]*)" with (\S+) "([^"]*)"$`:                s.annotate,
		`^"([^"]*)" at (\S+) is answered with the certificate of no Secret$`: s.answeredWithNoSecret,
		`^at most (\d+) writes were made, none of them to virtual servers$`:  s.writesNotToServers,
		`^I delete Ingress "([^"]*)"$`:                                       s.deleteIngress,
		`^a TLS Secret "([^"]*)" for "([^"]*)"$`:                             s.tlsSecret,
		`^a TLS Secret "([^"]*)" for "([^"]*)" with label "([^"]*)"$`:        s.labelledTLSSecret,
		`^I renew TLS Secret "([^"]*)" for "([^"]*)"$`:                       s.tlsSecret,
		`^I delete Secret "([^"]*)"$`:                                        s.deleteSecret,
		`^I delete Service "([^"]*)"$`:                                       s.deleteService,
		`^I scale Deployment "([^"]*)" to (\d+)$`:                            s.scaleDeployment,
		`^I restart Deployment "([^"]*)"$`:                                   s.restartDeployment,
		`^the rollout of Deployment "([^"]*)" is done$`:                      s.rolloutDone,
		`^the pods that were replaced have ended$`:                           s.noPodEnding,
		`^I turn Service "([^"]*)" into a NodePort Service$`:                 s.turnIntoNodePort,

		`^Ingress "([^"]*)" has the address (\S+) with port (\d+) in its status$`: s.ingressHasAddress,
		`^Ingress "([^"]*)" has the error "([^"]*)" at port (\d+) in its status$`: s.portHasError,
		`^Ingress "([^"]*)" has no error at port (\d+) in its status$`:            s.portHasNoError,
		`^Ingress "([^"]*)" has no address in its status$`:                        s.ingressHasNoAddress,
		`^Ingress "([^"]*)" has an Event "([^"]*)"$`:                              s.ingressHasEvent,
		`^Ingress "([^"]*)" has no Event$`:                                        s.ingressHasNoEvent,
		`^Ingress "([^"]*)" has a warning "([^"]*)" that names "([^"]*)"$`:        s.ingressHasWarning,
		`^Ingress "([^"]*)" has a warning that names "([^"]*)"$`:                  s.ingressHasAnyWarning,

		`^"([^"]*)" at (\S+) is answered by a pod of Deployment "([^"]*)"$`:         s.answeredByPod,
		`^"([^"]*)" at (\S+) is answered with status (\d+)$`:                        s.answeredWithStatus,
		`^"([^"]*)" at (\S+) is answered by (\d+) different pods?$`:                 s.answeredByDifferentPods,
		`^"([^"]*)" at (\S+) is answered with a text that (holds|lacks) "([^"]*)"$`: s.answeredWithText,
		`^"([^"]*)" at (\S+) is redirected to "([^"]*)"$`:                           s.redirectedTo,
		`^"([^"]*)" at (\S+) is answered with the certificate of Secret "([^"]*)"$`: s.answeredWithCertificate,
		`^these are answered at (\S+)$`:                                             s.theseAreAnswered,
		`^nobody listens at (\S+) on port (\d+)$`:                                   s.nobodyListens,
		`^steady requests to "([^"]*)" at (\S+)$`:                                   s.steadyRequests,
		`^requests around each write to "([^"]*)" at (\S+)$`:                        s.requestsAroundWrites,
		`^each request that was answered was answered well$`:                        s.answeredWell,
		`^no request has failed$`:                                                   s.noRequestHasFailed,

		`^somebody's Traffic IP Group "([^"]*)" with the address (\S+)( on the first traffic manager alone)?$`:           s.foreignGroup,
		`^somebody's virtual server "([^"]*)" on port (\d+) of every address$`:                                           s.foreignServer,
		`^somebody's (Traffic IP Group|virtual server) "([^"]*)" is as it was$`:                                          s.foreignUnchanged,
		`^somebody's virtual server "([^"]*)" on port (\d+) of the Traffic IP Group "([^"]*)"$`:                          s.foreignServerOn,
		`^somebody deletes the (Traffic IP Group|virtual server) "([^"]*)"$`:                                             s.foreignDeleted,
		`^"([^"]*)" is all that is left of ours on the traffic manager$`:                                                 s.onlyLeft,
		`^nothing of ours is left on the traffic manager$`:                                                               s.nothingLeft,
		`^a (pool|virtual server|monitor|persistence class|Traffic IP Group) of Ingress "([^"]*)" has (\S+)/(\S+) (.+)$`: s.resourceHas,
		`^the traffic manager has the server keys? "([^"]*)"$`:                                                           s.serverKeys,
		`^at most (\d+) writes? (?:was|were) made, all of them to server keys$`:                                          s.serverKeyWrites,
		`^a pool for Ingress "([^"]*)" has the nodes of (\d+) pods?$`:                                                    s.poolHasNodes,
		`^I count the writes from now on$`:                                                                               s.countWrites,
		`^no write was made$`:                                                                                            s.noWrite,
		`^at most (\d+) writes were made, all of them to pools$`:                                                         s.poolWrites,
		`^the traffic manager's REST API goes away$`:                                                                     s.restAway,
		`^the traffic manager refuses the password$`:                                                                     s.restUnauthorized,
		`^the traffic manager answers nonsense$`:                                                                         s.restGarbage,
		`^the traffic manager's REST API is back$`:                                                                       s.restHealthy,
	}
	s.addSteps(steps)
	s.addCertificateSteps(steps)
	s.addAvailabilitySteps(steps)
	for _, expression := range slices.Sorted(keys(steps)) {
		sc.Step(expression, steps[expression])
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// end closes everything, and after a failure writes what helps to understand it.
func (s *scenario) end(failure error, output io.Writer) {
	if s.load != nil {
		s.load.stop()
	}
	if s.env == nil {
		return
	}
	if failure != nil {
		lines := strings.Split(strings.TrimSpace(s.env.ControllerLog()), "\n")
		if len(lines) > 40 {
			lines = lines[len(lines)-40:]
		}
		fmt.Fprintf(output, "\nthe controller's last lines:\n%s\n", strings.Join(lines, "\n"))
	}
	for _, client := range []*kubeclient.Client{s.kubernetes, s.other} {
		if client != nil {
			client.Close()
		}
	}
	s.env.Close()
}

func (s *scenario) cluster(ctx context.Context, nodes int) error {
	return s.clusterOfVersion(ctx, "", nodes)
}

func (s *scenario) clusterThatReplicates(ctx context.Context, nodes, trafficManagers, seconds int) error {
	if err := s.start(ctx, testenv.Options{Nodes: nodes, TrafficManagers: trafficManagers, Lenient: s.lenient, Seed: 1}); err != nil {
		return err
	}
	return s.rest(ctx, http.MethodPut, "global_settings", fmt.Sprintf(`{"properties":{"rest_api":{"replicate_lull":%d,"replicate_absolute":20}}}`, seconds), nil)
}

func (s *scenario) clusterOfVersion(ctx context.Context, version string, nodes int) error {
	return s.start(ctx, testenv.Options{KubernetesVersion: version, Nodes: nodes, Lenient: s.lenient, Seed: 1})
}

func (s *scenario) clusterOfIPv6(ctx context.Context, nodes int) error {
	return s.start(ctx, testenv.Options{Nodes: nodes, IPv6: true, Lenient: s.lenient, Seed: 1})
}

func (s *scenario) dualStackCluster(ctx context.Context, nodes int) error {
	return s.start(ctx, testenv.Options{Nodes: nodes, DualStack: true, Lenient: s.lenient, Seed: 1})
}

func (s *scenario) start(ctx context.Context, o testenv.Options) error {
	env, err := s.lane.Start(ctx, o)
	if err != nil {
		return err
	}
	s.env = env
	s.foreign = map[string]string{}
	s.certificates = map[string][]byte{}
	s.kubernetes, err = kubeclient.New(env.World(), "scenario", env.KubernetesConfig())
	return err
}

func (s *scenario) setting(name, value string) { s.env.Set(name, value) }

func (s *scenario) controllerRuns(ctx context.Context) error { return s.env.StartController(ctx) }

func (s *scenario) controllerStops() { s.env.StopController() }

func (s *scenario) controllerIsReady(ctx context.Context) error {
	return s.env.Eventually(ctx, func(context.Context) error {
		if !s.env.ControllerReady() {
			return fmt.Errorf("the controller is not ready")
		}
		return nil
	})
}

func (s *scenario) eventLog(ctx context.Context, has, a, b string) error {
	found := func() bool {
		return slices.ContainsFunc(s.env.EventLog(), func(line string) bool { return strings.Contains(line, a) && strings.Contains(line, b) })
	}
	if has == "lacks" {
		if found() {
			return fmt.Errorf("a line has %q and %q", a, b)
		}
		return nil
	}
	return s.env.Eventually(ctx, func(context.Context) error {
		if found() {
			return nil
		}
		lines := s.env.EventLog()
		return fmt.Errorf("no line has %q and %q: %q", a, b, lines[max(0, len(lines)-20):])
	})
}

func (s *scenario) controllerLogs(ctx context.Context, a, b, c string) error {
	return s.env.Eventually(ctx, func(context.Context) error {
		for line := range strings.Lines(s.env.ControllerLog()) {
			if strings.Contains(line, a) && strings.Contains(line, b) && strings.Contains(line, c) {
				return nil
			}
		}
		return fmt.Errorf("no line of the controller's log has %q, %q and %q", a, b, c)
	})
}
