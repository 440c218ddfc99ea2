"""Models of pairs, and how they are judged: known truth, symmetry, leaks, real data, bad input."""
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor

from drugnb.combos.combine import (
    Average,
    MeanPair,
    PairRidge,
    ScaledSum,
    Stack,
    Stronger,
    Sum,
    pair_splits,
    strangers,
)
from drugnb.combos.data import assemble_combos, read_combos, simulate_combos
from drugnb.combos.held_out import (
    SIZES,
    figure_by_size,
    held_out,
    pair_models,
    pair_scores,
    size_classes,
    study_splits,
    tally,
)
from drugnb.core.settings import InputError


@pytest.fixture(scope="module")
def combos(): return simulate_combos(n_pairs=40, n_studies=12, n_genes=60, n_drugs=14, n_mechanisms=5, n_queries=2, seed=3)

@pytest.fixture(scope="module")
def melanoma(data):
    if not (data/"combos").is_dir(): pytest.skip("the melanoma tables are not beside the others")
    return read_combos(data/"combos")

def arrays(c): return c.single_a, c.single_b, c.measured.to_numpy(float)
def drugs(c): return c.pairs[["drug_a", "drug_b"]].to_numpy(str)
MODELS = [MeanPair(), Stronger(), Average(), Sum(), ScaledSum(), PairRidge(alphas=()), PairRidge(), Stack(folds=4, rounds=10)]
named = pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{type(m).__name__}{len(m.get_params())}")

# models

@named
def test_a_model_is_exactly_symmetric_repeats_and_keeps_its_parameters(model, combos):
    a, b, y = arrays(combos)
    v = combos.variance_a, combos.variance_b
    fitted = clone(model).fit(a, b, y, drugs(combos), *v)
    there = fitted.predict(a, b, *v)
    assert np.array_equal(there, fitted.predict(b, a, *v[::-1]))
    assert np.array_equal(there, clone(model).fit(a, b, y, drugs(combos), *v).predict(a, b, *v))
    some = np.random.default_rng(0).permutation(len(a))
    np.testing.assert_allclose(fitted.predict(a[some], b[some], v[0][some], v[1][some]), there[some], atol=1e-9)

@named
def test_fitting_on_exchanged_drugs_is_fitting_on_the_same_pairs(model, combos):
    a, b, y = arrays(combos)
    v = combos.variance_a, combos.variance_b
    turn = np.random.default_rng(1).random(len(a)) < 0.5
    def exchanged(u, w): return np.where(turn[:, None], w, u)
    one = clone(model).fit(a, b, y, drugs(combos), *v)
    other = clone(model).fit(exchanged(a, b), exchanged(b, a), y, drugs(combos)[:, ::-1], exchanged(*v), exchanged(*v[::-1]))
    np.testing.assert_allclose(one.predict(a, b, *v), other.predict(a, b, *v), atol=1e-6)

@named
def test_wrong_shapes_and_values_are_named(model, combos):
    a, b, y = arrays(combos)
    with pytest.raises(InputError, match="of one shape"): clone(model).fit(a, b[:-1], y)
    with pytest.raises(InputError, match="pair holds missing"): clone(model).fit(a, b, np.where(y == y[0, 0], np.nan, y))

def test_lines_are_the_shrunken_least_squares_lines_of_each_gene():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30, 4))
    y = (a + b)*[0.2, 0.5, 0.8, 1] + [1, 2, 3, 4] + 0.1*rng.normal(size=(30, 4))
    s = a + b - (a + b).mean(0)
    free, stiff = (PairRidge(shrinkages=(k,), alphas=()).fit(a, b, y).lines_ for k in (0, 1e12))
    np.testing.assert_allclose(free[2], [np.polyfit(s[:, g], y[:, g], 1)[0] for g in range(4)], atol=1e-10)
    np.testing.assert_allclose(stiff[2], (s*(y - y.mean(0))).sum()/(s**2).sum(), atol=1e-9)
    assert np.allclose(PairRidge(shrinkages=(1,), alphas=()).fit(a, b, y).lines_[2],
                       [(s[:, g] @ y[:, g] + (s**2).sum(0).mean()*stiff[2][0])/((s[:, g]**2).sum() + (s**2).sum(0).mean()) for g in range(4)])

def test_the_kernel_learns_what_a_drug_does_only_in_company():
    rng = np.random.default_rng(0)
    effect, hidden = rng.normal(size=(2, 12, 40))
    hidden[::2] = 0
    i, j = np.triu_indices(12, 1)
    y = effect[i] + effect[j] + hidden[i] + hidden[j]
    pairs = np.array([[f"d{p}", f"d{q}"] for p, q in zip(i, j, strict=True)])
    error = {alphas: [] for alphas in ((), (0.1, 1, 10))}
    for train, test in pair_splits(np.arange(len(y)), 6):
        for alphas in error:
            m = PairRidge(alphas=alphas).fit(effect[i[train]], effect[j[train]], y[train])
            error[alphas].append(np.square(m.predict(effect[i[test]], effect[j[test]]) - y[test]).mean())
    assert np.mean(error[0.1, 1, 10]) < 0.3*np.mean(error[()])
    total = effect[i] + effect[j]
    sums = PairRidge().fit(effect[i], effect[j], total, pairs)
    assert np.allclose(sums.predict(effect[i], effect[j]), total), "where pairs are sums nothing else is learnt"

