package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// benchStore opens a store on the disk that holds the temporary directory (TMPDIR).
func benchStore(b *testing.B) *Collection {
	b.Helper()
	s, err := Open(b.TempDir()+"/store", Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s.Collection(1, 0)
}

// noise is what no codec can shrink, like the low bits of vectors.
func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(5, 5))
	v := make([]byte, n)
	for i := range v {
		v[i] = byte(rng.Uint32())
	}
	return v
}

// fill writes items of 128 float32 and 64 bytes of attributes.
func fill(c *Collection, first uint64, n int, vec []byte) error {
	batch := c.NewBatch()
	defer batch.Close()
	for lsn := first; lsn < first+uint64(n); lsn++ {
		if err := batch.PutItem(ItemRow{ID: fmt.Sprintf("track-%09d", lsn), LSN: lsn, DType: 1, Dim: 128, Vector: vec, Attributes: vec[:64]}); err != nil {
			return err
		}
	}
	return batch.Commit()
}

// BenchmarkCommit writes batches from one goroutine; of one row, the time is that of an fsync.
func BenchmarkCommit(b *testing.B) {
	for _, rows := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("rows=", rows), func(b *testing.B) {
			c, vec, next := benchStore(b), noise(512), uint64(1)
			for b.Loop() {
				if err := fill(c, next, rows, vec); err != nil {
					b.Fatal(err)
				}
				next += uint64(rows)
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkCommitShared writes batches of one row from several goroutines that share fsyncs.
func BenchmarkCommitShared(b *testing.B) {
	for _, writers := range []int{4, 32} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			c, vec := benchStore(b), noise(512)
			var mu sync.Mutex
			next := uint64(1)
			write := func() error {
				batch := c.NewBatch()
				defer batch.Close()
				mu.Lock()
				err := errors.Join(batch.PutItem(ItemRow{ID: fmt.Sprint(next), LSN: next, Vector: vec}), batch.start())
				next++
				mu.Unlock()
				return errors.Join(err, batch.wait())
			}
			for b.Loop() {
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						if err := write(); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkItem(b *testing.B) {
	c := benchStore(b)
	const n = 20_000
	for lsn := 1; lsn <= n; lsn += 1000 {
		if err := fill(c, uint64(lsn), 1000, noise(512)); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i = (i*7919 + 13) % n
			if _, err := c.Item(fmt.Sprintf("track-%09d", i+1)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		rows := 0
		for b.Loop() {
			for _, err := range c.Items("", 0) {
				if err != nil {
					b.Fatal(err)
				}
				rows++
			}
		}
		b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	})
}

// BenchmarkSnapshot writes, then reads, generations of 256 MiB in slabs of 1 MiB: raw noise, as vectors are, and
// compressed small numbers, as links are. Reads come from the page cache.
func BenchmarkSnapshot(b *testing.B) {
	const slabs, size = 256, 1 << 20
	links := make([]byte, size)
	rng := rand.New(rand.NewPCG(6, 6))
	for i := 0; i < size; i += 4 {
		v := rng.Uint32N(1 << 17)
		links[i], links[i+1], links[i+2] = byte(v), byte(v>>8), byte(v>>16)
	}
	for _, tc := range []struct {
		name     string
		data     []byte
		compress bool
	}{{"raw", noise(size), false}, {"zstd", links, true}} {
		c := benchStore(b)
		gen := uint64(0)
		b.Run("write/"+tc.name, func(b *testing.B) {
			b.SetBytes(slabs * size)
			for b.Loop() {
				gen++
				w, err := c.NewSnapshot(gen)
				if err != nil {
					b.Fatal(err)
				}
				for n := range slabs {
					err = errors.Join(err, w.Slab("s", n, tc.compress, tc.data))
				}
				if err := errors.Join(err, w.Commit(SnapshotHeader{Sections: []SectionInfo{{"s", slabs}}})); err != nil {
					b.Fatal(err)
				}
				if gen > 1 {
					if err := c.DropSnapshot(gen - 1); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		for _, readers := range []int{1, 2} {
			b.Run(fmt.Sprintf("read/%s/readers=%d", tc.name, readers), func(b *testing.B) {
				b.SetBytes(slabs * size)
				r, err := c.OpenSnapshot(gen)
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					var wg sync.WaitGroup
					for i := range readers {
						wg.Go(func() {
							var buf []byte
							for n := i; n < slabs; n += readers {
								var err error
								if buf, err = r.ReadSlab("s", n, buf); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
				}
			})
		}
	}
}
