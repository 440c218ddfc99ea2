"""The Gaussian process of pairs: symmetry, exactness of updates, a reference implementation, calibration, bad input."""
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel

from drugnb.core.settings import InputError
from drugnb.synergy.gp import (
    NOISE,
    TERMS,
    GaussianProcess,
    alike,
    kernel,
    kernel_terms,
    known_similarities,
    learn_scatter,
    learn_weights,
    learning_rounds,
    made_screen,
    prior_variance,
    shares,
)
from drugnb.synergy.pairs import Library, Pairs


@pytest.fixture(scope="module")
def made(): return made_screen(18, seed=1)

@pytest.fixture(scope="module")
def lines(): return made_screen(10, 4, seed=2)

def some(made, n, seed=0):
    rows = np.random.default_rng(seed).permutation(len(made.data.y))
    return rows[:n], rows[n:]

def fitted(made, which, **how): return GaussianProcess(**how).fit(made.data.pairs.rows(which), made.data.y[which])

def close(f, g, by=1e-8):
    for one, other in ((f.mean, g.mean), (f.model_sd, g.model_sd), (f.noise, g.noise)):
        np.testing.assert_allclose(one, other, atol=by, rtol=0)

def weights(made, extra=0):
    n = kernel_terms(made.data.pairs.rows([0]), made.data.pairs.rows([0]), known_similarities(made.data.pairs.library)).shape[0]
    return np.random.default_rng(3).gamma(1, 1, n + extra)/n

# similarities

