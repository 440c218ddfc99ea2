"""Scores within folds, splits that never share a patient, baselines without genes, intervals that hold."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from drugnb.core.settings import InputError
from drugnb.essentiality.data import Lines, simulate_screen
from drugnb.essentiality.judge import (
    MeanEffects,
    TissueMean,
    agreement,
    by_perturbation,
    column_correlation,
    fold_scores,
    line_folds,
    over_lines,
    over_perturbations,
    score_table,
    self_agreement,
    tissue_folds,
)


def world(n=60, m=5, seed=0):
    rng = np.random.default_rng(seed)
    tissue = np.repeat(["lung", "skin", "bone", ""], n//4)
    patient = np.array([f"p{i//2}" if i < 10 else f"q{i}" for i in range(n)])
    y = rng.standard_normal((n, m))
    y[rng.random((n, m)) < 0.2] = np.nan
    return Lines(rng.standard_normal((n, 8)), tissue, patient), y

def test_folds_share_no_patient_and_do_not_depend_on_the_order_of_lines():
    lines, _ = world()
    turn = np.random.default_rng(3).permutation(60)
    for (train, test), (_, again) in zip(line_folds(lines, 5, 2), line_folds(lines.rows(turn), 5, 2), strict=True):
        assert not set(lines.patient[train]) & set(lines.patient[test])
        assert set(turn[again]) == set(test)
    assert sorted(np.concatenate([test for _, test in line_folds(lines)])) == list(range(60))

def test_a_left_out_tissue_takes_its_patients_with_it():
    lines, _ = world()
    shared = lines.patient.copy()
    shared[59] = shared[20]  # a line without tissue, of a patient of skin
    folds = tissue_folds(lines._replace(patient=shared))
    assert set(folds) == {"lung", "skin", "bone"} and 59 not in folds["skin"][0] and 59 in folds["lung"][0]
    two = Lines(np.zeros((20, 2)), np.array(["a"]*16 + ["b"]*4), np.arange(20).astype(str))
    with pytest.raises(InputError, match="1 tissues have 16 lines"): tissue_folds(two, 16)

def test_scores_are_scipys_over_the_measured_lines_only():
    _, y = world()
    p = np.random.default_rng(1).standard_normal(y.shape)
    found = fold_scores(y, p)
    for j in range(y.shape[1]):
        k = ~np.isnan(y[:, j])
        assert np.isclose(found[0, j], spearmanr(y[k, j], p[k, j]).statistic)
        assert np.isclose(found[1, j], np.corrcoef(y[k, j], p[k, j])[0, 1])
        assert np.isclose(found[2, j], np.sqrt(((y[k, j] - p[k, j])**2).mean())) and found[3, j] == k.sum()

@pytest.mark.parametrize("constant", [0.0, 0.1 + 0.2, 1e9, -3e-7])
def test_a_constant_has_no_order_even_with_rounding(constant):
    _, y = world()
    p = np.full(y.shape, constant)*(1 + 1e-16*np.arange(len(y)))[:, None]
    assert (fold_scores(y, p)[:2] == 0).all()

def test_few_lines_or_responses_without_variation_have_no_score():
    y = np.array([[1.0, 2, np.nan], [1, 3, np.nan], [1, 1, 4], [1, 5, 2], [1, 4, 3]])
    assert np.isnan(fold_scores(y, np.random.default_rng(0).random(y.shape))[0, [0, 2]]).all()
    with pytest.raises(InputError, match="2 predictions are not finite"): fold_scores(y, y)

def test_within_tissues_a_prediction_that_knows_only_tissues_has_nothing():
    lines, y = world(200, 20)
    of = {"lung": 0.0, "skin": 3, "bone": -3, "": 1}
    shift = np.array([of[t] for t in lines.tissue])[:, None]
    p = np.broadcast_to(shift, y.shape)
    assert fold_scores(y + shift, p)[0].mean() > 0.6
    assert (fold_scores(y + shift, p, lines.tissue)[0] == 0).all()
    better = p + 0.5*np.nan_to_num(y)
    inside = fold_scores(y + shift, better, lines.tissue)[0]
    by_hand = [np.average([spearmanr(*(v[k & (lines.tissue == t), 0] for v in (y, better))).statistic for t in of],
                          weights=[(k & (lines.tissue == t)).sum() - 1 for t in of]) for k in [~np.isnan(y[:, 0])]]
    assert np.isclose(inside[0], by_hand[0])

def test_pooled_folds_make_signal_out_of_fold_means_and_ours_do_not():
    rng = np.random.default_rng(0)
    y, folds = rng.standard_normal((50, 1)), np.arange(50) % 5
    p = np.array([y[folds != f].mean() for f in folds])[:, None]
    assert column_correlation(y, p)[0] < -0.05
    assert all(fold_scores(y[folds == f], p[folds == f])[0, 0] == 0 for f in range(5))

def test_baselines_are_the_means_worked_by_hand():
    lines = Lines(np.zeros((4, 1)), np.array(["a", "a", "b", ""]), np.arange(4).astype(str))
    y = np.array([[1.0, np.nan], [3, 4], [8, 6], [np.nan, 8]])
    asked = Lines(np.zeros((3, 1)), np.array(["a", "c", ""]), np.array(["x", "y", "z"]))
    mean = np.array([4.0, 6])
    assert np.allclose(MeanEffects().fit(lines, y).predict(asked), mean)
    off = {0: -3.0, 1: (-1 - 2)/2}  # of the two lines of a, over their measured perturbations
    assert np.allclose(MeanEffects(True).fit(lines, y).predict(asked), mean + np.array([[np.mean(list(off.values()))], [0], [0]]))
    tissue = TissueMean().fit(lines, y).predict(asked)
    assert np.allclose(tissue[0], mean + np.array([-3 - 1, -2])/np.array([3, 2])) and np.allclose(tissue[1:], mean)

def test_intervals_hold_what_they_promise():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        group = np.repeat(np.arange(20), 3)
        values = pd.Series(rng.standard_normal(20)[group] + 0.3*rng.standard_normal(60))
        low, high = over_perturbations(values, group, 400)
        held += low <= 0 <= high
    assert held >= 180
    low, high = over_lines(pd.Series([0.1, 0.2, 0.3, 0.2, 0.2]), 5)
    plain = 2.776*np.std([0.1, 0.2, 0.3, 0.2, 0.2], ddof=1)*np.sqrt(1/5 + 1/4)
    assert np.isclose(high - low, 2*plain, rtol=1e-3) and np.isclose((low + high)/2, 0.2)
    assert np.isnan(over_perturbations(pd.Series([np.nan, np.nan]), [0, 1])).all() and np.isnan(over_lines(pd.Series([0.1]), 5)).all()

def test_gains_are_paired_and_repeats_of_a_compound_are_drawn_together():
    rng = np.random.default_rng(0)
    rows = [dict(seed=0, fold=f, n=20, perturbation=f"d{j}", spearman=base + 0.1*(m == "b"), pearson=0, rmse=1, model=m)
            for f in range(5) for j in range(30) for base in [rng.random()] for m in ("a", "b")]
    table = score_table(pd.DataFrame(rows), pd.Series({f"d{j}": f"d{j//2}" for j in range(30)}), "a")
    assert np.allclose(table.loc["b", ["gain", "gain_low", "gain_high", "gain_low_lines", "gain_high_lines"]].astype(float), 0.1)
    assert table.spearman_high.sub(table.spearman_low).min() > 0.05 and (table.gain["a"] == 0)
    assert "gain" not in score_table(pd.DataFrame(rows), pd.Series({f"d{j}": "x" for j in range(30)}), "c")

def test_the_screen_agrees_with_its_repeats_and_with_a_second_screen():
    screen = simulate_screen(seed=1)
    found = agreement(screen)
    assert set(found.kind) == {"repeat", "second screen"} and found.spearman.between(0.2, 0.9).all()
    row = found[found.kind == "repeat"].iloc[0]
    assert screen.perturbations.repeat_of[row.perturbation] == screen.perturbations.repeat_of[row.other]
    a, b = screen.responses[row.perturbation], screen.responses[row.other]
    assert np.isclose(row.spearman, a.corr(b, method="spearman")) and row.lines == (a.notna() & b.notna()).sum()
    assert not len(agreement(screen, at_least=10_000))

def test_each_perturbation_agrees_with_itself_by_all_its_pairs_once():
    rows = pd.DataFrame([("repeat", "a", "b", 0.2, 30), ("repeat", "a", "c", 0.4, 30), ("second screen", "a", "a", 0.9, 30)],
                        columns=["kind", "perturbation", "other", "spearman", "lines"])
    found = self_agreement(rows)
    assert np.allclose(found[["a", "b", "c"]], [0.5, 0.2, 0.4]) and len(found) == 3
    assert not len(self_agreement(agreement(simulate_screen(seed=1), at_least=10_000)))
    ours = self_agreement(agreement(simulate_screen(seed=1)))
    assert ours.between(-1, 1).all() and ours.index.isin(simulate_screen(seed=1).responses.columns).all()

def test_folds_count_by_their_lines():
    rows = pd.DataFrame({"perturbation": ["a", "a", "b", "b"], "n": [11, 31, 0, 2], "spearman": [0.1, 0.5, np.nan, np.nan]})
    found = by_perturbation(rows, "spearman")
    assert np.isclose(found["a"], (0.1*10 + 0.5*30)/40) and np.isnan(found["b"])
