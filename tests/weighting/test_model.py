"""Conformal intervals against cases by hand and simulations; the training domain; the model's file."""
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.model_selection import GroupKFold

from drugnb.core.settings import InputError
from drugnb.weighting.grid import apply_grid
from drugnb.weighting.model import (
    ENOUGH_GENES,
    FORMAT,
    NO_CLAIM,
    POPULATION,
    Calibration,
    RidgeModel,
    calibrate,
    completed,
    compound_shares,
    conformal_radius,
    coverage,
    coverage_sentences,
    discounted,
    evenly,
    expression_of,
    fit_domain,
    held_out_offset,
    interval_coverage,
    load_model,
    make_model,
    measured_rows,
    noise_variance,
    noisier,
    noisy_radius,
    plate_coverage,
    population_of,
    remember,
    repeated_folds,
    save_model,
    undiscounted,
    usual_error,
)
from drugnb.weighting.ridge import ridge_path
from drugnb.weighting.simulate import simulate
from drugnb.weighting.use import predict


def folds_of(groups, n=5): return list(GroupKFold(n).split(groups, groups=groups))

def judged(study, alpha=1000.0):
    "Out-of-fold predictions with compounds left out, their splits, and coefficients from all."
    rows = np.flatnonzero(study.labelled)
    x = study.signatures.iloc[rows][study.genes].to_numpy(float)
    splits = folds_of(study.samples["compound"].iloc[rows].to_numpy())
    predicted = np.empty(len(rows))
    y = study.samples.viability.to_numpy()[rows]
    for train, test in splits:
        predicted[test] = apply_grid(ridge_path(x[train], y[train], [alpha]), x[test])[0]
    return ridge_path(x, y, [alpha])[0], predicted, splits

@pytest.fixture(scope="module")
def made(small):
    coefficients, predicted, splits = judged(small)
    return make_model(small, coefficients, "unweighted", 1000.0, predicted, splits, "by hand")

# radii by hand

def test_radius_by_hand():
    "Compounds a: 1, 2; b: 3; c: 4, 5; weights reach 1/2, 1, 2, 5/2, 3 of the three, the new one is a fourth."
    scores, shares = np.array([1., 2, 3, 4, 5]), compound_shares(list("aabcc"))
    assert shares.tolist() == [0.5, 0.5, 1, 0.5, 0.5]
    by_hand = {0.125: 1, 0.126: 2, 0.25: 2, 0.26: 3, 0.5: 3, 0.51: 4, 0.625: 4, 0.75: 5, 0.751: np.inf}
    for level, radius in by_hand.items():
        assert conformal_radius(scores, shares, level=level) == radius, level

def test_radius_by_hand_with_weights():
    "Ratios 4, 1, 0: the mass is 5; a new point of mass 0 needs 0.8 of 5, 1.25 needs 5, 1.3 more."
    scores, weights = np.array([2., 7, 9]), np.array([4., 1, 0])
    masses = np.array([0, 0.01, 1.25, 1.3])
    assert conformal_radius(scores, weights, masses, 0.8).tolist() == [2, 7, 7, np.inf]
    assert conformal_radius(scores, np.zeros(3), 1.0, 0.5) == np.inf
    assert conformal_radius(np.array([]), np.array([]), 1.0, 0.5) == np.inf

def test_equal_groups_of_one_give_the_textbook_quantile():
    scores = np.random.default_rng(0).random(99)
    for level in (0.5, 0.8, 0.9, 0.95):
        assert conformal_radius(scores, np.ones(99), level=level) == np.sort(scores)[round(level*100) - 1]

def test_radius_rises_with_level_and_ignores_order_and_names():
    rng = np.random.default_rng(1)
    scores, of = rng.random(200), rng.integers(0, 30, 200)
    radii = [conformal_radius(scores, compound_shares(of), level=p) for p in np.linspace(0.05, 0.99, 60)]
    assert radii == sorted(radii) and radii[-1] == np.inf
    turn = rng.permutation(200)
    names = np.array([f"c{i}" for i in rng.permutation(30)])[of]
    renamed = conformal_radius(scores[turn], compound_shares(names[turn]), level=0.7)
    assert renamed == conformal_radius(scores, compound_shares(of), level=0.7)
    y, p = rng.normal(size=200), rng.normal(size=200)
    a, b = calibrate(y, p, of), calibrate(y[turn], p[turn], names[turn])
    np.testing.assert_allclose(a.radius(p), b.radius(p), rtol=1e-4)

# coverage in simulation

SIZES = {"one each": lambda rng, n: np.ones(n, int), "equal": lambda rng, n: np.full(n, 6),
         "uneven": lambda rng, n: rng.integers(1, 12, n),
         "few giants": lambda rng, n: np.where(rng.random(n) < 0.1, 100, 2)}

def grouped_errors(rng, n, sizes):
    "Errors with a shared part; compounds that were studied more err less."
    size = sizes(rng, n)
    of = np.repeat(np.arange(n), size)
    scale = 1/np.sqrt(size)
    return np.abs((scale*rng.normal(size=n))[of] + 0.5*scale[of]*rng.normal(size=len(of))), of

