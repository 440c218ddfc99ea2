"""Settings: what a file overrides, what a relative path is relative to, and which folder a name means."""
from pathlib import Path

import pytest

from drugnb.core.settings import (
    DEFAULTS,
    InputError,
    data_folders,
    notebooks_folder,
    project_path,
    project_root,
    read_settings,
    saved_folder,
    source_folder,
    typed_path,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A folder with settings of its own, to work deep inside of."
    monkeypatch.delenv("DRUGNB_DATA", raising=False)
    lines = ["[DEFAULT]", "compound = broad_id", "data = tables, elsewhere", "mine = melanoma"]
    (tmp_path/"settings.ini").write_text("\n".join(lines))
    (tmp_path/"deep/deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path/"deep/deeper")
    return tmp_path

def test_the_file_stands_over_the_defaults_and_the_defaults_for_what_it_leaves_out(home, tmp_path):
    found = read_settings()
    assert found["compound"] == "broad_id" and found["mine"] == "melanoma"
    changed = {k: v for k, v in found.items() if DEFAULTS.get(k, v) != v}
    assert changed == {"compound": "broad_id", "data": "tables, elsewhere"}
    assert read_settings(tmp_path/"deep") == DEFAULTS, "a folder that is named is the folder that counts"

def test_a_typed_path_is_the_working_folders_and_a_settings_path_the_files(home):
    assert typed_path("x") == home/"deep/deeper/x"
    assert project_path("x") == home/"x" and project_root() == home
    assert typed_path("/x") == project_path("/x") == Path("/x")
    assert typed_path("~/x") == project_path("~/x") == Path.home()/"x"

def test_without_a_settings_file_the_working_folder_is_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path and read_settings() == DEFAULTS

def test_the_nearest_settings_file_counts(home, monkeypatch):
    (home/"deep/settings.ini").write_text("[DEFAULT]\n")
    assert project_root() == home/"deep" and read_settings() == DEFAULTS

def test_data_folders_are_those_of_the_environment_else_of_the_settings(home, monkeypatch):
    assert data_folders() == [home/"tables", home/"elsewhere"]
    monkeypatch.setenv("DRUGNB_DATA", " here ")
    assert data_folders() == [home/"deep/deeper/here"], "typed in a shell, so relative to the working folder"

def test_a_source_is_a_folder_or_a_named_set_and_nothing_else(home):
    (home/"deep/deeper/typed").mkdir()
    assert source_folder("typed") == home/"deep/deeper/typed" and source_folder(str(home)) == home
    for nothing in ("", " ", "no such", "compound", "settings.ini"): assert source_folder(nothing) is None
    with pytest.raises(InputError, match=r"drugnb fetch melanoma.*DRUGNB_DATA") as e: source_folder("mine")
    assert str(home/"tables/melanoma") in str(e.value) and str(home/"elsewhere/melanoma") in str(e.value)
    (home/"elsewhere/melanoma").mkdir(parents=True)
    assert source_folder("mine") == home/"elsewhere/melanoma"
    (home/"tables/melanoma").mkdir(parents=True)
    assert source_folder("mine") == home/"tables/melanoma", "the first folder that has it"

def test_notebooks_are_the_clones_inside_a_clone_else_the_packages(home, monkeypatch):
    assert (notebooks_folder()/"00_load.ipynb").is_file() and home not in notebooks_folder().parents
    (home/"nbs").mkdir()
    (home/"nbs/00_load.ipynb").touch()
    assert notebooks_folder() == home/"nbs" and saved_folder() == home/"nbs/saved"
    (home/"settings.ini").write_text("[DEFAULT]\nsaved = maps\n")
    assert saved_folder() == home/"maps"
