"""The command from a folder of image files to features of new images."""
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


def drugnb(*words, at):
    done = subprocess.run([str(Path(sys.executable).with_name("drugnb")), *words], cwd=at, capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    return done.returncode, done.stdout + done.stderr

@pytest.mark.slow
def test_the_example_is_checked_run_and_embedded(tmp_path):
    assert drugnb("example", "mine", "--study", "morphology", at=tmp_path)[0] == 0
    status, said = drugnb("check", "morphology", "--data", "mine", at=tmp_path)
    assert status == 0 and "asked: treated against untreated" in said
    quick = ["-p", "models=intensity,texture,SimCLR (transductive)", "-p", "epochs=1", "-p", "explain_epochs=1", "-p", "splits=plate,week"]
    status, said = drugnb("run", "morphology", "--data", "mine", *quick, at=tmp_path)
    assert status == 0, said
    assert "mechanism, weeks held out" in said and "sham treatments" in said
    home = tmp_path/"runs/morphology/mine"
    assert {"baselines", "splits", "loss", "activity", "gallery", "map", "stains", "confounding", "layout", "grad_cam", "channel_swap"} \
        == {p.stem for p in (home/"figures").glob("*.png")}
    status, said = drugnb("embed", "mine", "--model", str(home), "--out", "features.csv", at=tmp_path)
    assert status == 0 and len(pd.read_csv(tmp_path/"features.csv")) == 96
    again = drugnb("run", "morphology", "--data", "mine", *quick, at=tmp_path)
    assert again[0] == 0 and "computed in" not in again[1], "a second run computes nothing"

@pytest.mark.slow
def test_a_sweep_compares_what_encoders_call_alike(tmp_path):
    words = ["sweep", "morphology", "--data", "simulated-small", "-g", "positives=view,well", "-p", "models=SimCLR (transductive)",
             "-p", "epochs=1", "-p", "explain_epochs=1", "-p", "splits=week", "-p", "classifiers=logistic"]
    status, said = drugnb(*words, at=tmp_path)
    assert status == 0, said
    table = pd.read_csv(next(tmp_path.rglob("sweep.csv")))
    assert len(table) == 2 and table.error.isna().all()
