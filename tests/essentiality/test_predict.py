"""New lines: met by name, held against the training table's unit and domain, predicted with intervals that hold, from a model
that is saved whole or not at all."""
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fastcore.script import anno_parser
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

from drugnb.core.artefacts import read_json, write_json
from drugnb.core.identity import landmark_genes
from drugnb.core.settings import InputError
from drugnb.essentiality import predict as module
from drugnb.essentiality.data import Lines, Screen, simulate_screen
from drugnb.essentiality.judge import line_folds
from drugnb.essentiality.kernel import ComponentRidge, FastModel
from drugnb.essentiality.leap import Leap
from drugnb.essentiality.predict import (
    FLAT,
    Unit,
    chance_sensitive,
    check_scale,
    conformal_limits,
    convert,
    coverage,
    fill_weights,
    fit_stretch,
    gene_scales,
    held_by,
    held_out,
    left_out_predictions,
    load_model,
    meet_tissues,
    nearest_lines,
    own_distances,
    patient_weights,
    place_lines,
    predict,
    predict_lines,
    read_unit,
    save_model,
    sensitive_cuts,
    tissue_splits,
    train_model,
)
from drugnb.essentiality.represent import Rotation


class Line(BaseEstimator):
    "A stand-in with a state of its own: ridge regression on all genes, missing responses taken as the mean."
    def __init__(self, penalty=50.0): self.penalty = penalty
    def fit(self, lines, responses):
        y = np.where(np.isfinite(responses), responses, np.nanmean(responses, axis=0))
        self.mean_ = lines.expression.mean(0)
        model = Ridge(alpha=self.penalty).fit(lines.expression - self.mean_, y)
        self.coef_, self.constant_ = model.coef_, model.intercept_
        return self
    def predict(self, lines): return (lines.expression - self.mean_) @ self.coef_.T + self.constant_
    def state(self): return {"penalty": self.penalty, "mean": self.mean_, "coef": self.coef_, "constant": self.constant_,
                             "words": np.array(["a", "b"])}
    @classmethod
    def from_state(cls, state):
        model = cls(state["penalty"])
        model.mean_, model.coef_, model.constant_ = state["mean"], state["coef"], state["constant"]
        return model

def some(screen, rows):
    return replace(screen, expression=screen.expression.iloc[rows], responses=screen.responses.iloc[rows],
                   lines=screen.lines.iloc[rows])

@pytest.fixture(scope="module")
def whole(): return simulate_screen(n_lines=150, n_genes=120, n_drugs=12, n_pathways=6, n_tissues=5, seed=4)

@pytest.fixture(scope="module")
def split(whole):
    train, test = line_folds(whole.known, 5, 0)[0]
    return some(whole, train), some(whole, test)

@pytest.fixture(scope="module")
def trained(split): return train_model(Line(), split[0])

@pytest.fixture(scope="module")
def new(split): return split[1]

@pytest.fixture(scope="module")
def predicted(trained, new): return predict_lines(trained, new.expression, new.lines)

def by_pair(table): return table.set_index(["line", "perturbation"]).sort_index()
def same(a, b, exact=True): pd.testing.assert_frame_equal(by_pair(a), by_pair(b), check_exact=exact)

# met by name

def test_the_order_of_genes_and_lines_and_the_orientation_change_nothing(trained, new, predicted):
    rng = np.random.default_rng(0)
    table = new.expression.iloc[:, rng.permutation(new.expression.shape[1])]
    same(predict_lines(trained, table, new.lines), predicted)
    same(predict_lines(trained, table.T, new.lines.iloc[::-1]), predicted)
    same(predict_lines(trained, table.iloc[rng.permutation(len(table))], new.lines), predicted, exact=False)

def test_shuffled_values_under_right_names_do_change_it(trained, new, predicted):
    rolled = pd.DataFrame(new.expression.to_numpy() + np.roll(new.expression.to_numpy(), 1, 1)*0.05, *new.expression.axes)
    assert not np.allclose(predict_lines(trained, rolled, new.lines).prediction, predicted.prediction)

def test_genes_are_met_under_entrez_ids_and_depmap_names(trained, new, predicted):
    entrez = landmark_genes().set_index("symbol").entrez_id
    genes = new.expression.columns
    same(predict_lines(trained, new.expression.set_axis(entrez[genes].to_numpy(), axis=1), new.lines), predicted)
    same(predict_lines(trained, new.expression.set_axis([f"{g} ({entrez[g]})" for g in genes], axis=1), new.lines), predicted)

def test_genes_that_the_model_does_not_know_change_nothing(trained, new, predicted):
    more = new.expression.assign(XIST=3.0, **{"XIST (7503)": 2.0})
    same(predict_lines(trained, more, new.lines), predicted)

def test_a_gene_under_two_names_is_refused(trained, new):
    gene = new.expression.columns[0]
    with pytest.raises(InputError, match=f"gene {gene} is in the table under two names"):
        predict_lines(trained, new.expression.assign(**{f"{gene} (1)": 1.0}))

def test_repeated_lines_are_refused(trained, new):
    with pytest.raises(InputError, match="more than once"):
        predict_lines(trained, pd.concat([new.expression, new.expression.iloc[:1]]))