def test_a_stack_learns_saturation_and_which_effects_to_trust():
    rng = np.random.default_rng(0)
    a, b = 2*rng.normal(size=(2, 60, 80))
    v = np.where(rng.random((2, 60, 80)) < 0.3, np.nan, rng.choice([0.01, 4], (2, 60, 80)))
    y = 3*np.tanh((a + b)/3)
    seen = [x + np.sqrt(np.nan_to_num(s, nan=1))*rng.normal(size=a.shape) for x, s in zip((a, b), v, strict=True)]
    train, test = np.arange(40), np.arange(40, 60)
    error = {}
    trees = Stack(models=[ScaledSum()])
    for name, model, vs in (("scaled", ScaledSum(), (None, None)), ("stack", trees, (None, None)), ("with variances", trees, v)):
        cut = lambda rows, vs=vs: [None if u is None else u[rows] for u in vs]
        m = model.fit(seen[0][train], seen[1][train], y[train], None, *cut(train))
        error[name] = np.square(m.predict(seen[0][test], seen[1][test], *cut(test)) - y[test]).mean()
    assert error["with variances"] < 0.9*error["stack"] and error["stack"] < 0.95*error["scaled"], error

def test_a_stack_without_anything_to_learn_uses_few_rounds():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40, 30))
    assert Stack(models=[Sum()], rounds=30).fit(a, b, a + b + rng.normal(size=a.shape)).rounds_ <= 3

def test_what_a_stack_learns_from_was_predicted_by_models_that_had_not_seen_the_drug(combos):
    seen = []
    class Spy(Average):
        def fit(self, single_a, single_b, pair, groups=None, variance_a=None, variance_b=None):
            self.drugs_ = {*np.ravel(groups)}
            return self
        def predict(self, single_a, single_b, variance_a=None, variance_b=None):
            if len(single_a) < len(a): seen.append((self.drugs_, np.hstack([single_a, single_b])))
            return super().predict(single_a, single_b)
    a, b, y = arrays(combos)
    Stack(models=[Spy()], folds=5, rounds=1).fit(a, b, y, drugs(combos))
    known = {x.tobytes(): {*d} for x, d in zip(np.hstack([a, b]), drugs(combos), strict=True)}
    assert len(seen) == 5 and all(known[x.tobytes()] - learnt for learnt, tested in seen for x in tested)

# splits and scores

def test_splits_leave_out_what_they_say(combos):
    d = drugs(combos)
    for train, test in pair_splits(d, 7): assert not {*d[train].ravel()} & ({*d[test].ravel()} - {*d[train].ravel()}) and not {*train} & {*test}
    for train, test in strangers(d, 4): assert not {*d[train].ravel()} & {*d[test].ravel()}
    assert sorted(np.concatenate([t for _, t in strangers(d, 4)])) == [*range(len(d))]
    splits = study_splits(combos, 5)
    assert [*splits] == ["by pair", "by study", "leaving drugs out", "both drugs new"]
    for train, test in splits["by study"][0]: assert not {*combos.pairs.study.iloc[train]} & {*combos.pairs.study.iloc[test]}

def test_a_split_that_a_set_does_not_allow_is_left_out_with_a_note(capsys):
    profiles = pd.DataFrame(np.eye(7, dtype="f4")[:, :4], list("abcdefg"), ["TP53", "EGFR", "MYC", "JUN"])
    conditions = pd.DataFrame({"drug_a": [*"wxyz", "w", "w", "w"], "drug_b": [None]*4 + [*"xyz"]}, profiles.index)
    splits = study_splits(assemble_combos("", profiles, conditions), 4)
    assert [*splits] == ["by pair"] and capsys.readouterr().out.count("note:") == 3

