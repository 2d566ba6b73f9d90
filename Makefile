# make up: the whole cluster on this machine. make help: everything else.
PYTHON ?= python3
CLUSTER = $(PYTHON) cluster.py
RUN = .venv/bin
# Each service is a flat folder with its own main.py, so each is type-checked by itself.
FOLDERS = coordinator timestamp-service metrics-collector cabinet-service seer-service

.DEFAULT_GOAL := help
.PHONY: help up down clean status logs stop kill start freeze thaw setup venv format lint types quick-tests \
	slow-tests simulate test-faults test-e2e images-offline bench bench-failover page-pictures \
	experiment-cabinet experiment-seer experiment-timestamps check test demo demo-docker

help:
	@echo "make up | status | down | clean      start the cluster, look at it, end it, remove its data"
	@echo "make stop | kill | start | freeze | thaw NODE=replica-1      a node or a service"
	@echo "make logs [NODE=coordinator] [FOLLOW=1]"
	@echo "make demo | demo-docker [FAST=1] [KEEP=1]      a cluster of its own at work: killed, frozen, damaged, healed, counted"
	@echo "make test-faults [SEED=…] [MINUTES=10]      real faults on real processes, as root"
	@echo "make images-offline      base images for docker compose from Debian's packages, as root; prints lines for .env"
	@echo "make test-e2e      the ten containers, stopped, paused, killed and cut off, as root on an engine of its own"
	@echo "make bench [QUICK=1] [PARTS=…] [FIGURES=1]      beside one MySQL, semisync, Group Replication and Galera, in one run"
	@echo "make bench-failover [RUNS=30]      how long writes pause when something fails"
	@echo "make page-pictures      the README's pictures of the live page, in Chromium"
	@echo "make experiment-cabinet | experiment-seer | experiment-timestamps [SEED=…] [QUICK=1] [FIGURES=1]      what adaptive choices gain"
	@echo "make check | test | format      fast checks; every test there is; format the source"
	@echo "CLUSTER_DIR=… PORT_OFFSET=… MYSQLD=… PYTHON=…      another cluster, server or Python"

up down clean status setup:
	@$(CLUSTER) $@

stop kill start freeze thaw:
	@$(CLUSTER) $@ $(NODE)

logs:
	@$(CLUSTER) logs $(if $(FOLLOW),--follow) $(NODE)

# On a cluster of its own, which is gone afterwards. demo-docker: in containers.
demo demo-docker:
	@$(CLUSTER) venv --demo
	@$(RUN)/python demo.py $(if $(filter demo-docker,$@),--docker) $(if $(FAST),--fast) $(if $(KEEP),--keep)

venv:
	@$(CLUSTER) venv --tests

format: venv
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

lint: venv
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .

types: venv
	$(RUN)/mypy $(wildcard *.py) tests
	set -e; for folder in $(FOLDERS); do $(RUN)/mypy $$folder; done

quick-tests: venv
	$(RUN)/python -m pytest -q -n 2 --dist loadfile tests/unit tests/contract

# Two at a time, a file each: most of their time they wait for processes. Then those that measure or need all cores.
slow-tests: venv
	@$(CLUSTER) mysqld >/dev/null
	$(RUN)/python -m pytest -q -n 2 --dist loadfile -m "not alone" tests/integration tests/faults
	$(RUN)/python -m pytest -q -m alone tests/integration tests/faults
	$(RUN)/python -m pytest -q tests/simulation
	$(MAKE) test-e2e

# In containers. Without DOCKER_HOST on an engine of its own, with the images that .ci/images-offline makes.
test-e2e: venv
	$(RUN)/python -m pytest -q tests/e2e

# make simulate SEEDS=2000 SEED=0: schedules from a seed on. SEEDS=1 SEED=417 TRACE=1 shows one, event by event.
SEEDS ?= 300
SEED ?= 0
KIND ?= plain
simulate: venv
	@PYTHONPATH=coordinator:timestamp-service $(RUN)/python tests/simulation/schedules.py $(SEED) $(SEEDS) --kind $(KIND) $(if $(TRACE),--trace)

# Seeded faults on real processes, round after round; without SEED a new one, which is printed. Its short form is in `make test`.
MINUTES ?= 10
test-faults: venv
	$(RUN)/python tests/faults/run_nemesis.py --minutes $(MINUTES) \
		$(if $(filter command environment,$(origin SEED)),--seed $(SEED))

images-offline:
	@.ci/images-offline

# PARTS: load, slow, failover (these three if it is empty), growth, idle, report. FIGURES=1 writes what README shows. ARGS: compare.py --help.
bench: venv
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check -r tests/bench/requirements.txt
	PYTHONPATH=.:coordinator:tests/integration:tests/faults $(RUN)/python tests/bench/compare.py $(PARTS) \
		$(if $(QUICK),--quick) --out $(if $(FIGURES),tests/bench/figures,.bench) $(ARGS)

RUNS ?= 30
bench-failover: venv
	PYTHONPATH=.:coordinator:tests/integration $(RUN)/python tests/bench/failover_bench.py --runs $(RUNS)

# On a cluster of its own, under load, in Debian's Chromium.
page-pictures: venv
	PYTHONPATH=.:coordinator:tests/integration $(RUN)/python tests/integration/page_pictures.py coordinator/live_page/screenshots

# What Cabinet, SEER and two timestamp servers gain, on a live cluster: a table, JSON and a picture. FIGURES=1 writes what README shows.
experiment-cabinet experiment-seer experiment-timestamps: experiment-%: venv
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check -r tests/bench/requirements.txt
	PYTHONPATH=.:coordinator:seer-service:tests/integration:tests/faults:tests/bench $(RUN)/python tests/experiments/$*_experiment.py \
		$(if $(QUICK),--quick) $(if $(filter command environment,$(origin SEED)),--seed $(SEED)) \
		--out $(if $(FIGURES),tests/experiments/figures,.bench) $(ARGS)

# `make check test` runs nothing twice.
check: lint types quick-tests

test: quick-tests slow-tests
