package kube_test

import (
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

func TestVersionsServeWhatTheyHad(t *testing.T) {
	for _, test := range []struct {
		version   string
		minor     string
		has, lack []string
		v3        bool
		watchList bool
	}{
		{"1.18", "18", []string{"v1"}, []string{"networking.k8s.io/v1", "discovery.k8s.io/v1"}, false, false},
		{"v1.20.4", "20", []string{"networking.k8s.io/v1"}, []string{"discovery.k8s.io/v1"}, false, false},
		{"1.24", "24", []string{"networking.k8s.io/v1", "discovery.k8s.io/v1"}, nil, true, false},
		{"1.28", "28", []string{"authentication.k8s.io/v1"}, nil, true, false},
		{"", "37", []string{"networking.k8s.io/v1", "discovery.k8s.io/v1"}, nil, true, true},
	} {
		t.Run("version "+test.version, func(t *testing.T) {
			s := start(t, func(o *kube.Options) { o.Version = test.version })
			c, ctx := client(t, s, "a"), deadline(t)
			// One that asks for aggregated discovery, and one as clients were before.
			legacy := discovery.NewDiscoveryClient(c.CoreV1().RESTClient())
			legacy.UseLegacyDiscovery = true
			for how, d := range map[string]discovery.DiscoveryInterface{"aggregated": c.Discovery(), "legacy": legacy} {
				v, err := d.ServerVersion()
				if err != nil || v.Minor != test.minor || v.GitVersion != "v1."+test.minor+".0" {
					t.Errorf("%s: version %+v %v", how, v, err)
				}
				_, lists, err := d.ServerGroupsAndResources()
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				var served []string
				for _, l := range lists {
					served = append(served, l.GroupVersion)
				}
				for _, gv := range test.has {
					if !slices.Contains(served, gv) {
						t.Errorf("%s: no %s in %v", how, gv, served)
					}
				}
				for _, gv := range test.lack {
					if slices.Contains(served, gv) {
						t.Errorf("%s: %s is served", how, gv)
					}
				}
			}
			if _, err := c.Discovery().OpenAPISchema(); err != nil {
				t.Errorf("OpenAPI 2: %v", err)
			}
			if _, err := c.Discovery().OpenAPIV3().Paths(); (err == nil) != test.v3 {
				t.Errorf("OpenAPI 3: %v", err)
			}
			w, err := c.CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
			if test.watchList && err != nil || !test.watchList && !apierrors.IsInvalid(err) {
				t.Errorf("streamed list: %v", err)
			}
			if err == nil {
				w.Stop()
			}
			if test.minor == "18" {
				if _, err := c.NetworkingV1().Ingresses("").List(ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
					t.Errorf("Ingresses of 1.18: %v", err)
				}
			}
			fill(ctx, t, c, 1)
			informer(ctx, t, c)
		})
	}
}

func TestStartTellsWhatIsWrong(t *testing.T) {
	for _, version := range []string{"1.17", "1.99", "2.0", "latest", "1.x"} {
		if s, err := kube.Start(kube.Options{World: outside.Real(), Address: "127.0.0.1:0", Version: version}); err == nil {
			s.Close()
			t.Errorf("version %q was accepted", version)
		}
	}
	first := start(t, nil)
	if s, err := kube.Start(kube.Options{World: outside.Real(), Address: first.Address()}); err == nil {
		s.Close()
		t.Error("two servers on one address")
	}
}
