"""Shared pieces: the real tables where they are, a small study as a folder, and a scratch project to run commands in."""
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from drugnb.core.settings import data_folders, project_path, read_settings
from drugnb.weighting.simulate import simulate, write_study

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture(autouse=True)
def at_root(monkeypatch): monkeypatch.chdir(ROOT)

@pytest.fixture(scope="session")
def data() -> Path:
    "The real tables; tests that need them are skipped where they are not."
    prepared = lambda f: (f/"weighting").is_dir() and not (f/"weighting/made_from.json").exists()  # and not rebuilt by drugnb fetch
    folder = next(filter(prepared, data_folders(read_settings(ROOT))), None)
    if not folder: pytest.skip("the prepared real tables are in no data folder: set DRUGNB_DATA to the folder that holds weighting/")
    return folder

@pytest.fixture(scope="session")
def mirror() -> Path:
    "Public raw files as a local mirror; tests that need them are skipped where they are not."
    folder = project_path(os.environ.get("DRUGNB_MIRROR") or data_folders(read_settings(ROOT))[-1].with_name("mirror"))
    if not (folder/"SOURCES.csv").exists(): pytest.skip(f"the mirror of raw files is not in {folder}: set DRUGNB_MIRROR to its folder")
    return folder

@pytest.fixture(scope="session")
def small(): return simulate(600, 120, seed=0)

@pytest.fixture
def folder(tmp_path, small) -> Path:
    "The five files of a small study, to be spoilt."
    return write_study(small, tmp_path/"mine")

@pytest.fixture
def spoil():
    "Change one table of a folder: spoil(folder, 'siginfo', lambda frame: ...)."
    def change(folder, which, how):
        path = next(folder.glob(f"{which}*"))
        how(pd.read_csv(path)).to_csv(path, index=False)
        return path
    return change

@pytest.fixture
def scratch(tmp_path) -> Path:
    "A copy of the project, without its history, to run commands in."
    copy = tmp_path/"project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "data", "figures", "__pycache__", ".*_cache"))
    return copy
