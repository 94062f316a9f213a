package trafficscript

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// timeFunctions tell and format the Host's time. Those of a moment take seconds
// since 1970, or use now.
var timeFunctions = []function{
	fact("sys.time", func(r *run) value { return intValue(r.host.Now().Unix()) }),
	fact("sys.time.highres", func(r *run) value {
		return doubleValue(float64(r.host.Now().UnixMicro()) / 1e6)
	}),
	timeFact("sys.time.hour", func(t time.Time) int { return t.Hour() }),
	timeFact("sys.time.minutes", func(t time.Time) int { return t.Minute() }),
	timeFact("sys.time.seconds", func(t time.Time) int { return t.Second() }),
	timeFact("sys.time.month", func(t time.Time) int { return int(t.Month()) }),
	timeFact("sys.time.monthday", func(t time.Time) int { return t.Day() }),
	timeFact("sys.time.weekday", func(t time.Time) int { return int(t.Weekday()) + 1 }),
	timeFact("sys.time.year", func(t time.Time) int { return t.Year() }),
	timeFact("sys.time.yearday", func(t time.Time) int { return t.YearDay() }),
	fn("sys.timeToString", 0, 1, func(r *run, a []value) value {
		return stringValue(r.moment(a, 0).Format("[02/Jan/2006:15:04:05 -0700]"))
	}),
	fn("sys.gmtime.format", 1, 2, func(r *run, a []value) value {
		return r.text(strftime(r.toString(a[0]), r.moment(a, 1).UTC()))
	}),
	fn("sys.localtime.format", 1, 2, func(r *run, a []value) value {
		return r.text(strftime(r.toString(a[0]), r.moment(a, 1)))
	}),
	fn("string.gmtime.parse", 1, 1, func(r *run, a []value) value {
		return intValue(parseTime(strings.TrimSpace(r.toString(a[0]))))
	}),
}

func timeFact(name string, f func(time.Time) int) function {
	return fn(name, 0, 1, func(r *run, a []value) value { return intValue(int64(f(r.moment(a, 0)))) })
}

// moment is in the Host's time zone.
func (r *run) moment(a []value, i int) time.Time {
	now := r.host.Now()
	if i >= len(a) {
		return now
	}
	const farthest = 1 << 40 // some 35,000 years: what calendars still take
	return time.Unix(min(max(r.toInt(a[i]), -farthest), farthest), 0).In(now.Location())
}

// strftime formats by C's directives; an unknown one stays as it is.
func strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		hour12 := (t.Hour()+11)%12 + 1
		switch format[i] {
		case 'a':
			b.WriteString(t.Format("Mon"))
		case 'A':
			b.WriteString(t.Format("Monday"))
		case 'b', 'h':
			b.WriteString(t.Format("Jan"))
		case 'B':
			b.WriteString(t.Format("January"))
		case 'c':
			b.WriteString(t.Format("Mon Jan _2 15:04:05 2006"))
		case 'C':
			fmt.Fprintf(&b, "%02d", t.Year()/100)
		case 'd':
			fmt.Fprintf(&b, "%02d", t.Day())
		case 'D', 'x':
			b.WriteString(t.Format("01/02/06"))
		case 'e':
			fmt.Fprintf(&b, "%2d", t.Day())
		case 'F':
			b.WriteString(t.Format("2006-01-02"))
		case 'H':
			fmt.Fprintf(&b, "%02d", t.Hour())
		case 'I':
			fmt.Fprintf(&b, "%02d", hour12)
		case 'j':
			fmt.Fprintf(&b, "%03d", t.YearDay())
		case 'm':
			fmt.Fprintf(&b, "%02d", t.Month())
		case 'M':
			fmt.Fprintf(&b, "%02d", t.Minute())
		case 'n':
			b.WriteByte('\n')
		case 'p':
			b.WriteString(t.Format("PM"))
		case 'r':
			b.WriteString(t.Format("03:04:05 PM"))
		case 'R':
			b.WriteString(t.Format("15:04"))
		case 's':
			fmt.Fprintf(&b, "%d", t.Unix())
		case 'S':
			fmt.Fprintf(&b, "%02d", t.Second())
		case 't':
			b.WriteByte('\t')
		case 'T', 'X':
			b.WriteString(t.Format("15:04:05"))
		case 'u':
			fmt.Fprintf(&b, "%d", (int(t.Weekday())+6)%7+1)
		case 'w':
			fmt.Fprintf(&b, "%d", t.Weekday())
		case 'y':
			b.WriteString(t.Format("06"))
		case 'Y':
			fmt.Fprintf(&b, "%d", t.Year())
		case 'z':
			b.WriteString(t.Format("-0700"))
		case 'Z':
			if t.Location() == time.UTC {
				b.WriteString("GMT")
			} else {
				b.WriteString(t.Format("MST"))
			}
		case '%':
			b.WriteByte('%')
		default:
			b.WriteByte('%')
			b.WriteByte(format[i])
		}
	}
	return b.String()
}

// parseTime reads the three date formats of HTTP (RFC 9110, section 5.6.7) and
// ISO 8601; 0 for what is none of them.
func parseTime(s string) int64 {
	if t, err := http.ParseTime(s); err == nil {
		return t.Unix()
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02", time.RFC1123Z} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Unix()
		}
	}
	return 0
}
