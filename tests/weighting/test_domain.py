"""Density ratios against ratios known in closed form, against brute force, and against what must not matter to them."""
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from drugnb.core.artefacts import RunFolder
from drugnb.core.settings import InputError
from drugnb.weighting.domain import (
    METHODS,
    PENALTIES,
    domain_ratios,
    domain_table,
    effective_size,
    fit_ratio,
    gaussian_kernels,
    kliep,
    median_bandwidth,
    separability,
    shared_components,
    study_components,
    study_domain,
    ulsif,
    ulsif_scores,
)
from drugnb.weighting.load import sample_compounds
from drugnb.weighting.ridge import WeightedRidge
from drugnb.weighting.simulate import simulate


def gaussians(d, seed, shift=1.0, n=2000, m=400):
    "Training N(0, 1), outside moved by `shift` along the diagonal; the true ratio at the training points."
    rng, move = np.random.default_rng(seed), np.full(d, shift/np.sqrt(d))
    x = rng.normal(size=(n, d))
    return x, rng.normal(size=(m, d)) + move, np.exp(x @ move - shift**2/2)

@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize("method, least", [("logistic", 0.97), ("KLIEP", 0.8), ("uLSIF", 0.65)])
def test_a_known_shift_is_found(method, least, d):
    for seed in range(2):
        x, outside, true = gaussians(d, seed)
        w = fit_ratio(x, outside, method)(x)
        assert np.isclose(w.mean(), 1) and (w >= 0).all()
        assert np.corrcoef(np.log(w + 1e-12), np.log(true))[0, 1] > least
        assert pd.Series(w).corr(pd.Series(true), method="spearman") > least
        assert ((w - true)**2).mean() < ((1 - true)**2).mean(), "better than weight 1"

@pytest.mark.parametrize("method", METHODS)
def test_no_shift_gives_nearly_constant_weights(method):
    for seed in range(3):
        x, outside, _ = gaussians(4, seed, shift=0.0, n=1000, m=200)
        assert effective_size(fit_ratio(x, outside, method)(x)) > 0.8*len(x)

def test_separability_is_what_it_should_be():
    x, outside, _ = gaussians(3, 0)
    assert abs(separability(x, outside) - 0.760) < 0.03, "one standard deviation apart: Phi(1/sqrt 2)"
    assert abs(separability(*gaussians(3, 1, shift=0.0)[:2]) - 0.5) < 0.05
    assert separability(*gaussians(3, 2, shift=6.0)[:2]) > 0.999

def test_a_compound_on_both_sides_of_a_split_would_flatter_the_auc():
    "Compounds are tight bunches and both sets draw them alike: rows of known compounds are recognised, those of new compounds are not."
    rng, aucs = np.random.default_rng(0), []
    for _ in range(3):
        centres = rng.normal(size=(60, 40))
        train, outside = (np.repeat(c, 10, axis=0) + 0.05*rng.normal(size=(len(c)*10, 40)) for c in (centres[:40], centres[40:]))
        compounds = np.repeat(np.arange(60), 10)
        aucs.append((separability(train, outside), separability(train, outside, compounds)))
    loose, strict = np.mean(aucs, 0)
    assert loose > 0.95 and strict < 0.65

def test_the_bandwidth_is_the_median_distance():
    x = np.array([[0.0], [1.0], [5.0]])
    assert median_bandwidth(x, np.array([[0.0]])) == 1 and median_bandwidth(x, np.array([[0.0], [2.0]])) == 1.5
    big = np.random.default_rng(0).normal(size=(20_000, 2))
    assert median_bandwidth(big, big[:50], seed=1) == median_bandwidth(big, big[:50], seed=1)
    assert np.isclose(median_bandwidth(big, big[:50]), median_bandwidth(big, big[:50], at_most=20_000), rtol=0.05)
    assert np.isclose(gaussian_kernels(x, x[:1], 2.0)[1, 0], np.exp(-1/8))
    with pytest.raises(InputError, match="all the same"): median_bandwidth(np.ones((20, 2)), np.ones((3, 2)))

