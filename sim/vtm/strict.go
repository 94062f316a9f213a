package vtm

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"vtm-ingress/internal/changes"
	"vtm-ingress/sim/trafficscript"
)

// reference says that a key names resources of one of some types.
type reference struct {
	types   []string // paths, as in the schema
	builtin []string // names that need no resource
	rules   bool     // a leading '/' marks a disabled use: vtm/rest.md §2
	// checked: the real traffic manager refuses a name that does not exist, too.
	checked bool
}

// references are the keys that name other resources: type -> "section/key" or
// "section/table.column". Other keys may hold any name.
var references = map[string]map[string]reference{
	"virtual_servers": {
		"basic/pool":                                    {types: []string{"pools"}, builtin: builtinPools},
		"basic/request_rules":                           {types: []string{"rules"}, rules: true},
		"basic/response_rules":                          {types: []string{"rules"}, rules: true},
		"basic/completion_rules":                        {types: []string{"rules"}, rules: true},
		"basic/listen_on_traffic_ips":                   {types: []string{"traffic_ip_groups"}},
		"basic/protection_class":                        {types: []string{"protection"}},
		"basic/bandwidth_class":                         {types: []string{"bandwidth"}},
		"basic/slm_class":                               {types: []string{"service_level_monitors"}},
		"basic/glb_services":                            {types: []string{"glb_services"}},
		"auth/saml_idp":                                 {types: []string{"saml/trustedidps"}},
		"connection_errors/error_file":                  {types: []string{"extra_files"}, builtin: []string{"Default"}},
		"dns/zones":                                     {types: []string{"dns_server/zones"}},
		"ssl/server_cert_default":                       {types: []string{"ssl/server_keys"}},
		"ssl/server_cert_alt_certificates":              {types: []string{"ssl/server_keys"}},
		"ssl/server_cert_host_mapping.certificate":      {types: []string{"ssl/server_keys"}},
		"ssl/server_cert_host_mapping.alt_certificates": {types: []string{"ssl/server_keys"}},
		"ssl/client_cert_cas":                           {types: []string{"ssl/cas"}},
		"ssl/ca_sites.client_cas":                       {types: []string{"ssl/cas"}},
		"ssl/issued_certs_never_expire":                 {types: []string{"ssl/cas"}},
	},
	"pools": {
		"basic/failure_pool":               {types: []string{"pools"}},
		"basic/monitors":                   {types: []string{"monitors"}},
		"basic/persistence_class":          {types: []string{"persistence"}},
		"basic/bandwidth_class":            {types: []string{"bandwidth"}},
		"ssl/ssl_fixed_client_certificate": {types: []string{"ssl/client_keys"}},
		"auto_scaling/cloud_credentials":   {types: []string{"cloud_api_credentials"}},
		"service_discovery/plugin":         {types: []string{"servicediscovery"}},
	},
	"traffic_ip_groups": {
		"basic/machines":                   {types: []string{"traffic_managers"}},
		"basic/slaves":                     {types: []string{"traffic_managers"}},
		"basic/ip_mapping.traffic_manager": {types: []string{"traffic_managers"}},
	},
	"monitors":         {"script/program": {types: []string{"monitor_scripts"}, builtin: []string{"dns.pl"}}},
	"protection":       {"basic/rule": {types: []string{"rules"}, rules: true}},
	"event_types":      {"basic/actions": {types: []string{"actions"}}},
	"glb_services":     {"basic/rules": {types: []string{"rules"}, rules: true}, "basic/location_settings.location": {types: []string{"locations"}}},
	"dns_server/zones": {"basic/zonefile": {types: []string{"dns_server/zone_files"}}},
	"appliance/nat": {
		"basic/many_to_one_all_ports.pool":   {types: []string{"pools"}, checked: true},
		"basic/many_to_one_port_locked.pool": {types: []string{"pools"}, checked: true},
	},
}

// builtinPools need no entry: vtm/rest.md §7.
var builtinPools = []string{"discard", "builtin_dns"}

// target is what a reference points to: a resource, which may not exist.
type target struct{ path, name string }

func (t target) String() string { return t.path + "/" + t.name }

func (t target) compare(u target) int {
	return cmp.Or(strings.Compare(t.path, u.path), strings.Compare(t.name, u.name))
}

// use is one reference that a resource makes.
type use struct {
	target
	ref *reference
	// Where: in a rule section is "" and key tells how it is used.
	section, key, row, column string
}

