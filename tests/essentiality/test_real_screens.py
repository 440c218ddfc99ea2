"""The sets gdsc and crispr: made from public files, with the numbers that the study quotes, and one sentence for what is not there."""
import json

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.essentiality.build import (
    FETCHED,
    build_crispr,
    build_gdsc,
    find_by_hand,
    gdsc_responses,
    join_mutations,
    public_files,
)
from drugnb.essentiality.data import assemble_screen, enough, open_screen


@pytest.fixture(scope="module")
def built(data, mirror, tmp_path_factory):
    "A data folder in which both sets are built, from the mirror and the prepared tables; and both reports."
    if not (data/"essentiality/expression_525x697.csv.gz").exists(): pytest.skip("the essentiality tables are not beside the others")
    folder = tmp_path_factory.mktemp("data")
    (folder/"essentiality").symlink_to(data.resolve()/"essentiality")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRUGNB_DATA", str(folder))
        patch.setenv("DRUGNB_MIRROR", str(mirror.resolve()))
        return folder, *(list(build(folder)[1].outcome) for build in (build_gdsc, build_crispr))

@pytest.fixture
def opened(built, monkeypatch):
    "Opens a built set by its name."
    monkeypatch.setenv("DRUGNB_DATA", str(built[0]))
    return open_screen

def test_gdsc_has_the_numbers_that_the_study_quotes(built, opened):
    screen = opened("gdsc")
    assert screen.expression.shape == (525, 697) and screen.responses.shape == (525, 266) and screen.name == "gdsc"
    kept = enough(screen, 0.5)
    assert kept.responses.shape[1] == 218 and kept.second.shape == (436, 47)
    assert (kept.responses.notna().sum() >= 300).all(), "each in at least 300 lines"
    assert screen.units == {"expression": "log2(TPM + 1)", "responses": "ln IC50 (µM)", "sensitive": "low"}
    assert screen.perturbations.repeat_of.duplicated().sum() == 16 and screen.perturbations.label.is_unique
    assert not screen.lines.patient.duplicated().any() and (screen.lines.tissue != "").all()
    assert "compounds screened under more than one id: 16" in built[1]
    assert any("2,369 genes are known for 436 of 525 lines, 678 genomic features for 524" in r for r in built[1])

def test_gdsc_s_values_stay_with_their_line_and_drug(opened, data, mirror):
    screen = opened("gdsc")
    prepared = pd.read_csv(data/"essentiality/gdsc_lnic50_969x266.csv.gz", index_col=0).reindex(screen.responses.index)
    prepared.columns = prepared.columns.astype(str)
    np.testing.assert_allclose(screen.responses, prepared[screen.responses.columns], atol=1e-5)
    expression = pd.read_csv(data/"essentiality/expression_525x697.csv.gz", index_col=0)
    np.testing.assert_allclose(screen.expression, expression.loc[screen.expression.index, screen.expression.columns], atol=1e-5)
    assert screen.perturbations.loc["1372", "name"] == "Trametinib" and "MEK1" in screen.perturbations.loc["1372", "target"]
    raw = next(mirror.glob("babaling/DRPreter/*/Data/Baseline/baseline_GDSC2_IC50.csv"))
    second = pd.read_csv(raw, index_col=0).loc[screen.second.index, "Trametinib"]
    np.testing.assert_allclose(screen.second["1372"], second, atol=1e-5)

def test_both_screens_of_gdsc_and_known_biomarkers_agree(opened):
    "What would fail if any table were joined in another order."
    screen = enough(opened("gdsc"))
    agree = [screen.responses.loc[screen.second.index, d].corr(screen.second[d], "spearman") for d in screen.second]
    assert 0.4 < np.mean(agree) < 0.6
    names = screen.perturbations.repeat_of
    pairs = [g.index for _, g in names.groupby(names) if len(g) == 2]
    assert 0.35 < np.mean([screen.responses[a].corr(screen.responses[b], "spearman") for a, b in pairs]) < 0.6
    for drug, feature in (("1373", "BRAF_mut"), ("1047", "TP53_mut")):  # dabrafenib, nutlin-3a
        mutated = screen.mutations[feature] == 1
        change = screen.responses[drug][mutated].median() - screen.responses[drug][~mutated].median()
        assert change < -0.5 if drug == "1373" else change > 0.5

