package trafficscript

import (
	"fmt"
	"strings"
)

// maxWidth bounds width and precision in string.sprintf.
const maxWidth = 1 << 16

// stringSprintf knows %s %c %d %i %u %x %X %o %f %e %g %% with flags, width and
// precision, as C's printf. A directive without argument prints "" or 0.
func stringSprintf(r *run, a []value) value {
	format := r.toString(a[0])
	rest := a[1:]
	next := func() value {
		if len(rest) == 0 {
			return value{}
		}
		v := rest[0]
		rest = rest[1:]
		return v
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		start := i
		i++
		for i < len(format) && strings.IndexByte("-+ #0", format[i]) >= 0 {
			i++
		}
		flags := format[start+1 : i]
		width, widthEnd := digitsAt(format, i)
		i = widthEnd
		precision := -1
		if i < len(format) && format[i] == '.' {
			precision, i = digitsAt(format, i+1)
		}
		for i < len(format) && (format[i] == 'l' || format[i] == 'h') { // C's lengths mean nothing here
			i++
		}
		if width > maxWidth || precision > maxWidth {
			r.misuse("string.sprintf: a width above %d", maxWidth)
			return value{}
		}
		if i >= len(format) {
			b.WriteString(format[start:])
			break
		}
		piece := ""
		switch verb := format[i]; verb {
		case '%':
			piece = "%"
		case 's':
			s := r.toString(next())
			if precision >= 0 && precision < len(s) {
				s = s[:precision]
			}
			piece = pad(s, width, strings.Contains(flags, "-"))
		case 'c':
			v := next()
			s := string([]byte{byte(r.toInt(v))})
			if v.kind == kindString {
				s = v.str[:min(1, len(v.str))]
			}
			piece = pad(s, width, strings.Contains(flags, "-"))
		case 'd', 'i', 'u', 'x', 'X', 'o':
			spec := "%" + flags
			if width > 0 {
				spec += fmt.Sprint(width)
			}
			if precision >= 0 {
				spec += "." + fmt.Sprint(precision)
			}
			n := r.toInt(next())
			switch verb {
			case 'd', 'i':
				piece = fmt.Sprintf(spec+"d", n)
			case 'u':
				piece = fmt.Sprintf(spec+"d", uint64(n))
			default:
				piece = fmt.Sprintf(spec+string(verb), uint64(n))
			}
		case 'f', 'F', 'e', 'E', 'g', 'G':
			spec := "%" + flags
			if width > 0 {
				spec += fmt.Sprint(width)
			}
			if precision < 0 {
				precision = 6
			}
			piece = fmt.Sprintf(spec+"."+fmt.Sprint(precision)+string(verb), r.toDouble(next()))
		default:
			r.misuse("string.sprintf: unknown directive '%s'", format[start:i+1])
			piece = format[start : i+1]
		}
		if !r.alloc(len(piece)) {
			return value{}
		}
		b.WriteString(piece)
	}
	return r.text(b.String())
}

// digitsAt reads a number, 0 without digits; one too large is above maxWidth.
func digitsAt(s string, i int) (n, end int) {
	for i < len(s) && isDigit(s[i]) {
		if n <= maxWidth {
			n = n*10 + int(s[i]-'0')
		}
		i++
	}
	return n, i
}

func pad(s string, width int, left bool) string {
	blanks := strings.Repeat(" ", max(0, width-len(s)))
	if left {
		return s + blanks
	}
	return blanks + s
}
