package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// neighborTable draws neighbors with their attributes: title and artists first, then the others by name,
// or those of names in its order. An attribute that no neighbor has gets no column.
func neighborTable(neighbors []*seguev1.Neighbor, names []string) *table {
	if len(names) == 0 {
		names = attributeNames(neighbors)
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.ContainsFunc(neighbors, func(n *seguev1.Neighbor) bool { return n.GetAttributes()[name] != nil })
	})
	t := &table{columns: []column{{title: "RANK", right: true}, {title: "SCORE", right: true}, {title: "ID", most: 40}}}
	for _, name := range names {
		t.columns = append(t.columns, column{title: strings.ToUpper(name), most: 40})
	}
	for i, n := range neighbors {
		cells := []string{strconv.Itoa(i + 1), strconv.FormatFloat(float64(n.GetScore()), 'f', 4, 32), n.GetItemId()}
		for _, name := range names {
			cells = append(cells, attributeText(n.GetAttributes()[name]))
		}
		t.add(cells...)
	}
	return t
}

// writeNeighbors writes an answer for people: the table, and below it what a reader of the table must know.
func writeNeighbors(w io.Writer, answer *seguev1.NearestNeighborsResponse, request *seguev1.NearestNeighborsRequest) error {
	var names []string
	for _, path := range request.GetReadMask().GetPaths() {
		if name, ok := strings.CutPrefix(path, "attributes."); ok {
			names = append(names, name)
		}
	}
	t := neighborTable(answer.GetNeighbors(), names)
	if request.GetExplain() {
		t.columns = append(t.columns, column{title: "WHY"})
		for i, n := range answer.GetNeighbors() {
			t.rows[i] = append(t.rows[i], why(n))
		}
	}
	if err := t.write(w); err != nil {
		return err
	}
	info := answer.GetSearchInfo()
	if info.MatchingCount != nil {
		fmt.Fprintf(w, "%s items match\n", thousands(info.GetMatchingCount()))
	}
	if text := shortfallText(info.GetShortfallReason()); text != "" {
		fmt.Fprintf(w, "%d of %d: %s\n", len(answer.GetNeighbors()), request.GetNeighborCount(), text)
	}
	if seed := info.GetSeed(); seed != 0 {
		fmt.Fprintf(w, "seed %d\n", seed)
	}
	for _, id := range answer.GetUnresolvedIds() {
		fmt.Fprintf(w, "no item %s\n", printable(id))
	}
	return nil
}

// why says in short what a neighbor's place came from.
func why(n *seguev1.Neighbor) string {
	e := n.GetExplanation()
	var parts []string
	if n.MatchedExample != nil {
		parts = append(parts, fmt.Sprintf("example %d", n.GetMatchedExample()+1))
	}
	for _, b := range e.GetBoosts() {
		parts = append(parts, fmt.Sprintf("%s %+.3f", b.GetAttribute(), b.GetContribution()))
	}
	if x := e.GetExploration(); x != 0 {
		parts = append(parts, fmt.Sprintf("chance %+.3f", x))
	}
	if x := e.GetNearness(); x != 0 {
		parts = append(parts, fmt.Sprintf("nearness %.2f", x))
	}
	return strings.Join(append(parts, fmt.Sprintf("candidate %d", e.GetCandidateRank())), ", ")
}

// shortfallText is empty where nothing was left out: that there are no other items goes without saying.
func shortfallText(r seguev1.ShortfallReason) string {
	switch r {
	case seguev1.ShortfallReason_SHORTFALL_REASON_DEADLINE:
		return "the deadline ended the search"
	case seguev1.ShortfallReason_SHORTFALL_REASON_CANDIDATE_BUDGET:
		return "the bound on candidates ended the search"
	case seguev1.ShortfallReason_SHORTFALL_REASON_CROWDING:
		return "others exceed a limit"
	case seguev1.ShortfallReason_SHORTFALL_REASON_NEGATIVE_EXAMPLES:
		return "others are too near to what is not wanted"
	case seguev1.ShortfallReason_SHORTFALL_REASON_MIN_SCORE:
		return "others score lower"
	}
	return ""
}

