package engine

import (
	"time"

	"github.com/segue-ann/segue/engine/attribute"
)

func appendAttributes(dst []byte, a Attributes) []byte { return attribute.Append(dst, a) }

// encodeAttributes encodes sorted attributes of something that expires; the zero time is never.
func encodeAttributes(a Attributes, expire time.Time) []byte {
	return attribute.AppendExpiring(nil, a, expiryMicros(expire))
}

func decodeAttributes(src []byte, names []string) (Attributes, error) {
	return attribute.Decode(src, names)
}
