"""The network: symmetric in every bit, repeatable, exchanging what it says, better than knowing nothing, and leaving no trace in torch."""
import subprocess
import sys

import numpy as np
import pytest

from drugnb.combos.combine import SHRINKAGES, PairRidge, line_at, lines
from drugnb.combos.network import SwapNetwork, descend, get_torch, principal_axes, published, swap_effects
from drugnb.core.settings import InputError

torch = pytest.importorskip("torch")
FAST = dict(steps=60, batch=8, genes=None, folds=0, members=1)

def drawn(n=40, m=30, seed=0):
    "A pair is the saturating sum of its drugs, plus a little noise."
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n, 3)) @ rng.standard_normal((3, m))
    return a, b, 2*np.tanh((a + b)/2) + 0.05*rng.standard_normal((n, m))

@pytest.fixture(scope="module")
def fitted():
    a, b, pair = drawn()
    return SwapNetwork(**{**FAST, "folds": 3, "checks": 4}).fit(a, b, pair)

def rmse(p, y): return np.sqrt(np.mean((p - y)**2))


def test_exchanged_drugs_give_equal_bits(fitted):
    for n in (1, 7, 40):
        a, b, _ = drawn(n, seed=3)
        assert np.array_equal(fitted.predict(a, b), fitted.predict(b, a))
    a, b, _ = drawn(7, seed=3)
    assert not np.array_equal(fitted._read(torch, a, b), fitted._read(torch, b, a)), "one order alone is not symmetric, or the test shows nothing"

def test_symmetric_over_several_blocks_of_pairs(fitted, monkeypatch):
    a, b, _ = drawn(11, seed=4)
    whole = fitted.predict(a, b)
    monkeypatch.setattr("drugnb.combos.network.MOST", 90)  # three pairs at a time
    assert np.array_equal(fitted.predict(a, b), fitted.predict(b, a))
    np.testing.assert_allclose(fitted.predict(a, b), whole, atol=1e-5)

def test_a_seed_repeats_bit_for_bit_and_another_does_not():
    (a, b, pair), make = drawn(), lambda seed: SwapNetwork(**FAST, random_state=seed)
    first = make(1).fit(a, b, pair).predict(a, b)
    torch.manual_seed(99)
    assert np.array_equal(make(1).fit(a, b, pair).predict(a, b), first)
    assert not np.array_equal(make(2).fit(a, b, pair).predict(a, b), first)

def test_torch_is_left_as_it_was():
    (a, b, pair), before = drawn(), torch.random.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad(): SwapNetwork(**FAST).fit(a, b, pair).predict(a, b)
        assert torch.get_num_threads() == 2
        with pytest.raises(InputError): SwapNetwork(**{**FAST, "rate": (1e30, 1e30), "momentum": (0.9, 0.9)}).fit(a, b, pair)
        assert torch.get_num_threads() == 2
    finally: torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), before) and torch.is_grad_enabled()

def test_half_of_the_pairs_and_genes_are_exchanged():
    a, b, g = torch.zeros(10, 4000), torch.ones(10, 4000), torch.Generator().manual_seed(0)
    for how, share in (("genes", 0.5), ("drugs", 1.0)):
        new_a, new_b = swap_effects(a, b, how, g)
        assert torch.equal(new_a + new_b, a + b)
        rows = new_a.mean(1)
        assert (rows > 0).sum() == 5 and rows[rows > 0].numpy() == pytest.approx(share, abs=0.05)
        assert len({tuple(r.tolist()) for r in new_a[rows > 0]}) == 1, "one draw of genes for the batch"
    assert swap_effects(a, b, "none", g) == (a, b)
    assert not a.any() and b.all(), "inputs stay as they are"

