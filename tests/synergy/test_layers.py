"""Bayesian layers: divergences against integration, a bound that is one, draws that agree."""
import numpy as np
import pytest
from scipy import integrate, stats

from drugnb.core.settings import InputError
from drugnb.synergy.layers import (
    PRIORS,
    Mixture,
    bound_loss,
    degrees,
    descend_bound,
    drawn_layer,
    kl_gaussian,
    kl_laplace,
    kl_mixture,
    kl_sparse,
    layer_kl,
    log_alpha,
    log_mixture,
    misfit_of,
    pruning,
    read_layer,
    start_layer,
    warmed,
)

torch = pytest.importorskip("torch")
POSTERIORS = [(0, 1e-3), (0.002, 0.002), (0, 0.05), (0.2, 0.01), (-0.4, 0.3), (1.5, 0.8), (3, 2)]

def double(*values): return [torch.tensor(v, dtype=torch.float64) for v in values]

def integral(mean, sd, log_prior):
    "Divergence by a fine rule of its own: Simpson on 400,001 points."
    w = np.linspace(mean - 10*sd, mean + 10*sd, 400_001)
    q = stats.norm.pdf(w, mean, sd)
    return integrate.simpson(q*(stats.norm.logpdf(w, mean, sd) - log_prior(w)), x=w)

@pytest.mark.parametrize(("mean", "sd"), POSTERIORS)
def test_divergences_equal_integrals(mean, sd):
    unit = 0.7
    mu, sigma, scale = double(mean, sd, unit)
    gaussian = integral(mean, sd, lambda w: stats.norm.logpdf(w, 0, unit))
    laplace = integral(mean, sd, lambda w: stats.laplace.logpdf(w, 0, unit))
    assert kl_gaussian(torch, mu, sigma, scale).item() == pytest.approx(gaussian, abs=1e-7)
    assert kl_laplace(torch, mu, sigma, scale).item() == pytest.approx(laplace, abs=1e-6)

@pytest.mark.parametrize("shape", [Mixture(), Mixture(0.5, 1.0, 0.1), Mixture(0.9, 1.0, 0.5), Mixture(0.25, 2.0, 0.01)])
@pytest.mark.parametrize(("mean", "sd"), POSTERIORS)
def test_the_mixture_s_divergence_equals_its_integral(mean, sd, shape):
    def log_prior(w):
        parts = [np.log(p) + stats.norm.logpdf(w, 0, 0.7*s)
                 for p, s in ((shape.share, shape.wide), (1 - shape.share, shape.narrow))]
        return np.logaddexp(*parts)
    found = kl_mixture(torch, *double(mean, sd, 0.7), shape).item()
    assert found == pytest.approx(integral(mean, sd, log_prior), abs=3e-4)
    w = np.array([0, 0.001, -0.01, 0.5, 40])
    np.testing.assert_allclose(log_mixture(torch, *double(w, 0.7), shape), log_prior(w))

def test_a_mixture_of_one_part_is_a_gaussian():
    given = double([0.3, -2.0], [0.2, 0.5], 0.7)
    same = kl_mixture(torch, *given, Mixture(0.4, 1.0, 1.0 - 1e-9))
    np.testing.assert_allclose(same, kl_gaussian(torch, *given), atol=1e-4)

@pytest.mark.parametrize("kl", [kl_gaussian, kl_laplace, kl_mixture])
def test_gradients_of_divergences_are_right(kl):
    mean, sd, unit = (t.requires_grad_() for t in double([0.4, 0.01], [0.3, 0.02], 0.7))
    assert torch.autograd.gradcheck(lambda m, s: kl(torch, m, s, unit.detach()), (mean, sd), atol=2e-3, rtol=2e-3)

@pytest.mark.parametrize("noisy", [-6.0, -2.0, 0.0, 1.0, 4.0, 9.0])
def test_sparse_divergence_equals_its_exact_value(noisy):
    sd = np.exp(noisy/2)
    def inside(x): return stats.norm.pdf(x, 1, sd)*np.log(abs(x))
    ends = np.unique([min(0, 1 - 14*sd), max(0, 1 - 14*sd), 1 + 14*sd])
    whole = sum(integrate.quad(inside, *pair, limit=500)[0] for pair in zip(ends[:-1], ends[1:], strict=True))
    exact = whole - noisy/2 + (np.euler_gamma + np.log(2))/2
    assert kl_sparse(torch, *double(noisy)).item() == pytest.approx(exact, abs=0.01)

def test_the_sparse_divergence_rewards_noise():
    values = kl_sparse(torch, torch.linspace(-9, 9, 50))
    assert (values.diff() < 0).all() and values[-1] < 0.01

