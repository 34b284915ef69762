package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// expireTimePath is the path of the expiry in a mask.
const expireTimePath = "expire_time"

// attributesUpdates decodes a batch; more than the limit are refused unseen.
func (d *decoder) attributesUpdates(field string, ms []*seguev1.AttributesUpdate) []engine.AttributesUpdate {
	if !d.batch(field, len(ms)) {
		return nil
	}
	out := make([]engine.AttributesUpdate, len(ms))
	for i, m := range ms {
		if len(d.violations) == engine.MaxViolations {
			break
		}
		out[i] = d.attributesUpdate(fmt.Sprintf("%s[%d]", field, i), m)
	}
	return out
}

// attributesUpdate decodes one update. The mask decides (AIP-134): what it names and the values lack is removed, and a value that it
// does not name is an error, since it would be lost in silence.
func (d *decoder) attributesUpdate(field string, m *seguev1.AttributesUpdate) engine.AttributesUpdate {
	if m == nil {
		d.add(engine.ReasonRequired, field, "must be set")
		return engine.AttributesUpdate{}
	}
	u := engine.AttributesUpdate{
		ID:         m.GetItemId(),
		Set:        d.attributes(field+".attributes", m.GetAttributes()),
		IfRevision: d.ifRevision(field+".if_revision", m.IfRevision, 1),
	}
	paths := m.GetUpdateMask().GetPaths()
	if m.GetExpireTime() != nil || slices.Contains(paths, expireTimePath) {
		at := d.expireTime(field+".expire_time", m.GetExpireTime())
		u.ExpireTime = &at
	}
	if len(paths) == 0 {
		return u
	}
	field += ".update_mask"
	if most := d.limits.MaxAttributes + 2; len(paths) > most {
		d.add(engine.ReasonOutOfRange, field, "must have at most %d paths, has %d", most, len(paths))
		return u
	}
	for i, path := range paths {
		name, isAttribute := strings.CutPrefix(path, attributesPath+".")
		switch {
		case path == "*", path == attributesPath:
			u.ReplaceAll = true
		case path == expireTimePath:
		case !isAttribute || name == "":
			d.add(reasonUnknownPath, fmt.Sprintf("%s.paths[%d]", field, i), "must be *, attributes, attributes.NAME or expire_time, is %q", clip(path))
		default:
			if _, set := m.GetAttributes()[name]; !set {
				u.Remove = append(u.Remove, name)
			}
		}
	}
	if m.GetExpireTime() != nil && !slices.Contains(paths, expireTimePath) && !slices.Contains(paths, "*") {
		d.add(reasonUnknownPath, field, "must name expire_time, which has a value")
	}
	if u.ReplaceAll {
		return u
	}
	for _, a := range u.Set {
		if !slices.Contains(paths, attributesPath+"."+a.Name) {
			d.add(reasonUnknownPath, field, "must name attributes.%s, which has a value", clip(a.Name))
		}
	}
	return u
}
