"""The batched solver beside scikit-learn and beside what can be worked out by hand: optimality of every fit, missing labels, bad designs, choice."""
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, Ridge
from sklearn.utils.estimator_checks import check_estimator

from drugnb.core.evaluate import grouped_splits
from drugnb.core.settings import InputError
from drugnb.essentiality.solve import (
    RATIOS,
    PathRegressor,
    cross_validate,
    figure_speed,
    one_by_one,
    relative_gap,
    solve_paths,
    solve_ridge,
)


def world(n=80, p=30, m=9, correlated=0.0, missing=0.2, noise=1.0, seed=0):
    "Lines x features, lines x perturbations with missing labels."
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, p)) + correlated*rng.normal(size=(n, 3)) @ rng.normal(size=(3, p))
    y = z @ (rng.normal(size=(p, m))*(rng.random((p, m)) < 0.2)) + noise*rng.normal(size=(n, m)) + rng.normal(size=m)*5
    y[rng.random(y.shape) < missing] = np.nan
    return z, y

def gap_by_the_book(x, y, w, alpha, l1_ratio):
    "The relative gap from the definition, one fit at a time: the better of two dual points, the residual scaled and as it is."
    exact = np.longdouble if x.size < 20_000 else np.float64  # the former is slow
    x, y = np.asarray(x, exact), np.asarray(y, exact)
    x, y, n = x - x.mean(0), y - y.mean(), len(y)
    first, second = n*alpha*l1_ratio, n*alpha*(1 - l1_ratio)
    r = y - x @ w
    primal = r @ r/2 + first*np.abs(w).sum() + second/2*(w @ w)
    wide, tall = np.vstack([x, np.sqrt(second)*np.eye(x.shape[1])]), np.concatenate([y, np.zeros(x.shape[1])])
    theta = tall - wide @ w  # of the same problem as a LASSO with more rows
    theta = theta*min(1, first/np.abs(wide.T @ theta).max())
    duals = [tall @ theta - theta @ theta/2]
    if second: duals.append(y @ r - r @ r/2 - (np.maximum(np.abs(x.T @ r) - first, 0)**2).sum()/2/second)
    return float((primal - max(duals))/primal)

def each(paths, y):
    "Every fit that was made: perturbation, ratio, its labelled lines."
    for i in np.flatnonzero(np.isfinite(paths.gap).all(1)):
        for a in range(paths.gap.shape[1]): yield i, a, np.isfinite(y[:, i])

def assert_optimal(paths, z, y, l1_ratio=1.0, gap=1e-6):
    for i, a, here in each(paths, y):
        found = gap_by_the_book(z[here], y[here, i], paths.coef[i, a], paths.alphas[i, a], l1_ratio)
        assert found <= gap*1.001 + 1e-13, f"perturbation {i}, ratio {a}: {found}"
        assert paths.gap[i, a] == pytest.approx(found, abs=1e-9)
        mean = y[here, i].mean() - z[here].mean(0) @ paths.coef[i, a]
        assert paths.intercept[i, a] == pytest.approx(mean, abs=1e-9*max(1, np.abs(z).max()))

def objective(z, y, w, alpha, l1_ratio):
    r = (y - y.mean()) - (z - z.mean(0)) @ w
    return r @ r/2/len(y) + alpha*(l1_ratio*np.abs(w).sum() + (1 - l1_ratio)/2*w @ w)

# by hand

def test_orthogonal_columns_are_soft_thresholded():
    z = np.vstack([np.eye(4), -np.eye(4)])
    b = np.array([3.0, -2, 1, 0])
    y = (z @ b)[:, None]
    paths = solve_paths(z, y)
    alphas = np.array(RATIOS)*3*2/8
    assert np.allclose(paths.alphas[0], alphas)
    expected = np.sign(b)*np.maximum(np.abs(b) - alphas[:, None]*8/2, 0)
    assert np.allclose(paths.coef[0], expected, atol=1e-8)

