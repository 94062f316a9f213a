package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// serveFamilies makes a Deployment and a NodePort Service with these ipFamilies, separated
// by commas.
func (s *scenario) serveFamilies(ctx context.Context, name string, pods int, families string) error {
	policy := corev1.IPFamilyPolicySingleStack
	if strings.Contains(families, ",") {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	err := s.apply(ctx, deployment(name, pods)+"\n---\n"+service(name, "NodePort", "")+
		fmt.Sprintf("  ipFamilyPolicy: %s\n  ipFamilies: [%s]\n", policy, families))
	if err != nil {
		return err
	}
	return s.rolloutDone(ctx, name)
}

// setFamilyPolicy does it as a user of kubectl patch does, who says nothing of families.
func (s *scenario) setFamilyPolicy(ctx context.Context, name, policy string) error {
	_, err := s.kubernetes.CoreV1().Services(namespace).Patch(ctx, name, types.MergePatchType,
		[]byte(fmt.Sprintf(`{"spec":{"ipFamilyPolicy":%q}}`, policy)), metav1.PatchOptions{})
	return err
}

// poolHasFamily waits until a pool of an Ingress has just the addresses of one family of
// all nodes, each with the Service's node port.
func (s *scenario) poolHasFamily(ctx context.Context, ingress, family string, count int, service string) error {
	nodes, err := s.kubernetes.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	object, err := s.kubernetes.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	var wanted []string
	for _, n := range nodes.Items {
		for _, address := range n.Status.Addresses {
			ip, err := netip.ParseAddr(address.Address)
			if err == nil && ip.Is6() == (family == string(corev1.IPv6Protocol)) {
				wanted = append(wanted, netip.AddrPortFrom(ip, uint16(object.Spec.Ports[0].NodePort)).String())
			}
		}
	}
	slices.Sort(wanted)
	if len(wanted) != count {
		return fmt.Errorf("the nodes have %d %s addresses: %v", len(wanted), family, wanted)
	}
	return s.poolHas(ctx, ingress, strings.Join(wanted, " "), func(nodes []string) bool { return slices.Equal(nodes, wanted) })
}
