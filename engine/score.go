package engine

import (
	"context"
	"fmt"
)

// ScoreRequest names items to score for a query.
type ScoreRequest struct {
	Query Query
	// ItemIDs are 1..Limits.MaxBatch ids.
	ItemIDs []string
	// MinRevision, WithAttributes and AttributeNames are those of SearchRequest.
	MinRevision    LSN
	WithAttributes bool
	AttributeNames []string
}

// ScoreResult holds the items that exist, in the order asked for.
type ScoreResult struct {
	Items []Neighbor
	// Unresolved are the ids of examples and of items that do not exist, each once.
	Unresolved []string
	// Revision is a lower bound of what was seen.
	Revision LSN
}

// ScoreItems scores items without a search: seeds and items near to negatives like all others. Errors are those of Search.
// Cost: one distance for every item and query vector.
func (c *Collection) ScoreItems(ctx context.Context, req ScoreRequest) (ScoreResult, error) {
	search := SearchRequest{Query: req.Query, K: 1, MinRevision: req.MinRevision, WithAttributes: req.WithAttributes, AttributeNames: req.AttributeNames}
	if err := c.validateIDs(req.ItemIDs); err != nil {
		return ScoreResult{}, err
	}
	if err := c.validateSearch(&search); err != nil {
		return ScoreResult{}, err
	}
	r, err := c.acquireAt(ctx, req.MinRevision)
	if err != nil {
		return ScoreResult{}, err
	}
	defer r.leave()
	result := ScoreResult{Revision: r.revision()}
	s := r.index.Acquire()
	defer s.Release()
	a, err := r.resolve(ctx, s, &search)
	if err != nil {
		return ScoreResult{}, err
	}
	q := newRanked(r, s, &a, &search, &allowance{}, new(SearchInfo))
	result.Unresolved = a.unresolved
	var (
		ps    []pooled
		slots []uint32
	)
	missing := map[string]bool{}
	for _, id := range a.unresolved {
		missing[id] = true
	}
	for _, id := range req.ItemIDs {
		slot, ok := r.find(id)
		if ok {
			ps, slots = append(ps, q.candidate(slot)), append(slots, slot)
		} else if !missing[id] {
			missing[id] = true
			result.Unresolved = append(result.Unresolved, id)
		}
	}
	if err := q.score(ctx, ps, slots); err != nil {
		return ScoreResult{}, err
	}
	for i := range ps {
		n, err := q.neighbor(&ps[i])
		if err != nil {
			return ScoreResult{}, err
		}
		result.Items = append(result.Items, n)
	}
	return result, nil
}

// neighbor turns a candidate into a neighbor, without explanation.
func (q *ranked) neighbor(p *pooled) (Neighbor, error) {
	id, known := q.id(p), q.look(p)
	n := Neighbor{
		ItemID: id, Distance: p.distance, Score: float32(p.score), Match: q.probes[p.group].match, revision: known.entry.lsn(),
	}
	if q.req.WithAttributes {
		var err error
		if n.Attributes, err = decodeAttributes(known.entry.attributes(), q.req.AttributeNames); err != nil {
			return n, fmt.Errorf("item %q: %w", id, err)
		}
	}
	return n, nil
}
