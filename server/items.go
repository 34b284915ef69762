package server

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type itemService struct{ *backend }

// pageBytes is about where ListItems ends a page: what gRPC clients receive by default is 4 MiB.
const pageBytes = 3 << 20

// itemPath turns fields of the engine's item calls into those of the requests for one item.
func itemPath(field string) string {
	return renames{{"items[0]", "item"}, {"items", "item"}, {"ids[0]", "item_id"}, {"ids", "item_id"}}.path(field)
}

// itemBatchPath does the same for the requests for several items.
func itemBatchPath(field string) string { return renames{{"ids", "item_ids"}}.path(field) }

func (s *itemService) UpsertItem(ctx context.Context, req *seguev1.UpsertItemRequest) (*seguev1.UpsertItemResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	item := d.item("item", req.GetItem())
	if err := d.err(); err != nil {
		return nil, err
	}
	rev, err := c.UpsertWith(ctx, []engine.Item{item}, engine.WriteOptions{Model: decodeModel(req.GetEmbeddingModel()), RequestID: req.GetRequestId()})
	if err != nil {
		return nil, renamed(err, itemPath)
	}
	return &seguev1.UpsertItemResponse{Revision: int64(rev)}, nil
}

func (s *itemService) BatchUpsertItems(ctx context.Context, req *seguev1.BatchUpsertItemsRequest) (*seguev1.BatchUpsertItemsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	items := d.items("items", req.GetItems())
	if err := d.err(); err != nil {
		return nil, err
	}
	rev, err := c.UpsertWith(ctx, items, engine.WriteOptions{Model: decodeModel(req.GetEmbeddingModel()), RequestID: req.GetRequestId()})
	if err != nil {
		return nil, err
	}
	return &seguev1.BatchUpsertItemsResponse{Revision: int64(rev)}, nil
}

// updatePath turns fields of the engine's updates into those of UpdateItemAttributesRequest.
func updatePath(field string) string {
	return renames{{"updates[0].id", "update.item_id"}, {"updates[0]", "update"}, {"updates", "update"}}.path(field)
}

// updateBatchPath does the same for BatchUpdateItemAttributesRequest.
func updateBatchPath(field string) string { return strings.Replace(field, "].id", "].item_id", 1) }

func (s *itemService) UpdateItemAttributes(ctx context.Context, req *seguev1.UpdateItemAttributesRequest) (*seguev1.UpdateItemAttributesResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	update := d.attributesUpdate("update", req.GetUpdate())
	if err := d.err(); err != nil {
		return nil, err
	}
	missing, rev, err := c.UpdateAttributesWith(ctx, []engine.AttributesUpdate{update}, engine.WriteOptions{Model: decodeModel(req.GetEmbeddingModel()), RequestID: req.GetRequestId()})
	if err != nil {
		return nil, renamed(err, updatePath)
	}
	if len(missing) > 0 {
		return nil, &engine.NotFoundError{Kind: "item", Name: update.ID}
	}
	return &seguev1.UpdateItemAttributesResponse{Revision: int64(rev)}, nil
}

func (s *itemService) BatchUpdateItemAttributes(ctx context.Context, req *seguev1.BatchUpdateItemAttributesRequest) (*seguev1.BatchUpdateItemAttributesResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	updates := d.attributesUpdates("updates", req.GetUpdates())
	if err := d.err(); err != nil {
		return nil, err
	}
	missing, rev, err := c.UpdateAttributesWith(ctx, updates, engine.WriteOptions{Model: decodeModel(req.GetEmbeddingModel()), RequestID: req.GetRequestId()})
	if err != nil {
		return nil, renamed(err, updateBatchPath)
	}
	return &seguev1.BatchUpdateItemAttributesResponse{Revision: int64(rev), MissingIds: missing}, nil
}

func (s *itemService) GetItem(ctx context.Context, req *seguev1.GetItemRequest) (*seguev1.GetItemResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	item, err := c.Get(ctx, req.GetItemId())
	if err != nil {
		return nil, renamed(err, itemPath)
	}
	return &seguev1.GetItemResponse{Item: encodeItem(item, req.GetIncludeVectors())}, nil
}

func (s *itemService) BatchGetItems(ctx context.Context, req *seguev1.BatchGetItemsRequest) (*seguev1.BatchGetItemsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	if req.GetIncludeVectors() {
		if err := s.roomForVectors(min(len(req.GetItemIds()), s.limits.MaxBatch), c.Config().Dim); err != nil {
			return nil, err
		}
	}
	found, missing, err := c.GetBatch(ctx, req.GetItemIds())
	if err != nil {
		return nil, renamed(err, itemBatchPath)
	}
	return &seguev1.BatchGetItemsResponse{Items: encodeItems(found, req.GetIncludeVectors()), MissingIds: missing}, nil
}

func (s *itemService) ListItems(ctx context.Context, req *seguev1.ListItemsRequest) (*seguev1.ListItemsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	scope := "items/" + c.Config().Name // an alias may mean another one by the next page
	after := d.pageToken(scope, req.GetPageToken(), s.limits.MaxIDBytes)
	limit := d.pageSize(req.GetPageSize())
	if err := d.err(); err != nil {
		return nil, err
	}
	items, more, err := c.List(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	return encodePage(items, more, req.GetIncludeVectors(), scope), nil
}

// encodePage encodes as many items as fit pageBytes, at least one, and the token of what comes after them.
func encodePage(items []engine.Item, more, withVectors bool, scope string) *seguev1.ListItemsResponse {
	m := &seguev1.ListItemsResponse{Items: make([]*seguev1.Item, 0, len(items))}
	size := 0
	for i, it := range items {
		e := encodeItem(it, withVectors)
		size += proto.Size(e)
		if i > 0 && size > pageBytes {
			more = true
			break
		}
		m.Items = append(m.Items, e)
	}
	if more && len(m.Items) > 0 {
		m.NextPageToken = encodePageToken(scope, m.Items[len(m.Items)-1].GetId())
	}
	return m
}

func (s *itemService) DeleteItem(ctx context.Context, req *seguev1.DeleteItemRequest) (*seguev1.DeleteItemResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	o := engine.WriteOptions{IfRevision: d.ifRevision("if_revision", req.IfRevision, 1), RequestID: req.GetRequestId()}
	if err := d.err(); err != nil {
		return nil, err
	}
	missing, rev, err := c.DeleteWith(ctx, []string{req.GetItemId()}, o)
	if err != nil {
		return nil, renamed(err, itemPath)
	}
	if len(missing) > 0 {
		return nil, &engine.NotFoundError{Kind: "item", Name: req.GetItemId()}
	}
	return &seguev1.DeleteItemResponse{Revision: int64(rev)}, nil
}

func (s *itemService) BatchDeleteItems(ctx context.Context, req *seguev1.BatchDeleteItemsRequest) (*seguev1.BatchDeleteItemsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	missing, rev, err := c.DeleteWith(ctx, req.GetItemIds(), engine.WriteOptions{RequestID: req.GetRequestId()})
	if err != nil {
		return nil, renamed(err, itemBatchPath)
	}
	return &seguev1.BatchDeleteItemsResponse{Revision: int64(rev), MissingIds: missing}, nil
}

func (b *backend) decoder(c *engine.Collection) *decoder {
	return &decoder{dim: c.Config().Dim, limits: b.limits}
}
