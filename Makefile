# The verbs of this repository. CI runs the same ones (.ci/run) and nothing else.
# PYTHON=/path/to/python3.12 chooses the interpreter; else the newest of 3.13, 3.12, 3.11 that works.

PY := .venv/bin/python
COMPILE := .venv/bin/uv pip compile --quiet --no-emit-index-url --no-header
LOCK := $(COMPILE) --universal --python-version 3.11
CHECKOV := .checkov/bin/checkov
.DEFAULT_GOAL := help
.PHONY: help install run demo rotate-keys test test-fast check bench package deploy rollback destroy person fmt lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)$$/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

install: ## make .venv and install what the lock files say, if it is not so already
	@PYTHON='$(PYTHON)' sh local/environment.sh

run: install ## the whole product on this machine, with demo data; Ctrl-C stops it
	@exec $(PY) -m local

demo: install ## a tour: a run, its approvals, their effects and events
	@exec $(PY) -m local.demo

rotate-keys: install ## on this machine: a new wrapping key, and every saved key under it
	@$(PY) -m local.rotate_keys

test: install $(CHECKOV) ## every test, on all cores
	$(PY) -m pytest -n auto

$(CHECKOV): requirements-checkov.txt | install
	@echo "Installing requirements-checkov.txt into .checkov (a minute the first time)"
	@rm -rf .checkov && $(PY) -m venv .checkov
	@.checkov/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-checkov.txt
	@touch $@

test-fast: install ## the tests that take milliseconds
	$(PY) -m pytest -n auto -m "not slow" --ignore=tests/e2e

check: install ## format, lint, types, import contracts, schema, OpenAPI
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m local.schema_check
	$(PY) -m chalicelib.api.openapi --check docs/openapi.json

bench: install ## the benchmarks, or one: make bench NAME=claims
	$(PY) -m bench $(NAME)

package: install ## what Lambda gets, under build/; ARCH=arm64 for that
	$(PY) -m infra.package --arch $(or $(ARCH),x86_64)

DEPLOYING = $(PY) -m infra.deploy $@ --stage $(or $(STAGE),$(error Say which stage: make $@ STAGE=dev)) \
	$(if $(filter yes,$(TAKE_OVER)),--take-over) $(if $(DATABASE_CA),--database-ca $(DATABASE_CA))

deploy: install ## a release to AWS: STAGE=dev; docs/how-to/deploy.md
	@$(DEPLOYING) --arch $(or $(ARCH),x86_64) $(if $(MAY_REPLACE),--may-replace $(MAY_REPLACE))

rollback: install ## the release before serves again: STAGE=dev; or RELEASE=its id
	@$(DEPLOYING) $(if $(RELEASE),--release $(RELEASE))

destroy: install ## takes a stage down, asks first: STAGE=dev
	@$(DEPLOYING) $(if $(CONFIRM),--confirm $(CONFIRM)) $(if $(filter yes,$(DESTROY_PROD)),--prod-too)

# What is said of a person goes to the program in its environment, as it was typed: neither make nor a shell reads it.
# What merely stands in the environment (EMAIL often does) was not meant for this.
typed = $(if $(filter command,$(firstword $(origin $1))),$(value $1))
unexport EMAIL NAME ROLE CUSTOMER CUSTOMER_NAME TIME_ZONE PLAN RESEND
person: export PERSON_EMAIL := $(call typed,EMAIL)
person: export PERSON_NAME := $(call typed,NAME)
person: export PERSON_ROLE := $(call typed,ROLE)
person: export PERSON_CUSTOMER := $(call typed,CUSTOMER)
person: export PERSON_CUSTOMER_NAME := $(call typed,CUSTOMER_NAME)
person: export PERSON_TIME_ZONE := $(call typed,TIME_ZONE)
person: export PERSON_PLAN := $(call typed,PLAN)
person: export PERSON_RESEND := $(call typed,RESEND)
person: install ## lets somebody in: STAGE=dev EMAIL=… NAME="…" ROLE=ADMIN CUSTOMER_NAME="…", or CUSTOMER=cus_…
	@$(DEPLOYING)

fmt: install ## format, and mend what the linter can mend
	$(PY) -m ruff format
	$(PY) -m ruff check --fix

lock: install ## compile requirements*.in into the lock files
	$(LOCK) requirements.in -o requirements.txt
	$(LOCK) requirements-dev.in -o requirements-dev.txt
	$(LOCK) requirements-checkov.in -o requirements-checkov.txt
	$(COMPILE) --generate-hashes --python-version 3.13 --python-platform x86_64-manylinux_2_34 \
		-c requirements.txt requirements-lambda.in -o requirements-lambda.txt

clean: ## remove caches; .venv and .local (your local data) stay
	rm -rf build .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.checkov/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +
