package ops

import (
	"maps"
	"sync"
	"sync/atomic"
)

// bound remembers the series of label values, so that counting neither hashes strings nor allocates. Lookups take no lock; a new
// key copies the map, which happens once a series. There are as many keys as the metrics have series.
type bound[K comparable, V any] struct {
	mu    sync.Mutex // guards additions
	known atomic.Pointer[map[K]V]
}

// of returns the value of key, which fresh makes where it is new.
func (b *bound[K, V]) of(key K, fresh func(K) V) V {
	if known := b.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	next := map[K]V{}
	if known := b.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
		next = maps.Clone(*known)
	}
	next[key] = fresh(key)
	b.known.Store(&next)
	return next[key]
}
