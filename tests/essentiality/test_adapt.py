"""Few lines of a new tissue: known truths of offset and slope, weights as copies, tasks without leaks, choices inside training."""
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

from drugnb.core.settings import InputError
from drugnb.essentiality.adapt import (
    WAYS,
    Adapted,
    Prior,
    best_way,
    correction,
    few_shot_gains,
    few_shot_scores,
    fit_ways,
    tissue_prior,
    tissue_tasks,
    try_ways,
    weighted_fit,
    within_scores,
)
from drugnb.essentiality.data import Lines
from drugnb.essentiality.leap import Leap
from drugnb.essentiality.represent import Components


class Plain(BaseEstimator):
    "Ridge of each perturbation, no choice inside."
    def fit(self, lines, responses):
        self.models_ = [Ridge(5.0).fit(lines.expression[np.isfinite(y)], y[np.isfinite(y)]) for y in responses.T]
        return self

    def predict(self, lines): return np.column_stack([m.predict(lines.expression) for m in self.models_])

def drawn(offset=2.0, slope=0.0, seed=0, n=25, tissues=6, m=5, noise=0.7):
    "Tissues whose responses are shifted (and stretched) by an amount of their own."
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n*tissues, 12))
    tissue = np.repeat([f"t{i}" for i in range(tissues)], n)
    true = x[:, :4] @ rng.standard_normal((4, m))
    shift = np.repeat(offset*rng.standard_normal((tissues, m)), n, axis=0)
    stretch = np.repeat(1 + slope*rng.standard_normal((tissues, m)), n, axis=0)
    y = stretch*true + shift + noise*rng.standard_normal(true.shape)
    y[rng.random(y.shape) < 0.1] = np.nan
    return Lines(x, tissue, np.array([f"p{i - i % 2 if i % 9 == 1 else i}" for i in range(n*tissues)])), y


# tasks

def test_tasks_share_no_line_tissue_or_patient():
    lines, _ = drawn()
    tasks = tissue_tasks(lines, 6)
    assert [t.tissue for t in tasks] == [f"t{i}" for i in range(6)]
    for t in tasks:
        assert len(t.shots) == 6 and len(t.asked) >= 8
        assert set(lines.tissue[[*t.shots, *t.asked]]) == {t.tissue} and t.tissue not in lines.tissue[t.known]
        assert not set(lines.patient[t.asked]) & set(lines.patient[[*t.shots, *t.known]])

def test_small_tissues_and_lines_without_one_are_not_left_out():
    lines, _ = drawn()
    tissue = lines.tissue.copy()
    tissue[:20], tissue[20:25] = "", "rare"
    assert {t.tissue for t in tissue_tasks(lines._replace(tissue=tissue), 5)} == {f"t{i}" for i in range(1, 6)}
    with pytest.raises(InputError, match="No tissue has 48 lines, 40 to be screened and 8 to be asked for"): tissue_tasks(lines, 40)

def test_a_weight_is_that_many_copies():
    lines, y = drawn(n=8)
    own = lines.tissue == "t2"
    x, t = lines.expression, np.where(np.isfinite(y), y, 0)
    ours = weighted_fit(Plain(), lines, t, own, 4).predict(lines)
    theirs = Ridge(5.0).fit(x, t, sample_weight=np.where(own, 4, 1)).predict(x)
    np.testing.assert_allclose(ours, theirs)
    without = Plain().fit(lines.rows(~own), t[~own]).predict(lines)
    np.testing.assert_allclose(weighted_fit(Plain(), lines, t, own, 0).predict(lines), without)

# offset and slope

def test_offsets_are_shrunken_by_hand():
    "Variance 1 between tissues, noise 4, four shots: half of the mean residual."
    a, b = correction(Prior(np.ones(1), 0.0, 0.0, np.array([4.0])), np.full((4, 1), 2.0), np.zeros((4, 1)), np.zeros(1))
    assert a[0] == pytest.approx(1) and b[0] == 0

