"""What a file announces, links to or hides: one sentence, whatever it makes a library raise, and never a hang."""
import bz2
import csv
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from drugnb.combos.signatures import read_signatures
from drugnb.core import files
from drugnb.core.blocks import open_blocks
from drugnb.core.gct import read_column_notes, read_gct, read_gctx
from drugnb.core.read import find_table, read_gene_sets, read_matrix, read_table
from drugnb.core.settings import InputError
from drugnb.sources.layouts import files_below, read_sig_info
from drugnb.weighting.pickles import read_pickled_frames


def blocks(path): return pd.concat([pd.DataFrame(values, names) for names, values in open_blocks(path).blocks()])

def image(path):
    images = pytest.importorskip("drugnb.morphology.images")
    try: return images.read_image(path, -1, path.name, {}).values
    except images.Damaged as e: raise InputError(f"{path.name}: {e.what} ({e.detail}).") from e

def said(function, *args):
    "The one sentence in which something is refused."
    with pytest.raises(InputError) as e: function(*args)
    text = str(e.value)
    assert text.endswith(".") and all(c.isprintable() for c in text) and len(text) < 1000, text
    return text

# what may be opened

READERS = {"csv": read_table, "tsv": read_matrix, "gct": read_gct, "gctx": read_gctx, "notes.gct": read_column_notes, "gmt": read_gene_sets,
           "parquet": blocks, "pkl": read_pickled_frames, "png": image, "npy": image, "txt": read_signatures, "sig_info.txt": read_sig_info}

@pytest.mark.parametrize("ending", READERS)
def test_no_reader_opens_what_is_no_file(tmp_path, ending):
    "A reader that opened the pipe would wait for ever."
    pipe, folder, empty, loop = (tmp_path/f"{kind}.{ending}" for kind in ("pipe", "folder", "empty", "loop"))
    os.mkfifo(pipe)
    empty.touch()
    loop.symlink_to(loop)
    (tmp_path/f"to_pipe.{ending}").symlink_to(pipe)
    assert "pipe" in said(READERS[ending], pipe) and "pipe" in said(READERS[ending], tmp_path/f"to_pipe.{ending}")
    assert "empty" in said(READERS[ending], empty)
    if READERS[ending] is not image:  # a folder may be zarr
        folder.mkdir()
        assert "folder" in said(READERS[ending], folder)
    assert "cannot be opened" in said(READERS[ending], loop) or READERS[ending] is image
    for name in ("absent", "long"*100): said(READERS[ending], tmp_path/f"{name}.{ending}")

def test_devices_and_names_that_no_file_can_have_are_named(tmp_path):
    assert "a device" in said(files.plain_file, "/dev/zero")
    assert r"'a\x00b'" in said(files.plain_file, "a\0b")
    assert "too long" in said(files.plain_file, tmp_path/("x"*300))

def test_a_pattern_of_settings_stays_in_its_folder(tmp_path):
    (tmp_path/"secret.csv").write_text("id,x\na,1\n")
    (tmp_path/"set").mkdir()
    for pattern in ("../secret", "../secret.csv", str(tmp_path/"secret.csv")): assert "outside" in said(find_table, tmp_path/"set", pattern)
    assert find_table(tmp_path/"set", "a\0b", required=False) is None and find_table(tmp_path/"set", "a"*5000, required=False) is None

# what a decoder raises

RAISED = [csv.Error("line contains NUL"), zlib.error("Error -3"), lzma.LZMAError("Corrupt"), struct.error("unpack"),
          IsADirectoryError(21, "Is a directory"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), zipfile.BadZipFile("x"),
          pa.ArrowNotImplementedError("no"), pa.ArrowKeyError("k"), OverflowError("too large"), MemoryError(), RecursionError("maximum"),
          KeyError("no object"), IndexError(), EOFError(), AttributeError("x"), AssertionError(), pickle.UnpicklingError("x"),
          RuntimeError("two\nlines \x1b[31m")]

@pytest.mark.parametrize("error", RAISED, ids=lambda e: type(e).__name__)
def test_whatever_a_file_makes_a_library_raise_is_one_sentence_with_its_name(error):
    def read():
        with files.reading("folder/t.csv"): raise error
    assert said(read).startswith("t.csv cannot be read")
    try: read()
    except InputError as e: assert e.__cause__ is error, "the log keeps it"

