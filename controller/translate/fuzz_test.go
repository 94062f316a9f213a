package translate_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// FuzzTranslate puts any Ingress and Service beside a good one: there is no
// panic, each Ingress of ours has a verdict with reasons unless it is complete,
// names and marks are lawful, and unless both want one address the good one is
// served as if it were alone.
func FuzzTranslate(f *testing.F) {
	f.Add(`{"metadata":{"namespace":"a","name":"x","uid":"u","annotations":{"kubernetes.io/ingress.class":"vtm","vtm.pulsesecure.net/ip-address":"10.0.0.1","vtm.pulsesecure.net/port":"81"}},
		"spec":{"defaultBackend":{"service":{"name":"s","port":{"number":80}}},"rules":[{"host":"*.x.org","http":{"paths":[{"path":"/*","pathType":"ImplementationSpecific","backend":{"service":{"name":"s","port":{"name":"http"}}}}]}}]}}`,
		`{"metadata":{"namespace":"a","name":"s"},"spec":{"type":"NodePort","externalTrafficPolicy":"Local","ports":[{"name":"http","port":80,"nodePort":30080}]}}`)
	f.Add(`{"metadata":{"namespace":"a\n_","name":"x_\"","uid":"u v","annotations":{"kubernetes.io/ingress.class":"vtm","vtm.pulsesecure.net/shared-ip-address":"fe80::1%eth0","ingress.kubernetes.io/\u0000":"x"}},"spec":{"rules":[{}]}}`,
		`{"metadata":{"namespace":"a","name":"s"},"spec":{"type":"\u0000","ports":[{"port":-1,"nodePort":99999}]}}`)
	f.Add(`{"metadata":{"namespace":"","name":"","uid":""},"spec":{"tls":[{}]}}`, `{}`)
	f.Add(`{"metadata":{"namespace":"a","name":"`+strings.Repeat("x", 253)+`","uid":"u","annotations":{"kubernetes.io/ingress.class":"vtm","vtm.pulsesecure.net/shared-ip-address":"::ffff:10.0.0.9"}},"spec":{"defaultBackend":{"service":{"name":"s","port":{"number":80}}}}}`,
		`{"metadata":{"namespace":"a","name":"s"},"spec":{"type":"LoadBalancer","ports":[{"port":80,"protocol":"SCTP","nodePort":30080},{"port":80,"nodePort":30081}]}}`)
	f.Add(`{"metadata":{"namespace":"a","name":"x","uid":"u","annotations":{"kubernetes.io/ingress.class":"vtm","vtm.pulsesecure.net/ip-address":"10.0.0.1",
		"vtm.pulsesecure.net/monitor":"{\"properties\":{\"basic\":{\"type\":\"http\",\"delay\":1e9},\"http\":{\"path\":\"\\u0000\"}}}","vtm.pulsesecure.net/persistence":"{\"properties\":{\"basic\":null}}",
		"vtm.pulsesecure.net/pool-customization":"{\"properties\":{\"basic\":{\"monitors\":[1,null,{}],\"nodes_table\":[{}]}}}","vtm.pulsesecure.net/virtualserver-customization":"[[[[",
		"vtm.pulsesecure.net/request-trafficscript":"\u0000}\"","ingress.kubernetes.io/ssl-redirect":"true"}},
		"spec":{"tls":[{"hosts":["*.A.b",""],"secretName":"keys"},{"secretName":"none"}],"defaultBackend":{"service":{"name":"s","port":{"number":80}}}}}`,
		`{"metadata":{"namespace":"a","name":"s"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30080}]}}`)
	good := crowd(1)
	alone := translate.New().Translate(good)
	f.Fuzz(func(t *testing.T, ingressJSON, serviceJSON string) {
		var ingress networkingv1.Ingress
		var service corev1.Service
		if json.Unmarshal([]byte(ingressJSON), &ingress) != nil || json.Unmarshal([]byte(serviceJSON), &service) != nil {
			return
		}
		key := types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name}
		if good.Snapshot.Ingresses.Get(key) != nil || ingress.Namespace == "team-0" {
			return // the good one's own
		}
		in := good
		s := *good.Snapshot
		s.Ingresses = s.Ingresses.With(key, &ingress)
		s.Services = s.Services.With(types.NamespacedName{Namespace: service.Namespace, Name: service.Name}, kube.ServiceOf(&service))
		s.Endpoints = s.Endpoints.With(types.NamespacedName{Namespace: service.Namespace, Name: service.Name}, &kube.Endpoints{ReadyNodes: map[string][]string{"http": {"node-0", "gone"}}})
		in.Snapshot = &s
		settings := *config.Default()
		settings.DefaultTrafficIPGroup = "absent"
		settings.VTMEnableCustomizations, settings.VTMEnableTrafficScript = true, true
		in.Settings = &settings
		result := translate.New().Translate(in)

		v := result.Verdicts[key]
		if ours := ingress.Spec.IngressClassName == nil && ingress.Annotations["kubernetes.io/ingress.class"] == "vtm"; ours != (v != nil) {
			t.Fatalf("ours: %v, verdict: %+v", ours, v)
		}
		if v != nil && v.Outcome != translate.Complete && len(v.Reasons) == 0 {
			t.Fatal("no reasons")
		}
		if v != nil {
			for _, r := range v.Reasons {
				if len(r.Message) > 1000 || strings.ContainsFunc(r.Message, func(c rune) bool { return c < ' ' }) {
					t.Errorf("message %q", r.Message)
				}
			}
		}
		for id, r := range result.Desired {
			if len(id.Name) > 200 || strings.ContainsAny(id.Name, "/\n\x00") || !strings.HasPrefix(id.Name, "k8s_") {
				t.Errorf("name %q", id.Name)
			}
			if mark, ok := r.Mark(); !ok || mark.ID != "k8s" || mark.Cluster != "cluster-uid" {
				t.Errorf("%s: mark %+v", id, mark)
			}
		}
		for _, address := range verdictAddresses(v) {
			if address == "10.1.0.1" {
				return // it displaced the good one, by an older creation time
			}
		}
		for id, r := range alone.Desired {
			if !vtm.Equal(result.Desired[id], r) {
				t.Fatalf("%s differs from what it is without the other Ingress", id)
			}
		}
		for key, want := range alone.Verdicts {
			if !reflect.DeepEqual(result.Verdicts[key], want) {
				t.Fatalf("verdict %+v, alone %+v", result.Verdicts[key], want)
			}
		}
	})
}

func verdictAddresses(v *translate.Verdict) []string {
	var out []string
	if v != nil {
		for _, a := range v.Addresses {
			out = append(out, a.IP.String())
		}
	}
	return out
}
