# vtm-ingress: `make help` lists what there is.
GO       ?= go
RACE     ?=
RUN      ?=
FUZZTIME ?= 60s
IMAGE    ?= vtm-ingress-controller:devel
BUILDER  ?= docker

# The public certificate authorities that the image knows: those of this machine.
CA_CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt
BUDGET   ?= 10m

# The bubble lane replaces the generator behind math/rand by a hash of seed and
# fake time, which needs access to an unexported variable of that package
# (docs/decisions/hashed-randomness.md).
TESTFLAGS = -tags hashedrand -ldflags=-checklinkname=0 $(if $(RACE),-race)

# How many packages are tested at a time: one more than there are processors, since
# scenarios over real sockets mostly wait.
PACKAGES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# What the tests run if it is there; see CONTRIBUTING.md.
export KUBECTL      ?= $(CURDIR)/bin/kubectl
export KUBECTL_1_20 ?= $(CURDIR)/bin/kubectl-1.20

.DEFAULT_GOAL := help
.PHONY: help build image image-files test lint figures fuzz sim simulate mutations kubectl docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the programs, into bin/
	$(GO) build -tags grpcnotrace -o bin/ ./cmd/...

sim: build ## the sandbox: emulated Kubernetes, emulated traffic manager, controller; Ctrl-C ends it
	@exec bin/sandbox $(ARGS)

image-files: ## what the image of the controller holds, into bin/image/
	@mkdir -p bin/image
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags "-s -w" -o bin/image/ ./cmd/vtm-ingress-controller
	cp deploy/Containerfile $(CA_CERTIFICATES) bin/image/

image: image-files ## the image of the controller, built here (IMAGE=registry/name:tag, BUILDER=docker or podman)
	$(BUILDER) build -t $(IMAGE) -f bin/image/Containerfile bin/image

test: kubectl ## all tests (RACE=1: with the race detector; REQUIRE_TOOLS=1: a missing tool fails)
	$(GO) test $(TESTFLAGS) -timeout 20m -p $(PACKAGES) ./...

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet -tags hashedrand ./...
	$(GO) tool staticcheck -tags hashedrand ./...

figures: build bin-simulation ## the figures that the project promises (RUN=skeleton: those of one group)
	@exec bin/figures $(if $(RUN),--run $(RUN))

fuzz: ## coverage-guided fuzzing of everything hostile, FUZZTIME each
	@set -e; for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$package/*_test.go | sed 's/func //' | sort -u); do \
			echo "== $$package $$target"; \
			$(GO) test $(TESTFLAGS) -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: bin-simulation
bin-simulation:
	$(GO) test -c -tags hashedrand -ldflags=-checklinkname=0 -o bin/simulation ./testenv/simulation

simulate: bin-simulation ## the whole system with everything failing, on new seeds for BUDGET (10m); or SEED=s [STEPS=n]
ifdef SEED
	cd testenv/simulation && GOMAXPROCS=1 ../../bin/simulation -test.v -test.run '^TestSeed$$' -seed $(SEED) $(if $(STEPS),-steps $(STEPS))
else
	cd testenv/simulation && ../../bin/simulation -test.v -test.timeout 0 -test.run '^TestSimulate$$' -budget $(BUDGET) $(if $(STEPS),-steps $(STEPS))
endif

mutations: ## which deliberate faults of the controller the simulation finds, into docs/mutations.md (ONLY=regexp)
	$(GO) test -c -tags "hashedrand mutations" -ldflags=-checklinkname=0 -o bin/mutations ./testenv/simulation
	cd testenv/simulation && ../../bin/mutations -test.v -test.timeout 0 -test.run '^TestMutations$$' $(if $(ONLY),-only '$(ONLY)')

docs: ## what is made from code and data in docs/ and deploy/
	$(GO) test ./internal/facts -run SettingsPage -update
	$(GO) test $(TESTFLAGS) ./sim/vtm -run FidelityPage -update
	$(GO) test $(TESTFLAGS) ./sim/vtm/admin -run Screenshots -update
	$(GO) test $(TESTFLAGS) ./testenv/contract -run TheChartHasEachSetting -update
	$(GO) test $(TESTFLAGS) ./testenv/contract -run TheManifestsAreTheChart -update

kubectl: bin/kubectl ## a current kubectl, built from its Go module

KUBECTL_VERSION = v1.37.2
bin/kubectl: tools/kubectl/go.mod tools/kubectl/main.go
	cd tools/kubectl && $(GO) build -o ../../bin/kubectl -ldflags " \
		-X k8s.io/component-base/version.gitVersion=$(KUBECTL_VERSION) \
		-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
		-X k8s.io/component-base/version.gitTreeState=clean \
		-X k8s.io/client-go/pkg/version.gitVersion=$(KUBECTL_VERSION)" .
	@touch $@
