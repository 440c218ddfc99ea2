"""The harness of the campaigns: a study's command in a process that can be killed, starved and watched, and its results compared.

Notebooks run in that process (no kernel of their own), so that a run takes seconds; `real` takes the command as a person types it.
"""
import faulthandler
import importlib
import json
import os
import pkgutil
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

QUICK = {  # the cheapest parameters with which every stage of a study runs
    "weighting": ["perplexities=", "seeds=", "repeats=20", "factors=1", "most_masked=1", "alphas=1,1000", "folds=3"],
    "combos": ["permutations=20", "repeats=20", "models=mean pair,sum,ridge", "folds=3", "only=leaving drugs out,by pair"],
    "essentiality": ["folds=3", "permutations=20", "models=tissue mean,ridge", "only=new lines", "pages=1"],
    "synergy": ["draws=20", "models=mean effects,ridge", "only=pairs", "rounds=2"],
    "morphology": ["models=intensity,texture", "splits=random,plate", "classifiers=logistic", "folds=2", "epochs=1", "explain_epochs=1"],
    "toy": ["size=4"],
}
ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONWARNINGS": "ignore"}
COMMAND = [sys.executable, "-c", "from drugnb.command import main; main()"]
SENTENCE = "drugnb: "
HANGS = 300  # seconds after which a command is taken to wait for ever, and ended with SIGALRM

def words(study, run, source="simulated-small", *more):
    "The command line of a quick run."
    given = [w for p in QUICK[study] for w in ("-p", p)]
    return ["run", study, "--data", str(source), "--run", str(run), *given, *map(str, more)]

# notebooks without kernels

def execute_here(source, target, parameters=None, **_):
    "What papermill does, in this process: run the code cells, keep the notebook, raise what papermill raises."
    from papermill.exceptions import PapermillExecutionError
    notebook = json.loads(Path(source).read_text())
    names = {"__name__": "__main__", "display": lambda *a, **k: None}
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code": continue
        text = "".join(cell["source"])
        try:
            exec(compile(text, f"{Path(source).stem}[{i}]", "exec"), names)
        except Exception as e:
            Path(target).write_text(json.dumps(notebook))
            raise PapermillExecutionError(i, i, text, type(e).__name__, str(e), []) from e
        if "parameters" in cell["metadata"].get("tags", []): names.update(parameters or {})
    Path(target).write_text(json.dumps(notebook))
    if "matplotlib.pyplot" in sys.modules: sys.modules["matplotlib.pyplot"].close("all")

def write_only(self, target, *_, **__):
    "In place of `Figure.savefig`: drawing takes most of a run's time, and it is the writing that is disturbed."
    from PIL import Image
    if hasattr(target, "write") or ".png" in str(target): Image.new("L", (40, 40)).save(target, "png", compress_level=0)
    else: Path(target).write_text("drawn "*300)

@contextmanager
def no_kernels(drawn=False):
    "papermill that starts none, figures that are written but not drawn."
    import papermill
    from matplotlib.figure import Figure
    whole = papermill.execute_notebook, Figure.savefig
    papermill.execute_notebook = execute_here
    if not drawn: Figure.savefig = write_only
    try: yield
    finally: papermill.execute_notebook, Figure.savefig = whole

def preload(study):
    "Import whatever a study's notebooks import, so that a fork has it."
    import gc

    wanted = ["matplotlib.pyplot", "papermill", "nbclient.exceptions", "drugnb.command", "drugnb.sweep"]
    for wing in [importlib.import_module(f"drugnb.{name}") for name in ("core", "sources", study)]:
        wanted += [module.name for module in pkgutil.iter_modules(wing.__path__, f"{wing.__name__}.")]
    for name in wanted:
        try: importlib.import_module(name)
        except ImportError: pass  # of an extra
    gc.collect()
    gc.freeze()  # what is shared stays shared

# processes

@dataclass
class Done:
    "How a command ended."
    code: int  # negative: killed by that signal
    out: str
    err: str
    seconds: float

    def sentence(self):
        "The one sentence of a command that refuses; anything else fails."
        lines = [line for line in self.err.splitlines() if line.strip() and "%|" not in line]
        assert self.code not in (0, None) and self.code > 0, f"status {self.code}\n{self.out[-500:]}\n{self.err[-2000:]}"
        assert "Traceback" not in self.err + self.out, self.err[-3000:]
        assert len(lines) == 1 and lines[0].startswith(SENTENCE), self.err[-2000:]
        return lines[0]

