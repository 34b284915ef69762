package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hang is how long a test waits for what comes for certain. On no machine that works does it take as long.
const hang = 5 * time.Minute

// fixture is a real server over a real engine on a temporary directory, and a client of it.
type fixture struct {
	dir    string
	addr   string
	engine *engine.Engine
	server *Server
	conn   *grpc.ClientConn

	retrieval   seguev1.RetrievalServiceClient
	items       seguev1.ItemServiceClient
	profiles    seguev1.ProfileServiceClient
	exclusions  seguev1.ExclusionServiceClient
	collections seguev1.CollectionServiceClient
	admin       seguev1.AdminServiceClient

	served chan error
}

func start(t *testing.T, o Options) *fixture {
	t.Helper()
	f := open(t, t.TempDir(), o)
	t.Cleanup(func() { f.stop(t) })
	return f
}

// open starts a server on the store in dir; the caller stops it.
func open(t *testing.T, dir string, o Options) *fixture {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Admission.MaxWait == 0 {
		o.Admission.MaxWait = time.Minute // nothing is shed because the machine is busy with something else
	}
	e, err := engine.Open(t.Context(), dir, engine.Options{Logger: o.Logger, SnapshotTail: -1, ReserveBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(e, o)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{dir: dir, addr: lis.Addr().String(), engine: e, server: s, served: make(chan error, 1)}
	go func() { f.served <- s.Serve(lis) }()
	f.connect(dial(t, f.addr))
	return f
}

// connect makes conn the fixture's client.
func (f *fixture) connect(conn *grpc.ClientConn) {
	f.conn = conn
	f.retrieval = seguev1.NewRetrievalServiceClient(f.conn)
	f.items = seguev1.NewItemServiceClient(f.conn)
	f.profiles = seguev1.NewProfileServiceClient(f.conn)
	f.exclusions = seguev1.NewExclusionServiceClient(f.conn)
	f.collections = seguev1.NewCollectionServiceClient(f.conn)
	f.admin = seguev1.NewAdminServiceClient(f.conn)
}

func (f *fixture) stop(t *testing.T) {
	t.Helper()
	if err := f.conn.Close(); err != nil && status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-f.served; err != nil {
		t.Error(err)
	}
	f.served <- nil // stop may be called again
	if err := f.engine.Close(); err != nil {
		t.Error(err)
	}
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// create makes a collection.
func (f *fixture) create(t *testing.T, c *seguev1.Collection) *seguev1.Collection {
	t.Helper()
	resp, err := f.collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{Collection: c})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetCollection()
}

// upsert writes items and returns the revision.
func (f *fixture) upsert(t *testing.T, collection string, items ...*seguev1.Item) int64 {
	t.Helper()
	resp, err := f.items.BatchUpsertItems(t.Context(), &seguev1.BatchUpsertItemsRequest{Collection: collection, Items: items})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetRevision()
}

// search returns the answer to a request that must succeed.
func (f *fixture) search(t *testing.T, req *seguev1.NearestNeighborsRequest) *seguev1.NearestNeighborsResponse {
	t.Helper()
	resp, err := f.retrieval.NearestNeighbors(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// floats is a vector in the floats encoding.
func floats(v ...float32) *seguev1.Vector {
	return &seguev1.Vector{Encoding: &seguev1.Vector_Floats{Floats: &seguev1.Floats{Values: v}}}
}

func item(id string, v ...float32) *seguev1.Item { return &seguev1.Item{Id: id, Vector: floats(v...)} }

func byVector(v ...float32) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_Vector{Vector: floats(v...)}}
}

func byItem(id string) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: id}}
}

func byUser(id string) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_UserId{UserId: id}}
}

func exact() *seguev1.SearchEffort {
	return &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Exact{Exact: true}}
}

func keywords(values ...string) *seguev1.AttributeValue {
	return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Keywords{Keywords: &seguev1.Keywords{Values: values}}}
}

func ids(ns []*seguev1.Neighbor) []string {
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = n.GetItemId()
	}
	return out
}

// refusal is what a failed call must carry. Empty field means that no BadRequest is wanted.
type refusal struct {
	code   codes.Code
	reason string
	field  string
}

