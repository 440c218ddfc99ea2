"""Nothing that was never written comes out as a result: every study's main functions, twice, in memory filled differently."""
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from drugnb.core.evaluate import compare
from drugnb.core.settings import InputError

MARKS = (1.2345e77, -6.789e66)  # what fresh memory holds, in turn


def filled(mark):
    "np.empty and np.empty_like whose memory holds a number that no result can hold."
    def fill(array):
        if array.dtype.kind in "fc": array[...] = np.float32(3.21e33) if array.dtype.itemsize < 8 else mark
        elif array.dtype.kind in "iu": array[...] = np.iinfo(array.dtype).max - (mark > 0)
        elif array.dtype.kind == "b": array[...] = mark > 0
        return array
    empty, like = np.empty, np.empty_like
    return {"empty": lambda *a, **k: fill(empty(*a, **k)), "empty_like": lambda *a, **k: fill(like(*a, **k))}

@pytest.fixture
def twice(monkeypatch):
    "What a function returns when fresh memory holds one number, and when it holds another."
    fillers = [filled(mark) for mark in MARKS]
    def both(function):
        made = []
        for of in fillers:
            with monkeypatch.context() as patched:
                for name, other in of.items(): patched.setattr(np, name, other)
                made.append(function())
        return made
    return both

def arrays(result):
    "Every array in a result, whatever it is wrapped in."
    if isinstance(result, pd.DataFrame | pd.Series): result = result.reset_index().to_numpy()
    if isinstance(result, dict): result = list(result.values())
    if isinstance(result, list | tuple): return [a for part in result for a in arrays(part)]
    if hasattr(result, "__dict__"): return arrays(vars(result))
    return [np.asarray(result)]

def has_mark(array):
    "Does an array hold a number as large as those in fresh memory?"
    if array.dtype == object: array = pd.to_numeric(pd.Series(array.ravel()), errors="coerce").to_numpy(float)
    if array.dtype.kind != "f": return False
    with np.errstate(invalid="ignore"): return bool((np.abs(array) > 1e30).any())

def same(results):
    "Two results are equal, and hold nothing of fresh memory."
    one, other = map(arrays, results)
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert not has_mark(a)
        np.testing.assert_array_equal(a, b)

def test_what_is_not_written_is_found(twice):
    def forgetful():
        scores = np.empty(4)
        scores[:3] = 1
        return scores
    with pytest.raises(AssertionError): same(twice(forgetful))
    with pytest.raises(AssertionError): same(twice(lambda: {"mean": [pd.Series(forgetful()).mean()]}))
    same(twice(lambda: np.zeros(3)))

# weighting

@pytest.fixture(scope="module")
def weighted():
    "A small study, clusters and density ratios made up."
    from drugnb.weighting.simulate import simulate
    study, rng = simulate(180, 30, seed=3), np.random.default_rng(0)
    ratios = {m: rng.lognormal(size=180) for m in ("logistic", "KLIEP", "uLSIF")}
    return study, pd.DataFrame({"cluster": study.truth["cluster"] % 7, **ratios}, study.signatures.index)

def test_weighting_from_sums_to_held_out_scores(weighted, twice):
    from drugnb.weighting.choose import cross_fit, nested_choice, training_splits
    from drugnb.weighting.grid import GRID, grid_index
    study, traits = weighted
    labelled, alphas, some = study.samples[study.labelled], (1, 1000), GRID[::8]
    splits = {by: training_splits(labelled, by, 3) for by in ("compound",)}
    def run():
        crossed = cross_fit(study, traits, splits, some, alphas)
        of = crossed["compound"]
        chosen = nested_choice(of.inner, of.held_out, splits["compound"], grid_index(some, alphas))[0]
        table = compare(labelled.viability, {"chosen": chosen}, labelled["compound"], repeats=20)
        return [list(each) for each in crossed.values()], chosen, table
    same(twice(run))

def test_two_folds_have_no_nested_choice(weighted, twice):
    from drugnb.weighting.choose import cross_fit, nested_choice, training_splits
    from drugnb.weighting.grid import grid_index
    from drugnb.weighting.weight import UNWEIGHTED
    study, traits = weighted
    splits = {"compound": training_splits(study.samples[study.labelled], "compound", 2)}
    of = cross_fit(study, traits, splits, [UNWEIGHTED], (10,))["compound"]
    def run(): return nested_choice(of.inner, of.held_out, splits["compound"], grid_index([UNWEIGHTED], (10,)))
    with pytest.raises(InputError, match="no nested choice in 2 folds"): twice(run)

@pytest.mark.parametrize("kind", ["plain", "few rows", "far", "no weight", "empty group", "no penalty"])
def test_ridge_of_every_kind(kind, twice):
    from drugnb.weighting import ridge
    rng = np.random.default_rng(0)
    x, y, g = rng.normal(size=(60, 9)), rng.normal(size=60), rng.integers(0, 4, 60)
    if kind == "few rows": x, y, g = x[:5], y[:5], g[:5]
    if kind == "far": x[::2] += 1e7
    if kind == "empty group": g[g == 2] = 3
    w = np.array([[1.0, 2, 0.5, 1], [0, 1, 0, 2], [0, 0, 0, 0]])*(kind != "no weight")
    alphas = [0.0] if kind == "no penalty" else [0.1, 1, 10, 100, 1000]
    same(twice(lambda: [ridge.solve_grams(ridge.grams(x, y, g, 4), w, alphas), ridge.ridge_path(x, y, alphas)]))

