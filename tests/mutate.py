"""Which small mutations of a module do the tests notice?

    python tests/mutate.py drugnb/combos/pairs.py --n 8 --seed 1 [--tests tests/combos/test_models.py]

Each mutant changes one operator, number or flag in a copy of the project; the tests that reach the changed line run in a
forked process, quick ones first, until one fails. No part of `make test`."""
import argparse
import ast
import contextlib
import difflib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ["numpy", "pandas", "scipy.stats", "sklearn.linear_model", "matplotlib.pyplot", "seaborn", "pyarrow.parquet", "h5py"]
SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.Mod: ast.Mult,
         ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
         ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot,
         ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And}
NAMES = {"min": "max", "max": "min", "argmin": "argmax", "argmax": "argmin", "any": "all", "all": "any", "mean": "sum",
         "sum": "mean", "isin": "notna", "nanmin": "nanmax", "nanmax": "nanmin", "minimum": "maximum", "maximum": "minimum"}
SECONDS = 90  # of tests for one mutant


def changed(node):
    "The same expression with one small change, or None."
    text = ast.unparse
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        return text(ast.BinOp(node.left, SWAPS[type(node.op)](), node.right))
    if isinstance(node, ast.BoolOp): return text(ast.BoolOp(SWAPS[type(node.op)](), node.values))
    if isinstance(node, ast.Compare): return text(ast.Compare(node.left, [SWAPS[type(node.ops[0])](), *node.ops[1:]], node.comparators))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert): return text(node.operand)
    if isinstance(node, ast.IfExp): return text(ast.IfExp(node.test, node.orelse, node.body))
    if isinstance(node, ast.Constant) and isinstance(node.value, bool): return str(not node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float): return repr(node.value + 1)
    if isinstance(node, ast.Attribute) and node.attr in NAMES: return text(ast.Attribute(node.value, NAMES[node.attr], node.ctx))
    return None


def expressions(node):
    "Every expression below a node that a function computes: no annotations, decorators, imports or f-strings."
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or (isinstance(node, ast.FunctionDef) and name == "args"): continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr): continue
            if isinstance(child, ast.expr): yield child
            yield from expressions(child)


def mutants(source):
    "(first line, last line, changed source) of every mutant."
    lines = source.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    for node in expressions(ast.parse(source)):
        new = changed(node)
        if new is None: continue
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        raw = source.encode()
        new = f"({new})" if not isinstance(node, ast.Constant | ast.Attribute) else new
        yield node.lineno, node.end_lineno, (raw[:begin] + new.encode() + raw[end:]).decode()


class Reached:
    "A pytest plugin: the lines of one file that each test runs, and how long it takes."
    def __init__(self, file):
        self.file, self.lines, self.shared, self.took, self.now = str(file), {}, set(), {}, None

    def trace(self, frame, event, _):
        if frame.f_code.co_filename != self.file: return None
        (self.shared if self.now is None else self.now).add(frame.f_lineno)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        self.now, start = self.lines.setdefault(item.nodeid, set()), time.perf_counter()
        try: return (yield)
        finally: self.now, self.took[item.nodeid] = None, time.perf_counter() - start

    def pytest_sessionfinish(self):
        sys.settrace(None)
        lines = {k: sorted(v) for k, v in self.lines.items()}
        Path("reached.json").write_text(json.dumps([lines, sorted(self.shared), self.took]))


def forked(folder, arguments, plugin=None, seconds=1800):
    "Exit status of pytest in a forked process in a folder; None if it takes too long."
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
        sys.dont_write_bytecode = True
        with open("pytest.log", "w") as log:
            for out in (1, 2): os.dup2(log.fileno(), out)
        if plugin: sys.settrace(plugin.trace)
        os._exit(int(pytest.main(["-p", "no:cacheprovider", *arguments], plugins=[plugin] if plugin else [])))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done: return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError): os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def copied():
    "A copy of the project, as it is in the working tree."
    folder = Path(tempfile.mkdtemp(prefix="mutate-")).resolve()
    known = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in known.stdout.splitlines():
        if not (ROOT/name).is_file(): continue
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/name, folder/name)
    return folder


def tests_of(module):
    "The files of tests that import a module."
    wing, stem = module.parent.name, module.stem
    named = re.compile(rf"(from|import) .*\b{wing}\b.*\b{stem}\b|\b{wing}[.:]{stem}\b")
    return [str(p.relative_to(ROOT)) for p in sorted((ROOT/"tests").rglob("*.py")) if named.search(p.read_text())]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("module", type=Path, help="a file below drugnb/")
    a.add_argument("--n", type=int, default=8, help="mutants")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--tests", nargs="*", help="files of tests; those that import the module if left out")
    a = a.parse_args()
    for name in HEAVY: importlib.import_module(name)
    folder, source = copied(), (ROOT/a.module).read_text()
    tests, plugin = a.tests or tests_of(a.module), Reached(folder/a.module)
    if not tests: sys.exit(f"{a.module}: no file of tests imports it")
    if forked(folder, tests, plugin): sys.exit(f"the tests fail without a mutation:\n{(folder/'pytest.log').read_text()[-2000:]}")
    lines, shared, took = json.loads((folder/"reached.json").read_text())
    found, killed = list(mutants(source)), 0
    chosen = random.Random(a.seed).sample(found, min(a.n, len(found)))
    for first, last, text in chosen:
        span, room = set(range(first, last + 1)), SECONDS
        at = sorted((t for t, seen in lines.items() if span & set(seen) or span & set(shared)), key=took.get)
        at = [t for t in at if (room := room - took[t]) > 0 or t == at[0]]
        (folder/a.module).write_text(text)
        seconds = 60 + 5*sum(took[t] for t in at)
        noticed = bool(at) and forked(folder, ["-x", *at], seconds=seconds) != 0
        killed += noticed
        if noticed: continue
        print(f"survived, of {len(at)} tests that reach it:" if at else "not reached by any test:")
        old, new = source.splitlines(), text.splitlines()
        print(*list(difflib.unified_diff(old, new, lineterm="", n=1))[2:], sep="\n", flush=True)
    print(f"{a.module}: {killed} of {len(chosen)} mutants killed ({len(found)} possible)")
    shutil.rmtree(folder)


if __name__ == "__main__": main()