def test_kliep_meets_its_optimality_conditions_and_scipy_finds_nothing_better():
    from scipy.optimize import minimize
    x, outside, _ = gaussians(3, 0, n=300, m=40)
    kt, ko = (gaussian_kernels(v, outside[:12], 1.5) for v in (x, outside))
    a, mean = kliep(kt, ko, tolerance=1e-8, at_most=10**6), kt.mean(0)
    assert np.isclose(mean @ a, 1) and (a >= 0).all()
    peer = minimize(lambda v: -np.log(ko @ v).mean(), np.full(12, 1/mean.sum()), jac=lambda v: -(ko/(ko @ v)[:, None]).mean(0), method="SLSQP",
                    bounds=[(0, None)]*12, constraints={"type": "eq", "fun": lambda v: mean @ v - 1}, options={"maxiter": 1000, "ftol": 1e-12})
    assert peer.success
    assert np.log(ko @ a).mean() > -peer.fun - 1e-5

def test_the_logistic_ratio_is_scikit_learns_balanced_classifier():
    x, outside, _ = gaussians(3, 0, n=400, m=60)
    rows, y = np.concatenate([x, outside])*[1, 10, 0.1], np.repeat([0, 1], [400, 60])
    w = compute_sample_weight("balanced", y)
    z = (rows - np.average(rows, 0, w))/np.sqrt(np.average((rows - np.average(rows, 0, w))**2, 0, w))
    ours = np.log(fit_ratio(rows[:400], rows[400:], "logistic")(rows))
    peers = [LogisticRegression(C=1/(penalty*len(y)), class_weight="balanced", tol=1e-10).fit(z, y).decision_function(z) for penalty in PENALTIES]
    apart = [np.abs((ours - ours.mean()) - (p - p.mean())).max() for p in peers]
    assert min(apart) < 1e-4 and sorted(apart)[1] > 1e-3, "one of the penalties, and no other"

@pytest.mark.parametrize("nt, no", [(40, 25), (20, 30), (25, 25)])
def test_ulsif_leave_one_out_is_leaving_one_out(nt, no):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 2))
    kt, ko = (gaussian_kernels(v, centres, 1.0) for v in (rng.normal(size=(nt, 2)), rng.normal(0.7, 1, size=(no, 2))))
    ridges = np.array([0.01, 0.3, 5.0])
    draw, pairs, slow = np.random.default_rng(3), min(nt, no), []
    rows = [(i, j) for i, j in zip(draw.choice(nt, pairs, replace=False), draw.choice(no, pairs, replace=False), strict=True)]
    for ridge in ridges:
        total = 0
        for i, j in rows:
            t, o = np.delete(kt, i, 0), np.delete(ko, j, 0)
            a = np.maximum(np.linalg.solve(t.T @ t/(nt - 1) + ridge*np.eye(8), o.mean(0)), 0)
            total += (kt[i] @ a)**2/2 - ko[j] @ a
        slow.append(total/pairs)
    np.testing.assert_allclose(ulsif_scores(kt, ko, ridges, seed=3), slow, rtol=1e-9)

def test_ulsif_is_the_closed_form():
    "One kernel: a = mean over outside / (mean square over training + ridge), whatever the ridge that is chosen."
    kt, ko = np.array([[0.5]]*10), np.array([[1.0]]*10)
    a = ulsif(kt, ko)[0]
    ridge = 1/a - 0.25
    assert np.isclose(ridge, 1e-4), "with nothing to learn from leaving one out, the least ridge has the least loss"