def held(weights, scores, new, new_of):
    "The share of new errors within the radius at 0.9, each new compound counting once."
    return np.average(new <= conformal_radius(scores, weights, level=0.9), weights=compound_shares(new_of))

@pytest.mark.parametrize("sizes", SIZES)
def test_new_compounds_are_covered_whatever_their_sizes(sizes):
    "29 compounds at 0.9 cover between 0.9 and a compound's share more, within the error of 500 repeats."
    rng, hits = np.random.default_rng(2), []
    for _ in range(500):
        (scores, of), (new, new_of) = (grouped_errors(rng, n, SIZES[sizes]) for n in (29, 20))
        hits.append(held(compound_shares(of), scores, new, new_of))
    error = 3*np.std(hits)/np.sqrt(500)
    assert 0.9 - error < np.mean(hits) < 0.9 + 1/30 + error

def test_counting_signatures_instead_of_compounds_undercovers():
    rng, hits = np.random.default_rng(3), []
    for _ in range(200):
        (scores, of), (new, new_of) = (grouped_errors(rng, 29, SIZES["few giants"]) for _ in range(2))
        hits.append(held(np.ones(len(of)), scores, new, new_of))
    assert np.mean(hits) < 0.85

def test_a_known_shift_is_covered_with_weights_and_not_without():
    rng, plain, weighted, unbounded = np.random.default_rng(4), [], [], []
    def ratio(z): return norm.pdf(z[:, 0], 1)/norm.pdf(z[:, 0])
    def constant(z): return np.full(len(z), 3.0)
    for _ in range(200):
        x, new = rng.normal(size=300).round(6), rng.normal(1, size=50)
        score, error = np.abs(rng.normal(size=300))*np.exp(x), np.abs(rng.normal(size=50))*np.exp(new)
        c = Calibration([0.0], [1.0], score.tolist(), list(range(300)), x[:, None].tolist())
        plain.append(np.mean(error <= c.radius(np.zeros(50))))
        r = c.radius(np.zeros(50), points=new[:, None], ratio=ratio)
        weighted.append(np.mean(error <= r))
        unbounded.append(np.isinf(r).mean())
    assert np.mean(plain) < 0.8 and 0.89 < np.mean(weighted) < 0.94 and 0 < np.mean(unbounded) < 0.05
    far = c.radius(np.zeros(1), points=np.array([[5.0]]), ratio=ratio)
    assert np.isinf(far).all(), "there is nothing like it in training"
    same = c.radius(np.zeros(9), points=np.zeros((9, 1)), ratio=constant)
    np.testing.assert_array_equal(same, c.radius(np.zeros(9)))

def test_scaled_intervals_follow_the_errors():
    """Errors ten times as large at predicted 0 as at 1: both ways cover on average, only the scaled one at
    either end, and in less width."""
    rng = np.random.default_rng(5)
    of = np.repeat(np.arange(200), 5)
    p = rng.random(1000)
    y = p + (1 - 0.9*p)*rng.normal(size=1000)
    scaled, plain = (coverage(y, p, of, 0.9, scaled=s) for s in (True, False))
    assert abs(scaled.coverage - 0.9) < 0.02 and abs(plain.coverage - 0.9) < 0.02
    assert scaled.width < 0.95*plain.width
    def at_one_end(these):
        "Coverage of some signatures, by scaled intervals and by one radius for all."
        splits = [(old, new[these[new]]) for old, new in folds_of(of)]
        return [coverage(y, p, of, 0.9, splits, scaled=scaled).coverage for scaled in (True, False)]
    (low, low_plain), (high, high_plain) = at_one_end(p < 0.3), at_one_end(p > 0.7)
    assert low_plain < low - 0.05 and low > 0.82 and low_plain < 0.8
    assert high < high_plain - 0.02 and high_plain > 0.97
    at, usual = usual_error(p, np.abs(y - p), np.ones(1000))
    assert (np.diff(usual) <= 0).all() and usual.min() > 0

def test_coverage_counts_compounds_and_reports_what_is_unbounded():
    intervals = pd.DataFrame({"low": [0, 0, 0, 0, -np.inf], "high": [1, 1, 1, 2, np.inf]})
    c = interval_coverage([0.5, 0.5, 5, 1.5, 9], intervals, list("aaabc"))
    assert c.coverage == pytest.approx((2/3 + 1 + 1)/3) and c.unbounded == pytest.approx(1/3)
    assert c.width == pytest.approx((1 + 2)/2)
    assert c.compounds == 3 and c.coverage_low <= c.coverage <= c.coverage_high
    few = coverage(np.arange(8.), np.zeros(8), list("aabbccdd"), 0.9)
    assert few.unbounded == 1 and few.coverage == 1, "three compounds cannot give 90%"
    with pytest.raises(InputError, match="two compounds"): coverage([1., 2], [1., 2], ["a", "a"])

