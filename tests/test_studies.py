"""Cards: a study that nobody has heard of needs a folder and a card, and run, sweep and command serve it."""
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import drugnb
from drugnb import run, sweep
from drugnb.command import main, parser
from drugnb.core.settings import InputError
from drugnb.studies import STUDIES, Card, Rule, did_you_mean, find_set, function, keep_rule, like

USE = '''
from drugnb.core.settings import InputError

def small(): return [1, 2, 3]

def check(source, parameters, store):
    if parameters["size"] > 5: raise InputError("Five is the most.")
    return [f"{source} with size {parameters['size']}"]

def summary(folder): return (folder/"found.txt").read_text()

def results(folder):
    import pandas as pd
    size = int((folder/"found.txt").read_text())
    return {"size squared": size**2}, pd.DataFrame({"auc": [0.5, size/10], "low": 0.1, "high": 0.9}, index=["chance", "toy model"])

def example(folder):
    folder.mkdir()
    return folder

def greet(
    name: str,  # who is greeted
    loud: bool = False,  # with a capital
): "Say hello."; print(name.upper() if loud else name)
'''

NOTEBOOK = ['size = 3  # how large\nsource = ""\nrun = ""', 'from pathlib import Path\nPath(run, "found.txt").write_text(str(size))']

@pytest.fixture
def toy(tmp_path, monkeypatch):
    "A folder of modules, a folder of notebooks, and a card."
    (tmp_path/"package/toy").mkdir(parents=True)
    (tmp_path/"package/toy/__init__.py").write_text("")
    (tmp_path/"package/toy/use.py").write_text(USE)
    (tmp_path/"nbs/toy").mkdir(parents=True)
    cells = [dict(cell_type="code", metadata=dict(tags=["parameters"] if not i else []), source=s, outputs=[], execution_count=None,
                  id=str(i)) for i, s in enumerate(NOTEBOOK)]
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    (tmp_path/"nbs/toy/60_data.ipynb").write_text(json.dumps(dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=5)))
    monkeypatch.setattr(drugnb, "__path__", [*drugnb.__path__, str(tmp_path/"package")])
    monkeypatch.setattr(run, "notebooks_folder", lambda: tmp_path/"nbs")
    monkeypatch.setitem(STUDIES, "toy", Card(
        question="is a card enough", notebooks={"toy/60_data": 1.0}, sets={"small": "toy.use:small"}, builds={},
        example="toy.use:example", check="toy.use:check", summary="toy.use:summary", results="toy.use:results",
        score="auc", measure="AUC", reference="chance", rules={"size": Rule(low=1)},
        commands={"greet": ("toy.use:greet", "say hello")}))
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith("drugnb.toy")]: del sys.modules[name]

def test_a_folder_and_a_card_are_enough(toy, capsys):
    main(["run", "toy", "-p", "size=4", "--run", str(toy/"r")])
    said = capsys.readouterr().out
    assert "small with size 4" in said and "toy on small [1/1] 60_data" in said and "\n4\n" in said
    folder, table = sweep.sweep("toy", {"size": ["2", "5"]}, "", {}, toy/"s", ThreadPoolExecutor(1))
    assert table["toy model auc"].tolist() == [0.2, 0.5] and table["size squared"].tolist() == [4, 25] and (folder/"sweep.png").exists()
    main(["run", "toy", "--help"])
    assert "size" in (said := capsys.readouterr().out) and "how large" in said
    main(["greet", "ada", "--loud"])
    assert capsys.readouterr().out == "ADA\n"
    assert "greet" in parser().format_help() and find_set("toy", "small") == [1, 2, 3]

def test_its_faults_are_refused_before_any_kernel(toy, capsys):
    for arguments, said in ((["-p", "size=6"], "Five is the most."), (["-p", "size=0"], "should be 1 or more"),
                            (["-p", "siz=2"], "did you mean 'size'?"), (["--data", "smal"], "did you mean 'small'?")):
        with pytest.raises(SystemExit) as e: main(["run", "toy", "--run", str(toy/"r"), *arguments])
        assert e.value.code == 2 and said in capsys.readouterr().err
    assert not (toy/"r").exists(), "a refused run leaves no folder"

