"""Disks that are full, folders that refuse, too few files, too little memory: one sentence, and nothing half written."""
import errno
import os
import resource
import shutil
import subprocess

import campaign
import pytest


def whole_or_absent(world, folder, failed=False):
    "After a refusal: nothing half, and the same command goes on once there is room."
    assert not folder.exists() or not campaign.broken(folder, failed), campaign.broken(folder, failed)
    done = campaign.forked(world.words(folder), folder.parent)
    assert done.code == 0 and world.same(folder), done.err[-2000:]

NUMBERS = [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ESTALE]

@pytest.mark.parametrize("number", campaign.first(3, NUMBERS))
@pytest.mark.parametrize("nth", campaign.first(1, [3, 1, 6]))
def test_a_write_that_fails_is_a_sentence(world, home, number, nth):
    "The n-th file that is opened for writing or renamed below the run folder, whoever opens it."
    arm = campaign.nth_event(nth, campaign.failing(number), under=str(home/"r"))
    done = campaign.forked(world.words(home/"r"), home, before=arm)
    said = done.sentence()
    assert str(home/"r") in said or os.strerror(number) in said, said
    assert not (home/"r").exists() or not campaign.broken(home/"r", failed=True), campaign.broken(home/"r")

SHARES = campaign.first(1, [0.3, 0.02, 0.7])

@pytest.mark.parametrize("share", SHARES)
def test_a_full_disk_is_a_sentence(study, home, share):
    size = sum(p.stat().st_size for p in study.calm.rglob("*") if p.is_file())
    with campaign.small_disk(home/"disk", max(4096, int(size*share))) as disk:
        if disk is None: pytest.skip("no file system can be mounted here")
        done = campaign.forked(study.words(disk/"r"), home)
        said = done.sentence()
        assert "No space left" in said, said
        assert not (disk/"r").exists() or not campaign.broken(disk/"r"), campaign.broken(disk/"r")

@pytest.mark.parametrize("size", campaign.first(1, [5000, 1000, 50_000]))
def test_files_that_may_not_grow_are_a_sentence(world, home, size):
    done = campaign.forked(world.words(home/"r"), home, before=campaign.limited(resource.RLIMIT_FSIZE, size))
    if done.code == 0: pytest.skip("no file of this study is so large")
    assert "cannot be written" in done.sentence()
    whole_or_absent(world, home/"r")

def nobody():
    os.setgid(65534)
    os.setuid(65534)

@pytest.mark.parametrize("what", campaign.first(1, ["run", "parent", "figures"]))
def test_a_folder_that_may_not_be_written_is_a_sentence(world, home, what):
    if os.getuid(): pytest.skip("needs root, to become somebody else")
    for folder in (home, world.home, world.packaged): campaign.readable(folder)
    folder = home/"r"
    if what != "parent": world.spoilt(folder)
    if what == "figures":
        for p in (folder, *folder.rglob("*")): os.chown(p, 65534, 65534)
        os.chown(folder/"figures", 0, 0)
    done = campaign.forked(world.words(folder, "-p", "seed=1"), home, before=nobody, env={"HOME": str(home)})
    said = done.sentence()
    assert "Permission denied" in said and str(folder) in said, said
    assert not folder.exists() or not campaign.broken(folder, failed=True)
    assert what != "run" or world.same(folder)

def test_a_run_folder_on_a_disk_that_is_read_only(world, home):
    with campaign.small_disk(home/"disk", "64m") as disk:
        if disk is None: pytest.skip("no file system can be mounted here")
        world.spoilt(disk/"r")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for folder in (disk/"r", disk/"new"):
            said = campaign.forked(world.words(folder), home).sentence()
            assert "Read-only file system" in said and str(folder) in said, said

@pytest.mark.parametrize("room", campaign.first(1, [2, 1, 4, 8, 16]))
def test_too_few_files_at_once_is_a_sentence(world, home, room):
    def arm():
        used = max(int(f) for f in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, used + room))
    done = campaign.forked(world.words(home/"r"), home, before=arm)
    if done.code == 0: return
    assert "Too many open files" in done.sentence()
    whole_or_absent(world, home/"r", failed=True)  # where a notebook stopped, it is kept and named

@pytest.mark.parametrize("room", campaign.first(1, [4, 1, 16, 64]))
def test_too_little_memory_is_a_sentence(world, home, room):
    "So many megabytes more than the process has."
    def arm():
        with open("/proc/self/statm") as f: now = int(f.read().split()[0])*resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + room*2**20,)*2)
    done = campaign.forked(world.words(home/"r"), home, before=arm)
    if done.code == 0: return
    assert "memory" in done.sentence()
    whole_or_absent(world, home/"r")

def test_the_real_command_on_a_full_disk(home):
    "Kernels and all, on a disk with room for a few files."
    with campaign.small_disk(home/"disk", "200k") as disk:
        if disk is None: pytest.skip("no file system can be mounted here")
        process = campaign.real(campaign.words("combos", disk/"r"), home)
        out, err = process.communicate()
        assert "No space left" in campaign.Done(process.returncode, out, err, 0).sentence()
        assert not campaign.broken(disk/"r")

test_the_real_command_on_a_full_disk = pytest.mark.slow(test_the_real_command_on_a_full_disk)

def test_a_link_to_the_full_device_is_no_place_for_results(world, home):
    shutil.copytree(world.calm, home/"r")
    for p in (home/"r").glob("*.csv"):
        p.unlink()
        p.symlink_to("/dev/full")
    done = campaign.forked(world.words(home/"r"), home)
    assert done.code == 0 or "scores.csv is a link" in done.sentence()
    assert os.path.exists("/dev/full")