def test_the_gap_of_one_feature_by_hand():
    x, y = np.array([[-1.0], [1.0]]), np.array([-1.0, 1.0])
    assert relative_gap(x, y, np.array([0.5]), 0.5) == 0
    assert relative_gap(x, y, np.array([0.0]), 0.5) == 0.25
    assert relative_gap(x, y, np.array([0.0]), 0.5) == gap_by_the_book(x, y, np.array([0.0]), 0.5, 1)

def test_the_absolute_gap_is_that_of_scikit_learn():
    z, y = world(missing=0)
    m = Lasso(0.3, tol=1e-2).fit(z, y[:, 0])
    value = objective(z, y[:, 0], m.coef_, 0.3, 1)
    assert relative_gap(z, y[:, 0], m.coef_, 0.3)*value == pytest.approx(m.dual_gap_, rel=1e-6)

# beside scikit-learn

@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.01, 0.0])
@pytest.mark.parametrize("shape", [(80, 30), (40, 70)], ids=["p < n", "p > n"])
def test_every_fit_is_that_of_scikit_learn(l1_ratio, shape):
    z, y = world(*shape, m=4, correlated=1)
    ours, theirs = solve_paths(z, y, l1_ratio=l1_ratio), one_by_one(z, y, l1_ratio=l1_ratio, gap=1e-9)
    assert np.nanmax(ours.gap) <= 1e-6 and np.allclose(ours.alphas, theirs.alphas)
    for i, a, here in each(ours, y):
        said = [z @ p.coef[i, a] + p.intercept[i, a] for p in (ours, theirs)]
        assert np.abs(said[0] - said[1]).max() < 5e-3*y[here, i].std()
        value = [objective(z[here], y[here, i], p.coef[i, a], ours.alphas[i, a], l1_ratio) for p in (ours, theirs)]
        assert value[0] <= value[1]*(1 + 1.1e-6)

def test_one_fit_is_that_of_lasso_as_anyone_would_call_it():
    z, y = world()
    paths = solve_paths(z, y, gap=1e-10)
    for i, a, here in [(0, 3, None), (5, 6, None)]:
        here = np.isfinite(y[:, i])
        theirs = Lasso(paths.alphas[i, a], tol=1e-12, max_iter=100_000).fit(z[here], y[here, i])
        assert np.allclose(paths.coef[i, a], theirs.coef_, atol=1e-5)
        assert paths.intercept[i, a] == pytest.approx(theirs.intercept_, abs=1e-5)

@pytest.mark.parametrize("l1_ratio", [1.0, 0.3, 0.0])
def test_weights_of_lines_are_scikit_learns(l1_ratio):
    z, y = world(m=3)
    v = np.random.default_rng(1).uniform(0, 3, len(z))
    v[:5] = 0
    paths = solve_paths(z, y, RATIOS[:7], l1_ratio, 1e-9, weights=v)
    for i, a, here in each(paths, y):
        alpha = paths.alphas[i, a]
        if l1_ratio: theirs = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-11, max_iter=100_000)
        else: theirs = Ridge(alpha*v[here].sum())
        theirs.fit(z[here], y[here, i], sample_weight=v[here])
        assert np.allclose(paths.coef[i, a], theirs.coef_, atol=2e-4)
        assert paths.intercept[i, a] == pytest.approx(theirs.intercept_, abs=1e-3)

def test_a_line_of_weight_two_counts_as_two_lines():
    z, y = world(m=2, missing=0.3)
    v = np.ones(len(z))
    v[:20] = 2
    twice = solve_paths(np.vstack([z, z[:20]]), np.vstack([y, y[:20]]), gap=1e-10)
    assert np.allclose(solve_paths(z, y, gap=1e-10, weights=v).coef, twice.coef, atol=1e-5)

# designs on which solvers fail

