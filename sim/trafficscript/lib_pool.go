package trafficscript

import (
	"net"
	"net/netip"
	"strconv"
)

// poolFunctions choose a pool or ask about pools. Without
// VariablePoolUse only literal names may be chosen, since they decide which pools
// count as used and are monitored.
var poolFunctions = []function{
	fn("pool.use", 1, 3, poolUse).in(inRequest).checked(checkPool),
	fn("pool.select", 1, 3, poolSelect).in(inRequest).checked(checkPool),
	countNodes("pool.activeNodes", NodeActive),
	countNodes("pool.failedNodes", NodeFailed),
	countNodes("pool.drainingNodes", NodeDraining),
	countNodes("pool.disabledNodes", NodeDisabled),
	listNodes("pool.listAllNodes", NodeActive, NodeFailed, NodeDraining, NodeDisabled),
	listNodes("pool.listActiveNodes", NodeActive),
	listNodes("pool.listFailedNodes", NodeFailed),
	listNodes("pool.listDrainingNodes", NodeDraining),
	listNodes("pool.listDisabledNodes", NodeDisabled),
	fn("pool.checknode", 3, 3, checkNode),
}

// discardPool is the pool that closes the connection.
const discardPool = "discard"

func checkPool(c *compiler, x *callExpr) {
	if len(x.args) == 2 {
		c.errorf(x.pos, "%s with a host needs a port too", x.name)
	}
	l, ok := x.args[0].(*literal)
	if !ok || l.val.kind != kindString {
		if !c.variablePools {
			c.errorf(x.args[0].where(), "%s needs the name of a pool as a literal string, unless the global setting trafficscript!variable_pool_use is on", x.name)
		}
		return
	}
	if l.val.str != discardPool {
		c.src.pools[l.val.str] = true
	}
}

// poolUse ends the rules. A pool that does not exist leaves the virtual server's
// default pool in place.
func poolUse(r *run, a []value) value {
	if r.toString(a[0]) == discardPool {
		return r.discard()
	}
	poolSelect(r, a)
	r.stop(Decided)
	return value{}
}

// poolSelect lets the later rules run.
func poolSelect(r *run, a []value) value {
	name := r.toString(a[0])
	if name != discardPool {
		if _, ok := r.host.PoolNodes(name); !ok {
			r.warn("pooluseunknown", "pool '%s' does not exist: the default pool is used", oneLine(name))
			r.tx.Pool, r.tx.PoolNode = "", netip.AddrPort{}
			return value{}
		}
	}
	node := netip.AddrPort{}
	if len(a) > 2 {
		addr, err := netip.ParseAddr(r.toString(a[1]))
		port := r.toInt(a[2])
		if err != nil || port < 1 || port > 65535 {
			r.misuse("'%s' and '%s' are no address and port of a node", oneLine(r.toString(a[1])), oneLine(r.toString(a[2])))
		} else {
			node = netip.AddrPortFrom(addr, uint16(port))
		}
	}
	r.tx.Pool, r.tx.PoolNode = name, node
	return value{}
}

// nodes returns a pool's nodes; none, with a warning, for an unknown pool.
func (r *run) nodes(v value) []PoolNode {
	name := r.toString(v)
	nodes, ok := r.host.PoolNodes(name)
	if !ok {
		r.warn("poolactivenodesunknown", "pool '%s' does not exist", oneLine(name))
	}
	return nodes
}

func countNodes(name string, state NodeState) function {
	return fn(name, 1, 1, func(r *run, a []value) value {
		n := 0
		for _, node := range r.nodes(a[0]) {
			if node.State == state {
				n++
			}
		}
		return intValue(int64(n))
	})
}

func listNodes(name string, states ...NodeState) function {
	return fn(name, 1, 1, func(r *run, a []value) value {
		var list []string
		for _, node := range r.nodes(a[0]) {
			for _, s := range states {
				if node.State == s {
					list = append(list, node.Address)
				}
			}
		}
		return r.list(list)
	})
}

func checkNode(r *run, a []value) value {
	nodes, ok := r.host.PoolNodes(r.toString(a[0]))
	if !ok {
		return stringValue("NOSUCHPOOL")
	}
	host, err := netip.ParseAddr(r.toString(a[1]))
	if err != nil {
		return stringValue("NOSUCHHOST")
	}
	address := net.JoinHostPort(host.String(), strconv.FormatInt(r.toInt(a[2]), 10))
	for _, n := range nodes {
		if n.Address == address {
			return stringValue([]string{"ACTIVE", "DEAD", "DRAINING", "DISABLED"}[n.State])
		}
	}
	return stringValue("NOTINPOOL")
}
