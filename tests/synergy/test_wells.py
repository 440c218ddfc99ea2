"""Wells: layouts, scale, sign, units, names and gaps found and said or refused; a simulated screen keeps its truth."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError, project_path
from drugnb.studies import STUDIES
from drugnb.synergy.data import (
    LAYOUT,
    NO_RDKIT,
    SETS,
    WELL_COLUMNS,
    assemble_screen,
    drug_keys,
    fingerprints,
    line_keys,
    open_screen,
    read_scores,
    read_screen,
    read_wells,
    wells_of_table,
)
from drugnb.synergy.simulate import naive_bliss_max, simulate_screen, simulated_small, write_example, write_screen

A, B = [0, 0.1, 1, 10.0], [0, 0.05, 0.5, 5.0]  # uM

def alive(a, b): return 1/(1 + a)/(1 + (b/0.5)**0.9)

def long_table(value=alive, times=100, named="viability", a=A, b=B, unit="uM", line="MCF7", drugs=("drugA", "drugB")):
    "One matrix as a long table, values times `times`."
    rows = [(line, drugs[0], x, drugs[1], y, unit, times*value(x, y)) for x in a for y in b]
    return pd.DataFrame(rows, columns=["cell_line", "drug_a", "dose_a", "drug_b", "dose_b", "unit", named])

@pytest.fixture
def given(tmp_path):
    "Write a table and read it as a screen: given(table, **answers)."
    def read(table, name="wells.csv", text=None, **answers):
        path = tmp_path/name
        path.write_text(table.to_csv(index=False) if text is None else text)
        return read_wells(path, **answers)
    return read

def same(one, other):
    pd.testing.assert_frame_equal(one.wells, other.wells, rtol=1e-9)

def refused(call, *words):
    with pytest.raises(InputError) as e: call()
    for word in words: assert word in str(e.value), f"{word!r} not in {e.value}"
    assert len(str(e.value)) < 600

def said(screen, *words):
    assert any(all(w in line for w in words) for line in screen.report), screen.report

# scale and sign

@pytest.mark.parametrize("value, times, named", [
    (alive, 100, "viability"), (alive, 1, "viability"), (alive, 1, "Response"), (alive, 100, "response"),
    (lambda a, b: 1 - alive(a, b), 100, "inhibition"), (lambda a, b: 1 - alive(a, b), 1, "response"),
    (lambda a, b: 1 - alive(a, b), 100, "response"), (lambda a, b: 1 - alive(a, b), 1, "Inhibition"),
    (alive, 100, "Viability (%)"), (alive, 1, "relative_viability"), (lambda a, b: 1 - alive(a, b), 100, "% inhibition")])
def test_percent_or_fraction_viability_or_inhibition_give_the_same_wells(given, value, times, named):
    plain = given(long_table())
    found = given(long_table(value, times, named))
    np.testing.assert_allclose(found.wells.viability, plain.wells.viability, atol=1e-9)
    said(found, "viability" if value is alive else "inhibition", "percent" if times == 100 else "fractions", "1 untreated well")
    assert list(found.wells.columns) == WELL_COLUMNS

def test_wells_of_another_scale_than_their_file_are_named(given):
    table = long_table(times=1)
    table.loc[5:8, "viability"] *= 100
    refused(lambda: given(table), "mixes fractions and percents", "MCF7: drugA + drugB", "4 wells")
    table = long_table()
    table.loc[[0, 1, 4, 5], "viability"] /= 100
    refused(lambda: given(table), "mixes fractions and percents", "are fractions where")

def test_a_block_of_inhibition_among_viability_is_named(given):
    other = long_table(lambda a, b: 1 - alive(a, b), line="T47D")
    refused(lambda: given(pd.concat([long_table(), long_table(line="A549"), other])), "T47D: drugA + drugB", "are mixed")

@pytest.mark.parametrize("value, named", [(alive, "inhibition"), (lambda a, b: 1 - alive(a, b), "viability")])
def test_a_name_that_untreated_wells_contradict_is_refused(given, value, named):
    refused(lambda: given(long_table(value, named=named)), f"called {named}", "untreated wells read")

def test_a_name_that_the_trend_contradicts_is_refused(given):
    table = long_table(lambda a, b: 1 - alive(a, b))
    refused(lambda: given(table[table.dose_a + table.dose_b > 0]), "called viability", "rises with dose")

def test_response_without_untreated_wells_is_asked_for_and_can_be_answered(given):
    table = long_table(named="response")
    table = table[table.dose_a + table.dose_b > 0]
    refused(lambda: given(table), "response is viability or inhibition?", "settings.ini")
    assert given(table, response="viability").wells.viability.max() < 100
    assert given(table, response="inhibition").wells.viability.max() > 90

def test_values_between_fraction_and_percent_are_asked_for(given):
    table = long_table(times=4)
    refused(lambda: given(table[table.dose_a + table.dose_b > 0]), "fractions or percents?", "scale = ")
    quiet = long_table(lambda a, b: 0.024*(1 - alive(a, b)), named="inhibition")
    assert quiet.inhibition.max() > 1.5
    refused(lambda: given(quiet), "lowest viability would be", "scale")
    assert given(quiet, scale="percent").wells.viability.min() > 97

def test_untreated_wells_off_control_are_said_not_corrected(given):
    table = long_table().assign(block_id=1)
    table.loc[0, "viability"] = 122.956
    found = given(table)
    said(found, "untreated well at 122.96 % of control in block 1")
    assert found.wells.viability.max() == 122.956

def test_inert_drugs_are_told_by_untreated_wells_alone(given):
    noise = np.random.default_rng(0).normal(0, 4, 16).round(2)
    table = long_table(named="response").assign(response=noise)
    table.loc[0, "response"] = 0.4
    found = given(table)
    said(found, "inhibition in percent")
    np.testing.assert_allclose(np.sort(found.wells.viability), np.sort(100 - table.response))
    same(given(table.assign(response=100 - table.response)), found)

def test_raw_signals_are_refused(given):
    refused(lambda: given(long_table(times=54_321)), "raw signal")

def test_values_above_and_below_control_are_kept_and_said(given):
    table = long_table()
    table.loc[3, "viability"], table.loc[15, "viability"] = 187, -4
    found = given(table)
    said(found, "up to 187 %")
    said(found, "down to -4.0 %", "1 well below 0")
    assert (found.wells.viability.min(), found.wells.viability.max()) == (-4, 187)

def test_viability_and_inhibition_side_by_side_must_add_up(given):
    table = long_table()
    same(given(table.assign(inhibition=100 - table.viability)), given(table))
    refused(lambda: given(table.assign(inhibition=table.viability)), "do not add up")

def test_growth_corrected_for_time_zero_is_no_viability(given):
    refused(lambda: given(long_table().rename(columns={"viability": "PERCENTGROWTH"})), "PERCENTGROWTHNOTZ")

# numbers

@pytest.mark.parametrize("wrong, words", [
    ("n.d.", ("'n.d.'", "'viability'", "line 4")), (np.inf, ("infinite", "line 4"))])
def test_what_is_no_number_is_refused_with_its_line(given, wrong, words):
    table = long_table().astype({"viability": object})
    table.loc[2, "viability"] = wrong
    refused(lambda: given(table), *words)

def test_missing_values_and_codes_are_left_out_and_counted(given, tmp_path):
    table = long_table()
    table.loc[6, "viability"], table.loc[9, "viability"] = np.nan, -666
    found = given(table)
    said(found, "2 wells without a value left out", "line 8")
    assert len(found.wells) == 14
    table.to_parquet(tmp_path/"wells.parquet")
    same(read_wells(tmp_path/"wells.parquet"), found)

def test_wells_without_a_dose_are_left_out_and_counted(given):
    table = long_table()
    table.loc[[7, 8], "dose_b"] = np.nan
    found = given(table)
    said(found, "2 wells without a dose")
    assert len(found.wells) == 14 and found.wells.dose_b.notna().all()

def test_decimal_commas_of_semicolon_files_are_read(given):
    text = long_table().to_csv(index=False, sep=";", decimal=",")
    same(given(None, text=text), given(long_table()))
    refused(lambda: given(None, text='cell_line,drug_a,dose_a,drug_b,dose_b,unit,viability\nM,A,"1,000",B,1,uM,5\n'), "thousands")

def test_other_separators_encodings_and_endings_are_read(tmp_path, given):
    table, plain = long_table(unit="µM"), given(long_table())
    for name, how in (("a.tsv", dict(sep="\t")), ("b.txt", dict(sep="\t")), ("c.csv.gz", {}), ("d.csv", dict(encoding="cp1252")),
                      ("e.csv", dict(encoding="utf-16")), ("f.csv", dict(encoding="utf-8-sig"))):
        table.to_csv(tmp_path/name, index=False, **how)
        same(read_wells(tmp_path/name), plain)
    table.to_parquet(tmp_path/"g.parquet")
    same(read_wells(tmp_path/"g.parquet"), plain)

def test_no_table_is_refused(tmp_path, given):
    (tmp_path/"book.xlsx").write_bytes(b"PK\x03\x04rest")
    refused(lambda: read_wells(tmp_path/"book.xlsx"), "save its sheet as CSV")
    refused(lambda: given(None, text="drug_a\nA\n"), "one column")
    refused(lambda: given(None, text="drug_a,Drug_A,drug_b\nA,B,C\n"), "2 columns called 'drug_a'")
    refused(lambda: given(long_table().iloc[:0]), "no rows")
    refused(lambda: given(long_table()[["drug_a", "dose_a", "viability"]]), "no column for drug_b")
    refused(lambda: read_wells(tmp_path/"nothing.csv"), "no file")

# doses

@pytest.mark.parametrize("unit, factor", [("nM", 1e3), ("M", 1e-6), ("mM", 1e-3), ("µM", 1), ("μM", 1), ("UM ", 1), ("pM", 1e6),
                                          ("nmol/L", 1e3), ("micromolar", 1)])
def test_units_give_the_same_doses_to_the_last_digit(given, unit, factor):
    found = given(long_table(lambda a, b: alive(a/factor, b/factor), a=np.multiply(A, factor), b=np.multiply(B, factor), unit=unit))
    same(found, given(long_table()))
    assert set(found.wells.dose_a) == set(A) and set(found.wells.dose_b) == set(B)

def test_units_in_cells_and_column_names_are_read(given):
    table, plain = long_table(), given(long_table())
    inside = table.assign(dose_a=[f"{1000*d:g} nM" for d in table.dose_a], dose_b=[f"{d:g} µM" for d in table.dose_b])
    same(given(inside.drop(columns="unit")), plain)
    same(given(table.drop(columns="unit").rename(columns={"dose_a": "Dose A (µM)", "dose_b": "conc_b_uM"})), plain)
    same(given(table.drop(columns="unit").assign(conc_r_unit="uM", conc_c_unit="uM")), plain)

def test_missing_unknown_and_implausible_units_are_refused(given):
    table = long_table()
    refused(lambda: given(table.drop(columns="unit")), "which unit 'dose_a'", "dose_unit")
    same(given(table.drop(columns="unit"), dose_unit="uM"), given(table))
    refused(lambda: given(table.assign(unit="ug/ml")), "unit 'ug/ml'")
    refused(lambda: given(table.assign(unit="M")), "no screen has")
    refused(lambda: given(table.assign(dose_a=table.dose_a*1e-6, dose_b=table.dose_b*1e-6)), "no screen has")
    refused(lambda: given(table.assign(dose_a=np.log10(table.dose_a + 1e-9))), "not its logarithm")
    refused(lambda: given(table.rename(columns={"dose_a": "log10 dose_a"})), "no column for dose_a")

def test_a_stray_unit_within_a_block_is_named(given):
    table = long_table(a=[0, 0.1, 0.3, 1, 3, 10], b=[0, 0.05, 0.2, 0.5, 2, 5])
    for row in (1, 9, 17, 26, 34): table.loc[row, "dose_b"] *= 1000
    refused(lambda: given(table), "drugB has 10 dose levels", "where 5 are expected", "MCF7: drugA + drugB")

def test_tenfold_dilutions_and_sparse_designs_are_no_stray_units(given):
    full = long_table(a=[0, 0.01, 0.1, 1, 10], b=[0, 0.01, 0.1, 1, 10])
    assert len(given(full).wells) == 25
    ray = full[(full.dose_a == full.dose_b) | (full.dose_a == 0) | (full.dose_b == 0)]
    assert len(given(ray).wells) == 13

def test_a_whole_block_in_another_unit_is_said(given):
    table = pd.concat([long_table(), long_table(line="A549", a=[1000*x for x in A])])
    said(given(table), "drugA reaches 10000 uM", "another unit?")

# names

def test_the_order_of_drugs_and_rows_carries_no_meaning(given):
    table = long_table()
    turned = table.rename(columns={"drug_a": "drug_b", "drug_b": "drug_a", "dose_a": "dose_b", "dose_b": "dose_a"})
    one, other = given(table), given(turned.sample(frac=1, random_state=0))
    same(one, other)
    assert one.key == other.key
    both = given(pd.concat([table, turned]))
    assert both.wells.block.unique().tolist() == ["MCF7: drugA + drugB", "MCF7: drugA + drugB (2)"]
    said(both, "1 pair measured in more than one block")

def test_spellings_of_a_drug_and_a_line_are_joined_and_listed(given):
    table = long_table(drugs=("5-FU", "mk-2206"))
    table.loc[10:, "drug_a"], table.loc[3:5, "cell_line"] = "5-fu", "mcf-7"
    found = given(table)
    assert found.wells.block.nunique() == 1 and found.wells.line.unique().tolist() == ["MCF7"]
    said(found, "1 drug written in several ways", "5-FU = 5-fu")
    said(found, "1 line written in several ways", "MCF7 = mcf-7")

def test_what_differs_by_more_than_spelling_is_kept_apart():
    keys = drug_keys(pd.Series(["(+)-JQ1", "(-)-JQ1", "JQ1", "α-amanitin", "β-amanitin", "cmpd 1-12", "cmpd 11-2", "DMSO"]))
    assert keys[:7].is_unique and keys[7] == ""
    assert drug_keys(pd.Series(["5-FU", "5 fu", "MK-2206", "mk2206"])).nunique() == 2
    keys = line_keys(pd.Series(["TT", "T.T", "KM-H2", "KMH-2", "HCT116", "HCT116_PTEN", "UWB1.289", "UWB1.289+BRCA1"]))
    assert keys.is_unique
    assert line_keys(pd.Series(["A375", "A-375", "a375_SKIN", "A375_SKIN"])).nunique() == 1

def test_numbered_drugs_are_the_same_with_and_without_a_decimal_point(given):
    table = long_table(drugs=(752, 3088.0))
    table["drug_b"] = table.drug_b.astype(object)
    table.loc[3, "drug_b"] = "3088.0"
    assert given(table).wells.block.unique().tolist() == ["MCF7: 3088 + 752"]

def test_a_drug_with_itself_is_a_sham_and_no_pair(given):
    found = given(pd.concat([long_table(), long_table(drugs=("drugB", "DrugB"))]))
    said(found, "sham", "16 wells", "drugB")
    assert found.wells.block.nunique() == 1

@pytest.mark.parametrize("nothing", ["DMSO", "", "vehicle", "NA", "None"])
def test_wells_of_one_drug_without_a_matrix_become_single_wells(given, nothing):
    table = long_table()
    one = table.assign(drug_b=nothing, dose_b=0.0, viability=90.0).iloc[4:12:4]
    combined = table[(table.dose_a > 0) & (table.dose_b > 0)]
    two = table[(table.dose_a == 0) & (table.dose_b > 0)].assign(drug_a=nothing, dose_a=np.nan)
    found = given(pd.concat([combined, one, two]))
    assert found.singles.groupby("drug").size().to_dict() == {"drugA": 2, "drugB": 3}
    assert len(found.wells) == 9 and (found.wells.dose_a > 0).all()

def test_wells_of_one_drug_join_the_matrix_whose_number_they_bear(given):
    table = long_table().assign(block_id=[7]*16)
    alone = (table.dose_b == 0) & (table.dose_a > 0)
    table.loc[alone, ["drug_b", "dose_b"]] = ["DMSO", 0]
    untreated = (table.dose_a == 0) & (table.dose_b == 0)
    table.loc[untreated, ["drug_a", "drug_b"]] = ["", "DMSO"]
    same(given(table), given(long_table()))

def test_a_well_without_its_drug_or_line_is_left_out_and_said(given):
    table = long_table()
    table.loc[15, "drug_b"] = None
    said(given(table), "1 well with a dose of a drug that has no name left out")
    table.loc[14, "cell_line"] = None
    said(given(table), "1 well without a cell line left out")
    found = given(long_table().drop(columns="cell_line"))
    said(found, "names no cell line")
    assert found.wells.block.unique().tolist() == ["drugA + drugB"] and (found.wells.line == "").all()
    assert given(long_table().drop(columns="cell_line"), line="MCF7").wells.line.unique().tolist() == ["MCF7"]

# references and replicates

def test_a_block_without_single_wells_is_left_out_by_name_and_others_go_on(given):
    other = long_table(line="T47D")
    found = given(pd.concat([long_table(), other[(other.dose_a > 0) | (other.dose_b == 0)]]))
    said(found, "T47D: drugA + drugB has no single-agent wells for drugB", "left out")
    assert found.wells.line.unique().tolist() == ["MCF7"]
    alone = long_table()
    refused(lambda: given(alone[(alone.dose_a > 0) & (alone.dose_b > 0)]), "MCF7: drugA + drugB has no single-agent wells for drugA, drugB",
            "singles.csv")

def test_a_table_of_singles_gives_references(tmp_path):
    table = long_table(times=1)
    table[(table.dose_a > 0) & (table.dose_b > 0)].to_csv(tmp_path/"pairs.csv", index=False)
    doses = [0.01, 0.1, 1, 10]
    alone = [("mcf-7", d, x, "uM", 100 - 100*alive(*((x, 0) if d == "DRUGA" else (0, x)))) for d in ("DRUGA", "drugB") for x in doses]
    pd.DataFrame(alone, columns=["cell_line", "drug", "dose", "unit", "inhibition"]).to_csv(tmp_path/"singles.csv", index=False)
    found = read_screen(tmp_path, {})
    assert len(found.wells) == 9 and len(found.singles) == 8
    np.testing.assert_allclose(found.singles.viability[:4], [100*alive(x, 0) for x in doses])
    assert found.singles.drug.unique().tolist() == found.wells[["drug_a", "drug_b"]].iloc[0].tolist()
    said(found, "singles.csv: inhibition in percent")

def test_missing_cells_stay_missing(given):
    found = given(long_table().drop(index=[6, 11]))
    assert len(found.wells) == 14

def test_replicates_are_kept_and_copies_are_said(given):
    table = long_table()
    wide = table.rename(columns={"viability": "viability1"}).assign(viability2=table.viability + 1, viability3=table.viability - 1)
    assert len(given(wide).wells) == 48
    assert given(wide).wells.block.nunique() == 1
    said(given(pd.concat([table, table])), "16 wells of 1 block repeat", "no independent replicates")

# layouts

def test_synergyfinder_drugcomb_and_recover_columns_are_found(given):
    table, plain = long_table(), given(long_table())
    names = {"cell_line": "cell_line_name", "drug_a": "drug1", "drug_b": "drug2", "dose_a": "conc1", "dose_b": "conc2",
             "unit": "conc_unit", "viability": "response"}
    same(given(table.rename(columns=names).assign(block_id=1)), plain)
    comb = table.rename(columns={"cell_line": "cell_line_name", "drug_a": "drug_row", "drug_b": "drug_col", "dose_a": "conc_r",
                                 "dose_b": "conc_c", "unit": "conc_r_unit"}).assign(conc_c_unit="uM", block_id=99)
    same(given(comb.assign(inhibition=100 - comb.viability).drop(columns="viability")), plain)
    recover = comb.assign(drug_row_recover_id=1, drug_row_smiles="CCO", drug_col_smiles="CCN")
    assert given(recover).drugs.smiles.to_dict() == {"drugA": "CCO", "drugB": "CCN"}
    with_mono = comb.copy()
    with_mono.loc[with_mono.conc_c == 0, ["drug_col", "conc_c", "conc_c_unit"]] = [None, np.nan, None]
    same(given(with_mono), plain)

def almanac(mono=((95, 70, 40), (97, 55, 30))):
    rows = [(740, 1e-7*10**i, 752, 1e-8*10**j, "786-0", mono[0][i]*mono[1][j]/100, mono[0][i], mono[1][j]) for i in range(3) for j in range(3)]
    return pd.DataFrame(rows, columns=["NSC1", "CONC1", "NSC2", "CONC2", "CELLNAME", "Response_No_Tz", "MONO_NSC1", "MONO_NSC2"])

def test_almanac_has_its_single_wells_beside_each_well(given):
    found = given(almanac())
    assert len(found.wells) == 15 and found.wells.dose_a.max() == 10 and found.wells.dose_b.max() == 1
    alone = found.wells[found.wells.dose_b == 0].set_index("dose_a").viability
    assert alone.to_dict() == {0.1: 95, 1: 70, 10: 40}
    np.testing.assert_allclose(naive_bliss_max(found.wells), 0, atol=1e-9)
    twice = pd.concat([almanac(), almanac(((99, 80, 50), (96, 60, 20)))])
    found = given(twice)
    assert found.wells.groupby("block").size().tolist() == [15, 15]
    np.testing.assert_allclose(naive_bliss_max(found.wells), 0, atol=1e-9)

def test_wells_that_nci_marks_as_invalid_are_left_out(given):
    table = almanac().rename(columns={"Response_No_Tz": "PERCENTGROWTHNOTZ"}).assign(VALID="Y")
    table.loc[4, "VALID"] = "N"
    found = given(table)
    said(found, "1 well marked as not valid")
    assert len(found.wells) == 14

def test_a_block_matrix_is_read_with_its_doses(tmp_path):
    pd.DataFrame({"BlockId": [1], "RowName": ["drugA"], "ColName": ["drugB"], "RowConcs": ["10,1,0.1,0.0"], "ColConcs": ["5,.5,.05,0"],
                  "RowConcUnit": ["uM"], "ColConcUnit": ["uM"], "CellLine": ["MCF7"]}).to_csv(tmp_path/"metadata.csv", index=False)
    rows = [(1, j + 1.0, i + 1.0, 100*alive(a, b)) for i, a in enumerate(A[::-1]) for j, b in enumerate(B[::-1])]
    table = pd.DataFrame(rows, columns=["BlockId", "Col", "Row", "Value"])
    table.to_csv(tmp_path/"responses.csv", index=False)
    found = read_screen(tmp_path, {})
    pd.testing.assert_frame_equal(found.wells, assemble_screen("x", wells_of_table(long_table())).wells)
    refused(lambda: read_wells(tmp_path/"responses.csv"), "table of blocks")
    table.assign(Row=5 - table.Row, Col=5 - table.Col).to_csv(tmp_path/"responses.csv", index=False)
    refused(lambda: read_screen(tmp_path, {}), "wells at dose 0 read", "counted the other way")
    table.assign(Row=table.Row + 1).to_csv(tmp_path/"responses.csv", index=False)
    refused(lambda: read_screen(tmp_path, {}), "block 1", "row 5")

def test_settings_name_columns_and_files(tmp_path):
    table = long_table().rename(columns={"drug_a": "first", "viability": "signal"}).drop(columns="unit")
    table.to_csv(tmp_path/"x.csv", index=False)
    table.to_csv(tmp_path/"y.csv", index=False)
    refused(lambda: read_screen(tmp_path, {}), "No table of wells")
    settings = {"wells": "x", "drug_a": "first", "value_column": "signal", "response": "viability", "dose_unit": "uM"}
    assert len(read_screen(tmp_path, settings).wells) == 16
    refused(lambda: read_screen(tmp_path, settings | {"drug_a": "frist"}), "'frist'")
    refused(lambda: read_screen(tmp_path, settings | {"response": "up"}), "viability or inhibition")
    refused(lambda: read_screen(tmp_path, settings | {"wells": "*"}), "2 files")

# drugs and chemistry

def test_structures_that_cannot_be_read_are_named_and_are_not_alike(tmp_path):
    table = pd.concat([long_table(drugs=p) for p in (("drugA", "drugB"), ("drugC", "drugD"))])
    table.to_csv(tmp_path/"wells.csv", index=False)
    (tmp_path/"drugs.csv").write_text("drug,smiles\nDrug-A,CCO\ndrugB,c1ccccc1O\ndrugC,\ndrugD,C1CC\n")
    found = read_screen(tmp_path, {})
    if (found.drugs.chemistry == NO_RDKIT).any(): pytest.skip("RDKit is not installed: pip install 'drugnb[deep]'")
    assert found.drugs.chemistry.tolist() == ["", "", "no SMILES", "cannot be parsed: C1CC"]
    said(found, "drugC: no SMILES", "drugD: cannot be parsed: C1CC")
    assert found.chemistry.shape == (4, 1024) and found.chemistry.iloc[2:].isna().all(axis=None)
    assert found.chemistry.iloc[:2].isin([0, 1]).all(axis=None) and (found.chemistry.iloc[0] != found.chemistry.iloc[1]).any()

def test_without_rdkit_chemistry_is_left_out_and_said(monkeypatch):
    import builtins
    real = builtins.__import__
    def without(name, *args, **kwargs):
        if name.startswith("rdkit"): raise ImportError(name)
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", without)
    bits, why = fingerprints(pd.Series({"a": "CCO", "b": ""}))
    assert bits.shape == (2, 0) and why.tolist() == [NO_RDKIT, "no SMILES"]

def test_fingerprints_of_a_table_go_before_structures(tmp_path):
    long_table().to_csv(tmp_path/"wells.csv", index=False)
    (tmp_path/"fingerprints.csv").write_text("drug,x,y\nDRUGA,1,0\nother,1,1\n")
    found = read_screen(tmp_path, {})
    assert found.chemistry.loc["drugA"].tolist() == [1, 0] and found.chemistry.loc["drugB"].isna().all()
    assert found.drugs.chemistry["drugB"] == "not in the table of fingerprints"
    (tmp_path/"fingerprints.csv").write_text("drug,x,y\nDRUGA,1,2\n")
    refused(lambda: read_screen(tmp_path, {}), "0 or 1")

def test_ids_get_names_and_ambiguous_names_keep_their_id(tmp_path):
    table = almanac()
    pd.concat([table, table.assign(NSC2=753)]).to_csv(tmp_path/"wells.csv", index=False)
    (tmp_path/"drugs.csv").write_text("nsc,first_name,smiles\n740,Methotrexate,CN\n752,Twin,CC\n753,Twin,CO\n")
    found = read_screen(tmp_path, {})
    assert found.drugs.id.to_dict() == {"Methotrexate": "740", "Twin (752)": "752", "Twin (753)": "753"}
    assert found.wells.block.nunique() == 2

def test_one_drug_with_two_structures_is_refused(tmp_path):
    long_table().to_csv(tmp_path/"wells.csv", index=False)
    (tmp_path/"drugs.csv").write_text("drug,smiles\ndrugA,CC\ndrugA,CO\n")
    refused(lambda: read_screen(tmp_path, {}), "drugA twice")

def test_spellings_that_a_table_tells_apart_are_not_joined(tmp_path):
    pd.concat([long_table(drugs=("mk-1", "x")), long_table(drugs=("MK1", "x"))]).to_csv(tmp_path/"wells.csv", index=False)
    (tmp_path/"drugs.csv").write_text("drug,smiles\nmk-1,CC\nMK1,CO\nx,CN\n")
    found = read_screen(tmp_path, {})
    assert found.wells.block.nunique() == 2 and found.drugs.smiles.to_dict() == {"MK1": "CO", "mk-1": "CC", "x": "CN"}

# scores

def scores(text, tmp_path, **how):
    (tmp_path/"pairs.csv").write_text(text)
    return read_scores(tmp_path/"pairs.csv", **how)

def test_scores_of_one_pair_in_either_order_are_replicates(tmp_path):
    found = scores("drug_a,drug_b,cell_line,bliss_max\nA,B,MCF7,12\nB,A,MCF7,8\nA,C,MCF7,5\nC,A,mcf-7,5\nB,C,MCF7,-3\nB,B,MCF7,1\n", tmp_path)
    assert found.pairs[["drug_a", "drug_b", "score", "n", "spread"]].to_numpy().tolist() == [["A", "B", 10, 2, 4], ["A", "C", 5, 2, 0],
                                                                                           ["B", "C", -3, 1, 0]]
    assert any("sham" in r for r in found.report)

def test_scores_that_mean_something_else_are_refused(tmp_path):
    refused(lambda: scores("drug_a,drug_b,bliss\nA,B,.12\n", tmp_path), "fractions?")
    refused(lambda: scores("drug_a,drug_b,CI\nA,B,.5\n", tmp_path), "combination indices")
    refused(lambda: scores("drug_a,drug_b,x\nA,B,5\n", tmp_path), "no column of scores")
    assert scores("drug_a,drug_b,x\nA,B,5\n", tmp_path, column="x").measure == "x"

# simulated

def test_a_simulated_screen_is_the_same_for_a_seed_and_keeps_its_truth():
    one, other = simulated_small(), simulate_screen(12, 2, 3, 0.8, seed=5)
    pd.testing.assert_frame_equal(one.wells, simulated_small().wells)
    assert simulate_screen(12, 2, 3, 0.8, seed=6).key != other.key
    for screen in (one, other):
        pairs = screen.truth["pairs"]
        assert not pairs.duplicated(["line", "drug_a", "drug_b"]).any() and (pairs.drug_a < pairs.drug_b).all()
        measured = screen.wells.drop_duplicates(["line", "drug_a", "drug_b"])[["line", "drug_a", "drug_b"]]
        assert len(measured.merge(pairs, on=["line", "drug_a", "drug_b"])) == len(measured) == len(pairs)
        assert (pairs.bliss_max >= pairs.bliss_mean).all() and (screen.wells.drug_a < screen.wells.drug_b).all()

def test_measured_excess_and_single_wells_follow_the_truth():
    screen = simulated_small()
    blocks = screen.wells.drop_duplicates("block").merge(naive_bliss_max(screen.wells).rename("measured").reset_index(), on="block")
    both = blocks.merge(screen.truth["pairs"], on=["line", "drug_a", "drug_b"])
    assert both.measured.corr(both.bliss_max) > 0.7
    curves = screen.truth["curves"].set_index(["line", "drug"])
    c = curves.loc[pd.MultiIndex.from_frame(screen.singles[["line", "drug"]])]
    true = c.Emax + (100 - c.Emax)/(1 + (screen.singles.dose.to_numpy()/c.C)**c.h)
    assert np.median(np.abs(screen.singles.viability.to_numpy() - true)) < 3

def test_an_example_reads_back_as_it_was(tmp_path):
    again, small = read_screen(write_example(tmp_path), {}), simulated_small()
    for table in ("wells", "singles", "chemistry"): pd.testing.assert_frame_equal(getattr(again, table), getattr(small, table))
    two = simulate_screen(8, 2, 2, 1.0)
    pd.testing.assert_frame_equal(read_screen(write_screen(two, tmp_path/"two"), {}).wells, two.wells)

def test_sets_open_by_name():
    if "synergy" not in STUDIES: pytest.skip("the study has no card yet")
    assert open_screen("simulated-small").name == "simulated-small"
    refused(lambda: open_screen("simulatd"), "simulatd")

# real tables and cases

@pytest.fixture(scope="session")
def prepared():
    folder = next((f for f in (project_path("data/synergy"), project_path("../shared/data/synergy"))
                   if (f/"almanac_786-0_wells.csv.gz").is_file()), None)
    if not folder: pytest.skip("the prepared wells are in no data folder")
    return folder

@pytest.fixture(scope="session")
def cases():
    folder = project_path("../shared/cases/synergy")
    if not folder.is_dir(): pytest.skip("the folder of cases is not there")
    return folder

def of_set(prepared, name): return read_screen(prepared, {**LAYOUT, **SETS[name]}, name)

def test_almanac_opens_with_every_well_and_its_single_responses(prepared):
    found, raw = of_set(prepared, "almanac-786-0"), pd.read_csv(prepared/"almanac_786-0_wells.csv.gz")
    raw = raw[raw.NSC1 != raw.NSC2]
    combined = found.wells[(found.wells.dose_a > 0) & (found.wells.dose_b > 0)]
    np.testing.assert_allclose(np.sort(combined.viability), np.sort(raw.Response_No_Tz), rtol=1e-15)  # pandas' own parser rounds
    assert len(found.drugs) == 104 and (found.drugs.smiles == "").sum() == 1
    bliss = np.minimum(raw.MONO_NSC1, 100)*np.minimum(raw.MONO_NSC2, 100)/100 - raw.Response_No_Tz
    ours = naive_bliss_max(found.wells)
    theirs = bliss.groupby([raw.NSC1, raw.NSC2]).max()
    once = found.wells.drop_duplicates("block").set_index("block")
    assert abs(ours.max() - theirs.max()) < 1e-9 and len(ours) == len(theirs) + 1 and len(once) == len(ours)
    assert (once.groupby(["drug_a", "drug_b"]).size() > 1).sum() == 114

def test_oneil_opens_with_its_singles(prepared):
    found = of_set(prepared, "oneil")
    assert len(found.wells) == 360_432 and len(found.singles) == 78_432
    assert found.wells.line.nunique() == 39 and found.wells[["drug_a", "drug_b"]].drop_duplicates().shape[0] == 583
    assert found.wells.drug_a.isin(found.singles.drug.unique()).all() and not (found.drugs.smiles == "").any()
    assert 0.3 < found.wells.dose_a.max() <= 250 and found.singles.viability.median() > 80

def test_the_cases_read_as_they_should(cases, tmp_path):
    fraction, percent = (read_wells(cases/"01-percent-or-fraction"/f"{n}.csv") for n in ("fraction", "percent"))
    np.testing.assert_allclose(fraction.wells.viability, percent.wells.viability, atol=1e-5)
    refused(lambda: read_wells(cases/"01-percent-or-fraction/mixed.csv"), "MCF7: drugA + drugB", "8 wells")
    said(read_wells(cases/"02-viability-or-inhibition/oneil_two_blocks.csv"), "inhibition in percent", "8 untreated wells")
    refused(lambda: read_wells(cases/"04-no-zero-dose-rows/pairs.csv"), "MCF7: drugA + drugB has no single-agent wells for drugA, drugB")
    assert len(read_screen(cases/"04-no-zero-dose-rows", {}).singles) == 18
    assert len(read_wells(cases/"05-missing-cells/surface.csv").wells) == 34
    said(read_wells(cases/"07-untreated-not-100/mathews.csv"), "untreated well at 122.96 % of control in block 1")
    one, *others = (read_wells(cases/"08-dose-units"/f"{n}.csv") for n in ("uM", "nM", "M"))
    for other in others: same(one, other)
    refused(lambda: read_wells(cases/"08-dose-units/stray.csv"), "10 dose levels", "where 5 are expected")
    assert read_scores(cases/"09-pair-order/pairs.csv").pairs.spread.tolist() == [4, 0, 0]

def test_the_worked_examples_read_as_they_should(prepared, tmp_path):
    for part in ("metadata", "responses"): (tmp_path/f"{part}.csv").write_bytes((prepared/f"worked/NCATS_10023_{part}.csv").read_bytes())
    found = read_screen(tmp_path, {})
    assert found.wells.block.nunique() == 12 and len(found.wells) == 1200
    said(found, "viability in percent")
    said(found, "untreated well at 17.95 % of control in block 1")
    top = found.wells[found.wells.block.str.endswith("(12)")]
    assert top[(top.dose_a == 0) & (top.dose_b == 0)].viability.item() > 90
