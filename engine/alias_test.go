package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/internal/crashfs"
)

// TestAliasModel: aliases and collections come, move, and go as in a map, across restarts and losses of power; a name never means two
// things, and what an alias means answers under it.
func TestAliasModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := crashfs.New()
		e, err := Open(context.Background(), "store", testOptions(fsys))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close() }()
		collections, aliases := map[string]bool{}, map[string]string{}
		names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		means := func(name string) string {
			if collections[name] {
				return name
			}
			return aliases[name]
		}
		kind := func(err error) string {
			var missing *NotFoundError
			var bad *InvalidError
			switch {
			case err == nil:
				return ""
			case errors.As(err, &missing):
				return "no " + missing.Kind
			case errors.As(err, new(*AlreadyExistsError)):
				return "exists"
			case errors.As(err, &bad):
				return bad.Violations[0].Field
			}
			return err.Error()
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			name, other, want := names.Draw(t, "name"), names.Draw(t, "other"), ""
			switch what := rapid.IntRange(0, 6).Draw(t, "what"); what {
			case 0, 1:
				_, err = e.CreateCollection(context.Background(), CollectionConfig{Name: name, Dim: 1, Metric: L2})
				if means(name) != "" {
					want = "exists"
				} else {
					collections[name] = true
				}
			case 2, 3:
				var got Alias
				got, err = e.SetAlias(context.Background(), name, other)
				switch to := means(other); {
				case to == "":
					want = "no collection"
				case collections[name]:
					want = "exists"
				default:
					aliases[name] = to
					if got != (Alias{name, to}) {
						t.Fatalf("%+v, want %s", got, to)
					}
				}
			case 4:
				err = e.DeleteAlias(context.Background(), name)
				if _, ok := aliases[name]; !ok {
					want = "no alias"
				}
				delete(aliases, name)
			case 5:
				err = e.DeleteCollection(context.Background(), name)
				switch {
				case collections[name]:
					delete(collections, name)
					maps.DeleteFunc(aliases, func(_, to string) bool { return to == name })
				case aliases[name] != "":
					want = "name"
				default:
					want = "no collection"
				}
			default:
				crashed := fsys.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))})
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				fsys = crashed
				if e, err = Open(context.Background(), "store", testOptions(fsys)); err != nil {
					t.Fatal(err)
				}
			}
			if got := kind(err); got != want {
				t.Fatalf("%q, want %q: %v", got, want, err)
			}
			for _, name := range []string{"a", "b", "c", "d"} {
				c, err := e.Collection(name)
				if want := means(name); want == "" && kind(err) != "no collection" || want != "" && (err != nil || c.Config().Name != want) {
					t.Fatalf("%s means %v, %v, want %q", name, c, err, want)
				}
			}
			var list []string
			for _, a := range e.Aliases() {
				list = append(list, a.Name+a.Collection)
			}
			var all []string
			for _, name := range slices.Sorted(maps.Keys(aliases)) {
				all = append(all, name+aliases[name])
			}
			if !slices.Equal(list, all) {
				t.Fatalf("aliases %v, want %v", list, all)
			}
		}
	})
}

// TestAliasMovesInOneStep: whoever reads through an alias that moves to and fro meets the one collection or the other, never none.
func TestAliasMovesInOneStep(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	for _, name := range []string{"a", "b"} {
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: name, Dim: 1, Metric: L2})
		if err != nil {
			t.Fatal(err)
		}
		mustUpsert(t, c, Item{ID: "in " + name, Vector: []float32{1}})
	}
	move := func(to string) {
		if _, err := e.SetAlias(t.Context(), "live", to); err != nil {
			t.Error(err)
		}
	}
	move("a")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := e.Collection("live")
				if err != nil {
					t.Error(err)
					return
				}
				items, _, err := c.List(t.Context(), "", 10)
				if err != nil || len(items) != 1 || items[0].ID != "in "+c.Config().Name {
					t.Errorf("%v, %v", items, err)
					return
				}
			}
		})
	}
	for i := range 100 {
		move(string(rune('a' + i%2)))
	}
	close(done)
	wg.Wait()
}

func TestAliasRefuses(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.Limits = DefaultLimits()
	o.Limits.MaxCollections = 1
	e := open(t, "store", o)
	if _, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Reason{"": ReasonRequired, "no spaces": ReasonInvalidFormat, strings.Repeat("x", 65): ReasonTooLong} {
		var bad *InvalidError
		if _, err := e.SetAlias(t.Context(), name, "c"); !errors.As(err, &bad) || bad.Violations[0].Reason != want || bad.Violations[0].Field != "alias" {
			t.Errorf("alias %.10q: %v", name, err)
		}
	}
	for i := range aliasesPerCollection + 1 {
		_, err := e.SetAlias(t.Context(), fmt.Sprint("x", i), "c")
		var limit *LimitError
		if full := i == aliasesPerCollection; full != errors.As(err, &limit) || !full && err != nil {
			t.Errorf("alias %d: %v", i, err)
		}
	}
	if _, err := e.SetAlias(t.Context(), "x0", "c"); err != nil {
		t.Errorf("an alias that exists cannot be set where there are as many as there may be: %v", err)
	}
}
