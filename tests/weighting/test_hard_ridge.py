"""Ridge of badly scaled data: beside rational arithmetic, beside scikit-learn, or refused; never wrong."""
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from drugnb.core.settings import InputError
from drugnb.weighting import ridge
from drugnb.weighting.grid import Training, fit_by_signature, shared_cells, solve_groups
from drugnb.weighting.ridge import WeightedRidge, grams, ridge_path, solve_grams, solve_path
from drugnb.weighting.weight import Weighting

PENALTIES = (1e-12, 1e-3, 1.0, 100.0, 1e6, 1e12)


def drawn(n=60, p=7, seed=0):
    "Expression, viability, and which half of the signatures is another batch."
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, x @ rng.normal(size=p) + 0.3*rng.normal(size=n), (np.arange(n) % 2)[:, None]

def hard(x, half):
    "Expression spoilt in every way that a batch, a unit or a copy can."
    p, copy, near = x.shape[1], x.copy(), x.copy()
    copy[:, 1] = copy[:, 0]
    near[:, 1] = near[:, 0] + 1e-7*np.random.default_rng(9).normal(size=len(x))
    constant = x.copy()
    constant[:, 0], constant[:, 1] = 3.3, 1e8
    one_far = x.copy()
    one_far[0] += 1e7
    spikes = np.zeros_like(x)
    spikes[np.arange(len(x)), np.arange(len(x)) % p] = x[:, 0]
    return {
        "plain": x, "shift 1e3": x + 1e3*half, "shift 1e6": x + 1e6*half, "shift 1e8": x + 1e8*half,
        "offset 1e6": x + 1e6, "offset 1e9": x + 1e9, "scales 1e6": x*np.logspace(-6, 6, p),
        "scales 1e9": x*np.logspace(-9, 9, p), "rows 1e6": x*np.logspace(-6, 6, len(x))[:, None],
        "copy": copy, "nearly a copy": near, "constant genes": constant, "one far": one_far,
        "1e19": 1e19*x, "1e150": 1e150*x, "1e-30": 1e-30*x, "1e-160": 1e-160*x,
        "all equal": np.full_like(x, 2.7), "zero": 0*x, "spikes": spikes, "whole numbers": np.round(x),
        "shift and scales": x*np.logspace(-3, 3, p) + 1e4*half, "float32": x.astype(np.float32),
        "float32 1e19": (1e19*x).astype(np.float32), "float32 shift": (x + 1e4*half).astype(np.float32),
    }

KINDS = list(hard(*drawn()[::2]))
INEXACT = ("scales 1e6", "scales 1e9", "rows 1e6", "shift and scales")  # where next to no penalty the peer is wrong

def difference(x, y, alpha, path, w=None):
    "Largest difference of our predictions from scikit-learn's, in spreads of y."
    x = x.astype(np.float64)
    peer = Ridge(alpha, solver="svd").fit(x, y, sample_weight=w)
    counts = slice(None) if w is None else w > 0
    return np.abs(x @ path[:-1] + path[-1] - peer.predict(x))[counts].max()/y.std()

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, p", [(60, 7), (9, 20), (7, 7), (2, 3), (40, 1)])
def test_hard_data_are_fitted_as_by_scikit_learn_in_double_precision(kind, n, p):
    x, y, half = drawn(n, max(p, 3))
    x = hard(x, half)[kind][:, :p]
    bound = 1e-4 if kind in ("offset 1e9", "shift 1e8") else 1e-6  # such values have few digits to begin with
    for alphas in (PENALTIES[2*(kind in INEXACT):], PENALTIES[2:4]):  # many penalties and few go different ways
        found = ridge_path(x, y, alphas)
        assert np.isfinite(found).all()
        for alpha, path in zip(alphas, found, strict=True):
            assert difference(x, y, alpha, path) < bound, alpha

def test_values_whose_squares_overflow_or_vanish_are_fitted_as_in_another_unit():
    x, y, _ = drawn()
    plain = ridge_path(x, y, [0.0])[0]
    for unit in (1e-200, 1e200, 1e300):
        path = ridge_path(unit*x, y, [0.0, 1.0])
        np.testing.assert_allclose(unit*path[0, :-1], plain[:-1], rtol=1e-9)
        wanted = 0 if unit < 1 else plain[:-1]
        np.testing.assert_allclose(unit*path[1, :-1], wanted, rtol=1e-9, atol=1e-300)