def test_log_alpha_is_variance_over_squared_mean():
    assert log_alpha(torch, *double(0.5, np.log(0.25))).item() == pytest.approx(np.log(0.25))
    assert np.isfinite(log_alpha(torch, *double(0.0, np.log(0.1))).item())

def test_likelihoods_are_those_of_scipy():
    error, log_scale = double(np.linspace(-30, 30, 11), 0.4)
    np.testing.assert_allclose(misfit_of(torch, error, log_scale), -stats.norm(0, np.exp(0.4)).logpdf(error))
    df = degrees(torch, *double(-3.0))
    assert df > 2
    np.testing.assert_allclose(misfit_of(torch, error, log_scale, df), -stats.t(df.item(), 0, np.exp(0.4)).logpdf(error))

def test_batches_of_an_epoch_bear_the_divergence_once():
    misfit, divergence = torch.rand(3, 90), torch.tensor([5.0, 7.0, 0.0])
    for size in (10, 30, 90):
        parts = [bound_loss(part, divergence, 90) for part in misfit.split(size, dim=1)]
        torch.testing.assert_close(torch.stack(parts).mean(0), misfit.mean(1) + divergence/90)
    assert [warmed(p, 0.4) for p in (0, 0.2, 0.4, 1)] == [0, 0.5, 1, 1]

@pytest.mark.parametrize("prior", PRIORS)
def test_a_layer_s_divergence_is_the_sum_over_its_weights_and_members_stay_apart(prior):
    generator = torch.Generator().manual_seed(0)
    layer = start_layer(torch, generator, 3, 5, 2, prior)
    whole = layer_kl(torch, layer, prior)
    assert whole.shape == (3,)
    one = {k: v[1:2] for k, v in layer.items()}
    torch.testing.assert_close(layer_kl(torch, one, prior)[0], whole[1])
    doubled = {k: torch.cat([v, v], 1) if k in ("mean", "log_sd") else v for k, v in layer.items()}
    torch.testing.assert_close(layer_kl(torch, doubled, prior), 2*whole)

def test_local_draws_have_the_moments_of_weight_draws():
    generator = torch.Generator().manual_seed(1)
    layer = start_layer(torch, generator, 1, 8, 1, "gaussian", sd=0.6)
    x = torch.randn(1, 1, 8, generator=generator)
    mean = read_layer(torch, layer, x).item()
    sd = np.sqrt((x[0, 0]**2 @ torch.exp(2*layer["log_sd"][0])).item())
    local = read_layer(torch, layer, x.expand(1, 40_000, 8), generator).numpy()
    drawn = np.array([read_layer(torch, drawn_layer(torch, layer, generator), x).item() for _ in range(4000)])
    for values in (local, drawn):
        assert values.mean() == pytest.approx(mean, abs=4*sd/np.sqrt(values.size))
        assert values.std() == pytest.approx(sd, rel=0.05)

def test_the_bound_of_one_weight_is_the_evidence():
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal(30), 0.5
    y = 0.8*x + noise*rng.standard_normal(30)
    xs, ys, log_noise, one = double(x, y, np.log(noise), 1.0)
    mean, log_sd = (t.requires_grad_() for t in double(0.0, -1.0))
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    nodes, weights = double(nodes[:, None], weights[:, None]/np.sqrt(2*np.pi))
    def loss(progress):
        expected = (weights*misfit_of(torch, ys - (mean + torch.exp(log_sd)*nodes)*xs, log_noise)).sum(0)
        return bound_loss(expected, kl_gaussian(torch, mean, torch.exp(log_sd), one), 30)
    descend_bound(torch, [mean, log_sd], loss, 500, rate=0.1)
    evidence = stats.multivariate_normal(np.zeros(30), noise**2*np.eye(30) + np.outer(x, x)).logpdf(y)
    assert -30*loss(1).item() == pytest.approx(evidence, abs=1e-3)

def test_pruning_counts_noisy_weights_and_draws_leave_them_out():
    mean = torch.tensor([[[1.0, 1e-3], [2.0, 0.0]]])
    layer = {"mean": mean, "bias": torch.zeros(1, 1, 2), "log_sd": torch.full((1, 2, 2), np.log(0.1))}
    report = pruning(torch, {"hidden": layer})
    assert report.loc["hidden"].tolist() == [4, 2, 0.5]
    drawn = drawn_layer(torch, layer, torch.Generator().manual_seed(0), "sparse")["mean"][0]
    assert (drawn[:, 1] == 0).all() and (drawn[:, 0] != 0).all()

def test_an_unknown_prior_is_refused():
    with pytest.raises(InputError, match="no prior 'cauchy': use one of gaussian, mixture, laplace, sparse"):
        start_layer(torch, torch.Generator(), 1, 2, 2, "cauchy")
