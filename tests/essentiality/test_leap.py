"""The layered ensemble: scikit-learn as reference, by hand, invariants of lines and genes, controls, missing labels, no leak."""
import importlib.util

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Lasso
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from drugnb.core.artefacts import load_frame, save_frame
from drugnb.core.evaluate import grouped_splits
from drugnb.core.settings import InputError
from drugnb.essentiality.data import Lines
from drugnb.essentiality.judge import fold_scores, line_folds
from drugnb.essentiality.leap import (
    Leap,
    fit_at,
    learn_neighbours,
    learn_one_by_one,
    learn_together,
    mean_defined,
    published,
    rank_scores,
)
from drugnb.essentiality.represent import (
    Components,
    LinearMasked,
    RawGenes,
    Rotation,
    embedded,
    pack_arrays,
    transductive,
    unpack_arrays,
)


def drawn(n=90, p=40, m=6, seed=0, missing=0.15):
    "Lines of four tissues, some of one patient; responses follow a few genes; some are missing."
    rng = np.random.default_rng(seed)
    x = 5 + rng.standard_normal((n, 6)) @ rng.standard_normal((6, p)) + 0.7*rng.standard_normal((n, p))
    lines = Lines(x, np.array([f"t{i}" for i in rng.integers(4, size=n)]), np.array([f"p{i}" for i in rng.integers(n - 15, size=n)]))
    z = (x - x.mean(0))/x.std(0)
    y = z[:, :5] @ rng.standard_normal((5, m)) + rng.standard_normal((n, m))
    y[rng.random(y.shape) < missing] = np.nan
    return lines, y

@pytest.fixture(scope="module")
def data(): return drawn()

def few(seeds=2): return [LinearMasked(8, random_state=s) for s in range(seeds)]
LINEAR = ("lasso", "elastic net", "ridge")


# scores

def test_scores_are_scipys_over_measured_lines(data):
    _, y = data
    p = np.round(np.random.default_rng(1).standard_normal(y.shape), 1)  # with ties
    found = rank_scores(y, p)
    for j in range(y.shape[1]):
        ok = np.isfinite(y[:, j])
        assert found[j] == pytest.approx(spearmanr(y[ok, j], p[ok, j])[0])

def test_flat_predictions_score_nothing_and_few_responses_have_no_score():
    y = np.array([[1.0, 1, 5], [2, np.nan, 5], [3, 2, 5], [4, 3, 5], [5, 4, 5]])
    assert rank_scores(y, np.zeros((5, 3)))[0] == 0
    assert np.isnan(rank_scores(y, y)[1:]).all(), "four responses, and five equal ones"

def test_means_are_over_what_is_defined():
    found = mean_defined(np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]]))
    assert found[:2].tolist() == [2, 5] and np.isnan(found[2])

# against scikit-learn

def test_members_are_scikit_learns_lasso_at_the_chosen_penalty(data):
    lines, y = data
    z = Components(10).fit_transform(lines.expression)
    splits = grouped_splits(lines.patient, 4, seed=3)
    learnt = learn_together(z, y, splits)
    for f, (train, test) in enumerate(splits):
        for j in range(y.shape[1]):
            rows = train[np.isfinite(y[train, j])]
            most = np.abs((z[rows] - z[rows].mean(0)).T @ (y[rows, j] - y[rows, j].mean())).max()/len(rows)
            theirs = Lasso(learnt.ratio[j]*most, tol=1e-9, max_iter=100_000).fit(z[rows], y[rows, j])
            np.testing.assert_allclose(learnt.model.coef[f, j], theirs.coef_, atol=2e-3)
            np.testing.assert_allclose(learnt.held_out[test, j], theirs.predict(z[test]), atol=2e-2)

@pytest.mark.parametrize("predictor", LINEAR)
def test_all_at_once_is_one_after_the_other(data, predictor):
    lines, y = data
    fast, slow = (Leap(few(1), predictor, folds=3, one_by_one=how).fit(lines, y[:, :3]) for how in (False, True))
    np.testing.assert_array_equal(fast.ratio_, slow.ratio_)
    np.testing.assert_allclose(fast.predict(lines), slow.predict(lines), atol=0.02)
    np.testing.assert_allclose(fast.held_out_, slow.held_out_, atol=0.02)

