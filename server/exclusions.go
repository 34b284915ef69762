package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type exclusionService struct{ *backend }

// maxTTL bounds how long an entry can be asked to last.
const maxTTL = 100 * 365 * 24 * time.Hour

func (s *exclusionService) AddExclusions(ctx context.Context, req *seguev1.AddExclusionsRequest) (*seguev1.AddExclusionsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	expire := d.expiration(req)
	if err := d.err(); err != nil {
		return nil, err
	}
	if err := c.AddExclusions(ctx, req.GetExclusionSet(), req.GetItemIds(), expire); err != nil {
		return nil, err
	}
	return &seguev1.AddExclusionsResponse{}, nil
}

// expiration decodes when entries expire; the zero time where they never do.
func (d *decoder) expiration(req *seguev1.AddExclusionsRequest) time.Time {
	switch e := req.GetExpiration().(type) {
	case *seguev1.AddExclusionsRequest_ExpireTime:
		if err := e.ExpireTime.CheckValid(); err != nil {
			d.add(engine.ReasonOutOfRange, "expire_time", "must lie in the years 1 to 9999, with 0 to 999,999,999 nanoseconds")
			return time.Time{}
		}
		return e.ExpireTime.AsTime()
	case *seguev1.AddExclusionsRequest_Ttl:
		ttl := e.Ttl.AsDuration()
		if e.Ttl.CheckValid() != nil || ttl <= 0 || ttl > maxTTL {
			d.add(engine.ReasonOutOfRange, "ttl", "must be above 0 and at most 100 years, is %v", ttl)
			return time.Time{}
		}
		return time.Now().Add(max(ttl, time.Microsecond))
	}
	return time.Time{}
}

func (s *exclusionService) RemoveExclusions(ctx context.Context, req *seguev1.RemoveExclusionsRequest) (*seguev1.RemoveExclusionsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	if err := c.RemoveExclusions(ctx, req.GetExclusionSet(), req.GetItemIds()); err != nil {
		return nil, err
	}
	return &seguev1.RemoveExclusionsResponse{}, nil
}

func (s *exclusionService) GetExclusionSet(ctx context.Context, req *seguev1.GetExclusionSetRequest) (*seguev1.GetExclusionSetResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	scope := "exclusions/" + c.Config().Name + "/" + cut(req.GetExclusionSet(), s.limits.MaxIDBytes)
	after := d.pageToken(scope, req.GetPageToken(), s.limits.MaxIDBytes)
	limit := d.pageSize(req.GetPageSize())
	if err := d.err(); err != nil {
		return nil, err
	}
	entries, more, err := c.ExclusionSet(ctx, req.GetExclusionSet(), after, limit)
	if err != nil {
		return nil, err
	}
	m := &seguev1.GetExclusionSetResponse{Exclusions: make([]*seguev1.Exclusion, len(entries))}
	for i, e := range entries {
		m.Exclusions[i] = &seguev1.Exclusion{ItemId: e.ItemID}
		if !e.ExpireTime.IsZero() {
			m.Exclusions[i].ExpireTime = timestamppb.New(e.ExpireTime)
		}
	}
	if more {
		m.NextPageToken = encodePageToken(scope, entries[len(entries)-1].ItemID)
	}
	return m, nil
}

func (s *exclusionService) DeleteExclusionSet(ctx context.Context, req *seguev1.DeleteExclusionSetRequest) (*seguev1.DeleteExclusionSetResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	if err := c.DeleteExclusionSet(ctx, req.GetExclusionSet()); err != nil {
		return nil, err
	}
	return &seguev1.DeleteExclusionSetResponse{}, nil
}
