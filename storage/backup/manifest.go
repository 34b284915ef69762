package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/segue-ann/segue/storage"
)

const (
	manifestVersion = 1
	// maxManifestBytes bounds what is read of a manifest: some hundred thousand files.
	maxManifestBytes = 64 << 20

	manifestDir    = "backups/"
	filesDir       = "files/"
	manifestSuffix = ".manifest"
)

// Info describes a backup.
type Info struct {
	// Number counts the backups of a target from 1; a higher one is newer.
	Number uint64 `json:"number"`
	// CreateTime is when it was begun.
	CreateTime time.Time `json:"create_time"`
	// Files and SizeBytes are what a restore writes; SentBytes, what this backup had to send of it.
	Files     int   `json:"-"`
	SizeBytes int64 `json:"size_bytes"`
	SentBytes int64 `json:"sent_bytes"`
	// Positions say which writes it holds: for every release, all up to an LSN and none after.
	Positions []Position `json:"positions"`
}

// Position is the end of a release's log in a backup.
type Position struct {
	Collection string `json:"collection"`
	Release    uint32 `json:"release"`
	LSN        uint64 `json:"lsn"`
}

// manifest is an Info and the files.
type manifest struct {
	Info
	Files []file `json:"files"`
}

// file is one file of a store.
type file struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Backup is the number of the backup that sent it.
	Backup uint64 `json:"backup"`
}

func (f file) object() string { return fileObject(f.Backup, f.SHA256) }

func fileObject(backup uint64, sum string) string {
	return fmt.Sprintf("%s%020d/%s", filesDir, backup, sum)
}

func manifestObject(n uint64) string { return fmt.Sprintf("%s%020d%s", manifestDir, n, manifestSuffix) }

// numberOf returns the number of the backup that an object belongs to, by its name; of parts of objects too.
func numberOf(name string) (n uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, manifestDir)
	if !ok {
		rest, ok = strings.CutPrefix(name, filesDir)
	}
	if !ok || len(rest) < 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(rest[:20], 10, 64)
	return n, err == nil && n > 0
}

// encode renders a manifest: a line that says what it is, JSON for people and programs, and the checksum of both.
//
//	segue backup 1
//	{ ... }
//	sha256 0a1b...
func (m *manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "segue backup %d\n", manifestVersion)
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "sha256 %x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes(), nil
}

var (
	fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
	hexSum   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// decodeManifest checks everything that a reader relies on. Errors: *storage.FormatError for an intact manifest of a newer
// version, else *DamageError.
func decodeManifest(object string, data []byte) (*manifest, error) {
	damaged := func(reason string, err error) (*manifest, error) {
		return nil, &DamageError{Object: object, Reason: reason, Err: err}
	}
	const sumLine = "sha256 " + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" + "\n"
	cut := len(data) - len(sumLine)
	if cut < 0 {
		return damaged("not a manifest", nil)
	}
	body, last := data[:cut], string(data[cut:])
	if sum := sha256.Sum256(body); last != "sha256 "+hex.EncodeToString(sum[:])+"\n" {
		return damaged("checksum mismatch of a manifest", nil)
	}
	head, text, _ := bytes.Cut(body, []byte("\n"))
	version, ok := strings.CutPrefix(string(head), "segue backup ")
	if !ok {
		return damaged("not a manifest", nil)
	}
	if version != strconv.Itoa(manifestVersion) {
		return nil, &storage.FormatError{What: "manifest of a backup", Where: object, Reason: "version " + version + ", this program reads " + strconv.Itoa(manifestVersion)}
	}
	m := new(manifest)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return damaged("malformed manifest", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return damaged("bytes behind the end of a manifest", nil)
	}
	if manifestObject(m.Number) != object {
		return damaged(fmt.Sprintf("holds the manifest of backup %d", m.Number), nil)
	}
	seen := make(map[string]bool, len(m.Files))
	var total int64
	for _, f := range m.Files {
		switch {
		case !fileName.MatchString(f.Name) || f.Name == "LOCK" || f.Name == "RESTORING":
			return damaged(fmt.Sprintf("file name %q", f.Name), nil)
		case seen[f.Name]:
			return damaged(fmt.Sprintf("file %s occurs twice", f.Name), nil)
		case !hexSum.MatchString(f.SHA256) || f.Size < 0 || f.Backup == 0 || f.Backup > m.Number:
			return damaged(fmt.Sprintf("impossible entry of file %s", f.Name), nil)
		}
		seen[f.Name] = true
		total += f.Size
	}
	if total != m.SizeBytes {
		return damaged("sizes do not add up", nil)
	}
	m.Info.Files = len(m.Files)
	return m, nil
}
