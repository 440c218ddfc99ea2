"""Files that changed since they were written, names that are no regular files, texts that spreadsheets obey."""
import csv
import gzip
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drugnb.core import artefacts
from drugnb.core.artefacts import (
    MARK,
    RunFolder,
    atomic,
    checksum_of,
    file_digest,
    file_identity,
    folder_digest,
    load_frame,
    load_matrix,
    other_versions,
    outdated,
    plain_text,
    provenance,
    read_csv,
    read_journal,
    read_json,
    require_whole,
    safe_text,
    save_csv,
    save_frame,
    save_matrix,
    seal,
    write_json,
    write_table,
    write_tables,
)
from drugnb.core.settings import InputError

R = np.random.default_rng(0)
FRAME = pd.DataFrame({"x": R.normal(size=300), "cluster": R.integers(0, 9, 300), "name": [f"drug {i % 57}" for i in range(300)]},
                     [f"s{i}" for i in range(300)])
MATRIX = pd.DataFrame(R.normal(size=(40, 30)).astype("f4"), [f"sig{i}" for i in range(40)], [f"G{i}" for i in range(30)])
SMALL = MATRIX.iloc[:3, :3]

def spoilt(data, n, seed=0):
    "A file's bytes with a bit flipped (two of three), or cut, zeroed, overwritten or longer."
    rng = np.random.default_rng(seed)
    for k in range(n):
        i, width = int(rng.integers(len(data))), int(rng.choice([1, 8, 64, 512]))
        j = min(len(data), i + width)
        if k % 3: yield data[:i] + bytes([data[i] ^ 1 << int(rng.integers(8))]) + data[i + 1:]
        else: yield [data[:i], data[:i] + bytes(j - i) + data[j:], data[:i] + b"\xff"*(j - i) + data[j:], data + data[i:j]][k//3 % 4]

def staged(folder, frame=FRAME): return RunFolder(folder).stage("clusters", lambda: frame.copy(), ["in"], seed=0)

def same(a, b): return a.shape == b.shape and list(a.index) == list(b.index) and list(a) == list(b) and a.equals(b.set_axis(a.index))

@pytest.mark.parametrize("n", [24, pytest.param(500, marks=pytest.mark.slow)])
def test_a_stage_that_was_spoilt_anywhere_is_computed_again(n, tmp_path, capsys):
    "The same values, whatever byte was changed: the file is known to be damaged before it is parsed."
    staged(tmp_path)
    path = tmp_path/"clusters.parquet"
    good = path.read_bytes()
    for k, data in enumerate(spoilt(good, n)):
        path.write_bytes(data)
        with pytest.raises(InputError, match="not a whole Parquet file") if data != good else pytest.MonkeyPatch.context(): load_frame(path)
        assert staged(tmp_path).equals(FRAME), k
    assert "computed in 0.0 s and saved (the file is damaged: its checksum is wrong)" in capsys.readouterr().out

@pytest.mark.parametrize("n", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_a_matrix_that_was_spoilt_anywhere_is_refused(n, tmp_path):
    save_matrix(MATRIX, tmp_path/"m.arrow", {"key": "k"})
    good = (tmp_path/"m.arrow").read_bytes()
    for data in spoilt(good, n):
        (tmp_path/"x.arrow").write_bytes(data)
        if data == good: continue
        with pytest.raises(InputError, match="not a whole Arrow file"): load_matrix(tmp_path/"x.arrow")

@pytest.mark.parametrize("n", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_json_that_was_spoilt_is_refused_or_says_the_same(n, tmp_path):
    content = {"key": "abc", "seconds": 3.25, "µ": [1, None, True, "\u00e9"], "deep": {"a": {"b": -1e-300}}}
    write_json(tmp_path/"a.json", content)
    good = (tmp_path/"a.json").read_bytes()
    for data in spoilt(good, n):
        (tmp_path/"x.json").write_bytes(data)
        try: assert read_json(tmp_path/"x.json") == content, data
        except InputError as e: assert str(e).endswith("remove it and run again.") and "\n" not in str(e)
    (tmp_path/"x.json").write_text(json.dumps(json.loads(good)))
    assert read_json(tmp_path/"x.json") == content, "other indentation is no other content"

@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "{}", '{"key": 1}', '{"checksum": null}', '{"checksum": "0"}', "["*10**5])
def test_json_that_we_did_not_write_is_refused(text, tmp_path):
    (tmp_path/"x.json").write_text(text)
    with pytest.raises(InputError, match="no whole file of this drugnb"): read_json(tmp_path/"x.json")
    with pytest.raises(InputError, match="there is no such file"): read_json(tmp_path/"absent.json")
    with pytest.raises(InputError, match="there is no such file"): read_json(tmp_path)

def test_what_a_dictionary_holds_comes_back_as_json_holds_it(tmp_path):
    write_json(tmp_path/"x.json", {"a": (1, 2), 3: np.float64(0.1), "path": tmp_path})
    assert read_json(tmp_path/"x.json") == {"a": [1, 2], "3": 0.1, "path": str(tmp_path)}

def test_names_cannot_imitate_the_place_of_the_checksum(tmp_path):
    odd = [MARK.decode() + "0"*32, "checksum", "\x1f"]
    save_matrix(pd.DataFrame(np.eye(3), odd, odd), tmp_path/"m.arrow", {"key": odd[0]})
    assert list(load_matrix(tmp_path/"m.arrow")[0].columns) == odd and load_matrix(tmp_path/"m.arrow")[1] == {"key": odd[0]}
    frame = pd.DataFrame({odd[0]: odd, "x": [odd[0]]*3}, odd)
    save_frame(frame, tmp_path/"f.parquet", {})
    assert load_frame(tmp_path/"f.parquet")[0].equals(frame)

def test_a_sealed_file_is_plain_parquet_for_everybody_else(tmp_path):
    save_frame(FRAME, tmp_path/"f.parquet", {"key": "k"})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path/"f.parquet"), FRAME)
    said = pq.read_schema(tmp_path/"f.parquet").metadata
    assert json.loads(said[b"drugnb"]) == {"key": "k"} and said[b"checksum"].startswith(MARK)
    assert checksum_of(tmp_path/"f.parquet").encode() in (tmp_path/"f.parquet").read_bytes()

