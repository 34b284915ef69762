package server

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/engine"
)

const attributesPath = "attributes"

// readMask returns whether a mask asks for attributes, and for which: none named means all. names ascend, each once.
func (d *decoder) readMask(field string, mask *fieldmaskpb.FieldMask, schema []engine.AttributeSpec) (attributes bool, names []string) {
	paths := mask.GetPaths()
	if most := d.limits.MaxAttributes + 4; len(paths) > most {
		d.add(engine.ReasonOutOfRange, field, "must have at most %d paths, has %d", most, len(paths))
		return false, nil
	}
	all := false
	for i, path := range paths {
		name, isAttribute := strings.CutPrefix(path, attributesPath+".")
		switch {
		case path == "item_id", path == "score", path == "distance":
			// Always returned.
		case path == attributesPath:
			all = true
		case isAttribute && name != "":
			if len(schema) > 0 && !slices.ContainsFunc(schema, func(s engine.AttributeSpec) bool { return s.Name == name }) {
				d.add(engine.ReasonUnknownAttribute, fmt.Sprintf("%s.paths[%d]", field, i), "%q is not declared in the collection's schema", clip(name))
				continue
			}
			names = append(names, name)
		default:
			d.add(reasonUnknownPath, fmt.Sprintf("%s.paths[%d]", field, i),
				"must be item_id, score, distance, attributes or attributes.NAME, is %q (vectors come with include_vectors)", clip(path))
		}
	}
	if all {
		return true, nil
	}
	slices.Sort(names)
	return len(names) > 0, slices.Compact(names)
}
