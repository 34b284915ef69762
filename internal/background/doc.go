// Package background runs work on threads that get a processor only while nobody else in the process wants it: the system's
// SCHED_IDLE on Linux, which takes no privilege.
//
// Go has no priorities: a goroutine that computes keeps its share of GOMAXPROCS for up to 10 ms, and while all shares compute, nobody
// looks whether the network has something. So work in the background gets shares of its own, on top of those that
// there are, and threads of its own, which the system puts aside the moment another one wakes. Who serves always finds a share
// free, and a processor too; who works in the background gets all that is left, without a clock and without yielding.
//
// Spare is the other half of this: a share that stays free for the network while those who serve compute on all others.
//
// Where this cannot be (another system, a limit on the processors of the process below what the machine has, where more
// threads would use the limit up), Pool.Idle is false, the work runs on ordinary goroutines, and its author sees to it that it yields.
//
// Concurrency: everything is safe for concurrent use but Close.
//
// Non-goals: what waits for work in the background (a lock that it holds) waits long on a machine without a moment to spare.
package background