def spoilt(kind):
    z, y = world(60, 40, 4, correlated=2)
    if kind == "duplicated": z[:, 20:] = z[:, :20]
    if kind == "constant": z[:, [3, 7, 8]] = [2.0, 1e6, 0.1]
    if kind == "scales": z = z*10.0**np.linspace(-6, 6, 40)
    if kind == "shifted": z = z + 1e6
    if kind == "rank 3": z = z[:, :3] @ np.random.default_rng(1).normal(size=(3, 40))
    if kind == "noiseless": y = z[:, :4] + 0.0
    if kind == "levels": y = np.round(np.clip(y/5, 0, 2))
    if kind == "wide": z, y = world(25, 300, 4, correlated=3, missing=0.1)
    if kind == "float32": z, y = z.astype(np.float32), y.astype(np.float32)
    if kind == "huge": z, y = z*1e8, y*1e-8
    return z, y

@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["duplicated", "constant", "scales", "shifted", "rank 3", "noiseless", "levels", "wide", "float32", "huge"])
def test_every_fit_of_a_bad_design_is_optimal(kind, l1_ratio):
    z, y = spoilt(kind)
    paths = solve_paths(z, y, l1_ratio=l1_ratio)
    assert np.isfinite(paths.coef).all() and np.nanmax(paths.gap) <= 1e-6
    if kind != "shifted": assert_optimal(paths, z.astype(float), y.astype(float), l1_ratio)
    if kind == "constant":
        assert not paths.coef[:, :, [3, 7, 8]].any()
        assert not solve_ridge(z, y).coef[:, :, [3, 7, 8]].any()

def test_a_shift_of_the_features_changes_the_intercept_alone():
    z, y = world()
    near, far = solve_paths(z, y, gap=1e-9), solve_paths(z + 1e5, y, gap=1e-9)
    assert np.allclose(near.coef, far.coef, atol=1e-5)

def test_penalties_down_to_a_millionth_are_reached():
    z, y = world(50, 45, 5, correlated=1)
    ratios = 10.0**np.linspace(0, -6, 13)
    paths = solve_paths(z, y, ratios)
    assert np.nanmax(paths.gap) <= 1e-6
    few = solve_paths(z, y, [1e-4])
    assert np.allclose(few.coef[:, 0] @ z.T, paths.coef[:, 8] @ z.T, atol=2e-2), "a cold start gets there too"
    assert np.nanmax(few.gap) <= 1e-6

def test_a_column_that_is_constant_among_the_labelled_lines_stays_at_exactly_zero():
    z, y = world(m=2, missing=0)
    z[:, 4] = 0
    z[:10, 4] = 7
    y[:10, 0] = np.nan
    for l1_ratio in (1.0, 0.5, 0.0):
        paths = solve_paths(z, y, l1_ratio=l1_ratio)
        assert not paths.coef[0, :, 4].any() and paths.coef[1, -1, 4] != 0

# missing labels

def test_missing_labels_are_left_out_whatever_their_number():
    z, y = world(70, 20, 6, missing=0)
    for i, count in enumerate([0, 1, 20, 35, 50, 66]): y[:count, i] = np.nan
    for l1_ratio in (1.0, 0.0):
        together = solve_paths(z, y, RATIOS[:6], l1_ratio, 1e-10)
        assert together.n.tolist() == [70, 69, 50, 35, 20, 4]
        for i, here in enumerate(np.isfinite(y).T):
            ratios = RATIOS[:6]
            alone = solve_paths(z[here], y[here, i:i + 1], ratios, l1_ratio, 1e-10)
            if l1_ratio: assert np.allclose(together.coef[i], alone.coef[0], atol=1e-5)
            else:
                fits = [Ridge(alpha*here.sum()).fit(z[here], y[here, i]).coef_ for alpha in together.alphas[i]]
                assert np.allclose(together.coef[i], fits, atol=1e-8)

def test_what_stands_where_no_label_is_does_not_matter():
    z, y = world()
    other = z.copy()
    other[np.isnan(y[:, 0])] *= -3
    one = solve_paths(z, y[:, :1], gap=1e-10).coef
    assert np.allclose(one, solve_paths(other, y[:, :1], gap=1e-10).coef, atol=1e-6)

