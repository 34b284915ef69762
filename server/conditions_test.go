package server

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestExpireTimeLife: written, read and listed to the microsecond; kept by an update that does not name it, set and cleared by one that
// does, dropped by an upsert without one; the same of a profile.
func TestExpireTimeLife(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 1, Metric: seguev1.Metric_METRIC_L2})
	end := timestamppb.New(time.Now().Add(time.Hour).Truncate(time.Microsecond))
	later := timestamppb.New(end.AsTime().Add(time.Hour))
	want := func(what string, at *timestamppb.Timestamp) {
		t.Helper()
		got, err := f.items.GetItem(ctx, &seguev1.GetItemRequest{Collection: "tracks", ItemId: "a"})
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.items.ListItems(ctx, &seguev1.ListItemsRequest{Collection: "tracks"})
		if err != nil || len(list.GetItems()) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		for _, it := range []*seguev1.Item{got.GetItem(), list.GetItems()[0]} {
			if diff := cmp.Diff(at, it.GetExpireTime(), protocmp.Transform()); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
	}
	update := func(u *seguev1.AttributesUpdate) {
		t.Helper()
		u.ItemId = "a"
		if _, err := f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: u}); err != nil {
			t.Fatal(err)
		}
	}
	attributes := map[string]*seguev1.AttributeValue{"title": keywords("t")}
	it := item("a", 1)
	it.ExpireTime = proto.CloneOf(end)
	it.ExpireTime.Nanos += 999 // rounded down
	f.upsert(t, "tracks", it)
	want("upsert", end)
	update(&seguev1.AttributesUpdate{Attributes: attributes})
	want("update of another field", end)
	update(&seguev1.AttributesUpdate{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}})
	want("update of all attributes", end)
	update(&seguev1.AttributesUpdate{ExpireTime: later})
	want("update without a mask", later)
	update(&seguev1.AttributesUpdate{ExpireTime: end, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"expire_time"}}})
	want("update with a mask", end)
	update(&seguev1.AttributesUpdate{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"expire_time"}}})
	want("update to never", nil)
	f.upsert(t, "tracks", it, item("a", 2))
	want("upsert without", nil)

	p := profile("u", 1)
	p.ExpireTime = end
	if _, err := f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: p}); err != nil {
		t.Fatal(err)
	}
	got, err := f.profiles.GetProfile(ctx, &seguev1.GetProfileRequest{Collection: "tracks", UserId: "u"})
	if err != nil || !proto.Equal(got.GetProfile().GetExpireTime(), end) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestIfRevision: every write that takes a condition is made if it holds and answers ABORTED, naming the revision that is there, if
