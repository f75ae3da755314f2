# SPDX-License-Identifier: GPL-2.0-or-later
# One word each: `make test`, `make demo`, `make lint`, `make bench`, `make fuzz`, `make deb`. Nothing else has to be installed first.

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# Compiled once, and not by each daemon that a test starts.
unexport PYTHONDONTWRITEBYTECODE
HOST_TESTS := tests/unit tests/vectors tests/golden tests/architecture tests/conversations tests/properties

.PHONY: test lint types host-tests kernel-tests lab-tests boot-tests faults demo deb bench fuzz soak clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.venv/ready: pyproject.toml lab/setup
	@lab/setup

test: export XFRMD_WORLDS ?= 20000
test: export XFRMD_KERNEL_WORLDS ?= 300
test: export XFRMD_CHANGES ?= 150
test: lint types host-tests lab-tests kernel-tests boot-tests ## everything: lint, types, and every tier of tests this user may run

lint: .venv/ready ## ruff: rules and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: .venv/ready ## mypy, strict
	$(PYTHON) -m mypy

host-tests: .venv/ready ## tests that need neither root nor a special kernel
	$(PYTEST) -q -n auto --dist worksteal $(HOST_TESTS)
	$(PYTEST) -q tests/fuzz

kernel-tests: .venv/ready ## tests against this host's own kernel, in namespaces of their own (root)
	@if [ "$$(id -u)" = 0 ]; then $(PYTEST) -q -n auto --dist worksteal tests/kernel; \
	else echo "LEFT OUT: tests/kernel needs root (network namespaces): run 'sudo make kernel-tests'"; fi

lab-tests: .venv/ready ## tests in a kernel with ESP, with real peers, in real and in simulated time (root)
	@if [ "$$(id -u)" = 0 ]; then $(PYTHON) -m lab.suite tests/lab && $(PYTHON) -m lab.suite --time-travel tests/simulated; \
	else echo "LEFT OUT: tests/lab needs root (a kernel with ESP): run 'sudo make lab-tests'"; fi

boot-tests: .venv/ready ## Debian boots for real in the lab's kernel, with the package installed, and is attacked (root)
	@# A guest that falls silent (lab/README.md says why) has its test again, twice at most, which pytest tells; no other failure has.
	@if [ "$$(id -u)" = 0 ]; then $(PYTEST) -q -n auto --dist loadfile --reruns 2 --only-rerun GuestSilentError tests/boot; \
	else echo "LEFT OUT: tests/boot needs root (a Debian of its own): run 'sudo make boot-tests'"; fi

faults: export XFRMD_FAULTS := $(CURDIR)/build/faults.rows
faults: .venv/ready ## docs/faults.md anew: what passed in each fault, from a run of the tests, in half an hour (root)
	@mkdir -p build && rm -f $(XFRMD_FAULTS)
	$(MAKE) boot-tests
	$(PYTHON) -m lab.suite tests/lab/test_chaos.py tests/lab/test_chaos_ike_daemons.py
	$(PYTHON) -m tools.faults $(XFRMD_FAULTS) docs/faults.md

deb: .venv/ready ## the package for Debian 12, in dist/
	@packaging/build

demo: .venv/ready ## two hosts, one policy, a protected ping, then certificates, in about a minute
	@lab/run -- $(PYTHON) -m lab.demo

bench: .venv/ready ## measure, beside the peers, and print tables
	$(PYTHON) -m bench

fuzz: .venv/ready ## a million mutated datagrams (XFRMD_FUZZ_COUNT for more), then a minute of guided fuzzing for each kind of octets
	$(PYTEST) -q tests/fuzz
	$(PYTHON) -m tests.fuzz.guided

soak: .venv/ready ## simulated: thirty days of everything, XFRMD_DAYS for fewer; a year with strongSwan, XFRMD_YEAR (root)
	XFRMD_DAYS=$${XFRMD_DAYS:-30} XFRMD_YEAR=$${XFRMD_YEAR:-365} $(PYTHON) -m lab.suite --time-travel --follow --silence 36000 \
	    tests/simulated/test_thirty_days.py tests/simulated/test_mesh_days.py tests/simulated/test_year.py

clean: ## remove what was built here
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