def test_a_table_of_other_genes_is_refused_with_examples_of_both_sides(trained, new):
    with pytest.raises(InputError, match=r"None of the model's 120 genes \(.*x0, x1.*line"):
        predict_lines(trained, new.expression.set_axis([f"x{i}" for i in range(120)], axis=1))

def test_too_few_genes_are_refused_unless_allowed(trained, new):
    few = new.expression.iloc[:, :40]
    with pytest.raises(InputError, match="33% of the model's 120 genes and lacks .*, or allow fewer than 50%"):
        predict_lines(trained, few)
    table = predict_lines(trained, few, least=0.3)
    assert np.allclose(table.genes_found, 1/3)
    holes = new.expression.copy()
    holes.iloc[2, :80] = np.nan
    with pytest.raises(InputError, match=f"1 of {len(holes)} lines have fewer than 50% .*{holes.index[2]}"):
        predict_lines(trained, holes)

# missing genes

def test_missing_genes_are_filled_by_the_ridge_that_scikit_learn_fits():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 30)) + 0.3*rng.standard_normal((40, 30))
    x = (x - x.mean(0))/x.std(0)
    found = np.arange(30) < 18
    weights, recovered = fill_weights(x, found)
    a, wanted = x[:, found], x[:, ~found]
    theirs = Ridge(alpha=(a**2).sum()/len(a), fit_intercept=False)
    assert np.allclose(theirs.fit(a, wanted).coef_.T, weights)
    keep = ~np.eye(40, dtype=bool)
    left = np.array([wanted[i] - theirs.fit(a[k], wanted[k]).predict(a[[i]])[0] for i, k in enumerate(keep)])
    assert np.allclose(1 - (left**2).mean(0), recovered, atol=1e-9)
    assert recovered.min() > 0.3

def test_filled_predictions_are_nearer_to_the_full_ones_than_with_genes_at_their_mean(trained, new, predicted):
    gone = new.expression.columns[::2]
    filled = predict_lines(trained, new.expression.drop(columns=gone), new.lines)
    at_mean = new.expression.copy()
    at_mean[gone] = trained.genes.loc[gone, "mean"].to_numpy()
    full, ours = by_pair(predicted).prediction, by_pair(filled).prediction
    lines = Lines(at_mean.to_numpy(float), new.known.tissue, new.known.patient)
    theirs = pd.DataFrame(trained.model.predict(lines), new.expression.index, trained.responses.columns).stack()
    theirs.index.names = full.index.names
    assert (ours - full).abs().mean() < 0.9*(theirs.sort_index() - full).abs().mean()

def test_values_that_are_there_are_left_alone_and_each_line_is_placed_by_its_own_genes(trained, new):
    values = new.expression.to_numpy(float)
    holes = np.where(np.random.default_rng(0).random(values.shape) < 0.1, np.nan, values)
    arguments = trained.expression, trained.genes, trained.lines.patient
    placed = place_lines(holes, *arguments)
    assert np.array_equal(placed.expression[np.isfinite(holes)], values[np.isfinite(holes)])
    assert np.isfinite(placed.expression).all()
    alone = place_lines(holes[[3]], *arguments)
    for together, one in zip(placed, alone, strict=False): assert np.allclose(together[3], one[0], atol=1e-12)

def test_genes_that_say_nothing_of_the_others_carry_little_and_the_lines_are_flagged(split, new):
    rng = np.random.default_rng(0)
    noise = pd.DataFrame(rng.gamma(3, 1.5, (len(split[0].lines), 120)) + 2*rng.random(120), *split[0].expression.axes)
    model = train_model(Line(), replace(split[0], expression=noise.astype(np.float32)))
    few = noise.iloc[:5, :40].set_axis([f"new{i}" for i in range(5)])
    placed = place_lines(few.reindex(columns=noise.columns).to_numpy(), model.expression, model.genes, model.lines.patient)
    assert np.allclose(placed.carried, 1/3, atol=0.03)
    table = predict_lines(model, few, least=0.3)
    assert table.outside.all() and table.remark.str.contains("genes").all()

# distance and domain

def test_distances_are_the_mean_of_the_five_nearest_and_leave_the_patient_out():
    rng = np.random.default_rng(0)
    train, other = rng.standard_normal((30, 8)), rng.standard_normal((4, 8))
    full = np.sqrt(((other[:, None] - train)**2).mean(2))
    near = nearest_lines(other, train)
    assert np.allclose(near.distance, np.sort(full)[:, :5].mean(1)) and np.allclose(near.closest, full.min(1))
    assert (near.position == full.argmin(1)).all()
    twice, patient = np.repeat(train, 2, axis=0), np.repeat(np.arange(30), 2)
    own, limit = own_distances(twice, patient)
    assert own.closest.min() > 0.1 and (own.distance <= limit).mean() >= 0.975
    with pytest.raises(InputError, match="another patient"): own_distances(train, np.zeros(30))

def test_about_as_many_new_lines_lie_outside_as_the_limit_says():
    outside = []
    for seed in range(4):
        screen = simulate_screen(n_lines=250, n_genes=100, n_drugs=4, n_tissues=4, seed=seed)
        train, test = line_folds(screen.known, 3, 0)[0]
        e = screen.expression
        placed = place_lines(e.iloc[test].to_numpy(float), e.iloc[train], gene_scales(e.iloc[train]),
                             screen.lines.patient.iloc[train])
        outside.append((placed.distance > 1).mean())
    assert 0 <= np.mean(outside) < 0.07

