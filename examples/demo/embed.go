package demo

import "embed"

// FS holds the data files at its root, under the names below. It is read-only and safe for concurrent use.
//
//go:embed tracks.f16.npy.zst tracks.jsonl.zst playlists.f32.npy.zst playlists.jsonl.zst NOTICE
var FS embed.FS

// Names of the files in FS.
const (
	TrackVectors    = "tracks.f16.npy.zst"
	Tracks          = "tracks.jsonl.zst"
	PlaylistVectors = "playlists.f32.npy.zst"
	Playlists       = "playlists.jsonl.zst"
	Notice          = "NOTICE"
)

// What the files hold.
const (
	// TrackCount is the number of tracks: rows of TrackVectors and lines of Tracks.
	TrackCount = 63_468
	// PlaylistCount is the number of playlists: rows of PlaylistVectors and lines of Playlists.
	PlaylistCount = 250
	// Dim is the dimension of every embedding.
	Dim = 64
)