def test_scores_are_those_of_the_predictions_themselves(combos):
    splits = study_splits(combos, 4)
    tallies, examples = held_out(combos, {"by pair": splits["by pair"]}, pair_models("sum,average"), examples=10**9)
    a, b, y = arrays(combos)
    found = pair_scores(tallies, combos.pairs, repeats=200)
    for name, p in (("sum", a + b), ("average", (a + b)/2)):
        assert np.isclose(found.accuracy[name], (np.sign(p) == np.sign(y))[y != 0].mean())
        assert np.isclose(found.rmse[name], np.sqrt(np.mean((p - y)**2)))
        assert np.isclose(found.slope[name], np.polyfit(p.ravel(), y.ravel(), 1)[0])
        rho = [pd.Series(u).corr(pd.Series(v), method="spearman") for u, v in zip(p, y, strict=True)]
        assert sorted(rho)[len(rho)//2 - 1] - 1e-9 <= found.spearman[name] <= sorted(rho)[len(rho)//2] + 1e-9
    assert found.accuracy_gain["average"] == 0 and found.rmse_gain["average"] < 0 and len(examples) == 2*y.size
    assert (found.rmse_high - found.rmse_low < found.rmse_high_drugs - found.rmse_low_drugs).all(), "pairs share drugs"

def test_intervals_by_pair_are_those_of_drawing_pairs(combos):
    tallies, _ = held_out(combos, {"by pair": study_splits(combos, 4)["by pair"]}, pair_models("sum"))
    found = pair_scores(tallies, combos.pairs, repeats=2000).loc["sum"]
    a, b, y = arrays(combos)
    rng, error = np.random.default_rng(5), np.square(a + b - y).mean(1)
    drawn = [np.sqrt(error[rng.integers(0, len(y), len(y))].mean()) for _ in range(2000)]
    np.testing.assert_allclose([found.rmse_low, found.rmse_high], np.quantile(drawn, [0.025, 0.975]), rtol=0.02)

def test_effects_of_zero_have_no_direction_and_predictions_of_zero_are_wrong():
    y = np.array([[0.0, 0, 1, -1, 2]])
    t = tally(y, np.array([[5.0, 0, 0, -2, 1]]), size_classes(y)[0])
    assert t.right.sum() == 2 and t[t["size"] < 0].n.sum() == 2
    at, sizes = size_classes(np.linspace(-1, 1, 1001)[None])
    assert np.bincount(at[at >= 0]).tolist() == pytest.approx(list(1000*np.diff(SIZES)), abs=2) and (np.diff(sizes) > 0).all()

def test_a_flat_prediction_has_no_slope_and_no_rank_correlation(combos):
    tallies, _ = held_out(combos, {"by pair": study_splits(combos, 4)["by pair"]}, {"zero": PairRidge(alphas=()), "mean pair": MeanPair()})
    flat = tally(np.array([[1.0, 2, 3]]), np.ones((1, 3)), np.zeros((1, 3), int))
    assert flat.spearman.iloc[0] == 0
    assert figure_by_size(tallies.replace({"zero": "sum"}), np.arange(1, 8.0), "by pair", ["sum", "mean pair"]).axes

def test_a_choice_inside_training_does_not_see_the_test_pairs(combos):
    "Spoiling what is tested changes no prediction of it."
    a, b, y = arrays(combos)
    train, test = pair_splits(drugs(combos), 4)[0]
    spoilt = y.copy()
    spoilt[test] = 1e3
    for model in (PairRidge(), Stack(folds=3, rounds=5)):
        p, q = (clone(model).fit(a[train], b[train], t[train], drugs(combos)[train]).predict(a[test], b[test]) for t in (y, spoilt))
        assert np.array_equal(p, q)
    with pytest.raises(InputError, match="no model 'rigde' of pairs"): pair_models("rigde")

# real data

def test_melanoma_leaving_each_drug_out(melanoma):
    "The numbers of the study document for arithmetic, and the aim for what is learned."
    tallies, _ = held_out(melanoma, {"d": study_splits(melanoma, 12)["leaving drugs out"]}, pair_models("mean pair,average,sum,lines,ridge"))
    found = pair_scores(tallies, melanoma.pairs)
    assert np.allclose(found.loc["average", ["accuracy", "rmse"]].astype(float), [0.847, 0.278], atol=5e-4)
    assert np.allclose(found.loc["sum", ["accuracy", "rmse"]].astype(float), [0.847, 0.223], atol=5e-4)
    assert found.accuracy["ridge"] >= 0.870 and found.rmse["ridge"] <= 0.185
    assert found.rmse_gain_high["ridge"] < 0 < found.accuracy_gain_low["ridge"] and found.accuracy["mean pair"] < 0.81

def test_trees_alone_do_not_do_better_on_melanoma(melanoma):
    "A peer: boosted trees on the two effects and the gene's mean, as others would do it."
    a, b, y = arrays(melanoma)
    error = {"trees": 0.0, "ridge": 0.0}
    for train, test in study_splits(melanoma, 12)["leaving drugs out"][0]:
        rows = lambda at, mean: np.stack([np.minimum(a, b)[at], np.maximum(a, b)[at], np.tile(mean, (len(at), 1))], -1).reshape(-1, 3)
        mean = y[train].mean(0)
        trees = HistGradientBoostingRegressor(random_state=0).fit(rows(train, mean), y[train].ravel())
        trees = trees.predict(rows(test, mean)).reshape(len(test), -1)
        error["trees"] += np.square(trees - y[test]).sum()
        ridge = PairRidge().fit(a[train], b[train], y[train], drugs(melanoma)[train]).predict(a[test], b[test])
        error["ridge"] += np.square(ridge - y[test]).sum()
    assert error["ridge"] < error["trees"]
