"""Artefacts: reloaded when they belong, recomputed when they do not."""
import pandas as pd

from drugnb.core.artefacts import RunFolder, load_frame, read_journal, save_frame


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
