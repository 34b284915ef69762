package querylog

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Redaction is something by which a query may tell of one listener.
type Redaction string

const (
	// RedactUsers is who asks: queries by user_id are left out, and names of exclusion sets, which are named after listeners as a rule, are
	// taken out of the others.
	RedactUsers Redaction = "users"
	// RedactExclusions is what somebody heard or blocked: the ids, bitmap and attribute values that a query excludes are taken out of it. A
	// long list of them is as good as a name. Asked again, the query finds what it had excluded.
	RedactExclusions Redaction = "exclusions"
	// RedactTaste is what somebody likes: queries by vector, interests or examples are left out. What is left asks with one item.
	RedactTaste Redaction = "taste"
)

var redactions = []Redaction{RedactUsers, RedactExclusions, RedactTaste}

// DefaultRedaction is users and exclusions.
func DefaultRedaction() []Redaction { return []Redaction{RedactUsers, RedactExclusions} }

// ParseRedaction reads redactions with commas between; "none" is none of them.
func ParseRedaction(text string) ([]Redaction, error) {
	out := []Redaction{}
	if text == "none" {
		return out, nil
	}
	for _, name := range strings.Split(text, ",") {
		r := Redaction(strings.TrimSpace(name))
		if !slices.Contains(redactions, r) {
			return nil, fmt.Errorf("%q is none of users, exclusions and taste, nor none", name)
		}
		out = append(out, r)
	}
	return out, nil
}

// kept returns a copy of what is kept of a query; nil where it is left out.
func kept(req *seguev1.NearestNeighborsRequest, collection string, redact []Redaction) *seguev1.NearestNeighborsRequest {
	users, exclusions, taste := slices.Contains(redact, RedactUsers), slices.Contains(redact, RedactExclusions), slices.Contains(redact, RedactTaste)
	left := req.GetPageToken() != ""
	switch req.GetQuery().GetForm().(type) {
	case *seguev1.Query_UserId:
		left = left || users
	case *seguev1.Query_Vector, *seguev1.Query_Interests, *seguev1.Query_Examples:
		left = left || taste
	}
	if left {
		return nil
	}
	m := proto.CloneOf(req)
	m.Collection, m.MinRevision = collection, 0
	if x := m.GetExclusions(); x != nil {
		if users {
			x.ExclusionSets = nil
		}
		if exclusions {
			x.ItemIds, x.Bitmap, x.AttributeValues = nil, nil, nil
		}
		if proto.Size(x) == 0 {
			m.Exclusions = nil
		}
	}
	return m
}
