package vtm

import "vtm-ingress/sim/dataplane"

// virtualServer makes the data plane's configuration of a stored virtual server.
func virtualServer(r *resource) *dataplane.VirtualServer {
	vs := &dataplane.VirtualServer{
		Enabled:  r.flag("basic", "enabled"),
		Port:     r.number("basic", "port"),
		Protocol: r.text("basic", "protocol"),
		Pool:     r.text("basic", "pool"),

		ListenOnAny:        r.flag("basic", "listen_on_any"),
		ListenOnTrafficIPs: r.list("basic", "listen_on_traffic_ips"),
		ListenOnHosts:      r.list("basic", "listen_on_hosts"),

		RequestRules:  r.list("basic", "request_rules"),
		ResponseRules: r.list("basic", "response_rules"),

		CompletionRules:   r.list("basic", "completion_rules"),
		ServiceLevelClass: r.text("basic", "slm_class"),

		RequestLog:           r.flag("log", "enabled") || r.flag("syslog", "enabled"),
		RequestLogAll:        r.flag("log", "save_all"),
		RecentConnections:    r.flag("recent_connections", "enabled"),
		RecentConnectionsAll: r.flag("recent_connections", "save_all"),
		RulesOnConnect:       r.flag("basic", "rules_on_connect"),

		ProtectionClass:          r.text("basic", "protection_class"),
		MaxConcurrentConnections: r.number("basic", "max_concurrent_connections"),
		ProxyProtocol:            r.flag("basic", "proxy_protocol"),
		ProxyProtocolOptional:    r.flag("basic", "proxy_protocol_optional"),

		ConnectTimeout:         r.seconds("basic", "connect_timeout"),
		Timeout:                r.seconds("connection", "timeout"),
		Keepalive:              r.flag("connection", "keepalive"),
		KeepaliveTimeout:       r.seconds("connection", "keepalive_timeout"),
		MaxTransactionDuration: r.seconds("connection", "max_transaction_duration"),

		MaxClientBuffer: r.number("connection", "max_client_buffer"),

		AddClusterIP:         r.flag("http", "add_cluster_ip"),
		AddXForwardedFor:     r.flag("http", "add_x_forwarded_for"),
		AddXForwardedProto:   r.flag("http", "add_x_forwarded_proto"),
		StripXForwardedProto: r.flag("http", "strip_x_forwarded_proto"),
		AutodetectUpgrade:    r.flag("http", "autodetect_upgrade_headers"),
		LocationRewrite:      r.text("http", "location_rewrite"),
		LocationRegex:        r.text("http", "location_regex"),
		LocationReplace:      r.text("http", "location_replace"),
		UpgradeProtocols:     r.list("http", "auto_upgrade_protocols"),
		MimeDetect:           r.flag("http", "mime_detect"),
		MimeDefault:          r.text("http", "mime_default"),
		ErrorFile:            r.text("connection_errors", "error_file"),
		ServerFirstBanner:    r.text("connection", "server_first_banner"),
		Nagle:                r.flag("tcp", "nagle"),
		CloseWithRST:         r.flag("tcp", "close_with_rst"),
		ProxyClose:           r.flag("tcp", "proxy_close"),
		LogClientFailures:    r.flag("log", "client_connection_failures"),
		LogServerFailures:    r.flag("log", "server_connection_failures"),
		LogSSLFailures:       r.flag("log", "ssl_failures"),

		HTTP2: dataplane.HTTP2{
			Enabled:              r.flag("http2", "enabled"),
			ConnectTimeout:       r.seconds("http2", "connect_timeout"),
			MaxConcurrentStreams: r.number("http2", "max_concurrent_streams"),
			HeaderTableSize:      r.number("http2", "header_table_size"),
			MaxFrameSize:         r.number("http2", "max_frame_size"),
			HeadersSizeLimit:     r.number("http2", "headers_size_limit"),
			StreamWindowSize:     r.number("http2", "stream_window_size"),
			IdleNoStreams:        r.seconds("http2", "idle_timeout_no_streams"),
			IdleOpenStreams:      r.seconds("http2", "idle_timeout_open_streams"),
		},
		TLS: dataplane.ServerTLS{
			TLS10:           r.text("ssl", "support_tls1"),
			TLS11:           r.text("ssl", "support_tls1_1"),
			TLS12:           r.text("ssl", "support_tls1_2"),
			TLS13:           r.text("ssl", "support_tls1_3"),
			Tickets:         r.text("ssl", "session_tickets_enabled"),
			CipherSuites:    r.text("ssl", "cipher_suites"),
			Curves:          r.list("ssl", "elliptic_curves"),
			ClientCert:      r.text("ssl", "request_client_cert"),
			ClientCAs:       r.list("ssl", "client_cert_cas"),
			CertHeaders:     r.text("ssl", "client_cert_headers"),
			AddHeaders:      r.flag("ssl", "add_http_headers"),
			SendCloseAlerts: r.flag("ssl", "send_close_alerts"),
		},
		Gzip: dataplane.Gzip{
			Enabled:     r.flag("gzip", "enabled"),
			Level:       r.number("gzip", "compress_level"),
			IncludeMime: r.list("gzip", "include_mime"),
			MinSize:     r.number("gzip", "min_size"),
			MaxSize:     r.number("gzip", "max_size"),
			NoSize:      r.flag("gzip", "no_size"),
			ETag:        r.text("gzip", "etag_rewrite"),
		},
		WebCache: dataplane.WebCache{
			Enabled:       r.flag("web_cache", "enabled"),
			ControlOut:    r.text("web_cache", "control_out"),
			MaxTime:       r.seconds("web_cache", "max_time"),
			ErrorPageTime: r.seconds("web_cache", "error_page_time"),
			RefreshTime:   r.seconds("web_cache", "refresh_time"),
		},
		Cookie: dataplane.Cookie{
			Domain:      r.text("cookie", "domain"),
			NewDomain:   r.text("cookie", "new_domain"),
			PathRegex:   r.text("cookie", "path_regex"),
			PathReplace: r.text("cookie", "path_replace"),
			Secure:      r.text("cookie", "secure"),
		},
		UDP: dataplane.UDP{
			EndPointPersistence: r.flag("udp", "end_point_persistence"),
			Responses:           r.number("udp", "response_datagrams_expected"),
			Timeout:             r.seconds("udp", "timeout"),
		},
		SSLDecrypt:        r.flag("basic", "ssl_decrypt"),
		ServerCertDefault: r.text("ssl", "server_cert_default"),
		ServerCertAlt:     r.list("ssl", "server_cert_alt_certificates"),
	}
	for _, m := range r.table("ssl", "server_cert_host_mapping") {
		vs.ServerCertHostMapping = append(vs.ServerCertHostMapping, dataplane.HostMapping{
			Host: m.text("host"), Certificate: m.text("certificate"), AltCertificates: m.list("alt_certificates"),
		})
	}
	for _, m := range r.table("ssl", "ca_sites") {
		vs.TLS.CASites = append(vs.TLS.CASites, dataplane.CASite{
			Host: m.text("host"), ClientCAs: m.list("client_cas"), RequestCert: m.text("request_cert"), CertHeaders: m.text("cert_headers"),
		})
	}
	return vs
}
