"""The benchmarks: what make bench passes, what pages show of them, and (slow) a small run of them all."""
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
    recipe = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True).stdout
    lines = recipe.replace("\\\n", " ").splitlines()
    words = shlex.split(next(line for line in lines if "papermill" in line))
    given = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
    known = notebook_parameters("90_benchmarks")
    assert set(given) <= set(known)
    assert (given["n"], given["genes"], given["weightings"]) == ("74709", "978", "1000")
    assert given["drugs"] == "1309", "the number for which the targets of all pairs are set"
    assert given["arguments"], "the whole study is part of it"
    assert given["figures"] == f"{ROOT}/figures/benchmarks", "the figures are kept"
    assert known["n"][0]*known["genes"][0] < 1e6 and known["drugs"][0] < 500
    assert known["figures"][0] == "", "opened alone it is small and keeps nothing"

def shown_by(page):
    "The Markdown that a page's saved outputs show."
    cells = json.loads((ROOT/f"nbs/{page}.ipynb").read_text())["cells"]
    outputs = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    return "\n".join("".join(data.get("text/markdown", [])) for data in outputs)

@pytest.mark.skipif(not FULL.exists(), reason="make bench has not been run")
@pytest.mark.parametrize("study, size", [("weighting", 74709), ("combos", 1309)])
def test_a_study_s_page_shows_what_was_measured(study, size):
    t, page = pd.read_csv(FULL), shown_by(study)
    rows = t[(t.study == study) & (t["size"] == size) & t.asked.notna()]
    assert len(rows)
    for r in rows.itertuples():
        line = rf"^\| {re.escape(r.work)} \|.* {re.escape(r.asked)} \| {r.met} \|$"
        assert re.search(line, page, re.M), r.work

@pytest.fixture(scope="module")
def begun():
    "The notebook's names once its small study is made, and the code of its cells on combos."
    cells, title, parts = json.loads(NOTEBOOK.read_text())["cells"], "", {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and source.startswith("## "): title = source.splitlines()[0]
        if cell["cell_type"] == "code": parts.setdefault(title, []).append(source)
    names, small = {}, "n, genes, drugs = 200, 20, 40"
    for source in [*parts[""], small, *parts["## How it is measured"]]: exec(source, names)
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
    others = ["loop over queries and drugs", "every fold refitted and predicted"]
    assert list(sides) == [loops]*3 + [["drugnb", other] for other in others]
    counts = [drugs//4, drugs//2, drugs]
    assert [int(w.split()[3]) for w in sides.index[:3]] == list(t["size"][:9:3]) == counts
    assert list(t.genes.groupby(t.work, sort=False).first()) == [200, 200, 200, 978, 300]
    assert (t.study == "combos").all() and (t.seconds > 0).all()

def test_the_rows_of_combos_measure_both_sides(begun):
    t, names = run_combos(begun)
    check_combos(t, 40)
    assert names["ASKED"] == {"all pairs of 40 drugs x 200 genes": 100}
    assert names["LIMITS"] == {"all pairs of 40 drugs x 200 genes": (1, 1)}

def off(function):
    "The function, a little wrong."
    return lambda *args, **given: function(*args, **given) + 1e-8

def off_pairs(*args, **given):
    "All scores of pairs a little wrong."
    return query_pairs(*args, **given).assign(score=lambda t: t.score + 1e-8)

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
    ({"query_pairs": off_pairs}, "all pairs", "atol=1e-09"),
    ({"query_pairs": one_missed}, "all pairs", "atol=1e-09"),
    ({"score_drugs": off(score_drugs)}, "wtcs", "atol=1e-09"), ({"PairRidge": Careless}, "choosing", None)],
    ids=["scores of pairs", "kept pairs", "scores of drugs", "choice"])
def test_a_side_that_is_wrong_ends_the_benchmark(begun, instead, work, said):
    with pytest.raises(AssertionError, match=said): run_combos(begun, **instead)
    assert begun[0]["records"][-1]["work"].startswith(work)

@pytest.mark.slow
def test_a_small_run_measures_both_sides_of_every_row(tmp_path):
    arguments = "-p perplexities= -p seeds= -p repeats=20 -p factors=1 -p most_masked=1 -p alphas=1,1000"
    given = dict(n="900", genes="120", sizes="500", map_sizes="400", drugs="80", figures=str(tmp_path),
                 arguments=arguments)
    command = [Path(sys.executable).with_name("papermill"), "--no-progress-bar", "--cwd", "nbs",
               "nbs/90_benchmarks.ipynb", tmp_path/"out.ipynb"]
    words = [w for name, value in given.items() for w in ("-p", name, value)]
    subprocess.run([*command, *words], cwd=ROOT, check=True, capture_output=True)
    drawn = {f"{f}.{k}" for f in ("speed", "growth", "combos", "solver") for k in ("png", "svg")}
    assert {p.name for p in tmp_path.iterdir()} == {"out.ipynb", "benchmarks.csv", *drawn}
    t = pd.read_csv(tmp_path/"benchmarks.csv")
    assert (t.seconds > 0).all() and t.memory.between(-0.01, 5).all()
    assert set(t.study) == {"weighting", "combos", "essentiality", "morphology", "synergy"}
    combos, t = t[t.study == "combos"], t[t.study == "weighting"]
    check_combos(combos, 80)
    assert set(t["size"]) == {400, 500, 900} and set(t.genes) == {120}
    ours = t[t.side == "drugnb"].set_index(["work", "size"]).seconds
    peers = t[~t.side.str.startswith("drugnb")]
    beside = ours.loc[list(zip(peers.work, peers["size"], strict=True))].to_numpy()
    np.testing.assert_allclose(peers.times, peers.seconds/beside, rtol=0.01)
    asked = peers[peers.asked.notna()]
    reached = asked.times >= asked.asked.str.rstrip("x").astype(float)
    assert (asked.met == np.where(reached, "yes", "no")).all()
    assert len(asked[asked["size"] == 900]) == 8 and t.work.str.startswith("whole study").sum() == 2
    fits = t[(t.side == "scikit-learn Ridge, float64") & (t["size"] == 900)].set_index("work").seconds
    many, few = (fits[f"{count} cluster weightings x 10 alphas"] for count in (100, 20))
    np.testing.assert_allclose(many, 5*few, rtol=0.01)
