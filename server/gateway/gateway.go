package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Options configure a Gateway. All are required but Origins.
type Options struct {
	// Dial connects to the gRPC server, without encryption.
	Dial func(ctx context.Context) (net.Conn, error)
	// MaxRecvBytes bounds the body of a request, MaxSendBytes the message of an answer.
	MaxRecvBytes, MaxSendBytes int
	// ReadingTime is how long a caller may take to read its answer, before the connection is closed.
	ReadingTime time.Duration
	// Origins are what browsers call pages that may use the API ("https://tools.example"); none by default.
	Origins []string
}

// Gateway is an http.Handler. Close frees its connection.
type Gateway struct {
	handler     http.Handler
	conn        *grpc.ClientConn
	readingTime time.Duration
}

// New returns a gateway. Errors: an origin that is none.
func New(o Options) (*Gateway, error) {
	conn, err := grpc.NewClient("passthrough:///segue",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return o.Dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(o.MaxSendBytes)))
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	mux := runtime.NewServeMux(
		runtime.WithIncomingHeaderMatcher(passes),
		runtime.WithDisablePathLengthFallback(), // no POST of a form that means a GET
		runtime.WithRoutingErrorHandler(unrouted),
	)
	for _, r := range Routes() {
		m, err := newMethod(r, conn, mux, int64(o.MaxRecvBytes))
		if err == nil {
			err = mux.HandlePath(r.Verb, r.Path, m.serve)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("gateway: %s: %w", r.Method, err), conn.Close())
		}
	}
	guarded, err := guard(escaped(mux), o.Origins)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Gateway{handler: guarded, conn: conn, readingTime: o.ReadingTime}, nil
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Time{}) // that of the connection's last answer; not every kind of connection has one
	g.handler.ServeHTTP(&answer{w, func() { _ = c.SetWriteDeadline(time.Now().Add(g.readingTime)) }}, r)
}

// answer is a response whose time to be read begins when it is written, however long the call takes.
type answer struct {
	http.ResponseWriter
	begin func()
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Close cuts off what is under way.
func (g *Gateway) Close() error { return g.conn.Close() }

// escaped routes by the path as it came. Its parts are unescaped when they are known, so that an id may have a slash; no mode of
// grpc-gateway's own does that.
func escaped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		copied, u := *r, *r.URL
		u.Path, u.RawPath = r.URL.EscapedPath(), ""
		copied.URL = &u
		next.ServeHTTP(w, &copied)
	})
}

// passes says which headers go with the call, besides Authorization and Grpc-Timeout.
func passes(name string) (string, bool) {
	name = strings.ToLower(name)
	return name, name == "traceparent" || name == "tracestate"
}

// method passes the requests of one route on.
type method struct {
	route         Route
	full          string // as gRPC has it
	input, output protoreflect.MessageType
	inPath        *utilities.DoubleArray // fields that the path names
	conn          *grpc.ClientConn
	mux           *runtime.ServeMux
	maxBytes      int64
}

func newMethod(r Route, conn *grpc.ClientConn, mux *runtime.ServeMux, maxBytes int64) (*method, error) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(r.Method))
	if err != nil {
		return nil, err
	}
	d, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("not a method")
	}
	m := &method{route: r, full: fmt.Sprintf("/%s/%s", d.Parent().FullName(), d.Name()), conn: conn, mux: mux, maxBytes: maxBytes}
	var errIn, errOut error
	m.input, errIn = protoregistry.GlobalTypes.FindMessageByName(d.Input().FullName())
	m.output, errOut = protoregistry.GlobalTypes.FindMessageByName(d.Output().FullName())
	var named [][]string
	for _, part := range strings.Split(r.Path, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		named = append(named, strings.Split(name, "."))
	}
	m.inPath = utilities.NewDoubleArray(named)
	return m, errors.Join(errIn, errOut)
}

