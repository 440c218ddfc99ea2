"""Models of screens that are not what they should be, and lines that no model can place: a sentence, and flags that fail closed."""
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import write_json
from drugnb.core.settings import InputError
from drugnb.essentiality import predict as module
from drugnb.essentiality.data import simulate_screen
from drugnb.essentiality.kernel import FastModel
from drugnb.essentiality.leap import Leap
from drugnb.essentiality.predict import load_model, predict_lines, save_model, train_model
from drugnb.essentiality.represent import Rotation

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def screen(): return simulate_screen(n_lines=60, n_genes=40, n_drugs=6, n_pathways=3, n_tissues=3, seed=4)

@pytest.fixture(scope="module")
def trained(screen): return train_model(FastModel(folds=3), screen, folds=3)

@pytest.fixture(scope="module")
def mine(screen):
    "Twelve lines like those of the screen."
    return simulate_screen(n_lines=60, n_genes=40, n_drugs=6, n_pathways=3, n_tissues=3, seed=4).expression.iloc[:12].astype(float) + 0.05

def sentence(error):
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 500, text

def cell(frame, value, row=1, column=1):
    out = frame.copy()
    out.iloc[row, column] = value
    return out

def renamed(frame, axis, position, name):
    labels = list(frame.axes[axis])
    labels[position] = name
    return frame.set_axis(labels, axis=axis)

FAULTS = {
    "expression nan": lambda t: replace(t, expression=cell(t.expression, np.nan)),
    "expression infinite": lambda t: replace(t, expression=cell(t.expression, np.inf)),
    "expression without a gene": lambda t: replace(t, expression=t.expression.iloc[:, 1:]),
    "expression without a line": lambda t: replace(t, expression=t.expression.iloc[1:]),
    "genes duplicated": lambda t: replace(t, genes=renamed(t.genes, 0, 1, t.genes.index[0]), expression=renamed(t.expression, 1, 1,
        t.genes.index[0])),
    "a gene without a name": lambda t: replace(t, genes=renamed(t.genes, 0, 1, ""), expression=renamed(t.expression, 1, 1, "")),
    "sd negative": lambda t: replace(t, genes=t.genes.assign(sd=-t.genes.sd)),
    "sd nan": lambda t: replace(t, genes=t.genes.assign(sd=np.nan)),
    "sd infinite": lambda t: replace(t, genes=t.genes.assign(sd=np.inf)),
    "mean text": lambda t: replace(t, genes=t.genes.assign(mean=t.genes["mean"].astype(str))),
    "quantiles that fall": lambda t: replace(t, genes=t.genes.assign(q95=t.genes.q05 - 1)),
    "genes without a column": lambda t: replace(t, genes=t.genes.drop(columns="median")),
    "responses infinite": lambda t: replace(t, responses=cell(t.responses, np.inf)),
    "responses all missing": lambda t: replace(t, responses=t.responses*np.nan),
    "a response all missing": lambda t: replace(t, responses=t.responses.assign(**{t.responses.columns[0]: np.nan})),
    "perturbations duplicated": lambda t: replace(t, responses=renamed(t.responses, 1, 1, t.responses.columns[0])),
    "a perturbation more": lambda t: replace(t, responses=t.responses.assign(more=1.0)),
    "lines in another order": lambda t: replace(t, lines=t.lines.iloc[::-1]),
    "lines without a tissue column": lambda t: replace(t, lines=t.lines.drop(columns="tissue")),
    "patients missing": lambda t: replace(t, lines=t.lines.assign(patient=None)),
    "left_out infinite": lambda t: replace(t, left_out=cell(t.left_out, -np.inf)),
    "left_out nan": lambda t: replace(t, left_out=t.left_out*np.nan),
    "left_out of other lines": lambda t: replace(t, left_out=t.left_out.iloc[::-1]),
    "left_out_tissues infinite": lambda t: replace(t, left_out_tissues=cell(t.left_out_tissues, np.inf)),
    "distances negative": lambda t: replace(t, distances=-t.distances),
    "distances nan": lambda t: replace(t, distances=t.distances.assign(near=np.nan)),
    "perturbations without names": lambda t: replace(t, perturbations=t.perturbations.drop(columns="name")),
    "perturbations of others": lambda t: replace(t, perturbations=t.perturbations.iloc[1:]),
    "stretch nan": lambda t: replace(t, stretch=module.Stretch(np.zeros(1), np.full(1, np.nan))),
    "stretch negative": lambda t: replace(t, stretch=module.Stretch(np.zeros(1), np.full(1, -1.0))),
    "stretch infinite": lambda t: replace(t, stretch=module.Stretch(np.zeros(1), np.full(1, np.inf))),
    "stretch that falls": lambda t: replace(t, stretch=module.Stretch(np.array([0.0, 1.0]), np.array([2.0, 1.0]))),
    "stretch of two lengths": lambda t: replace(t, stretch=module.Stretch(np.zeros(2), np.ones(1))),
    "sensitive is neither": lambda t: replace(t, units={**t.units, "sensitive": "middle"}),
    "no unit": lambda t: replace(t, units={"sensitive": "low"}),
    "a unit that is a number": lambda t: replace(t, units={**t.units, "responses": 3}),
}

