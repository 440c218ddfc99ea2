"""The ridge against scikit-learn's over shapes, weights, types and penalties, and a saved model against the grid it came from."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from drugnb.evaluate import compare, permutation_p, resample_groups, weighted_scores
from drugnb.load import InputError
from drugnb.ridge import RidgeModel, WeightedRidge, load_model, ridge_path, save_model


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n, p = rng.integers(5, 80, 2)
    x = (rng.normal(size=(n, p))*rng.lognormal(size=p) + rng.normal(size=p)).astype([np.float64, np.float32][seed % 2])
    x[:, 0] = 3.0  # a gene that never changes
    y, w, alpha = rng.normal(size=n), rng.lognormal(size=n)*(rng.random(n) < 0.7), float(10**rng.uniform(-1, 4))
    w[:3] = 1
    peer = Ridge(alpha, solver="svd").fit(x.astype(np.float64), y, sample_weight=w)
    ours = WeightedRidge(alpha).fit(x, y, sample_weight=w)
    scale = np.abs(peer.coef_).max()
    np.testing.assert_allclose(ours.coef_/scale, peer.coef_/scale, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-6, atol=1e-8)

def test_a_weight_of_two_is_a_row_written_twice():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(30, 8)), rng.normal(size=30), rng.integers(0, 3, 30)
    np.testing.assert_allclose(ridge_path(x, y, [5.0], w), ridge_path(np.repeat(x, w, 0), np.repeat(y, w), [5.0]))

def test_a_damaged_model_is_refused(tmp_path):
    (tmp_path/"model.json").write_text('{"genes": ["TP53"]')
    with pytest.raises(InputError, match="is not a drugnb model"): load_model(tmp_path)

def test_a_model_reads_any_gene_names(tmp_path):
    save_model(RidgeModel(["TP53", "WASHC5"], [0.5, -1.0], 1.0, 10.0, "unweighted", "s", "k", 3), tmp_path/"model.json")
    model = load_model(tmp_path/"model.json")
    for names in (["7157", "9897"], ["TP53", "KIAA0196"], ["tp53", "washc5"]):
        table = pd.DataFrame([[1.0, 2.0]], ["a"], names)
        assert model.predict(table)["a"] == -0.5 == model.predict(table.T)["a"]
    with pytest.raises(InputError, match="None of the model's 2 genes"): model.predict(pd.DataFrame([[1.0]], ["a"], ["XYZ"]))

def test_bootstrap_of_all_models_at_once_is_the_loop():
    rng = np.random.default_rng(1)
    y, p, groups = rng.normal(size=50), rng.normal(size=(4, 50)).round(1), rng.integers(0, 12, 50)
    w = resample_groups(groups, 20, seed=3)
    together = weighted_scores(y, p, w)
    for b in range(20):
        rows = np.repeat(np.arange(50), w[b])
        for m in range(4):
            t, q = y[rows], p[m, rows]
            one = [np.corrcoef(t, q)[0, 1], spearmanr(t, q)[0], np.sqrt(((t - q)**2).mean()), np.polyfit(q, t, 1)[0]]
            np.testing.assert_allclose(together[:, b, m], one, rtol=1e-9, atol=1e-9)

def test_intervals_cover_and_p_values_are_honest():
    "Over 200 null studies with repeats, p < 0.05 about one time in twenty, and the interval holds 0 about nineteen."
    rng, hits, covered = np.random.default_rng(2), 0, 0
    groups = np.repeat(np.arange(25), 2)
    for i in range(200):
        y, p = np.repeat(rng.normal(size=25), 2) + 0.1*rng.normal(size=50), np.repeat(rng.normal(size=25), 2) + 0.1*rng.normal(size=50)
        hits += permutation_p(y, p, groups, 99, seed=i) <= 0.05
        t = compare(y, {"m": p}, groups, repeats=99, seed=i).iloc[0]
        covered += t.pearson_low <= 0 <= t.pearson_high
    assert 1 <= hits <= 22 and covered >= 175