def test_tanimoto_is_the_share_of_bits_and_an_unknown_drug_is_like_itself_alone():
    bits = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [np.nan]*4])
    expected = [[1, 1/3, 0, 0], [1/3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(alike(bits), expected)

@pytest.mark.parametrize("which", ["made", "lines"])
def test_every_similarity_is_symmetric_in_the_drugs_and_positive_semidefinite(which, request):
    made = request.getfixturevalue(which)
    pairs, known = made.data.pairs, known_similarities(made.data.pairs.library)
    pairs = pairs.rows(some(made, 90)[0])
    terms = kernel_terms(pairs, pairs, known)
    assert len(terms) == len(TERMS)*(2 if which == "lines" else 1)
    for t, swapped in zip(terms, kernel_terms(pairs.swapped(), pairs, known), strict=True):
        np.testing.assert_allclose(t, swapped, atol=1e-12)
        assert np.linalg.eigvalsh(t).min() > -1e-8*np.trace(t)

def test_a_hand_worked_similarity_of_two_pairs():
    chemistry = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    library = Library(np.array(list("abc")), np.array(["l"]), chemistry, np.full((1, 3, 2), np.nan, np.float32))
    ab, ac = (Pairs(np.array([0]), np.array([x]), np.array([0]), library) for x in (1, 2))
    level, drug, like_drug, pair, like_pair, drug_like, *_, curves = kernel_terms(ab, ac, known_similarities(library))[:, 0, 0]
    assert (level, drug, pair, curves) == (1, 0.5, 0, 0)
    assert like_drug == pytest.approx((1 + 0 + 0.5 + 0)/2)     # aa, ac, ba, bc
    assert like_pair == pytest.approx(1*0 + 0*0.5)             # aa·bc + ac·ba
    assert drug_like == pytest.approx((1*0 + 0*1 + 0*0.5 + 0*0)/2)

def test_blocks_and_the_diagonal_agree_with_the_whole(lines, monkeypatch):
    pairs, known, w = lines.data.pairs, known_similarities(lines.data.pairs.library), weights(lines)
    whole = np.tensordot(w, kernel_terms(pairs, pairs, known), 1)
    monkeypatch.setattr("drugnb.synergy.gp.BLOCK", 1000)
    np.testing.assert_allclose(kernel(pairs, pairs, w, known), whole, atol=1e-12)
    np.testing.assert_allclose(prior_variance(pairs, w, known), np.diag(whole), atol=1e-12)

@pytest.mark.parametrize("gone", ["chemistry", "curves"])
def test_unknown_structures_and_curves_are_no_zeros(made, gone):
    library = made.data.pairs.library
    empty = replace(library, **{gone: np.full_like(getattr(library, gone), np.nan)})
    pairs = replace(made.data.pairs, library=empty)
    model = GaussianProcess().fit(pairs, made.data.y)
    f = model.forecast(pairs)
    assert np.isfinite(f.mean).all() and np.isfinite(f.model_sd).all()
    shape = (18, 1) if gone == "chemistry" else (1, 18, 1)
    half = replace(library, **{gone: np.where(np.arange(18).reshape(shape) < 9, getattr(library, gone), np.nan)})
    k = kernel(pairs, pairs, weights(made), known_similarities(half))
    assert np.linalg.eigvalsh(k).min() > -1e-8

# the model

def test_it_agrees_with_scikit_learn_at_the_same_kernel(made):
    "A level and a scatter alone; then any kernel, by its matrix."
    rows, rest = some(made, 60)
    model = fitted(made, rows)
    known, w = model.known_, model.weights_
    z = (made.data.y[rows] - made.data.y[rows].mean())/made.data.y[rows].std()
    k = kernel(made.data.pairs.rows(rows), made.data.pairs.rows(rows), w[:-1], known)
    across = kernel(made.data.pairs.rows(rows), made.data.pairs.rows(rest), w[:-1], known)
    solved = np.linalg.solve(k + w[-1]*np.eye(60), np.column_stack([z, across]))
    f = model.forecast(made.data.pairs.rows(rest))
    np.testing.assert_allclose(f.mean, across.T @ solved[:, 0]*model.spread_ + model.centre_, atol=1e-8)
    variance = prior_variance(made.data.pairs.rows(rest), w[:-1], known) - (across*solved[:, 1:]).sum(0)
    np.testing.assert_allclose(f.model_sd, np.sqrt(variance)*model.spread_*model.scatter_.factor, atol=1e-8)
    level = GaussianProcessRegressor(ConstantKernel(0.4, "fixed") + WhiteKernel(0.3, "fixed")).fit(np.zeros((60, 1)), z)
    model.weights_ = np.append(np.eye(1, len(w) - 1)[0]*0.4, 0.3)
    f = model._factored(made.data.pairs.rows(rows), made.data.y[rows]).forecast(made.data.pairs.rows(rest))
    np.testing.assert_allclose(f.mean, level.predict(np.zeros((len(rest), 1)))*model.spread_ + model.centre_, atol=1e-8)

def test_weights_are_a_minimum_and_one_that_matters_is_found(made):
    pairs, y = made.data.pairs, made.data.y
    known = known_similarities(pairs.library)
    terms = kernel_terms(pairs, pairs, known)
    rng = np.random.default_rng(0)
    z = np.linalg.cholesky(4*terms[4] + 0.1*np.eye(len(y))) @ rng.standard_normal(len(y))
    middle = np.log(np.append(list(TERMS.values()), NOISE))
    found = learn_weights(terms, z, middle, 1.0, 100)
    assert np.argmax(found[:-1]/list(TERMS.values())) == 4 and found[-1] < NOISE
    np.testing.assert_allclose(learn_weights(terms, z, middle, 1e-6), np.exp(middle), rtol=1e-3)

def test_leaving_a_row_out_is_what_it_says(made):
    rows, _ = some(made, 40)
    model = fitted(made, rows, freedom=0)
    k = kernel(made.data.pairs.rows(rows), made.data.pairs.rows(rows), model.weights_[:-1], model.known_)
    k += model.weights_[-1]*np.eye(40)
    z = (made.data.y[rows] - model.centre_)/model.spread_
    for i in (0, 7, 39):
        rest = np.delete(np.arange(40), i)
        said = k[i, rest] @ np.linalg.solve(k[np.ix_(rest, rest)], z[rest])
        assert model.left_out_[i] == pytest.approx(said*model.spread_ + model.centre_)

@pytest.mark.parametrize("which", ["made", "lines"])
def test_batches_taken_in_give_what_a_fresh_fit_gives(which, request):
    made = request.getfixturevalue(which)
    rows, rest = some(made, 120)
    pairs, y, asked = made.data.pairs, made.data.y, made.data.pairs.rows(rest)
    model = fitted(made, rows[:40]).watch(asked)
    for batch in np.split(rows[40:], [30, 31]): model.update(pairs.rows(batch), y[batch])
    fresh = clone(model)
    fresh.known_, fresh.weights_ = model.known_, model.weights_
    fresh._factored(pairs.rows(rows), y[rows])
    close(model.forecast(asked), fresh.forecast(asked))
    close(model.forecast(pairs.rows(rest[:5])), fresh.forecast(pairs.rows(rest[:5])))
    np.testing.assert_allclose(model.covariance(asked, asked), fresh.covariance(asked, asked), atol=1e-8)

def test_the_order_of_rows_drugs_and_of_a_pair_does_not_matter(made):
    pairs, y = made.data.pairs, made.data.y
    model = GaussianProcess(learn=10**6).fit(pairs, y)
    f = model.forecast(pairs)
    close(f, model.forecast(pairs.swapped()), 1e-9)
    mixed = np.random.default_rng(4).permutation(len(y))
    close(f, GaussianProcess(learn=10**6).fit(pairs.rows(mixed).swapped(), y[mixed]).forecast(pairs), 0.02)
    order = np.random.default_rng(5).permutation(18)
    there, library = np.argsort(order), pairs.library
    other = Library(library.drugs[order], library.lines, library.chemistry[order], library.curves[:, order])
    renamed = Pairs(there[pairs.a], there[pairs.b], pairs.line, other)
    close(f, GaussianProcess(learn=10**6).fit(renamed, y).forecast(renamed), 0.02)

def test_points_of_another_size_give_forecasts_of_that_size(made):
    rows, rest = some(made, 80)
    pairs, y = made.data.pairs, made.data.y
    one = GaussianProcess(freedom=0).fit(pairs.rows(rows), y[rows]).forecast(pairs.rows(rest))
    ten = GaussianProcess(freedom=0).fit(pairs.rows(rows), 10*y[rows] + 3).forecast(pairs.rows(rest))
    np.testing.assert_allclose(ten.mean, 10*one.mean + 3, atol=1e-6)
    np.testing.assert_allclose(ten.scale, 10*one.scale, rtol=1e-2)

def test_draws_have_the_means_and_covariances_that_are_said(made):
    rows, rest = some(made, 60)
    model, asked = fitted(made, rows), made.data.pairs.rows(rest[:6])
    draws = model.draws(asked, 40000, seed=1)
    c = model.covariance(asked, asked)
    np.testing.assert_allclose(draws.mean(0), model.forecast(asked).mean, atol=0.05*np.sqrt(c.max()))
    np.testing.assert_allclose(np.cov(draws.T), c, atol=0.06*c.max())
    np.testing.assert_allclose(np.sqrt(np.diag(c)), model.forecast(asked).model_sd, rtol=1e-6)
    seven, again, eight = (model.draws(asked, 3, seed) for seed in (7, 7, 8))
    assert np.array_equal(seven, again) and not np.array_equal(seven, eight)
    assert np.corrcoef(draws.T)[~np.eye(6, dtype=bool)].max() > 0.05, "pairs go together"

def test_it_knows_more_than_the_mean_and_covers_what_it_says():
    made = made_screen(30, seed=5)
    rows, rest = some(made, 250)
    f = fitted(made, rows).forecast(made.data.pairs.rows(rest))
    y, truth = made.data.y[rest], made.expected[rest]
    assert ((truth - f.mean)**2).mean() < 0.5*truth.var()
    assert f.log_density(y).mean() > stats.norm(y.mean(), y.std()).logpdf(y).mean() + 0.2
    low, high = f.interval(0.9)
    assert 0.82 < ((low <= y) & (y <= high)).mean() < 0.97
    low, high = f.interval(0.5)
    assert 0.38 < ((low <= y) & (y <= high)).mean() < 0.62

def test_shuffled_chemistry_says_less():
    made = made_screen(30, seed=6)
    rows, rest = some(made, 200)
    pairs, y = made.data.pairs, made.data.y
    shuffled = replace(pairs, library=pairs.library.shuffled(1))
    errors = [((y[rest] - GaussianProcess().fit(p.rows(rows), y[rows]).forecast(p.rows(rest)).mean)**2).mean() for p in (pairs, shuffled)]
    assert errors[0] < 0.95*errors[1]

def test_a_basis_of_nearly_all_rows_is_near_the_exact_model_and_a_small_one_follows(made):
    train, rest = some(made, 120)
    asked = made.data.pairs.rows(rest)
    exact = fitted(made, train, freedom=0)
    for rows, near in ((119, 0.99), (60, 0.9)):
        small = fitted(made, train, freedom=0, rows=rows)
        assert len(small.basis_) == rows and exact.summary_ is None
        f, g = exact.forecast(asked), small.forecast(asked)
        assert np.corrcoef(f.mean, g.mean)[0, 1] > near and np.corrcoef(exact.left_out_, small.left_out_)[0, 1] > near - 0.05
        wide = g.model_sd/small.scatter_.factor/(f.model_sd/exact.scatter_.factor)
        assert 0.95 < np.median(wide) < 1.3
        np.testing.assert_allclose(np.sqrt(np.diag(small.covariance(asked, asked))), g.model_sd, rtol=1e-6)

def test_a_model_that_outgrows_its_limit_goes_on_with_a_basis(made):
    pairs, y = made.data.pairs, made.data.y
    model = fitted(made, np.arange(50), rows=60).watch(pairs).update(pairs.rows(np.arange(50, 80)), y[50:80])
    assert len(model.basis_) == 60 and len(model.y_) == 80
    close(model.forecast(pairs), model.forecast(pairs.rows(np.arange(len(y)))))
    model.update(pairs.rows(np.arange(80, 90)), y[80:90])
    assert len(model.y_) == 90 and np.isfinite(model.forecast(pairs).mean).all()

def test_scatter_is_found_again():
    rng = np.random.default_rng(0)
    mean = rng.standard_normal(4000)*3 + 7
    noise = 2*np.exp(0.4*(mean - mean.mean())/mean.std())
    sd = np.full(4000, 1.0)
    residual = 0.5*rng.standard_normal(4000) + noise*rng.standard_t(5, 4000)
    s = learn_scatter(residual, mean, sd)
    assert abs(s.scale - 2) < 0.25 and abs(s.slope - 0.4) < 0.06 and 3.5 < s.df < 8
    few = learn_scatter(residual[:5], mean[:5], sd[:5])
    assert np.isinf(few.df) and few.scale > 0

# following a campaign

def test_a_campaign_that_was_interrupted_gives_the_same_bits(made):
    pairs, y = made.data.pairs, made.data.y
    sizes = [20, 10, 10, 10, 30, 10, 5]
    ends = np.cumsum(sizes)
    whole = GaussianProcess()
    for k, n in enumerate(ends, 1): whole.follow(pairs.rows(slice(0, n)), y[:n], sizes[:k])
    for stopped in (0, 3, 5):
        again = GaussianProcess()
        for k, n in list(enumerate(ends, 1))[stopped:]: again.follow(pairs.rows(slice(0, n)), y[:n], sizes[:k])
        f, g = whole.forecast(pairs), again.forecast(pairs)
        assert np.array_equal(f.mean, g.mean) and np.array_equal(f.model_sd, g.model_sd)

def test_other_rows_start_it_anew(made):
    pairs, y = made.data.pairs, made.data.y
    model = GaussianProcess().follow(pairs.rows(slice(0, 60)), y[:60], [40, 20])
    changed = y[:60] + np.where(np.arange(60) == 3, 5.0, 0)
    model.follow(pairs.rows(slice(0, 60)), changed, [40, 20])
    fresh = GaussianProcess().follow(pairs.rows(slice(0, 60)), changed, [40, 20])
    assert np.array_equal(model.forecast(pairs).mean, fresh.forecast(pairs).mean)

def test_weights_are_learned_anew_when_rows_have_grown():
    assert learning_rounds([30]*8, 1.25) == [0, 1, 2, 3, 4, 6]
    assert learning_rounds([30], 1.25) == [0]
    assert len(learning_rounds([30]*131, 1.25)) < 25

# edges and bad input

@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_a_handful_of_rows_is_enough(made, n):
    f = fitted(made, np.arange(n)).forecast(made.data.pairs)
    assert np.isfinite(f.mean).all() and (f.model_sd > 0).all() and (f.noise > 0).all()

def test_values_that_are_all_one_are_believed(made):
    f = GaussianProcess().fit(made.data.pairs, np.full(len(made.data.y), 4.0)).forecast(made.data.pairs)
    np.testing.assert_allclose(f.mean, 4.0)

def test_a_pair_measured_twice_is_two_rows(made):
    pairs = made.data.pairs.rows([0, 0, 1, 2, 3])
    assert np.isfinite(GaussianProcess().fit(pairs, [1.0, 3, 2, 2, 2]).forecast(pairs).mean).all()

def test_bad_input_is_named(made):
    pairs, y = made.data.pairs, made.data.y
    with pytest.raises(InputError, match="153 pairs and 3 values"): GaussianProcess().fit(pairs, y[:3])
    holed = np.where(np.arange(153) == 4, np.nan, y)
    with pytest.raises(InputError, match="1 of 153 values are missing"): GaussianProcess().fit(pairs, holed)
    with pytest.raises(InputError, match="No pair was given"): GaussianProcess().fit(pairs.rows([]), [])
    with pytest.raises(InputError, match="Batches of 5 rows"): GaussianProcess().follow(pairs.rows([0, 1]), y[:2], [5])

def test_shares_add_up(lines):
    table = shares(fitted(lines, np.arange(60)))
    np.testing.assert_allclose(table.sum(), 1)
    assert len(table) == 2*len(TERMS) + 1 and table.index.is_unique
