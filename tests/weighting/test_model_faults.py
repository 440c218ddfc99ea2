"""Nothing is taken on trust: a model file with any field spoilt is refused, and a table with little in it gets no claim."""
import copy
import dataclasses
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.weighting.model import ENOUGH_GENES, NEARLY_NONE, load_model, make_model, measured_rows, save_model
from drugnb.weighting.simulate import simulate


@pytest.fixture(scope="module")
def study(): return simulate(240, 60, seed=0, n_outside=60)

@pytest.fixture(scope="module")
def model(study):
    "A model of 60 genes and 20 compounds, with all that a run keeps."
    rng, of = np.random.default_rng(0), pd.factorize(study.samples["compound"])[0]
    folds = [(np.flatnonzero(of % 3 != f), np.flatnonzero(of % 3 == f)) for f in range(3)]
    coefficients = rng.normal(0, 0.02, len(study.genes) + 1)
    predicted = study.samples.viability.to_numpy() + rng.normal(0, 0.1, len(of))
    made = make_model(study, coefficients, "unweighted", 100.0, predicted, folds, "by hand", left_out="plates")
    row = {"coverage": 0.9, "coverage_low": 0.8, "coverage_high": 0.95, "width": 0.5, "compounds": 20, "level": 0.9}
    return dataclasses.replace(made, measured=measured_rows(pd.DataFrame([row], index=["held-out plates"])))

# the file

def fields_of(value, path=()):
    "Every field of a saved model, by its path; lists count as one field, except for lists of fields."
    if isinstance(value, dict):
        for name, v in value.items():
            yield (*path, name)
            yield from fields_of(v, (*path, name))
    elif isinstance(value, list) and value and isinstance(value[0], dict): yield from fields_of(value[0], (*path, 0))

FIELDS = ["genes", "coefficients", "intercept", "alpha", "weighting", "trained_on", "study_key", "n", "chosen_by", "calibration",
          "calibration.at", "calibration.usual", "calibration.scores", "calibration.compounds", "calibration.components",
          "calibration.predicted", "calibration.measured", "calibration.offset", "calibration.left_out", "domain", "domain.mean",
          "domain.scale", "domain.components", "domain.variances", "domain.noise", "domain.t2", "domain.q", "measured",
          "measured.0.where", "measured.0.coverage", "measured.0.coverage_low", "measured.0.coverage_high", "measured.0.width",
          "measured.0.compounds", "measured.0.level", "remembered", "remembered.genes", "remembered.ids", "remembered.values",
          "version", "format"]
REMOVED = object()

def first(value, new):
    "A value with its first number or text changed, however deep."
    if not isinstance(value, list) or not value: return new
    return [first(value[0], new), *value[1:]]

KINDS = {
    "removed": lambda v: REMOVED, "null": lambda v: None, "NaN": lambda v: first(v, np.nan), "infinite": lambda v: first(v, np.inf),
    "minus infinite": lambda v: first(v, -np.inf), "a truth value": lambda v: first(v, True), "a list deeper": lambda v: first(v, [[0.5]]),
    "fields": lambda v: first(v, {"a": 1}), "a huge integer": lambda v: first(v, 10**400), "huge": lambda v: first(v, -1e200),
    "another kind": lambda v: first(v, 1.5 if isinstance(np.ravel(v)[0] if isinstance(v, list) else v, str) else "much"),
    "all alone": lambda v: v[0] if isinstance(v, list) else [v], "cut": lambda v: v[:-1] if isinstance(v, list | str) and len(v) > 1 else {},
    "one more": lambda v: [*v, v[-1]] if isinstance(v, list) else [v, v], "empty": lambda v: [] if isinstance(v, list) else "",
    "negative": lambda v: first(v, -3) if not isinstance(v, str) else -3,
}
MAY = {  # what is no fault: where a number may be below 0, a text may be any, or a field is only told
    "negative": ("coefficients", "intercept", "calibration.at", "calibration.predicted", "calibration.measured", "calibration.offset",
                 "calibration.components", "domain.mean"),
    "cut": ("weighting", "trained_on", "study_key", "chosen_by", "version", "measured.0.where", "measured", "remembered.genes"),
    "empty": ("weighting", "trained_on", "study_key", "chosen_by", "version", "measured", "remembered.ids", "remembered.values"),
    "one more": ("measured",), "null": ("calibration", "domain", "remembered", "measured.0.coverage", "measured.0.coverage_low",
                                        "measured.0.coverage_high", "measured.0.width"),
}
CASES = [(field, kind) for field in FIELDS for kind in KINDS if field not in MAY.get(kind, ())]

def spoilt(model, field, kind):
    "The text of a model's file with one field spoilt."
    d = copy.deepcopy(json.loads(json.dumps(dataclasses.asdict(model))))
    *path, last = [int(p) if p.isdigit() else p for p in field.split(".")]
    inside = d
    for p in path: inside = inside[p]
    new = KINDS[kind](inside[last])
    if new is REMOVED: del inside[last]
    else: inside[last] = new
    return json.dumps(d)