def test_the_nearest_name_is_offered():
    assert did_you_mean("weigting", STUDIES) == "did you mean 'weighting'?"
    assert did_you_mean("xyz", ["one", "two"]) == "use one, two."
    with pytest.raises(InputError, match="did you mean 'melanoma'"): find_set("combos", "melanom")

def test_a_function_is_imported_when_it_is_asked_for():
    assert function("core.artefacts:digest")([1]) and isinstance(function("weighting.simulate:simulated_small")().samples, pd.DataFrame)

# values as they are typed

@pytest.mark.parametrize("default, text, value", [
    ("a", "3", "3"), (3, "5", 5), (3, " 5 ", 5), (3, "1e2", 100), (0.5, "2", 2), (0.5, "2.5", 2.5), (False, "true", True), (True, "FALSE", False),
    (float("nan"), "1", 1)])
def test_a_value_takes_the_type_of_the_default(default, text, value):
    found = like(default, text, "The parameter x")
    assert found == value and isinstance(found, type(value))

@pytest.mark.parametrize("default, text, kind", [
    (3, "2.5", "a whole number"), (3, "", "a whole number"), (0.5, "nan", "a number"), (0.5, "a", "a number"),
    (True, "1", "True or False"), (False, "", "True or False")])
def test_a_value_of_another_type_is_refused(default, text, kind):
    with pytest.raises(InputError) as e: like(default, text, "The parameter x")
    assert str(e.value) == f"The parameter x is {text!r} but should be {kind}."

def test_a_rule_holds_at_both_ends(tmp_path, monkeypatch):
    share, counts, words = Rule(low=0, high=1), Rule(low=1, high=1000, many=True, whole=True), Rule(words=("one", "two"), many=True)
    for value, rule in ((0, share), (1, share), (0.5, share), ("1, 1000", counts), ("", counts), ("two,one", words), ("", words), ("x", Rule()),
                        (-5, Rule(high=3))):
        assert keep_rule(value, "x", rule) == value
    for value, rule, says in ((-0.1, share, "x is -0.1 but should be between 0 and 1."), (1.01, share, "between 0 and 1"),
                              ("0", counts, "between 1 and 1,000"),
                              ("1,1001", counts, "x is '1,1001' but should be whole numbers with commas between, each between 1 and 1,000."),
                              ("1.5", counts, "whole"),
                              ("1,,2", counts, "x: '1,,2' has an empty entry"), ("one,tow", words, "x is 'tow': did you mean 'two'?"),
                              ("nan", share, "between"),
                              (0, Rule(low=1), "x is 0 but should be 1 or more."), (4, Rule(high=3), "x is 4"),
                              ("a", Rule(many=True), "numbers with commas between")):
        with pytest.raises(InputError) as e: keep_rule(value, "x", rule)
        assert says in str(e.value), str(e.value)
    monkeypatch.chdir(tmp_path)
    (tmp_path/"here").touch()
    assert keep_rule("here", "x", Rule(file=True)) == str(tmp_path/"here") and keep_rule("not here", "x", Rule(file=True)) == "not here"
    rules = [rule for known in STUDIES.values() for rule in (*known.rules.values(), *known.options.values())]
    assert all(math.isfinite(rule.low) == math.isfinite(rule.high) for rule in rules), "a number has two ends"

LEAST = {"weighting": "perplexity=1 min_samples=1 components=1 folds=2 repeats=1 seed=0 seeds=0 eps=0 resolution=0 alphas=0 most_masked=0 factors=0",
         "combos": "top=1 folds=2 permutations=1 repeats=1", "essentiality": "pages=0 seeds=1 least=0 least=1 permutations=1",
         "morphology": "epochs=1 explain_epochs=1 size=0 folds=2", "synergy": "batch=1 rounds=1 draws=0 seeds=1"}

def test_the_least_that_makes_sense_may_be_asked_for():
    for study, line in LEAST.items():
        for word in line.split(): assert run.plan(study, dict([word.split("=")]))
    for study, names in {"combos": "permutations genes fdr", "essentiality": "top genes", "synergy": "kappa seed"}.items():
        for name in names.split(): assert STUDIES[study].options[name].low == 0
    for study, names in {"combos": "top n_top n_extreme", "synergy": "top n replicates"}.items():
        for name in names.split(): assert STUDIES[study].options[name].low == 1
