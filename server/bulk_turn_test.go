package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
)

// TestBulkTurnWaits: what is in no hurry is not shed. It waits as long as others have the room, and no longer than its context.
func TestBulkTurnWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control, err := admission.New(admission.Options{MaxConcurrent: 1, MaxWait: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer control.Close()
		in := &interceptors{admission: control}
		other, err := control.Admit(t.Context(), seguev1.Priority_PRIORITY_WRITE)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := control.Admit(t.Context(), seguev1.Priority_PRIORITY_IMPORT); !errors.As(err, new(*admission.OverloadedError)) {
			t.Fatalf("two run where one may: %v", err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := in.bulkTurn(short, seguev1.Priority_PRIORITY_IMPORT); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of its context: %v", err)
		}
		turn := make(chan error, 1)
		go func() {
			permit, err := in.bulkTurn(t.Context(), seguev1.Priority_PRIORITY_IMPORT)
			if err == nil {
				permit.Done(nil)
			}
			turn <- err
		}()
		time.Sleep(time.Minute)
		select {
		case err := <-turn:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		other.Done(nil)
		began := time.Now()
		if err := <-turn; err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
