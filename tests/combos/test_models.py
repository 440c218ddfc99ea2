"""The tables of the combos study, models of pairs, and how they are judged: known truth, symmetry, leaks, real data, bad input."""
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
    choose_rounds,
    cross_fitted,
    kernel_errors,
    line_at,
    lines,
    pair_distances,
    pair_kernel,
    pair_splits,
    strangers,
    tree_features,
)
from drugnb.combos.data import (
    Effects,
    assemble_combos,
)
from drugnb.combos.held_out import (
    SIZES,
    figure_by_size,
    held_out,
    pair_models,
    pair_scores,
    rank_correlation,
    scores_text,
    size_classes,
    study_splits,
    tally,
    weighted_median,
)
from drugnb.core.settings import InputError


def arrays(c): return c.effects, c.measured.to_numpy(float)
def exchanged(e): return Effects(e.b, e.a, e.variance_b, e.variance_a)
def judged(c): return c.effects, c.measured
def drugs(c): return c.pairs[["drug_a", "drug_b"]].to_numpy(str)
MODELS = [MeanPair(), Stronger(), Average(), Sum(), ScaledSum(), PairRidge(alphas=()), PairRidge(), Stack(folds=4, rounds=10)]
named = pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{type(m).__name__}{len(m.get_params())}")

# tables







# models

@named
def test_a_model_is_exactly_symmetric_repeats_and_keeps_its_parameters(model, combos):
    e, y = arrays(combos)
    assert e.variance_a is not None
    given = clone(model)
    fitted = given.fit(e, y, drugs(combos))
    assert fitted is given and repr(fitted.get_params()) == repr(model.get_params())
    there = fitted.predict(e)
    assert np.array_equal(there, fitted.predict(exchanged(e)))
    assert np.array_equal(there, clone(model).fit(e, y, drugs(combos)).predict(e))
    some = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_allclose(fitted.predict(e.rows(some)), there[some], atol=1e-9)

@named
def test_fitting_on_exchanged_drugs_is_fitting_on_the_same_pairs(model, combos):
    e, y = arrays(combos)
    turn = np.random.default_rng(1).random((len(y), 1)) < 0.5
    turned = Effects(*(np.where(turn, w, u) for u, w in zip(e, exchanged(e), strict=True)))
    one = clone(model).fit(e, y, drugs(combos))
    other = clone(model).fit(turned, y, drugs(combos)[:, ::-1])
    np.testing.assert_allclose(one.predict(e), other.predict(e), atol=1e-6)

@named
def test_wrong_shapes_and_values_are_named(model, combos):
    e, y = arrays(combos)
    fitted, short = clone(model).fit(e, y), e._replace(variance_b=e.variance_b[1:])
    fewer, holed = e._replace(b=e.b[:-1]), e._replace(b=np.where(e.b == e.b[0, 0], np.inf, e.b))
    for call, says in (
        (lambda: clone(model).fit(fewer, y), r"one shape, not \(40, 60\), \(39, 60\), \(40, 60\)"),
        (lambda: clone(model).fit(e, y[:, 1:]), "of one shape"),
        (lambda: clone(model).fit(e, np.where(y == y[0, 0], np.nan, y)), "^measured holds missing"),
        (lambda: clone(model).fit(short, y), r"Variances have the shape \(39, 60\) where effects"),
        (lambda: fitted.predict(holed), "^effects.b holds missing or infinite"),
        (lambda: fitted.predict(e._replace(a=e.a[0])), r"not \(60,\), \(40, 60\)"),
    ):
        with pytest.raises(InputError, match=says) as error: call()
        assert "\n" not in str(error.value)

def test_lines_are_the_shrunken_least_squares_lines_of_each_gene():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30, 4))
    y = (a + b)*[0.2, 0.5, 0.8, 1] + [1, 2, 3, 4] + 0.1*rng.normal(size=(30, 4))
    s = a + b - (a + b).mean(0)
    e = Effects(a, b)
    free, stiff = (PairRidge(shrinkages=(k,), alphas=()).fit(e, y).lines_ for k in (0, 1e12))
    np.testing.assert_allclose(free.slope, [np.polyfit(s[:, g], y[:, g], 1)[0] for g in range(4)], atol=1e-10)
    np.testing.assert_allclose(stiff.slope, (s*(y - y.mean(0))).sum()/(s**2).sum(), atol=1e-9)
    mean = (s**2).sum(0).mean()
    half = [(s[:, g] @ y[:, g] + mean*stiff.slope[0])/((s[:, g]**2).sum() + mean) for g in range(4)]
    np.testing.assert_allclose(PairRidge(shrinkages=(1,), alphas=()).fit(e, y).lines_.slope, half)

