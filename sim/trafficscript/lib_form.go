package trafficscript

import "strings"

// formFunctions read parameters of the query and of a POST form.
var formFunctions = []function{
	fn("http.getFormParam", 1, 2, func(r *run, a []value) value {
		values := r.formParams().values[r.toString(a[0])]
		switch {
		case len(values) == 0:
			return value{}
		case len(a) == 1:
			return stringValue(values[0])
		}
		return r.text(strings.Join(values, r.toString(a[1])))
	}),
	fn("http.doesFormParamExist", 1, 1, func(r *run, a []value) value {
		return boolValue(len(r.formParams().values[r.toString(a[0])]) > 0)
	}),
	fact("http.listFormParamNames", func(r *run) value { return r.list(r.formParams().names) }),
	fn("http.getFormParamNames", 1, 1, func(r *run, a []value) value {
		return r.text(strings.Join(r.formParams().names, r.toString(a[0])))
	}),
	fact("http.getFormParams", func(r *run) value {
		form := r.formParams()
		if !r.alloc(len(form.names) * valueSize) {
			return value{}
		}
		a := &aggregate{}
		for _, n := range form.names {
			if values := form.values[n]; len(values) == 1 {
				a.put(n, stringValue(values[0]))
			} else {
				a.put(n, stringsValue(values))
			}
		}
		return aggregateValue(a)
	}),
}

// formParams are the decoded parameters: those of the query first.
type formParams struct {
	names  []string // each once, in order of appearance
	values map[string][]string
}

// formParams parses once in a run. Only request rules wait for the body.
func (r *run) formParams() *formParams {
	if r.form != nil {
		return r.form
	}
	form := &formParams{values: make(map[string][]string)}
	r.form = form
	r.addParams(splitTarget(r.tx.Request.Target).query)
	contentType := lower(r.requestHeaders().get("Content-Type"))
	if r.tx.Phase == RequestPhase && r.tx.Request.Method == "POST" && strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		r.addParams(r.requestBody(0))
	}
	return form
}

func (r *run) addParams(encoded string) {
	if !r.alloc(len(encoded)+strings.Count(encoded, "&")*valueSize) || !r.work(len(encoded)*4) {
		return
	}
	for part := range strings.SplitSeq(encoded, "&") {
		if part == "" {
			continue
		}
		name, val, _ := strings.Cut(part, "=")
		name, val = formDecode(name), formDecode(val)
		if r.form.values[name] == nil {
			r.form.names = append(r.form.names, name)
		}
		r.form.values[name] = append(r.form.values[name], val)
	}
}

func formDecode(s string) string {
	decoded, _ := percentDecode(strings.ReplaceAll(s, "+", " "), false)
	return decoded
}
