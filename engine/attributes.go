package engine

import "github.com/segue-ann/segue/engine/attribute"

func appendAttributes(dst []byte, a Attributes) []byte { return attribute.Append(dst, a) }

func decodeAttributes(src []byte, names []string) (Attributes, error) {
	return attribute.Decode(src, names)
}
