"""The simulated study against its truth. Nothing here is written into the simulation: it has to come out."""
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from drugnb.cluster import dbscan, k_distances, knee_eps
from drugnb.compare import best, cross_validate, grid_r, published_prediction, study_grid, training_splits
from drugnb.embed import embed, study_map
from drugnb.evaluate import scores
from drugnb.load import RunFolder
from drugnb.ridge import fit_grid
from drugnb.simulate import open_study, simulate
from drugnb.weight import UNWEIGHTED, WEIGHTINGS, Weighting, weigh

ALPHAS = (1, 1000)
SHARP, SMALL_FIRST = Weighting("cluster", "1 - mean", 2), Weighting("cluster", "1/size")

def clustered(study, xy): return pd.Series(dbscan(xy, knee_eps(k_distances(xy))), study.signatures.index)

def outside_r(study, labels, weightings, alphas=ALPHAS):
    grid, _ = study_grid(study, fit_grid(study, labels, weightings, alphas), weightings, alphas, {})
    return grid.r_outside

def over_seeds(n, n_genes, seeds):
    rows = []
    for seed in seeds:
        study = simulate(n, n_genes, seed)
        labels = clustered(study, embed(study.signatures, seed=seed))
        r = outside_r(study, labels, [UNWEIGHTED, SHARP, SMALL_FIRST])
        w, trusted = weigh(SHARP, study.samples, study.signatures, labels).values, study.truth["trusted"].to_numpy()
        rows.append({
            "unweighted": r["unweighted", 1], "unweighted, alpha 1000": r["unweighted", 1000],
            "weighted": r[str(SHARP), 1000], "small first": r[str(SMALL_FIRST), 1000],
            "published": scores(study.outside_samples.viability, published_prediction(study)).pearson,
            "rand": adjusted_rand_score(study.truth["cluster"], labels), "trusted over untrusted": w[trusted].mean()/w[~trusted].mean()})
    return pd.DataFrame(rows, index=seeds)

@pytest.fixture(scope="module")
def full():
    study = open_study("simulated")
    return study, study_map(study, RunFolder())

def test_a_fresh_clone_reloads_the_saved_map(full, capsys):
    study, xy = full
    study_map(study, RunFolder())
    assert "reloaded from simulated_map_p30_s0.parquet" in capsys.readouterr().out and xy.shape == (6000, 2)

def test_clusters_are_found_and_weights_rise_where_labels_hold(full):
    study, xy = full
    labels = clustered(study, xy)
    assert adjusted_rand_score(study.truth["cluster"], labels) > 0.4
    w, trusted = weigh(SHARP, study.samples, study.signatures, labels).values, study.truth["trusted"].to_numpy()
    assert w[trusted].mean() > 5*w[~trusted].mean()

def test_weighting_turns_the_model_towards_the_death_programme(full):
    study, xy = full
    models = fit_grid(study, clustered(study, xy), [UNWEIGHTED, SHARP], [1000])[:, 0, :-1]
    death = study.truth["death"][study.genes].to_numpy()
    towards = [-np.corrcoef(m, death)[0, 1] for m in models]
    assert towards[1] > towards[0] + 0.05 and towards[1] > 0.5, "viability falls where the death programme rises"

def test_weighted_beats_unweighted_outside_over_ten_seeds():
    table = over_seeds(1500, 300, range(10))
    print("\n" + table.round(2).to_string())
    better = table[["weighted", "small first"]].gt(table["unweighted, alpha 1000"], axis=0).sum()
    print(f"above unweighted: {better.to_dict()} of 10")
    assert (better >= 8).all()
    assert table["trusted over untrusted"].median() > 2 and table.rand.median() > 0.3

@pytest.mark.slow
def test_the_reports_pattern_emerges_over_ten_seeds():
    "Unweighted (alpha 1) below a small clean set below weighted."
    table = over_seeds(3000, 978, range(10))
    print("\n" + table.round(2).to_string())
    means = table.mean()
    assert means.unweighted < means.published < means.weighted
    assert (table.weighted > table["unweighted, alpha 1000"]).sum() >= 9

@pytest.mark.slow
def test_the_honest_choice_over_ten_seeds():
    "What choosing in training reaches outside, with compounds and with plates left out, beside the unweighted model and the best outside."
    rows = []
    for seed in range(10):
        study = simulate(1500, 300, seed)
        labels = clustered(study, embed(study.signatures, seed=seed))
        y, alphas = study.samples.viability.to_numpy(), (1, 100, 1000, 10000, 100000)
        inside = {by: grid_r(cross_validate(study, labels, training_splits(study, by), alphas=alphas), y) for by in ("compound", "plate")}
        grid, _ = study_grid(study, fit_grid(study, labels, alphas=alphas), WEIGHTINGS, alphas, inside)
        r = lambda column, only="", grid=grid: grid.r_outside[best(grid, column, only)]
        rows.append({"unweighted": r("r_compound", "unweighted"), "compounds left out": r("r_compound"), "plates left out": r("r_plate"),
                     "best outside": grid.r_outside.max()})
    table = pd.DataFrame(rows)
    print("\n" + table.round(2).to_string() + "\n" + table.mean().round(3).to_string())
    print("above unweighted:", table.drop(columns="unweighted").gt(table.unweighted + 1e-9, axis=0).sum().to_dict(), "of 10")
    assert table["plates left out"].mean() > table.unweighted.mean() and (table["best outside"] >= table.max(axis=1) - 1e-9).all()

def test_nothing_is_gained_where_there_is_nothing_to_learn():
    "With labels shuffled among signatures no choice inside training reaches a correlation outside."
    study = simulate(600, 120, seed=5)
    labels = clustered(study, embed(study.signatures))
    study.samples["viability"] = np.random.default_rng(0).permutation(study.samples.viability)
    weightings = [UNWEIGHTED, SHARP, SMALL_FIRST]
    inside = grid_r(cross_validate(study, labels, training_splits(study), weightings, ALPHAS), study.samples.viability)
    grid, _ = study_grid(study, fit_grid(study, labels, weightings, ALPHAS), weightings, ALPHAS, {"compound": inside})
    assert abs(grid.r_compound).max() < 0.15 and abs(grid.r_outside[best(grid, "r_compound")]) < 0.2

def test_weights_in_a_fold_do_not_see_the_test_labels():
    study = simulate(600, 120, seed=6)
    labels, splits = clustered(study, embed(study.signatures)), training_splits(study)
    before = cross_validate(study, labels, splits[:1], [SHARP], [10])
    study.samples.iloc[splits[0][1], study.samples.columns.get_loc("viability")] = 0.0
    after = cross_validate(study, labels, splits[:1], [SHARP], [10])
    np.testing.assert_array_equal(before[:, :, splits[0][1]], after[:, :, splits[0][1]])