def test_a_table_of_other_software_is_read_where_it_may_be_one(tmp_path):
    FRAME.to_parquet(tmp_path/"f.parquet")
    assert load_frame(tmp_path/"f.parquet", sealed=False)[1] == {}
    with pytest.raises(InputError, match="it has no checksum"): load_frame(tmp_path/"f.parquet")
    with pytest.raises(ValueError, match="no checksum"): seal(tmp_path/"f.parquet")
    save_frame(FRAME, tmp_path/"f.parquet", {})
    data = (tmp_path/"f.parquet").read_bytes()
    (tmp_path/"f.parquet").write_bytes(data[:50] + b"?" + data[51:])
    with pytest.raises(InputError, match="its checksum is wrong"): load_frame(tmp_path/"f.parquet", sealed=False)

# what it was made from

def rewritten(path, change=lambda table: table, said=None):
    "Write a stage again with other software, which keeps or spoils what was said of it."
    table = pq.read_table(path)
    if said is not None: table = table.replace_schema_metadata({**table.schema.metadata, b"drugnb": said})
    pq.write_table(change(table), path)

@pytest.mark.parametrize("spoil", [
    dict(change=lambda t: t.slice(3)), dict(change=lambda t: t.slice(0, 0)), dict(change=lambda t: t.drop_columns(["cluster"])),
    dict(change=lambda t: t.set_column(0, "x", pa.array(np.zeros(300)))), dict(said=b"{nonsense"), dict(said=b"\xff"), dict(said=b"null"),
    dict(said=b"[1]"), dict(said=b"{}")])
def test_a_stage_that_other_software_wrote_again_is_computed_again(spoil, tmp_path):
    staged(tmp_path)
    rewritten(tmp_path/"clusters.parquet", **spoil)
    assert staged(tmp_path).equals(FRAME)

