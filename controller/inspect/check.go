package inspect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/kubeclient"
)

// Level says how grave a Finding is.
type Level string

// The levels.
const (
	Good    Level = "ok"
	Warning Level = "warning" // works, but not as well as it could
	Problem Level = "problem" // the controller can't do its work
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level Level  `json:"level"`
	About string `json:"about"` // what was looked at, in a few words
	Text  string `json:"text"`
	// Remedy says what to do; "" with level ok.
	Remedy string `json:"remedy,omitempty"`
}

func (f Finding) String() string {
	text := fmt.Sprintf("%-8s %s: %s", f.Level, f.About, f.Text)
	if f.Remedy != "" {
		text += ": " + f.Remedy
	}
	return text
}

// CheckOptions for Check.
type CheckOptions struct {
	Options
	// ClientOf makes a client of one traffic manager alone, by its REST URL; Check
	// closes it.
	ClientOf func(endpoint string) (*vtm.Client, error)
}

const (
	// skew of clocks that is told. Certificates and Leases suffer from more.
	skew = 5 * time.Second
	// dialTimeout for one node's port.
	dialTimeout = 3 * time.Second
	// checkTimeout for one question to the API server.
	checkTimeout = 10 * time.Second
)

// checker gathers findings.
type checker struct {
	o        CheckOptions
	findings []Finding
	clocks   int  // that were compared
	wrong    bool // one of them was off
}

// Check looks at all that the controller needs, changing nothing. It reports
// whether there was no Problem.
func Check(ctx context.Context, o CheckOptions) (findings []Finding, good bool) {
	c := &checker{o: o}
	snapshot := c.kubernetes(ctx)
	c.trafficManagers(ctx)
	if c.clocks > 0 && !c.wrong {
		c.good("clocks", "of the API server and the traffic managers, those that answer are at most %s off this machine's", skew)
	}
	c.relay(ctx)
	if snapshot != nil {
		c.classes(snapshot)
		c.ownership(ctx, snapshot)
		c.nodes(ctx, snapshot)
	}
	return c.findings, !slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Level == Problem })
}

func (c *checker) good(about, format string, args ...any) {
	c.findings = append(c.findings, Finding{Good, about, fmt.Sprintf(format, args...), ""})
}

func (c *checker) find(level Level, about, text, remedy string) {
	c.findings = append(c.findings, Finding{level, about, text, remedy})
}

// kubernetes looks at the API server, and returns what it holds, nil if that
// can't be read.
func (c *checker) kubernetes(ctx context.Context) *kube.Snapshot {
	const about = "Kubernetes"
	client, err := kubeclient.New(c.o.World, c.o.Actor+"/check", c.o.Kubernetes)
	if err != nil {
		c.find(Problem, about, err.Error(), "correct the settings k8s_…")
		return nil
	}
	defer client.Close()
	c.rights(ctx, client)
	snapshot, err := kube.List(ctx, kube.Options{
		World: c.o.World, Log: c.o.Log, Config: c.o.Kubernetes, Settings: c.o.Settings, Actor: c.o.Actor + "/kube",
	})
	if err != nil {
		remedy := "check that it is reachable from here, and the credentials"
		var old *kube.TooOldError
		if errors.As(err, &old) {
			remedy = "upgrade the cluster"
		}
		c.find(Problem, about, err.Error(), remedy)
		return nil
	}
	c.good(about, "%s answers; cluster %s, %d Ingresses, %d Services, %d nodes, %d TLS Secrets",
		c.o.Kubernetes.Host, snapshot.ClusterUID, snapshot.Ingresses.Len(), snapshot.Services.Len(), snapshot.Nodes.Len(), snapshot.Secrets.Len())
	c.clock(about, c.dateOf(ctx, client))
	c.lease(ctx, client)
	return snapshot
}

// rights asks the API server for each right.
func (c *checker) rights(ctx context.Context, client *kubeclient.Client) {
	const about = "permissions in Kubernetes"
	var missing []string
	rights := Rights(c.o.Settings)
	for _, right := range rights {
		answer, err := func() (bool, error) {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, right.review(), metav1.CreateOptions{})
			return err == nil && review.Status.Allowed, err
		}()
		if err != nil {
			c.find(Warning, about, fmt.Sprintf("can't be asked for: %v", err), "compare them with deploy/rbac.yaml by hand")
			return
		}
		if !answer {
			missing = append(missing, fmt.Sprintf("%s (%s)", right, right.Why))
		}
	}
	if len(missing) > 0 {
		c.find(Problem, about, "missing: "+strings.Join(missing, "; "), "apply deploy/rbac.yaml, or grant them otherwise")
		return
	}
	c.good(about, "all %d are there", len(rights))
}

