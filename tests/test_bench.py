"""The benchmarks: what make bench passes, what the README shows of them, and (slow) a small run with the whole study in it."""
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.run import notebook_parameters

ROOT = Path(__file__).resolve().parent.parent
FULL = ROOT/"figures/benchmarks/benchmarks.csv"

def test_make_bench_names_parameters_that_the_notebook_has():
    "papermill passes over a name that is not there without stopping."
    recipe = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True).stdout.replace("\\\n", " ")
    words = shlex.split(next(line for line in recipe.splitlines() if "papermill" in line))
    given = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
    known = notebook_parameters("90_benchmarks")
    assert set(given) <= set(known) and (given["n"], given["genes"], given["weightings"]) == ("74709", "978", "1000")
    assert given["arguments"] and given["figures"] == "figures/benchmarks", "the whole study is part of it, and the figures are kept"
    assert known["n"][0]*known["genes"][0] < 1e6 and known["figures"][0] == "", "opened alone it is small and keeps nothing"

@pytest.mark.skipif(not FULL.exists(), reason="make bench has not been run")
def test_the_readme_shows_what_was_measured():
    t, readme = pd.read_csv(FULL), (ROOT/"README.md").read_text()
    for r in t[(t["size"] == t["size"].max()) & t.asked.notna()].itertuples():
        assert re.search(rf"^\| {re.escape(r.work)} \|.* {re.escape(r.asked)} \| {r.met} \|$", readme, re.M), r.work

@pytest.mark.slow
def test_a_small_run_measures_both_sides_of_every_row(tmp_path):
    arguments = "-p perplexities= -p seeds= -p repeats=20 -p factors=1 -p most_masked=1 -p alphas=1,1000"
    given = dict(n="900", genes="120", sizes="500", map_sizes="400", figures=str(tmp_path), arguments=arguments)
    subprocess.run([Path(sys.executable).with_name("papermill"), "--no-progress-bar", "--cwd", "nbs", "nbs/90_benchmarks.ipynb", tmp_path/"out.ipynb",
                    *[w for name, value in given.items() for w in ("-p", name, value)]], cwd=ROOT, check=True, capture_output=True)
    assert {p.name for p in tmp_path.iterdir()} == {"out.ipynb", "benchmarks.csv", *(f"{f}.{k}" for f in ("speed", "growth") for k in ("png", "svg"))}
    t = pd.read_csv(tmp_path/"benchmarks.csv")
    assert (t.seconds > 0).all() and t.memory.between(-0.01, 5).all() and set(t["size"]) == {400, 500, 900}
    ours = t[t.side == "drugnb"].set_index(["work", "size"]).seconds
    peers = t[~t.side.str.startswith("drugnb")]
    np.testing.assert_allclose(peers.times, peers.seconds/ours.loc[list(zip(peers.work, peers["size"], strict=True))].to_numpy(), rtol=0.01)
    asked = peers[peers.asked.notna()]
    assert (asked.met == np.where(asked.times >= asked.asked.str.rstrip("x").astype(float), "yes", "no")).all()
    assert len(asked[asked["size"] == 900]) == 8 and t.work.str.startswith("whole study").sum() == 2
    fits = t[(t.side == "scikit-learn Ridge, float64") & (t["size"] == 900)].set_index("work").seconds
    np.testing.assert_allclose(fits["100 cluster weightings x 10 alphas"], 5*fits["20 cluster weightings x 10 alphas"], rtol=0.01)
