"""Sweeps killed, spoilt, run twice at once, and with cells that fail."""
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import campaign
import pandas as pd
import pytest

from drugnb import sweep

GRID = {"size": ["2", "3"], "seed": ["0", "1"]}

@pytest.fixture(scope="module")
def swept(toy, tmp_path_factory):
    "A sweep of the toy that nothing disturbed."
    campaign.preload("toy")
    home = tmp_path_factory.mktemp("sweep")
    done = campaign.forked(going(home/"calm"), home)
    assert done.code == 0, done.err
    return home/"calm"

def going(folder, source="small", grid=GRID, show=False):
    "The sweep as a function, each cell in this process."
    def go():
        _, table = sweep.sweep("toy", grid, source, {}, folder, ThreadPoolExecutor(1))
        if show: print(table.to_csv())
    return go

def same(calm, folder):
    assert not campaign.broken(folder), campaign.broken(folder)
    assert not (found := campaign.differences(calm, folder)), "\n".join(found)
    return True

@pytest.mark.parametrize("nth", campaign.first(1, [13, 2, 7, 20, 29, 41, 50]))
def test_a_sweep_killed_at_its_nth_write_goes_on(swept, home, nth):
    arm = campaign.nth_event(nth, campaign.die, ("open", "os.rename", "os.remove", "os.link"), str(home/"s"))
    assert campaign.forked(going(home/"s"), home, before=arm).code in (0, -signal.SIGKILL)
    done = campaign.forked(going(home/"s"), home)
    assert done.code == 0 and same(swept, home/"s"), done.err[-2000:]

SPOILT = ["[]", '{"key": KEY, "seconds": NaN}', "", "{", "null", "3", '"text"', "{}", '{"key": KEY}', '{"key": KEY, "seconds": "many"}',
          '{"key": KEY, "seconds": null}', '{"key": [1], "seconds": 1}', "\x00\xff", '{"key": KEY, "seconds": 1e999}', '{"key": KEY, "seconds": -1}']

@pytest.mark.parametrize("text", campaign.first(2, SPOILT))
def test_a_cell_s_report_that_is_spoilt_runs_the_cell_again(swept, home, text):
    shutil.copytree(swept, home/"s")
    cell = home/"s/size=2,seed=1/cell.json"
    cell.write_bytes(text.replace("KEY", json.dumps(json.loads(cell.read_text())["key"])).encode("latin-1"))
    done = campaign.forked(going(home/"s"), home)
    assert done.code == 0 and same(swept, home/"s"), done.err[-2000:]

@pytest.mark.parametrize("what", campaign.first(1, ["fifo", "folder", "link", "gone"]))
def test_a_cell_s_report_that_is_no_file(swept, home, what):
    shutil.copytree(swept, home/"s")
    cell = home/"s/size=2,seed=1/cell.json"
    cell.unlink()
    if what == "folder": cell.mkdir()
    if what == "fifo": os.mkfifo(cell)
    if what == "link": cell.symlink_to(home/"victim")
    (home/"victim").write_text("mine")
    done = campaign.forked(going(home/"s", show=True), home)
    assert (home/"victim").read_text() == "mine"
    if done.code: assert "cell.json" in done.sentence()
    elif what != "gone": assert "cell.json" in done.out or same(swept, home/"s")
    else: assert same(swept, home/"s")

@pytest.mark.parametrize("what", campaign.first(1, ["older", "gone", "cut", "folder"]))
@pytest.mark.parametrize("name", campaign.first(1, ["scores.csv", "model.json", "noisy.parquet"]))
def test_results_of_a_finished_cell_that_are_gone_or_spoilt(swept, home, name, what):
    "The cell is run again; its report alone is not believed."
    shutil.copytree(swept, home/"s")
    path = home/"s/size=3,seed=0"/name
    data = path.read_bytes()
    path.unlink()
    if what == "cut": path.write_bytes(data[:len(data)//2])
    if what == "folder": path.mkdir()
    if what == "older": path.write_bytes(data.replace(b"1", b"2"))
    done = campaign.forked(going(home/"s", show=True), home)
    if what == "folder": assert name in done.out + done.err and "Traceback" not in done.err
    else: assert done.code == 0 and same(swept, home/"s"), done.err[-2000:]

def test_two_sweeps_at_once_in_one_folder(swept, home):
    "One of them, or both, end well; what is left is what one sweep makes."
    both = [campaign.Forked(going(home/"s"), home) for _ in range(2)]
    ended = [p.wait() for p in both]
    assert sorted(d.code for d in ended)[0] == 0
    for done in ended: assert not done.code or "at work" in done.err, done.err
    assert same(swept, home/"s")

@pytest.mark.slow
def test_a_sweep_over_other_tables_runs_every_cell_again(swept, home):
    (home/"tables").mkdir()
    pd.DataFrame({"id": range(200), "x": range(1, 201)}).to_csv(home/"tables/table.csv", index=False)
    assert campaign.forked(going(home/"calm", home/"tables"), home).code == 0
    shutil.copytree(swept, home/"s")
    done = campaign.forked(going(home/"s", home/"tables"), home)
    assert done.code == 0 and "not run again" not in done.out and same(home/"calm", home/"s"), done.err[-2000:]

def test_a_table_changed_under_the_same_size_and_time_runs_every_cell_again(swept, home):
    (home/"tables").mkdir()
    path = home/"tables/table.csv"
    path.write_text("id,x\n" + "".join(f"{i},{i}\n" for i in range(100, 298)))
    assert campaign.forked(going(home/"s", home/"tables"), home).code == 0
    when = path.stat().st_mtime_ns
    path.write_text("id,x\n" + "".join(f"{i},{i + 1}\n" for i in range(100, 298)))
    os.utime(path, ns=(when, when))
    assert campaign.forked(going(home/"calm", home/"tables"), home).code == 0
    done = campaign.forked(going(home/"s", home/"tables"), home)
    assert done.code == 0 and same(home/"calm", home/"s"), done.err[-2000:]

@pytest.mark.slow
def test_a_cell_that_cannot_write_is_named_and_stops_nobody(swept, home):
    (home/"s").mkdir()
    (home/"s/size=2,seed=1").write_text("a file where the cell's folder should be")
    done = campaign.forked(going(home/"s", show=True), home)
    assert done.code == 0 and "size=2,seed=1: failed: " in done.out and "Traceback" not in done.err + done.out
    table = pd.read_csv(home/"s/sweep.csv")
    assert table.error.notna().sum() == 1 and table["toy model auc"].notna().sum() == 3