def test_partitions_keep_compounds_whole_and_hold_out_everything():
    of = np.repeat(np.arange(12), 3)
    pairs = repeated_folds(of, n_folds=4, repeats=3, seed=1)
    assert len(pairs) == 12 and all(not set(of[old]) & set(of[new]) for old, new in pairs)
    for r in range(3):
        assert sorted(np.concatenate([new for _, new in pairs[4*r:4*r + 4]])) == list(range(36))

def test_calibration_keeps_compounds_even():
    of = np.repeat(np.arange(50), np.r_[np.full(25, 100), np.full(25, 3)])
    kept = np.bincount(of[evenly(of, 400)], minlength=50)
    assert kept.sum() == 400 and (kept[25:] == 3).all() and np.ptp(kept[:25]) <= 1
    assert (evenly(of, 400) == evenly(of, 400)).all() and len(evenly(of, 10**6)) == len(of)
    with pytest.raises(InputError, match="out-of-fold"): calibrate([1., 2], [1., np.nan], ["a", "b"])

# domain

@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(6)
    loads = rng.normal(size=(6, 120))
    def fresh(n, k=1.0): return k*rng.normal(size=(n, 6))*np.arange(1, 7) @ loads + rng.normal(size=(n, 120))
    of = np.repeat(np.arange(300), 4)
    return fit_domain(fresh(1200), of, folds_of(of)), fresh, rng, loads

def test_fresh_signatures_are_flagged_about_one_in_a_hundred(world):
    domain, fresh, rng, _ = world
    for share in (1, 0.8, 0.5):
        found = rng.random(120) < share
        assert 0.003 < domain.outside(*domain.place(fresh(4000), found)[1:]).mean() < 0.025, share

def test_strong_and_strange_signatures_are_flagged_by_the_right_distance(world):
    domain, fresh, rng, _ = world
    _, t2, q = domain.place(fresh(300, k=4))
    assert (t2 > domain.t2).mean() > 0.9 and (q > domain.q).mean() < 0.1, "strong along what training has"
    _, t2, q = domain.place(fresh(300) + 3*rng.normal(size=120))
    assert (q > domain.q).mean() > 0.95, "shifted by a pattern that training does not have"
    _, t2, q = domain.place(5*rng.normal(size=(300, 120)))
    assert domain.outside(t2, q).mean() > 0.95, "scaled noise"

def test_place_agrees_with_principal_components_and_recovers_missing_genes(world):
    domain, fresh, rng, loads = world
    x = fresh(500)
    points, t2, q = domain.place(x)
    z = (x - domain.mean)/np.array(domain.scale)
    v = np.array(domain.components)
    np.testing.assert_allclose(v @ v.T, np.eye(20), atol=1e-4)
    assert np.corrcoef(points[:, 0], z @ v[0])[0, 1] > 0.9999 and np.abs(points.mean(0)).max() < 0.2
    found = np.arange(120) % 2 == 0
    guess = domain.expect(domain.place(x, found)[0])[:, ~found]
    assert ((guess - x[:, ~found])**2).mean() < 1.3*1.0, "noise has variance 1, and little is added to it"

def test_measured_genes_stay_as_they_are_and_without_a_domain_nothing_is_expected(world):
    domain, fresh, rng, _ = world
    x, found = fresh(50), rng.random(120) < 0.9
    placed = completed(np.where(found, x, np.nan), domain)
    np.testing.assert_array_equal(placed.x[:, found], x[:, found])
    assert placed.points.shape == (50, 20) and placed.flag.mean() < 0.2 and np.isfinite(placed.x).all()
    few = rng.random(120) < 0.7
    assert completed(np.where(few, x, np.nan), domain).flag.all(), "too few genes"
    plain = completed(np.where(found, x, np.nan), None)
    assert (plain.x[:, ~found] == 0).all() and plain.points is None and pd.isna(plain.flag).all()

def test_missing_values_are_each_signature_s_own(world):
    "Gaps of one row change nothing for another, and a row without a value is flagged, not taken for untreated."
    domain, fresh, rng, _ = world
    x = fresh(30)
    whole = completed(x, domain)
    x[3, :5], x[7, :60], x[9] = np.nan, np.nan, np.nan
    holes = completed(x, domain)
    others = np.setdiff1d(np.arange(30), [3, 7, 9])
    np.testing.assert_allclose(holes.points[others], whole.points[others])
    np.testing.assert_allclose(holes.points[3], completed(x[[3]], domain).points[0])
    assert holes.flag[[7, 9]].all() and (holes.points[9] == 0).all()

def test_a_domain_of_few_signatures_or_genes_and_constant_ones():
    rng = np.random.default_rng(7)
    of = np.repeat(np.arange(6), 2)
    tables = [rng.normal(size=(12, p)) for p in (40, 3, 1)]
    for x in (*tables, np.column_stack([tables[0], np.ones(12)])):
        d = fit_domain(x, of, folds_of(of, 3))
        points, t2, q = d.place(x)
        assert len(d.components) <= max(min(x.shape)//2, 1) and np.isfinite([d.t2, d.q, *t2, *q]).all()

# the model and its file

def test_a_model_comes_back_as_it_was(made, small, tmp_path):
    save_model(made, tmp_path/"model.json")
    again = load_model(tmp_path)
    assert again == made
    read, kept = (model.predict(small.outside, like=small.outside) for model in (again, made))
    pd.testing.assert_frame_equal(read, kept)
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]

