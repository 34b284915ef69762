package hnsw_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/invariants"
)

// calibrated returns an index of n gaussian vectors and its calibration.
func calibrated(t testing.TB, n int, o hnsw.CalibrateOptions) (*hnsw.Index, *hnsw.Calibration) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 3))
	x := newIndex(t, hnsw.Options{Dim: 12, Metric: hnsw.L2, MaxSlots: 2 * n, Seed: 1})
	for _, v := range gaussian(rng, n, 12, 1) {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	c, err := x.Calibrate(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return x, c
}

// TestCalibrationIsDeterministic, survives its bytes, and its curves are in order.
func TestCalibrationIsDeterministic(t *testing.T) {
	alone(t)
	x, c := calibrated(t, sized(1500), hnsw.CalibrateOptions{Sample: 20, Seed: 7})
	again, err := x.Calibrate(context.Background(), hnsw.CalibrateOptions{Sample: 20, Seed: 7})
	if err != nil || !reflect.DeepEqual(c, again) {
		t.Fatalf("%+v, then %+v: %v", c, again, err)
	}
	if other, err := x.Calibrate(context.Background(), hnsw.CalibrateOptions{Sample: 20, Seed: 8}); err != nil || reflect.DeepEqual(c.Curves(), other.Curves()) {
		t.Errorf("another seed gives the same curves, or %v", err)
	}
	for _, curve := range c.Curves() {
		for i, p := range curve.Points {
			if p.Ef < curve.K || i > 0 && p.Ef <= curve.Points[i-1].Ef || p.Recall < 0 || p.Recall > 1 {
				t.Errorf("k %d, share %g: %+v", curve.K, curve.Share, curve.Points)
			}
		}
	}
	b := x.AppendCalibration([]byte("before"), c)
	parsed, err := x.ParseCalibration(b[len("before"):])
	if err != nil || !reflect.DeepEqual(parsed, c) {
		t.Fatalf("%+v became %+v: %v", c, parsed, err)
	}
}

// TestCalibrationChurn: a fifth of the vectors changed makes it stale, also across a restart.
func TestCalibrationChurn(t *testing.T) {
	alone(t)
	const n = 1000
	x, c := calibrated(t, n, hnsw.CalibrateOptions{Sample: 10})
	if got := c.Churn(x); got != 0 || c.Stale(x) {
		t.Fatalf("churn %g at once", got)
	}
	for slot := range uint32(n / 10) {
		if err := x.Delete(slot); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Churn(x); got != 0.1 || c.Stale(x) {
		t.Errorf("churn %g after a tenth was deleted", got)
	}
	y := restored(t, x)
	moved, err := y.ParseCalibration(x.AppendCalibration(nil, c))
	if err != nil {
		t.Fatal(err)
	}
	for range n/10 + 1 {
		if _, err := y.Insert(make([]float32, 12)); err != nil {
			t.Fatal(err)
		}
	}
	if got := moved.Churn(y); math.Abs(got-0.201) > 1e-9 || !moved.Stale(y) {
		t.Errorf("churn %g after a restart and another tenth", got)
	}
	if nothing := new(hnsw.Calibration); !nothing.Stale(x) || nothing.Sample() != 0 {
		t.Error("no calibration is not stale")
	}
}

// TestEfForIsMonotone in all that it is asked for, and never below k.
func TestEfForIsMonotone(t *testing.T) {
	alone(t)
	_, c := calibrated(t, sized(3000), hnsw.CalibrateOptions{Sample: 30})
	rapid.Check(t, func(t *rapid.T) {
		target, k := rapid.Float64Range(0, 1).Draw(t, "target"), rapid.IntRange(1, 3000).Draw(t, "k")
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		ef, expected := c.EfFor(target, k, share)
		if ef < k || expected < 0 || expected > target {
			t.Fatalf("ef %d, expecting %g", ef, expected)
		}
		higher := rapid.Float64Range(target, 1).Draw(t, "higher")
		if more, _ := c.EfFor(higher, k, share); more < ef {
			t.Fatalf("ef %d for %g, %d for %g", ef, target, more, higher)
		}
		smaller := rapid.Float64Range(0, share).Draw(t, "smaller")
		if more, _ := c.EfFor(target, k, smaller); more < ef {
			t.Fatalf("ef %d for a share of %g, %d for one of %g", ef, share, more, smaller)
		}
	})
	if ef, expected := new(hnsw.Calibration).EfFor(0.9, 10, 1); ef != 0 || expected != 0 {
		t.Errorf("without knowledge: ef %d, recall %g", ef, expected)
	}
}

// TestCalibrateErrors: options out of range, bad queries, an empty index, a context that ends, a closed index.
func TestCalibrateErrors(t *testing.T) {
	x, _ := calibrated(t, 50, hnsw.CalibrateOptions{Sample: 10})
	ctx := context.Background()
	for _, o := range []hnsw.CalibrateOptions{{Sample: 9}, {Sample: 10_001}, {Sample: -1}, {Queries: make([][]float32, 10_001)}} {
		var option *hnsw.OptionError
		if _, err := x.Calibrate(ctx, o); !errors.As(err, &option) {
			t.Errorf("%d, %d queries: %v", o.Sample, len(o.Queries), err)
		}
	}
	var dimension *hnsw.DimensionError
	if _, err := x.Calibrate(ctx, hnsw.CalibrateOptions{Queries: [][]float32{{1}}}); !errors.As(err, &dimension) {
		t.Errorf("a query of another dimension: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := x.Calibrate(ended, hnsw.CalibrateOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	empty := newIndex(t, hnsw.Options{Dim: 2, Metric: hnsw.Cosine, MaxSlots: 10})
	if c, err := empty.Calibrate(ctx, hnsw.CalibrateOptions{}); err != nil || c.Sample() != 0 {
		t.Errorf("an empty index: %+v, %v", c, err)
	}
	closed, err := hnsw.New(hnsw.Options{Dim: 2, Metric: hnsw.L2, MaxSlots: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Calibrate(ctx, hnsw.CalibrateOptions{}); !errors.Is(err, hnsw.ErrClosed) {
		t.Errorf("a closed index: %v", err)
	}
}

// calibrationGate calibrates x, and holds recall@k of queries that it has not seen to the targets, less .01.
func calibrationGate(t *testing.T, x *hnsw.Index, queries [][]float32) {
	t.Helper()
	ctx := context.Background()
	c, err := x.Calibrate(ctx, hnsw.CalibrateOptions{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	s := x.Acquire()
	defer s.Release()
	for _, share := range []float64{1, 0.3} {
		rng := rand.New(rand.NewPCG(89, 89))
		var allowed *hnsw.SlotSet
		if share < 1 {
			allowed = new(hnsw.SlotSet)
			for slot := range uint32(x.Slots()) {
				if rng.Float64() < share {
					allowed.Add(slot)
				}
			}
		}
		const most = 50
		truths := make([][]hnsw.Candidate, len(queries))
		for i, q := range queries {
			truth, _, err := s.Search(ctx, q, hnsw.SearchParams{K: most, Exact: true, Allowed: allowed})
			if err != nil {
				t.Fatal(err)
			}
			truths[i] = slices.Clone(truth)
		}
		for _, k := range []int{10, most} {
			for _, target := range []float64{0.9, 0.95, 0.98, 0.99} {
				ef, expected := c.EfFor(target, k, share)
				hits := 0
				for i, q := range queries {
					got, _, err := s.Search(ctx, q, hnsw.SearchParams{K: k, Ef: ef, Allowed: allowed})
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range got {
						if r.Distance <= truths[i][k-1].Distance {
							hits++
						}
					}
				}
				recall := float64(hits) / float64(k*len(queries))
				t.Logf("share %g, k %d, target %g: ef %d, recall %.4f", share, k, target, ef, recall)
				if expected < target || recall < target-0.01 {
					t.Errorf("share %g, k %d, target %g: ef %d promises %.4f and reaches %.4f", share, k, target, ef, expected, recall)
				}
				if ef > 4*k+384 {
					t.Errorf("share %g, k %d, target %g: ef %d is out of all proportion", share, k, target, ef)
				}
			}
		}
	}
}

func FuzzCalibration(f *testing.F) {
	x, c := calibrated(f, 300, hnsw.CalibrateOptions{Sample: 10})
	good := x.AppendCalibration(nil, c)
	f.Add(good)
	f.Add(good[:len(good)-4])
	f.Add([]byte("SegueCal"))
	f.Add(x.AppendCalibration(nil, new(hnsw.Calibration)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, hnsw.SealCalibration(b)} {
			c, err := x.ParseCalibration(b)
			if err != nil {
				if !errors.As(err, new(*hnsw.CalibrationError)) {
					t.Fatal(err)
				}
				continue
			}
			if got := x.AppendCalibration(nil, c); !bytes.Equal(got, b) {
				t.Fatalf("%x became %x", b, got)
			}
			for _, target := range []float64{0, 0.5, 1} {
				if ef, _ := c.EfFor(target, 5, 0.5); c.Sample() > 0 && ef < 5 {
					t.Fatalf("ef %d", ef)
				}
			}
		}
	})
}

// TestParseCalibrationFlips: no byte can change unnoticed, and nothing can be cut off.
func TestParseCalibrationFlips(t *testing.T) {
	alone(t)
	x, c := calibrated(t, 300, hnsw.CalibrateOptions{Sample: 10})
	good := x.AppendCalibration(nil, c)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := x.ParseCalibration(bad); !errors.As(err, new(*hnsw.CalibrationError)) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := x.ParseCalibration(good[:i]); !errors.As(err, new(*hnsw.CalibrationError)) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if invariants.Race {
		return
	}
	if len(good) > 4096 {
		t.Errorf("%d bytes", len(good))
	}
}