# rational arithmetic

def exact(x, y, alpha, w):
    "Predictions of the weighted ridge without any rounding, as floats."
    x, y, w = ([[Fraction(float(v)) for v in row] for row in np.atleast_2d(m)] for m in (x, y, w))
    y, w, p = y[0], w[0], len(x[0])
    total = sum(w)
    mean = [sum(a*row[j] for a, row in zip(w, x, strict=True))/total for j in range(p)]
    mean_y = sum(a*b for a, b in zip(w, y, strict=True))/total
    z = [[v - m for v, m in zip(row, mean, strict=True)] for row in x]
    rows = [[sum(a*r[j]*r[k] for a, r in zip(w, z, strict=True)) + (Fraction(alpha) if j == k else 0) for k in range(p)]
            + [sum(a*r[j]*(b - mean_y) for a, r, b in zip(w, z, y, strict=True))] for j in range(p)]
    for i in range(p):  # Gauss and Jordan
        rows[i] = [v/rows[i][i] for v in rows[i]]
        for j in range(p):
            if j != i: rows[j] = [v - rows[j][i]*u for v, u in zip(rows[j], rows[i], strict=True)]
    return np.array([float(mean_y + sum(v*row[-1] for v, row in zip(r, rows, strict=True))) for r in z])

SPOILT = ["plain", "shift 1e6", "shift 1e8", "scales 1e6", "scales 1e9", "offset 1e6", "one far", "nearly a copy", "1e19"]

@pytest.mark.parametrize("weights", ["equal", "1e-12 to 1e12"])
@pytest.mark.parametrize("kind", SPOILT)
def test_hard_data_are_fitted_as_rational_arithmetic_does(kind, weights):
    x, y, half = drawn(12, 3, seed=3)
    x, w = hard(x, half)[kind], np.ones(12)
    if weights != "equal": w = 10.0**np.random.default_rng(1).uniform(-12, 12, 12)
    spread = np.sqrt(np.average((y - np.average(y, weights=w))**2, weights=w))
    found = ridge_path(x, y, PENALTIES[:4], w)
    for alpha, path in zip(PENALTIES[:4], found, strict=True):
        wrong = x @ path[:-1] + path[-1] - exact(x, y, alpha, w)
        assert np.sqrt(np.average(wrong**2, weights=w))/spread < 1e-6, alpha

@pytest.mark.parametrize("kind", ["plain", "scales 1e6", "scales 1e9", "nearly a copy", "shift 1e6"])
def test_without_a_penalty_hard_data_are_fitted_as_rational_arithmetic_does(kind):
    x, y, half = drawn(12, 3, seed=3)
    x = hard(x, half)[kind]
    path = ridge_path(x, y, [0.0])[0]
    np.testing.assert_allclose(x @ path[:-1] + path[-1], exact(x, y, 0, np.ones(12)), atol=1e-6)

def test_a_constant_gene_has_coefficient_zero_and_a_copy_shares():
    x, y, half = drawn()
    x = hard(x, half)["constant genes"]
    x[:, 3] = x[:, 2]
    for alpha in (0.0, 1e-12, 1.0):
        b = ridge_path(x, y, [alpha])[0]
        assert np.abs(b[:2]).max() < 1e-15 and b[2] == pytest.approx(b[3], abs=1e-9)

# what cannot be solved

@pytest.mark.parametrize("shift", [1e14, 1e15])
def test_what_double_precision_does_not_hold_is_refused(shift):
    x, y, half = drawn()
    with pytest.raises(InputError, match="With penalty 1 rounding would change predictions by more than 0.001"):
        ridge_path(x + shift*half, y, [1.0, 1e30])
    assert np.isfinite(ridge_path(x + shift*half, y, [1e30])).all()

