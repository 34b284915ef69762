package chart

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

// release is what the plain manifests are called.
const release = "segue"

// document is one object of a rendering.
type document struct {
	// Template is the file of templates/ that it comes from.
	Template string
	Text     string
}

// render is `helm template`: the objects of the chart for values, which are checked against the chart's schema, in the order of
// the templates' names; and the notes.
func render(c *chart.Chart, values map[string]any) (documents []document, notes string, err error) {
	capabilities := common.DefaultCapabilities.Copy()
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: release, Namespace: "music", Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return nil, "", err
	}
	e := engine.Engine{Strict: true}
	files, err := e.Render(c, all)
	if err != nil {
		return nil, "", err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "NOTES.txt" {
			notes = files[name]
			continue
		}
		for _, text := range strings.Split("\n"+files[name], "\n---\n") {
			var any map[string]any
			if err := yaml.UnmarshalStrict([]byte(text), &any); err != nil {
				return nil, "", fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			if len(any) > 0 {
				documents = append(documents, document{strings.TrimPrefix(name, c.Name()+"/templates/"), strings.TrimSpace(text) + "\n"})
			}
		}
	}
	return documents, notes, nil
}
