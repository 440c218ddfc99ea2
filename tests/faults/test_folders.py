"""Run folders shared, taken away, mixed up and filled with other things."""
import os
import shutil
import time
from pathlib import Path

import campaign
import pytest

from drugnb.core.artefacts import JOURNAL


def other_tables(world, folder):
    "The same study's tables with other rows."
    shutil.copytree(world.source, folder)
    import pandas as pd
    if world.study == "toy":
        table = pd.read_csv(folder/"table.csv")
        table.assign(x=table.x + 1).to_csv(folder/"table.csv", index=False)
        return folder
    for path in sorted(folder.glob("*.csv*")):
        table = pd.read_csv(path, index_col=0)
        numbers = table.select_dtypes("number").columns
        if len(numbers) > 20:
            table[numbers] = table[numbers].astype(float)*0.9
            table.to_csv(path)
    return folder

def test_two_runs_at_once_in_one_folder(world, home):
    "Both end well, or one says that the other is at work; the folder then holds what one run makes."
    both = [campaign.Forked(world.words(home/"r"), home) for _ in range(2)]
    ended = [p.wait() for p in both]
    for done in ended: assert not done.code or "is at work in" in done.sentence()
    assert not all(done.code for done in ended)
    assert world.same(home/"r")

def test_two_runs_at_once_with_other_parameters(study, home):
    "The folder then holds the results of one of them, whole, not some of each."
    one, two = (["-p", "seed=0"], ["-p", "seed=1"])
    calm = [home/"one", home/"two"]
    for folder, more in zip(calm, (one, two), strict=True):
        assert campaign.forked(study.words(folder, *more), home).code == 0
    both = [campaign.Forked(study.words(home/"r", *more), home) for more in (one, two)]
    ended = [p.wait() for p in both]
    for done in ended: assert not done.code or "is at work in" in done.sentence()
    assert not all(done.code for done in ended)
    apart = [campaign.differences(folder, home/"r") for folder in calm]
    assert not all(apart), "\n".join(["mixed:", *apart[0][:4], "and", *apart[1][:4]])

def test_two_sources_in_one_folder_are_never_mixed(study, home):
    other = other_tables(study, home/"other")
    assert campaign.forked(study.words(home/"calm", source=other), home).code == 0
    folder = study.spoilt(home/"r")
    done = campaign.forked(study.words(folder, source=other), home)
    assert done.code == 0, done.err[-2000:]
    assert not (found := campaign.differences(home/"calm", folder)), "\n".join(found)
    assert "reloaded" not in done.out or "instead of" in done.out or "other inputs" in done.out
    assert campaign.forked(study.words(folder), home).code == 0 and study.same(folder), "and back"

@pytest.mark.parametrize("nth", [1, 2, 4, 6])
def test_the_folder_gone_during_a_run_is_made_again_or_a_sentence(world, home, nth):
    folder = home/"r"
    def gone(): shutil.rmtree(folder, ignore_errors=True)
    arm = campaign.nth_event(nth, gone, ("open", "os.rename"), str(folder))
    done = campaign.forked(world.words(folder), home, before=arm)
    assert done.code == 0 or str(folder) in done.sentence()
    assert not folder.exists() or not campaign.broken(folder)
    if done.code == 0: assert campaign.figures(folder) == campaign.figures(world.calm)

def test_the_folder_is_a_file_a_link_or_somewhere_odd(world, home):
    (home/"file").write_text("mine")
    for folder in (home/"file", home/"file/r", Path("/dev/null"), Path("/dev/null/r"), Path("/proc/r"), home/("r"*300)):
        assert "folder" in campaign.forked(world.words(folder), home).sentence()
    assert (home/"file").read_text() == "mine"
    os.symlink(home/"nowhere", home/"dangling")
    done = campaign.forked(world.words(home/"dangling"), home)
    assert done.code == 0 or done.sentence()
    (home/"real").mkdir()
    os.symlink(home/"real", home/"link")
    assert campaign.forked(world.words(home/"link"), home).code == 0 and world.same(home/"real")

@pytest.mark.parametrize("name", ["with space", "ünï—çødé", "per%cent", "quo'te\"s", "a[b]*?", "dot.ted.", "-dash", "new\nline", "$HOME", "{x}"])
def test_odd_names_of_run_folders(world, home, name):
    done = campaign.forked(world.words(home/name), home)
    assert done.code == 0, done.err[-2000:]
    assert world.same(home/name)

