package trafficscript

import (
	"bufio"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Names of the extra files in which users say what rules find outside of the
// traffic manager, where the emulated one never asks.
const (
	// PlacesFile is the table of geo.*: lines NETWORK,COUNTRY CODE,COUNTRY,REGION
	// CODE,REGION,CITY,LATITUDE,LONGITUDE, of which those at the end may be left
	// away; the smallest network that holds an address counts; '#' begins a comment.
	PlacesFile = "geo.csv"
	// HostsFile is the table of net.dns.*, in the format of /etc/hosts: lines
	// ADDRESS NAME..., of which the first that fits counts.
	HostsFile = "hosts"
	// UsersFile is the table of auth.query: a JSON object of authenticators, each
	// an object of users, each with "password" and "attributes".
	UsersFile = "authenticators.json"
)

// Tables are the contents of those files. They are immutable; nil ones are empty.
type Tables struct {
	places []map[netip.Prefix]Place // by length of the prefix; IPv4 as IPv6
	byName map[string][]netip.Addr
	byAddr map[netip.Addr]string
	users  map[string]map[string]user
}

type user struct {
	Password   string            `json:"password"`
	Attributes map[string]string `json:"attributes"`
}

// maxTableLines bounds each table.
const maxTableLines = 1_000_000

// ReadTables reads the tables that file has. What is wrong in one is an error that
// names the file and the line; the others and the lines before are in use all the
// same.
func ReadTables(file func(name string) (File, bool)) (*Tables, error) {
	t := &Tables{}
	var errs []error
	for name, read := range map[string]func(string) error{PlacesFile: t.readPlaces, HostsFile: t.readHosts, UsersFile: t.readUsers} {
		if f, ok := file(name); ok {
			if err := read(f.Content); err != nil {
				errs = append(errs, fmt.Errorf("extra file '%s': %w", name, err))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return t, errors.Join(errs...)
}

func (t *Tables) readPlaces(text string) error {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace = '#', -1, true
	for range maxTableLines {
		fields, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		network, err := netip.ParsePrefix(fields[0])
		if err != nil {
			return fmt.Errorf("line %d: '%s' is no network as 192.0.2.0/24", line, fields[0])
		}
		if len(fields) > 8 {
			return fmt.Errorf("line %d: %d fields, of 8 at most", line, len(fields))
		}
		fields = append(fields, make([]string, 8-len(fields))...)
		p := Place{CountryCode: fields[1], Country: fields[2], RegionCode: fields[3], Region: fields[4], City: fields[5]}
		if fields[6] != "" || fields[7] != "" {
			latitude, err1 := strconv.ParseFloat(fields[6], 64)
			longitude, err2 := strconv.ParseFloat(fields[7], 64)
			if err1 != nil || err2 != nil || !(latitude >= -90 && latitude <= 90 && longitude >= -180 && longitude <= 180) {
				return fmt.Errorf("line %d: '%s', '%s' are no latitude and longitude in degrees", line, fields[6], fields[7])
			}
			p.Coordinates = Coordinates{Latitude: latitude, Longitude: longitude, Known: true}
		}
		if t.places == nil {
			t.places = make([]map[netip.Prefix]Place, 129)
		}
		network = wide(network)
		if t.places[network.Bits()] == nil {
			t.places[network.Bits()] = make(map[netip.Prefix]Place)
		}
		t.places[network.Bits()][network] = p
	}
	return fmt.Errorf("more than %d lines", maxTableLines)
}

// wide returns the network with IPv4 addresses as IPv6 ones.
func wide(p netip.Prefix) netip.Prefix {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), bits).Masked()
}

// Place returns where an address is, as PlacesFile says.
func (t *Tables) Place(a netip.Addr) (Place, bool) {
	if t == nil {
		return Place{}, false
	}
	a = netip.AddrFrom16(a.As16())
	for bits := len(t.places) - 1; bits >= 0; bits-- {
		if t.places[bits] == nil {
			continue
		}
		if p, ok := t.places[bits][netip.PrefixFrom(a, bits).Masked()]; ok {
			return p, true
		}
	}
	return Place{}, false
}

func (t *Tables) readHosts(text string) error {
	t.byName, t.byAddr = make(map[string][]netip.Addr), make(map[netip.Addr]string)
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || len(fields) == 1 || number > maxTableLines {
			return fmt.Errorf("line %d: '%s' is no address with names", number, strings.TrimSpace(line))
		}
		addr = addr.Unmap().WithZone("")
		if _, known := t.byAddr[addr]; !known {
			t.byAddr[addr] = fields[1]
		}
		for _, name := range fields[1:] {
			name = lower(strings.TrimSuffix(name, "."))
			t.byName[name] = append(t.byName[name], addr)
		}
	}
	return lines.Err()
}

var errNoHost = errors.New("the extra file '" + HostsFile + "' does not have it")

// LookupHost returns a host's first address of one family, as HostsFile says.
func (t *Tables) LookupHost(_ context.Context, host string, ipv6 bool) (netip.Addr, error) {
	if t != nil {
		for _, a := range t.byName[lower(strings.TrimSuffix(host, "."))] {
			if a.Is6() == ipv6 {
				return a, nil
			}
		}
	}
	return netip.Addr{}, errNoHost
}

// LookupAddress returns an address's first name, as HostsFile says.
func (t *Tables) LookupAddress(_ context.Context, address netip.Addr) (string, error) {
	if t != nil {
		if name, ok := t.byAddr[address.Unmap().WithZone("")]; ok {
			return name, nil
		}
	}
	return "", errNoHost
}

func (t *Tables) readUsers(text string) error {
	if err := json.Unmarshal([]byte(text), &t.users); err != nil {
		// Not with the text around it: it holds passwords.
		var where *json.SyntaxError
		if errors.As(err, &where) {
			return fmt.Errorf("line %d: %w", 1+strings.Count(text[:clamp(where.Offset, len(text))], "\n"), err)
		}
		return errors.New("it is no JSON object of authenticators, each an object of users with password and attributes")
	}
	return nil
}

// Authenticate asks an authenticator of UsersFile, as Machine.Authenticate.
func (t *Tables) Authenticate(_ context.Context, authenticator, name string, password *string) map[string]string {
	var users map[string]user
	if t != nil {
		users = t.users[authenticator]
	}
	if users == nil {
		return map[string]string{"Error": "the server of authenticator '" + authenticator + "' is not asked: the extra file '" + UsersFile + "' does not have it"}
	}
	u, ok := users[name]
	if !ok || password != nil && subtle.ConstantTimeCompare([]byte(*password), []byte(u.Password)) == 0 {
		return nil
	}
	answer := map[string]string{"OK": "1"}
	for k, v := range u.Attributes {
		if k != "OK" && k != "Error" {
			answer[k] = v
		}
	}
	return answer
}
