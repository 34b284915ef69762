package ops

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"
)

// Tracing sends a span of every sampled call to an OpenTelemetry collector.
type Tracing struct{ provider *trace.TracerProvider }

// NewTracing returns nil unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, and
// OTEL_SDK_DISABLED is not true. The other OTEL_* variables mean what OpenTelemetry says: OTEL_TRACES_SAMPLER among them, whose default
// follows the caller.
func NewTracing(ctx context.Context) (*Tracing, error) {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" ||
		os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil //nolint:nilnil // nil is off, and every method takes it
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	name := os.Getenv("OTEL_SERVICE_NAME")
	if name == "" {
		name = "segue"
	}
	return newTracing(exporter, name), nil
}

func newTracing(exporter trace.SpanExporter, name string) *Tracing {
	return &Tracing{trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(resource.NewSchemaless(attribute.String("service.name", name))))}
}

// Handler observes a server's calls; nil where tracing is off.
func (t *Tracing) Handler() stats.Handler {
	if t == nil {
		return nil
	}
	return otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(i *stats.RPCTagInfo) bool { return i.FullMethodName != "/grpc.health.v1.Health/Check" }))
}

// Trace adds to the span of ctx, if there is one, what a search did: as attributes where the call is that search, else as an event
// of the call. It costs nothing, and allocates nothing, where the call is not traced.
func Trace(ctx context.Context, s *Search, whole bool) {
	span := oteltrace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{
		attribute.String("segue.collection", s.Collection), attribute.Int64("segue.release", int64(s.Release)),
		attribute.String("segue.plan", s.Plan), attribute.String("segue.completeness", s.Completeness),
		attribute.Int("segue.ef_used", s.Ef), attribute.Int64("segue.distance_count", s.Distances), attribute.Int64("segue.hop_count", s.Hops),
		attribute.Bool("segue.effort_reduced", s.Reduced),
	}
	if whole {
		span.SetAttributes(attributes...)
		return
	}
	span.AddEvent("search", oteltrace.WithAttributes(attributes...))
}

// Close sends what is left, as long as ctx allows.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