def test_the_kernel_learns_what_a_drug_does_only_in_company():
    rng = np.random.default_rng(0)
    effect, hidden = rng.normal(size=(2, 12, 40))
    hidden[::2] = 0
    i, j = np.triu_indices(12, 1)
    e = Effects(effect[i], effect[j])
    y = e.a + e.b + hidden[i] + hidden[j]
    pairs = np.array([[f"d{p}", f"d{q}"] for p, q in zip(i, j, strict=True)])
    error = {alphas: [] for alphas in ((), (0.1, 1, 10))}
    for train, test in pair_splits(np.arange(len(y)), 6):
        for alphas in error:
            m = PairRidge(alphas=alphas).fit(e.rows(train), y[train])
            error[alphas].append(np.square(m.predict(e.rows(test)) - y[test]).mean())
    assert np.mean(error[0.1, 1, 10]) < 0.3*np.mean(error[()])
    sums = PairRidge().fit(e, e.a + e.b, pairs)
    assert np.allclose(sums.predict(e), e.a + e.b), "where pairs are sums nothing else is learnt"

def test_held_out_errors_of_kernels_are_those_of_fitting_and_predicting(combos):
    e, y = arrays(combos)
    total, splits, distances = e.a + e.b, pair_splits(drugs(combos), 5), pair_distances(e, e)
    kernels = {length: pair_kernel(distances, length) for length in (3.0, 30.0)}
    found = kernel_errors(kernels, (0.5, 5), total, y, splits, 1)
    for (length, alpha), error in found.items():
        plain = 0
        for tr, te in splits:
            left, k = y - line_at(lines(total[tr], y[tr], 1), total), kernels[length]
            dual = np.linalg.solve(k[np.ix_(tr, tr)] + alpha*np.eye(len(tr)), left[tr])
            plain += np.square(left[te] - k[np.ix_(te, tr)] @ dual).sum()
        assert error == pytest.approx(plain, rel=1e-9)

def test_the_kernel_of_pairs_is_the_sum_over_their_drugs_in_any_order(combos):
    e, _ = arrays(combos)
    k = pair_kernel(pair_distances(e, e), 5.0)
    def alike(u, v): return np.exp(-np.square(u - v).sum()/50)
    plain = [[sum(alike(u[i], v[j]) for u in e[:2] for v in e[:2]) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(k[:4, :4], plain, atol=1e-9)
    assert np.array_equal(k, pair_kernel(pair_distances(exchanged(e), e), 5.0))
    assert np.array_equal(k, pair_kernel(pair_distances(e, exchanged(e)), 5.0))

def test_a_stack_learns_saturation_and_which_effects_to_trust():
    rng = np.random.default_rng(0)
    a, b = 2*rng.normal(size=(2, 60, 80))
    v = np.where(rng.random((2, 60, 80)) < 0.3, np.nan, rng.choice([0.01, 4], (2, 60, 80)))
    y = 3*np.tanh((a + b)/3)
    spread = np.sqrt(np.nan_to_num(v, nan=1))
    seen = [x + s*rng.normal(size=a.shape) for x, s in zip((a, b), spread, strict=True)]
    train, test = np.arange(40), np.arange(40, 60)
    error = {}
    trees, plain = Stack(models=[ScaledSum()]), Effects(*seen)
    ways = {"scaled": (ScaledSum(), plain), "stack": (trees, plain),
            "with variances": (trees, Effects(*seen, *v))}
    for name, (model, e) in ways.items():
        m = model.fit(e.rows(train), y[train])
        error[name] = np.square(m.predict(e.rows(test)) - y[test]).mean()
    assert error["with variances"] < 0.9*error["stack"] and error["stack"] < 0.95*error["scaled"], error

def test_a_stack_without_anything_to_learn_uses_few_rounds():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40, 30))
    assert Stack(models=[Sum()], rounds=30).fit(Effects(a, b), a + b + rng.normal(size=a.shape)).rounds_ <= 3

