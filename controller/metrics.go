package controller

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
)

// metrics are what Prometheus may ask.
type metrics struct {
	rounds    *prometheus.CounterVec
	requests  *prometheus.CounterVec
	writes    *prometheus.CounterVec
	ingresses *prometheus.GaugeVec
	live      prometheus.Histogram
	duration  prometheus.Histogram
	writer    prometheus.Gauge
	usable    prometheus.Gauge
}

// newMetrics makes them, and registers them unless into is nil.
func newMetrics(into prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_reconcile_rounds_total",
			Help: "Passes from what Kubernetes holds to the traffic manager, by result: ok, failed (some writes), trouble (the traffic manager can't be used), standby.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_rest_requests_total",
			Help: "Requests to the traffic manager's REST API, by method, type of resource and status (0: no answer).",
		}, []string{"method", "type", "status"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_writes_total",
			Help: "Writes to the traffic manager, by result: ok, failed.",
		}, []string{"result"}),
		ingresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vtm_ingress_ingresses",
			Help: "Ingresses of ours, by verdict: programmed, degraded, rejected.",
		}, []string{"verdict"}),
		live: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "vtm_ingress_change_to_live_seconds",
			Help:    "Time from when an Ingress's new verdict was first seen to when all that it needs was on the traffic manager.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "vtm_ingress_reconcile_duration_seconds",
			Help:    "Duration of a round of the writer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		writer: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vtm_ingress_writer",
			Help: "1 if this instance is the one that writes.",
		}),
		usable: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vtm_ingress_traffic_manager_usable",
			Help: "1 if the traffic manager could be used at the last attempt of the writer.",
		}),
	}
	if into == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.rounds, m.requests, m.writes, m.ingresses, m.live, m.duration, m.writer, m.usable} {
		if err := into.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) request(method, resource string, status int) {
	m.requests.WithLabelValues(method, resource, strconv.Itoa(status)).Inc()
}

func (m *metrics) round(r reconcile.Round) {
	result := "ok"
	switch {
	case !r.Writing:
		result = "standby"
	case r.Trouble != nil:
		result = "trouble"
	case r.Failed > 0:
		result = "failed"
	}
	m.rounds.WithLabelValues(result).Inc()
	m.writer.Set(number(r.Writing))
	counts := map[translate.Outcome]int{}
	for _, v := range r.Result.Verdicts {
		counts[v.Outcome]++
	}
	for outcome, name := range map[translate.Outcome]string{
		translate.Complete: "programmed", translate.Degraded: "degraded", translate.Rejected: "rejected",
	} {
		m.ingresses.WithLabelValues(name).Set(float64(counts[outcome]))
	}
	if !r.Writing {
		return
	}
	m.usable.Set(number(r.Trouble == nil))
	m.duration.Observe(r.Ended.Sub(r.Began).Seconds())
	m.writes.WithLabelValues("ok").Add(float64(r.Writes - r.Failed))
	m.writes.WithLabelValues("failed").Add(float64(r.Failed))
	for _, d := range r.Live {
		m.live.Observe(d.Seconds())
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