@pytest.mark.slow
def test_order_scale_and_labels_do_not_matter():
    study = simulate(400, 100, seed=1, n_outside=90)
    ratios = domain_ratios(study)
    assert list(ratios.columns) == list(METHODS) and ratios.index.equals(study.signatures.index) and np.allclose(ratios.mean(), 1)
    order, outside_order = np.random.default_rng(0).permutation(400), np.random.default_rng(1).permutation(90)

    shuffled = simulate(400, 100, seed=1, n_outside=90)
    shuffled.__dict__.update(signatures=study.signatures.iloc[order], samples=study.samples.iloc[order],
                             outside=study.outside.iloc[outside_order], outside_samples=study.outside_samples.iloc[outside_order])
    np.testing.assert_allclose(domain_ratios(shuffled).loc[ratios.index], ratios, rtol=1e-4)

    genes = simulate(400, 100, seed=1, n_outside=90)
    genes.__dict__.update(outside=study.outside.iloc[:, ::-1])
    np.testing.assert_allclose(domain_ratios(genes), ratios, rtol=1e-3)

    scaled = simulate(400, 100, seed=1, n_outside=90)
    scaled.outside[scaled.outside.columns[7]] *= 40
    np.testing.assert_allclose(domain_ratios(scaled), ratios, rtol=1e-3)

    relabelled = simulate(400, 100, seed=1, n_outside=90)
    relabelled.samples["viability"] = np.random.default_rng(0).random(400)
    relabelled.samples.loc[relabelled.samples.index[::3], "viability"] = np.nan
    relabelled.outside_samples["viability"] = np.nan
    pd.testing.assert_frame_equal(domain_ratios(relabelled), ratios)

    moved = simulate(400, 100, seed=1, n_outside=90)
    moved.outside.iloc[:, :30] += 1.0
    assert not np.allclose(domain_ratios(moved), ratios, rtol=0.1), "a shift of expression does matter"

def test_components_are_those_of_the_pooled_sets_counting_equally():
    rng = np.random.default_rng(0)
    train = pd.DataFrame(rng.normal(size=(5000, 12))*rng.lognormal(size=12), columns=list("abcdefghijkl")).astype(np.float32)
    outside = pd.DataFrame(rng.normal(size=(40, 9)) + 0.5, columns=list("kbcdefgha")).astype(np.float32)
    shared = shared_components(train, outside, 4)
    t, o = (x[outside.columns].to_numpy(float) for x in (train, outside))
    t, o = (x/np.sqrt((x**2).mean(0)) for x in (t, o))
    again = np.concatenate([np.repeat(t, 40, 0), np.repeat(o, 5000, 0)])  # each set 200,000 rows
    axes = np.linalg.svd(again.T @ again)[0][:, :4]
    np.testing.assert_allclose(np.abs(shared.train), np.abs(t @ axes), atol=1e-6)
    np.testing.assert_allclose(np.abs(shared.outside), np.abs(o @ axes), atol=1e-6)
    np.testing.assert_allclose(shared.place(train[:3], "train"), shared.train[:3])
    with pytest.raises(InputError, match="lack 1 of 9 genes, k for one"): shared.place(outside.drop(columns="k"))

def test_a_gene_that_never_changes_is_left_out():
    study = simulate(300, 60, seed=0, n_outside=60)
    without = shared_components(study.signatures, study.outside.drop(columns=study.outside.columns[0]), 5)
    for dead in (0.0, 3.0):
        study.outside.iloc[:, 0] = dead
        np.testing.assert_allclose(study_components(study, 5).outside, without.outside, atol=1e-5)