def test_a_stack_without_trees_is_the_mean_of_its_models(combos):
    e, y = arrays(combos)
    stack = Stack(models=[Sum(), Average(), MeanPair()], rounds=0).fit(e, y)
    assert stack.rounds_ == 0 and stack.trees_ is None
    np.testing.assert_allclose(stack.predict(e), (e.a + e.b + (e.a + e.b)/2 + y.mean(0))/3)

def test_rounds_are_those_with_the_least_error_of_trees_that_did_not_see_the_pair():
    rng = np.random.default_rng(2)
    x, pair = rng.normal(size=(900, 2)), np.repeat(np.arange(30), 30)
    left = np.sign(x[:, 0]) + rng.normal(size=900)
    trees = HistGradientBoostingRegressor(max_iter=12, learning_rate=0.3, early_stopping=False)
    splits = pair_splits(np.arange(30), 3)
    error = []
    for rounds in range(13):
        error.append(0.0)
        for tr, te in splits:
            inside, outside = np.isin(pair, tr), np.isin(pair, te)
            grown = clone(trees).set_params(max_iter=max(rounds, 1)).fit(x[inside], left[inside])
            error[-1] += np.square(left[outside] - (grown.predict(x[outside]) if rounds else 0)).sum()
    assert choose_rounds(trees, x, left, pair, splits) == int(np.argmin(error)) > 0

def test_trees_see_the_smaller_effect_first_and_minus_one_for_an_unknown_variance():
    effects, variances = [[2.0, -1, 1], [0.5, 3, 1]], [[0.1, np.nan, 0.3], [0.2, 0.4, 0.1]]
    e = Effects(*(np.array([x]) for x in effects + variances))
    more = [np.full((1, 3), 7.0)], (np.arange(3.0), np.ones(3))
    seen = tree_features(e, *more)
    first, second, third = seen.tolist()
    assert first == [0.5, 2, 0.2, 0.1, 7, 0, 1] and second == [-1, 3, -1, 0.4, 7, 1, 1]
    assert third == [1, 1, 0.1, 0.3, 7, 2, 1], "equal effects are in order of their variances"
    assert np.array_equal(seen, tree_features(exchanged(e), *more))
    assert (tree_features(Effects(e.a, e.b), [], (np.zeros(3), np.zeros(3)))[:, 2:4] == -1).all()

def test_rows_of_a_cross_fit_are_drawn_about_as_many_as_are_asked_for(combos):
    e, y = arrays(combos)
    splits = pair_splits(np.arange(len(y)), 5)
    x, left, pair = cross_fitted([Sum()], e, y, np.arange(len(y)), splits, 10**9, 0)
    assert len(x) == y.size and np.allclose(np.sort(left), np.sort((y - e.a - e.b).ravel()))
    assert np.array_equal(np.bincount(pair), np.full(len(y), y.shape[1]))
    few = cross_fitted([Sum()], e, y, np.arange(len(y)), splits, 500, 0)
    assert 420 < len(few[0]) == len(few[1]) == len(few[2]) < 580

def test_what_a_stack_learns_from_was_predicted_by_models_that_had_not_seen_the_drug(combos):
    seen = []
    class Spy(Average):
        def fit(self, effects, measured, groups=None):
            self.drugs_ = {*np.ravel(groups)}
            return self
        def predict(self, effects):
            if len(effects.a) < len(y): seen.append((self.drugs_, np.hstack(effects[:2])))
            return super().predict(effects)
    e, y = arrays(combos)
    Stack(models=[Spy()], folds=5, rounds=1).fit(e, y, drugs(combos))
    known = {x.tobytes(): {*d} for x, d in zip(np.hstack(e[:2]), drugs(combos), strict=True)}
    assert len(seen) == 5 and all(known[x.tobytes()] - learnt for learnt, tested in seen for x in tested)

# splits and scores

def test_splits_leave_out_what_they_say(combos):
    d = drugs(combos)
    for train, test in pair_splits(d, 7):
        left_out = {*d[test].ravel()} - {*d[train].ravel()}
        assert all({*names} & left_out for names in d[test]) and not {*train} & {*test}
    for train, test in strangers(d, 4): assert not {*d[train].ravel()} & {*d[test].ravel()}
    assert sorted(np.concatenate([t for _, t in strangers(d, 4)])) == [*range(len(d))]
    splits = study_splits(combos.pairs, 5)
    assert [*splits] == ["by pair", "by study", "leaving drugs out", "both drugs new"]
    study = combos.pairs.study
    for train, test in splits["by study"][0]: assert not {*study.iloc[train]} & {*study.iloc[test]}