def test_noise_and_far_lines_are_flagged_and_said(trained, new):
    rng = np.random.default_rng(0)
    odd = new.expression.copy()
    noise = trained.genes["mean"].to_numpy() + trained.genes.sd.to_numpy()*rng.standard_normal(120)*1.6
    odd.iloc[0] = np.maximum(noise, 0).astype(np.float32)
    table = predict_lines(trained, odd, new.lines)
    first = table[table.line == odd.index[0]].iloc[0]
    assert first.outside and "expression" in first.remark and first.distance > 1
    outside = int(table.drop_duplicates("line").outside.sum())
    assert f"{outside} lines outside the training domain" in table.attrs["report"]

def test_intervals_are_wider_where_lines_are_farther(trained, new):
    far = replace(trained, stretch=module.Stretch(np.array([0.8, 1.2]), np.array([1.0, 3.0])))
    odd = new.expression.copy()
    away = 1.5*trained.genes.sd.to_numpy()*np.random.default_rng(1).standard_normal(120)
    odd.iloc[0] = np.maximum(odd.iloc[0] + away, 0).astype(np.float32)
    table = predict_lines(far, odd, new.lines)
    width = (table.high - table.low).groupby(table.line).mean()
    assert width[odd.index[0]] > 1.3*width.drop(odd.index[0]).max()

def test_a_training_line_under_another_name_is_found(trained, new):
    table = new.expression.copy()
    table.iloc[0] = trained.expression.iloc[7].to_numpy() + 0.05
    table.index = ["new0", *table.index[1:]]
    first = predict_lines(trained, table).query("line == 'new0'").iloc[0]
    assert first.remark == "training line" and first.nearest == trained.expression.index[7]
    named = pd.concat([trained.expression.iloc[[3]]*0.97, new.expression])
    table = predict_lines(trained, named)
    assert table.iloc[0].remark.endswith("training line") and "1 are training lines" in table.attrs["report"]

# unit

def amounts(table): return convert(table, Unit("TPM", 2, 1), Unit("TPM"))

CHANGES = {
    "TPM": (amounts, "TPM without a logarithm: give log2"),
    "counts": (lambda v: np.round(amounts(v)*9), "read counts"),
    "RPKM": (lambda v: amounts(v)*0.3, "perhaps RPKM"),
    "ln": (lambda v: v*np.log(2), r"ln\(TPM \+ 1\): multiply it by 1.4427"),
    "log10": (lambda v: v*np.log10(2), r"log10\(TPM \+ 1\): multiply it by 3.3219"),
    "small numbers": (lambda v: np.log2(amounts(v) + 0.001), r"log2\(TPM \+ 0.001\)"),
    "log RPKM": (lambda v: np.log2(amounts(v)*0.3 + 1), "times lower"),
    "log counts": (lambda v: np.log2(amounts(v)*9 + 1), "times higher"),
    "z-scores": (lambda v: (v - v.mean(0))/np.maximum(v.std(0), 1e-3), "z-scores"),
    "shifted names": (lambda v: np.roll(v, 1, axis=1), "do not belong together"),
    "other organism": (lambda v: np.random.default_rng(0).permuted(v, axis=1), "do not belong together"),
    "arrays": (lambda v: 3 + 0.8*v + 3*np.random.default_rng(0).standard_normal(v.shape[1]), "times higher|no scale"),
}

@pytest.mark.parametrize("change", CHANGES)
def test_another_scale_is_refused_with_its_remedy(change, trained, new):
    how, said = CHANGES[change]
    table = pd.DataFrame(how(new.expression.to_numpy(float)), *new.expression.axes)
    with pytest.raises(InputError, match=said) as e: predict_lines(trained, table)
    assert str(e.value).count(". ") == 0 and str(e.value).endswith(".")

def test_the_right_scale_is_accepted_even_of_one_line_and_a_batch_is_noted(trained, new):
    for i in range(len(new.expression)):
        check_scale(new.expression.iloc[[i]], trained.expression, trained.genes, "log2(TPM + 1)")
    assert not [n for n in predict_lines(trained, new.expression).attrs["notes"] if "times" in n]
    table = pd.DataFrame(np.log2(amounts(new.expression.to_numpy(float))*1.4 + 1), *new.expression.axes)
    assert any("times higher than in training" in n for n in predict_lines(trained, table).attrs["notes"])

def test_lines_on_a_scale_of_their_own_are_named(trained, new):
    table = new.expression.copy()
    table.iloc[4] = amounts(table.iloc[4].to_numpy(float)).astype(np.float32)
    with pytest.raises(InputError, match=f"1 of {len(table)} lines are .*{table.index[4]} looks like TPM"):
        predict_lines(trained, table)

