package server

import (
	"context"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type profileService struct{ *backend }

// profilePath turns the engine's fields of one profile into those of UpsertProfileRequest.
func profilePath(field string) string {
	return renames{{"profiles[0]", "profile"}, {"profiles", "profile"}}.path(field)
}

func (s *profileService) UpsertProfile(ctx context.Context, req *seguev1.UpsertProfileRequest) (*seguev1.UpsertProfileResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	profile := d.profile("profile", req.GetProfile())
	if err := d.err(); err != nil {
		return nil, err
	}
	rev, err := c.UpsertProfilesWith(ctx, []engine.Profile{profile}, engine.WriteOptions{Model: decodeModel(req.GetEmbeddingModel()), RequestID: req.GetRequestId()})
	if err != nil {
		return nil, renamed(err, profilePath)
	}
	return &seguev1.UpsertProfileResponse{Revision: int64(rev)}, nil
}

func (s *profileService) BatchUpsertProfiles(ctx context.Context, req *seguev1.BatchUpsertProfilesRequest) (*seguev1.BatchUpsertProfilesResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	profiles := d.profiles("profiles", req.GetProfiles())
	if err := d.err(); err != nil {
		return nil, err
	}
	rev, err := c.UpsertProfilesWith(ctx, profiles, engine.WriteOptions{Model: decodeModel(req.GetEmbeddingModel()), RequestID: req.GetRequestId()})
	if err != nil {
		return nil, err
	}
	return &seguev1.BatchUpsertProfilesResponse{Revision: int64(rev)}, nil
}

func (s *profileService) GetProfile(ctx context.Context, req *seguev1.GetProfileRequest) (*seguev1.GetProfileResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	profile, err := c.Profile(ctx, req.GetUserId())
	if err != nil {
		return nil, err
	}
	return &seguev1.GetProfileResponse{Profile: encodeProfile(profile)}, nil
}

func (s *profileService) DeleteProfile(ctx context.Context, req *seguev1.DeleteProfileRequest) (*seguev1.DeleteProfileResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	o := engine.WriteOptions{IfRevision: d.ifRevision("if_revision", req.IfRevision, 1), RequestID: req.GetRequestId()}
	if err := d.err(); err != nil {
		return nil, err
	}
	rev, err := c.DeleteProfileWith(ctx, req.GetUserId(), o)
	if err != nil {
		return nil, err
	}
	return &seguev1.DeleteProfileResponse{Revision: int64(rev)}, nil
}
