// Package gateway lets people, browsers and programs without gRPC call the API: HTTP with JSON, at the paths of rules.go.
//
// It decodes and encodes, and decides nothing: every request becomes a gRPC call of the same process, with its token, so that
// permission, limits, admission, metrics and errors are those of every other call. Routing and the decoding of paths and queries are
// grpc-gateway's; what its generator would write for each method is here once, over descriptors. ADR 14 says why.
//
// # What it speaks
//
// JSON is protobuf's (lowerCamelCase, 64-bit numbers and bytes as strings); unknown fields are errors. Fields that the path does not
// name stand in the body of a POST, or in the query of a GET or DELETE: ?page_size=10. A token goes into the header Authorization, a
// deadline into Grpc-Timeout (500m is half a second). Errors are a google.rpc.Status in JSON, with the HTTP status that belongs to the
// code; those that come before a message could be decoded have no ErrorInfo. Streams are gRPC's alone.
//
// # Browsers
//
// Pages of other origins can neither read answers nor cause writes, unless Options.Origins names them.
package gateway