def test_predictions_are_those_of_the_coefficients_in_either_orientation(made, small):
    straight = made.predict(small.outside)
    wanted = small.outside.to_numpy(float) @ np.array(made.coefficients) + made.intercept
    np.testing.assert_allclose(straight.linear, wanted)
    assert straight.columns.tolist() == ["viability", "low", "high", "outside_domain", "claim", "linear"]
    assert straight.attrs["genes_found"] == 1
    np.testing.assert_allclose((straight.low + straight.high)/2, straight.viability)
    pd.testing.assert_frame_equal(made.predict(small.outside.T), straight)
    pd.testing.assert_frame_equal(made.predict(small.outside, like=small.outside), straight)
    turned = made.predict(small.outside.T, like=small.outside.rename(columns=str.lower))
    pd.testing.assert_frame_equal(turned, straight)
    plain, weighted = (undiscounted(made, small.outside, weighted=w) for w in (False, True))
    assert not np.allclose(weighted.low, plain.low) and (weighted.viability == plain.viability).all()
    widths = [(made.predict(small.outside, level=p).eval("high - low")) for p in (0.5, 0.8, 0.9, 0.95)]
    assert all((b >= a).all() for a, b in zip(widths, widths[1:], strict=False))
    assert widths[0].mean() < widths[-1].mean()

def test_gene_ids_of_other_kinds(tmp_path):
    model = RidgeModel(["TP53", "WASHC5"], [0.5, -1.0], 1.0, 10.0, "unweighted", "s", "k", 3)
    for names in (["7157", "9897"], ["TP53", "KIAA0196"], ["tp53", "washc5"]):
        table = pd.DataFrame([[1.0, 2.0]], ["a"], names)
        assert model.predict(table).viability["a"] == -0.5 == model.predict(table.T).viability["a"]
    with pytest.raises(InputError, match="None of the model's 2 genes"):
        model.predict(pd.DataFrame([[1.0]], ["a"], ["XYZ"]))

def test_expression_keeps_ids_averages_columns_of_one_gene_and_says_what_it_found():
    table = pd.DataFrame([[1.0, 3.0, np.nan], [2.0, 5.0, 4.0]], ["7157", "s2"], ["TP53", "7157", "MYC"])
    for either in (table, table.T):
        x, found = expression_of(either, ["MYC", "TP53", "RB1"])
        assert x.index.tolist() == ["7157", "s2"], "an id that reads like a gene is kept"
        np.testing.assert_array_equal(x.to_numpy(), [[np.nan, 2, np.nan], [4, 3.5, np.nan]])
        assert found.tolist() == [True, True, False]

def test_missing_genes_count_as_what_the_others_lead_one_to_expect(made, small):
    x, half = small.signatures[small.genes], small.genes[::2]
    few = made.predict(x[half])
    assert few.outside_domain.all(), "too few genes for the interval to be trusted"
    assert few.attrs["genes_found"] == pytest.approx(0.5, abs=0.01)
    fewer = made.predict(x.iloc[:, ::-1].iloc[:, :-3])
    assert fewer.outside_domain.mean() < 0.1, "three genes less do no harm"
    whole, zero = made.predict(x).viability, made.predict(x*x.columns.isin(half)).viability
    assert (few.viability - whole).abs().mean() < (zero - whole).abs().mean()

def test_training_is_inside_and_what_is_shifted_or_scaled_outside(made, small):
    x = small.signatures[small.genes]
    assert made.predict(x).outside_domain.mean() < 0.02
    rng = np.random.default_rng(8)
    assert made.predict(5*x).outside_domain.mean() > 0.95
    assert made.predict(x + 3*rng.normal(size=x.shape[1])).outside_domain.mean() > 0.95

def test_held_out_compounds_of_a_study_are_covered():
    study = simulate(1200, 150, seed=3)
    _, predicted, _ = judged(study)
    c = coverage(study.samples.viability, predicted, study.samples["compound"], 0.9)
    assert c.coverage_low < 0.9 + 1/80 and c.coverage_high > 0.9 and abs(c.coverage - 0.9) < 0.03

def test_an_older_model_predicts_without_intervals(tmp_path, made, small):
    new = ("calibration", "domain", "measured", "remembered", "version", "format")
    old = {k: v for k, v in dataclasses.asdict(made).items() if k not in new}
    (tmp_path/"model.json").write_text(json.dumps(old, indent=1))
    model = load_model(tmp_path)
    t = model.predict(small.outside)
    np.testing.assert_allclose(t.viability, made.predict(small.outside).linear)
    assert t[["low", "high", "outside_domain"]].isna().all().all() and (t.claim == "none: no calibration").all()
    with pytest.raises(InputError, match="no held-out predictions"):
        model.predict(small.outside, like=small.outside)

