// Command discovery is a small service on top of Segue: a weekly discovery list for each listener.
//
//	GET /discovery/{listener}?week=2026-W22
//
// answers 30 tracks that fit the listener's profile: none that they heard (the exclusion set heard/{listener}), one of each
// artist, each title once, not all alike, and other ones every week. The same listener and week give the same list on every
// replica and after every restart: the draw's seed is made of the two.
//
// It shows how one request to Segue replaces the filtering and shuffling that services write around a nearest-neighbor index.
// Beside it, `segue serve` holds the tracks and the profiles; the demo's store will do:
//
//	segue demo
//	go run ./examples/discovery --collection tracks
//	curl '127.0.0.1:8080/discovery/37i9dQZF1DX4wta20PHgwo?week=2026-W22'
package main
