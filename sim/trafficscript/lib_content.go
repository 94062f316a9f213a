package trafficscript

// Cache is the web cache, as far as rules see it.
type Cache interface {
	// Has tells whether the request, with the transaction's CacheKey, can be
	// answered from the cache for this pool; "" is the pool that is chosen now.
	Has(pool string) bool
}

// contentFunctions are http.cache.*, http.compress.* and http.aptimizer.*.
var contentFunctions = []function{
	fact("http.cache.enable", func(r *run) value { r.tx.NoCache = false; return value{} }).in(inRequest | inResponse),
	fact("http.cache.disable", func(r *run) value { r.tx.NoCache = true; return value{} }).in(inRequest | inResponse),
	fn("http.cache.setkey", 1, 1, func(r *run, a []value) value {
		r.tx.CacheKey = r.toString(a[0])
		return value{}
	}).in(inRequest | inResponse),
	fn("http.cache.exists", 0, 1, func(r *run, a []value) value {
		return boolValue(r.tx.Phase == RequestPhase && r.cached(a))
	}),
	fn("http.cache.respondIfCached", 0, 1, func(r *run, a []value) value {
		if r.cached(a) && r.ended == Finished {
			r.tx.FromCache = true
			r.stop(Decided)
		}
		return value{}
	}).in(inRequest),

	fact("http.compress.enable", func(r *run) value { r.compress(true); return intValue(0) }).in(inRequest | inResponse),
	fact("http.compress.disable", func(r *run) value { r.compress(false); return value{} }).in(inRequest | inResponse),

	// There is no Aptimizer, as on a traffic manager without its licence.
	fn("http.aptimizer.use", 2, 2, func(r *run, _ []value) value {
		r.warn("rulelogmsgwarn", "http.aptimizer.use: virtual server '%s' does not have Aptimizer enabled", r.tx.VirtualServer)
		return value{}
	}).in(inRequest | inResponse),
	fact("http.aptimizer.bypass", func(*run) value { return value{} }).in(inRequest | inResponse),
}

func (r *run) compress(yes bool) { r.tx.Compress = &yes }

func (r *run) cached(a []value) bool {
	return r.tx.Cache != nil && !r.tx.NoCache && r.tx.Cache.Has(r.stringArg(a, 0))
}

// Kerberos is what rules set for Kerberos Protocol Transition. No tickets are had:
// as on a traffic manager whose realm does not answer.
type Kerberos struct {
	Enabled         *bool  // nil: as the virtual server is set
	Principal       string // the catalog's item
	ClientPrincipal string
	TargetPrincipal string
}

var kerberosFunctions = append(append(append([]function{
	fact("http.kerberos.isEnabled", func(r *run) value {
		enabled := r.tx.Kerberos.Enabled
		return boolValue(enabled != nil && *enabled)
	}),
	fn("http.kerberos.setEnabled", 1, 1, func(r *run, a []value) value {
		yes := a[0].truth()
		r.tx.Kerberos.Enabled = &yes
		return value{}
	}),
	fact("http.kerberos.getDelegatedTicket", func(r *run) value {
		r.warn("rulelogmsgwarn", "http.kerberos.getDelegatedTicket: no ticket can be had, since no Kerberos realm is asked")
		return value{}
	}),
}, principal("Principal", func(k *Kerberos) *string { return &k.Principal })...),
	principal("ClientPrincipalName", func(k *Kerberos) *string { return &k.ClientPrincipal })...),
	principal("TargetPrincipalName", func(k *Kerberos) *string { return &k.TargetPrincipal })...)

func principal(what string, of func(*Kerberos) *string) []function {
	return []function{
		fact("http.kerberos.get"+what, func(r *run) value { return stringValue(*of(&r.tx.Kerberos)) }),
		fn("http.kerberos.set"+what, 1, 1, func(r *run, a []value) value {
			*of(&r.tx.Kerberos) = r.toString(a[0])
			return value{}
		}),
	}
}
