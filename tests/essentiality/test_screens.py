"""Screens: tables met by name in any order, units and gaps recognised or refused, simulated truth, folders read and written."""
import gzip
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.essentiality.data import (
    SIMULATED,
    Lines,
    assemble_screen,
    enough,
    open_screen,
    read_gmt,
    read_screen,
    screen_files,
    simulate_screen,
    write_example,
    write_screen,
)

TABLES = ("expression", "responses", "lines", "perturbations", "second", "mutations", "gene_sets")
GENES = ["TP53", "MYC", "EGFR", "JUN"]
IC50 = {"responses": "ln IC50 (µM)"}

@pytest.fixture(scope="module")
def screen(): return simulate_screen(**SIMULATED["simulated-small"], seed=4)

def tables(screen):
    "What a person would give to get this screen."
    found = {t: getattr(screen, t) for t in TABLES}
    return {**found, "lines": screen.lines.drop(columns="name").reset_index(), "units": dict(screen.units)}

def same(a, b):
    "Raise where two screens differ in any table."
    for table in TABLES:
        left, right = getattr(a, table), getattr(b, table)
        assert (left is None) == (right is None), table
        if left is not None: pd.testing.assert_frame_equal(left, right, check_exact=True, check_names=False)
    assert a.units == b.units

def few(n=12, genes=GENES, drugs=("d1", "d2", "d3"), seed=0):
    "Expression and responses of a few lines under DepMap's ids."
    rng = np.random.default_rng(seed)
    ids = [f"ACH-{i:06d}" for i in range(1, n + 1)]
    expression = pd.DataFrame(rng.gamma(2, 2, (n, len(genes))), ids, list(genes))
    return expression, pd.DataFrame(rng.normal(0.5, 1, (n, len(drugs))) + 2*np.arange(len(drugs)), ids, list(drugs))

# met by name

def test_any_order_and_orientation_of_any_table_gives_the_same_screen(screen):
    rng, given = np.random.default_rng(1), tables(screen)
    def shuffled(table): return table.sample(frac=1, random_state=2).sample(frac=1, axis=1, random_state=3)
    found = assemble_screen("again", **{n: shuffled(t) if n != "units" else t for n, t in given.items()} | {
        "lines": given["lines"].iloc[rng.permutation(len(given["lines"]))].reset_index(drop=True)})
    turned = assemble_screen("turned", **{n: shuffled(t).T if n in ("expression", "responses", "second", "mutations", "gene_sets") else t
                                          for n, t in given.items()})
    plain = assemble_screen("plain", **given)
    for other in (found, turned, plain): same(screen, other)
    assert found.key == turned.key == plain.key, "the key does not depend on the order either"

def test_values_stay_with_their_line_gene_and_drug():
    expression, responses = few()
    expression.loc["ACH-000003", "MYC"], responses.loc["ACH-000003", "d2"] = 7.5, -4.25
    found = assemble_screen("", expression.iloc[::-1, ::-1], responses.sample(frac=1, random_state=0))
    assert found.expression.loc["ACH-000003", "MYC"] == 7.5 and found.responses.loc["ACH-000003", "d2"] == -4.25
    assert found.expression.index.equals(found.responses.index) and found.expression.index.is_monotonic_increasing

@pytest.mark.parametrize("column", ["DepMap_ID", "ModelID", "model_id", "depMapID"])
def test_every_name_of_depmap_s_id_is_known(column):
    expression, responses = few()
    lines = pd.DataFrame({"name": [f"cell {i}" for i in range(12)], column: expression.index, "lineage": "lung",
                          "PatientID": ["PT-1", "PT-1", *[None]*10]})
    found = assemble_screen("", expression, responses, lines)
    assert found.lines.tissue.eq("lung").all() and found.lines.loc["ACH-000002", "name"] == "cell 1"
    assert found.lines.patient.tolist()[:3] == ["PT-1", "PT-1", "ACH-000003"]
    assert f"lines are identified by their {column}" in found.report

