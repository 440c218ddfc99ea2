"""Evaluate: splits, scores, intervals and tests beside plain loops; what is claimed of a null holds."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from drugnb.core import evaluate
from drugnb.core.evaluate import (
    METRICS,
    compare,
    dose_alone,
    group_counts,
    grouped_scores,
    grouped_splits,
    interval,
    mean_effects,
    paired_p,
    pearson,
    permutation_p,
    resample_groups,
    scores,
    split_frame,
    weighted_scores,
)
from drugnb.core.settings import InputError


@pytest.fixture
def judged():
    "Truth with ties, three predictions of which one is constant, and groups of different sizes."
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 25, 120)
    y = rng.normal(size=120).round(1)
    return y, np.array([(y + rng.normal(size=120)).round(1), rng.normal(size=120), np.full(120, 0.3)]), groups

# splits

@pytest.mark.parametrize("seed", range(3))
def test_folds_share_no_group_and_test_every_row_once(seed):
    groups = np.random.default_rng(seed).choice(list("abcdefghijk"), 200)
    splits = grouped_splits(groups, 4, seed=seed)
    assert sorted(np.concatenate([t for _, t in splits])) == list(range(200)) and len(splits) == 4
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test]) and len(train) + len(test) == 200
    again = grouped_splits(groups, 4, seed=seed)
    assert all((a == b).all() for s, t in zip(splits, again, strict=True) for a, b in zip(s, t, strict=True))

def test_companions_leave_training_and_only_they():
    rng = np.random.default_rng(0)
    plates, compounds = rng.integers(0, 6, 90), rng.integers(0, 40, 90)
    splits, plain = grouped_splits(plates, 3, compounds), grouped_splits(plates, 3)
    for (train, test), (whole, same) in zip(splits, plain, strict=True):
        assert (test == same).all()
        assert set(whole) - set(train) == {r for r in whole if compounds[r] in set(compounds[test])}

def test_missing_groups_are_one_group_and_folds_are_at_most_the_groups():
    assert len(grouped_splits(["a", None, np.nan, "b"], 5)) == 3
    for bad in (1, 0, 2.5):
        with pytest.raises(InputError, match="whole number of folds"): grouped_splits(list("abc"), bad)

def test_a_split_as_a_table_gives_the_split_back():
    splits = grouped_splits(list("aabbcc"), 3)
    table = split_frame(splits, np.arange(6))
    for f, (train, test) in enumerate(splits):
        of = table[table.fold == f]
        assert list(of.id[of.role == "train"]) == list(train) and list(of.id[of.role == "test"]) == list(test)

# scores

def test_the_four_scores_of_every_resampling_are_those_of_the_rows_written_out(judged):
    y, p, groups = judged
    counts = resample_groups(groups, 20)
    found = weighted_scores(y, p, counts)
    assert found.shape == (len(METRICS), 20, 3) and np.isfinite(found[:3]).all()
    for b in range(20):
        rows = np.repeat(np.arange(len(y)), counts[b])
        for m in (0, 1):
            t, q = y[rows], p[m][rows]
            rmse, slope = np.sqrt(((t - q)**2).mean()), np.polyfit(q, t, 1)[0]
            wanted = [pearsonr(t, q)[0], spearmanr(t, q)[0], rmse, slope]
            np.testing.assert_allclose(found[:, b, m], wanted)
        assert found[0, b, 2] == found[1, b, 2] == 0 and np.isnan(found[3, b, 2])

def test_sums_of_groups_give_the_same_scores(judged):
    y, p, groups = judged
    codes = pd.factorize(groups)[0]
    counts = group_counts(codes.max() + 1, 30)
    by_sums = grouped_scores(y, p, groups, counts)
    by_rows = weighted_scores(y, p, counts[:, codes])[[0, 2, 3]]
    np.testing.assert_allclose(by_sums, by_rows, atol=1e-10)
    np.testing.assert_allclose(pearson(y, p, counts[:, codes]), by_rows[0], atol=1e-10)

@pytest.mark.parametrize("step", [1, 7, 1000])
def test_ranks_do_not_depend_on_how_many_resamplings_are_ranked_at_a_time(judged, step, monkeypatch):
    y, p, groups = judged
    counts = resample_groups(groups, 15)
    whole = evaluate._spearman(counts, y, p)
    parts = np.concatenate([evaluate._spearman(counts[i:i + step], y, p) for i in range(0, 15, step)])
    np.testing.assert_allclose(parts, whole)

def test_every_row_has_a_rank_even_where_it_counts_for_nothing():
    ranks = evaluate._weighted_ranks(np.array([3.0, 1, 2, 2]), np.array([[1.0, 0, 2, 1], [0, 0, 0, 4]]))
    assert np.isfinite(ranks).all() and ranks[0, [0, 2, 3]].tolist() == [4, 2, 2]

# intervals and tests

def test_resampling_draws_whole_groups_as_many_as_there_are():
    counts = resample_groups(list("aabbbc"), 200)
    assert (counts[:, 0] == counts[:, 1]).all() and (counts[:, 2] == counts[:, 3]).all()
    assert (counts[:, [0, 2, 5]].sum(1) == 3).all()
    np.testing.assert_allclose(group_counts(50, 2000).mean(0), 1, atol=0.15)

def test_an_interval_ignores_draws_that_are_not_defined():
    draws = np.array([[1.0, np.nan], [2, np.nan], [np.nan, np.nan], [3, np.nan]])
    low, high = interval(draws, 1.0)
    assert (low[0], high[0]) == (1, 3) and np.isnan(low[1])

def test_labels_are_exchanged_between_groups_of_equal_size_and_nowhere_else():
    groups = np.repeat([0, 1, 2, 3, 4], [2, 2, 3, 3, 1])
    y = np.arange(11.0)
    shuffled = evaluate._exchanged(y, evaluate._blocks(groups), 200, np.random.default_rng(0))
    assert (np.sort(shuffled, axis=1) == y).all(), "every label is there once"
    assert (shuffled[:, 10] == 10).all(), "a group whose size is its own keeps its label"
    mixed = np.random.default_rng(1).permutation(11)
    again = evaluate._exchanged(y, evaluate._blocks(groups[mixed]), 200, np.random.default_rng(0))
    own = {tuple(y[groups[mixed] == g]) for g in range(5)}
    for g in range(5):
        assert {tuple(row) for row in again[:, groups[mixed] == g]} <= own, "a group's labels move together"
    pairs = {tuple(row) for row in shuffled[:, :2]}
    assert pairs == {(0, 1), (2, 3)} and {tuple(row) for row in shuffled[:, 4:7]} == {(4, 5, 6), (7, 8, 9)}

def test_the_permutation_p_of_noise_is_uniform_and_of_a_signal_small():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(15), 2)
    truth = [np.repeat(rng.normal(size=15), 2) for _ in range(200)]
    noise = [np.repeat(rng.normal(size=15), 2) for _ in truth]
    null = np.array([permutation_p(truth[i], noise[i], groups, 99, i) for i in range(len(truth))])
    assert null.min() >= 0.01 and 0.4 < null.mean() < 0.6 and 0.01 <= (null <= 0.05).mean() <= 0.1
    assert permutation_p(truth[0], truth[0] + rng.normal(0, 0.1, 30), groups, 99) == 0.01

def test_too_few_groups_of_equal_size_give_no_p():
    y = np.arange(6.0)
    groups = [0, 1, 1, 2, 2, 2]
    assert np.isnan(permutation_p(y, y, groups, 99)) and permutation_p(y, np.ones(6), groups, 99) == 1

def test_the_paired_test_does_not_depend_on_which_model_comes_first(judged):
    y, p, groups = judged
    assert paired_p(y, p[0], p[1], groups) == paired_p(y, p[1], p[0], groups) < 0.01
    assert paired_p(y, p[0], 3*p[0] + 1, groups) > 0.99, "scale and level of a prediction do not count"

def test_a_comparison_holds_the_scores_their_intervals_and_the_gain(judged):
    y, p, groups = judged
    models = dict(zip(["good", "noise", "flat"], p, strict=True))
    table = compare(y, models, groups, "noise", repeats=200)
    one_by_one = pd.DataFrame({m: scores(y, q) for m, q in models.items()}).T
    pd.testing.assert_frame_equal(table[METRICS], one_by_one, check_names=False)
    for m in METRICS[:3]:
        low, high = table[f"{m}_low"], table[f"{m}_high"]
        assert (low <= table[m] + 1e-12).all() and (table[m] <= high + 1e-12).all()
    np.testing.assert_allclose(table.gain, table.pearson - table.pearson["noise"])
    assert table.loc["noise", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert table.gain_low["good"] > 0
    assert (table.n == 120).all() and (table.groups == 25).all()
    assert "gain" not in compare(y, models, groups, repeats=20)

# baselines

def test_mean_effects_are_zero_for_what_was_never_seen():
    train = pd.DataFrame({"compound": list("aabb"), "cell": list("xyxy"), "viability": [0.9, 0.5, 0.7, 0.3]})
    test = pd.DataFrame({"compound": list("azz"), "cell": list("xxz")})
    np.testing.assert_allclose(mean_effects(train, test), [0.9, 0.8, 0.6])
    np.testing.assert_allclose(mean_effects(train, test[["compound"]]), [0.7, 0.6, 0.6])

@pytest.mark.parametrize("dose", [[1, 1, 1, 1], [np.nan]*4, [0, -1, np.inf, np.nan]])
def test_without_two_doses_there_is_no_line(dose):
    train = pd.DataFrame({"dose": dose, "viability": [0.9, 0.5, 0.7, 0.3]})
    assert dose_alone(train, pd.DataFrame({"dose": [1.0]})) is None
