package engine

import (
	"fmt"
	"math"
)

func (c *Collection) validateSearch(req *SearchRequest) error {
	l := c.engine.opts.Limits
	var p problems
	p.query(&req.Query, c.cfg, l)
	p.inRange("k", req.K, 1, l.MaxK)
	if req.Ef != 0 {
		p.inRange("ef", req.Ef, 1, l.MaxEf)
	}
	if req.Exact && req.Ef != 0 {
		p.add(ReasonInvalidFormat, "ef", "must not be set with exact")
	}
	if t := req.TargetRecall; t != 0 {
		if !(t > 0 && t <= 1) {
			p.add(ReasonOutOfRange, "target_recall", "must be above 0 and at most 1, is %v", t)
		}
		if req.Exact || req.Ef != 0 {
			p.add(ReasonInvalidFormat, "target_recall", "must not be set with ef or exact")
		}
	}
	if !req.plain() || req.Candidates != 0 {
		c.validateRanking(&p, req)
	}
	if req.Filter != nil {
		p.filter("filter", req.Filter, c.cfg.filterSchema())
	}
	if !req.Exclusions.none() {
		p.exclusions("exclusions", &req.Exclusions, c.cfg.filterSchema(), l)
	}
	if written := LSN(c.published.Load().appended.Load()); req.MinRevision > written {
		p.add(ReasonOutOfRange, "min_revision", "must be a revision of this collection, at most %d, is %d", written, req.MinRevision)
	}
	return p.err()
}

// query checks that exactly one form is set, and that form. Its paths are whole: a path that is put together is an allocation,
// needed or not.
func (p *problems) query(q *Query, cfg *CollectionConfig, l Limits) {
	forms := 0
	if q.Vector != nil {
		forms++
		p.vector("query.vector", q.Vector, cfg)
	}
	if q.ItemID != "" {
		forms++
		p.id("query.item_id", q.ItemID, l)
	}
	if q.UserID != "" {
		forms++
		p.id("query.user_id", q.UserID, l)
	}
	if q.Examples != nil {
		forms++
		p.examples("query.examples", q.Examples, cfg, l)
	}
	if q.Interests != nil {
		forms++
		p.interests("query.interests", q.Interests, cfg, l)
	}
	if forms != 1 {
		p.add(ReasonRequired, "query", "must have exactly one of vector, item_id, user_id, examples and interests, has %d", forms)
	}
}

func (p *problems) examples(field string, e *Examples, cfg *CollectionConfig, l Limits) {
	if len(e.Positive) == 0 {
		p.add(ReasonRequired, field+".positive", "must have at least one example")
	}
	if e.Strategy > Each {
		p.add(ReasonOutOfRange, field+".strategy", "must be AVERAGE, BEST_SCORE, SUM or EACH")
	}
	sums := [2]float64{}
	for side, list := range [2][]Example{e.Positive, e.Negative} {
		name := field + [2]string{".positive", ".negative"}[side]
		if len(list) > l.MaxExamples {
			p.add(ReasonOutOfRange, name, "must be at most %d, are %d", l.MaxExamples, len(list))
			continue
		}
		for i := range list {
			x, at := &list[i], fmt.Sprintf("%s[%d]", name, i)
			switch {
			case x.Vector != nil && x.ItemID != "":
				p.add(ReasonInvalidFormat, at, "must be an item or a vector, not both")
			case x.Vector != nil:
				p.vector(at+".vector", x.Vector, cfg)
			default:
				p.id(at+".item_id", x.ItemID, l)
			}
			p.weight(at+".weight", x.Weight)
			if e.Strategy == BestScore && x.Weight != 0 {
				p.add(ReasonInvalidFormat, at+".weight", "must not be set with BEST_SCORE: the nearest example counts, whatever its weight")
			}
			sums[side] += float64(weightOf(x.Weight))
		}
	}
	if cfg.Metric == L2 && (e.Strategy <= Average || e.Strategy == Sum) && sums[1] >= sums[0] && sums[0] > 0 {
		p.add(ReasonOutOfRange, field+".negative", "must weigh less than the positive examples in an L2 collection, weigh %g against %g", sums[1], sums[0])
	}
}

