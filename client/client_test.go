package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestDialRefusesPlaintextToOtherMachines(t *testing.T) {
	for target, local := range map[string]bool{
		"127.0.0.1:7070":                    true,
		"127.8.9.1:7070":                    true,
		"[::1]:7070":                        true,
		"[::ffff:127.0.0.1]:7070":           true,
		"localhost:7070":                    true,
		"LOCALHOST":                         true,
		":7070":                             true,
		"unix:/run/segue":                   true,
		"unix-abstract:segue":               true,
		"dns:///localhost:7070":             true,
		"dns:localhost:7070":                true,
		"passthrough:///127.0.0.1:7070":     true,
		"":                                  false,
		"0.0.0.0:7070":                      false,
		"[::]:7070":                         false,
		"10.0.0.1:7070":                     false,
		"127.0.0.1.example.com:7070":        false,
		"localhost.example.com:7070":        false,
		"segue:7070":                        false,
		"dns:///segue:7070":                 false,
		"dns://127.0.0.1/segue:7070":        false,
		"passthrough:///segue.internal:80":  false,
		"xds:///localhost":                  false,
		"https://localhost:7070":            false,
		"localhost:7070,example.com:7070":   false,
		"dns://localhost:53/10.1.2.3:7070":  false,
		"dns:///127.0.0.1@example.com:7070": false,
	} {
		c, err := Dial(target, Options{})
		var plaintext *PlaintextError
		if refused := errors.As(err, &plaintext); refused == local || err != nil && !refused {
			t.Errorf("Dial(%q): %v; local %v", target, err, local)
		}
		if err == nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if target != "" && target != "xds:///localhost" {
			if c, err := Dial(target, Options{AllowPlaintext: true}); err != nil {
				t.Errorf("Dial(%q) with permission: %v", target, err)
			} else if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDialRefusesBadOptions(t *testing.T) {
	if _, err := Dial("localhost:1", Options{MaxReceiveBytes: -1}); !errors.Is(err, ErrOptions) {
		t.Errorf("error %v", err)
	}
}

// The policy covers what the API declares safe to repeat, and nothing else.
func TestServiceConfigFollowsTheAPI(t *testing.T) {
	var c config
	if err := json.Unmarshal([]byte(serviceConfig(false)), &c); err != nil {
		t.Fatal(err)
	}
	retried := map[string]bool{}
	for _, m := range c.MethodConfig {
		for _, n := range m.Name {
			if n.Method == "" {
				t.Errorf("policy for all of %s", n.Service)
			}
			retried[n.Service+"/"+n.Method] = true
		}
	}
	for _, method := range []string{
		seguev1.RetrievalService_NearestNeighbors_FullMethodName,
		seguev1.ItemService_BatchUpsertItems_FullMethodName,
		seguev1.ItemService_BatchDeleteItems_FullMethodName,
		seguev1.ProfileService_BatchUpsertProfiles_FullMethodName,
		seguev1.CollectionService_GetCollection_FullMethodName,
		seguev1.AdminService_ListSnapshots_FullMethodName,
	} {
		if !retried[method[1:]] {
			t.Errorf("%s is not retried", method)
		}
	}
	for _, method := range []string{
		seguev1.CollectionService_CreateCollection_FullMethodName,
		seguev1.AdminService_CreateSnapshot_FullMethodName,
	} {
		if retried[method[1:]] {
			t.Errorf("%s is retried", method)
		}
	}
}

func TestReasonAndViolations(t *testing.T) {
	st, err := status.New(codes.InvalidArgument, "bad").WithDetails(
		&errdetails.ErrorInfo{Domain: "someone.else", Reason: "NOT_OURS"},
		&errdetails.ErrorInfo{Domain: Domain, Reason: "DIMENSION_MISMATCH"},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "items[0].vector", Reason: "DIMENSION_MISMATCH", Description: "must have 4 components, has 3"},
			{Field: "items[2].id", Reason: "FIELD_REQUIRED", Description: "must not be empty"},
		}})
	if err != nil {
		t.Fatal(err)
	}
	wrapped := fmt.Errorf("while testing: %w", st.Err())
	if got := Reason(wrapped); got != "DIMENSION_MISMATCH" {
		t.Errorf("reason %q", got)
	}
	want := []Violation{
		{"items[0].vector", "DIMENSION_MISMATCH", "must have 4 components, has 3"},
		{"items[2].id", "FIELD_REQUIRED", "must not be empty"},
	}
	if got := Violations(wrapped); !slices.Equal(got, want) {
		t.Errorf("violations %+v", got)
	}
	for _, err := range []error{nil, errors.New("plain"), status.Error(codes.Internal, "bare")} {
		if Reason(err) != "" || Violations(err) != nil {
			t.Errorf("%v has reason %q, violations %v", err, Reason(err), Violations(err))
		}
	}
}

// Property: what Vector encodes, Values decodes, bit by bit.
func TestVectorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SliceOf(rapid.Uint32()).Draw(t, "bits")
		v := make([]float32, len(bits))
		for i, b := range bits {
			v[i] = math.Float32frombits(b)
		}
		got, err := Values(Vector(v))
		if err != nil {
			t.Fatal(err)
		}
		list, err := Values(&seguev1.Vector{Encoding: &seguev1.Vector_Floats{Floats: &seguev1.Floats{Values: v}}})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(bits) || len(list) != len(bits) {
			t.Fatalf("%d and %d numbers of %d", len(got), len(list), len(bits))
		}
		for i, b := range bits {
			if math.Float32bits(got[i]) != b || math.Float32bits(list[i]) != b {
				t.Fatalf("number %d: %x and %x, want %x", i, math.Float32bits(got[i]), math.Float32bits(list[i]), b)
			}
		}
	})
}

func TestValuesOfOtherForms(t *testing.T) {
	if v, err := Values(nil); v != nil || err != nil {
		t.Errorf("no vector: %v, %v", v, err)
	}
	if _, err := Values(&seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: []byte{1, 2, 3}}}); err == nil {
		t.Error("3 bytes were decoded")
	}
	if _, err := Values(&seguev1.Vector{Encoding: &seguev1.Vector_Float16Le{}}); err == nil {
		t.Error("float16_le was decoded")
	}
}

// TestTokenStaysOffOpenWires: a token is sent to this machine in the clear, to others only encrypted.
func TestTokenStaysOffOpenWires(t *testing.T) {
	for target, plaintext := range map[string]bool{"127.0.0.1:1": true, "unix:/run/segue": true, "segue:7070": false, "10.0.0.1:7070": false} {
		if got := !(bearer{token: "x", plaintext: isLocal(target)}).RequireTransportSecurity(); got != plaintext {
			t.Errorf("%s: in the clear %v", target, got)
		}
	}
	if md, err := (bearer{token: "x"}).GetRequestMetadata(t.Context()); err != nil || md["authorization"] != "Bearer x" {
		t.Errorf("%v, %v", md, err)
	}
	c, err := Dial("segue.example:7070", Options{Token: "x", AllowPlaintext: true})
	if err == nil {
		c.Close()
		t.Error("a token is to be sent in the clear to another machine")
	}
}
