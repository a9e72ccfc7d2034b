# make demo   set up, run the main job on the network and picture that ship, say where to look
# make test   set up, run every test
# make lint   ruff and mypy --strict

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint typecheck clean

$(VENV)/installed: pyproject.toml constraints.txt CMakeLists.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

test: $(VENV)/installed
	$(BIN)/python -m pytest -q

lint: $(VENV)/installed typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders install as one package; mypy sees them so through links.
typecheck: $(VENV)/installed
	rm -rf build/typecheck && mkdir -p build/typecheck/daq_deploy
	ln -s $(CURDIR)/daq_deploy/* $(CURDIR)/exporters $(CURDIR)/runtime $(CURDIR)/models build/typecheck/daq_deploy/
	cd build/typecheck && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p daq_deploy

clean:
	rm -rf build $(VENV)
