// Command segue is the one binary of Segue: the server and everything that is done to it from a shell.
//
//	segue demo        load real tracks into a store, show their neighbors, serve them
//	segue serve       serve a store over gRPC
//	segue collection  create, list, describe, delete
//	segue import      load embeddings and attributes from files
//	segue neighbors   ask for the nearest neighbors of an item, a user or a vector
//	segue batch       ask for those of many, as JSON lines
//	segue explain     say why neighbors are there, or why an item is not
//	segue score       score given items for a query
//	segue exclusions  keep sets of items that searches must not answer
//	segue measure     recall, hubs and calibration of a release
//	segue snapshot    create, list
//	segue check       verify a store offline
//	segue backup      create, list, verify, prune
//	segue restore     put a backup into a new directory
//	segue loadtest    load a server at fixed rates, report latency and recall
//	segue config      print the settings of serve
//	segue token       make a token and its line of an access file
//	segue bench       measure recall and speed in process
//	segue version     say what this binary is
//
// # Exit codes
//
//	0  done
//	1  failure: the error is on stderr
//	2  usage: unknown command or flag, missing or malformed argument
//	3  done, but bad data was found: rows rejected by import, problems found by check
//
// # Output
//
// Results go to stdout, as a table for people or with -o json as one JSON document; progress, logs and
// errors go to stderr. Tables may change between versions; the JSON only gains fields.
//
// # Layout
//
// One file a verb. main.go wires; run.go owns signals and exit codes; import_rows.go turns rows of files
// into messages; table.go and progress.go draw. Everything that talks to a server goes through package
// client, also where the server runs in the same process (demo).
package main
