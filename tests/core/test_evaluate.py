"""Evaluate: splits, scores, intervals and tests beside plain loops; what is claimed of a null holds."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from drugnb.core import evaluate
from drugnb.core.evaluate import (
    METRICS,
    baselines,
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
    span,
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

def test_the_paired_p_is_that_of_every_way_to_exchange_the_groups():
    "Four groups, sixteen ways, each as probable as the other: the share that differ as much is the p."
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(4), [1, 3, 2, 4])
    for scale, shift in ((1, 0), (100, 7), (1e-9, 0)):
        for _ in range(5):
            y, a, b = rng.normal(size=(3, 10))
            a, b = scale*(y + a) + shift, scale*b
            one, other = ((v - v.mean())/v.std() for v in (a, b))
            def gap(swap, one=one, other=other, y=y):
                p, q = np.where(swap, other, one), np.where(swap, one, other)
                return pearsonr(p, y)[0] - pearsonr(q, y)[0]
            ways = [gap(np.array([i >> g & 1 for g in range(4)])[groups] == 1) for i in range(16)]
            exact = (np.abs(ways) >= np.abs(ways[0]) - 1e-12).mean()
            found = paired_p(y, a, b, groups, 4000)
            assert found == pytest.approx(exact, abs=0.03) and found >= 1/4001

def test_the_paired_p_of_one_group_is_one_and_of_a_constant_missing():
    y, a, b = np.random.default_rng(0).normal(size=(3, 8))
    assert paired_p(y, a, b, np.zeros(8)) == paired_p(y, a, a + 1e-12, np.arange(8)) == 1
    for flat in (np.full(8, 0.1), np.zeros(8), np.full(8, 1e9) + 1e-8):
        for three in ((flat, a, b), (y, flat, b), (y, a, flat)): assert np.isnan(paired_p(*three, np.arange(8)))
    assert paired_p(1e-9*y, a, b, np.arange(8)) == paired_p(y, 1e-9*a, b, np.arange(8)) == paired_p(y, a, b, np.arange(8))
    assert paired_p(1e-12*y, 1e-12*a, 1e-12*b, np.arange(8)) < 1, "small numbers are not equal ones"

@pytest.mark.parametrize("repeats", [9, 100, 250])
def test_the_permutation_p_is_never_below_one_in_all_and_counts_ties(repeats):
    y = np.r_[np.zeros(6), np.ones(6)]
    p = permutation_p(y, y, np.arange(12), repeats)
    assert 1/(repeats + 1) <= p <= 0.15 and (p*(repeats + 1)) % 1 == pytest.approx(0, abs=1e-9)
    assert permutation_p(y, -y, np.arange(12), repeats) == 1, "a tie counts as beaten"
    assert permutation_p(np.ones(12), y, np.arange(12), repeats) == permutation_p(y, np.ones(12), np.arange(12), repeats) == 1

def test_a_permutation_p_is_that_of_every_order():
    "Four groups of one: the share of 24 orders in which r is as large."
    from itertools import permutations
    y, p = np.array([0.3, -1.0, 0.5, 2.0]), np.array([0.1, 0.4, 0.2, 0.9])
    exact = np.mean([np.array(order) @ p >= y @ p - 1e-12 for order in permutations(y)])
    assert permutation_p(y, p, np.arange(4), 5000) == pytest.approx(exact, abs=0.03)

# what cannot be judged

FAULTS = {"nan": (np.nan, "missing"), "inf": (np.inf, "missing"), "huge": (1e160, "beyond 1e150")}

@pytest.mark.parametrize("side", ["truth", "prediction"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_value_that_is_no_number_is_refused_by_every_score(judged, fault, side):
    value, why = FAULTS[fault]
    y, p, groups = (v.copy() for v in judged)
    if side == "truth": y[5] = value
    else: p[1, 5] = value
    counts = group_counts(pd.Series(groups).nunique(), 5)
    asked = {"scores": lambda: scores(y, p[1]), "weighted": lambda: weighted_scores(y, p, np.ones(120)),
             "pearson": lambda: pearson(y, p), "grouped": lambda: grouped_scores(y, p, groups, counts),
             "permutation": lambda: permutation_p(y, p[1], groups, 9), "paired": lambda: paired_p(y, p[0], p[1], groups, 9),
             "paired, reference": lambda: paired_p(y, p[1], p[0], groups, 9),
             "compare": lambda: compare(y, {"a": p[0], "b": p[1]}, groups, repeats=9)}
    for score in asked.values():
        with pytest.raises(InputError, match=f"1 of .* values of the {side}.*{why}"): score()

def test_what_does_not_fit_is_refused(judged):
    y, p, groups = judged
    for score in (scores, pearson, lambda t, q: compare(t, {"m": q}, groups)):
        with pytest.raises(InputError, match="one prediction for each row"): score(y, p[0][:-1])
        with pytest.raises(InputError, match="no rows to judge"): score(y[:0], p[0][:0])
    with pytest.raises(InputError, match="one prediction for each row"): compare(y, {}, groups)
    with pytest.raises(InputError, match="no model 'mine'.* use good, bad"): compare(y, {"good": p[0], "bad": p[1]}, groups, "mine")
    for test in (permutation_p, lambda t, q, g: paired_p(t, q, p[1], g), lambda t, q, g: compare(t, {"m": q}, g)):
        with pytest.raises(InputError, match="119 groups for 120 rows"): test(y, p[0], groups[:-1])
    for weights, why in ((np.ones(119), "119 counts for 120 rows"), (-np.ones(120), "negative"), (y*np.nan, "missing")):
        with pytest.raises(InputError, match=why): weighted_scores(y, p, weights)
    for repeats in (0, -1):
        for test in (permutation_p, lambda t, q, g, r: paired_p(t, q, p[1], g, r)):
            with pytest.raises(InputError, match=f"{repeats} permutations are no test"): test(y, p[0], groups, repeats)
        with pytest.raises(InputError, match="say nothing"): compare(y, {"m": p[0]}, groups, repeats=repeats)
    with pytest.raises(InputError, match="1000 resamplings of 0 groups"): group_counts(0)

@pytest.mark.parametrize("bad", [np.nan, "5", None, np.inf])
def test_a_number_of_folds_is_a_number(bad):
    with pytest.raises(InputError, match="whole number of folds"): grouped_splits(list("abc"), bad)
    with pytest.raises(InputError, match="no rows"): grouped_splits([], 2)
    with pytest.raises(InputError, match="2 groups for 3 rows"): grouped_splits(list("abc"), 2, also=list("ab"))

# constants, levels, few groups

@pytest.mark.parametrize("level, spread", [(0, 1), (1e6, 1), (-1e7, 1), (0.8, 1e-5), (0, 1e-20), (1e5, 1e-3)])
def test_scores_do_not_depend_on_level_and_unit(judged, level, spread):
    y, p, groups = judged
    y, p = y + 0.01*np.random.default_rng(0).normal(size=120), p[:2]
    counts = group_counts(pd.Series(groups).nunique(), 10)
    codes = pd.factorize(groups)[0]
    moved = level + spread*p
    for a, b in ((y, moved), (level + spread*y, p)):
        np.testing.assert_allclose(pearson(a, b), pearson(y, p), rtol=1e-6)
        np.testing.assert_allclose(weighted_scores(a, b, counts[:, codes])[:2], weighted_scores(y, p, counts[:, codes])[:2], rtol=1e-6)
        np.testing.assert_allclose(grouped_scores(a, b, groups, counts)[0], grouped_scores(y, p, groups, counts)[0], rtol=1e-6)

@pytest.mark.parametrize("value", [0, 0.1, 1e9, -1/3])
def test_a_constant_has_no_correlation_in_any_resampling(judged, value):
    y, p, groups = judged
    counts = group_counts(pd.Series(groups).nunique(), 30)
    flat, w = np.full(120, value), counts[:, pd.factorize(groups)[0]]
    for found in (weighted_scores(flat, p, w)[:2], weighted_scores(y, flat, w)[:2], grouped_scores(flat, p, groups, counts)[:1],
                  grouped_scores(y, flat, groups, counts)[:1]):
        assert (found == 0).all()
    assert np.isnan(weighted_scores(y, flat, w)[3]).all() and np.isnan(grouped_scores(y, flat, groups, counts)[2]).all()

def test_a_resampling_without_rows_has_no_scores_and_one_row_no_correlation(judged):
    y, p, groups = judged
    one = (np.arange(120) == 3).astype(float)
    found = weighted_scores(y, p, np.array([0*one, one]))
    assert np.isnan(found[:, 0]).all() and (found[:2, 1] == 0).all()
    np.testing.assert_allclose(found[2, 1], np.abs(p[:, 3] - y[3]))
    n = pd.Series(groups).nunique()
    assert np.isnan(grouped_scores(y, p, groups, np.zeros((1, n)))).all()

def test_one_group_has_scores_and_no_interval(judged):
    y, p, _ = judged
    table = compare(y, {"a": p[0], "b": p[1]}, ["one"]*120, "a", repeats=20)
    ends = [c for c in table if c.endswith(("_low", "_high"))]
    assert len(ends) == 10 and table[ends].isna().all(axis=None) and table[METRICS].notna().all(axis=None)
    assert (table.groups == 1).all() and table.p.isna().all() and (table.gain_p == 1).all()
    assert span(table.loc["a"], "pearson", ".1f").endswith(" (no interval)")
    two = compare(y, {"a": p[0]}, np.arange(120) % 2, repeats=20)
    assert two.notna().all(axis=None) and (two.groups == 2).all()
    assert (compare(y, {"a": p[0]}, [None, "x"]*60, repeats=20).groups == 2).all(), "a missing group is one"

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

@pytest.mark.parametrize("dose", [[1, 1 + 1e-15, 1, 1], [1e-300, 1e-300, np.nan, 0]])
def test_doses_that_differ_by_rounding_are_one(dose):
    train = pd.DataFrame({"dose": dose, "viability": [0.9, 0.5, 0.7, 0.3]})
    assert dose_alone(train, pd.DataFrame({"dose": [1.0]})) is None

@pytest.mark.parametrize("guess", [mean_effects, dose_alone, baselines])
def test_a_baseline_is_not_made_from_missing_labels(guess):
    train = pd.DataFrame({"compound": list("abc"), "dose": [1.0, 2, 3], "viability": [0.9, np.nan, 0.7]})
    for spoilt in (train, train[:0], train.assign(viability=np.inf)):
        with pytest.raises(InputError, match="labelled samples"): guess(spoilt, train)
    one = baselines(train[:1], train)
    assert list(one) == ["no information", "mean effects"] and all((p == 0.9).all() for p in one.values())
