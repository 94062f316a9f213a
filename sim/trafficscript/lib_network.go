package trafficscript

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// networkFunctions ask others: net.dns.* the name servers, geo.* a table of
// places, auth.query an authenticator, http.request.* any web server.
var networkFunctions = []function{
	fn("net.dns.resolveHost", 1, 1, func(r *run, a []value) value { return resolveHost(r, a[0], false) }),
	fn("net.dns.resolveHost6", 1, 1, func(r *run, a []value) value { return resolveHost(r, a[0], true) }),
	fn("net.dns.resolveIP", 1, 1, resolveIP),

	placeFunction("geo.getCity", func(p Place) value { return stringValue(p.City) }),
	placeFunction("geo.getCountry", func(p Place) value { return stringValue(p.Country) }),
	placeFunction("geo.getCountryCode", func(p Place) value { return stringValue(p.CountryCode) }),
	placeFunction("geo.getRegion", func(p Place) value { return stringValue(p.Region) }),
	placeFunction("geo.getRegionCode", func(p Place) value { return stringValue(p.RegionCode) }),
	placeFunction("geo.getLatitude", func(p Place) value { return degrees(p.Coordinates, p.Coordinates.Latitude) }),
	placeFunction("geo.getLongitude", func(p Place) value { return degrees(p.Coordinates, p.Coordinates.Longitude) }),
	fn("geo.getDistanceKM", 4, 4, func(r *run, a []value) value { return pointDistance(r, a, kilometres) }),
	fn("geo.getDistanceMiles", 4, 4, func(r *run, a []value) value { return pointDistance(r, a, miles) }),
	fn("geo.getIPDistanceKM", 2, 2, func(r *run, a []value) value { return addressDistance(r, a, kilometres) }),
	fn("geo.getIPDistanceMiles", 2, 2, func(r *run, a []value) value { return addressDistance(r, a, miles) }),
	fact("geo.getLocation", func(r *run) value { return stringValue(r.machine().Location) }),
	fact("geo.getLocationLonLat", func(r *run) value {
		h, at := &aggregate{}, r.machine().Coordinates
		if at.Known {
			h.put("latitude", doubleValue(at.Latitude))
			h.put("longitude", doubleValue(at.Longitude))
		}
		return aggregateValue(h)
	}),

	fn("auth.query", 2, 3, authQuery),

	fn("http.request.get", 1, 3, func(r *run, a []value) value { return r.fetch("GET", a[0], nil, a[1:], nil) }),
	fn("http.request.head", 1, 3, func(r *run, a []value) value { return r.fetch("HEAD", a[0], nil, a[1:], nil) }),
	fn("http.request.delete", 1, 3, func(r *run, a []value) value { return r.fetch("DELETE", a[0], nil, a[1:], nil) }),
	fn("http.request.post", 2, 4, func(r *run, a []value) value { return r.fetch("POST", a[0], &a[1], a[2:], nil) }),
	fn("http.request.put", 2, 4, func(r *run, a []value) value { return r.fetch("PUT", a[0], &a[1], a[2:], nil) }),
	fn("http.request.ssl.get", 2, 4, func(r *run, a []value) value {
		list, certificates := r.toArray(a[1]), []string{}
		if list != nil {
			for _, e := range list.elems {
				certificates = append(certificates, r.toString(e))
			}
		}
		return r.fetch("GET", a[0], nil, a[2:], certificates)
	}),
}

func resolveHost(r *run, v value, ipv6 bool) value {
	host, resolver := r.toString(v), r.machine().Resolver
	if resolver == nil || host == "" {
		return value{}
	}
	done := r.waits()
	addr, err := resolver.LookupHost(r.ctx, host, ipv6)
	done()
	if !r.alive() || err != nil {
		return value{}
	}
	return stringValue(addr.String())
}

func resolveIP(r *run, a []value) value {
	addr, err := netip.ParseAddr(r.toString(a[0]))
	if err != nil {
		return value{}
	}
	if resolver := r.machine().Resolver; resolver != nil {
		done := r.waits()
		host, err := resolver.LookupAddress(r.ctx, addr)
		done()
		if r.alive() && err == nil {
			return r.text(strings.TrimSuffix(host, "."))
		}
	}
	return stringValue(addr.String())
}

// alive ends the rule when its transaction ended while it waited.
func (r *run) alive() bool {
	if err := r.ctx.Err(); err != nil {
		r.abort("%s", waitError(err))
		return false
	}
	return true
}

func (r *run) place(v value) (Place, bool) {
	addr, err := netip.ParseAddr(r.toString(v))
	find := r.machine().Place
	if err != nil || find == nil {
		return Place{}, false
	}
	return find(addr.Unmap())
}

