"""The simulated study against its truth. Nothing here is written into the simulation: it has to come out."""
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from drugnb.core.artefacts import RunFolder
from drugnb.core.evaluate import scores
from drugnb.weighting.choose import RULES, best, cross_fit, grid_r, training_splits
from drugnb.weighting.cluster import dbscan, k_distances, knee_eps
from drugnb.weighting.compare import published_prediction, study_grid
from drugnb.weighting.domain import domain_ratios
from drugnb.weighting.embed import embed, study_map
from drugnb.weighting.grid import GRID, apply_grid, fit_grid, grid_index
from drugnb.weighting.load import open_study
from drugnb.weighting.simulate import simulate
from drugnb.weighting.weight import UNWEIGHTED, Weighting, weigh

ALPHAS = (1, 1000)
SHARP, SMALL_FIRST = Weighting("cluster", "1 - mean", 2), Weighting("cluster", "1/size")

def clustered(study, xy): return pd.DataFrame({"cluster": dbscan(xy, knee_eps(k_distances(xy)))}, study.signatures.index)

def outside_r(study, traits, weightings, alphas=ALPHAS):
    r = grid_r(apply_grid(fit_grid(study, traits, weightings, alphas), study.outside), study.outside_samples.viability)
    return pd.Series(r, grid_index(weightings, alphas))

def over_seeds(n, n_genes, seeds):
    rows = []
    for seed in seeds:
        study = simulate(n, n_genes, seed)
        traits = clustered(study, embed(study.signatures, seed=seed))
        r = outside_r(study, traits, [UNWEIGHTED, SHARP, SMALL_FIRST])
        w, trusted = weigh(SHARP, study.samples, study.signatures, traits).values, study.truth["trusted"].to_numpy()
        rows.append({
            "unweighted": r["unweighted", 1], "unweighted, alpha 1000": r["unweighted", 1000],
            "weighted": r[str(SHARP), 1000], "small first": r[str(SMALL_FIRST), 1000],
            "published": scores(study.outside_samples.viability,
                                published_prediction(study.coefficients, study.outside)).pearson,
            "rand": adjusted_rand_score(study.truth["cluster"], traits.cluster), "trusted over untrusted": w[trusted].mean()/w[~trusted].mean()})
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
    traits = clustered(study, xy)
    assert adjusted_rand_score(study.truth["cluster"], traits.cluster) > 0.4
    w, trusted = weigh(SHARP, study.samples, study.signatures, traits).values, study.truth["trusted"].to_numpy()
    assert w[trusted].mean() > 5*w[~trusted].mean()

def test_weighting_turns_the_model_towards_the_death_programme(full):
    study, xy = full
    models = fit_grid(study, clustered(study, xy), [UNWEIGHTED, SHARP], [1000])[:, 0, :-1]
    death = study.truth["death"][study.genes].to_numpy()
    towards = [-np.corrcoef(m, death)[0, 1] for m in models]
    assert towards[1] > towards[0] + 0.05 and towards[1] > 0.5, "viability falls where the death programme rises"

@pytest.mark.slow
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
def test_the_honest_choice_and_each_family_over_ten_seeds():
    """What choosing in training reaches outside, by family, with compounds and with plates left out, beside the unweighted model and the choice
    on the outside set."""
    rows, nested = [], []
    for seed in range(10):
        study = simulate(1500, 300, seed)
        traits = clustered(study, embed(study.signatures, seed=seed)).join(domain_ratios(study))
        alphas = (1, 100, 1000, 10000, 100000)
        splits = {by: training_splits(study.samples, by) for by in ("compound", "plate")}
        crossed = cross_fit(study, traits, splits, alphas=alphas, nested=())
        grid, _ = study_grid(study, crossed["compound"].models, grid_index(GRID, alphas), {by: c.r for by, c in crossed.items()})
        row = {(rule, f"{by}s out"): grid.r_outside[best(grid, f"r_{by}", rule)] for rule in RULES for by in ("compound", "plate")}
        rows.append(row | {(rule, "best outside"): grid.r_outside[best(grid, "r_outside", rule)] for rule in RULES})
        nested.append({"promised inside": grid.r_compound[best(grid, "r_compound")], "delivered outside": grid.r_outside[best(grid, "r_compound")]})
    table, plain = pd.DataFrame(rows), pd.DataFrame(rows)["unweighted", "compounds out"]
    shown = pd.DataFrame({"mean r outside": table.mean(), "gain": table.sub(plain, axis=0).mean(), "sd of gain": table.sub(plain, axis=0).std(),
                          "seeds above unweighted": table.gt(plain + 1e-9, axis=0).sum()})
    print("\n" + shown.round(3).to_string() + "\n" + pd.DataFrame(nested).mean().round(3).to_string())
    means = table.mean()
    assert means["weighted", "plates out"] > means["unweighted", "compounds out"] and means["learned weights", "plates out"] > plain.mean()
    for rule in RULES: assert (table[rule, "best outside"] >= table[[(rule, "compounds out"), (rule, "plates out")]].max(axis=1) - 1e-9).all()

def test_nothing_is_gained_where_there_is_nothing_to_learn():
    "With labels shuffled among signatures no choice inside training, learned weights included, reaches a correlation outside."
    study = simulate(600, 120, seed=5)
    traits = clustered(study, embed(study.signatures))
    study.samples["viability"] = np.random.default_rng(0).permutation(study.samples.viability)
    weightings = [UNWEIGHTED, SHARP, SMALL_FIRST, Weighting("learned", "compounds")]
    crossed = cross_fit(study, traits, {"compound": training_splits(study.samples)}, weightings, ALPHAS)["compound"]
    grid, _ = study_grid(study, crossed.models, grid_index(weightings, ALPHAS), {"compound": crossed.r})
    assert abs(grid.r_compound).max() < 0.2 and abs(grid.r_outside[best(grid, "r_compound")]) < 0.2 and abs(crossed.inner).max() < 0.2

def test_no_weight_and_no_choice_sees_the_test_labels():
    "Labels of a fold are spoilt: predictions of the fold, and what the others would choose for it, stay as they are."
    study = simulate(600, 120, seed=6)
    traits = clustered(study, embed(study.signatures)).join(domain_ratios(study))
    splits = training_splits(study.samples)
    before = cross_fit(study, traits, {"compound": splits}, alphas=[10, 1000])["compound"]
    study.samples.iloc[splits[0][1], study.samples.columns.get_loc("viability")] = 0.0
    after = cross_fit(study, traits, {"compound": splits}, alphas=[10, 1000])["compound"]
    np.testing.assert_allclose(before.held_out[:, splits[0][1]], after.held_out[:, splits[0][1]], atol=1e-5)
    np.testing.assert_allclose(before.inner[0], after.inner[0], atol=1e-5)
    assert abs(before.inner[1] - after.inner[1]).max() > 0.01, "the other folds' choices do use these labels"