def test_maps_clusters_and_ratios(weighted, twice):
    from drugnb.weighting.cluster import dbscan, hdbscan, leiden
    from drugnb.weighting.domain import METHODS, fit_ratio, study_components
    from drugnb.weighting.embed import principal_components
    study = weighted[0]
    def run():
        components, shared = principal_components(study.signatures)[1], study_components(study, 5)
        xy = pd.DataFrame(components[:, :2], columns=["x", "y"])
        groups = [dbscan(xy, 1.0), hdbscan(xy), leiden(study.signatures)]
        return components, groups, [fit_ratio(shared.train, shared.outside, m)(shared.train) for m in METHODS]
    same(twice(run))

# the companions

def test_combos_queries_pairs_and_models(twice):
    from drugnb.combos.combine import Average, PairRidge, ScaledSum
    from drugnb.combos.connect import query_drugs
    from drugnb.combos.data import simulate_combos
    from drugnb.combos.pairs import query_pairs, rerank, retrieval
    c = simulate_combos(n_pairs=40, n_studies=12, n_genes=60, n_drugs=14, n_mechanisms=5, n_queries=2, seed=3)
    rng, names = np.random.default_rng(0), [f"drug {i}" for i in range(12)]
    profiles = pd.DataFrame(rng.normal(size=(12, 60)).round(1), names, c.measured.columns)
    query = pd.DataFrame(rng.normal(size=(2, 60)), ["one", "two"], c.measured.columns)
    models = [Average(), ScaledSum(), PairRidge()]
    def run():
        drugs = [query_drugs(query, profiles, m, n_top=10, n_extreme=20, permutations=9) for m in ("ks", "xsum", "zhang")]
        pairs = query_pairs(query, profiles, top=20)
        learned = [m.fit(c.effects, c.measured.to_numpy(float)).predict(c.effects) for m in models]
        again = rerank(pairs, query, profiles, models[0])
        return drugs, pairs, again, retrieval(c), learned
    same(twice(run))

def test_essentiality_solvers_and_neighbours(twice):
    from drugnb.essentiality.leap import Neighbours
    from drugnb.essentiality.solve import solve_paths
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 12)), rng.normal(size=(40, 5))
    y[rng.random(y.shape) < 0.2] = np.nan
    fold = np.arange(40) % 3
    def run():
        near = Neighbours(z, y, fold, np.array(4)).predict(z)
        return near, solve_paths(z, y, [0.5, 0.1], 0.5), solve_paths(z, y, [0.5, 0.1], 0.0)
    same(twice(run))

def test_synergy_surfaces_and_processes(twice):
    from drugnb.synergy.gp import GaussianProcess, made_screen
    from drugnb.synergy.surfaces import fit_curves
    made, doses = made_screen(12, seed=1), np.array([[0, 0.1, 1, 10, 100], [0, 0.1, 1, np.nan, np.nan], [np.nan]*5])
    alive = np.array([[100, 95, 60, 20, 5], [100, 99, 101, np.nan, np.nan], [np.nan]*5])
    def run():
        n = len(made.data.y)//2
        model = GaussianProcess().fit(made.data.pairs.rows(np.arange(n)), made.data.y[:n])
        forecast = model.forecast(made.data.pairs.rows(np.arange(n, 2*n)))
        return forecast.mean, forecast.model_sd, list(fit_curves(doses, alive))
    same(twice(run))

def test_morphology_images_features_and_normalisation(twice):
    from drugnb.morphology.features import intensity_features, texture_features
    from drugnb.morphology.normalise import plate_scale, robust_z
    from drugnb.morphology.simulate import simulated_small
    def run():
        study = simulated_small()
        features = intensity_features(study.pixels, study.channels).to_numpy()
        plates, reference = study.images.plate.to_numpy(), study.images.untreated.to_numpy(bool)
        scale = plate_scale(features, plates, reference)
        texture = texture_features(study.pixels[:8], study.channels)
        return np.asarray(study.pixels[:8]), features, robust_z(features, plates, reference), scale.centre, texture
    same(twice(run))

# whole runs, in memory that the allocator fills

@pytest.mark.slow
@pytest.mark.parametrize("study", ["weighting", "combos", "essentiality", "synergy", "morphology"])
def test_a_run_does_not_depend_on_what_memory_held(study, tmp_path):
    if study not in ("weighting", "combos"): pytest.importorskip("torch")
    tables = []
    for byte in ("171", "85"):
        folder = tmp_path/byte
        made = subprocess.run([sys.executable, "-m", "drugnb.command", "run", study, "--data", "simulated-small", "--run", folder],
                              env={**os.environ, "MALLOC_PERTURB_": byte}, capture_output=True, text=True, cwd=tmp_path)
        assert made.returncode == 0, made.stderr[-2000:]
        tables.append({p.relative_to(folder): pd.read_csv(p) for p in sorted(folder.rglob("*.csv"))})
    assert tables[0].keys() == tables[1].keys() and tables[0]
    for name, table in tables[0].items(): pd.testing.assert_frame_equal(table, tables[1][name], rtol=1e-10)
