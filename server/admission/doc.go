// Package admission decides which calls are begun, so that a server with more work than it can do goes on doing as
// much as it can, in time, for the callers that matter most.
//
// # Order
//
// A call passes these gates in turn, cheapest first, and what refuses it is named in the error:
//
//	connection cap         Connections  those beyond the cap are closed at once
//	identity               server/auth
//	per-caller rate        Allow        *RateLimitedError, with the time to wait
//	room                   Room         before the message is read: *OverloadedError where too much is before it, context.DeadlineExceeded
//	                                    where it could not be done in time
//	the same               Admit        with the message
//	adaptive concurrency   Admit        *OverloadedError after waiting in vain
//
// # Priorities
//
// From segue.v1.Priority. OPERATOR calls pass by the limiter: they are rare, and some end an overload. QUERY and BATCH_QUERY
// share one limiter, WRITE and IMPORT another, because the latter wait for the disk and the former compute; in each, the
// limiter sheds the lower priority first. Across the two: imports are refused while queries are served with reduced
// effort, and writes once effort is at its floor.
//
// # Brown-out
//
// Effort is the share of the asked beam width that searches get: 1 in good times. While queries queue or are shed it
// falls by a fifth each tick down to the floor, and climbs back slowly. Less accurate answers for all come before no
// answers for some; the answer says that it was searched with less.
//
// # Limiter
//
// failsafe-go's adaptive limiter (a descendant of TCP Vegas and Netflix's concurrency-limits: it compares recent with
// long-term latencies, and correlates concurrency with throughput) finds how many calls at once the machine does best, between bounds.
// It is wrapped here because it is younger than 1.0.
//
// The bounds matter most. Queries compute: beyond one for each processor they only share processors, and what each takes grows with
// their number. Under an overload that lasts, the limiter takes the grown latencies for normal and lets in ever more, until all calls are
// begun, none in time, and the goodput is a twentieth of the capacity (TestTenTimesTheCapacity, with a bound of 32). So queries have a
// tight bound, and wait in the queue, where deadlines and priorities count. Writes, which wait for the disk together, have a wide one.
//
// A call is begun only if it is likely to end in time: its deadline leaves half as much again as calls take now. What they take is
// learned from calls that missed their deadlines too, and where a processor is idle a call is tried whatever was learned. The queue is as long as it may
// take: a call is refused at once where those before it would take more time than it has, or more than MaxWait; of batch queries, a quarter of that.
// While more than a tenth are refused it is a quarter of the time that a call has: a longer queue, first come first served, would hold calls until they are
// nearly late, and then begin the latest of them.
//
// Those before it are also the calls that had room and whose messages are not there yet (Coming): headers are read in bursts, and all calls of a
// burst would find the queue as its first does, to be read, decoded and refused one by one.
//
// None of this helps where nobody looks at the network: what waits in the buffers of the system is late before its deadline is known. A process that
// serves has background.Spare for that.
//
// Queries of a batch or a stream each need a permit.
//
// # Concurrency
//
// Everything is safe for concurrent use. Close ends the one goroutine.
package admission
