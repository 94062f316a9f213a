package translate

// NewOfHandful makes a Translator to which so many Ingresses and routes of one
// listener are a handful.
func NewOfHandful(shares, routes int) *Translator {
	t := New()
	t.handful = handful{shares, routes}
	return t
}
