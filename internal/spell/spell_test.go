package spell

import "testing"

func TestNearestFindsWhatWasMeant(t *testing.T) {
	known := []string{"vtm_password", "vtm_username", "watch_namespace", "string.length"}
	for _, c := range []struct{ word, want string }{
		{"vtm_pasword", "vtm_password"},
		{"vtm-password", "vtm_password"},
		{"VTM_PASSWORD", "vtm_password"},
		{"vtm_apssword", "vtm_password"},
		{"watch_namespaces", "watch_namespace"},
		{"string.lenght", "string.length"},
		{"vtm_", ""},
		{"", ""},
		{"something_else", ""},
	} {
		got, ok := Nearest(c.word, known)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("Nearest(%q) = %q, %v; want %q", c.word, got, ok, c.want)
		}
	}
}

func TestDistanceCountsASwapOnce(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"ab", "ba", 1}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"same", "same", 0}} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
