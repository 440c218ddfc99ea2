"""Identity: one notion of missing marks, orientation, genes, compounds, cell lines and amounts."""
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.core import identity
from drugnb.core.identity import (
    DOSE_UNITS,
    MISSING,
    TIME_UNITS,
    amounts,
    as_text,
    by_symbol,
    compound_groups,
    gene_symbols,
    landmark_genes,
    match_lines,
    named_columns,
    oriented,
    plain_name,
    require_unique,
)
from drugnb.core.read import read_annotations
from drugnb.core.settings import InputError

PACKAGE = Path(identity.__file__).parent.parent

def test_there_is_one_list_of_missing_marks():
    "No other module of core or sources spells one out, and each reader takes the list's."
    for wing in ("core", "sources"):
        for path in (PACKAGE/wing).glob("*.py"):
            if path.name in ("identity.py", "miniatures.py"): continue  # miniatures write the mark
            code = path.read_text()
            assert not re.search(r"""["'](-666|N/A|#N/A|<NA>|restricted)["']""", code), path.name
            for marks in re.findall(r"(?:na_values|null_values)=([^,]+?)[,)]", code):
                assert "MISSING" in marks, path.name

@pytest.mark.parametrize("mark", MISSING)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_mark_is_missing_in_annotations_of_every_format(tmp_path, mark, ending):
    table = pd.DataFrame({"id": ["a", "b"], "compound": ["c", mark], "dose": ["1", mark]})
    path = tmp_path/f"t.{ending}"
    if ending == "csv": table.to_csv(path, index=False)
    else: table.to_parquet(path)
    found = read_annotations(path, {"id": "id", "compound": "compound"}, ["id"])
    assert found.isna().loc["b"].all() and found.notna().loc["a"].all()

