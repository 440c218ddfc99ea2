"""Artefacts: a file is whole or absent, is reused only for its inputs, and has the same bytes each time."""
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import (
    RunFolder,
    atomic,
    differences,
    digest,
    figures_folder,
    frame_key,
    load_frame,
    load_matrix,
    provenance,
    read_journal,
    save_frame,
    save_matrix,
    write_table,
    write_tables,
)
from drugnb.core.files import cause
from drugnb.core.settings import InputError


@pytest.fixture
def frame(): return pd.DataFrame({"x": [0.1, np.nan], "name": ["a", None]}, ["s1", "s2"])

@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, error):
    (tmp_path/"t.txt").write_text("old")
    with pytest.raises(error), atomic(tmp_path/"t.txt") as part:
        part.write_text("half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"] and (tmp_path/"t.txt").read_text() == "old"

def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    (tmp_path/"t.txt").write_text("old")
    with atomic(tmp_path/"t.txt") as part:
        part.write_text("new")
        assert (tmp_path/"t.txt").read_text() == "old" and part.parent == tmp_path
    assert (tmp_path/"t.txt").read_text() == "new"

def test_a_folder_that_cannot_be_made_is_named_in_a_sentence(tmp_path):
    (tmp_path/"file").touch()
    with pytest.raises(InputError, match="file cannot be written"), atomic(tmp_path/"file/t.txt"): pass

def test_first_lines_say_something_even_for_silent_exceptions():
    assert cause(ValueError("One.\nTwo")) == "One" and cause(KeyError()) == "KeyError"

def test_a_frame_comes_back_with_what_it_was_made_from(tmp_path, frame):
    made = provenance("stage", ["input"], {"seed": 1})
    save_frame(frame, tmp_path/"f.parquet", made)
    found, about = load_frame(tmp_path/"f.parquet")
    pd.testing.assert_frame_equal(found, frame)
    assert about == made and found.attrs["key"] == made["key"]
    (tmp_path/"f.parquet").write_bytes((tmp_path/"f.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole Parquet file"): load_frame(tmp_path/"f.parquet")

@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_matrix_comes_back_mapped_with_its_type(tmp_path, kind):
    m = pd.DataFrame(np.random.default_rng(0).normal(size=(7, 3)).astype(kind), list("abcdefg"), [1, 2, 3])
    save_matrix(m, tmp_path/"m.arrow", {"key": "k"})
    found, about = load_matrix(tmp_path/"m.arrow")
    assert (found.to_numpy() == m.to_numpy()).all() and found.to_numpy().dtype == kind
    assert about == {"key": "k"}
    assert list(found.columns) == ["1", "2", "3"] and not found.to_numpy().flags.writeable

def test_a_key_depends_on_ids_columns_and_every_bit_of_the_values(frame):
    m = pd.DataFrame(np.ones((3, 2), np.float32), list("abc"), ["x", "y"])
    near = m.copy()
    near.iloc[2, 1] = np.nextafter(np.float32(1), np.float32(2))
    renamed = [m.rename(index={"a": "z"}), m.rename(columns={"x": "z"})]
    others = [m, near, *renamed, m.iloc[::-1], m.astype("f8"), frame]
    assert len({frame_key(o) for o in others}) == len(others) and frame_key(m) == frame_key(m.copy())
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 1, "b": 2})

def test_what_differs_is_said_and_versions_do_not_count():
    made = provenance("s", ["a"], {"p": 1, "seed": 0})
    assert differences({**made, "versions": {}}, made) == ""
    assert differences(provenance("s", ["b"], {"p": 2, "seed": 0}), made) == "other inputs, p 2 instead of 1"
    assert differences({}, made).startswith("other inputs")

def test_a_stage_is_computed_once_for_each_input_and_parameter(tmp_path, capsys):
    store, calls = RunFolder(tmp_path/"run"), []
    def stage(inputs, **parameters):
        def make():
            calls.append(1)
            return pd.DataFrame({"x": [len(calls)]})
        return store.stage("s", make, inputs, **parameters)
    one = stage(["a"], p=1)
    assert stage(["a"], p=1).equals(one) and len(calls) == 1 and "reloaded" in capsys.readouterr().out
    stage(["a"], p=2)
    assert "p 1 instead of 2" in capsys.readouterr().out
    after = stage([one], p=2)
    assert len(calls) == 3 and after.attrs["key"] != one.attrs["key"], "a frame as an input is its key"

def test_a_run_folder_without_a_path_keeps_nothing(capsys):
    assert RunFolder().path is None
    made = RunFolder().stage("s", lambda: pd.DataFrame({"x": [1]}), [])
    assert made.attrs["key"] and not capsys.readouterr().out

def test_only_what_dead_processes_left_is_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path/"deep").mkdir()
    left = [tmp_path/name for name in (f".partial-{dead.pid}-a", f"deep/.partial-{dead.pid}-b", f".partial-{10**30}-c")]
    mine, earlier = (tmp_path/f".partial-{os.getpid()}-{name}" for name in "de")
    theirs = [tmp_path/".partial-x-f", tmp_path/".partial-0-g", tmp_path/"partial-1-h"]
    for p in [*left, mine, earlier, *theirs]: p.touch()
    os.utime(earlier, (0, 0))  # of an earlier process with our number
    link, folder = tmp_path/f".partial-{dead.pid}-link", tmp_path/f".partial-{dead.pid}-folder"
    link.symlink_to(mine)
    folder.mkdir()
    RunFolder(tmp_path)
    assert not any(p.exists() for p in [*left, earlier]) and all(p.exists() for p in [mine, *theirs, link, folder])

def test_run_folder_and_figures_are_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = RunFolder("run")
    assert store.path == tmp_path/"run" and figures_folder("", store) == tmp_path/"run/figures"
    assert figures_folder("mine", store) == tmp_path/"mine" and figures_folder("", RunFolder()).is_dir()

@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_a_table_has_the_same_bytes_each_time(tmp_path, frame, name):
    write_table(frame, tmp_path/name)
    first = (tmp_path/name).read_bytes()
    os.utime(tmp_path/name, (0, 0))
    write_table(frame, tmp_path/name)
    assert (tmp_path/name).read_bytes() == first

def test_earlier_tables_of_ours_go_and_a_strangers_stop_the_write(tmp_path, frame):
    write_tables({"lm_a.csv": frame, "siginfo_a.csv": frame}, tmp_path, {"by": "hand"}, ["lm_*", "siginfo_*"])
    write_tables({"lm_b.csv": frame}, tmp_path, {"by": "hand"}, ["lm_*", "siginfo_*"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lm_b.csv", "made_from.json"]
    (tmp_path/"lm_theirs.csv").write_text("x")
    with pytest.raises(InputError, match="lm_theirs.csv"): write_tables({}, tmp_path, {}, ["lm_*", "siginfo_*"])
    assert (tmp_path/"lm_b.csv").exists()

def test_what_an_older_layout_left_behind_is_recomputed_and_not_misread(tmp_path):
    store = RunFolder(tmp_path)
    def make(): return pd.DataFrame({"x": [1], "new column": [2]})
    store.stage("s", make, ["input"], n=1)
    frame, made_from = load_frame(tmp_path/"s.parquet")
    del made_from["layout"]
    save_frame(frame[["x"]], tmp_path/"s.parquet", made_from)
    again = RunFolder(tmp_path).stage("s", make, ["input"], n=1)
    assert list(again) == ["x", "new column"]
    assert "older drugnb" in read_journal(tmp_path)[0][-1]["text"]
