package kube_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

// FuzzRequest sends anything at all as an administrator. No request may make
// the server panic, and none may keep it from answering the next one.
func FuzzRequest(f *testing.F) {
	s, err := kube.Start(kube.Options{World: outside.Real(), Address: "127.0.0.1:0", PlainHTTP: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	token := "Bearer " + s.Config("fuzz").BearerToken

	const maps, services = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/services"
	for _, seed := range [][5]string{
		{"GET", maps, "limit=1&continue=e30&labelSelector=a%3Db", "", ""},
		{"GET", maps, "watch=true&resourceVersion=1&allowWatchBookmarks=true", "", ""},
		{"GET", "/api/v1/watch/namespaces/default/pods/x", "timeoutSeconds=1", "", ""},
		{"GET", "/apis/apps/v1/deployments", "fieldSelector=metadata.name%3Dx", "", ""},
		{"POST", maps, "fieldValidation=Strict", "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m"},"data":{"a":"b"}}`},
		{"POST", services, "dryRun=All", "application/yaml", "kind: Service\napiVersion: v1\nmetadata: {name: s}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 30000}]}"},
		{"POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", "", "application/json", `{"metadata":{"generateName":"i"},"spec":{"rules":[{"host":"*.x","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"a","port":{"number":80}}}}]}}]}}`},
		{"POST", "/api/v1/namespaces/default/pods", "", "application/json", `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","readinessProbe":{"httpGet":{"port":1}}}]}}`},
		{"POST", "/apis/apps/v1/namespaces/default/deployments", "", "application/json", `{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`},
		{"PUT", services + "/kubernetes", "", "application/json", `{"metadata":{"name":"kubernetes"},"spec":{"type":"ExternalName","externalName":"x.y"}}`},
		{"PUT", "/apis/apps/v1/namespaces/default/deployments/d/scale", "", "application/json", `{"spec":{"replicas":3}}`},
		{"PUT", "/api/v1/namespaces/default/finalize", "", "application/json", `{"metadata":{"name":"default"},"spec":{}}`},
		{"PATCH", services + "/kubernetes", "", "application/json-patch+json", `[{"op":"replace","path":"/spec/ports/0/port","value":1}]`},
		{"PATCH", services + "/kubernetes", "", "application/merge-patch+json", `{"spec":{"type":"NodePort"}}`},
		{"PATCH", services + "/kubernetes", "", "application/strategic-merge-patch+json", `{"spec":{"ports":[{"port":443,"$patch":"delete"}]}}`},
		{"PATCH", maps + "/m", "fieldManager=f&force=true", "application/apply-patch+yaml", "kind: ConfigMap\napiVersion: v1\ndata: {a: b}"},
		{"DELETE", maps, "labelSelector=a", "application/json", `{"propagationPolicy":"Foreground","preconditions":{"uid":"x"}}`},
		{"DELETE", "/api/v1/namespaces/kube-public", "gracePeriodSeconds=-1", "", ""},
		{"POST", "/api/v1/namespaces/default/pods/p/binding", "", "application/json", `{"metadata":{"name":"p"},"target":{"name":"n"}}`},
		{"POST", "/api/v1/namespaces/default/pods/p/eviction", "", "application/json", `{"metadata":{"name":"p"}}`},
		{"GET", "/api/v1/namespaces/default/pods/p/log", "tailLines=-1&follow=true", "", ""},
		{"POST", "/api/v1/namespaces/default/serviceaccounts/default/token", "", "application/json", `{"spec":{"expirationSeconds":600}}`},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", "application/json", `{"spec":{}}`},
		{"POST", "/apis/events.k8s.io/v1/namespaces/default/events", "", "application/json", `{"metadata":{"name":"e"},"eventTime":"2026-01-01T00:00:00.000000Z","reason":"r","action":"a","type":"Normal","reportingController":"c/d","reportingInstance":"i","regarding":{"namespace":"default"}}`},
		{"OPTIONS", "/apis//v1/", "", "", ""},
		{"GET", "/openapi/v3/apis/apps/v1", "hash=x", "", ""},
		{"GET", "/api/v1/namespaces/default/pods/x/status/y", "", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, method, path, query, contentType, body string) {
		if len(body) > 4096 || len(path) > 512 || len(query) > 512 || !strings.HasPrefix(path, "/") {
			t.Skip()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if strings.Contains(query, "watch") || strings.Contains(path, "watch") {
			soon, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			defer cancel()
			ctx = soon
		}
		req := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Authorization": {token}, "Accept": {"application/json"}},
			Host:   "server", Body: io.NopCloser(strings.NewReader(body)), RequestURI: path,
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req.WithContext(ctx))
		if strings.Contains(w.Body.String(), "panic") && w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %s?%s: %s", method, path, query, w.Body)
		}
		w = httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("the server is not ready afterwards: %d", w.Code)
		}
	})
}