// validateRanking checks what only searches beyond the plain one have.
func (c *Collection) validateRanking(p *problems, req *SearchRequest) {
	l := c.engine.opts.Limits
	if req.HasMinScore && !finite(float64(req.MinScore)) {
		p.add(ReasonNotFinite, "min_score", "must be finite, is %v", req.MinScore)
	}
	if len(req.Crowding) > l.MaxCrowding {
		p.add(ReasonOutOfRange, "diversity.crowding_limits", "must be at most %d, are %d", l.MaxCrowding, len(req.Crowding))
		return
	}
	for i, limit := range req.Crowding {
		at := fmt.Sprintf("diversity.crowding_limits[%d]", i)
		c.validateAttribute(p, at+".attribute", limit.Attribute)
		if limit.Most < 1 {
			p.add(ReasonOutOfRange, at+".max_per_value", "must be at least 1, is %d", limit.Most)
		}
		for _, other := range req.Crowding[:i] {
			if other.Attribute == limit.Attribute {
				p.add(ReasonDuplicateAttribute, at+".attribute", "has two limits")
			}
		}
	}
	if req.Dedupe != "" {
		c.validateAttribute(p, "diversity.dedupe_attribute", req.Dedupe)
	}
	if !(req.Diversity >= 0 && req.Diversity <= 1) {
		p.add(ReasonOutOfRange, "diversity.mmr", "must be between 0 and 1, is %v", req.Diversity)
	}
	if len(req.Boosts) > l.MaxBoosts {
		p.add(ReasonOutOfRange, "boosts", "must be at most %d, are %d", l.MaxBoosts, len(req.Boosts))
		return
	}
	for i := range req.Boosts {
		c.validateBoost(p, fmt.Sprintf("boosts[%d]", i), &req.Boosts[i])
	}
	if t := req.Temperature; !(t >= 0) || math.IsInf(t, 0) {
		p.add(ReasonOutOfRange, "exploration.temperature", "must be above 0 and finite, is %v", t)
	}
	most := l.MaxCandidates
	if req.Diversity > 0 {
		most = l.MaxDiverse
		if req.K > most/2 {
			p.add(ReasonOutOfRange, "k", "must be at most %d with mmr, is %d", most/2, req.K)
		}
	}
	if req.Candidates != 0 {
		p.inRange("candidate_count", req.Candidates, min(max(req.K, 1), most), most)
	}
	if req.PageSize < 0 {
		p.add(ReasonOutOfRange, "page_size", "must not be negative, is %d", req.PageSize)
	}
}

func (c *Collection) validateBoost(p *problems, at string, b *Boost) {
	c.validateAttribute(p, at+".attribute", b.Attribute)
	if b.Transform < Linear || b.Transform > TimeDecay {
		p.add(ReasonRequired, at+".transform", "must be LINEAR, LOG or TIME_DECAY")
	}
	if b.Weight == 0 || !finite(b.Weight) {
		p.add(ReasonOutOfRange, at+".weight", "must be finite and not 0, is %v", b.Weight)
	}
	decay := b.Transform == TimeDecay
	if decay && b.HalfLife <= 0 {
		p.add(ReasonOutOfRange, at+".half_life", "must be positive, is %v", b.HalfLife)
	}
	if !decay && b.HalfLife != 0 {
		p.add(ReasonInvalidFormat, at+".half_life", "must be set with TIME_DECAY only")
	}
	want, declared := c.schema[b.Attribute]
	switch {
	case !declared:
	case decay && want != Timestamp:
		p.add(ReasonAttributeType, at+".attribute", "must be TIMESTAMP for TIME_DECAY, is %v", want)
	case !decay && want != Int && want != Float && want != Bool:
		p.add(ReasonAttributeType, at+".attribute", "must be INT, FLOAT or BOOL for this transform, is %v", want)
	}
}

// validateAttribute checks the name of an attribute that a query uses.
func (c *Collection) validateAttribute(p *problems, field, name string) {
	before := len(p.list)
	p.name(field, name, c.engine.opts.Limits)
	if _, ok := c.schema[name]; c.schema != nil && !ok && len(p.list) == before {
		p.add(ReasonUnknownAttribute, field, "%q is not declared in the collection's schema", clip(name))
	}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