def test_crispr_has_the_numbers_that_the_study_quotes(built, opened):
    screen = opened("crispr")
    assert screen.expression.shape == (984, 535) and screen.responses.shape == (984, 1961)
    assert enough(screen).responses.shape == (984, 1959)
    assert screen.lines.patient.duplicated(keep=False).sum() == 68
    assert screen.units["responses"] == "dependency level (0, 1, 2)" and screen.units["sensitive"] == "high"
    assert "2 perturbations left out: one value in more than 95% of the lines" in built[2]
    assert any("50 components of gene effect are known for 970 of 984 lines" in r for r in built[2])
    assert any("of DepMap's release 24Q2" in r for r in screen.report)

@pytest.mark.slow
def test_a_set_says_what_it_is_made_from_and_is_made_again_in_place(built, monkeypatch, mirror):
    folder = built[0]/"essentiality-gdsc"
    made = json.loads((folder/"made_from.json").read_text())
    assert {"GDSC_IC50.csv", "Model.csv", "expression_525x697.csv.gz"} <= set(made["files"]) and all(map(len, made["files"].values()))
    before = {p.name: p.stat().st_size for p in folder.iterdir()}
    monkeypatch.setenv("DRUGNB_DATA", str(built[0]))
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror.resolve()))
    assert build_gdsc(built[0])[0] == folder and {p.name: p.stat().st_size for p in folder.iterdir()} == before
    (folder/"responses_of_mine.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="holds a table that drugnb did not make .responses_of_mine.csv"): build_gdsc(built[0])
    (folder/"responses_of_mine.csv").unlink()

@pytest.mark.parametrize("build, table", [(build_gdsc, "expression"), (build_crispr, "expression")])
def test_without_expression_one_sentence_says_which_file_to_put_where(build, table, tmp_path, monkeypatch):
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as e: build(tmp_path)
    assert f"{table} of its lines" in str(e.value) and "OmicsExpressionProteinCodingGenesTPMLogp1.csv" in str(e.value)
    assert str(tmp_path/"raw") in str(e.value) and not (tmp_path/"raw").exists(), "nothing is fetched in vain"

def test_depmap_s_own_files_go_before_prepared_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    for folder, name in (("raw", "OmicsExpressionProteinCodingGenesTPMLogp1.csv"), ("essentiality", "expression_525x697.csv.gz")):
        (tmp_path/folder).mkdir()
        (tmp_path/folder/name).touch()
        expected = tmp_path/"raw/OmicsExpressionProteinCodingGenesTPMLogp1.csv"
        assert find_by_hand(tmp_path, "gdsc_expression") == expected
    expected.unlink()
    assert find_by_hand(tmp_path, "gdsc_expression").name == "expression_525x697.csv.gz"

def test_public_files_are_fetched_under_the_study_that_registers_them(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror.resolve()))
    found = public_files(tmp_path, FETCHED)
    assert found.index.tolist() == list(FETCHED) and all(p.is_file() for p in found.file)
    assert found.study["responses"] == "weighting" and found.study["lines"] == "essentiality"

def test_mutations_of_two_tables_meet_by_line_and_unknown_stays_unknown():
    lines = pd.DataFrame({"COSMICID": ["11", "12", None]}, ["A", "B", "C"])
    hotspots = pd.DataFrame({"KRAS": [1, 0], "MSI_FACTOR": [1, 1]}, ["C", "A"])
    features = pd.DataFrame({"TP53_mut": [1, 0, 1], "MSI_FACTOR": [0, 0, 1]}, [12, 11, 99])
    found, says = join_mutations(hotspots, features, lines)
    assert found.columns.tolist() == ["KRAS", "MSI_FACTOR", "TP53_mut"] and found.index.tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(found.TP53_mut, [0, 1, np.nan])
    np.testing.assert_array_equal(found.KRAS, [0, np.nan, 1])
    assert "for 2 of 3 lines, 2 genomic features for 2" in says
    expression = pd.DataFrame(np.random.default_rng(0).gamma(2, 2, (3, 2)), list("ABC"), ["TP53", "MYC"])
    responses = pd.DataFrame({"d": [1.0, 2, 3]}, list("ABC"))
    screen = assemble_screen("", expression, responses, mutations=found, units={"responses": "ln IC50"})
    np.testing.assert_array_equal(screen.mutations.TP53_mut, [0, 1, np.nan])

def test_a_file_of_another_form_is_refused():
    with pytest.raises(InputError, match="an id that is no drug's .'1001'.: fetch it again"):
        gdsc_responses(pd.DataFrame({"ACH-000001": [1.0]}, ["1001"]))