// dateOf asks the API server for the time.
func (c *checker) dateOf(ctx context.Context, client *kubeclient.Client) time.Time {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	httpClient := client.CoreV1().RESTClient().(*rest.RESTClient).Client
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.o.Kubernetes.Host+"/version", nil)
	if err != nil {
		return time.Time{}
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return time.Time{}
	}
	defer response.Body.Close()
	date, _ := http.ParseTime(response.Header.Get("Date")) // zero if there is none
	return date
}

// clock compares somebody's clock with ours; the zero time is not known.
func (c *checker) clock(about string, date time.Time) {
	if date.IsZero() {
		return
	}
	c.clocks++
	off := date.Sub(c.o.World.Clock().Now()).Round(time.Second)
	if off.Abs() > skew {
		c.wrong = true
		c.find(Warning, about, fmt.Sprintf("its clock is %s off this machine's", off), "synchronise the clocks: certificates and the Lease depend on them")
	}
}

// lease tells who writes.
func (c *checker) lease(ctx context.Context, client *kubeclient.Client) {
	const about = "the instance that writes"
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s := c.o.Settings
	lease, err := client.CoordinationV1().Leases(s.LeaseNamespace).Get(ctx, s.LeaseName, metav1.GetOptions{})
	switch {
	case err != nil:
		c.find(Warning, about, fmt.Sprintf("Lease %s/%s: %v", s.LeaseNamespace, s.LeaseName, err), "is the controller running?")
	case lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.RenewTime == nil:
		c.find(Warning, about, fmt.Sprintf("nobody holds the Lease %s/%s", s.LeaseNamespace, s.LeaseName), "is the controller running?")
	default:
		age := c.o.World.Clock().Now().Sub(lease.Spec.RenewTime.Time).Round(time.Second)
		if age > s.LeaseDuration {
			c.find(Warning, about, fmt.Sprintf("%s, which renewed the Lease %s ago", *lease.Spec.HolderIdentity, age), "is the controller running?")
			return
		}
		text := fmt.Sprintf("%s, which renewed the Lease %s ago", *lease.Spec.HolderIdentity, age)
		if r := reconcile.RecordOf(lease); r.Through != "" {
			text += fmt.Sprintf("; term %d, through %s", r.Term, r.Through)
		}
		c.good(about, "%s", text)
	}
}

// minimumVTM is the oldest traffic manager with this feature (specification,
// Prerequisites).
var minimumVTM = [2]int{22, 3}

// trafficManagers looks at each REST endpoint.
func (c *checker) trafficManagers(ctx context.Context) {
	var members []string
	reached := 0
	for _, endpoint := range c.o.Settings.VTMEndpoints {
		about := "traffic manager " + endpoint
		client, err := c.o.ClientOf(endpoint)
		if err != nil {
			c.find(Problem, about, err.Error(), "correct the settings vtm_…")
			continue
		}
		information, err := client.Information(ctx)
		if err != nil {
			level := Problem
			if len(c.o.Settings.VTMEndpoints) > 1 && vtm.KindOf(err) != vtm.Unauthorised {
				level = Warning // others may do
			}
			remedy := "check that it runs and is reachable from here"
			if vtm.KindOf(err) == vtm.Unauthorised {
				remedy = "a user is needed who may make REST requests"
			}
			c.find(level, about, strings.TrimPrefix(err.Error(), about+": "), remedy)
			client.Close()
			continue
		}
		reached++
		c.good(about, "answers; version %s", information.Version)
		if old(information.Version) {
			c.find(Warning, about, "version "+information.Version+" is older than 22.3", "upgrade it")
		}
		c.clock(about, information.Date)
		if found, err := client.Members(ctx); err == nil && len(members) == 0 {
			members = found
		} else if err == nil && !slices.Equal(found, members) {
			c.find(Problem, about, fmt.Sprintf("its cluster is %s, that of the others %s", strings.Join(found, ", "), strings.Join(members, ", ")),
				"name the members of one cluster alone in vtm_endpoints")
		}
		c.replication(ctx, about, client)
		client.Close()
	}
	if reached == 0 {
		c.find(Problem, "traffic managers", "none can be used", "see above")
	} else if len(members) > len(c.o.Settings.VTMEndpoints) {
		c.find(Warning, "traffic managers", fmt.Sprintf("the cluster has %d members (%s), and vtm_endpoints names %d", len(members), strings.Join(members, ", "), len(c.o.Settings.VTMEndpoints)),
			"name them all, so that the controller goes on while one is away")
	}
}

