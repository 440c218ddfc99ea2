"""Tables of images: columns by name, wells and plates in one spelling, joins that count, and what position alone tells."""
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from drugnb.core.identity import compound_keys
from drugnb.core.settings import InputError, project_path
from drugnb.morphology.data import (
    IMAGE_COLUMNS,
    Answers,
    alone_share,
    annotation_of,
    best_guess,
    confounded_says,
    confounding,
    figure_confounding,
    figure_layout,
    images_of,
    layout,
    meet,
    one_each,
    open_study,
    plate_partners,
    read_answers,
    write_example,
)
from drugnb.morphology.images import write_example_images
from drugnb.morphology.simulate import simulated_fixed, simulated_small
from drugnb.morphology.tables import (
    columns_of,
    doses_of,
    features_of,
    find_untreated,
    one_spelling,
    read_table,
    wells_of,
)

CASES = project_path("../shared/cases/morphology")
DATA = project_path("../shared/data/morphology")
WELLS = ["A01", "A02", "A03", "B01", "B02", "B03", "C01", "C02", "C03", "D01", "D02", "D03"]

def case(name):
    if not (CASES/name).is_dir(): pytest.skip(f"the case {name} is in no folder beside the project")
    return CASES/name

def mirrored(mirror, pattern):
    found = next(mirror.glob(pattern), None)
    if found is None: pytest.skip(f"{pattern} is not in the mirror")
    return found

def refused(call, *words):
    with pytest.raises(InputError) as e: call()
    for word in words: assert word in str(e.value), f"{word!r} not in {e.value}"
    assert len(str(e.value)) < 500

def said(report, *words):
    assert any(all(w in line for w in words) for line in report), report

def wells(plates=("P1", "P2"), names=WELLS, treated=("taxol", "ALLN")):
    "A plate map: the first third untreated, the rest dealt to treatments."
    kinds = ["DMSO"]*(len(names)//3) + [treated[i % len(treated)] for i in range(len(names) - len(names)//3)]
    return pd.concat([pd.DataFrame({"plate": p, "well": names, "treatment": kinds}) for p in plates], ignore_index=True)

def numbers(n, p=6, seed=0):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(n, p)), columns=[f"feature_{i}" for i in range(p)])

@pytest.fixture
def folder(tmp_path):
    "Write tables into a folder and open it: folder({'a.csv': table}, **answers)."
    def opened(tables, **answers):
        for name, table in tables.items(): table.to_csv(tmp_path/name, index=False)
        return open_study(tmp_path, cache="", **answers)
    return opened

def pictures(folder, paths, seed=0, size=12):
    "16-bit PNGs of noise."
    rng = np.random.default_rng(seed)
    for path in paths:
        (folder/path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(100, 4000, (size, size), dtype=np.uint16)).save(folder/path)

# columns and tables

@pytest.mark.parametrize("names, wanted", [
    (["site_id", "well_id", "cell_type", "experiment", "plate", "well", "site", "treatment", "treatment_conc"],
     dict(image="site_id", experiment="experiment", plate="plate", well="well", site="site", treatment="treatment",
          dose="treatment_conc")),
    (["Metadata_Source", "Metadata_Batch", "Metadata_Plate", "Metadata_Well", "Metadata_JCP2022", "Metadata_pert_type"],
     dict(batch="Metadata_Batch", plate="Metadata_Plate", well="Metadata_Well", treatment="Metadata_JCP2022",
          type="Metadata_pert_type")),
    (["Image_Metadata_Plate", "Image_Metadata_Well", "Image_Metadata_Compound", "Image_Metadata_Concentration", "Metadata_moa"],
     dict(plate="Image_Metadata_Plate", well="Image_Metadata_Well", treatment="Image_Metadata_Compound",
          dose="Image_Metadata_Concentration", mechanism="Metadata_moa")),
    (["PLATE", "Well_Position", "Compound Name", "Dose (nM)"],
     dict(plate="PLATE", well="Well_Position", treatment="Compound Name", dose="Dose (nM)"))])
def test_columns_are_found_by_the_names_that_people_use(names, wanted):
    assert {r: c.name for r, c in columns_of(names).items()} == wanted

def test_columns_are_never_found_by_position(folder):
    table, values = wells(), numbers(24)
    first = folder({"map.csv": pd.concat([table, values], axis=1)})
    other = folder({"map.csv": pd.concat([values, table[["treatment", "well", "plate"]]], axis=1)})
    pd.testing.assert_frame_equal(first.images, other.images)
    pd.testing.assert_frame_equal(first.features, other.features)

def test_plates_keep_their_zeros_and_their_letters(tmp_path):
    (tmp_path/"a.csv").write_text("plate;well;value\n007;A1;1,5\n12E3;A2;2,5\n")
    table, _ = read_table(tmp_path/"a.csv")
    assert table.plate.tolist() == ["007", "12E3"] and table.value.tolist() == [1.5, 2.5]

@pytest.mark.parametrize("content, words", [
    (b"PK\x03\x04", ["workbook"]), (b"plate,well\n", ["no rows"]), (b"a\n1\n", ["one column"]),
    (b"plate,well\n1,A1,3\n", ["every column one name"]), (b"plate,plate\n1,2\n", ["2 columns called 'plate'"]),
    (b"\x00\x01\x02,\x00", ["no text"])])
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path, content, words):
    (tmp_path/"bad.csv").write_bytes(content)
    refused(lambda: read_table(tmp_path/"bad.csv"), "bad.csv", *words)

def test_twin_columns_must_agree(folder):
    table = wells().assign(Metadata_Plate=lambda t: t.plate)
    assert len(folder({"a.csv": pd.concat([table, numbers(24)], axis=1)}).images) == 24
    table.loc[3, "Metadata_Plate"] = "P9"
    refused(lambda: folder({"a.csv": pd.concat([table, numbers(24)], axis=1)}), "a.csv", "'P1' and 'P9'", "1 row")

