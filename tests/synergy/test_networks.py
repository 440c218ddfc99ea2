"""Networks of drug pairs: symmetric, repeatable, honest about pairs they have not seen."""
import copy
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge

from drugnb.core.settings import InputError
from drugnb.synergy.networks import (
    BayesEnsemble,
    BayesNet,
    Ensemble,
    LastLayer,
    Plan,
    coordinates,
    drug_table,
    evidence_regression,
    find_basis,
    fit_noise,
    make_plan,
    one_cycle,
    out_of_bag,
    pruning_report,
    stable_folds,
)
from drugnb.synergy.pairs import Library, Pairs, candidates, tanimoto

torch = pytest.importorskip("torch")
FAST = dict(units=12, epochs=4, least_steps=40, samples=8)
KINDS = [Ensemble(members=4), BayesNet(), BayesNet("sparse"), BayesEnsemble("laplace", members=4),
         BayesNet("mixture"), LastLayer(members=4), BayesNet(whole=True, raw=True)]

def fast(model, **more): return clone(model).set_params(**{**FAST, **more})

def world(n=24, lines=1, seed=0, noise=3.0):
    "Classes decide half of what a pair does; noise is Student t with 4 degrees of freedom."
    rng = np.random.default_rng(seed)
    of = rng.integers(4, size=n)
    bits = ((rng.random((4, 60)) < 0.25)[of] & (rng.random((n, 60)) < 0.8)).astype(np.float32)
    hidden = rng.standard_normal((4, 3))[of] + 0.3*rng.standard_normal((n, 3))
    strength = rng.standard_normal((lines, n))
    curves = (strength[..., None] + 0.2*rng.standard_normal((lines, n, 3))).astype(np.float32)
    library = Library(np.array([f"d{i:02}" for i in range(n)]), np.array([f"l{i}" for i in range(lines)]), bits, curves)
    pairs = candidates(library)
    both = strength[pairs.line, pairs.a] + strength[pairs.line, pairs.b]
    truth = 5 + 2*both + 3*(hidden[pairs.a]*hidden[pairs.b]).sum(1)
    return pairs, truth + noise/np.sqrt(2)*rng.standard_t(4, len(pairs)), truth

@pytest.mark.parametrize("model", KINDS, ids=lambda m: f"{type(m).__name__} {m.prior}")
def test_exchanged_drugs_give_equal_forecasts_and_draws(model):
    pairs, y, _ = world(lines=2)
    fitted = fast(model).fit(pairs, y)
    one, other = fitted.forecast(pairs), fitted.forecast(pairs.swapped())
    for name in ("mean", "model_sd", "noise"): assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(fitted.draws(pairs, 5, 3), fitted.draws(pairs.swapped(), 5, 3))
    assert (one.model_sd > 0).all() and (one.noise > 0).all() and one.df > 2
    exchanged = fast(model).fit(replace(pairs, a=np.where(np.arange(len(pairs)) % 2, pairs.a, pairs.b),
                                        b=np.where(np.arange(len(pairs)) % 2, pairs.b, pairs.a)), y)
    np.testing.assert_allclose(exchanged.forecast(pairs).mean, one.mean, atol=1e-3)

@pytest.mark.parametrize("model", [Ensemble(members=4), BayesNet(), LastLayer(members=4)], ids=lambda m: type(m).__name__)
def test_a_seed_repeats_and_another_does_not(model):
    pairs, y, _ = world()
    def told(seed): return fast(model, random_state=seed).fit(pairs, y).forecast(pairs).mean
    first = told(1)
    torch.manual_seed(7)
    assert np.array_equal(told(1), first) and not np.allclose(told(2), first)

def test_torch_is_left_as_it_was():
    pairs, y, _ = world()
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad(): fast(Ensemble()).fit(pairs, y).forecast(pairs)
        assert torch.get_num_threads() == 2 and torch.equal(torch.random.get_rng_state(), before)
    finally: torch.set_num_threads(threads)

