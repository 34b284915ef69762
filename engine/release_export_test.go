package engine

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// An export that writes run beside says so instead of giving what does not belong together.
func TestExportBesideWrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	c := newTestCollection(t, 4, L2)
	mustUpsert(t, c, randomItems(rng, 3000, 4)...)
	wrote := false
	err := c.ExportRelease(t.Context(), 0, func(ReleaseExport) error { return nil }, func(ImportRows) error {
		if !wrote {
			mustUpsert(t, c, Item{ID: "~", Vector: make1(4)})
			wrote = true
		}
		return nil
	})
	if !errors.As(err, new(*StateError)) {
		t.Errorf("written to meanwhile: %v", err)
	}
	if x := exportOf(t, c, 0); x.head.Items != 3001 {
		t.Errorf("%d items", x.head.Items)
	}
	broken := errors.New("the receiver broke")
	for _, f := range []func() error{
		func() error { return c.ExportRelease(t.Context(), 0, func(ReleaseExport) error { return broken }, nil) },
		func() error {
			return c.ExportRelease(t.Context(), 0, func(ReleaseExport) error { return nil }, func(b ImportRows) error {
				if len(b.Parts) > 0 {
					return broken
				}
				return nil
			})
		},
	} {
		if err := f(); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "day"}); err != nil {
		t.Fatal(err)
	}
	if err := c.ExportRelease(t.Context(), 2, nil, nil); !errors.As(err, new(*StateError)) {
		t.Errorf("a release that is imported: %v", err)
	}
	if err := c.ExportRelease(t.Context(), 9, nil, nil); !errors.As(err, new(*NotFoundError)) {
		t.Errorf("a release that is not there: %v", err)
	}
	if _, err := c.CreateSnapshot(t.Context()); err != nil {
		t.Errorf("a snapshot after exports: %v", err)
	}
}