def test_correction_is_bayesian_linear_regression():
    rng = np.random.default_rng(0)
    p, prior = rng.normal(3, 2, (7, 4)), Prior(np.array([0.5, 2, 1, 1]), -0.2, 0.09, np.array([1, 0.5, 2, 1]))
    e, centre = rng.standard_normal((7, 4)), np.full(4, 2.5)
    e[0, 0] = np.nan
    a, b = correction(prior, e, p, centre)
    for j in range(4):
        ok = np.isfinite(e[:, j])
        x = np.column_stack([np.ones(ok.sum()), (p[:, j] - centre[j])[ok]])
        inverse = np.diag([1/prior.offset[j], 1/prior.slope_variance])
        mean = np.linalg.solve(x.T @ x/prior.noise[j] + inverse, x.T @ e[ok, j]/prior.noise[j] + inverse @ [0, prior.slope])
        assert [a[j], b[j]] == pytest.approx(mean)

def test_without_responses_the_correction_is_the_prior():
    a, b = correction(Prior(np.ones(2), -0.3, 0.1, np.ones(2)), np.full((3, 2), np.nan), np.ones((3, 2)), np.zeros(2))
    assert a.tolist() == [0, 0] and b == pytest.approx(-0.3)

def test_many_shots_are_believed():
    rng = np.random.default_rng(0)
    p = rng.standard_normal((4000, 1))
    a, b = correction(Prior(np.ones(1), 0.0, 1.0, np.ones(1)), 3 - 0.5*p + rng.standard_normal(p.shape), p, np.zeros(1))
    assert a[0] == pytest.approx(3, abs=0.1) and b[0] == pytest.approx(-0.5, abs=0.1)

def test_the_prior_is_found_again():
    rng = np.random.default_rng(1)
    p = rng.normal(1, 1, (400, 15, 2))
    e = rng.normal(0, [1.5, 0.0], (400, 1, 2)) + rng.normal(-0.3, 0.2, (400, 1, 1))*(p - 1) + rng.normal(0, [0.7, 1.0], p.shape)
    e[rng.random(e.shape) < 0.2] = np.nan
    found = tissue_prior(list(e), list(p), np.ones(2))
    assert np.sqrt(found.offset) == pytest.approx([1.5, 0], abs=0.2) and np.sqrt(found.noise) == pytest.approx([0.7, 1], abs=0.05)
    assert found.slope == pytest.approx(-0.3, abs=0.03) and np.sqrt(found.slope_variance) == pytest.approx(0.2, abs=0.05)

def test_a_prior_of_hardly_any_responses_is_finite():
    e = np.full((5, 3), np.nan)
    e[:2, 0], e[:, 1] = 1.0, 2.0
    found = tissue_prior([e, e], [np.ones((5, 3))]*2, np.zeros(3))
    assert all(np.isfinite(v).all() for v in found)
    assert np.isfinite(correction(found, e, np.ones((5, 3)), np.zeros(3))[0]).all()

# ways

def test_a_correction_leaves_the_order_of_lines():
    lines, y = drawn()
    t = tissue_tasks(lines, 6)[0]
    rows = np.r_[t.known, t.shots]
    own = np.arange(len(rows)) >= len(t.known)
    prior = try_ways(Plain(), lines.rows(t.known), y[t.known], 6).prior
    ways = fit_ways(["left out", "corrected"], Plain(), lines.rows(rows), y[rows], own, prior)
    one, other = (w.predict(lines.rows(t.asked)) for w in ways.values())
    np.testing.assert_array_equal(one.argsort(0), other.argsort(0))
    assert np.nanmean((other - y[t.asked])**2) < 0.5*np.nanmean((one - y[t.asked])**2), "offsets of 2, noise of 0.7"

def test_shots_help_where_tissues_differ_and_are_left_alone_where_they_do_not():
    def gain(offset):
        lines, y = drawn(offset)
        scores = few_shot_scores(Plain(), lines, y, tissue_tasks(lines, 8), [0, 8])
        return few_shot_gains(scores).loc[(8, "chosen")]
    shifted, same = gain(2.0), gain(0.0)
    assert shifted.rmse_high < -0.1 and abs(same.rmse) < 0.05, (shifted.rmse, same.rmse)

