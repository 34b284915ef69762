package server

import (
	"context"
	"sort"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type collectionService struct{ *backend }

// configPath turns the engine's fields of a configuration into those of CreateCollectionRequest.
func configPath(field string) string {
	rs := renames{
		{"dim", "dimension"}, {"m", "index_config.m"}, {"ef_construction", "index_config.ef_construction"},
		{"vector_storage", "index_config.vector_storage"}, {"vector_precision", "index_config.vector_precision"},
	}
	return "collection." + rs.path(field)
}

func (s *collectionService) CreateCollection(ctx context.Context, req *seguev1.CreateCollectionRequest) (*seguev1.CreateCollectionResponse, error) {
	d := &decoder{limits: s.limits}
	cfg := d.config("collection", req.GetCollection())
	if err := d.err(); err != nil {
		return nil, err
	}
	c, err := s.engine.CreateCollection(ctx, cfg)
	if err != nil {
		return nil, renamed(err, configPath)
	}
	return &seguev1.CreateCollectionResponse{Collection: encodeCollection(c)}, nil
}

func (s *collectionService) GetCollection(_ context.Context, req *seguev1.GetCollectionRequest) (*seguev1.GetCollectionResponse, error) {
	c, err := s.collection("name", req.GetName())
	if err != nil {
		return nil, err
	}
	return &seguev1.GetCollectionResponse{Collection: encodeCollection(c)}, nil
}

func (s *collectionService) ListCollections(_ context.Context, req *seguev1.ListCollectionsRequest) (*seguev1.ListCollectionsResponse, error) {
	const scope = "collections"
	d := &decoder{limits: s.limits}
	after := d.pageToken(scope, req.GetPageToken(), s.limits.MaxNameBytes)
	limit := d.pageSize(req.GetPageSize())
	if err := d.err(); err != nil {
		return nil, err
	}
	all := s.engine.Collections() // by ascending name
	rest := all[sort.Search(len(all), func(i int) bool { return all[i].Config().Name > after }):]
	m := &seguev1.ListCollectionsResponse{}
	for i, c := range rest {
		if i == limit {
			m.NextPageToken = encodePageToken(scope, rest[i-1].Config().Name)
			break
		}
		m.Collections = append(m.Collections, encodeCollection(c))
	}
	return m, nil
}

func (s *collectionService) DeleteCollection(ctx context.Context, req *seguev1.DeleteCollectionRequest) (*seguev1.DeleteCollectionResponse, error) {
	if req.GetName() == "" {
		return nil, invalid(engine.ReasonRequired, "name", "must not be empty")
	}
	if err := s.engine.DeleteCollection(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &seguev1.DeleteCollectionResponse{}, nil
}

func (s *collectionService) SetCollectionAlias(ctx context.Context, req *seguev1.SetCollectionAliasRequest) (*seguev1.SetCollectionAliasResponse, error) {
	if _, err := s.collection("collection", req.GetCollection()); err != nil {
		return nil, err
	}
	a, err := s.engine.SetAlias(ctx, req.GetAlias(), req.GetCollection())
	if err != nil {
		return nil, err
	}
	return &seguev1.SetCollectionAliasResponse{Alias: encodeAlias(a)}, nil
}

func (s *collectionService) DeleteCollectionAlias(ctx context.Context, req *seguev1.DeleteCollectionAliasRequest) (*seguev1.DeleteCollectionAliasResponse, error) {
	if req.GetAlias() == "" {
		return nil, invalid(engine.ReasonRequired, "alias", "must not be empty")
	}
	if err := s.engine.DeleteAlias(ctx, req.GetAlias()); err != nil {
		return nil, err
	}
	return &seguev1.DeleteCollectionAliasResponse{}, nil
}

func (s *collectionService) ListCollectionAliases(_ context.Context, req *seguev1.ListCollectionAliasesRequest) (*seguev1.ListCollectionAliasesResponse, error) {
	const scope = "aliases"
	d := &decoder{limits: s.limits}
	after := d.pageToken(scope, req.GetPageToken(), s.limits.MaxNameBytes)
	limit := d.pageSize(req.GetPageSize())
	if err := d.err(); err != nil {
		return nil, err
	}
	all := s.engine.Aliases() // by ascending name
	rest := all[sort.Search(len(all), func(i int) bool { return all[i].Name > after }):]
	m := &seguev1.ListCollectionAliasesResponse{}
	for i, a := range rest {
		if i == limit {
			m.NextPageToken = encodePageToken(scope, rest[i-1].Name)
			break
		}
		m.Aliases = append(m.Aliases, encodeAlias(a))
	}
	return m, nil
}

func encodeAlias(a engine.Alias) *seguev1.CollectionAlias {
	return &seguev1.CollectionAlias{Alias: a.Name, Collection: a.Collection}
}
