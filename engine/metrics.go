package engine

import "github.com/segue-ann/segue/storage"

// StoreMetrics are the numbers of the store, all collections together.
type StoreMetrics = storage.Metrics

// StoreMetrics returns the store's current numbers; zeros after Close. Cost: some microseconds and a statfs.
func (e *Engine) StoreMetrics() StoreMetrics { return e.store.Metrics() }
