"""Killed at random moments, at each write, by signals: the same command resumes to the same values."""
import errno
import os
import random
import signal
import threading
import time

import campaign
import pytest

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "shutil.copyfile")

def left_whole(folder):
    "What a killed run has left is whole, but for what the next run sweeps away."
    return [b for b in campaign.broken(folder, failed=True) if "/.partial" not in b] if folder.exists() else []

def test_a_run_killed_and_starved_at_random_resumes_to_the_same_values(study, home):
    "In one folder: twenty kills at random moments, a write that fails after every fourth, then the same command to its end."
    rng, fell, folder = random.Random(study.study), [], home/"r"
    for i, moment in enumerate(campaign.moments(20, study.study, max(study.seconds, 0.3))):
        process = campaign.Forked(study.words(folder), home)
        threading.Timer(moment, process.kill).run()
        if process.wait().code not in (0, -signal.SIGKILL): fell.append("killed: it had ended otherwise")
        fell += [f"killed at {moment:.2f} s: {b}" for b in left_whole(folder)]
        if i % 4: continue
        number, nth = rng.choice([errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE]), rng.randrange(1, study.writes)
        arm = campaign.nth_event(nth, campaign.failing(number), under=str(folder))
        done = campaign.forked(study.words(folder), home, before=arm)
        try: assert done.code == 0 or done.sentence()
        except AssertionError as e: fell.append(f"{errno.errorcode[number]} at write {nth}: {str(e)[-300:]}")
        fell += [f"{errno.errorcode[number]} at write {nth}: {b}" for b in campaign.broken(folder, failed=True)]
    done = campaign.forked(study.words(folder), home)
    assert done.code == 0, done.err[-2000:]
    assert study.same(folder)
    assert not fell, f"{len(fell)} fell:\n" + "\n".join(fell)

@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 13, 21, 34])
def test_a_run_killed_at_its_nth_write_resumes_to_the_same_values(world, home, nth):
    arm = campaign.nth_event(nth, campaign.die, EVENTS, str(home/"r"))
    done = campaign.forked(world.words(home/"r"), home, before=arm)
    assert done.code in (0, -signal.SIGKILL)
    assert not left_whole(home/"r")
    done = campaign.forked(world.words(home/"r"), home)
    assert done.code == 0 and world.same(home/"r"), done.err[-2000:]

@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_a_run_that_is_asked_to_stop_says_one_sentence_and_leaves_nothing_half(world, home, sign):
    "At a write, so that something is half written: the message of Ctrl-C, a status of its own."
    def ask(): os.kill(os.getpid(), sign)
    done = campaign.forked(world.words(home/"r"), home, before=campaign.nth_event(4, ask, under=str(home/"r")))
    said = done.sentence()
    assert done.code == 128 + sign and "the same command goes on from there" in said
    assert not campaign.broken(home/"r"), campaign.broken(home/"r")
    done = campaign.forked(world.words(home/"r"), home)
    assert done.code == 0 and world.same(home/"r"), done.err[-2000:]

def family(pid):
    import psutil
    try: return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess: return []

def until(condition, process):
    "Wait for something, as long as the process runs."
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.05)
    return found

REAL = [pytest.param(s, marks=pytest.mark.slow) for s in campaign.QUICK if s != "toy"]

@pytest.mark.parametrize("study", REAL)
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "kernel"])
def test_the_real_command_stopped_or_robbed_of_its_kernel(study, how, home):
    "Kernels and all: no kernel outlives it, one sentence, and the same command goes on to the end."
    process = campaign.real(campaign.words(study, home/"r"), home)
    until(lambda: list((home/"r").glob("*.ipynb")), process)
    kernels = until(lambda: family(process.pid), process)
    if how == "kernel": kernels[0].kill()
    else: os.killpg(process.pid, getattr(signal, how))
    out, err = process.communicate()
    done = campaign.Done(process.returncode, out, err, 0)
    said = done.sentence()
    assert done.code == (1 if how == "kernel" else 128 + getattr(signal, how)), said
    assert ("kernel" in said) == (how == "kernel")
    until(lambda: not [k for k in kernels if k.is_running() and k.status() != "zombie"], type("", (), {"poll": lambda s: None})())
    assert not campaign.broken(home/"r")
    process = campaign.real(campaign.words(study, home/"r"), home)
    out, err = process.communicate()
    assert process.returncode == 0 and not campaign.broken(home/"r"), err[-2000:]
