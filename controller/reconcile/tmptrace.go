package reconcile

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

var T0 = time.Now()

func Trace(s string) {
	var ru syscall.Rusage
	syscall.Getrusage(0, &ru)
	fmt.Fprintf(os.Stderr, "TRACE %v cpu %.3f %s\n", time.Since(T0).Round(time.Millisecond), float64(ru.Utime.Nano()+ru.Stime.Nano())/1e9, s)
}
