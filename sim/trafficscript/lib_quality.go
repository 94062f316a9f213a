package trafficscript

// Quality is how packets of one direction are to be treated on their way.
type Quality struct {
	BandwidthClass string // a class that Machine knows; "" for none
	DSCP           int    // 0 to 63, RFC 2474
}

// typesOfService are the old names with their values of DSCP (RFC 1349's bits,
// shifted by the two that RFC 2474 leaves away).
var typesOfService = map[string]int{"NONE": 0, "LOWDELAY": 0x10 >> 2, "THROUGHPUT": 0x08 >> 2, "RELIABILITY": 0x04 >> 2}

// qualityFunctions are the bandwidth classes and DSCP values of both directions,
// limits of pools, memory, and what TLS is told at its end.
var qualityFunctions = append(append(append(append(
	qualityOf("request.", func(t *Transaction) *Quality { return &t.RequestQuality }),
	qualityOf("response.", func(t *Transaction) *Quality { return &t.ResponseQuality })...),
	getBandwidthClass("connection.", func(t *Transaction) *Quality { return &t.ResponseQuality }).replacedBy("response.getBandwidthClass"),
	setBandwidthClass("connection.", func(t *Transaction) *Quality { return &t.ResponseQuality }).replacedBy("response.setBandwidthClass"),
	fn("connection.checkLimits", 0, 1, checkLimits),
	fact("connection.getMemoryUsage", func(r *run) value {
		stored, _ := r.tx.ConnectionData.memory()
		return intValue(int64(r.memory + stored + len(r.requestText()) + len(r.responseText())))
	}),
), closeAlert("ssl.getClientCloseAlert", "ssl.setClientCloseAlert", func(t *Transaction) *bool {
	if t.TLS == nil || t.TLS.PassedThrough {
		return nil
	}
	return &t.TLS.CloseAlert
})...), append(closeAlert("ssl.getServerCloseAlert", "ssl.setServerCloseAlert", func(t *Transaction) *bool {
	if !t.NodeTLS {
		return nil
	}
	return &t.NodeCloseAlert
}),
	fn("ssl.setTLSServerName", 1, 1, func(r *run, a []value) value {
		r.tx.NodeServerName = r.toString(a[0])
		return value{}
	}).in(inRequest),
	// A handshake cannot be done again: TLS 1.3 and HTTP/2 have no renegotiation,
	// and it is not emulated for older ones. So no client is said to support it.
	fact("ssl.clientSupportsSecureRenegotiation", func(*run) value { return intValue(0) }),
	fact("ssl.requestCert", func(r *run) value {
		if !r.decrypted() {
			return r.discard()
		}
		return value{}
	}).in(inRequest|inResponse),
	fact("ssl.requireCert", func(r *run) value {
		if !r.decrypted() || clientCertificate(r.tx.TLS) == nil {
			return r.discard()
		}
		return value{}
	}).in(inRequest|inResponse),
)...)

func getBandwidthClass(prefix string, of func(*Transaction) *Quality) function {
	return fact(prefix+"getBandwidthClass", func(r *run) value { return stringValue(of(r.tx).BandwidthClass) })
}

// setBandwidthClass gives 0 for a class that does not exist; "" takes it away.
func setBandwidthClass(prefix string, of func(*Transaction) *Quality) function {
	return fn(prefix+"setBandwidthClass", 1, 1, func(r *run, a []value) value {
		name, exists := r.toString(a[0]), r.machine().BandwidthClass
		if name != "" && (exists == nil || !exists(name)) {
			return intValue(0)
		}
		of(r.tx).BandwidthClass = name
		return intValue(1)
	})
}

func qualityOf(prefix string, of func(*Transaction) *Quality) []function {
	return []function{
		getBandwidthClass(prefix, of), setBandwidthClass(prefix, of),
		fact(prefix+"getDSCP", func(r *run) value { return intValue(int64(of(r.tx).DSCP)) }),
		fn(prefix+"setDSCP", 1, 1, func(r *run, a []value) value {
			n := r.toInt(a[0])
			if n < 0 || n > 63 {
				return intValue(0)
			}
			of(r.tx).DSCP = int(n)
			return intValue(1)
		}),
		fact(prefix+"getToS", func(r *run) value {
			for name, dscp := range typesOfService {
				if dscp == of(r.tx).DSCP {
					return stringValue(name)
				}
			}
			return stringValue("NONE")
		}).replacedBy(prefix + "getDSCP"),
		fn(prefix+"setToS", 1, 1, func(r *run, a []value) value {
			name := r.toString(a[0])
			dscp, ok := typesOfService[name]
			if !ok {
				r.misuse("'%s' is no type of service: use LOWDELAY, THROUGHPUT, RELIABILITY or NONE", oneLine(firstBytes(name, 64)))
				return value{}
			}
			of(r.tx).DSCP = dscp
			return value{}
		}).replacedBy(prefix + "setDSCP"),
	}
}

// checkLimits gives 1 when the pool would take the connection at once, 0 when it
// would queue, -1 for a pool that does not exist.
func checkLimits(r *run, a []value) value {
	pool := r.stringArg(a, 0)
	if pool == "" {
		if pool = r.tx.Pool; pool == "" {
			pool = r.tx.DefaultPool
		}
	}
	room, known := true, false
	if ask := r.machine().PoolHasRoom; ask != nil {
		room, known = ask(pool)
	} else {
		_, known = r.host.PoolNodes(pool)
	}
	if !known {
		r.warn("poolactivenodesunknown", "pool '%s' does not exist", oneLine(firstBytes(pool, 256)))
		return intValue(-1)
	}
	return boolValue(room)
}

// closeAlert are the functions that read and change whether TLS tells its end; -1
// and nothing on a connection without TLS.
func closeAlert(get, set string, of func(*Transaction) *bool) []function {
	return []function{
		fact(get, func(r *run) value {
			alert := of(r.tx)
			if alert == nil {
				return intValue(-1)
			}
			return boolValue(*alert)
		}),
		fn(set, 1, 1, func(r *run, a []value) value {
			if alert := of(r.tx); alert != nil {
				*alert = a[0].truth()
			}
			return value{}
		}),
	}
}