# wells, treatments, doses

def test_wells_have_one_spelling_up_to_plates_of_1536():
    table = pd.DataFrame({"well": ["A1", "A01", "a01", "AA2", "B-02", "AF48"]})
    assert wells_of(table, columns_of(table)).tolist() == ["A01", "A01", "A01", "AA02", "B02", "AF48"]
    for bad in ("17", "A49", "AG01", "B2-3"):
        table = pd.DataFrame({"well": ["A1", bad]})
        refused(lambda t=table: wells_of(t, columns_of(t), "map.csv"), "map.csv", bad)

@pytest.mark.parametrize("one, other, same", [
    ("Taxol", "taxol", True), ("5-Fluorouracil", "5 fluorouracil", True), ("IFN-α", "IFN-beta", False), ("IFN-β", "IFN-beta", True),
    ("BRD-K92301463-001-05-5", "BRD-K92301463-001-07-1", True), ("1-12", "11-2", False), ("(+)-JQ1", "(-)-JQ1", False)])
def test_one_treatment_in_two_spellings_and_two_in_similar_ones(one, other, same):
    a, b = compound_keys(pd.Series([one, other]))
    assert (a == b) is same

def test_the_most_frequent_spelling_is_shown_and_said():
    labels, says = one_spelling(pd.Series(["taxol", "Taxol", "taxol", "DMSO"]))
    assert labels.tolist() == ["taxol"]*3 + ["DMSO"] and "taxol = Taxol" in says[0]

@pytest.mark.parametrize("name, text, dose", [
    ("dose", "10 uM", 10), ("dose", "500 nM", 0.5), ("dose", "1 µM", 1), ("conc (mM)", "2", 2000), ("concentration_nM", "30", 0.03),
    ("Metadata_mmoles_per_liter", "20.0", 20), ("dose", "0", 0), ("dose", "", np.nan), ("dose", "2 mg/mL", np.nan)])
def test_doses_are_in_micromolar(name, text, dose):
    table = pd.DataFrame({name: [text]})
    np.testing.assert_allclose(doses_of(table, columns_of(table)).dose.to_numpy(float), [dose])

def test_a_unit_is_said_where_it_is_assumed_and_can_be_given():
    table = pd.DataFrame({"dose": ["3", "3 nM"]})
    found = doses_of(table, columns_of(table))
    said(found.report, "'dose'" if "'dose'" in str(found.report) else "dose", "uM", "nothing says another unit")
    assert doses_of(table, columns_of(table), "nM").dose.tolist() == [0.003, 0.003]
    own = pd.DataFrame({"dose": ["3 uM", "3 nM"]})
    assert not doses_of(own, columns_of(own)).report

@pytest.mark.parametrize("text", ["-1", "lots", "3 parsecs", "1e9"])
def test_a_dose_that_is_none_is_refused(text):
    table = pd.DataFrame({"dose": ["1", text]})
    refused(lambda: doses_of(table, columns_of(table), file="map.csv"), "map.csv", "'dose'")

def test_rxrx2_has_milligrams_where_rxrx19_has_micromolar():
    "The two data sets give one name to two units, as their descriptions say."
    base = dict(site_id=["a"], cell_type=["HUVEC"], treatment_conc=["0.01"])
    rxrx2, rxrx19 = pd.DataFrame(base), pd.DataFrame(base | {"disease_condition": ["mock"], "SMILES": [None]})
    assert doses_of(rxrx2, columns_of(rxrx2)).written.tolist() == ["0.01 mg/mL"]
    assert doses_of(rxrx19, columns_of(rxrx19)).dose.tolist() == [0.01]

def test_untreated_wells_are_found_by_name_or_type_or_asked_for():
    names, none = pd.Series(["JCP2022_1", "JCP2022_2"]), pd.Series(["", ""])
    refused(lambda: find_untreated(names, none), "Which wells are untreated?", "untreated =")
    assert find_untreated(names, pd.Series(["negcon", "poscon"]))[0].tolist() == [True, False]
    assert find_untreated(names, none, "jcp2022_2")[0].tolist() == [False, True]
    both, says = find_untreated(pd.Series(["DMSO", "EMPTY", "x"]), pd.Series([""]*3))
    assert both.tolist() == [True, True, False] and "DMSO (1), EMPTY (1)" in says[0]
    refused(lambda: find_untreated(pd.Series(["DMSO"]), pd.Series([""])), "nothing to tell apart")

# rows

def table_images(table, **answers): return images_of(annotation_of(table, "map.csv"), **answers)

def test_images_have_the_columns_of_the_wing():
    images, says = table_images(wells().assign(dose="0.3", moa="m"))
    assert list(images) == IMAGE_COLUMNS and images.index.name == "image" and images.index.is_unique
    assert images.loc["P1 B02"].to_dict() == dict(
        plate="P1", well="B02", site="", treatment="taxol", dose=0.3, condition="taxol 0.3 µM", mechanism="m", batch="",
        untreated=False, row=2, column=2)
    assert images.loc["P1 A01", ["dose", "condition", "mechanism"]].tolist() == [0.0, "DMSO", ""]
    said(says, "24 images of 24 wells on 2 plates", "8 untreated wells")

def test_crops_are_called_by_site_and_cell():
    table = pd.concat([wells(["P1"]).assign(site=s, cell=c) for s in ("s1", "s2") for c in (1, 2)])
    assert "P1 A01 s2 1" in table_images(table)[0].index
    assert table_images(table)[0].loc["P1 A01 s2 1", "site"] == "s2 1"

def test_rows_that_nothing_tells_apart_are_refused():
    table = pd.concat([wells(["P1"])]*2, ignore_index=True)
    refused(lambda: table_images(table), "map.csv", "several rows for P1 A01", "site, cell or image")

