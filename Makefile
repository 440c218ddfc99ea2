# make figures            the studies that need no extra, on their embedded sets; figures go to runs/STUDY/simulated/figures
# make figures-all        every study there is, networks included (installs torch)
# make figures-committed  the same as figures with torch, RDKit and MONAI, and then into figures/, which is tracked
# make test               everything that must hold, in some minutes (installs torch, RDKit and MONAI)
# make test-all           the same and the slow checks
# make lab                the notebooks in JupyterLab
# make export             modules, README and navigation from the notebooks
# make notebooks          all notebooks run in place, outputs saved
# make real               the committed tables on the real sets (DRUGNB_DATA or settings.ini say where they lie; installs torch)
# make real-essentiality  the same for drug and gene-loss screens (drugnb fetch essentiality makes them; twenty minutes)
# make real-synergy       the same for pairs of drugs (drugnb fetch synergy makes them; installs torch and RDKit; half an hour)
# make real-morphology    the same for images of cells (drugnb fetch morphology makes the wells; installs torch and MONAI)
# make shift              coverage of intervals in shifted worlds and on the real set, each way of making them (05b_shift)
# make plate              how often untreated wells of a real plate are called (PLATE=FILE, GCT or GCTX; two minutes)
# make networks           the published network of pairs on the real set, beside the sum (half an hour)
# make rebuilt            the real set from public files into data/ (DRUGNB_MIRROR=FOLDER-or-URL takes them from elsewhere)
# make bench              every claim of speed and memory beside its peer, into figures/benchmarks (keep the machine quiet)
# make maps               the saved t-SNE maps, recomputed (only needed when the simulated study changes)
# make wheel              a wheel with notebooks and saved maps, in dist/
PYTHON ?= python3
PREPARED ?= ../shared/data/weighting
BIN := .venv/bin
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# a file of tests is one worker's, so that its tests can share a run; the longest file goes first
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder tests/test_run.py tests
READY := .venv/.ready
DEEP := .venv/.deep
MODELS := mean pair,stronger drug,average,sum,scaled sum,lines,ridge,mixed model (own treatment),mixed model,stack
PAPERMILL := $(BIN)/papermill --no-progress-bar --cwd nbs
TABLES := comparison optimism robustness masking coverage
PAIRED := scores gains question coverage
LINEAR := mean effects,mean effects with tissue,tissue mean,PCA-50 ridge,ridge,kernel,fast model
QUICK := tissue mean,PCA-50 ridge,kernel,fast model
ESSENTIAL := scores ranked agreement truths mutation_truths pathways
PAGES := Nutlin-3a (-), Dabrafenib, Trametinib, Afatinib
COMPARED := mean effects,ridge,extra trees without curves,extra trees,Gaussian process,ensemble,shuffled chemistry,Bayes Gaussian,Bayes Laplace,Bayes sparse,Bayes ensemble,last layer,committee
SEVERAL := mean effects,extra trees,ensemble
SYNERGY := scores reliability coverage replay_means
WELLS := scores activity sham_activity
CELLS := scores by_group explained explanations
CROPS := -p size=0 -p epochs=20

.DEFAULT_GOAL := help
.PHONY: help figures figures-all figures-committed test test-all checks lab export notebooks real real-essentiality real-synergy real-morphology shift plate networks rebuilt bench maps wheel

help:
	@sed -n 's/^# make/make/p' Makefile

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e ".[dev]"
	@touch $@

$(DEEP): $(READY)
	$(PIP) -e ".[deep]"
	@touch $@

figures: $(READY)
	$(BIN)/drugnb run weighting --data simulated
	$(BIN)/drugnb run combos --data simulated -p folds=6
	$(BIN)/drugnb run essentiality --data simulated
	$(BIN)/drugnb run synergy --data simulated
	$(BIN)/drugnb run morphology --data simulated

figures-all: $(DEEP) figures
	$(BIN)/drugnb run combos --data simulated --run runs/combos/simulated-networks -p folds=6 -p networks=True -p "models=$(MODELS),network"