@pytest.mark.parametrize("change, why", [
    (lambda m: {**m, "versions": {**m["versions"], "drugnb": "0.0.1"}}, "drugnb 0.0.1 made it, this is "),
    (lambda m: {**m, "versions": [1]}, "drugnb None made it"), (lambda m: {**m, "layout": 3}, "an older drugnb made it"),
    (lambda m: {**m, "stage": "map"}, "it is of the stage map"), (lambda m: {**m, "key": "abc"}, "its key is that of something else"),
    (lambda m: {**m, "parameters": {"seed": 1}}, "seed 1 instead of 0"), (lambda m: {**m, "parameters": [1]}, "seed None instead of 0"),
    (lambda m: {**m, "inputs": None}, "other inputs"), (lambda m: {**m, "rows": 303}, "it holds 300 rows of 303"),
    (lambda m: {k: v for k, v in m.items() if k != "key"}, "it does not say what it was made from"),
    (lambda m: None, "it does not say what it was made from"), (lambda m: [m], "it does not say what it was made from")])
def test_a_stage_of_something_else_is_computed_again_and_the_true_reason_said(change, why, tmp_path, capsys):
    staged(tmp_path)
    made = load_frame(tmp_path/"clusters.parquet")[1]
    save_frame(FRAME.assign(x=0.0), tmp_path/"clusters.parquet", change(made))
    capsys.readouterr()
    assert staged(tmp_path).equals(FRAME) and f"saved ({why}" in capsys.readouterr().out

def test_rows_that_are_gone_are_missed_also_where_the_file_is_whole(tmp_path):
    staged(tmp_path)
    frame, made = load_frame(tmp_path/"clusters.parquet")
    save_frame(frame.iloc[3:], tmp_path/"clusters.parquet", made)
    assert len(staged(tmp_path)) == 300

def test_other_packages_do_not_count_and_are_said(tmp_path, capsys):
    made = provenance("s", ["a"], {})
    old = {**made, "versions": {**made["versions"], "numpy": "1.2.3"}}
    assert outdated(old, made) == "" and other_versions(made) == ""
    assert other_versions(old) == " (made with numpy 1.2.3, where others are installed)"
    assert other_versions({}) == other_versions(None) == ""

# inputs

@pytest.fixture
def table(tmp_path):
    path = tmp_path/"table.csv"
    path.write_text("id,viability\na,0.91\n")
    return path

def settled(path): return {**file_identity(path), "settled": True}

def test_a_file_that_changed_under_the_same_size_and_time_is_another(table):
    first, times = settled(table), table.stat()
    table.write_text("id,viability\na,0.19\n")
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_identity(table, first)["digest"] != first["digest"]

def test_a_copied_or_touched_file_is_the_same(table, tmp_path):
    first = settled(table)
    os.utime(table, ns=(1, 1))
    (tmp_path/"copy").mkdir()
    copy = shutil.copy(table, tmp_path/"copy/table.csv")
    for path in (table, Path(copy)): assert [file_identity(path, first)[k] for k in ("name", "digest")] == [first["name"], first["digest"]]

def test_an_unchanged_file_is_not_read_again_and_a_racy_one_is(table, monkeypatch):
    first = file_identity(table)
    assert not first["settled"], "it changed a moment ago"
    monkeypatch.setattr(artefacts, "file_digest", lambda path: "read")
    assert file_identity(table, first)["digest"] == "read"
    assert file_identity(table, {**first, "settled": True})["digest"] == first["digest"]
    monkeypatch.setattr(artefacts.time, "time_ns", lambda: table.stat().st_ctime_ns + 3*10**9)
    assert file_identity(table, first)["settled"]

def test_what_is_no_regular_file_has_no_digest(tmp_path):
    os.mkfifo(tmp_path/"pipe")
    for path in (tmp_path/"pipe", tmp_path, tmp_path/"absent"):
        with pytest.raises(InputError, match="cannot be read"): file_digest(path)

