# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format lint types imports fast coverage docs results installs states clean

demo: .venv/.installed  ## the whole story on real images
	$(BIN)/splitplace demo

test: .venv/.installed installs  ## the whole suite
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

check: lint  ## everyday use, under 3 minutes: what waits for nothing else runs side by side
	$(MAKE) --no-print-directory -j3 types imports fast

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Static tools must see the rooms under their installed names: links, because setuptools' editable finder is
# invisible to them. A link is replaced at once, and what is there stays: `types` and `imports` may look meanwhile.
.PHONY: .typing
.typing:
	@mkdir -p .typing/splitplace
	@for entry in splitplace/* ; do ln -sfn ../../$$entry .typing/$$entry; done
	@for room in splitting training export placement benchmarks; do ln -sfn ../../$$room .typing/splitplace/$$room; done
	@find -L .typing/splitplace -maxdepth 1 -type l -exec rm {} +

types: .venv/.installed .typing
	cd .typing && ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../build/cache/mypy

imports: .venv/.installed .typing
	cd .typing && PYTHONPATH=. ../$(BIN)/lint-imports --config ../pyproject.toml --no-logo \
	  --cache-dir ../build/cache/imports

# One process more than pytest-xdist takes: a fast test waits for a part of its time, for a socket or another process.
fast: .venv/.installed
	ONE_PROCESS_MORE=1 $(BIN)/pytest -m "not slow" -q -n auto --dist loadfile

coverage: .venv/.installed  ## the fast tests again, with the share of lines and branches that they reach
	$(BIN)/pytest -m "not slow" -q -n auto --dist loadfile --cov --cov-report=term:skip-covered

docs: .venv/.installed .typing  ## the site, in build/site: a broken link or an unknown name fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

results: .venv/.installed  ## benchmarks/RESULTS.md and results/index.html from benchmarks/results
	$(BIN)/python -m splitplace.benchmarks.results_page

# Who installs less than everything: the tests that say they need no more, where no more is there.
installs: build/venv-base/.installed build/venv-sim/.installed  ## tests on a base install and on [sim] alone
	build/venv-base/bin/python -m pytest -q -m "base and not sim and not slow" $$(grep -rlE 'mark\.base\b' tests)
	build/venv-sim/bin/python -m pytest -q -m "sim and not slow" $$(grep -rlE 'mark\.sim\b' tests)

build/venv-base/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear build/venv-base
	build/venv-base/bin/python -m pip install --quiet --constraint constraints.txt --editable . pytest pytest-timeout hypothesis
	@touch $@

build/venv-sim/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear build/venv-sim
	build/venv-sim/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[sim]' pytest pytest-timeout hypothesis
	@touch $@

# The trained states that ship; again whenever the measured demand, the fleet or the features change.
states: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/splitplace policy train --scenario measured-50 --demand measured --out build/states
	for state in build/states/*.safetensors; do cp $$state placement/data/state.measured-50.$$(basename $$state); done

.venv/.installed: pyproject.toml constraints.txt
	@echo "installing into .venv, once: some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .typing build dist *.egg-info