def test_a_split_that_a_set_does_not_allow_is_left_out_with_a_note(capsys):
    profiles = pd.DataFrame(np.eye(7, dtype="f4")[:, :4], list("abcdefg"), ["TP53", "EGFR", "MYC", "JUN"])
    drugs_of = {"drug_a": [*"wxyz", "w", "w", "w"], "drug_b": [None]*4 + [*"xyz"]}
    conditions = pd.DataFrame(drugs_of, profiles.index)
    splits = study_splits(assemble_combos("", profiles, conditions).pairs, 4)
    assert [*splits] == ["by pair"] and capsys.readouterr().out.count("is left out") == 3

def test_scores_are_those_of_the_predictions_themselves(combos):
    splits = study_splits(combos.pairs, 4)
    some, models = {"by pair": splits["by pair"]}, pair_models("sum,average")
    tallies, examples = held_out(*judged(combos), some, models, examples=10**9)
    e, y = arrays(combos)
    found = pair_scores(tallies, combos.pairs, repeats=200)
    for name, p in (("sum", e.a + e.b), ("average", (e.a + e.b)/2)):
        assert np.isclose(found.accuracy[name], (np.sign(p) == np.sign(y))[y != 0].mean())
        assert np.isclose(found.rmse[name], np.sqrt(np.mean((p - y)**2)))
        assert np.isclose(found.slope[name], np.polyfit(p.ravel(), y.ravel(), 1)[0])
        rho = [pd.Series(u).corr(pd.Series(v), method="spearman") for u, v in zip(p, y, strict=True)]
        assert sorted(rho)[len(rho)//2 - 1] - 1e-9 <= found.spearman[name] <= sorted(rho)[len(rho)//2] + 1e-9
    assert found.accuracy_gain["average"] == 0 and found.rmse_gain["average"] < 0
    assert len(examples) == 2*y.size
    by_pair, by_drug = found.rmse_high - found.rmse_low, found.rmse_high_drugs - found.rmse_low_drugs
    assert (by_pair < by_drug).all(), "pairs share drugs"

def test_intervals_by_pair_are_those_of_drawing_pairs(combos):
    splits = {"by pair": study_splits(combos.pairs, 4)["by pair"]}
    tallies, _ = held_out(*judged(combos), splits, pair_models("sum"))
    found = pair_scores(tallies, combos.pairs, repeats=2000).loc["sum"]
    e, y = arrays(combos)
    rng, error = np.random.default_rng(5), np.square(e.a + e.b - y).mean(1)
    drawn = [np.sqrt(error[rng.integers(0, len(y), len(y))].mean()) for _ in range(2000)]
    theirs = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([found.rmse_low, found.rmse_high], theirs, rtol=0.02)

def test_effects_of_zero_have_no_direction_and_predictions_of_zero_are_wrong():
    y = np.array([[0.0, 0, 1, -1, 2]])
    t = tally(y, np.array([[5.0, 0, 0, -2, 1]]), size_classes(y)[0])
    assert t.right.sum() == 2 and t[t["size"] < 0].n.sum() == 2
    at, sizes = size_classes(np.linspace(-1, 1, 1001)[None])
    assert np.bincount(at[at >= 0]).tolist() == pytest.approx(list(1000*np.diff(SIZES)), abs=2)
    assert (np.diff(sizes) > 0).all()

def test_a_flat_prediction_has_no_slope_and_no_rank_correlation(combos):
    splits, models = study_splits(combos.pairs, 4), {"zero": PairRidge(alphas=()), "mean pair": MeanPair()}
    tallies, _ = held_out(*judged(combos), {"by pair": splits["by pair"]}, models)
    flat = tally(np.array([[1.0, 2, 3]]), np.ones((1, 3)), np.zeros((1, 3), int))
    assert flat.spearman.iloc[0] == 0
    named_sum = tallies.replace({"zero": "sum"})
    assert figure_by_size(named_sum, np.arange(1, 8.0), "by pair", ["sum", "mean pair"]).axes

def test_a_choice_inside_training_does_not_see_the_test_pairs(combos):
    "Spoiling what is tested changes no prediction of it."
    e, y = arrays(combos)
    train, test = pair_splits(drugs(combos), 4)[0]
    spoilt = y.copy()
    spoilt[test] = 1e3
    for model in (PairRidge(), Stack(folds=3, rounds=5)):
        learnt = [clone(model).fit(e.rows(train), t[train], drugs(combos)[train]) for t in (y, spoilt)]
        assert np.array_equal(*(m.predict(e.rows(test)) for m in learnt))
    with pytest.raises(InputError, match="no model 'rigde' of pairs"): pair_models("rigde")

def test_a_weighted_median_is_that_of_the_values_repeated():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=9), rng.integers(0, 4, (50, 9))
    plain = [np.sort(np.repeat(values, w))[(w.sum() - 1)//2] for w in weights]
    assert np.array_equal(weighted_median(values, weights), plain)

def test_rank_correlation_is_spearmans_with_ties():
    one, other = np.random.default_rng(0).integers(0, 5, (2, 6, 30)).astype(float)
    theirs = [pd.Series(u).corr(pd.Series(v), method="spearman") for u, v in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other), theirs)

def test_scores_are_printed_in_columns():
    spans = {"accuracy": (0.8, 0.7, 0.9), "rmse": (0.25, 0.2, 0.31), "rmse_gain": (-0.1, -0.15, 0.05)}
    ends = "", "_low", "_high"
    given = {score + end: value for score, of in spans.items() for end, value in zip(ends, of, strict=True)}
    table = pd.DataFrame([given, given]).assign(split="by pair", model=["sum", "ridge"], pairs=7)
    table = table.assign(slope=[1, np.nan], spearman=0.5)
    both = "0.800 (0.700 to 0.900)    0.250 (0.200 to 0.310)    "
    assert scores_text(table).split("\n") == [
        "", "by pair: 7 pairs, intervals by pair",
        "  model                directions right (95%)    RMSE (95%)                "
        "RMSE less sum (95%)           slope Spearman",
        f"  sum                  {both}                               1.00     0.50",
        f"  ridge                {both}-0.100 (-0.150 to +0.050)               0.50"]
    assert "-0.100" not in scores_text(table.drop(columns=[f"rmse_gain{end}" for end in ends]))

# real data

def test_melanoma_leaving_each_drug_out(melanoma):
    "The numbers of the study document for arithmetic, and the aim for what is learned."
    splits = {"d": study_splits(melanoma.pairs, 12)["leaving drugs out"]}
    tallies, _ = held_out(*judged(melanoma), splits, pair_models("mean pair,average,sum,lines,ridge"))
    found = pair_scores(tallies, melanoma.pairs)
    assert np.allclose(found.loc["average", ["accuracy", "rmse"]].astype(float), [0.847, 0.278], atol=5e-4)
    assert np.allclose(found.loc["sum", ["accuracy", "rmse"]].astype(float), [0.847, 0.223], atol=5e-4)
    assert found.accuracy["ridge"] >= 0.870 and found.rmse["ridge"] <= 0.185
    assert found.rmse_gain_high["ridge"] < 0 < found.accuracy_gain_low["ridge"]
    assert found.accuracy["mean pair"] < 0.81

def test_trees_alone_do_not_do_better_on_melanoma(melanoma):
    "A peer: boosted trees on the two effects and the gene's mean, as others would do it."
    e, y = arrays(melanoma)
    error = {"trees": 0.0, "ridge": 0.0}
    for train, test in study_splits(melanoma.pairs, 12)["leaving drugs out"][0]:
        mean = y[train].mean(0)
        def rows(at, mean=mean):
            columns = np.minimum(e.a, e.b)[at], np.maximum(e.a, e.b)[at], np.tile(mean, (len(at), 1))
            return np.stack(columns, -1).reshape(-1, 3)
        trees = HistGradientBoostingRegressor(random_state=0).fit(rows(train), y[train].ravel())
        trees = trees.predict(rows(test)).reshape(len(test), -1)
        error["trees"] += np.square(trees - y[test]).sum()
        ridge = PairRidge().fit(e.rows(train), y[train], drugs(melanoma)[train]).predict(e.rows(test))
        error["ridge"] += np.square(ridge - y[test]).sum()
    assert error["ridge"] < error["trees"]
