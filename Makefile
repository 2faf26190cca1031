# Every target is a door to deploy/bootstrap.py, which works where make is missing. ARGS="…" passes options on; PYTHON=… chooses the Python.
PYTHON3 = $(or $(PYTHON),$(shell command -v python3 2>/dev/null),$(error No python3 here. Install Python 3.11 or newer (Debian, Ubuntu: python3 python3-venv; macOS: brew install python@3.13) or name one by PYTHON=))
BOOTSTRAP = "$(PYTHON3)" deploy/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help setup run test chaos lint types bench lock release services-up services-down clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+( [a-z-]+)*:.*## / {printf "make %-26s %s\n", $$1, $$2}' Makefile

setup: ## make .venv from the hash-pinned locks, for running, testing and checking
	@exec $(BOOTSTRAP) setup

run: ## start everything on the starter playbook: make run ARGS="--port 9000 --data some/folder"
	@exec $(BOOTSTRAP) run $(ARGS)

test: ## every test this machine can run: make test ARGS="-k readiness"
	@exec $(BOOTSTRAP) test $(ARGS)

chaos: ## a thousand kills and the report: make chaos ARGS="--kills 50 --seed 7"
	@exec $(BOOTSTRAP) chaos $(ARGS)

lint: ## ruff, its formatting, and who may import whom
	@exec $(BOOTSTRAP) lint $(ARGS)

types: ## mypy, strict
	@exec $(BOOTSTRAP) types $(ARGS)

bench: ## every figure we quote, beside its floor
	@exec $(BOOTSTRAP) bench $(ARGS)

lock: ## write locks/ anew: make lock ARGS=--upgrade
	@exec $(BOOTSTRAP) lock $(ARGS)

release: ## build the wheel into dist/
	@exec $(BOOTSTRAP) release $(ARGS)

services-up: ## PostgreSQL and Apache Kafka as local processes (data under .services/); prints how to reach them
	@exec "$(PYTHON3)" deploy/servers.py up

services-down: ## stop them by pid; their data stays
	@exec "$(PYTHON3)" deploy/servers.py down

clean: ## remove what can be made again; .dripline, your data, stays
	rm -rf .venv .venv.lock .clients dist build .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