@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_with_a_fault_is_neither_saved_nor_loaded(trained, fault, tmp_path, monkeypatch):
    spoilt = FAULTS[fault](trained)
    with pytest.raises(InputError) as e: save_model(tmp_path, spoilt)
    sentence(e)
    monkeypatch.setattr(module, "require_sound", lambda t: t)
    try: save_model(tmp_path, spoilt)  # as another program would have written it
    except (ValueError, AttributeError): return  # Parquet, or the tissues, allow no such table
    monkeypatch.undo()
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

def resaved(folder, name, change):
    "Write one array of a model's state anew, under its right checksum."
    about = json.loads((folder/"about.json").read_text())
    value = module._fetch_state(folder, about["state"][name])
    about["state"][name] = module._keep_state(folder, name, change(np.array(value)))
    return about

def written(folder, about):
    about.pop("checksum", None)
    write_json(folder/"about.json", about)

def first(value):
    def change(a):
        a = a.astype(float)
        a.ravel()[0] = value
        return a
    return change

STATES = {"dual": np.nan, "intercept": np.inf, "second": np.nan, "calibration": -np.inf, "loadings_mean": np.nan, "loadings_weights": np.inf,
    "expression": np.nan}

@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_no_number_is_refused_though_its_checksum_is_right(trained, name, tmp_path):
    folder = save_model(tmp_path, trained)
    written(folder, resaved(folder, name, first(STATES[name])))
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

@pytest.mark.parametrize("name", ["dual", "second", "calibration", "loadings_sd", "patient", "tissue"])
def test_a_state_of_another_shape_is_refused(trained, name, tmp_path):
    folder = save_model(tmp_path, trained)
    written(folder, resaved(folder, name, lambda a: a[:-1]))
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

@pytest.mark.parametrize("name, change", [("calibration", lambda a: a*[1, -1]), ("loadings_sd", lambda a: -a), ("loadings_sd", lambda a: 0*a)])
def test_a_state_of_the_wrong_sign_is_refused(trained, name, change, tmp_path):
    folder = save_model(tmp_path, trained)
    written(folder, resaved(folder, name, change))
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

ABOUTS = {
    "a state less": lambda a: a["state"].pop("dual"), "a table less": lambda a: a["tables"].pop("genes"), "no kind": lambda a: a.pop("kind"),
    "another kind": lambda a: a.update(kind="os.system"), "kind of another class": lambda a: a.update(kind="Leap"),
    "kind a list": lambda a: a.update(kind=["FastModel"]),
    "another format": lambda a: a.update(format=99), "format text": lambda a: a.update(format="1"), "no stretch": lambda a: a.pop("stretch"),
    "stretch text": lambda a: a.update(stretch={"at": "x",
        "factor": "y"}), "a file outside": lambda a: a["tables"]["genes"].update(file="../../secret.parquet"),
    "an absolute file": lambda a: a["tables"]["genes"].update(file="/etc/hostname"),
    "a file that is a number": lambda a: a["tables"]["genes"].update(file=3),
    "shape negative": lambda a: a["state"]["dual"].update(shape=[-1, -1]), "shape huge": lambda a: a["state"]["dual"].update(shape=[10**9, 10**9]),
    "dtype object": lambda a: a["state"]["dual"].update(dtype="O"), "dtype none": lambda a: a["state"]["dual"].update(dtype="zz"),
    "tables a list": lambda a: a.update(tables=[]),
    "state a list": lambda a: a.update(state=[1]), "screen a number": lambda a: a.update(screen=3),
    "units null": lambda a: a.update(units=None), "made_from text": lambda a: a.update(made_from="x"),
}

