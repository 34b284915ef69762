package invariants_test

import (
	"testing"

	"github.com/segue-ann/segue/internal/invariants"
)

func TestCheckPanicsOnlyWhenBroken(t *testing.T) {
	invariants.Check(true, "never formatted %d", 1)
	defer func() {
		if got, want := recover(), "broken invariant: 3 of 2"; got != want {
			t.Errorf("recovered %v, want %q", got, want)
		}
	}()
	invariants.Check(false, "%d of %d", 3, 2)
}

func TestRaceBuildsCheck(t *testing.T) {
	if invariants.Race && !invariants.Enabled {
		t.Error("a race build without slow checks")
	}
}