def test_numbers_that_stand_for_missing_are_missing_too(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "dose": [1.5, -666], "batch": [7, -666]})
    table.to_parquet(tmp_path/"t.parquet")
    table.to_csv(tmp_path/"t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        found = read_annotations(tmp_path/name, {"id": "id"}, ["id"])
        assert found.isna().to_numpy().tolist() == [[False]*2, [True]*2] and found.dose["a"] == 1.5

@pytest.mark.parametrize("stored, text", [
    (b"5720", "5720"), (5720.0, "5720"), (np.float32(5720), "5720"), (5720, "5720"), (0.37, "0.37"),
    (" x ", "x"),
    ("µM".encode("latin-1"), "µM"), (np.nan, "nan"),
])
def test_ids_are_text(stored, text): assert as_text(stored) == text

def test_a_repeated_id_is_named_with_where_it_is():
    require_unique(["a", "b"], "t.csv")
    with pytest.raises(InputError, match=r"t.csv holds the id 'b' more than once \(2 repeats"):
        require_unique(list("abbcb"), "t.csv")

def test_a_matrix_is_turned_only_if_its_columns_match_better():
    m = pd.DataFrame(np.arange(6).reshape(2, 3), ["g1", "g2"], ["s1", "s2", "s3"])
    ids = ["s1", "s2", "s3", "s9"]
    for given in (m, m.T): pd.testing.assert_frame_equal(oriented(given, ids), m.T)
    pd.testing.assert_frame_equal(oriented(m, ["nobody"]), m)
    square = pd.DataFrame(np.eye(2), ["a", "b"], ["b", "a"])
    pd.testing.assert_frame_equal(oriented(square, ["a"]), square), "as stored where both sides match alike"

def test_genes_of_any_vintage_have_one_symbol():
    genes = landmark_genes()
    assert len(genes) == 978 and genes.symbol.is_unique and genes.entrez_id.is_unique
    for names in (genes.entrez_id, genes.symbol, genes.entrez_id + ".0"):
        assert (gene_symbols(names) == genes.symbol).all()
    assert gene_symbols(["tp53"])[0] == "TP53"
    genes.loc[0, "symbol"] = "changed"
    assert landmark_genes().symbol[0] != "changed", "a caller cannot change the table"

def test_columns_of_one_gene_are_averaged_and_others_left_alone():
    m = pd.DataFrame([[1, 3, 5]], columns=["7157", "MYC", "TP53"], dtype=np.float32)
    assert by_symbol(m).iloc[0].to_dict() == {"TP53": 3, "MYC": 3}
    assert by_symbol(m[["MYC"]]).equals(m[["MYC"]])

def test_one_compound_under_two_ids_is_one_group():
    rows = pd.DataFrame({"compound": ["c1", "c1", "c2", "c3", "c4", "c5"],
                         "name": [None, "BEZ-235", "bez235 ", None, "", "other"]}, list("uvwxyz"))
    groups = compound_groups(rows)
    assert groups.tolist() == ["c1"]*3 + ["c3", "c4", "c5"] and groups.index.equals(rows.index)
    assert compound_groups(rows[["compound"]]).tolist() == rows["compound"].tolist()

def test_an_id_is_never_in_two_groups():
    rng = np.random.default_rng(0)
    ids = pd.Series(rng.choice([f"c{i}" for i in range(30)], 400))
    names = pd.Series(rng.choice(["A-1", "a1", "B", "", None], 400))
    assert compound_groups(pd.DataFrame({"compound": ids, "name": names})).groupby(ids).nunique().eq(1).all()

def test_plain_names_keep_letters_and_digits():
    assert plain_name(pd.Series(["(+)-JQ1", "BEZ 235", None, "α-x"])).tolist() == ["jq1", "bez235", "", "x"]

@pytest.mark.parametrize("text, hours", [
    ("24 h", 24), ("24", 24), ("90 min", 1.5), ("2 d", 48), ("6 hr", 6), ("6 weeks", None),
])
def test_times_in_every_spelling(text, hours):
    found, odd = amounts(pd.Series([text]), TIME_UNITS)
    assert odd[0] if hours is None else found[0] == pytest.approx(hours)

def test_what_is_there_and_not_understood_is_told_from_what_is_missing():
    written = ["10 um", "-666", None, "0", "-1 uM", "10 ng/ml", "high", "inf"]
    given = pd.Series(written, [f"s{i}" for i in range(8)])
    found, odd = amounts(given, DOSE_UNITS)
    assert found.index.equals(given.index) and found.dtype == float and found.dropna().to_dict() == {"s0": 10}
    assert list(odd[odd].index) == ["s3", "s4", "s5", "s6", "s7"]

def test_numbers_are_in_the_columns_own_unit():
    found, odd = amounts(pd.Series([0.1, 0, -1, np.nan, np.inf]), DOSE_UNITS)
    assert found.tolist()[0] == 0.1 and found[1:].isna().all()
    assert odd.tolist() == [False, True, True, False, True]

# cell lines

LINES = pd.DataFrame({"CellLineName": ["TT", "T.T", "A-375", "NIH:OVCAR-3", None],
                      "COSMICID": [930299.0, None, 906793.0, None, None], "SangerModelID": ["SIDM01", None, None, None, "SIDM05"],
                      "CCLEName": ["TT_THYROID", "TT_OESOPHAGUS", "A375_SKIN", None, None],
                      "Sex": ["1", "2", "3", "4", "5"]}, ["ACH-1", "ACH-2", "ACH-3", "ACH-4", "ACH-5"])

@pytest.mark.parametrize("wanted, known, route", [
    ("ACH-3", "ACH-3", "id"), ("906793", "ACH-3", "other id"), (906793.0, "ACH-3", "other id"), ("906793.0", "ACH-3", "other id"),
    ("SIDM05", "ACH-5", "other id"), ("A-375", "ACH-3", "other id"), ("a375", "ACH-3", "name"), ("t.t", "ACH-2", "other id"),
    ("A375_SKIN", "ACH-3", "other id"),
    ("OVCAR-3", "", ""), ("nih ovcar3", "ACH-4", "name"), ("T.T", "ACH-2", "other id"), ("TT_OESOPHAGUS", "ACH-2", "other id"),
    ("T-T", "ACH-2", "name"), ("TT_LUNG", "ACH-1", "name"), ("3", "", ""), ("", "", ""), ("NA", "", ""),
])
def test_a_line_is_found_by_what_is_its_own_alone(wanted, known, route):
    found = match_lines([wanted], LINES).iloc[0]
    assert (found.known, found.route) == (known, route)

def test_one_line_is_not_given_to_two_and_the_better_claim_wins():
    assert match_lines(["ACH-3", "A375"], LINES).route.tolist() == ["id", "several"]
    assert match_lines(["A375_SKIN", "A-375"], LINES).known.tolist() == ["", ""]
    for wanted in ("a375", "ACH-3"):
        with pytest.raises(InputError, match="wanted cell lines holds the id"): match_lines([wanted, wanted], LINES)

def test_matching_lines_depends_on_no_order():
    wanted = ["TT", "A375", "906793", "T-T", "SIDM01", "OVCAR3"]
    straight, turned = match_lines(wanted, LINES), match_lines(wanted[::-1], LINES.iloc[::-1, ::-1])
    assert straight.equals(turned.loc[wanted])

def test_columns_are_found_whatever_their_style():
    table = pd.DataFrame(columns=["Cell Line", "COSMIC_ID", "depMapID", "cosmic id"])
    assert named_columns(table, ("depmapid", "cosmicid", "cellline", "patient")) == ["depMapID", "COSMIC_ID", "Cell Line"]
