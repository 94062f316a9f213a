package dataplane

import (
	"context"
	"errors"
	"net/http"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// sees notes the response that the client gets, for completion rules.
func (t *transaction) sees(code int, reason string, h http.Header) {
	if t.script != nil && len(t.conf.completionRules) > 0 {
		t.script.Response = &trafficscript.Response{Proto: "HTTP/1.1", Code: code, Reason: reason, Header: h}
	}
}

// completionRules run when the transaction has ended, however it did. They may
// wait no longer than a virtual server does for its client.
func (t *transaction) completionRules() {
	if t.script == nil || len(t.conf.completionRules) == 0 {
		return
	}
	s := t.script
	s.Phase, s.Completion = trafficscript.CompletionPhase, t.completion()
	limit := t.conf.Timeout
	if limit <= 0 {
		limit = completionLimit
	}
	ctx, cancel := context.WithTimeout(context.WithValue(t.v.d.ctx, clientKey{}, t.client), limit)
	defer cancel()
	t.watched = true // by ctx
	t.runRules(ctx, t.conf.completionRules)
}

// completionLimit bounds completion rules where the virtual server has no time-out.
const completionLimit = 30 * time.Second

// completion is the reason as connection.getCompletionReasonCode tells it.
func (t *transaction) completion() string {
	err := t.why
	if err == nil && t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	switch {
	case t.dropped && (err == nil || errors.Is(err, errDropped)):
		return "DISCARDED_BY_RULE"
	case err == nil, errors.Is(err, errCloseWith):
		return "COMPLETE"
	case errors.Is(err, errIdle):
		return "TIMEOUT"
	case errors.Is(err, errTooLong):
		return "TIMEOUT_MAXDURATION"
	case errors.Is(err, errNoReply):
		return "TIMEOUT_CONNECT_SERVER"
	case errors.Is(err, errNoNode) && t.node == nil:
		return "TIMEOUT_NODE_QUEUE"
	case errors.Is(err, errNoNode):
		return "NODE_LOST"
	case errors.Is(err, errBody), errors.Is(err, context.Canceled):
		return "CONNECTION_CLOSED_CLIENT"
	}
	return "INTERNAL_ERROR"
}

// countServiceLevel counts the response for the class of the virtual server, or
// for that which a rule chose.
func (t *transaction) countServiceLevel() {
	name := t.conf.ServiceLevelClass
	if t.script != nil {
		name = t.script.ServiceLevelClass
	}
	if name == "" {
		return
	}
	if c := find[levelClass](&t.v.d.objects.levels, name); c != nil {
		now := t.v.d.now()
		c.count(now, now.Sub(t.started))
	}
}

// shorter returns the shorter of two limits, of which 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}