def refused(path, text):
    "What is said of a file; '' where it is loaded."
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try: load_model(path)
        except InputError as e: return str(e)
    return ""

def test_the_fields_below_are_all_fields_of_a_model(model):
    d = json.loads(json.dumps(dataclasses.asdict(model)))
    assert [".".join(map(str, p)) for p in fields_of(d)] == FIELDS

@pytest.mark.parametrize("field", FIELDS)
def test_a_model_with_a_field_spoilt_is_refused_in_one_sentence(tmp_path, model, field):
    accepted = []
    for kind in KINDS:
        if field in MAY.get(kind, ()): continue
        said = refused(tmp_path/"model.json", spoilt(model, field, kind))
        if not said: accepted.append(kind)
        else: assert "\n" not in said and said.endswith(".") and len(said) < 400 + len(str(tmp_path)), said
    assert not accepted

EDITS = {
    "a gene that is duplicated": lambda d: d["genes"].__setitem__(1, d["genes"][0]),
    "genes of one name in two spellings": lambda d: d["genes"].__setitem__(1, d["genes"][0].lower()),
    "a curve that falls along its own axis": lambda d: d["calibration"]["at"].reverse(),
    "a usual error of 0": lambda d: d["calibration"]["usual"].__setitem__(0, 0),
    "a scale of 0": lambda d: d["domain"]["scale"].__setitem__(0, 0),
    "a variance of 0": lambda d: d["domain"]["variances"].__setitem__(0, 0),
    "components that are not orthonormal": lambda d: d["domain"].update(components=(2*np.array(d["domain"]["components"])).tolist()),
    "two components that are one": lambda d: d["domain"]["components"].__setitem__(1, d["domain"]["components"][0]),
    "components that are 0": lambda d: d["domain"].update(components=np.zeros_like(d["domain"]["components"]).tolist()),
    "coverage above 1": lambda d: d["measured"][0].update(coverage=1.2),
    "an interval of the coverage upside down": lambda d: d["measured"][0].update(coverage_low=0.95, coverage_high=0.8),
    "coverage outside its interval": lambda d: d["measured"][0].update(coverage=0.1),
    "a level of 90": lambda d: d["measured"][0].update(level=90),
    "half a compound": lambda d: d["calibration"]["compounds"].__setitem__(0, 0.5),
    "half a signature": lambda d: d.update(n=10.5), "no signature": lambda d: d.update(n=0),
    "held-out wells": lambda d: d["calibration"].update(left_out="wells"),
    "marks that are no base64": lambda d: d["remembered"].update(ids="???"),
    "marks cut in the middle": lambda d: d["remembered"].update(values=d["remembered"]["values"][:-5]),
    "a format of 0": lambda d: d.update(format=0), "a format of 1.5": lambda d: d.update(format=1.5),
    "a later format": lambda d: d.update(format=3), "a later format with other fields": lambda d: d.update(format=3, colour="red"),
    "a format in words": lambda d: d.update(format="2"), "an unknown field": lambda d: d.update(colour="red"),
    "an unknown field inside": lambda d: d["domain"].update(colour="red"), "no domain, but coordinates": lambda d: d.update(domain=None),
    "a calibration without its domain's coordinates": lambda d: d["calibration"].update(components=[]),
    "no held-out predictions": lambda d: d["calibration"].update(predicted=[], measured=[]),
}

@pytest.mark.parametrize("edit", EDITS)
def test_a_model_that_was_edited_into_nonsense_is_refused(tmp_path, model, edit):
    d = json.loads(json.dumps(dataclasses.asdict(model)))
    EDITS[edit](d)
    said = refused(tmp_path/"model.json", json.dumps(d))
    assert said and "\n" not in said
    if "later format" in edit: assert "later version" in said

TEXTS = {
    "a field twice": lambda t: t.replace('"alpha"', '"alpha": 1, "alpha"', 1).encode(),
    "a field twice inside": lambda t: t.replace('"noise"', '"noise": 0, "noise"', 1).encode(),
    "UTF-16": lambda t: t.encode("utf-16"), "not UTF-8": lambda t: t.replace("by hand", "by h\u00e4nd").encode("latin-1"),
    "cut": lambda t: t[:-20].encode(), "two files in one": lambda t: (t + t).encode(), "a byte-order mark": lambda t: ("\ufeff" + t).encode(),
    "NaN in a text of no number": lambda t: t.replace('"by hand"', "NaN").encode(), "nothing": lambda t: b"", "zeros": lambda t: b"\0"*100,
    "nested without end": lambda t: b'{"genes":'*50_000, "a number of 10,000 digits": lambda t: t.replace('"n": ', '"n": ' + "1"*10_000).encode(),
}

