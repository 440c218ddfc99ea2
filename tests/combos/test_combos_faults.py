"""Degenerate profiles, queries, references, pairs, models and kept predictors: missing, refused or said, and never a number made of nothing."""
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from drugnb.combos import calibrate, combine, connect, held_out, mixed, null, pairs, predict
from drugnb.combos.connect import METHODS, ncs, permutation_p, query_drugs, score_by, tau
from drugnb.combos.data import Effects, simulate_combos
from drugnb.core.settings import InputError


def campaign_of(names, cases, short):
    "All cases; but for the first few they are among the slow tests."
    return pytest.mark.parametrize(names, [c if i < short else pytest.param(c, marks=pytest.mark.slow) for i, c in enumerate(cases)])

ALL, CORRELATIONS = ["wtcs", "xsum", "pearson", "ks", "xcos", "zhang", "cosine", "spearman"], ["cosine", "pearson", "spearman"]
GENES = [f"G{i:02d}" for i in range(24)]

def library(seed=0, n=12):
    return pd.DataFrame(np.random.default_rng(seed).standard_normal((n, len(GENES))), [f"drug{i:02d}" for i in range(n)], GENES)

def signature(seed=1): return pd.Series(np.random.default_rng(seed).standard_normal(len(GENES)), GENES, name="q")

