"""Representations: the closed form against Monte Carlo, reduced-rank regression and torch; scikit-learn's rules; no pickle."""
import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from drugnb.core.artefacts import save_frame
from drugnb.core.settings import InputError
from drugnb.essentiality.represent import (
    CORRUPTIONS,
    KINDS,
    Components,
    Corruption,
    LinearMasked,
    MaskedAutoencoder,
    RawGenes,
    Rotation,
    corrupt,
    expected_loss,
    linear_map,
    load_representation,
    moments,
    pack_arrays,
    published,
    random_rotation,
    reduced_rank,
    save_representation,
    transductive,
    unpack_arrays,
)

needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")
HOWS = [Corruption(kind, share, noise, augment) for kind in CORRUPTIONS for share, noise, augment in ((0.3, 1.0, 0.0), (0.6, 0.5, 0.4))]

def drawn(n=60, p=25, seed=0, rank=8):
    "Correlated genes in a unit of their own, one of them constant."
    rng = np.random.default_rng(seed)
    x = 4 + rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p)) + 0.5*rng.standard_normal((n, p))
    x[:, 3] = 2.0
    return x

def standardised(x):
    z = x - x.mean(0)
    return np.delete(z, 3, 1)/np.delete(z, 3, 1).std(0)

def quick(**more): return MaskedAutoencoder(**{**dict(width=3, epochs=5, batch=32, random_state=0), **more})

ALL = [RawGenes(), Components(3), Rotation(3), LinearMasked(3), *([quick()] if importlib.util.find_spec("torch") else [])]
ids = [type(r).__name__ for r in ALL]


@parametrize_with_checks(ALL)
def test_is_a_scikit_learn_transformer(estimator, check): check(estimator)

@pytest.mark.parametrize("how", HOWS, ids=str)
def test_moments_are_those_of_random_corruptions(how):
    z, rng, draws = standardised(drawn(40, 8)), np.random.default_rng(1), 3000
    m, n = moments(z, how), 40
    seen, cross = np.zeros((2, 7, 7))
    for _ in range(draws):
        bad = corrupt(z, how, rng)
        seen, cross = seen + bad.T @ bad/n/draws, cross + z.T @ bad/n/draws
    np.testing.assert_allclose(seen, m.seen, atol=0.025)
    np.testing.assert_allclose(cross, m.cross, atol=0.025)
    np.testing.assert_allclose(m.clean, z.T @ z/n)

@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("shape", [(60, 25), (15, 25)])
def test_shrunken_components_are_the_reduced_rank_optimum(how, shape):
    x = drawn(*shape)
    z, fitted = standardised(x), LinearMasked(6, *how, random_state=3).fit(x)
    m, code = moments(z, how), np.delete(fitted.components_, 3, 1)
    encoder, decoder, best = reduced_rank(m, 6)
    assert expected_loss(m, code, code.T) == pytest.approx(best, rel=1e-9)
    assert expected_loss(m, encoder, decoder) == pytest.approx(best, rel=1e-9)
    np.testing.assert_allclose(code.T @ code, decoder @ encoder, atol=1e-8)
    assert not fitted.components_[:, 3].any(), "a constant gene is not read"

def test_the_expected_loss_is_the_mean_of_drawn_losses():
    z, rng, how = standardised(drawn(40, 10)), np.random.default_rng(0), Corruption("swap", 0.3)
    encoder, decoder = rng.standard_normal((2, 3, 9))/3
    by_draws = np.mean([((corrupt(z, how, rng) @ encoder.T @ decoder - z)**2).mean() for _ in range(4000)])
    assert expected_loss(moments(z, how), encoder, decoder.T) == pytest.approx(by_draws, rel=0.01)

def test_nothing_of_the_width_is_better_than_the_optimum():
    z, rng, how = standardised(drawn()), np.random.default_rng(0), Corruption("zero", 0.4)
    m = moments(z, how)
    encoder, decoder, best = reduced_rank(m, 5)
    for size in (1e-3, 1e-1, 1):
        for _ in range(20):
            e, d = encoder + size*rng.standard_normal(encoder.shape), decoder + size*rng.standard_normal(decoder.shape)
            assert expected_loss(m, e, d) > best

def test_two_genes_by_hand():
    "z1 = z2 with zeros at half of the entries: S is all 1, A has 1/4 beside 1/2, C is 1/2, and W = 2/3 everywhere."
    z = np.array([[1.0, 1.0], [-1.0, -1.0]])
    m = moments(z, Corruption("zero", 0.5))
    np.testing.assert_allclose(m.seen, [[0.5, 0.25], [0.25, 0.5]])
    np.testing.assert_allclose(m.cross, [[0.5, 0.5], [0.5, 0.5]])
    encoder, decoder, loss = reduced_rank(m, 1)
    np.testing.assert_allclose(decoder @ encoder, np.full((2, 2), 2/3))
    assert loss == pytest.approx(1 - 2/3)
    np.testing.assert_allclose(LinearMasked(1, "zero", 0.5).fit(z).shrinkage_, 4/3)