@pytest.mark.parametrize("how", TEXTS)
def test_a_file_that_is_no_plain_json_is_refused(tmp_path, model, how):
    save_model(model, tmp_path/"model.json")
    raw = TEXTS[how]((tmp_path/"model.json").read_text().replace('":', '": ').replace('":  ', '": '))
    (tmp_path/"model.json").write_bytes(raw)
    with pytest.raises(InputError, match="is not a drugnb model") as e: load_model(tmp_path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 400 + len(str(tmp_path))

# the table

def rows(x, at, value):
    "A table with some rows changed."
    x = x.copy()
    x.iloc[at] = value
    return x

def half(x, share, seed=1):
    "A table with a share of its values missing at random."
    return x.mask(np.random.default_rng(seed).random(x.shape) < share)

def few(x, share, n=None):
    "A table whose first n rows have a share of their genes."
    x = x.copy()
    x.iloc[:n, round(share*x.shape[1]):] = np.nan
    return x

TABLES = {
    "as it is": lambda x: x, "turned": lambda x: x.T, "all missing": lambda x: x*np.nan, "all infinite": lambda x: x*np.nan + np.inf,
    "all minus infinite": lambda x: x*np.nan - np.inf, "infinite of both signs": lambda x: np.sign(x)*np.inf, "all 0": lambda x: x*0,
    "all 1": lambda x: x*0 + 1, "all 1e19": lambda x: x*0 + 1e19, "1e19": lambda x: x*1e19, "1e200": lambda x: x*1e200,
    "1e-200": lambda x: x*1e-200, "rows missing": lambda x: rows(x, slice(0, 20), np.nan),
    "all rows but one": lambda x: rows(x, slice(1, None), np.nan), "columns missing": lambda x: few(x, 0.5),
    "one gene left": lambda x: few(x, 0.02), "five genes left": lambda x: few(x, 0.08), "half missing": lambda x: half(x, 0.5),
    "nearly all missing": lambda x: half(x, 0.97), "a tenth missing": lambda x: half(x, 0.1),
    "some rows with one gene": lambda x: few(x, 0.02, 10), "some rows with 5%": lambda x: few(x, 0.05, 10),
    "some rows with 15%": lambda x: few(x, 0.15, 10), "all rows with 5%": lambda x: few(x, 0.05), "all rows with 79%": lambda x: few(x, 0.79),
    "one row": lambda x: x[:1], "one row missing": lambda x: x[:1]*np.nan, "no row": lambda x: x[:0], "no column": lambda x: x.iloc[:, :0],
    "constant rows": lambda x: rows(x, slice(0, 10), 1.0), "rows of 0": lambda x: rows(x, slice(0, 10), 0.0),
    "all rows alike": lambda x: rows(x, slice(None), x.iloc[0]), "counts": lambda x: (x.abs()*100).round(),
    "one infinite value": lambda x: rows(x, (0, 0), np.inf), "a row of infinite values": lambda x: rows(x, 0, -np.inf),
    "a row of 1e19": lambda x: rows(x, 0, 1e19), "a row of 1e200": lambda x: rows(x, 0, 1e200), "a value of 1e200": lambda x: rows(x, (0, 0), 1e200),
    "a value of 1e300": lambda x: rows(x, (0, 0), 1e300), "genes by name without a value": lambda x: few(x, 0.85),
    "text": lambda x: x.astype(object).where(x < 2, "high"), "truth values": lambda x: x > 0,
    "whole numbers": lambda x: (x*10).round().astype(int), "float16": lambda x: x.astype(np.float16),
    "a gene duplicated, once missing": lambda x: pd.concat([x, (x*np.nan).iloc[:, :30]], axis=1),
    "ids duplicated": lambda x: x.set_axis(["a"]*len(x)), "Int64 with missing": lambda x: half((x*10).round(), 0.3).astype("Int64"),
}

def promised(table, x, genes):
    "What every prediction keeps to, whatever it was made from."
    p, low, high = (table[c].to_numpy(float) for c in ("viability", "low", "high"))
    known = np.isfinite(p)
    assert (np.isfinite(low) & np.isfinite(high))[known].all() and (low <= p)[known].all() and (p <= high)[known].all()
    assert np.isnan(np.concatenate([p, low, high, table.linear.to_numpy(float)])[np.tile(~known, 4)]).all(), "missing, or finite"
    claims = table.claim.str.startswith("held-out").to_numpy()
    assert (table.claim.str.startswith("none: ").to_numpy() | claims).all() and table.outside_domain.notna().all()
    assert not (claims & ~known).any() and not (claims & table.outside_domain.to_numpy(bool)).any()
    measured = np.isfinite(x.reindex(columns=genes).to_numpy(float)).mean(1)
    assert not known[measured < NEARLY_NONE].any(), "hardly a gene, no prediction"
    assert not claims[measured < ENOUGH_GENES].any() and table.outside_domain[measured < ENOUGH_GENES].all()

@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("how", TABLES)
def test_a_prediction_is_missing_or_finite_and_claims_nothing_of_what_was_not_measured(model, study, how, alone):
    x = study.outside[:40].reindex(columns=model.genes).astype(float)
    table = TABLES[how](x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try: made = model.predict(table, alone=alone)
        except InputError as e:
            assert "\n" not in str(e) and str(e).endswith(".")
            return
    found = table if how != "turned" else table.T
    found = found.T.groupby(level=0).mean().T if not found.columns.is_unique else found
    promised(made, found, model.genes)
