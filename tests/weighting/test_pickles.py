"""A pickle with anything but a table in it is refused by name and does not run."""
import os
import pickle
import subprocess

import joblib
import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.weighting.embed import read_map
from drugnb.weighting.pickles import Recorder, read_pickled_frames


class Calls:
    def __init__(self, function, *args): self.call = function, args
    def __reduce__(self): return self.call

def attacks(mark):
    yield "posix.mkdir", Calls(os.mkdir, mark)
    yield "posix.system", Calls(os.system, f"mkdir {mark}")
    yield "subprocess.Popen", Calls(subprocess.Popen, ["mkdir", mark])
    yield "builtins.eval", Calls(eval, f"__import__('os').mkdir({mark!r})")
    yield "builtins.getattr", Calls(getattr, "a", "upper")
    yield "pandas", Calls(pd.read_pickle, "/etc/hostname")

@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("where", ["alone", "in a cell", "in an array of joblib", "beside a table"])
def test_nothing_runs(tmp_path, kind, where):
    mark = str(tmp_path/"it-ran")
    name, bomb = list(attacks(mark))[kind]
    table = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "label": [0.5, 1.0]})
    cell = table.astype({"label": object})
    cell.loc[0, "label"] = bomb
    array = np.array([bomb, 1], dtype=object)
    contents = {"alone": bomb, "in a cell": cell, "in an array of joblib": {"a": array},
                "beside a table": {"df1": table, "b": bomb}}
    content = contents[where]
    joblib.dump(content, tmp_path/"a.pkl")
    (tmp_path/"b.pkl").write_bytes(pickle.dumps(content))
    for file in ("a.pkl", "b.pkl"):
        said = f"{file} asks for {name.split('.')[0]}"
        with pytest.raises(InputError, match=said): read_pickled_frames(tmp_path/file)
    assert not os.path.exists(mark)

def test_state_set_on_an_admitted_name_stays_in_the_file(tmp_path):
    "BUILD on a class would change the real class, if the name led to it."
    evil = b"\x80\x02cpandas\nDataFrame\nN}X\x05\x00\x00\x00shapeK\x01s\x86b."
    (tmp_path/"evil.pkl").write_bytes(evil)
    try: read_pickled_frames(tmp_path/"evil.pkl")
    except InputError: pass
    assert pd.DataFrame({"x": [1]}).shape == (1, 1) and not hasattr(Recorder, "shape")

def test_a_pickle_cut_anywhere_is_refused(tmp_path):
    joblib.dump({"df1": pd.DataFrame({"x": np.arange(50.0), "y": 1.0, "label": 1.0})}, tmp_path/"a.pkl")
    whole = (tmp_path/"a.pkl").read_bytes()
    for n in range(0, len(whole), 7):
        (tmp_path/"a.pkl").write_bytes(whole[:n])
        with pytest.raises(InputError, match="a.pkl"): read_pickled_frames(tmp_path/"a.pkl")

@pytest.mark.parametrize("how", [("zlib", 3), ("gzip", 3), ("bz2", 3)])
def test_a_compressed_pickle_is_named_as_such(tmp_path, how):
    joblib.dump({"df1": pd.DataFrame({"x": [1.0]})}, tmp_path/"a.pkl", compress=how)
    with pytest.raises(InputError, match="compress=0"): read_pickled_frames(tmp_path/"a.pkl")

@pytest.mark.parametrize("write", [joblib.dump, lambda frame, path: path.write_bytes(pickle.dumps(frame, 2)),
                                   lambda frame, path: path.write_bytes(pickle.dumps(frame))],
                         ids=["joblib", "protocol 2", "newest protocol"])
def test_numbers_text_and_ids_come_back_as_they_were(tmp_path, write):
    frame = pd.DataFrame({"x": [0.5, -1.0, np.nan], "n": [3, 1, 2], "cell": ["A375", None, "β"]}, list("abc"))
    write(frame, tmp_path/"a.pkl")
    read = read_pickled_frames(tmp_path/"a.pkl")["frame"]
    loosely = dict(check_dtype=False, check_column_type=False, check_index_type=False)
    pd.testing.assert_frame_equal(read, frame, **loosely)

def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="There is no file .*a.pkl"): read_pickled_frames(tmp_path/"a.pkl")

def test_bytes_at_random_never_do_more_than_be_refused(tmp_path):
    joblib.dump({"df1": pd.DataFrame({"x": np.arange(20.0), "y": 1.0, "label": 1.0})}, tmp_path/"a.pkl")
    whole, rng = np.frombuffer((tmp_path/"a.pkl").read_bytes(), np.uint8), np.random.default_rng(0)
    for _ in range(300):
        spoilt = whole.copy()
        spoilt[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        (tmp_path/"b.pkl").write_bytes(spoilt.tobytes())
        try: read_pickled_frames(tmp_path/"b.pkl")
        except InputError: pass

def test_a_pickled_map_must_carry_this_studys_labels(tmp_path, small):
    n = len(small.samples)
    ours = pd.DataFrame({"x": np.arange(n)*1.0, "y": 0.0, "label": small.samples.viability.to_numpy()})
    joblib.dump({"df1": ours}, tmp_path/"ours.pkl")
    assert read_map(tmp_path/"ours.pkl", small).index.equals(small.signatures.index)
    joblib.dump({"df1": ours.assign(label=ours.label.to_numpy()[::-1])}, tmp_path/"other.pkl")
    with pytest.raises(InputError, match="have another viability"): read_map(tmp_path/"other.pkl", small)