@pytest.mark.parametrize("alpha", [-1, np.nan, np.inf])
def test_a_penalty_is_a_number(alpha):
    x, y, _ = drawn()
    sums = grams(x, y, np.zeros(60, int))
    for fit in (lambda: ridge_path(x, y, [1.0, alpha]), lambda: solve_grams(sums, None, [alpha]),
                lambda: WeightedRidge(alpha).fit(x, y)):
        with pytest.raises(ValueError, match="alpha is"): fit()

@pytest.mark.parametrize("w", [-1, np.nan, np.inf])
def test_a_weight_is_a_number(w):
    x, y, _ = drawn()
    weights = np.r_[w, np.ones(59)]
    with pytest.raises(InputError, match="weights of 0 or more"): ridge_path(x, y, [1.0], weights)
    with pytest.raises(InputError, match="weights of 0 or more"): ridge_path(x, y, [1.0], np.zeros(60))
    if w != np.inf:
        with pytest.raises(InputError, match="negative or missing"): grams(x, y, np.zeros(60, int), weights=weights)
        with pytest.raises(InputError, match="group is negative or missing"):
            solve_grams(grams(x, y, np.arange(60)), weights[None], [1.0])

def test_rows_that_do_not_fit_are_refused():
    x, y, _ = drawn()
    groups = np.arange(60) % 3
    with pytest.raises(InputError, match="Group 2 is beyond the 2 groups"): grams(x, y, groups, 2)
    with pytest.raises(InputError, match=r"x has 60 signatures and y the shape \(59,\)"): grams(x, y[1:], groups)
    with pytest.raises(InputError, match="groups the shape"): grams(x, y, groups[1:])
    with pytest.raises(InputError, match="weights the shape"): grams(x, y, groups, weights=np.ones((60, 1)))

@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n, p", [(60, 7), (5, 9)])
def test_a_missing_value_is_refused_where_it_counts_and_only_there(bad, n, p):
    x, y, _ = drawn(n, p)
    whole, w = ridge_path(x[1:], y[1:], [1.0, 0.0]), np.r_[0.0, np.ones(n - 1)]
    for spoilt in (x.copy(), y.copy()):
        spoilt[0] = bad
        given = (spoilt, y) if spoilt.ndim == 2 else (x, spoilt)
        with pytest.raises(InputError, match="missing or infinite"): ridge_path(*given, [1.0])
        np.testing.assert_allclose(ridge_path(*given, [1.0, 0.0], w), whole, rtol=1e-9, atol=1e-12)

# sums know what they do not hold

@pytest.mark.parametrize("n_alphas", [1, 6])
def test_sums_give_the_answer_or_say_that_they_do_not_hold_it(n_alphas):
    plain, y, half = drawn()
    groups, weights = np.arange(60) % 3, np.array([[1.0, 2, 0.5], [0, 0, 0], [0, 1, 3]])
    for kind, x in hard(plain, half).items():
        with np.errstate(over="ignore", invalid="ignore"):
            sums = grams(x, y, groups)  # about 0, which is where most digits are lost
            models = solve_grams(sums, weights, PENALTIES[:n_alphas])
        assert np.isnan(models[1]).all()
        for w, paths in zip(weights[[0, 2]], models[[0, 2]], strict=True):
            for alpha, path in zip(PENALTIES[:n_alphas], paths, strict=True):
                if alpha < 1 and kind in INEXACT: continue
                assert np.isnan(path).all() or difference(x, y, alpha, path, w[groups]) < 1e-6

def test_the_error_of_the_sums_is_bounded_by_what_is_promised(monkeypatch):
    "Squares that are lost are told to the solver, which gives up where its answer would be wrong by more."
    rng = np.random.default_rng(0)
    root, right = rng.normal(size=(30, 6)), rng.normal(size=6)
    gram = root.T @ root
    true = np.linalg.solve(gram + np.eye(6), right)
    for lost in 10.0**np.arange(1, 14):
        noise = rng.normal(size=(6, 6))*lost*np.diag(gram).mean()*ridge.EPSILON
        found = solve_path(gram + np.triu(noise) + np.triu(noise, 1).T, right, [1.0], lost*np.diag(gram))[0]
        error = np.linalg.norm(found - true)/np.linalg.norm(true)
        assert error < ridge.ACCURACY if lost < 1e8 else np.isnan(found).all() or error < ridge.ACCURACY
    assert np.isnan(found).all()

