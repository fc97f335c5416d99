# The commands of this repository. `make help` lists them; CI runs them by .ci/run.
# They need Go, and the packages that .ci/run installs. Tools are pinned here, and Go builds
# them the first time.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GORELEASER    := github.com/goreleaser/goreleaser/v2@v2.17.0
HELM_DOCS     := github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
ACTIONLINT    := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The side modules keep what they need out of the exporter's dependencies.
MODULES := . bench deploy/helm e2e grafana/generate

# The toolchain is that of go.mod, also if a newer one is installed.
export GOTOOLCHAIN := go$(shell sed -n 's/^go //p' go.mod)

# A build is stamped with the version, and with the commit and its date in UTC.
OUT      ?= vbaws_exporter
VERSION  := $(shell cat VERSION)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)$(if $(shell git status --porcelain 2>/dev/null),-modified)
CREATED  ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)
STAMP    := github.com/prometheus/common/version
LDFLAGS   = -s -w -X $(STAMP).Version=$(VERSION) -X $(STAMP).Revision=$(REVISION) -X $(STAMP).BuildDate=$(CREATED)

# Without a remote, goreleaser takes nothing from git, neither the commit nor its date.
REMOTE = $(if $(shell git remote),,GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=remote.origin.url GIT_CONFIG_VALUE_0='https://git.invalid/vbaws_exporter/vbaws_exporter')

.PHONY: help all build test race lint smoke boards e2e simulate bench vuln package release image verify generate fix clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

all: lint build race smoke boards e2e simulate bench vuln verify ## all that must hold for a change; CI runs it

build: ## build the exporter as it is released, into OUT
	CGO_ENABLED=0 GOFLAGS= GOEXPERIMENT= GOFIPS140=off GOWORK=off GOAMD64=v1 GOARM64=v8.0 \
	  go build -trimpath -buildvcs=false -mod=readonly -ldflags '$(LDFLAGS)' -o '$(OUT)' .

test: ## run the exporter's tests; two minutes
	go test ./...

race: ## run them with the race detector, and the longest ones without it, at full length
	go test -race -timeout 30m ./...
	go test -timeout 30m -run 'TestMetricsEqualTheTruth|TestCutoff/wrong_clocks' ./collector/poller -steps 1000
	go test -timeout 30m -run 'TestKill|TestMove' ./collector/killtest -kills 204
	go test -timeout 30m -run TestHostileAppliance ./internal/app -hostile 100

lint: ## check code, go.mod files, workflows, scripts, the chart's README and the release's configuration
	@set -e; for module in $(MODULES); do (cd $$module && echo "lint $$module" && go mod tidy -diff \
	  && go run $(GOLANGCI_LINT) run --config '$(CURDIR)/.golangci.yml' ./...); done
	go run $(ACTIONLINT) -shellcheck= -pyflakes=
	shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning .ci/run deploy/image deploy/licenses deploy/verify deploy/package/p* deploy/test/* e2e/run e2e/smoke
	go run $(HELM_DOCS) --chart-search-root deploy/helm --dry-run --log-level error | diff deploy/helm/vbaws-exporter/README.md - \
	  || { echo 'the README of the chart is old: run make generate'; exit 1; }
	$(REMOTE) go run $(GORELEASER) check --quiet

fix: ## let the linters fix what they can
	@set -e; for module in $(MODULES); do (cd $$module && go mod tidy \
	  && go run $(GOLANGCI_LINT) run --config '$(CURDIR)/.golangci.yml' --fix ./...); done

smoke: ## scrape the demo once, and check metrics and rules by the installed promtool
	e2e/smoke

boards: ## check that dashboards, alerts for Grafana and mixin are what the code generates
	cd grafana/generate && go test -count=1 ./... # it reads files outside of the module

e2e: ## run the exporter with a real Prometheus, Alertmanager and browser
	e2e/run

simulate: ## simulate 500 days of policies: each problem alerts once and in time, and nothing else does
	cd e2e && go test -count=1 -timeout=30m ./simulation -run TestSimulation -args -policy-days 500

bench: ## measure the exporter against its limits and alternatives
	cd bench && go test ./...
	cd bench && go run . -quick

vuln: ## look for known vulnerabilities, if their database can be reached
	@if curl -sfo /dev/null --max-time 20 https://vuln.go.dev/index/db.json; then go run $(GOVULNCHECK) ./...; \
	  else echo 'govulncheck: skipped, https://vuln.go.dev cannot be reached'; fi

package: ## build the files of a release into dist/: archives, packages, chart, SBOMs, checksums
	$(REMOTE) go run $(GORELEASER) release --snapshot --clean

release: ## publish the release of the commit's tag; needs a token for the forge
	go run $(GORELEASER) release --clean

image: ## build the container image by docker, podman or buildah
	deploy/image

# As root, since it starts containers and installs packages.
verify: ## build and use the image, the release, the packages and the chart; as root, on Debian
	$(if $(filter-out 0,$(shell id -u)),sudo env 'PATH=$(PATH)') deploy/verify

# RUNBOOK_BASE=https://HOST/PATH/ is put before each runbook_url of the alerts; empty makes them relative again.
generate: ## write the files that code generates: dashboards, Grafana's alerts, the chart's README
	cd grafana/generate && go run . $(if $(filter undefined,$(origin RUNBOOK_BASE)),,-runbook-base='$(RUNBOOK_BASE)')
	go run $(HELM_DOCS) --chart-search-root deploy/helm

clean: ## remove what these targets built
	rm -rf build dist vbaws_exporter
