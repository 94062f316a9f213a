package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cucumber/godog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const namespace = "default"

func (s *scenario) ownClass(ctx context.Context, name string) error {
	return s.class(ctx, name, "pulsesecure.net/vtm-ingress-controller")
}

// class makes an IngressClass, where the cluster knows that kind.
func (s *scenario) class(ctx context.Context, name, controller string) error {
	return s.apply(ctx, fmt.Sprintf(
		"apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: %s}\nspec: {controller: %s}\n", name, controller))
}

func (s *scenario) deploymentAndService(ctx context.Context, name string, pods int, kind string) error {
	if err := s.apply(ctx, deployment(name, pods)+"\n---\n"+service(name, kind, "")); err != nil {
		return err
	}
	return s.rolloutDone(ctx, name)
}

func (s *scenario) deploymentAndLocalService(ctx context.Context, name string, pods int) error {
	if err := s.apply(ctx, deployment(name, pods)+"\n---\n"+service(name, "NodePort", "Local")); err != nil {
		return err
	}
	return s.rolloutDone(ctx, name)
}

func (s *scenario) applyManifest(ctx context.Context, manifest *godog.DocString) error {
	return s.apply(ctx, manifest.Content)
}

func (s *scenario) applyIngress(ctx context.Context, name, host, service, address string) error {
	return s.apply(ctx, ingress(name, "vtm", host, address, path{"/", service, 80}))
}

func (s *scenario) applyTLSIngress(ctx context.Context, name, host, secret, service, address string) error {
	return s.apply(ctx, ingress(name, "vtm", host, address, path{"/", service, 80})+
		fmt.Sprintf("  tls:\n  - {secretName: %s, hosts: [%s]}\n", secret, host))
}

// applyTLSIngressForHosts makes hosts of a pattern, with numbers from 1 for its *.
func (s *scenario) applyTLSIngressForHosts(ctx context.Context, name string, n int, pattern, secret, service, address string) error {
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = strings.Replace(pattern, "*", strconv.Itoa(i+1), 1)
	}
	return s.apply(ctx, ingress(name, "vtm", hosts[0], address, path{"/", service, 80})+
		fmt.Sprintf("  tls:\n  - {secretName: %s, hosts: [%s]}\n", secret, strings.Join(hosts, ", ")))
}

func (s *scenario) applyIngressPort(ctx context.Context, name, host string, port int, service, address string) error {
	return s.apply(ctx, ingress(name, "vtm", host, address, path{"/", service, port}))
}

func (s *scenario) applyIngressWithoutAddress(ctx context.Context, name, host, service string) error {
	return s.apply(ctx, ingress(name, "vtm", host, "", path{"/", service, 80}))
}

func (s *scenario) applyIngressOfClass(ctx context.Context, name, class, host, service, address string) error {
	return s.apply(ctx, ingress(name, class, host, address, path{"/", service, 80}))
}

func (s *scenario) applyIngressWithPaths(ctx context.Context, name, host, address string, table *godog.Table) error {
	var paths []path
	for _, row := range table.Rows[1:] {
		paths = append(paths, path{row.Cells[0].Value, row.Cells[1].Value, 80})
	}
	return s.apply(ctx, ingress(name, "vtm", host, address, paths...))
}

func (s *scenario) deleteIngress(ctx context.Context, name string) error {
	return s.kubernetes.NetworkingV1().Ingresses(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func (s *scenario) deleteService(ctx context.Context, name string) error {
	return s.kubernetes.CoreV1().Services(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func (s *scenario) patchDeployment(ctx context.Context, name, patch string) error {
	_, err := s.kubernetes.AppsV1().Deployments(namespace).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (s *scenario) scaleDeployment(ctx context.Context, name string, pods int) error {
	return s.patchDeployment(ctx, name, fmt.Sprintf(`{"spec":{"replicas":%d}}`, pods))
}

// restartDeployment does what kubectl rollout restart does.
func (s *scenario) restartDeployment(ctx context.Context, name string) error {
	return s.patchDeployment(ctx, name, fmt.Sprintf(
		`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`,
		s.env.World().Clock().Now().Format(time.RFC3339)))
}

// rolloutDone waits for what kubectl rollout status waits for.
func (s *scenario) rolloutDone(ctx context.Context, name string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		d, err := s.kubernetes.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		want, is := *d.Spec.Replicas, d.Status
		if is.ObservedGeneration < d.Generation || is.UpdatedReplicas != want || is.Replicas != want || is.AvailableReplicas != want {
			return fmt.Errorf("Deployment %s wants %d pods: %d exist, %d are updated, %d available", name, want, is.Replicas, is.UpdatedReplicas, is.AvailableReplicas)
		}
		return nil
	})
}

// noPodEnding waits until no pod is being deleted any more.
func (s *scenario) noPodEnding(ctx context.Context) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		pods, err := s.kubernetes.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("pod %s is still ending", p.Name)
			}
		}
		return nil
	})
}

