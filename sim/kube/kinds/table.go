package kinds

// All gives the table, made anew: the caller may change the rows it gets. The
// order is that of groups and kinds in discovery.
func All() []Kind {
	return []Kind{}
}
