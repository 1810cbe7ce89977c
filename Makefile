PYTHON ?= python3

.PHONY: env test lint lock demo

env: .venv/installed

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	cp requirements.txt $@
