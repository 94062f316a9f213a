package trafficscript

import (
	"strings"
	"time"
)

// recordFunctions tell how the transaction went, and whether it is written down:
// stats.*, requestlog.*, recentconns.*, completion reasons.
var recordFunctions = []function{
	fact("stats.getQueueTime", func(r *run) value { return intValue(r.tx.QueueTime.Milliseconds()) }),
	fact("stats.getServerResponseTime", func(r *run) value { return intValue(r.tx.ResponseTime.Milliseconds()) }),
	fact("stats.getTransactionDuration", func(r *run) value {
		if r.tx.Started.IsZero() {
			return intValue(0)
		}
		return intValue(max(r.host.Now().Sub(r.tx.Started), 0).Truncate(time.Millisecond).Milliseconds())
	}),

	mark("requestlog.include", true, func(t *Transaction) *Marking { return &t.RequestLog }),
	mark("requestlog.exclude", false, func(t *Transaction) *Marking { return &t.RequestLog }),
	marked("requestlog.markedForInclusion", func(t *Transaction) *Marking { return &t.RequestLog }),
	mark("recentconns.include", true, func(t *Transaction) *Marking { return &t.RecentConnections }),
	mark("recentconns.exclude", false, func(t *Transaction) *Marking { return &t.RecentConnections }),
	marked("recentconns.markedForInclusion", func(t *Transaction) *Marking { return &t.RecentConnections }),
	marked("request.getLogEnabled", func(t *Transaction) *Marking { return &t.RequestLog }).replacedBy("requestlog.markedForInclusion"),
	fn("request.setLogEnabled", 1, 1, func(r *run, a []value) value {
		m := &r.tx.RequestLog
		m.Marked = a[0].truth()
		return boolValue(m.Enabled && m.Marked)
	}).replacedBy("requestlog.include"),

	fact("connection.getCompletionReasonCode", func(r *run) value { return stringValue(r.completion()) }).in(1 << CompletionPhase),
	fact("connection.getCompletionReasonInfo", completionInfo).in(1 << CompletionPhase),
}

func mark(name string, marked bool, of func(*Transaction) *Marking) function {
	return fact(name, func(r *run) value {
		m := of(r.tx)
		m.Marked = marked
		return boolValue(m.Enabled && m.Marked)
	})
}

func marked(name string, of func(*Transaction) *Marking) function {
	return fact(name, func(r *run) value { return boolValue(of(r.tx).Enabled && of(r.tx).Marked) })
}

func (r *run) completion() string {
	if r.tx.Completion == "" {
		return "COMPLETE"
	}
	return r.tx.Completion
}

// completionMessages are the reasons why a transaction ends.
var completionMessages = map[string]string{
	"COMPLETE":                    "The transaction completed.",
	"DISCARDED_BY_RULE":           "The transaction was ended by a TrafficScript rule.",
	"CONFIG_CHANGED":              "The transaction was purged due to a configuration change.",
	"PARENT_CONNECTION_ENDED":     "The transaction was purged as its parent connection ended.",
	"CONNECTION_ERROR":            "There was a problem with the connection.",
	"CONNECTION_CLOSED_SERVER":    "The connection was closed by the server.",
	"CONNECTION_CLOSED_CLIENT":    "The connection was closed by the client.",
	"TIMEOUT_NODE_QUEUE":          "No node was available to handle the connection.",
	"TIMEOUT_PROCESSING_RULE":     "The connection timed out while processing a TrafficScript rule.",
	"TIMEOUT":                     "The connection timed out during client/server communication.",
	"TIMEOUT_CONNECT_CLIENT":      "The connection timed out before receiving any data from the client.",
	"TIMEOUT_CONNECT_SERVER":      "The connection timed out before receiving any data from the server.",
	"TIMEOUT_MAXDURATION":         "The total transaction duration was exceeded.",
	"SESSION_PERSISTENCE_FAILURE": "Failed to find an appropriate node for session persistence.",
	"NODE_LOST":                   "The connection's back-end node was lost.",
	"SOCKET_LOST":                 "The connection's socket was lost.",
	"WRITE_FAILURE":               "Failed writing to connection socket.",
	"BAD_REQUEST":                 "Bad or malformed request.",
	"BAD_RESPONSE":                "Bad or malformed response.",
	"INTERNAL_ERROR":              "An unexpected failure occurred.",
}

// completionInfo gives a hash with code, message and what kind of end it was.
func completionInfo(r *run) value {
	code := r.completion()
	is := func(codes string) value {
		for c := range strings.FieldsSeq(codes) {
			if c == code {
				return intValue(1)
			}
		}
		return intValue(0)
	}
	h := &aggregate{}
	h.put("code", stringValue(code))
	h.put("message", stringValue(completionMessages[code]))
	h.put("iserror", boolValue(code != "COMPLETE" && code != "DISCARDED_BY_RULE"))
	h.put("isservererror", is("CONNECTION_CLOSED_SERVER TIMEOUT_NODE_QUEUE TIMEOUT_CONNECT_SERVER SESSION_PERSISTENCE_FAILURE NODE_LOST BAD_RESPONSE"))
	h.put("isclienterror", is("CONNECTION_CLOSED_CLIENT TIMEOUT_CONNECT_CLIENT BAD_REQUEST"))
	h.put("istimeout", boolValue(strings.HasPrefix(code, "TIMEOUT")))
	h.put("isprocessingtimeout", is("TIMEOUT_PROCESSING_RULE"))
	return aggregateValue(h)
}
