# One command each: demo, test, check, bench. Everything that they need, they set up themselves.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)

.PHONY: help venv check format lock demo test unit model mutation e2e faults bench clean
help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

venv: $(VENV)/.synced ## the locked Python environment in .venv
$(VENV)/.synced: requirements/dev.lock Makefile
	@tools/python-env $(VENV) $(UV_VERSION)
	@touch $@

lock: venv ## write requirements/*.lock anew from pyproject.toml
	uv pip compile -q pyproject.toml --generate-hashes --python-version 3.11 --no-annotate --custom-compile-command "make lock" -o requirements/operator.lock
	uv pip compile -q pyproject.toml --group dev --generate-hashes --python-version 3.11 --no-annotate --custom-compile-command "make lock" -o requirements/dev.lock
	for tool in checkov sbom; do uv pip compile -q --group pyproject.toml:$$tool --generate-hashes --python-version 3.11 --no-annotate --custom-compile-command "make lock" -o requirements/$$tool.lock; done

format: venv ## format the code
	ruff format -q . && ruff check -q --fix .

.PHONY: manifests
manifests: venv ## render manifests/ from the chart, by the real Helm (built once, minutes)
	tools/manifests

check: venv ## format, lint, types, layers, spelling; seconds
	ruff format --check -q .
	ruff check -q .
	mypy
	lint-imports --no-logo
	codespell
	yamllint -s crds manifests examples docs charts/*/Chart.yaml charts/*/values.yaml

.PHONY: workflows secrets security sbom release release-image release-notes
workflows: venv ## .github/workflows as GitHub reads them (actionlint, built once)
	tools/go-tool actionlint -shellcheck= -pyflakes=

secrets: venv ## no secret in the history (gitleaks, built once); the pre-commit hook looks at what is staged
	if git rev-parse HEAD >/dev/null 2>&1; then tools/go-tool gitleaks git --no-banner --redact; else tools/go-tool gitleaks dir --no-banner --redact operator; fi

security: venv ## checkov over manifests and Dockerfile, in an environment of its own
	tools/security

sbom: venv ## build/sbom.json: what the operator's image holds (CycloneDX), from the lock
	tools/sbom

release-image: venv ## image of a tag for this machine's architecture (REGISTRY= TAG=)
	tools/release image

release: venv ## both images as one, and the chart (REGISTRY= TAG=; DRY=1 pushes nothing)
	tools/release all

release-notes: venv ## the release at GitHub: changelog, chart and SBOM (REGISTRY= TAG=; DRY=1 prints the changelog)
	tools/release notes

-include devcluster/targets.mk

unit: venv ## tests that need no cluster
	tools/test unit

MODEL ?=
model: venv ## model check of the write protocol, deep (MODEL="--seconds 600 --seed 7 'two operators'")
	python -m tests.model $(MODEL)

MODULES ?=
mutation: venv ## faults put into what decides, writes and judges: a test must notice each (MODULES="policy/writes.py")
	nice -n 19 python -m tests.mutation $(MODULES)

e2e: venv ## end-to-end tests on a cluster of their own
	tools/test e2e

test: venv ## everything that CI runs (STAGES="check unit security image apiserver+inputs+chart devcluster faults+fault-tests e2e")
	tools/test $(STAGES)

faults: venv ## every fault at every write and event (SCENARIOS= FAULTS= SEED= STRIDE=0/10 RESUME=1 JOBS=3 PLANS=)
	python -m tests.faults $(or $(PLANS),--all)

demo: venv ## a whole day of releases on a real cluster, under load
	python -m demo

bench: venv ## speed as ratios to a bare PATCH, size, counts of requests
	python -m bench
