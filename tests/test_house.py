"""The rules of the house: wings, imports that run downwards, limits of notebooks, settings, and heavy things that stay out."""
import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from drugnb.core.settings import DEFAULTS, read_settings
from drugnb.run import notebook_parameters, notebook_path
from drugnb.studies import STUDIES, card, function

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if not any(s[0] in "._" for s in p.relative_to(ROOT/"nbs").parts))
NUMBERED = [p for p in NOTEBOOKS if p.stem[0].isdigit()]
MODULES = sorted(p for p in (ROOT/"drugnb").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py"))
CELL, WIDTH = 40, 110  # lines of a code cell, columns of a line

def name_of(path): return str(path.relative_to(ROOT/"nbs").with_suffix(""))
def source(cell): return "".join(cell["source"])
def cells(path, kind=None): return [c for c in json.loads(path.read_text())["cells"] if kind in (None, c["cell_type"])]
def code(path): return [source(c).strip() for c in cells(path, "code") if source(c).strip()]

def module(path):
    "The module that a notebook exports to, as WING.NAME or NAME; None if it exports nothing."
    found = [m[1] for c in code(path) if (m := re.search(r"^#\| *default_exp (\S+)", c, re.M))]
    return found[0] if found else None

def number(path):
    "The number of a notebook in its folder: (7, 'a') for 07a_sweep."
    found = re.match(r"(\d+)([a-z]?)_", path.stem)
    return int(found[1]), found[2]

def imported(text):
    "drugnb modules that a piece of code imports, as WING.NAME or NAME."
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "drugnb":
            rest = node.module.removeprefix("drugnb").lstrip(".")
            deep = "." in rest or rest in ("studies", "run", "sweep", "command")
            found |= {rest} if deep else {f"{rest}.{a.name}".lstrip(".") for a in node.names}
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("drugnb.") for a in node.names if a.name.startswith("drugnb.")}
    return found

def wing(name): return name.split(".")[0]

# wings

def test_a_notebook_and_its_module_lie_on_the_same_path():
    for path in NUMBERED:
        if (exported := module(path)) is None: continue
        folder = name_of(path).rpartition("/")[0]
        expected = {folder} if folder else {"weighting", "studies", "run", "sweep", "command"}
        assert wing(exported) in expected and exported.split(".")[-1] == re.sub(r"^\d+[a-z]?_", "", path.stem), path.stem

def test_every_module_has_one_notebook_and_every_number_stands_once():
    names = [module(p) for p in NUMBERED if module(p)]
    there = {".".join(p.relative_to(ROOT/"drugnb").with_suffix("").parts) for p in MODULES}
    assert len(names) == len(set(names)) and there == set(names)
    numbers = [(p.parent, number(p)) for p in NUMBERED]
    assert len(numbers) == len(set(numbers))
    assert not {p.stem for p in MODULES if p.parent == ROOT/"drugnb"} & {p.name for p in (ROOT/"drugnb").iterdir() if p.is_dir()}

@pytest.mark.parametrize("path", [p for p in NUMBERED if number(p)[0] < 90], ids=name_of)
def test_imports_run_downwards_and_stay_in_their_wing(path):
    "Lessons included: lower numbers of the wing, core, sources, and the cards of studies, which are text."
    exported = {module(p): p for p in NUMBERED if module(p)}
    mine = wing(module(path))
    allowed = {"core": {"core"}, "sources": {"core", "sources"}}.get(mine, {"core", "sources", "studies", mine})
    if mine in ("run", "sweep", "command"): allowed |= {"run", "sweep"}
    for name in {m for text in code(path) for m in imported(text)}:
        assert wing(name) in allowed, f"{path.stem} imports {name}"
        other = exported.get(name)
        if other and other.parent == path.parent and name != "studies":
            assert number(other) <= number(path), f"{path.stem} imports {name} from the later {other.stem}"

def test_no_module_takes_a_private_name_of_another():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and ("drugnb" in (node.module or "") or node.level):
                private = [a.name for a in node.names if a.name.startswith("_")]
                assert not private, f"{path.name} imports {private[0]}"

