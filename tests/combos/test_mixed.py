"""The mixed model, models that are skipped, the published question, and predicted pairs: known truth, invariants, bad input."""
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from drugnb.combos.combine import Average, PairRidge, Sum, pair_splits
from drugnb.combos.data import Effects, assemble_combos, other_treatments
from drugnb.combos.held_out import held_out, pair_models, pair_scores, scores_text, split_scores, splits_table, study_splits
from drugnb.combos.mixed import Components, MixedModel, find_scales, mixed_at, mixed_kernel, pooled, scaled_distances, search, solve_mixed
from drugnb.combos.predict import (
    FILES,
    LEVELS,
    LeftOut,
    asked_pairs,
    calibrate,
    chosen_elsewhere,
    drug_of,
    error_line,
    load_pair_model,
    make_predictor,
    predict,
    predict_pairs,
    prediction_text,
    radius_at,
    read_pairs,
    save_pair_model,
)
from drugnb.combos.question import NETWORKS, VARIANCES, question_models, question_skips
from drugnb.combos.use import results, summary
from drugnb.core.settings import InputError


@pytest.fixture(scope="module")
def predictor(combos): return make_predictor(combos, ("lines", "mixed model"), folds=5, note=str)

def arrays(c): return c.effects, c.measured.to_numpy(float)
def drugs(c): return c.pairs[["drug_a", "drug_b"]].to_numpy(str)
def exchanged(e): return Effects(e.b, e.a, e.variance_b, e.variance_a, e.others_b, e.others_a)
def named(c): return c.pairs[["a", "b"]].set_axis(["drug_a", "drug_b"], axis=1)
BOTH = pytest.mark.parametrize("model", [MixedModel(), MixedModel(others=False)], ids=["others", "own"])

def diallel(n=10, genes=40, noise=0.3, seed=0, hidden=0.0):
    "All pairs of some drugs; a single effect is measured with noise, and once more at another dose."
    rng = np.random.default_rng(seed)
    true, company = rng.normal(size=(n, genes)), hidden*rng.normal(size=(n, genes))
    seen, again = true + noise*rng.normal(size=(2, n, genes))
    i, j = np.triu_indices(n, 1)
    y = 0.7*(true[i] + true[j]) + company[i] + company[j] + 0.1*rng.normal(size=(len(i), genes))
    e = Effects(seen[i], seen[j], None, None, again[i], again[j])
    return e, y, np.array([[f"d{p}", f"d{q}"] for p, q in zip(i, j, strict=True)])

def left_out_error(model, e, y, d, folds=5):
    return np.mean([np.square(clone(model).fit(e.rows(tr), y[tr], d[tr]).predict(e.rows(te)) - y[te]).mean()
                    for tr, te in pair_splits(d, folds)])

# other treatments