@pytest.mark.parametrize("unit", ["log2(TPM + 1)", "ln(RPKM + 1)", "log2(TPM + 0.001)", "TPM"])
def test_whatever_the_training_unit_its_own_scale_is_known_from_the_others(unit, whole):
    own, train, test = read_unit(unit), *line_folds(whole.known, 5, 0)[0]
    base = whole.expression.to_numpy(float)
    def in_unit(u): return pd.DataFrame(convert(base, Unit("TPM", 2, 1), u._replace(amount="TPM")), *whole.expression.axes)
    mine = in_unit(own)
    genes = gene_scales(mine.iloc[train])
    assert isinstance(check_scale(mine.iloc[test], mine.iloc[train], genes, unit), list)
    for other in (Unit("TPM"), Unit("TPM", 2, 1), Unit("TPM", np.e, 1), Unit("TPM", 2, 0.001)):
        if str(other._replace(amount=own.amount)) == unit: continue
        with pytest.raises(InputError): check_scale(in_unit(other).iloc[test], mine.iloc[train], genes, unit)

def test_a_unit_without_a_formula_still_refuses_what_lies_far_off(whole):
    train, test = line_folds(whole.known, 5, 0)[0]
    e = whole.expression
    genes = gene_scales(e.iloc[train])
    assert check_scale(e.iloc[test], e.iloc[train], genes, "log2 intensity") == []
    with pytest.raises(InputError, match="no scale that is known"):
        check_scale(e.iloc[test]*20, e.iloc[train], genes, "log2 intensity")

def test_the_check_does_not_depend_on_the_order_of_lines(trained, new):
    table = pd.DataFrame(np.log2(amounts(new.expression.to_numpy(float))*1.4 + 1), *new.expression.axes)
    notes = [predict_lines(trained, t).attrs["notes"] for t in (table, table.iloc[::-1])]
    assert notes[0] == notes[1]

# tissue

def test_tissues_are_met_whatever_their_case_and_unseen_ones_are_flagged(trained, new):
    about = pd.DataFrame({"OncotreeLineage": ["TISSUE A", "Eye", "tissue AA", None]}, new.expression.index[:4])
    tissue, notes = meet_tissues(new.expression.index, about, trained.tissues)
    assert tissue[:4].tolist() == ["tissue A", "Eye", "tissue AA", ""] and (tissue[4:] == "").all()
    assert any("Eye (1 lines)" in n and "tissue AA (1 lines; perhaps tissue A)" in n for n in notes)
    table = predict_lines(trained, new.expression, about).drop_duplicates("line").set_index("line")
    assert table.loc[new.expression.index[1], "outside"] and "tissue" in table.loc[new.expression.index[1], "remark"]
    assert "tissue" not in table.loc[new.expression.index[0], "remark"]
    assert "no tissue is known" in meet_tissues(new.expression.index, None, trained.tissues)[1][0]
    with pytest.raises(InputError, match="no column of tissues"):
        meet_tissues(new.expression.index, about.rename(columns={"OncotreeLineage": "sex"}), trained.tissues)

# intervals

def test_limits_are_order_statistics_by_hand():
    r = np.arange(1.0, 40)[:, None]
    assert conformal_limits(r, np.ones(39), 0.9).ravel().tolist() == [2, 38]
    assert conformal_limits(r, np.ones(39), 0.95).ravel().tolist() == [1, 39]
    assert np.isinf(conformal_limits(r, np.ones(39), 0.99)).all()
    with_gaps = np.vstack([r, np.full((5, 1), np.nan)])
    assert conformal_limits(with_gaps, np.ones(44), 0.9).ravel().tolist() == [2, 38]
    for level in (0, 1, 90, -1):
        with pytest.raises(InputError, match="between 0 and 1"): conformal_limits(r, np.ones(39), level)

def test_a_patient_with_many_lines_counts_once():
    r = np.r_[np.arange(1.0, 40), np.full(20, 39.0)][:, None]
    weights = patient_weights([*range(38), *["twin"]*21])
    assert weights[:38].tolist() == [1]*38 and np.allclose(weights[38:], 1/21)
    assert conformal_limits(r, weights, 0.9).ravel().tolist() == [2, 38]

def test_coverage_of_fresh_draws_is_what_the_theory_says():
    rng, n, level = np.random.default_rng(0), 59, 0.9
    r = rng.gamma(2, size=(n, 4000))
    below, above = conformal_limits(r, np.ones(n), level)
    fresh = rng.gamma(2, size=4000)
    held = ((below <= fresh) & (fresh <= above)).mean()
    assert level - 0.015 < held < level + 2/(n + 1) + 0.015

def test_a_twin_in_the_residuals_of_another_patient_is_never_predicted_by_a_model_that_saw_it(whole):
    seen = []
    class Spy(Line):
        def fit(self, lines, responses):
            self.patients_, self.tissues_ = set(lines.patient), set(lines.tissue)
            return super().fit(lines, responses)
        def predict(self, lines):
            seen.append((self.patients_ & set(lines.patient), self.tissues_ & set(lines.tissue)))
            return super().predict(lines)
    lines, y = whole.known, whole.responses.to_numpy()
    assert whole.lines.patient.duplicated().any()
    out = left_out_predictions(Spy(), lines, y, line_folds(lines, 5, 0))
    assert np.isfinite(out).all() and not any(p for p, _ in seen)
    seen.clear()
    left_out_predictions(Spy(), lines, y, tissue_splits(lines))
    assert not any(p or t for p, t in seen)

