package storage

// Metrics are the store's numbers for statistics and alerts.
type Metrics struct {
	// DiskBytes is the size of all files Pebble owns, write-ahead logs included.
	DiskBytes uint64
	// WALBytes is the size of the live write-ahead logs, MemTableBytes of the memtables.
	WALBytes      uint64
	MemTableBytes uint64
	// CacheBytes is how much of the block cache is in use.
	CacheBytes int64
	// DiskAvailBytes is what the volume has left, 0 if the file system cannot tell.
	DiskAvailBytes uint64
	// ReadAmp is how many places a point read may have to look into.
	ReadAmp int
	// Flushes and Compactions count finished ones since Open, WriteStalls how often writes had to wait for them.
	Flushes, Compactions int64
	WriteStalls          uint64
	// Corruptions counts reads, of queries or of background work, that met a damaged block.
	Corruptions uint64
	// BackgroundErrors counts failed flushes and compactions; they are tried again.
	BackgroundErrors uint64
	// SlowDisk counts writes and syncs that took above 5 s.
	SlowDisk uint64
	// LowSpaceRefusals counts writes refused with a LowSpaceError.
	LowSpaceRefusals uint64
	// Fsync is how long syncs of the write-ahead log took.
	Fsync Latencies
}

// Metrics returns the current numbers; zeros after Close. Cost: some microseconds and a statfs.
func (s *Store) Metrics() Metrics {
	if err := s.enter(); err != nil {
		return Metrics{}
	}
	defer s.leave()
	pm := s.db.Metrics()
	m := Metrics{
		DiskBytes:        pm.DiskSpaceUsage(),
		WALBytes:         pm.WAL.PhysicalSize,
		MemTableBytes:    pm.MemTable.Size,
		CacheBytes:       pm.BlockCache.Size,
		ReadAmp:          pm.ReadAmp(),
		Flushes:          pm.Flush.Count,
		Compactions:      pm.Compact.Count,
		WriteStalls:      s.count.writeStalls.Load(),
		Corruptions:      s.count.corruptions.Load(),
		BackgroundErrors: s.count.backgroundErrors.Load(),
		SlowDisk:         s.count.slowDisk.Load(),
		LowSpaceRefusals: s.count.lowSpace.Load(),
		Fsync:            s.pebbleFS.fsync.read(),
	}
	if usage, err := s.fs.GetDiskUsage(s.dir); err == nil {
		m.DiskAvailBytes = usage.AvailBytes
	}
	return m
}
