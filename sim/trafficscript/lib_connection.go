package trafficscript

import (
	"net/netip"
	"time"
)

// connectionFunctions are connection.*: facts about the connection, its
// persistence, and its end.
var connectionFunctions = []function{
	fact("connection.getVirtualServer", func(r *run) value { return stringValue(r.tx.VirtualServer) }),
	fact("connection.getPool", func(r *run) value {
		if r.tx.Pool != "" {
			return stringValue(r.tx.Pool)
		}
		return stringValue(r.tx.DefaultPool)
	}),
	fact("connection.getNode", func(r *run) value { return stringValue(r.tx.Node) }),
	fact("connection.getRemoteIP", remoteIP).replacedBy("request.getRemoteIP"),
	fact("connection.getRemotePort", remotePort).replacedBy("request.getRemotePort"),
	fact("connection.getLocalIP", localIP).replacedBy("request.getLocalIP"),
	fact("connection.getLocalPort", localPort).replacedBy("request.getLocalPort"),
	fn("connection.setIdempotent", 1, 1, setIdempotent).in(inRequest).replacedBy("request.setIdempotent"),
	fact("connection.getPersistence", func(r *run) value { return stringValue(r.tx.Persistence) }),
	fn("connection.setPersistence", 0, 1, func(r *run, a []value) value {
		r.tx.Persistence = r.stringArg(a, 0)
		return value{}
	}).in(inRequest),
	fn("connection.setPersistenceKey", 1, 1, func(r *run, a []value) value {
		r.tx.PersistenceKey = r.toString(a[0])
		return value{}
	}).in(inRequest | inResponse),
	fn("connection.setPersistenceNode", 1, 1, func(r *run, a []value) value {
		r.tx.PersistenceNode = r.toString(a[0])
		return value{}
	}).in(inRequest | inResponse),
	fn("connection.discard", 0, 0, func(r *run, _ []value) value { return r.discard() }).in(inRequest | inResponse),
	fn("connection.close", 1, 2, func(r *run, a []value) value {
		data := r.toString(a[0])
		if r.ended == Finished {
			r.tx.Close = &data
			r.stop(Decided)
		}
		return value{}
	}).in(inRequest | inResponse),
	fn("connection.sleep", 1, 1, func(r *run, a []value) value {
		const longest = int64(24 * time.Hour / time.Millisecond)
		ms := min(max(r.toInt(a[0]), 0), longest)
		defer r.waits()()
		if err := r.host.Sleep(r.ctx, time.Duration(ms)*time.Millisecond); err != nil {
			r.abort("connection.sleep: %s", waitError(err))
		}
		return value{}
	}),
}

func (r *run) discard() value {
	if r.ended == Finished {
		r.tx.Discard = true
		r.stop(Decided)
	}
	return value{}
}

func addrValue(a netip.AddrPort) value {
	if !a.IsValid() {
		return value{}
	}
	return stringValue(a.Addr().Unmap().WithZone("").String())
}

func portValue(a netip.AddrPort) value { return intValue(int64(a.Port())) }

func remoteIP(r *run) value {
	if r.tx.SourceIP.IsValid() {
		return stringValue(r.tx.SourceIP.String())
	}
	return addrValue(r.tx.Remote)
}
func remotePort(r *run) value { return portValue(r.tx.Remote) }
func localIP(r *run) value    { return addrValue(r.tx.Local) }
func localPort(r *run) value  { return portValue(r.tx.Local) }

func (r *run) dest() netip.AddrPort {
	if r.tx.Dest.IsValid() {
		return r.tx.Dest
	}
	return r.tx.Local
}

