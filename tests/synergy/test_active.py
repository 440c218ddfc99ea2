"""Which pairs are asked for: rules of batches, policies, the first batch, and campaigns that survive being stopped."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from drugnb.core.artefacts import RunFolder
from drugnb.core.settings import InputError
from drugnb.synergy.active import (
    POLICIES,
    choose_batch,
    covering_start,
    fitted_to,
    may_be_asked,
    run_campaign,
    worth,
)
from drugnb.synergy.baselines import Linear
from drugnb.synergy.gp import GaussianProcess, made_screen
from drugnb.synergy.pairs import Forecast, Forecaster


@pytest.fixture(scope="module")
def made(): return made_screen(16, seed=1)

@pytest.fixture
def silent(): return dict(note=lambda text: None)

def look_up(made): return lambda rows: made.data.y[rows]

class Still(Forecaster):
    "Says what it is told; `random_state` and rows are kept, to be looked at."
    def __init__(self, mean=(), sd=(), random_state=0): self.mean, self.sd, self.random_state = mean, sd, random_state

    def fit(self, pairs, y):
        self.fitted_ = len(y), self.random_state
        return self

    def forecast(self, pairs):
        n = len(pairs)
        return Forecast(np.resize(np.asarray(self.mean, float), n), np.resize(np.asarray(self.sd, float), n), np.ones(n))

# what may be asked for

def test_taken_pending_repeated_and_self_pairs_are_never_asked_for(made):
    asked = made.data.pairs.rows([0, 1, 2, 3, 4])
    asked = asked.joined(asked.rows([2]).swapped())
    own = replace(asked, a=np.append(asked.a[:-1], 5), b=np.append(asked.b[:-1], 5))
    taken = made.data.pairs.rows([3]).swapped()
    assert may_be_asked(asked, taken).tolist() == [True, True, True, False, True, False]
    assert may_be_asked(own).tolist() == [True]*5 + [False]

def test_the_same_pair_in_another_line_is_another_pair():
    pairs = made_screen(5, 2, seed=0).data.pairs
    first = pairs.rows(pairs.line == 0)
    assert may_be_asked(pairs, first).tolist() == (pairs.line == 1).tolist()

@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_holds_no_pair_twice_and_none_that_is_not_free(made, policy):
    pairs, y = made.data.pairs, made.data.y
    model = GaussianProcess().fit(pairs.rows(slice(0, 30)), y[:30])
    free = may_be_asked(pairs, pairs.rows(slice(0, 30)))
    for diverse in (False, True)[:1 + (policy in POLICIES[:3])]:
        some, _ = choose_batch(model, pairs, free, 20, policy, best=10.0, diverse=diverse)
        assert len(set(some.tolist())) == 20 and free[some].all()

def test_too_few_left_are_all_taken_and_it_is_said(made):
    said, free = [], np.arange(len(made.data.y)) < 16
    some, _ = choose_batch(Still([1.0], [1.0]), made.data.pairs, free, 30, note=said.append)
    assert sorted(some) == list(range(16)) and said == ["only 16 left of 30 asked"]
    said.clear()
    assert sorted(covering_start(made.data.pairs, 30, free, note=said.append)) == list(range(16)) and said == ["only 16 left of 30 asked"]

# policies

def test_expected_improvement_is_the_integral_it_stands_for():
    f = Forecast(np.array([1.0, 5.0, -2.0]), np.array([2.0, 0.5, 4.0]), np.ones(3))
    for i, found in enumerate(worth(f, "expected improvement", best=3.0)):
        law = stats.norm(f.mean[i], f.model_sd[i])
        expected = integrate.quad(lambda v, law=law: (v - 3)*law.pdf(v), 3, 40, epsabs=1e-10)[0]
        assert found == pytest.approx(expected, abs=1e-7)

def test_greedy_takes_the_mean_and_kappa_weighs_what_is_unsure(made):
    n = len(made.data.y)
    model, free = Still([1.0, 2.0, 3.0], [9.0, 0.5, 0.0]), np.ones(n, bool)
    assert set(choose_batch(model, made.data.pairs, free, 5, "greedy")[0] % 3) == {2}
    assert set(choose_batch(model, made.data.pairs, free, 5, "ucb", 5.0)[0] % 3) == {0}
    assert set(choose_batch(model, made.data.pairs, free, 5, "ucb", 0.0)[0] % 3) == {2}

def test_ties_are_broken_by_the_seed_alone(made):
    free = np.ones(len(made.data.y), bool)
    def first(seed): return choose_batch(Still([1.0], [1.0]), made.data.pairs, free, 10, seed=seed)[0].tolist()
    assert first(1) == first(1) != first(2)

def test_thompson_picks_by_joint_draws_and_prefers_what_may_be_best(made):
    pairs, y = made.data.pairs, made.data.y
    model = GaussianProcess().fit(pairs.rows(slice(0, 60)), y[:60])
    free = may_be_asked(pairs, pairs.rows(slice(0, 60)))
    some, f = choose_batch(model, pairs, free, 15, "thompson", seed=1)
    assert f.mean[some].mean() > f.mean[free].mean()
    assert some.tolist() == choose_batch(model, pairs, free, 15, "thompson", seed=1)[0].tolist()

def test_a_diverse_batch_believes_what_it_expects(made):
    "Step by step the same as a fit that holds the pairs chosen before, at their expected values, with the weights kept."
    pairs, y = made.data.pairs, made.data.y
    model = GaussianProcess().fit(pairs.rows(slice(0, 40)), y[:40])
    model.scatter_ = model.scatter_._replace(factor=1.0, slope=0.0, scale=np.sqrt(model.weights_[-1])*model.spread_)
    free = may_be_asked(pairs, pairs.rows(slice(0, 40)))
    some, f = choose_batch(model, pairs, free, 4, "ucb", 3.0, diverse=True)
    known, centre, spread = list(range(40)), model.centre_, model.spread_
    for j in some:
        k = model._kernel(pairs.rows(known), pairs.rows(known)) + model.weights_[-1]*np.eye(len(known))
        across = model._kernel(pairs.rows(known), pairs)
        own = np.diag(model._kernel(pairs, pairs))
        sd = spread*np.sqrt(np.maximum(own - (across*np.linalg.solve(k, across)).sum(0), 0))
        score = np.where(free, f.mean + 3*sd, -np.inf)
        score[known] = -np.inf
        assert score[j] == pytest.approx(score.max(), abs=1e-6)
        known.append(int(j))
    plain, _ = choose_batch(model, pairs, free, 4, "ucb", 3.0)
    assert len(set(some)) == 4 and centre == model.centre_ and len(plain) == 4

def test_what_cannot_be_done_is_said(made):
    free = np.ones(len(made.data.y), bool)
    with pytest.raises(InputError, match="no policy 'best'"): choose_batch(Still([1.0], [1.0]), made.data.pairs, free, 3, "best")
    with pytest.raises(InputError, match="Still does not say how its uncertainties go together"):
        choose_batch(Still([1.0], [1.0]), made.data.pairs, free, 3, diverse=True)

# the first batch

def test_the_first_batch_meets_as_many_drugs_as_it_can_and_no_measurement():
    made = made_screen(40, seed=3)
    first = covering_start(made.data.pairs, 15, seed=0)
    assert len(np.unique([made.data.pairs.a[first], made.data.pairs.b[first]])) == 30
    assert len(np.unique(covering_start(made.data.pairs, 30, seed=0))) == 30

def test_the_first_batch_tells_more_than_a_random_one():
    "What is left unknown of all pairs, by the model's own account before any measurement."
    made = made_screen(30, seed=4)
    pairs = made.data.pairs
    def left(rows):
        model = GaussianProcess(freedom=0).fit(pairs.rows(rows), np.arange(len(rows)) % 2)
        return (model.forecast(pairs).model_sd**2).mean()/(model.scatter_.factor*model.spread_)**2
    chosen = left(covering_start(pairs, 20, seed=0))
    assert chosen < min(left(np.random.default_rng(s).permutation(len(pairs))[:20]) for s in range(20))

def test_the_first_batch_is_the_same_for_the_same_seed(made):
    one, again, other = (covering_start(made.data.pairs, 10, seed=s).tolist() for s in (1, 1, 2))
    assert one == again and sorted(one) != sorted(other)

def test_the_first_pair_by_hand():
    "The pair that lowers the summed variance of the half that is looked at most."
    from drugnb.synergy.gp import NOISE, TERMS, kernel, known_similarities
    pairs = made_screen(8, seed=2).data.pairs
    k = kernel(pairs, pairs, np.array(list(TERMS.values())), known_similarities(pairs.library))
    half = np.random.default_rng(0).permutation(28)[:14]
    told = [(np.diag(k) - np.diag(k - np.outer(k[j], k[j])/(k[j, j] + NOISE)))[half].sum() for j in range(len(k))]
    assert covering_start(pairs, 1)[0] == np.argmax(told)

# campaigns

HOW = dict(start=12, batch=8, rounds=5, seed=3)

@pytest.mark.parametrize("model", [GaussianProcess(), Linear(), Still([1.0, 3, 2], [0.5, 0.1, 2])], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("stop", [0, 3])
def test_a_campaign_that_was_stopped_ends_with_the_same_bytes(made, tmp_path, model, stop):
    whole, stopped = RunFolder(tmp_path/"whole"), RunFolder(tmp_path/"stopped")
    one = run_campaign(model, made.data.pairs, look_up(made), store=whole, **HOW)
    run_campaign(model, made.data.pairs, look_up(made), store=stopped, **{**HOW, "rounds": stop})
    other = run_campaign(model, made.data.pairs, look_up(made), store=stopped, **HOW)
    pd.testing.assert_frame_equal(one, other)
    assert (whole.path/"campaign.parquet").read_bytes() == (stopped.path/"campaign.parquet").read_bytes()

def test_a_campaign_killed_while_measuring_loses_that_round_only(made, tmp_path):
    calls = []
    def breaks(rows):
        calls.append(len(rows))
        if len(calls) == 4: raise KeyboardInterrupt
        return made.data.y[rows]
    store, whole = RunFolder(tmp_path/"broken"), RunFolder(tmp_path/"whole")
    with pytest.raises(KeyboardInterrupt): run_campaign(GaussianProcess(), made.data.pairs, breaks, store=store, **HOW)
    calls.clear()
    def counts(rows):
        calls.append(len(rows))
        return made.data.y[rows]
    run_campaign(GaussianProcess(), made.data.pairs, counts, store=store, **HOW)
    run_campaign(GaussianProcess(), made.data.pairs, look_up(made), store=whole, **HOW)
    assert len(calls) == 3, "three rounds were kept"
    assert (store.path/"campaign.parquet").read_bytes() == (whole.path/"campaign.parquet").read_bytes()

def test_other_settings_candidates_or_drugs_start_anew(made, tmp_path):
    store, said = RunFolder(tmp_path), []
    def counts(rows):
        said.append(len(rows))
        return made.data.y[rows]
    run_campaign(GaussianProcess(), made.data.pairs, counts, store=store, **HOW)
    n = len(said)
    changed = [({}, GaussianProcess(), made.data.pairs, 0), ({"kappa": 0.5}, GaussianProcess(), made.data.pairs, 6),
               ({}, GaussianProcess(freedom=0.5), made.data.pairs, 6)]
    library = replace(made.data.pairs.library, chemistry=made.data.pairs.library.chemistry[::-1].copy())
    changed.append(({}, GaussianProcess(), replace(made.data.pairs, library=library), 6))
    for more, model, asked, rounds in changed:
        said.clear()
        run_campaign(model, asked, counts, store=store, **{**HOW, **more})
        assert len(said) == rounds
    assert n == 6

def test_a_campaign_ends_when_nothing_is_left(made):
    said = []
    picks = run_campaign(Still([1.0], [1.0]), made.data.pairs, look_up(made), start=50, batch=40, rounds=9, note=said.append)
    assert len(picks) == len(made.data.y) and picks.candidate.is_unique and said == ["only 30 left of 40 asked"]
    assert picks["round"].max() == 2

def test_a_model_is_fitted_to_all_rows_with_a_seed_of_the_round(made):
    model = fitted_to(Still([1.0], [1.0]), made.data.pairs, made.data.pairs.rows(slice(0, 20)), made.data.y[:20], [12, 8], 5)
    assert model.fitted_ == (20, 7)

class Warm(Still):
    "Counts its fits, and lets them decide what it says."
    def __init__(self, mean=(1.0,), sd=(1.0,), random_state=0, warm_start=True):
        super().__init__(mean, sd, random_state)
        self.warm_start = warm_start

    def fit(self, pairs, y):
        self.count_ = getattr(self, "count_", 0) + 1
        self.mean = np.random.default_rng(self.count_).standard_normal(50)
        return self

def test_a_warm_started_model_goes_on_where_it_was(made, tmp_path):
    whole, stopped = RunFolder(tmp_path/"whole"), RunFolder(tmp_path/"stopped")
    one = run_campaign(Warm(), made.data.pairs, look_up(made), store=whole, **HOW)
    run_campaign(Warm(), made.data.pairs, look_up(made), store=stopped, **{**HOW, "rounds": 2})
    pd.testing.assert_frame_equal(one, run_campaign(Warm(), made.data.pairs, look_up(made), store=stopped, **HOW))

def test_the_order_in_which_a_pair_is_named_changes_no_choice(made):
    one = run_campaign(GaussianProcess(), made.data.pairs, look_up(made), **HOW)
    other = run_campaign(GaussianProcess(), made.data.pairs.swapped(), look_up(made), **HOW)
    assert one.candidate.tolist() == other.candidate.tolist()

def test_asking_a_model_finds_better_pairs_than_chance(silent):
    made = made_screen(30, seed=8)
    best = np.argsort(-made.data.y)[:9]
    def found(policy, seed): return np.isin(best, run_campaign(GaussianProcess(), made.data.pairs, look_up(made), 20, 20, 5,
                                                               policy, seed=seed, **silent).candidate).mean()
    assert found("ucb", 0) > np.mean([found("random", s) for s in range(10)]) + 0.2
