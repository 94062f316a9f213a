package kube_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/sim/kube"
)

func TestPathsAndMethodsAnswerAsARealServer(t *testing.T) {
	s := start(t, func(o *kube.Options) { o.PlainHTTP = true })
	token := "Bearer " + s.Config("paths").BearerToken
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"GET", "/api", 200},
		{"GET", "/api/", 200},
		{"GET", "/api/v1", 200},
		{"GET", "/apis/apps", 200},
		{"GET", "/apis/apps/v1", 200},
		{"GET", "/apis/apps/v2", 404},
		{"GET", "/apis/nothing.example.com", 404},
		{"GET", "/version", 200},
		{"GET", "/livez/ping", 200},
		{"GET", "/openapi/v2", 200},
		{"GET", "/openapi/v3", 200},
		{"GET", "/openapi/v3/api/v1", 200},
		{"GET", "/metrics", 404},
		{"GET", "/api/v1/configmaps", 200},
		{"HEAD", "/api/v1/configmaps", 200},
		{"POST", "/api/v1/configmaps", 405},
		{"DELETE", "/api/v1/configmaps", 405},
		{"PUT", "/api/v1/namespaces/default/configmaps", 405},
		{"POST", "/api/v1/namespaces/default/configmaps/x", 405},
		{"GET", "/api/v1/configmaps/x", 404},
		{"GET", "/api/v1/namespaces/default/configmaps/x", 404},
		{"GET", "/api/v1/namespaces/default/configmaps/x/status", 404},
		{"GET", "/api/v1/namespaces/default/nodes", 404},
		{"GET", "/api/v1/nodes", 200},
		{"GET", "/api/v1/namespaces/default", 200},
		{"GET", "/api/v1/namespaces/default/status", 200},
		{"GET", "/api/v1/namespaces/default/finalize", 405},
		{"DELETE", "/api/v1/namespaces", 405},
		{"GET", "/apis/v1/namespaces", 404},
		{"GET", "/api/networking.k8s.io/v1/ingresses", 404},
		{"GET", "/api/v1/namespaces/missing/configmaps", 200},
		{"GET", "/api/v1/configmaps?limit=x", 400},
		{"GET", "/api/v1/configmaps?labelSelector=a%20b", 400},
		{"GET", "/api/v1/proxy/nodes/x", 404},
		{"GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405},
		{"PATCH", "/api/v1/namespaces/default/services/kubernetes", 415},
		{"POST", "/api/v1/namespaces/default/configmaps", 400},
	} {
		req := httptest.NewRequest(test.method, test.path, nil)
		req.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code != test.want {
			t.Errorf("%s %s: %d, want %d: %.200s", test.method, test.path, w.Code, test.want, w.Body)
		}
		if w.Code >= 400 && w.Code != 404 {
			var status metav1.Status
			if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || status.Kind != "Status" || int(status.Code) != w.Code {
				t.Errorf("%s %s: the error is no Status: %.200s", test.method, test.path, w.Body)
			}
		}
	}
}

func TestAnybodyMayAskForHealthAndVersionOnly(t *testing.T) {
	s := start(t, func(o *kube.Options) { o.PlainHTTP = true })
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/version": 200, "/api": 401, "/openapi/v2": 401, "/api/v1/namespaces": 401, "/": 401} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	s := start(t, func(o *kube.Options) { o.PlainHTTP = true })
	req := httptest.NewRequest("POST", "/api/v1/namespaces/default/configmaps", strings.NewReader(strings.Repeat(" ", 4<<20)))
	req.Header.Set("Authorization", "Bearer "+s.Config("large").BearerToken)
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
}
