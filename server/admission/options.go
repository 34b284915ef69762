package admission

import (
	"errors"
	"fmt"
	"time"

	"github.com/segue-ann/segue/internal/background"
)

// Options configure a Controller. The zero value of a field means its documented default.
type Options struct {
	// MaxConcurrent bounds the queries, and apart from them the writes, that run at once, whatever the limiter finds. Default for
	// each processor 1 query, which computes: more would share the processors and all be answered later; and 32 writes, which
	// wait for the disk.
	MaxConcurrent int
	// MaxWait bounds how long a call waits for its turn. Default 50 ms.
	MaxWait time.Duration
	// CallerRate is how many calls a second one caller may begin; 0 is no limit. CallerBurst is how many at once,
	// by default as many as in one second.
	CallerRate  float64
	CallerBurst int
	// EffortFloor is the least share of the asked beam width that a search gets under overload, in 0..1. Default 0.5; 1
	// turns brown-out off.
	EffortFloor float64

	// now is the clock, for tests.
	now func() time.Time
}

// EnsureDefaults replaces zero values by the defaults.
func (o *Options) EnsureDefaults() {
	if o.MaxWait == 0 {
		o.MaxWait = 50 * time.Millisecond
	}
	if o.CallerBurst == 0 {
		o.CallerBurst = max(1, int(o.CallerRate))
	}
	if o.EffortFloor == 0 {
		o.EffortFloor = 0.5
	}
	if o.now == nil {
		o.now = time.Now
	}
}

const (
	queriesPerProcessor = 1
	writesPerProcessor  = 32
)

// concurrent is MaxConcurrent, or its default.
func (o *Options) concurrent(perProcessor int) int {
	if o.MaxConcurrent > 0 {
		return o.MaxConcurrent
	}
	return perProcessor * background.Processors()
}

// Validate reports every field that is out of range.
func (o Options) Validate() error {
	var errs []error
	if o.MaxConcurrent < 0 || o.MaxConcurrent > 1<<16 {
		errs = append(errs, fmt.Errorf("admission: MaxConcurrent must be between 0 and %d, is %d", 1<<16, o.MaxConcurrent))
	}
	if o.MaxWait < time.Millisecond || o.MaxWait > time.Minute {
		errs = append(errs, fmt.Errorf("admission: MaxWait must be between 1ms and 1m, is %v", o.MaxWait))
	}
	if !(o.CallerRate >= 0 && o.CallerRate <= 1e9) {
		errs = append(errs, fmt.Errorf("admission: CallerRate must be between 0 and 1e9, is %v", o.CallerRate))
	}
	if o.CallerBurst < 1 || o.CallerBurst > 1<<30 {
		errs = append(errs, fmt.Errorf("admission: CallerBurst must be between 1 and %d, is %d", 1<<30, o.CallerBurst))
	}
	if !(o.EffortFloor > 0 && o.EffortFloor <= 1) {
		errs = append(errs, fmt.Errorf("admission: EffortFloor must be above 0 and at most 1, is %v", o.EffortFloor))
	}
	return errors.Join(errs...)
}