def test_a_forecast_does_not_depend_on_which_other_pairs_are_asked(monkeypatch):
    pairs, y, _ = world()
    fitted = fast(BayesNet()).fit(pairs, y)
    whole = fitted.forecast(pairs).mean
    some = np.arange(0, len(pairs), 7)
    np.testing.assert_allclose(fitted.forecast(pairs.rows(some)).mean, whole[some], atol=1e-3)
    monkeypatch.setattr("drugnb.synergy.networks.CHUNK", 50)
    np.testing.assert_allclose(fitted.forecast(pairs).mean, whole, atol=1e-3)

def test_drugs_are_met_by_label_in_another_library():
    pairs, y, _ = world()
    fitted, old = fast(Ensemble()).fit(pairs, y), pairs.library
    order = np.random.default_rng(0).permutation(len(old.drugs))
    place = np.argsort(order)
    moved = replace(old, drugs=old.drugs[order], chemistry=old.chemistry[order], curves=old.curves[:, order])
    asked = Pairs(place[pairs.a], place[pairs.b], pairs.line, moved)
    np.testing.assert_allclose(fitted.forecast(asked).mean, fitted.forecast(pairs).mean, atol=1e-3)
    fewer = replace(old, chemistry=old.chemistry[:, :10])
    with pytest.raises(InputError, match="has 10 bits and 3 curve features where the network learned 60 and 3"):
        fitted.forecast(replace(pairs, library=fewer))

def test_a_drug_never_met_has_no_identity():
    pairs, y, _ = world()
    known = (pairs.a != 3) & (pairs.b != 3)
    fitted = fast(Ensemble()).fit(pairs.rows(known), y[known])
    before = fitted.forecast(pairs).mean
    fitted.weights_["identity"]["mean"][:, 3] += 9
    assert np.array_equal(fitted.forecast(pairs).mean, before)
    fitted.weights_["identity"]["mean"][:, 4] += 9
    assert not np.allclose(fitted.forecast(pairs).mean[known], before[known])

def test_unknown_structures_and_curves_are_no_numbers_but_marks():
    pairs, y, _ = world(lines=2)
    library = pairs.library
    holes = replace(library, chemistry=library.chemistry.copy(), curves=library.curves.copy())
    holes.chemistry[[0, 5]], holes.curves[1, 2] = np.nan, np.nan
    f = fast(Ensemble()).fit(replace(pairs, library=holes), y).forecast(replace(pairs, library=holes))
    assert np.isfinite(f.mean).all()
    for bare in (replace(library, chemistry=np.full_like(library.chemistry, np.nan)),
                 replace(library, chemistry=np.zeros((24, 0), np.float32)), library.without_curves()):
        f = fast(Ensemble()).fit(replace(pairs, library=bare), y).forecast(replace(pairs, library=bare))
        assert np.isfinite(f.mean).all() and f.mean.std() > 0

def test_similarity_is_tanimoto_by_hand_and_coordinates_are_centred():
    a = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0.0]])
    np.testing.assert_allclose(tanimoto(a, a), [[1, 1/4, 0], [1/4, 1, 0], [0, 0, 0]])
    library = world()[0].library
    basis = find_basis(library)
    made = coordinates(basis, library.chemistry)
    np.testing.assert_allclose(made.sum(0), 0, atol=1e-9)
    alone = coordinates(basis, library.chemistry[4:5])
    np.testing.assert_allclose(alone[0], made[4], atol=1e-12)

def test_folds_stay_when_pairs_are_added_and_hold_a_pair_in_all_lines():
    pairs, _, _ = world(lines=3)
    fold = stable_folds(pairs, 4, 1)
    some = np.random.default_rng(0).permutation(len(pairs))[:100]
    assert np.array_equal(stable_folds(pairs.rows(some).swapped(), 4, 1), fold[some])
    per_line = fold.reshape(3, -1)
    assert (per_line == per_line[0]).all() and np.bincount(fold).min() > 0.15*len(pairs)
    assert not np.array_equal(stable_folds(pairs, 4, 2), fold)

def test_every_row_is_left_out_by_one_of_each_kind():
    pairs, _, _ = world()
    plan = make_plan(pairs, Ensemble())
    for kind in (True, False): assert (plan.out()[plan.heavy == kind].sum(0) == 1).all()
    few = make_plan(pairs, BayesNet())
    assert few.votes.sum() == 2 and not few.out()[few.votes].any() and few.out().sum(0).max() == 2

