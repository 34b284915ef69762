package background

import "golang.org/x/sys/unix"

// lower gives the calling thread the lowest priority of its kind: among threads in real time the lowest of those, since any
// other might never run beside them. It reports whether the system let it.
func lower() bool {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return false
	}
	switch attr.Policy {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		attr.Priority = 1
	default:
		*attr = unix.SchedAttr{Policy: unix.SCHED_IDLE}
	}
	return unix.SchedSetAttr(0, attr, 0) == nil
}
