package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"pgregory.net/rapid"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newTable(t *testing.T) *Table {
	t.Helper()
	table, err := NewTable()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestEveryMethodHasARule is what keeps a new method from being callable by accident: see also the test of the proto
// package, which does not need a server.
func TestEveryMethodHasARule(t *testing.T) {
	table, n := newTable(t), 0
	protoregistry.GlobalFiles.RangeFilesByPackage(Package, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				n++
				name := "/" + string(s.FullName()) + "/" + string(s.Methods().Get(j).Name())
				if r := table.Rule(name); r == nil || r.Public || r.Anywhere || r.Role == 0 || r.Priority == 0 {
					t.Errorf("%s: rule %+v", name, r)
				}
			}
		}
		return true
	})
	if n < 19 {
		t.Errorf("only %d methods", n)
	}
	if table.Rule("/segue.v1.ItemService/Nothing") != nil || table.Rule("") != nil {
		t.Error("a method that does not exist has a rule")
	}
}

// method builds the descriptor of a method whose option is access, with ListItemsRequest and the like as its input.
func method(t *testing.T, input string, access *seguev1.Access) protoreflect.MethodDescriptor {
	t.Helper()
	options := &descriptorpb.MethodOptions{}
	if access != nil {
		proto.SetExtension(options, seguev1.E_Access, access)
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("x.proto"), Package: proto.String("x"),
		Dependency: []string{"segue/v1/item_service.proto", "segue/v1/collection_service.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("S"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: proto.String("M"), InputType: proto.String(".segue.v1." + input),
				OutputType: proto.String(".segue.v1.ListItemsResponse"), Options: options,
			}},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return file.Services().Get(0).Methods().Get(0)
}

func TestUndeclaredMethodsAreRefused(t *testing.T) {
	read, query := seguev1.Role_ROLE_READ, seguev1.Priority_PRIORITY_QUERY
	for name, c := range map[string]struct {
		input  string
		access *seguev1.Access
		want   string
	}{
		"declared":        {"ListItemsRequest", &seguev1.Access{Role: read, Priority: query, Collection: "collection"}, ""},
		"whole server":    {"ListItemsRequest", &seguev1.Access{Role: read, Priority: query}, ""},
		"nested":          {"CreateCollectionRequest", &seguev1.Access{Role: read, Priority: query, Collection: "collection.name"}, ""},
		"repeated":        {"BatchGetItemsRequest", &seguev1.Access{Role: read, Priority: query, Collection: "item_ids"}, ""},
		"no option":       {"ListItemsRequest", nil, "declares no role"},
		"no role":         {"ListItemsRequest", &seguev1.Access{Priority: query, Collection: "collection"}, "declares no role"},
		"no priority":     {"ListItemsRequest", &seguev1.Access{Role: read, Collection: "collection"}, "declares no role"},
		"no such field":   {"ListItemsRequest", &seguev1.Access{Role: read, Priority: query, Collection: "name"}, "no such field"},
		"not a string":    {"ListItemsRequest", &seguev1.Access{Role: read, Priority: query, Collection: "page_size"}, "no string"},
		"a message":       {"CreateCollectionRequest", &seguev1.Access{Role: read, Priority: query, Collection: "collection"}, "no string"},
		"beyond a string": {"ListItemsRequest", &seguev1.Access{Role: read, Priority: query, Collection: "collection.name"}, "beyond"},
	} {
		table := &Table{rules: map[string]*Rule{}}
		err := table.add(method(t, c.input, c.access))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if (table.Rule("/x.S/M") != nil) != (c.want == "") {
			t.Errorf("%s: rule %v", name, table.Rule("/x.S/M"))
		}
	}
}

func TestNames(t *testing.T) {
	table := newTable(t)
	for method, c := range map[string]struct {
		req  proto.Message
		want []string
	}{
		"ItemService/GetItem":                {&seguev1.GetItemRequest{Collection: "tracks"}, []string{"tracks"}},
		"CollectionService/GetCollection":    {&seguev1.GetCollectionRequest{Name: "tracks"}, []string{"tracks"}},
		"CollectionService/CreateCollection": {&seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{Name: "a"}}, []string{"a"}},
		"CollectionService/DeleteCollection": {&seguev1.DeleteCollectionRequest{}, []string{""}},
		"CollectionService/ListCollections":  {&seguev1.ListCollectionsRequest{}, []string{""}},
	} {
		var got []string
		err := table.Rule("/segue.v1."+method).Names(c.req, func(name string) error { got = append(got, name); return nil })
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", method, got, err)
		}
	}
	// A path through a list visits all of it, and names nothing where it is empty.
	repeated := &Table{rules: map[string]*Rule{}}
	if err := repeated.add(method(t, "BatchGetItemsRequest", &seguev1.Access{Role: seguev1.Role_ROLE_READ, Priority: 1, Collection: "item_ids"})); err != nil {
		t.Fatal(err)
	}
	for _, ids := range [][]string{nil, {"a"}, {"a", "b", "c"}} {
		var got []string
		_ = repeated.Rule("/x.S/M").Names(&seguev1.BatchGetItemsRequest{ItemIds: ids}, func(name string) error { got = append(got, name); return nil })
		want := ids
		if len(ids) == 0 {
			want = []string{""}
		}
		if !slices.Equal(got, want) {
			t.Errorf("names %q of %q", got, ids)
		}
	}
}