def test_intervals_hold_on_lines_that_nothing_has_seen(whole):
    held, patient = [], []
    for train, test in line_folds(whole.known, 5, 1):
        model, new = train_model(Line(), some(whole, train)), some(whole, test)
        held.append(held_by(predict_lines(model, new.expression, new.lines), new.responses))
        patient += list(new.lines.patient)
    found = coverage(pd.concat(held), patient)
    assert 0.88 < found.coverage < 0.95 and found.lines == 150
    for level in (0.5, 0.8):
        among = held_out(model, "patients", level)
        assert abs(np.nanmean(among.held) - level) < 0.04
    assert among.held.notna().equals(model.responses.notna())

def test_each_perturbation_has_its_own_width(split):
    screen = split[0]
    loud = screen.responses.copy()
    loud.iloc[:, 0] = loud.iloc[:, 0].mean() + 10*(loud.iloc[:, 0] - loud.iloc[:, 0].mean())
    table = predict_lines(train_model(Line(), replace(screen, responses=loud)), split[1].expression)
    width = (table.high - table.low).groupby(table.perturbation).mean()
    assert width[loud.columns[0]] > 5*width.drop(loud.columns[0]).median()

def test_the_stretch_is_learned_where_far_lines_are_harder_and_mends_their_coverage():
    rng = np.random.default_rng(0)
    d = rng.uniform(0.5, 1.5, 3000)
    r = rng.standard_normal((3000, 10))*np.where(d > 1, 2.5, 1)[:, None]
    old, new = np.arange(3000) < 1500, np.arange(3000) >= 1500
    stretch = fit_stretch(d[old], module.line_difficulty(r[old]))
    assert (np.diff(stretch.factor) >= 0).all() and stretch(1.4)/stretch(0.6) > 2
    def far_coverage(stretch):
        below, above = conformal_limits(r[old]/stretch(d[old])[:, None], np.ones(1500))
        at = new & (d > 1.1)
        scores = r[at]/stretch(d[at])[:, None]
        return ((scores >= below) & (scores <= above)).mean()
    assert far_coverage(FLAT) < 0.85 and abs(far_coverage(stretch) - 0.9) < 0.02
    assert np.ptp(fit_stretch(d, rng.chisquare(10, 3000)/10).factor) < 0.25
    assert fit_stretch(d[:30], r[:30, 0]) is FLAT

def test_a_stretch_that_is_the_same_everywhere_changes_no_interval(trained, new):
    flat, double = (predict_lines(replace(trained, stretch=s), new.expression, new.lines)
                    for s in (FLAT, module.Stretch(np.zeros(1), np.array([2.0]))))
    pd.testing.assert_frame_equal(flat, double)

def test_percentiles_count_ties_half(trained, new):
    left_out = trained.left_out.copy()
    prediction = predict_lines(trained, new.expression.iloc[[0]], new.lines).set_index("perturbation").prediction
    drug = left_out.columns[2]
    left_out[drug] = prediction[drug] + np.r_[np.zeros(20), -np.ones(30), np.ones(len(left_out) - 50)]
    table = predict_lines(replace(trained, left_out=left_out), new.expression.iloc[[0]], new.lines)
    assert np.isclose(table.set_index("perturbation").percentile[drug], 100*(30 + 10)/len(left_out))

def test_chances_by_hand_and_at_either_end():
    scores = np.array([-2.0, -1, 0, 1, 2])[:, None]
    cut = 2.5
    at = np.array([[cut], [cut - 10], [cut + 10]])
    found = chance_sensitive(at, scores, np.ones(5), np.ones(3), np.array([cut]), "low")
    assert np.allclose(found.ravel(), [3.5/6, 5.5/6, 0.5/6])
    turned = chance_sensitive(-at, -scores, np.ones(5), np.ones(3), np.array([-cut]), "high")
    assert np.allclose(turned, found)

def test_the_most_sensitive_fifth_by_hand_and_in_levels():
    y = np.column_stack([np.arange(1.0, 11), np.repeat([0.0, 1, 2], [5, 4, 1]), np.ones(10), np.r_[1.0, 2, [np.nan]*8]])
    cuts, shares = sensitive_cuts(y, "low")
    assert cuts.tolist() == [2.5, 0.5, -np.inf, 1.5] and np.allclose(shares, [0.2, 0.5, 0, 0.5])
    cuts, shares = sensitive_cuts(y, "high")
    assert cuts.tolist() == [8.5, 1.5, np.inf, 1.5] and np.allclose(shares, [0.2, 0.1, 0, 0.5])

def test_ranks_percentiles_and_chances_follow_the_end_that_is_sensitive(split, predicted, trained):
    screen, new = split
    turned = replace(screen, responses=-screen.responses, units={**screen.units, "sensitive": "high"})
    table = by_pair(predict_lines(train_model(Line(), turned), new.expression, new.lines))
    ours = by_pair(predicted)
    assert (table["rank"] == ours["rank"]).all() and np.allclose(table.chance, ours.chance)
    assert np.allclose(table.low, -ours.high) and np.allclose(table.percentile, 100 - ours.percentile)
    sd, mean = trained.responses.std(ddof=0), trained.responses.mean()
    first = predicted[predicted["rank"] == 1].set_index("line")
    shift = predicted.assign(s=(predicted.prediction - predicted.perturbation.map(mean))/predicted.perturbation.map(sd))
    assert (shift.loc[shift.groupby("line").s.idxmin()].set_index("line").perturbation[first.index] == first.perturbation).all()
    assert (predicted.groupby("line", sort=False)["rank"].apply(list).map(lambda r: r == list(range(1, 13)))).all()