def test_the_run_folder_is_the_data_folder_or_in_it(world, home):
    "A run there is refused, or leaves the tables as they were and reads the same ones again."
    shutil.copytree(world.source, home/"mine")
    before = {p.name: p.read_bytes() for p in (home/"mine").iterdir()}
    for folder in (home/"mine", home/"mine/r"):
        done = campaign.forked(world.words(folder, source=home/"mine"), home)
        assert done.code == 0 or done.sentence()
        assert {n: (home/"mine"/n).read_bytes() for n in before} == before
        again = campaign.forked(world.words(folder, source=home/"mine"), home)
        assert again.code == done.code, again.err[-1500:]

def test_the_folder_of_another_study(world, home, toy):
    "What another study left is neither read nor removed."
    other = "combos"
    (home/"r").mkdir()
    (home/"r/scores.csv").write_text("another study's\n")
    (home/"r/journal.jsonl").write_text('{"stage": "a", "how": "note", "text": "b"}\n')
    (home/f"r/{other}.json").write_text("{}")
    done = campaign.forked(world.words(home/"r"), home)
    assert done.code == 0 or done.sentence()
    assert (home/f"r/{other}.json").read_text() == "{}"

def test_files_of_a_run_replaced_by_folders(world, home):
    "Each in turn: recomputed, or one sentence that names it; never a traceback, never a file half written."
    names = sorted(p.relative_to(world.calm) for p in world.calm.rglob("*") if p.is_file())
    for name in names:
        folder = world.spoilt(home/"r")
        (folder/name).unlink()
        (folder/name).mkdir()
        (folder/name/"inside").write_text("mine")
        done = campaign.forked(world.words(folder), home)
        assert done.code == 0 or str(name.name) in done.sentence(), name
        assert not [p for p in folder.rglob(".partial-*")], name
        shutil.rmtree(folder)

@pytest.mark.parametrize("how", ["flip", "cut", "empty", "zeros", "text", "older", "fifo"])
def test_files_of_a_run_spoilt(study, home, how):
    "Every file at once: the same command ends with the values of a calm run."
    folder = study.spoilt(home/"r")
    for p in (q for q in folder.rglob("*") if q.is_file() and q.name != JOURNAL):
        data = bytearray(p.read_bytes())
        if how == "fifo":
            p.unlink()
            os.mkfifo(p)
            continue
        if how == "flip": data[len(data)//2] ^= 0x10
        p.write_bytes({"cut": data[:len(data)//2], "empty": b"", "zeros": bytes(len(data)), "text": b"hello, study\n"*3}.get(how, data))
        if how == "older": os.utime(p, (1, 1))
    done = campaign.forked(study.words(folder), home)
    if how == "fifo" and done.code:
        assert "is a pipe" in done.sentence()
        return
    assert done.code == 0, done.err[-2000:]
    assert study.same(folder)

@pytest.mark.parametrize("text", ["", "{", "[]\n", "null\n", '{"stage": 1}\n', "\x00\xff\n", '{"stage": "a", "how": "started"}\n' + "x"*10**5])
def test_a_journal_that_is_spoilt_stops_nobody(world, home, text):
    folder = world.spoilt(home/"r")
    (folder/JOURNAL).write_bytes(text.encode("latin-1"))
    done = campaign.forked(world.words(folder), home)
    assert done.code == 0, done.err[-2000:]
    assert world.same(folder)

def test_what_an_earlier_failure_left_goes_when_the_run_ends_well(world, home):
    folder = world.spoilt(home/"r")
    first = next(folder.glob("*.ipynb"))
    (folder/f"{first.stem}.failed.ipynb").write_text("{}")
    (folder/".partial-999999999-x.parquet").write_text("half")
    done = campaign.forked(world.words(folder), home)
    assert done.code == 0 and world.same(folder), done.err[-2000:]

def test_a_run_again_says_what_it_reloads_and_leaves_the_figures(world, home):
    folder = world.spoilt(home/"r")
    time.sleep(0)
    done = campaign.forked(world.words(folder), home)
    assert done.code == 0 and "reloaded, nothing they depend on has changed" in done.out
    assert world.same(folder)