@pytest.mark.parametrize("error", [NameError("x"), ImportError("y"), KeyboardInterrupt(), InputError("said already.")])
def test_what_no_file_can_cause_passes(error):
    with pytest.raises(type(error)) as e:
        with files.reading("t.csv"): raise error
    assert e.value is error

# names

def test_letters_that_nobody_sees_are_taken_out_of_names_and_said(tmp_path):
    (tmp_path/"m.csv").write_text("id,TP\u200b53,B\x1b[31m\ns\u202e1,1,2\ns2,3,4\n")
    found = read_matrix(tmp_path/"m.csv")
    assert found.index.tolist() == ["s1", "s2"] and found.columns.tolist() == ["TP53", "B[31m"]
    assert "3 names in m.csv held invisible or control characters, which were taken out" in found.attrs["report"]
    table = read_table(tmp_path/"m.csv")
    assert table.columns.tolist() == ["id", "TP53", "B[31m"] and table.id.tolist() == ["s1", "s2"] and "3 names" in table.attrs["report"][-1]

def test_names_that_only_differ_by_what_nobody_sees_are_repeated(tmp_path):
    (tmp_path/"m.csv").write_text("id,A,B\ns1,1,2\ns1\u200d,3,4\n")
    assert "'s1'" in said(read_matrix, tmp_path/"m.csv")

def test_plain_names_are_left_alone():
    names = ["TP53", "na\u00efve T", "\u03b2-actin", "10 \u00b5M", "\u4e2d"]
    assert files.legible(names) == (names, 0)

# announced sizes

@pytest.mark.parametrize("counts", ["3 1000000000", "3 -1", "3 nan", "1000000000 1", "99999999999999999999 9", "2 1 1000000000 0",
                                    "2 1 0 1000000000"])
@pytest.mark.parametrize("read", [read_gct, read_matrix])
def test_forty_bytes_announce_no_table(tmp_path, counts, read):
    version = "#1.3" if len(counts.split()) == 4 else "#1.2"
    (tmp_path/"t.gct").write_text(f"{version}\n{counts}\nName\tDescription\ta\n")
    assert "t.gct" in said(read, tmp_path/"t.gct")

def test_more_than_memory_is_refused_by_its_size(tmp_path, monkeypatch):
    frame = pd.DataFrame(np.zeros((500, 40), np.float32), [f"s{i}" for i in range(500)], [f"g{i}" for i in range(40)])
    frame.rename_axis("id").reset_index().to_parquet(tmp_path/"t.parquet")
    with h5py.File(tmp_path/"t.gctx", "w") as h:
        h["0/DATA/0/matrix"] = np.zeros((500, 40), np.float32)
        h["0/META/ROW/id"], h["0/META/COL/id"] = np.arange(40).astype("S"), np.arange(500).astype("S")
    np.savez(tmp_path/"t.npz", a=frame.to_numpy())
    Image.fromarray(np.arange(40_000, dtype=np.uint16).reshape(200, 200)).save(tmp_path/"t.png")
    readers = {"t.parquet": read_matrix, "t.gctx": read_matrix, "t.npz": files.read_arrays, "t.png": image}
    for name, read in readers.items(): assert len(read(tmp_path/name))
    monkeypatch.setattr(files, "memory", lambda: 50_000)
    monkeypatch.setattr("drugnb.morphology.images.memory", lambda: 50_000)
    for name, read in readers.items(): assert name in said(read, tmp_path/name)
    assert "100,000 bytes" in said(files.require_memory, 10**5, "t.csv") and blocks(tmp_path/"t.gctx").size == 20_000, "blocks need less"

@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_packed_file_that_grows_without_measure_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(files, "SMALL", 1 << 14)
    path = tmp_path/"t.csv.packed"
    path.write_bytes(pack(b"id,A\n" + b"a,0.000\n"*100_000))
    for read in (read_matrix, read_table): assert "unpacks to more than" in said(read, path)
    path.write_bytes(pack(b"id,A,B\n" + b"".join(b"s%d,%d.25,%d\n" % (i, i*i % 97, i) for i in range(1_000))))
    assert len(read_matrix(path)) == 1_000, "no bomb"