def test_a_model_of_before_predicts_as_it_did(tmp_path, made, small):
    "Calibration and domain as the first format had them: the intervals that they always gave."
    old = dataclasses.asdict(made)
    for field in ("measured", "remembered", "version", "format"): old.pop(field)
    for field in ("predicted", "measured", "offset", "left_out"): old["calibration"].pop(field)
    (tmp_path/"model.json").write_text(json.dumps(old))
    model = load_model(tmp_path)
    t, c = model.predict(small.outside), model.calibration
    wanted = small.outside.to_numpy(float) @ np.array(made.coefficients) + made.intercept
    np.testing.assert_allclose(t.viability, wanted)
    np.testing.assert_allclose(t.high - t.viability, c.radius(wanted))
    assert model.format == 1 and not model.measured and (t.claim != "none: a training signature").all()

@pytest.mark.parametrize("level", [0, 1, -1, 90, np.nan])
def test_a_level_that_is_none_is_refused(made, small, level):
    with pytest.raises(InputError, match="between 0 and 1"): made.predict(small.outside, level=level)

# elsewhere: what is moved, drawn and claimed

def test_the_offset_is_shrunk_by_what_chance_explains():
    of = list("aabbccdd")
    assert held_out_offset(np.zeros(8), np.full(8, 0.3), of) == pytest.approx(0.3)
    assert held_out_offset(np.zeros(8), np.repeat([0.9, -0.3, 0.3, -0.1], 2), of) == 0, "0.2 with error 0.26"
    assert held_out_offset(np.zeros(4), np.full(4, 0.3), list("aaaa")) == 0, "a single compound"
    assert held_out_offset(np.zeros(3), np.zeros(3), list("abc")) == 0
    rng = np.random.default_rng(10)
    drawn = [abs(held_out_offset(np.zeros(60), rng.normal(size=60), np.arange(60))) for _ in range(200)]
    assert np.median(drawn) == 0, "errors without a direction move nothing, more often than not"

def test_noise_counts_beyond_the_limit_and_by_squared_coefficients(world):
    domain, fresh, rng, _ = world
    slopes = rng.normal(size=120)
    x = fresh(1500)
    assert (noise_variance(slopes, domain, np.array([0, domain.q])) == 0).all()
    added = 3*rng.normal(size=x.shape)*domain.scale
    found = noise_variance(slopes, domain, domain.place(x + added)[2]).mean()
    assert found == pytest.approx((added @ slopes).var(), rel=0.25)
    q = np.array([2*domain.q])
    assert noise_variance(3*slopes, domain, q) == pytest.approx(9*noise_variance(slopes, domain, q))

def held_out_world(n=400, spread=0.3, error=0.1, seed=11):
    rng = np.random.default_rng(seed)
    y = rng.normal(0.7, spread, n)
    return y, y + error*rng.normal(size=n), rng

def test_nothing_is_drawn_where_nothing_is_noisy():
    y, p, rng = held_out_world()
    known, none = calibrate(y, p, np.arange(400)), np.zeros(50)
    mean, variance = known.moments()
    assert mean == pytest.approx(p.mean(), abs=1e-5) and variance == pytest.approx(p.var(), abs=1e-5)
    new = mean + rng.normal(0, 0.5*np.sqrt(variance), 50)
    for population in (None, population_of(new, none, variance)):
        drawn, shares = discounted(new, none, known, population)
        np.testing.assert_allclose(drawn, new)
        assert (shares == 1).all() and (noisy_radius(known, drawn, shares) == known.radius(new)).all()
    assert population_of(new, none, variance).spread < 0.7, "a narrower spread narrows no interval"

def test_the_noisier_a_prediction_the_less_it_says():
    y, p, _ = held_out_world()
    known = calibrate(y, p, np.arange(400))
    mean, variance = known.moments()
    drawn, shares = discounted(np.full(4, mean + 1), np.array([0, variance, 9*variance, 1e9]), known)
    np.testing.assert_allclose(shares, [1, 0.5, 0.1, 0], atol=1e-8)
    np.testing.assert_allclose(drawn, mean + shares)
    radius = noisy_radius(known, np.full(4, mean), shares)
    assert (np.diff(radius) > 0).all()
    labels = np.quantile(np.abs(y - mean), 0.9)
    assert radius[3] == pytest.approx(labels, rel=0.15), "nothing is left but the training labels"
    assert noisier(known, 1.0) is known

@pytest.mark.parametrize("extra", [0.3, 0.6, 1.5])
def test_a_set_with_known_noise_is_covered_and_was_not(extra):
    y, p, rng = held_out_world(1000)
    known, none = calibrate(y, p, np.arange(1000)), np.zeros(1000)
    new = rng.normal(0.5, 0.3, 1000)  # another mean, too
    raw = new + 0.1*rng.normal(size=1000) + extra*rng.normal(size=1000)
    centre, shares = discounted(raw, none, known, population_of(raw, none, known.moments()[1]))
    covered = (np.abs(new - centre) <= noisy_radius(known, centre, shares)).mean()
    assert 0.86 < covered < 0.95 and (np.abs(new - raw) <= known.radius(raw)).mean() < 0.6