def test_a_missing_treatment_is_never_dropped_or_guessed():
    table = wells(["P1"])
    table.loc[[4, 7], "treatment"] = None
    refused(lambda: table_images(table), "2 rows of 12", "P1 B02", "untreated =")
    refused(lambda: table_images(table, untreated="DMSO"), "2 rows of 12 without a treatment")
    images, says = table_images(table, untreated="DMSO, EMPTY")
    assert (images.treatment == "EMPTY").sum() == 2 and images.untreated.sum() == 6 and len(images) == 12
    said(says, "2 rows without a treatment are EMPTY")

def test_a_well_with_two_treatments_and_a_treatment_at_dose_0_are_refused():
    table = pd.concat([wells(["P1"]).assign(site=1), wells(["P1"], treated=("x", "taxol")).assign(site=2)])
    refused(lambda: table_images(table), "lists well B02 of P1 under taxol and x")
    refused(lambda: table_images(wells().assign(dose=0)), "taxol at dose 0 in P1 B02")

def test_plates_without_untreated_wells_and_treatments_on_one_plate_are_named():
    table = pd.concat([wells(["P1"]), wells(["P2"]).query("treatment == 'ALLN'")])
    _, says = table_images(table)
    said(says, "1 plate without untreated wells: P2")
    said(says, "1 treatment of 2 on one plate only: taxol")

def test_batches_come_from_a_column_or_from_labels():
    _, says = table_images(wells(["P1", "P2"]))
    said(says, "no column of batches")
    images, says = table_images(wells(["Week4_27481", "Week4_27521", "Week5_1"]))
    assert images.groupby("batch").plate.nunique().to_dict() == {"Week4": 2, "Week5": 1}
    said(says, "batches are what plates' labels begin with: Week4, Week5")
    assert table_images(wells().assign(Metadata_Batch="b7"))[0].batch.unique().tolist() == ["b7"]

# joins

def test_plates_meet_by_a_unique_end_of_their_labels_only():
    assert plate_partners(["27481", "x"], ["Week4_27481", "x"])[0] == {"x": "x", "27481": "Week4_27481"}
    assert plate_partners(["27481"], ["Week4_27481", "Week5_27481"])[0] == {}
    assert plate_partners(["481"], ["Week4_27481"])[0] == {}
    assert plate_partners(["HUVEC-1/Plate2"], ["HUVEC-1_2"])[0] == {"HUVEC-1/Plate2": "HUVEC-1_2"}

def test_a_join_keeps_rows_and_order_of_the_values(folder):
    table, values = wells(), numbers(24)
    order = np.random.default_rng(1).permutation(24)
    profiles = pd.concat([table[["plate", "well"]], values], axis=1).iloc[order]
    plan = table.assign(well=table.well.str.replace("0", "").str.lower(), plate="Week1_" + table.plate).iloc[::-1]
    found = folder({"profiles.csv": profiles, "platemap.csv": plan})
    assert found.images.index.tolist() == (table.plate + " " + table.well).iloc[order].tolist()
    assert found.images.treatment.tolist() == table.treatment.iloc[order].tolist()
    np.testing.assert_allclose(found.features, values.iloc[order])
    assert found.joined[["only_table", "only_features"]].to_numpy().sum() == 0 and found.joined.both.sum() == 24
    said(found.report, "plates are met by the end of their labels", "P1 = Week1_P1")

def test_rows_that_meet_nothing_are_counted_and_stop_the_run(folder):
    profiles = pd.concat([wells()[["plate", "well"]], numbers(24)], axis=1)
    tables = {"p.csv": profiles.iloc[4:], "m.csv": wells().iloc[:-1]}
    refused(lambda: folder(tables), "19 rows met, 4 of the table only, 1 of the features only", "P1 DMSO: 4", "most_lost = 0.18")
    found = folder(tables, most_lost=0.18)
    assert len(found.images) == 19
    assert found.joined.query("plate == 'P1' and treatment == 'DMSO'").only_table.item() == 4
    assert found.joined.query("treatment == ''")[["plate", "only_features"]].to_numpy().tolist() == [["P2", 1]]

def test_a_key_listed_twice_is_refused_if_it_differs_and_counted_if_not():
    table = annotation_of(pd.concat([wells(["P1"])]*2).assign(well=[*WELLS, *[w.lower() for w in WELLS]]), "map.csv")
    found = one_each(table, ["plate", "well"])
    assert len(found.rows) == 12 and "12 rows listed twice with equal content" in found.report[-1]
    table.rows.iloc[0, table.rows.columns.get_loc("treatment")] = "x"
    refused(lambda: one_each(table, ["plate", "well"]), "map.csv lists P1 A01", "'x' and 'DMSO'")

def test_embeddings_meet_metadata_by_id_whatever_their_order(folder):
    table = wells().assign(site=1).assign(site_id=lambda t: t.plate + "_" + t.well + "_1")
    values = numbers(24).assign(site_id=table.site_id.to_numpy())
    found = folder({"metadata.csv": table, "embeddings.csv": values.sample(frac=1, random_state=0)})
    np.testing.assert_allclose(found.features.loc[table.site_id], values.drop(columns="site_id"))
    other = folder({"metadata.csv": table.drop(columns="site_id"), "embeddings.csv": values})
    pd.testing.assert_frame_equal(found.images.sort_index(), other.images.sort_index(), check_like=True)
    said(other.report, "are read from ids")

def test_a_plate_map_without_plates_holds_for_all(folder):
    profiles = pd.concat([wells()[["plate", "well"]], numbers(24)], axis=1)
    found = folder({"p.csv": profiles, "m.csv": wells(["P1"]).drop(columns="plate")})
    assert found.images.treatment.tolist() == wells().treatment.tolist()
    said(found.report, "m.csv names no plates")
    refused(lambda: folder({"p.csv": profiles.drop(columns="plate").iloc[:12], "m.csv": wells()}), "names no plates", "2")

