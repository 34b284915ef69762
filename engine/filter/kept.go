package filter

import (
	"sync"

	"github.com/segue-ann/segue/hnsw"
)

// Bounds of what is kept.
const (
	maxKept      = 256
	maxKeptBytes = 64 << 20
	maxKeptKey   = 4 << 10 // bytes of an expression
)

// kept holds the results of expressions that came more than once. The first time only the expression is noted: most that come
// once never come again. The one used longest ago goes first.
type kept struct {
	mu      sync.Mutex // guards all below; held for a look
	entries map[string]*keptResult
	clock   uint64
	held    int64
}

type keptResult struct {
	set     *hnsw.SlotSet // nil where only noted; never changed
	version uint64
	used    uint64
}

// get returns what is kept of an expression, and whether it came before.
func (k *kept) get(key string) (set *hnsw.SlotSet, version uint64, again bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock++
	e := k.entries[key]
	if e == nil {
		k.entries[key] = &keptResult{used: k.clock}
		k.shrink()
		return nil, 0, false
	}
	e.used = k.clock
	return e.set, e.version, true
}

// put keeps set, which nobody changes any more, unless a later version is there.
func (k *kept) put(key string, set *hnsw.SlotSet, version uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[key]
	if e == nil || e.set != nil && e.version > version {
		return
	}
	if e.set != nil {
		k.held -= int64(e.set.Bytes())
	}
	e.set, e.version = set, version
	k.held += int64(set.Bytes())
	k.shrink()
}

// shrink drops what was used longest ago until the bounds hold.
func (k *kept) shrink() {
	for len(k.entries) > maxKept || k.held > maxKeptBytes && len(k.entries) > 1 {
		oldest := ""
		var e *keptResult
		for key, c := range k.entries {
			if e == nil || c.used < e.used {
				oldest, e = key, c
			}
		}
		if e.set != nil {
			k.held -= int64(e.set.Bytes())
		}
		delete(k.entries, oldest)
	}
}

func (k *kept) bytes() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}