@pytest.mark.parametrize("l1_ratio", [1.0, 0.0])
def test_a_perturbation_without_enough_to_fit_is_missing_and_harms_no_other(l1_ratio):
    z, y = world(m=5)
    spoilt = y.copy()
    spoilt[:, 1] = np.nan
    spoilt[2:, 2] = np.nan
    spoilt[:, 3] = 4.0
    paths, sound = solve_paths(z, spoilt, l1_ratio=l1_ratio), solve_paths(z, y, l1_ratio=l1_ratio)
    assert np.isnan(paths.coef[1:4]).all() and np.isnan(paths.gap[1:4]).all() and np.isnan(paths.intercept[1:4]).all()
    assert paths.n[1:4].tolist() == [0, 2, 80]
    assert np.allclose(paths.coef[[0, 4]], sound.coef[[0, 4]], atol=1e-4)
    nothing = solve_paths(z, spoilt[:, 1:2], l1_ratio=l1_ratio)
    assert np.isnan(nothing.coef).all()

def test_three_labels_are_enough():
    z, y = world(m=1, missing=0)
    y[3:] = np.nan
    paths = solve_paths(z, y)
    assert_optimal(paths, z, y)

# order, number, start

def test_order_of_lines_features_and_perturbations_does_not_matter():
    z, y = world(m=70)
    rng = np.random.default_rng(2)
    rows, columns, which = (rng.permutation(k) for k in (len(z), z.shape[1], 70))
    one, other = solve_paths(z, y, gap=1e-10), solve_paths(z[rows][:, columns], y[rows][:, which], gap=1e-10)
    assert np.allclose(one.coef[which][:, :, columns], other.coef, atol=1e-5)
    assert (one.n[which] == other.n).all()

def test_a_perturbation_alone_is_what_it_is_among_others():
    z, y = world(m=20)
    together, alone = solve_paths(z, y, gap=1e-10), solve_paths(z, y[:, 7:8], gap=1e-10)
    assert np.allclose(together.coef[7], alone.coef[0], atol=1e-6)

def test_units_of_the_response_scale_the_answer():
    z, y = world(m=3)
    one, other = solve_paths(z, y, gap=1e-10), solve_paths(z, 1000*y, gap=1e-10)
    assert np.allclose(1000*one.coef, other.coef, atol=1e-3) and np.allclose(1000*one.alphas, other.alphas)

def test_the_same_input_gives_the_same_bits():
    z, y = world()
    assert solve_paths(z, y).coef.tobytes() == solve_paths(z, y).coef.tobytes()

def test_no_more_columns_than_lines_and_none_at_the_largest_penalty():
    z, y = world(20, 100, 5, missing=0.1)
    paths = solve_paths(z, y)
    count = (paths.coef != 0).sum(2)
    assert not count[:, 0].any() and (count < paths.n[:, None]).all()

# ridge

def test_ridge_is_exact_and_the_same_by_either_name():
    z, y = world(50, 80, 6, correlated=1, missing=0.4)
    paths = solve_ridge(z, y)
    assert np.nanmax(paths.gap) < 1e-10
    top = np.linalg.eigvalsh(np.cov(z.T, bias=True))[-1]
    assert np.allclose(paths.alphas, np.array(RATIOS)*top)
    assert np.array_equal(paths.coef, solve_paths(z, y, l1_ratio=0).coef)
    for i, a, here in each(paths, y):
        theirs = Ridge(paths.alphas[i, a]*here.sum()).fit(z[here], y[here, i])
        assert np.allclose(paths.coef[i, a], theirs.coef_, atol=1e-8)
        assert paths.intercept[i, a] == pytest.approx(theirs.intercept_, abs=1e-8)

# bad input

