# Everything a developer does here, one target each. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LINT := go tool -modfile=tools/lint/go.mod golangci-lint
BUF  := go tool -modfile=tools/proto/go.mod buf

# The packages where goroutines meet.
CONCURRENT := ./hnsw/... ./storage/... ./engine/... ./server/... ./client/...

PKG      ?= ./...
FUZZTIME ?= 30s
DATA     ?= data
COUNT    ?= 10
TAGS     ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/segue, static, as it is released (TAGS=gcs for backups to gs://)
	CGO_ENABLED=0 go build -tags '$(TAGS)' -trimpath -o bin/segue ./cmd/segue

.PHONY: install
install: ## segue into GOBIN
	CGO_ENABLED=0 go install -trimpath ./cmd/segue

.PHONY: test
test: ## all tests (PKG=./engine/... for some)
	go test $(PKG)

.PHONY: race
race: ## tests of the concurrent packages under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -short $(CONCURRENT)

.PHONY: test-arm64
test-arm64: ## the kernels and codecs as arm64 runs them, under qemu-user (Debian: apt-get install qemu-user)
	GOARCH=arm64 CGO_ENABLED=0 go test -exec qemu-aarch64 ./internal/distance ./internal/quantize

.PHONY: faults
faults: ## crash, power loss and corruption tests in their long form
	SEGUE_LONG=1 SEGUE_CRASH_ROUNDS=200 go test -timeout 60m ./storage/... ./engine/... ./server/... ./cmd/segue/...

.PHONY: gates
gates: ## recall, distance and churn gates on data of full size
	SEGUE_LONG=1 go test -timeout 60m -run Gate -v ./hnsw

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	FUZZTIME=$(FUZZTIME) bash .ci/run fuzz

.PHONY: bench
bench: ## Go benchmarks, COUNT times, for benchstat (PKG=./hnsw for some)
	go test -run '^$$' -bench . -benchmem -count $(COUNT) $(PKG)

.PHONY: breakdown
breakdown: ## where the time of a query goes, docs/breakdown.md (SETS=tracks for one of mnist784, tracks, clustered, skewed)
	CGO_ENABLED=0 SEGUE_BREAKDOWN=1 go test ./hnsw -count=1 -timeout 30m -run 'TestBreakdown/$(SETS)' -v

.PHONY: bench-restart
bench-restart: ## kill -9 to first correct answers; builds 1,000,000 x 128 once (SEGUE_BENCH_ITEMS, _DIM, _TAIL, _ROUNDS for others)
	SEGUE_BENCH_RESTART="$${SEGUE_BENCH_RESTART:-$(CURDIR)/bin/restart}" go test -count 1 -timeout 60m -run TestRestartBenchmark -v ./cmd/segue

.PHONY: bench-upserts
bench-upserts: ## durable upserts a second over gRPC, and the latency of fsync beside them
	SEGUE_BENCH_UPSERTS="$${SEGUE_BENCH_UPSERTS:-10}" go test -count 1 -run TestUpsertBenchmark -v ./cmd/segue

PEERS := g++ libhnswlib-dev libfaiss-dev libopenblas-dev

.PHONY: bench-peers
bench-peers: ## docs/benchmarks.md: Segue, hnswlib, Faiss and coder/hnsw on the same files (Debian; ARGS="-sets tracks" for some)
	dpkg -s $(PEERS) >/dev/null 2>&1 || $(if $(filter 0,$(shell id -u)),,sudo )apt-get install -y $(PEERS)
	CGO_ENABLED=0 go build -o bin/benchpeers ./loadtest/peers/benchpeers
	bin/benchpeers -out docs/benchmarks.md $(ARGS)

.PHONY: loadtest
loadtest: build ## load the demo's tracks on this machine, five scenarios up to saturation: bin/loadtest-*.html
	bash loadtest/run

.PHONY: ghz
ghz: build ## the same with ghz: every scenario file of loadtest/ghz
	bash loadtest/run ghz

.PHONY: overload
overload: ## ten times what a server of one core can do, from another core: goodput, latency, memory, recovery (Linux, two cores)
	go test -c -o bin/overload.test ./cmd/segue
	cd cmd/segue && SEGUE_BENCH_OVERLOAD="$${SEGUE_BENCH_OVERLOAD:-4}" taskset -c 1 ../../bin/overload.test -test.run TestOverloadBenchmark -test.v

.PHONY: demo
demo: ## load 63,468 tracks, show neighbors, serve
	go run ./cmd/segue demo

.PHONY: serve
serve: ## serve a store in DATA
	go run ./cmd/segue serve --data $(DATA)

.PHONY: lint
lint: ## linters, and the house rules of internal/lint
	$(LINT) run ./...
	$(BUF) lint
	go test ./internal/lint

.PHONY: fmt
fmt: ## format Go and proto files
	$(LINT) fmt
	$(BUF) format -w

.PHONY: generate
generate: ## generated code, anew
	$(BUF) generate

.PHONY: check-generated
check-generated: ## fail if generated code is not what the sources give
	bash .ci/run generated

# Debian's own, with Debian's packages, whatever other Python comes first on PATH.
PYTHON        ?= /usr/bin/python3
PYTHON_NEEDS  := python3-grpcio python3-protobuf python3-numpy protobuf-compiler protobuf-compiler-grpc

.PHONY: python
python: ## the Python client's generated code, anew (Debian 12: protobuf-compiler-grpc)
	bash clients/python/generate

.PHONY: python-test
python-test: build ## tests of the Python client against bin/segue (Debian 12; PYTHON=python3 for another)
	dpkg -s $(PYTHON_NEEDS) >/dev/null 2>&1 || $(if $(filter 0,$(shell id -u)),,sudo )apt-get install -y $(PYTHON_NEEDS)
	rm -rf bin/python && bash clients/python/generate bin/python
	diff -r -x __pycache__ -x __init__.py bin/python/segue/v1 clients/python/segue/v1
	diff bin/python/segue/status_pb2.py clients/python/segue/status_pb2.py
	cd clients/python && PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -W error::ResourceWarning -m unittest discover -t . -s tests

JAVA_NEEDS := openjdk-17-jdk-headless protobuf-compiler libprotobuf-dev protobuf-compiler-grpc-java-plugin libprotobuf-java libgrpc-java libnetty-java libnetty-tcnative-java libnetty-tcnative-jni libperfmark-java junit4 openssl

.PHONY: java-test
java-test: build ## tests of the Java client against bin/segue (Debian 12)
	dpkg -s $(JAVA_NEEDS) >/dev/null 2>&1 || $(if $(filter 0,$(shell id -u)),,sudo )apt-get install -y $(JAVA_NEEDS)
	bash clients/java/test

.PHONY: manifests
manifests: ## what follows the Helm chart and the flags of serve: deploy/kubernetes, and the settings in the chart's schema
	cd tools/chart && CGO_ENABLED=0 go test -count 1 -run 'TestManifests|TestSchemaKnowsSettings' . -write

.PHONY: deploy-check
deploy-check: ## the Helm chart: lint, strict decoding, pod security (builds parts of Kubernetes: minutes, the first time)
	bash .ci/run deploy

.PHONY: stores-test
stores-test: ## backups to s3:// and gs:// over their protocols (builds their servers: minutes, the first time)
	bash .ci/run stores

.PHONY: tidy
tidy: ## go.mod and go.sum of every module
	go mod tidy
	cd tools/lint && go mod tidy
	cd tools/ghz && go mod tidy
	cd tools/chart && go mod tidy
	cd tools/stores && go mod tidy

.PHONY: ci
ci: ## what CI runs
	bash .ci/run

.PHONY: clean
clean: ## remove what build made
	rm -rf bin