figures-committed: $(DEEP) figures-all
	cp runs/weighting/simulated/figures/* figures/weighting/
	cp runs/combos/simulated/figures/* figures/combos/
	cp runs/combos/simulated-networks/question.csv runs/combos/simulated-networks/figures/question.* figures/combos/
	mkdir -p figures/essentiality
	cp runs/essentiality/simulated/figures/* figures/essentiality/
	mkdir -p figures/synergy
	cp runs/synergy/simulated/figures/* figures/synergy/
	mkdir -p figures/morphology
	cp runs/morphology/simulated/figures/* figures/morphology/

checks: $(DEEP)
	$(BIN)/ruff check drugnb tests
	$(BIN)/python tests/agree.py
	$(ONE_THREAD) $(BIN)/nbdev-test --n-workers 2

test: checks
	$(ONE_THREAD) $(BIN)/pytest $(SIDE_BY_SIDE)

test-all: checks
	$(ONE_THREAD) $(BIN)/pytest $(SIDE_BY_SIDE) -m ""

lab: $(READY)
	$(BIN)/jupyter lab --notebook-dir nbs

export: $(READY)
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tests/agree.py --write

# outputs are committed; those of 90_benchmarks are of a full run and stay
notebooks: $(DEEP)
	for n in $$(cd nbs && ls [0-8]*.ipynb */[0-8]*.ipynb index.ipynb weighting.ipynb combos.ipynb essentiality.ipynb synergy.ipynb morphology.ipynb); do \
	  (cd nbs/$$(dirname $$n) && $(CURDIR)/$(BIN)/jupyter nbconvert --log-level ERROR --to notebook --execute --inplace $$(basename $$n)) || exit 1; done
	$(BIN)/nbdev-clean
	$(BIN)/python tests/agree.py --write