// check compares err, the answer to req, with the refusal, and holds it to the rules of every error: one ErrorInfo of
// our domain, a documented reason, details that belong to the code, field paths that lead into req, a bounded size.
func (want refusal) check(t *testing.T, req proto.Message, err error) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || err == nil {
		t.Fatalf("error is %v, not a refusal", err)
	}
	if st.Code() != want.code {
		t.Errorf("code %v, want %v: %v", st.Code(), want.code, st.Message())
	}
	var infos []*errdetails.ErrorInfo
	var bad *errdetails.BadRequest
	kinds := map[string]bool{}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			infos = append(infos, d)
		case *errdetails.BadRequest:
			bad = d
		case *errdetails.ResourceInfo:
			kinds["resource"] = true
		case *errdetails.RetryInfo:
			kinds["retry"] = true
		case *errdetails.PreconditionFailure:
			kinds["precondition"] = true
		default:
			t.Errorf("unexpected detail %T", d)
		}
	}
	if len(infos) != 1 {
		t.Fatalf("%d ErrorInfos, want 1: %v", len(infos), st)
	}
	if infos[0].GetDomain() != "segue.v1" || infos[0].GetReason() != want.reason {
		t.Errorf("reason %s of %s, want %s: %s", infos[0].GetReason(), infos[0].GetDomain(), want.reason, st.Message())
	}
	if _, ok := seguev1.ErrorReason_value["ERROR_REASON_"+infos[0].GetReason()]; !ok {
		t.Errorf("reason %s is not in error.proto", infos[0].GetReason())
	}
	if got := kinds["resource"]; got != (st.Code() == codes.NotFound || st.Code() == codes.AlreadyExists) {
		t.Errorf("ResourceInfo: %v under %v", got, st.Code())
	}
	if got := kinds["retry"]; got != (st.Code() == codes.Unavailable || want.reason == reasonRateLimited) {
		t.Errorf("RetryInfo: %v under %v", got, st.Code())
	}
	if got := kinds["precondition"]; got != (want.reason == reasonConditionNotMet) {
		t.Errorf("PreconditionFailure: %v under %v", got, want.reason)
	}
	if (bad != nil) != (st.Code() == codes.InvalidArgument) {
		t.Errorf("BadRequest: %v under %v", bad, st.Code())
	}
	if want.field != "" && (len(bad.GetFieldViolations()) == 0 || bad.GetFieldViolations()[0].GetField() != want.field) {
		t.Errorf("violations %v, want one of %s first", bad.GetFieldViolations(), want.field)
	}
	for _, v := range bad.GetFieldViolations() {
		if v.GetDescription() == "" || v.GetReason() == "" {
			t.Errorf("violation without reason or rule: %v", v)
		}
		if err := leadsInto(req.ProtoReflect().Descriptor(), v.GetField()); err != nil {
			t.Errorf("field %q: %v", v.GetField(), err)
		}
	}
	if n := proto.Size(st.Proto()); n > 4<<10 {
		t.Errorf("status of %d bytes", n)
	}
}

// leadsInto says whether a path of error.proto's form names a field of m.
func leadsInto(m protoreflect.MessageDescriptor, path string) error {
	for path != "" {
		name := path[:strings.IndexAny(path+".", ".[")]
		f := m.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			return fmt.Errorf("%s has no field %q", m.FullName(), name)
		}
		path = path[len(name):]
		if strings.HasPrefix(path, "[") {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return fmt.Errorf("%q has no ]", path)
			}
			_, notNumber := strconv.Atoi(path[1:end])
			isVector := f.Message() != nil && f.Message().Name() == "Vector"
			if !f.IsMap() && (notNumber != nil || !(f.IsList() || isVector)) {
				return fmt.Errorf("%s has no position %q", f.FullName(), path[1:end])
			}
			path = path[end+1:]
		}
		if path == "" {
			return nil
		}
		if f.Message() == nil || f.IsMap() || path[0] != '.' || len(path) == 1 {
			return fmt.Errorf("nothing follows %s, not %q", f.FullName(), path)
		}
		m, path = f.Message(), path[1:]
	}
	return fmt.Errorf("empty path of %s", m.FullName())
}

func TestLeadsInto(t *testing.T) {
	search := (&seguev1.NearestNeighborsRequest{}).ProtoReflect().Descriptor()
	batch := (&seguev1.BatchUpsertItemsRequest{}).ProtoReflect().Descriptor()
	for _, c := range []struct {
		m    protoreflect.MessageDescriptor
		path string
		ok   bool
	}{
		{search, "query", true},
		{search, "query.vector", true},
		{search, "query.vector[3]", true},
		{search, "query.vector.float32_le", true},
		{search, "read_mask.paths[0]", true},
		{search, "k", false},
		{search, "query.vector.", false},
		{search, "query[0]", false},
		{search, "", false},
		{batch, "items[3].vector[7]", true},
		{batch, "items[3].attributes[title]", true},
		{batch, "items[x]", false},
		{batch, "items[3", false},
		{batch, "items[0].attributes[title].x", false},
	} {
		if err := leadsInto(c.m, c.path); (err == nil) != c.ok {
			t.Errorf("%q: %v, want ok %v", c.path, err, c.ok)
		}
	}
}

// sortedKeys returns the keys of m in ascending order.
func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
