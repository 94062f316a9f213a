package trafficscript

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// numberFunctions are those of string.* between strings and numbers or
// addresses.
var numberFunctions = []function{
	fn("string.intToBytes", 1, 2, stringIntToBytes),
	fn("string.bytesToInt", 1, 1, func(r *run, a []value) value {
		var n uint64
		for _, c := range []byte(r.toString(a[0])) {
			n = n<<8 | uint64(c)
		}
		return intValue(int64(n))
	}),
	fn("string.intToHex", 1, 1, func(r *run, a []value) value {
		return stringValue(fmt.Sprintf("%08x", uint64(r.toInt(a[0]))))
	}),
	fn("string.hexToInt", 1, 1, func(r *run, a []value) value {
		s := r.toString(a[0])
		at := strings.IndexAny(s, "0123456789abcdefABCDEF")
		if at < 0 {
			return intValue(0)
		}
		negative := at > 0 && s[at-1] == '-'
		if s[at] == '0' && at+2 < len(s) && s[at+1]|32 == 'x' {
			if _, width := hexAt(s, at+2, 1); width > 0 {
				at += 2
			}
		}
		n, _ := hexAt(s, at, 16)
		if negative {
			n = -n
		}
		return intValue(n)
	}),
	fn("string.intToBER", 1, 1, stringIntToBER),
	fn("string.BERToInt", 1, 1, stringBERToInt),
	textFn("string.dottedToBytes", func(s string) string {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return ""
		}
		return string(addr.Unmap().AsSlice())
	}),
	textFn("string.bytesToDotted", func(s string) string {
		addr, ok := netip.AddrFromSlice([]byte(s))
		if !ok {
			return ""
		}
		return addr.String()
	}),
	predicate("string.ipmaskmatch", ipMaskMatch),
	fn("string.validIPAddress", 1, 1, func(r *run, a []value) value {
		addr, err := netip.ParseAddr(r.toString(a[0]))
		switch {
		case err != nil:
			return intValue(0)
		case addr.Is4():
			return intValue(4)
		}
		return intValue(6)
	}),
	textFn("string.normalizeipaddress", func(s string) string {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return ""
		}
		return addr.String()
	}),
	textFn("string.extractHost", func(s string) string { host, _ := hostAndPort(s); return host }),
	textFn("string.extractPort", func(s string) string { _, port := hostAndPort(s); return port }),
}

// stringIntToBytes writes n in network order, in 4 bytes unless told.
func stringIntToBytes(r *run, a []value) value {
	n, width := uint64(r.toInt(a[0])), clamp(r.intArg(a, 1, 4), 8)
	b := make([]byte, width)
	for i := range b {
		b[width-1-i] = byte(n)
		n >>= 8
	}
	return stringValue(string(b))
}

// stringIntToBER writes groups of seven bits, the highest first, with the top
// bit set in all but the last.
func stringIntToBER(r *run, a []value) value {
	n := uint64(r.toInt(a[0]))
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		b = append([]byte{byte(n&0x7f) | 0x80}, b...)
	}
	return stringValue(string(b))
}

func stringBERToInt(r *run, a []value) value {
	var n uint64
	for _, c := range []byte(r.toString(a[0])) {
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			break
		}
	}
	return intValue(int64(n))
}

// ipMaskMatch knows "a/24", "a/255.255.255.0", "10.0.1.", one address, and IPv6
// prefixes.
func ipMaskMatch(ip, mask string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if strings.HasSuffix(mask, ".") {
		return addr.Is4() && strings.HasPrefix(addr.String(), mask)
	}
	base, bits, hasBits := strings.Cut(mask, "/")
	network, err := netip.ParseAddr(base)
	if err != nil {
		return false
	}
	network = network.Unmap()
	if !hasBits {
		return addr == network
	}
	length, err := strconv.Atoi(bits)
	if err != nil {
		m, err := netip.ParseAddr(bits)
		if err != nil || !m.Is4() {
			return false
		}
		ones, size := net.IPMask(m.AsSlice()).Size()
		if size == 0 { // no contiguous mask
			return false
		}
		length = ones
	}
	prefix, err := network.Prefix(length)
	return err == nil && prefix.Contains(addr)
}

// hostAndPort gives "" for what is no address or host name, and no port.
func hostAndPort(s string) (host, port string) {
	host, port = splitHostPort(s)
	if _, err := netip.ParseAddr(host); err != nil {
		for i := range len(host) {
			if c := host[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '.' {
				return "", ""
			}
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		port = ""
	}
	return host, port
}

// splitHostPort takes "host", "host:port", "[v6]:port" and a bare IPv6 address.
// A missing port is "".
func splitHostPort(s string) (host, port string) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, after, _ := strings.Cut(rest, "]")
		port, _ = strings.CutPrefix(after, ":")
		return host, port
	}
	if strings.Count(s, ":") > 1 {
		return s, ""
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port
}