def test_lines_meet_through_names_and_other_ids_of_the_annotation():
    expression, responses = few(6)
    lines = pd.DataFrame({"ModelID": expression.index, "CellLineName": ["A-375", "HL-60", "T.T", "TT", "MCF7", "PC-3"],
                          "COSMICID": [1.0, 2, 3, 4, 5, 6], "OncotreeLineage": ["a", "b", "c", "d", "e", "f"]})
    by_cosmic = responses.set_axis(["1", "2", "3", "4", "5", "6"])
    by_name = responses.set_axis(["A375_SKIN", "hl60", "T.T", "TT", "MCF-7", "PC3"])
    straight = assemble_screen("", expression, responses, lines)
    same(straight, assemble_screen("", expression, by_cosmic, lines))
    same(straight, assemble_screen("", expression, by_name, lines))
    same(straight, assemble_screen("", expression.set_axis(by_name.index), by_cosmic, lines))

def test_names_that_stand_for_two_lines_are_left_out_and_named():
    expression, responses = few(6)
    lines = pd.DataFrame({"ModelID": expression.index, "CellLineName": ["A-375", "HL-60", "T.T", "TT", "MCF7", "PC-3"]})
    found = assemble_screen("", expression, responses.set_axis(["A375", "HL60", "T-T", "t t", "MCF7", "PC3"]), lines)
    assert found.responses.index.tolist() == [f"ACH-00000{i}" for i in (1, 2, 5, 6)]
    assert any("2 lines of the responses left out" in r and "T-T, t t" in r for r in found.report)
    both = ["A375", "HL60", "T-T", "t t", "MCF7", "PC3"]
    again = assemble_screen("", expression.set_axis(both), responses.set_axis(both), lines)
    assert again.responses.index.tolist() == found.responses.index.tolist(), "nor as further lines of their own"
    assert sum("2 lines of the" in r for r in again.report) == 2

def test_names_meet_without_an_annotation_too():
    expression, responses = few(6)
    names = ["A-375", "HL-60", "SK-MEL-5", "MCF7", "PC-3", "HT-29"]
    other = ["A375_SKIN", "HL60", "SKMEL5", "MCF-7", "PC3", "HT29_LARGE_INTESTINE"]
    found = assemble_screen("", expression.set_axis(names), responses.set_axis(other))
    assert sorted(found.responses.index) == sorted(names)
    assert np.allclose(found.responses.loc["A-375"], responses.iloc[0].to_numpy())

def test_lines_without_one_of_both_are_counted_with_examples():
    expression, responses = few(12)
    found = assemble_screen("", expression.iloc[2:], responses.iloc[:-1])
    assert len(found.responses) == 9
    assert "1 line with expression but no responses (ACH-000012)" in found.report
    assert "2 lines with responses but no expression (ACH-000001, ACH-000002)" in found.report

def test_tables_that_share_no_line_are_refused_with_counts_and_examples_of_both():
    expression, responses = few(12)
    with pytest.raises(InputError, match=r"12 lines of the expression begin ACH-000001, .* the 5 of the responses X0, X1, X2, …"):
        assemble_screen("", expression, responses.iloc[:5].set_axis([f"X{i}" for i in range(5)]))

def test_genes_are_no_lines_though_expression_and_responses_share_them():
    "A gene-effect table shares more genes with the expression than lines, in either orientation."
    genes = [*GENES, "EGR1", "CDK4", "CCND1", "HSPA1A", "BAX", "CDKN1A"]
    expression, responses = few(5, genes, genes)
    names = ["A375", "HL60", "MCF7", "PC3", "HT29"]
    expression, responses = expression.set_axis(names), -responses.set_axis(names)/4 + 1
    for turn in ((False, False), (True, False), (False, True), (True, True)):
        pair = [t.T if flip else t for t, flip in zip((expression, responses), turn, strict=True)]
        found = assemble_screen("", *pair, units={"responses": "gene effect"})
        assert sorted(found.responses.index) == sorted(names) and found.expression.columns.isin(genes).all()

# numbers, genes, gaps

