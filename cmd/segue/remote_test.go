package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// codeName spells every code as the protocol does.
func TestCodeName(t *testing.T) {
	for number, name := range code.Code_name {
		if got := codeName(codes.Code(number)); got != name {
			t.Errorf("code %d is %q, want %q", number, got, name)
		}
	}
}

func TestDescribe(t *testing.T) {
	st, err := status.New(codes.InvalidArgument, "collection.dimension: must be between 1 and 4096, is 0; and more").WithDetails(
		&errdetails.ErrorInfo{Domain: "segue.v1", Reason: "OUT_OF_RANGE"},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "collection.dimension", Description: "must be between 1 and 4096, is 0"},
			{Field: "collection.metric", Description: "must be given"},
		}})
	if err != nil {
		t.Fatal(err)
	}
	unreachable := status.Error(codes.Unavailable, "connection refused")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "plain"},
		{unreachable, "connection refused (UNAVAILABLE)"},
		{fmt.Errorf("rows 0 to 9: %w", unreachable), "rows 0 to 9: connection refused (UNAVAILABLE)"},
		{errors.Join(unreachable, errors.New("and more")), "connection refused (UNAVAILABLE)\nand more"},
		{st.Err(), "collection.dimension: must be between 1 and 4096, is 0\n       collection.metric: must be given (INVALID_ARGUMENT, OUT_OF_RANGE)"},
	} {
		if got := describe(tc.err); got != tc.want {
			t.Errorf("%v:\n%s\nwant\n%s", tc.err, got, tc.want)
		}
	}
}

func TestMetricNamesReadBack(t *testing.T) {
	for number := range seguev1.Metric_name {
		metric := seguev1.Metric(number)
		var f metricFlag
		err := f.Set(metricName(metric))
		if metric == seguev1.Metric_METRIC_UNSPECIFIED {
			if err == nil {
				t.Error("no metric at all was accepted")
			}
			continue
		}
		if err != nil || f.metric != metric {
			t.Errorf("%v is written %q and read as %v, %v", metric, metricName(metric), f.metric, err)
		}
	}
	var f metricFlag
	if err := f.Set("COSINE"); err != nil || f.metric != seguev1.Metric_METRIC_COSINE {
		t.Errorf("COSINE: %v, %v", f.metric, err)
	}
}

func TestParseAttributeSpecs(t *testing.T) {
	specs, err := parseAttributeSpecs([]string{"title:keyword", "Added:TIMESTAMP", "explicit:bool", "n:int", "tempo:float"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range specs {
		got = append(got, s.GetName()+":"+typeName(s.GetType()))
	}
	if want := []string{"Added:TIMESTAMP", "explicit:BOOL", "n:INT", "tempo:FLOAT", "title:KEYWORD"}; !slices.Equal(got, want) {
		t.Errorf("specs %v, want %v", got, want)
	}
	for _, bad := range []string{"", "title", ":keyword", "title:", "title:unspecified", "title:text"} {
		var usage *usageError
		if _, err := parseAttributeSpecs([]string{bad}); !errors.As(err, &usage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestVersion(t *testing.T) {
	if got := versionOf(nil).String(); !strings.HasPrefix(got, "segue (unknown), go") {
		t.Errorf("without build info: %q", got)
	}
	info := &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got := versionOf(info).String(); !strings.HasPrefix(got, "segue v0.1.0, revision abc with changes of 2026-01-02T03:04:05Z, go") {
		t.Errorf("with build info: %q", got)
	}
}
