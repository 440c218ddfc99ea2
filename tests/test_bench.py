"""The benchmarks: what make bench passes, what the README shows of them, and (slow) a small run with the whole study in it."""
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.combos.combine import PairRidge
from drugnb.combos.connect import score_drugs
from drugnb.combos.pairs import query_pairs
from drugnb.run import notebook_parameters

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT/"nbs/90_benchmarks.ipynb"
FULL = ROOT/"figures/benchmarks/benchmarks.csv"

def test_make_bench_names_parameters_that_the_notebook_has():
    "papermill passes over a name that is not there without stopping."
    recipe = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True).stdout.replace("\\\n", " ")
    words = shlex.split(next(line for line in recipe.splitlines() if "papermill" in line))
    given = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
    known = notebook_parameters("90_benchmarks")
    assert set(given) <= set(known) and (given["n"], given["genes"], given["weightings"]) == ("74709", "978", "1000")
    assert given["drugs"] == "1309", "the number for which the targets of all pairs are set"
    assert given["arguments"] and given["figures"] == "figures/benchmarks", "the whole study is part of it, and the figures are kept"
    assert known["n"][0]*known["genes"][0] < 1e6 and known["drugs"][0] < 500
    assert known["figures"][0] == "", "opened alone it is small and keeps nothing"

@pytest.mark.skipif(not FULL.exists(), reason="make bench has not been run")
def test_the_readme_shows_what_was_measured():
    t, readme = pd.read_csv(FULL), (ROOT/"README.md").read_text()
    for r in t[((t["size"] == 74709) | (t.study == "combos")) & t.asked.notna()].itertuples():
        assert re.search(rf"^\| {re.escape(r.work)} \|.* {re.escape(r.asked)} \| {r.met} \|$", readme, re.M), r.work

@pytest.fixture(scope="module")
def begun():
    "The notebook's names once its small study is made, and the code of its cells on combos."
    cells, title, parts = json.loads(NOTEBOOK.read_text())["cells"], "", {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and source.startswith("## "): title = source.splitlines()[0]
        if cell["cell_type"] == "code": parts.setdefault(title, []).append(source)
    names = {}
    for source in parts[""] + ["n, genes, drugs = 200, 20, 40"] + parts["## How it is measured"]: exec(source, names)
    return names, parts["## Combos"]

def run_combos(begun, **instead):
    "The combos rows alone, with other functions in place of some; and all names."
    names, cells = begun[0] | instead, begun[1]
    names["records"].clear()
    for source in cells: exec(source, names)
    return pd.DataFrame(names["records"]), names

def check_combos(t, drugs):
    "Every piece of work has our side first and every peer; counts are in the names and in `size`."
    sides = t.groupby("work", sort=False).side.agg(list)
    loops = ["drugnb", "loop, np.corrcoef", "loop, centred beforehand"]
    assert list(sides) == [loops]*3 + [["drugnb", "loop over queries and drugs"], ["drugnb", "every fold refitted and predicted"]]
    assert [int(w.split()[3]) for w in sides.index[:3]] == list(t["size"][:9:3]) == [drugs//4, drugs//2, drugs]
    assert list(t.genes.groupby(t.work, sort=False).first()) == [200, 200, 200, 978, 300] and (t.study == "combos").all() and (t.seconds > 0).all()

def test_the_rows_of_combos_measure_both_sides(begun):
    t, names = run_combos(begun)
    check_combos(t, 40)
    assert names["ASKED"] == {"all pairs of 40 drugs x 200 genes": 100} and names["LIMITS"] == {"all pairs of 40 drugs x 200 genes": (1, 1)}

def off(function): return lambda *args, **given: function(*args, **given) + 1e-8
def off_pairs(*args, **given): return query_pairs(*args, **given).assign(score=lambda t: t.score + 1e-8)
def one_missed(*args, **given):
    "Not the best pair, nor the worst, where only ends are asked for."
    table = query_pairs(*args, **given)
    return table.iloc[1:-1] if given.get("top") == 100 else table
class Careless(PairRidge):
    "Chooses another penalty."
    def _choose_kernel(self, *args):
        super()._choose_kernel(*args)
        self.alpha_ = 30

@pytest.mark.parametrize("instead, work, said", [
    ({"query_pairs": off_pairs}, "all pairs", "atol=1e-09"), ({"query_pairs": one_missed}, "all pairs", "atol=1e-09"),
    ({"score_drugs": off(score_drugs)}, "wtcs", "atol=1e-09"), ({"PairRidge": Careless}, "choosing", None)],
    ids=["scores of pairs", "kept pairs", "scores of drugs", "choice"])
def test_a_side_that_is_wrong_ends_the_benchmark(begun, instead, work, said):
    with pytest.raises(AssertionError, match=said): run_combos(begun, **instead)
    assert begun[0]["records"][-1]["work"].startswith(work)

@pytest.mark.slow
def test_a_small_run_measures_both_sides_of_every_row(tmp_path):
    arguments = "-p perplexities= -p seeds= -p repeats=20 -p factors=1 -p most_masked=1 -p alphas=1,1000"
    given = dict(n="900", genes="120", sizes="500", map_sizes="400", drugs="80", figures=str(tmp_path), arguments=arguments)
    subprocess.run([Path(sys.executable).with_name("papermill"), "--no-progress-bar", "--cwd", "nbs", "nbs/90_benchmarks.ipynb", tmp_path/"out.ipynb",
                    *[w for name, value in given.items() for w in ("-p", name, value)]], cwd=ROOT, check=True, capture_output=True)
    drawn = {f"{f}.{k}" for f in ("speed", "growth", "combos") for k in ("png", "svg")}
    assert {p.name for p in tmp_path.iterdir()} == {"out.ipynb", "benchmarks.csv", *drawn}
    t = pd.read_csv(tmp_path/"benchmarks.csv")
    assert (t.seconds > 0).all() and t.memory.between(-0.01, 5).all() and set(t.study) == {"weighting", "combos"}
    combos, t = t[t.study == "combos"], t[t.study == "weighting"]
    check_combos(combos, 80)
    assert set(t["size"]) == {400, 500, 900} and set(t.genes) == {120}
    ours = t[t.side == "drugnb"].set_index(["work", "size"]).seconds
    peers = t[~t.side.str.startswith("drugnb")]
    np.testing.assert_allclose(peers.times, peers.seconds/ours.loc[list(zip(peers.work, peers["size"], strict=True))].to_numpy(), rtol=0.01)
    asked = peers[peers.asked.notna()]
    assert (asked.met == np.where(asked.times >= asked.asked.str.rstrip("x").astype(float), "yes", "no")).all()
    assert len(asked[asked["size"] == 900]) == 8 and t.work.str.startswith("whole study").sum() == 2
    fits = t[(t.side == "scikit-learn Ridge, float64") & (t["size"] == 900)].set_index("work").seconds
    np.testing.assert_allclose(fits["100 cluster weightings x 10 alphas"], 5*fits["20 cluster weightings x 10 alphas"], rtol=0.01)