@pytest.mark.parametrize("spoil, says", [
    (lambda e, r: (e.set_axis([e.index[0], *e.index[:-1]]), r), "expression .rows. holds the id 'ACH-000001' more than once"),
    (lambda e, r: (e, pd.concat([r, r[["d1"]]], axis=1)), "responses .columns. holds the id 'd1' more than once"),
    (lambda e, r: (e.astype(object).replace(e.iloc[1, 1], "high"), r), "the text 'high' in row 'ACH-000002', column 'MYC'"),
    (lambda e, r: (e, r.replace(r.iloc[2, 0], np.inf)), "infinite value in row 'ACH-000003', column 'd1'"),
    (lambda e, r: (2**(2*e) + 30, r), "perhaps TPM.*write expression_unit"),
    (lambda e, r: ((e*100).round(), r), "perhaps counts"),
    (lambda e, r: (e - 5, r), "goes down to .* not standardised"),
    (lambda e, r: (e/e.max().max(), r), "no expression in a known unit"),
    (lambda e, r: (e*np.nan, r), "More than half of the expression is missing in every line"),
    (lambda e, r: (e*0 + 3, r), "No gene's expression differs"),
    (lambda e, r: (e, r*np.nan), "No response of any line"),
    (lambda e, r: (e, np.exp(r) + 1), "write responses_unit and sensitive"),
    (lambda e, r: (e, (r - r.min())/(r.max() - r.min())), "unit of the responses cannot be told"),
])
def test_spoilt_tables_are_named(spoil, says):
    with pytest.raises(InputError, match=says): assemble_screen("", *spoil(*few()))

def test_optional_tables_that_meet_nothing_are_refused():
    expression, responses = few()
    other = pd.DataFrame(1.0, ["X1", "X2"], ["KRAS", "BRAF"])
    for name, says in (("second", "shares 0 lines"), ("mutations", "of other lines .they begin X1"),
                       ("gene_sets", "hold no gene of the expression")):
        with pytest.raises(InputError, match=says): assemble_screen("", expression, responses, **{name: other})
    with pytest.raises(InputError, match="hold 3 in row 'ACH-000001', column 'KRAS'"):
        assemble_screen("", expression, responses, mutations=pd.DataFrame({"KRAS": 3.0}, expression.index))
    twice = pd.DataFrame({"ModelID": [*expression.index, expression.index[0]]})
    with pytest.raises(InputError, match="table of lines holds the id 'ACH-000001' more than once"):
        assemble_screen("", expression, responses, twice)
    with pytest.raises(InputError, match="table of perturbations holds the id 'd1' more than once"):
        assemble_screen("", expression, responses, perturbations=pd.DataFrame({"drug_id": ["d1", "d1"], "name": ["a", "b"]}))

def test_genes_go_by_their_present_symbol_and_synonyms_are_averaged():
    expression, responses = few(genes=["TP53 (7157)", "4609", "WDR61", "ENSG1.2"])
    found = assemble_screen("", expression, responses)
    assert found.expression.columns.tolist() == ["ENSG1", "MYC", "SKIC8", "TP53"]
    both = assemble_screen("", expression.assign(**{"7157": expression["TP53 (7157)"] + 2}), responses)
    assert np.allclose(both.expression["TP53"], expression["TP53 (7157)"] + 1)
    assert "1 gene under another name of one that is there: averaged with it" in both.report

def test_missing_expression_is_filled_or_dropped_as_is_said():
    expression, responses = few(40)
    middle = expression["MYC"].iloc[1:].median()
    expression.iloc[0, 1] = np.nan
    expression.iloc[:3, 2] = -666
    expression.iloc[39] = np.nan
    found = assemble_screen("", expression.assign(JUN=3.0), responses)
    assert found.expression.columns.tolist() == ["MYC", "TP53"] and len(found.expression) == 39
    assert np.isclose(found.expression.loc["ACH-000001", "MYC"], expression["MYC"].median()) and not np.isclose(middle, 0)
    report = " | ".join(found.report)
    for said in ("1 line left out: more than half of the expression", "1 gene dropped: missing in more than 5%",
                 "1 missing value of expression filled", "1 gene dropped: the same in every line"): assert said in report