// it does not; nothing of a batch is written then.
func TestIfRevision(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 1, Metric: seguev1.Metric_METRIC_L2})
	conditional := func(id string, revision int64) *seguev1.Item {
		it := item(id, 1)
		it.IfRevision = &revision
		return it
	}
	user := func(revision int64) *seguev1.Profile {
		p := profile("u", 1)
		p.IfRevision = &revision
		return p
	}
	first, err := f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: conditional("a", 0)})
	if err != nil {
		t.Fatal(err)
	}
	at := first.GetRevision()
	if _, err := f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: user(0)}); err != nil {
		t.Fatal(err)
	}
	wrong := at + 7
	for name, tc := range map[string]struct {
		err     error
		id      string
		current int64
	}{
		"upsert":                        {second(f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: conditional("a", wrong)})), "a", at},
		"upsert of what must not exist": {second(f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: conditional("a", 0)})), "a", at},
		"upsert of what must exist":     {second(f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: conditional("b", at)})), "b", 0},
		"batch": {second(f.items.BatchUpsertItems(ctx, &seguev1.BatchUpsertItemsRequest{Collection: "tracks",
			Items: []*seguev1.Item{item("b", 1), conditional("a", wrong)}})), "a", at},
		"update": {second(f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: "tracks",
			Update: &seguev1.AttributesUpdate{ItemId: "a", IfRevision: &wrong}})), "a", at},
		"batch of updates": {second(f.items.BatchUpdateItemAttributes(ctx, &seguev1.BatchUpdateItemAttributesRequest{Collection: "tracks",
			Updates: []*seguev1.AttributesUpdate{{ItemId: "z"}, {ItemId: "a", IfRevision: &wrong}}})), "a", at},
		"delete":  {second(f.items.DeleteItem(ctx, &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "a", IfRevision: &wrong})), "a", at},
		"profile": {second(f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: user(0)})), "u", at + 1},
		"profiles": {second(f.profiles.BatchUpsertProfiles(ctx, &seguev1.BatchUpsertProfilesRequest{Collection: "tracks",
			Profiles: []*seguev1.Profile{profile("v", 1), user(wrong)}})), "u", at + 1},
		"delete of a profile": {second(f.profiles.DeleteProfile(ctx, &seguev1.DeleteProfileRequest{Collection: "tracks", UserId: "u", IfRevision: &wrong})), "u", at + 1},
	} {
		checkMismatch(t, name, tc.err, tc.id, tc.current)
	}
	missing := &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "none", IfRevision: &wrong}
	_, err = f.items.DeleteItem(ctx, missing)
	refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}.check(t, missing, err)
	for _, revision := range []int64{-1, 0} {
		req := &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "a", IfRevision: &revision}
		_, err = f.items.DeleteItem(ctx, req)
		refusal{codes.InvalidArgument, "OUT_OF_RANGE", "if_revision"}.check(t, req, err)
		up := &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: &seguev1.AttributesUpdate{ItemId: "a", IfRevision: &revision}}
		_, err = f.items.UpdateItemAttributes(ctx, up)
		refusal{codes.InvalidArgument, "OUT_OF_RANGE", "update.if_revision"}.check(t, up, err)
	}
	negative := &seguev1.UpsertItemRequest{Collection: "tracks", Item: conditional("a", -1)}
	_, err = f.items.UpsertItem(ctx, negative)
	refusal{codes.InvalidArgument, "OUT_OF_RANGE", "item.if_revision"}.check(t, negative, err)

	// All of that has changed nothing; and each condition that holds lets the write through.
	if got, err := f.items.BatchGetItems(ctx, &seguev1.BatchGetItemsRequest{Collection: "tracks", ItemIds: []string{"a", "b"}}); err != nil ||
		len(got.GetItems()) != 1 || got.GetItems()[0].GetRevision() != at || got.GetItems()[0].IfRevision != nil {
		t.Errorf("%v, %v", got, err)
	}
	again, err := f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: conditional("a", at)})
	if err != nil {
		t.Fatal(err)
	}
	at = again.GetRevision()
	up, err := f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: &seguev1.AttributesUpdate{ItemId: "a", IfRevision: &at}})
	if err != nil {
		t.Fatal(err)
	}
	at = up.GetRevision()
	if _, err := f.items.DeleteItem(ctx, &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "a", IfRevision: &at}); err != nil {
		t.Error(err)
	}
}

// second is the error of a call.
func second[T any](_ T, err error) error { return err }

func checkMismatch(t *testing.T, what string, err error, id string, current int64) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != codes.Aborted || len(st.Details()) != 1 {
		t.Errorf("%s: %v", what, err)
		return
	}
	info, _ := st.Details()[0].(*errdetails.ErrorInfo)
	m := info.GetMetadata()
	if info.GetReason() != "REVISION_MISMATCH" || m["item_id"]+m["user_id"] != id || m["current_revision"] != strconv.FormatInt(current, 10) {
		t.Errorf("%s: %v, want revision %d of %q", what, info, current, id)
	}
}

// TestModelGuardsEveryWrite: a write that declares another model than the published release's writes nothing.
func TestModelGuardsEveryWrite(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	is, other := &seguev1.EmbeddingModel{Name: "m", Version: "1"}, &seguev1.EmbeddingModel{Name: "m", Version: "2"}
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 1, Metric: seguev1.Metric_METRIC_L2, EmbeddingModel: is})
	f.upsert(t, "tracks", item("a", 1))
	update := &seguev1.AttributesUpdate{ItemId: "a", Attributes: map[string]*seguev1.AttributeValue{"n": keywords("x")}}
	for name, call := range map[string]func(m *seguev1.EmbeddingModel) error{
		"item": func(m *seguev1.EmbeddingModel) error {
			return second(f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: item("b", 1), EmbeddingModel: m}))
		},
		"items": func(m *seguev1.EmbeddingModel) error {
			return second(f.items.BatchUpsertItems(ctx, &seguev1.BatchUpsertItemsRequest{Collection: "tracks", Items: []*seguev1.Item{item("b", 1)}, EmbeddingModel: m}))
		},
		"update": func(m *seguev1.EmbeddingModel) error {
			return second(f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: update, EmbeddingModel: m}))
		},
		"updates": func(m *seguev1.EmbeddingModel) error {
			return second(f.items.BatchUpdateItemAttributes(ctx, &seguev1.BatchUpdateItemAttributesRequest{Collection: "tracks", Updates: []*seguev1.AttributesUpdate{update}, EmbeddingModel: m}))
		},
		"profile": func(m *seguev1.EmbeddingModel) error {
			return second(f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: profile("u", 1), EmbeddingModel: m}))
		},
		"profiles": func(m *seguev1.EmbeddingModel) error {
			return second(f.profiles.BatchUpsertProfiles(ctx, &seguev1.BatchUpsertProfilesRequest{Collection: "tracks", Profiles: []*seguev1.Profile{profile("u", 1)}, EmbeddingModel: m}))
		},
	} {
		c, err := f.engine.Collection("tracks")
		if err != nil {
			t.Fatal(err)
		}
		before := c.Revision()
		if err := call(other); status.Code(err) != codes.FailedPrecondition || c.Revision() != before {
			t.Errorf("%s of another model: %v, revision %d, was %d", name, err, c.Revision(), before)
		}
		for _, m := range []*seguev1.EmbeddingModel{nil, is} {
			if err := call(m); err != nil {
				t.Errorf("%s of model %v: %v", name, m, err)
			}
		}
	}
}

