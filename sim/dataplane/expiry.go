package dataplane

import (
	"fmt"
	"time"
)

const (
	// expiryNotice is how long before its end a certificate is told of.
	expiryNotice = 30 * 24 * time.Hour
	// expiryEvery is the pause between looks at all certificates in use.
	expiryEvery = 24 * time.Hour
)

// expires returns when the certificate of a server key ends; the zero time if it
// cannot be used at all.
func (k *serverKey) expires() time.Time {
	if k == nil || k.cert == nil || k.cert.Leaf == nil {
		return time.Time{}
	}
	return k.cert.Leaf.NotAfter
}

// expiryLoop tells of certificates once a day.
func (d *DataPlane) expiryLoop() {
	for sleep(d.ctx, d.options.World.Clock(), expiryEvery) {
		d.mu.Lock()
		for _, name := range sorted(d.servers) {
			d.tellExpiry(d.servers[name])
		}
		d.mu.Unlock()
	}
}

// tellExpiry writes an event for each certificate of a virtual server that has
// ended or soon will. The caller holds d.mu.
func (d *DataPlane) tellExpiry(v *vserver) {
	conf := v.conf.Load()
	if conf == nil || !conf.Enabled {
		return
	}
	now := d.now()
	soon := func(name string) bool {
		end := d.key(name).expires()
		return !end.IsZero() && end.Sub(now) <= expiryNotice
	}
	for _, name := range conf.sites.keys(soon) {
		end := d.key(name).expires()
		e := Event{Level: "WARN", Section: "vservers/" + v.name, Tag: "vssslcerttoexpire", More: []string{"ssl/server_keys/" + name},
			Text: fmt.Sprintf("Certificate '%s' expires on %s", name, end.UTC().Format(time.DateOnly))}
		if !end.After(now) {
			e.Level, e.Tag = "SERIOUS", "vssslcertexpired"
			e.Text = fmt.Sprintf("Certificate '%s' has expired on %s", name, end.UTC().Format(time.DateOnly))
		}
		d.event(e)
	}
}