def test_other_treatments_are_the_mean_of_the_drugs_other_rows_whatever_their_order(combos):
    drug, x = combos.treatments.drug, combos.singles
    others = other_treatments(x, drug)
    for name in x.index[:12]:
        rest = x.loc[[t for t in x.index if drug[t] == drug[name] and t != name]].astype(float)
        if len(rest): np.testing.assert_allclose(others.loc[name], rest.mean(), atol=1e-6)
        else: assert others.loc[name].isna().all()
    turned = other_treatments(x.iloc[::-1], drug.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(turned.loc[x.index], others)

def test_other_treatments_of_wrong_shape_or_infinite_are_named(combos):
    e, y = arrays(combos)
    for bad, says in ((e.others_a[1:], "Effects of other treatments have the shape"), (np.full_like(e.a, np.inf), "hold infinite values")):
        with pytest.raises(InputError, match=says): MixedModel().fit(e._replace(others_a=bad), y)
    none = np.full_like(e.a, np.nan)
    plain = e._replace(others_a=none, others_b=none)
    model = MixedModel().fit(plain, y, drugs(combos))
    assert not model.second_ and np.array_equal(model.predict(plain), model.predict(e)), "what was not learnt from is not used"

# the mixed model

@BOTH
def test_the_mixed_model_is_symmetric_repeats_and_depends_on_no_order(model, combos):
    e, y = arrays(combos)
    fitted = clone(model).fit(e, y, drugs(combos))
    there = fitted.predict(e)
    assert np.array_equal(there, fitted.predict(exchanged(e)))
    rng = np.random.default_rng(0)
    rows, genes, turn = rng.permutation(len(y)), rng.permutation(y.shape[1]), rng.random((len(y), 1)) < 0.5
    turned = Effects(*(np.where(turn, w, u) for u, w in zip(e, exchanged(e), strict=True)))
    other = clone(model).fit(turned, y, np.where(turn, drugs(combos)[:, ::-1], drugs(combos)))
    np.testing.assert_allclose(other.predict(e), there, atol=1e-6)
    mixed = Effects(*(t[rows][:, genes] for t in e))
    other = clone(model).fit(mixed, y[rows][:, genes], drugs(combos)[rows])
    np.testing.assert_allclose(other.predict(mixed), there[rows][:, genes], atol=1e-5)

def test_the_mixed_model_is_equivariant_to_units(combos):
    e, y = arrays(combos)
    one = MixedModel().fit(e, y, drugs(combos)).predict(e)
    large = Effects(*(None if t is None else 1024*t for t in e))
    np.testing.assert_allclose(MixedModel().fit(large, 1024*y, drugs(combos)).predict(large), 1024*one, rtol=1e-6)

def test_spoiling_what_is_tested_changes_no_prediction_of_it(combos):
    e, y = arrays(combos)
    train, test = pair_splits(drugs(combos), 4)[0]
    spoilt = y.copy()
    spoilt[test] = 1e3
    found = [MixedModel().fit(e.rows(train), t[train], drugs(combos)[train]).predict(e.rows(test)) for t in (y, spoilt)]
    assert np.array_equal(*found)

def test_the_solution_is_that_of_the_covariance_written_out():
    rng, n = np.random.default_rng(1), 7
    y, x, given = rng.normal(size=(n, 4)), rng.normal(size=(2, n, 4)), Components(0.7, 0.6, 0.9, 1.2, 0.3, 0.5, 2)
    e = Effects(*rng.normal(size=(2, n, 4)))
    scales = find_scales(e, x)
    k = mixed_kernel(scaled_distances(e, e, scales), given)
    solved = solve_mixed(k, x, y, given)
    extra = [2 + 0.3*np.outer(x[0, :, g], x[0, :, g]) + 0.5*np.outer(x[1, :, g], x[1, :, g]) + k for g in range(4)]
    inverse = [np.linalg.inv(v + np.eye(n)) for v in extra]
    normal = sum(x[:, :, g] @ inverse[g] @ x[:, :, g].T for g in range(4))
    shared = np.linalg.solve(normal, sum(x[:, :, g] @ inverse[g] @ y[:, g] for g in range(4)))
    for g in range(4):
        fixed = x[:, :, g].T @ shared
        np.testing.assert_allclose(mixed_at(solved, k, x)[:, g], fixed + extra[g] @ inverse[g] @ (y[:, g] - fixed), atol=1e-9)

def test_the_search_finds_the_bottom_and_keeps_to_what_may_change():
    def error(c): return np.log(c.drug/3)**2 + np.log(c.slope/0.01)**2 + 1
    found, least = search(error, Components(), ("drug", "slope"), sweeps=6)
    assert found.drug == pytest.approx(3, rel=0.1) and found.slope == pytest.approx(0.01, rel=0.1) and least < 1.02
    assert found._replace(drug=0.4, slope=0.14) == Components()

def test_another_dose_tells_what_a_noisy_single_effect_hides():
    e, y, d = diallel(noise=0.6)
    own, both = (left_out_error(MixedModel(others=o), e, y, d) for o in (False, True))
    assert both < 0.75*own
    useless = e._replace(others_a=e.a + np.random.default_rng(9).normal(size=e.a.shape), others_b=e.b)
    assert left_out_error(MixedModel(), useless, y, d) < 1.1*own, "noise is given little weight"

def test_what_a_partner_adds_in_its_other_pairs_is_used():
    e, y, d = diallel(noise=0.0, hidden=0.7)
    own = left_out_error(MixedModel(others=False), e, y, d)
    lines = left_out_error(PairRidge(alphas=()), e, y, d)
    assert own < 0.75*lines and own < 1.05*left_out_error(PairRidge(), e, y, d)

def test_pooled_effects_are_a_quarter_of_the_way_to_the_others():
    e = Effects(np.array([[1.0, 2]]), np.array([[0.0, 4]]), None, None, np.array([[5.0, np.nan]]), None)
    assert pooled(e).a.tolist() == [[2, 2]] and pooled(e).b.tolist() == [[0, 4]]

# folds and skipped models

def test_each_fold_leaves_out_one_drug_by_name_all_its_pairs_and_nothing_else():
    _, _, d = diallel(9)
    for order in (np.arange(len(d)), np.random.default_rng(0).permutation(len(d))):
        at, seen = d[order], []
        for train, test in pair_splits(at, 12):
            common = set.intersection(*({*pair} for pair in at[test]))
            assert len(common) == 1 and len(train) + len(test) == len(at)
            name = common.pop()
            assert (at[test] == name).any(1).all() and not (at[train] == name).any()
            seen.append(name)
        assert sorted(seen) == sorted({*d.ravel()})

def test_folds_are_kept_with_the_names_of_what_they_leave_out(combos):
    splits = study_splits(combos.pairs, 5)
    table = splits_table(splits, combos.pairs.index)
    assert [*table] == ["split", "fold", "id", "role", "left_out"]
    for (split, _), rows in table.groupby(["split", "fold"]):
        names = rows.left_out.iloc[0].split("; ")
        train, test = (combos.pairs.loc[rows.id[rows.role == role], ["drug_a", "drug_b"]] for role in ("train", "test"))
        if split == "leaving drugs out":
            assert not train.isin(names).any(axis=None) and test.isin(names).any(axis=1).all()
        if split == "by pair": assert names == [""]

def few_pairs(n):
    "Pairs of drugs that share none."
    names, rng = [f"drug{i}" for i in range(2*n)], np.random.default_rng(0)
    conditions = pd.DataFrame({"drug_a": names + names[::2], "drug_b": [None]*2*n + names[1::2]})
    conditions.index = [f"c{i}" for i in conditions.index]
    values = pd.DataFrame(rng.normal(size=(3*n, 12)), conditions.index, [f"G{i}" for i in range(12)])
    return assemble_combos("few", values, conditions)

def test_three_pairs_have_a_table_that_says_which_models_were_skipped_and_why():
    c, skips = few_pairs(3), []
    tallies, _ = held_out(c.effects, c.measured, study_splits(c.pairs, 12, note=str), pair_models(), skip=lambda *s: skips.append(s))
    table = split_scores(tallies, pd.DataFrame(skips, columns=["split", "model", "why"]), c.pairs, repeats=20)
    left = table.loc["leaving drugs out"]
    assert set(left.index) == set(pair_models()) and left.skipped["sum"] == "" and np.isfinite(left.rmse["mean pair"])
    for name in ("lines", "ridge", "mixed model", "stack"): assert "fewer than two pairs" in left.skipped[name]
    text = scores_text(table.reset_index())
    assert "skipped: Leaving drugs out leaves fewer than two pairs" in text and "nan" not in text

def test_a_model_that_fails_in_a_later_fold_leaves_nothing_behind(combos):
    class Late(Average):
        def fit(self, effects, measured, groups=None):
            if len(measured) == last: raise InputError("Too late.")
            return self
    splits = {"by pair": study_splits(combos.pairs, 7)["by pair"]}
    sizes, told = [len(train) for train, _ in splits["by pair"][0]], []
    last = sizes[-1]
    assert sizes[0] != last, "or the test shows nothing"
    tallies, examples = held_out(combos.effects, combos.measured, splits, {"late": Late(), "sum": Sum()}, skip=lambda *s: told.append(s))
    assert set(tallies.model) == set(examples.model) == {"sum"} and told == [("by pair", "late", "Too late")]

def test_without_any_model_there_are_tables_without_rows(combos, capsys):
    class Never(Average):
        def fit(self, effects, measured, groups=None): raise InputError("Never.")
    splits = {"by pair": study_splits(combos.pairs, 4)["by pair"]}
    tallies, examples = held_out(combos.effects, combos.measured, splits, {"never": Never()})
    assert len(tallies) == len(examples) == 0 and "never is skipped (Never)" in capsys.readouterr().out
    table = split_scores(tallies, pd.DataFrame({"split": ["by pair"], "model": "never", "why": "Never"}), combos.pairs)
    assert table.skipped.tolist() == ["Never"]

def test_gains_are_differences_from_the_reference_on_the_same_draws(combos):
    splits = {"by pair": study_splits(combos.pairs, 4)["by pair"]}
    tallies, _ = held_out(combos.effects, combos.measured, splits, pair_models("sum,average,scaled sum"))
    one = pair_scores(tallies, combos.pairs, "average", repeats=50)
    for score in ("accuracy", "rmse", "slope", "spearman"):
        np.testing.assert_allclose(one[f"{score}_gain"], one[score] - one[score]["average"], atol=1e-12)
    assert (one.loc["average", ["rmse_gain_low", "rmse_gain_high"]] == 0).all()
    assert "rmse_gain" not in pair_scores(tallies, combos.pairs, "ridge", repeats=5)

# the published question

def test_variances_are_worth_something_only_where_there_are_some(combos):
    e, _ = arrays(combos)
    assert question_skips(e, True) == {} and set(question_skips(e, False)) == {*NETWORKS}
    assert set(question_skips(Effects(e.a, e.b), True)) == {*VARIANCES}
    models = question_models(1)
    assert [*models][:2] == ["mean pair", "average"] and not models["with trees"].variances and models["with both"].variances

def test_trees_that_may_not_see_variances_do_not(combos):
    e, y = arrays(combos)
    blind, seeing = (question_models()[name].set_params(rounds=8, rows=2000) for name in ("with trees", "with variances"))
    plain = e._replace(variance_a=None, variance_b=None)
    assert np.array_equal(clone(blind).fit(e, y).predict(e), clone(blind).fit(plain, y).predict(plain))
    assert not np.array_equal(clone(seeing).fit(e, y).predict(e), clone(seeing).fit(plain, y).predict(plain))

# predicted pairs

def test_a_choice_is_judged_on_folds_that_had_no_say_in_it():
    tried = {"a": LeftOut(np.array([[0.1], [4.0], [1.0]]), np.ones(3), np.arange(3)),
             "b": LeftOut(np.array([[2.0], [2.1], [2.0]]), np.ones(3), np.arange(3))}
    best, honest = chosen_elsewhere(tried)
    assert best == "b" and honest.residual.ravel().tolist() == [2.0, 4.0, 2.0]

def test_radii_hold_their_share_folds_counting_once_and_the_worst_twice():
    scores, fold = np.array([[1.0], [2], [3], [4], [50]]), np.array([0, 0, 0, 0, 1])
    assert radius_at(scores, fold, np.array([0.3])).item() == 4, "a quarter of a third each, then the worst"
    assert radius_at(scores, fold, np.array([0.34])).item() == 50
    rng = np.random.default_rng(0)
    many = np.abs(rng.normal(size=(400, 30)))
    assert radius_at(many, np.repeat(np.arange(40), 10), np.array([0.9])).item() == pytest.approx(1.645, abs=0.02)

def test_the_error_line_never_falls_and_finds_a_power():
    far = np.linspace(1, 5, 40)
    np.testing.assert_allclose(error_line(2*far**1.5, far), [np.log(2), 1.5], atol=1e-9)
    assert error_line(1/far, far)[1] == 0 and error_line(np.ones(3), np.ones(3)).tolist() == [0, 0]

def test_intervals_cover_new_drugs_as_often_as_they_say():
    rng = np.random.default_rng(2)
    far, size = rng.uniform(1, 3, 600), rng.lognormal(0, 0.2, 30)
    residual = far[:, None]*size[np.repeat(np.arange(30), 20)][:, None]*rng.normal(size=(600, 25))
    made = calibrate(LeftOut(residual, far, np.repeat(np.arange(30), 20)))
    assert 0.88 < made.coverage[0] < 0.93 and made.coverage[1] < made.coverage[0] < made.coverage[2]

def test_a_saved_model_predicts_the_same_bits_and_holds_no_pickle(combos, predictor, tmp_path):
    save_pair_model(predictor, tmp_path)
    again, e = load_pair_model(tmp_path/FILES[0]), combos.effects
    assert np.array_equal(again.model.predict(e), predictor.model.predict(e)) and again.calibrations.keys() == predictor.calibrations.keys()
    assert again.model.get_params() == predictor.model.get_params() and sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
    with np.load(tmp_path/FILES[1], allow_pickle=False) as file: assert all(file[k].dtype.kind in "fiub" for k in file.files)
    json.loads((tmp_path/FILES[0]).read_text(), parse_constant=pytest.fail)

@pytest.mark.parametrize("name", ["mean pair", "average", "stronger drug", "sum", "scaled sum", "lines", "ridge", "mixed model (own treatment)"])
def test_every_simple_model_can_be_kept(name, combos, predictor, tmp_path):
    e, y = arrays(combos)
    model = pair_models(name)[name].fit(e, y, drugs(combos))
    save_pair_model(type(predictor)(**{**vars(predictor), "model": model, "name": name}), tmp_path)
    assert np.array_equal(load_pair_model(tmp_path).model.predict(e), model.predict(e))

def test_a_model_that_is_not_there_damaged_or_of_trees_is_refused(combos, predictor, tmp_path):
    with pytest.raises(InputError, match="There is no model of pairs in"): load_pair_model(tmp_path)
    save_pair_model(predictor, tmp_path)
    text = (tmp_path/FILES[0]).read_text()
    for spoilt in (text[:-20], text.replace("MixedModel", "Oracle"), text.replace('"layout": 1', '"layout": 2'), "{}", "[]"):
        (tmp_path/FILES[0]).write_text(spoilt)
        with pytest.raises(InputError, match="is not a drugnb model of pairs") as error: load_pair_model(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path/FILES[0]).write_text(text)
    (tmp_path/FILES[1]).write_bytes((tmp_path/FILES[1]).read_bytes()[:-1])
    with pytest.raises(InputError, match="its two files differ"): load_pair_model(tmp_path)
    stack = pair_models("stack")["stack"]
    with pytest.raises(InputError, match="A Stack cannot be kept"): save_pair_model(type(predictor)(**{**vars(predictor), "model": stack}), tmp_path)

def test_predictions_depend_on_no_order_orientation_or_spelling_of_genes(combos, predictor):
    pairs = named(combos).iloc[:6]
    one = predict_pairs(combos.singles, pairs, predictor).set_index(["drug_a", "drug_b", "gene"])
    assert one.measured.all() and not one.new_drugs.any() and one.notna().all(axis=None)
    shuffled = combos.singles.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=0).T
    shuffled.index = shuffled.index + " (12)"
    two = predict_pairs(shuffled, pairs.iloc[::-1], predictor).set_index(["drug_a", "drug_b", "gene"])
    np.testing.assert_allclose(two.loc[one.index, "effect"], one.effect, atol=1e-4)