def test_an_archive_that_announces_little_is_not_believed(tmp_path):
    path = tmp_path/"t.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z: z.writestr("../t.csv", "id,A\n" + "a,0\n"*1000)
    raw = path.read_bytes().replace(struct.pack("<I", 4005), struct.pack("<I", 9))
    assert raw != path.read_bytes()
    path.write_bytes(raw)
    said(read_table, path)

def test_a_million_columns_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("drugnb.core.text.WIDEST", 3_000)
    for columns in (["", *map(str, range(3_000))], ["id", *(f"G{i}" for i in range(3_000))]):
        (tmp_path/"t.csv").write_text(",".join(columns) + "\na" + ",1"*3_000 + "\n")
        assert "turn it" in said(read_matrix, tmp_path/"t.csv")

def test_counts_of_a_sparse_matrix_fit_its_file(tmp_path):
    layouts = pytest.importorskip("drugnb.sources.layouts")
    folder = tmp_path/"Drug_24hr_expt1"
    folder.mkdir()
    cells = "barcode,singlet_ID,cell_quality\nb1,L1,normal\n"
    for name, text in {"classifications.csv": cells, "genes.tsv": "ENS1\tTP53\n", "barcodes.tsv": "b1\n"}.items(): (folder/name).write_text(text)
    def matrix(counts): (folder/"matrix.mtx").write_text(f"%%MatrixMarket matrix coordinate integer general\n{counts}\n1 1 5\n")
    matrix("1 1 1")
    assert layouts._mixseq_files(folder)[0].sum() == 5
    for counts in ("1 1 1000000000000", "1000000000000 1 1", "1 1 -5", "a b c"):
        matrix(counts)
        assert "Drug_24hr_expt1" in said(layouts._mixseq_files, folder)

# HDF5

def hdf5(path, change=None):
    with h5py.File(path, "w") as h:
        h["0/DATA/0/matrix"] = np.arange(60, dtype=np.float32).reshape(10, 6)
        h["0/META/ROW/id"], h["0/META/COL/id"] = np.array([f"g{i}" for i in range(6)], "S"), np.array([f"s{i}" for i in range(10)], "S")
        if change: change(h)
    return path

def instead(what, make):
    def change(h):
        del h[what]
        make(h)
    return change

def virtual(h):
    layout = h5py.VirtualLayout((10, 6), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "0/DATA/0/matrix", (10, 6))
    h.create_virtual_dataset("0/DATA/0/matrix", layout)

MATRIX = "0/DATA/0/matrix"
OUTSIDE = {
    "external link": instead(MATRIX, lambda h: h.update({MATRIX: h5py.ExternalLink("secret.h5", MATRIX)})),
    "group elsewhere": instead("0/META/COL", lambda h: h.update({"0/META/COL": h5py.ExternalLink("secret.h5", "0/META/COL")})),
    "soft link": instead(MATRIX, lambda h: h.update({MATRIX: h5py.SoftLink("/0/META")})),
    "virtual": instead(MATRIX, virtual),
    "raw": instead(MATRIX, lambda h: h.create_dataset(MATRIX, (10, 6), "f4", external=[("secret.bin", 0, 240)])),
    "raw note": lambda h: h.create_dataset("0/META/COL/plate", (10,), "S4", external=[("secret.bin", 0, 40)]),
    "note elsewhere": lambda h: h.update({"0/META/ROW/symbol": h5py.ExternalLink("secret.h5", "0/META/ROW/id")}),
}

