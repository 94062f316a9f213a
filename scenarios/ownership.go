package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/internal/kubeclient"
)

// anotherController runs beside the one of the scenario, for another class.
func (s *scenario) anotherController(ctx context.Context, id, class string) error {
	return s.env.StartBeside(ctx, id, map[string]string{"controller_id": id, "ingress_class_names": class})
}

// byHand runs a command of the controller's program.
func (s *scenario) byHand(ctx context.Context, command, words string) error {
	told, err := s.env.ByHand(ctx, command)
	if err == nil && !strings.Contains(told, words) {
		err = fmt.Errorf("%s tells: %s", command, told)
	}
	return err
}

// escaped is the path of a resource with its name as it stands in URLs.
func escaped(path string) string {
	at := strings.LastIndex(path, "/")
	return path[:at+1] + url.PathEscape(path[at+1:])
}

var clusterInMark = regexp.MustCompile(` cluster=[^ "]+`)

// otherClusters makes what is ours another cluster's: one that this one replaces.
func (s *scenario) otherClusters(ctx context.Context) error {
	paths, err := s.ours(ctx)
	if err != nil {
		return err
	}
	for _, path := range paths {
		path = escaped(path)
		_, body, err := s.env.REST(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		changed := clusterInMark.ReplaceAllString(string(body), " cluster=a-cluster-that-is-gone")
		if !strings.HasPrefix(path, "rules/") {
			note := regexp.MustCompile(`"note":"[^"]*"`).FindString(changed)
			changed = `{"properties":{"basic":{` + note + `}}}`
		}
		status, answer, err := s.env.REST(ctx, http.MethodPut, path, []byte(changed))
		if err != nil || status >= 300 {
			return fmt.Errorf("%s: status %d: %.300s, %w", path, status, answer, err)
		}
	}
	return nil
}

// otherCluster is a Kubernetes cluster of its own, whose controller goes to the same
// traffic manager. Its nodes are those of the first: nobody runs Pods there otherwise.
func (s *scenario) otherCluster(ctx context.Context, id string) error {
	config, err := s.env.OtherCluster(ctx, map[string]string{"controller_id": id})
	if err != nil {
		return err
	}
	if s.other, err = kubeclient.New(s.env.World(), "scenario/other", config); err != nil {
		return err
	}
	nodes, err := s.kubernetes.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		copied := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
		if copied, err = s.other.CoreV1().Nodes().Create(ctx, copied, metav1.CreateOptions{}); err != nil {
			return err
		}
		copied.Status = node.Status
		if _, err = s.other.CoreV1().Nodes().UpdateStatus(ctx, copied, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return s.inOther(func() error { return s.ownClass(ctx, "vtm") })
}

// inOther lets steps act in the other cluster.
func (s *scenario) inOther(do func() error) error {
	first := s.kubernetes
	defer func() { s.kubernetes = first }()
	s.kubernetes = s.other
	return do()
}

// applyInOther makes an Ingress in the other cluster, to the node port of a Service of
// this one.
func (s *scenario) applyInOther(ctx context.Context, name, host, service, address string) error {
	original, err := s.kubernetes.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return s.inOther(func() error {
		return s.apply(ctx, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {type: NodePort, ports: [{port: 80, nodePort: %d}]}
---
%s`, service, original.Spec.Ports[0].NodePort, ingress(name, "vtm", host, address, path{"/", service, 80})))
	})
}

// groupsTake gives two controllers the time to claim one address before either sees
// the other's claim.
func (s *scenario) groupsTake(seconds int) error {
	const rule = "latency %ds method=%s path=traffic_ip_groups/*"
	return s.env.Faults(fmt.Sprintf(rule+"\n"+rule, seconds, http.MethodPut, seconds, http.MethodDelete))
}

func (s *scenario) otherHasWarning(ctx context.Context, name, reason, words string) error {
	return s.inOther(func() error { return s.ingressHasWarning(ctx, name, reason, words) })
}

func (s *scenario) otherDeletes(ctx context.Context, name string) error {
	return s.inOther(func() error { return s.deleteIngress(ctx, name) })
}

// older makes the name that a release with another naming might have given: it begins
// as all names of ours do.
func older(name string) string { return "k8s_older." + strings.TrimPrefix(name, "k8s_") }

// olderNames gives what is ours other names, with all that refers to them and the same
// marks, as a release that named it otherwise left it. REST can't rename, so all is
// deleted and made anew.
func (s *scenario) olderNames(ctx context.Context, which string) error {
	paths, err := s.ours(ctx) // who refers comes before what it refers to
	if err != nil {
		return err
	}
	type resource struct{ path, body string }
	var all []resource // with the paths that they get
	var names []string // old and new, quoted as they are wherever one resource names another
	for _, path := range paths {
		status, body, err := s.env.REST(ctx, http.MethodGet, escaped(path), nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%s: status %d, %w", path, status, err)
		}
		text := string(body)
		if strings.HasPrefix(path, "ssl/") {
			if text, err = s.withPrivateKey(ctx, text); err != nil {
				return err
			}
		}
		listens := strings.HasPrefix(path, "virtual_servers/") || strings.HasPrefix(path, "traffic_ip_groups/")
		if which == "everything of ours" || !listens {
			at := strings.LastIndex(path, "/") + 1
			name := path[at:]
			names = append(names, strconv.Quote(name), strconv.Quote(older(name)))
			path = path[:at] + older(name)
		}
		all = append(all, resource{path, text})
	}
	for _, path := range paths {
		if err := s.rest(ctx, http.MethodDelete, escaped(path), "", nil); err != nil {
			return err
		}
	}
	references := strings.NewReplacer(names...)
	for _, r := range slices.Backward(all) {
		if err := s.rest(ctx, http.MethodPut, escaped(r.path), references.Replace(r.body), nil); err != nil {
			return err
		}
	}
	return nil
}

// withPrivateKey puts the private key of the Secret that a server key's mark names into
// the server key, which REST shows without.
func (s *scenario) withPrivateKey(ctx context.Context, body string) (string, error) {
	var key struct {
		Properties struct {
			Basic map[string]any `json:"basic"`
		} `json:"properties"`
	}
	if err := json.Unmarshal([]byte(body), &key); err != nil {
		return "", err
	}
	note, _ := key.Properties.Basic["note"].(string)
	_, owner, _ := strings.Cut(note, " owner=Secret/"+namespace+"/")
	name, _, _ := strings.Cut(owner, " ")
	secret, err := s.kubernetes.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("the Secret that %q names: %w", note, err)
	}
	key.Properties.Basic = map[string]any{"note": note, "public": string(secret.Data[corev1.TLSCertKey]), "private": string(secret.Data[corev1.TLSPrivateKeyKey])}
	text, err := json.Marshal(key)
	return string(text), err
}

// noteOurs remembers our resources by path, each as it is read.
func (s *scenario) noteOurs(ctx context.Context) (err error) {
	s.notedOurs, err = s.allOfOurs(ctx)
	return err
}

// oursAsNoted waits until each of our resources is as it was, and there are no others.
func (s *scenario) oursAsNoted(ctx context.Context) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		is, err := s.allOfOurs(ctx)
		if err == nil && !cmp.Equal(s.notedOurs, is) {
			err = fmt.Errorf("what is on the traffic manager differs: %s", cmp.Diff(s.notedOurs, is))
		}
		return err
	})
}