def test_exchange_while_learning_teaches_that_there_is_no_first_drug():
    "Drug a is strong and counts double: a network that is never shown another order believes it."
    rng = np.random.default_rng(0)
    a, b = 2*rng.standard_normal((60, 20)), rng.standard_normal((60, 20))
    asked = rng.standard_normal((2, 40, 20))
    gap = {}
    for swap in ("none", "drugs", "genes"):
        m = SwapNetwork(**{**FAST, "steps": 300, "rate": (5e-3, 1e-4)}, swap=swap).fit(a, b, 2*a + b)
        gap[swap] = rmse(m._read(torch, *asked), m._read(torch, *asked[::-1]))
        assert np.array_equal(m.predict(*asked), m.predict(*asked[::-1]))
    assert gap["none"] > 0.5 and gap["drugs"] < gap["none"]/4, gap
    assert gap["drugs"] < gap["genes"] < 0.7*gap["none"], "half of the genes of half of the pairs are a quarter of the values"

def test_learns_saturation_that_no_line_can_express():
    a, b, pair = drawn(120)
    learn, test = slice(0, 80), slice(80, None)
    m = SwapNetwork(**{**FAST, "steps": 400}, random_state=0).fit(a[learn], b[learn], pair[learn])
    error = rmse(m.predict(a[test], b[test]), pair[test])
    straight = rmse(line_at(m.lines_, (a + b)[test]), pair[test])
    nothing = rmse(pair[learn].mean(0), pair[test])
    assert error < straight/2 and error < nothing/5, (error, straight, nothing)

def test_noise_is_not_learnt():
    "Where the departure is noise, the guards keep the network near the lines."
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 60, 25))
    pair = 0.7*(a + b) + rng.standard_normal((60, 25))
    m = SwapNetwork(**{**FAST, "folds": 4, "steps": 200}).fit(a[:40], b[:40], pair[:40])
    assert rmse(m.predict(a[40:], b[40:]), pair[40:]) < 1.03*rmse(line_at(m.lines_, (a + b)[40:]), pair[40:])

def test_without_steps_it_is_the_lines():
    (a, b, pair), groups = drawn(), np.arange(40)//4
    pair = pair + np.arange(30)  # offsets, which no slope through zero has
    m = SwapNetwork(**{**FAST, "steps": 0}).fit(a, b, pair)
    np.testing.assert_array_equal(m.predict(a, b), line_at(lines(a + b, pair, max(SHRINKAGES)), a + b))
    m = SwapNetwork(**{**FAST, "steps": 0, "folds": 5}).fit(a, b, pair, groups)
    np.testing.assert_array_equal(m.predict(a, b), PairRidge(alphas=(), folds=5).fit(a, b, pair, groups).predict(a, b))

def test_inner_folds_share_no_label(monkeypatch):
    "No inner network sees a drug of the pairs by which it is judged."
    groups, folds = np.array([(i, j) for i in "ABCDEFG" for j in "ABCDEFG" if i < j]), []
    monkeypatch.setattr(SwapNetwork, "_choose", lambda self, torch, a, b, pair, found: folds.extend(found))
    SwapNetwork(**{**FAST, "folds": 3, "steps": 0}).fit(*drawn(len(groups)), groups)
    for learn, test in folds:
        out = set(groups.ravel()) - set(groups[learn].ravel())
        assert out and all(set(g) & out for g in groups[test]) and not set(learn) & set(test)
    assert len(folds) == 3 and set(np.concatenate([t for _, t in folds])) == set(range(len(groups)))

def test_marks_are_axes_slope_and_mean_effect():
    a, b, pair = drawn()
    pair = pair + np.arange(30)
    m = SwapNetwork(**{**FAST, "steps": 0}).fit(a, b, pair)
    assert m.marks_.shape == (30, 3 + 2) and np.allclose((m.marks_**2).mean(0), 1), "three axes are all there are"
    for mark, of in ((m.marks_[:, -1], pair.mean(0)), (m.marks_[:, -2], m.lines_[2] - m.lines_[2].mean())):
        np.testing.assert_allclose(mark, of/np.sqrt((of**2).mean()))

def test_units_do_not_matter():
    (a, b, pair), make = drawn(), lambda: SwapNetwork(**{**FAST, "folds": 3})
    large = make().fit(1024*a, 1024*b, 1024*pair).predict(1024*a, 1024*b)
    np.testing.assert_allclose(large/1024, make().fit(a, b, pair).predict(a, b), rtol=1e-4, atol=1e-4)

