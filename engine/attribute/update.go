package attribute

// Update is a change of an encoded set.
type Update struct {
	// Set are the new values, sorted and valid.
	Set Set
	// Remove names what goes; a name that Set has too has no meaning here.
	Remove []string
	// ReplaceAll lets everything go that Set does not have.
	ReplaceAll bool
}

// removes says whether an attribute of this name does not stay as it is.
func (u *Update) removes(name []byte) bool {
	for _, r := range u.Remove {
		if r == string(name) {
			return true
		}
	}
	return false
}

// Append encodes what u makes of old, an encoded set, as that of something that expires at expiry. It also returns how many attributes that
// has, and their Bytes. The result is that of decoding, changing and encoding. ErrMalformed. Cost: two passes over old, none of which
// allocates.
func (u *Update) Append(dst, old []byte, expiry int64) (out []byte, count, size int, err error) {
	count = len(u.Set)
	for _, a := range u.Set {
		size += len(a.Name) + a.Value.Bytes()
	}
	if !u.ReplaceAll && len(old) > 0 {
		r := Read(old)
		if r.d.bad {
			return dst, 0, 0, ErrMalformed
		}
		set := u.Set
		for name, value, ok := r.Next(); ok; name, value, ok = r.Next() {
			if set = behind(set, name); len(set) > 0 && set[0].Name == string(name) || u.removes(name) {
				continue
			}
			count++
			size += len(name) + value.size()
		}
		if r.d.bad || len(r.d.src) != 0 {
			return dst, 0, 0, ErrMalformed
		}
	}
	if dst = appendHeader(dst, count, expiry); count == 0 {
		return dst, 0, 0, nil
	}
	set := u.Set
	if !u.ReplaceAll && len(old) > 0 {
		r := Read(old)
		for name, value, ok := r.Next(); ok; name, value, ok = r.Next() {
			for len(set) > 0 && set[0].Name < string(name) {
				dst, set = appendAttribute(dst, set[0]), set[1:]
			}
			if len(set) > 0 && set[0].Name == string(name) || u.removes(name) {
				continue
			}
			dst = append(appendString(dst, string(name)), byte(value.Type))
			dst = append(dst, value.bytes...)
		}
	}
	for _, a := range set {
		dst = appendAttribute(dst, a)
	}
	return dst, count, size, nil
}

// behind returns what of a sorted set is not before name.
func behind(set Set, name []byte) Set {
	for len(set) > 0 && set[0].Name < string(name) {
		set = set[1:]
	}
	return set
}

// Bytes is about how much a value takes, by the measure of the limit on attributes.
func (v Value) Bytes() int {
	switch v.Type {
	case Keyword:
		n := 0
		for _, k := range v.Keywords {
			n += len(k) + 1
		}
		return n
	case Markets:
		return len(v.Markets) + 1
	case Bool, Int, Float, Timestamp:
	}
	return 8
}

// size is Value.Bytes of an encoded value.
func (r Raw) size() int {
	switch r.Type {
	case Keyword:
		n := 0
		for k := range r.Keywords() {
			n += len(k) + 1
		}
		return n
	case Markets:
		return len(r.MarketBytes()) + 1
	case Bool, Int, Float, Timestamp:
	}
	return 8
}
