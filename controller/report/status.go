package report

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/mutation"
)

// problemDomain begins what a port's error in the status is.
const problemDomain = "vtm.pulsesecure.net/"

type points = []networkingv1.IngressLoadBalancerIngress

// writeStatus brings the status of an Ingress to entry, if it differs.
func (r *Reporter) writeStatus(ctx context.Context, client *kubeclient.Client, rec *record, entry Entry) error {
	if mutation.On(mutation.StatusSilent) {
		return nil
	}
	ingress := r.o.Current(rec.name)
	if ingress == nil || ingress.UID != entry.Ingress.UID {
		return errDrop
	}
	r.mu.Lock()
	now := ingress.Status.LoadBalancer.Ingress
	if rec.version > version(ingress.ResourceVersion) {
		now = rec.written // what was heard is older than what was written
	}
	ours := rec.ours
	r.mu.Unlock()

	want := wanted(entry, now, ours)
	if !equality.Semantic.DeepEqual(now, want) {
		written, err := r.patchStatus(ctx, client, ingress, want, entry.Verdict == nil)
		if err != nil {
			return err
		}
		r.mu.Lock()
		rec.version, rec.written = version(written.ResourceVersion), written.Status.LoadBalancer.Ingress
		r.mu.Unlock()
	}
	r.mu.Lock()
	rec.ours = nil
	if entry.Verdict != nil {
		for _, p := range want {
			rec.ours = append(rec.ours, p.IP)
		}
	}
	r.mu.Unlock()
	return nil
}

// wanted says what the status should hold, where it holds now. ours are the
// addresses that are there because of us.
func wanted(entry Entry, now points, ours []string) points {
	switch {
	case entry.Verdict == nil:
		// Whoever serves it next may have written already.
		return slices.DeleteFunc(slices.Clone(now), func(p networkingv1.IngressLoadBalancerIngress) bool {
			return p.Hostname == "" && (slices.Contains(ours, p.IP) || entry.Left[p.IP])
		})
	case entry.Verdict.Outcome == translate.Rejected && mutation.On(mutation.StatusStays):
		return now
	case entry.Verdict.Outcome == translate.Rejected:
		return nil
	case entry.Live:
		return addresses(entry.Verdict)
	}
	// Not live, or not any more: what was served before may still be.
	var still points
	for _, p := range addresses(entry.Verdict) {
		i := slices.IndexFunc(now, func(n networkingv1.IngressLoadBalancerIngress) bool { return n.IP == p.IP })
		if i >= 0 {
			still = append(still, now[i])
		}
	}
	return still
}

func addresses(v *translate.Verdict) (list points) {
	for _, a := range v.Addresses {
		p := networkingv1.IngressLoadBalancerIngress{IP: a.IP.String()}
		for _, port := range a.Ports {
			status := networkingv1.IngressPortStatus{Port: port, Protocol: corev1.ProtocolTCP}
			if v.Problem != "" {
				// Names that Kubernetes does not define have a domain before them.
				problem := problemDomain + v.Problem
				status.Error = &problem
			}
			p.Ports = append(p.Ports, status)
		}
		list = append(list, p)
	}
	return list
}

// patchStatus replaces the list of addresses and nothing else. exact makes sure
// that nobody changed the Ingress since it was looked at.
func (r *Reporter) patchStatus(ctx context.Context, client *kubeclient.Client, ingress *networkingv1.Ingress, want points, exact bool) (*networkingv1.Ingress, error) {
	metadata := map[string]any{"uid": ingress.UID} // never another of the same name
	if exact {
		metadata["resourceVersion"] = ingress.ResourceVersion
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": metadata,
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": want}},
	})
	if err != nil {
		return nil, err
	}
	var written *networkingv1.Ingress
	err = r.request(ctx, func(ctx context.Context) (err error) {
		written, err = client.NetworkingV1().Ingresses(ingress.Namespace).Patch(ctx, ingress.Name, types.MergePatchType, patch,
			metav1.PatchOptions{FieldManager: kube.StatusManager + r.o.ControllerID}, "status")
		return err
	})
	switch {
	case err == nil || err == errNotWriting || err == errDrop:
		return written, err
	case apierrors.IsNotFound(err):
		return nil, errDrop
	}
	return nil, fmt.Errorf("the status of Ingress %s/%s can't be written: %w%s", ingress.Namespace, ingress.Name, err, remedy(err, "patch ingresses/status"))
}

// remedy for a request that was refused.
func remedy(err error, right string) string {
	switch {
	case apierrors.IsForbidden(err):
		return ": grant the controller's user the right to " + right
	case apierrors.IsUnauthorized(err):
		return ": is the token or certificate still valid?"
	}
	return ""
}