def test_missing_genes_are_not_predicted_and_fewer_than_half_are_refused(combos, predictor):
    pairs = named(combos).iloc[:2]
    most = predict_pairs(combos.singles.iloc[:, :40], pairs, predictor)
    assert set(most.gene) == set(combos.singles.columns[:40]) and most.attrs["genes_found"] == pytest.approx(2/3)
    with pytest.raises(InputError, match="29 of the model's 60 genes"): predict_pairs(combos.singles.iloc[:, :29], pairs, predictor)
    holed = combos.singles.copy()
    holed.iloc[0, 3] = np.nan
    assert predict_pairs(holed, pairs, predictor).attrs["notes"] == ["1 missing single effect filled with training's mean"]
    holed.iloc[0, 3] = np.inf
    with pytest.raises(InputError, match="infinite"): predict_pairs(holed, pairs, predictor)

def test_a_strange_drug_is_flagged_and_its_interval_is_wider(combos, predictor):
    singles = combos.singles.iloc[:2].set_axis(["x", "y"])
    singles.loc["new"] = singles.loc["x"] + 0.02
    singles.loc["strange"] = 8*combos.singles.abs().max()
    table = predict_pairs(singles, pd.DataFrame({"drug_a": ["x", "x"], "drug_b": ["new", "strange"]}), predictor)
    by_pair = table.assign(width=table.high - table.low).groupby("drug_b").agg({"width": "mean", "outside_domain": "all", "new_drugs": "first"})
    assert by_pair.outside_domain.to_dict() == {"new": False, "strange": True} and by_pair.width["strange"] > by_pair.width["new"]
    assert "1 pair with a drug unlike all of training: no interval is claimed" in prediction_text(table, predictor, 0.9)