func (s *scenario) turnIntoNodePort(ctx context.Context, name string) error {
	_, err := s.kubernetes.CoreV1().Services(namespace).Patch(ctx, name, types.MergePatchType,
		[]byte(`{"spec":{"type":"NodePort"}}`), metav1.PatchOptions{})
	return err
}

func (s *scenario) ingressHasAddress(ctx context.Context, name, address string, port int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		ingress, err := s.kubernetes.NetworkingV1().Ingresses(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		at := ingress.Status.LoadBalancer.Ingress
		if len(at) != 1 || at[0].IP != address || len(at[0].Ports) != 1 || at[0].Ports[0].Port != int32(port) {
			text, _ := json.Marshal(at)
			return fmt.Errorf("Ingress %s: status.loadBalancer.ingress is %s", name, text)
		}
		return nil
	})
}

func (s *scenario) portHasNoError(ctx context.Context, name string, port int) error {
	return s.portHasError(ctx, name, "", port)
}

func (s *scenario) portHasError(ctx context.Context, name, problem string, port int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		ingress, err := s.kubernetes.NetworkingV1().Ingresses(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, at := range ingress.Status.LoadBalancer.Ingress {
			for _, p := range at.Ports {
				if p.Port == int32(port) && ptr.Deref(p.Error, "") == problem {
					return nil
				}
			}
		}
		text, _ := json.Marshal(ingress.Status.LoadBalancer.Ingress)
		return fmt.Errorf("Ingress %s: status.loadBalancer.ingress is %s", name, text)
	})
}

// ingressHasAddressSoon is for lanes where time goes by only while everybody waits.
func (s *scenario) ingressHasAddressSoon(ctx context.Context, name, address string, port, seconds int) error {
	began := s.env.World().Clock().Now()
	if err := s.ingressHasAddress(ctx, name, address, port); err != nil {
		return err
	}
	if took := s.env.World().Clock().Now().Sub(began); took >= time.Duration(seconds)*time.Second {
		return fmt.Errorf("that took %s", took)
	}
	return nil
}

func (s *scenario) ingressHasNoAddress(ctx context.Context, name string) error {
	ingress, err := s.kubernetes.NetworkingV1().Ingresses(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(ingress.Status.LoadBalancer.Ingress) > 0 {
		return fmt.Errorf("Ingress %s: status.loadBalancer.ingress is %v", name, ingress.Status.LoadBalancer.Ingress)
	}
	return nil
}

// events of an Ingress that this controller reported.
func (s *scenario) events(ctx context.Context, ingress string) ([]corev1.Event, error) {
	list, err := s.kubernetes.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=Ingress,involvedObject.name=" + ingress,
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// ingressHas waits for an Event that matches, and tells which there are otherwise.
func (s *scenario) ingressHas(ctx context.Context, name string, matches func(corev1.Event) bool) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		events, err := s.events(ctx, name)
		if err != nil {
			return err
		}
		var texts []string
		for _, e := range events {
			if matches(e) {
				return nil
			}
			texts = append(texts, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Message))
		}
		return fmt.Errorf("Ingress %s has these Events only: %s", name, strings.Join(texts, "; "))
	})
}

func (s *scenario) ingressHasEvent(ctx context.Context, name, reason string) error {
	return s.ingressHas(ctx, name, func(e corev1.Event) bool { return e.Reason == reason })
}

func (s *scenario) ingressHasNoEvent(ctx context.Context, name string) error {
	events, err := s.events(ctx, name)
	if err == nil && len(events) > 0 {
		err = fmt.Errorf("Ingress %s has %d Events, the first: %s", name, len(events), events[0].Message)
	}
	return err
}

func (s *scenario) ingressHasWarning(ctx context.Context, name, reason, words string) error {
	return s.ingressHas(ctx, name, func(e corev1.Event) bool {
		return e.Type == corev1.EventTypeWarning && e.Reason == reason && strings.Contains(e.Message, words)
	})
}

// somebodyWritesStatus gives an Ingress an address, as another controller would.
func (s *scenario) somebodyWritesStatus(ctx context.Context, address, name string) error {
	patch := fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":%q,"ports":[{"port":80,"protocol":"TCP"}]}]}}}`, address)
	_, err := s.kubernetes.NetworkingV1().Ingresses(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"}, "status")
	return err
}

// leaseHasWarning waits for an Event of the controller's Lease.
func (s *scenario) leaseHasWarning(ctx context.Context, reason, words string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		list, err := s.kubernetes.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Lease"})
		if err != nil {
			return err
		}
		var seen []string
		for _, e := range list.Items {
			if e.Type == corev1.EventTypeWarning && e.Reason == reason && strings.Contains(e.Message, words) {
				return nil
			}
			seen = append(seen, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Message))
		}
		return fmt.Errorf("the Lease has these Events only: %s", strings.Join(seen, "; "))
	})
}

func (s *scenario) ingressHasAnyWarning(ctx context.Context, name, words string) error {
	return s.ingressHas(ctx, name, func(e corev1.Event) bool {
		return e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, words)
	})
}
