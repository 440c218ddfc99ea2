"""Studies to be disturbed: a toy that takes no time (make test), and the five on small tables of their own (make test-all)."""
import json
import shutil
import sys
from pathlib import Path

import campaign
import pytest

import drugnb
from drugnb import run, sweep
from drugnb.studies import STUDIES, Card, Rule, card, function
from drugnb.weighting.simulate import simulate, write_study

USE = '''
import json
import pandas as pd
from pathlib import Path
from drugnb.core.artefacts import write_table
from drugnb.core.settings import InputError
from drugnb.core.read import read_table
from drugnb.studies import find_set

def small(): return pd.DataFrame({"id": [f"r{i}" for i in range(200)], "x": range(200)})

def table(source):
    found = find_set("toy", source)
    return read_table(found/"table.csv") if isinstance(found, Path) else found

def check(source, parameters, store):
    rows = len(table(source))
    if rows < parameters["size"]: raise InputError(f"{source} has {rows} rows: take a smaller size.")
    return [f"{source} has {rows} rows"]

def summary(folder): return str(json.loads((folder/"model.json").read_text())["mean"])

def results(folder): return {}, pd.DataFrame({"auc": [0.5], "low": 0.1, "high": 0.9}, index=["toy model"])

def example(folder): write_table(small(), folder/"table.csv"); return folder
'''

FIRST = ['size = 3  # how large\nseed = 0  # of noise\nsource = "small"\nrun = ""\nfigures = ""', '''
import json
import numpy as np
import pandas as pd
from drugnb.core.artefacts import RunFolder, frame_key
from drugnb.toy.use import table
store = RunFolder(run)
found = table(source)
store.stage("table", lambda: found.assign(y=found.x*size), [frame_key(found)], size=size)
''']

SECOND = [FIRST[0], '''
from drugnb.core.artefacts import RunFolder, atomic, figures_folder, write_table
from drugnb.toy.use import table
import json
import numpy as np
from drugnb.core.artefacts import frame_key
store = RunFolder(run)
found = table(source)
first = store.stage("table", lambda: found.assign(y=found.x*size), [frame_key(found)], size=size)
def noisy(): return first.assign(z=first.y + np.random.default_rng(seed).standard_normal(len(first)))
second = store.stage("noisy", noisy, [first], seed=seed)
write_table(second.describe(), store.path/"scores.csv")
with atomic(store.path/"model.json") as part: part.write_text(json.dumps({"mean": float(second.z.mean())}))
with atomic(figures_folder(figures, store)/"line.svg") as part: part.write_text("<svg/>"*1000)
''']

def _notebook(sources):
    cells = [dict(cell_type="code", metadata=dict(tags=[] if i else ["parameters"]), source=s, outputs=[], execution_count=None, id=str(i))
             for i, s in enumerate(sources)]
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    return json.dumps(dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=5))

@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    "A study of two notebooks with stages, tables, a model and a figure; known only here."
    home, patch = tmp_path_factory.mktemp("toy"), pytest.MonkeyPatch()
    (home/"package/toy").mkdir(parents=True)
    (home/"package/toy/__init__.py").write_text("")
    (home/"package/toy/use.py").write_text(USE)
    (home/"nbs/toy").mkdir(parents=True)
    for name, sources in (("60_first", FIRST), ("61_second", SECOND)): (home/f"nbs/toy/{name}.ipynb").write_text(_notebook(sources))
    patch.setattr(drugnb, "__path__", [*drugnb.__path__, str(home/"package")])
    whole = run.notebook_path
    for module in (run, sweep):
        patch.setattr(module, "notebook_path", lambda name: home/f"nbs/{name}.ipynb" if name.startswith("toy/") else whole(name))
    patch.setitem(STUDIES, "toy", Card(
        question="does it survive", notebooks={"toy/60_first": 0.5, "toy/61_second": 0.5}, sets={"small": "toy.use:small"}, builds={},
        example="toy.use:example", check="toy.use:check", summary="toy.use:summary", results="toy.use:results",
        score="auc", measure="AUC", reference="toy model", rules={"size": Rule(low=1), "seed": Rule(low=0)}))
    yield home
    patch.undo()
    for name in [m for m in sys.modules if m.startswith("drugnb.toy")]: del sys.modules[name]

def tables_of(study, folder):
    "A study's small tables in a folder."
    if study == "weighting": return write_study(simulate(300, 60, n_outside=60), folder)
    return function(card(study).example)(folder)

class World:
    "A study, its tables, and a run that nothing disturbed."
    def __init__(self, study, home, packaged):
        campaign.preload(study)
        self.study, self.home, self.packaged = study, home, packaged
        self.source = tables_of(study, home/"tables")
        self.calm = home/"calm"
        count = home/"writes"
        done = campaign.forked(self.words(self.calm), home, before=campaign.counting(count, self.calm))
        assert done.code == 0, done.err[-3000:]
        self.seconds, self.writes = done.seconds, count.stat().st_size
        assert not campaign.broken(self.calm)

    def words(self, folder, *more, source=None): return campaign.words(self.study, folder, source or self.source, *more)

    def spoilt(self, folder):
        "A copy of the calm run, to be spoilt."
        shutil.copytree(self.calm, folder)
        return folder

    def same(self, folder, **how):
        "Does a run's folder hold what the calm one does, and nothing half?"
        assert not campaign.broken(folder), campaign.broken(folder)
        assert campaign.figures(folder) == campaign.figures(self.calm)
        assert not (found := campaign.differences(self.calm, folder, **how)), "\n".join(found)
        return True

@pytest.fixture(scope="module")
def world(toy, tmp_path_factory):
    "The toy, undisturbed."
    return World("toy", tmp_path_factory.mktemp("world"), toy)

SLOW = [pytest.param(s, marks=pytest.mark.slow) for s in campaign.QUICK if s != "toy"]

@pytest.fixture(scope="module", params=["toy", *SLOW])
def study(request, tmp_path_factory):
    "The toy, and in make test-all each of the five, undisturbed."
    if request.param == "toy": return request.getfixturevalue("world")
    return World(request.param, tmp_path_factory.mktemp(request.param), tmp_path_factory.mktemp("none"))

@pytest.fixture(scope="module", params=[s for s in campaign.QUICK if s != "toy"])
def five(request, tmp_path_factory):
    "Each of the five, for tests that are slow in themselves."
    return World(request.param, tmp_path_factory.mktemp(request.param), tmp_path_factory.mktemp("none"))

@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    "An empty folder to work in."
    monkeypatch.chdir(tmp_path)
    return tmp_path