// attributeNames lists the attributes that occur: title, artists, then by name.
func attributeNames(neighbors []*seguev1.Neighbor) []string {
	seen := map[string]bool{}
	var names []string
	for _, n := range neighbors {
		for name := range n.GetAttributes() {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	first := func(name string) int {
		if i := slices.Index([]string{"title", "artists"}, name); i >= 0 {
			return i
		}
		return 2
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := first(a) - first(b); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return names
}

// attributeText is a value for people; empty where there is none.
func attributeText(v *seguev1.AttributeValue) string {
	switch k := v.GetKind().(type) {
	case *seguev1.AttributeValue_Keywords:
		return strings.Join(k.Keywords.GetValues(), ", ")
	case *seguev1.AttributeValue_BoolValue:
		return strconv.FormatBool(k.BoolValue)
	case *seguev1.AttributeValue_IntValue:
		return strconv.FormatInt(k.IntValue, 10)
	case *seguev1.AttributeValue_FloatValue:
		return strconv.FormatFloat(k.FloatValue, 'g', -1, 64)
	case *seguev1.AttributeValue_TimestampValue:
		t := k.TimestampValue.AsTime()
		if t.Equal(t.Truncate(24 * time.Hour)) {
			return t.Format(time.DateOnly)
		}
		return t.Format(time.RFC3339Nano)
	case *seguev1.AttributeValue_Markets:
		return strings.Join(k.Markets.GetCodes(), " ")
	}
	return ""
}

// attributeJSON is a value for programs: a keyword is always a list, whatever its length, and a timestamp
// always RFC 3339, so that a field has one type.
func attributeJSON(v *seguev1.AttributeValue) any {
	switch k := v.GetKind().(type) {
	case *seguev1.AttributeValue_Keywords:
		return k.Keywords.GetValues()
	case *seguev1.AttributeValue_BoolValue:
		return k.BoolValue
	case *seguev1.AttributeValue_IntValue:
		return k.IntValue
	case *seguev1.AttributeValue_FloatValue:
		return k.FloatValue
	case *seguev1.AttributeValue_TimestampValue:
		return k.TimestampValue.AsTime()
	case *seguev1.AttributeValue_Markets:
		return append([]string{}, k.Markets.GetCodes()...) // never null
	}
	return nil
}

// neighborsJSON is an answer as -o json writes it.
type neighborsJSON struct {
	Neighbors []neighborJSON `json:"neighbors"`
	Info      searchInfoJSON `json:"search_info"`
	// Unresolved are ids of examples that do not exist.
	Unresolved []string `json:"unresolved_ids,omitempty"`
}

type neighborJSON struct {
	Rank       int            `json:"rank"`
	ItemID     string         `json:"item_id"`
	Score      float32        `json:"score"`
	Distance   float32        `json:"distance"`
	Attributes map[string]any `json:"attributes,omitempty"`
	// Example is the position, from 0, of the example or interest that brought the neighbor.
	Example     *int32           `json:"matched_example,omitempty"`
	Explanation *explanationJSON `json:"explanation,omitempty"`
}

type explanationJSON struct {
	RankValue     float64     `json:"rank_value"`
	Boosts        []boostJSON `json:"boosts,omitempty"`
	Exploration   float64     `json:"exploration,omitempty"`
	Nearness      float64     `json:"nearness,omitempty"`
	Objective     float64     `json:"objective,omitempty"`
	CandidateRank int32       `json:"candidate_rank"`
}

type boostJSON struct {
	Attribute    string  `json:"attribute"`
	Contribution float64 `json:"contribution"`
}

func explanationJSONOf(e *seguev1.Explanation) *explanationJSON {
	if e == nil {
		return nil
	}
	j := &explanationJSON{
		RankValue: e.GetRankValue(), Exploration: e.GetExploration(), Nearness: e.GetNearness(), Objective: e.GetObjective(),
		CandidateRank: e.GetCandidateRank(),
	}
	for _, b := range e.GetBoosts() {
		j.Boosts = append(j.Boosts, boostJSON{b.GetAttribute(), b.GetContribution()})
	}
	return j
}

// searchInfoJSON has the fields and names of seguev1.SearchInfo.
type searchInfoJSON struct {
	Revision      int64    `json:"revision"`
	Plan          string   `json:"plan"`
	Completeness  string   `json:"completeness"`
	EfUsed        int32    `json:"ef_used"`
	Expected      *float64 `json:"expected_recall,omitempty"`
	DistanceCount int64    `json:"distance_count"`
	HopCount      int64    `json:"hop_count"`
	Shortfall     string   `json:"shortfall_reason,omitempty"`
	Seed          uint64   `json:"seed,omitempty"`
	Candidates    int32    `json:"candidate_count,omitempty"`
	Matching      *int64   `json:"matching_count,omitempty"`
}

func neighborsJSONOf(r *seguev1.NearestNeighborsResponse) neighborsJSON {
	info := r.GetSearchInfo()
	j := neighborsJSON{
		Neighbors: make([]neighborJSON, 0, len(r.GetNeighbors())),
		Info: searchInfoJSON{
			Revision:      info.GetRevision(),
			Plan:          strings.TrimPrefix(info.GetPlan().String(), "PLAN_"),
			Completeness:  strings.TrimPrefix(info.GetCompleteness().String(), "COMPLETENESS_"),
			EfUsed:        info.GetEfUsed(),
			DistanceCount: info.GetDistanceCount(),
			HopCount:      info.GetHopCount(),
			Seed:          info.GetSeed(),
			Candidates:    info.GetCandidateCount(),
		},
		Unresolved: r.GetUnresolvedIds(),
	}
	if info != nil {
		j.Info.Matching, j.Info.Expected = info.MatchingCount, info.ExpectedRecall
	}
	if reason := info.GetShortfallReason(); reason != 0 {
		j.Info.Shortfall = strings.TrimPrefix(reason.String(), "SHORTFALL_REASON_")
	}
	for i, n := range r.GetNeighbors() {
		one := neighborJSON{Rank: i + 1, ItemID: n.GetItemId(), Score: n.GetScore(), Distance: n.GetDistance(),
			Example: n.MatchedExample, Explanation: explanationJSONOf(n.GetExplanation())}
		for name, v := range n.GetAttributes() {
			if one.Attributes == nil {
				one.Attributes = map[string]any{}
			}
			one.Attributes[name] = attributeJSON(v)
		}
		j.Neighbors = append(j.Neighbors, one)
	}
	return j
}