@pytest.mark.parametrize("how", OUTSIDE)
def test_a_file_of_hdf5_holds_its_own_values(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    hdf5(tmp_path/"secret.h5")
    (tmp_path/"secret.bin").write_bytes(b"root"*100)
    path = hdf5(tmp_path/"t.gctx", OUTSIDE[how])
    for read in (read_gctx, read_matrix, read_table, blocks): assert "t.gctx does not hold" in said(read, path)

UNSTORED = {
    "nothing": instead(MATRIX, lambda h: h.create_dataset(MATRIX, (10, 6), "f4", chunks=(5, 6))),
    "half": instead(MATRIX, lambda h: h.create_dataset(MATRIX, (10, 6), "f4", chunks=(5, 6)).__setitem__(slice(0, 5), 1)),
    "in one piece": instead(MATRIX, lambda h: h.create_dataset(MATRIX, (10, 6), "f4")),
    "2,000,000 signatures": instead("0", lambda h: [h.create_dataset(k, s, t, chunks=True) for k, s, t in (
        (MATRIX, (2_000_000, 978), "f4"), ("0/META/ROW/id", (978,), "S8"), ("0/META/COL/id", (2_000_000,), "S8"))]),
    "a note": lambda h: h.create_dataset("0/META/COL/dose", (10**10,), "f4", chunks=(10**6,)),
}

@pytest.mark.parametrize("how", UNSTORED)
def test_values_that_are_announced_are_stored(tmp_path, how):
    path = hdf5(tmp_path/"t.gctx", UNSTORED[how])
    for read in (read_gctx, read_matrix, blocks): assert "announces" in said(read, path)

def test_a_whole_file_of_hdf5_is_read(tmp_path):
    assert read_matrix(hdf5(tmp_path/"t.gctx")).to_numpy().sum() == blocks(tmp_path/"t.gctx").to_numpy().sum() == 59*30

# pickles

def test_a_pickle_is_as_large_as_its_file(tmp_path):
    path = tmp_path/"t.pkl"
    cells = np.empty(2, object)
    cells[:] = ["a", "b"]
    laugh = ["x"]
    for _ in range(12): laugh = [laugh]*12  # 12**12 texts
    cells[0] = laugh
    bombs = [pickle.dumps(pd.DataFrame(index=range(10**12))), pickle.dumps(pd.DataFrame({"x": cells, "label": [1.0, 2.0]}), 2),
             b"\x80\x05\x96" + struct.pack("<Q", 10**11) + b"abc.", b"\x80\x04\x8e" + struct.pack("<Q", 10**11) + b"abc."]
    for bomb in bombs:
        assert len(bomb) < 2_000
        path.write_bytes(bomb)
        assert "t.pkl" in said(read_pickled_frames, path)

def test_tables_that_are_one_in_many_names_are_counted(tmp_path):
    frame = pd.DataFrame({"x": np.zeros(500), "label": np.zeros(500)})
    (tmp_path/"t.pkl").write_bytes(pickle.dumps({str(i): frame for i in range(90)}))
    assert "cannot hold" in said(read_pickled_frames, tmp_path/"t.pkl")
    (tmp_path/"t.pkl").write_bytes(pickle.dumps({str(i): frame.iloc[:2] for i in range(101)}))
    assert "101 tables" in said(read_pickled_frames, tmp_path/"t.pkl")

# texts

TABLE = b"id,A,B\n" + b"".join(b"s%d,%d.5,%d\n" % (i, i, i + 1) for i in range(60_000))  # longer than the sample
SPOILT = {"bytes 0": TABLE[:-500] + b"\0\0\0" + TABLE[-497:], "bytes 0 at its end": TABLE + b"\0"*512,
          "cut in its last row": TABLE[:TABLE.rindex(b",")],
          "twice": TABLE + TABLE, "a cell more": TABLE.replace(b"s55555,", b"s55555,7,")}

@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("read", [read_table, read_matrix, blocks])
def test_damage_that_a_text_can_show_is_named(tmp_path, how, read):
    (tmp_path/"t.csv").write_bytes(SPOILT[how])
    assert "t.csv" in said(read, tmp_path/"t.csv")

def test_a_row_like_the_header_is_only_refused_where_all_of_it_is_alike(tmp_path):
    (tmp_path/"t.csv").write_text("id,kind\nid,other\nb,kind\nxid,kind\n")
    assert len(read_table(tmp_path/"t.csv")) == 3
    (tmp_path/"t.csv").write_text("id,kind\na,b\nid,kind\n")
    assert "repeats its header" in said(read_table, tmp_path/"t.csv")

# workbooks

def workbook(path, change=None, member="xl/worksheets/sheet1.xml"):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "A", "B"], ["s1", 1, 2], ["s2", 3, 4]): book.active.append(row)
    book.save(path)
    with zipfile.ZipFile(path) as z: parts = {n: z.read(n) for n in z.namelist()}
    if change: parts[member] = change(parts[member])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        for name, content in parts.items(): z.writestr(name, content)
    return path

def entities(text): return b'<?xml version="1.0"?><!DOCTYPE l [' + text + b"]>"

