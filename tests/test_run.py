"""The package alone: a wheel in a fresh environment, in an empty folder, from a person's tables to figures, a model and predictions."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import JOURNAL, RunFolder, atomic, load_frame, read_journal
from drugnb.core.settings import InputError
from drugnb.run import Progress, plan, run_notebook, time_left
from drugnb.sources.miniatures import write_miniatures
from drugnb.studies import card
from drugnb.weighting.model import load_model

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-c", "from drugnb.command import main; main()"]
QUICK = ["-p", "perplexities=", "-p", "seeds=", "-p", "repeats=50", "-p", "factors=1", "-p", "most_masked=3", "-p", "alphas=1,1000"]
PAIRS = ["-p", "permutations=50", "-p", "repeats=50", "-p", "models=mean pair,sum,lines,ridge"]
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # tests run side by side

def blocks(path):
    "The sh blocks of a Markdown file or notebook, as lists of command lines."
    text = path.read_text()
    if path.suffix == ".ipynb": text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"])
    found = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [[line.removeprefix(".venv/bin/") for line in block.splitlines() if line.strip()] for block in found]

@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    "The built wheel."
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))

@pytest.fixture(scope="session")
def alone(wheel, tmp_path_factory):
    "A fresh environment that holds the wheel (its dependencies are lent), and the command in it, run in an empty folder."
    home = tmp_path_factory.mktemp("alone")
    venv.create(home/"env", with_pip=False)
    python = home/"env/bin/python"
    lib = Path(sysconfig.get_path("purelib", vars={"base": str(home/"env"), "platbase": str(home/"env")}))
    (lib/"lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)], check=True)
    (home/"empty").mkdir()
    path = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "DRUGNB_DATA")}
    environment = {**path, **THREADS, "PATH": f"{home/'env/bin'}:{os.environ['PATH']}"}
    def drugnb(*arguments):
        return subprocess.run([home/"env/bin/drugnb", *map(str, arguments)], cwd=home/"empty", env=environment,
                              capture_output=True, text=True)
    return drugnb, home/"empty"

@pytest.fixture(scope="session")
def first_day(alone):
    "The README's lines on one's own data, as they are written but with little to compute: folder and what each printed."
    drugnb, home = alone
    said = {}
    for line in blocks(ROOT/"README.md")[2]:
        words = shlex.split(line)
        assert words[0] == "drugnb", line
        done = drugnb(*words[1:], *(QUICK if words[1] == "run" else []))
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        said[words[1]] = done
    return home, said

def test_the_wheel_alone_leads_from_tables_to_figures_a_model_and_predictions(first_day):
    home, said = first_day
    run = home/"runs/weighting/my_folder"
    assert {f"{n}.ipynb" for n in card("weighting").notebooks} <= {p.name for p in run.iterdir()}
    figures = {p.name for p in (run/"figures").iterdir()}
    assert [len([f for f in figures if f.endswith(kind)]) for kind in (".png", ".svg", ".html", ".csv")] == [12, 12, 1, 5]
    assert load_model(run).trained_on == "my_folder"
    assert "unseen compounds" in said["run"].stdout and "weighted, chosen in training" in said["run"].stdout
    predicted = pd.read_csv(home/"predicted.csv")
    at = list(predicted).index("viability")
    assert predicted.columns[0] == "signature" and list(predicted)[at:at + 3] == ["viability", "low", "high"]
    assert {"compound", "outside_domain", "level", "claim"} <= set(predicted)
    assert np.isfinite(predicted.viability).all() and (predicted.low < predicted.viability).all()
    assert predicted.outside_domain.mean() < 0.1 and predicted.claim.eq("none: a training signature").all()
    assert not [p for p in home.rglob("*") if p.name.startswith(".partial") or p.name.endswith(".failed.ipynb")]
    assert {p.name for p in home.iterdir()} == {"my_folder", "runs", "predicted.csv"}, "nothing else is left behind"

def test_a_log_holds_the_report_and_the_stages_and_no_control_characters(first_day):
    _, said = first_day
    log = said["run"].stdout + said["run"].stderr
    assert said["check"].stdout in said["run"].stdout, "a run begins with what check says"
    assert "training genes found in the outside table" in said["check"].stdout
    assert "weighting on my_folder [2/8] 01_embed" in log and "clusters: computed in" in log and " left" in log
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", log)

@pytest.mark.slow
def test_a_second_run_computes_nothing_and_leaves_the_figures_as_they_are(first_day, monkeypatch):
    home, _ = first_day
    run = home/"runs/weighting/my_folder"
    before = {p.name: p.read_bytes() for p in (run/"figures").iterdir()}
    stamps = {p.name: p.stat().st_mtime_ns for p in run.glob("*.parquet")}
    given = plan("weighting", {"source": str(home/"my_folder"), "run": str(run), **dict(q.split("=") for q in QUICK[1::2])})
    seen = read_journal(run)[1]
    for name in ("03_weight", "06_figures"): run_notebook(name, given[name], run)
    how = {e["how"] for e in read_journal(run, seen)[0]}
    assert how <= {"reloaded", "note"} and "reloaded" in how
    assert stamps == {p.name: p.stat().st_mtime_ns for p in run.glob("*.parquet")}
    assert before == {p.name: p.read_bytes() for p in (run/"figures").iterdir()}

@pytest.mark.slow
def test_the_wheel_alone_runs_pairs_and_queries(alone):
    "The lines of the combos page."
    drugnb, home = alone
    for line in next(b for b in blocks(ROOT/"nbs/combos.ipynb") if b[0].startswith("drugnb example")):
        words = shlex.split(line)
        done = drugnb(*words[1:], *(PAIRS if words[1] == "run" else []))
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        if words[1] == "run": assert "both drugs new: " in done.stdout and done.stdout.count("mean pair") == 4
    run = home/"runs/combos/my_pairs"
    tables = {"scores.csv", "splits.csv", "ranking.csv", "mechanisms.csv", "pairs.csv", "reranked.csv"}
    assert tables <= {p.name for p in run.iterdir()}
    assert {p.stem for p in (run/"figures").iterdir()} == {
        "ranking", "pairs", "scores", "accuracy_by_size", "error_by_pair", "predicted", "coverage", "question"}
    ranked = pd.read_csv(home/"ranked.csv")
    assert ranked["query"].nunique() == 6 and (ranked.groupby("query")["rank"].min() == 1).all()
    scores = pd.read_csv(run/"scores.csv").set_index(["split", "model"])
    assert (scores.rmse_low <= scores.rmse).all() and (scores.rmse <= scores.rmse_high).all()
    splits = pd.read_csv(run/"splits.csv")
    assert {*splits.split} == {*scores.index.get_level_values("split")} and {*splits.role} == {"train", "test"}

def test_the_wheel_s_notebooks_can_be_copied_out(alone):
    drugnb, home = alone
    done = drugnb("notebooks", "copy")
    assert done.returncode == 0, done.stderr
    names = {str(p.relative_to(home/"copy")) for p in (home/"copy").rglob("*.ipynb")}
    assert names == {str(p.relative_to(ROOT/"nbs")) for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts}
    assert drugnb("notebooks", "copy").returncode == 2, "a folder that is not empty is left alone"
    shutil.rmtree(home/"copy")

@pytest.mark.slow
def test_the_wheel_alone_runs_the_embedded_study_and_a_sweep(alone, first_day):
    drugnb, home = alone
    done = drugnb("run", "weighting", "--data", "simulated-small", *QUICK)
    assert done.returncode == 0 and "map_p30_s0" in done.stdout, "the map that came with the wheel is reloaded"
    assert not list((home/"runs/weighting/simulated-small").glob("map_*"))
    done = drugnb("sweep", "weighting", "--data", "my_folder", "-g", "eps=0,2", *QUICK)
    assert done.returncode == 0 and len(pd.read_csv(home/"runs/weighting/my_folder-sweep/sweep.csv")) == 2, done.stderr

# from a clone

def test_the_readme_names_make_targets_that_exist(scratch):
    "They are looked up, not run: this may be make test."
    text = (ROOT/"README.md").read_text()
    named = set(re.findall(r"make [a-z-]+", "\n".join(re.findall(r"`[^`]+`", text.replace("```", "")))))
    assert blocks(ROOT/"README.md")[0] == ["make figures", "make test"]
    for line in {"make figures", "make test", *named}:
        recipe = subprocess.run(["make", "-n", *line.split()[1:]], cwd=scratch, capture_output=True, text=True)
        assert recipe.returncode == 0 and recipe.stdout.strip(), line

@pytest.mark.slow
def test_the_real_set_by_its_name(data, tmp_path):
    "With what the run prints and saves."
    arguments = ["run", "weighting", "--data", "l1000-a375", "--run", tmp_path/"r", *QUICK[:-1], "alphas=1,10000", "-p", "eps=50"]
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, **THREADS, "DRUGNB_DATA": str(data)})
    assert done.returncode == 0, done.stderr[-2000:]
    said = "a radius that joins everything carries no weights, and the run says so"
    assert "one cluster holds 100.0% of the signatures" in done.stdout, said
    table = pd.read_csv(tmp_path/"r/comparison.csv").set_index(["compounds", "model"])
    for model in ("published coefficients", "dose alone", "mean effects", "weighted, chosen on the outside set"):
        assert done.stdout.count(model) >= 2 and {"all", "unseen"} <= set(table.xs(model, level="model").index)
    r = table.pearson["unseen"]
    assert np.isclose(r["unweighted, alpha 1"], 0.32, atol=0.01) and np.isclose(r["published coefficients"], 0.10, atol=0.01)
    assert (table.pearson_low <= table.pearson).all() and (table.pearson <= table.pearson_high).all()

@pytest.mark.slow
def test_papermill_by_hand(scratch):
    line, = [line for block in blocks(ROOT/"nbs/weighting.ipynb") for line in block if line.startswith("papermill")]
    words = shlex.split(line)
    words[0] = str(Path(sys.executable).with_name("papermill"))
    done = subprocess.run([*words, "-r", "seeds", ""], cwd=scratch, capture_output=True, text=True,
                          env={**os.environ, **THREADS, "PYTHONPATH": str(scratch)})
    assert done.returncode == 0 and (scratch/words[2]).exists(), done.stderr[-2000:]

@pytest.mark.slow
def test_from_public_files(scratch, mirror):
    "`drugnb fetch weighting`, from a mirror, and the study on what it makes, in a clone that has no data."
    environment = {k: v for k, v in os.environ.items() if k != "DRUGNB_DATA"} | THREADS
    environment |= {"DRUGNB_MIRROR": str(mirror), "PYTHONPATH": str(scratch)}
    for arguments in (["fetch", "weighting"], ["run", "weighting", "--data", "l1000-a375", *QUICK]):
        done = subprocess.run([*COMMAND, *arguments], cwd=scratch, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    made = {p.name for p in (scratch/"data/weighting").iterdir()}
    assert {"matching.csv", "made_from.json", "lm_700.csv.gz"} <= made and len(list((scratch/"data/raw").rglob("*.gctx"))) == 2
    table = pd.read_csv(scratch/"runs/weighting/l1000-a375/comparison.csv").set_index(["compounds", "model"])
    assert table.n["all"].iloc[0] == 114 and 0.1 < table.pearson["all", "unweighted, alpha chosen in training"] < 0.6

@pytest.mark.slow
def test_from_ones_own_downloads(scratch):
    write_miniatures(scratch/"my_downloads")
    environment = {**os.environ, **THREADS, "PYTHONPATH": str(scratch)}
    done = subprocess.run([*COMMAND, "build", "my_downloads", "my_tables", "--response", "ctrp"], cwd=scratch, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "matched by id" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("Run it: drugnb run weighting --data my_tables")
    done = subprocess.run([*COMMAND, "run", "weighting", "--data", "my_tables", *QUICK, "-p", "perplexity=10"], cwd=scratch,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "all compounds: 18 samples" in done.stdout, done.stderr[-2000:]

# killed, refused, resumed

def wait_for(condition, process):
    "Wait until something is there, as long as the process that should make it runs."
    while not (found := condition()):
        assert process.poll() is None, "the process ended first"
        time.sleep(0.05)
    return found

@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_nothing_half_and_resumes(folder, tmp_path):
    run = tmp_path/"r"
    arguments = [*COMMAND, "run", "weighting", "--data", str(folder), "--run", str(run), *QUICK]
    environment = {**os.environ, **THREADS}
    started = lambda stage: any(e["stage"] == stage and e["how"] == "started" for e in read_journal(run)[0])
    for stage in ("map_p30_s0", "models"):
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        wait_for(lambda s=stage: started(s), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in run.glob("*.parquet"): assert load_frame(path)[1]["key"]
        for path in run.glob("*.ipynb"): assert '"nbformat"' in path.read_text()
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "reloaded" in done.stdout, done.stderr[-2000:]
    assert not list(run.rglob(".partial*"))

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

# the journal and the progress

def test_a_journal_is_read_on_from_where_it_was_left(tmp_path):
    store = RunFolder(tmp_path)
    store.say("map", "computed", "computed in 3 s")
    entries, read = read_journal(tmp_path)
    assert entries == [dict(stage="map", how="computed", text="computed in 3 s")]
    with (tmp_path/JOURNAL).open("a") as f: f.write('{"stage": "half a li')
    assert read_journal(tmp_path, read) == ([], read), "a line that is still being written is left for the next time"

def test_the_time_left_follows_from_shares():
    assert time_left(60, 0.5) == "about 60 s left" and time_left(600, 0.25) == "about 30 min left"
    assert time_left(5, 0) == "" == time_left(5, 1)

def test_progress_into_a_log_is_plain_lines(tmp_path, capsys):
    store = RunFolder(tmp_path)
    with Progress("a study", {"00_a": 0.5, "deep/01_b": 0.5}, tmp_path) as progress:
        progress.begin("00_a")
        store.say("map", "computed", "computed in 0.1 s")
        store.note("the map is small")
        progress.end("00_a")
        progress.begin("deep/01_b")
        store.say("map", "reloaded", "reloaded")
        progress.end("deep/01_b")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("a study", "  "))]
    assert lines[:3] == ["a study [1/2] 00_a", "  map: computed in 0.1 s", "  note: the map is small"]
    assert re.fullmatch(r"a study \[2/2\] 01_b, about \d+ s left", lines[3]) and lines[4].endswith("changed: map")

@pytest.mark.slow
def test_make_figures_in_a_fresh_clone_leaves_it_clean(tmp_path):
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path/"x")], check=True)
    subprocess.run(["make", "figures"], cwd=tmp_path/"x", check=True, capture_output=True)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path/"x", capture_output=True, text=True)
    assert not status.stdout
    for study in ("weighting", "combos", "essentiality", "morphology", "synergy"):
        names = {p.name for p in (tmp_path/f"x/runs/{study}/simulated/figures").glob("*.png")}
        with_torch = {"channel_swap.png", "grad_cam.png", "loss.png"} if study == "morphology" else set()
        assert names == {p.name for p in (ROOT/f"figures/{study}").glob("*.png")} - with_torch
