# Each target sets up what it needs. The README has the plain commands.
PYTHON ?= python3

RESOLVE = --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

PYTEST = .venv/bin/python -m pytest --numprocesses 2 --maxschedchunk 1

# the first Python of 3.12 or newer that runs: a shim of pyenv may not
NEWER = $(shell for python in python3.12 python3.13 python3.14 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.1[2-9]*/bin/python; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2> /dev/null && echo $$python && break; done)

.PHONY: demo env lint lock test test-cluster test-czi test-fast

demo: env
	.venv/bin/snakemake --cores all

test: env
	$(PYTEST)

# for use while you work: no slow tests, fewer generated examples, one run of the workflow
test-fast: env
	$(PYTEST) -m "not slow" --hypothesis-profile fast

lint: env
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile rules workflow
	.venv/bin/snakemake --lint

env: .venv/requirements.txt

# samfleet is installed from this folder, editable: changes take effect at once
.venv/requirements.txt: requirements.txt pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	cp requirements.txt $@

# tests of schedulers, with a real Slurm, which is installed if it is missing (Debian, Ubuntu; as root)
test-cluster: env
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-cluster.txt
	.venv/bin/python -m pytest tests/cluster

# tests of CZI, whose reader needs a newer Python than samfleet does; without torch
test-czi:
	@if test -n "$(NEWER)"; then \
		$(MAKE) --no-print-directory .venv-czi/requirements.txt \
		&& .venv-czi/bin/python -m pytest --noconftest tests/unit/images/sources/test_czi.py; \
	else \
		echo "Tests of CZI are skipped: no Python of 3.12 or newer runs here"; \
	fi

.venv-czi/requirements.txt: requirements-czi.txt
	$(NEWER) -m venv --clear .venv-czi
	.venv-czi/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-czi.txt
	cp requirements-czi.txt $@

# needs uv; the files contain hashes, but no address of a package index
lock:
	uv pip compile $(RESOLVE) requirements.in requirements-dev.in --output-file requirements.txt
	uv pip compile $(RESOLVE) requirements-cluster.in --constraint requirements.txt --output-file requirements-cluster.txt
	uv pip compile $(RESOLVE:3.11=3.12) requirements-czi.in --constraint requirements.txt --output-file requirements-czi.txt
