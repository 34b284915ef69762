// Package seguev1 is Segue's gRPC API, version 1: protocol buffer messages and service stubs generated from the
// .proto files beside this one, whose comments are the reference of the API (semantics, units, order, limits, errors).
//
// One file holds one service (retrieval_service.proto, item_service.proto, ...) or one resource (item.proto,
// vector.proto, ...); error.proto lists every reason a call can fail with. Numbers that a comment calls "kept" are for
// fields that are designed but do not work yet: a field is added only with the code that honours it.
//
// Vocabulary: a collection holds items (id, vector, attributes) and users' profiles; a query is a vector, an item id
// or a user id; an answer holds neighbors, each with a score (higher is better, whatever the metric) and a distance
// (lower is closer). A revision numbers the writes of one collection.
//
// The .pb.go files are generated, never edited. From the root of the repository:
//
//	go tool -modfile=tools/proto/go.mod buf lint
//	go tool -modfile=tools/proto/go.mod buf generate
package seguev1
