"""The network: symmetric in every bit, repeatable, better than no information, no trace in torch."""
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from sklearn.base import clone

from drugnb.combos.combine import SHRINKAGES, PairRidge, line_at, lines
from drugnb.combos.data import Effects
from drugnb.combos.network import (
    Network,
    Recipe,
    SwapNetwork,
    batches,
    departures,
    descend,
    drop_out,
    error_curve,
    get_torch,
    learning,
    principal_axes,
    published,
    swap_effects,
    watch,
)
from drugnb.core.settings import InputError

torch = pytest.importorskip("torch")
FAST = dict(steps=60, batch=8, genes=None, folds=0, members=1)

def drawn(n=40, m=30, seed=0):
    "A pair is the saturating sum of its drugs, plus a little noise."
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n, 3)) @ rng.standard_normal((3, m))
    return Effects(a, b), 2*np.tanh((a + b)/2) + 0.05*rng.standard_normal((n, m))

def exchanged(e): return Effects(e.b, e.a)
def total(e): return e.a + e.b

@pytest.fixture(scope="module")
def fitted():
    return SwapNetwork(**{**FAST, "folds": 3, "checks": 4}).fit(*drawn())

def rmse(p, y): return np.sqrt(np.mean((p - y)**2))


def test_exchanged_drugs_give_equal_bits(fitted):
    for n in (1, 7, 40):
        e, _ = drawn(n, seed=3)
        assert np.array_equal(fitted.predict(e), fitted.predict(exchanged(e)))
    e, _ = drawn(7, seed=3)
    one, other = (departures(torch, fitted.network_, *order) for order in ((e.a, e.b), (e.b, e.a)))
    assert not np.array_equal(one, other), "one order alone is not symmetric, or the test shows nothing"

def test_symmetric_over_several_blocks_of_pairs(fitted, monkeypatch):
    e, _ = drawn(11, seed=4)
    whole = fitted.predict(e)
    monkeypatch.setattr("drugnb.combos.network.MOST", 90)  # three pairs at a time
    assert np.array_equal(fitted.predict(e), fitted.predict(exchanged(e)))
    np.testing.assert_allclose(fitted.predict(e), whole, atol=1e-5)

def test_a_seed_repeats_bit_for_bit_and_another_does_not():
    e, pair = drawn()
    def said(seed): return SwapNetwork(**FAST, random_state=seed).fit(e, pair).predict(e)
    first = said(1)
    torch.manual_seed(99)
    assert np.array_equal(said(1), first)
    assert not np.array_equal(said(2), first)

def test_torch_is_left_as_it_was():
    (e, pair), before, threads = drawn(), torch.random.get_rng_state(), torch.get_num_threads()
    diverging = SwapNetwork(**{**FAST, "rate": (1e30, 1e30), "momentum": (0.9, 0.9)})
    torch.set_num_threads(2)
    try:
        with torch.no_grad(): SwapNetwork(**FAST).fit(e, pair).predict(e)
        assert torch.get_num_threads() == 2
        with pytest.raises(InputError, match="diverged before step .* lower the learning rate"):
            diverging.fit(e, pair)
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
    e = Effects(2*rng.standard_normal((60, 20)), rng.standard_normal((60, 20)))
    asked = Effects(*rng.standard_normal((2, 40, 20)))
    gap = {}
    for swap in ("none", "drugs", "genes"):
        m = SwapNetwork(**{**FAST, "steps": 300, "rate": (5e-3, 1e-4)}, swap=swap).fit(e, 2*e.a + e.b)
        n = m.network_
        gap[swap] = rmse(departures(torch, n, asked.a, asked.b), departures(torch, n, asked.b, asked.a))
        assert np.array_equal(m.predict(asked), m.predict(exchanged(asked)))
    assert gap["none"] > 0.5 and gap["drugs"] < gap["none"]/4, gap
    assert gap["drugs"] < gap["genes"] < 0.7*gap["none"], "half of the genes of half of the pairs: a quarter"

def test_learns_saturation_that_no_line_can_express():
    e, pair = drawn(120)
    learn, test = slice(0, 80), slice(80, None)
    m = SwapNetwork(**{**FAST, "steps": 400}, random_state=0).fit(e.rows(learn), pair[learn])
    error = rmse(m.predict(e.rows(test)), pair[test])
    straight = rmse(line_at(m.network_.basis.lines, total(e)[test]), pair[test])
    nothing = rmse(pair[learn].mean(0), pair[test])
    assert error < straight/2 and error < nothing/5, (error, straight, nothing)