@pytest.mark.parametrize("fault", ABOUTS)
def test_what_a_folder_says_of_itself_is_checked(trained, fault, tmp_path):
    folder = save_model(tmp_path, trained)
    about = json.loads((folder/"about.json").read_text())
    ABOUTS[fault](about)
    written(folder, about)
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

@pytest.mark.parametrize("content", ["", "null", "[]", "3", "{", "{\"format\": NaN}", "\ufeff{}", "[" * 5000])
def test_a_folder_that_says_nonsense_is_refused(trained, content, tmp_path):
    folder = save_model(tmp_path, trained)
    (folder/"about.json").write_text(content)
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_byte_is_seen(trained, seed, tmp_path):
    folder, rng = save_model(tmp_path, trained), np.random.default_rng(seed)
    path = sorted(folder.iterdir())[rng.integers(len(list(folder.iterdir())))]
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    with pytest.raises(InputError) as e: load_model(tmp_path)
    sentence(e)

def test_files_of_others_in_a_model_s_folder_stay(trained, tmp_path):
    (tmp_path/"model").mkdir()
    (tmp_path/"model/my-notes.parquet").write_text("mine")
    save_model(tmp_path, trained)
    assert (tmp_path/"model/my-notes.parquet").read_text() == "mine"

@pytest.mark.parametrize("model", [FastModel(folds=3), Leap([Rotation(5)], folds=3), Leap([Rotation(5)], "knn", folds=3)])
def test_a_sound_model_is_loaded_and_says_the_same(screen, mine, model, tmp_path):
    trained = train_model(model, screen, folds=3)
    save_model(tmp_path, trained)
    again = predict_lines(load_model(tmp_path), mine)
    pd.testing.assert_frame_equal(again, predict_lines(trained, mine))

def test_a_model_of_a_perturbation_that_was_never_measured_is_refused(screen):
    gone = screen.responses.assign(**{screen.responses.columns[0]: np.nan})
    with pytest.raises(InputError) as e: train_model(FastModel(folds=3), replace(screen, responses=gone), folds=3)
    sentence(e)

# lines of one's own

LINES = {
    "empty": lambda x: x*np.nan, "no line": lambda x: x.iloc[:0], "a line empty": lambda x: x.where(np.broadcast_to(np.arange(12)[:,
        None] != 3, x.shape)), "infinite": lambda x: cell(x, np.inf),
    "1e19": lambda x: cell(x, 1e19), "1e19 everywhere": lambda x: x*0 + 1e19, "-1e19": lambda x: cell(x, -1e19), "1e300": lambda x: cell(x,
        1e300), "zeros": lambda x: x*0,
    "constant": lambda x: x*0 + 3.0, "negative": lambda x: -x, "a line constant": lambda x: x.where(np.broadcast_to(np.arange(12)[:,
        None] != 3, x.shape), 2.0),
    "one line": lambda x: x.iloc[:1], "equal lines": lambda x: x.iloc[[0]*12].set_axis(x.index), "repeated ids": lambda x: x.set_axis(["a"]*12),
    "half the genes": lambda x: x.iloc[:, ::2], "half the genes missing": lambda x: x.where(np.broadcast_to(np.arange(40) % 2 == 0,
        x.shape)), "one gene": lambda x: x.iloc[:, :1], "genes shuffled": lambda x: x.set_axis(list(x.columns[::-1]), axis=1),
    "a line of 1e6": lambda x: x.where(np.broadcast_to(np.arange(12)[:, None] != 3, x.shape),
        1e6), "half missing per line": lambda x: x.where((np.arange(40)[None] + np.arange(12)[:, None]) % 2 == 0),
}