// uses lists the references that a JSON resource makes, in the schema's order. It may
// not be modified.
func uses(r *resource) []use {
	if known := r.uses.Load(); known != nil {
		return *known
	}
	all := findUses(r)
	r.uses.Store(&all)
	return all
}

func findUses(r *resource) []use {
	var all []use
	for _, sec := range r.kind.sections {
		for _, p := range sec.properties {
			v, set := r.values[p]
			if !set {
				continue // no default names a resource
			}
			at := use{section: sec.name, key: p.name}
			all = p.uses(all, at, v)
			rows, _ := v.([]row)
			for _, cells := range rows {
				at.row = fmt.Sprint(cells[p.primary])
				for c, cell := range cells {
					at.column = p.columns[c].name
					all = p.columns[c].uses(all, at, cell)
				}
			}
		}
	}
	return all
}

func (p *property) uses(all []use, at use, v any) []use {
	if p.references == nil {
		return all
	}
	at.ref = p.references
	names, ok := v.([]string)
	if name, single := v.(string); single {
		names, ok = []string{name}, true
	}
	if !ok {
		return all
	}
	for _, name := range names {
		if p.references.rules {
			name = strings.TrimPrefix(name, "/")
		}
		if name == "" || slices.Contains(p.references.builtin, name) {
			continue
		}
		for _, path := range p.references.types {
			at.target = target{path, name}
			all = append(all, at)
		}
	}
	return all
}

// strict knows who refers to what, kept with each change.
type strict struct {
	store  *store
	schema *schema
	usedBy map[target]map[target]struct{} // target -> who names it; whoever writes may touch it
	uses   map[target][]target            // user -> what it names itself, sorted, each once

	libraries *trafficscript.Libraries
}

func newStrict(st *store, sch *schema, libraries *trafficscript.Libraries) *strict {
	return &strict{libraries: libraries, store: st, schema: sch, usedBy: make(map[target]map[target]struct{}), uses: make(map[target][]target)}
}

func (s *strict) exists(t target) bool { return s.store.get(s.schema.types[t.path], t.name) != nil }

// users are those who refer to a resource, itself too if it does. What a rule refers to
// includes what its libraries do.
func (s *strict) users(t target) []target {
	var all []target
	seen := make(map[target]bool)
	for user := range s.usedBy[t] {
		all = append(all, user)
		seen[user] = true
	}
	for i := 0; i < len(all); i++ {
		if all[i].path != "rules" {
			continue
		}
		for importer := range s.usedBy[all[i]] {
			if importer.path == "rules" && !seen[importer] {
				all = append(all, importer)
				seen[importer] = true
			}
		}
	}
	return all
}

// importers are the names of the rules that import one, be it through others.
func (s *strict) importers(rule string) []string {
	var names []string
	for _, user := range s.users(target{"rules", rule}) {
		if user.path == "rules" {
			names = append(names, user.name)
		}
	}
	return names
}

// changed keeps the index. What a name in a rule stands for may depend on its
// libraries, so the rules that import a changed one are looked at again.
func (s *strict) changed(old, next *resource) {
	r := next
	if next == nil {
		r = old
	}
	self := target{r.kind.path, r.name}
	if next == nil {
		s.record(self, nil)
		s.libraries.Forget(r.name)
		return
	}
	if r.kind.path != "rules" {
		all := uses(next)
		names := make([]target, len(all))
		for i := range all {
			names[i] = all[i].target
		}
		s.record(self, names)
		return
	}
	for _, name := range append(s.importers(r.name), r.name) {
		// It compiles: a change after which one does not is refused.
		if compiled, _ := s.compile(s.store.get(r.kind, name), nil); compiled != nil {
			s.record(target{r.kind.path, name}, ruleNames(compiled))
		}
	}
}

// record replaces what the index knows of one user, which keeps next.
func (s *strict) record(user target, next []target) {
	slices.SortFunc(next, target.compare)
	next = slices.Compact(next)
	changes.Between(s.uses[user], next, target.compare, func(gone target) {
		delete(s.usedBy[gone], user)
		if len(s.usedBy[gone]) == 0 {
			delete(s.usedBy, gone)
		}
	}, func(came target) {
		if s.usedBy[came] == nil {
			s.usedBy[came] = make(map[target]struct{})
		}
		s.usedBy[came][user] = struct{}{}
	})
	if len(next) == 0 {
		delete(s.uses, user)
		return
	}
	s.uses[user] = next
}