def test_a_folder_is_its_files_without_what_drugnb_put_there(tmp_path):
    (tmp_path/"images").mkdir()
    (tmp_path/"images/a.tif").write_text("pixels")
    (tmp_path/"images/loop").symlink_to(tmp_path)
    first = folder_digest(tmp_path)
    for name in ("run/journal.jsonl", "run/map.parquet", "sweep/sweep.csv", ".git/x", "images/.hidden"):
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/name).write_text("x")
    assert folder_digest(tmp_path) == first
    (tmp_path/"images/a.tif").rename(tmp_path/"images/b.tif")
    assert folder_digest(tmp_path) != first

# writing

MAKES = {"link": lambda p, v: p.symlink_to(v), "dangling link": lambda p, v: p.symlink_to("nowhere"), "folder": lambda p, v: p.mkdir(),
         "pipe": lambda p, v: os.mkfifo(p), "device": lambda p, v: os.mknod(p, 0o666 | stat.S_IFCHR, os.makedev(1, 3))}
WRITES = {"csv": lambda p: save_csv(SMALL, p), "parquet": lambda p: save_frame(SMALL, p, {}), "arrow": lambda p: save_matrix(SMALL, p, {}),
          "json": lambda p: write_json(p, {}), "tables": lambda p: write_tables({p.name: SMALL}, p.parent, {}, ["lm_*"]),
          "journal": lambda p: RunFolder(p.parent).note("hello")}

@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("write", WRITES)
def test_only_regular_files_are_replaced_or_appended_to(make, write, tmp_path):
    path, victim = tmp_path/("journal.jsonl" if write == "journal" else "out"), tmp_path/"victim"
    victim.write_text("precious")
    try: MAKES[make](path, victim)
    except PermissionError: pytest.skip("only root makes devices")
    before = path.lstat()
    with pytest.raises(InputError, match="not a regular file"): WRITES[write](path)
    assert victim.read_text() == "precious" and (before.st_ino, before.st_mode) == (path.lstat().st_ino, path.lstat().st_mode)
    assert not list(tmp_path.glob(".partial*"))

def test_a_folder_may_be_a_link_and_a_file_gets_the_usual_mode(tmp_path):
    (tmp_path/"disk").mkdir()
    (tmp_path/"runs").symlink_to(tmp_path/"disk")
    (tmp_path/"usual").touch()
    for how in WRITES.values(): how(tmp_path/"runs/a/out")
    assert {p.stat().st_mode for p in (tmp_path/"disk/a").iterdir()} == {(tmp_path/"usual").stat().st_mode}

def test_what_becomes_a_link_while_it_is_written_is_left_alone(tmp_path):
    with pytest.raises(InputError, match="is a link"), atomic(tmp_path/"out") as part:
        part.write_text("x")
        (tmp_path/"out").symlink_to("elsewhere")
    assert (tmp_path/"out").is_symlink() and not list(tmp_path.glob(".partial*"))

def test_a_link_in_the_place_of_the_temporary_file_is_not_written_through(tmp_path):
    (tmp_path/"victim").write_text("precious")
    (tmp_path/f".partial-{os.getpid()}-out").symlink_to(tmp_path/"victim")
    with atomic(tmp_path/"out") as part: part.write_text("x")
    assert (tmp_path/"victim").read_text() == "precious" and (tmp_path/"out").read_text() == "x"