def test_an_outside_set_on_another_platform_is_covered_where_it_was_not():
    study = simulate(1200, 150, seed=3)
    coefficients, predicted, splits = judged(study)
    by_plates, _ = held_out_plates(study)
    model = make_model(study, coefficients, "unweighted", 1000.0, by_plates, splits, left_out="plates")
    simple = make_model(study, coefficients, "unweighted", 1000.0, predicted, splits)
    y, of = study.outside_samples.viability, study.outside_samples["compound"]
    before, after = undiscounted(simple, study.outside), model.predict(study.outside)
    assert interval_coverage(y, before, of).coverage < 0.6
    assert interval_coverage(y, after, of).coverage > 0.88
    assert (after.claim == NO_CLAIM["domain"]).mean() > 0.9, "and even so nothing is claimed"
    assert ((after.viability - y)**2).mean() < 0.5*((after.linear - y)**2).mean()

def held_out_plates(study, alpha=1000.0):
    "Out-of-fold predictions with plates and their compounds left out, and the plates."
    x = study.signatures[study.genes].to_numpy(float)
    y, plates, of = (study.samples[c].to_numpy() for c in ("viability", "plate", "compound"))
    predicted = np.empty(len(y))
    for plate in set(plates):
        test = plates == plate
        train = ~np.isin(of, of[test])
        predicted[test] = apply_grid(ridge_path(x[train], y[train], [alpha]), x[test])[0]
    return predicted, plates

def test_plates_are_covered_by_intervals_of_plates():
    "Every plate errs by 0.3 in one direction, and by 0.1 of its own: both are known from the other plates."
    rng = np.random.default_rng(12)
    plate, of = np.repeat(np.arange(10), 60), np.repeat(np.arange(200), 3)
    y = rng.normal(0.7, 0.3, 600)
    p = y + 0.3 + 0.1*rng.normal(size=10)[plate] + 0.05*rng.normal(size=600)
    c = plate_coverage(y, p, of, plate)
    assert 0.82 < c.coverage <= 0.98 and c.compounds == 200
    names = np.array([f"P{i}" for i in range(10)])[plate]
    turn = rng.permutation(600)
    again = plate_coverage(y[turn], p[turn], of[turn], names[turn])
    assert again.coverage == pytest.approx(c.coverage, abs=0.02)
    with pytest.raises(InputError, match="two plates or more"): plate_coverage(y, p, of, np.zeros(600))
    with pytest.raises(InputError, match="not on every plate"): plate_coverage(y[:4], p[:4], list("abab"), [1, 1, 2, 2])

def test_a_signature_alone_does_not_depend_on_its_company(made, small):
    few = made.predict(small.outside[:50], alone=True)
    pd.testing.assert_frame_equal(few, made.predict(small.outside, alone=True)[:50], check_exact=False)
    assert few.attrs["share"] == 1
    assert made.predict(small.outside[:POPULATION - 1]).attrs["share"] == 1, "too few for a set"
    turned = made.predict(small.outside.iloc[::-1, ::-1])
    pd.testing.assert_frame_equal(turned[::-1], made.predict(small.outside), check_exact=False)

def test_the_training_set_is_known_again_by_its_values(made, small):
    x = small.signatures[small.genes]
    assert (made.predict(x).claim == NO_CLAIM["seen"]).all()
    renamed = x.set_axis([f"mine {i}" for i in range(len(x))]).iloc[::-1, ::-1].T
    t = made.predict(renamed)
    assert (t.claim == NO_CLAIM["seen"]).all() and t.attrs["seen_ids"] == 0
    mixed = made.predict(pd.concat([x[:20], small.outside[:20]]))
    assert (mixed.claim == NO_CLAIM["seen"]).tolist() == [True]*20 + [False]*20
    assert np.isnan(t.attrs["spread"]) and np.isnan(mixed.attrs["spread"]), "training signatures make no set"
    new = made.predict(small.outside)
    pd.testing.assert_series_equal(made.predict(pd.concat([x, small.outside])).viability[-len(new):], new.viability)
    borrowed = made.predict(small.outside.set_axis(x.index[:len(small.outside)]))
    assert borrowed.attrs["seen_ids"] == len(small.outside) and (borrowed.claim != NO_CLAIM["seen"]).all()

def test_marks_of_a_large_training_set_stay_small(monkeypatch):
    import drugnb.weighting.model as m
    monkeypatch.setattr(m, "MARKS", 50)
    x = np.random.default_rng(13).normal(size=(400, 10))
    kept = remember([f"s{i}" for i in range(400)], x, list("abcdefghij"), np.ones(10))
    known = kept.known([f"s{i}" for i in range(400)], x[:, :8])
    assert known["id"].sum() == known["values"].sum() == 50
    assert not kept.known(["other"], x[:1, :8] + 1).any(axis=None)
    flat = remember(["a"], np.zeros((1, 10)), list("abcdefghij"), np.ones(10))
    assert not flat.known(["b"], np.zeros((1, 8))).any(axis=None), "a row of zeros is nobody's"

