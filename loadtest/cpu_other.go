//go:build !unix

package loadtest

import "time"

// processorTime is not known here.
func processorTime() time.Duration { return 0 }
