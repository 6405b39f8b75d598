# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Everything runs on the Node that hack/node finds or brings; nothing is installed globally.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NODE_BIN = $(shell hack/node --where)
RUN = PATH="$(NODE_BIN):$(CURDIR)/node_modules/.bin:$$PATH"
STAMP = node_modules/.penstock-installed

.PHONY: help demo standalone test native native-sanitizers gpu-test unit e2e bench chaos chaos-processes chaos-mutations generate verify lint fmt images clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Before anything asks for a Node: what the one that hack/node brings is linked to.
.PHONY: ensure-node
ensure-node:
	@hack/ensure make

$(STAMP): package-lock.json package.json | ensure-node
	$(RUN) npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

demo: $(STAMP) ## the main job on this machine: pages to text through the queue, from zero units (no cluster, no Redis)
	@hack/node deploy/standalone/demo/main.ts

standalone: $(STAMP) ## serve APPS=manifest-or-folder on this machine until stopped (ARGS="--port 8080 --data .data")
	@deploy/standalone/penstock standalone -f "$(or $(APPS),config/samples/handler-app.yaml)" $(ARGS)

test: $(STAMP) ## unit, conformance, integration and native tests, against a real kube-apiserver, Redis, S3 server and a fake GPU driver (root only where a Debian package is missing)
	@hack/ensure test
	@hack/ensure native
	@hack/node hack/test.ts unit conformance integration native

native: ## the VRAM quota's objects, fake drivers and test programs, in dist/native
	@hack/ensure native
	@$(MAKE) --no-print-directory -j2 -C native all

native-sanitizers: $(STAMP) ## the quota's suite on builds with AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	@hack/ensure native
	@$(MAKE) --no-print-directory -C native libs
	@hack/node hack/test.ts native-asan native-ubsan native-tsan

gpu-test: ## the VRAM quota against a real driver and PyTorch (a machine with a GPU, gcc and Python; no network, no Node)
	@$(MAKE) --no-print-directory -s -C native WARN=-Wall libs gpu-programs
	@PYTHONDONTWRITEBYTECODE=1 $(or $(PYTHON),python3) test/gpu/main.py

unit: $(STAMP) ## the fast tests only: no server is started
	@hack/node hack/test.ts unit

e2e: $(STAMP) images ## the product on a real node with real pods (root; brings a Kubernetes up in seconds)
	@hack/ensure e2e
	@hack/node hack/test.ts e2e

bench: $(STAMP) ## ratios against a floor measured in the same run (BENCH=skeleton)
	@hack/ensure test
	@hack/node hack/bench.ts $(or $(BENCH),skeleton)

chaos: $(STAMP) ## nothing is lost or doubled: schedules of faults in one process (SCHEDULES=2000 SEED=1 DRIVER=embedded|redis|both)
	@hack/ensure test
	@hack/node test/chaos/main.ts --schedules "$(or $(SCHEDULES),2000)" --seed "$(or $(SEED),1)" --driver "$(or $(DRIVER),both)"

chaos-processes: $(STAMP) ## the same with real processes that are killed, stopped and cut off (SCHEDULES=15 SEED=1)
	@hack/ensure test
	@hack/node test/chaos/processes/main.ts --schedules "$(or $(SCHEDULES),15)" --seed "$(or $(SEED),1)"

chaos-mutations: $(STAMP) ## bugs planted in the queue, each of which make chaos must find (SCHEDULES=2000 SEED=1)
	@hack/ensure test
	@hack/node test/chaos/mutations/main.ts --schedules "$(or $(SCHEDULES),2000)" --seed "$(or $(SEED),1)"

generate: $(STAMP) ## types, validators and reference docs from the CRDs
	@$(RUN) hack/node hack/generate.ts

lint: $(STAMP) ## oxlint with type information, and the import arrows
	@$(RUN) oxlint --type-aware --quiet

fmt: $(STAMP) ## format everything
	@$(RUN) oxfmt .

verify: $(STAMP) ## regenerate, format, lint, types, dead exports; fails on any drift
	@$(RUN) hack/verify

images: $(STAMP) ## container images without Docker, as archives in dist/images
	@hack/ensure images
	@hack/node hack/images.ts

clean: ## remove what the targets made here (not the caches)
	rm -rf dist demo-out .data coverage
