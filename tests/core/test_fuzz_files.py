"""Files with a few wrong bytes: the same data or one sentence, never another exception, a crash, a hang, or other data past a checksum."""
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import resource
import signal
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from drugnb.core.files import read_arrays
from drugnb.core.read import read_gene_sets, read_matrix, read_table
from drugnb.core.settings import InputError
from drugnb.weighting.pickles import read_pickled_frames

SHORT, LONG = 5, 50  # seeds of each format
MEMORY, SECONDS = 4 << 30, 60  # of a child

VALUES = np.random.default_rng(0).normal(size=(7, 5)).round(3).astype(np.float32)
FRAME = pd.DataFrame(VALUES, [f"s{i}" for i in range(7)], [f"G{i}" for i in range(5)]).rename_axis("id")

def image(path):
    from drugnb.morphology import images
    try: return images.read_image(path, -1, path.name, {}).values
    except images.Damaged as e: raise InputError(f"{path.name}: {e.what}.") from e

def gct(path): path.write_text("#1.2\n5\t7\nName\tDescription\t" + "\t".join(FRAME.index) + "\n"
                               + "".join(f"{g}\tna\t" + "\t".join(map(str, FRAME[g])) + "\n" for g in FRAME))

def gctx(path):
    with h5py.File(path, "w") as h:
        h.create_dataset("0/DATA/0/matrix", data=VALUES, chunks=(4, 5), compression="gzip", fletcher32=True)
        h["0/META/ROW/id"], h["0/META/COL/id"] = FRAME.columns.to_numpy("S"), FRAME.index.to_numpy("S")

def tiff(path):
    import tifffile
    tifffile.imwrite(path, (VALUES*1000).astype(np.int16), compression="zlib")

def zipped(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z: z.writestr("t.csv", FRAME.to_csv())

def packed(pack): return lambda path: path.write_bytes(pack(FRAME.to_csv().encode()))

FORMATS = {  # ending: what writes it, what reads it, whether a checksum guards all that is read
    "csv": (FRAME.to_csv, read_matrix, False), "tsv": (lambda p: FRAME.to_csv(p, sep="\t"), read_table, False),
    "csv.gz": (packed(lambda raw: gzip.compress(raw, mtime=0)), read_matrix, True), "csv.bz2": (packed(bz2.compress), read_matrix, True),
    "csv.xz": (packed(lzma.compress), read_table, True), "csv.zip": (zipped, read_matrix, True),
    "gct": (gct, read_matrix, False), "gctx": (gctx, read_matrix, False),
    "parquet": (lambda p: FRAME.to_parquet(p, compression="gzip"), read_matrix, False),
    "feather": (lambda p: FRAME.reset_index().to_feather(p), read_matrix, False),
    "xlsx": (FRAME.to_excel, read_matrix, True), "pkl": (lambda p: p.write_bytes(pickle.dumps(FRAME, 4)), read_pickled_frames, False),
    "gmt": (lambda p: p.write_text("".join(f"set{i}\td\tTP53\tG{i}\n" for i in range(9))), read_gene_sets, False),
    "npz": (lambda p: np.savez_compressed(p, a=VALUES), read_arrays, True), "npy": (lambda p: np.save(p, VALUES), image, False),
    "png": (lambda p: Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30)).save(p), image, True), "tif": (tiff, image, False),
}
NEEDS = {"xlsx": "openpyxl", "tif": "tifffile"}

def spoilt(whole, rng):
    "A file's bytes with a few of them changed, cut, doubled or made something large."
    raw, at = bytearray(whole), int(rng.integers(len(whole)))
    some = slice(at, at + int(rng.integers(1, 9)))
    kind = rng.integers(7)
    if kind == 0: raw[at] ^= 1 << int(rng.integers(8))
    elif kind == 1: del raw[at:]
    elif kind == 2: raw[at:at] = raw[max(at - 40, 0):at]
    elif kind == 3: raw[some] = bytes(len(raw[some]))
    elif kind == 4: raw[some] = b"\xff"*len(raw[some])
    elif kind == 5: raw[at:at] = b"99999999999"
    else: raw[some] = rng.bytes(len(raw[some]))
    return bytes(raw)

def same(a, b):
    "Is what was read the same?"
    if isinstance(a, dict): return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, pd.DataFrame): return isinstance(b, pd.DataFrame) and a.equals(b)
    return np.array_equal(a, b)

def outcome(read, path, expected, guarded):
    "What becomes of a spoilt file; \"\" where that is as it should be."
    try: found = read(path)
    except InputError as e: return "" if str(e).endswith(".") and "\n" not in str(e) else f"no sentence: {e}"
    except BaseException as e: return f"{type(e).__name__}: {e}"
    return "other data" if guarded and not same(expected, found) else ""

def in_a_child(work):
    "What a function returns, run with little memory and time; how the child died if it did."
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.alarm(SECONDS)
            os.write(there, json.dumps(work()).encode())
        finally: os._exit(0)
    os.close(there)
    with open(here, "rb") as said: text = said.read()
    _, status = os.waitpid(child, 0)
    return f"killed by signal {status}" if os.WIFSIGNALED(status) else json.loads(text or b'"nothing"')

def campaign(folder, ending, seeds):
    "Faults that were not as they should be, by seed."
    if ending in NEEDS: pytest.importorskip(NEEDS[ending])
    write, read, guarded = FORMATS[ending]
    path = folder/f"t.{ending}"
    write(path)
    whole, expected = path.read_bytes(), read(path)
    def work():
        bad = {}
        for seed in seeds:
            spoiled = folder/f"s{seed}.{ending}"
            spoiled.write_bytes(spoilt(whole, np.random.default_rng(seed)))
            if what := outcome(read, spoiled, expected, guarded): bad[seed] = what
        return bad
    return in_a_child(work)

@pytest.mark.parametrize("ending", FORMATS)
def test_a_spoilt_file_is_the_same_or_a_sentence(tmp_path, ending): assert campaign(tmp_path, ending, range(SHORT)) == {}

@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
def test_many_spoilt_files_are_the_same_or_a_sentence(tmp_path, ending): assert campaign(tmp_path, ending, range(SHORT, SHORT + LONG)) == {}

def test_the_campaign_sees_a_crash_and_other_data():
    assert in_a_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "killed by signal 9"
    assert outcome(lambda path: 1/0, None, None, False).startswith("ZeroDivisionError")
    assert outcome(lambda path: np.ones(2), None, np.zeros(2), True) == "other data"
    assert outcome(lambda path: io.StringIO(), None, None, False) == ""