@pytest.mark.parametrize("kind", LINES)
def test_lines_are_predicted_with_sound_intervals_and_flags_or_refused(trained, mine, kind):
    x = LINES[kind](mine)
    try: table = predict_lines(trained, x)
    except InputError as e:
        assert str(e).endswith(".") and "\n" not in str(e) and "nan" not in str(e) and "100%" not in str(e), e
        assert kind not in ("one line", "half the genes", "half the genes missing", "half missing per line"), e
        return
    assert kind not in ("empty", "no line", "a line empty", "infinite", "repeated ids", "one gene", "1e19 everywhere", "zeros", "constant")
    numbers = table[["prediction", "low", "high", "percentile", "chance", "base_rate", "distance", "genes_found"]]
    assert not numbers.isna().any(axis=None) and np.isfinite(table.prediction).all()
    assert (table.low <= table.prediction).all() and (table.prediction <= table.high).all()
    assert table.chance.between(0, 1).all() and table.percentile.between(0, 100).all() and table["rank"].between(1, 6).all()
    if kind in ("1e19", "-1e19", "1e300"): assert table[table.line == x.index[1]].outside.all()
    if kind in ("a line of 1e6", "a line constant"): assert table[table.line == x.index[3]].outside.all()

@pytest.mark.parametrize("kind", ["level 0", "level 1", "level nan", "level above 1", "genes negative", "genes nan", "genes 2", "top negative"])
def test_numbers_that_mean_nothing_are_refused(trained, mine, kind, tmp_path):
    save_model(tmp_path, trained)
    mine.to_csv(tmp_path/"mine.csv")
    how = {"level 0": dict(level=0), "level 1": dict(level=1), "level nan": dict(level=np.nan), "level above 1": dict(level=90),
        "genes negative": dict(genes=-3.0), "genes nan": dict(genes=np.nan),
           "genes 2": dict(genes=2.0), "top negative": dict(top=-1)}[kind]
    with pytest.raises(InputError) as e: module.predict(str(tmp_path/"mine.csv"), str(tmp_path), **how)
    sentence(e)

def test_a_domain_that_is_no_number_is_outside(trained):
    "A comparison with a missing distance is false: the flag has to be true."
    placed = module.Placed(np.zeros((2, 40)), np.array([np.nan, 0.5]), np.zeros(2, int), np.zeros(2, bool), np.ones(2), np.array([1, np.nan]))
    outside, remark, _ = module._remarks(trained, placed, np.array(["", ""], object), pd.Index(["x", "y"]))
    assert outside.all() and "expression" in remark[0] and "genes" in remark[1]

# helpers

@pytest.mark.parametrize("kind", ["no residual", "one", "equal", "weights 0", "infinite residual"])
def test_limits_are_ordered_or_infinite(kind):
    r = {"no residual": np.full((5, 1), np.nan), "one": np.array([[1.0]] + [[np.nan]]*4), "equal": np.ones((5, 1)), "weights 0": np.ones((5,
        1)), "infinite residual": np.array([[np.inf]]*5)}[kind]
    w = np.zeros(5) if kind == "weights 0" else np.ones(5)
    low, high = module.conformal_limits(r, w, 0.8)
    assert not np.isnan([low, high]).any() and (low <= high).all()

@pytest.mark.parametrize("held", ["none", "one line", "one patient"])
def test_a_coverage_is_defined_or_missing(held):
    table = pd.DataFrame(np.ones((4, 2)), list("abcd"))
    if held == "none": table[:] = np.nan
    if held == "one line": table.iloc[1:] = np.nan
    found = module.coverage(table, np.array(["p"]*4 if held == "one patient" else list("abcd")), 20)
    assert np.isnan(found.coverage) == (held == "none") and found.lines == {"none": 0, "one line": 1, "one patient": 4}[held]
    by = module.coverage_by_perturbation(table.assign(gone=np.nan), 0.9)
    assert by.n.tolist() and by.coverage.notna().sum() == (by.n > 0).sum()
