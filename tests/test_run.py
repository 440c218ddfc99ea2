"""The command on a person's own folder: from tables to figures, a second run, a killed run, prediction, the README's commands."""
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import RunFolder, atomic, load_frame
from drugnb.core.settings import InputError
from drugnb.run import plan, run_notebook
from drugnb.sources.miniatures import write_miniatures
from drugnb.studies import STUDIES
from drugnb.weighting.model import load_model

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from drugnb.command import main; main()"]
PAIRS = ["-p", "folds=3", "-p", "permutations=50", "-p", "repeats=50", "-p", "models=mean pair,sum,lines,ridge"]  # of the study combos
QUICK = ["-p", "perplexities=", "-p", "seeds=", "-p", "repeats=50", "-p", "factors=1", "-p", "most_masked=3", "-p", "alphas=1,1000"]

def here(copy):
    "The environment in which a copy of the project runs itself, on one thread since tests run side by side."
    own = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}

def drugnb(copy, *arguments, **environment):
    "The command as a person types it, on a copy of the project."
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=copy, env=here(copy) | environment, capture_output=True, text=True)

def blocks():
    "The README's sh blocks, as lists of command lines."
    found = re.findall(r"```sh\n(.*?)```", (ROOT/"README.md").read_text(), re.S)
    return [[line.replace(".venv/bin/", "") for line in block.splitlines() if line.strip()] for block in found]

