package server

import (
	"fmt"
	"math"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// interests decodes the interests of a profile; more than the limit are refused unseen. The result is not nil.
func (d *decoder) interests(field string, ms []*seguev1.Interest) []engine.Interest {
	switch {
	case len(ms) == 0:
		d.add(engine.ReasonRequired, field, "must have at least one interest")
	case len(ms) > d.limits.MaxInterests:
		d.add(engine.ReasonOutOfRange, field, "must be at most %d, are %d", d.limits.MaxInterests, len(ms))
		return []engine.Interest{}
	}
	out := make([]engine.Interest, len(ms))
	for i, m := range ms {
		out[i] = engine.Interest{Vector: d.vector(fmt.Sprintf("%s[%d].vector", field, i), m.GetVector()), Weight: m.GetWeight()}
	}
	return out
}

func encodeInterests(is []engine.Interest) []*seguev1.Interest {
	out := make([]*seguev1.Interest, len(is))
	for i := range is {
		out[i] = &seguev1.Interest{Vector: encodeVector(is[i].Vector)}
		if is[i].Weight != 1 {
			out[i].Weight = is[i].Weight
		}
	}
	return out
}

func (d *decoder) examples(field string, m *seguev1.Examples) *engine.Examples {
	return &engine.Examples{
		Positive: d.exampleList(field+".positive", m.GetPositive()),
		Negative: d.exampleList(field+".negative", m.GetNegative()),
		Strategy: d.strategy(field+".strategy", m.GetStrategy()),
	}
}

func (d *decoder) exampleList(field string, ms []*seguev1.Example) []engine.Example {
	if len(ms) > d.limits.MaxExamples {
		d.add(engine.ReasonOutOfRange, field, "must be at most %d, are %d", d.limits.MaxExamples, len(ms))
		return nil
	}
	out := make([]engine.Example, len(ms))
	for i, m := range ms {
		out[i].Weight = m.GetWeight()
		at := fmt.Sprintf("%s[%d]", field, i)
		switch x := m.GetExample().(type) {
		case *seguev1.Example_ItemId:
			if out[i].ItemID = x.ItemId; x.ItemId == "" {
				d.add(engine.ReasonRequired, at+".item_id", "must not be empty")
			}
		case *seguev1.Example_Vector:
			out[i].Vector = d.vector(at+".vector", x.Vector)
		default:
			d.add(engine.ReasonRequired, at, "must be set, in one of the forms item_id and vector")
		}
	}
	return out
}

func (d *decoder) strategy(field string, s seguev1.ExampleStrategy) engine.Strategy {
	switch s {
	case seguev1.ExampleStrategy_EXAMPLE_STRATEGY_UNSPECIFIED, seguev1.ExampleStrategy_EXAMPLE_STRATEGY_AVERAGE:
		return engine.Average
	case seguev1.ExampleStrategy_EXAMPLE_STRATEGY_BEST_SCORE:
		return engine.BestScore
	case seguev1.ExampleStrategy_EXAMPLE_STRATEGY_SUM:
		return engine.Sum
	case seguev1.ExampleStrategy_EXAMPLE_STRATEGY_EACH:
		return engine.Each
	}
	d.add(engine.ReasonOutOfRange, field, "must be AVERAGE, BEST_SCORE, SUM or EACH, is number %d", int32(s))
	return 0
}

// ranking decodes what is beyond the plain search. What values may be is the engine's to say, but for what says by its presence
// that it is wanted.
func (d *decoder) ranking(req *seguev1.NearestNeighborsRequest, search *engine.SearchRequest) {
	if m := req.GetDiversity(); m != nil {
		if n := len(m.GetCrowdingLimits()); n > d.limits.MaxCrowding {
			d.add(engine.ReasonOutOfRange, "diversity.crowding_limits", "must be at most %d, are %d", d.limits.MaxCrowding, n)
			return
		}
		for _, l := range m.GetCrowdingLimits() {
			search.Crowding = append(search.Crowding, engine.CrowdingLimit{Attribute: l.GetAttribute(), Most: int(l.GetMaxPerValue())})
		}
		search.Dedupe, search.Diversity = m.GetDedupeAttribute(), m.GetMmr()
	}
	if n := len(req.GetBoosts()); n > d.limits.MaxBoosts {
		d.add(engine.ReasonOutOfRange, "boosts", "must be at most %d, are %d", d.limits.MaxBoosts, n)
		return
	}
	for i, b := range req.GetBoosts() {
		search.Boosts = append(search.Boosts, d.boost(fmt.Sprintf("boosts[%d]", i), b))
	}
	if m := req.GetExploration(); m != nil {
		search.Temperature, search.Seed = m.GetTemperature(), m.GetSeed()
		if t := m.GetTemperature(); !(t > 0) || math.IsInf(t, 0) {
			d.add(engine.ReasonOutOfRange, "exploration.temperature", "must be above 0 and finite, is %v", t)
		}
	}
}

func (d *decoder) boost(field string, m *seguev1.ScoreBoost) engine.Boost {
	b := engine.Boost{Attribute: m.GetAttribute(), Weight: m.GetWeight()}
	switch m.GetTransform() {
	case seguev1.BoostTransform_BOOST_TRANSFORM_LINEAR:
		b.Transform = engine.Linear
	case seguev1.BoostTransform_BOOST_TRANSFORM_LOG:
		b.Transform = engine.Log
	case seguev1.BoostTransform_BOOST_TRANSFORM_TIME_DECAY:
		b.Transform = engine.TimeDecay
	}
	if h := m.GetHalfLife(); h != nil {
		if err := h.CheckValid(); err != nil || h.AsDuration() <= 0 {
			d.add(engine.ReasonOutOfRange, field+".half_life", "must be positive and at most 292 years")
		}
		b.HalfLife = h.AsDuration()
	}
	if t := m.GetReferenceTime(); t != nil {
		if err := t.CheckValid(); err != nil {
			d.add(engine.ReasonOutOfRange, field+".reference_time", "must lie in the years 1 to 9999, with 0 to 999,999,999 nanoseconds")
		}
		if b.Transform != engine.TimeDecay {
			d.add(engine.ReasonInvalidFormat, field+".reference_time", "must be set with TIME_DECAY only")
		}
		b.Reference = t.AsTime()
	}
	return b
}

func encodeExplanation(e *engine.Explanation) *seguev1.Explanation {
	if e == nil {
		return nil
	}
	m := &seguev1.Explanation{
		RankValue: e.RankValue, Exploration: e.Exploration, Nearness: e.Nearness, Objective: e.Objective, CandidateRank: int32(e.CandidateRank),
	}
	for _, b := range e.Boosts {
		m.Boosts = append(m.Boosts, &seguev1.BoostContribution{Attribute: b.Attribute, Contribution: b.Contribution})
	}
	return m
}
