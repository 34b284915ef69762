package attribute

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestUpdateIsDecodeChangeEncode: for any set and any change, Append gives what decoding, changing and encoding gives.
func TestUpdateIsDecodeChangeEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := genAttributes().Draw(t, "old")
		was := rapid.Int64Range(0, 3).Draw(t, "was")
		u := Update{ReplaceAll: rapid.Bool().Draw(t, "all")}
		// Names of the old set are as likely as others, or nothing would ever be replaced.
		for _, a := range old {
			switch rapid.IntRange(0, 3).Draw(t, "fate") {
			case 0:
				u.Remove = append(u.Remove, a.Name)
			case 1:
				u.Set = append(u.Set, Attribute{Name: a.Name, Value: Value{Type: Int, Int: 7}})
			}
		}
		for _, a := range genAttributes().Draw(t, "new") {
			if _, again := old.Get(a.Name); !again {
				u.Set = append(u.Set, a)
			}
		}
		u.Remove = append(u.Remove, "not there")
		u.Set = u.Set.Sorted()
		expiry := rapid.Int64Range(0, 3).Draw(t, "expiry")

		want := slices.Clone(u.Set)
		if !u.ReplaceAll {
			for _, a := range old {
				if _, set := u.Set.Get(a.Name); !set && !slices.Contains(u.Remove, a.Name) {
					want = append(want, a)
				}
			}
		}
		slices.SortFunc(want, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
		size := 0
		for _, a := range want {
			size += len(a.Name) + a.Value.Bytes()
		}
		encoded := AppendExpiring(nil, old, was)
		got, count, bytesOf, err := u.Append([]byte("before"), encoded, expiry)
		if err != nil || count != len(want) || bytesOf != size || !bytes.Equal(got, AppendExpiring([]byte("before"), want, expiry)) {
			t.Fatalf("%v: %d of %d bytes, %x\nwant %d of %d, %x", err, count, bytesOf, got, len(want), size, AppendExpiring([]byte("before"), want, expiry))
		}
	})
}

// TestUpdateRefusesDamage: what Decode refuses, an update that keeps any of it refuses too, and changes nothing.
func TestUpdateRefusesDamage(t *testing.T) {
	whole := Append(nil, Set{{Name: "a", Value: Value{Type: Keyword, Keywords: []string{"x", "y"}}}, {Name: "b", Value: Value{Type: Int, Int: 300}}})
	u := Update{Set: Set{{Name: "a", Value: Value{Type: Bool}}}}
	damaged := [][]byte{append(slices.Clone(whole), 0)}
	for n := 1; n < len(whole); n++ {
		damaged = append(damaged, whole[:n])
	}
	for i := range whole {
		for bit := range 8 {
			d := slices.Clone(whole)
			d[i] ^= 1 << bit
			damaged = append(damaged, d)
		}
	}
	refused := 0
	for _, d := range damaged {
		_, decodes := Decode(d, nil)
		out, _, _, err := u.Append(nil, d, 0)
		if (decodes == nil) != (err == nil) || err != nil && (!errors.Is(err, ErrMalformed) || out != nil) {
			t.Errorf("%x: %v, %x; Decode says %v", d, err, out, decodes)
		}
		if err != nil {
			refused++
		}
		u := Update{Set: u.Set, ReplaceAll: true}
		if got, _, _, err := u.Append(nil, d, 0); err != nil || !bytes.Equal(got, Append(nil, u.Set)) {
			t.Errorf("%x, replaced as a whole: %x, %v", d, got, err)
		}
	}
	if refused < len(whole) {
		t.Errorf("refused %d of %d", refused, len(damaged))
	}
}
