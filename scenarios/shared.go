package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// sharedIngress is an Ingress on a shared address.
func sharedIngress(name, host, address, service string) string {
	return strings.Replace(ingress(name, "vtm", host, address, path{"/", service, 80}),
		"vtm.pulsesecure.net/ip-address", "vtm.pulsesecure.net/shared-ip-address", 1)
}

func (s *scenario) applySharedIngress(ctx context.Context, name, host, service, address string) error {
	return s.apply(ctx, sharedIngress(name, host, address, service))
}

func (s *scenario) applySharedTLSIngress(ctx context.Context, name, host, secret, service, address string) error {
	return s.apply(ctx, sharedIngress(name, host, address, service)+fmt.Sprintf("  tls:\n  - {secretName: %s, hosts: [%s]}\n", secret, host))
}

// applySharedIngresses makes n of them, numbered from 1: <n> in hosts is the number.
func (s *scenario) applySharedIngresses(ctx context.Context, n int, name, hosts, service, address string) error {
	for i := 1; i <= n; i++ {
		host := strings.ReplaceAll(hosts, "<n>", fmt.Sprint(i))
		if err := s.applySharedIngress(ctx, fmt.Sprint(name, i), host, service, address); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) deleteIngresses(ctx context.Context, n int, name string) error {
	for i := 1; i <= n; i++ {
		if err := s.deleteIngress(ctx, fmt.Sprint(name, i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) annotate(ctx context.Context, name, annotation, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: value}}})
	if err != nil {
		return err
	}
	_, err = s.kubernetes.NetworkingV1().Ingresses(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// answeredWithNoSecret waits until the server shows a certificate of which no Secret
// was made.
func (s *scenario) answeredWithNoSecret(ctx context.Context, target, address string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		a, err := s.ask(ctx, address, target)
		if err != nil {
			return err
		}
		for name, certificate := range s.certificates {
			if bytes.Equal(a.certificate, certificate) {
				return fmt.Errorf("%s at %s shows the certificate of Secret %s", target, address, name)
			}
		}
		if a.certificate == nil {
			return fmt.Errorf("%s at %s shows no certificate", target, address)
		}
		return nil
	})
}

// writesNotTo checks that from one to most writes were made, none of them to virtual
// servers.
func (s *scenario) writesNotToServers(most int) error {
	writes := s.newWrites()
	for _, w := range writes {
		if strings.HasPrefix(w.Path, "virtual_servers/") {
			return fmt.Errorf("a virtual server was written: %v", w)
		}
	}
	if len(writes) > most || len(writes) == 0 {
		return fmt.Errorf("%d writes were made, expected 1 to %d: %v", len(writes), most, writes)
	}
	return nil
}
