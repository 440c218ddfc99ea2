"""What a study may hold, what may be chosen in it, and that no sentence or title speaks of what is missing."""
import matplotlib.pyplot as plt
import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from drugnb.core.plausible import LARGEST_CHANGE, expression_fault, gene_summary, viability_kind
from drugnb.core.settings import InputError
from drugnb.weighting.choose import allowed, best, cross_predict, grid_r, nested_choice, training_splits
from drugnb.weighting.compare import GAIN, REFERENCE, by_clustering, compared, verdict
from drugnb.weighting.figures import figure_coefficients, figure_robustness
from drugnb.weighting.load import checked_expression, filled, published_model, read_coefficients, rows_with_values
from drugnb.weighting.weight import UNWEIGHTED


@pytest.fixture
def matrix(): return pd.DataFrame(np.random.default_rng(0).normal(size=(20, 30)), [f"s{i}" for i in range(20)], [f"G{i}" for i in range(30)])

# load's door

DOORS = {
    "infinite": (lambda x: x.mask(x == x.iloc[0, 0], np.inf), "'s0' is infinite"), "empty": (lambda x: x*np.nan, "every value is missing"),
    "all 0": (lambda x: x*0, "0 everywhere"), "equal rows": (lambda x: x*0 + x.iloc[0], "one signature 20 times"),
    "1e19": (lambda x: x*1e19, "no change of expression is so large"), "one value of 1e7": (lambda x: x.mask(x == x.iloc[3, 4], 1e7), "gene G4"),
    "1e-9": (lambda x: x*1e-9, "no gene changes"), "whole numbers": (lambda x: (x.abs()*100).round(), "raw counts"),
    "mostly missing": (lambda x: x.where(np.random.default_rng(1).random(x.shape) < 0.4), "are missing: leave out"),
    "hardly a gene": (lambda x: x.where(np.broadcast_to(np.arange(30) < 2, x.shape)), "No training sample has a tenth"),
}

@pytest.mark.parametrize("how", DOORS)
def test_what_holds_no_changes_is_refused_in_one_sentence(matrix, how):
    spoil, said = DOORS[how]
    with pytest.raises(InputError) as e: checked_expression(spoil(matrix), matrix, "training")
    assert said in str(e.value) and "\n" not in str(e.value) and str(e.value).endswith(".")

def test_a_sample_with_hardly_a_gene_is_left_out_and_never_counts_as_unchanged(matrix):
    holes = matrix.copy()
    holes.iloc[0, 2:] = np.nan  # 2 of 30 genes
    holes.iloc[1, 3:] = np.nan  # 3: a tenth
    x, table, summary, notes = checked_expression(holes, matrix, "training")
    assert x.index.tolist() == table.index.tolist() == matrix.index[1:].tolist() and (x.iloc[0, 3:] == 0).all()
    assert summary.known.max() == 19 and "fewer than 10% of the genes) left out: s0" in notes[0]
    assert rows_with_values(matrix, "training")[0].all() and rows_with_values(matrix, "training")[1] == []
    half = matrix.mask(np.broadcast_to(np.arange(30) < 15, matrix.shape))
    assert filled(half, "training")[1] and filled(matrix, "training")[1] == []

def test_a_change_up_to_a_million_is_one():
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 30)))
    for top, fault in ((LARGEST_CHANGE, False), (1.001*LARGEST_CHANGE, True), (-1.001*LARGEST_CHANGE, True)):
        x.iloc[0, 0] = top
        assert bool(expression_fault(x, gene_summary(x), "training")) == fault
    assert viability_kind(0.9 + 1e-9*np.arange(9)) == "constant" and viability_kind(0.9 + 1e-3*np.arange(9)) == ""

def test_published_coefficients_that_are_no_numbers_are_named(tmp_path):
    path, genes = tmp_path/"coefficients.csv", pd.Index(["TP53", "MYC", "EGFR"])
    path.write_text("gene,coefficient\nTP53,0.5\nMYC,much\nEGFR,1\nintercept,1\n")
    with pytest.raises(InputError, match="gives MYC the coefficient 'much', which is no number"): read_coefficients(path, genes)
    path.write_text("gene,coefficient\nTP53,0.5\nMYC,\nEGFR,1\nintercept,1\n")
    found = read_coefficients(path, genes)
    assert "1 published coefficients have no value" in " ".join(published_model(found, genes)[1])
    with pytest.raises(InputError, match="coefficient of MYC is infinite"): published_model(found.fillna(np.inf), genes)

# choosing

INDEX = pd.MultiIndex.from_product([["unweighted", "cluster: size"], [1, 10]], names=["weighting", "alpha"])

def test_r_is_missing_for_a_model_with_a_missing_prediction_and_0_for_a_constant_one():
    y, p = np.array([1.0, 2, 3, 4]), np.array([[1.0, 2, 3, 4], [4, 3, 2, 1], [1, np.nan, 3, 4], [2, 2, 2, 2]])
    np.testing.assert_allclose(grid_r(p.reshape(2, 2, 4), y), [1, -1, np.nan, 0])
    many = np.random.default_rng(0).normal(size=(70, 9))
    truth = many[0] + many[1]
    np.testing.assert_allclose(grid_r(many, truth), [np.corrcoef(m, truth)[0, 1] for m in many])

