"""Settings: what a file overrides, what a relative path is relative to, and which folder a name means."""
from pathlib import Path

import pytest

from drugnb.core.settings import (
    DEFAULTS,
    InputError,
    counted,
    data_folders,
    entries,
    notebooks_folder,
    number,
    numbers,
    printable,
    printable_lines,
    project_path,
    project_root,
    read_settings,
    saved_folder,
    settings_in,
    some,
    source_folder,
    tell,
    typed_path,
    working_folder,
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

# text that can be seen

def test_what_cannot_be_seen_is_written_as_its_escape_and_nothing_else_is_changed():
    for text in ("β-estradiol 1 µM", "雷公藤 r² é", "a\\b 'c' \"d\"", ""): assert printable(text) == text
    shown = {"\x1b[2J": r"\x1b[2J", "a\rb\nc\t": r"a\rb\nc\t", "\u202egnp": r"\u202egnp", "a\u200bb": r"a\u200bb",
             "\udcff": r"\udcff", "\x85\u2028\xa0": r"\x85\u2028\xa0"}
    for text, wanted in shown.items(): assert printable(text) == wanted and printable(wanted) == wanted
    assert printable(3) == "3" and printable_lines("a\n\x07b\n") == "a\n\\x07b\n"

def test_sentences_are_told_a_line_each_and_begin_no_line_of_their_own(capsys):
    tell("one", "two\nthree\x1b[2J", 4)
    assert capsys.readouterr().out == "one\ntwo\\nthree\\x1b[2J\n4\n"

def test_counts_and_lists_of_names():
    assert [counted(n, "well") for n in (0, 1, 2, 2000)] == ["0 wells", "1 well", "2 wells", "2,000 wells"]
    assert some("abc") == "a, b, c" and some("abcd") == "a, b, c, …" and some("abcd", 4) == "a, b, c, d" and some([]) == ""

# one reader of settings files

READ = {"name = 100% of %(x)s\n": {"name": "100% of %(x)s"}, "\ufeffname = x\n": {"name": "x"},
        "[DEFAULT]\nname = x\n[more]\ndose = y\n": {"name": "x", "dose": "y"},
        "# name = z\n; dose = z\nName: x   \n": {"name": "x"}, "data = a,\n  b\n": {"data": "a, b"},
        "saved =\n": {"saved": ""}, "": {}, "[DEFAULT]\n": {},
        "name = it's #1; or 'so'\n": {"name": "it's #1; or 'so'"}, "l1000-a375 (new).2 = x\n": {"l1000-a375 (new).2": "x"},
        "name = \"a\" b\n": {"name": '"a" b'}}

@pytest.mark.parametrize("text", READ)
def test_a_settings_file_is_taken_at_its_word(text, tmp_path):
    (tmp_path/"settings.ini").write_text(text, encoding="utf-8")
    assert settings_in(tmp_path/"settings.ini") == READ[text] and read_settings(tmp_path) == {**DEFAULTS, **READ[text]}

def test_a_section_hides_nothing_of_another(tmp_path):
    (tmp_path/"settings.ini").write_text("[DEFAULT]\nname = x\n[a]\ndose = 1\n[b]\ntime = 2\n")
    assert settings_in(tmp_path/"settings.ini") == {"name": "x", "dose": "1", "time": "2"}

def test_a_settings_file_may_have_a_mebibyte_and_no_more(tmp_path):
    file = tmp_path/"settings.ini"
    file.write_text("x = 1\n" + "#"*((1 << 20) - 6))
    assert settings_in(file) == {"x": "1"}
    file.write_text("x = 1\n" + "#"*((1 << 20) - 5))
    with pytest.raises(InputError, match="1,048,576 bytes"): settings_in(file)

# numbers as they are typed

def test_a_number_is_one_in_decimal_digits():
    right = {"3": 3, " -3 ": -3, "+2": 2, "2.0": 2, "1e3": 1000, "2.5": 2.5, ".5": 0.5, "5.": 5,
             "1E-3": 0.001, "9007199254740993": 9007199254740993, "-0.5": -0.5}
    for text, value in right.items(): assert number(text) == value and type(number(text)) is type(value), text
    assert number(2) == 2 and number(0.25) == 0.25 and type(number(4.0)) is int
    for text in ("nan", "inf", "-inf", "1e400", "1_000", "0x10", "٣", "1,2", "", "one", "True", "1 2", "1e", ".", "--1", float("nan"), None):
        with pytest.raises(InputError, match="should be a number"): number(text)

def test_entries_have_one_comma_between():
    assert entries(" a, b c ,d") == ["a", "b c", "d"] and entries("") == entries("  ") == [] and entries(3) == ["3"]
    for text in (",", "a,,b", "a,", ",a", " , "):
        with pytest.raises(InputError, match="empty entry"): entries(text)
    assert numbers("1, 0.5") == [1, 0.5] and numbers("") == [] and numbers(7) == [7]
    with pytest.raises(InputError, match="'1,x' should be numbers separated by commas"): numbers("1,x")

# paths

def test_a_path_is_text_and_a_home_that_nobody_has_is_a_name(home):
    assert typed_path("~nobody-of-that-name/x") == home/"deep/deeper/~nobody-of-that-name/x"
    assert typed_path("") == home/"deep/deeper" and typed_path(Path("../y")) == home/"deep/deeper/../y"
    for wrong in ("a\0b", "a\udcffb"):
        with pytest.raises(InputError, match="bytes that are no text"): typed_path(wrong)

def test_a_working_folder_that_is_gone_is_said_to_be(tmp_path, monkeypatch):
    (tmp_path/"gone").mkdir()
    monkeypatch.chdir(tmp_path/"gone")
    (tmp_path/"gone").rmdir()
    for ask in (working_folder, project_root, read_settings, lambda: typed_path("x")):
        with pytest.raises(InputError, match="no longer there"): ask()

def test_a_blank_data_folder_in_the_environment_is_none(home, monkeypatch):
    for blank in ("", "  "):
        monkeypatch.setenv("DRUGNB_DATA", blank)
        assert data_folders() == [home/"tables", home/"elsewhere"]
