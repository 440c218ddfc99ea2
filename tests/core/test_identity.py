"""Identity: one notion of missing marks, orientation, genes, compounds, cell lines and amounts."""
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.core import identity
from drugnb.core.identity import (
    DOSE_UNITS,
    EXCEL_ERRORS,
    MISSING,
    TIME_UNITS,
    amounts,
    as_text,
    by_symbol,
    compound_groups,
    excel_dates,
    gene_symbols,
    is_missing,
    landmark_genes,
    match_lines,
    named_columns,
    oriented,
    plain_cell,
    plain_name,
    repeated_genes,
    require_unique,
    shared_lines,
    unknown_units,
    with_units,
    without_missing,
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
    ("T-T", "", "several"), ("TT_LUNG", "", "several"), ("3", "", ""), ("", "", ""), ("NA", "", ""),
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

# missing cells

@pytest.mark.parametrize("values, missing", [
    (pd.Series([1.5, -666, np.nan]), [False, True, True]), (pd.Series([-666, 3], dtype=np.float32), [True, False]),
    (pd.Series([-666, 3, 666]), [True, False, False]), (pd.Series([-666, None, 2], dtype="Int64"), [True, True, False]),
    (pd.Series(["-666.0", "-666.000000", "−666", "-666.5", "-6660"]), [True]*3 + [False]*2),
    (pd.Series([" NA ", "n/a", "N/A", "None", "NONE", "nan", "NaN", "#N/A", "x"]), [True]*8 + [False]),
    (pd.Series(["Null", "Na", "0", "false", "-", "666"]), [False]*6), (pd.Series([-666, "-666", 1, b"NA", pd.NA]), [True, True, False, True, True]),
    (pd.Series(["a", "-666", None], dtype="category"), [False, True, True]), (pd.Series(["a", "NA", None], dtype="string"), [False, True, True]),
    (pd.Series([True, False]), [False]*2), (pd.to_datetime(pd.Series(["2020-01-01", None])), [False, True]), (pd.Series([], dtype=object), [])])
def test_cells_that_stand_for_missing_are_told_in_columns_of_every_kind(values, missing):
    values.index = [f"r{i}" for i in range(len(values))]
    found = is_missing(values)
    assert found.tolist() == missing and found.index.equals(values.index) and found.dtype == bool
    assert without_missing(values).isna().tolist() == missing

@pytest.mark.parametrize("error", EXCEL_ERRORS)
def test_what_excel_writes_for_a_failed_formula_is_missing(error):
    assert is_missing(pd.Series([error, error.lower(), "x"])).tolist() == [True, error == error.lower(), False]

def test_a_table_loses_its_codes_and_nothing_else():
    table = pd.DataFrame([[1, -666, "NA", 2.5], [3, 4, "x", -666]], ["u", "v"], ["a", "b", "b", "c"])
    found = without_missing(table)
    assert found.isna().to_numpy().tolist() == [[False, True, True, False], [False, False, False, True]] and found.columns.equals(table.columns)
    matrix = pd.DataFrame(np.array([[1, -666], [3, 4]], np.float32))
    assert without_missing(matrix).dtypes.eq(np.float32).all() and without_missing(matrix[1:]).equals(matrix[1:]) and matrix.iloc[0, 1] == -666

@pytest.mark.parametrize("name", ["1-Sep", "Sep-01", "2-Mar", "10-MAR", "1. Mrz", "01. Dez", "2023-09-01", "2023-09-01 00:00:00", "9/1/2023",
                                  "01.09.2023", "1-Sep-2023", "2.31E+13", pd.Timestamp("2023-03-01")])
def test_names_that_excel_made_dates_of_are_found(name): assert len(excel_dates(["TP53", name])) == 1

def test_no_landmark_gene_looks_like_a_date_under_any_of_its_names():
    genes = landmark_genes()
    names = [n for c in genes for cell in genes[c] for n in cell.split("|")]
    assert not len(excel_dates(names)) and not len(excel_dates(["MARCHF1", "SEPTIN2", "OCT-4", "DEC1", "MARCH1", "1007_s_at", "5720", "HLA-DMA"]))

# genes

def test_every_landmark_gene_has_an_ensembl_id_of_its_own():
    genes = landmark_genes()
    ids = genes.ensembl.str.split("|").explode()
    assert genes.ensembl.ne("").all() and ids.is_unique and ids.str.fullmatch(r"ENSG\d{11}").all()
    for spelt in (ids, ids + ".17", ids.str.lower(), "X" + genes.entrez_id, genes.symbol.str.lower(), genes.symbol.str.replace("-", "."),
                  genes.symbol + " (" + genes.entrez_id + ")", genes.symbol + "|" + genes.entrez_id, genes.symbol + ".." + genes.entrez_id + ".",
                  genes.ensembl.str[:15] + ".3_" + genes.symbol, '"' + genes.symbol + '"', "entrez:" + genes.entrez_id):
        assert (gene_symbols(spelt) == genes.symbol.loc[spelt.index]).all(), spelt.iloc[0]

@pytest.mark.parametrize("ensembl, symbol", [("ENSG00000141510", "TP53"), ("ENSG00000136997.19", "MYC"), ("ENSG00000204257", "HLA-DMA"),
                                             ("ENSG00000143466", "IKBKE"), ("ENSG00000263528.7", "IKBKE"), ("ENSG00000092010.14", "PSME1")])
def test_ensembl_ids_are_those_of_the_gene(ensembl, symbol): assert gene_symbols([ensembl])[0] == symbol

@pytest.mark.parametrize("name, kept", [("NKX2.5", "NKX2.5"), ("X123456789", "X123456789"), ("AC004453.1", "AC004453.1"), ("foo (12)", "foo"),
                                        ("FOO|99999999", "FOO"), ("?|100130426", "100130426"), ("ENSG00000000000.3", "ENSG00000000000"),
                                            ("XIST", "XIST"),
                                        ("ENSG00000182378.13_PAR_Y", "ENSG00000182378.13_PAR_Y"), ("1007_s_at", "1007_s_at"),
                                            ("OLDNAME (7157)", "TP53")])
def test_unknown_genes_keep_their_name(name, kept): assert gene_symbols([name])[0] == kept

@pytest.mark.parametrize("symbol", ["pr_gene_symbol", "gene_symbol", "symbol"])
def test_a_table_of_genes_adds_ids_and_aliases_but_no_flags(symbol):
    extra = pd.DataFrame({symbol: ["MYGENE", "KIAA0196"], "gene_id": [77, 9897], "ensembl_id": ["ENSG9", ""], "alias": ["MG|OLDMG", None],
        "pr_is_lm": [1, 0],
                          "feature_space": "inferred"})
    assert list(gene_symbols(["77", "X77", "ENSG9.4", "OLDMG", "mygene", "9897", "1", "0", "inferred", ""], extra)) == [
        "MYGENE"]*5 + ["WASHC5", "1", "0", "inferred", ""]
    with pytest.raises(InputError, match="no column of symbols"): gene_symbols(["77"], extra.drop(columns=symbol))

def test_genes_that_are_averaged_are_named():
    columns = ["TP53", "tp53", "MYC", "5720", "PSME1", "X7157"]
    assert list(repeated_genes(columns)) == ["PSME1", "TP53"] and not len(repeated_genes(["TP53", "MYC"])) and not len(repeated_genes([]))
    halved = by_symbol(pd.DataFrame([[2.0, 0.0, 1.0]], columns=["TP53", "tp53", "MYC"]))
    assert halved.TP53[0] == 1 and halved.shape == (1, 2)

# lines

def test_lines_that_share_a_stripped_name_keep_apart():
    pairs = [("T.T", "TT"), ("KM-H2", "KMH-2"), ("MS-1", "MS1"), ("TT_OESOPHAGUS", "TT_THYROID"), ("MS1_SKIN", "MS1_LUNG"),
             ("KMH2_THYROID", "KMH2_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE"), ("HCC38_BREAST", "HCC38_MATCHED_NORMAL_TISSUE"), ("A549", "A549_CRAF_KD")]
    for one, other in pairs: assert plain_cell([one, other]).is_unique, one
    for same in (["T.T", "T-T", "TT_OESOPHAGUS", "TDOTT"], ["KMH-2", "KMH2_THYROID", "KMHDASH2"], ["a375_skin", "A-375", "A375"], ["TT",
        "TT_THYROID"]):
        assert plain_cell(same).nunique() == 1, same

def test_names_of_several_lines_are_listed():
    names = pd.Series(["B-1", "B1", "b1_LUNG", "A375", "A-375", None])
    assert list(shared_lines(names, pd.Series(["x", "y", "y", "z", "z", "q"]))) == ["B-1", "B1", "b1_LUNG"]
    assert not len(shared_lines(pd.Series(["T.T", "TT"]), pd.Series(["x", "y"])))

# amounts

@pytest.mark.parametrize("text, micromolar", [
    ("370 nM", 0.37), ("370nM", 0.37), ("10um", 10), ("10 µM", 10), ("10 μM", 10), ("10 uM.", 10), ("0,1", 0.1), ("10,0", 10), (",5", 0.5),
    ("0,370 uM", 0.37),
    ("1e-3 mM", 1), ("1E-6 M", 1), ("1,5e-3 mM", 1.5), ("1,250.5 nM", 1.2505), ("1.250,5 nM", 1.2505), ("1,000,000 nM", 1000), ("10 umol / L", 10),
    ("10 nmol L-1", 0.01), ("10 nmol/liter", 0.01), ("10 (uM)", 10), ("10 [nM]", 0.01), ("2 micro molar", 2), (" 7 ", 7), ("+5", 5),
    ("10|10 um|um", 10),
    (5, 5), (0.5, 0.5), (b"3 uM", 3)])
def test_doses_as_people_write_them(text, micromolar):
    found, odd = amounts(pd.Series([text], dtype=object), DOSE_UNITS)
    assert found[0] == pytest.approx(micromolar) and not odd[0]

@pytest.mark.parametrize("text", ["1,000", "12,345 nM", "10 ng/mL", "5 mg/kg", "0.1 %", "high", "0", "-1", "10 20 uM", "1 000 nM", "1.2.3",
    "10 uM (24 h)", "<0.1 uM", "1,2,3"])
def test_what_is_no_dose_is_not_understood(text):
    found, odd = amounts(pd.Series([text]), DOSE_UNITS)
    assert np.isnan(found[0]) and odd[0]

@pytest.mark.parametrize("text, hours", [("1 d", 24), ("3 days", 72), ("24hr", 24), ("1440 min", 24), ("90 s", 0.025), ("1 Day", 24),
    ("6h", 6), ("24 hours", 24),
                                         ("1,5 h", 1.5), ("24|24 h|h", 24)])
def test_times_as_people_write_them(text, hours): assert amounts(pd.Series([text]), TIME_UNITS)[0][0] == pytest.approx(hours)

@pytest.mark.parametrize("written, read", [
    (["1,000", "0,5"], [1, 0.5]), (["1,000", "2.5"], [1000, 2.5]), (["1,000", "1,250.5"], [1000, 1250.5]), (["1,000", "0,5", "2.5"], [None,
    0.5, 2.5]),
    (["1.000", "0,5"], [None, 0.5]), (["1.000", "0.5"], [1, 0.5]), (["1.000", "2"], [1, 2]), (["1,000", "-666", "7"], [None, None, 7])])
def test_a_comma_is_what_the_column_says(written, read):
    found, odd = amounts(pd.Series(written), DOSE_UNITS)
    assert [None if np.isnan(f) else pytest.approx(f) for f in found] == read
    assert odd.tolist() == [r is None and w != "-666" for w, r in zip(written, read, strict=True)]

def test_units_that_are_not_known_are_named():
    written = pd.Series(["10 ng/mL", "5 mg/kg", "0.1 %", "1 uM", "high", "7", None, "-666", "3 NG/ML"])
    assert list(unknown_units(written, DOSE_UNITS)) == ["%", "NG/ML", "mg/kg", "ng/mL"]
    assert not len(unknown_units(pd.Series([1.0, 2.0]), DOSE_UNITS)) and list(unknown_units(pd.Series(["1 uM"]), TIME_UNITS)) == ["uM"]

def test_a_unit_beside_counts_unless_the_amount_has_its_own():
    values = pd.Series([370, 10, 0.1, -666, np.nan], list("vwxyz"))
    told = with_units(values, pd.Series(["nM", "uM", "-666", "uM", "uM"], list("vwxyz")))
    assert told.isna().tolist() == [False]*3 + [True]*2 and told[:3].tolist() == ["370 nM", "10 uM", "0.1"]
    assert with_units(pd.Series(["5 mM", "5", "0,5"]), "nM").tolist() == ["5 mM", "5 nM", "0,5 nM"]
    np.testing.assert_allclose(amounts(told, DOSE_UNITS)[0], [0.37, 10, 0.1, np.nan, np.nan])

def test_few_values_are_read_once_and_many_rows_alike():
    rng = np.random.default_rng(0)
    written = pd.Series(rng.choice(["10 uM", "370 nM", "bad", "-666", "0,5"], 1000), rng.permutation(1000))
    found, odd = amounts(written, DOSE_UNITS)
    expected = {"10 uM": 10, "370 nM": 0.37, "bad": np.nan, "-666": np.nan, "0,5": 0.5}
    np.testing.assert_allclose(found, written.map(expected))
    assert odd.equals(written == "bad") and found.index.equals(written.index)