def asked(query, profiles, method, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return query_drugs(query, profiles, method, n_top=8, n_extreme=5, **{"permutations": 99, **how})

def told(table):
    "Rows that claim something: all of their numbers are finite, p is no smaller than permutations allow."
    rows = table[table.score.notna()]
    assert np.isfinite(rows.select_dtypes("number").to_numpy()).all()
    return rows

# ---- profiles and queries

FLAT = {"of one value": 2.5, "without a value": np.nan, "of zeros": 0.0, "of one huge value": 1e19, "of one tiny value": 1e-30}

@campaign_of("method", ALL, 2)
@campaign_of("kind", FLAT, 2)
def test_a_profile_that_orders_no_genes_has_no_score_and_a_note_says_so(method, kind):
    profiles = library()
    profiles.loc["still"] = FLAT[kind]
    table = asked(signature(), profiles, method)
    if method == "cosine" and FLAT[kind] > 0:  # all genes up is a direction
        assert "still" in set(told(table).drug)
        return
    assert "still" not in set(told(table).drug)
    assert any("still" in note for note in table.attrs["notes"])
    assert len(told(table)) == 12

@campaign_of("method", ALL, 2)
def test_what_others_get_does_not_depend_on_a_profile_without_a_score(method):
    profiles = library()
    alone = asked(signature(), profiles, method)
    profiles.loc["still"] = 0.0
    beside = told(asked(signature(), profiles, method)).reset_index(drop=True)
    pd.testing.assert_frame_equal(beside[alone.columns.drop(["p", "p_adjusted"])], alone[alone.columns.drop(["p", "p_adjusted"])])

@campaign_of("method", ALL, 3)
@campaign_of("value", [3.0, 0.0, -1e19], 1)
def test_a_query_of_one_value_is_refused_where_it_says_nothing(method, value):
    query = pd.Series(value, GENES, name="level")
    if method not in ("ks", "wtcs", "pearson", "spearman") and value:  # all genes up is a direction
        assert np.isfinite(told(asked(query, library(), method)).score).all()
        return
    with pytest.raises(InputError, match="level"): asked(query, library(), method)

@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_correlation_of_one_or_two_genes_is_refused(method, n):
    query = signature()[:n].rename("few")
    if n == 1: query = pd.Series([1.5, 0.5], ["G00", "absent"], name="few")
    with pytest.raises(InputError, match="few"): asked(query, library(), method)

@campaign_of("method", ALL, 2)
def test_a_gene_that_no_profile_has_a_value_of_is_not_found(method):
    profiles = library()
    profiles[GENES[:6]] = np.nan
    table = asked(signature(), profiles, method)
    assert table.attrs["found"]["q"] == 18/24 and set(table.attrs["genes"]["q"]["lost"]) == set(GENES[:6])

@pytest.mark.parametrize("method", ALL)
def test_a_library_without_a_value_is_refused(method):
    with pytest.raises(InputError): asked(signature(), library()*np.nan, method)

@campaign_of("method", ["xsum", *(m for m in ALL if m != "xsum")], 1)
@campaign_of("scale", [1e-30, 1e19, 1e-12, 1e60], 2)
def test_scores_do_not_depend_on_units(method, scale):
    plain, scaled = asked(signature(), library(), method), asked(signature()*scale, library()*scale, method)
    unit = scale if method == "xsum" else 1
    np.testing.assert_allclose(scaled.score/unit, plain.score, rtol=1e-9)
    np.testing.assert_array_equal(scaled.p, plain.p)

@campaign_of("method", ALL, 2)
def test_one_gene_of_1e19_in_one_profile_leaves_the_other_profiles_as_they_are(method):
    profiles = library()
    before = asked(signature(), profiles, method, permutations=0).set_index("drug").score
    profiles.iloc[3, 5] = 1e19
    after = asked(signature(), profiles, method, permutations=0).set_index("drug").score
    same = profiles.index.drop("drug03")
    np.testing.assert_allclose(after[same], before[same], rtol=1e-12)
    assert np.isfinite(after["drug03"])

def test_the_null_takes_each_profile_in_its_own_size():
    rng = np.random.default_rng(0)
    profiles = np.outer(rng.standard_normal(200), rng.standard_normal(60)) + 0.2*rng.standard_normal((200, 60))
    plain = null.gene_structure(profiles)
    profiles[0, 0] = 1e19
    assert len(null.gene_structure(profiles).block) >= len(plain.block) >= 1

@campaign_of("method", ALL, 2)
def test_twins_share_score_rank_and_p(method):
    profiles = library()
    profiles.loc["twin"] = profiles.loc["drug04"]
    table = asked(signature(), profiles, method).set_index("drug")
    for column in ("rank", "rank_mimic", "p"): assert table[column]["twin"] == table[column]["drug04"]
    assert table.score["twin"] == pytest.approx(table.score["drug04"], rel=1e-12)

@pytest.mark.parametrize("method", ALL)
def test_a_score_of_nothing_has_no_p(method):
    profiles = library().to_numpy().copy()
    profiles[2] = 0
    p = permutation_p(signature().to_numpy(), profiles, score_by(method, 8, 5), 50)
    assert np.isnan(p[2]) and np.isfinite(np.delete(p, 2)).all() and (np.delete(p, 2) > 0).all()

@pytest.mark.parametrize("method", CORRELATIONS)
def test_correlations_agree_with_scipy_or_are_both_missing(method):
    rng = np.random.default_rng(5)
    for kind in range(40):
        x, v = rng.standard_normal((2, 9))*10.0**rng.integers(-15, 15, 2)[:, None]
        if kind % 4 == 1: v[:] = v[0]
        if kind % 4 == 2: x[:] = 0
        if kind % 4 == 3: x[rng.random(9) < 0.4] = np.nan
        has = ~np.isnan(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if method == "cosine": r = x[has] @ v[has]/np.sqrt((x[has] @ x[has])*(v[has] @ v[has]))
            else: r = {"pearson": pearsonr, "spearman": spearmanr}[method](x[has], v[has])[0] if has.sum() > 2 else np.nan
        np.testing.assert_allclose(METHODS[method](x[None], v[None])[0, 0], r, rtol=1e-9, atol=1e-12)

def test_queries_that_lack_different_genes_are_missing_alike():
    x = np.vstack([signature(i) for i in range(4)])
    x[0, 3:], x[1, :20], x[2, 5] = np.nan, np.nan, np.nan
    x[0, :3] = 2.0
    v = library().to_numpy().copy()
    v[1, 20:] = 7.0
    for method in ("pearson", "spearman"):
        together = METHODS[method](x, v)
        apart = np.vstack([METHODS[method](row[None], v) for row in x])
        np.testing.assert_allclose(together, apart, atol=1e-12)
        assert np.isnan(together[0]).all() and np.isnan(together[1, 1]) and np.isfinite(together[2:]).all()

# ---- normalised scores, tau, references

def test_a_missing_score_takes_no_part_in_normalising():
    scores = np.array([[0.5, np.nan, -0.2, 0.1]])
    np.testing.assert_allclose(connect.lamb(scores), [[1, np.nan, -1, 0.2]])
    np.testing.assert_allclose(ncs(scores), [[0.5/0.3, np.nan, -1, 0.1/0.3]])
    np.testing.assert_allclose(ncs(scores, ["a", "a", "b", "b"]), [[1, np.nan, -1, 1]])

def test_tau_counts_references_that_have_a_score():
    own, reference = np.array([[0.5, np.nan, -0.5]]), np.array([[0.1, 0.2, np.nan], [0.9, 0.2, np.nan], [np.nan, 0.2, np.nan]])
    np.testing.assert_allclose(tau(own, reference), [[50, np.nan, np.nan]])

@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_references_give_no_tau_and_a_note(n):
    references = pd.DataFrame([signature(i + 5) for i in range(n)], [f"r{i}" for i in range(n)], GENES)
    if not n:
        with pytest.raises(InputError): asked(signature(), library(), "wtcs", references=references)
        return
    table = asked(signature(), library(), "wtcs", references=references)
    assert table.tau.isna().all() and any("tau is left out" in note for note in table.attrs["notes"])

@pytest.mark.parametrize("n", [0, 1])
def test_untreated_wells_that_are_none_or_one_are_no_calibration(n):
    with pytest.raises(InputError): calibrate.calibration(library(), library(3)[:n], ["pearson"], 20)

def test_one_profile_is_a_null_without_directions():
    assert len(null.gene_structure(library()[:1].to_numpy()).block) == 0
    assert len(null.gene_structure(np.zeros((3, 24))).block) == 0

# ---- pairs

@pytest.mark.parametrize("method", ["pearson", "cosine"])
def test_drugs_that_cancel_are_a_pair_without_a_score(method):
    profiles = library(n=6)
    profiles.loc["against"] = -profiles.loc["drug02"]
    table = pairs.query_pairs(signature(), profiles, top=100, method=method)
    assert np.isfinite(table.score).all() and (table.score != 0).all() and len(table) == 20
    assert not ((table.drug_a == "drug02") & (table.drug_b == "against") | (table.drug_a == "against") & (table.drug_b == "drug02")).any()
    assert any("no score" in note for note in table.attrs["notes"])
    assert table["rank"].tolist() == list(range(1, 21)) and table.rank_mimic.tolist() == list(range(20, 0, -1))

@pytest.mark.parametrize("method", ["pearson", "cosine"])
def test_pairs_of_a_flat_query_are_refused(method):
    with pytest.raises(InputError): pairs.query_pairs(pd.Series(0.0, GENES, name="q"), library(), method=method)

@pytest.mark.parametrize("genes", [-3, 1, 2])
def test_too_few_genes_for_pairs_are_refused(genes):
    with pytest.raises(InputError): pairs.query_pairs(signature(), library(), genes=genes)

class Spoilt:
    "A model whose predictions are no numbers."
    def __init__(self, value=np.nan): self.value = value
    def get_params(self, deep=True): return {"value": self.value}
    def set_params(self, **how): return self
    def fit(self, effects, measured, groups=None): return self
    def predict(self, effects): return np.full(effects.a.shape, self.value)

def test_a_reranking_without_scores_is_refused():
    table = pairs.query_pairs(signature(), library(), top=5)
    with pytest.raises(InputError): pairs.rerank(table, signature(), library(), Spoilt())

# ---- models of pairs

@pytest.fixture(scope="module")
def set_of_pairs(): return simulate_combos(n_pairs=24, n_studies=6, n_genes=30, n_drugs=12, n_mechanisms=4, n_queries=1, seed=4)

@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_whose_predictions_are_no_numbers_is_skipped_and_said(set_of_pairs, value):
    skipped = []
    splits = held_out.study_splits(set_of_pairs.pairs, 3, note=print)
    tallies, _ = held_out.held_out(set_of_pairs.effects, set_of_pairs.measured, splits, {"spoilt": Spoilt(value), "sum": combine.Sum()},
                                   skip=lambda *said: skipped.append(said))
    assert set(tallies.model) == {"sum"} and {name for _, name, _ in skipped} == {"spoilt"} and "finite" in skipped[0][2]
    assert np.isfinite(tallies[held_out.SUMS].to_numpy()).all()

@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_candidate_whose_predictions_are_no_numbers_is_none(set_of_pairs, value, monkeypatch):
    monkeypatch.setattr(predict, "pair_models", lambda names, n, seed: {"spoilt": Spoilt(value), "sum": combine.Sum()})
    said = []
    made = predict.make_predictor(set_of_pairs, ("spoilt", "sum"), 3, note=said.append)
    assert made.name == "sum" and any("spoilt is no candidate" in s for s in said)

SHIFTS = {"plain": (1, 0), "tiny": (1e-12, 0), "huge": (1e9, 0), "shifted": (1, 1e6)}

def scaled_effects(combos, kind):
    scale, shift = SHIFTS[kind]
    rng = np.random.default_rng(0)
    up = shift*(rng.random(len(combos.pairs)) < 0.5)[:, None]
    one = Effects(combos.single_a*scale + up, combos.single_b*scale)
    return one, combos.measured.to_numpy(float)*scale + up

@pytest.mark.parametrize("kind", SHIFTS)
@pytest.mark.parametrize("model", [combine.ScaledSum(), combine.PairRidge(alphas=()), combine.PairRidge(folds=3), mixed.MixedModel(folds=3)],
                         ids=["scaled sum", "lines", "ridge", "mixed"])
def test_models_of_pairs_predict_finite_numbers_on_any_scale(set_of_pairs, kind, model):
    effects, y = scaled_effects(set_of_pairs, kind)
    predicted = model.fit(effects, y).predict(effects)
    assert np.isfinite(predicted).all()
    error = np.sqrt(np.mean((predicted - y)**2))
    assert error < 0.9*np.sqrt(np.mean((y - y.mean(0))**2))

@pytest.mark.parametrize("kind", ["tiny", "huge"])
@pytest.mark.parametrize("model", [combine.ScaledSum(), combine.PairRidge(alphas=()), combine.PairRidge(folds=3), mixed.MixedModel(folds=3)],
                         ids=["scaled sum", "lines", "ridge", "mixed"])
def test_models_of_pairs_do_not_depend_on_units(set_of_pairs, kind, model):
    scale = SHIFTS[kind][0]
    plain, scaled = (model.fit(*given).predict(given[0]) for given in (scaled_effects(set_of_pairs, k) for k in ("plain", kind)))
    np.testing.assert_allclose(scaled/scale, plain, rtol=1e-6, atol=1e-6)

def test_scaled_sum_is_least_squares_through_the_origin(set_of_pairs):
    from sklearn.linear_model import LinearRegression
    effects, y = scaled_effects(set_of_pairs, "shifted")
    total = (effects.a + effects.b).ravel()
    found = LinearRegression(fit_intercept=False).fit(total[:, None], y.ravel()).coef_[0]
    assert combine.ScaledSum().fit(effects, y).factor_ == pytest.approx(found, rel=1e-9)

@pytest.mark.parametrize("shift", [0, 1e6, 1e9])
def test_lines_without_shrinkage_are_those_of_least_squares(shift):
    from sklearn.linear_model import LinearRegression
    rng = np.random.default_rng(0)
    total = rng.standard_normal((30, 5)) + shift
    y = total*rng.standard_normal(5) + rng.standard_normal((30, 5))
    found = combine.lines(total, y, 0)
    for g in range(5):
        one = LinearRegression().fit(total[:, [g]] - shift, y[:, g])
        assert found.slope[g] == pytest.approx(one.coef_[0], rel=1e-6)

def test_identical_pairs_leave_models_finite():
    x = np.tile(np.arange(1.0, 7.0), (8, 1))
    effects, y = Effects(x, 2*x), 3*x
    for model in (combine.ScaledSum(), combine.PairRidge(folds=3), mixed.MixedModel(folds=3), combine.Stack([combine.Sum()], folds=3, leaf=2)):
        assert np.isfinite(model.fit(effects, y).predict(effects)).all()

@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_variances_that_are_none_are_refused_or_unknown(set_of_pairs, value):
    effects, y = set_of_pairs.effects, set_of_pairs.measured.to_numpy(float)
    spoilt = effects._replace(variance_a=np.full(y.shape, value), variance_b=np.full(y.shape, value))
    model = combine.Stack([combine.Sum()], folds=3)
    if value < 0 or np.isinf(value):
        with pytest.raises(InputError): model.fit(spoilt, y)
    else: assert np.isfinite(model.fit(spoilt, y).predict(spoilt)).all()

# ---- held out

def test_two_folds_two_drugs_and_one_study_are_defined_or_said():
    combos = simulate_combos(n_pairs=4, n_studies=1, n_genes=20, n_drugs=5, n_mechanisms=2, n_queries=1, seed=0)
    said = []
    splits = held_out.study_splits(combos.pairs, 2, note=said.append)
    assert "by pair" in splits and "by study" not in splits and any("by study" in s for s in said)
    skipped = []
    tallies, _ = held_out.held_out(combos.effects, combos.measured, {"by pair": splits["by pair"]}, held_out.pair_models("sum,lines,ridge"),
                                   skip=lambda *why: skipped.append(why))
    table = held_out.pair_scores(tallies, combos.pairs, repeats=20)
    assert np.isfinite(table[["rmse", "spearman"]].to_numpy()).all()

def test_a_measured_effect_that_does_not_vary_has_no_rank_correlation():
    one, other = np.ones((1, 6)), np.arange(6.0)[None]
    assert np.isnan(held_out.rank_correlation(one, other)[0])  # the truth does not vary: there is nothing to rank
    assert held_out.rank_correlation(other, one)[0] == 0  # a constant prediction ranks nothing

def test_medians_pass_over_what_is_missing():
    values = np.array([0.2, np.nan, 0.4])
    found = held_out.weighted_median(values, np.array([[1, 1, 1], [0, 5, 1], [0, 1, 0]]))
    np.testing.assert_array_equal(found, [0.2, 0.4, np.nan])

@pytest.mark.parametrize("kind", ["effects of 0", "one pair", "no pair of a size"])
def test_scores_of_pairs_without_effects_are_missing_not_0(kind):
    measured = np.zeros((3, 5)) if kind == "effects of 0" else np.arange(15.0).reshape(3, 5)
    classes = held_out.size_classes(measured)[0]
    tallies = held_out.tally(measured, measured + 1, classes)
    tallies = tallies.assign(pair=np.array(["a + b", "b + c", "c + d"])[tallies.pair], fold=0, split="by pair", model="sum")
    if kind == "no pair of a size": tallies = tallies[tallies["size"] < 0]
    about = pd.DataFrame({"drug_a": ["a", "b", "c"], "drug_b": ["b", "c", "d"]}, ["a + b", "b + c", "c + d"])
    if kind == "one pair": tallies = tallies[tallies.pair == "a + b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        if not len(tallies):
            with pytest.raises(InputError): held_out.pair_scores(tallies, about, repeats=20)
            return
        table = held_out.pair_scores(tallies, about, repeats=20)
    if kind == "effects of 0": assert np.isnan(table.accuracy.iloc[0]) and np.isnan(table.spearman.iloc[0])
    if kind == "one pair": assert table[["rmse_low", "rmse_high"]].isna().all(axis=None)  # one pair has no interval

# ---- networks

def test_a_network_whose_weights_overflow_says_so():
    torch = pytest.importorskip("torch")
    from drugnb.combos.network import SwapNetwork
    rng = np.random.default_rng(0)
    effects, y = Effects(rng.standard_normal((8, 6)), rng.standard_normal((8, 6))), rng.standard_normal((8, 6))
    for how in (dict(rate=(1e30, 1e30), momentum=(0.9, 0.9)), dict(rate=(np.nan, np.nan)), dict(decay=1e38, momentum=(0.9, 0.9))):
        with pytest.raises(InputError, match="diverged|lower"): SwapNetwork(steps=40, folds=0, members=1, **how).fit(effects, y)
    assert torch.is_grad_enabled()

@campaign_of("scale", [0.0, 1e-30, 1e19], 0)
def test_a_network_learns_on_any_scale_or_says_why_not(scale):
    pytest.importorskip("torch")
    from drugnb.combos.network import SwapNetwork
    rng = np.random.default_rng(0)
    effects = Effects(rng.standard_normal((8, 6))*scale, rng.standard_normal((8, 6))*scale)
    y = (effects.a + effects.b)*0.7
    try: predicted = SwapNetwork(steps=30, folds=2, members=1).fit(effects, y).predict(effects)
    except InputError: return
    assert np.isfinite(predicted).all() and np.abs(predicted - y).max() <= 2*np.abs(y).max() + 1e-300

# ---- kept predictors

@pytest.fixture(scope="module")
def predictor(set_of_pairs): return predict.make_predictor(set_of_pairs, ("scaled sum", "lines", "ridge"), 3, note=lambda s: None)

def rewritten(folder, change=None, arrays=None):
    "A kept predictor with some of its text and arrays changed, and digests that fit."
    import hashlib
    text, raw = (folder/name for name in predict.FILES)
    packed = json.loads(text.read_text())
    with np.load(raw) as file: held = dict(file)
    if change: change(packed)
    if arrays: arrays(held)
    with raw.open("wb") as f: np.savez_compressed(f, **held)
    packed["arrays"] = hashlib.sha256(raw.read_bytes()).hexdigest()
    text.write_text(json.dumps(packed))

def spoilt_array(name, how):
    def change(held): held[name] = how(held[name])
    return change

def with_first(value):
    def how(a):
        a = np.array(a, float)
        a.flat[0] = value
        return a
    return how

def part_of(packed, name): return packed["calibrations"]["values"]["0"]["fields"][name]

TEXTS = {
    "limit NaN": lambda p: p.update(limit={"float": "nan"}), "limit infinite": lambda p: p.update(limit={"float": "inf"}),
    "limit negative": lambda p: p.update(limit=-1.0), "limit text": lambda p: p.update(limit="far"), "limit null": lambda p: p.update(limit=None),
    "a gene twice": lambda p: p["genes"].__setitem__(0, p["genes"][1]), "a gene less": lambda p: p["genes"].pop(),
    "a gene that is a number": lambda p: p["genes"].__setitem__(0, 3), "genes as text": lambda p: p.update(genes="ABC"),
    "a treatment twice": lambda p: p["treatments"].__setitem__(0, p["treatments"][1]), "a treatment less": lambda p: p["treatments"].pop(),
    "no calibrations": lambda p: p.update(calibrations=None), "calibrations as a list": lambda p: p.update(calibrations=[1, 2]),
    "another case": lambda p: p["calibrations"]["keys"].__setitem__(0, 7),
    "nearest NaN": lambda p: part_of(p, "line") and p["calibrations"]["values"]["0"]["fields"].update(nearest={"float": "nan"}),
    "nearest negative": lambda p: p["calibrations"]["values"]["0"]["fields"].update(nearest=-1.0),
    "no name": lambda p: p.update(name=None),
    "no measured pairs": lambda p: p.update(measured=[]), "measured as numbers": lambda p: p.update(measured=[1, 2]),
    "unknown kind": lambda p: p["model"].update(kind="Oracle"), "no fitted values": lambda p: p["model"].update(fitted={"keys": [], "values": {}}),
    "a key more": lambda p: p.update(more=1), "a key less": lambda p: p.pop("limit"), "no model": lambda p: p.pop("model"),
    "a list": lambda p: p.clear(), "an array that is not there": lambda p: p.update(profiles={"array": "elsewhere"}),
    "profiles as a number": lambda p: p.update(profiles=3.0), "profiles as null": lambda p: p.update(profiles=None),
    "another layout": lambda p: p.update(layout=2), "layout as text": lambda p: p.update(layout="1"),
    "chosen_by as a number": lambda p: p.update(chosen_by=3), "key as a list": lambda p: p.update(key=[1]),
    "parameters of another kind": lambda p: p["model"].update(parameters={"keys": ["zeal"], "values": {"zeal": 1}}),
}
ARRAYS = {
    "profiles NaN": spoilt_array("profiles", with_first(np.nan)), "profiles infinite": spoilt_array("profiles", with_first(np.inf)),
    "profiles narrower": spoilt_array("profiles", lambda a: a[:, :-1]), "profiles shorter": spoilt_array("profiles", lambda a: a[:-1]),
    "profiles flat": spoilt_array("profiles", lambda a: a.ravel()), "profiles as text": spoilt_array("profiles", lambda a: a.astype(str)),
    "profiles complex": spoilt_array("profiles", lambda a: a.astype(complex)), "profiles true or false": spoilt_array("profiles", lambda a: a > 0),
    "radii NaN": spoilt_array("calibrations.0.radii", with_first(np.nan)), "radii negative": spoilt_array("calibrations.0.radii", lambda a: -a),
    "radii falling": spoilt_array("calibrations.0.radii", lambda a: a[::-1]), "radii shorter": spoilt_array("calibrations.0.radii", lambda a: a[:-1]),
    "usual negative": spoilt_array("calibrations.0.usual", lambda a: -a), "usual NaN": spoilt_array("calibrations.0.usual", with_first(np.nan)),
    "usual shorter": spoilt_array("calibrations.0.usual", lambda a: a[:-1]), "line NaN": spoilt_array("calibrations.0.line", with_first(np.nan)),
    "line infinite": spoilt_array("calibrations.0.line", with_first(np.inf)),
    "line longer": spoilt_array("calibrations.0.line", lambda a: np.r_[a, 1]),
    "coverage above 1": spoilt_array("calibrations.0.coverage", with_first(1.5)),
    "coverage shorter": spoilt_array("calibrations.0.coverage", lambda a: a[:1]),
}

def refused(folder, singles):
    "Whether a kept predictor is refused at loading."
    with pytest.raises(InputError) as said: predict.load_pair_model(folder)
    assert str(said.value).count("\n") == 0 and "pair_model.json" in str(said.value)

@campaign_of("kind", TEXTS, 8)
def test_a_kept_predictor_with_a_spoilt_text_is_refused(predictor, set_of_pairs, tmp_path, kind):
    predict.save_pair_model(predictor, tmp_path)
    rewritten(tmp_path, TEXTS[kind])
    refused(tmp_path, set_of_pairs.singles)

@campaign_of("kind", ARRAYS, 6)
def test_a_kept_predictor_with_a_spoilt_array_is_refused(predictor, set_of_pairs, tmp_path, kind):
    predict.save_pair_model(predictor, tmp_path)
    rewritten(tmp_path, arrays=ARRAYS[kind])
    refused(tmp_path, set_of_pairs.singles)

def test_every_number_of_a_kept_model_is_looked_at(predictor, tmp_path):
    predict.save_pair_model(predictor, tmp_path)
    whole = [(tmp_path/name).read_bytes() for name in predict.FILES]
    with np.load(tmp_path/predict.FILES[1]) as file: names = [k for k in file.files if k.startswith("fitted") and file[k].size]
    assert len(names) >= 3
    for name in names:
        for at, raw in zip(predict.FILES, whole, strict=True): (tmp_path/at).write_bytes(raw)
        rewritten(tmp_path, arrays=spoilt_array(name, with_first(np.nan)))
        with pytest.raises(InputError): predict.load_pair_model(tmp_path)

def test_a_kept_predictor_that_is_whole_predicts_the_same(predictor, set_of_pairs, tmp_path):
    predict.save_pair_model(predictor, tmp_path)
    loaded = predict.load_pair_model(tmp_path)
    one, two = (predict.predict_pairs(set_of_pairs.singles, set_of_pairs.pairs[["a", "b"]].set_axis(["drug_a", "drug_b"], axis=1), p)
                for p in (predictor, loaded))
    pd.testing.assert_frame_equal(one, two)
    assert (one.low <= one.effect).all() and (one.effect <= one.high).all()

@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0])
def test_a_domain_whose_limit_is_none_leaves_every_pair_outside(predictor, set_of_pairs, value):
    from dataclasses import replace
    table = predict.predict_pairs(set_of_pairs.singles.iloc[:4] + 1, None, replace(predictor, limit=value))
    assert table.outside_domain.all()

@pytest.mark.parametrize("kind", ["without a value", "mostly without values"])
def test_singles_without_values_are_refused_or_outside(predictor, set_of_pairs, kind):
    singles = set_of_pairs.singles.iloc[:5].copy()
    singles.iloc[2, (0 if kind == "without a value" else 10):] = np.nan
    singles.iloc[:, 25:] = np.nan
    try: table = predict.predict_pairs(singles, None, predictor)
    except InputError: return
    lost = (table.drug_a == singles.index[2]) | (table.drug_b == singles.index[2])
    assert table.outside_domain[lost].all() and table.attrs["genes_found"] < 1
    assert table[["low", "high", "expected_error"]][lost].isna().all(axis=None)
    assert any(singles.index[2] in note for note in table.attrs["notes"])

def test_an_empty_matrix_of_singles_is_refused(predictor, set_of_pairs):
    with pytest.raises(InputError): predict.predict_pairs(set_of_pairs.singles*np.nan, None, predictor)

@pytest.mark.parametrize("level", [np.nan, np.inf, -1, 0, 1, 0.3])
def test_a_level_that_is_none_is_refused(predictor, set_of_pairs, level):
    with pytest.raises(InputError): predict.predict_pairs(set_of_pairs.singles, None, predictor, level)

def test_one_drug_alone_has_no_domain():
    assert np.isnan(predict.domain_limit(np.ones((2, 3)), np.array(["a", "a"])))

# ---- sentences

def test_a_ranking_without_scores_does_not_say_that_no_drug_reverses():
    table = pd.DataFrame({"query": "q", "drug": ["a", "b"], "score": np.nan})
    assert "No drug reverses" not in connect._ranking_title(table, 0.05)

def test_adjusted_p_that_are_missing_are_no_failures_to_reverse():
    table = pd.DataFrame({"query": "q", "drug": ["a", "b"], "score": [-0.5, 0.2], "p_adjusted": np.nan})
    assert "0 of 2" not in connect._ranking_title(table, 0.05)

# ---- what small changes of the code would leave unnoticed

def test_intervals_come_from_errors_that_had_no_say_in_the_choice(set_of_pairs):
    names = ("scaled sum", "mean pair")
    made = predict.make_predictor(set_of_pairs, names, 3, note=lambda s: None)
    models, y = held_out.pair_models(",".join(names)), set_of_pairs.measured.to_numpy(float)
    cases = predict.case_splits(set_of_pairs.pairs, 3, 0, lambda s: None)
    def errors(splits, groups): return {n: predict.left_out(m, set_of_pairs.effects, y, groups, splits) for n, m in models.items()}
    tried = {new: errors(*case) for new, case in cases.items()}
    best, honest = predict.chosen_elsewhere(tried[1])
    assert made.name == best and {0, 1} <= {*made.calibrations}
    for new, c in made.calibrations.items():
        expected = predict.calibrate(honest if new == 1 else tried[new][best])
        np.testing.assert_allclose(c.radii, expected.radii)
        np.testing.assert_allclose(c.usual, expected.usual)
