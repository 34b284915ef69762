package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/segue-ann/segue/storage"
)

// The sweep deletes what has expired: items and profiles as ordinary writes of the published release, entries of exclusion sets
// under the lock of their set. Each collection has one, which does a bounded amount of work a tick, and waits for it to be
// durable before it does more.
//
// Nothing depends on when it runs, since reads compare with the clock. So it need not hurry, and after a jump of the clock it
// does not run for a while: what a clock that was set wrong lets expire is hidden, and there again once the clock is right.
//
// A delete of the sweep holds only if what it deletes is still as it was seen. In the log it is of a kind of its own, which
// releases that follow skip: their copy expires by itself, or was given more time by an import.

const (
	sweepItems   = 1024      // deleted a tick; each costs a delete of the graph
	sweepCollect = 16 << 10  // found due while reads wait for a mutex
	sweepRows    = 1024      // looked at a tick, of profiles and exclusions
	sweepPause   = time.Hour // between two looks at all profiles and exclusions
	// clockSlack is by how much the clock may be set without it being called a jump, and steadyTime for how long it must
	// not have jumped.
	clockSlack = time.Minute
	steadyTime = 10 * time.Minute
)

// sweeper is the state of one collection's sweep.
type sweeper struct {
	c *Collection
	// last is the time of the last tick, by the engine's clock and by one that never jumps; steady since when, by the
	// latter, the former has not jumped.
	last, lastMonotonic, steady time.Time
	swept                       int // items, ever

	// Where the look at profiles and exclusions stands, and when the next begins.
	profile   string
	exclusion storage.ExclusionEntry
	rest      time.Time
}

// sweepLoop runs the sweep until the collection is closed.
func (c *Collection) sweepLoop() {
	ticker := time.NewTicker(c.engine.opts.SweepInterval)
	defer ticker.Stop()
	s := sweeper{c: c}
	for {
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return
		}
		if err := s.tick(time.Now()); err != nil && c.ctx.Err() == nil {
			c.engine.opts.Logger.Warn("what has expired is not deleted yet", "collection", c.cfg.Name, "err", err)
		}
	}
}

// tick does one tick's work. monotonic is the time by a clock that never jumps.
func (s *sweeper) tick(monotonic time.Time) error {
	c := s.c
	now := c.engine.opts.Now()
	jumped := s.jumped(now, monotonic)
	r, err := c.acquire()
	if err != nil {
		return nil //nolint:nilerr // closing
	}
	if jumped < 0 {
		r.expiries.reconsider(r.table, now.UnixMicro())
	}
	// With the lock given back in between, so that reads do not wait for all that expires at midnight.
	for r.expiries.collect(r.table, now.UnixMicro(), sweepCollect) {
	}
	r.leave()
	if monotonic.Sub(s.steady) < steadyTime {
		return nil
	}
	return errors.Join(s.items(), s.rows(now, monotonic))
}

// jumped notes the time, and returns by how much the clock jumped since the last tick, 0 where it did not. At the first tick it
// is taken to be steady: a wrong time at the start looks like any other.
func (s *sweeper) jumped(now, monotonic time.Time) (by time.Duration) {
	if s.last.IsZero() {
		s.steady = monotonic.Add(-steadyTime)
	} else {
		// Round(0) drops the monotonic reading, by which Sub would go.
		by = now.Round(0).Sub(s.last.Round(0)) - monotonic.Sub(s.lastMonotonic)
	}
	s.last, s.lastMonotonic = now, monotonic
	if by.Abs() < clockSlack {
		return 0
	}
	s.steady = monotonic
	return by
}

// items deletes items that are due.
func (s *sweeper) items() error {
	r, err := s.c.acquire()
	if err != nil {
		return nil //nolint:nilerr // closing
	}
	w := &write{}
	for _, slot := range r.expiries.oldest(sweepItems) {
		e := r.table.entries.at(slot)
		lsn := e.lsn()
		w.mutations = append(w.mutations, mutation{kind: storage.LogExpireItem, id: e.id(), guard: &lsn})
	}
	r.leave()
	if len(w.mutations) == 0 {
		return nil
	}
	if err := s.c.submit(s.c.ctx, w); err != nil {
		return fmt.Errorf("sweep items: %w", err)
	}
	s.swept += len(w.mutations)
	return nil
}

// rows looks at some of the profiles and exclusions, which no structure in memory knows of, and deletes those that have expired.
func (s *sweeper) rows(now, monotonic time.Time) error {
	if monotonic.Before(s.rest) {
		return nil
	}
	left := sweepRows
	if s.exclusion.Set == "" { // all profiles come before the first exclusion
		n, err := s.profiles(now.UnixMicro(), left)
		if err != nil {
			return fmt.Errorf("sweep profiles: %w", err)
		}
		if left -= n; left == 0 {
			return nil
		}
	}
	n, err := s.exclusions(now.UnixMicro(), left)
	if err != nil {
		return fmt.Errorf("sweep exclusions: %w", err)
	}
	if n < left {
		s.profile, s.exclusion, s.rest = "", storage.ExclusionEntry{}, monotonic.Add(sweepPause)
	}
	return nil
}

// profiles returns how many it looked at, less than most at the end.
func (s *sweeper) profiles(now int64, most int) (n int, err error) {
	r, err := s.c.acquire()
	if err != nil {
		return 0, err
	}
	defer r.leave()
	w := &write{}
	for row, err := range r.rows.Profiles(s.profile, most) {
		if err != nil {
			return n, err
		}
		n++
		s.profile = row.UserID
		if over(row.Attributes, now) {
			lsn := LSN(row.LSN)
			w.mutations = append(w.mutations, mutation{kind: storage.LogExpireProfile, id: row.UserID, guard: &lsn})
		}
	}
	if len(w.mutations) == 0 {
		return n, nil
	}
	return n, s.c.submit(s.c.ctx, w)
}

// exclusions is profiles for the entries of exclusion sets.
func (s *sweeper) exclusions(now int64, most int) (n int, err error) {
	expired := map[string][]string{}
	for entry, err := range s.c.engine.store.AllExclusions(s.c.id, s.exclusion, most) {
		if err != nil {
			return n, err
		}
		n++
		s.exclusion = entry
		if entry.ExpireTime != 0 && entry.ExpireTime <= now {
			expired[entry.Set] = append(expired[entry.Set], entry.ItemID)
		}
	}
	for set, ids := range expired {
		if err := s.c.sweepExclusions(set, ids, now); err != nil {
			return n, err
		}
	}
	return n, nil
}

// sweepExclusions deletes those of the entries that still have expired. No cached set has them: it drops what expires.
func (c *Collection) sweepExclusions(set string, ids []string, now int64) error {
	return c.changeExclusions(c.ctx, set, func(*exclusionCache, exclusionKey, *release) error {
		still := ids[:0]
		for _, id := range ids {
			at, err := c.engine.store.Exclusion(c.id, set, id)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			if err == nil && at != 0 && at <= now {
				still = append(still, id)
			}
		}
		return c.engine.store.DeleteExclusions(c.id, set, still)
	})
}
