// Package demo holds the data that `segue demo` imports: 63,468 real tracks of public playlists with a
// 64-dimensional embedding each, and 250 of those playlists as user profiles.
//
// # Files
//
//	tracks.f16.npy.zst    float16 [63468, 64], unit norm; row i belongs to line i of the JSON lines
//	tracks.jsonl.zst      id, title, artist_ids, artists, album_id, album, duration_s, added, playlists
//	playlists.f32.npy.zst float32 [250, 64], the mean of the playlist's tracks; not normalised
//	playlists.jsonl.zst   id, name, track_rows (ascending row numbers of the tracks, instead of their ids)
//	NOTICE                where the data comes from and its licence (MIT)
//
// The files are made by the command in prepare, which is deterministic. README.md beside them says what
// the embeddings are, and which facts a test may rely on.
//
// # Non-goals
//
// The package decodes nothing: internal/dataset reads all of these formats. It is imported by the
// command line and by tests only, because every importer carries eleven megabytes of data.
package demo