def test_noise_is_not_learnt():
    "Where the departure is noise, the guards keep the network near the lines."
    rng = np.random.default_rng(1)
    e = Effects(*rng.standard_normal((2, 60, 25)))
    pair = 0.7*total(e) + rng.standard_normal((60, 25))
    learn, test = slice(0, 40), slice(40, None)
    m = SwapNetwork(**{**FAST, "folds": 4, "steps": 200}).fit(e.rows(learn), pair[learn])
    straight = rmse(line_at(m.network_.basis.lines, total(e)[test]), pair[test])
    assert rmse(m.predict(e.rows(test)), pair[test]) < 1.03*straight

def test_without_steps_it_is_the_lines():
    (e, pair), groups = drawn(), np.arange(40)//4
    pair = pair + np.arange(30)  # offsets, which no slope through zero has
    m = SwapNetwork(**{**FAST, "steps": 0}).fit(e, pair)
    straight = lines(total(e), pair, max(SHRINKAGES))
    np.testing.assert_array_equal(m.predict(e), line_at(straight, total(e)))
    m = SwapNetwork(**{**FAST, "steps": 0, "folds": 5}).fit(e, pair, groups)
    ridge = PairRidge(alphas=(), folds=5).fit(e, pair, groups)
    np.testing.assert_array_equal(m.predict(e), ridge.predict(e))

def test_inner_folds_share_no_label(monkeypatch):
    "No inner network sees a drug of the pairs by which it is judged."
    groups, folds = np.array([(i, j) for i in "ABCDEFG" for j in "ABCDEFG" if i < j]), []
    def spy(torch, recipe, effects, pair, found, shrinkage):
        folds.extend(found)
        return watch(torch, recipe, effects, pair, found, shrinkage)
    monkeypatch.setattr("drugnb.combos.network.watch", spy)
    SwapNetwork(**{**FAST, "folds": 3, "steps": 0}).fit(*drawn(len(groups)), groups)
    for learn, test in folds:
        out = set(groups.ravel()) - set(groups[learn].ravel())
        assert out and all(set(g) & out for g in groups[test]) and not set(learn) & set(test)
    assert len(folds) == 3 and set(np.concatenate([t for _, t in folds])) == set(range(len(groups)))

def test_marks_are_axes_slope_and_mean_effect():
    e, pair = drawn()
    pair = pair + np.arange(30)
    basis = SwapNetwork(**{**FAST, "steps": 0}).fit(e, pair).network_.basis
    marks, slope = basis.marks, basis.lines.slope
    assert marks.shape == (30, 3 + 2) and np.allclose((marks**2).mean(0), 1), "three axes are all there are"
    for mark, of in ((marks[:, -1], pair.mean(0)), (marks[:, -2], slope - slope.mean())):
        np.testing.assert_allclose(mark, of/np.sqrt((of**2).mean()))

def test_units_do_not_matter():
    e, pair = drawn()
    def said(e, pair): return SwapNetwork(**{**FAST, "folds": 3}).fit(e, pair).predict(e)
    large = said(Effects(1024*e.a, 1024*e.b), 1024*pair)
    np.testing.assert_allclose(large/1024, said(e, pair), rtol=1e-4, atol=1e-4)

def test_the_published_recipe_runs_and_learns():
    e, pair = drawn(60)
    m = SwapNetwork(**{**published(60), "hidden": 100, "steps": 400}).fit(e, pair)
    assert not np.any(m.network_.basis.lines) and m.network_.weights["whole"].shape == (1, 60, 100)
    assert rmse(m.predict(e), pair) < 0.8*rmse(pair.mean(0), pair)
    assert np.array_equal(m.predict(e), m.predict(exchanged(e)))
    assert published(257)["hidden"] == 2500 and published(257)["input_dropout"] == 0.85
    assert [published(n)["steps"] for n in (1, 70, 71, 257)] == [5000, 5000, 10_000, 20_000]

