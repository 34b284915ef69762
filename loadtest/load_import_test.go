package loadtest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestPatiently: refusals are waited for, until the context ends; everything else is returned at once, wrapped refusals are refusals.
func TestPatiently(t *testing.T) {
	refused := status.Error(codes.Unavailable, "later")
	synctest.Test(t, func(t *testing.T) {
		for _, want := range []error{nil, errors.New("broken"), status.Error(codes.NotFound, "no")} {
			began, calls := time.Now(), 0
			err := patiently(t.Context(), func() error {
				if calls++; calls <= 3 {
					return errors.Join(errors.New("the import"), refused)
				}
				return want
			})
			if !errors.Is(err, want) || calls != 4 || time.Since(began) != 3*buildWait {
				t.Errorf("%v after %d calls and %v, want %v", err, calls, time.Since(began), want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := patiently(ctx, func() error { return refused }); status.Code(err) != codes.Unavailable || ctx.Err() == nil {
			t.Errorf("never a turn: %v", err)
		}
	})
}
