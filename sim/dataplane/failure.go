package dataplane

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// tell writes why a connection ended to the event log. An end is
// not worth it.
func (t *transaction) tell(why error) {
	wanted := t.conf.LogClientFailures
	if errors.Is(why, errNoNode) || errors.Is(why, errNoReply) || errors.Is(why, errNodeData) {
		wanted = t.conf.LogServerFailures
	} else if errors.Is(why, io.EOF) || errors.Is(why, net.ErrClosed) {
		return
	}
	if errors.Is(why, os.ErrDeadlineExceeded) {
		why = errIdle
	}
	t.client.failed("connfail", wanted, why)
}

// errNodeData is a failure of a node in the middle of what it sends.
var errNodeData = errors.New("the node ended the connection too early")

// bodyFailed tells of a response that was cut off, unless its client has gone.
func (t *transaction) bodyFailed(err error) {
	if cause := context.Cause(t.ctx); cause != nil {
		if errors.Is(cause, context.Canceled) {
			return
		}
		t.tell(cause)
		return
	}
	t.tell(errors.Join(errNodeData, err))
}

// upgrades tells whether the request may become another protocol.
func (t *transaction) upgrades(in http.Header) bool {
	if !t.conf.AutodetectUpgrade {
		return false
	}
	allowed := t.conf.UpgradeProtocols
	return len(allowed) == 0 || slices.ContainsFunc(allowed, func(p string) bool { return headerHas(in, "Upgrade", strings.ToLower(p)) })
}
