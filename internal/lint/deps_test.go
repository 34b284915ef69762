package lint_test

import (
	"os"
	"sync"
	"testing"

	"github.com/segue-ann/segue/internal/lint"
)

// importLaw says which package may import which. It is a statement of policy, and the picture of
// ARCHITECTURE.md in full; lint.Law explains the notation.
//
// Do not change it to fix a build: what it forbids is what keeps the four vocabularies apart. A new
// dependency also needs its line in docs/adr/0005-dependencies.md.
const importLaw = `
	# The index: slots, vectors, distances. No I/O, no item ids, no clock, no logging.
	NONE < internal/invariants < internal/distance < internal/quantize < hnsw;
	os, os/..., io/ioutil, net, net/..., log, log/..., syscall !< hnsw;
	net, net/..., log, log/..., time, syscall !< internal/distance, internal/quantize;

	# The store: keys, byte sections, LSNs. No meaning of vectors, no graph.
	NONE, internal/invariants < storage;
	net, net/... !< storage;
	storage < storage/backup < engine;

	# The engine alone knows both.
	NONE < engine/attribute;
	hnsw, engine/attribute < engine/filter, engine/rank < engine;
	NONE < internal/mapped, internal/background;
	NONE < internal/crashfs; # for tests
	storage, internal/mapped, internal/background < engine;
	net, net/... !< engine, engine/attribute, engine/filter, engine/rank;
	os, os/..., log, log/..., time !< engine/rank;

	# The wire. The server knows the engine, the client knows nothing but the protocol.
	# Who may call, admission and numbers know calls, not collections' contents.
	NONE < proto/segue/v1 < server/auth;
	proto/segue/v1, internal/background < server/admission;
	server/auth, server/admission < server;
	engine, server/admission < server/ops < server;
	NONE < server/liverecall < server;
	proto/segue/v1 < server/querylog < server;
	proto/segue/v1 < server/gateway < server;
	proto/segue/v1 < client;
	engine < server;
	hnsw, storage, internal/quantize, internal/distance !< server;

	# Files, truth and data for tests, benchmarks and the command line.
	NONE < internal/dataset, internal/groundtruth, examples/demo, examples/demo/prepare, internal/lint;

	# The harness builds indexes in process, which is why it alone may go past the engine.
	NONE < loadtest/baseline;
	client, engine, internal/groundtruth, internal/dataset, loadtest/baseline < loadtest;
	proto/segue/v1 < loadtest/replay;
	loadtest, examples/demo < loadtest/peers < loadtest/peers/benchpeers;
	storage, internal/distance, internal/quantize !< loadtest, loadtest/peers, loadtest/peers/benchpeers;

	# A service on top of Segue, for people to start from.
	client < examples/discovery;

	# The command puts it together.
	server, loadtest, loadtest/replay, examples/demo < cmd/segue;
	hnsw, storage, internal/distance, internal/quantize, loadtest/baseline !< cmd/segue;

	# Dependencies, each confined to where its vocabulary belongs.
	google.golang.org/grpc/..., google.golang.org/genproto/...
		only server, server/auth, server/gateway, server/ops, client, loadtest, loadtest/replay, proto/..., cmd/segue,
		examples/discovery;
	google.golang.org/protobuf/...    only server, server/auth, server/gateway, server/querylog, client, loadtest, proto/..., cmd/segue, examples/discovery;
	github.com/golang-jwt/jwt/..., github.com/MicahParks/... only server/auth;
	github.com/failsafe-go/failsafe-go/..., golang.org/x/time/... only server/admission;
	github.com/grpc-ecosystem/grpc-gateway/... only server/gateway;
	github.com/prometheus/..., go.opentelemetry.io/... only server/ops;
	github.com/cockroachdb/pebble/... only storage, storage/backup, internal/crashfs;
	github.com/RoaringBitmap/roaring/v2 only engine/filter;
	gocloud.dev/gcerrors              only storage/backup;
	gocloud.dev/blob/...              only storage/backup, cmd/segue;
	github.com/klauspost/compress/... only storage, internal/dataset, examples/demo/prepare;
	github.com/parquet-go/parquet-go/... only internal/dataset, cmd/segue/script_test.go;
	github.com/x448/float16           only server, internal/dataset, internal/quantize, examples/demo/prepare;
	github.com/HdrHistogram/hdrhistogram-go only loadtest, loadtest/replay;
	github.com/coder/hnsw             only loadtest/baseline, internal/dataset/coder_test.go;
	golang.org/x/sys/...              only internal/distance, internal/mapped, internal/background, hnsw/arena*.go, loadtest/peers;
	golang.org/x/sync/...             only engine, storage/backup, client, loadtest, cmd/segue;
	github.com/spf13/cobra            only cmd/segue;
	github.com/spf13/pflag            only cmd/segue;
	github.com/vbauerster/mpb/...     only cmd/segue;
	github.com/mattn/go-runewidth     only cmd/segue;
	golang.org/x/term                 only cmd/segue;
	go.yaml.in/yaml/...               only cmd/segue;
	pgregory.net/rapid, go.uber.org/goleak, github.com/google/go-cmp/..., github.com/rogpeppe/go-internal/...,
		github.com/cockroachdb/datadriven, golang.org/x/net/http2/hpack tests;

	# What goes round the type system stays in two places, and the binary stays static.
	unsafe only internal/distance, hnsw/arena*.go;
	C      only NONE;
`

// houseLaw is the import law, parsed.
func houseLaw(t *testing.T) *lint.Law {
	t.Helper()
	law, err := lint.ParseLaw(importLaw)
	if err != nil {
		t.Fatal(err)
	}
	return law
}

// root is the repository.
const root = "../.."

// loadHouse parses the repository once; tests only read it.
var loadHouse = sync.OnceValues(func() (*lint.Tree, error) { return lint.Load(os.DirFS(root)) })

func house(t *testing.T) *lint.Tree {
	t.Helper()
	tree, err := loadHouse()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func report(t *testing.T, violations []lint.Violation) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

func TestImports(t *testing.T) { report(t, house(t).Imports(houseLaw(t))) }
