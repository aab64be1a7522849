# latentkit. `make` alone prints what there is.

SIZE ?= teaching
NOTEBOOKS ?=
FORCE ?=
# Notebooks whose stored outputs `make test` runs again: the start and the first trained one of each paper.
NBVAL ?= 00 11 20 31 40
WORKERS ?= 2
LABFLAGS ?=

BIN := .venv/bin
PICKED := $(if $(NOTEBOOKS),--notebooks "$(NOTEBOOKS)")
# Threads of one process do not fight those of the next, and a re-run has the thread count of the stored run.
ONE := OMP_NUM_THREADS=1
stored = $(if $(1),$(foreach n,$(1),$(wildcard notebooks/$(n)_*.ipynb)),$(wildcard notebooks/*.ipynb))
RERUN := $(CURDIR)/runs/rerun

.DEFAULT_GOAL := help
.PHONY: help env figures lab test check verify rerun test-browser bench store weights clean

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "make %-13s %s\n", $$1, $$2}'
	@echo 'Variables: SIZE=quick|teaching|paper  NOTEBOOKS="10 11"  FORCE=1  WORKERS=2  PYTHON=...  TORCH_BACKEND=cpu|cu128|plain'

env: .venv/.ready ## make the environment in .venv, or bring it up to date

.venv/.ready: pyproject.toml constraints.txt .ci/environment
	@PYTHON="$(PYTHON)" TORCH_BACKEND="$(TORCH_BACKEND)" sh .ci/environment
	@touch $@

figures: env ## run the notebooks that are stale, write figures/SIZE
	@$(BIN)/latentkit figures --size $(SIZE) $(PICKED) $(if $(FORCE),--force)

lab: env ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(LABFLAGS)

check: env ## the inner loop: units, floors, style; no notebook is run
	$(ONE) $(BIN)/pytest tests -n $(WORKERS) -m "not notebook and not verify and not browser"

test: env ## units, floors, style, every notebook at quick, stored outputs of NBVAL
	$(ONE) $(BIN)/pytest tests -n $(WORKERS) --dist worksteal -m "not verify and not browser"
	@$(MAKE) --no-print-directory rerun RERUN_OF="$(call stored,$(NBVAL))"

verify: env ## stored outputs and numbers of every notebook against a re-run
	@$(MAKE) --no-print-directory rerun RERUN_OF="$(call stored,$(NOTEBOOKS))"

# nbval runs the notebooks as stored, at teaching, and compares the cells tagged nbval-check-output;
# their figures go to a folder of their own, whose numbers are then held against the stored ones. A kernel that
# hangs where nbval waits without a limit (start, shutdown) is ended by pytest-timeout, which prints every stack.
rerun: env
	@test -n "$(RERUN_OF)" || { echo "no notebook to run again"; exit 1; }
	rm -rf $(RERUN)
	$(ONE) TQDM_DISABLE=1 LATENTKIT_FIGURES=$(RERUN) $(BIN)/pytest -n $(WORKERS) --dist loadfile --timeout 1000 \
		--nbval-lax --nbval-current-env --nbval-cell-timeout 900 $(RERUN_OF)
	LATENTKIT_RERUN=$(RERUN) $(BIN)/pytest tests/test_notebooks.py -m verify

test-browser: env ## run notebooks in JupyterLab and move their explorers (CHROMIUM names the browser)
	$(BIN)/pytest tests/test_browser.py -m browser -s

bench: env ## time what is worth timing
	$(ONE) $(BIN)/pytest tests --benchmark-enable --benchmark-only; test $$? -eq 0 -o $$? -eq 5

store: env ## (maintainers) run at teaching, store outputs in the notebooks and claims in the README
	@$(BIN)/latentkit figures --store $(PICKED) $(if $(FORCE),--force)
	@$(BIN)/python -m latentkit.readme

weights: env ## (maintainers) train NOTEBOOKS again and ship the weights
	@test -n "$(NOTEBOOKS)" || { echo 'name them: make weights NOTEBOOKS="11"'; exit 1; }
	@$(BIN)/latentkit train $(NOTEBOOKS)

clean: ## remove caches and quick figures (leaves .venv and the results in runs/)
	rm -rf figures/quick runs/rerun runs/browser build dist .pytest_cache .ruff_cache .hypothesis .benchmarks
	find latentkit tests -name __pycache__ -type d -prune -exec rm -rf {} +