class Forked:
    "A command (its words, or a function that is called) in a fork of this process, leader of its own group."
    def __init__(self, arguments, home, before=None, env=None):
        self.home, self.start = Path(home), time.monotonic()
        self.files = [self.home/f".said-{time.monotonic_ns()}-{n}" for n in ("out", "err")]
        sys.stdout.flush(), sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid: self._child(arguments, before, env or {})

    def _child(self, arguments, before, env):
        code = 70
        try:
            os.setsid()
            for fd, path in enumerate(self.files, 1): os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)
            sys.stdout, sys.stderr = (os.fdopen(os.dup(fd), "w", 1, encoding="utf-8") for fd in (1, 2))
            faulthandler.enable(file=sys.stderr)
            signal.alarm(HANGS)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.update(ENV | env)
            os.chdir(self.home)
            from drugnb.command import main
            with no_kernels():
                if before: before()
                arguments() if callable(arguments) else main(arguments)
            code = 0
        except SystemExit as e: code = e.code if isinstance(e.code, int) else int(e.code is not None)
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        finally:
            try: sys.stdout.flush(), sys.stderr.flush()
            finally: os._exit(code)

    def kill(self, sign=signal.SIGKILL):
        try: os.killpg(self.pid, sign)
        except ProcessLookupError: pass

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        self.kill()  # whatever it left behind
        out, err = (p.read_text(errors="replace") if p.exists() else "" for p in self.files)
        for p in self.files: p.unlink(missing_ok=True)
        return Done(os.waitstatus_to_exitcode(status), out, err, time.monotonic() - self.start)

def forked(arguments, home, before=None, env=None): return Forked(arguments, home, before, env).wait()

def real(arguments, home, env=None, preexec=None):
    "The command as it is installed: kernels and all."
    return subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=home, env={**os.environ, **ENV, **(env or {})}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=preexec)

def fresh(arguments, home, env=None, umask=0o022):
    "The command in a new interpreter, its notebooks without kernels."
    start = time.monotonic()
    def changed(): os.umask(umask)
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], cwd=home, env={**os.environ, **ENV, **(env or {})},
                          capture_output=True, text=True, errors="replace", preexec_fn=changed)
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start)

# faults of the system, set up in the child

def on_write(act, names=("open", "os.rename"), under=""):
    "A function that arms the process: `act` is called with each file below `under` that is opened for writing or renamed, before it is."
    def hook(event, arguments):
        if event not in names or under not in str(arguments[0]): return
        if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")): return
        act()
    return lambda: sys.addaudithook(hook)

def nth_event(n, act, names=("open", "os.rename"), under=""):
    "The same, but `act` is called once, at the n-th of them."
    left = iter(range(n - 1, -1, -1))
    def count():
        if next(left, None) == 0: act()
    return on_write(count, names, under)

def counting(path, under):
    "The same; a file grows by a byte at each of them."
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return on_write(lambda: os.write(number, b"."), under=str(under))

def die(): os.kill(0, signal.SIGKILL)  # the whole group

def failing(number):
    def act(): raise OSError(number, os.strerror(number))
    return act

def readable(path):
    "Let everybody read a folder of the tests, and pass through those above it."
    path = Path(path)
    for p in [path, *path.rglob("*")]: p.chmod(p.stat().st_mode | (0o055 if p.is_dir() else 0o044))
    for p in path.parents:
        if p.stat().st_uid == os.getuid() and p != p.parent: p.chmod(p.stat().st_mode | 0o011)

def limited(what, amount):
    "A function that limits a resource of the process."
    def arm():
        if what == resource.RLIMIT_FSIZE: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(what, (amount, amount))
    return arm

@contextmanager
def small_disk(where, size):
    "A file system of so many bytes; None where it cannot be mounted."
    where.mkdir(parents=True, exist_ok=True)
    mounted = shutil.which("mount") and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)], capture_output=True).returncode
    try: yield where if mounted else None
    finally:
        if mounted: subprocess.run(["umount", "-l", str(where)], check=True)