def test_the_published_recipe_runs_and_learns():
    a, b, pair = drawn(60)
    m = SwapNetwork(**{**published(60), "hidden": 100, "steps": 400}).fit(a, b, pair)
    assert not np.any(m.lines_) and m.weights_["whole"].shape == (1, 60, 100)
    assert rmse(m.predict(a, b), pair) < 0.8*rmse(pair.mean(0), pair)
    assert np.array_equal(m.predict(a, b), m.predict(b, a))
    assert published(257)["hidden"] == 2500 and published(257)["input_dropout"] == 0.85
    assert [published(n)["steps"] for n in (1, 70, 71, 257)] == [5000, 5000, 10_000, 20_000]

@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_step_down_is_torchs_own(momentum):
    g = torch.Generator().manual_seed(0)
    x, target = torch.randn(20, 5, generator=g, dtype=torch.float64), torch.randn(20, 1, generator=g, dtype=torch.float64)
    ours, theirs = torch.ones(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64, requires_grad=True)
    if momentum: reference = torch.optim.SGD([theirs], lr=0.02, momentum=momentum, nesterov=True, weight_decay=0.1)
    else: reference = torch.optim.AdamW([theirs], lr=0.02, weight_decay=0.1)
    memory = [(torch.zeros_like(ours), torch.zeros_like(ours))]
    for step in range(50):
        descend(torch, [ours], [2*x.T @ (x @ ours - target)/20], memory, step, 0.02, momentum, 0.1)
        reference.zero_grad()
        ((x @ theirs - target)**2).mean().backward()
        reference.step()
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-9)

@pytest.mark.parametrize("shape", [(8, 30), (30, 8)])
def test_axes_are_those_of_the_singular_values(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    axes, reference = principal_axes(x, 3), np.linalg.svd(x, full_matrices=False)[2][:3].T
    np.testing.assert_allclose(np.abs((axes*reference).sum(0)), 1, atol=1e-9)

def test_parameters_are_kept_as_given():
    m = SwapNetwork(hidden=7, rate=(0.1, 0.2))
    assert m.get_params()["hidden"] == 7 and m.set_params(rank=9).rank == 9 and m.get_params()["rate"] == (0.1, 0.2)
    assert set(published(9)) <= set(m.get_params())

def test_wrong_input_is_named():
    (a, b, pair), m = drawn(), SwapNetwork(**FAST)
    holed = np.where(a == a.max(), np.nan, a)
    endless = np.where(pair == pair.max(), np.inf, pair)
    for call, what in ((lambda: m.fit(a, b[:5], pair), r"not \(40, 30\), \(5, 30\), \(40, 30\)"),
                       (lambda: m.fit(a, b, pair[:, 1:]), r"\(40, 29\)"), (lambda: m.fit(a, b, endless), "pair holds missing or infinite"),
                       (lambda: m.fit(holed, b, pair), "single_a holds missing"), (lambda: m.fit(a, holed, pair), "single_b holds missing"),
                       (lambda: m.fit(a[0], b[0], pair[0]), "pairs x genes"), (lambda: m.fit(a[:0], b[:0], pair[:0]), "at least one"),
                       (lambda: m.fit(a, b, pair, groups=[1, 2]), "groups holds 2 rows for 40 pairs"),
                       (lambda: SwapNetwork().fit(a, b, pair, groups=np.zeros(40)), "two groups or more and found 1"),
                       (lambda: SwapNetwork(swap="half").fit(a, b, pair), "swap is 'half'"),
                       (lambda: m.fit(a, b, pair).predict(a[:, 1:], b[:, 1:]), "29 genes where the network learnt 30"),
                       (lambda: m.predict(holed, b), "single_a holds missing")):
        with pytest.raises(InputError, match=what) as e: call()
        assert "\n" not in str(e.value)
    assert m.predict(a[:0], b[:0]).shape == (0, 30)

def test_missing_torch_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (get_torch, lambda: SwapNetwork().fit(*drawn())):
        with pytest.raises(InputError, match=r"pip install 'drugnb\[deep\]'") as e: call()
        assert "\n" not in str(e.value)

def test_importing_the_module_imports_no_torch():
    code = "import sys, drugnb.combos.network; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0