// TestRequestIDOfEveryWrite: each write that is sent again under its id answers as before and writes nothing, a deleted item included;
// another body under that id is refused by name.
func TestRequestIDOfEveryWrite(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 1, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "tracks", item("a", 1), item("b", 1), item("c", 1))
	none := int64(0)
	fresh := item("fresh", 1)
	fresh.IfRevision = &none
	update := func(id string) *seguev1.AttributesUpdate {
		return &seguev1.AttributesUpdate{ItemId: id, Attributes: map[string]*seguev1.AttributeValue{"n": keywords("x")}}
	}
	for name, tc := range map[string]struct {
		call  func(id string) (proto.Message, error)
		other func(id string) (proto.Message, error)
	}{
		"UpsertItem": {
			func(id string) (proto.Message, error) {
				return f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: fresh, RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: item("fresh", 2), RequestId: id})
			}},
		"BatchUpsertItems": {
			func(id string) (proto.Message, error) {
				return f.items.BatchUpsertItems(ctx, &seguev1.BatchUpsertItemsRequest{Collection: "tracks", Items: []*seguev1.Item{item("x", 1)}, RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.items.BatchUpsertItems(ctx, &seguev1.BatchUpsertItemsRequest{Collection: "tracks", Items: []*seguev1.Item{item("y", 1)}, RequestId: id})
			}},
		"UpdateItemAttributes": {
			func(id string) (proto.Message, error) {
				return f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: update("a"), RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: update("b"), RequestId: id})
			}},
		"BatchUpdateItemAttributes": {
			func(id string) (proto.Message, error) {
				return f.items.BatchUpdateItemAttributes(ctx, &seguev1.BatchUpdateItemAttributesRequest{Collection: "tracks",
					Updates: []*seguev1.AttributesUpdate{update("a"), update("gone")}, RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.items.BatchUpdateItemAttributes(ctx, &seguev1.BatchUpdateItemAttributesRequest{Collection: "tracks",
					Updates: []*seguev1.AttributesUpdate{update("a")}, RequestId: id})
			}},
		"DeleteItem": {
			func(id string) (proto.Message, error) {
				return f.items.DeleteItem(ctx, &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "b", RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.items.DeleteItem(ctx, &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "a", RequestId: id})
			}},
		"BatchDeleteItems": {
			func(id string) (proto.Message, error) {
				return f.items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: "tracks", ItemIds: []string{"c", "gone"}, RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: "tracks", ItemIds: []string{"c"}, RequestId: id})
			}},
		"UpsertProfile": {
			func(id string) (proto.Message, error) {
				return f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: profile("u", 1), RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: profile("u", 2), RequestId: id})
			}},
		"BatchUpsertProfiles": {
			func(id string) (proto.Message, error) {
				return f.profiles.BatchUpsertProfiles(ctx, &seguev1.BatchUpsertProfilesRequest{Collection: "tracks", Profiles: []*seguev1.Profile{profile("v", 1)}, RequestId: id})
			},
			func(id string) (proto.Message, error) {
				return f.profiles.BatchUpsertProfiles(ctx, &seguev1.BatchUpsertProfilesRequest{Collection: "tracks", Profiles: []*seguev1.Profile{profile("w", 1)}, RequestId: id})
			}},
	} {
		first, err := tc.call(name)
		if err != nil {
			t.Fatal(name, err)
		}
		c, err := f.engine.Collection("tracks")
		if err != nil {
			t.Fatal(err)
		}
		before := c.Revision()
		again, err := tc.call(name)
		if diff := cmp.Diff(first, again, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("%s again: %v %s", name, err, diff)
		}
		_, err = tc.other(name)
		if reason, field := reasonOf(err); reason != "REQUEST_ID_REUSED" || field != "request_id" {
			t.Errorf("%s with another body: %v", name, err)
		}
		if c.Revision() != before {
			t.Errorf("%s wrote again", name)
		}
	}
}

// reasonOf is the reason and the field of an INVALID_ARGUMENT.
func reasonOf(err error) (reason, field string) {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason(), info.GetMetadata()["field"]
		}
	}
	return "", ""
}
