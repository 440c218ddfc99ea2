"""Pairs, splits, scores, calibration and baselines, beside hand-worked cases and scikit-learn."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from drugnb.core.artefacts import RunFolder
from drugnb.core.settings import InputError
from drugnb.synergy.baselines import Linear, Trees, pair_features, similarity, varying_bits
from drugnb.synergy.data import open_screen
from drugnb.synergy.judge import (
    METRICS,
    SPLITS,
    Calibrated,
    calibrate,
    coverage,
    extra_width,
    reliability,
    reliability_text,
    row_terms,
    row_weights,
    score_table,
    split_parts,
    weigh,
)
from drugnb.synergy.pairs import (
    Forecast,
    Forecaster,
    Library,
    Measured,
    candidates,
    curve_features,
    make_library,
    measured,
    screen_target,
    wells_alone,
)


def world(n=24, lines=1, seed=0, noise=1.0):
    "A library, all its pairs and a target with drug effects and one interaction of bits."
    rng = np.random.default_rng(seed)
    bits, effect = (rng.random((n, 30)) < 0.4).astype(float), rng.normal(size=n)
    library = Library(np.array([f"d{i:02d}" for i in range(n)]), np.array([f"line {i}" for i in range(lines)]), bits,
                      effect[None, :, None] + 0.3*rng.normal(size=(lines, n, 2)))
    pairs = candidates(library)
    truth = 3*(effect[pairs.a] + effect[pairs.b]) + 5*bits[pairs.a, 0]*bits[pairs.b, 0] + 4*pairs.line
    return pairs, truth, truth + noise*rng.standard_t(4, len(pairs))

def as_measured(pairs, y):
    return Measured(pairs, y, pd.DataFrame({"row": np.arange(len(y)), "value": y}))

# pairs and target

def test_both_orders_of_a_pair_are_one_row_whose_value_is_their_mean_and_a_sham_is_none():
    table = pd.DataFrame([("A", "B", "MCF7", 12), ("B", "A", "MCF7", 8), ("A", "C", "MCF7", 5), ("B", "B", "MCF7", 1)],
                         columns=["drug_a", "drug_b", "line", "bliss_max"])
    library = Library(np.array(["A", "B", "C"]), np.array(["MCF7"]), np.zeros((3, 2)), np.zeros((1, 3, 2)))
    found = measured(table, library)
    assert len(found.pairs) == 2 and sorted(found.y) == [5, 10]
    both = found.repeats[found.repeats.row == int(np.argmax(found.y))].value
    assert both.max() - both.min() == 4, "the spread of the two orders is kept"
    np.testing.assert_array_equal(found.pairs.codes(), found.pairs.swapped().codes())

def test_pairs_of_a_screen_do_not_depend_on_the_order_of_its_rows():
    screen = open_screen("simulated-small")
    mixed = replace(screen, wells=screen.wells.sample(frac=1, random_state=1), drugs=screen.drugs.sample(frac=1, random_state=2))
    one, two = (screen_target(s, RunFolder()) for s in (screen, mixed))
    def table(m): return pd.Series(m.y, [frozenset(p) for p in zip(m.pairs.library.drugs[m.pairs.a], m.pairs.library.drugs[m.pairs.b], strict=True)])
    a, b = table(one), table(two)
    np.testing.assert_allclose(b.loc[a.index], a, atol=1e-9)

def test_curve_features_are_those_of_a_hand_worked_curve_and_need_no_unit():
    alone = pd.DataFrame({"line": "L", "drug": ["x"]*4 + ["y"]*3, "dose": [1, 10, 100, 100, 1, 10, 100],
                          "viability": [160, 80, 30, 50, 100, 60, 20]})
    raw = curve_features(alone, np.array(["x", "y", "z"]), np.array(["L"]))
    assert np.isnan(raw[0, 2]).all(), "a drug that was not measured alone is unknown, not average"
    x, y = np.array([100, 80, 40, (90 + 60)/2, 2]), np.array([100, 60, 20, 60, 2])
    both = np.stack([x, y])
    spread = both.std(0)
    np.testing.assert_allclose(raw[0, :2], (both - both.mean(0))/np.where(spread > 0, spread, 1))
    nano = curve_features(alone.assign(dose=alone.dose*1000), np.array(["x", "y"]), np.array(["L"]))
    np.testing.assert_allclose(nano[0], raw[0, :2], atol=1e-12)

def test_wells_alone_are_those_with_one_dose():
    screen = open_screen("simulated-small")
    alone = wells_alone(screen.wells, screen.singles)
    n = (((screen.wells.dose_a > 0) ^ (screen.wells.dose_b > 0)).sum() + len(screen.singles))
    assert len(alone) == n and (alone.dose > 0).all()

def test_two_drugs_of_unknown_structure_are_not_alike():
    bits = np.array([[1, 1, 0], [1, 0, 0], [np.nan]*3, [np.nan]*3])
    s = similarity(bits)
    assert s[0, 1] == 0.5 and s[2, 3] == 0.5 == s[0, 2] and s[0, 0] == 1
    assert varying_bits(np.zeros((3, 0))).shape == (3, 0) and (similarity(np.zeros((3, 0))) == 0).all()

def test_shuffled_chemistry_is_dealt_to_other_drugs_and_no_drug_is_lost():
    pairs, _, _ = world()
    dealt = pairs.library.shuffled(3)
    assert (dealt.chemistry != pairs.library.chemistry).any()
    np.testing.assert_array_equal(np.sort(dealt.chemistry.sum(1)), np.sort(pairs.library.chemistry.sum(1)))

# splits

@pytest.mark.parametrize("lines", [1, 6])
def test_no_pair_drug_or_line_is_on_both_sides(lines):
    pairs, _, _ = world(26, lines)
    parts = split_parts(pairs, 3)
    assert {s for p in parts for s in p.tests} == set(SPLITS if lines > 4 else SPLITS[:3])
    for part in parts:
        drugs = set(pairs.a[part.train]) | set(pairs.b[part.train])
        for split, rows in part.tests.items():
            unseen = (~np.isin(pairs.a[rows], list(drugs))).astype(int) + ~np.isin(pairs.b[rows], list(drugs))
            wanted = {"pairs": 0, "new lines": 0, "one unseen": 1, "both unseen": 2}[split]
            assert (unseen == wanted).all(), split
            if split == "new lines": assert not set(pairs.line[rows]) & set(pairs.line[part.train])
            else: assert not set(pairs.unordered()[rows]) & set(pairs.unordered()[part.train])

def test_splits_do_not_depend_on_the_order_of_a_pair_and_seeds_differ():
    pairs, _, _ = world()
    one, two = split_parts(pairs, 1), split_parts(pairs.swapped(), 1)
    assert all((p.train == q.train).all() for p, q in zip(one, two, strict=True))
    other = split_parts(pairs, 1, seed=1)
    assert (one[0].tests["pairs"][:20] != other[0].tests["pairs"][:20]).any()

def test_a_split_is_asked_for_by_name_and_too_few_pairs_are_refused():
    pairs, _, _ = world()
    assert all(set(p.tests) == {"one unseen"} for p in split_parts(pairs, 2, only="one unseen"))
    with pytest.raises(InputError, match="no split 'lines'"): split_parts(pairs, only="lines")
    said = []
    with pytest.raises(InputError, match="too few"): split_parts(pairs.rows(np.arange(6)), note=said.append)

# scores

def test_scores_are_scikit_learns_and_scipys_within_lines():
    pairs, truth, y = world(20, 3)
    f = Forecast(truth + 1, 0*y + 1.0, 0*y + 2.0, 4.0)
    mine = dict(zip(METRICS, weigh(row_terms(y, f, pairs.line), np.ones((1, len(y))))[0], strict=True))
    by = [(y[pairs.line == k], f.mean[pairs.line == k]) for k in range(3)]
    total = sum(((a - a.mean())**2).sum() for a, _ in by)
    np.testing.assert_allclose(mine["r2"], 1 - ((y - f.mean)**2).sum()/total)
    np.testing.assert_allclose(mine["spearman"], np.mean([spearmanr(a, b)[0] for a, b in by]))
    np.testing.assert_allclose(mine["nll"], -stats.t(4, f.mean, np.sqrt(5)).logpdf(y).mean())
    low, high = stats.t(4, f.mean, np.sqrt(5)).interval(0.9)
    np.testing.assert_allclose(mine["cover90"], ((low <= y) & (y <= high)).mean())
    one = pairs.line == 0
    alone = weigh(row_terms(y[one], replace(f, mean=f.mean[one], model_sd=f.model_sd[one], noise=f.noise[one]), pairs.line[one]),
                  np.ones((1, one.sum())))
    np.testing.assert_allclose(alone[0, 0], r2_score(y[one], f.mean[one]))

def test_a_row_that_counts_twice_is_a_row_that_is_there_twice():
    pairs, truth, y = world(12, 2)
    f = Forecast(truth, 0*y, 0*y + 1.0)
    terms = row_terms(y, f, pairs.line)
    weights = np.random.default_rng(0).integers(0, 3, len(y))
    many = pd.DataFrame(np.repeat(terms.to_numpy(), weights, axis=0), columns=terms.columns)
    np.testing.assert_allclose(weigh(terms, weights[None]), weigh(many, np.ones((1, len(many)))))

def test_knowing_which_line_responds_is_no_merit():
    pairs, _, y = world(20, 6)
    means = np.bincount(pairs.line, y)/np.bincount(pairs.line)
    f = Forecast(means[pairs.line], 0*y, 0*y + 1.0)
    assert abs(weigh(row_terms(y, f, pairs.line), np.ones((1, len(y))))[0, 0]) < 1e-9

def test_a_pair_counts_as_often_as_both_its_drugs_together():
    pairs, _, _ = world(10)
    w = row_weights(pairs, "pairs", 50)
    assert w.shape == (50, len(pairs)) and (row_weights(pairs.swapped(), "pairs", 50) == w).all()
    drawn = np.array([[w[k][(pairs.a == i) | (pairs.b == i)].sum() for i in range(10)] for k in range(50)])
    assert (drawn[:, 0] == 0).any(), "a drug that is not drawn takes all its pairs away"

def test_the_interval_over_drugs_is_wider_than_one_over_pairs():
    pairs, truth, y = world(24)
    f = pd.DataFrame({"model": "m", "split": "pairs", "seed": 0, "row": np.arange(len(y)), "mean": truth*0.5, "model_sd": 0.0,
                      "noise": 1.0, "df": 4.0})
    table = score_table(f, as_measured(pairs, y))
    terms = row_terms(y, Forecast(truth*0.5, 0*y, 0*y + 1.0, 4.0), pairs.line)
    n = len(y)
    by_pair = weigh(terms, np.random.default_rng(0).multinomial(n, np.full(n, 1/n), 300))[:, 0]
    width = np.subtract(*np.quantile(by_pair, [0.975, 0.025]))
    assert table.r2_high.iloc[0] - table.r2_low.iloc[0] > width

def test_gains_are_paired_and_the_reference_has_none():
    pairs, truth, y = world(20)
    def rows(name, mean): return pd.DataFrame({"model": name, "split": "pairs", "seed": 0, "row": np.arange(len(y)), "mean": mean,
                                              "model_sd": 0.0, "noise": 1.0, "df": np.inf})
    table = score_table(pd.concat([rows("extra trees", truth*0.8), rows("same", truth*0.8), rows("better", truth)]), as_measured(pairs, y))
    t = table.loc["pairs"]
    assert np.isnan(t.gain["extra trees"]) and t.gain["same"] == 0 == t.gain_low["same"] and t.gain_low["better"] > 0

# how sure

@pytest.mark.parametrize("df", [3.5, 8.0])
def test_calibrate_finds_noise_and_factor_that_residuals_were_drawn_from(df):
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.5, 6, 8000)
    factor, noise, found = calibrate(2*sd*rng.standard_t(df, 8000) + 0, sd)
    assert 1.6 < factor < 2.2
    factor, noise, found = calibrate(5*rng.standard_t(df, 8000), np.zeros(8000))
    assert 4.6 < noise < 5.4 and 0.6*df < found < 1.8*df

def test_intervals_of_a_right_forecast_hold_what_they_say():
    rng = np.random.default_rng(1)
    pairs, truth, _ = world(60)
    y = truth + 3*rng.standard_t(5, len(truth))
    rows = pd.DataFrame({"model": "m", "split": "pairs", "seed": 0, "row": np.arange(len(y)), "mean": truth, "model_sd": 0.0, "noise": 3.0,
                         "df": 5.0})
    found = coverage(rows, as_measured(pairs, y))
    assert (found.covered - found.level).abs().max() < 0.04

class Naive(Forecaster):
    "Drug means, and a noise that knows nothing of unseen drugs."
    def fit(self, pairs, y):
        self.inner_ = Linear("identity").fit(pairs, y)
        return self
    def forecast(self, pairs): return replace(self.inner_.forecast(pairs), noise=np.ones(len(pairs)), df=np.inf)

def test_a_calibrated_model_is_wider_about_unseen_drugs_and_as_wide_about_known_ones():
    pairs, _, y = world(40, noise=0.7)
    part = next(p for p in split_parts(pairs, 1) if "one unseen" in p.tests)
    plain, wide = (m.fit(pairs.rows(part.train), y[part.train]) for m in (Naive(), Calibrated(Naive())))
    rows = {k: pairs.rows(v) for k, v in {"known": part.train, **part.tests}.items()}
    assert (wide.forecast(rows["known"]).model_sd == plain.forecast(rows["known"]).model_sd).all()
    assert (wide.forecast(rows["both unseen"]).model_sd >= wide.forecast(rows["one unseen"]).model_sd.max()).all()
    at = part.tests["one unseen"]
    low, high = wide.forecast(pairs.rows(at)).interval(0.9)
    narrow = plain.forecast(pairs.rows(at)).interval(0.9)
    share = ((low <= y[at]) & (y[at] <= high)).mean()
    assert ((narrow[0] <= y[at]) & (y[at] <= narrow[1])).mean() < 0.7 < share

def test_extra_width_is_the_missing_scale_and_none_where_nothing_misses():
    z = np.random.default_rng(0).normal(size=5000)
    f = Forecast(0*z, 0*z, 0*z + 3.0)
    assert abs(extra_width(5*z, f) - 4) < 0.3 and extra_width(2*z, f) < 0.2

def test_reliability_finds_the_noise_of_repeats_and_says_where_there_are_none():
    rng = np.random.default_rng(0)
    pairs, truth, _ = world(40)
    repeats = pd.DataFrame({"row": np.repeat(np.arange(len(truth)), 2), "value": np.repeat(truth, 2) + 2*rng.normal(size=2*len(truth))})
    y = repeats.groupby("row").value.mean().to_numpy()
    found = reliability(Measured(pairs, y, repeats))
    ceiling = 1 - 2/y.var()
    assert abs(found.noise - 2) < 0.15 and abs(found.ceiling - ceiling) < 0.05 and found.r_low < found.r < found.r_high
    assert reliability(as_measured(pairs, y)) is None and "unknown" in reliability_text(None)

# baselines

def test_features_and_baselines_are_the_same_in_both_orders():
    pairs, _, y = world(16, 2)
    np.testing.assert_array_equal(pair_features(pairs), pair_features(pairs.swapped()))
    for model in (Linear("identity"), Linear(), Trees(n_trees=20)):
        f, g = (model.fit(pairs, y).forecast(p) for p in (pairs, pairs.swapped()))
        np.testing.assert_allclose(f.mean, g.mean, atol=1e-9)
        np.testing.assert_allclose(f.scale, g.scale, atol=1e-9)

def test_the_ridge_is_scikit_learns_at_the_penalty_it_chose():
    pairs, _, y = world(16)
    model = Linear("identity").fit(pairs, y)
    who = np.eye(16)
    x = who[pairs.a] + who[pairs.b]
    np.testing.assert_allclose(model.predict(pairs), Ridge(model.ridge_.alpha_).fit(np.c_[x - x.mean(0)], y).predict(x - x.mean(0)), atol=1e-6)

def test_mean_effects_say_nothing_of_pairs_of_two_unseen_drugs():
    pairs, _, y = world(24)
    part = next(p for p in split_parts(pairs, 1) if "both unseen" in p.tests)
    said = Linear("identity").fit(pairs.rows(part.train), y[part.train]).predict(pairs.rows(part.tests["both unseen"]))
    assert np.ptp(said) < 1e-9

def test_out_of_bag_answers_never_come_from_trees_that_saw_the_row():
    pairs, truth, _ = world(24)
    y = np.random.default_rng(0).normal(size=len(truth))
    model = Trees(n_trees=100).fit(pairs, y)
    assert np.corrcoef(model.predict(pairs), y)[0, 1] > 0.6
    assert abs(np.corrcoef(model.out_of_bag_, y)[0, 1]) < 0.25

def test_a_screen_without_structures_or_curves_still_has_features():
    pairs, _, y = world(16)
    bare = replace(pairs, library=replace(pairs.library, chemistry=np.zeros((16, 0))).without_curves())
    said = Trees(n_trees=10).fit(bare, y).predict(bare)
    assert np.isfinite(said).all()

def test_the_library_of_a_screen_matches_its_tables():
    screen = open_screen("simulated-small")
    library = make_library(screen)
    assert list(library.drugs) == list(screen.drugs.index) and library.curves.shape[:2] == (1, len(library.drugs))
    np.testing.assert_array_equal(library.chemistry, screen.chemistry.loc[library.drugs])

# the models that are compared

def test_models_are_asked_for_by_name_and_say_what_is_left_out(monkeypatch):
    from drugnb.synergy import held_out
    assert list(held_out.screen_models("ridge, extra trees")) == ["ridge", "extra trees"]
    assert {"Bayes mixture", "committee", "last layer"} <= set(held_out.screen_models("all"))
    with pytest.raises(InputError, match="no model 'forest'"): held_out.screen_models("forest")
    said = []
    monkeypatch.setattr(held_out, "find_spec", lambda name: None)
    assert not set(held_out.screen_models(note=said.append)) & set(held_out.NETWORKS) and "torch is not installed" in said[0]

def test_a_committee_is_the_mean_of_its_models_and_less_sure_where_they_disagree():
    from drugnb.synergy.held_out import Committee, Shuffled, predict_part
    pairs, truth, y = world(26)
    models = (Linear(), Trees(n_trees=30))
    both = Committee(models).fit(pairs, y).forecast(pairs)
    each = [m.fit(pairs, y).forecast(pairs) for m in models]
    np.testing.assert_allclose(both.mean, (each[0].mean + each[1].mean)/2)
    assert (both.model_sd >= np.abs(each[0].mean - each[1].mean)/2 - 1e-9).all()
    data = as_measured(pairs, y)
    part = split_parts(pairs, 1)[0]
    rows = predict_part(Shuffled(Linear(), 0), data, part)
    assert set(rows.row) == set(part.tests["pairs"]) and np.isfinite(rows["mean"]).all()

def test_shuffled_chemistry_costs_a_model_that_lives_on_chemistry():
    from drugnb.synergy.held_out import Shuffled
    rng = np.random.default_rng(0)
    pairs, _, _ = world(40)
    weight = rng.normal(size=30)
    effect = pairs.library.chemistry @ weight
    y = effect[pairs.a] + effect[pairs.b]
    part = next(p for p in split_parts(pairs, 1) if "one unseen" in p.tests)
    at = part.tests["one unseen"]
    r = [np.corrcoef(m.fit(pairs.rows(part.train), y[part.train]).predict(pairs.rows(at)), y[at])[0, 1] for m in (Linear(), Shuffled(Linear(), 1))]
    assert r[0] > r[1] + 0.15