def test_levels_nest_and_impossible_ones_are_refused(combos, predictor):
    tables = [predict_pairs(combos.singles, named(combos).iloc[:2], predictor, level) for level in LEVELS[[0, 8, -1]]]
    width = [(t.high - t.low).mean() for t in tables]
    assert width == sorted(width)
    with pytest.raises(InputError, match="lies between 0.5 and 0.99"): predict_pairs(combos.singles, None, predictor, 1.0)

def test_pairs_that_are_none_are_left_out_or_refused():
    rows = pd.Index(["a@1", "a@2", "b@1", "c"])
    assert drug_of(rows).tolist() == ["a", "a", "b", "c"] and len(asked_pairs(None, rows)[0]) == 5
    asked = pd.DataFrame({"drug_a": ["a@1", "b@1", "a@1 "], "drug_b": ["a@2", "a@1", "b@1"]})
    found, notes = asked_pairs(asked, rows)
    assert found.to_numpy().tolist() == [["b@1", "a@1"]] and "1 pair of one drug with itself" in notes[0] and "more than once" in notes[1]
    with pytest.raises(InputError, match=r"have no effects among the singles \(d\)"): asked_pairs(asked.assign(drug_b="d"), rows)
    with pytest.raises(InputError, match="No pair of two different drugs"): asked_pairs(asked.iloc[:1], rows)
    with pytest.raises(InputError, match="name the pairs in a file"): asked_pairs(None, pd.Index([f"d{i}" for i in range(70)]))

