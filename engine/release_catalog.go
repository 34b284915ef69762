package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/segue-ann/segue/storage"
)

// EmbeddingModel names what made the vectors of a release. Vectors of different models or versions cannot be
// compared. The zero value is "not declared" and fits anything.
type EmbeddingModel struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// declared reports whether the model says anything.
func (m EmbeddingModel) declared() bool { return m != EmbeddingModel{} }

func (m EmbeddingModel) String() string { return m.Name + "@" + m.Version }

// ModelMismatchError says that vectors of one embedding model met a release of another one. Nothing was written.
type ModelMismatchError struct{ Want, Got EmbeddingModel }

func (e *ModelMismatchError) Error() string {
	return fmt.Sprintf("vectors of embedding model %v, the published release is of %v", e.Got, e.Want)
}

// fits returns a *ModelMismatchError where got is declared and another one than want.
func (m EmbeddingModel) fits(got EmbeddingModel) error {
	if got.declared() && got != m {
		return &ModelMismatchError{Want: m, Got: got}
	}
	return nil
}

// ReleaseState is where a release stands.
type ReleaseState string

// States of a release, in the order in which it passes through them.
const (
	// ReleaseImporting takes rows.
	ReleaseImporting ReleaseState = "IMPORTING"
	// ReleaseBuilding has all rows; its graph is being built.
	ReleaseBuilding ReleaseState = "BUILDING"
	// ReleaseReady can be published.
	ReleaseReady ReleaseState = "READY"
	// ReleasePublished serves. Exactly one release of a collection is published.
	ReleasePublished ReleaseState = "PUBLISHED"
	// ReleaseRetired served before, and can be published again.
	ReleaseRetired ReleaseState = "RETIRED"
	// ReleaseDropping is being removed from the disk.
	ReleaseDropping ReleaseState = "DROPPING"
	// ReleaseDropped is only a record of what was.
	ReleaseDropped ReleaseState = "DROPPED"
)

// whole says that the release has all its rows, and a graph.
func (s ReleaseState) whole() bool {
	return s == ReleaseReady || s == ReleasePublished || s == ReleaseRetired
}

// unfinished says that the release is being imported.
func (s ReleaseState) unfinished() bool { return s == ReleaseImporting || s == ReleaseBuilding }

// collectionRecord is the catalog's value of a collection: JSON, so that a person can read it. It is replaced as a
// whole in one synced batch: every change of a release's state is one such step.
type collectionRecord struct {
	Config     CollectionConfig `json:"config"`
	CreateTime time.Time        `json:"create_time"`
	// Published is the release that serves. Invariant: its state, and no other's, is PUBLISHED.
	Published uint32 `json:"published,omitempty"`
	// Releases ascend by ID; ids are never reused.
	Releases []releaseRecord `json:"releases,omitempty"`
}

// releaseRecord is what is kept of a release for as long as anybody may ask for its job.
type releaseRecord struct {
	ID    uint32         `json:"id"`
	State ReleaseState   `json:"state"`
	Job   string         `json:"job,omitempty"`
	Model EmbeddingModel `json:"model,omitzero"`
	// Base is the LSN of every imported row: writes beyond it are newer than the import.
	Base LSN `json:"base,omitempty"`
	// Follow lists the releases whose logs the release still has to follow, besides the published one; see
	// release_follow.go. Only an unfinished release has any.
	Follow []followed `json:"follow,omitempty"`
	// Graph is what the import brings beside its rows, if it does; it is replaced, never changed.
	Graph *graphRecord `json:"graph,omitempty"`
	// Cancelled says that the import was given up: its job may be started anew.
	Cancelled bool `json:"cancelled,omitempty"`
	// Previous is the release that was published before this one was.
	Previous    uint32    `json:"previous,omitempty"`
	Counts      counts    `json:"counts,omitzero"`
	CreateTime  time.Time `json:"create_time"`
	ReadyTime   time.Time `json:"ready_time,omitzero"`
	PublishTime time.Time `json:"publish_time,omitzero"`
}

