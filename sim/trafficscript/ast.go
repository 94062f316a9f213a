package trafficscript

// The syntax tree. The parser makes it, the compiler walks it once; nothing of
// it lives while a rule runs.

// expr is an expression.
type expr interface {
	where() pos
	tall() int // how deep it nests
}

func (p pos) where() pos { return p }

// node is what all expressions have.
type node struct {
	pos
	height int // 0 for a leaf, else one more than the highest operand
}

func (n node) tall() int { return n.height }

// over makes the node of an expression of operands. It fails when that nests
// too deep, since evaluating recurses.
func over(p pos, operands ...expr) node {
	n := node{pos: p}
	n.raise(operands...)
	return n
}

func (n *node) raise(operands ...expr) {
	for _, x := range operands {
		n.height = max(n.height, x.tall()+1)
	}
	if n.height > maxHeight {
		fail(n.pos, "more than %d operators nested in one expression: split it", maxHeight)
	}
}

type (
	// literal is a number or a string.
	literal struct {
		node
		val value
	}
	// variable is $name.
	variable struct {
		node
		name string
	}
	// indexExpr is x[i].
	indexExpr struct {
		node
		x, i expr
	}
	// callExpr is name(args).
	callExpr struct {
		node
		name string
		args []expr
	}
	// unaryExpr is one of ! ~ - before x.
	unaryExpr struct {
		node
		op string
		x  expr
	}
	// binaryExpr is x op y.
	binaryExpr struct {
		node
		op   string
		x, y expr
	}
	// chainExpr is a . b . c, a && b && c, or a || b || c: flat.
	chainExpr struct {
		node
		op    string
		parts []expr
	}
	// conditionalExpr is cond ? yes : no.
	conditionalExpr struct {
		node
		cond, yes, no expr
	}
	// assignExpr is target op value; op is "" for plain assignment, else the
	// binary operator: "+" for +=.
	assignExpr struct {
		node
		op     string
		target expr // *variable or *indexExpr
		value  expr
	}
	// stepExpr is ++ or -- before or after target.
	stepExpr struct {
		node
		delta  int64
		prefix bool
		target expr // *variable or *indexExpr
	}
	// aggregateExpr is [a, b] or ["k" => v]; keys is nil for an array.
	aggregateExpr struct {
		node
		keys, values []expr
	}
)

// stmt is a statement.
type stmt interface{ where() pos }

type (
	exprStmt struct {
		pos
		x expr
	}
	blockStmt struct {
		pos
		list []stmt
	}
	// ifStmt is a whole chain of if and else if, flat.
	ifStmt struct {
		pos
		conds  []expr
		bodies []stmt
		other  stmt // nil without else
	}
	// loopStmt is while, do and for; init, cond and post may be nil.
	loopStmt struct {
		pos
		init, cond, post expr
		body             stmt
		bodyFirst        bool // do ... while
	}
	foreachStmt struct {
		pos
		name string
		x    expr
		body stmt
	}
	branchStmt struct {
		pos
		isContinue bool
	}
	returnStmt struct {
		pos
		x expr // nil: ""
	}
	// switchStmt has the cases' values and bodies; other is nil without
	// default. match names a function of two parameters, "" for ==.
	switchStmt struct {
		pos
		x        expr
		match    string
		matchPos pos
		values   [][]expr
		bodies   []stmt
		other    stmt
	}
)

// subDecl is sub name($params) { body }.
type subDecl struct {
	pos
	name   string
	params []string
	body   stmt
}

// importDecl is import lib as alias.
type importDecl struct {
	pos
	lib, alias string
}

// file is one parsed source: a rule or a library.
type file struct {
	strict  bool // import strict
	imports []importDecl
	subs    []*subDecl
	stmts   []stmt
}
