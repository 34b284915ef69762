package storage

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// AliasRow is another name of a collection.
type AliasRow struct {
	// Name is 1..MaxNameBytes bytes. That it is no collection's is the caller's rule.
	Name string
	// Collection is the id of the collection it means.
	Collection uint32
}

const (
	aliasVersion = 1
	// aliasLen: envelope, 3 reserved bytes, 4 bytes of collection id.
	aliasLen = 12
)

func encodeAlias(key []byte, collection uint32) []byte {
	v := make([]byte, aliasLen)
	binary.BigEndian.PutUint32(v[8:], collection)
	sealEnvelope(key, v, aliasVersion)
	return v
}

func decodeAlias(key, value []byte) (r AliasRow, err error) {
	k, ok := parseKey(key)
	if !ok {
		return r, rowCorruption(key, "malformed key")
	}
	if err := openEnvelope(key, value, "alias", aliasVersion, aliasLen); err != nil {
		return r, err
	}
	if len(value) != aliasLen {
		return r, rowCorruption(key, "alias is too long")
	}
	if value[5] != 0 || value[6] != 0 || value[7] != 0 {
		return r, &FormatError{What: "alias", Where: formatKeyForPeople(key), Reason: "unknown flags"}
	}
	return AliasRow{Name: string(k.name), Collection: binary.BigEndian.Uint32(value[8:])}, nil
}

// PutAlias writes an alias, or makes one mean another collection, in one step that is durable when it returns.
func (s *Store) PutAlias(r AliasRow) error {
	return s.changeAlias(r.Name, func(b *pebble.Batch, key []byte) error { return b.Set(key, encodeAlias(key, r.Collection), nil) })
}

// DeleteAlias removes an alias, which need not be there, durably.
func (s *Store) DeleteAlias(name string) error {
	return s.changeAlias(name, func(b *pebble.Batch, key []byte) error { return b.Delete(key, nil) })
}

func (s *Store) changeAlias(name string, fill func(b *pebble.Batch, key []byte) error) error {
	if len(name) == 0 || len(name) > MaxNameBytes {
		return &ValueError{Field: "alias", Rule: "must have 1..1024 bytes"}
	}
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	if err := fill(b, aliasKey(name)); err != nil {
		return err
	}
	if err := s.checkSpace(b.Len()); err != nil {
		return err
	}
	return s.apply(b)
}

// Aliases returns all aliases in byte order of name.
func (s *Store) Aliases() ([]AliasRow, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.aliases()
}

func (s *Store) aliases() (rows []AliasRow, err error) {
	start, end := keySpan([]byte{kindAlias})
	err = s.scan(start, end, func(key, value []byte) (bool, error) {
		r, err := decodeAlias(key, value)
		rows = append(rows, r)
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// checkAliases verifies every alias.
func (c *checker) checkAliases() {
	start, end := keySpan([]byte{kindAlias})
	c.scan(start, end, func(key, value []byte) {
		r, err := decodeAlias(key, value)
		switch {
		case err != nil:
			c.report(faultOf("", err))
		case !c.collections[r.Collection]:
			c.find(Fault, formatKeyForPeople(key), "alias of a collection that the catalog does not know")
		}
	})
}
