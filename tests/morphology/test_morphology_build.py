"""The real wells of BBBC021 from public files: tables equal the prepared ones, mechanisms only where a person has them."""
import pandas as pd
import pytest

from drugnb.core.settings import InputError, project_path
from drugnb.morphology.build import (
    FETCHED,
    LABELS,
    WELL,
    bbbc021_tables,
    build_bbbc021,
    mechanisms_by_hand,
    well_labels,
    with_mechanisms,
)
from drugnb.morphology.data import open_study
from drugnb.sources.fetch import registry

PREPARED = project_path("../shared/data/morphology")

def raw_of(mirror, key):
    "A public file in the mirror."
    known = pd.read_csv(mirror/"SOURCES.csv")
    row = known[known.path.str.endswith(FETCHED[key])].iloc[0]
    return mirror/row.repository/row.commit/row.path

def prepared(name):
    if not (PREPARED/name).is_file(): pytest.skip("the prepared wells are in no data folder")
    return PREPARED/name

@pytest.fixture
def sites():
    "Two sites of each of four wells."
    table = pd.DataFrame([("Week1_1", w) for w in ("B02", "C02", "B03", "C03")]*2, columns=[f"{c}_DAPI" for c in WELL])
    treated = table.Image_Metadata_Well_DAPI.str.endswith("3")
    return table.assign(Image_Metadata_Compound=treated.map({True: "taxol", False: "DMSO"}), Image_Metadata_Concentration=treated*0.3)

def test_every_file_is_registered_once():
    known = registry("morphology").path
    assert all(known.str.endswith(end).sum() == 1 for end in FETCHED.values())

def test_sites_become_wells_or_are_refused(sites):
    assert well_labels(sites).reset_index().to_numpy().tolist() == [
        ["Week1_1", "B02", "DMSO", 0.0], ["Week1_1", "C02", "DMSO", 0.0], ["Week1_1", "B03", "taxol", 0.3], ["Week1_1", "C03", "taxol", 0.3]]
    sites.loc[5, "Image_Metadata_Concentration"] = 1
    with pytest.raises(InputError, match="two treatments for Week1_1 C02"): well_labels(sites)
    with pytest.raises(InputError, match="no column Image_Metadata_Compound"): well_labels(sites.drop(columns="Image_Metadata_Compound"))

@pytest.mark.parametrize("names", [["compound", "concentration", "moa"], [*LABELS, "Metadata_moa"]])
def test_mechanisms_meet_by_compound_and_concentration(sites, names):
    table = pd.DataFrame([["taxol", 0.3, "stabiliser"], ["taxol", 1.0, "x"]], columns=names)
    found, says = with_mechanisms(well_labels(sites), table)
    assert found.Metadata_moa.fillna("").tolist() == ["", "", "stabiliser", "stabiliser"] and says == "2 of 4 wells have a mechanism"
    again = pd.concat([table, table.assign(**{names[2]: "other"})])
    with pytest.raises(InputError, match="two for taxol"): with_mechanisms(well_labels(sites), again)
    with pytest.raises(InputError, match="no column moa"): with_mechanisms(well_labels(sites), table.iloc[:, :2].assign(a=1))

def test_a_profile_without_a_treatment_is_refused(sites, tmp_path):
    sites.to_csv(tmp_path/"sites.csv", index=False)
    pd.DataFrame({WELL[0]: ["Week1_1"], WELL[1]: ["H12"], "f1": [1.0]}).to_csv(tmp_path/"profiles.csv", index=False)
    with pytest.raises(InputError, match="1 profiles have no treatment .Week1_1 H12"):
        bbbc021_tables(tmp_path/"profiles.csv", tmp_path/"sites.csv")

def test_the_built_tables_equal_the_prepared_ones(mirror):
    labels = prepared("bbbc021_well_labels.csv")
    tables, says = bbbc021_tables(raw_of(mirror, "profiles"), raw_of(mirror, "sites"), labels)
    wanted = pd.read_csv(labels)
    made = tables["bbbc021_well_labels.csv"].reset_index()
    pd.testing.assert_frame_equal(made, wanted[list(made)])
    pd.testing.assert_frame_equal(tables["bbbc021_well_profiles.csv.gz"].reset_index(), pd.read_csv(prepared("bbbc021_well_profiles.csv.gz")))
    assert "632 of 632 wells" in says[0]

def test_the_set_is_built_and_opens_by_name(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror))
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    monkeypatch.setattr("drugnb.morphology.build.mechanisms_by_hand", lambda data: None)
    folder, report = build_bbbc021(tmp_path)
    assert folder.is_relative_to(tmp_path) and (report.table == "note").all()
    assert report.outcome.str.contains("mechanisms are not among the public files").any()
    assert report.outcome.str.contains("bbbc021-cells is not fetched").any()
    study = open_study("bbbc021")
    assert (len(study.images), study.images.plate.nunique(), (study.images.mechanism != "").sum()) == (632, 55, 0)
    assert build_bbbc021(tmp_path)[0] == folder, "a second build replaces the first"

def test_a_table_of_mechanisms_is_found_in_raw(tmp_path, monkeypatch):
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    (tmp_path/"raw").mkdir()
    (tmp_path/"raw/BBBC021_v1_moa.csv").write_text("compound,concentration,moa\n")
    assert mechanisms_by_hand(tmp_path) == tmp_path/"raw/BBBC021_v1_moa.csv"