def test_the_choice_is_made_inside_training():
    lines, y = drawn()
    t = tissue_tasks(lines, 6)[1]
    rows = np.r_[t.known, t.shots]
    m = Adapted(Plain()).fit(lines.rows(rows), y[rows], t.tissue)
    assert t.tissue not in set(m.trials_.scores.tissue) and m.way_ in ("corrected", "both", "weight 3")
    assert best_way(m.trials_.scores, "rmse") == m.way_
    wild = y.copy()
    wild[t.shots] += 100
    other = Adapted(Plain()).fit(lines.rows(rows), wild[rows], t.tissue)
    pd.testing.assert_frame_equal(other.trials_.scores, m.trials_.scores, obj="what is chosen from, without a look at shots")

def test_without_shots_it_is_the_estimator():
    lines, y = drawn()
    t = tissue_tasks(lines, 6)[0]
    m = Adapted(Plain()).fit(lines.rows(t.known), y[t.known], t.tissue)
    np.testing.assert_array_equal(m.predict(lines), Plain().fit(lines.rows(t.known), y[t.known]).predict(lines))
    assert m.way_ == "left out" and m.trials_ is None

@pytest.mark.parametrize("way", WAYS)
def test_every_way_works_with_leap_and_missing_labels(way):
    lines, y = drawn(n=16, tissues=4, m=3)
    y[:, 2] = np.where(lines.tissue == "t0", np.nan, y[:, 2])  # no shot has a response
    t = tissue_tasks(lines, 4)[0]
    rows = np.r_[t.known, t.shots]
    m = Adapted(Leap([Components(5)], "ridge", folds=3), way, tissues=2).fit(lines.rows(rows), y[rows], t.tissue)
    assert m.way_ == way and np.isfinite(m.predict(lines.rows(t.asked))).all()

def test_equal_ways_go_to_the_one_with_less_effort():
    scores = pd.DataFrame({"tissue": ["a"]*5, "way": list(WAYS), "spearman": [0.3]*5, "rmse": [1.0]*5})
    assert best_way(scores, "spearman") == best_way(scores, "rmse") == "left out"
    scores.loc[3, ["spearman", "rmse"]] = 0.4, 0.9
    assert best_way(scores, "spearman") == best_way(scores, "rmse") == "weight 3"

def test_scores_within_a_tissue_by_hand():
    y = np.array([[1.0, np.nan], [2, 1], [4, 2], [3, 3], [5, 4], [6, 5]])
    p = np.array([[1.0, 5], [2, 0], [3, 1], [4, 2], [5, 3], [6, 4]])
    found = within_scores(y, p, np.array([2.0, 1.0]))
    assert found.spearman.tolist() == pytest.approx([1 - 6*2/(6*35), 1])
    assert found.rmse.tolist() == pytest.approx([np.sqrt(2/6)/2, 1])

def test_gains_are_paired_on_the_same_lines():
    lines, y = drawn()
    scores = few_shot_scores(Plain(), lines, y, tissue_tasks(lines, 8)[:3], [0, 4, 8])
    gains = few_shot_gains(scores)
    assert (gains.loc[(4, "left out")] == 0).all() and (gains.loc[(8, "left out")] == 0).all()
    assert set(scores.tissue) == {"t0", "t1", "t2"} and set(scores.way) == {*WAYS, "chosen"}
    assert len(scores) == 3*(1 + 6 + 6)*5

def test_wrong_input_is_named():
    lines, y = drawn()
    for call, says in (
        (lambda: Adapted(Plain(), "weight 2").fit(lines, y, "t0"), "no way 'weight 2' to use shots: use one of left out"),
        (lambda: Adapted(Plain(), choose_by="r").fit(lines, y, "t0"), "by 'spearman' or 'rmse', not by 'r'"),
        (lambda: Adapted(Plain()).fit(lines, y[:3], "t0"), "give a row a line"),
    ):
        with pytest.raises(InputError, match=says): call()