def test_what_is_claimed(made, small):
    x = small.signatures[small.genes] + 0.02  # not the training set to the digit
    inside = made.predict(x)
    claimed = inside.claim == "held-out compounds"
    assert claimed.mean() > 0.95 and (inside.claim[~claimed] == NO_CLAIM["domain"]).all()
    assert (inside.outside_domain[~claimed]).all() and inside.attrs["size"] == pytest.approx(1, abs=0.1)
    for factor in (0.2, 5):
        t = made.predict(factor*x)
        assert (t.claim == NO_CLAIM["scale"]).all() and t.attrs["size"] == pytest.approx(factor, rel=0.1)
    for factor in (0.02, 50):
        with pytest.raises(InputError, match="times as large as those that the model was trained on"):
            made.predict(factor*x)
    assert (made.predict(x[small.genes[::2]]).claim == NO_CLAIM["genes"]).all()
    gaps = x.copy()
    gaps.iloc[0, : int((1 - ENOUGH_GENES)*len(small.genes)) + 2] = np.nan
    gaps.iloc[1] = np.nan
    assert (made.predict(gaps).claim == NO_CLAIM["genes"])[:3].tolist() == [True, True, False]
    wide = made.predict(pd.concat([x, x + 1.5*np.sign(made.coefficients)*np.abs(x).mean()]))
    assert wide.attrs["spread"] > 1.5 and wide.claim.str.startswith("none").mean() > 0.95

@pytest.mark.parametrize("table, said", [
    (lambda x: np.round(np.abs(x)*100), "raw counts"), (lambda x: np.abs(x) + 0.5, "expression itself"),
])
def test_what_is_no_change_is_refused(made, small, table, said):
    with pytest.raises(InputError, match=f"below 0, so it holds {said}"): made.predict(table(small.outside))

def test_a_table_with_hardly_a_gene_is_refused(made, small):
    few = small.outside.iloc[:, :5]
    with pytest.raises(InputError, match=r"Only 5 of the model's \d+ genes are in this table"): made.predict(few)

def test_what_was_measured_travels_with_the_model(made, tmp_path):
    row = {"coverage": 0.88, "coverage_low": 0.8, "coverage_high": 0.94, "width": 0.512345678, "compounds": 40,
           "unbounded": 0.0, "level": 0.9}
    rows = measured_rows(pd.DataFrame([row, row], index=pd.Index(["held-out plates", "outside"], name="where")))
    save_model(dataclasses.replace(made, measured=rows), tmp_path/"model.json")
    again = load_model(tmp_path)
    assert again.measured == rows and [r["where"] for r in rows] == ["held-out plates", "outside"]
    said = coverage_sentences(again.measured)
    assert said[0] == ("90% intervals held 0.88 (0.80 to 0.94) of what was measured, held-out plates "
                       "(40 compounds, mean width 0.51).")

# the command

def run_predict(tmp_path, capsys, made, table, **options):
    "The table that `drugnb predict` writes, and what it says."
    save_model(made, tmp_path/"model.json")
    table.rename_axis("sig_id").to_csv(tmp_path/"mine.csv")
    predict(str(tmp_path/"mine.csv"), str(tmp_path), out=str(tmp_path/"out.csv"), **options)
    return pd.read_csv(tmp_path/"out.csv"), capsys.readouterr().err

def test_the_command_names_compounds_bounds_and_what_is_claimed(tmp_path, capsys, made, small):
    measured = [{"where": "held-out plates", "coverage": 0.88, "coverage_low": 0.8, "coverage_high": 0.94,
                 "width": 0.5, "compounds": 40, "level": 0.9}]
    known = small.outside_samples.rename(columns={"compound": "pert_id", "name": "pert_iname", "dose": "dose_um"})
    known[["pert_id", "pert_iname", "dose_um"]].rename_axis("sig_id").to_csv(tmp_path/"what.csv")
    kept = dataclasses.replace(made, measured=measured)
    out, said = run_predict(tmp_path, capsys, kept, small.outside, info=str(tmp_path/"what.csv"), level=0.8)
    assert out.columns.tolist() == ["signature", "compound", "name", "dose", "viability", "low", "high", "level",
                                    "outside_domain", "claim", "linear"]
    assert (out["compound"].to_numpy() == small.outside_samples["compound"].to_numpy()).all()
    assert (out.level == 0.8).all() and (out.low <= out.viability).all() and (out.viability <= out.high).all()
    assert "held 0.88 (0.80 to 0.94) of what was measured, held-out plates" in said
    assert f"no claim is made for {len(out)} intervals of {len(out)} (outside the domain)" in said
    assert "100% of the model's" in said and "z-scores" in said and "--alone" in said

def test_the_command_warns_of_the_training_set_and_of_missing_genes(tmp_path, capsys, made, small):
    x = small.signatures[small.genes]
    _, said = run_predict(tmp_path, capsys, made, x)
    n = len(x)
    assert f"no claim is made for {n} intervals of {n} (a training signature)" in said
    assert f"{n} of {n} ids are ids of training signatures" in said
    _, said = run_predict(tmp_path, capsys, made, x[small.genes[::3]] + 0.02)
    assert "67% of the model's genes are missing here" in said and "too few genes" in said