// relay tries the way to what takes log lines, on each traffic manager.
func (c *checker) relay(ctx context.Context) {
	if c.o.Relay == nil {
		return
	}
	const about = "the event log's relay"
	for _, host := range c.o.Relay.Hosts {
		target := net.JoinHostPort(host, strconv.Itoa(int(c.o.Relay.Port)))
		dial, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err := c.o.World.Dial(dial, c.o.Actor+"/relay/"+host, "tcp", target)
		cancel()
		if err != nil {
			c.find(Warning, about, fmt.Sprintf("%s is not reached from here: %v", target, err),
				"open the way to event_log_relay_port, or set event_log_relay to false; it is there once the controller has run")
			continue
		}
		conn.Close()
		c.good(about, "%s is reached from here", target)
	}
}

// old reports whether a version such as "22.3r1" is before minimumVTM.
func old(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	a, err := strconv.Atoi(major)
	if err != nil {
		return false // not known
	}
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		rest = rest[:digits]
	}
	b, err := strconv.Atoi(rest)
	return err == nil && (a < minimumVTM[0] || a == minimumVTM[0] && b < minimumVTM[1])
}

// replication tells what the settings of replication cost.
func (c *checker) replication(ctx context.Context, about string, client *vtm.Client) {
	replication, err := client.Replication(ctx)
	if err != nil {
		c.find(Warning, about, fmt.Sprintf("its replication settings can't be read: %v", err), "see rest_api!replicate_lull and replicate_absolute on it")
		return
	}
	if replication.Lull == 0 {
		c.good(about, "tells other members of each change before it answers: a change is live everywhere at once, and each write takes as long as the slowest member")
		return
	}
	c.find(Warning, about, fmt.Sprintf("tells other members of a change after %s without requests, at latest after %s: on addresses that another member holds a change is live so much later, and so is what Ingresses' status and Events tell", replication.Lull, replication.Absolute),
		"set rest_api!replicate_lull to 0 if that is too late; each write then costs a replication")
}

// classes looks for an IngressClass that makes Ingresses ours.
func (c *checker) classes(s *kube.Snapshot) {
	const about = "IngressClass"
	var ours, others []string
	for name, class := range s.Classes.All() {
		switch {
		case class.Spec.Controller != translate.ControllerName:
		case len(c.o.Settings.IngressClassNames) == 0 || slices.Contains(c.o.Settings.IngressClassNames, name):
			ours = append(ours, name)
		default:
			others = append(others, name)
		}
	}
	slices.Sort(ours)
	slices.Sort(others)
	if len(ours) == 0 && len(others) > 0 {
		c.find(Warning, about, fmt.Sprintf("ingress_class_names leaves out all that have the controller %s (%s)", translate.ControllerName, strings.Join(others, ", ")),
			"name one of them in ingress_class_names, or leave that setting out")
		return
	}
	if len(ours) == 0 {
		c.find(Warning, about, "none that is served has the controller "+translate.ControllerName, "create one, and name it in the Ingresses' spec.ingressClassName")
		return
	}
	c.good(about, "%s", strings.Join(ours, ", "))
}

// ownership looks whose marks the traffic manager bears.
func (c *checker) ownership(ctx context.Context, s *kube.Snapshot) {
	const about = "ownership"
	observed, err := reconcile.Observe(ctx, c.o.Client, c.o.Settings.ControllerID, string(s.ClusterUID))
	var foreign *reconcile.ForeignClusterError
	switch {
	case errors.As(err, &foreign):
		c.find(Problem, about, err.Error(), "if this cluster takes the place of that one, run adopt")
	case err != nil:
		c.find(Problem, about, fmt.Sprintf("what is on the traffic manager can't be read: %v", err), "see above")
	default:
		c.good(about, "%d resources on the traffic manager are this controller's", len(observed.Owned))
		c.named(observed, s)
		for id := range observed.Clashes {
			c.find(Warning, about, fmt.Sprintf("%s has a name of ours and is not ours", id), "rename or remove it on the traffic manager")
		}
	}
}

