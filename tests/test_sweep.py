"""A sweep: what is refused, what is shared, what is run again, what its table says; from the README's line to a dask cluster."""
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb import run, sweep
from drugnb.command import main, parser
from drugnb.core.artefacts import RunFolder, load_frame, save_frame
from drugnb.core.settings import InputError
from drugnb.studies import STUDIES, card
from drugnb.sweep import (
    cell_row,
    figure_sweep,
    finished,
    grid_values,
    share,
    sweep_cells,
    sweep_table,
    sweep_text,
    workers,
)

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from drugnb.command import main; main()"]
QUICK = ["-p", "perplexities=", "-p", "seeds=", "-p", "repeats=50", "-p", "factors=1", "-p", "most_masked=3", "-p", "alphas=1,1000"]
CARD = card("weighting")
LISTS = {"perplexities": "", "seeds": ""}

class Study:
    "A study that takes no time: each cell makes its map unless it is there, and a comparison that says what its parameters were."
    def __init__(self, fail=(), pause=0.0): self.fail, self.pause, self.ran, self.made, self.now = fail, pause, [], [], set()
    def __call__(self, study, source, parameters, folder):
        self.ran.append(folder.name)
        perplexity, eps = float(parameters["perplexity"]), float(parameters.get("eps", 0))
        if folder.name in self.fail: raise InputError(f"Perplexity {perplexity:g} is too much.")
        name = f"map_p{perplexity:g}_s0"
        if not (folder/f"{name}.parquet").exists():
            assert name not in self.now, "two cells make the same map"
            self.now.add(name)
            time.sleep(self.pause)
            save_frame(pd.DataFrame({"x": [perplexity]}), folder/f"{name}.parquet", {})
            self.made.append(name)
            self.now.discard(name)
        assert load_frame(folder/f"{name}.parquet")[0].x[0] == perplexity
        save_frame(pd.DataFrame({"cluster": [0, 0, 1, -1]}), folder/"clusters.parquet", {})
        r = perplexity/100 + eps/1000
        rows = [("all", m, r + g, r + g - 0.1, r + g + 0.1, f"{m}, alpha 1", *how) for m, g, *how in (
            ("no information", -1, "baseline", "", ""),
            ("unweighted, alpha chosen in training", 0, "unweighted", "training", "compounds"),
            ("weighted, chosen in training (compounds left out)", 0.01, "weighted", "training", "compounds"),
            ("weighted, chosen on the outside set", 0.02, "weighted", "outside", ""))]
        columns = ["compounds", "model", "pearson", "pearson_low", "pearson_high", "choice", "role", "chosen", "left_out"]
        table = pd.DataFrame(rows, columns=columns).assign(groups=40)
        pd.concat([table, table.assign(compounds="unseen", pearson=9)]).to_csv(folder/"comparison.csv", index=False)

def go(folder, grid, work, jobs=2, parameters=LISTS, source="simulated"):
    return sweep.sweep("weighting", grid, source, parameters, folder, ThreadPoolExecutor(jobs), work)

GRID = {"perplexity": ["20", "25", "40"], "eps": ["0", "1.5", "2"]}

@pytest.mark.parametrize("text, name, values", [
    ("eps=0,1.5", "eps", ["0", "1.5"]), ("eps = 0, 1.5", "eps", ["0", "1.5"]), ("alphas=1,10;1,100", "alphas", ["1,10", "1,100"]),
    ("alphas=1,10;", "alphas", ["1,10"]), ("seeds=;1,2", "seeds", ["", "1,2"]),
    ("method=dbscan", "method", ["dbscan"]), ("source=a=b", "source", ["a=b"])])
def test_swept_values_as_they_are_typed(text, name, values): assert grid_values(text) == (name, values)

