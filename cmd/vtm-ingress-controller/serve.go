package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/internal/outside"
)

// explainTimeout is how long a question about an Ingress may wait for the end of
// changes that are being made.
const explainTimeout = 10 * time.Second

// public are /healthz, /readyz, /status and /metrics.
func public(world outside.World, status *controller.Status, metrics *prometheus.Registry) http.Handler {
	paths := http.NewServeMux()
	answer := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	}
	paths.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, status.Alive(world.Clock().Now()))
	})
	paths.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := status.NotReady()
		if err != nil {
			err = fmt.Errorf("not ready: %w", err)
		}
		answer(w, err)
	})
	paths.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(status.Standing()) // whoever asked went away
	})
	// Packing takes megabytes, to save a few kB to a Prometheus nearby.
	paths.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{DisableCompression: true}))
	return paths
}

// private are profiles, and what became of an Ingress: more than everybody may
// know. A page in a browser of this machine does not get there either, not even by
// a name that resolves to this address.
func private(status *controller.Status) http.Handler {
	paths := http.NewServeMux()
	paths.HandleFunc("GET /debug/ingresses/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), explainTimeout)
		defer cancel()
		text, err := status.Explain(ctx, types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")})
		switch {
		case errors.Is(err, inspect.ErrNoIngress):
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, text)
	})
	paths.HandleFunc("GET /debug/pprof/", pprof.Index)
	paths.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	paths.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	paths.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if a, bad := netip.ParseAddr(host); err != nil || bad != nil || !a.IsLoopback() || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			http.Error(w, "ask by the loopback address and port, and not from a browser", http.StatusForbidden)
			return
		}
		paths.ServeHTTP(w, r)
	})
}

// serve answers on address, which the setting of that name gives, until stop is
// called, which returns when nobody listens any more. Nothing if address is empty.
func serve(world outside.World, setting, address string, handler http.Handler, log *slog.Logger) (stop func() error, err error) {
	if address == "" {
		return func() error { return nil }, nil
	}
	listener, err := world.Listen(setting, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", setting, address, err)
	}
	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// A profile takes 30 s unless it is asked for less.
		ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); err != http.ErrServerClosed {
			log.Error("nothing answers any more at "+setting, "address", address, "error", err)
		}
	}()
	return func() error {
		err := server.Close()
		<-ended
		return err
	}, nil
}