def test_missing_responses_are_masked_and_counted_under_every_code():
    expression, responses = few()
    spoilt = responses.astype(object)
    for i, mark in enumerate(["NA", "", None, -666, "#N/A"]): spoilt.iloc[i, 0] = mark
    spoilt.iloc[5] = np.nan
    found = assemble_screen("", expression, spoilt, units=IC50)
    assert len(found.responses) == 11 and found.responses.isna().sum().tolist() == [5, 0, 0]
    assert "5 of 33 responses missing (15.2%)" in found.report
    assert "1 line left out: no response is known (ACH-000006)" in found.report

# units

@pytest.mark.parametrize("make, genes, unit, sensitive", [
    (lambda g: g.normal(3, 1, (60, 8)) + np.arange(-4, 4), False, "ln IC50 (µM)", "low"),
    (lambda g: g.beta(9, 1, (60, 8)), False, "AUC", "low"),
    (lambda g: g.beta(1, 9, (60, 8)), False, "AAC", "high"),
    (lambda g: g.integers(0, 3, (60, 8)), True, "dependency level (0, 1, 2)", "high"),
    (lambda g: g.normal(0, 0.3, (60, 8)) - 1.2*(np.arange(8) == 3), True, "gene effect", "low"),
    (lambda g: g.beta(0.3, 2, (60, 8)), True, "dependency probability", "high"),
])
def test_units_of_responses_are_recognised_by_their_values(make, genes, unit, sensitive):
    names = ["TP53", "MYC", "EGFR", "JUN", "EGR1", "CDK4", "CCND1", "BAX"] if genes else [f"d{i}" for i in range(8)]
    expression, _ = few(60)
    values = pd.DataFrame(make(np.random.default_rng(0)), expression.index, names)
    found = assemble_screen("", expression, values)
    assert (found.units["responses"], found.units["sensitive"]) == (unit, sensitive)
    assert any("as far as the values tell" in r for r in found.report)
    stated = assemble_screen("", expression, values, units={"responses": "my score", "sensitive": "high"})
    assert stated.units["responses"] == "my score" and stated.units["sensitive"] == "high"

def test_units_that_are_stated_go_before_values_but_must_not_contradict_them():
    expression, responses = few(60)
    z = (expression - expression.mean())/expression.std()
    assert assemble_screen("", z, responses).units["expression"] == "z-score per gene"
    assert assemble_screen("", expression, responses).units["expression"] == "log2(TPM + 1)"
    assert assemble_screen("", expression/2 + 1, responses).units["expression"] == "log2 intensity"
    assert assemble_screen("", expression*100, responses, units={"expression": "TPM"}).units["expression"] == "TPM"
    with pytest.raises(InputError, match="goes up to .* take the logarithm"):
        assemble_screen("", expression*100, responses, units={"expression": "log2(TPM + 1)"})
    with pytest.raises(InputError, match="goes down to"): assemble_screen("", z, responses, units={"expression": "log2(TPM + 1)"})
    with pytest.raises(InputError, match="write sensitive = low or high"): assemble_screen("", expression, responses, units={"responses": "score"})

# perturbations

def test_numbers_of_drugs_are_never_taken_for_genes():
    "1026 is a drug of GDSC, and the Entrez id of CDKN1A."
    expression, responses = few(drugs=["1026", "7157", "4609"])
    found = assemble_screen("", expression, responses, perturbations=pd.DataFrame({"DRUG_ID": [1026.0, 7157.0], "DRUG_NAME": ["Tanespimycin", "b"]}))
    assert found.responses.columns.tolist() == ["1026", "4609", "7157"]
    assert found.perturbations.name.tolist() == ["Tanespimycin", "4609", "b"]

def test_lost_genes_go_by_their_present_symbol():
    expression, responses = few(drugs=["TP53 (7157)", "WDR61 (80349)", "A1BG (1)"])
    found = assemble_screen("", expression, -responses/8 + 0.8, units={"responses": "gene effect"})
    assert found.responses.columns.tolist() == ["A1BG", "SKIC8", "TP53"] == found.perturbations.repeat_of.tolist()

