# make figures   the reports of both studies, from simulated sets, into figures/weighting and figures/combos
# make test      everything that must hold, in some minutes (installs torch, which the networks of pairs need)
# make test-all  the same and the slow checks
# make lab       the notebooks in JupyterLab
# make real      the reports' tables on the real sets (DRUGNB_DATA or settings.ini say where they lie; installs torch)
# make networks  the published network of pairs on the real set, beside the sum (half an hour)
# make rebuilt   the real set from public files into data/ (DRUGNB_MIRROR=FOLDER-or-URL takes them from elsewhere), compared with PREPARED tables
# make bench     every claim of speed and memory beside its peer at 74,709 signatures x 978 genes and 1,309 drugs, into figures/benchmarks (minutes; keep the machine quiet)
# make maps      compute the saved t-SNE maps anew (they are committed; only needed when the simulated study changes)
PYTHON ?= python3
PREPARED ?= ../shared/data/weighting
BIN := .venv/bin
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
READY := .venv/.ready
DEEP := .venv/.deep
MODELS := mean pair,stronger drug,average,sum,scaled sum,lines,ridge,stack

.DEFAULT_GOAL := help
.PHONY: help figures test test-all checks lab real networks rebuilt bench maps notebooks

help:
	@sed -n 's/^# //p' Makefile

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

$(DEEP): $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[deep]"
	@touch $@

figures: $(READY)
	$(BIN)/drugnb run weighting --figures figures/weighting
	$(BIN)/drugnb run combos -p folds=6 --figures figures/combos

checks: $(DEEP)
	$(BIN)/ruff check drugnb tests
	$(BIN)/python tests/agree.py
	$(ONE_THREAD) $(BIN)/nbdev-test --n-workers 2

test: checks
	$(ONE_THREAD) $(BIN)/pytest -n 2

test-all: checks
	$(ONE_THREAD) $(BIN)/pytest -n 2 -m ""

lab: $(READY)
	$(BIN)/jupyter lab --notebook-dir nbs

real: $(DEEP)
	$(BIN)/drugnb run weighting --data l1000-a375
	mkdir -p figures/weighting/l1000-a375
	cp runs/weighting/l1000-a375/figures/comparison.* figures/weighting/l1000-a375/
	for table in comparison optimism robustness masking coverage; do cp runs/weighting/l1000-a375/$$table.csv figures/weighting/l1000-a375/ || exit 1; done
	$(BIN)/drugnb run combos --data melanoma -p "models=$(MODELS),network"
	mkdir -p figures/combos/melanoma
	cp runs/combos/melanoma/figures/* runs/combos/melanoma/scores.csv figures/combos/melanoma/

networks: $(DEEP)
	$(BIN)/drugnb run combos --data melanoma --run runs/combos/melanoma-networks -p "only=leaving drugs out" -p "models=sum,published network"
	mkdir -p figures/combos/melanoma
	cp runs/combos/melanoma-networks/scores.csv figures/combos/melanoma/networks.csv

rebuilt: export DRUGNB_DATA = $(CURDIR)/data
rebuilt: $(READY)
	$(BIN)/drugnb fetch weighting
	mkdir -p figures/weighting/l1000-a375
	$(BIN)/papermill --no-progress-bar --cwd nbs nbs/00h_tables.ipynb runs/tables.ipynb -p data $(DRUGNB_DATA) -p prepared $(PREPARED)
	$(BIN)/drugnb run weighting --data l1000-a375 --run runs/weighting/l1000-a375-rebuilt
	cp runs/weighting/l1000-a375-rebuilt/comparison.csv figures/weighting/l1000-a375/rebuilt_comparison.csv

bench: $(READY)
	mkdir -p runs
	$(BIN)/papermill --no-progress-bar --cwd nbs nbs/90_benchmarks.ipynb runs/benchmarks.ipynb -p n 74709 -p genes 978 -p weightings 1000 -p drugs 1309 \
	  -p sizes 5000,20000 -p map_sizes 1500 -p steps 6 -p arguments "-p perplexities= -p seeds=" -p figures figures/benchmarks

maps: $(READY)
	for source in simulated simulated-small; do $(BIN)/papermill --no-progress-bar --cwd nbs nbs/01_embed.ipynb runs/maps-$$source.ipynb -p source $$source -p run runs/maps-$$source -p keep True || exit 1; done

# outputs are committed: run the notebooks in place, then clean their metadata (those of 90_benchmarks are of a full run and stay)
notebooks: $(DEEP)
	cd nbs && for n in [0-8]*.ipynb index.ipynb; do ../$(BIN)/jupyter nbconvert --log-level ERROR --to notebook --execute --inplace $$n || exit 1; done
	$(BIN)/nbdev-clean
	$(BIN)/python tests/agree.py --write