// named looks for what settings name.
func (c *checker) named(observed *reconcile.Observed, s *kube.Snapshot) {
	if name := c.o.Settings.DefaultTrafficIPGroup; name != "" {
		const about = "default_traffic_ip_group"
		switch group, ok := observed.Appliance.Groups[name]; {
		case !ok:
			c.find(Warning, about, fmt.Sprintf("there is no Traffic IP Group %q on the traffic manager: no Ingress without an address of its own is served", name), "create it, or name another")
		case len(group.Addresses) == 0:
			c.find(Warning, about, fmt.Sprintf("the Traffic IP Group %q has no addresses: no Ingress without an address of its own is served", name), "add one to it, or name another")
		default:
			c.good(about, "%s", name)
		}
	}
	if name := c.o.Settings.DefaultCertificate; name != "" {
		const about = "default_certificate"
		var secret types.NamespacedName
		if secret.Namespace, secret.Name, _ = strings.Cut(name, "/"); s.Secrets.Get(secret) == nil {
			c.find(Warning, about, fmt.Sprintf("there is no TLS Secret %s that is watched: clients that name a host of no Ingress get a certificate that nobody trusts", name),
				"create it, with the labels of secret_label_selector if that is set, in a namespace that is watched")
			return
		}
		c.good(about, "%s", name)
	}
}

// nodes tries a node port of each node, as the traffic manager does.
func (c *checker) nodes(ctx context.Context, s *kube.Snapshot) {
	const about = "nodes' ports"
	services := make([]*kube.Service, 0, s.Services.Len())
	for _, service := range s.Services.All() {
		services = append(services, service)
	}
	slices.SortFunc(services, func(a, b *kube.Service) int { return strings.Compare(a.Key().String(), b.Key().String()) })
	reached := 0
	var away, untried []string
	for _, name := range slices.Sorted(s.Nodes.Keys()) {
		service, port := openOn(name, services, s)
		if service == nil {
			untried = append(untried, name)
			continue
		}
		address := c.addressOf(s.Nodes.Get(name), slices.Equal(service.Families, []corev1.IPFamily{corev1.IPv6Protocol}))
		if !address.IsValid() {
			c.find(Warning, about, fmt.Sprintf("node %s has no address of the type %s for Service %s", name, c.o.Settings.NodeAddressType, service.Key()),
				"set node_address_type to a type of address that the nodes have")
			continue
		}
		target := netip.AddrPortFrom(address, port).String()
		dial, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err := c.o.World.Dial(dial, c.o.Actor+"/node/"+name, "tcp", target)
		cancel()
		if err != nil {
			away = append(away, fmt.Sprintf("node %s (%s, Service %s)", name, target, service.Key()))
			continue
		}
		conn.Close()
		reached++
	}
	if len(away) > 0 {
		c.find(Warning, about, "not reached from here: "+strings.Join(away, ", "),
			"open the way from the traffic managers to the nodes' ports (30000 to 32767 by default)")
	}
	why := "no Service with node ports has a ready endpoint there"
	switch {
	case reached > 0 && len(untried) > 0:
		c.good(about, "reached on %d nodes from here; not tried on %s: %s", reached, strings.Join(untried, ", "), why)
	case reached > 0:
		c.good(about, "reached on %d nodes from here", reached)
	case len(untried) > 0:
		c.good(about, "not tried on %s: %s", strings.Join(untried, ", "), why)
	}
}

// openOn finds a Service's port that a node passes on to a Pod; nil if there is none.
func openOn(node string, services []*kube.Service, s *kube.Snapshot) (*kube.Service, uint16) {
	for _, service := range services {
		endpoints := s.Endpoints.Get(service.Key())
		if endpoints == nil {
			continue
		}
		for _, port := range service.Ports {
			ready := endpoints.ReadyNodes[port.Name]
			tcp := port.Protocol == "" || port.Protocol == corev1.ProtocolTCP
			if tcp && port.NodePort > 0 && len(ready) > 0 && (!service.Local || slices.Contains(ready, node)) {
				return service, uint16(port.NodePort)
			}
		}
	}
	return nil, 0
}

// addressOf is the node's address by which the traffic manager reaches it; invalid if
// there is none.
func (c *checker) addressOf(node *corev1.Node, v6 bool) netip.Addr {
	for _, address := range node.Status.Addresses {
		addr, err := netip.ParseAddr(address.Address)
		if err == nil && string(address.Type) == c.o.Settings.NodeAddressType && addr.Unmap().Is6() == v6 {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}