def test_the_order_of_training_lines_changes_nothing(split, new):
    shuffled = some(split[0], np.random.default_rng(0).permutation(len(split[0].lines)))
    models = [train_model(Line(), s, folds=3) for s in (split[0], shuffled)]
    assert np.allclose(models[0].stretch, models[1].stretch)
    a, b = (by_pair(predict_lines(m, new.expression, new.lines)) for m in models)
    for column in ("prediction", "low", "high", "percentile", "chance", "distance"): assert np.allclose(a[column], b[column])

def test_left_out_predictions_of_a_run_are_taken_over_in_any_order(split, trained):
    given = trained.left_out.iloc[::-1, ::-1]
    again = train_model(Line(), split[0], left_out=given)
    pd.testing.assert_frame_equal(again.left_out, trained.left_out)
    with pytest.raises(InputError, match="lack 1 perturbations"):
        train_model(Line(), split[0], left_out=given.iloc[:, 1:])
    assert trained.distances.far.min() > 0 and np.allclose(again.distances, trained.distances)
    tissues = left_out_predictions(Line(), split[0].known, split[0].responses.to_numpy(),
                                   list(module.tissue_folds(split[0].known).values()))
    tissues = pd.DataFrame(tissues, *split[0].responses.axes)
    assert train_model(Line(), split[0], left_out=given, left_out_tissues=tissues).stretch.at[-1] > 1

def test_one_tissue_or_none_is_no_obstacle(split, new):
    bare = replace(split[0], lines=split[0].lines.assign(tissue=""))
    table = predict_lines(train_model(Line(), bare), new.expression)
    assert np.isfinite(table.low).all()

def test_held_out_tissues_are_judged_by_other_tissues_alone(trained):
    "By hand: the limits of a tissue's lines come from the residuals of lines of other tissues."
    found = held_out(trained, "tissues", 0.8, stretched=False)
    tissue = trained.lines.tissue.to_numpy()
    rows = tissue == "tissue B"
    old = ~rows & ~trained.lines.patient.isin(trained.lines.patient[rows]).to_numpy()
    below, above = conformal_limits(trained.residuals["near"][old], patient_weights(trained.lines.patient[old]), 0.8)
    far = trained.residuals["far"][rows]
    assert np.array_equal(found.held[rows].to_numpy() == 1, (below <= far) & (far <= above))
    assert found.distance.equals(trained.distances.far)
    cuts = sensitive_cuts(trained.responses[old].to_numpy())[0]
    assert np.array_equal(found.hit[rows].to_numpy() == 1, (trained.responses[rows] < cuts).to_numpy())

def test_chances_of_held_out_lines_come_true(whole):
    found = held_out(train_model(ComponentRidge(), whole))
    table = module.chance_table(found)
    assert (np.diff(table.measured) > 0).all() and np.corrcoef(table.chance, table.measured)[0, 1] > 0.95
    assert np.average(table.chance - table.measured, weights=table.n) < 0.03
    levels = replace(whole, responses=whole.responses.rank(pct=True).apply(lambda r: (r > 0.5) + 1.0*(r > 0.9)).where(whole.responses.notna()),
                     units={**whole.units, "sensitive": "high"})
    by_level = module.chance_table(held_out(train_model(ComponentRidge(), levels)))
    assert np.average((by_level.chance - by_level.measured).abs(), weights=by_level.n) < 0.04
    permuted = found._replace(hit=found.hit.sample(frac=1, random_state=0).set_axis(found.hit.index).fillna(0))
    assert np.ptp(module.chance_table(permuted).measured) < np.ptp(table.measured)/2

# saved and loaded

@pytest.fixture
def folder(tmp_path, trained):
    save_model(tmp_path, trained)
    return tmp_path

def test_a_loaded_model_predicts_the_same_to_the_bit(folder, new, predicted):
    same(predict_lines(load_model(folder, [Line]), new.expression, new.lines), predicted)
    same(predict_lines(load_model(folder/"model", [Line]), new.expression, new.lines), predicted)
    assert {p.suffix for p in (folder/"model").iterdir()} == {".json", ".parquet"}

@pytest.mark.parametrize("order", "CF")
def test_the_fast_model_too_whatever_the_order_of_its_arrays_in_memory(order, tmp_path, split, new):
    screen = replace(split[0], expression=pd.DataFrame(np.asarray(split[0].expression, order=order), *split[0].expression.axes))
    model = train_model(FastModel(folds=2), screen, folds=2)
    save_model(tmp_path, model)
    same(predict_lines(load_model(tmp_path), new.expression, new.lines), predict_lines(model, new.expression, new.lines))

def test_a_layered_ensemble_is_saved_too(tmp_path, split, new):
    model = train_model(Leap([Rotation(20, random_state=s) for s in range(2)], folds=3), split[0], folds=2)
    save_model(tmp_path, model)
    same(predict_lines(load_model(tmp_path), new.expression, new.lines), predict_lines(model, new.expression, new.lines))