def follow(scratch, lines):
    "Run command lines as they stand in the README, in a copy of the project, with little to compute."
    (scratch/".venv").symlink_to(BIN.parent)
    for line in lines:
        words = shlex.split(line)
        quick = {"weighting": QUICK, "combos": PAIRS}[words[2]] if words[1] == "run" else []
        if words[0] == "drugnb": done = drugnb(scratch, *words[1:], *quick)
        else: done = subprocess.run([*words, "-r", "seeds", ""], cwd=scratch, env=here(scratch), capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        if quick is QUICK: assert "unseen compounds" in done.stdout and "weighted, chosen in training" in done.stdout
        if quick is PAIRS: assert "both drugs new: " in done.stdout and done.stdout.count("mean pair") == 4
    return scratch/"runs/weighting/my_folder"

def test_the_readme_names_make_targets_that_exist(scratch):
    "They are looked up, not run: this may be make test."
    named = set(re.findall(r"make [a-z-]+", "\n".join(re.findall(r"`[^`]+`", (ROOT/"README.md").read_text().replace("```", "")))))
    assert blocks()[0] == ["make figures", "make test"] and len(blocks()) == 7 and named == {"make figures", "make lab", "make real", "make bench"}
    for line in {*blocks()[0], *named}:
        recipe = subprocess.run(["make", "-n", *line.split()[1:]], cwd=scratch, capture_output=True, text=True)
        assert recipe.returncode == 0 and recipe.stdout.strip()
    assert subprocess.run([BIN/"jupyter", "lab", "--version"], capture_output=True).returncode == 0

def test_the_real_set_by_its_name(scratch, data):
    "`drugnb run weighting --data l1000-a375`, as the README has it, with what the run prints and saves."
    done = drugnb(scratch, "run", "weighting", "--data", "l1000-a375", *QUICK[:-1], "alphas=1,10000", "-p", "eps=50", DRUGNB_DATA=str(data))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "one cluster holds 100.0% of the signatures" in done.stdout, "a radius that joins everything carries no weights, and the run says so"
    table = pd.read_csv(scratch/"runs/weighting/l1000-a375/comparison.csv").set_index(["compounds", "model"])
    for model in ("published coefficients", "dose alone", "mean effects", "weighted, chosen on the outside set"):
        assert done.stdout.count(model) >= 2 and {"all", "unseen"} <= set(table.xs(model, level="model").index)
    r = table.pearson["unseen"]
    assert np.isclose(r["unweighted, alpha 1"], 0.32, atol=0.01) and np.isclose(r["published coefficients"], 0.10, atol=0.01)
    assert (table.pearson_low <= table.pearson).all() and (table.pearson <= table.pearson_high).all()

def test_the_readme_on_a_folder_of_ones_own(scratch):
    "`drugnb example` and `drugnb run`: notebooks, figures and model are there and nothing half."
    run = follow(scratch, blocks()[1])
    assert {f"{n}.ipynb" for n in STUDIES["weighting"]} <= {p.name for p in run.iterdir()}
    figures = {p.name for p in (run/"figures").iterdir()}
    assert [len([f for f in figures if f.endswith(kind)]) for kind in (".png", ".svg", ".html", ".csv")] == [12, 12, 1, 5]
    assert load_model(run).trained_on == "my_folder"
    assert not [p for p in scratch.rglob("*") if p.name.startswith(".partial") or p.name.endswith(".failed.ipynb")]

def test_the_readme_under_other_parameters_and_a_second_run(scratch, monkeypatch):
    "`-p`, `drugnb predict` and papermill by hand; then again: nothing is computed and the figures have the same bytes."
    run = follow(scratch, [blocks()[1][0], *blocks()[2]])
    predicted = pd.read_csv(scratch/"predicted.csv")
    assert list(predicted) == ["signature", "viability", "low", "high", "outside_domain"] and np.isfinite(predicted.viability).all()
    assert (predicted.low < predicted.viability).all() and predicted.outside_domain.mean() < 0.1
    assert load_frame(run/"map_p50_s0.parquet")[1]["parameters"]["perplexity"] == 50 and (scratch/"out.ipynb").exists()

    before = {p.name: p.read_bytes() for p in (run/"figures").iterdir()}
    stamps = {p.name: p.stat().st_mtime_ns for p in run.glob("*.parquet")}
    monkeypatch.chdir(scratch)
    given = plan("weighting", {"source": str(scratch/"my_folder"), "run": str(run), "perplexity": "50", "method": "hdbscan",
                               **dict(q.split("=") for q in QUICK[1::2])})
    lines = [line for name in ("03_weight", "06_figures") for line in run_notebook(name, given[name], run)]
    assert len(lines) > 10 and not [line for line in lines if "reloaded" not in line]
    assert stamps == {p.name: p.stat().st_mtime_ns for p in run.glob("*.parquet")}
    assert before == {p.name: p.read_bytes() for p in (run/"figures").iterdir()}

def test_the_readme_on_pairs_of_ones_own(scratch, monkeypatch):
    "`drugnb example --study combos`, `run combos` and `query`; a second run reloads and leaves the figures as they are."
    follow(scratch, blocks()[4])
    run = scratch/"runs/combos/my_pairs"
    assert {"scores.csv", "splits.csv", "ranking.csv", "mechanisms.csv", "pairs.csv", "reranked.csv"} <= {p.name for p in run.iterdir()}
    figures = {p.stem for p in (run/"figures").iterdir()}
    assert figures == {"ranking", "pairs", "scores", "accuracy_by_size", "error_by_pair", "predicted"}
    ranked = pd.read_csv(scratch/"ranked.csv")
    assert ranked["query"].nunique() == 6 and (ranked.groupby("query")["rank"].min() == 1).all() and ranked.p_adjusted.between(0, 1).all()
    scores = pd.read_csv(run/"scores.csv").set_index(["split", "model"])
    assert (scores.rmse_low <= scores.rmse).all() and (scores.rmse <= scores.rmse_high).all() and scores.rmse_gain.xs("sum", level=1).eq(0).all()
    splits = pd.read_csv(run/"splits.csv")
    assert {*splits.split} == {*scores.index.get_level_values("split")} and {*splits.role} == {"train", "test"}

    before = {p.name: p.read_bytes() for p in (run/"figures").iterdir()}
    monkeypatch.chdir(scratch)
    given = plan("combos", {"source": str(scratch/"my_pairs"), "run": str(run), **dict(q.split("=") for q in PAIRS[1::2])})["11b_held_out"]
    lines = run_notebook("11b_held_out", given, run)
    assert [line.split(":")[0] for line in lines] == ["tallies", "examples"] and all("reloaded" in line for line in lines)
    assert before == {p.name: p.read_bytes() for p in (run/"figures").iterdir()}
    with pytest.raises(InputError, match="no model 'rigde' of pairs"): run_notebook("11b_held_out", given | {"models": "rigde"}, run)

@pytest.mark.slow
def test_the_readme_from_public_files(scratch, mirror, monkeypatch):
    "`drugnb fetch weighting`, from a mirror, and the study on what it makes, in a clone that has no data."
    monkeypatch.delenv("DRUGNB_DATA", raising=False)
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror))
    assert blocks()[5] == ["drugnb fetch weighting", "drugnb run weighting --data l1000-a375"]
    follow(scratch, blocks()[5])
    made = {p.name for p in (scratch/"data/weighting").iterdir()}
    assert {"matching.csv", "made_from.json", "lm_700.csv.gz"} <= made and len(list((scratch/"data/raw").rglob("*.gctx"))) == 2
    table = pd.read_csv(scratch/"runs/weighting/l1000-a375/comparison.csv").set_index(["compounds", "model"])
    assert table.n["all"].iloc[0] == 114 and 0.1 < table.pearson["all", "unweighted, alpha chosen in training"] < 0.6