def test_wrong_input_is_told_in_one_sentence():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    table = pd.DataFrame(x, columns=list("abc"))
    cases = [
        (lambda: fit_ratio(x, x[:0], "uLSIF"), "at least 10 outside samples: there are 0"), (lambda: fit_ratio(x, x[:9]), "there are 9"),
        (lambda: fit_ratio(x[:4], x), "at least 10 training signatures"), (lambda: fit_ratio(x, x, "kmm"), "'kmm': use logistic, KLIEP, uLSIF"),
        (lambda: fit_ratio(x, x[:, :2]), "3 coordinates and outside points 2"), (lambda: fit_ratio(x, x, groups=[1, 2]), "2 groups for 100 points"),
        (lambda: fit_ratio(np.where(x > 2, np.nan, x), x), "missing or infinite"),
        (lambda: fit_ratio(np.ones((20, 2)), np.ones((20, 2)), "KLIEP"), "all the same"),
        (lambda: shared_components(table, table[:0]), "there are 0"), (lambda: shared_components(table, table*0 + 1), "0 of 3 genes differ"),
        (lambda: shared_components(table.mask(table > 2), table), "missing or infinite"), (lambda: separability(x, x[:5]), "there are 5"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message) as e: call()
        assert str(e.value).endswith(".") and "\n" not in str(e.value)

def test_points_without_spread_or_overlap_do_not_break_a_fit():
    "An outside point far from everything, a coordinate that never changes, and 11 outside points of one compound."
    rng = np.random.default_rng(0)
    x, outside = np.c_[rng.normal(size=(200, 2)), np.ones(200)], np.c_[rng.normal(1, 1, size=(11, 2)), np.ones(11)]
    outside[0, 0] = 1e6
    for method in METHODS:
        w = fit_ratio(x, outside, method, groups=["a"]*100 + ["b"]*100 + ["c"]*11)(x)
        assert np.isfinite(w).all() and np.isclose(w.mean(), 1)
    assert np.isfinite(separability(x, outside))

@pytest.mark.parametrize("mu, sd", [(0.8, 1.0), (0.8, 0.8)], ids=["moved", "narrower"])
def test_weights_mend_a_misspecified_model(mu, sd):
    "A straight line through a curve is best where it is fitted (Shimodaira 2000): the ratio moves the fit to where the outside set is."
    errors, mean = [], lambda x: x[:, 0] + x[:, 0]**2/2
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, outside, test = rng.normal(size=(800, 3)), rng.normal(mu, sd, size=(200, 3)), rng.normal(mu, sd, size=(4000, 3))
        y, true = mean(x) + 0.3*rng.normal(size=800), np.exp((x**2/2 - ((x - mu)/sd)**2/2).sum(1))
        weights = {"none": np.ones(800), "true": true/true.mean()} | {m: fit_ratio(x, outside, m)(x) for m in METHODS}
        errors.append({m: ((WeightedRidge(1.0).fit(x, y, sample_weight=w).predict(test) - mean(test))**2).mean() for m, w in weights.items()})
    errors = pd.DataFrame(errors)
    print(f"\n{errors.mean().round(3).to_string()}")
    assert all((errors[m] < errors["none"]).all() for m in METHODS)
    gained = (errors["none"].mean() - errors.mean())/(errors["none"] - errors["true"]).mean()
    assert gained["logistic"] > 0.85 and gained["KLIEP"] > 0.5 and gained["uLSIF"] > 0.25

def test_a_simulated_study_end_to_end(tmp_path, capsys):
    study = simulate(600, 120, seed=0, n_outside=120)
    store = RunFolder(tmp_path)
    first = study_domain(study, store)
    again = study_domain(study, store)
    assert "domain: reloaded" in capsys.readouterr().out and (tmp_path/"domain.parquet").exists()
    pd.testing.assert_frame_equal(first, again)
    study_domain(study, store, n_components=10)
    assert "n_components 20 instead of 10" in capsys.readouterr().out
    shared = study_components(study)
    table = domain_table(study, first, shared)
    assert list(table.index) == list(METHODS) and table["effective size"].between(1, 600).all() and table["gap left"]["logistic"] < 0.9
    compounds = sample_compounds(study.samples, study.outside_samples)
    assert len(compounds) == 720 and set(compounds[:600]) & set(compounds[600:]), "some compounds are tested on both sides"
    ratio = fit_ratio(shared.train, shared.outside, "logistic", groups=compounds)
    np.testing.assert_allclose(ratio(shared.place(study.outside)), ratio(shared.outside))
    assert ratio(shared.outside).mean() > 1.2

def test_the_ratio_finds_the_mechanisms_that_are_tested_outside():
    "The outside set holds ten of the mechanisms: engaged training signatures of those should weigh more, by the logistic ratio."
    found = []
    for seed in range(3):
        study = simulate(1500, 300, seed=seed, n_outside=300)
        w = domain_ratios(study, n_components=40).logistic
        engaged, here = study.truth["cluster"] < 24, study.mechanism(study.samples)
        tested = here.isin(set(study.mechanism(study.outside_samples)))
        found.append(w[engaged & tested].median()/w[engaged & ~tested].median())
    assert min(found) > 1.2