def test_a_compound_under_two_ids_is_one_compound_with_two_labels():
    expression, responses = few(drugs=["1032", "1377", "150"])
    found = assemble_screen("", expression, responses, perturbations=pd.DataFrame(
        {"name": ["Afatinib", "afatinib ", "Bicalutamide"], "target": ["EGFR", None, "AR"]}, ["1032", "1377", "150"]))
    assert found.perturbations.repeat_of.tolist() == ["Afatinib", "Afatinib", "Bicalutamide"]
    assert found.perturbations.label.is_unique and "compounds screened under more than one id: 1" in found.report
    assert found.perturbations.target.tolist() == ["EGFR", "", "AR"]
    again = assemble_screen("", expression, responses, perturbations=pd.DataFrame({"name": ["JQ1", "JQ1", "x"]}, ["1032", "1377", "150"]))
    assert again.perturbations.label.tolist() == ["JQ1 (1032)", "JQ1 (1377)", "x"]

def test_a_second_screen_is_matched_by_names_and_synonyms_where_they_stand_for_one_drug():
    ids = ["1", "2", "3", "4", "5", "6"]
    expression, responses = few(drugs=ids)
    drugs = pd.DataFrame({"name": ["Alpha", "Beta", "Gamma", "Gamma", "Delta", "Eta"],
                          "synonyms": ["ABT-1, AT 7", None, None, None, "shared", "Shared"]}, ids)
    second = responses.iloc[::-1, ::-1].set_axis(["shared", "other", "Gamma", "more", "beta", "ABT1"], axis=1).iloc[:5]
    found = assemble_screen("", expression, responses, perturbations=drugs, second=second)
    assert found.second.columns.tolist() == ["1", "2", "3", "4"] and found.second.index.is_monotonic_increasing
    assert found.second["3"].equals(found.second["4"].rename("3")), "one compound under two ids was screened again once"
    line = found.second.index[0]
    assert np.isclose(found.second.loc[line, "1"], second.loc[line, "ABT1"], atol=1e-6)
    assert "1 perturbation of the second screen left out: several compounds here have the name (shared)" in found.report

def test_enough_drops_what_cannot_be_judged_and_says_it():
    expression, responses = few(40, drugs=["a", "b", "c", "d"])
    responses.iloc[:25, 0] = np.nan
    responses["b"] = [1.0]*39 + [2]
    responses.iloc[3, 2:] = np.nan
    responses.loc[responses.index[3], "a"] = 1.0
    found = assemble_screen("", expression, responses, units=IC50, second=responses[["a", "c"]])
    kept = enough(found, 0.5)
    assert kept.responses.columns.tolist() == ["c", "d"] == kept.perturbations.index.tolist()
    assert len(kept.responses) == len(kept.lines) == len(kept.expression) == 39 and kept.second.columns.tolist() == ["c"]
    report = " | ".join(kept.report)
    for said in ("1 perturbation left out: measured in fewer than 50% of the lines", "1 perturbation left out: one value in more than 95%",
                 "1 line left out: no response to what remains (ACH-000004)", "2 perturbations and 39 lines remain"): assert said in report
    assert kept.key != found.key and enough(found, 0.3).responses.columns.tolist() == ["a", "c", "d"]
    with pytest.raises(InputError, match="lower least"): enough(replace(found, responses=found.responses[["a"]]), 0.9)

def test_of_a_second_screen_too_what_is_rarely_measured_is_left_out():
    expression, responses = few(40, drugs=["a", "b", "c"])
    second = responses[["a", "b"]].copy()
    second.iloc[:30, 0] = np.nan
    kept = enough(assemble_screen("", expression, responses, units=IC50, second=second), 0.5)
    assert kept.second.columns.tolist() == ["b"]
    assert any("1 perturbation of the second screen left out: measured in fewer than 50% of its lines" in r for r in kept.report)

def test_what_a_model_may_see_is_in_the_order_of_the_responses(screen):
    known = screen.known
    assert isinstance(known, Lines) and known.expression.dtype == np.float64
    assert np.array_equal(known.expression, screen.expression.to_numpy(np.float64))
    assert known.patient.tolist() == screen.lines.loc[screen.responses.index, "patient"].tolist()
    some = np.array([5, 0])
    assert known.rows(some).tissue.tolist() == [known.tissue[5], known.tissue[0]] and known.rows(some).expression.shape == (2, 150)

