"""Public files fetched from a mirror that lies, breaks off, holds other things; killed, starved of disk, run twice at once."""
import hashlib
import os
import shutil

import campaign
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.sources.fetch import fetch


@pytest.fixture
def mirror(home):
    "A mirror of five files, and the registry that knows them."
    rows, commit = [], "c"*40
    for i, name in enumerate(["a.csv", "deep/b.gz", "c with space.txt", "d.bin", "e.csv"]):
        data = os.urandom(20_000) if i else b"x,y\n1,2\n"
        path = home/"mirror/owner/name"/commit/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        rows.append(dict(study="toy", repository="owner/name", commit=commit, path=name, bytes=len(data),
                         sha256=hashlib.sha256(data).hexdigest(), licence="MIT", what="w", cite="c"))
    files = pd.DataFrame(rows)
    files.index = files.repository + "/" + files.commit + "/" + files.path
    return home/"mirror", files

def fetching(mirror, folder):
    place, files = mirror
    def go():
        import sys
        try: fetch("", folder, place, files, quiet=True)
        except InputError as e:
            print(f"drugnb: {e}", file=sys.stderr)
            sys.exit(2)
    return go

def right(mirror, folder):
    place, files = mirror
    got = {n: (folder/"raw"/n).read_bytes() == (place/n).read_bytes() for n in files.index}
    left = [p.name for p in folder.rglob("*") if p.is_file() and str(p.relative_to(folder/"raw")) not in got]
    assert all(got.values()) and not left, (got, left)
    return True

@pytest.mark.parametrize("nth", campaign.first(1, [3, 1, 2, 5, 8, 11]))
def test_a_fetch_killed_at_its_nth_write_goes_on(mirror, home, nth):
    arm = campaign.nth_event(nth, campaign.die, ("open", "os.rename", "os.remove", "shutil.copyfile", "os.chmod"))
    campaign.forked(fetching(mirror, home/"data"), home, before=arm)
    assert campaign.forked(fetching(mirror, home/"data"), home).code == 0 and right(mirror, home/"data")

@pytest.mark.parametrize("how", campaign.first(2, ["fifo", "changed", "cut", "longer", "gone", "folder", "link out", "empty"]))
def test_a_mirror_that_lies_is_refused_and_nothing_of_it_kept(mirror, home, how):
    place, files = mirror
    path = place/files.index[3]
    data = path.read_bytes()
    path.unlink()
    if how == "changed": path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    if how == "cut": path.write_bytes(data[:-7])
    if how == "longer": path.write_bytes(data + b"more")
    if how == "empty": path.write_bytes(b"")
    if how == "folder": path.mkdir()
    if how == "fifo": os.mkfifo(path)
    if how == "link out":
        (home/"secret").write_text("secret")
        path.symlink_to(home/"secret")
    done = campaign.forked(fetching(mirror, home/"data"), home)
    assert files.path.iloc[3] in done.sentence()
    assert not (home/"data/raw"/files.index[3]).exists()
    assert not [p for p in (home/"data").rglob("*") if p.is_file() and p.read_bytes() not in
                {(place/n).read_bytes() for n in files.index if (place/n).is_file()}]
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.write_bytes(data)
    assert campaign.forked(fetching(mirror, home/"data"), home).code == 0 and right(mirror, home/"data")

@pytest.mark.parametrize("how", campaign.first(2, ["fifo", "link", "changed", "cut", "folder", "part"]))
def test_a_fetched_file_that_was_spoilt_is_fetched_again_or_named(mirror, home, how):
    place, files = mirror
    assert campaign.forked(fetching(mirror, home/"data"), home).code == 0
    path = home/"data/raw"/files.index[3]
    data = path.read_bytes()
    (home/"victim").write_text("mine")
    if how == "changed": path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    if how == "cut": path.write_bytes(data[:100])
    if how == "part": path.with_name(path.name + ".part").write_bytes(b"half")
    if how in ("folder", "fifo", "link"):
        path.unlink()
        {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to(home/"victim")}[how]()
    done = campaign.forked(fetching(mirror, home/"data"), home)
    assert (home/"victim").read_text() == "mine", "what a link points to is not written over"
    if done.code: assert path.name in done.sentence()
    elif how == "part": assert path.read_bytes() == data
    else: assert right(mirror, home/"data")

def test_two_fetches_at_once(mirror, home):
    both = [campaign.Forked(fetching(mirror, home/"data"), home) for _ in range(2)]
    assert [p.wait().code for p in both] == [0, 0] and right(mirror, home/"data")

@pytest.mark.parametrize("room", campaign.first(1, ["40k", "16k"]))
def test_a_fetch_onto_a_full_disk(mirror, home, room):
    with campaign.small_disk(home/"disk", room) as disk:
        if disk is None: pytest.skip("no file system can be mounted here")
        said = campaign.forked(fetching(mirror, disk/"data"), home).sentence()
        assert "No space left" in said
        whole = {n: (mirror[0]/n).read_bytes() for n in mirror[1].index}
        got = {str(p.relative_to(disk/"data/raw")): p for p in (disk/"data").rglob("*") if p.is_file()}
        assert all(p.read_bytes() == whole.get(n) for n, p in got.items()), got