@pytest.mark.parametrize("change, words", [
    (dict(z=np.ones((80, 3))*np.nan), "without a missing"),
    (dict(z=np.ones(80)), "table of lines x features"),
    (dict(z=np.full((80, 3), 1e200)*np.arange(80)[:, None]), "rescale"),
    (dict(y=np.ones((79, 2))), "do not belong to 80 lines"),
    (dict(y=np.full((80, 2), np.inf)), "160 responses are infinite"),
    (dict(ratios=[0.1, 0.5]), "must fall"),
    (dict(ratios=[2.0, 0.5]), "from 1 at most"),
    (dict(ratios=[0.5, 0.0]), "above 0"),
    (dict(ratios=[]), "must fall"),
    (dict(l1_ratio=1.5), "l1_ratio is 1.5"),
    (dict(gap=0), "gap to be reached is 0"),
    (dict(weights=-np.ones(80)), "none below 0"),
    (dict(weights=np.zeros(80)), "not all 0"),
    (dict(weights=np.ones(3)), "must be 80"),
])
def test_what_cannot_be_solved_is_named(change, words):
    z, y = world()
    with pytest.raises(InputError, match=words): solve_paths(**dict(z=z, y=y) | change)

def test_a_fit_that_falls_short_is_reported(monkeypatch):
    monkeypatch.setattr("drugnb.essentiality.solve.MANY", 1)
    z, y = world(correlated=2)
    with pytest.warns(ConvergenceWarning, match="did not reach"): paths = solve_paths(z, y)
    assert np.nanmax(paths.gap) > 1e-6
    for i, a, here in each(paths, y):
        found = gap_by_the_book(z[here], y[here, i], paths.coef[i, a], paths.alphas[i, a], 1)
        assert paths.gap[i, a] == pytest.approx(found, abs=1e-9), "the gap that is reported is the true one"

# cross-validation

@pytest.fixture(scope="module")
def screen():
    z, y = world(100, 30, 12, correlated=1, missing=0.15, noise=4, seed=3)
    y[:, 10] = np.random.default_rng(0).normal(size=100)
    y[2:, 11] = np.nan
    return z, y, grouped_splits(np.arange(100), 5, seed=0)

def by_hand(z, y, splits, l1_ratio):
    "Choice by loops: mean Spearman of each ratio, coefficients of each fold."
    scores, fits = np.zeros((len(splits), y.shape[1], len(RATIOS))), []
    for f, (train, test) in enumerate(splits):
        paths = solve_paths(z[train], y[train], l1_ratio=l1_ratio)
        fits.append(paths)
        for i in range(y.shape[1]):
            for a in range(len(RATIOS)):
                said = pd.Series(z[test] @ paths.coef[i, a])
                flat = not paths.coef[i, a].any()
                scores[f, i, a] = 0 if flat else said.corr(pd.Series(y[test, i]), method="spearman")
    return scores.mean(0), fits

@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
def test_the_choice_is_that_of_loops(screen, l1_ratio):
    z, y, splits = screen
    found = cross_validate(z, y, splits, l1_ratio=l1_ratio, patience=None)
    scores, fits = by_hand(z, y[:, :11], splits, l1_ratio)
    assert np.allclose(found.scores[:11], scores, atol=1e-3)
    best = scores.argmax(1)
    assert np.mean(found.ratio[:11] == np.array(RATIOS)[best]) > 0.9
    at = [np.flatnonzero(np.array(RATIOS) == r)[0] for r in found.ratio[:11]]
    coef = np.mean([[p.coef[i, a] for i, a in enumerate(at)] for p in fits], axis=0)
    assert np.allclose(found.coef[:11], coef, atol=1e-3)
    for f, (_, test) in enumerate(splits):
        said = np.array([z[test] @ fits[f].coef[i, a] + fits[f].intercept[i, a] for i, a in enumerate(at)]).T
        assert np.allclose(found.predicted[test][:, :11], said, atol=2e-3)
    assert found.fits == 5*11*10 and found.possible == 5*12*10

def test_early_stopping_makes_fewer_fits_and_looks_no_further_than_it_says(screen):
    z, y, splits = screen
    full, early = (cross_validate(z, y, splits, patience=p) for p in (None, 1))
    assert early.fits < full.fits
    for i in range(11):
        made = np.flatnonzero(np.isfinite(early.scores[i]))
        assert (made == np.arange(len(made))).all() and np.allclose(early.scores[i, made], full.scores[i, made], atol=1e-3)
        falls = [a for a in range(1, 10) if full.scores[i, a] <= full.scores[i, :a].max()]
        assert len(made) == (min(falls) + 1 if falls else 10)

