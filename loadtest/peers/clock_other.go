//go:build !linux

package peers

import "time"

var epoch = time.Now()

// threadSeconds returns wall time: this system has no clock of a thread.
func threadSeconds() float64 { return time.Since(epoch).Seconds() }
