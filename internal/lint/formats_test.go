package lint_test

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// storedFormat is what has a version on disk: the constant that says the newest, the page that describes it, the words in which the
// page states the version, and a golden of each version from 1 on. %d stands for the version.
type storedFormat struct{ constant, page, states, golden string }

var storedFormats = []storedFormat{
	{"storage.FormatVersion", "store.md", "**store format %d**", "storage/testdata/store-v%d.rows"},
	// The rows of every kind are in the goldens of the store formats.
	{"storage.catalogVersion", "store.md", "Catalog (`c`), version %d", "storage/testdata/store-v%d.rows"},
	{"storage.collectionsVersion", "store.md", "`m/collections`, version %d", "storage/testdata/store-v%d.rows"},
	{"storage.formatVersion", "store.md", "`m/format`, version %d", "storage/testdata/store-v%d.rows"},
	{"storage.itemVersion", "store.md", "Item (`i`), version %d", "storage/testdata/store-v%d.rows"},
	{"storage.profileVersion", "store.md", "Profile (`p`), version %d", "storage/testdata/store-v%d.rows"},
	{"storage.logVersion", "store.md", "Log record (`l`, LSN > 0), version %d", "storage/testdata/store-v%d.rows"},
	{"storage.slabVersion", "store.md", "Slab, version %d", "storage/testdata/slab-zstd-v%d.hex"},
	{"storage.snapshotVersion", "store.md", "Header, version %d", "storage/testdata/store-v%d.rows"},
	{"storage.pendingVersion", "store.md", "A mark (`w`) is an envelope of version %d", ""}, // and nothing else
	{"storage.importVersion", "store.md", "Import rows (`j`) and requests (`q`) are an envelope of version %d", "storage/testdata/store-v2.rows"},
	{"storage.exclusionVersion", "store.md", "Entry of an exclusion set (`x`), version %d", "storage/testdata/store-v2.rows"},
	{"storage.requestVersion", "store.md", "Import rows (`j`) and requests (`q`) are an envelope of version %d", "storage/testdata/store-v3.rows"},
	{"storage.aliasVersion", "store.md", "Alias (`a`), version %d", "storage/testdata/store-v3.rows"},
	{"storage.sealVersion", "store.md", "segue seal %d", "storage/testdata/seal-v%d.txt"},
	{"storage/backup.manifestVersion", "backup.md", "Manifest, version %d", "storage/backup/testdata/manifest-v%d.txt"},
	{"hnsw.imageVersion", "index.md", "`SegueANN`, %d", "hnsw/testdata/image-v%d.gz"},
	{"hnsw.calibrationVersion", "calibration.md", "| version | %d.", "hnsw/testdata/calibration-v%d.gz"},
	{"engine.snapshotFormat", "engine.md", `"format": %d, "items", "slots"`, "engine/testdata/store4-image3.tar.gz"},
	{"engine.graphFormat", "release.md", `"format": %d, "items", "digest"`, "client/testdata/release-v%d.segue"},
	{"engine/attribute.format", "engine.md", "format=%d", "engine/testdata/store2-image1.tar.gz"},
	{"engine/attribute.formatExpiring", "engine.md", "*format* is %d", "engine/testdata/store4-image2.tar.gz"},
	{"client.releaseVersion", "release.md", "Version is %d", "client/testdata/release-v%d.segue"},
}

// notStored are constants that look like those.
var notStored = map[string]string{ //nolint:gosec // names of constants, no credentials
	"server.pageTokenVersion":       "a token lives for as long as a caller turns pages",
	"internal/dataset.coderVersion": "is coder/hnsw's, which we only read",
}

// TestFormatsHavePagesAndGoldens: whatever has a version on disk is known here, its page states the newest version, and there is a
// golden of every version.
func TestFormatsHavePagesAndGoldens(t *testing.T) {
	tree := house(t)
	versions := map[string]int{}
	declared := regexp.MustCompile(`(?m)^\s*(?:const )?(\w*(?:[vV]ersion|[fF]ormat|formatExpiring)) += (\d+)\b`)
	for _, f := range tree.Files {
		if path.Ext(f.Path) != ".go" || strings.HasSuffix(f.Path, "_test.go") || strings.HasPrefix(f.Path, "tools/") {
			continue
		}
		for _, m := range declared.FindAllStringSubmatch(string(f.Text), -1) {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				t.Fatal(err)
			}
			versions[path.Dir(f.Path)+"."+m[1]] = n
		}
	}
	for _, s := range storedFormats {
		newest := versions[s.constant]
		if delete(versions, s.constant); newest == 0 {
			t.Errorf("%s is no constant", s.constant)
		}
		page := "docs/formats/" + s.page
		if states := fill(s.states, newest); !tree.Has(page) || !strings.Contains(string(tree.File(page).Text), states) {
			t.Errorf("%s does not say %q of %s", page, states, s.constant)
		}
		for v := 1; v <= newest && s.golden != ""; v++ {
			if info, err := os.Stat(path.Join(root, fill(s.golden, v))); err != nil || info.Size() == 0 {
				t.Errorf("%s %d has no golden %s", s.constant, v, fill(s.golden, v))
			}
		}
	}
	for constant := range versions {
		if _, known := notStored[constant]; !known {
			t.Errorf("%s looks like the version of a format: it needs a page and a golden, or a word on why not", constant)
		}
	}
}

// fill puts a version where the text has a place for one.
func fill(text string, version int) string {
	if strings.Contains(text, "%d") {
		return fmt.Sprintf(text, version)
	}
	return text
}