def test_another_dose_among_the_singles_is_a_second_look(combos, predictor):
    assert predictor.name == "mixed model" and predictor.model.second_
    singles = combos.singles.iloc[:2].set_axis(["x@1", "y@1"])
    pairs = pd.DataFrame({"drug_a": ["x@1"], "drug_b": ["y@1"]})
    alone = predict_pairs(singles, pairs, predictor).effect
    singles.loc["x@2"] = singles.loc["x@1"] + 1.0
    assert (predict_pairs(singles, pairs, predictor).effect - alone).mean() > 0.01

def test_the_command_predicts_pairs_from_files(combos, predictor, tmp_path, capsys):
    save_pair_model(predictor, tmp_path/"run")
    combos.singles.iloc[:30].rename_axis("condition").to_csv(tmp_path/"mine.csv")
    rows = combos.singles.index
    pd.DataFrame({"drug_a": rows[[0, 1]], "drug_b": rows[[5, 6]]}).to_csv(tmp_path/"pairs.csv", index=False)
    predict(str(tmp_path/"mine.csv"), str(tmp_path/"run"), str(tmp_path/"pairs.csv"), out=str(tmp_path/"out.csv"))
    table, said = pd.read_csv(tmp_path/"out.csv"), capsys.readouterr().err
    assert len(table) == 2*60 and {"effect", "low", "high", "new_drugs", "expected_error", "outside_domain", "measured"} < set(table)
    assert "2 pairs; 100% of the model's 60 genes found" in said and "measured coverage of 90% intervals" in said

