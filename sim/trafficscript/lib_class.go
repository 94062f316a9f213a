package trafficscript

// classFunctions are rate.* and slm.*: classes of the catalog that the Host
// keeps.
var classFunctions = []function{
	fn("rate.use", 1, 2, rateUse),
	fn("rate.use.noQueue", 1, 2, func(r *run, a []value) value {
		class, context := r.toString(a[0]), r.stringArg(a, 1)
		rates := r.machine().Rates
		if rates == nil {
			r.noRate(class)
			return intValue(-1)
		}
		taken, known := rates.Take(class, context)
		if !known {
			r.noRate(class)
			return intValue(-1)
		}
		return boolValue(taken)
	}),
	fn("rate.getbacklog", 1, 2, func(r *run, a []value) value {
		rates := r.machine().Rates
		if rates == nil {
			return intValue(0)
		}
		return intValue(int64(rates.Backlog(r.toString(a[0]), r.stringArg(a, 1))))
	}),
	fn("slm.conforming", 0, 1, func(r *run, a []value) value {
		level, _ := r.serviceLevel(a)
		return doubleValue(level.Conforming)
	}),
	fn("slm.threshold", 0, 1, func(r *run, a []value) value {
		level, _ := r.serviceLevel(a)
		return doubleValue(level.Threshold)
	}),
	fn("slm.isOK", 0, 1, func(r *run, a []value) value {
		level, known := r.serviceLevel(a)
		return boolValue(!known || level.Conforming > level.Threshold)
	}),
	fact("connection.getServiceLevelClass", func(r *run) value { return stringValue(r.tx.ServiceLevelClass) }),
	fn("connection.setServiceLevelClass", 1, 1, func(r *run, a []value) value {
		name, find := r.toString(a[0]), r.machine().ServiceLevel
		if find == nil {
			return intValue(0)
		}
		if _, known := find(name); !known {
			return intValue(0)
		}
		r.tx.ServiceLevelClass = name
		return intValue(1)
	}),
}

func (r *run) noRate(class string) {
	r.warn("norate", "rate class '%s' does not exist", oneLine(firstBytes(class, 256)))
}

// rateUse waits until the class lets the transaction through.
func rateUse(r *run, a []value) value {
	class, context := r.toString(a[0]), r.stringArg(a, 1)
	rates := r.machine().Rates
	if rates == nil {
		r.noRate(class)
		return intValue(0)
	}
	done := r.waits()
	known, err := rates.Wait(r.ctx, class, context)
	done()
	switch {
	case err != nil:
		r.abort("rate.use: %s", waitError(err))
	case !known:
		r.noRate(class)
	}
	return boolValue(known && err == nil)
}

// serviceLevel returns the named class, or that of the connection. Without a
// class all requests conform.
func (r *run) serviceLevel(a []value) (level ServiceLevel, known bool) {
	name, find := r.tx.ServiceLevelClass, r.machine().ServiceLevel
	if len(a) > 0 {
		name = r.toString(a[0])
	}
	if name != "" && find != nil {
		if level, known = find(name); known {
			return level, true
		}
	}
	if name != "" {
		r.warn("rulelogmsgwarn", "service level monitoring class '%s' does not exist", oneLine(firstBytes(name, 256)))
	}
	return ServiceLevel{Conforming: 100}, false
}