@pytest.mark.slow
def test_the_readme_from_ones_own_downloads(scratch, tmp_path):
    write_miniatures(scratch/"my_downloads")
    assert blocks()[6][0] == "drugnb build my_downloads my_tables --response ctrp" and blocks()[6][1] == "drugnb run weighting --data my_tables"
    done = drugnb(scratch, *shlex.split(blocks()[6][0])[1:])
    assert done.returncode == 0 and "matched by id" in done.stdout and done.stdout.rstrip().endswith("Run it: drugnb run weighting --data my_tables")
    done = drugnb(scratch, *shlex.split(blocks()[6][1])[1:], *QUICK)
    assert done.returncode == 0 and "all compounds: 18 samples" in done.stdout, done.stderr[-2000:]

def test_a_run_killed_at_any_moment_leaves_nothing_half_and_resumes(scratch, folder):
    arguments = ["run", "weighting", "--data", str(folder), "--run", str(scratch/"r"), *QUICK]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for wait in (5.0, 11.7):
        process = subprocess.Popen([*COMMAND, *arguments], cwd=scratch, env=here(scratch), **quiet)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in (scratch/"r").glob("*.parquet"): assert load_frame(path)[1]["key"]
        for path in (scratch/"r").glob("*.ipynb"): assert '"nbformat"' in path.read_text()
    done = drugnb(scratch, *arguments)
    assert done.returncode == 0 and "reloaded" in done.stdout, done.stderr[-2000:]
    assert not list((scratch/"r").rglob(".partial*"))

def test_a_run_folder_that_cannot_be_written_is_said_to_be(tmp_path):
    (tmp_path/"file").write_text("")
    with pytest.raises(InputError, match="choose another run folder"):
        RunFolder(tmp_path/"file"/"run").stage("x", lambda: pd.DataFrame({"a": [1]}), [])

def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path/"a.txt").write_text("old")
    with pytest.raises(InputError, match="cannot be written"), atomic(tmp_path/"a.txt") as part:
        part.write_text("half")
        raise OSError(28, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path/"a.txt").read_text() == "old"

def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_kept(tmp_path):
    (tmp_path/".partial-999999999-a.parquet").write_text("")
    (tmp_path/f".partial-{os.getpid()}-b.parquet").write_text("")
    RunFolder(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f".partial-{os.getpid()}-b.parquet"]

@pytest.mark.slow
def test_make_figures_in_a_fresh_clone(tmp_path):
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path/"x")], check=True)
    start = time.perf_counter()
    subprocess.run(["make", "figures"], cwd=tmp_path/"x", check=True, capture_output=True)
    print(f"make figures in a fresh clone, installation included: {time.perf_counter() - start:.0f} s")
    committed = {p.name: p.read_bytes() for p in (ROOT/"figures/weighting").iterdir() if p.suffix in (".png", ".svg")}
    assert committed.keys() == {p.name for p in (tmp_path/"x/figures/weighting").iterdir() if p.suffix in (".png", ".svg")}
