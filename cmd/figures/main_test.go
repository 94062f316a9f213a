package main

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestAFigureIsOkOnItsSideOfTheLimitAlone(t *testing.T) {
	for _, tc := range []struct {
		figure figure
		want   string
		ok     bool
	}{
		{atMost("p50", 2, "ms", 2), "figure\tg/p50\t2\tms\t<=2\tok", true},
		{atMost("p50", 2.01, "ms", 2), "figure\tg/p50\t2.01\tms\t<=2\tSHORT", false},
		{atLeast("rate", 1000, "/s", 1000), "figure\tg/rate\t1000\t/s\t>=1000\tok", true},
		{atLeast("rate", 999.5, "/s", 1000), "figure\tg/rate\t999.5\t/s\t>=1000\tSHORT", false},
	} {
		if line, ok := tc.figure.line("g"); line != tc.want || ok != tc.ok {
			t.Errorf("%+v gives %q, %t; want %q, %t", tc.figure, line, ok, tc.want, tc.ok)
		}
	}
}

func TestEachResourceToLoadIsAnother(t *testing.T) {
	seen := make(map[string]bool)
	for i := range loaded {
		path, body := loadedResource(i)
		if seen[path] || body == "" {
			t.Fatalf("resource %d is %s again, or empty", i, path)
		}
		seen[path] = true
	}
}

func TestWhatIsMeasuredEndsWhenItIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		defer close(hangs)
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt()
		// Were it waited for, the bubble would be deadlocked.
		if err := perform(ctx, func(context.Context, func(figure)) error { <-hangs; return nil }, nil); err == nil {
			t.Error("what was interrupted counts as measured")
		}
		if err := perform(ctx, func(ctx context.Context, _ func(figure)) error { return pause(ctx, endWithin*1000) }, nil); err == nil {
			t.Error("a pause that was interrupted counts as measured")
		}
	})
}
