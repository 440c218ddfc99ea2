"""The fast model: exact where an exact answer is known, blind to order, gaps and scales, and honest about its second stage."""
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from drugnb.core.settings import InputError
from drugnb.essentiality.data import Lines, simulate_screen
from drugnb.essentiality.judge import fold_scores, line_folds
from drugnb.essentiality.kernel import (
    ComponentRidge,
    FastModel,
    calibration,
    feature_loadings,
    gene_ranks,
    gene_scale,
    kernel_ridge,
    label_patterns,
    line_space,
    model_from_state,
    model_state,
    normal_scores,
    second_predict,
    second_stage,
)


@pytest.fixture(scope="module")
def small():
    screen = simulate_screen(n_lines=90, n_genes=80, n_drugs=16, n_pathways=6, n_tissues=5, seed=2)
    return screen.known, screen.responses.to_numpy()

def one_by_one(kernel, y, penalty):
    "Kernel ridge with a free intercept of one perturbation, by its bordered system."
    n = len(y)
    system = np.block([[kernel + penalty*np.eye(n), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    solved = np.linalg.solve(system, np.append(y, 0))
    return solved[:-1], solved[-1]

def test_every_perturbation_is_the_bordered_system_over_its_own_lines(small):
    lines, y = small
    kernel = line_space(lines).kernel(lines, lines)
    fit = kernel_ridge(kernel, y, lines.patient)
    for j in range(y.shape[1]):
        k = np.flatnonzero(~np.isnan(y[:, j]))
        dual, intercept = one_by_one(kernel[np.ix_(k, k)], y[k, j], fit.penalty[j])
        assert np.allclose(dual, fit.dual[k, j]) and np.isclose(intercept, fit.intercept[j])
        assert (fit.dual[np.isnan(y[:, j]), j] == 0).all()

def test_leaving_a_patient_out_is_refitting_without_it(small):
    lines, y = small
    kernel = line_space(lines).kernel(lines, lines)
    fit = kernel_ridge(kernel, y, lines.patient)
    twins = [p for p in np.unique(lines.patient) if (lines.patient == p).sum() > 1][:2]
    for patient in [*twins, lines.patient[np.flatnonzero(~np.isin(lines.patient, twins))[0]]]:
        for j in range(4):
            k = np.flatnonzero(~np.isnan(y[:, j]))
            out, rest = (k[(lines.patient[k] == patient) == side] for side in (True, False))
            if not len(out): continue
            dual, intercept = one_by_one(kernel[np.ix_(rest, rest)], y[rest, j], fit.penalty[j])
            assert np.allclose(kernel[np.ix_(out, rest)] @ dual + intercept, fit.left_out[out, j])

def test_the_penalty_is_the_one_with_least_left_out_errors(small):
    lines, y = small
    kernel = line_space(lines).kernel(lines, lines)
    several = kernel_ridge(kernel, y, lines.patient, [0.5, 5.0])
    loss = {p: np.nanmean((kernel_ridge(kernel, y, lines.patient, [p]).left_out - y)**2, axis=0) for p in (0.5, 5.0)}
    assert (several.penalty == np.where(loss[0.5] <= loss[5.0], 0.5, 5.0)).all()
    again = kernel_ridge(kernel, y, lines.patient, [0.5, 5.0], given=several.penalty)
    assert np.allclose(again.dual, several.dual) and np.allclose(again.left_out, several.left_out)

def test_patterns_group_perturbations_with_the_same_gaps():
    y = np.array([[1, np.nan, 2, 3], [4, 5, 6, 7.0], [np.nan, 1, np.nan, 2]])
    assert [(rows.tolist(), js.tolist()) for rows, js in label_patterns(y)] == [([0, 1], [0, 2]), ([1, 2], [1]), ([0, 1, 2], [3])]

def test_ranks_do_not_change_with_any_growing_scale():
    x = np.random.default_rng(0).random((5, 30))
    assert np.allclose(gene_ranks(x), gene_ranks(np.exp(3*x) - 1))
    assert np.allclose(gene_ranks(x).mean(1), 0)

def test_a_gene_that_does_not_vary_says_nothing():
    x = np.random.default_rng(0).random((10, 3))
    x[:, 1] = 0.1 + 0.2
    assert (gene_scale(x)(x + 5)[:, 1] == 0).all()

def test_the_second_stage_is_a_ridge_of_each_perturbation(small):
    lines, y = small
    left_out = kernel_ridge(line_space(lines).kernel(lines, lines), y, lines.patient).left_out
    features = feature_loadings(left_out, 4)(left_out)
    coefficients = second_stage(features, y, 50.0)
    for j in range(3):
        k = ~np.isnan(y[:, j])
        table = np.column_stack([features.own[:, j]*1e4, features.shared])[k]  # an own slope that is not penalised
        theirs = Ridge(50.0).fit(table, y[k, j])
        assert np.allclose(second_predict(coefficients, features)[k, j], theirs.predict(table), atol=1e-4)
    off = second_predict(second_stage(features, y, np.inf), features)
    assert all(np.isclose(np.corrcoef(off[:, j], left_out[:, j])[0, 1], 1) for j in range(y.shape[1]))

def test_shared_factors_switch_the_second_stage_on_and_noise_leaves_it_off():
    rng = np.random.default_rng(4)
    n, m = 220, 40
    lines = Lines(rng.standard_normal((n, 60)), np.full(n, ""), np.arange(n).astype(str))
    shared = lines.expression[:, :12].sum(1)/3.5
    together = shared[:, None] + 2.5*rng.standard_normal((n, m))
    apart = lines.expression[:, np.arange(m) % 60]*0.9 + rng.standard_normal((n, m))
    assert FastModel().fit(lines, together).second_penalty_ < 1000
    assert FastModel().fit(lines, apart).second_penalty_ >= 1000

def test_the_model_beats_the_mean_and_knows_nothing_of_noise(small):
    lines, y = small
    rng = np.random.default_rng(0)
    train, test = line_folds(lines, 4)[0]
    said = FastModel().fit(lines.rows(train), y[train]).predict(lines.rows(test))
    assert np.nanmean(fold_scores(y[test], said)[0]) > 0.25
    noise = np.where(np.isnan(y), np.nan, rng.standard_normal(y.shape))
    about = [np.nanmean(fold_scores(noise[b], FastModel().fit(lines.rows(a), noise[a]).predict(lines.rows(b)))[0]) for a, b in line_folds(lines, 4)]
    assert abs(np.mean(about)) < 0.12

def test_order_of_lines_genes_and_perturbations_does_not_matter(small):
    lines, y = small
    asked = lines.rows(np.arange(7))
    said = FastModel().fit(lines, y).predict(asked)
    rng = np.random.default_rng(0)
    rows, genes, drugs = (rng.permutation(k) for k in (*lines.expression.shape, y.shape[1]))
    turned = lines.rows(rows)
    model = FastModel().fit(turned._replace(expression=turned.expression[:, genes]), y[rows][:, drugs])
    assert np.allclose(model.predict(asked._replace(expression=asked.expression[:, genes])), said[:, drugs], atol=1e-8)

def test_units_of_expression_and_responses_do_not_matter(small):
    lines, y = small
    asked = lines.rows(np.arange(7))
    said = FastModel().fit(lines, y).predict(asked)
    scaled = FastModel().fit(lines._replace(expression=3*lines.expression + 2), 10*y - 4)
    assert np.allclose(scaled.predict(asked._replace(expression=3*asked.expression + 2)), 10*said - 4)

def test_a_saved_state_predicts_the_same_bits(small):
    lines, y = small
    model = FastModel().fit(lines, y)
    state = model_state(model)
    assert all(isinstance(v, np.ndarray) for v in state.values())
    assert np.array_equal(model_from_state(state).predict(lines), model.predict(lines))

def test_a_perturbation_with_few_or_equal_responses_gets_its_mean(small):
    lines, y = small
    y = y.copy()
    y[:, 0], y[2:, 1], y[:, 2] = np.nan, np.nan, 5.0
    said = FastModel().fit(lines, y).predict(lines)
    assert np.isfinite(said[:, 1:]).all() and np.allclose(said[:, 2], 5.0) and np.isnan(said[:, 0]).all()

def test_calibration_is_a_line_that_never_turns_the_order_around():
    p = np.array([[0.0, 0], [1, 1], [2, 2]])
    assert np.allclose(calibration(p, np.array([[1.0, 5], [3, 4], [5, 3]])), [[1, 2], [4, 0]])

def test_normal_scores_ignore_gaps_and_share_ties():
    y = np.array([[3.0], [1], [np.nan], [1], [9]])
    found = normal_scores(y)
    assert np.isnan(found[2]) and found[1] == found[3] and found[4] > found[0] > found[1]

def test_one_patient_is_too_few(small):
    lines, y = small
    with pytest.raises(InputError, match="two groups"): FastModel().fit(lines._replace(patient=np.full(len(y), "p")), y)

def test_components_are_ridge_on_principal_components(small):
    lines, y = small
    y = np.nan_to_num(y)
    model = ComponentRidge(10).fit(lines, y)
    x = gene_scale(lines.expression)(lines.expression)
    z = x @ np.linalg.svd(x, full_matrices=False)[2][:10].T
    for j in range(3):
        theirs = Ridge(model.penalty_[j]).fit(z, y[:, j])
        assert np.allclose(model.predict(lines)[:, j], theirs.predict(z))
    whole = ComponentRidge(0).fit(lines, y)
    krr = KernelRidge(alpha=whole.penalty_[0]).fit(x, y[:, 0] - y[:, 0].mean())
    assert np.allclose(whole.predict(lines)[:, 0], krr.predict(x) + y[:, 0].mean())