def test_a_file_of_pairs_is_read_by_name_or_by_being_two_columns(tmp_path):
    def read(text, name="p.csv"):
        (tmp_path/name).write_text(text)
        return read_pairs(tmp_path/name).to_numpy().tolist()
    assert read("note,Drug B,drug_A\nx,2,1\n") == [["1", "2"]] and read("x\ty\n1.0\tb\n", "p.tsv") == [["1", "b"]]
    with pytest.raises(InputError, match=r"columns drug_a and drug_b; its columns are x, y, z"): read("x,y,z\n1,2,3\n")
    with pytest.raises(InputError, match="only one drug in row 2"): read("drug_a,drug_b\na,b\na,\n")

def test_too_few_pairs_make_no_predictor():
    with pytest.raises(InputError, match="too few to choose a model by"): make_predictor(few_pairs(1), note=str)
    notes = []
    made = make_predictor(few_pairs(3), ("scaled sum", "lines"), note=notes.append)
    assert made.name == "scaled sum" and any("lines is no candidate" in n for n in notes)

# real data

def test_melanoma_leaving_each_drug_out_beats_a_ridge_with_what_other_doses_say(melanoma):
    splits = {"d": study_splits(melanoma.pairs, 12)["leaving drugs out"]}
    tallies, _ = held_out(melanoma.effects, melanoma.measured, splits, pair_models("ridge,mixed model (own treatment),mixed model"))
    found = pair_scores(tallies, melanoma.pairs, "ridge")
    assert found.accuracy["mixed model"] > 0.88 and found.rmse["mixed model"] < 0.156
    assert found.rmse_gain_high["mixed model"] < 0 and found.rmse_gain_high_drugs["mixed model"] < 0
    assert found.rmse["mixed model (own treatment)"] < 0.1650 < found.rmse["ridge"]
    names = pd.concat([melanoma.pairs.drug_a, melanoma.pairs.drug_b])
    table = splits_table(splits, melanoma.pairs.index).drop_duplicates("fold")
    assert sorted(table.left_out) == sorted(set(names)), "each fold leaves out one drug by name"

@pytest.mark.slow
def test_intervals_on_melanoma_keep_their_word(melanoma):
    made = make_predictor(melanoma, ("mixed model",), note=str)
    for new, calibration in made.calibrations.items():
        assert 0.85 < calibration.coverage[0] < 0.95, new

def test_a_sweep_shows_the_models_that_were_judged(tmp_path):
    rows = pd.DataFrame({"split": "by pair", "model": ["sum", "stack"], "rmse": [1.0, np.nan], "rmse_low": 0.9, "rmse_high": 1.1, "pairs": 3,
                         "skipped": ["", "too few"]})
    rows.to_csv(tmp_path/"scores.csv", index=False)
    facts, models = results(tmp_path)
    assert facts == {"pairs": 3} and list(models.index) == ["sum"]
    rows.iloc[1:].to_csv(tmp_path/"scores.csv", index=False)
    assert results(tmp_path)[0] == {} and "skipped: too few" in summary(tmp_path)