def test_noise_gets_a_model_that_is_no_better_than_none(screen):
    z, y, splits = screen
    noise = np.random.default_rng(4).normal(size=(100, 40))
    found = cross_validate(z, noise, splits)
    assert np.mean(found.ratio == 1) > 0.2
    empty = found.ratio == 1
    assert not found.coef[empty].any() and np.allclose(found.intercept[empty], noise.mean(0)[empty], atol=0.2)

def test_what_cannot_be_fitted_is_missing_and_what_cannot_be_scored_is_empty(screen):
    z, y, splits = screen
    y = y.copy()
    test = splits[0][1]
    y[:, 0] = np.nan
    y[test[:2], 0] = [1.0, 2]
    y[:, 1] = 5.0
    found = cross_validate(z, y, splits)
    assert np.isnan(found.ratio[[0, 1, 11]]).all() and np.isnan(found.coef[[0, 1, 11]]).all()
    assert np.isnan(found.predicted[:, [0, 1, 11]]).all() and np.isnan(found.gap[[0, 1, 11]]).all()
    y[:, 2] = np.nan
    y[[t[0] for _, t in splits], 2] = np.arange(5)  # four labels in training, one in each held-out fold
    found = cross_validate(z, y, splits)
    assert found.ratio[2] == 1 and not found.coef[2].any() and found.intercept[2] == pytest.approx(2)

def test_a_fold_without_labels_does_not_count(screen):
    z, y, splits = screen
    y = y[:, :2].copy()
    y[splits[1][1], 0] = np.nan
    found = cross_validate(z, y, splits, patience=None)
    some = [s for f, s in enumerate(splits) if f != 1]
    assert np.allclose(found.scores[0], by_hand(z, y[:, :1], some, 1.0)[0][0], atol=1e-3)
    assert np.isnan(found.scores).sum() == 0 and found.fold_coef.shape == (5, 2, 30)
    assert np.allclose(found.coef, found.fold_coef.mean(0)) and np.allclose(found.intercept, found.fold_intercept.mean(0))

def test_of_equal_scores_the_larger_penalty_is_taken():
    z = np.random.default_rng(0).normal(size=(60, 5))
    found = cross_validate(z, z[:, :1]**3, grouped_splits(np.arange(60), 5), patience=None)
    alone = cross_validate(z[:, :1], z[:, :1]**3, grouped_splits(np.arange(60), 5), patience=None)
    assert np.allclose(alone.scores[0, 1:], 1) and alone.ratio[0] == RATIOS[1]
    assert found.ratio[0] == RATIOS[int(np.argmax(np.round(found.scores[0], 10)))]

def test_held_out_lines_do_not_touch_their_own_prediction(screen):
    z, y, splits = screen
    found = cross_validate(z, y[:, :3], splits, RATIOS[4:5])
    other, (_, test) = y[:, :3].copy(), splits[2]
    other[test] = -100*other[test]
    again = cross_validate(z, other, splits, RATIOS[4:5])
    assert np.allclose(found.predicted[test], again.predicted[test], atol=1e-8)

def test_many_perturbations_in_parts_are_as_in_one(screen, monkeypatch):
    z, y, splits = screen
    whole = cross_validate(z, y, splits)
    monkeypatch.setattr("drugnb.essentiality.solve.TOGETHER", 5)
    parts = cross_validate(z, y, splits)
    assert np.array_equal(whole.ratio, parts.ratio, equal_nan=True)
    assert np.allclose(whole.coef, parts.coef, atol=1e-4, equal_nan=True)

# estimator

def test_the_estimator_passes_scikit_learns_checks():
    checks = check_estimator(PathRegressor(), on_fail=None, on_skip=None)
    assert not [c["check_name"] for c in checks if c["status"] == "failed"]