// TestAuthorize holds Authorize to a naive statement of the rule, over random grants, roles and names.
func TestAuthorize(t *testing.T) {
	table := newTable(t)
	globs := map[string]func(string) bool{
		"*":       func(string) bool { return true },
		"tracks":  func(s string) bool { return s == "tracks" },
		"tracks*": func(s string) bool { return strings.HasPrefix(s, "tracks") },
		"?":       func(s string) bool { return len(s) == 1 },
	}
	methods := map[string]struct {
		role seguev1.Role
		req  func(string) proto.Message
	}{
		"ItemService/GetItem":                {1, func(c string) proto.Message { return &seguev1.GetItemRequest{Collection: c} }},
		"ItemService/UpsertItem":             {2, func(c string) proto.Message { return &seguev1.UpsertItemRequest{Collection: c} }},
		"CollectionService/DeleteCollection": {3, func(c string) proto.Message { return &seguev1.DeleteCollectionRequest{Name: c} }},
		"CollectionService/ListCollections":  {1, func(string) proto.Message { return &seguev1.ListCollectionsRequest{} }},
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"ItemService/GetItem", "ItemService/UpsertItem", "CollectionService/DeleteCollection", "CollectionService/ListCollections"}).Draw(t, "method")
		collection := rapid.SampledFrom([]string{"", "tracks", "tracks2", "users", "x"}).Draw(t, "collection")
		caller := &Identity{Subject: "s"}
		allowed := false
		for range rapid.IntRange(0, 3).Draw(t, "grants") {
			g := Grant{
				Role:        seguev1.Role(rapid.IntRange(1, 3).Draw(t, "role")),
				Collections: rapid.SampledFrom([]string{"*", "tracks", "tracks*", "?"}).Draw(t, "glob"),
			}
			caller.Grants = append(caller.Grants, g)
			matches := globs[g.Collections](collection)
			if collection == "" || strings.Contains(name, "List") {
				matches = g.Collections == "*"
			}
			allowed = allowed || matches && g.Role >= methods[name].role
		}
		err := table.Rule("/segue.v1."+name).Authorize(caller, methods[name].req(collection))
		if (err == nil) != allowed {
			t.Fatalf("%s of %q with %v: %v", name, collection, caller.Grants, err)
		}
		if denied := (*DeniedError)(nil); err != nil && !errors.As(err, &denied) {
			t.Fatalf("error %T", err)
		}
	})
	err := table.Rule("/segue.v1.ItemService/GetItem").Authorize(nil, &seguev1.GetItemRequest{})
	if !errors.As(err, new(*UnauthenticatedError)) {
		t.Errorf("nobody: %v", err)
	}
	if err := table.Rule("/grpc.health.v1.Health/Check").Authorize(nil, nil); err != nil {
		t.Errorf("health: %v", err)
	}
	reflection := table.Rule("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
	if err := reflection.Authorize(&Identity{Grants: []Grant{{seguev1.Role_ROLE_READ, "x"}}}, nil); err != nil {
		t.Errorf("reflection: %v", err)
	}
	if err := reflection.Authorize(&Identity{}, nil); !errors.As(err, new(*DeniedError)) {
		t.Errorf("reflection without a grant: %v", err)
	}
}

func TestAuthorizeAllocatesNothing(t *testing.T) {
	rule := newTable(t).Rule("/segue.v1.RetrievalService/NearestNeighbors")
	caller := &Identity{Subject: "s", Grants: []Grant{{seguev1.Role_ROLE_WRITE, "users*"}, {seguev1.Role_ROLE_READ, "track?"}}}
	req := &seguev1.NearestNeighborsRequest{Collection: "tracks"}
	if n := testing.AllocsPerRun(100, func() {
		if err := rule.Authorize(caller, req); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseGrants(t *testing.T) {
	for _, good := range []string{"read:*", "write:tracks*", "admin:[a-c]?", "read:x"} {
		g, err := ParseGrants([]string{good})
		if err != nil || g[0].String() != good {
			t.Errorf("%s: %v, %v", good, g, err)
		}
	}
	for _, bad := range []string{"", "read", "read:", ":x", "READ:x", "root:x", "unspecified:x", "read:[", "read*"} {
		if g, err := ParseGrants([]string{bad}); err == nil {
			t.Errorf("%q is taken as %v", bad, g)
		}
	}
	if _, err := ParseGrants(nil); err == nil {
		t.Error("no grant is taken")
	}
	if _, err := ParseGrants(slices.Repeat([]string{"read:x"}, maxGrants+1)); err == nil {
		t.Error("too many grants are taken")
	}
}