def test_folds_leave_out_whole_compounds_and_with_a_plate_its_compounds():
    samples = pd.DataFrame({"compound": list("aabbccdd"), "plate": list("ppqqpprr")})
    for by in ("compound", "plate"):
        for train, test in training_splits(samples, by, 3):
            assert not set(samples["compound"][train]) & set(samples["compound"][test]) and not set(samples[by][train]) & set(samples[by][test])
    with pytest.raises(InputError, match="no plate"): training_splits(samples.drop(columns="plate"), "plate")
    with pytest.raises(InputError, match="two groups"): training_splits(samples.assign(plate="p"), "plate")
    with pytest.raises(InputError, match="Nothing is left"): training_splits(samples.assign(plate=list("pqpqpqpq")), "plate")

def test_out_of_fold_predictions_by_hand():
    "One gene, two models: y = x and y = -x; each fold and pair of folds has its own multiple of them."
    x, y, splits = np.arange(6.0)[:, None], np.arange(6.0), [(np.delete(np.arange(6), [i, i + 3]), np.array([i, i + 3])) for i in range(3)]
    models = np.array([[1.0, 0], [-1, 0]])
    pairs = {frozenset(p): 10*models for p in ((0, 1), (0, 2), (1, 2))}
    c = cross_predict(x, y, splits, models, [k*models for k in (1, 2, 3)], pairs)
    assert c.held_out[0].tolist() == [0, 2, 6, 3, 8, 15] and (c.held_out[1] == -c.held_out[0]).all()
    np.testing.assert_allclose(c.inner, [[1, -1]]*3, atol=1e-6)
    r = np.corrcoef(c.held_out[0], y)[0, 1]
    np.testing.assert_allclose(c.r, [r, -r], atol=1e-6)
    assert cross_predict(x, y, splits, models, [models]*3, {}).inner.shape == (0, 2)

def test_the_best_is_the_largest_that_a_rule_allows():
    grid = pd.DataFrame({"r": [0.1, 0.3, 0.5, np.nan]}, INDEX)
    assert best(grid, "r") == (INDEX[2]) and allowed([UNWEIGHTED], "unweighted").all() and not allowed([UNWEIGHTED], "weighted").any()
    with pytest.raises(InputError, match="correlation to choose one by"): best(grid*np.nan, "r")

def test_each_fold_is_predicted_by_the_choice_of_the_others():
    splits = [(None, np.array([0, 1])), (None, np.array([2, 3])), (None, np.array([4, 5]))]
    inner = np.array([[0.1, 0.9, np.nan, 0.2], [0.8, 0.1, 0.2, 0.3], [0.0, 0.1, 0.2, 0.9]])
    held_out = np.arange(4)[:, None]*10.0 + np.arange(6)
    predicted, chosen = nested_choice(inner, held_out, splits, INDEX)
    assert predicted.tolist() == [10, 11, 2, 3, 34, 35] and chosen == [INDEX[1], INDEX[0], INDEX[3]]
    for two in (inner[:2], inner[:0]):
        with pytest.raises(InputError, match="no nested choice"): nested_choice(two, held_out, splits, INDEX)

# sentences and titles

def test_without_a_reference_gains_are_missing_and_nothing_is_said_of_them():
    rng = np.random.default_rng(0)
    samples = pd.DataFrame({"viability": rng.random(30), "compound": np.repeat(np.arange(15), 2)})
    table = compared("all", samples, {"no information": np.zeros(30), "published coefficients": rng.random(30)}, {}, 20)
    assert REFERENCE not in table.loc["all"].index and table[GAIN].isna().all().all()
    empty = pd.DataFrame(columns=["cluster", "model", "size", "r_outside", "change"])
    moved = pd.DataFrame({"perplexity": 30.0, "seed": 0, "factor": 1.0, "model": ["unweighted", "chosen in training"], "r_outside": [0.1, np.nan]})
    said = verdict({"comparison": table, "optimism": pd.DataFrame(), "robustness": moved, "masking": empty})
    assert said == ["No unweighted model could be chosen in training: nothing is compared outside.",
                    "On no clustering could cluster weights be chosen in training."]
    assert not len(by_clustering(moved)) and by_clustering(moved.fillna(0.2)).above.tolist() == [True]

def titles(fig): return [t.get_text() for t in fig.findobj(matplotlib.text.Text) if t.get_text()]

def test_figures_of_what_does_not_vary_name_no_missing_number():
    moved = pd.DataFrame({"perplexity": 30.0, "seed": 0, "factor": 1.0, "model": ["unweighted", "chosen in training"], "r_outside": np.nan})
    zeros = pd.DataFrame({"chosen in training": [0.1, -0.2, 0.3], "published": 0.0}, ["A", "B", "C"])
    for fig in (figure_robustness(moved), figure_coefficients(zeros), figure_coefficients(zeros[:1])):
        assert not [t for t in titles(fig) if "nan" in t.lower()]
        plt.close(fig)
