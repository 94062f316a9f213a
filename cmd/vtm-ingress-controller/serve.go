package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vtm-ingress/controller"
	"vtm-ingress/internal/outside"
)

// serve answers /healthz, /readyz and /metrics on address until stop is called,
// which returns when nobody listens any more.
func serve(world outside.World, address string, status *controller.Status, metrics *prometheus.Registry, log *slog.Logger) (stop func() error, err error) {
	listener, err := world.Listen("metrics", "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics_address %s: %w", address, err)
	}
	paths := http.NewServeMux()
	paths.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	paths.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !status.Ready() {
			http.Error(w, "not ready: Kubernetes or the traffic manager has not been read whole yet; the log says why", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	paths.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	server := &http.Server{
		Handler: paths, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); err != http.ErrServerClosed {
			log.Error("metrics, health and readiness are not served any more", "address", address, "error", err)
		}
	}()
	return func() error {
		err := server.Close()
		<-ended
		return err
	}, nil
}