// requestFunctions are request.*, the addresses of response.*, and rule.*.
var requestFunctions = []function{
	fact("request.getRemoteIP", remoteIP),
	fact("request.getRemotePort", remotePort),
	fact("request.getLocalIP", localIP),
	fact("request.getLocalPort", localPort),
	fact("request.getDestIP", func(r *run) value { return addrValue(r.dest()) }),
	fact("request.getDestPort", func(r *run) value { return portValue(r.dest()) }),
	fn("request.setRemoteIP", 1, 1, func(r *run, a []value) value {
		addr, err := netip.ParseAddr(r.toString(a[0]))
		if err != nil {
			return intValue(0)
		}
		r.tx.SourceIP = addr.Unmap()
		return intValue(1)
	}).in(inRequest),
	fn("request.setIdempotent", 1, 1, setIdempotent).in(inRequest),
	fact("request.getRetries", func(r *run) value { return intValue(int64(r.tx.Retries)) }),
	fact("request.isResendable", func(r *run) value { return boolValue(r.tx.Resendable) }),
	fact("request.retry", func(r *run) value {
		if !r.tx.Resendable {
			return intValue(0)
		}
		if r.ended == Finished {
			r.tx.Retry = true
			r.stop(Decided)
		}
		return intValue(1)
	}).in(inResponse),
	fn("request.avoidNode", 1, 1, func(r *run, a []value) value {
		s := r.toString(a[0])
		node, err := netip.ParseAddrPort(s)
		if err != nil {
			r.misuse("request.avoidNode: '%s' is no address and port", oneLine(s))
			return value{}
		}
		if r.alloc(valueSize) {
			r.tx.Excluded = append(r.tx.Excluded, node)
		}
		return value{}
	}).in(inRequest | inResponse),
	fn("request.sendResponse", 1, 1, func(r *run, a []value) value {
		if s := r.toString(a[0]); r.alloc(len(s) + valueSize) {
			r.tx.Interim = append(r.tx.Interim, s)
		}
		return value{}
	}).in(inRequest),
	fn("request.setMaxReplyTime", 1, 1, func(r *run, a []value) value {
		r.tx.Overrides.MaxReplyTime = r.seconds(a[0])
		return value{}
	}).in(inRequest),
	fn("request.setMaxTransactionDuration", 1, 1, func(r *run, a []value) value {
		r.tx.Overrides.MaxTransactionDuration = r.seconds(a[0])
		return value{}
	}).in(inRequest),
	fact("request.getMaxTransactionDuration", func(r *run) value {
		limit := r.tx.MaxDuration
		if set := r.tx.Overrides.MaxTransactionDuration; set > 0 {
			limit = set
		}
		return intValue(int64(limit / time.Second))
	}),
	fn("request.setVirtualServerTimeout", 1, 1, func(r *run, a []value) value {
		r.tx.Overrides.Timeout = r.seconds(a[0])
		return value{}
	}).in(inRequest),
	fn("request.setMaxConnectionAttempts", 1, 1, func(r *run, a []value) value {
		r.tx.Overrides.MaxConnectionAttempts = clamp(r.toInt(a[0]), 1<<30)
		return value{}
	}).in(inRequest),
	fn("request.setMaxTimedOutConnectionAttempts", 1, 1, func(r *run, a []value) value {
		r.tx.Overrides.MaxTimedOutAttempts = clamp(r.toInt(a[0]), 1<<30)
		return value{}
	}).in(inRequest),
	fact("response.getRemoteIP", func(r *run) value { return addrValue(r.node()) }),
	fact("response.getRemotePort", func(r *run) value { return portValue(r.node()) }),
	fact("response.getLocalIP", func(r *run) value { return addrValue(r.tx.NodeLocal) }),
	fact("response.getLocalPort", func(r *run) value { return portValue(r.tx.NodeLocal) }),
	fact("rule.getname", func(r *run) value { return stringValue(r.rule.name) }),
	fact("rule.getstate", func(r *run) value { return stringValue(r.tx.Phase.String()) }),
}

// node is the address of the node that serves; invalid when there is none.
func (r *run) node() netip.AddrPort {
	node, _ := netip.ParseAddrPort(r.tx.Node) // the zero value when it is ""
	return node
}

// seconds gives a duration of at most a year.
func (r *run) seconds(v value) time.Duration {
	return time.Duration(clamp(r.toInt(v), 365*24*3600)) * time.Second
}

// sslFunctions are those ssl.* facts that the Host knows; "" on a plain
// connection.
var sslFunctions = []function{
	fact("ssl.isSSL", func(r *run) value { return boolValue(r.decrypted()) }),
	tlsFact("ssl.getTLSServerName", func(t *TLS) string { return t.ServerName }),
	tlsFact("ssl.serverSiteName", func(t *TLS) string { return t.SiteName }),
	tlsFact("ssl.serverCertName", func(t *TLS) string { return t.CertName }),
	tlsFact("ssl.sslSessionID", func(t *TLS) string { return t.SessionID }),
	tlsFact("ssl.clientCipher", func(t *TLS) string { return t.Cipher }),
}

// decrypted tells whether TLS is taken off here.
func (r *run) decrypted() bool { return r.tx.TLS != nil && !r.tx.TLS.PassedThrough }

func tlsFact(name string, f func(*TLS) string) function {
	return fact(name, func(r *run) value {
		if r.tx.TLS == nil {
			return value{}
		}
		return stringValue(f(r.tx.TLS))
	})
}