// counts are the numbers of a finished import.
type counts struct {
	Accepted   int `json:"accepted,omitempty"`
	Rejected   int `json:"rejected,omitempty"`
	Duplicates int `json:"duplicates,omitempty"`
}

// followed is a log that a release has to follow up to an LSN.
type followed struct {
	Release uint32 `json:"release"`
	To      LSN    `json:"to"`
}

// releasesRemembered bounds how many dropped releases stay in the record.
const releasesRemembered = 64

func newCollectionRecord(cfg CollectionConfig, now time.Time) collectionRecord {
	return collectionRecord{Config: cfg, CreateTime: now, Published: firstRelease, Releases: []releaseRecord{
		{ID: firstRelease, State: ReleasePublished, Model: cfg.Model, CreateTime: now, ReadyTime: now, PublishTime: now},
	}}
}

func (r *collectionRecord) encode() ([]byte, error) { return json.Marshal(r) }

// decodeCollectionRecord reads a record; one of store format 1 has no releases and means the first.
func decodeCollectionRecord(b []byte) (collectionRecord, error) {
	var r collectionRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return r, err
	}
	if len(r.Releases) == 0 {
		first := newCollectionRecord(r.Config, r.CreateTime)
		r.Published, r.Releases = first.Published, first.Releases
	}
	if p := r.release(r.Published); p == nil || p.State != ReleasePublished {
		return r, fmt.Errorf("published release %d is not among the releases", r.Published)
	}
	return r, nil
}

func (r *collectionRecord) clone() collectionRecord {
	c := *r
	c.Releases = slices.Clone(r.Releases)
	for i := range c.Releases {
		c.Releases[i].Follow = slices.Clone(c.Releases[i].Follow)
	}
	return c
}

// release returns the record of a release, or nil.
func (r *collectionRecord) release(id uint32) *releaseRecord {
	for i := range r.Releases {
		if r.Releases[i].ID == id {
			return &r.Releases[i]
		}
	}
	return nil
}

// job returns the newest release of a job, or nil.
func (r *collectionRecord) job(id string) *releaseRecord {
	for i := len(r.Releases) - 1; i >= 0; i-- {
		if r.Releases[i].Job == id && id != "" {
			return &r.Releases[i]
		}
	}
	return nil
}

// forget removes the records of the oldest dropped releases beyond the number remembered. The newest id stays.
func (r *collectionRecord) forget() {
	dropped := 0
	for i := len(r.Releases) - 2; i >= 0; i-- {
		if r.Releases[i].State != ReleaseDropped {
			continue
		}
		if dropped++; dropped > releasesRemembered {
			r.Releases = slices.Delete(r.Releases, i, i+1)
		}
	}
}

// catalog returns a copy of the collection's record.
func (c *Collection) catalog() collectionRecord {
	c.recordMu.Lock()
	defer c.recordMu.Unlock()
	return c.record.clone()
}

// change changes the record durably. Where fn fails, or the store does, the record is as before.
func (c *Collection) change(fn func(*collectionRecord) error) error {
	c.recordMu.Lock()
	defer c.recordMu.Unlock()
	next := c.record.clone()
	if err := fn(&next); err != nil {
		return err
	}
	next.forget()
	b, err := next.encode()
	if err != nil {
		return fmt.Errorf("encode catalog: %w", err)
	}
	if err := c.engine.store.PutCollection(storage.CollectionRow{ID: c.id, Name: c.cfg.Name, Config: b}); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	c.record = next
	return nil
}

// changeRelease is change of one release's record.
func (c *Collection) changeRelease(id uint32, fn func(*releaseRecord) error) error {
	return c.change(func(r *collectionRecord) error {
		rel := r.release(id)
		if rel == nil {
			return &NotFoundError{Kind: "release", Name: fmt.Sprint(id)}
		}
		return fn(rel)
	})
}

// now is the time as records keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