def test_what_is_not_known_of_a_line_stays_unknown_and_two_copies_count_as_one():
    expression, responses = few(6)
    found = assemble_screen("", expression, responses, mutations=pd.DataFrame({"KRAS": [0, 1, 2, np.nan]}, expression.index[:4]))
    np.testing.assert_array_equal(found.mutations.KRAS, [0, 1, 1, np.nan, np.nan, np.nan])
    assert "1 mutation and other features, known for 3 of 6 lines" in found.report
    assert "1 mutation of both copies (2) counted as a mutation (1)" in found.report

# simulated

def test_the_simulated_truth_is_what_was_measured(screen):
    truth = screen.truth["responses"]
    assert set(truth.columns) == set(screen.responses.columns) and set(truth.index) == set(screen.responses.index)
    own = np.array([screen.responses[d].corr(truth[d], "spearman") for d in truth])
    assert own.min() > 0.5, "every drug's responses follow its own truth"
    other = [screen.responses[d].corr(truth[e], "spearman") for d, e in zip(truth, np.roll(truth.columns, 1), strict=True)]
    assert np.mean(other) < own.mean() - 0.3

def test_drugs_answer_to_their_own_pathway_in_the_direction_of_their_sign(screen):
    activity, pathway, sign = screen.truth["activity"], screen.truth["pathway"], screen.truth["sign"]
    r = pd.DataFrame({d: activity.corrwith(screen.truth["responses"][d], method="spearman") for d in pathway.index})
    own = pd.Series({d: r.loc[p, d] for d, p in pathway.items()})
    assert (np.sign(own) == sign).all() and own.abs().mean() > 2*r.abs().mean().mean()
    assert (screen.perturbations.pathway == pathway[screen.perturbations.index]).all()
    driver = screen.mutations[screen.truth["driver"]["pathway A"]]
    assert activity["pathway A"].groupby(driver).mean().diff().iloc[-1] > 0.5

def test_true_genes_show_the_pathway_and_decoys_do_not(screen):
    genes, x = screen.gene_sets.loc[screen.expression.columns], screen.expression - screen.expression.mean()
    score = x @ genes
    true = [abs(score[p].corr(screen.truth["activity"][p])) for p in screen.truth["activity"]]
    decoys = [abs(score[d].corr(a)) for d in score.filter(like="decoy") for _, a in screen.truth["activity"].items()]
    assert np.mean(true) > 0.6 and np.mean(decoys) < 0.3

def test_the_simulated_screen_is_as_noisy_as_real_ones_and_gaps_come_in_blocks():
    screen = open_screen("simulated")
    y, names = screen.responses, screen.perturbations.repeat_of
    pairs = [g.index for _, g in names.groupby(names) if len(g) == 2]
    assert len(pairs) == 2 and 0.4 < np.mean([y[a].corr(y[b], "spearman") for a, b in pairs]) < 0.65
    assert 0.4 < np.mean([y[d].corr(screen.second[d], "spearman") for d in screen.second]) < 0.65
    gaps = y.isna()
    assert 0.10 < gaps.to_numpy().mean() < 0.20
    alike = gaps.loc[:, gaps.mean().between(0.05, 0.4)].astype(float).corr().to_numpy()
    assert (alike[np.triu_indices_from(alike, 1)] > 0.7).mean() > 0.15, "drugs of one batch lack the same lines"
    assert screen.lines.patient.duplicated(keep=False).sum() >= 14 and screen.expression.max().max() < 18

def test_lines_of_one_patient_are_alike():
    screen = open_screen("simulated")
    x = np.corrcoef((screen.expression - screen.expression.mean())/screen.expression.std())
    patient = screen.lines.patient.to_numpy()
    pair = (patient[:, None] == patient) & ~np.eye(len(patient), dtype=bool)
    assert x[pair].mean() > x[~pair & ~np.eye(len(x), dtype=bool)].mean() + 0.2