def test_the_choice_is_the_best_mean_spearman_of_inner_folds(data):
    lines, y = data
    z, splits, ratios = Components(10).fit_transform(lines.expression), grouped_splits(lines.patient, 3), (1.0, 0.3, 0.1, 0.03, 0.01)
    ratio = learn_together(z, y, splits, ratios, 0.0).ratio
    np.testing.assert_array_equal(learn_one_by_one(z, y, splits, ratios, 0.0).ratio, ratio)
    table = []
    for r in ratios:
        scores = []
        for train, test in splits:
            coef, intercept = fit_at(z[train], y[train], np.full(y.shape[1], r), 0.0)
            scores.append(rank_scores(y[test], z[test] @ coef.T + intercept))
        table.append(np.mean(scores, axis=0))
    np.testing.assert_array_equal(ratio, np.array(ratios)[np.argmax(table, axis=0)])

def test_neighbours_are_scikit_learns(data):
    lines, y = data
    z, splits = Components(5).fit_transform(lines.expression), grouped_splits(lines.patient, 3)
    learnt = learn_neighbours(z, y, splits)
    for f, (train, test) in enumerate(splits):
        for j in range(y.shape[1]):
            rows = train[np.isfinite(y[train, j])]
            theirs = KNeighborsRegressor(5).fit(z[rows], y[rows, j]).predict(z)
            np.testing.assert_allclose(learnt.model.predict(z)[f, :, j], theirs)
            np.testing.assert_allclose(learnt.held_out[test, j], theirs[test])

# the ensemble

@pytest.mark.parametrize("predictor", (*LINEAR, "knn"))
def test_prediction_is_the_mean_of_members_and_spread_their_deviation(data, predictor):
    lines, y = data
    m = Leap(few(), predictor, folds=3).fit(lines, y)
    members = m.members(lines)
    assert members.shape == (6, *y.shape)
    np.testing.assert_allclose(m.predict(lines), members.mean(0))
    np.testing.assert_allclose(m.spread(lines), members.std(0), atol=1e-10)
    assert m.score_.shape == (6,) and m.score_.mean() > 0.2

def test_refit_is_one_model_of_all_lines(data):
    lines, y = data
    m = Leap([RawGenes()], refit=True).fit(lines, y)
    assert len(m.members(lines)) == 1 and not m.spread(lines).any()
    z, j = RawGenes().fit_transform(lines.expression), 2
    rows = np.isfinite(y[:, j])
    most = np.abs((z[rows] - z[rows].mean(0)).T @ (y[rows, j] - y[rows, j].mean())).max()/rows.sum()
    theirs = Lasso(m.ratio_[0, j]*most, tol=1e-9, max_iter=100_000).fit(z[rows], y[rows, j])
    np.testing.assert_allclose(m.predict(lines)[:, j], theirs.predict(z), atol=0.01)

@pytest.mark.parametrize("predictor", LINEAR)
def test_the_ensemble_is_one_linear_map_of_genes(data, predictor):
    lines, y = data
    new, _ = drawn(seed=4)
    pipeline = make_pipeline(StandardScaler(), PCA(4))
    m = Leap([*few(), RawGenes(), pipeline], predictor, folds=3).fit(lines, y)
    np.testing.assert_allclose(new.expression @ m.coef_.T + m.intercept_, m.predict(new), rtol=1e-6, atol=1e-6)

def test_what_is_not_linear_has_no_weights(data):
    m = Leap(few(1), "knn", folds=3).fit(*data)
    with pytest.raises(InputError, match="'knn' is not linear"): m.gene_weights()

@pytest.mark.parametrize("predictor", (*LINEAR, "knn"))
def test_order_of_lines_genes_and_perturbations_does_not_matter(predictor):
    lines, y = drawn(60, 20, 4)
    rng = np.random.default_rng(0)
    genes, perturbations, order = rng.permutation(20), rng.permutation(4), rng.permutation(60)
    turned = lines._replace(expression=lines.expression[:, genes]).rows(order)
    m = Leap([Components(6)], predictor, folds=3)
    one = clone(m).fit(lines, y).predict(lines)
    other = clone(m).fit(turned, y[order][:, perturbations]).predict(turned)
    np.testing.assert_allclose(other, one[order][:, perturbations], atol=0.01)

def test_units_of_expression_do_not_matter(data):
    lines, y = data
    doubled = lines._replace(expression=lines.expression*4 + 1)
    m = Leap(few(1), folds=3)
    np.testing.assert_allclose(clone(m).fit(doubled, y).predict(doubled), clone(m).fit(lines, y).predict(lines), atol=1e-3)

def test_a_ridge_does_not_notice_the_basis_and_a_lasso_does(data):
    lines, y = data
    def said(seed, predictor): return Leap([Rotation(8, random_state=seed)], predictor, folds=3).fit(lines, y).predict(lines)
    np.testing.assert_allclose(said(0, "ridge"), said(1, "ridge"), atol=1e-6)
    assert np.abs(said(0, "lasso") - said(1, "lasso")).max() > 0.05