@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_step_down_is_torchs_own(momentum):
    g = torch.Generator().manual_seed(0)
    x, target = (torch.randn(20, n, generator=g, dtype=torch.float64) for n in (5, 1))
    ours = torch.ones(5, 1, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    nesterov = dict(momentum=momentum, nesterov=True)
    optimiser, more = (torch.optim.SGD, nesterov) if momentum else (torch.optim.AdamW, {})
    reference = optimiser([theirs], lr=0.02, weight_decay=0.1, **more)
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
    assert m.get_params()["hidden"] == 7 and m.get_params()["rate"] == (0.1, 0.2)
    assert m.set_params(rank=9).rank == 9
    assert set(published(9)) <= set(m.get_params()) == {f.name for f in fields(Recipe)}
    twin = clone(m)
    assert twin is not m and twin.get_params() == m.get_params() and "hidden=7" in repr(twin)

def test_learning_shows_the_network_at_even_steps_and_at_the_end():
    (e, pair), recipe = drawn(), Recipe(**{**FAST, "checks": 4})
    course = list(learning(torch, recipe, e, pair, 1.0, 10, 0))
    assert [step for step, _, _ in course] == [0, 2, 5, 7, 10] and course[0][2] == 1.0
    assert not course[0][1].weights["out"].any() and course[-1][1].weights["out"].any()
    short = list(learning(torch, recipe, e, pair, 1.0, 7, 0))[-1][1]
    for name, value in course[3][1].weights.items(): np.testing.assert_array_equal(value, short.weights[name])

def test_each_pair_is_drawn_once_a_round():
    drawn_rows = batches(torch, 7, 3, torch.Generator().manual_seed(0))
    rounds = [[next(drawn_rows).tolist() for _ in range(3)] for _ in range(2)]
    for one in rounds: assert sorted(sum(one, [])) == [*range(7)] and sorted(map(len, one)) == [1, 3, 3]
    assert rounds[0] != rounds[1]

def test_dropout_zeroes_its_share_and_keeps_the_mean():
    z, g = torch.ones(200, 500), torch.Generator().manual_seed(0)
    assert drop_out(torch, 0.0, g, z) is z
    out = drop_out(torch, 0.85, g, z)
    assert (out == 0).float().mean().item() == pytest.approx(0.85, abs=0.01)
    assert out.mean().item() == pytest.approx(1, abs=0.02) and out.max().item() == pytest.approx(1/0.15)

def test_the_error_of_a_share_is_that_of_the_shared_prediction():
    (e, pair), recipe = drawn(), Recipe(**{**FAST, "checks": 3})
    folds = [(np.arange(30), np.arange(30, 40)), (np.arange(10, 40), np.arange(10))]
    curve, plain, step = error_curve(watch(torch, recipe, e, pair, folds, 1.0), 2), [], 60
    for fold, (learn, test) in enumerate(folds):
        *_, (_, n, _) = learning(torch, recipe, e.rows(learn), pair[learn], 1.0, 60, 1 + fold)
        of = e.rows(test)
        p = (departures(torch, n, of.a, of.b) + departures(torch, n, of.b, of.a))/2
        assert isinstance(n, Network)
        plain.append((pair[test] - line_at(n.basis.lines, total(of)), p))
    left, p = (np.concatenate(parts) for parts in zip(*plain, strict=True))
    share = np.clip((left*p).sum()/(p**2).sum(), 0, 1)
    np.testing.assert_allclose(curve.loc[step, ["inner", "shared out", "share"]],
                               [rmse(p, left), rmse(share*p, left), share], rtol=1e-9)

def test_wrong_input_is_named():
    (e, pair), m = drawn(), SwapNetwork(**FAST)
    holed = np.where(e.a == e.a.max(), np.nan, e.a)
    endless = np.where(pair == pair.max(), np.inf, pair)
    few, fewer_genes = slice(0, 0), Effects(e.a[:, 1:], e.b[:, 1:])
    for call, what in (
        (lambda: m.fit(Effects(e.a, e.b[:5]), pair), r"not \(40, 30\), \(5, 30\), \(40, 30\)"),
        (lambda: m.fit(e, pair[:, 1:]), r"\(40, 29\)"),
        (lambda: m.fit(e, endless), "measured holds missing or infinite"),
        (lambda: m.fit(Effects(holed, e.b), pair), "effects.a holds missing"),
        (lambda: m.fit(Effects(e.a, holed), pair), "effects.b holds missing"),
        (lambda: m.fit(e.rows(0), pair[0]), "pairs x genes"),
        (lambda: m.fit(e.rows(few), pair[few]), "at least one pair and one gene"),
        (lambda: m.fit(e, pair, groups=[1, 2]), "groups holds 2 rows for 40 pairs"),
        (lambda: SwapNetwork().fit(e, pair, groups=np.zeros(40)), "two groups or more and found 1"),
        (lambda: SwapNetwork(swap="half").fit(e, pair), "swap is 'half'"),
        (lambda: m.fit(e, pair).predict(fewer_genes), "29 genes where the network learnt 30"),
        (lambda: m.predict(Effects(holed, e.b)), "effects.a holds missing"),
    ):
        with pytest.raises(InputError, match=what) as error: call()
        assert "\n" not in str(error.value)
    assert m.predict(e.rows(few)).shape == (0, 30)

def test_missing_torch_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: get_torch("network"), lambda: SwapNetwork().fit(*drawn())):
        with pytest.raises(InputError, match=r"pip install 'drugnb\[deep\]'") as e: call()
        assert "\n" not in str(e.value)

def test_importing_the_module_imports_no_torch():
    code = "import sys, drugnb.combos.network; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0
