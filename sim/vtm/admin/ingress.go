package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// updateTime bounds a change that a form makes.
const updateTime = time.Minute

// lastOfSpecification is the last setting that the vendor's page has; those after
// it are this controller's own.
const lastOfSpecification = "vtm_enable_trafficscript"

// ingressPage is System > Ingress Controller.
type ingressPage struct {
	Updated  bool
	Changed  bool // somebody else changed the settings while the form was open
	ReadOnly bool
	Seen     string // what the settings were when the form was made
	Was      string // what the fields held then: a JSON object
	Fields   []field
	More     []field // beyond the specification
	Unknown  []unknown
	Errors   []field // those of Fields and More with a problem
}

// field is one setting in the form.
type field struct {
	Setting
	Value   string
	Hint    string
	Problem string
	Now     string // what somebody else set meanwhile; "" if nobody did
	// Of a secret.
	Inline bool   // its value is in the resource
	Remove bool   // and shall go
	File   string // the setting that names a file instead
}

// unknown is a list that is no setting, or one that is not kept here.
type unknown struct {
	Name   string
	Why    string
	Remove bool
}

// kept are the lists that the resource holds now.
func (p *Pages) kept() []List {
	v := p.view.Resource("custom", settingsName).value("basic", "string_lists")
	var lists []List
	if v.Key == nil {
		return nil
	}
	at := v.Key.primary()
	for _, row := range v.Rows {
		l := List{Name: row[at]}
		for c, cell := range row {
			if c != at && cell != "" {
				l.Values = strings.Split(cell, "\n")
			}
		}
		lists = append(lists, l)
	}
	return lists
}

// mark changes when the lists do, whatever their order.
func mark(lists []List) string {
	h := sha256.New()
	sorted := slices.SortedFunc(slices.Values(lists), func(a, b List) int { return strings.Compare(a.Name, b.Name) })
	for _, l := range sorted {
		fmt.Fprintf(h, "%q %q\n", l.Name, l.Values)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// form makes the page of what is kept.
func (p *Pages) form(lists []List) ingressPage {
	page := ingressPage{Seen: mark(lists)}
	for _, s := range p.settings {
		f := field{Setting: s, Hint: s.hint()}
		at := slices.IndexFunc(lists, func(l List) bool { return l.Name == s.Key })
		if s.Type == "secret" {
			f.Inline = at >= 0 && strings.Join(lists[at].Values, "") != ""
			f.File = s.Key + "_file"
		} else if at >= 0 {
			f.Value = strings.Join(lists[at].Values, ", ")
		}
		page.add(f)
	}
	for _, l := range lists {
		if p.setting(l.Name) == nil {
			page.Unknown = append(page.Unknown, unknown{Name: l.Name, Why: "This is no setting that is kept here: the controller refuses it."})
		}
	}
	page.Was = page.values()
	return page
}

// values are what the fields hold, as a JSON object.
func (page *ingressPage) values() string {
	held := make(map[string]string)
	for _, f := range slices.Concat(page.Fields, page.More) {
		if f.Value != "" {
			held[f.Key] = f.Value
		}
	}
	text, _ := json.Marshal(held) // a map of strings always can be
	return string(text)
}

func (page *ingressPage) add(f field) {
	group := &page.Fields
	if slices.ContainsFunc(page.Fields, func(g field) bool { return g.Key == lastOfSpecification }) {
		group = &page.More
	}
	*group = append(*group, f)
	if f.Problem != "" {
		page.Errors = append(page.Errors, f)
	}
}

func (p *Pages) ingress(w http.ResponseWriter, r *http.Request, v *visit) {
	page := p.form(p.kept())
	page.ReadOnly, page.Updated = v.access != Full, r.URL.Query().Has("updated")
	p.render(w, r, v, http.StatusOK, "ingress", "Ingress Controller", page)
}

var errMeanwhile = errors.New("the settings were changed meanwhile")

func (p *Pages) updateIngress(w http.ResponseWriter, r *http.Request, v *visit) {
	remove := r.PostForm["remove"]
	sent := ingressPage{Seen: r.PostForm.Get("seen")}
	var set []List
	for _, s := range p.settings {
		f := field{Setting: s, Hint: s.hint(), Value: r.PostForm.Get(s.Key), Remove: slices.Contains(remove, s.Key)}
		if s.Type == "secret" {
			f.Value, f.File = "", s.Key+"_file"
			if r.PostForm.Get(s.Key) != "" {
				f.Problem = "Secrets are not stored here. Name a file in " + f.File + "."
			}
		} else {
			var values []string
			if values, f.Problem = s.read(f.Value); len(values) > 0 {
				set = append(set, List{s.Key, values})
			}
		}
		sent.add(f)
	}
	present := p.kept()
	if len(sent.Errors) > 0 {
		p.showAgain(w, r, v, sent, present, remove)
		return
	}
	ctx, cancel := contextWithTimeout(r, updateTime)
	defer cancel()
	err := p.view.EditLists(ctx, v.user, settingsName, func(lists []List) ([]List, error) {
		present = lists
		if mark(lists) != sent.Seen {
			return nil, errMeanwhile
		}
		next := slices.Clone(set)
		for _, l := range lists {
			// What the form does not show stays, unless it was told to go.
			s := p.setting(l.Name)
			if (s == nil || s.Type == "secret") && !slices.Contains(remove, l.Name) {
				next = append(next, l)
			}
		}
		return next, nil
	})
	switch {
	case errors.Is(err, errMeanwhile):
		sent.Changed = true
		p.showAgain(w, r, v, sent, present, remove)
	case err != nil:
		p.fail(w, r, v, http.StatusServiceUnavailable, fmt.Errorf("the settings were not changed: %w", err))
	default:
		http.Redirect(w, r, r.URL.Path+"?updated", http.StatusSeeOther)
	}
}

// showAgain shows the form with what was sent, so that nothing that was typed is
// lost; what it knew of the present settings is made new. A field that its editor
// left alone takes the value that somebody else gave it meanwhile.
func (p *Pages) showAgain(w http.ResponseWriter, r *http.Request, v *visit, sent ingressPage, present []List, remove []string) {
	fresh := p.form(present)
	var was map[string]string
	_ = json.Unmarshal([]byte(r.PostForm.Get("was")), &was) // without it all that was sent counts as typed
	renew := func(sent, fresh []field) {
		for i := range sent {
			f := &sent[i]
			f.Inline = fresh[i].Inline
			if was != nil && f.Value == was[f.Key] {
				f.Value = fresh[i].Value
			}
			if f.Value != fresh[i].Value && fresh[i].Value != was[f.Key] {
				f.Now = fresh[i].Value
				if f.Now == "" {
					f.Now = "nothing"
				}
			}
		}
	}
	renew(sent.Fields, fresh.Fields)
	renew(sent.More, fresh.More)
	sent.Seen, sent.Was, sent.Unknown = fresh.Seen, fresh.Was, fresh.Unknown
	for i := range sent.Unknown {
		sent.Unknown[i].Remove = slices.Contains(remove, sent.Unknown[i].Name)
	}
	status := http.StatusUnprocessableEntity
	if sent.Changed {
		status = http.StatusConflict
	}
	p.render(w, r, v, status, "ingress", "Ingress Controller", sent)
}
