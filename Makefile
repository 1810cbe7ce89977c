# Targets for people; each does its own set-up. The README has the plain commands.
PYTHON ?= python3

.PHONY: demo env lint lock test

demo: env
	.venv/bin/snakemake --cores all

test: env
	.venv/bin/python -m pytest --numprocesses 2

lint: env
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint

env: .venv/requirements.txt

.venv/requirements.txt: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	cp requirements.txt $@

# needs uv; writes hashes and no address of an index
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url requirements.in --output-file requirements.txt