def test_every_function_on_a_card_is_there():
    for name, known in STUDIES.items():
        named = [known.example, known.check, known.summary, known.results, *filter(None, known.sets.values()),
                 *known.builds.values(), *(f for f, _ in known.commands.values())]
        assert all(callable(function(f)) for f in [*named, *filter(None, [known.shared])])
        assert all(wing(f) == name for f in named) and set(known.builds) <= set(known.sets)
        assert all(notebook_path(n).exists() for n in known.notebooks)
        assert abs(sum(known.notebooks.values()) - 1) < 0.02, "shares of the time"
        parameters = {p for n in known.notebooks for p in notebook_parameters(n)}
        assert set(known.rules) <= parameters, "rules are for parameters that there are"

def test_run_sweep_and_command_name_no_study():
    "Names of studies, of their models and of their columns stand on cards alone."
    for name in ("run", "sweep", "command"):
        text = (ROOT/f"drugnb/{name}.py").read_text()
        for word in (*STUDIES, "pearson", "compounds", "unweighted", "perplexity"): assert word not in text, f"{name} knows {word}"

# limits

@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_fits_a_screen(path):
    for text in code(path):
        lines = text.splitlines()
        assert len(lines) <= CELL, f"a cell of {len(lines)} lines begins {lines[0]!r}"
        assert max(map(len, lines)) <= WIDTH, max(lines, key=len)
        tokens = tokenize.generate_tokens(io.StringIO(text + "\n").readline)
        after = [t.line for t in tokens if t.type == tokenize.OP and t.string == ";" and t.line[t.end[1]:].strip()]
        assert not after, f"two statements in a line: {after[0]!r}"
        lambdas = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Lambda)]
        assert not lambdas, "a lambda with a name is a def"

@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_is_light_whole_and_has_parameters(path):
    assert path.stat().st_size < 400_000
    assert any(re.search(r"^> \S", source(c), re.M) for c in cells(path)[:4])
    outputs = [o for c in cells(path, "code") for o in c["outputs"]]
    assert outputs and not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert not re.search(r"/tmp/|/root/|/home/|/work/", path.read_text()), "a path of some machine"
    if path not in NUMBERED: return
    tagged = [c for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    for node in ast.parse(source(tagged[0])).body: ast.literal_eval(node.value)
    assert all("#" in line for line in source(tagged[0]).splitlines()), "each parameter says what it means"

@pytest.mark.parametrize("path", NUMBERED, ids=name_of)
def test_running_all_cells_writes_no_module(path):
    assert not any("nbdev_export" in text for text in code(path))

@pytest.mark.parametrize("study", STUDIES)
def test_parameters_of_one_name_default_to_one_thing(study):
    seen = {}
    for name in card(study).notebooks:
        for p, (default, _) in notebook_parameters(name).items():
            if p != "source": assert seen.setdefault(p, default) == default, f"{p} is {default} in {name}"

def public(path):
    "Public functions and classes of a module, with their public methods."
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"): continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from (f for f in node.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_"))

@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT/"drugnb")))
def test_what_is_public_says_what_it_is(path):
    for node in public(path): assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"

# settings, weight, figures

def test_settings_file_and_defaults_know_the_same_keys():
    written = {k: v for k, v in read_settings(ROOT).items() if v != DEFAULTS.get(k)}
    named = {name for known in STUDIES.values() for name, made in known.sets.items() if not made}
    assert set(written) <= {"data", *named}, "the file only restates the built-in defaults, save for where data lie"

def loads(statement):
    "Modules that are there after a statement, run far from any project."
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())

HEAVY = {"torch", "dask", "distributed", "papermill", "anndata", "monai", "rdkit", "tifffile", "imagecodecs", "zarr"}

def test_importing_drugnb_imports_next_to_nothing():
    assert not loads("import drugnb") & {"numpy", "pandas", "drugnb.core", "drugnb.run"}
    assert not loads("import drugnb.command, drugnb.studies") & {"numpy", "pandas", "matplotlib", "drugnb.run"}