// refuse says what is wrong with a change, nil if nothing is. old is nil on
// creation, next on deletion.
func (t *TrafficManager) refuse(old, next *resource) *apiError {
	bad := make(problems)
	if next != nil {
		for _, u := range uses(next) {
			if u.ref.checked && t.store.get(t.schema.types[u.path], u.name) == nil {
				bad.at(u, "filename.forbiddenpath", fmt.Sprintf("The supplied value '%%zeushome%%/zxtm/conf/%s/%s' is not allowed.", u.path, clip(u.name)))
			}
		}
	}
	if t.strict != nil && len(bad) == 0 {
		t.strict.refuse(bad, old, next)
	}
	return bad.err()
}

func (s *strict) refuse(bad problems, old, next *resource) {
	if next == nil {
		self := target{old.kind.path, old.name}
		var users []string
		for _, user := range s.users(self) {
			if user != self {
				users = append(users, user.String())
			}
		}
		if len(users) > 0 {
			slices.Sort(users)
			bad.section("resource", "strict.in_use", fmt.Sprintf("%s is used by %s", self, clip(strings.Join(users, ", "))))
		}
		return
	}
	self := target{next.kind.path, next.name}
	for _, u := range uses(next) {
		if u.target != self && !s.exists(u.target) {
			bad.at(u, "strict.dangling_reference", fmt.Sprintf("%s does not exist: create it first", u.target))
		}
	}
	switch next.kind.path {
	case "rules":
		s.refuseRule(bad, next)
	case "ssl/server_keys", "ssl/client_keys":
		public, private := next.text("basic", "public"), next.text("basic", "private")
		if _, err := tls.X509KeyPair([]byte(public), []byte(private)); err != nil {
			bad.key("basic", "private", &valueError{id: "strict.key_mismatch", text: "Certificate and private key are no pair: " + clip(err.Error())})
		}
	}
}

// refuseRule wants a rule that compiles, whose pools exist, and with which the
// rules that import it compile too.
func (s *strict) refuseRule(bad problems, next *resource) {
	rule, diagnostics := s.compile(next, next)
	if rule == nil {
		lines := make([]string, 0, len(diagnostics))
		for _, d := range diagnostics.Errors() {
			lines = append(lines, d.String())
		}
		bad.section("content", "strict.rule_syntax", clip(strings.Join(lines, "\n")))
		return
	}
	for _, name := range rule.Pools() {
		if pool := (target{"pools", name}); !slices.Contains(builtinPools, name) && !s.exists(pool) {
			bad.section("content", "strict.dangling_reference", fmt.Sprintf("%s does not exist: create it first", pool))
		}
	}
	for _, name := range s.importers(next.name) {
		if importer, diagnostics := s.compile(s.store.get(next.kind, name), next); importer == nil {
			bad.section("importer "+name, "strict.rule_syntax", fmt.Sprintf("rules/%s imports this rule and would no longer compile: %s", name, clip(diagnostics.Errors()[0].String())))
		}
	}
}

// compile compiles a rule against the stored ones; instead, if not nil, replaces
// the stored one of its name.
func (s *strict) compile(r, instead *resource) (*trafficscript.Rule, trafficscript.Diagnostics) {
	return trafficscript.Compile(r.name, effect(r, rule).Source, func(name string) (string, bool) {
		found := instead
		if found == nil || found.name != name {
			found = s.store.get(r.kind, name)
		}
		if found == nil {
			return "", false
		}
		return effect(found, rule).Source, true
	}, trafficscript.RememberLibraries(s.libraries))
}

// ruleNames lists what a rule names itself: literal pools and rule libraries.
func ruleNames(rule *trafficscript.Rule) []target {
	own := rule.Parts()[0]
	all := make([]target, 0, len(own.Pools)+len(own.Libraries))
	for _, name := range own.Pools {
		if !slices.Contains(builtinPools, name) {
			all = append(all, target{"pools", name})
		}
	}
	for _, name := range own.Libraries {
		all = append(all, target{"rules", name})
	}
	return all
}

// at records a mistake where a reference is made. A list may make several; they
// are told in one text.
func (ps problems) at(u use, id, text string) {
	keys, ok := ps[u.section].(map[string]any)
	if !ok {
		keys = make(map[string]any)
		ps[u.section] = keys
	}
	name := u.key
	if u.column != "" {
		for _, level := range []string{u.key, clip(u.row)} {
			inner, ok := keys[level].(map[string]any)
			if !ok {
				inner = make(map[string]any)
				keys[level] = inner
			}
			keys = inner
		}
		name = u.column
	}
	if earlier, ok := keys[name].(innerError); ok {
		text = earlier.Text + "; " + text
	}
	keys[name] = innerError{id, text}
}