def test_a_member_learns_nothing_from_the_fold_it_leaves_out():
    pairs, y, _ = world()
    model = fast(Ensemble(noise="student"), members=4, least_steps=200)
    fold = stable_folds(pairs, 4, 0)
    changed = y.copy()
    changed[fold == 2] = np.random.default_rng(0).permutation(changed[fold == 2])  # mean and spread stay
    one, other = (copy.deepcopy(model).fit(pairs, v)._told(pairs, 0)[0] for v in (y, changed))
    np.testing.assert_allclose(one[2], other[2], atol=1e-3)
    assert np.abs(one[1] - other[1]).max() > 0.5

def test_noise_is_found_again():
    rng = np.random.default_rng(0)
    mean = rng.normal(4, 3, 5000)
    noise = fit_noise(mean, mean + 5*rng.standard_t(4, 5000), 0.0)
    assert np.exp(noise.log_scale) == pytest.approx(5, rel=0.05) and 3.3 < noise.df < 5 and abs(noise.slope) < 0.05
    less = noise._replace(model=9.0)
    assert less.at(np.array([4.0]))[0] == pytest.approx(np.sqrt(noise.at(np.array([4.0]))[0]**2 - 9))
    gaussian = fit_noise(mean, mean + 5*rng.standard_normal(5000), 0.0, student=False)
    assert gaussian.df == np.inf and np.exp(gaussian.log_scale) == pytest.approx(5, rel=0.05)

def test_out_of_bag_means_are_of_those_who_never_saw_a_row():
    told = np.arange(12.0).reshape(1, 4, 3)
    plan = Plan(np.array([0, 1, 0]), np.array([0, 1, 0, 1]), np.ones(4, bool), np.ones(4, bool))
    rows, mean, model = out_of_bag(told, plan)
    assert rows.tolist() == [0, 1, 2] and mean.tolist() == [3, 7, 5]
    assert model == pytest.approx(18/stats.chi2(1).median()*(1 + 1/2 - 1/4))

def test_the_learning_rate_rises_and_falls():
    rates = [one_cycle(p) for p in np.linspace(0, 1, 101)]
    assert np.argmax(rates) == 30 and rates[0] < 0.05 and rates[-1] < 0.01 and max(rates) <= 1

def test_the_last_layer_s_regression_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((80, 7))
    y = x @ rng.standard_normal(7) + rng.standard_normal(80)
    ours = evidence_regression(x, y, 500)
    theirs = BayesianRidge(fit_intercept=False, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, max_iter=1000, tol=1e-10).fit(x, y)
    np.testing.assert_allclose(ours.mean, theirs.coef_, rtol=1e-3)
    np.testing.assert_allclose(ours.root @ ours.root.T, theirs.sigma_, rtol=5e-3, atol=1e-6)
    assert ours.beta == pytest.approx(theirs.alpha_, rel=1e-3)

@pytest.mark.parametrize("model", [Ensemble(), BayesEnsemble(), LastLayer()], ids=lambda m: type(m).__name__)
def test_intervals_of_new_pairs_hold_and_beat_no_information(model):
    pairs, y, _ = world(40, seed=1)
    order = np.random.default_rng(0).permutation(len(pairs))
    test, train = order[:250], order[250:]
    f = clone(model).fit(pairs.rows(train), y[train]).forecast(pairs.rows(test))
    inside = [((low <= y[test]) & (y[test] <= high)).mean() for low, high in (f.interval(0.5), f.interval(0.9))]
    assert 0.4 < inside[0] < 0.62 and 0.85 < inside[1] < 0.97
    none = stats.norm(y[train].mean(), y[train].std())
    assert f.log_density(y[test]).mean() > none.logpdf(y[test]).mean() + 0.2
    assert np.corrcoef(f.mean, y[test])[0, 1]**2 > 0.5