real: $(DEEP)
	$(BIN)/drugnb run weighting --data l1000-a375
	mkdir -p figures/weighting/l1000-a375 figures/combos/melanoma
	cp runs/weighting/l1000-a375/figures/comparison.* figures/weighting/l1000-a375/
	for table in $(TABLES); do cp runs/weighting/l1000-a375/$$table.csv figures/weighting/l1000-a375/ || exit 1; done
	$(BIN)/drugnb run combos --data melanoma -p networks=True -p "models=$(MODELS),network"
	cp runs/combos/melanoma/figures/* figures/combos/melanoma/
	for table in $(PAIRED); do cp runs/combos/melanoma/$$table.csv figures/combos/melanoma/ || exit 1; done

real-essentiality: $(READY)
	$(BIN)/drugnb run essentiality --data gdsc -p "drugs=$(PAGES)"
	$(BIN)/drugnb run essentiality --data gdsc --run runs/essentiality/gdsc-seeds -p seeds=3 -p "models=$(QUICK)" -p "only=new lines"
	$(BIN)/drugnb run essentiality --data crispr -p "models=$(LINEAR)"
	mkdir -p figures/essentiality/gdsc figures/essentiality/crispr
	cp runs/essentiality/gdsc/figures/* figures/essentiality/gdsc/
	for table in $(ESSENTIAL); do cp runs/essentiality/gdsc/$$table.csv figures/essentiality/gdsc/ || exit 1; done
	cp runs/essentiality/gdsc-seeds/scores.csv figures/essentiality/gdsc/scores_seeds.csv
	cp runs/essentiality/crispr/scores.csv runs/essentiality/crispr/ranked.csv figures/essentiality/crispr/
	cp runs/essentiality/crispr/figures/models.* runs/essentiality/crispr/figures/ranked.* figures/essentiality/crispr/

real-synergy: $(DEEP)
	$(BIN)/drugnb run synergy --data almanac-786-0 -p "models=$(COMPARED)" -p seeds=5
	$(BIN)/drugnb run synergy --data oneil -p "models=$(SEVERAL)" -p rounds=10
	mkdir -p figures/synergy/almanac-786-0 figures/synergy/oneil
	cp runs/synergy/almanac-786-0/figures/* figures/synergy/almanac-786-0/
	for table in $(SYNERGY); do cp runs/synergy/almanac-786-0/$$table.csv figures/synergy/almanac-786-0/ || exit 1; done
	cp runs/synergy/oneil/scores.csv figures/synergy/oneil/
	cp runs/synergy/oneil/figures/models.* runs/synergy/oneil/figures/calibration.* figures/synergy/oneil/

real-morphology: $(DEEP)
	$(BIN)/drugnb run morphology --data bbbc021 -p classifiers=logistic,forest,discriminant
	mkdir -p figures/morphology/bbbc021 figures/morphology/bbbc021-cells
	cp runs/morphology/bbbc021/figures/* figures/morphology/bbbc021/
	for table in $(WELLS); do cp runs/morphology/bbbc021/$$table.csv figures/morphology/bbbc021/ || exit 1; done
	$(BIN)/drugnb run morphology --data bbbc021-cells $(CROPS) -p positives=well
	cp runs/morphology/bbbc021-cells/figures/* figures/morphology/bbbc021-cells/
	for table in $(CELLS); do cp runs/morphology/bbbc021-cells/$$table.csv figures/morphology/bbbc021-cells/ || exit 1; done
	for way in view treatment; do \
	  $(BIN)/drugnb run morphology --data bbbc021-cells --run runs/morphology/bbbc021-cells-$$way $(CROPS) -p positives=$$way \
	    -p "models=texture,SimCLR,SimCLR (transductive)" || exit 1; \
	  cp runs/morphology/bbbc021-cells-$$way/scores.csv figures/morphology/bbbc021-cells/scores_$$way.csv || exit 1; done

shift: $(READY)
	mkdir -p runs figures/weighting/l1000-a375
	$(PAPERMILL) nbs/05b_shift.ipynb runs/shift.ipynb -p seeds 10,11,12,13,14,15,16,17,18,19 -p source simulated -p out $(CURDIR)/figures/weighting
	for label in "" viability_prism; do \
	  $(PAPERMILL) nbs/05b_shift.ipynb runs/shift-a375.ipynb -p source l1000-a375 -p label "$$label" \
	    -p out $(CURDIR)/figures/weighting/l1000-a375 || exit 1; done

plate: $(READY)
	mkdir -p runs
	$(PAPERMILL) nbs/combos/11b_calibrate.ipynb runs/calibrate.ipynb -p plate $(abspath $(PLATE)) -p figures $(CURDIR)/figures/combos/plate

networks: $(DEEP)
	$(BIN)/drugnb run combos --data melanoma --run runs/combos/melanoma-networks -p "only=leaving drugs out" -p "models=sum,published network"
	mkdir -p figures/combos/melanoma
	cp runs/combos/melanoma-networks/scores.csv figures/combos/melanoma/networks.csv

rebuilt: export DRUGNB_DATA = $(CURDIR)/data
rebuilt: $(READY)
	$(BIN)/drugnb fetch weighting
	mkdir -p figures/weighting/l1000-a375
	$(PAPERMILL) nbs/00c_tables.ipynb runs/tables.ipynb -p data $(DRUGNB_DATA) -p prepared $(abspath $(PREPARED))
	$(BIN)/drugnb run weighting --data l1000-a375 --run runs/weighting/l1000-a375-rebuilt
	cp runs/weighting/l1000-a375-rebuilt/comparison.csv figures/weighting/l1000-a375/rebuilt_comparison.csv

bench: $(READY)
	mkdir -p runs
	$(PAPERMILL) nbs/90_benchmarks.ipynb runs/benchmarks.ipynb -p n 74709 -p genes 978 -p weightings 1000 -p drugs 1309 \
	  -p sizes 5000,20000 -p in_library 720216 -p map_sizes 1500 -p steps 6 -p arguments "-p perplexities= -p seeds=" -p figures $(CURDIR)/figures/benchmarks

maps: $(READY)
	mkdir -p runs
	for source in simulated simulated-small; do \
	  $(PAPERMILL) nbs/01_embed.ipynb runs/maps-$$source.ipynb -p source $$source -p run $(CURDIR)/runs/maps-$$source -p keep True || exit 1; done

wheel: $(READY)
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .
