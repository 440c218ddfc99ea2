"""The real screens from public archives: no pickle is loaded, tables equal the prepared ones, sets open by name."""
import io
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError, project_path
from drugnb.studies import STUDIES
from drugnb.synergy.build import (
    ALMANAC,
    FETCHED,
    almanac_tables,
    almanac_wells,
    array_of,
    build_almanac,
    build_oneil,
    oneil_tables,
    texts_and_buffers,
)
from drugnb.synergy.data import open_screen


class Bomb:
    "Runs code when it is unpickled."
    def __reduce__(self): return (exec, ("raise SystemExit('the pickle ran')",))

def raw_of(mirror, table):
    "A public file in the mirror."
    end, path = FETCHED[table]
    known = pd.read_csv(mirror/"SOURCES.csv")
    row = known[known.repository.str.endswith(end) & known.path.str.endswith(path)].iloc[0]
    return mirror/row.repository/row.commit/row.path

def prepared(name):
    path = project_path("../shared/data/synergy")/name
    if not path.is_file(): pytest.skip("the prepared wells are in no data folder")
    return pd.read_csv(path, float_precision="round_trip")

def archive(path, **members):
    with zipfile.ZipFile(path, "w") as z:
        for name, content in members.items(): z.writestr(f"data/{name.replace('__', '.')}", content)
    return path

def npy(array, **how):
    with io.BytesIO() as out:
        np.save(out, array, **how)
        return out.getvalue()

def test_nothing_in_a_pickle_is_run(tmp_path):
    bomb = pickle.dumps([["A", "B"], ["x"], Bomb()])
    texts, _, _ = texts_and_buffers(bomb)
    assert texts[:2] == ["A", "B"]
    with pytest.raises(InputError, match="not in the form"): almanac_wells(bomb)
    path = archive(tmp_path/"a.zip", a__npy=npy(np.array([Bomb()], dtype=object), allow_pickle=True))
    with zipfile.ZipFile(path) as z, pytest.raises(InputError, match="no plain array"): array_of(z, "a.npy")

def test_archives_of_another_form_are_refused(tmp_path):
    path = archive(tmp_path/"a.zip", cdd_full__npy=npy(np.array([["l", "a", "b"]])), conc1__npy=npy(np.ones((1, 16))),
                   conc2__npy=npy(np.ones((1, 16))), measurementsMedian__npy=npy(np.ones((2, 16))))
    with pytest.raises(InputError, match="do not fit"): oneil_tables(path, path)
    with pytest.raises(InputError, match="holds no wells"): almanac_tables(path)
    with zipfile.ZipFile(path) as z, pytest.raises(InputError, match="holds no b.npy"): array_of(z, "b.npy")

def test_almanac_equals_the_prepared_table(mirror):
    tables, says = almanac_tables(raw_of(mirror, "almanac"))
    made = tables["wells.csv.gz"].reset_index()
    assert list(made) == ALMANAC and len(says) == 1
    pd.testing.assert_frame_equal(made, prepared("almanac_786-0_wells.csv.gz"), check_dtype=False, check_exact=True)
    assert tables["fingerprints.csv"].shape == (104, 166)

def test_oneil_equals_the_prepared_tables(mirror):
    "The prepared medians are rounded to four digits."
    tables, _ = oneil_tables(raw_of(mirror, "pairs"), raw_of(mirror, "singles"))
    pairs = prepared("oneil_pair_wells.csv.gz")
    pd.testing.assert_frame_equal(tables["wells.csv.gz"].reset_index(), pairs, check_dtype=False, rtol=0, atol=5.1e-5)
    pd.testing.assert_frame_equal(tables["singles.csv.gz"].reset_index(), prepared("oneil_single_agent_wells.csv.gz"))

@pytest.mark.slow
def test_built_sets_open_by_name(mirror, tmp_path, monkeypatch):
    if "synergy" not in STUDIES: pytest.skip("the study has no card yet")
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror))
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    for build, name, wells, drugs in ((build_almanac, "almanac-786-0", 80_314, 104), (build_oneil, "oneil", 360_432, 38)):
        folder, report = build(tmp_path)
        assert (report.table == "note").all() and folder.is_relative_to(tmp_path)
        found = open_screen(name)
        assert (found.name, len(found.wells), len(found.drugs)) == (name, wells, drugs)