def test_a_line_without_pairs_is_read_by_its_curves():
    pairs, y, truth = world(20, lines=6, seed=2)
    learn, new = pairs.line < 5, pairs.line == 5
    fitted = Ensemble(members=4, folds=4).fit(pairs.rows(learn), y[learn])
    assert "line" in fitted.weights_
    assert np.corrcoef(fitted.predict(pairs.rows(new)), truth[new])[0, 1] > 0.6
    assert "line" not in fast(Ensemble()).fit(*world()[:2]).weights_

def test_draws_of_an_ensemble_have_its_mean_and_covariance():
    pairs, y, _ = world()
    fitted, few = fast(Ensemble()).fit(pairs, y), pairs.rows(np.arange(5))
    drawn, members = fitted.draws(few, 20_000, 1), fitted._told(few, 1)[0]
    np.testing.assert_allclose(drawn.mean(0), fitted.forecast(few).mean, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(members.T), atol=0.1*np.cov(members.T).max())

def test_draws_of_a_bayesian_network_spread_as_its_forecast_says():
    pairs, y, _ = world()
    fitted = fast(BayesNet(), samples=400).fit(pairs, y)
    drawn = fitted.draws(pairs, 400, 5)
    assert drawn.shape == (400, len(pairs))
    assert np.median(drawn.std(0)/fitted.forecast(pairs).model_sd) == pytest.approx(1, abs=0.1)

def test_a_warm_start_goes_on_and_a_cold_one_does_not():
    pairs, y, _ = world()
    warm = fast(Ensemble(), warm_start=True).fit(pairs.rows(slice(100)), y[:100])
    before, centre = warm.weights_["out"]["mean"].clone(), warm.centre_
    warm.set_params(rate=1e-9).fit(pairs, y)
    assert torch.allclose(warm.weights_["out"]["mean"], before, atol=1e-5) and warm.centre_ == centre
    cold = fast(Ensemble()).fit(pairs.rows(slice(100)), y[:100]).set_params(rate=1e-9).fit(pairs, y)
    assert not torch.allclose(cold.weights_["out"]["mean"], before, atol=1e-3)

def test_few_pairs_are_enough_to_start():
    pairs, y, _ = world()
    for model in (Ensemble(), BayesNet(), LastLayer()):
        f = fast(model).fit(pairs.rows(slice(30)), y[:30]).forecast(pairs)
        assert np.isfinite(f.mean).all() and np.isfinite(f.scale).all()
    f = fast(Ensemble()).fit(pairs.rows(slice(4)), y[:4]).forecast(pairs)
    assert np.isfinite(f.scale).all()

def test_pruning_reports_both_accuracies_and_only_for_the_sparse_prior():
    pairs, y, _ = world()
    found = pruning_report(BayesNet("sparse", units=16, epochs=80).fit(pairs, y), pairs, y)
    assert found.layers.index.tolist() == ["hidden", "out"] and 0.3 < found.layers.share["hidden"] < 1
    assert found.after > 0.8*found.before > 0
    with pytest.raises(InputError, match="only 'sparse' prunes"): pruning_report(fast(BayesNet()).fit(pairs, y), pairs, y)

def test_the_table_of_drugs_finds_those_that_work_with_all():
    pairs, y, truth = world()
    table = drug_table(Ensemble(members=4).fit(pairs, y), pairs.library)
    mean = [truth[(pairs.a == d) | (pairs.b == d)].mean() for d in range(24)]
    assert table.index.tolist() == pairs.library.drugs.tolist() and table.met.all() and (table.sd > 0).all()
    assert np.corrcoef(table.expected, mean)[0, 1] > 0.9

def test_what_does_not_fit_is_refused():
    pairs, y, _ = world()
    holed = np.where(np.arange(len(y)) == 3, np.nan, y)
    for model, target, said in ((Ensemble(), y[:9], "give one number for each"), (Ensemble(), holed, "missing for 1 of"),
                                (BayesNet("cauchy"), y, "no prior 'cauchy'"), (Ensemble(noise="t"), y, "no noise 't'"),
                                (Ensemble(members=1, folds=0), y, "use more members")):
        with pytest.raises(InputError, match=said): model.fit(pairs, target)
    with pytest.raises(InputError, match="lower `rate`"): fast(Ensemble(), rate=1e30).fit(pairs, y)
