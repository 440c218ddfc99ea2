"""Degenerate screens: whatever is constant, tiny, huge, missing or alone gives a defined answer or one sentence."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import ElasticNet

from drugnb.core.settings import InputError
from drugnb.essentiality import biomarkers as bm
from drugnb.essentiality import judge, leap, pathways, represent, solve
from drugnb.essentiality import reports as rp
from drugnb.essentiality.data import Lines
from drugnb.essentiality.held_out import screen_models

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")


def world(n=36, p=14, m=5, seed=0):
    "Lines of four tissues, one patient each; responses that follow two genes; some are missing."
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    y = x[:, :2] @ rng.standard_normal((2, m)) + 0.5*rng.standard_normal((n, m))
    y[rng.random(y.shape) < 0.1] = np.nan
    return Lines(x, np.array(["a", "b", "c", "d"])[np.arange(n) % 4], np.array([f"p{i}" for i in range(n)])), y

def pairs(names, kinds, few_names, few_kinds):
    "Every pair; all but some of them slow."
    return [pytest.param(n, k, marks=() if n in few_names and k in few_kinds else pytest.mark.slow) for n in names for k in kinds]

def sentence(error):
    "Is this one sentence?"
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400, text

def defined(act):
    "The value, or None where it is refused in one sentence; anything else that is raised falls."
    try: return act()
    except InputError as e:
        assert str(e).endswith(".") and "\n" not in str(e), e
        return None

# estimators

MODELS = {**{n: m for n, m in screen_models().items() if n in ("mean effects", "mean effects with tissue", "tissue mean", "PCA-50 ridge",
    "ridge", "kernel", "fast model")},
          "LASSO": leap.Leap([represent.RawGenes()]), "LEAP": leap.Leap([represent.LinearMasked(8)]),
          "elastic net": leap.Leap([represent.Components(4)], "elastic net"),
          "leap ridge": leap.Leap([represent.RawGenes()], "ridge"), "neighbours": leap.Leap([represent.Rotation(5)], "knn", refit=True)}
GENES = ("PCA-50 ridge", "ridge", "kernel", "fast model", "LASSO", "LEAP", "elastic net", "leap ridge", "neighbours")

def spoilt(kind):
    "A world with one fault."
    lines, y = world()
    x, n = lines.expression.copy(), len(y)
    if kind == "a constant gene": x[:, 3] = 7.25
    if kind == "a constant gene of 1e6": x[:, 3] = 1e6 + 0.1
    if kind == "constant genes": x[:] = 3.3
    if kind == "zero genes": x[:] = 0
    if kind == "equal lines": x[5:15] = x[4]
    if kind == "collinear genes": x[:, 5:] = x[:, :1] + x[:, 1:2]
    if kind == "huge genes": x *= 1e19
    if kind == "tiny genes": x *= 1e-19
    if kind == "a response all missing": y[:, 2] = np.nan
    if kind == "one label": y[1:, 2] = np.nan
    if kind == "two labels": y[2:, 2] = np.nan
    if kind == "constant labels": y[:, 2] = 4.75
    if kind == "constant labels of 1e6": y[:, 2] = 1e6 + 0.1
    if kind == "huge labels": y[:, 2] *= 1e19
    if kind == "tiny labels": y[:, 2] *= 1e-19
    if kind == "a line without labels": y[3] = np.nan
    if kind == "labels of one patient": lines, y = lines._replace(patient=np.where(np.arange(n) < 9, "p0",
        lines.patient)), np.where(np.arange(n)[:, None] < 9, y, np.where(np.arange(5) == 2, np.nan, y))
    if kind == "two patients": lines = lines._replace(patient=np.where(np.arange(n) < n//2, "one", "two"))
    if kind == "no tissue": lines = lines._replace(tissue=np.full(n, ""))
    if kind == "one gene": x = x[:, :1]
    if kind == "one perturbation": y = y[:, :1]
    if kind == "four lines": lines, y, x = lines.rows(np.arange(4)), y[:4], x[:4]
    if kind == "most labels missing": y[6:] = np.nan
    return lines._replace(expression=x), y

FINE = ("a constant gene", "a constant gene of 1e6", "constant genes", "zero genes", "equal lines", "collinear genes", "huge genes",
    "tiny genes", "a response all missing", "one label",
        "two labels", "constant labels", "constant labels of 1e6", "huge labels", "tiny labels", "a line without labels",
        "labels of one patient", "two patients", "no tissue", "one gene",
        "one perturbation", "four lines", "most labels missing")

QUICK = ("a constant gene of 1e6", "collinear genes", "a response all missing", "two labels", "constant labels of 1e6", "tiny genes")

@pytest.mark.parametrize("name, kind", pairs(MODELS, FINE, ("fast model", "LASSO", "neighbours"), QUICK))
def test_a_model_answers_whatever_varies_little(name, kind):
    lines, y = spoilt(kind)
    found = defined(lambda: MODELS[name].fit(lines, y).predict(lines))
    assert found is None or (found.shape == y.shape and np.isfinite(found[:, np.isfinite(y).any(0)]).all())
    if kind.startswith("constant labels") and found is not None and name != "mean effects with tissue":
        np.testing.assert_allclose(found[:, 2], y[0, 2], rtol=1e-9)

WRONG = ("nan in genes", "infinite gene", "infinite label", "no label at all", "one line", "one patient", "overflowing genes",
    "nan in lines to predict")

@pytest.mark.parametrize("name, kind", pairs(GENES, WRONG, ("ridge", "fast model", "LASSO", "leap ridge"), WRONG))
def test_a_model_refuses_what_it_cannot_use(name, kind):
    lines, y = world()
    x, new = lines.expression.copy(), lines
    if kind == "nan in genes": x[2, 3] = np.nan
    if kind == "infinite gene": x[2, 3] = np.inf
    if kind == "infinite label": y[2, 3] = np.inf
    if kind == "no label at all": y[:] = np.nan
    if kind == "overflowing genes": x *= 1e200
    if kind == "one line": lines, x, y = lines.rows([0]), x[:1], y[:1]
    if kind == "one patient": lines = lines._replace(patient=np.full(len(y), "p"))
    if kind == "nan in lines to predict": new = lines._replace(expression=np.where(np.arange(14) == 3, np.nan, x))
    if name in ("PCA-50 ridge", "ridge") and kind in ("one line", "one patient"): pytest.skip("a ridge of means is defined")
    with pytest.raises(InputError) as e: MODELS[name].fit(lines._replace(expression=x), y).predict(new)
    sentence(e)

@pytest.mark.parametrize("name, power", pairs([n for n in GENES if n not in ("kernel", "fast model")], [40], ("ridge", "LEAP"),
    [40]))  # those two rank genes within a line
def test_predictions_do_not_depend_on_the_unit_of_a_gene(name, power):
    lines, y = world()
    scale = 2.0**np.linspace(-power, power, 14).round()
    here = MODELS[name].fit(lines, y).predict(lines)
    there = lines._replace(expression=lines.expression*scale)
    np.testing.assert_allclose(MODELS[name].fit(there, y).predict(there), here, rtol=1e-7, atol=1e-9)

@pytest.mark.parametrize("name, power", pairs([n for n in GENES if n != "elastic net"], [-60, 60], ("ridge", "fast model"),
    [60]))  # its two penalties have two units
def test_predictions_follow_the_unit_of_the_responses(name, power):
    lines, y = world()
    here = MODELS[name].fit(lines, y).predict(lines)
    np.testing.assert_allclose(MODELS[name].fit(lines, y*2.0**power).predict(lines)*2.0**-power, here, rtol=1e-6, atol=1e-8)

@pytest.mark.slow
@pytest.mark.parametrize("name", GENES)
def test_predictions_follow_a_shift_of_the_responses(name):
    lines, y = world()
    here = MODELS[name].fit(lines, y).predict(lines)
    np.testing.assert_allclose(MODELS[name].fit(lines, y + 1e6).predict(lines) - 1e6, here, rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize("name", ("PCA-50 ridge", "ridge", "LASSO", "leap ridge"))
def test_a_shift_of_half_the_lines_is_one_more_gene_direction(name):
    "A batch shift of 1e6 in every gene leaves finite predictions that know the signal."
    lines, y = world(60)
    x = lines.expression.copy()
    x[30:] += 1e6
    found = MODELS[name].fit(lines._replace(expression=x), y).predict(lines._replace(expression=x))
    assert np.isfinite(found).all()

# solver beside scikit-learn

def tables(kind, seed=0):
    "Features and responses with one difficulty; a fifth of the labels is missing."
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((50, 20))
    if kind == "shifted rows": z[25:] += 1e6
    if kind == "missing lines far away": z[40:] += 1e6
    if kind == "scaled 1e-6 to 1e6": z = z*10.0**np.linspace(-6, 6, 20)
    if kind == "collinear": z[:, 10:] = z[:, :10]
    if kind == "nearly collinear": z[:, 10:] = z[:, :10] + 1e-9*z[:, 10:]
    if kind == "constant columns": z[:, 4:7] = [0.1, 1e6 + 0.1, 0]
    if kind == "huge": z = z*1e30
    if kind == "tiny": z = z*1e-30
    if kind == "more features": z = rng.standard_normal((50, 120))
    if kind == "far from zero": z = z + 1e7
    unit = z.std(0) + (z.std(0) == 0)
    y = ((z - z.mean(0))/unit) @ rng.standard_normal((z.shape[1], 4)) + rng.standard_normal((50, 4))
    if kind == "huge labels": y = y*1e30
    if kind == "tiny labels": y = y*1e-30
    if kind == "labels far from zero": y = y + 1e8
    y[rng.random(y.shape) < 0.2] = np.nan
    if kind == "missing lines far away": y[40:, :2] = np.nan
    return z, y

KINDS = ("shifted rows", "missing lines far away", "scaled 1e-6 to 1e6", "collinear", "nearly collinear", "constant columns", "huge", "tiny",
    "more features", "far from zero",
         "huge labels", "tiny labels", "labels far from zero")

@pytest.mark.parametrize("l1_ratio, kind", pairs([1.0, 0.5, 0.0], KINDS, (1.0, 0.0), ("missing lines far away", "scaled 1e-6 to 1e6",
    "constant columns")))
def test_the_solver_says_what_scikit_learn_says(kind, l1_ratio):
    z, y = tables(kind)
    ratios = (1.0, 0.3, 0.03)
    found = solve.solve_paths(z, y, ratios, l1_ratio, 1e-9)
    for j in range(y.shape[1]):
        at = np.isfinite(y[:, j])
        x, t = z[at], y[at, j]
        for a in range(len(ratios)):
            alpha = found.alphas[j, a]
            assert np.isfinite(alpha) and np.isfinite(found.coef[j, a]).all()
            mine = x @ found.coef[j, a] + found.intercept[j, a]
            centred, unit = x - x.mean(0), max(np.abs(x - x.mean(0)).max(), 1e-300)
            if l1_ratio == 0:
                u, s, _ = np.linalg.svd(centred, full_matrices=False)
                theirs = t.mean() + u @ (s**2/(s**2 + alpha*len(t))*(u.T @ (t - t.mean())))
            else:  # in units in which its tolerances mean what they should
                size = np.abs(t - t.mean()).max()
                k = ElasticNet(alpha=1, l1_ratio=l1_ratio)
                k.set_params(alpha=(alpha*l1_ratio/size/unit + alpha*(1 - l1_ratio)/unit**2), tol=1e-13, max_iter=100_000)
                k.set_params(l1_ratio=(alpha*l1_ratio/size/unit)/k.alpha)
                theirs = t.mean() + size*k.fit(centred/unit, (t - t.mean())/size).predict(centred/unit)
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-4*np.abs(t - t.mean()).max())
            assert 0 <= found.gap[j, a] <= 1e-6

@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("kind", ["all missing", "one", "two", "constant", "constant far from zero"])
def test_a_response_with_nothing_to_fit_has_no_model_and_spoils_no_other(l1_ratio, kind):
    z, y = tables("plain")
    whole = solve.solve_paths(z, y, (1.0, 0.1), l1_ratio)
    y[:, 1] = {"all missing": np.nan, "constant": 2.5, "constant far from zero": 1e9 + 0.1}.get(kind, y[:, 1])
    if kind in ("one", "two"): y[["one", "two"].index(kind) + 1:, 1] = np.nan
    found = solve.solve_paths(z, y, (1.0, 0.1), l1_ratio)
    assert np.isnan(found.coef[1]).all() and np.isnan(found.gap[1]).all()
    np.testing.assert_allclose(found.coef[[0, 2, 3]], whole.coef[[0, 2, 3]], rtol=1e-9, atol=1e-12)

@pytest.mark.parametrize("kind", ["nan", "infinite", "one axis", "no lines", "huge", "other lines", "infinite labels", "negative weight"])
def test_the_solver_refuses_in_a_sentence(kind):
    z, y = tables("plain")
    w = None
    if kind == "nan": z[3, 4] = np.nan
    if kind == "infinite": z[3, 4] = -np.inf
    if kind == "one axis": z = z[0]
    if kind == "no lines": z, y = z[:0], y[:0]
    if kind == "huge": z = z*1e200
    if kind == "other lines": y = y[:-1]
    if kind == "infinite labels": y[0, 0] = np.inf
    if kind == "negative weight": w = -np.ones(50)
    with pytest.raises(InputError) as e: solve.solve_paths(z, y, weights=w)
    sentence(e)

# judge

@pytest.mark.parametrize("kind", ["constant truth", "constant prediction", "four lines", "all missing", "two tissues", "one tissue each",
    "truth far from zero", "huge", "tiny"])
def test_a_fold_is_scored_or_counted_as_missing(kind):
    rng = np.random.default_rng(0)
    truth, said = rng.standard_normal((20, 3)), rng.standard_normal((20, 3))
    within = None
    if kind == "constant truth": truth[:, 1] = 0.1
    if kind == "constant prediction": said[:, 1] = 0.1
    if kind == "four lines": truth[4:, 1] = np.nan
    if kind == "all missing": truth[:, 1] = np.nan
    if kind == "two tissues": within = np.repeat(["a", "b"], 10)
    if kind == "one tissue each": within = np.arange(20).astype(str)
    if kind == "truth far from zero": truth[:, 1] = 1e9 + 1e-9*truth[:, 1]
    if kind == "huge": truth, said = truth*1e150, said*1e150
    if kind == "tiny": truth, said = truth*1e-150, said*1e-150
    found = judge.fold_scores(truth, said, within)
    r = found[0, 1]
    assert np.isnan(found[:2]).all() if kind == "one tissue each" else np.isfinite(found[:2, [0, 2]]).all()
    if kind in ("constant truth", "four lines", "all missing"): assert np.isnan(r)
    if kind == "constant prediction": assert r == 0
    if kind in ("huge", "tiny"):
        np.testing.assert_allclose(found[:2], judge.fold_scores(truth/truth.std(), said/truth.std())[:2], rtol=1e-9)

def test_a_constant_far_from_zero_is_constant():
    "Rounding errors of a mean are no variation."
    truth = np.full((7, 1), 0.1) + 1e6
    said = np.arange(7.0)[:, None]
    assert np.isnan(judge.fold_scores(truth, said)[:2, 0]).all()
    assert (judge.fold_scores(said, truth)[:2, 0] == 0).all()

def test_a_perturbation_without_a_score_is_missing_and_counted():
    rows = pd.DataFrame({"model": "m", "seed": 0, "fold": ["0", "1"]*2, "perturbation": ["a", "a", "b", "b"], "n": 10.0,
                         "spearman": [0.4, 0.6, np.nan, np.nan], "pearson": [0.4, 0.6, np.nan, np.nan], "rmse": 1.0})
    table = judge.score_table(rows, pd.Series({"a": "a", "b": "b"}), "none")
    assert table.loc["m", "spearman"] == pytest.approx(0.5) and table.loc["m", "perturbations"] == 1

@pytest.mark.parametrize("values, n_folds", [([0.3], 1), ([0.3, 0.4], 1), ([np.nan, np.nan], 2), ([0.3, np.nan, 0.5], 3), ([0.2, 0.2], 2)])
def test_an_interval_over_folds_is_defined_or_missing(values, n_folds):
    low, high = judge.over_lines(pd.Series(values), n_folds)
    assert (np.isnan(low) and np.isnan(high)) or low <= high
    if np.isfinite(values).sum() < 2: assert np.isnan(low)

def test_missing_folds_do_not_narrow_an_interval():
    "Three folds with a score give the interval of three folds, whatever else is missing."
    some = judge.over_lines(pd.Series([0.3, 0.5, 0.4]), 5)
    np.testing.assert_allclose(judge.over_lines(pd.Series([0.3, np.nan, 0.5, np.nan, 0.4]), 5), some)

# representations

REPRESENTATIONS = {"raw": represent.RawGenes(), "components": represent.Components(8), "whitened": represent.Components(8, True),
    "rotation": represent.Rotation(8), "masked": represent.LinearMasked(8)}

@pytest.mark.parametrize("kind", ["a constant gene", "constant genes", "zero genes", "equal lines", "collinear genes", "huge genes",
    "tiny genes", "one gene", "four lines"])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_representation_is_finite_and_constant_genes_say_nothing(name, kind):
    x = spoilt(kind)[0].expression
    r = REPRESENTATIONS[name].fit(x)
    z = r.transform(x)
    assert np.isfinite(z).all() and (kind not in ("constant genes", "zero genes") or not z.any())
    if kind == "a constant gene": np.testing.assert_array_equal(r.transform(x + 5*(np.arange(14) == 3)), z)
    if kind in ("huge genes", "tiny genes"): assert np.abs(z).max() > 0.5

@pytest.mark.parametrize("change", [{}, dict(rate=1e38), dict(augment=1e30), dict(corruption="noise", noise=1e38)])
def test_an_autoencoder_that_comes_to_no_number_stops_with_a_sentence(change, monkeypatch):
    pytest.importorskip("torch")
    x, first = world()[0].expression, represent.first_weights
    huge = lambda *given: [tuple(w*np.float32(1e25) for w in layer) for layer in first(*given)]
    if not change: monkeypatch.setattr(represent, "first_weights", huge)
    with pytest.raises(InputError) as e: represent.MaskedAutoencoder(3, epochs=30, batch=8, **change).fit(x)
    sentence(e)

@pytest.mark.parametrize("change", [dict(rate=-1.0), dict(rate=np.nan), dict(batch=0), dict(epochs=0), dict(width=0), dict(validation=1.5),
    dict(validation=-0.1)])
def test_an_autoencoder_refuses_settings_that_mean_nothing(change):
    pytest.importorskip("torch")
    with pytest.raises(InputError) as e: represent.MaskedAutoencoder(**{"width": 3, "epochs": 3, **change}).fit(world()[0].expression)
    sentence(e)

# pathways, mutations, pages

def sheet(n=48, seed=0):
    "Expression, responses, tissue, patient as frames."
    rng = np.random.default_rng(seed)
    ids = [f"l{i}" for i in range(n)]
    x = pd.DataFrame(rng.standard_normal((n, 12)), ids, [f"G{i}" for i in range(12)])
    y = pd.DataFrame(x.to_numpy()[:, :3] + rng.standard_normal((n, 3)), ids, ["d0", "d1", "d2"])
    return x, y, pd.Series(np.array(["a", "b", "c"])[np.arange(n) % 3], ids), pd.Series([f"p{i}" for i in range(n)], ids)

def gene_sets(): return pd.DataFrame({"one": [1.0]*4 + [0]*8, "two": [0]*6 + [1.0]*6}, [f"G{i}" for i in range(12)])

@pytest.mark.parametrize("kind", ["constant genes", "one constant gene", "huge", "tiny", "a set of all genes", "an empty set",
    "a set of nan", "infinite gene", "two genes", "one line", "infinite weight"])
def test_a_pathway_score_is_finite_or_refused(kind):
    x, sets = sheet()[0], gene_sets()
    if kind == "constant genes": x.iloc[:, :] = 2.2
    if kind == "one constant gene": x["G3"] = 1e6 + 0.1
    if kind == "huge": x *= 1e19
    if kind == "tiny": x *= 1e-19
    if kind == "a set of all genes": sets["all"] = 1.0
    if kind == "an empty set": sets["none"] = 0.0
    if kind == "a set of nan": sets["none"] = np.nan
    if kind == "infinite gene": x.iloc[0, 0] = np.inf
    if kind == "two genes": x = x[["G0", "G1"]]
    if kind == "one line": x = x.iloc[:1]
    if kind == "infinite weight": sets.iloc[0, 0] = np.inf
    found = defined(lambda: pathways.pathway_scores(pathways.standardised(x), sets))
    assert found is None or np.isfinite(found.to_numpy()).all()
    assert (found is None) == (kind in ("infinite gene", "infinite weight", "two genes"))
    if kind == "tiny": assert found.abs().to_numpy().max() > 0.5

@pytest.mark.parametrize("kind", ["constant scores", "constant response", "all missing", "two lines", "one tissue", "a tissue each",
    "one patient", "ties", "0/1 scores", "huge", "tiny", "far from zero"])
def test_an_association_is_defined_and_p_is_never_0(kind):
    x, y, tissue, patient = sheet()
    s = pathways.pathway_scores(pathways.standardised(x), gene_sets())
    if kind == "constant scores": s["one"] = 0.1 + 1e6
    if kind == "constant response": y["d1"] = 0.1 + 1e6
    if kind == "all missing": y["d1"] = np.nan
    if kind == "two lines": y.iloc[2:, 1] = np.nan
    if kind == "one tissue": tissue[:] = "a"
    if kind == "a tissue each": tissue[:] = tissue.index
    if kind == "one patient": patient[:] = "p"
    if kind == "ties": y["d1"] = (y.d1 > 0).astype(float)
    if kind == "0/1 scores": s["one"] = (s.one > 0).astype(float)
    if kind == "huge": y, s = y*1e19, s*1e19
    if kind == "tiny": y, s = y*1e-19, s*1e-19
    if kind == "far from zero": y["d1"] = y.d1 + 1e9
    table = defined(lambda: pathways.drug_pathways(y, s, tissue, patient, repeats=40))
    assert table is not None
    known = table.dropna(subset="r")
    assert (known.p >= 1/41 - 1e-12).all() and (known.p <= 1).all() and known.q.notna().all()
    ends = known.dropna(subset="low")
    assert (ends.low <= ends.r + 1e-12).all() and (ends.r <= ends.high + 1e-12).all() and (known.r.abs() <= 1).all()
    rest = table[table.r.isna()]
    assert rest[["low", "high", "p", "q", "rank"]].isna().all(axis=None)
    if kind == "constant scores": assert table[table["set"] == "one"].r.isna().all()
    if kind in ("constant response", "all missing", "two lines"): assert table[table.perturbation == "d1"].r.isna().all()
    if kind in ("huge", "tiny"):
        plain = pathways.drug_pathways(*(t/(1e19 if kind == "huge" else 1e-19) for t in (y, s)), tissue, patient, repeats=40)
        np.testing.assert_allclose(table.r, plain.r, rtol=1e-9)
        np.testing.assert_allclose(table.p, plain.p)
    if kind == "one patient": assert table.low.isna().all()

@pytest.mark.parametrize("kind", ["constant response", "all missing", "ties", "huge", "tiny", "one tissue"])
def test_random_genes_give_a_p_where_there_is_an_r(kind):
    x, y, tissue, patient = sheet()
    if kind == "constant response": y["d1"] = 0.1 + 1e6
    if kind == "all missing": y["d1"] = np.nan
    if kind == "ties": y["d1"] = (y.d1 > 0).astype(float)
    if kind == "huge": y = y*1e19
    if kind == "tiny": y = y*1e-19
    if kind == "one tissue": tissue[:] = "a"
    z = pathways.standardised(x)
    table = pathways.drug_pathways(y, pathways.pathway_scores(z, gene_sets()), tissue, patient, repeats=20)
    p = pathways.random_genes_p(table, y, z, gene_sets(), tissue, 40)
    assert (p.notna() == table.r.notna()).all() and (p.dropna() >= 1/41 - 1e-12).all() and (p.dropna() <= 1).all()
    if kind in ("huge", "tiny"):
        plain = pathways.random_genes_p(table, y/y.abs().max().max(), z, gene_sets(), tissue, 40)
        np.testing.assert_allclose(p, plain)

@pytest.mark.parametrize("kind", ["none mutated", "all mutated", "all unknown", "one carrier", "constant response", "perfect", "all missing",
    "no column", "one tissue", "a tissue each", "carriers in one tissue", "huge", "tiny", "far from zero", "not 0 or 1"])
def test_a_mutation_s_effect_is_defined_and_p_is_never_0(kind):
    x, y, tissue, patient = sheet()
    rng = np.random.default_rng(2)
    m = pd.DataFrame(rng.random((48, 2)) < 0.4, y.index, ["A_mut", "B_mut"]).astype(float)
    if kind == "none mutated": m["A_mut"] = 0.0
    if kind == "all mutated": m["A_mut"] = 1.0
    if kind == "all unknown": m["A_mut"] = np.nan
    if kind == "one carrier": m["A_mut"] = np.arange(48) == 0
    if kind == "constant response": y["d1"] = 0.1 + 1e6
    if kind == "perfect": y["d1"] = m.A_mut
    if kind == "all missing": y["d1"] = np.nan
    if kind == "no column": m = m[[]]
    if kind == "one tissue": tissue[:] = "a"
    if kind == "a tissue each": tissue[:] = tissue.index
    if kind == "carriers in one tissue": m["A_mut"] = (tissue == "a").astype(float)
    if kind == "huge": y = y*1e19
    if kind == "tiny": y = y*1e-19
    if kind == "far from zero": y["d1"] = y.d1 + 1e9
    if kind == "not 0 or 1": m["A_mut"] = m.A_mut*2
    table = defined(lambda: bm.drug_mutations(y, m, tissue, patient))
    if kind == "not 0 or 1":
        assert table is None
        return
    assert table is not None and (table.p > 0).all() and (table.p <= 1).all() and (table.q > 0).all()
    assert (table.low <= table.effect).all() and (table.effect <= table.high).all() and np.isfinite(table[["effect", "low", "high"]]).all(axis=None)
    if kind in ("none mutated", "all mutated", "all unknown", "one carrier", "carriers in one tissue"): assert "A_mut" not in set(table.feature)
    if kind in ("constant response", "all missing"): assert "d1" not in set(table.perturbation)
    if kind in ("huge", "tiny"):
        plain = bm.drug_mutations(y/(1e19 if kind == "huge" else 1e-19), m, tissue, patient)
        np.testing.assert_allclose(table.p, plain.p, rtol=1e-9)

@pytest.mark.parametrize("kind", ["constant predictions", "constant response", "all missing", "two lines", "one patient", "one fold", "huge",
    "tiny"])
def test_the_agreement_on_a_page_is_defined_or_missing(kind):
    x, y, tissue, patient = sheet()
    p, fold = y + 1.0, pd.Series(np.arange(48) % 4, y.index)
    if kind == "constant predictions": p["d1"] = 0.1
    if kind == "constant response": y["d1"] = 0.1 + 1e6
    if kind == "all missing": y["d1"] = np.nan
    if kind == "two lines": y.iloc[2:, 1] = np.nan
    if kind == "one patient": patient[:] = "p"
    if kind == "one fold": fold[:] = 0
    if kind == "huge": y, p = y*1e19, p*1e19
    if kind == "tiny": y, p = y*1e-19, p*1e-19
    found = rp.drug_agreement(y, p, fold, tissue, patient, 20)
    row = found.loc["d1"]
    if kind in ("constant response", "all missing", "two lines"): assert row[["spearman", "low", "high", "within"]].isna().all()
    if kind == "constant predictions": assert row.spearman == 0
    if kind in ("huge", "tiny", "one fold", "one patient"): assert row.spearman == pytest.approx(1) and row.within == pytest.approx(1)

@pytest.mark.parametrize("kind", ["constant", "missing", "one line", "a tissue each", "one tissue", "far from zero", "tiny"])
def test_the_tissue_s_share_is_defined_or_missing(kind):
    x, y, tissue, patient = sheet()
    if kind == "constant": y["d1"] = 0.1 + 1e6
    if kind == "missing": y["d1"] = np.nan
    if kind == "one line": y.iloc[1:, 1] = np.nan
    if kind == "a tissue each": tissue[:] = tissue.index
    if kind == "one tissue": tissue[:] = "a"
    if kind == "far from zero": y["d1"] = y.d1 + 1e9
    if kind == "tiny": y = y*1e-19
    share = rp.tissue_share(y, tissue)["d1"]
    assert np.isnan(share) if kind in ("constant", "missing", "one line", "a tissue each") else share <= 1
    if kind == "one tissue": assert share == pytest.approx(0, abs=1e-9)
    if kind == "tiny": assert share == pytest.approx(rp.tissue_share(y/1e-19, tissue)["d1"])

@pytest.mark.parametrize("kind", ["constant predictions", "one constant column", "constant expression", "huge", "tiny", "two patients"])
def test_a_linear_map_is_found_or_refused(kind):
    x, y, tissue, patient = sheet()
    p = y.fillna(0)
    if kind == "constant predictions": p.iloc[:, :] = 0.1
    if kind == "one constant column": p["d1"] = 0.1
    if kind == "constant expression": x.iloc[:, :] = 2.0
    if kind == "huge": p = p*1e19
    if kind == "tiny": p = p*1e-19
    if kind == "two patients": patient[:] = np.where(np.arange(48) < 24, "a", "b")
    found = defined(lambda: rp.distil(x, p, patient))
    assert found is not None and np.isfinite(found.weights.to_numpy()).all()
    if kind == "one constant column": assert np.isnan(found.check.r2["d1"]) and found.check.r2["d0"] > 0.2
    if kind in ("huge", "tiny"): assert (found.check.r2 > 0.2).all()

@pytest.mark.parametrize("kind", ["constant features", "no feature", "two lines", "one patient", "huge", "tiny", "all missing"])
def test_a_selection_is_a_probability(kind):
    x, y, tissue, patient = sheet()
    if kind == "constant features": x.iloc[:, :4] = 0.1 + 1e6
    if kind == "no feature": x = x[[]]
    if kind == "two lines": y.iloc[2:, 1] = np.nan
    if kind == "all missing": y["d1"] = np.nan
    if kind == "one patient": patient[:] = "p"
    if kind == "huge": x, y = x*1e19, y*1e19
    if kind == "tiny": x, y = x*1e-19, y*1e-19
    found = defined(lambda: rp.stability_selection(x, y, tissue, patient, pairs=5))
    assert (found is None) == (kind == "one patient")
    if found is None: return
    p = found.probability.drop(index="d1" if kind in ("two lines", "all missing") else []).to_numpy(float)
    assert ((p >= 0) & (p <= 1)).all()
    if kind == "constant features": assert not p[:, :4].any()
    if kind in ("huge", "tiny"): np.testing.assert_array_equal(p, rp.stability_selection(*(t/(1e19 if kind == "huge" else 1e-19) for t in (x,
        y)), tissue, patient, pairs=5).probability)
    if kind in ("two lines", "all missing"): assert np.isnan(found.probability.loc["d1"]).all()