def test_seeds_repeat_bit_for_bit(data):
    lines, y = data
    one, again, other = (Leap(few(), folds=3, random_state=s).fit(lines, y).predict(lines) for s in (0, 0, 1))
    assert np.array_equal(one, again) and not np.allclose(one, other)

def test_equal_representations_differ_in_their_inner_folds(data):
    m = Leap([RawGenes()]*2, folds=3).fit(*data)
    assert not np.allclose(m.models_[0].coef, m.models_[1].coef)

# no leak

def test_inner_folds_share_no_patient(data, monkeypatch):
    lines, y = data
    seen = []
    def spy(z, y, splits, *given, **more):
        seen.append(splits)
        return learn_together(z, y, splits, *given, **more)
    monkeypatch.setattr("drugnb.essentiality.leap.learn_together", spy)
    Leap(few(), "ridge", folds=4).fit(lines, y)
    assert len(seen) == 2 and len(seen[0]) == 4
    for train, test in seen[0] + seen[1]: assert not set(lines.patient[train]) & set(lines.patient[test])

@pytest.mark.parametrize("predictor", (*LINEAR, "knn", "trees"))
def test_left_out_predictions_do_not_know_the_line(data, predictor):
    "A line's response may be anything without a change of its own left-out prediction at a fixed penalty."
    lines, y = data
    y = np.where(np.isfinite(y), y, 0)[:, :2]
    changed, at = y.copy(), 7
    changed[at] += 100
    m = Leap([Components(5)], predictor, folds=3, ratios=(0.1,))
    one, other = (clone(m).fit(lines, v).held_out_ for v in (y, changed))
    np.testing.assert_array_equal(one[at], other[at])
    assert not np.array_equal(one, other)

def test_strict_representations_never_see_test_lines(data):
    lines, y = data
    train = np.arange(60)
    m = Leap(few(1), "ridge", folds=3).fit(lines.rows(train), y[train])
    np.testing.assert_array_equal(m.representations_[0].components_, LinearMasked(8).fit(lines.expression[train]).components_)
    m = Leap(transductive(few(1), lines.expression), "ridge", folds=3).fit(lines.rows(train), y[train])
    np.testing.assert_array_equal(m.representations_[0].components_, LinearMasked(8).fit(lines.expression).components_)

# missing labels

@pytest.mark.parametrize("predictor", (*LINEAR, "knn", "trees"))
def test_perturbations_with_hardly_a_label_are_their_mean_or_missing(predictor):
    lines, y = drawn(40, 10, 4)
    y[:, 1], y[:, 2], y[:, 3] = np.nan, np.nan, 2.0
    y[:2, 2] = (1.0, 3.0)
    p = Leap([Components(4)], predictor, folds=3).fit(lines, y).predict(lines)
    assert np.isfinite(p[:, 0]).all() and np.isnan(p[:, 1]).all() and np.allclose(p[:, 3], 2)
    if predictor in LINEAR: assert np.isfinite(p[:, 2]).all() and (p[:, 2] >= 1).all() and (p[:, 2] <= 3).all()

def test_missing_labels_are_not_zeros(data):
    lines, y = data
    full = drawn(missing=0)[1]
    p = Leap(few(1), "ridge", folds=3).fit(lines, y + 50).predict(lines)
    assert np.abs(p - 50 - full).max() < 6, "a missing response that counted as 0 would draw predictions down by many units"

# representations of others, embeddings

def test_a_table_of_embeddings_stands_in_for_expression(data):
    lines, y = data
    ids = [f"line{i}" for i in range(len(y))]
    table = pd.DataFrame(Components(6).fit_transform(lines.expression), ids).sample(frac=1, random_state=0)
    described = embedded(lines, ids, table)
    m = Leap([RawGenes()], "ridge", folds=3).fit(described, y)
    assert m.predict(described).shape == y.shape and m.score_.mean() > 0.2
    with pytest.raises(InputError, match="no row for 2 of 90 lines, such as line3, line4"):
        embedded(lines, ids, table.drop(["line3", "line4"]))
    with pytest.raises(InputError, match="more than once"): embedded(lines, ids, pd.concat([table, table.iloc[:1]]))
    with pytest.raises(InputError, match="missing or infinite numbers, as for line5"):
        embedded(lines, ids, table.where(table.index.to_series() != "line5", np.nan))

# kept without pickle

