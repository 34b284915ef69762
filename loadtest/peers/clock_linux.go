package peers

import "golang.org/x/sys/unix"

// threadSeconds returns the processor time of the calling thread.
func threadSeconds() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("peers: " + err.Error()) // the clock has been there since Linux 2.6.12
	}
	return float64(t.Sec) + 1e-9*float64(t.Nsec)
}
