// Package liverecall measures the recall of searches as they were served: a few of them are run again exactly, on the same
// data, in the background.
//
// # The budget
//
// A Sampler runs one job at a time. A job that took a time t is followed by a rest of t * (1/Share - 1) on average, so that
// jobs take at most Share of one core, whatever an exact search costs: a large collection is sampled less often, not at a
// higher price. Time is that of the clock, which is never less than the processor's. A rest is drawn between half and one and
// a half times its mean, so that samples do not fall in step with callers who come at fixed intervals. While the server is
// under pressure nothing is sampled.
//
// # What is sampled
//
// The first search that is answered after a rest is over. When a rest ends depends on what the job before cost, not on the
// search that is taken, so hard searches are as likely to be taken as easy ones, and collections are sampled in proportion to
// their traffic.
//
// # What recall is
//
// See Recall. It compares lists and knows neither vectors nor collections.
//
// # Concurrency
//
// Wants and Offer are safe for concurrent use and never wait; Wants is one atomic load. Close ends the goroutine.
package liverecall