@pytest.mark.parametrize("write", ["csv", "parquet", "tables"])
def test_leftovers_are_removed_wherever_drugnb_writes(write, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path/f".partial-{dead.pid}-lm_x.csv"
    left.touch()
    WRITES[write](tmp_path/"lm_out.csv")
    assert not left.exists()

@pytest.mark.parametrize("name", ["x"*251 + ".csv", "é"*125 + ".csv", "a b;c\n'\".csv"])
def test_names_may_be_as_long_as_the_disk_allows_and_odd(name, tmp_path):
    save_csv(SMALL, tmp_path/name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(InputError, match="cannot be written"): save_csv(SMALL, tmp_path/("x"*256))

def test_a_folder_that_vanishes_during_a_write_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be written"), atomic(tmp_path/"gone/out") as part:
        part.write_text("x")
        shutil.rmtree(tmp_path/"gone")

@pytest.mark.parametrize("line", [b"nonsense", b"[]", b"null", b"\xff", b'{"a": 1}', b"", b"\x00"])
def test_foreign_lines_of_a_journal_are_left_out(line, tmp_path):
    RunFolder(tmp_path).note("one")
    with (tmp_path/"journal.jsonl").open("ab") as f: f.write(line + b"\n")
    RunFolder(tmp_path).note("two")
    entries, read = read_journal(tmp_path)
    assert [e["text"] for e in entries] == ["one", "two"] and read == (tmp_path/"journal.jsonl").stat().st_size

# tables that are built

OLD = dict.fromkeys(["lm_a.csv", "lm_b.csv", "siginfo_a.csv"], SMALL)
NEW = dict.fromkeys(["lm_a.csv", "lm_c.csv", "siginfo_a.csv"], 2*SMALL)
KINDS = ["lm_*", "*siginfo*"]

def factors(folder): return {p.name: round(pd.read_csv(p, index_col=0).iloc[0, 0]/SMALL.iloc[0, 0]) for p in folder.glob("[!.]*.csv")}

def build(tables, folder): return write_tables(tables, folder, {"by": "test"}, KINDS)

@pytest.mark.parametrize("listed", [["../victim.txt"], ["notes.txt"], ["sub/x.csv"], ["./notes.txt"], {"../victim.txt": 1}, [1], None, 3, ["a\0b"]])
def test_no_name_in_a_list_of_tables_is_a_path(listed, tmp_path):
    for name, write in (("plain", lambda p, c: p.write_text(json.dumps(c))), ("sealed", write_json)):
        folder = tmp_path/name
        victims = [tmp_path/"victim.txt", folder/"notes.txt", folder/"sub/x.csv"]
        for p in victims:
            p.parent.mkdir(exist_ok=True, parents=True)
            p.write_text("precious")
        write(folder/"made_from.json", {"tables": listed, "replaces": listed})
        build(NEW, folder)
        assert all(p.read_text() == "precious" for p in victims)

class Killed(BaseException): pass

def stop_at(step, monkeypatch):
    "Stop at the n-th rename or removal that matters."
    done, rename, remove = [], os.replace, Path.unlink
    def count():
        done.append(1)
        if len(done) == step: raise Killed
    def replace(a, b):
        count()
        rename(a, b)
    def unlink(path, missing_ok=False):
        if path.name[0] != ".": count()
        remove(path, missing_ok)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)

@pytest.mark.parametrize("step", range(1, 10))
def test_tables_are_all_old_or_all_new_or_said_to_be_half(step, tmp_path, monkeypatch):
    build(OLD, tmp_path)
    with monkeypatch.context() as m:
        stop_at(step, m)
        try: build(NEW, tmp_path)
        except Killed: pass
    if factors(tmp_path) not in ({n: 1 for n in OLD}, {n: 2 for n in NEW}):
        with pytest.raises(InputError, match="half-written"): require_whole(tmp_path)
    build(NEW, tmp_path)
    require_whole(tmp_path)
    assert factors(tmp_path) == {n: 2 for n in NEW} and not list(tmp_path.glob(".partial*"))

@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 16))
def test_tables_survive_a_process_that_is_killed(step, tmp_path, monkeypatch):
    build(OLD, tmp_path)
    pid = os.fork()
    if not pid:
        monkeypatch.setattr(sys.modules[__name__], "Killed", lambda: os.kill(os.getpid(), signal.SIGKILL))
        stop_at(step, monkeypatch)
        build(NEW, tmp_path)
        os._exit(0)
    os.waitpid(pid, 0)
    if factors(tmp_path) not in ({n: 1 for n in OLD}, {n: 2 for n in NEW}):
        with pytest.raises(InputError, match="half-written"): require_whole(tmp_path)
    build(NEW, tmp_path)
    assert factors(tmp_path) == {n: 2 for n in NEW} and not list(tmp_path.glob(".partial*"))