@pytest.mark.parametrize("arguments, sentence", [
    (["-g", "eps"], "NAME=VALUE,VALUE,... and not as 'eps'"), (["-g", "=1,2"], "and not as '=1,2'"), ([], "at least one parameter"),
    (["-g", "epss=1,2"], "No notebook of weighting has a parameter 'epss'"), (["-g", "eps=1,wide"], "eps is 'wide' but should be a number"),
    (["-g", "eps=1,,2"], "eps is '' but should be a number"), (["-g", "eps=1,2", "-g", "eps=3"], "eps is swept twice"),
    (["-g", "eps=1,1.0"], "give each once"), (["-g", "eps=1,2", "-p", "eps=3"], "both as fixed"),
    (["-g", "eps=1", "-p", "folds=many"], "folds is 'many'"),
    (["-g", "eps=1", "-p", "folds"], "NAME=VALUE, not 'folds'"), (["-g", "source=simulated,simulated-small"], "use --data"),
    (["-g", "eps=1", "-p", "run=here"], "use --data and --run"), (["-g", "perplexities=10,fifty;"], "'10,fifty' but should be whole numbers"),
    (["-g", "eps=1,2", "--jobs", "0"], "--jobs is 0"), (["-g", "eps=1,2", "--data", "l1000-a375"], "DRUGNB_DATA"),
])
def test_a_wrong_sweep_is_refused_before_anything_runs(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as e: main(["sweep", "weighting", "--run", str(tmp_path/"s"), *arguments])
    said = capsys.readouterr().err
    assert e.value.code == 2 and sentence in said and said.count("\n") == 1
    assert not list(tmp_path.glob("s/*/*"))

def test_an_unknown_study_is_refused(capsys):
    with pytest.raises(SystemExit) as e: main(["sweep", "wighting", "-g", "eps=1"])
    assert e.value.code == 2 and "There is no study 'wighting': did you mean 'weighting'?" in capsys.readouterr().err

def test_cells_are_every_combination_and_named_by_their_values():
    cells = sweep_cells("weighting", GRID, "simulated", LISTS)
    assert [tuple(c.swept.values()) for c in cells] == [*product([20, 25, 40], [0, 1.5, 2])]
    assert cells[1].name == "perplexity=20,eps=1.5" and cells[1].makes == {"map_p20_s0.parquet"}
    assert {c.parameters["perplexities"] for c in cells} == {""}
    turned = sweep_cells("weighting", {"eps": ["2", "1.50", "0.0"], "perplexity": GRID["perplexity"][::-1]}, "simulated", LISTS)
    assert {c.name: c.key for c in cells} == {c.name: c.key for c in turned}, "neither the order of values nor the way they are written matters"

def test_folder_names_stay_names():
    cells = sweep_cells("combos", {"query": ["mine.csv", "../x", ",".join(map(str, range(1, 200)))]}, "simulated")
    assert cells[0].name == "query=mine.csv" and all(re.fullmatch(r"[\w.,=+~-]{1,120}", c.name) for c in cells) and len({c.name for c in cells}) == 3

def test_maps_of_other_perplexities_and_seeds_are_known(tmp_path):
    c, = sweep_cells("weighting", {"perplexity": ["30"]}, str(tmp_path))
    assert c.makes == {f"map_p{p}_s{s}.parquet" for p, s in [(30, 0), (10, 0), (50, 0), (100, 0), (30, 1), (30, 2)]}
    c, = sweep_cells("weighting", {"perplexity": ["30"]}, "simulated")
    assert not c.makes, "the maps of the embedded study are kept in the project"

def test_a_key_follows_parameters_files_code_and_settings(scratch, folder, monkeypatch):
    monkeypatch.chdir(scratch)
    k = lambda **p: sweep_cells("weighting", {"eps": ["1"]}, str(folder), p)[0].key
    keys = [k(), k(folds="4")]
    matrix = next(folder.glob("lm_*"))
    os.utime(matrix, ns=(1, 1))
    assert k() == keys[0], "a copy is the same input"
    matrix.write_bytes(matrix.read_bytes().replace(b"1", b"2", 1))
    os.utime(matrix, ns=(1, 1))
    keys.append(k())
    (folder/"published_coefficients.csv").write_text("gene,coefficient\n")
    keys.append(k())
    notebook = scratch/"nbs/03_weight.ipynb"
    cells = json.loads(notebook.read_text())
    cells["cells"][0]["source"] = ["# Other prose"]
    notebook.write_text(json.dumps(cells))
    assert k() == keys[-1], "prose and outputs are not code"
    next(c for c in cells["cells"] if c["cell_type"] == "code")["source"] = ["x = 1"]
    notebook.write_text(json.dumps(cells))
    keys.append(k())
    (scratch/"settings.ini").write_text((scratch/"settings.ini").read_text().replace("dose = dose_um", "dose = dose_nm"))
    keys.append(k())
    assert len(set(keys)) == len(keys) == 6 and k() == keys[-1]

@pytest.mark.parametrize("jobs", [1, 4])
def test_each_map_is_made_once(tmp_path, jobs):
    work = Study(pause=0.2)
    folder, table = go(tmp_path/"s", GRID, work, jobs)
    assert sorted(work.made) == ["map_p20_s0", "map_p25_s0", "map_p40_s0"] and len(work.ran) == 9 and not table.error.any()
    assert [len({p.stat().st_ino for p in folder.glob(f"*/map_p{q}_s0.parquet")}) for q in (20, 25, 40)] == [1, 1, 1]
    assert len([*folder.glob("*/map_*.parquet")]) == 9, "a cell gets no map that is not its own"

def test_cells_wait_no_longer_than_for_the_map(tmp_path):
    "Once the first cell's map is there the second may start, though the first is not done."
    both, cells = threading.Barrier(2, timeout=600), {"eps": ["0", "1"]}
    def work(study, source, parameters, folder):
        if not (folder/"map_p20_s0.parquet").exists(): save_frame(pd.DataFrame({"x": [1]}), folder/"map_p20_s0.parquet", {})
        both.wait()
    _, table = go(tmp_path/"s", cells, work, parameters={**LISTS, "perplexity": "20"})
    assert not table.error.any()

@pytest.mark.slow
def test_a_map_is_made_by_the_next_cell_when_the_first_failed(tmp_path):
    work = Study(fail=("perplexity=20,eps=0",))
    _, table = go(tmp_path/"s", GRID, work)
    assert sorted(work.made) == ["map_p20_s0", "map_p25_s0", "map_p40_s0"] and table.error.astype(bool).sum() == 1

def test_the_newest_is_shared_and_copied_where_links_fail(tmp_path, monkeypatch):
    a, b, c = (tmp_path/n for n in "abc")
    for f, t in ((a, 10**9), (b, 2*10**9)):
        f.mkdir()
        for name in ("map_p20_s0.parquet", "map_p30_s0.parquet", "study_signatures.arrow", "models.parquet"):
            (f/name).write_text(f.name)
            os.utime(f/name, ns=(t, t))
    c.mkdir()
    def no_links(*a): raise OSError(18, "Invalid cross-device link")
    monkeypatch.setattr(os, "link", no_links)
    assert share(c, [a, b, c], {"map_p20_s0.parquet"}) == ["map_p20_s0.parquet", "study_signatures.arrow"]
    assert {p.name: p.read_text() for p in c.iterdir()} == dict.fromkeys(["map_p20_s0.parquet", "study_signatures.arrow"], "b")
    assert share(c, [a, b, c], {"map_p20_s0.parquet"}) == []
    assert share(a, [a, b], {"map_p20_s0.parquet"}) and (a/"map_p20_s0.parquet").read_text() == "b"

def test_a_shared_map_of_other_signatures_is_not_used(tmp_path):
    "Sharing only offers: the stage looks at what the file was made from."
    made = RunFolder(tmp_path/"a").stage("map_p20_s0", lambda: pd.DataFrame({"x": [1]}), ["these"], perplexity=20)
    (tmp_path/"b").mkdir()
    share(tmp_path/"b", [tmp_path/"a"], {"map_p20_s0.parquet"})
    stage = lambda inputs: RunFolder(tmp_path/"b").stage("map_p20_s0", lambda: pd.DataFrame({"x": [2]}), inputs, perplexity=20).x[0]
    assert stage(["these"]) == made.x[0] == 1 and stage(["others"]) == 2
    assert load_frame(tmp_path/"a/map_p20_s0.parquet")[0].x[0] == 1, "the cell it came from keeps its own"

@pytest.mark.slow
def test_what_is_done_is_not_run_again_and_said(tmp_path, capsys):
    first, second, third = Study(), Study(), Study()
    folder, table = go(tmp_path/"s", GRID, first)
    capsys.readouterr()
    _, again = go(tmp_path/"s", {**GRID, "perplexity": ["20", "30"]}, second)
    said = capsys.readouterr().out
    assert sorted(second.ran) == [f"perplexity=30,eps={e}" for e in ("0", "1.5", "2")]
    assert [line for line in said.splitlines() if line.startswith("not run again")] == [
        "not run again, nothing they depend on has changed: perplexity=20,eps=0; perplexity=20,eps=1.5; perplexity=20,eps=2"]
    pd.testing.assert_frame_equal(again[:3].drop(columns="seconds"), table[:3].drop(columns="seconds"))
    go(tmp_path/"s", GRID, third, parameters={**LISTS, "folds": "4"})
    assert len(third.ran) == 9, "other fixed parameters, other cells"
    (folder/"perplexity=20,eps=2/cell.json").write_text("{")
    assert not finished(folder/"perplexity=20,eps=2", "any")

@pytest.mark.slow
def test_results_do_not_hang_on_the_order_in_which_cells_end(tmp_path):
    def late(study, source, parameters, folder):
        time.sleep({"0": 0.3, "1.5": 0.1, "2": 0.0}[parameters["eps"]])
        Study()(study, source, parameters, folder)
    tables = [go(tmp_path/str(i), g, work, 3)[1].drop(columns="seconds") for i, (g, work) in enumerate(
        [(GRID, late), (GRID, Study()), (dict(reversed(GRID.items())), Study())])]
    assert all(t.equals(tables[0]) for t in tables) and list(tables[0].eps) == [0, 1.5, 2]*3

def test_a_failing_cell_is_named_and_stops_nobody(tmp_path, capsys):
    names = ("perplexity=25,eps=0", "perplexity=40,eps=2")
    folder, table = go(tmp_path/"s", GRID, Study(fail=names))
    bad = table.set_index(["perplexity", "eps"]).error
    assert bad[25, 0] == "Perplexity 25 is too much." and bad[40, 2] == "Perplexity 40 is too much." and bad.astype(bool).sum() == 2
    assert "perplexity=25,eps=0: failed: Perplexity 25 is too much. (0 s, " in capsys.readouterr().out
    assert "failed: perplexity=40, eps=2: Perplexity 40 is too much." in sweep_text(table, ["perplexity", "eps"], CARD)
    assert pd.read_csv(folder/"sweep.csv").error.fillna("").tolist() == table.error.tolist() and (folder/"sweep.png").exists()
    work = Study()
    assert not go(tmp_path/"s", GRID, work)[1].error.any() and sorted(work.ran) == sorted(names), "what failed is tried again"

def test_an_old_result_is_not_taken_for_that_of_a_cell_that_failed(tmp_path):
    go(tmp_path/"s", {"perplexity": ["20", "25"]}, Study())
    _, table = go(tmp_path/"s", {"perplexity": ["20", "25"]}, Study(fail=("perplexity=20",)), parameters={**LISTS, "folds": "4"})
    assert np.isnan(table["unweighted r"][0]) and table["unweighted r"][1] == 0.25

def test_the_command_ends_with_1_for_a_failed_cell_and_2_when_all_refuse(tmp_path, monkeypatch, capsys):
    whole = sweep.sweep
    monkeypatch.setattr(sweep, "workers", lambda jobs, dask: ThreadPoolExecutor(jobs))
    arguments = ["sweep", "weighting", "-g", "perplexity=20,25", "-p", "perplexities=", "-p", "seeds=", "--jobs", "2", "--run"]
    def command(name, work):
        monkeypatch.setattr(sweep, "sweep", lambda *a: whole(*a, work=work))
        try: main([*arguments, str(tmp_path/name)])
        except SystemExit as e: return e.code, capsys.readouterr()
        return 0, capsys.readouterr()
    code, said = command("good", Study())
    assert code == 0 and "0.25 (0.15 to 0.35)" in said.out and str(tmp_path/"good/sweep.csv") in said.out
    assert command("one", Study(fail=("perplexity=20",)))[0] == 1
    refusing = Study(fail=("perplexity=20", "perplexity=25"))
    code, said = command("all", lambda *a: (time.sleep(0.3 if a[-1].name == "perplexity=20" else 0), refusing(*a)))
    assert code == 2 and said.err == "drugnb: Every cell refused its input, perplexity=20 for one: Perplexity 20 is too much.\n"
    def no_column(*a): raise InputError("siginfo_a.csv has no column 'viability'.")
    code, said = command("same", no_column)
    assert code == 2 and said.err == "drugnb: siginfo_a.csv has no column 'viability'.\n"
    def bug(*a): raise KeyError("gene")
    code, said = command("bug", bug)
    assert code == 1 and "KeyError: 'gene'" in said.out

def test_a_sweep_folder_that_cannot_be_made(tmp_path):
    (tmp_path/"file").write_text("")
    with pytest.raises(InputError, match="choose another with --run"): go(tmp_path/"file/s", GRID, Study())

def test_the_table_after_every_cell(tmp_path):
    seen, work = [], Study()
    def looking(study, source, parameters, folder):
        seen.append(len(pd.read_csv(folder.parent/"sweep.csv")) if (folder.parent/"sweep.csv").exists() else 0)
        work(study, source, parameters, folder)
    go(tmp_path/"s", {"eps": ["0", "1", "2"]}, looking, jobs=1, parameters={**LISTS, "perplexity": "20"})
    assert seen[0] == 0 and seen == sorted(seen) and seen[-1] >= 1

def test_the_table_has_one_row_a_cell_and_the_columns_it_says(tmp_path):
    folder, table = go(tmp_path/"s", {"perplexity": ["20"], "eps": ["0", "2"]}, Study())
    models = ["unweighted", "chosen in training (compounds)", "chosen outside"]
    contending = [f"{m} {c}" for m in models for c in ("r", "low", "high", "choice")]
    assert list(table) == ["perplexity", "eps", "clusters", "largest", *contending, "seconds", "error"]
    row = table.iloc[1]
    assert row.clusters == 2 and row.largest == 0.5 and np.isclose(row["chosen outside r"], 0.222) and np.isclose(row["unweighted low"], 0.102)
    assert row["chosen outside choice"] == "weighted, chosen on the outside set, alpha 1"
    saved = pd.read_csv(folder/"sweep.csv", dtype={"error": object}, keep_default_na=False)
    pd.testing.assert_frame_equal(saved, table.astype({"clusters": "int64"}), rtol=1e-3, check_dtype=False)

def test_a_cell_without_results_is_a_row_without_scores(tmp_path):
    c = sweep_cells("weighting", {"eps": ["1"]}, "simulated")[0]
    (tmp_path/c.name).mkdir()
    report = dict(seconds=1, error="", refused=False)
    assert list(cell_row("weighting", c, report, tmp_path)) == ["eps", "seconds", "error"]
    table = sweep_table("weighting", [c], {c.name: report}, tmp_path)
    assert list(table) == ["eps", "seconds", "error"] and "eps" in sweep_text(table, ["eps"], CARD)

def test_the_other_study_is_swept_by_its_own_score(tmp_path):
    "Combos shows the error of its models; nothing in the sweep knows that."
    def work(study, source, parameters, folder):
        models = pd.DataFrame({"split": "leaving drugs out", "model": ["sum", "ridge"], "rmse": [0.3, 0.01*int(parameters["folds"])],
                               "rmse_low": 0.1, "rmse_high": 0.4, "pairs": 12})
        models.to_csv(folder/"scores.csv", index=False)
    folder, table = sweep.sweep("combos", {"folds": ["6", "12"]}, "simulated-small", {}, tmp_path/"s", ThreadPoolExecutor(1), work)
    assert table["ridge rmse"].tolist() == [0.06, 0.12] and table.pairs.tolist() == [12, 12] and (folder/"sweep.png").exists()
    assert "0.06 (0.10 to 0.40)" in sweep_text(table, ["folds"], card("combos"))

@pytest.mark.parametrize("n, swept", [(1, 1), (3, 1), (12, 1), (40, 1), (1, 2), (40, 2), (4, 3)])
def test_the_picture_shows_every_cell(n, swept, tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({p: np.arange(n) for p in ("perplexity", "eps", "seed")[:swept]})
    for m in ("unweighted", "chosen outside"):
        for c, shift in (("r", 0), ("low", -0.1), ("high", 0.1)): table[f"{m} {c}"] = rng.uniform(0.3, 0.6, n) + shift
    fig = figure_sweep(table.assign(seconds=1.0, error=""), list(table.columns[:swept]), CARD)
    ax = fig.axes[0]
    fig.canvas.draw()
    labels = [t.get_text() for t in (ax.get_xticklabels() if swept == 1 and n <= 20 else ax.get_yticklabels())]
    assert len(labels) == n and (labels[-1] == str(n - 1) if swept == 1 and n <= 20 else f"perplexity {n - 1}" in labels[-1])
    box = fig.get_tightbbox()
    assert box.width <= fig.get_figwidth() + 0.1 and max(fig.get_size_inches()) <= 16 and ax.get_position().height > 0.3
    assert len(ax.lines) and [t.get_text() for t in fig.legends[0].get_texts()][0] == "unweighted"

def report_threads(study, source, parameters, folder):
    (folder/"threads").write_text(f"{os.environ['OMP_NUM_THREADS']} {os.environ['OPENBLAS_NUM_THREADS']} {os.getpid()}")
    Study()(study, source, parameters, folder)

@pytest.mark.slow
def test_processes_are_several_and_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.setattr(sweep, "cpu_count", lambda: 8)
    folder, table = sweep.sweep("weighting", {"perplexity": ["20", "25"]}, "simulated", LISTS, tmp_path/"s", workers(2), report_threads)
    told = [(folder/f"perplexity={p}/threads").read_text().split() for p in (20, 25)]
    assert [t[:2] for t in told] == [["4", "3"]]*2 and str(os.getpid()) not in {t[2] for t in told} and not table.error.any()

def die(study, source, parameters, folder): os.kill(os.getpid(), signal.SIGKILL)

def test_a_worker_that_is_killed_is_said_to_be(tmp_path):
    with pytest.raises(RuntimeError, match="A worker of the sweep was killed.*the same command goes on"):
        sweep.sweep("weighting", {"perplexity": ["20", "25"]}, "simulated", LISTS, tmp_path/"s", workers(1), die)

def test_a_notebook_whose_kernel_is_killed_is_a_sentence(tmp_path, monkeypatch):
    cell = dict(cell_type="code", metadata={}, source="import os, signal; os.kill(os.getpid(), signal.SIGKILL)", outputs=[],
                execution_count=None, id="a")
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    (tmp_path/"one.ipynb").write_text(json.dumps(dict(cells=[cell], metadata=kernel, nbformat=4, nbformat_minor=5)))
    monkeypatch.setattr(run, "notebook_path", lambda name: tmp_path/f"{name}.ipynb")
    (tmp_path/"r").mkdir()
    with pytest.raises(RuntimeError, match="kernel of the notebook one was killed"): run.run_notebook("one", {}, tmp_path/"r")
    assert not list((tmp_path/"r").glob(".partial*"))

def test_without_dask_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as e: main(["sweep", "weighting", "-g", "eps=1,2", "--dask", "tcp://127.0.0.1:1", "--run", str(tmp_path/"s")])
    assert e.value.code == 2 and "pip install 'drugnb[scale]'" in capsys.readouterr().err

@pytest.mark.slow
def test_the_same_cells_on_a_dask_cluster(tmp_path, monkeypatch, capsys):
    "Real notebooks through papermill, though only the first two of the study, in two threads at once; and a scheduler that is not there."
    distributed = pytest.importorskip("distributed")
    few = dataclasses.replace(CARD, notebooks={"00_load": 0.5, "00a_simulate": 0.5}, shared="")
    monkeypatch.setitem(STUDIES, "weighting", few)
    monkeypatch.setattr(run, "check_study", lambda *a: [])  # it asks for parameters of notebooks that are left out here
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        work = lambda study, source, parameters, folder: sweep.run_cell(study, parameters.pop("source"), parameters, folder)
        cells = [sweep.Cell(f"source={s}", {"source": s}, {"source": s}, frozenset(), s) for s in ("simulated-small", "no-such-source")]
        monkeypatch.setattr(sweep, "sweep_cells", lambda *a: cells)
        folder, table = sweep.sweep("weighting", {}, "simulated", {}, tmp_path/"s", workers(1, cluster.scheduler_address), work)
    assert table.error[0] == "" and "no set called 'no-such-source'" in table.error[1]
    assert (folder/"source=simulated-small/00a_simulate.ipynb").exists() and finished(folder/"source=simulated-small", "simulated-small")
    with pytest.raises(InputError, match="No dask scheduler answers at nonsense://nobody:1"), workers(1, "nonsense://nobody:1"): pass

def alive(pids):
    "Which of these processes still run."
    def state(pid):
        try: return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError: return "Z"
    return [p for p in pids if state(p) != "Z"]

def below(pid):
    "All processes that a process started, and theirs."
    import psutil
    return [p.pid for p in psutil.Process(pid).children(recursive=True)]

def wait_for(condition, process=None):
    "Wait until something is there, as long as the process that should make it runs; the clock does not matter."
    while not (found := condition()):
        assert process is None or process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.1)
    return found

def sweep_line():
    "The sweep of the weighting page, as words."
    cells = json.loads((ROOT/"nbs/weighting.ipynb").read_text())["cells"]
    line, = re.findall(r"^(?:\.venv/bin/)?drugnb (sweep .*)$", "\n".join("".join(c["source"]) for c in cells), re.M)
    return shlex.split(line)

def test_the_page_s_sweep_is_a_sweep(folder):
    given = parser().parse_args(sweep_line())
    assert given.jobs == "2" and len(sweep_cells(given.study, dict(map(grid_values, given.grid)), str(folder))) == 9

@pytest.mark.slow
def test_a_sweep_stopped_killed_and_resumed(folder, tmp_path):
    "The page's line with two cells left of it: Ctrl-C, a kill, then to the end; then again, when nothing runs."
    words = [f"{w.split(',')[0]},50" if w.startswith("perplexity=") else w.split(",")[0] if w.startswith("eps=") else w
             for w in sweep_line()]
    words[words.index("--data") + 1] = str(folder)
    out = tmp_path/"sweep"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    def start():
        return subprocess.Popen([*COMMAND, *words, "--run", str(out), *QUICK], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)
    process = start()
    wait_for(lambda: len(list(out.glob("*/01_embed.ipynb"))) == 2, process)
    family = below(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()
    assert process.returncode == 130 and said[1].splitlines()[-1] == (
        "drugnb: stopped; what is finished is kept, and the same command goes on from there."), said[1]
    assert "Traceback" not in said[1] and len(family) >= 4
    wait_for(lambda: not alive(family))
    assert not list(out.rglob(".partial*")) and not list(out.glob("*/cell.json"))
    maps = {p: p.stat().st_mtime_ns for p in out.glob("*/map_*.parquet")}
    assert len(maps) == 2 and all(load_frame(p)[1]["key"] for p in out.rglob("*.parquet"))

    process = start()
    wait_for(lambda: list(out.glob("*/02_cluster.ipynb")), process)
    family = below(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not alive(family))

    process = start()
    said = process.communicate()
    assert process.returncode == 0, said[1][-2000:]
    assert maps == {p: p.stat().st_mtime_ns for p in out.glob("*/map_*.parquet")}, "maps of stopped cells are reloaded"
    lines = [x for x in said[0].splitlines() if re.match(r"perplexity=\d+,eps=0: r -?\d", x)]
    assert len(lines) == 2 and not list(out.rglob(".partial*")) and (out/"sweep.svg").exists()
    table = pd.read_csv(out/"sweep.csv")
    assert list(table.perplexity) == [20, 50] and table.error.isna().all() and table.clusters.gt(0).all()
    for p, row in table.set_index("perplexity").iterrows():
        own = out/f"perplexity={p},eps=0"
        full = pd.read_csv(own/"comparison.csv").set_index(["compounds", "model"]).pearson["all"]
        assert np.isclose(row["unweighted r"], full["unweighted, alpha chosen in training"], atol=1e-3)
        assert np.isclose(row["chosen outside r"], full["weighted, chosen on the outside set"], atol=1e-3)
        assert (own/"figures/comparison.png").exists() and (own/"model.json").exists()

    stamps = {p: p.stat().st_mtime_ns for p in out.glob("*/*")}
    process = start()
    said = process.communicate()
    done = "not run again, nothing they depend on has changed: perplexity=20,eps=0; perplexity=50,eps=0"
    assert process.returncode == 0 and done in said[0]
    assert stamps == {p: p.stat().st_mtime_ns for p in out.glob("*/*")}

@pytest.mark.parametrize("spoil", [lambda f: (f/"comparison.csv").write_text("x"), lambda f: (f/"comparison.csv").unlink(),
                                   lambda f: (f/"new.csv").write_text("x"), lambda f: (f/"cell.json").write_text('{"key": "k", "seconds": 1}')])
def test_a_cell_whose_tables_changed_is_run_again(spoil, tmp_path):
    cell = sweep.Cell("c", {}, {}, frozenset(), "k")
    def work(study, source, parameters, folder): (folder/"comparison.csv").write_text("a\n1\n")
    assert not sweep.attempt(work, "weighting", "simulated", cell, tmp_path, [], Path.cwd())["error"]
    (tmp_path/"c/study_signatures.parquet").write_text("shared, and replaced by others")
    assert finished(tmp_path/"c", "k") and not finished(tmp_path/"c", "other")
    spoil(tmp_path/"c")
    assert finished(tmp_path/"c", "k") is None