def test_tables_of_compounds_and_plates_are_met_too(folder):
    profiles = pd.concat([wells(), numbers(24)], axis=1)
    moa = pd.DataFrame({"compound": ["Taxol", "alln"], "moa": ["stabiliser", "proteasome"]})
    found = folder({"p.csv": profiles, "moa.csv": moa, "plates.csv": pd.DataFrame({"plate": ["P1", "P2"], "batch": ["b1", "b2"]})})
    assert found.images.groupby("treatment").mechanism.first().to_dict() == {"DMSO": "", "taxol": "stabiliser", "ALLN": "proteasome"}
    assert found.images.groupby("plate").batch.first().to_dict() == {"P1": "b1", "P2": "b2"}

def test_tables_that_contradict_each_other_are_refused(folder):
    profiles = pd.concat([wells(), numbers(24)], axis=1)
    other = wells(treated=("ALLN", "taxol"))
    refused(lambda: folder({"p.csv": profiles, "m.csv": other}), "p.csv says 'taxol' and m.csv 'ALLN'", "16 such rows")

def test_tables_without_a_common_key_are_refused(folder):
    refused(lambda: folder({"p.csv": numbers(24).assign(image=range(24)), "m.csv": wells()}), "No row of p.csv meets one of m.csv")

def test_meet_is_right_against_a_merge():
    rng = np.random.default_rng(0)
    table = wells([f"P{i}" for i in range(9)])
    asked = table[["plate", "well"]].sample(60, random_state=0)
    at = meet(annotation_of(asked, "p"), annotation_of(table.sample(frac=0.8, random_state=rng.integers(99)), "m")).at
    assert len(at) == 60 and (at >= 0).any() and (at < 0).any()

# features

def test_columns_that_are_no_features_are_named_and_nothing_is_filled_in():
    table = pd.concat([wells(), numbers(24).add_prefix("Cells_")], axis=1)
    table = table.assign(Cells_Location_Center_X=range(24), Nuclei_Number_Object_Number=range(24), ImageNumber=range(24), Cells_Flat=3,
                         Cells_Copy=table.Cells_feature_0, Cells_Gap=[np.nan] + [*range(23)], Cells_Word="a")
    table.loc[5, [c for c in table if c.startswith(("Cells_f", "Cells_F", "Cells_C", "Cells_L", "Cells_G", "Nuc", "Im"))]] = np.nan
    found = features_of(table, "p.csv")
    assert list(found.values) == [f"Cells_feature_{i}" for i in range(6)] and len(found.values) == 23
    why = found.dropped.set_index("feature").why
    assert "place" in why["Cells_Location_Center_X"] and "numbers of objects" in why["Nuclei_Number_Object_Number"]
    assert "copy" in why["Cells_Copy"] and "missing" in why["Cells_Gap"] and why["Cells_Word"] == "no numbers" and "one value" in why["Cells_Flat"]
    said(found.report, "1 row without most of their values left out")
    pd.testing.assert_frame_equal(found.values, table.loc[found.values.index, list(found.values)], check_dtype=False)

def test_infinite_values_count_as_missing():
    table = numbers(6)
    table.iloc[2, 3] = np.inf
    found = features_of(table, "p.csv")
    assert "feature_3" not in found.values and "missing" in found.dropped.why.iloc[0]

# arrays