def test_a_table_that_somebody_changed_or_put_there_stops_a_build(tmp_path):
    build(OLD, tmp_path)
    (tmp_path/"lm_b.csv").write_text("by hand")
    with pytest.raises(InputError, match="lm_b.csv.*changed since"): build(NEW, tmp_path)
    assert factors(tmp_path/"..") == {} and (tmp_path/"lm_b.csv").read_text() == "by hand" and not (tmp_path/"lm_c.csv").exists()

def test_a_link_among_the_tables_stops_a_build(tmp_path):
    build(OLD, tmp_path)
    (tmp_path/"lm_b.csv").unlink()
    (tmp_path/"lm_b.csv").symlink_to(tmp_path/"lm_a.csv")
    with pytest.raises(InputError, match="lm_b.csv"): build(NEW, tmp_path)

# spreadsheets

RISKY = ["=1+1", "=cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)", "\t=1+1", "\n=1", "-(-)-epicatechin",
         "+/-", "--", "+A1", "-1-2", "'=1+1", "''+A1"]
HARMLESS = ["-1.5", "+1e-5", ".5", "-.5", "-5%", "-inf", "+NaN", "-", "=", "", "'", "2'-deoxy", "aspirin", "1-2", "'quoted'"]

@pytest.mark.parametrize("text", RISKY)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_no_cell_label_or_header_is_a_formula_and_all_come_back(text, name, tmp_path):
    table = pd.DataFrame({text: ["aspirin", text], "x": [-1.5, 2]}, pd.Index(["a", text], name=text + "2"))
    write_table(table, tmp_path/name)
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path/name, "rt", newline="") as file: cells = {c for row in csv.reader(file) for c in row}
    assert not [c for c in cells if c[:1] in "=+-@\t\r\n" and c not in ("", "-1.5")]
    pd.testing.assert_frame_equal(read_csv(tmp_path/name, index_col=0), table)

def test_a_carriage_return_ends_no_row(tmp_path):
    write_table(pd.DataFrame({"x": ["a\r=1+1", "\r=1"]}), tmp_path/"t.csv")
    assert (tmp_path/"t.csv").read_bytes() == b",x\n0,a =1+1\n1, =1\n"

def test_several_levels_of_labels_and_result_files_are_safe_too(tmp_path, capsys):
    index = pd.MultiIndex.from_product([["=a", "b"], ["+c", "d"]], names=["=x", None])
    table = pd.DataFrame({"v": range(4)}, index)
    pd.testing.assert_frame_equal(artefacts.spreadsheet_plain(artefacts.spreadsheet_safe(table)), table)
    save_csv(pd.DataFrame({"drug": ["=a", "b"], "p": [-0.5, 1.0]}))
    assert capsys.readouterr().out == "drug,p\n'=a,-0.5\nb,1\n"

def test_texts_come_back_and_harmless_ones_are_left_alone():
    assert [safe_text(t) for t in HARMLESS] == HARMLESS == [plain_text(t) for t in HARMLESS]
    assert [safe_text(v) for v in (None, -1, 2.5, ("=",))] == [None, -1, 2.5, ("=",)]
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("'=+-@\t\n1ae. "), rng.integers(0, 6))) for _ in range(3000)]
    assert [plain_text(safe_text(t)) for t in texts] == texts
    numbers = pd.to_numeric(pd.Series([t.strip() for t in texts]), errors="coerce").notna().to_numpy()
    assert not [t for t, n in zip(map(safe_text, texts), numbers, strict=True) if len(t) > 1 and t[0] in "=+-@\t\n" and not n]

def test_a_table_without_risky_texts_is_written_as_ever(tmp_path):
    write_table(FRAME, tmp_path/"t.csv", float_format="%.5g")
    assert (tmp_path/"t.csv").read_text() == FRAME.to_csv(float_format="%.5g")
