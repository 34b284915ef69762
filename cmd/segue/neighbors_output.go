package main

import (
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
}

type neighborJSON struct {
	Rank       int            `json:"rank"`
	ItemID     string         `json:"item_id"`
	Score      float32        `json:"score"`
	Distance   float32        `json:"distance"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// searchInfoJSON has the fields and names of seguev1.SearchInfo.
type searchInfoJSON struct {
	Revision      int64  `json:"revision"`
	Plan          string `json:"plan"`
	Completeness  string `json:"completeness"`
	EfUsed        int32  `json:"ef_used"`
	DistanceCount int64  `json:"distance_count"`
	HopCount      int64  `json:"hop_count"`
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
		},
	}
	for i, n := range r.GetNeighbors() {
		one := neighborJSON{Rank: i + 1, ItemID: n.GetItemId(), Score: n.GetScore(), Distance: n.GetDistance()}
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