def test_the_same_seed_gives_the_same_screen_and_another_seed_another():
    one, two, other = (simulate_screen(60, 80, 12, 4, 3, seed=s) for s in (1, 1, 2))
    same(one, two)
    assert one.key == two.key != other.key and not one.expression.equals(other.expression)

# files

def test_a_screen_survives_its_files(screen, tmp_path):
    found = read_screen(write_screen(screen, tmp_path/"mine"))
    same(screen, found)
    assert found.name == "mine" and open_screen(str(tmp_path/"mine")).key == found.key

@pytest.mark.parametrize("ending", ["tsv", "parquet", "csv.gz"])
def test_tables_in_any_format_and_orientation_are_the_same_screen(screen, tmp_path, ending):
    folder = write_screen(screen, tmp_path)
    for path in sorted(folder.glob("*.csv")):
        if path.stem == "units": continue
        table = pd.read_csv(path, index_col=0)
        if path.stem in ("expression", "responses"): table = table.T
        path.unlink()
        target = tmp_path/f"{path.stem}.{ending}"
        if ending == "parquet": table.to_parquet(target)
        else: table.to_csv(target, sep="\t" if ending == "tsv" else ",")
    same(screen, read_screen(folder))

def test_units_beside_the_tables_go_before_settings_and_values(screen, tmp_path):
    folder = write_screen(replace(screen, units={"expression": "my scale", "responses": "score", "sensitive": "high"}), tmp_path)
    found = read_screen(folder, {"responses_unit": "other", "sensitive": "low"})
    assert found.units == {"expression": "my scale", "responses": "score", "sensitive": "high"}

def test_the_example_opens(tmp_path):
    assert open_screen(str(write_example(tmp_path/"example"))).expression.shape == (120, 150)

def test_depmap_s_files_are_found_under_their_names_and_read(tmp_path):
    expression, effect = few(30, ["TP53 (7157)", "MYC (4609)", "JUN (3725)"], ["TP53 (7157)", "MYC (4609)", "EGFR (1956)"])
    effect = (effect - effect.mean())/3 - np.array([0, 1, 0])
    first = pd.DataFrame({"SequencingID": [f"CDS-{i}" for i in range(30)], "ModelID": expression.index, "IsDefaultEntryForModel": "Yes",
                          "ModelConditionID": "MC-1", "IsDefaultEntryForMC": "Yes"})
    again = pd.concat([first, expression.reset_index(drop=True)], axis=1)
    wrong = again.iloc[:3].assign(IsDefaultEntryForModel="No", **{"TP53 (7157)": 9.0})
    folder = tmp_path/"DepMap 24Q4"
    folder.mkdir()
    pd.concat([again, wrong], ignore_index=True).to_csv(folder/"OmicsExpressionTPMLogp1HumanProteinCodingGenes.csv")
    effect.rename_axis("").to_csv(folder/"CRISPRGeneEffect.csv")
    pd.DataFrame({"ModelID": effect.index, "PatientID": "PT-1", "OncotreeLineage": "Skin"}).to_csv(folder/"Model.csv", index=False)
    found = read_screen(folder)
    assert found.units["responses"] == "gene effect" and found.perturbations.index.tolist() == ["EGFR", "MYC", "TP53"]
    assert np.allclose(found.expression["TP53"], expression["TP53 (7157)"]) and found.lines.patient.eq("PT-1").all()
    assert "Model.csv is of DepMap's release 24Q4" in found.report