func (m *method) serve(w http.ResponseWriter, r *http.Request, fromPath map[string]string) {
	req := m.input.New().Interface()
	if err := m.decode(w, r, fromPath, req); err != nil {
		fail(w, err)
		return
	}
	ctx, err := runtime.AnnotateContext(r.Context(), m.mux, r, m.full)
	if err != nil {
		fail(w, err)
		return
	}
	resp := m.output.New().Interface()
	if err := m.conn.Invoke(ctx, m.full, req, resp); err != nil {
		fail(w, err)
		return
	}
	b, err := protojson.Marshal(resp)
	if err != nil {
		fail(w, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // a caller that goes away misses nothing
}

// decode fills req from the body or the query, and then from the path.
func (m *method) decode(w http.ResponseWriter, r *http.Request, fromPath map[string]string, req proto.Message) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, m.maxBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return status.Errorf(codes.ResourceExhausted, "the body must be at most %d bytes", tooLarge.Limit)
	case err != nil:
		return status.Errorf(codes.InvalidArgument, "read the body: %v", err)
	case !m.route.Body && len(body) > 0:
		return status.Errorf(codes.InvalidArgument, "%s takes its fields from path and query: the body must be empty, has %d bytes", m.route.Verb, len(body))
	case len(body) > 0:
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return status.Error(codes.InvalidArgument, "Content-Type must be application/json")
		}
		if err := protojson.Unmarshal(body, req); err != nil {
			return status.Errorf(codes.InvalidArgument, "the body: %v", err)
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err == nil && m.route.Body && len(query) > 0 {
		err = errors.New("must be empty: the fields stand in the body")
	}
	for name := range query {
		if err == nil && !hasField(req.ProtoReflect().Descriptor(), name) {
			err = fmt.Errorf("there is no field %q", name)
		}
	}
	if err == nil {
		err = runtime.PopulateQueryParameters(req, query, m.inPath)
	}
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "the query: %v", err)
	}
	for name, value := range fromPath {
		value, err := url.PathUnescape(value)
		if err == nil {
			err = runtime.PopulateFieldFromPath(req, name, value)
		}
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "the path: %v", err)
		}
	}
	return nil
}

// hasField says whether a message has a field of that path.
func hasField(m protoreflect.MessageDescriptor, path string) bool {
	for part, rest, more := strings.Cut(path, "."); ; part, rest, more = strings.Cut(rest, ".") {
		if m == nil {
			return false
		}
		f := m.Fields().ByName(protoreflect.Name(part))
		if f == nil {
			f = m.Fields().ByJSONName(part)
		}
		if f == nil || !more {
			return f != nil
		}
		m = f.Message()
	}
}

// unrouted answers requests for what there is not.
func unrouted(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	switch code {
	case http.StatusNotFound:
		write(w, code, status.New(codes.NotFound, "there is nothing at this path"))
	case http.StatusMethodNotAllowed:
		write(w, code, status.Newf(codes.Unimplemented, "there is no %q at this path", r.Method))
	default:
		write(w, code, status.New(codes.InvalidArgument, http.StatusText(code)))
	}
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	st := status.Convert(err)
	write(w, runtime.HTTPStatusFromCode(st.Code()), st)
}

// write answers with a google.rpc.Status.
func write(w http.ResponseWriter, code int, st *status.Status) {
	p := st.Proto()
	p.Message = strings.ToValidUTF8(p.GetMessage(), "\uFFFD")
	b, err := protojson.Marshal(p)
	if err != nil { // a detail of a type that is not known here
		p.Details = nil
		b, _ = protojson.Marshal(p) //nolint:errchkjson // a number and a string
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b) // a caller that goes away misses nothing
}

// guard keeps pages of other origins out, but those named.
func guard(next http.Handler, origins []string) (http.Handler, error) {
	protection := http.NewCrossOriginProtection()
	var errs []error
	for _, origin := range origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			errs = append(errs, fmt.Errorf("gateway: origin %q is not SCHEME://HOST[:PORT]: %w", origin, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, status.Error(codes.PermissionDenied, "pages of this origin may not call the API"))
	}))
	protected := protection.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if len(origins) > 0 {
			h.Add("Vary", "Origin")
		}
		if origin := r.Header.Get("Origin"); origin != "" && slices.Contains(origins, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Grpc-Timeout")
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		protected.ServeHTTP(w, r)
	}), nil
}