def test_without_masking_it_is_pca():
    x = drawn()
    ours, theirs = LinearMasked(4, share=0.0).fit(x), PCA(4).fit(StandardScaler().fit_transform(x))
    np.testing.assert_allclose(ours.components_.T @ ours.components_, theirs.components_.T @ theirs.components_, atol=1e-8)

def test_all_corruptions_and_seeds_span_the_same_space():
    x = drawn()
    reference = PCA(5).fit(StandardScaler().fit_transform(x)).components_
    for kind in CORRUPTIONS:
        for seed in (0, 1):
            axes = LinearMasked(5, kind, 0.5, augment=0.3, random_state=seed).fit(x).components_
            overlap = np.linalg.svd(np.linalg.qr(axes.T)[0].T @ reference.T, compute_uv=False)
            np.testing.assert_allclose(overlap, 1, atol=1e-8)

def test_swapping_is_replacing_for_a_linear_autoencoder():
    swap, replace = (LinearMasked(5, kind).fit(drawn()).components_ for kind in ("swap", "replace"))
    np.testing.assert_array_equal(swap, replace)

def test_components_are_scikit_learns():
    x = drawn()
    theirs = PCA(6, svd_solver="full").fit(StandardScaler().fit_transform(x))
    for shape in ("tall", "wide"):
        some = x if shape == "tall" else x[:20]
        theirs = PCA(6, svd_solver="full").fit(StandardScaler().fit_transform(some))
        ours = Components(6).fit(some)
        np.testing.assert_allclose(np.abs((ours.components_*theirs.components_).sum(1)), 1, atol=1e-8)
        np.testing.assert_allclose(ours.variances_*len(some)/(len(some) - 1), theirs.explained_variance_)
    np.testing.assert_allclose(Components(6, whiten=True).fit(x).transform(x).std(0), 1)

def test_width_is_at_most_the_rank():
    x = drawn(10, 25)
    for r in (Components(256), Rotation(256), LinearMasked(256)): assert r.fit_transform(x).shape == (10, 9)

def test_rotations_keep_lengths_and_are_random():
    q = random_rotation(7, 0)
    np.testing.assert_allclose(q @ q.T, np.eye(7), atol=1e-12)
    assert not np.allclose(q, random_rotation(7, 1)) and np.array_equal(q, random_rotation(7, 0))
    x = drawn()
    plain, turned = (r.fit_transform(x) for r in (Components(6), Rotation(6, random_state=2)))
    np.testing.assert_allclose(plain @ plain.T, turned @ turned.T, atol=1e-8)
    firsts = np.array([random_rotation(3, s)[:, 0] for s in range(2000)])
    np.testing.assert_allclose(firsts.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(firsts.T @ firsts/2000, np.eye(3)/3, atol=0.03)

def test_a_constant_gene_says_nothing_even_where_it_varies_later():
    x, later = drawn(), drawn(seed=1)
    for r in ALL[:4]:
        fitted, other = r.fit(x), later.copy()
        other[:, 3] = 1e3
        np.testing.assert_array_equal(fitted.transform(later), fitted.transform(other))

@pytest.mark.parametrize("representation", ALL, ids=ids)
def test_units_of_genes_do_not_matter(representation):
    x, scale = drawn(), np.exp2(np.arange(25) % 5)
    codes = [clone(representation).fit(v).transform(v) for v in (x, x*scale + 3)]
    np.testing.assert_allclose(*codes, atol=1e-5)

@pytest.mark.parametrize("representation", ALL, ids=ids)
def test_saved_and_loaded_without_pickle(representation, tmp_path):
    table = pd.DataFrame(drawn(), columns=[f"g{i}" for i in range(25)])
    fitted = clone(representation).fit(table)
    save_representation(fitted, tmp_path/"r.parquet", {"why": "a test"})
    again = load_representation(tmp_path/"r.parquet")
    assert type(again) is type(fitted) and again.get_params() == fitted.get_params()
    np.testing.assert_array_equal(again.transform(table), fitted.transform(table))
    with pytest.raises(ValueError, match="feature names"): again.transform(table.iloc[:, ::-1])
    assert list(again.get_feature_names_out()) == list(fitted.get_feature_names_out())

def test_what_is_no_representation_is_not_loaded(tmp_path):
    save_frame(pd.DataFrame({"a": [1]}), tmp_path/"x.parquet", {"stage": "scores"})
    with pytest.raises(InputError, match="it was not saved by drugnb"): load_representation(tmp_path/"x.parquet")
    with pytest.raises(NotFittedError): save_representation(Components(2), tmp_path/"y.parquet")

def test_arrays_of_all_shapes_are_packed():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(3.0), "c": np.zeros((0, 4)), "d": np.array([np.inf, np.nan])}
    back = unpack_arrays(pack_arrays(arrays))
    for name, a in arrays.items(): np.testing.assert_array_equal(back[name], a)