@pytest.mark.parametrize("predictor", ("lasso", "knn"))
def test_kept_and_revived_without_pickle(data, predictor, tmp_path):
    lines, y = data
    given = [*few(1), *transductive([RawGenes()], lines.expression)]
    m = Leap(given, predictor, folds=3).fit(lines, y)
    state = m.state()
    texts = {k: v for k, v in state.items() if isinstance(v, str)}
    assert list(texts) == ["about"] and all(k.replace("_", "").isalnum() for k in state), "names that may stand in a path"
    save_frame(pack_arrays({k: v for k, v in state.items() if k not in texts}), tmp_path/"leap.parquet", texts)
    frame, about = load_frame(tmp_path/"leap.parquet")
    again = Leap.from_state(unpack_arrays(frame) | {"about": about["about"]})
    assert again.get_params(deep=False)["ratios"] == m.ratios and again.predictor == predictor
    np.testing.assert_array_equal(again.predict(lines), m.predict(lines))
    np.testing.assert_array_equal(again.spread(lines), m.spread(lines))
    np.testing.assert_array_equal(again.held_out_, m.held_out_)

def test_what_cannot_be_kept_says_so(data):
    lines, y = data
    with pytest.raises(InputError, match="cannot be kept without pickle"): Leap([Components(3)], "trees", folds=2).fit(lines, y[:, :1]).state()
    theirs = Leap([make_pipeline(StandardScaler(), PCA(3))], "ridge", folds=2).fit(lines, y)
    with pytest.raises(InputError, match="class Pipeline cannot be kept"): theirs.state()

# what it learns

def test_models_learn_what_expression_tells_and_nothing_from_noise(data):
    lines, y = data
    def score(y):
        fits = ((Leap(few(), folds=3).fit(lines.rows(a), y[a]).predict(lines.rows(b)), y[b]) for a, b in line_folds(lines, 3))
        return np.mean([fold_scores(truth, p)[0] for p, truth in fits])
    assert score(y) > 0.3 and abs(score(np.random.default_rng(0).permutation(y))) < 0.15

def test_the_published_recipe_is_25_models_of_masked_autoencoders():
    m = published()
    assert len(m.representations) == 5 and m.folds == 5 and m.predictor == "lasso" and len(m.ratios) == 10
    assert m.ratios[0] == 1 and m.ratios[-1] == pytest.approx(1e-3)
    assert {r.random_state for r in m.representations} == {0, 1, 2, 3, 4}
    assert all(r.rate == 1e-4 and r.corruption == "swap" and r.share == 0.3 for r in m.representations)

@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")
def test_learnt_autoencoders_and_the_closed_form_predict_alike(data):
    lines, y = data
    m = published(2)
    quick = [r.set_params(width=6, epochs=200, rate=1e-2, validation=0) for r in m.representations]
    torch = Leap(quick, "ridge", folds=3).fit(lines, y).predict(lines)
    closed = Leap([LinearMasked(6, random_state=s) for s in range(2)], "ridge", folds=3).fit(lines, y).predict(lines)
    agreement = [np.corrcoef(torch[:, j], closed[:, j])[0, 1] for j in range(y.shape[1])]
    assert min(agreement) > 0.95, agreement

# wrong input

def test_wrong_input_is_named(data):
    lines, y = data
    fewer = lines._replace(expression=lines.expression[:, 1:])
    for call, says in (
        (lambda: Leap(predictor="forest").fit(lines, y), "no predictor 'forest': use one of lasso"),
        (lambda: Leap(few()).fit(lines, y[:5]), r"shape \(5, 6\) for 90 lines"),
        (lambda: Leap(few()).fit(lines, np.where(y > 1, np.inf, y)), "infinite values"),
        (lambda: Leap(few()).fit(lines, np.full(y.shape, np.nan)), "none that is known"),
        (lambda: Leap(few(1), "ridge", folds=3).fit(lines, y).predict(fewer), "39 genes where the model learnt 40"),
    ):
        with pytest.raises(InputError, match=says): call()

def test_parameters_are_kept_as_given():
    m = Leap(few(), "ridge", folds=3)
    twin = clone(m)
    assert twin.get_params(deep=False)["predictor"] == "ridge" and twin.set_params(folds=7).folds == 7
    assert [r.get_params() for r in twin.representations] == [r.get_params() for r in m.representations]

def test_the_model_of_a_run_may_be_a_leap(tmp_path):
    from drugnb.essentiality.data import simulated_small
    from drugnb.essentiality.predict import load_model, save_model, train_model
    screen = simulated_small()
    trained = train_model(Leap(few(), "ridge", folds=3), screen, folds=3)
    save_model(tmp_path, trained)
    again = load_model(tmp_path)
    np.testing.assert_array_equal(again.model.predict(screen.known), trained.model.predict(screen.known))
