package report

import (
	"context"
	"log/slog"
)

// eventLogPrefix begins every line (specification, section Logging).
const eventLogPrefix = "ingresscontroller: "

// EventLog makes of a log handler one whose lines are as the traffic manager's
// event log has them: each begins with "ingresscontroller: ", and only what is
// wrong (slog.LevelWarn and above) is told, unless verbose.
func EventLog(next slog.Handler, verbose bool) slog.Handler {
	return eventLog{next, verbose}
}

type eventLog struct {
	next    slog.Handler
	verbose bool
}

func (h eventLog) Enabled(ctx context.Context, level slog.Level) bool {
	return (h.verbose || level >= slog.LevelWarn) && h.next.Enabled(ctx, level)
}

func (h eventLog) Handle(ctx context.Context, r slog.Record) error {
	line := slog.NewRecord(r.Time, r.Level, eventLogPrefix+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		line.AddAttrs(a)
		return true
	})
	return h.next.Handle(ctx, line)
}

func (h eventLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return eventLog{h.next.WithAttrs(attrs), h.verbose}
}

func (h eventLog) WithGroup(name string) slog.Handler {
	return eventLog{h.next.WithGroup(name), h.verbose}
}
