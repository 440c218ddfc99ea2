"""The rules of the house: imports run downwards, notebooks are light, settings and notebooks agree, heavy things stay out."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drugnb.core.settings import DEFAULTS, read_settings
from drugnb.run import notebook_parameters
from drugnb.studies import STUDIES

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p for p in (ROOT/"nbs").glob("*.ipynb"))
NUMBERED = [p for p in NOTEBOOKS if p.stem[0].isdigit()]

def cells(path, kind=None): return [c for c in json.loads(path.read_text())["cells"] if kind in (None, c["cell_type"])]
def module(path): return next((m[1] for c in cells(path, "code") if (m := re.search(r"^#\| *default_exp (\S+)", "".join(c["source"]), re.M))), None)

def imported(path):
    "drugnb modules that a notebook imports, its lessons included."
    found = set()
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("drugnb."): found.add(node.module.split(".")[1])
    return found

@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_a_notebook_imports_only_from_lower_numbers(path):
    where = {module(p): p.stem for p in NUMBERED if module(p)}
    assert all(where[m] < path.stem for m in imported(path)), f"{path.stem} imports {imported(path)}"

@pytest.mark.parametrize("path", [p for p in NUMBERED if "10" <= p.stem[:2] < "90"], ids=lambda p: p.stem)
def test_a_companion_imports_what_is_shared_and_its_own_decade(path):
    "What is shared: where data come from (the 00s, but not the other study's simulation), how results are judged, how figures are kept."
    where = {module(p): p.stem for p in NUMBERED if module(p)}
    shared = {"load", "sources", "tables", "evaluate", "figures"}
    assert all(m in shared or where[m][0] == path.stem[0] for m in imported(path)), f"{path.stem} imports {imported(path)}"

def test_the_order_of_names_is_the_order_of_numbers():
    "Down means down: 00_load, then 00b, 00c, 01, ... 05, 05a, 06."
    key = lambda p: (int(re.match(r"\d+", p.stem)[0]), re.match(r"\d+([a-z]?)", p.stem)[1])
    assert sorted(NUMBERED, key=key) == sorted(NUMBERED, key=lambda p: p.stem.replace("_", " "))

def test_every_module_has_one_notebook():
    names = [module(p) for p in NUMBERED if module(p)]
    assert len(names) == len(set(names)) and {p.stem for p in (ROOT/"drugnb").glob("*.py")} == {*names, "__init__", "_modidx"}

@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_light_whole_and_has_parameters(path):
    assert path.stat().st_size < 400_000
    assert any(re.search(r"^> \S", "".join(c["source"]), re.M) for c in cells(path)[:4])
    outputs = [o for c in cells(path, "code") for o in c["outputs"]]
    assert outputs and not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    if path in NUMBERED:
        tagged = [c for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1
        tree = ast.parse("".join(tagged[0]["source"]))
        for node in tree.body: ast.literal_eval(node.value)
        assert all("#" in line for line in tagged[0]["source"]), "each parameter says what it means"

def test_no_path_of_a_machine_and_no_number_of_a_kernel_is_left():
    for path in NOTEBOOKS: assert not re.search(r"/tmp/ipykernel|/root/|/home/", path.read_text()), path.stem

@pytest.mark.parametrize("study", STUDIES)
def test_parameters_of_one_name_mean_and_default_to_one_thing(study):
    seen = {}
    for name in STUDIES[study]:
        for p, (default, _) in notebook_parameters(name).items():
            if p in ("source", "alphas", "path"): continue
            assert seen.setdefault(p, default) == default, f"{p} is {default} in {name}"

def test_settings_file_and_defaults_know_the_same_keys():
    written = {k: v for k, v in read_settings(ROOT).items() if v != DEFAULTS.get(k)}
    assert set(written) <= {"data", "l1000-a375", "melanoma"}, "the file only restates the built-in defaults, save for where data lie"

def test_importing_drugnb_is_light_and_silent():
    code = "import sys, drugnb, drugnb.compare, drugnb.held_out; assert not {'torch', 'dask', 'papermill', 'anndata'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0 and not done.stdout, done.stderr

def test_figures_of_the_default_run_are_committed():
    names = {p.stem for p in (ROOT/"figures/weighting").glob("*.png")}
    assert names == {"knee", "map_viability", "map_cluster", "map_mechanism", "maps", "clusters", "comparison", "predicted", "choice",
                     "robustness", "masking", "coefficients"}
    assert names == {p.stem for p in (ROOT/"figures/weighting").glob("*.svg")} and (ROOT/"figures/weighting/map.html").stat().st_size > 1e6
    of_pairs = {"ranking", "pairs", "scores", "accuracy_by_size", "error_by_pair", "predicted"}
    for folder in ("figures/combos", "figures/combos/melanoma"):
        assert of_pairs == {p.stem for p in (ROOT/folder).glob("*.png")} == {p.stem for p in (ROOT/folder).glob("*.svg")}