// placeFunction gives "" where f's fact is not known.
func placeFunction(name string, f func(Place) value) function {
	return fn(name, 1, 1, func(r *run, a []value) value {
		p, ok := r.place(a[0])
		if !ok {
			return value{}
		}
		return f(p)
	})
}

func degrees(c Coordinates, d float64) value {
	if !c.Known {
		return value{}
	}
	return doubleValue(d)
}

// The earth's mean radius.
const (
	kilometres = 6371.0088
	miles      = kilometres / 1.609344
)

// greatCircle is the distance of the great circle; -1 for what is no place.
func greatCircle(a, b Coordinates, radius float64) value {
	for _, c := range []Coordinates{a, b} {
		if !c.Known || !(math.Abs(c.Latitude) <= 90 && math.Abs(c.Longitude) <= 360) {
			return intValue(-1)
		}
	}
	rad := func(d float64) float64 { return d * math.Pi / 180 }
	sinLat := math.Sin(rad(b.Latitude-a.Latitude) / 2)
	sinLon := math.Sin(rad(b.Longitude-a.Longitude) / 2)
	h := sinLat*sinLat + math.Cos(rad(a.Latitude))*math.Cos(rad(b.Latitude))*sinLon*sinLon
	return doubleValue(2 * radius * math.Asin(math.Sqrt(min(h, 1))))
}

func pointDistance(r *run, a []value, radius float64) value {
	point := func(i int) Coordinates {
		known := r.toString(a[i]) != "" && r.toString(a[i+1]) != ""
		return Coordinates{r.toDouble(a[i]), r.toDouble(a[i+1]), known}
	}
	return greatCircle(point(0), point(2), radius)
}

func addressDistance(r *run, a []value, radius float64) value {
	from, _ := r.place(a[0])
	to, _ := r.place(a[1])
	return greatCircle(from.Coordinates, to.Coordinates, radius)
}

// authQuery gives a hash with OK, Error and what is known of the user.
func authQuery(r *run, a []value) value {
	name, user := r.toString(a[0]), r.toString(a[1])
	var password *string
	if len(a) > 2 {
		p := r.toString(a[2])
		password = &p
	}
	answer := map[string]string{"Error": "authenticator '" + name + "' does not exist"}
	if ask := r.machine().Authenticate; ask != nil {
		done := r.waits()
		answer = ask(r.ctx, name, user, password)
		done()
		r.alive()
	}
	if !r.alloc((len(answer) + 2) * valueSize) {
		return value{}
	}
	h := &aggregate{}
	h.put("OK", intValue(0))
	h.put("Error", value{})
	for k, v := range answer {
		if k == "OK" {
			h.put(k, boolValue(v != "" && v != "0"))
		} else {
			h.put(k, stringValue(v))
		}
	}
	return aggregateValue(h)
}

const (
	// fetchTimeout is how long http.request.* waits unless told.
	fetchTimeout = 30 * time.Second
	// maxFetch bounds the body that http.request.* reads.
	maxFetch = 16 << 20
)

// fetch sends a request and returns the body, with $1 the code or 0, $2 the
// content type or the error, $3 the header lines, $4 the status line. options are
// header lines and a time-out in seconds.
func (r *run) fetch(method string, target value, body *value, options []value, certificates []string) value {
	f := &Fetch{URL: r.toString(target), Certificates: certificates, Request: Request{Method: method, Header: make(http.Header)}}
	fail := func(message string) value {
		r.captures[1], r.captures[2], r.captures[3], r.captures[4] = intValue(0), stringValue(oneLine(message)), value{}, value{}
		return value{}
	}
	u, err := url.Parse(f.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || certificates != nil) {
		return fail("the URL is no address of a web page")
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(r.stringArg(options, 0), "\r\n", "\n"), "\n") {
		name, text, ok := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if ok && isToken(name) && !managed(name) {
			f.Header.Add(name, oneLine(strings.TrimSpace(text)))
		}
	}
	if body != nil {
		text := r.toString(*body)
		f.Body = &text
	}
	timeout := fetchTimeout
	if len(options) > 1 {
		timeout = r.seconds(options[1])
	}
	fetcher := r.machine().Fetcher
	if fetcher == nil {
		return fail("there is no way to other web servers")
	}
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	done := r.waits()
	answer, err := fetcher.Fetch(ctx, f, min(maxFetch, r.limits.Memory-r.memory))
	done()
	if !r.alive() {
		return value{}
	}
	if err != nil {
		return fail(err.Error())
	}
	r.captures[1] = intValue(int64(answer.Code))
	r.captures[2] = stringValue(answer.Header.Get("Content-Type"))
	r.captures[3] = r.text(headers{h: answer.Header}.text())
	r.captures[4] = stringValue(fmt.Sprintf("%s %d %s", answer.Proto, answer.Code, answer.Reason))
	if answer.Body == nil {
		return value{}
	}
	return r.text(*answer.Body)
}
