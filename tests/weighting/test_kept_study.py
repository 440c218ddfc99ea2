"""A kept study is used only if its inputs and its own tables are what they were; why it is read again is said."""
import dataclasses
import json
import os
import shutil

import pytest

from drugnb.core.artefacts import RunFolder, load_frame, load_matrix, read_json, save_frame, save_matrix, write_json
from drugnb.weighting import load
from drugnb.weighting.load import read_folder
from drugnb.weighting.simulate import simulate, write_study

TABLES = ("signatures", "samples", "outside", "outside_samples", "compounds", "coefficients")

STUDIES = [simulate(120, 40, seed=seed) for seed in (0, 1)]

@pytest.fixture(autouse=True)
def quick(monkeypatch):
    "Reading takes no time here, and gives the study whose name the folder bears."
    def read_tables(name, files, settings, ordered):
        study = STUDIES[name == "other"]
        return study if files["coefficients"] else dataclasses.replace(study, coefficients=None)
    monkeypatch.setattr(load, "read_tables", read_tables)

@pytest.fixture(scope="module")
def first(tmp_path_factory):
    "Two folders of tables."
    home = tmp_path_factory.mktemp("home")
    for study, name in zip(STUDIES, ("mine", "other"), strict=True): write_study(study, home/name/"set")
    return home

@pytest.fixture
def kept(first, tmp_path):
    "A copy of a folder, and what is kept of it."
    shutil.copytree(first/"mine/set", tmp_path/"set")
    read_folder(tmp_path/"set", RunFolder(tmp_path/"run"))
    return tmp_path

def again(home, capsys):
    "The study, and what is said: was it read, and why?"
    capsys.readouterr()
    study = read_folder(home/"set", RunFolder(home/"run"))
    return study, capsys.readouterr().out

def agrees(study, home):
    true = read_folder(home/"set")
    return study.key == true.key and study.report == true.report and all(getattr(study, t).equals(getattr(true, t)) for t in TABLES)

def test_a_copied_folder_is_the_same_study(kept, capsys):
    study, said = again(kept, capsys)
    assert said == "study: reloaded, its tables have not changed\n" and agrees(study, kept)
    shutil.move(kept/"set", kept/"elsewhere/set")
    shutil.copytree(kept/"elsewhere/set", kept/"set")
    assert "reloaded" in again(kept, capsys)[1]

def test_new_stamps_are_kept_so_that_nothing_is_hashed_twice(kept, capsys, monkeypatch):
    monkeypatch.setattr("drugnb.core.artefacts.RACY", -10**9)
    again(kept, capsys)
    monkeypatch.setattr("drugnb.core.artefacts.file_digest", None)
    assert "reloaded" in again(kept, capsys)[1]

@pytest.mark.parametrize("name", ["lm_*", "siginfo*", "lfc_*", "meta_*", "cpd*", "*coefficients*"])
def test_a_table_that_changed_under_the_same_size_and_time_is_read_again(name, kept, capsys):
    path = next((kept/"set").glob(name))
    again(kept, capsys)
    times, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.read_bytes() != data and path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
    study, said = again(kept, capsys)
    assert said == "study: read, checked and saved (other inputs)\n" and agrees(study, kept)

def test_an_optional_table_that_vanishes_or_appears_is_seen(kept, capsys):
    published = next((kept/"set").glob("*coefficients*"))
    published.rename(kept/"away.csv")
    study, said = again(kept, capsys)
    assert "(other inputs)" in said and study.coefficients is None
    (kept/"away.csv").rename(published)
    study, said = again(kept, capsys)
    assert "(other inputs)" in said and study.coefficients is not None

def gone(run, name): (run/name).unlink()
def empty(run, name): (run/name).write_bytes(b"")
def bit(run, name):
    data = bytearray((run/name).read_bytes())
    data[len(data)*2//3] ^= 16
    (run/name).write_bytes(data)
def shorter(run, name):
    "With drugnb's own writer, so that the file itself is whole."
    load_it, save_it = (load_matrix, save_matrix) if name.endswith("arrow") else (load_frame, save_frame)
    frame, made = load_it(run/name)
    save_it(frame.iloc[1:].copy(), run/name, made)

@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("spoil, why", [(gone, "is missing"), (empty, ""), (bit, ""), (shorter, "is not the table")])
def test_a_kept_table_that_is_not_the_one_is_noticed(table, spoil, why, kept, first, capsys):
    name = load.kept_path(kept/"run", table).name
    spoil(kept/"run", name)
    about, _ = load.kept_about(RunFolder(kept/"run"))
    capsys.readouterr()
    study, said = load.load_study(RunFolder(kept/"run"), about["made_from"])
    assert study is None and said and name in said and why in said

def test_tables_of_another_run_are_not_mixed_in(kept, first, capsys):
    read_folder(first/"other/set", RunFolder(kept/"theirs"), name="other")
    for table in TABLES: shutil.copy(load.kept_path(kept/"theirs", table), kept/"run")
    study, said = again(kept, capsys)
    assert "is not the table that was kept" in said and agrees(study, kept)
    shutil.copytree(kept/"theirs", kept/"run", dirs_exist_ok=True)
    study, said = again(kept, capsys)
    assert "(other inputs)" in said and agrees(study, kept)

@pytest.mark.parametrize("text", ["[]", "null", "{", "{}", '{"made_from": null}', ""])
def test_what_stands_in_the_place_of_study_json_is_not_believed(text, kept):
    (kept/"run/study.json").write_text(text)
    about, why = load.kept_about(RunFolder(kept/"run"))
    assert about == {} and why.startswith("study.json is damaged")

@pytest.mark.parametrize("change", [dict(tables=None), dict(tables={}), dict(tables=[1]), dict(report=3), dict(made_from=[1]),
                                    dict(tables={"samples": 1})])
def test_a_sealed_study_json_of_another_shape_is_not_used(change, kept):
    about = read_json(kept/"run/study.json")
    write_json(kept/"run/study.json", {**about, **change})
    study, why = load.load_study(RunFolder(kept/"run"), about["made_from"])
    assert study is None and why

def test_another_version_of_drugnb_reads_again_and_says_so(kept, capsys, monkeypatch):
    monkeypatch.setattr("drugnb.__version__", "99.1")
    assert again(kept, capsys)[1].endswith("made it, this is 99.1)\n")

def test_tables_that_change_while_they_are_read_are_not_kept(kept, capsys, monkeypatch):
    shutil.rmtree(kept/"run")
    whole = load.read_tables
    def slow(*arguments):
        study = whole(*arguments)
        os.utime(next((kept/"set").glob("siginfo*")), ns=(1, 1))
        return study
    monkeypatch.setattr(load, "read_tables", slow)
    assert "not kept, for siginfo" in again(kept, capsys)[1] and not (kept/"run/study.json").exists()

def test_a_pickled_map_beside_the_tables_changes_the_order_of_rows(kept, capsys):
    assert "reloaded" in again(kept, capsys)[1]
    (kept/"set/tsne_result_perplexity_30.pkl").write_bytes(b"")
    assert "ordered True instead of False" in again(kept, capsys)[1]

def test_what_is_kept_says_what_it_is_of(kept):
    about = json.loads((kept/"run/study.json").read_text())
    assert {"checksum", "made_from", "files", "tables"} <= set(about) and set(about["tables"]) == set(TABLES)