def test_gdsc_s_long_table_is_pivoted_and_its_best_ids_used(tmp_path):
    expression, responses = few(30, drugs=["1", "2"])
    long = responses.set_axis([str(900000 + i) for i in range(30)]).rename_axis("COSMIC_ID").melt(
        ignore_index=False, var_name="DRUG_ID", value_name="LN_IC50").reset_index().iloc[1:]
    long = long.assign(CELL_LINE_NAME="L" + long.COSMIC_ID.str[-2:], DRUG_NAME=long.DRUG_ID.map({"1": "Alpha", "2": "Beta"}),
                       PUTATIVE_TARGET="EGFR", PATHWAY_NAME="EGFR signaling")
    long.to_csv(tmp_path/"GDSC2_fitted_dose_response_27Oct23.csv", index=False)
    expression.to_csv(tmp_path/"expression.csv")
    pd.DataFrame({"ModelID": expression.index, "COSMICID": np.arange(900000.0, 900030)}).to_csv(tmp_path/"Model.csv", index=False)
    found = read_screen(tmp_path)
    assert found.responses.shape == (30, 2) and found.responses.isna().to_numpy().sum() == 1
    assert np.allclose(found.responses["2"], responses["2"], atol=1e-6)
    assert found.perturbations.name.tolist() == ["Alpha", "Beta"] and found.perturbations.pathway.eq("EGFR signaling").all()
    (tmp_path/"Model.csv").unlink()
    expression.set_axis([f"L-{i:02d}" for i in range(30)]).to_csv(tmp_path/"expression.csv")
    assert np.allclose(read_screen(tmp_path).responses["2"], responses["2"], atol=1e-6), "by name, without an annotation"
    pd.concat([long, long.iloc[:1]]).to_csv(tmp_path/"GDSC2_fitted_dose_response_27Oct23.csv", index=False)
    with pytest.raises(InputError, match="holds drug 1 and line L01 more than once"): read_screen(tmp_path)

def test_gmt_and_weights_are_both_gene_sets(screen, tmp_path):
    folder = write_screen(screen, tmp_path)
    members = {s: w.index[w != 0] for s, w in screen.gene_sets.items()}
    (folder/"gene_sets.csv").unlink()
    text = "".join(f"{s}\tnote\t" + "\t".join(g) + "\n" for s, g in members.items())
    (folder/"sets.gmt.gz").write_bytes(gzip.compress(text.encode()))
    found = read_screen(folder).gene_sets
    some = found.index
    assert np.array_equal(found, screen.gene_sets.loc[some, found.columns] != 0) and found.to_numpy().sum() == sum(map(len, members.values()))
    for text, says in (("a\tb\n", "Line 1 of bad.gmt"), ("a\tb\tTP53\na\tb\tMYC\n", "'a' more than once"), ("", "bad.gmt is empty")):
        (tmp_path/"bad.gmt").write_text(text)
        with pytest.raises(InputError, match=says): read_gmt(tmp_path/"bad.gmt")

def test_missing_doubled_and_damaged_files_are_named(screen, tmp_path):
    with pytest.raises(InputError, match=r"No file \*expression\*"): read_screen(tmp_path)
    folder = write_screen(screen, tmp_path)
    (folder/"second_responses.csv").write_text((folder/"second.csv").read_text())
    with pytest.raises(InputError, match="2 files in .* could be the second"): read_screen(folder)
    (folder/"second.csv").unlink()
    same(screen, read_screen(folder))
    (folder/"units.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="units.csv should have the columns table"): read_screen(folder)
    (folder/"units.csv").unlink()
    (folder/"expression.csv").write_text("line,TP53\nline001,high\n")
    with pytest.raises(InputError, match="expression.csv.*'high'"): read_screen(folder)
    with pytest.raises(InputError, match="no set called 'simulatd'"): open_screen("simulatd")

def test_settings_rename_files_columns_and_units(screen, tmp_path):
    folder = write_screen(replace(screen, units={}), tmp_path)
    (folder/"units.csv").unlink()
    (folder/"expression.csv").rename(folder/"rna.csv")
    lines = pd.read_csv(folder/"lines.csv").rename(columns={"line": "Sample", "tissue": "organ_site", "patient": "donor"})
    lines[["organ_site", "donor", "Sample"]].to_csv(folder/"lines.csv", index=False)
    layout = dict(expression="rna", line="Sample", tissue="organ_site", patient="donor", expression_unit="log2(TPM + 1)",
                  responses_unit="ln IC50 (µM)", sensitive="low")
    same(screen, read_screen(folder, layout))
    with pytest.raises(InputError, match="lines.csv has no column 'place'.*correct tissue in settings.ini"):
        read_screen(folder, layout | {"tissue": "place"})
    assert screen_files(folder, layout)["expression"].name == "rna.csv"
