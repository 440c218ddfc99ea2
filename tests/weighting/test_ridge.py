"""The ridge against scikit-learn's, Gram statistics against rows, scores against loops."""
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from drugnb.core.evaluate import compare, permutation_p, resample_groups, weighted_scores
from drugnb.weighting.ridge import WeightedRidge, grams, ridge_path, solve_grams, solve_path


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n, p = rng.integers(5, 80, 2)
    x = rng.normal(size=(n, p))*rng.lognormal(size=p) + rng.normal(size=p)
    x = x.astype([np.float64, np.float32][seed % 2])
    x[:, 0] = 3.0  # a gene that never changes
    y, w = rng.normal(size=n), rng.lognormal(size=n)*(rng.random(n) < 0.7)
    alpha = float(10**rng.uniform(-1, 4))
    w[:3] = 1
    peer = Ridge(alpha, solver="svd").fit(x.astype(np.float64), y, sample_weight=w)
    ours = WeightedRidge(alpha).fit(x, y, sample_weight=w)
    scale = np.abs(peer.coef_).max()
    np.testing.assert_allclose(ours.coef_/scale, peer.coef_/scale, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-6, atol=1e-8)

def test_a_weight_of_two_is_a_row_written_twice():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(30, 8)), rng.normal(size=30), rng.integers(0, 3, 30)
    repeated = ridge_path(np.repeat(x, w, 0), np.repeat(y, w), [5.0])
    np.testing.assert_allclose(ridge_path(x, y, [5.0], w), repeated)

@pytest.mark.parametrize("alpha", [0.0, 1e-12])
@pytest.mark.parametrize("n, p", [(40, 6), (6, 40), (12, 12), (3, 1)])
def test_without_a_penalty_it_is_the_shortest_least_squares_solution(n, p, alpha):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, p)), rng.normal(size=n)
    x[:, -1] = x[:, 0]  # two genes that are one
    z = x - x.mean(0)
    coefficients = ridge_path(x, y, [alpha])[0, :-1]
    np.testing.assert_allclose(coefficients, np.linalg.lstsq(z, y - y.mean(), rcond=None)[0], atol=1e-6)

@pytest.mark.parametrize("n_alphas", [1, 3, 4, 10])
def test_any_weighting_of_groups_is_the_fit_by_rows(n_alphas):
    rng = np.random.default_rng(n_alphas)
    x = rng.normal(size=(300, 30)).astype(np.float32) + 50
    y, g = rng.normal(size=300), rng.integers(0, 7, 300)
    weights, alphas = rng.lognormal(size=(20, 7))*(rng.random((20, 7)) < 0.7), np.logspace(-2, 5, n_alphas)
    centre = x.mean(0, dtype=float)
    models = solve_grams(grams(x, y, g, 7, centre=centre), weights, alphas, centre)
    for w, path in zip(weights, models, strict=True):
        if not w.any(): assert np.isnan(path).all()
        else: np.testing.assert_allclose(path, ridge_path(x, y, alphas, w[g]), rtol=1e-6, atol=1e-7)

def test_signatures_left_out_or_without_weight_do_not_count():
    rng = np.random.default_rng(4)
    x, y, g = rng.normal(size=(100, 5)), rng.normal(size=100), rng.integers(-1, 3, 100)
    kept = g >= 0
    np.testing.assert_allclose(grams(x, y, g), grams(x[kept], y[kept], g[kept]))
    w = rng.random(100)*kept
    x[~kept] = np.nan  # whatever they hold
    np.testing.assert_allclose(grams(x, y, g, weights=w), grams(x[kept], y[kept], g[kept], weights=w[kept]))

@pytest.mark.parametrize("n_alphas", [1, 3, 4, 12])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 25])
def test_every_penalty_solves_its_equations(n_alphas, p):
    rng = np.random.default_rng(p)
    root, right, alphas = rng.normal(size=(p + 5, p)), rng.normal(size=p), np.logspace(-2, 3, n_alphas)
    gram = root.T @ root
    solved = solve_path(np.triu(gram), right, alphas)  # only the upper triangle is read
    for alpha, b in zip(alphas, solved, strict=True):
        np.testing.assert_allclose(gram @ b + alpha*b, right, rtol=1e-8)

@pytest.mark.parametrize("alphas", [[0.0, 1.0], [1e-14, 1e-9, 1, 10, 100, 0], [0.0, 0.0]])
def test_small_penalties_and_none_are_solved_beside_large_ones(alphas):
    rng = np.random.default_rng(6)
    root, right = rng.normal(size=(9, 5)), rng.normal(size=5)
    gram = root.T @ root
    solved = solve_path(np.triu(gram), right, alphas)
    for alpha, b in zip(alphas, solved, strict=True): np.testing.assert_allclose(gram @ b + alpha*b, right, rtol=1e-8)

def test_sums_go_into_the_memory_that_is_given():
    rng = np.random.default_rng(5)
    x, y, g = rng.normal(size=(60, 4)), rng.normal(size=60), rng.integers(0, 2, 60)
    memory = np.full((5, 21), np.nan)
    sums = grams(x, y, g, 4, out=memory)
    assert sums.base is memory and np.isnan(memory[4]).all()
    assert (sums[2:] == 0).all(), "groups without rows are 0"
    np.testing.assert_array_equal(sums, grams(x, y, g, 4))

def test_bootstrap_of_all_models_at_once_is_the_loop():
    rng = np.random.default_rng(1)
    y, p, groups = rng.normal(size=50), rng.normal(size=(4, 50)).round(1), rng.integers(0, 12, 50)
    w = resample_groups(groups, 20, seed=3)
    together = weighted_scores(y, p, w)
    for b in range(20):
        rows = np.repeat(np.arange(50), w[b])
        for m in range(4):
            t, q = y[rows], p[m, rows]
            rmse, slope = np.sqrt(((t - q)**2).mean()), np.polyfit(q, t, 1)[0]
            one = [np.corrcoef(t, q)[0, 1], spearmanr(t, q)[0], rmse, slope]
            np.testing.assert_allclose(together[:, b, m], one, rtol=1e-9, atol=1e-9)

def test_intervals_cover_and_p_values_are_honest():
    "Over 200 null studies with repeats, p < 0.05 one time in twenty; the interval includes 0 in the others."
    rng, hits, covered = np.random.default_rng(2), 0, 0
    groups = np.repeat(np.arange(25), 2)
    for i in range(200):
        y, p = (np.repeat(rng.normal(size=25), 2) + 0.1*rng.normal(size=50) for _ in range(2))
        hits += permutation_p(y, p, groups, 99, seed=i) <= 0.05
        t = compare(y, {"m": p}, groups, repeats=99, seed=i).iloc[0]
        covered += t.pearson_low <= 0 <= t.pearson_high
    assert 1 <= hits <= 22 and covered >= 175
