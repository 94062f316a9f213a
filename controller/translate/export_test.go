package translate

// NewOfHandful makes a Translator to which so many Ingresses and routes of one
// listener are a handful, and that works on all processors whatever there is to do.
func NewOfHandful(shares, routes int) *Translator {
	t := New()
	t.handful, t.many = handful{shares, routes}, 1
	return t
}
