# Two commands on a fresh machine: `make run` and `make test`. Each sets up what it needs.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CORES ?= all
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.conda/bin:$(PATH)
# One thread a process: two contended torch or BLAS threads are slower than one.
export OMP_NUM_THREADS := 1

.PHONY: help run test slurm lint bench faults setup report models demo-data clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: setup ## set up, then run the workflow on the embedded default
	snakemake --cores $(CORES)

report: setup ## write the report again from results/, without training
	snakemake report --cores 1 --forcerun plot_report write_report

test: setup .cache/mlflow ## set up, then run all tests
	pytest -n auto --dist loadfile

slurm: setup ## disturb a Slurm of the tests' own: jobs, daemons and Snakemake killed (root, Debian; half an hour)
	pytest tests/slurm -m "slurm or workflow" -rs

lint: setup ## ruff, snakefmt and Snakemake's own linter
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

bench: setup ## measure: ratios taken in one run, printed as tables
	pytest tests/benchmarks -m benchmark -s

faults: setup ## kill a tiny run fifty times and the default thrice, the default in 4 GiB (hours), printed as tables
	pytest tests/faults -m faults -s

models: setup ## train models like the embedded ones from registry packages (hours) into results/pretraining/models
	command -v blastdbcmd >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends ncbi-blast+; }
	snakemake pretraining --cores $(CORES)

demo-data: setup ## select the embedded chains, targets and search pool again from registry packages
	python resources/demo/build.py .cache/packages

setup: .venv/.installed .cache/.tools ## the environment .venv and the tools, nothing more

.venv/.installed: envs/requirements.lock pyproject.toml envs/install_python.sh
	bash envs/install_python.sh
	touch $@

.cache/mlflow: envs/mlflow-server.lock .venv/.installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ --requirement $<
	touch $@

.cache/.tools: envs/install_tools.sh
	bash envs/install_tools.sh
	mkdir -p .cache && touch $@

clean: ## remove what the workflow made; the environment and the alignment cache stay
	rm -rf results