def test_compounds_come_from_beside_or_from_the_ids(tmp_path, capsys, made, small):
    three = small.outside[:3].set_axis(["A_A375_6H:BRD-K32107296-001-01-9:10", "B_PC3_24H_X1:BRD-K00000001:0.37", "x"])
    out, _ = run_predict(tmp_path, capsys, made, three)
    assert out["compound"].tolist()[:2] == ["BRD-K32107296", "BRD-K00000001"] and out.dose.tolist()[:2] == [10, 0.37]
    assert out.cell.tolist()[:2] == ["A375", "PC3"] and out.iloc[2][["compound", "dose"]].isna().all()
    pd.DataFrame({"sig_id": three.index[::-1], "pert_id": ["c", "b", "a"]}).to_csv(tmp_path/"siginfo_x.csv", index=False)
    out, _ = run_predict(tmp_path, capsys, made, three)
    assert out["compound"].tolist() == ["a", "b", "c"] and "dose" not in out
    (tmp_path/"empty").mkdir()
    plain, _ = run_predict(tmp_path/"empty", capsys, made, small.outside[:3])
    assert "compound" not in plain
    with pytest.raises(InputError, match="siginfo_x.csv has none of the 3 signatures"):
        run_predict(tmp_path, capsys, made, small.outside[:3], info=str(tmp_path/"siginfo_x.csv"))
    with pytest.raises(InputError, match="not both"):
        run_predict(tmp_path, capsys, made, three, like=str(tmp_path/"mine.csv"), alone=True)

SPOIL = {
    "cut short": lambda d: None,
    "a gene without coefficient": lambda d: d["coefficients"].pop(),
    "an unknown field": lambda d: d.update(x=1),
    "a missing field": lambda d: d.pop("genes"),
    "a domain without limits": lambda d: d["domain"].pop("q"),
    "scores without compounds": lambda d: d["calibration"]["compounds"].pop(),
    "a score without coordinates": lambda d: d["calibration"]["components"].pop(),
    "a curve without values": lambda d: d["calibration"]["usual"].pop(),
    "a component too short": lambda d: d["domain"]["components"][0].pop(),
    "domain is a number": lambda d: d.update(domain=3),
    "a held-out prediction without its viability": lambda d: d["calibration"]["measured"].pop(),
    "a coefficient that is none": lambda d: d["coefficients"].__setitem__(0, float("nan")),
    "a coefficient in words": lambda d: d["coefficients"].__setitem__(0, "much"),
    "remembered genes of another model": lambda d: d["remembered"].update(genes=["no gene"]),
    "no genes at all": lambda d: d.update(genes=[], coefficients=[], calibration=None, domain=None, remembered=None),
}

@pytest.mark.parametrize("how", SPOIL)
def test_a_damaged_file_is_refused(tmp_path, made, how):
    d = json.loads(json.dumps(dataclasses.asdict(made)))
    SPOIL[how](d)
    text = json.dumps(d)
    (tmp_path/"model.json").write_text(text[:len(text)//2] if how == "cut short" else text)
    with pytest.raises(InputError, match="is not a drugnb model"): load_model(tmp_path)

def test_no_file_and_not_a_table_of_models(tmp_path):
    with pytest.raises(InputError, match="There is no model"): load_model(tmp_path)
    for text in (b"[1, 2]", b"{}", b"", b"null", b"3", b'"model"', b"\x89HDF\xff\xfe", b"[" * 100_000,
                 b'{"genes": 1, "coefficients": 2}', b'{"pairs": ["a", "b"], "model": "sum"}'):
        (tmp_path/"model.json").write_bytes(text)
        with pytest.raises(InputError, match="is not a drugnb model"): load_model(tmp_path)

def test_a_model_of_a_later_version_is_refused_as_such(tmp_path, made):
    d = dataclasses.asdict(made) | {"format": FORMAT + 1, "something": "new"}
    (tmp_path/"model.json").write_text(json.dumps(d))
    with pytest.raises(InputError, match="made by a later version of drugnb: update it"): load_model(tmp_path)

def test_a_full_size_model_stays_below_a_megabyte(tmp_path):
    study = simulate(3000, 978)
    n = int(study.labelled.sum())
    rng, splits = np.random.default_rng(9), folds_of(study.samples["compound"].to_numpy(), 2)
    study = dataclasses.replace(study, outside=study.signatures.iloc[:5])  # on all genes
    coefficients = rng.normal(size=979)
    predicted = study.samples.viability + rng.normal(size=n)
    model = make_model(study, coefficients, "unweighted", 1.0, predicted, splits)
    save_model(model, tmp_path/"model.json")
    assert len(model.genes) == 978 and len(model.calibration.scores) == 2000
    assert (tmp_path/"model.json").stat().st_size < 1e6
    assert np.shape(model.domain.components) == (20, 978) and model.coefficients == coefficients[:-1].tolist()
