# make demo   set up, run the main job on the network and picture that ship, say where to look
# make test   set up, run every test
# make test-ray   a local Ray of two workers, one of them killed; installs Ray, which is large
# make lint   ruff and mypy --strict
# make docs   the documentation as HTML in build/docs; a warning is an error
# make benchmark   docs/benchmark.md again: DAQ against float, ONNX Runtime INT8 and OpenVINO; takes hours, goes on where it
#                  stopped. ONLY="--networks NAME,.. --sizes 320x180,.. --threads 1,2 --seconds 20" measures a part
# make benchmark-accuracy   docs/results.md again: DAQ against the rules of other tools; takes hours, goes on where it stopped.
#                  ONLY="--networks NAME,.. --configurations NAME,.. --bits 8,4 --sets Set5" measures a part
# make readme-table   the table of README.md. All three read DATA, by default ../shared/data
# make test-ort-versions   DAQ files in every ONNX Runtime from the oldest that is supported to the newest; downloads them
# make test-sanitizers   the native kernels under AddressSanitizer and UndefinedBehaviorSanitizer

PYTHON ?= python3
DATA ?= ../shared/data
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-ray lint typecheck docs benchmark benchmark-accuracy readme-table test-ort-versions test-sanitizers clean

$(VENV)/installed: pyproject.toml constraints.txt CMakeLists.txt $(wildcard runtime/native/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m daq_deploy.runtime.demo -o demo_output

# Two processes: some networks take gigabytes to calibrate.
test: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2

test-ray: $(VENV)/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -q tests/runtime/test_cluster.py

lint: $(VENV)/installed typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders install as one package; mypy sees them so through links.
typecheck: $(VENV)/installed
	rm -rf build/typecheck && mkdir -p build/typecheck/daq_deploy
	ln -s $(CURDIR)/daq_deploy/* $(CURDIR)/exporters $(CURDIR)/finetuning $(CURDIR)/runtime $(CURDIR)/models build/typecheck/daq_deploy/
	cd build/typecheck && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p daq_deploy

docs: $(VENV)/installed
	$(BIN)/sphinx-build -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo build/docs/index.html

$(VENV)/installed-benchmark: $(VENV)/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,benchmark]'
	touch $@

benchmark: $(VENV)/installed-benchmark
	mkdir -p build
	$(BIN)/python -m daq_deploy.runtime.speed --data $(DATA) -o docs/benchmark.md --cache build/benchmark.json $(ONLY)

benchmark-accuracy: $(VENV)/installed
	mkdir -p build
	$(BIN)/python -m daq_deploy.runtime.accuracy_table --data $(DATA) -o docs/results.md --cache build/accuracy.json $(ONLY)

readme-table: $(VENV)/installed
	$(BIN)/python -m daq_deploy.runtime.demo.readme_table README.md --data $(DATA)/images/Set5

test-ort-versions: $(VENV)/installed
	$(BIN)/python tests/ort_versions/compare.py --work build/ort_versions $(ONLY)

test-sanitizers: $(VENV)/installed
	mkdir -p build
	$(BIN)/cmake -S . -B build/sanitizers -DDAQ_SANITIZE=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON > build/sanitizers.log
	$(BIN)/cmake --build build/sanitizers --parallel
	build/sanitizers/tests/native/kernels_test 50 1 & build/sanitizers/tests/native/kernels_test 50 2 && wait $$!

clean:
	rm -rf build demo_output $(VENV)