def test_what_was_saved_can_be_read_by_a_person(folder, trained):
    about = json.loads((folder/"model/about.json").read_text())
    assert about["kind"] == "Line" and about["units"]["expression"] == "log2(TPM + 1)" and about["genes"] == 120
    assert about["tissues"] == trained.tissues and about["perturbations"] == 12
    assert about["made_from"]["parameters"]["model_penalty"] == 50.0 and about["made_from"]["versions"]["drugnb"]
    genes = pd.read_parquet(folder/"model"/about["tables"]["genes"]["file"])
    assert list(genes) == ["mean", "sd", "q05", "q25", "median", "q75", "q95"]
    assert np.allclose(genes["mean"], trained.expression.mean(), atol=1e-4)

DAMAGE = {
    "a file is cut short": (lambda f: f.with_suffix(".parquet").write_bytes(f.read_bytes()[:-50]), "changed or cut short"),
    "a file is gone": (lambda f: f.unlink(), "cannot be read"),
}

@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("part", ["expression", "left_out", "state_coef"])
def test_a_damaged_model_is_refused_in_a_sentence(damage, part, folder):
    how, said = DAMAGE[damage]
    how(next((folder/"model").glob(f"{part}-*")))
    with pytest.raises(InputError, match=f"cannot be used .*{said}.*run the study again"): load_model(folder, [Line])

ALTERED = {
    "another format": (lambda a: {**a, "format": 2}, "its format is 2, this version reads 1"),
    "another kind": (lambda a: {**a, "kind": "os:system"}, "its kind 'os:system' is unknown"),
    "a table less": (lambda a: {**a, "tables": {}}, "expression"),
    "a state less": (lambda a: {**a, "state": {}}, "penalty"),
    "something else": (lambda a: {"a": 1}, "something else"),
}

@pytest.mark.parametrize("how", ALTERED)
def test_a_foreign_model_is_refused_in_a_sentence(how, folder):
    path = folder/"model/about.json"
    write_json(path, ALTERED[how][0](read_json(path)))
    with pytest.raises(InputError, match=ALTERED[how][1]): load_model(folder, [Line])
    path.write_text("{")
    with pytest.raises(InputError, match="no whole file of this drugnb"): load_model(folder, [Line])

def test_where_there_is_no_model_it_is_said(tmp_path):
    with pytest.raises(InputError, match="There is no model in .*name the folder of a run"): load_model(tmp_path)

def test_a_later_model_replaces_the_earlier_one_and_a_stop_in_between_leaves_it_whole(folder, split, new, predicted, monkeypatch):
    other = train_model(Line(500.0), split[0])
    def stopping(path, about): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(module, "write_json", stopping)
        with pytest.raises(KeyboardInterrupt): save_model(folder, other)
    same(predict_lines(load_model(folder, [Line]), new.expression, new.lines), predicted)
    save_model(folder, other)
    n = len(list((folder/"model").iterdir()))
    assert load_model(folder, [Line]).model.penalty == 500.0
    save_model(folder, other)
    assert len(list((folder/"model").iterdir())) == n == 1 + 8 + 4

def test_a_state_that_is_neither_numbers_nor_text_is_no_state(tmp_path, trained):
    class Odd(Line):
        def state(self): return {"fit": np.array([{}], dtype=object)}
    odd = Odd().fit(trained.known, trained.responses.to_numpy())
    with pytest.raises(TypeError, match="neither an array of numbers or text"): save_model(tmp_path, replace(trained, model=odd))

# the command

def called(arguments):
    given = {k: v for k, v in vars(anno_parser(predict).parse_args(list(map(str, arguments)))).items() if k not in ("pdb", "xtra")}
    return predict(**given)

def test_the_command_reads_predicts_and_writes(folder, new, predicted, capsys, monkeypatch):
    monkeypatch.setitem(module.KINDS, "Line", ("essentiality.test:state", "essentiality.test:make"))
    monkeypatch.setattr(module, "function", lambda name: Line.from_state)
    new.expression.T.to_csv(folder/"new.tsv", sep="\t")
    new.lines.to_csv(folder/"lines.csv")
    called([folder/"new.tsv", "--model", folder, "--lines", folder/"lines.csv", "--top", 3])
    out, err = capsys.readouterr()
    table = pd.read_csv(pd.io.common.StringIO(out))
    top = predicted[predicted["rank"] <= 3]
    assert list(table) == list(predicted) and list(table.perturbation) == list(top.perturbation)
    assert np.allclose(table.prediction, top.prediction, rtol=1e-4) and set(table.unit) == {"ln IC50 (µM)"}
    assert f"{len(new.lines)} lines x 12 perturbations" in err and "model: Line" in err
    called([folder/"new.tsv", "--model", folder, "--level", "0.5", "--out", folder/"out/predictions.csv"])
    narrow = pd.read_csv(folder/"out/predictions.csv")
    assert len(narrow) == len(predicted) and ((narrow.high - narrow.low).mean() < (table.high - table.low).mean())
    assert "no tissue is known" in capsys.readouterr().err

