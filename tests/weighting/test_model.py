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
    Calibration,
    RidgeModel,
    calibrate,
    completed,
    compound_shares,
    conformal_radius,
    coverage,
    evenly,
    expression_of,
    fit_domain,
    interval_coverage,
    load_model,
    make_model,
    repeated_folds,
    save_model,
    usual_error,
)
from drugnb.weighting.ridge import ridge_path
from drugnb.weighting.simulate import simulate


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
    whole, points, flag = completed(np.where(found, x, 0), found, domain)
    np.testing.assert_array_equal(whole[:, found], x[:, found])
    assert points.shape == (50, 20) and flag.mean() < 0.2
    few = rng.random(120) < 0.7
    assert completed(np.where(few, x, 0), few, domain)[2].all(), "too few genes"
    plain, points, flag = completed(x, found, None)
    assert plain is x and points is None and flag is pd.NA

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
    np.testing.assert_allclose(straight.viability, wanted)
    assert straight.columns.tolist() == ["viability", "low", "high", "outside_domain"]
    assert straight.attrs["genes_found"] == 1
    np.testing.assert_allclose((straight.low + straight.high)/2, straight.viability)
    pd.testing.assert_frame_equal(made.predict(small.outside.T), straight)
    like = made.predict(small.outside, like=small.outside)
    turned = made.predict(small.outside.T, like=small.outside.rename(columns=str.lower))
    pd.testing.assert_frame_equal(turned, like)
    assert not np.allclose(like.low, straight.low) and (like.viability == straight.viability).all()
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
        assert x.to_numpy().tolist() == [[0, 2, 0], [4, 3.5, 0]] and found.tolist() == [True, True, False]

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
    old = {k: v for k, v in dataclasses.asdict(made).items() if k not in ("calibration", "domain")}
    (tmp_path/"model.json").write_text(json.dumps(old, indent=1))
    model = load_model(tmp_path)
    t = model.predict(small.outside)
    np.testing.assert_allclose(t.viability, made.predict(small.outside).viability)
    assert t[["low", "high", "outside_domain"]].isna().all().all()
    with pytest.raises(InputError, match="without calibration"):
        model.predict(small.outside, like=small.outside)

@pytest.mark.parametrize("level", [0, 1, -1, 90, np.nan])
def test_a_level_that_is_none_is_refused(made, small, level):
    with pytest.raises(InputError, match="between 0 and 1"): made.predict(small.outside, level=level)

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
    (tmp_path/"model.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="is not a drugnb model"): load_model(tmp_path)

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