@pytest.fixture
def crops(tmp_path):
    "An array of crops and its table: crops(table changes, **arrays)."
    def made(change=None, **arrays):
        table = pd.concat([wells(["P1"]).assign(cell=c) for c in (1, 2)], ignore_index=True)
        pixels = np.random.default_rng(0).integers(0, 255, (24, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path/"cells.npz", **{"X": pixels, **arrays})
        (change(table) if change else table).to_csv(tmp_path/"cells.csv", index=False)
        return tmp_path/"cells.csv", pixels
    return made

def test_an_array_belongs_to_its_table_by_id_by_number_or_by_order_that_is_said(crops):
    ids = np.array([f"c{i}" for i in range(24)])
    path, pixels = crops()
    by_order = open_study(path, channels="DNA, tubulin, actin")
    np.testing.assert_array_equal(by_order.pixels, pixels.transpose(0, 3, 1, 2))
    assert by_order.pixels.dtype == np.float32 and by_order.channels == ("DNA", "tubulin", "actin")
    said(by_order.report, "by their order")
    order = np.random.default_rng(1).permutation(24)
    for change, arrays in ((lambda t: t.assign(idx=range(24)).iloc[order], {}), (lambda t: t.assign(image=ids).iloc[order], {"ids": ids})):
        found = open_study(crops(change, **arrays)[0], channels="a,b,c")
        np.testing.assert_array_equal(found.pixels, pixels.transpose(0, 3, 1, 2)[order])
        assert not any("by their order" in s for s in found.report)

def test_an_array_that_does_not_fit_its_table_or_its_stains_is_refused(crops, tmp_path):
    refused(lambda: open_study(crops(lambda t: t.iloc[:20])[0], channels="a,b,c"), "24 images", "20 rows", "idx")
    refused(lambda: open_study(crops()[0]), "3 stains and 0 are named", "channels")
    refused(lambda: open_study(crops(lambda t: t.assign(idx=0))[0], channels="a,b,c"), "idx", "once")
    refused(lambda: open_study(crops(X=np.zeros((24, 3, 3, 3)))[0], channels="a,b,c"), "which axis")
    refused(lambda: open_study(crops(X=np.array([{}]*24, dtype=object))[0], channels="a,b,c"), "cannot be read as plain arrays")
    odd = np.zeros((24, 8, 8, 3), np.float32)
    odd[7] = np.nan
    refused(lambda: open_study(crops(X=odd)[0], channels="a,b,c"), "not finite", "7")

def test_stains_of_an_array_can_stand_in_a_table(crops):
    path, _ = crops()
    pd.DataFrame({"idx": [2, 0, 1], "channel": ["actin", "DNA", "tubulin"]}).to_csv(path.with_name("channels.csv"), index=False)
    assert open_study(path.parent).channels == ("DNA", "tubulin", "actin")

# files

def test_files_are_found_by_name_and_join_a_table_of_wells(tmp_path):
    table = wells()
    paths = [f"{p}/{w}_s{s}_w{k}.png" for p, w in zip(table.plate, table.well, strict=True) for s in (1, 2) for k in (1, 2)]
    folder = tmp_path/"study"
    pictures(folder, paths)
    table.to_csv(folder/"platemap.csv", index=False)
    found = open_study(folder, channels="DNA,actin", cache=tmp_path/"cache")
    assert found.pixels.shape == (48, 2, 12, 12) and found.channels == ("DNA", "actin")
    for i in (0, 17, 47):
        row = found.images.iloc[i]
        shown = np.array(Image.open(folder/row.plate/f"{row.well}_s{row.site}_w2.png"))
        np.testing.assert_array_equal(found.pixels[i, 1], shown)
        assert row.treatment == table.set_index(["plate", "well"]).treatment[row.plate, row.well]
    assert open_study(folder, channels="DNA,actin", cache=tmp_path/"cache").key == found.key

def test_files_of_a_table_that_are_not_there_are_counted(tmp_path):
    table = wells(["P1"]).assign(channel="DNA", path=lambda t: t.well + ".png")
    table.to_csv(tmp_path/"images.csv", index=False)
    pictures(tmp_path, table.path[:-2].tolist() + ["other.png"])
    refused(lambda: open_study(tmp_path, cache=""), "10 rows met, 2 of the table only, 1 of the files only", "most_lost")
    found = open_study(tmp_path, cache="", most_lost=0.2)
    assert len(found.images) == 10 and found.joined[["only_table", "only_files"]].sum().tolist() == [2, 1]
    said(found.report, "other.png")

def test_one_file_under_two_treatments_is_refused_by_name(tmp_path):
    table = wells(["P1"]).assign(path=lambda t: t.well + ".png", channel="DNA")
    twice = pd.concat([table, table.iloc[:1].assign(treatment="taxol")])
    twice.to_csv(tmp_path/"images.csv", index=False)
    refused(lambda: open_study(tmp_path/"images.csv"), "A01.png", "DMSO and taxol")
    hashed = table.assign(sha256=["aa", "aa" if table.treatment[0] != table.treatment[5] else "b", *range(10)])
    hashed.loc[5, "sha256"] = "aa"
    hashed.to_csv(tmp_path/"images.csv", index=False)
    refused(lambda: open_study(tmp_path/"images.csv"), "aa", "two treatments")

def test_cellprofiler_s_columns_of_file_names_become_stains(tmp_path):
    table = wells(["P1"])
    pictures(tmp_path, [f"raw/{w}_{s}.png" for w in WELLS for s in ("d", "a")])
    wide = pd.DataFrame({"Image_FileName_DAPI": table.well + "_d.png", "Image_PathName_DAPI": "raw", "Image_FileName_Actin": table.well + "_a.png",
                         "Image_PathName_Actin": "raw", "Image_Metadata_Well_DAPI": table.well, "Image_Metadata_Plate_DAPI": "P1",
                         "Image_Metadata_Compound": table.treatment, "TableNumber": 1, "ImageNumber": range(12)})
    wide.to_csv(tmp_path/"load_data.csv", index=False)
    found = open_study(tmp_path, cache="")
    assert found.channels == ("DAPI", "Actin")
    np.testing.assert_array_equal(found.pixels[3, 1], np.array(Image.open(tmp_path/f"raw/{WELLS[3]}_a.png")))

def test_pixels_come_before_features_and_it_is_said(tmp_path):
    table = wells(["P1"]).assign(path=lambda t: t.well + ".png", channel="DNA")
    table.to_csv(tmp_path/"images.csv", index=False)
    pictures(tmp_path, table.path)
    pd.concat([wells(["P1"])[["plate", "well"]], numbers(12)], axis=1).to_csv(tmp_path/"profiles.csv", index=False)
    found = open_study(tmp_path, cache="")
    assert found.features is None and found.pixels.shape[0] == 12
    said(found.report, "profiles.csv was left aside")
    assert open_study(tmp_path, values="features").features.shape == (12, 6)

def test_the_example_opens_as_the_set_that_it_was_made_from(tmp_path):
    found, made = open_study(write_example(tmp_path/"mine"), cache=""), simulated_small()
    key = ["plate", "well"]
    said_of = [*key, "treatment", "batch"]
    np.testing.assert_array_equal(found.images.sort_values(key)[said_of], made.images.sort_values(key)[said_of])
    order = pd.Index(found.images.plate + found.images.well + found.images.site).get_indexer(
        made.images.plate + made.images.well + made.images.site.str.removeprefix("s"))
    np.testing.assert_allclose(found.pixels[order], made.pixels, atol=0.5)
    assert found.channels == made.channels

# answers and sources

def test_answers_come_from_settings_and_arguments():
    assert read_answers({"size": 32}, {"untreated": "WT", "size": "64"}) == Answers("WT", size=32)
    refused(lambda: read_answers({"unterated": "x"}), "unterated")
    refused(lambda: read_answers({"most_lost": "much"}), "most_lost")
    refused(lambda: read_answers({"values": "both"}), "pixels or features")

def test_what_is_no_source_is_refused(tmp_path):
    refused(lambda: open_study("simulated-smal"), "simulated-small")
    refused(lambda: open_study(tmp_path), "neither images nor features")

def test_sites_of_a_table_do_not_name_profiles_of_wells(folder):
    sites = pd.concat([wells().assign(site=s) for s in (1, 2)]).assign(image=range(48))
    found = folder({"p.csv": pd.concat([wells()[["plate", "well"]], numbers(24)], axis=1), "m.csv": sites})
    assert (found.images.site == "").all() and found.images.index[0] == "P1 A01"

def test_profiles_listed_twice_are_kept_once_and_counted(folder):
    table = pd.concat([wells(), numbers(24)], axis=1)
    found = folder({"p.csv": pd.concat([table, table.iloc[:3]])})
    assert len(found.images) == 24
    said(found.report, "p.csv: 3 rows listed twice")

def test_plates_numbered_within_batches_are_told_apart():
    images, says = table_images(pd.concat([wells(["1", "2"]).assign(week=w) for w in ("a", "b")]))
    assert images.plate.unique().tolist() == ["a_1", "a_2", "b_1", "b_2"] and len(images) == 48
    said(says, "called by both")

def test_an_array_that_needs_no_change_stays_on_disk(tmp_path):
    np.save(tmp_path/"cells.npy", np.random.default_rng(0).random((12, 2, 5, 5), dtype=np.float32))
    wells(["P1"]).to_csv(tmp_path/"cells.csv", index=False)
    found = open_study(tmp_path, channels="a,b")
    assert isinstance(found.pixels.base, np.memmap) or isinstance(found.pixels, np.memmap)

def test_a_key_follows_the_order_of_rows_and_of_pixels(crops):
    path, pixels = crops()
    first = open_study(path, channels="a,b,c").key
    assert open_study(crops(X=pixels[:, ::-1])[0], channels="a,b,c").key != first
    assert open_study(crops(lambda t: t.assign(idx=range(24)).iloc[::-1])[0], channels="a,b,c").key != first

def test_a_key_follows_content(folder):
    tables = {"p.csv": pd.concat([wells(), numbers(24)], axis=1)}
    first = folder(tables).key
    assert folder(tables).key == first
    tables["p.csv"].loc[3, "feature_2"] += 1e-6
    assert folder(tables).key != first

# position

def design(plates, fixed, rows=4, seed=0):
    "Columns 1 to 6 with untreated wells in the outer ones, the same on all plates or dealt anew."
    rng = np.random.default_rng(seed)
    names = [f"{r}{c:02d}" for r in "ABCDEFGH"[:rows] for c in range(1, 7)]
    kinds = np.array((["DMSO", "a", "a", "b", "b", "DMSO"]*rows))
    frames = [pd.DataFrame({"plate": f"w{p//2}_{p}", "well": names, "treatment": kinds if fixed else rng.permutation(kinds)}) for p in range(plates)]
    return table_images(pd.concat(frames, ignore_index=True))[0]

def test_a_fixed_layout_is_told_from_a_dealt_one():
    assert layout(design(6, True)).kind == "fixed" and layout(design(6, True)).treated == 1
    mixed = [layout(design(6, False, seed=s)) for s in range(20)]
    assert sum(m.kind == "randomised" for m in mixed) >= 18
    assert abs(np.mean([m.treated for m in mixed])) < 0.06 and abs(np.mean([m.untreated for m in mixed])) < 0.06
    assert layout(design(1, True)).kind == "one plate"

def test_two_layouts_in_turn_are_no_randomisation():
    one, other = design(6, True), design(1, False, seed=1)
    for p in one.plate.unique()[::2]:
        rows = one.plate == p
        for c in ("treatment", "condition", "untreated"): one.loc[rows, c] = other[c].to_numpy()
    found = layout(one)
    assert found.kind == "fixed" and found.treated < 0.6

def test_untreated_wells_that_stay_make_a_layout_fixed():
    images = design(6, True)
    rng, treated = np.random.default_rng(0), ~images.untreated
    for p in images.plate.unique():
        rows = images.index[treated & (images.plate == p)]
        images.loc[rows, ["treatment", "condition"]] = images.loc[rng.permutation(rows), ["treatment", "condition"]].to_numpy()
    found = layout(images)
    assert found.kind == "fixed" and found.untreated == 1 and abs(found.treated) < 0.2

def test_layouts_of_the_simulated_sets_are_as_their_truth_says():
    for made in (simulated_small(), simulated_fixed()):
        assert layout(made.images).kind == made.truth["positions"]

def test_position_that_tells_the_treatment_is_said_in_a_sentence():
    images = design(6, True)
    table = confounding(images)
    row = table.query("question == 'treated or untreated' and factor == 'column'").iloc[0]
    assert row.confounded and row.balanced == 1 and row.alone == 1
    assert confounded_says(table, images)[0] == ("all 96 treated wells stand in columns 2 to 5, all untreated in 1 and 6: treatment and well "
                                                 "position cannot be told apart here")

def test_randomised_positions_tell_nothing_and_p_is_calibrated():
    tables = [confounding(design(6, False, seed=s), shuffles=19, seed=s) for s in range(30)]
    assert not any(t.confounded.any() for t in tables) and not confounded_says(tables[0], design(6, False))
    rows = pd.concat(t[t.factor.isin(["column", "row", "well"]) & t.balanced_p.notna()] for t in tables)
    assert abs((rows.balanced - rows.chance).mean()) < 0.03
    assert 0.01 <= (rows.balanced_p <= 0.05).mean() <= 0.11

def test_one_plate_is_not_called_confounded_for_having_each_well_once():
    table = confounding(design(1, False, rows=8))
    assert not table[table.factor == "well"].confounded.any()
    assert table.balanced.isna().all()

def test_batches_that_hold_one_kind_only_are_said():
    images = design(6, False)
    images = images[(images.batch == "w0") == images.untreated]
    assert any("share no batches" in s for s in confounded_says(confounding(images), images))

def test_the_best_guess_equals_a_loop_over_held_out_plates():
    images = design(6, False, seed=3)
    label, column = images.untreated.to_numpy(), images.column.to_numpy()
    guess = np.zeros(len(images))
    for p in images.plate.unique():
        test = (images.plate == p).to_numpy()
        for i in np.flatnonzero(test):
            rate = [np.mean(column[~test & (label == k)] == column[i]) for k in (False, True)]
            guess[i] = 0.5 if rate[0] == rate[1] else float(rate[1] > rate[0])
    recall = [np.mean(np.where(label[label == k], guess[label == k], 1 - guess[label == k])) for k in (False, True)]
    assert best_guess(label, column, images.plate).balanced == pytest.approx(np.mean(recall))
    clear = guess != 0.5
    assert balanced_accuracy_score(label[clear], guess[clear] > 0.5) >= 0

def test_plate_and_batch_tell_nothing_of_a_balanced_design():
    table = confounding(design(6, False)).query("factor in ('plate', 'batch')")
    np.testing.assert_allclose(table.balanced, table.chance)

def test_the_expected_share_of_lone_wells_is_that_of_shuffles():
    images, rng = design(4, False, seed=5), np.random.default_rng(0)
    label, plate, place = (images[c].to_numpy() for c in ("untreated", "plate", "well"))
    _, expected = alone_share(label, place, plate, ~label)
    seen = []
    for _ in range(300):
        mixed = np.concatenate([rng.permutation(label[plate == p]) for p in np.unique(plate)])
        seen.append(alone_share(mixed, place, plate, ~mixed)[0])
    assert abs(np.mean(seen) - expected) < 0.02

def test_figures_state_what_was_found():
    images = design(6, True)
    fig = figure_confounding(confounding(images))
    assert "100% by" in fig.axes[0].get_title(loc="left") + fig.axes[0].get_title()
    fig = figure_layout(images)
    assert "0 of 24 positions" in fig.axes[0].get_title(loc="left") + fig.axes[0].get_title()

# real tables and cases

def test_case_05_missing_sites(tmp_path):
    folder = case("05-missing-sites-and-channels")
    refused(lambda: open_study(folder, cache=""), "19 rows met, 5 of the table only", "P2 drugA: 5", "21% fall out")
    pytest.importorskip("tifffile")
    found = open_study(folder, cache="", most_lost=0.21, channels="DNA,ER,actin")
    assert len(found.images) == 19 and found.joined.only_table.sum() == 5
    refused(lambda: open_study(folder, values="features"), "6 of the features only", "P9")
    found = open_study(folder, values="features", most_lost=0.2)
    assert len(found.features) == 24 and found.joined.query("plate == 'P9'").only_features.item() == 6

def test_case_06_metadata_join(tmp_path):
    folder = case("06-metadata-join")
    refused(lambda: open_study(folder, untreated="EMPTY"), "platemap.csv lists Week4_27481 B02", "'drugA' and 'drugB'")
    shutil.copy(folder/"profiles.csv", tmp_path)
    plan = pd.read_csv(folder/"platemap.csv")
    plan = pd.concat([plan[~((plan.well == "B2") & (plan.treatment == "drugB"))], plan.iloc[:1]])
    plan.to_csv(tmp_path/"platemap.csv", index=False)
    refused(lambda: open_study(tmp_path), "2 rows of 6 without a treatment", "untreated = EMPTY")
    found = open_study(tmp_path, untreated="EMPTY")
    assert len(found.images) == len(pd.read_csv(tmp_path/"profiles.csv")) == found.joined.both.sum()
    assert found.images.treatment.tolist() == ["drugA", "drugB", "EMPTY", "EMPTY", "drugA", "drugC"]
    said(found.report, "27481 = Week4_27481")
    said(found.report, "1 row listed twice with equal content")

def test_case_14_one_image_under_two_treatments():
    folder = case("14-one-site-both-sides")
    refused(lambda: open_study(folder/"dup.csv"), "P1/B02_s1.png", "DMSO and IFN-beta")
    images, says = table_images(read_table(folder/"images.csv")[0])
    assert len(images) == 32 and images.groupby(["plate", "well"]).ngroups == 8
    said(says, "32 images of 8 wells on 2 plates")

def test_cases_01_and_04_open_with_a_table_of_wells(tmp_path):
    pytest.importorskip("tifffile")
    shutil.copytree(case("01-channel-order-by-source"), tmp_path/"one")
    plan = pd.DataFrame({"plate": ["P1", "P1", "P2", "P2"], "well": ["B2", "C3"]*2, "treatment": ["DMSO", "x"]*2})
    plan.to_csv(tmp_path/"one/map.csv", index=False)
    found = open_study(tmp_path/"one", cache="")
    dna = found.pixels[:, found.channels.index("DNA")]
    h = dna.shape[1]//2
    assert (dna[:, h - 6:h + 6, h - 6:h + 6].mean((1, 2)) > dna[:, :4].mean((1, 2))).all() and len(found.images) == 4
    shutil.copytree(case("04-bit-depth"), tmp_path/"four")
    plan = pd.DataFrame({"plate": "P1", "well": [f"B0{i}" for i in range(2, 7)], "treatment": ["DMSO", *"abcd"]})
    plan.to_csv(tmp_path/"four/map.csv", index=False)
    refused(lambda: open_study(tmp_path/"four", cache=""), "DNA")

def test_the_real_wells_open_by_name():
    if not (DATA/"bbbc021_well_profiles.csv.gz").exists(): pytest.skip("the prepared wells are in no data folder")
    study = open_study("bbbc021")
    labels = pd.read_csv(DATA/"bbbc021_well_labels.csv").set_index(["Image_Metadata_Plate", "Image_Metadata_Well"])
    own = labels.loc[list(zip(study.images.plate, study.images.well, strict=True))]
    treated = (~study.images.untreated).to_numpy()
    assert len(study.images) == 632 and study.images.plate.nunique() == 55 and study.images.batch.nunique() == 10 and treated.sum() == 302
    assert (own.Image_Metadata_Compound.to_numpy() == study.images.treatment).all()
    assert (own.Metadata_moa.to_numpy()[treated] == study.images.mechanism[treated]).all()
    assert not [c for c in study.features if "Location" in c or "Center_X" in c] and study.features.shape[1] > 400
    says = confounded_says(confounding(study.images), study.images)
    assert says == ["all 302 treated wells stand in columns 3 to 10, all untreated in 2 and 11: treatment and well position cannot be "
                    "told apart here"]
    assert layout(study.images).kind == "fixed"

def test_the_real_crops_open_by_name():
    if not (DATA/"bbbc021_cells_600.npz").exists(): pytest.skip("the prepared crops are in no data folder")
    study = open_study("bbbc021-cells", cache="")
    with np.load(DATA/"bbbc021_cells_600.npz", allow_pickle=False) as saved: raw = saved["X"]
    np.testing.assert_array_equal(study.pixels, raw.transpose(0, 3, 1, 2))
    assert study.channels == ("DNA", "tubulin", "actin") and set(study.images.treatment) == {"DMSO", "cycloheximide"}
    said(study.report, "w1, w2, w4")
    assert any("cannot be told apart" in s for s in confounded_says(confounding(study.images), study.images))

def test_a_real_plate_of_profiles_opens(mirror):
    path = mirrored(mirror, "cytomining/cytominer-eval/*/cytominer_eval/example_data/compound/SQ00015054_normalized_feature_select.csv.gz")
    study = open_study(path)
    assert len(study.images) == 384 and study.images.untreated.sum() == 24 and study.images.dose.max() == 20
    said(study.report, "place of the cell", "Location_MaxIntensity")

def test_the_real_zarr_sites_open_with_a_plate_map(mirror, tmp_path):
    pytest.importorskip("zarr")
    shutil.copytree(mirrored(mirror, "shntnu/duckdb-zarr-cellpainting-demo/*/jump_rab30_mini"), tmp_path/"jump")
    refused(lambda: open_study(tmp_path/"jump", cache=""), "no column of treatments")
    pd.DataFrame({"Metadata_Plate": ["BR00123947", "CP-CC9-R1-05"], "Metadata_Well": ["G1", "L7"], "Metadata_Symbol": ["RAB30", "negcon"]}).to_csv(
        tmp_path/"jump/wells.csv", index=False)
    study = open_study(tmp_path/"jump", cache="")
    assert study.pixels.shape == (2, 5, 384, 384) and study.channels == ("AGP", "DNA", "ER", "Mito", "RNA")
    assert study.images.treatment.tolist() == ["RAB30", "negcon"] and study.images.batch.tolist() == ["2021_06_07_Batch5", "20220914_Run1"]
    about = json.loads((tmp_path/"jump/images.zarr/images/zarr.json").read_text())
    assert about["shape"] == [2, 5, 384, 384]

def test_the_real_nf1_wells_open_with_a_table_of_genotypes(mirror, tmp_path):
    pytest.importorskip("tifffile")
    source = mirrored(mirror, "cytomining/CytoDataFrame/*/tests/data/cytotable/NF1_cellpainting_data_shrunken/Plate_2_images")
    (tmp_path/"images").symlink_to(source)
    plan = pd.DataFrame({"well": ["B7", "D6", "D7", "F7", "H12"], "genotype": ["Null", "WT", "Null", "Null", "Null"]})
    plan.to_csv(tmp_path/"platemap.csv", index=False)
    refused(lambda: open_study(tmp_path, cache=""), "Which wells are untreated?", "WT")
    study = open_study(tmp_path, cache="", untreated="WT", size=96)
    assert study.channels == ("DAPI", "GFP", "RFP") and study.images.untreated.sum() == 1 and len(study.images) == 5
    refused(lambda: open_study(tmp_path, cache="", untreated="WT", on_bad="keep"), "on_bad")

def test_wells_and_stains_are_told_by_file_names_where_the_table_has_paths_only(tmp_path):
    study = open_study("simulated-small")
    few = replace(study, images=study.images.assign(site=study.images.site.str.lstrip("s")))
    folder = write_example_images(tmp_path/"mine", few)
    (folder/"metadata.csv").rename(tmp_path/"metadata.csv")
    said = pd.read_csv(tmp_path/"metadata.csv", dtype=str).set_index(["plate", "well"]).treatment
    said = said[~said.index.duplicated()]
    paths = sorted(p.relative_to(folder).as_posix() for p in (folder/"images").rglob("*.png"))
    plate, well = ([p.split("/")[1] for p in paths], [p.split("/")[-1].split("_")[0] for p in paths])
    rows = pd.DataFrame({"path": paths, "treatment": [said[k] for k in zip(plate, well, strict=True)]})
    rows.sample(frac=1, random_state=0).to_csv(folder/"files.csv", index=False)
    found = open_study(folder, cache="")
    assert any("told by the names of the files" in s for s in found.report)
    assert found.pixels.shape == study.pixels.shape and found.channels == study.channels
    key = ["plate", "well", "site"]
    both = found.images.reset_index().merge(few.images.reset_index(), on=key, validate="one_to_one")
    assert len(both) == len(few.images) and (both.treatment_x == both.treatment_y).all()
    rows.assign(path=["x.png"]*len(rows)).to_csv(folder/"files.csv", index=False)
    with pytest.raises(InputError, match="do not say which well"): open_study(folder, cache="")