def test_the_estimator_keeps_what_cross_validation_found(screen):
    z, y, _ = screen
    patients = np.arange(100)//2
    model = PathRegressor(folds=4, random_state=7).fit(z, y, groups=patients)
    found = cross_validate(z, y, grouped_splits(patients, 4, seed=7))
    assert np.array_equal(model.coef_, found.coef, equal_nan=True) and model.coef_.shape == (12, 30)
    assert np.array_equal(model.ratio_, found.ratio, equal_nan=True)
    said = model.predict(z)
    assert np.isnan(said[:, 11]).all() and np.isfinite(said[:, :11]).all()
    one = PathRegressor(folds=4, random_state=7).fit(z, y[:, 2], groups=patients)
    assert one.coef_.shape == (30,) and one.predict(z).shape == (100,)
    assert np.allclose(one.predict(z), said[:, 2], atol=1e-3)

def test_a_known_signal_is_found_in_new_lines():
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 5))
    truth[:6] = rng.normal(size=(6, 5))*2
    z = rng.normal(size=(400, 60))
    y = z @ truth + rng.normal(size=(400, 5))
    y[rng.random(y.shape) < 0.2] = np.nan
    model = PathRegressor().fit(z[:200], y[:200])
    left = np.nanmean((y[200:] - model.predict(z[200:]))**2, axis=0)
    assert (left < 1.4).all(), "the noise has variance 1, without a model it is far more"
    assert np.abs(model.coef_[:, :6] - truth[:6].T).max() < 0.6

def test_the_title_of_the_figure_is_computed():
    times = pd.DataFrame({"method": ["ours"]*2 + ["theirs"]*2, "perturbations": [1, 8]*2, "milliseconds": [2, 0.5, 4, 6]})
    title = figure_speed(times).axes[0].get_title(loc="left") or figure_speed(times).axes[0].get_title()
    assert "8 perturbations" in title and "12.0 times" in title

# real tables

@pytest.fixture(scope="module")
def real(data):
    folder = data/"essentiality"
    if not folder.is_dir(): pytest.skip("the essentiality tables are not beside the others")
    x = pd.read_csv(folder/"expression_525x697.csv.gz", index_col=0)
    y = pd.read_csv(folder/"gdsc_lnic50_969x266.csv.gz", index_col=0)
    lines = x.index.intersection(y.index)
    x, y = x.loc[lines].to_numpy(float), y.loc[lines].to_numpy(float)
    y = y[:, np.isfinite(y).sum(0) >= 300]
    spread = x.std(0)
    return (x - x.mean(0))/np.where(spread > 0, spread, 1), y

def test_real_genes_more_than_lines(real):
    z, y = real[0], real[1][:, ::30]
    paths = solve_paths(z, y)
    assert len(z) == 525 and z.shape[1] == 697 and np.isnan(y).any()
    assert_optimal(paths, z, y)

def test_real_components_beside_scikit_learn(real):
    z, y = real[0], real[1][:, ::60]
    values, vectors = np.linalg.eigh(z.T @ z)
    z = z @ vectors[:, -50:]
    ours, theirs = solve_paths(z, y), one_by_one(z, y)
    assert_optimal(ours, z, y)
    for i, a, here in each(ours, y):
        said = [z @ p.coef[i, a] + p.intercept[i, a] for p in (ours, theirs)]
        assert np.abs(said[0] - said[1]).max() < 0.01*y[here, i].std()

def test_early_stopping_on_real_tables_chooses_what_whole_paths_choose(real):
    z, y = real[0], real[1][:, ::12]
    values, vectors = np.linalg.eigh(z.T @ z)
    z = z @ vectors[:, -100:]
    splits = grouped_splits(np.arange(len(z)), 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full, early = (cross_validate(z, y, splits, patience=p) for p in (None, 2))
    assert np.mean(full.ratio == early.ratio) >= 0.9
    assert early.fits < 0.75*full.fits
    assert np.max(full.gap) <= 1e-6