@pytest.mark.parametrize("representation", [*ALL, make_pipeline(StandardScaler(), PCA(3))], ids=[*ids, "Pipeline"])
def test_a_linear_representation_is_one_map_of_genes(representation):
    x = np.delete(drawn(), 3, 1)
    fitted = clone(representation).fit(x)
    weights, offset = linear_map(fitted, 24)
    np.testing.assert_allclose(drawn(seed=5)[:, :24] @ weights.T + offset, fitted.transform(drawn(seed=5)[:, :24]), atol=1e-6)

def test_transductive_representations_stay_as_they_are():
    x = drawn()
    kept, = transductive([Components(3)], x)
    assert isinstance(kept, FrozenEstimator)
    np.testing.assert_array_equal(clone(kept).fit(x[:10], None).transform(x), Components(3).fit(x).transform(x))

# torch

@needs_torch
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_gradient_descent_ends_at_the_closed_form_and_never_below(kind):
    z, how = standardised(drawn(80, 21)), Corruption(kind, 0.3)
    m = moments(z, how)
    best, losses = reduced_rank(m, 5)[2], []
    model = MaskedAutoencoder(5, corruption=kind, rate=3e-3, random_state=1)
    for _, ([(e, a)], [(d, b)]) in zip(range(1500), model.course(z.astype(np.float32)), strict=False):
        losses.append(expected_loss(m, e.T.astype(float), d.T.astype(float)) + ((a @ d + b)**2).mean())
    assert min(losses) > best and losses[-1] < 1.02*best, (losses[-1], best)
    assert losses[0] > 2*best

@needs_torch
def test_a_seed_repeats_bit_for_bit_and_torch_is_left_as_it_was():
    import torch
    x, before, threads = drawn(), torch.random.get_rng_state(), torch.get_num_threads()
    codes = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(codes) + 7)
        state = torch.random.get_rng_state()
        codes.append(quick(random_state=seed).fit_transform(x))
        assert torch.equal(torch.random.get_rng_state(), state)
    torch.random.set_rng_state(before)
    assert np.array_equal(codes[0], codes[1]) and not np.allclose(codes[0], codes[2])
    assert torch.get_num_threads() == threads and torch.is_grad_enabled()

@needs_torch
def test_it_stops_when_held_back_lines_are_no_longer_restored_better():
    x = np.random.default_rng(0).standard_normal((30, 40))  # nothing to learn
    m = quick(width=20, epochs=2000, patience=10, rate=3e-3).fit(x)
    assert len(m.losses_) == m.epochs_ + 10 < 2000 and np.argmin(m.losses_) == m.epochs_ - 1
    assert quick(validation=0, epochs=7).fit(x).epochs_ == 7

@needs_torch
def test_a_deep_autoencoder_learns_what_no_line_can():
    "Genes on a curve: two numbers of a linear code cannot hold three directions, one of a deep code almost can."
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, (300, 1))
    x = np.hstack([t, t**2, t**3, np.abs(t)]) @ rng.standard_normal((4, 12)) + 0.02*rng.standard_normal((300, 12))
    fits = [MaskedAutoencoder(1, hidden, share=0.1, epochs=600, batch=64, validation=0).fit(x) for hidden in ((), (32,))]
    ends = []
    for f in fits:
        z = (x - f.mean_)/f.scale_
        from drugnb.essentiality.represent import through
        ends.append(((through(f.transform(x), f.decoder_) - z)**2).mean())
    assert ends[1] < 0.5*ends[0], ends
    with pytest.raises(InputError, match="MaskedAutoencoder is not linear"): linear_map(fits[1], 12)

def test_the_published_recipe_is_one_of_the_class():
    assert set(published()) <= set(MaskedAutoencoder().get_params())
    assert (published()["rate"], published()["epochs"], published()["width"]) == (1e-4, 1000, 256)

def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"drugnb\[deep\]"): quick().fit(drawn())
    assert KINDS["LinearMasked"]().fit(drawn()), "the closed form needs none"

@pytest.mark.parametrize("wrong, says", [
    (lambda: LinearMasked(corruption="mask"), "no corruption 'mask': use one of zero, swap, noise, replace"),
    (lambda: LinearMasked(share=1.0), "share of masked entries is 1.0"),
    (lambda: LinearMasked(noise=-1), "should be from 0 to 1e6"),
    (lambda: Components(0), "1 or more, not 0"),
    (lambda: Rotation(2.5), "not 2.5"),
])
def test_wrong_parameters_are_named_when_it_is_fitted(wrong, says):
    with pytest.raises(InputError, match=says): wrong().fit(drawn())
