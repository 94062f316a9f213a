package vtm

type scriptRule struct{}

func (scriptRule) Pools() []string   { return nil }
func (scriptRule) Imports() []string { return nil }

type diagnostics []string

func (d diagnostics) Errors() []interface{ String() string } { return nil }

func (s *strict) compile(r, instead *resource) (*scriptRule, diagnostics) { return &scriptRule{}, nil }
