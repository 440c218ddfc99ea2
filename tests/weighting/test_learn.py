"""Learned cluster weights against finite differences, a search by hand, and the known best weights."""
import numpy as np
import pytest
from scipy.optimize import check_grad, minimize_scalar
from sklearn.model_selection import GroupKFold

from drugnb.core.settings import InputError
from drugnb.weighting.learn import fold_numbers, fold_statistics, held_out, held_out_loss, learn_weights
from drugnb.weighting.ridge import ridge_path


def made(seed, n=900, p=20, sd=(0.3, 1.5)):
    "Signatures of one law, in clusters whose labels are of different quality."
    rng = np.random.default_rng(seed)
    c, x = rng.integers(0, len(sd), n), rng.normal(size=(n, p))
    return rng, c, x, x @ rng.normal(size=p)/np.sqrt(p) + np.array(sd)[c]*rng.normal(size=n)

@pytest.mark.parametrize("worst", [False, True])
@pytest.mark.parametrize("shrink", [0.0, 0.3])
def test_the_gradient_is_that_of_the_loss(worst, shrink):
    rng, c, x, y = made(1, sd=(0.3, 0.5, 1, 2))
    data = held_out(fold_statistics(x, y, c, rng.integers(0, 5, len(y))))
    def loss(theta): return held_out_loss(theta, data, worst, shrink)[0]
    def gradient(theta): return held_out_loss(theta, data, worst, shrink)[1]
    for log_alpha in (0, 3, 6):  # with a heavy penalty the scale of the weights matters too
        assert check_grad(loss, gradient, np.append(rng.normal(size=4), log_alpha)) < 1e-5

def test_the_loss_is_the_error_of_models_fitted_by_rows():
    rng, c, x, y = made(2)
    folds, w, alpha = rng.integers(0, 4, len(y)), np.array([1.7, 0.4]), 30.0
    w = w/(w[c].mean())
    error = null = 0
    for f in range(4):
        train, test = folds != f, folds == f
        *b, b0 = ridge_path(x[train], y[train], [alpha], w[c][train])[0]
        error += ((y[test] - x[test] @ b - b0)**2).sum()
        null += ((y[test] - y[test].mean())**2).sum()
    data = held_out(fold_statistics(x, y, c, folds))
    loss = held_out_loss(np.append(np.log(w), np.log(alpha)), data, shrink=0.0)[0]
    assert loss == pytest.approx(error/null, rel=1e-8)

def test_weights_are_those_of_a_search_by_hand():
    "Two clusters have one free weight; the best is found by trying."
    rng, c, x, y = made(3)
    units = np.arange(len(y))//3
    w = learn_weights(x, y, c, units, shrink=1e-6, seed=0).values
    learned = np.log(w[c == 0][0]/w[c == 1][0])
    folds = np.empty(len(y), int)
    splitter = GroupKFold(5, shuffle=True, random_state=0)
    for i, (_, test) in enumerate(splitter.split(x, groups=units)): folds[test] = i
    data = held_out(fold_statistics(x - x.mean(0), y, c, folds))
    def least(t):
        "The loss at the best penalty."
        def loss(log_alpha): return held_out_loss(np.array([t, 0, log_alpha]), data, shrink=1e-6)[0]
        return minimize_scalar(loss, bounds=(-4, 14), method="bounded").fun
    by_hand = minimize_scalar(least, bounds=(-5, 5), method="bounded").x
    assert least(learned) == pytest.approx(least(by_hand), abs=1e-5) and learned > 1

def test_over_seeds_they_approach_the_best_weights_there_are():
    "One over the variance of the noise (Aitken 1936): in the right order, closer in log than equal weights."
    sd = np.array([0.3, 0.6, 1.2, 2.4])
    gaps = []
    for seed in range(5):
        _, c, x, y = made(seed, 1200, 60, sd)
        w = learn_weights(x, y, c, np.arange(len(y))//4, shrink=0.001)
        learned, known = np.log([w.values[c == k][0] for k in range(4)]), -2*np.log(sd)
        learned, known = learned - learned.mean(), known - known.mean()
        gaps.append(np.linalg.norm(learned - known)/np.linalg.norm(known))
        assert np.corrcoef(learned, known)[0, 1] > 0.8
        assert w.values.mean() == pytest.approx(1) and w.effective_size < 0.8*len(y)
    assert np.mean(gaps) < 0.5

def test_the_worst_fold_fares_better_than_with_equal_weights():
    "Two plates with opposite laws: a large one that a plain fit serves, a small one that it fails."
    rng = np.random.default_rng(4)
    plate = np.repeat([0, 1, 2, 3], [300, 300, 60, 60])
    x, law = rng.normal(size=(len(plate), 8)), rng.normal(size=8)
    cluster = (plate > 1).astype(int)
    y = x @ law*np.where(cluster == 0, 1, 0.2) + np.where(cluster, x[:, ::-1] @ law, 0)
    y += 0.1*rng.normal(size=len(plate))
    data = held_out(fold_statistics(x - x.mean(0), y, cluster, plate))
    def worst(w):
        log_w = np.log([w.values[cluster == k][0] for k in (0, 1)])
        log_alphas = np.log(np.logspace(-2, 4, 25))
        return min(held_out_loss(np.append(log_w, a), data, True, 0.0)[0] for a in log_alphas)
    equal = learn_weights(x, y, np.zeros(len(y)), plate, True, n_folds=4)
    learned = learn_weights(x, y, cluster, plate, True, 0.001, n_folds=4)
    assert learned.values[cluster == 1][0] > 1.5*learned.values[cluster == 0][0]
    assert worst(learned) < worst(equal) - 0.02

def test_order_and_names_do_not_matter():
    rng, c, x, y = made(5, sd=(0.3, 0.8, 1.5))
    units, order = np.arange(len(y))//3, rng.permutation(len(y))
    w = learn_weights(x, y, c, units).values
    named = learn_weights(x, y, np.array(["c", "a", "b"])[c], units).values
    np.testing.assert_allclose(named, w, rtol=1e-3)
    shuffled = learn_weights(x[order], y[order], c[order], units[order]).values
    assert np.corrcoef(shuffled, w[order])[0, 1] > 0.8, "other folds, like weights"

def test_folds_keep_units_whole_and_are_as_many_as_can_be():
    units = ["a", "b", None, "a", "c", None, "b"]
    for n_folds, wanted in ((2, 2), (4, 4), (9, 4)):
        folds = fold_numbers(units, n_folds)
        assert set(folds) == set(range(wanted)), "a missing unit is a unit"
        assert folds[0] == folds[3] and folds[1] == folds[6] and folds[2] == folds[5]

def test_one_group_cannot_be_held_out():
    _, c, x, y = made(6)
    with pytest.raises(InputError, match="from one group, since there is nothing to hold out"):
        learn_weights(x, y, c, np.zeros(len(y)))
