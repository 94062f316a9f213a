package vtm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
)

// TestADanglingReferenceIsAcceptedUnlessStrict tries every key that names other
// resources, in both modes: with a name that does not exist, and when it does.
func TestADanglingReferenceIsAcceptedUnlessStrict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		tm, err := Start(Options{
			World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1.sim", Address: "127.0.0.1", RESTPort: AnyPort,
			PlainHTTP: true, Strict: strict, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer tm.Close()
		send := func(method, target, body string) (int, string) {
			r := httptest.NewRequest(method, "/api/tm/8.3/config/active/"+target, strings.NewReader(body))
			a, refused := tm.route(&request{Request: r, of: tm, user: "admin", expert: everything})
			if refused != nil {
				return refused.status, string(refused.body())
			}
			return a.status, string(a.body)
		}
		send("PUT", "dns_server/zone_files/sample", "# what zones need")
		n := 0
		for _, path := range slices.Sorted(maps.Keys(references)) {
			kind := tm.schema.types[path]
			for _, key := range slices.Sorted(maps.Keys(references[path])) {
				n++
				ref := references[path][key]
				section, name, _ := strings.Cut(key, "/")
				name, column, _ := strings.Cut(name, ".")
				p := kind.property(section, name)
				target := path + "/user"
				if kind.class == singleton {
					target = path
				}
				body := func(to string) string {
					properties := map[string]map[string]any{section: {}}
					for _, sec := range kind.sections {
						for _, q := range sec.properties {
							if q.required {
								if properties[sec.name] == nil {
									properties[sec.name] = map[string]any{}
								}
								properties[sec.name][q.name] = json.RawMessage(q.appendJSON(nil, q.trial()))
								if q.name == "pool" {
									properties[sec.name][q.name] = "discard"
								}
							}
						}
					}
					properties[section][name] = referring(p, column, to)
					b, err := json.Marshal(map[string]any{"properties": properties})
					if err != nil {
						t.Fatal(err)
					}
					return string(b)
				}
				refuses := strict || ref.checked
				want := http.StatusCreated
				if kind.class == singleton {
					want = http.StatusOK
				}
				status, answer := send("PUT", target, body("gone"))
				switch {
				case refuses && status != http.StatusBadRequest, !refuses && status != want:
					t.Errorf("strict %t, %s %s naming what does not exist: %d %s", strict, path, key, status, answer)
				case refuses:
					id := "strict.dangling_reference"
					if ref.checked {
						id = "filename.forbiddenpath"
					}
					var e struct {
						Info map[string]map[string]any `json:"error_info"`
					}
					_ = json.Unmarshal([]byte(answer), &e)
					if b, _ := json.Marshal(e.Info[section][name]); !strings.Contains(string(b), id) || len(e.Info) != 1 {
						t.Errorf("strict %t, %s %s: told as %s", strict, path, key, answer)
					}
				}
				send("DELETE", target, "")
				if !refuses {
					continue
				}
				// With what it names it is accepted, and in strict mode that is in use then.
				for _, to := range ref.types {
					content := "# nothing"
					if tm.schema.types[to].class != files {
						b, _ := json.Marshal(map[string]any{"properties": required(tm.schema.types[to])})
						content = string(b)
					}
					if to == "ssl/server_keys" || to == "ssl/client_keys" {
						content = keyPair(t)
					}
					if status, answer := send("PUT", to+"/there", content); status >= 300 {
						t.Fatalf("%s: %d %s", to, status, answer)
					}
				}
				if status, answer := send("PUT", target, body("there")); status != want {
					t.Errorf("strict %t, %s %s naming what exists: %d %s", strict, path, key, status, answer)
				}
				wantDelete := http.StatusNoContent
				if strict {
					wantDelete = http.StatusBadRequest
				}
				if status, answer := send("DELETE", ref.types[0]+"/there", ""); status != wantDelete {
					t.Errorf("strict %t, %s %s: deleting what is named: %d %s", strict, path, key, status, answer)
				}
				if kind.class == singleton {
					send("PUT", target, fmt.Sprintf(`{"properties":{%q:{%q:[]}}}`, section, name))
				} else {
					send("DELETE", target, "")
				}
				for _, to := range ref.types {
					send("DELETE", to+"/there", "")
				}
			}
		}
		if n < 37 {
			t.Errorf("only %d keys name other resources", n)
		}
	}
}

// referring is a value of a key, or of a column of it, that names a resource.
func referring(p *property, column, to string) any {
	switch p.kind {
	case stringKind:
		return to
	case listKind, setKind:
		return []string{to}
	}
	r := map[string]any{}
	for i, cell := range p.trial().([]row)[0] {
		c := p.columns[i]
		if c.name == column || c.required && c.references != nil {
			r[c.name] = referring(c, "", to)
		} else if c.required || i == p.primary {
			r[c.name] = json.RawMessage(c.appendJSON(nil, cell))
		}
	}
	return []any{r}
}

// required are the required keys of a type, with values.
func required(kind *resourceType) map[string]map[string]json.RawMessage {
	all := map[string]map[string]json.RawMessage{}
	for _, sec := range kind.sections {
		for _, p := range sec.properties {
			if p.required {
				if all[sec.name] == nil {
					all[sec.name] = map[string]json.RawMessage{}
				}
				all[sec.name][p.name] = p.appendJSON(nil, p.trial())
			}
		}
	}
	return all
}

// keyPair is the body of a server or client key whose two halves match.
func keyPair(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(map[string]any{"properties": map[string]any{"basic": map[string]string{
		"public":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"private": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}}})
	return string(b)
}