SHEETS = {
    "a far cell": lambda d: d.replace(b"</sheetData>", b'<row r="9"><c r="XFD9"><v>1</v></c></row>'*10 + b"</sheetData>"),
    "a far row": lambda d: d.replace(b"</sheetData>", b'<row r="999999999999"><c r="A999999999999"><v>1</v></c></row></sheetData>'),
    "laughs": lambda d: entities(b'<!ENTITY a "aa">' + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i)*10) for i in range(10)))
                        + d.split(b"?>")[-1].replace(b"<v>1</v>", b"<v>&k;</v>"),
    "another file": lambda d: entities(b'<!ENTITY x SYSTEM "file:///etc/hostname">') + d.split(b"?>")[-1].replace(b"<v>1</v>", b"<v>&x;</v>"),
    "cut short": lambda d: d[:-40],
}

@pytest.mark.parametrize("how", SHEETS)
def test_a_sheet_that_announces_or_refers_too_far_is_refused(tmp_path, monkeypatch, how):
    for most in ("MOST_CELLS", "MOST_ROWS"): monkeypatch.setattr(f"drugnb.core.read.{most}", 100_000)
    assert "t.xlsx" in said(read_table, workbook(tmp_path/"t.xlsx", SHEETS[how]))

@pytest.mark.parametrize("extent", [b"A1:A1", b"A1:XFD1048576"])
def test_a_sheet_is_read_whatever_it_says_of_its_extent(tmp_path, extent):
    path = workbook(tmp_path/"t.xlsx", lambda d: d.replace(b'ref="A1:C3"', b'ref="%s"' % extent))
    assert read_matrix(path).to_numpy().tolist() == [[1, 2], [3, 4]]

def test_a_workbook_with_a_wrong_byte_is_refused(tmp_path):
    path = workbook(tmp_path/"t.xlsx")
    path.write_bytes(path.read_bytes().replace(b"<v>4</v>", b"<v>5</v>"))
    assert "damaged" in said(read_matrix, path)

# images and arrays

def png(width, height):
    def part(kind, content): return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"")) + part(b"IEND", b"")

def npy(shape):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue() + b"\1"*400

def test_pictures_and_arrays_that_announce_too_much_are_refused(tmp_path):
    for name, raw in {"a.png": png(10**6, 10**6), "b.png": png(2**31 - 1, 2**31 - 1), "c.npy": npy((10**6, 10**6)), "d.npy": npy((-1, 5)),
                      "e.npy": b"\x93NUMPY\x01\0" + struct.pack("<H", 9000) + b"("*9000}.items():
        (tmp_path/name).write_bytes(raw)
        assert name in said(image, tmp_path/name)
    np.savez(tmp_path/"f.npz", a=np.array([[{}]], object))
    assert "no objects" in said(files.read_arrays, tmp_path/"f.npz")

def zarr(path, chunks=(), **change):
    pytest.importorskip("zarr")
    about = {"zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": "<f4", "compressor": None, "fill_value": 0, "order": "C", "filters": None}
    path.mkdir()
    (path/".zarray").write_text(json.dumps(about | change))
    (path/"0.0").write_bytes(np.arange(1, 17, dtype="<f4").tobytes())
    return path

def test_a_zarr_array_is_whole_plain_and_its_own(tmp_path):
    assert image(zarr(tmp_path/"good.zarr")).sum() == 136
    changes = ({"shape": [10**6, 10**6], "chunks": [10**3, 10**3]}, {"shape": [-4, 4]}, {"dtype": "|O", "filters": [{"id": "vlen-utf8"}]},
               {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]})
    for i, change in enumerate(changes):
        assert f"{i}.zarr" in said(image, zarr(tmp_path/f"{i}.zarr", **change))
    for i, make in enumerate((os.mkfifo, lambda p: p.symlink_to("/etc/hostname"))):
        path = zarr(tmp_path/f"link{i}.zarr")
        (path/"0.0").unlink()
        make(path/"0.0")
        assert "does not hold 0.0 itself" in said(image, path)

def test_a_list_of_built_tables_is_whatever_it_is(tmp_path):
    (tmp_path/"t.csv").write_text("id\n")
    for text in ("["*100_000, "[1]", '{"tables": [[1]]}', '{"tables": 3}', "\0", "9"*5000):
        (tmp_path/"made_from.json").write_text(text)
        assert tmp_path/"t.csv" in files_below(tmp_path)
    (tmp_path/"made_from.json").unlink()
    os.mkfifo(tmp_path/"made_from.json")
    assert tmp_path/"t.csv" in files_below(tmp_path)