def test_the_command_reads_depmap_s_own_layout(tmp_path, trained, new, predicted, monkeypatch):
    monkeypatch.setattr(module, "load_model", lambda path: trained)
    entrez = landmark_genes().set_index("symbol").entrez_id
    table = new.expression.set_axis([f"{g} ({entrez[g]})" for g in new.expression], axis=1)
    beside = pd.DataFrame({"SequencingID": "CDS-1", "ModelID": table.index, "IsDefaultEntryForModel": "Yes"}, table.index)
    table = pd.concat([beside, table], axis=1).reset_index(drop=True)
    again = table.assign(IsDefaultEntryForModel="No").head(3)
    pd.concat([table, again], ignore_index=True).to_csv(tmp_path/"OmicsExpressionTPMLogp1.csv")
    called([tmp_path/"OmicsExpressionTPMLogp1.csv", "--model", tmp_path, "--out", tmp_path/"out.csv"])
    found = by_pair(pd.read_csv(tmp_path/"out.csv"))
    assert len(found) == len(predicted) and np.allclose(found.prediction, by_pair(predicted).prediction, rtol=1e-3, atol=1e-3)

def test_the_command_refuses_in_a_sentence(folder):
    with pytest.raises(InputError, match="There is no file"): module.read_lines(folder/"none.csv")
    with pytest.raises(InputError, match="There is no model"): called(["new.csv", "--model", folder/"elsewhere"])

# real data

@pytest.fixture(scope="module")
def real(data):
    folder = data/"essentiality"
    if not folder.is_dir(): pytest.skip("the tables of essentiality are not beside the others")
    x = pd.read_csv(folder/"expression_525x697.csv.gz", index_col=0).astype(np.float32)
    y = pd.read_csv(folder/"gdsc_lnic50_969x266.csv.gz", index_col=0).reindex(x.index)
    y = y.loc[:, y.notna().mean() >= 0.5].iloc[:, :40]
    about = pd.read_csv(folder/"cell_lines.csv", index_col=0).reindex(x.index)
    lines = pd.DataFrame({"name": about.cell_line.fillna(""), "tissue": about.lineage.fillna(""), "patient": x.index}, x.index)
    drugs = pd.DataFrame({"name": [f"drug {c}" for c in y]}, y.columns)
    units = {"expression": "log2(TPM + 1)", "responses": "ln IC50 (µM)", "sensitive": "low"}
    screen = Screen("gdsc", x, y, lines, drugs, units=units)
    return screen, pd.read_csv(folder/"expression_1450x535.csv.gz", index_col=0)

@pytest.fixture(scope="module")
def real_split(real):
    train, test = line_folds(real[0].known, 5, 0)[0]
    new = some(real[0], test)
    return train_model(ComponentRidge(), some(real[0], train)), new

def test_real_lines_are_accepted_inside_and_held(real_split):
    model, new = real_split
    table = predict_lines(model, new.expression, new.lines)
    once = table.drop_duplicates("line")
    assert once.outside.mean() < 0.08 and not once.remark.str.contains("training").any()
    found = coverage(held_by(table, new.responses), new.lines.patient)
    assert found.coverage_low < 0.9 < found.coverage_high + 0.01
    assert not [n for n in table.attrs["notes"] if "times" in n or "medians" in n]

def test_the_same_lines_in_another_release_are_predicted_alike(real, real_split):
    (screen, release), (model, new) = real, real_split
    ids, genes = new.expression.index.intersection(release.index), screen.expression.columns.intersection(release.columns)
    a, b = (by_pair(predict_lines(model, t.loc[ids, genes], new.lines, least=0.2)) for t in (new.expression, release))
    r = pd.concat([a.prediction, b.prediction], axis=1).groupby(level=1).corr().iloc[::2, 1]
    assert r.min() > 0.97
    assert ((a.prediction > b.low) & (a.prediction < b.high)).mean() > 0.99
    assert (a.chance - b.chance).abs().median() < 0.03

def test_training_lines_are_known_again_in_another_release(real):
    screen, release = real
    e = screen.expression
    ids = e.index.intersection(release.index)
    genes = gene_scales(e)
    placed = place_lines(release.loc[ids].reindex(columns=e.columns).to_numpy(float), e, genes, screen.lines.patient)
    assert placed.twin.mean() > 0.97 and (e.index[placed.nearest[placed.twin]] == ids[placed.twin]).all()
    others = release.drop(index=ids).reindex(columns=e.columns).to_numpy(float)
    assert place_lines(others, e, genes, screen.lines.patient).twin.mean() < 0.01

@pytest.mark.parametrize("change", [c for c in CHANGES if c != "arrays"])
def test_real_tables_on_another_scale_are_refused(change, real_split):
    model, new = real_split
    how, said = CHANGES[change]
    for rows in (slice(None), slice(20, 26)):
        values = new.expression.iloc[rows]
        with pytest.raises(InputError, match=said):
            check_scale(pd.DataFrame(how(values.to_numpy(float)), *values.axes), model.expression, model.genes, "log2(TPM + 1)")

def test_every_real_line_alone_is_accepted(real_split):
    model, new = real_split
    for i in range(0, len(new.expression), 25):
        check_scale(new.expression.iloc[[i]], model.expression, model.genes, "log2(TPM + 1)")