def test_importing_one_study_loads_nothing_of_another_s():
    combos = loads("import drugnb.combos.connect, drugnb.combos.held_out, drugnb.combos.use")
    assert not combos & {"openTSNE", "leidenalg", "igraph", "plotly", "kneed", "seaborn", *HEAVY}
    assert not [m for m in combos if m.startswith("drugnb.weighting")]
    weighting = loads("import drugnb.weighting.compare, drugnb.weighting.figures, drugnb.weighting.use")
    assert not weighting & HEAVY and not [m for m in weighting if m.startswith("drugnb.combos")]
    synergy = loads("import drugnb.synergy.score, drugnb.synergy.held_out, drugnb.synergy.campaign, drugnb.synergy.replay, drugnb.synergy.use")
    assert not synergy & HEAVY
    cells = loads("import drugnb.morphology.data, drugnb.morphology.phenotype, drugnb.morphology.active, drugnb.morphology.embed, "
                  "drugnb.morphology.explain, drugnb.morphology.gallery, drugnb.morphology.use")
    assert not cells & HEAVY and not [m for m in cells if m.startswith(("drugnb.weighting", "drugnb.combos", "drugnb.synergy"))]
    screens = loads("import drugnb.essentiality.held_out, drugnb.essentiality.reports, drugnb.essentiality.predict")
    assert not screens & {"openTSNE", "leidenalg", "igraph", "plotly", "kneed", "seaborn", *HEAVY}
    assert not [m for m in screens if m.startswith(("drugnb.weighting", "drugnb.combos"))]
    assert not loads("import drugnb.sweep") & (HEAVY | {"openTSNE", "plotly", "seaborn"})

def test_figures_are_committed():
    names = {p.stem for p in (ROOT/"figures/weighting").glob("*.png")}
    assert names == {"knee", "map_viability", "map_cluster", "map_mechanism", "maps", "clusters", "comparison", "predicted",
                     "choice", "robustness", "masking", "coefficients"}
    assert names == {p.stem for p in (ROOT/"figures/weighting").glob("*.svg")}
    assert (ROOT/"figures/weighting/map.html").stat().st_size > 1e6
    of_pairs = {"ranking", "pairs", "scores", "accuracy_by_size", "error_by_pair", "predicted", "coverage", "question"}
    for folder in ("figures/combos", "figures/combos/melanoma"):
        assert of_pairs == {p.stem for p in (ROOT/folder).glob("*.png")} == {p.stem for p in (ROOT/folder).glob("*.svg")}
    of_screens = {"models", "ranked", "predicted", "second_screen", "pathways", "pathways_specific", "truths", "calibration",
                  "calibration_by_distance", "units", "measured"}
    for folder in ("figures/essentiality", "figures/essentiality/gdsc"):
        found = {p.stem for p in (ROOT/folder).glob("*.png")}
        assert of_screens == {f for f in found if not f.startswith("page_")} and found == {p.stem for p in (ROOT/folder).glob("*.svg")}
        assert {f for f in found if f.startswith("page_")} == {p.stem for p in (ROOT/folder).glob("*.md")}
    of_drug_pairs = {"pairs", "surface", "contour", "blocks", "models", "calibration", "predicted", "replay", "picked", "proposal", "drugs", "plate"}
    for folder in ("figures/synergy", "figures/synergy/almanac-786-0"):
        found = {p.stem for p in (ROOT/folder).glob("*.png")}
        assert of_drug_pairs == found == {p.stem for p in (ROOT/folder).glob("*.svg")}

    of_cells = {"activity", "baselines", "channel_swap", "confounding", "gallery", "grad_cam", "layout", "loss", "map", "splits", "stains"}
    of_wells = of_cells - {"channel_swap", "gallery", "grad_cam", "loss", "stains"}
    for folder, names in (("", of_cells), ("bbbc021", of_wells), ("bbbc021-cells", of_cells)):
        found = {p.stem for p in (ROOT/"figures/morphology"/folder).glob("*.png")}
        assert names == found == {p.stem for p in (ROOT/"figures/morphology"/folder).glob("*.svg")}

@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT/"drugnb")))
def test_each_argument_on_a_line_of_its_own_says_what_it_is(path):
    lines = path.read_text().splitlines()
    for node in public(path):
        if not isinstance(node, ast.FunctionDef): continue
        for a in [*node.args.args, *node.args.kwonlyargs]:
            own = lines[a.lineno - 1]
            if a.lineno > node.lineno: assert "#" in own, f"{path.name}: {node.name}({a.arg}) has no comment"
