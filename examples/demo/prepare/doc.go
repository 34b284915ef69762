// Command prepare makes the demo data from the playlist archive's tracks, playlists and embeddings.
//
// Usage:
//
//	go run ./examples/demo/prepare -tracks tracks.jsonl.gz -track-vectors track_embeddings.npy \
//	    -playlists playlists.jsonl.gz -playlist-vectors playlist_embeddings.npy -out examples/demo
//
// It reads .npy files of little-endian float32 in C or Fortran order and gzipped JSON lines, checks that they
// belong together, and writes the four .zst files that package demo embeds. The same input and the same
// version of the compressor give the same bytes.
//
// What the archive has in place of the date that a track was added, where it is none, is left out.
//
// Two things shrink the data. Track vectors are rounded to multiples of 2^-13 and stored as float16: that
// is the spacing of float16 around 1/8, the typical magnitude of a component of a 64-dimensional unit
// vector, so small components lose digits that the large ones never had, and the error of each component
// stays within 2^-14 below 1/4 and within float16's own rounding above. Playlists list their tracks by row number.
package main
