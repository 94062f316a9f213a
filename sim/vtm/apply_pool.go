package vtm

import "vtm-ingress/sim/dataplane"

func pool(r *resource) *dataplane.Pool {
	p := &dataplane.Pool{
		Algorithm:        r.text("load_balancing", "algorithm"),
		PriorityEnabled:  r.flag("load_balancing", "priority_enabled"),
		PriorityNodes:    r.number("load_balancing", "priority_nodes"),
		FailurePool:      r.text("basic", "failure_pool"),
		Monitors:         r.list("basic", "monitors"),
		PersistenceClass: r.text("basic", "persistence_class"),

		PassiveMonitoring:      r.flag("basic", "passive_monitoring"),
		NodeConnectionAttempts: r.number("basic", "node_connection_attempts"),
		NodeRetryFailTime:      r.seconds("node", "retry_fail_time"),
		CloseOnDeath:           r.flag("node", "close_on_death"),

		MaxConnectionAttempts:         r.number("basic", "max_connection_attempts"),
		MaxTimedOutConnectionAttempts: r.number("basic", "max_timed_out_connection_attempts"),
		MaxConnectTime:                r.seconds("connection", "max_connect_time"),
		MaxReplyTime:                  r.seconds("connection", "max_reply_time"),

		MaxConnectionsPerNode:  r.number("connection", "max_connections_per_node"),
		MaxTransactionsPerNode: r.number("connection", "max_transactions_per_node"),
		MaxQueueSize:           r.number("connection", "max_queue_size"),
		QueueTimeout:           r.seconds("connection", "queue_timeout"),

		Keepalive:              r.flag("http", "keepalive"),
		KeepaliveNonIdempotent: r.flag("http", "keepalive_non_idempotent"),
		MaxIdlePerNode:         r.number("basic", "max_idle_connections_pernode"),
		CloseWithRST:           r.flag("basic", "node_close_with_rst"),

		UDPResponseTimeout: r.seconds("udp", "response_timeout"),
		UDPAcceptFrom:      r.text("udp", "accept_from"),
		UDPAcceptMask:      r.text("udp", "accept_from_mask"),

		DeleteDrain:  r.text("basic", "node_delete_behavior") == "drain",
		DrainTimeout: r.seconds("basic", "node_drain_to_delete_timeout"),

		TLS: dataplane.NodeTLS{
			Enabled:          r.flag("ssl", "enable"),
			StrictVerify:     r.flag("ssl", "strict_verify"),
			CommonNames:      r.list("ssl", "common_name_match"),
			ServerName:       r.flag("ssl", "server_name"),
			ClientAuth:       r.flag("ssl", "client_auth"),
			FixedCertificate: r.text("ssl", "ssl_fixed_client_certificate"),
			SendCloseAlerts:  r.flag("ssl", "send_close_alerts"),
			Versions: [4]string{
				r.text("ssl", "support_tls1"), r.text("ssl", "support_tls1_1"),
				r.text("ssl", "support_tls1_2"), r.text("ssl", "support_tls1_3"),
			},
			CipherSuites: r.text("ssl", "cipher_suites"),
			Curves:       r.list("ssl", "elliptic_curves"),
			SessionCache: r.text("ssl", "session_cache_enabled"),
			Tickets:      r.text("ssl", "session_tickets_enabled"),
		},
	}
	for _, n := range r.table("basic", "nodes_table") {
		p.Nodes = append(p.Nodes, dataplane.Node{
			Address: n.text("node"), State: n.text("state"), Weight: n.number("weight"), Priority: n.number("priority"),
		})
	}
	return p
}

func monitor(r *resource) *dataplane.Monitor {
	m := &dataplane.Monitor{
		Type:     r.text("basic", "type"),
		Delay:    r.seconds("basic", "delay"),
		Timeout:  r.seconds("basic", "timeout"),
		Failures: r.number("basic", "failures"),
		BackOff:  r.flag("basic", "back_off"),
		Scope:    r.text("basic", "scope"),
		Machine:  r.text("basic", "machine"),
		UseSSL:   r.flag("basic", "use_ssl"),
		Verbose:  r.flag("basic", "verbose"),

		Path:          r.text("http", "path"),
		HostHeader:    r.text("http", "host_header"),
		StatusRegex:   r.text("http", "status_regex"),
		BodyRegex:     r.text("http", "body_regex"),
		Authorization: r.text("http", "authentication"),

		WriteString:    r.text("tcp", "write_string"),
		ResponseRegex:  r.text("tcp", "response_regex"),
		CloseString:    r.text("tcp", "close_string"),
		MaxResponseLen: r.number("tcp", "max_response_len"),

		Program: r.text("script", "program"),
	}
	for _, a := range r.table("script", "arguments") {
		m.Arguments = append(m.Arguments, dataplane.ProgramArgument{Name: a.text("name"), Value: a.text("value")})
	}
	return m
}

func persistence(r *resource) *dataplane.Persistence {
	return &dataplane.Persistence{
		Type:        r.text("basic", "type"),
		Cookie:      r.text("basic", "cookie"),
		Delete:      r.flag("basic", "delete"),
		FailureMode: r.text("basic", "failure_mode"),
		URL:         r.text("basic", "url"),
		PrefixV4:    r.number("basic", "subnet_prefix_length_v4"),
		PrefixV6:    r.number("basic", "subnet_prefix_length_v6"),
		AlwaysSet:   r.flag("basic", "transparent_always_set_cookie"),
		Directives:  r.text("basic", "transparent_directives"),
	}
}

func sessionCaches(r *resource) dataplane.SessionCaches {
	return dataplane.SessionCaches{
		IPSize:          r.number("session", "ip_cache_size"),
		UniversalSize:   r.number("session", "universal_cache_size"),
		J2EESize:        r.number("session", "j2ee_cache_size"),
		ASPSize:         r.number("session", "asp_cache_size"),
		SSLSize:         r.number("session", "ssl_cache_size"),
		IPExpiry:        r.seconds("session", "ip_cache_expiry"),
		UniversalExpiry: r.seconds("session", "universal_cache_expiry"),
		J2EEExpiry:      r.seconds("session", "j2ee_cache_expiry"),
	}
}

func protection(r *resource) *dataplane.Protection {
	return &dataplane.Protection{
		Enabled: r.flag("basic", "enabled"),
		Testing: r.flag("basic", "testing"),
		LogTime: r.seconds("basic", "log_time"),
		Rule:    r.text("basic", "rule"),

		Allowed: r.list("access_restriction", "allowed"),
		Banned:  r.list("access_restriction", "banned"),

		Max1:           r.number("concurrent_connections", "max_1_connections"),
		Max10:          r.number("concurrent_connections", "max_10_connections"),
		MinConnections: r.number("concurrent_connections", "min_connections"),
		PerProcess:     r.flag("concurrent_connections", "per_process_connection_count"),

		MaxRate:   r.number("connection_rate", "max_connection_rate"),
		RateTimer: r.seconds("connection_rate", "rate_timer"),

		CheckRFC2396:     r.flag("http", "check_rfc2396"),
		RejectBinary:     r.flag("http", "reject_binary"),
		SendErrorPage:    r.flag("http", "send_error_page"),
		MaxBodyLength:    r.number("http", "max_body_length"),
		MaxHeaderLength:  r.number("http", "max_header_length"),
		MaxRequestLength: r.number("http", "max_request_length"),
		MaxURLLength:     r.number("http", "max_url_length"),
	}
}