@pytest.mark.parametrize("values", [None, "of signatures"])
@pytest.mark.parametrize("memory", [3*2**27, 0])
def test_models_of_a_grid_that_sums_do_not_hold_come_from_the_signatures(values, memory, monkeypatch):
    monkeypatch.setattr("drugnb.weighting.grid.MEMORY", memory)
    x, y, half = drawn()
    x = x + 1e6*half
    data, groups = Training(None, None, None, x, y, x.mean(0), None), np.r_[-1, np.arange(59) % 40]
    w = np.random.default_rng(0).lognormal(size=(3, 40))
    w[1] = 0
    values = values and np.random.default_rng(1).lognormal(size=60)
    models = solve_groups(data, groups, w, [1.0, 1e15], values)
    assert np.isnan(models[1]).all()
    for m in (0, 2):
        rows = np.where(groups < 0, 0, w[m][groups])*(1 if values is None else values)
        for alpha, path in zip([1.0, 1e15], models[m], strict=True): assert difference(x, y, alpha, path, rows) < 1e-6

def test_weights_of_single_signatures_on_shifted_data():
    x, y, half = drawn()
    x, y = x + 1e6*half, y - y.min()
    samples = pd.DataFrame({"compound": np.arange(60), "viability": y})
    data = Training(samples, pd.DataFrame(x), pd.DataFrame(index=samples.index), x, y, x.mean(0), None)
    sets = [np.arange(60), np.arange(40)]
    weighting = Weighting("sample", "distance from inert")
    models, values = fit_by_signature(data, shared_cells(sets, 60), weighting, [1.0]), np.abs(1 - y)
    for rows, (path,) in zip(sets, models, strict=True):
        w = values[rows]/values[rows].mean()
        assert difference(x[rows], y[rows], 1.0, path, w) < 1e-6

# any fault with any other

def spoil_at_random(rng, x):
    "Expression with one to three faults, at random strengths."
    n, p = x.shape
    for kind in rng.choice(["shift", "offset", "scales", "rows", "copy", "near", "constant", "far", "unit", "float32", "round"], rng.integers(1, 4)):
        size = 10.0**rng.uniform(0, 7)
        if kind == "shift": x = x + size*(rng.random(n) < 0.5)[:, None]
        if kind == "offset": x = x + size
        if kind == "scales": x = x*10.0**rng.uniform(-6, 6, p)
        if kind == "rows": x = x*10.0**rng.uniform(-2, 2, n)[:, None]
        if kind == "copy": x[:, -1] = x[:, 0]
        if kind == "near": x[:, -1] = x[:, 0]*(1 + rng.normal(size=n)/size)
        if kind == "constant": x[:, 0] = size
        if kind == "far": x[0] += size
        if kind == "unit": x = x*10.0**rng.uniform(-30, 30)
        if kind == "float32": x = x.astype(np.float32).astype(float)
        if kind == "round": x = np.round(x)
    return x

@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 400))])
def test_faults_together_are_fitted_as_rational_arithmetic_does_or_refused(seed):
    rng = np.random.default_rng(seed)
    n, p = rng.integers(2, 14), rng.integers(1, 5)
    x, y, _ = drawn(n, max(p, 3), seed)
    x, alpha = spoil_at_random(rng, x[:, :p].copy()), float(10**rng.uniform(-9, 9))
    w = 10.0**rng.uniform(-4, 4, n) if rng.random() < 0.5 else np.ones(n)
    spread = np.sqrt(np.average((y - np.average(y, weights=w))**2, weights=w))
    try: path = ridge_path(x, y, [alpha], w)[0]
    except InputError as e:
        assert "rounding would change predictions" in str(e)
        return
    wrong = x.astype(np.longdouble) @ path[:-1] + path[-1] - exact(x, y, alpha, w)
    level = np.abs(x).max(0) @ np.abs(path[:-1])*ridge.EPSILON*10  # what writing the model down in doubles costs
    assert np.sqrt(np.average(wrong.astype(float)**2, weights=w)) < ridge.LIMIT*spread + level
