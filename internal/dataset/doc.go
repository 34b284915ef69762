// Package dataset reads and writes the files embeddings travel in: matrices of vectors and JSON lines or Parquet files of items.
//
// # Formats
//
// The format is told by the file name; every format but Parquet may carry a further ".gz" or ".zst".
//
//	.npy            NumPy array, header version 1.0 or 2.0, dtype f2, f4, u1 or i4, little or native endian,
//	                shape (rows, dim), or (dim,) for a single vector
//	.fvecs          per row: int32 dim, dim float32   (little endian; so the two below)
//	.bvecs          per row: int32 dim, dim uint8
//	.ivecs          per row: int32 dim, dim int32
//	.jsonl .ndjson  one JSON object a line: "id" (string, required), "vector" (array of numbers, optional), anything else
//	.parquet        columns "id" (string, required), "vector" (list of FLOAT, DOUBLE or FLOAT16, or bytes of float32,
//	                little endian; optional), anything else: string, list of strings, BOOLEAN, INT, FLOAT, DOUBLE, DATE, TIMESTAMP
//
// [ItemFields] says which fields or columns are "id" and "vector" where they have other names. Within a list of a Parquet file names
// are those that its writer likes: "list.element", "list.item", "bag.array_element", none.
//
// # Vocabulary
//
// A row is one vector or one line, counted from 0 in both kinds of file, so that row i of a matrix belongs to row i of
// the JSON lines beside it. Blank lines are rows (bad ones): skipping them would shift every later pair.
//
// # Invariants
//
// Files are not trusted. No length found in a file is allocated before it is checked: headers, dimensions, rows and
// lines have the limits below, whole-file reads grow with the bytes that really arrive, and decompressors have bounded
// windows. A matrix is read to its end: bytes missing or left over are errors, and so checksums of the compressed
// stream are always verified by a reader that reaches io.EOF.
//
// Of Parquet files the footer is judged before it is decoded, and the page headers of a row group before its pages are:
// sizes, counts, and what compressed streams state of themselves. LZ4 is refused. A gzip or brotli page states nothing, and so is as
// large as what it holds. Reading holds one page a column.
//
// [VectorReader] holds one row; of arrays in column-major (Fortran) order, whose rows are spread over the whole file, it
// holds all.
//
// # Errors
//
// [*FormatError] names file, row and rule and ends the reading of a file. [*RowError] is about one JSON line or Parquet row; reading
// goes on after it. Values are not judged here: NaN, infinities and zero vectors come out as they stand in the file.
//
// # Concurrency
//
// Readers and writers belong to one goroutine at a time. Functions are safe for concurrent use.
//
// The package also makes the synthetic data sets of the recall gates, each from a seed; see [Clustered].
package dataset

// Limits on what a file may ask for.
const (
	// MaxDim is the largest dimension read or written.
	MaxDim = 1 << 16

	// MaxRows is the largest row count a header may state; slots are uint32.
	MaxRows = 1<<32 - 1

	// MaxLineBytes is the longest JSON line read, without its line end.
	MaxLineBytes = 16 << 20

	// maxHeaderBytes bounds the text of a .npy header. NumPy writes 118 bytes for two dimensions.
	maxHeaderBytes = 64 << 10

	// maxWindowBytes bounds the memory of a zstd decoder: the window of `zstd --ultra -22`.
	maxWindowBytes = 128 << 20
)
