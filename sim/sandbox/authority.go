package sandbox

import (
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"context"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/acme"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/dns"
)

// ACMEOptions of a sandbox with a certificate authority.
type ACMEOptions struct {
	// Profiles are the lifetimes of certificates, by profile; none: 90 days.
	Profiles map[string]time.Duration
	// World of the certificate authority alone, whose time may be another one; nil: the
	// sandbox's. Pebble has this machine's.
	World outside.World
	// BadNonces is how many of a hundred good nonces are refused; not in a simulated
	// one.
	BadNonces int
	// ExternalAccounts, if any, are required of new accounts: base64url HMAC keys by
	// key identifier.
	ExternalAccounts map[string]string
}

// Authority is the sandbox's certificate authority: Pebble, or acme.CA in a
// simulated sandbox. It finds hosts as a CA on the internet does: by their names,
// at the addresses that the traffic managers serve.
type Authority struct {
	*acme.Server
	// Names says where hosts are: at their Ingress's address, unless set otherwise.
	Names *dns.Zone
	// Small is the authority of a simulated sandbox; else nil.
	Small *acme.CA

	pebble *acme.Pebble
	dns    *dns.Server
	client *kubeclient.Client
}

// SuggestRenewal sets the window in which a certificate is to be renewed, by its
// serial number (RFC 9773).
func (a *Authority) SuggestRenewal(serial *big.Int, start, end time.Time) error {
	if a.Small != nil {
		return a.Small.SuggestRenewal(serial, start, end)
	}
	return a.pebble.SuggestRenewal(serial, start, end)
}

// DNSAddress is where names are resolved, over TCP and UDP; empty if simulated.
func (a *Authority) DNSAddress() string {
	if a.dns == nil {
		return ""
	}
	return a.dns.Address()
}

func (a *Authority) close() {
	if a.Server != nil {
		a.Server.Close()
	}
	if a.dns != nil {
		a.dns.Close()
	}
	if a.client != nil {
		a.client.Close()
	}
}

// startAuthority starts what Authority names. Close ends what was started, also
// after an error.
func (s *Sandbox) startAuthority(ctx context.Context, o Options) (err error) {
	a := &Authority{}
	s.Certificates = a
	a.client, err = kubeclient.New(o.World, "dns", s.config("dns", "dns"))
	if err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	ingresses := dns.NewIngresses(a.client)
	a.Names = dns.NewZone(ingresses.Addresses)
	s.run("the resolver's names", func() error { return ingresses.Run(ctx) })

	if o.Simulated {
		world := o.World
		if o.ACME.World != nil {
			world = o.ACME.World
		}
		a.Small, err = acme.StartCA(acme.CAOptions{
			World: world, Log: o.Log, Address: o.Addresses.ACME.String(),
			Resolve: a.Names.Addresses, Text: a.Names.Text, Dial: s.Dial,
			Profiles: o.ACME.Profiles, ExternalAccounts: o.ACME.ExternalAccounts,
		})
		if err == nil {
			a.Server = a.Small.Server
		}
		return err
	}

	at := movable(o, o.Addresses.DNS)
	a.dns, err = dns.Start(dns.Options{
		World: o.World, Log: o.Log, Address: at.String(), Zone: a.Names, Map: s.AddressMap.Map,
	})
	if err != nil {
		return err
	}
	s.progress("DNS at " + a.dns.Address())
	a.pebble, err = acme.StartPebble(acme.PebbleOptions{
		World: o.World, Log: o.Log, Address: o.Addresses.ACME.String(), Resolver: a.dns.Address(),
		// Where the data plane's port 80 is on this machine.
		HTTPPort: int(movable(o, netip.AddrPortFrom(o.Addresses.Mapped.Masked().Addr().Next(), 80)).Port()),
		Profiles: o.ACME.Profiles, BadNonces: o.ACME.BadNonces, ExternalAccounts: o.ACME.ExternalAccounts,
	})
	if err != nil {
		return err
	}
	a.Server = a.pebble.Server
	s.progress("ACME directory at " + a.DirectoryURL())
	return nil
}

// movable is at, or the port where those below 1024 go if this user can't bind
// them.
func movable(o Options, at netip.AddrPort) netip.AddrPort {
	listener, err := o.World.Listen("sandbox", "tcp", at.String())
	if err != nil {
		return netip.AddrPortFrom(at.Addr(), dataplane.MovedPort(at.Port()))
	}
	_ = listener.Close()
	return at
}
