package trafficscript

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash/fnv"
	"html"
	"strings"
	"unicode/utf8"
)

// encodingFunctions turn strings into other spellings of themselves, or into
// digests.
var encodingFunctions = []function{
	textFn("string.base64encode", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	textFn("string.base64decode", base64Decode),
	textFn("string.hexencode", func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }),
	textFn("string.hexdecode", hexDecode),
	textFn("string.htmlencode", htmlEncode),
	textFn("string.htmldecode", html.UnescapeString),
	textFn("string.urlencode", func(s string) string { return percentEncode(s, isUnreserved) }),
	textFn("string.urlencodeexceptreserved", func(s string) string {
		return percentEncode(s, func(c byte) bool { return isUnreserved(c) || isReserved(c) })
	}),
	textFn("string.escape", func(s string) string {
		return percentEncode(s, func(c byte) bool { return c > ' ' && c != 0x7f && c != '%' })
	}),
	fn("string.unescape", 1, 1, stringUnescape),
	textFn("string.hashMD5", md5Sum),
	textFn("string.hashSHA1", func(s string) string { h := sha1.Sum([]byte(s)); return string(h[:]) }),
	textFn("string.hashSHA256", func(s string) string { h := sha256.Sum256([]byte(s)); return string(h[:]) }),
	textFn("string.hashSHA384", func(s string) string { h := sha512.Sum384([]byte(s)); return string(h[:]) }),
	textFn("string.hashSHA512", func(s string) string { h := sha512.Sum512([]byte(s)); return string(h[:]) }),
	fn("string.hash", 1, 1, func(r *run, a []value) value {
		h := fnv.New32a()
		h.Write([]byte(r.toString(a[0])))
		return intValue(int64(int32(h.Sum32())))
	}),
	fn("string.randomBytes", 1, 1, stringRandomBytes),
}

func md5Sum(s string) string { h := md5.Sum([]byte(s)); return string(h[:]) }

// isUnreserved and isReserved are RFC 3986, sections 2.3 and 2.2.
func isUnreserved(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '-' || c == '.' || c == '~'
}

func isReserved(c byte) bool { return c != 0 && strings.IndexByte(":/?#[]@!$&'()*+,;=", c) >= 0 }

// percentEncode writes all bytes but those that keep allows as %XX.
func percentEncode(s string, keep func(byte) bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		c := s[i]
		if keep(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// percentDecode undoes %XX, and %uXXXX if unicode (as UTF-8). Where digits are
// missing the % becomes _ and ok is false.
func percentDecode(s string, unicode bool) (decoded string, ok bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	ok = true
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if n, width := hexAt(s, i+1, 2); width == 2 {
			b = append(b, byte(n))
			i += 2
			continue
		}
		if unicode && i+1 < len(s) && (s[i+1] == 'u' || s[i+1] == 'U') {
			if n, width := hexAt(s, i+2, 4); width == 4 {
				b = utf8.AppendRune(b, rune(n))
				i += 5
				continue
			}
		}
		b = append(b, '_')
		ok = false
	}
	return string(b), ok
}

// hexAt reads up to max hexadecimal digits.
func hexAt(s string, at, max int) (n int64, width int) {
	for width < max && at+width < len(s) {
		d := hexDigit(s[at+width])
		if d < 0 {
			break
		}
		n = n<<4 | int64(d)
		width++
	}
	return n, width
}

// stringUnescape sets $1 to 1 when all escapes were good, else to 0.
func stringUnescape(r *run, a []value) value {
	s, ok := percentDecode(r.toString(a[0]), true)
	r.captures[1] = boolValue(ok)
	return r.text(s)
}

// base64Decode ignores blanks and line ends, and padding may be missing. It
// decodes up to the first bad character.
func base64Decode(s string) string {
	s = strings.Map(func(c rune) rune {
		if strings.ContainsRune(" \t\r\n=", c) {
			return -1
		}
		return c
	}, s)
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(s)))
	n, _ := base64.RawStdEncoding.Decode(out, []byte(s))
	return string(out[:n])
}

// hexDecode decodes up to the first bad pair.
func hexDecode(s string) string {
	out := make([]byte, hex.DecodedLen(len(s)))
	n, _ := hex.Decode(out, []byte(s))
	return string(out[:n])
}

func htmlEncode(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;").Replace(s)
}

func stringRandomBytes(r *run, a []value) value {
	n := int(min(max(r.toInt(a[0]), 0), int64(r.limits.Memory)+1))
	if !r.alloc(n) || !r.work(n*8) {
		return value{}
	}
	b := make([]byte, 0, n+8)
	for len(b) < n {
		x := r.host.Random()
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
	}
	return stringValue(string(b[:n]))
}