# what a run left behind

NOT_RESULTS = ("seconds", "made", "time", "versions", "drugnb")

def _json(value):
    "Numbers and texts of a JSON file, without times and paths."
    if isinstance(value, dict): return {k: _json(v) for k, v in value.items() if k not in NOT_RESULTS}
    if isinstance(value, list): return [_json(v) for v in value]
    return None if isinstance(value, str) and value.startswith("/") else value

def tables(run):
    "Every table and model of a run folder, by its path."
    found = {}
    for path in sorted(Path(run).rglob("*")):
        name, whole = str(path.relative_to(run)), path.name.lower()
        if whole.startswith("journal") or not path.is_file(): continue
        if whole.endswith((".csv", ".csv.gz", ".tsv")): found[name] = pd.read_csv(path)
        elif whole.endswith(".parquet"): found[name] = pd.read_parquet(path)
        elif whole.endswith(".json"): found[name] = _json(json.loads(path.read_text()))
        elif whole.endswith(".npy"): found[name] = np.load(path, allow_pickle=False)
    return found

def _close(a, b, at, tolerance):
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys(): return [f"{at}: other keys"]
        return [d for k in a for d in _close(a[k], b[k], f"{at}.{k}", tolerance)]
    if isinstance(a, list):
        if not isinstance(b, list) or len(a) != len(b): return [f"{at}: another length"]
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in _close(x, y, f"{at}[{i}]", tolerance)]
    if isinstance(a, float) and isinstance(b, int | float):
        return [] if np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True) else [f"{at}: {a!r} and {b!r}"]
    return [] if a == b else [f"{at}: {a!r} and {b!r}"]

def _sorted(table):
    "Rows in an order of their own."
    table = table.reset_index(drop=isinstance(table.index, pd.RangeIndex))
    table = table.reindex(columns=sorted(table.columns, key=str))
    return table.sort_values(list(table.columns), key=lambda c: c.map(lambda v: f"{v:.9g}" if isinstance(v, float) else str(v)), ignore_index=True)

def differences(one, other, tolerance=1e-10, leave_out=(), ordered=True):
    "What differs between the results of two runs, in lines; none where they agree. Rows and columns in any order, if not `ordered`."
    a, b = tables(one), tables(other)
    kept = lambda names: {n for n in names if not any(n.startswith(x) for x in leave_out)}
    lines = [f"only one has {n}" for n in sorted(kept(a) ^ kept(b))]
    for name in sorted(kept(a) & kept(b)):
        x, y = a[name], b[name]
        if isinstance(x, pd.DataFrame):
            x, y = (t.drop(columns=[c for c in t if str(c) in NOT_RESULTS]) for t in (x, y))
            if not ordered: x, y = _sorted(x), _sorted(y)
            try: pd.testing.assert_frame_equal(x, y, rtol=tolerance, atol=tolerance, check_dtype=False)
            except AssertionError as e: lines.append(f"{name}: {' '.join(str(e).split())[:300]}")
        else: lines += _close(x, y, name, tolerance)[:3]
    return lines

def figures(run): return {p.name for p in Path(run).rglob("figures/*")}

def broken(run, failed=False):
    "Files of a run folder that are half written, or left over; what a failed notebook says may be `failed`."
    ends = (".part",) if failed else (".part", ".failed.ipynb")
    bad = [str(p) for p in Path(run).rglob("*") if p.name.startswith(".partial") or p.name.endswith(ends)]
    for path in Path(run).rglob("*.ipynb"):
        try: json.loads(path.read_text())
        except ValueError: bad.append(str(path))
    try: tables(run)
    except Exception as e: bad.append(f"{type(e).__name__}: {e}")
    for path in Path(run).rglob("figures/*"):
        if path.is_file() and not path.stat().st_size: bad.append(str(path))
    return bad

def moments(n, seed, until):
    "Seeded moments of a run, one in each n-th part of it, in random order."
    rng = random.Random(seed)
    at = [(i + rng.random())/n*until for i in range(n)]
    rng.shuffle(at)
    return at

if __name__ == "__main__":
    from drugnb.command import main
    with no_kernels(drawn=True): main(sys.argv[1:])
