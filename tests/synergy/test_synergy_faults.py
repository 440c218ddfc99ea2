"""Degenerate wells, curves, kernels, networks, batches, stocks and campaign folders: a defined answer or one sentence,
    and no number made of nothing."""
import json
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from drugnb.core.artefacts import file_digest, save_csv, write_json
from drugnb.core.settings import InputError
from drugnb.synergy import active, campaign, gp, held_out, judge, plate, propose, replay, results, score
from drugnb.synergy.baselines import Linear, Trees
from drugnb.synergy.data import open_screen
from drugnb.synergy.pairs import Forecast, Forecaster, Library, Measured, Pairs, candidates
from drugnb.synergy.surfaces import MEASURES, WELLS, curve_table, fit_curves, score_wells

DOSES = [0, 0.1, 1.0, 10.0]

def campaign_of(names, cases, short, **how):
    "All cases; but for the first few they are among the slow tests."
    return pytest.mark.parametrize(names, [c if i < short else pytest.param(*(c if "," in names else [c]), marks=pytest.mark.slow) for i,
        c in enumerate(cases)], **how)

@pytest.fixture
def strict():
    "Numbers made of nothing warn."
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield

def grid(viability, doses_a=DOSES, doses_b=DOSES, block="m"):
    "Wells of a surface; viability is a number or a function of two doses, percent."
    of = viability if callable(viability) else lambda a, b: viability
    return pd.DataFrame([(block, "L", "A", a, "B", b, of(a, b)) for a, b in product(doses_a, doses_b)], columns=WELLS)

def hill(d, emax, c): return emax + (100 - emax)/(1 + d/c)
def real(a, b): return hill(a, 20, 1)*hill(b, 40, 0.5)/100

def judged(wells, **how):
    "Scores whose intervals are finite and in order; a cell or a matrix without a score has a reason."
    found = score_wells(wells, None, **{"draws": 50, **how})
    for m in MEASURES:
        for table, parts in ((found.cells, [m]), (found.blocks, [f"{m}_mean", f"{m}_max"])):
            for part in parts:
                v, low, high = (table[f"{part}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
                assert not np.isinf(np.r_[v, low, high]).any()
                known = np.isfinite(low)
                assert (np.isfinite(high) == known).all() and np.isfinite(v[known]).all()
                assert (low[known] <= v[known]).all() and (v[known] <= high[known]).all()
        silent = found.cells[m].isna().groupby(found.cells.block).any()
        assert (found.blocks.set_index("block")[f"{m}_reason"].astype(bool) == silent).all()
        p = found.blocks[f"{m}_max_p"].dropna()
        assert ((p > 0) & (p <= 1)).all()
    return found

# ---- surfaces

@campaign_of("level", [100.0, 0.0], 2)
@campaign_of("cap", ["all", "singles", "none"], 1)
def test_a_flat_surface_of_100_or_0_has_an_excess_of_exactly_0(strict, level, cap):
    found = judged(grid(level), cap=cap)
    for m in MEASURES: assert (found.cells[m] == 0).all() and found.blocks[f"{m}_max"].iloc[0] == 0

def test_a_flat_surface_at_half_is_what_the_stronger_drug_does(strict):
    found = judged(grid(50.0))
    assert (found.cells.hsa == 0).all() and (found.cells.loewe.abs() < 1e-9).all() and (found.cells.bliss == -25).all()

WELL_FAULTS = {
    "one dose": grid(real, [0, 1.0], [0, 1.0]), "two doses": grid(real, [0, 1.0, 3.0], [0, 1.0, 3.0]), "one cell": grid(real, [0, 1], [0, 1]),
    "one dose of one drug": grid(real, DOSES, [0, 2.0]), "unordered": grid(real).sample(frac=1, random_state=0),
    "tiny and huge doses": grid(lambda a, b: 100.0 - (a > 0)*20 - (b > 0)*10, [0, 1e-30, 1, 1e30], [0, 1e-30, 1, 1e30]),
    "tiny doses": grid(real, [0, 1e-30, 1e-29, 1e-28]), "huge doses": grid(real, [0, 1e28, 1e29, 1e30]),
    "duplicated wells": pd.concat([grid(real)]*3), "no variance between replicates": pd.concat([grid(real)]*12),
    "above 100": grid(lambda a, b: 150.0), "far above": grid(lambda a, b: 1e6 if a and b else 100.0), "negative": grid(lambda a, b: -20.0),
    "far below": grid(lambda a, b: -1e6 if a and b else 100.0), "huge": grid(lambda a, b: 1e19), "rising": grid(lambda a, b: 10 + 10*a + 5*b),
    "alternating": grid(lambda a, b: 100.0*((a > 0.5) ^ (b > 5))), "no untreated well": grid(real).query("dose_a > 0 or dose_b > 0"),
    "tiny differences": grid(lambda a, b: 100 - 1e-12*(a + b)),
        "one well changed": grid(real).assign(viability=lambda t: t.viability.mask(t.index == 10, 1e3)),
    "singles of 0": grid(lambda a, b: 100.0 if not a and not b else 0.0 if not (a and b) else 50.0),
}

@campaign_of("kind", WELL_FAULTS, 3)
@campaign_of("cap", ["all", "none"], 1)
def test_odd_wells_have_scores_in_order_or_a_reason(strict, kind, cap): judged(WELL_FAULTS[kind].reset_index(drop=True), cap=cap)

@pytest.mark.parametrize("column, value", [("viability", np.nan), ("viability", np.inf), ("viability", "dead"), ("dose_a", np.nan), ("dose_a", -1.0),
                                            ("dose_b", np.inf), ("dose_b", "much"), ("viability", None)])
def test_wells_that_are_no_numbers_are_refused(column, value):
    wells = grid(real).astype(object)
    wells.loc[7, column] = value
    with pytest.raises(InputError, match=column): score_wells(wells)

def test_wells_without_singles_are_refused():
    with pytest.raises(InputError, match="no single-agent"): score_wells(grid(real).query("dose_a > 0 and dose_b > 0"))
    with pytest.raises(InputError): score_wells(grid(real).iloc[:0])

@pytest.mark.parametrize("kind, doses, viability", [
    ("flat", DOSES, [70.0]*4), ("of 0", DOSES, [0.0]*4), ("of 1e6", DOSES, [1e6]*4), ("of 1e19", DOSES, [1e19]*4), ("one dose", [1.0], [50.0]),
    ("same dose", [1.0]*5, [1.0, 2, 3, 4, 5]), ("no dose", [0.0]*5, [100.0, 90, 95, 99, 101]),
        ("tiny doses", [0, 1e-300, 1e-299, 1e-298], [100.0, 70, 50, 20]),
    ("huge doses", [0, 1e298, 1e299, 1e300], [100.0, 70, 50, 20]), ("step", DOSES, [100.0, 100, 100, 0]), ("NaN", DOSES, [np.nan]*4),
    ("wide", [0, 1e-30, 1, 1e30], [100.0, 90, 50, 10]), ("infinite response", DOSES, [100.0, np.inf, 50, 20])])
def test_odd_curves_are_fitted_or_say_why_not(strict, kind, doses, viability):
    curves = fit_curves([doses], [viability])
    assert np.isfinite(curves.theta).all() and np.isfinite(curves.gain).all() and curves.status[0] in ("fitted", "no effect in range", "not fitted")
    assert bool(curves.reason[0]) == (curves.status[0] == "not fitted")
    assert curve_table(curves).status[0] != "fitted" or np.isfinite(curve_table(curves)[["E0", "Emax", "h", "C", "sd"]].to_numpy(float)).all()

@pytest.mark.parametrize("noise", [0.0, -1.0, np.nan, np.inf])
def test_a_noise_that_is_none_leaves_curves_finite(noise):
    curves = fit_curves([DOSES], [[100, 80, 40, 10]], noise=noise)
    assert curves.status[0] in ("fitted", "no effect in range") and np.isfinite(curves.theta).all()

@pytest.mark.parametrize("draws", [np.nan, np.inf, -1, 2.5])
def test_draws_that_are_no_number_are_refused(draws):
    with pytest.raises(InputError, match="draws"): score_wells(grid(real), draws=draws)

def test_replicates_without_variance_give_no_interval_and_say_so():
    found = judged(pd.concat([grid(real)]*12).reset_index(drop=True))
    assert found.blocks.noise_from.iloc[0] == "none" and found.blocks.bliss_mean_low.isna().all()
    assert any("no interval" in note for note in found.notes)

def test_titles_of_scores_that_are_missing_say_so():
    blocks = judged(grid(real)).blocks
    assert "nan" not in score.surface_title(blocks.iloc[0], "bliss")
    lost = blocks.assign(bliss_mean=np.nan, bliss_max=np.nan, bliss_reason="why")
    assert "why" in score.surface_title(lost.iloc[0], "bliss")
    fig = score.figure_blocks(lost)
    assert "0 matrices" in fig._suptitle.get_text() or "no matri" in fig._suptitle.get_text()

# ---- pairs, forecasts

@pytest.fixture(scope="module")
def made(): return gp.made_screen(10, seed=1)

class Told(Forecaster):
    "Says what it is told."
    def __init__(self, mean=0.0, sd=0.0, noise=1.0, df=np.inf): self.mean, self.sd, self.noise, self.df = mean, sd, noise, df
    def fit(self, pairs, y): return self
    def forecast(self, pairs):
        n = len(pairs)
        return Forecast(*(np.resize(np.asarray(v, float), n) for v in (self.mean, self.sd, self.noise)), self.df)

def whole(f):
    "A forecast of finite numbers whose spreads are not negative."
    assert np.isfinite(f.mean).all() and np.isfinite(f.model_sd).all() and np.isfinite(f.noise).all()
    assert (f.model_sd >= 0).all() and (f.noise > 0).all()
    low, high = f.interval(0.9)
    assert (low <= f.mean).all() and (f.mean <= high).all() and np.isfinite(f.log_density(f.mean)).all()

@pytest.mark.parametrize("f", [Forecast(np.zeros(1), np.array([np.nan]), np.ones(1)), Forecast(np.array([np.nan]), np.ones(1), np.ones(1)),
                               Forecast(np.array([np.nan]), np.zeros(1), np.ones(1))])
def test_a_chance_of_what_is_missing_is_missing(f): assert np.isnan(f.chance(0.0)).all()

Y = {"constant": lambda y: np.full(len(y), 3.0), "zeros": lambda y: np.zeros(len(y)), "huge": lambda y: y*1e6, "vast": lambda y: y*1e19,
    "tiny": lambda y: y*1e-30,
     "one apart": lambda y: np.r_[1e6, y[1:]], "two values": lambda y: np.sign(y - np.median(y)), "shifted": lambda y: y + 1e9}
SHAPES = {"all": slice(None), "one": [0], "two": [0, 1], "four": [0, 1, 2, 3], "twins": [0]*12, "one drug": "one drug"}

def rows_of(made, shape):
    pairs = made.data.pairs
    which = np.flatnonzero((pairs.a == 0) | (pairs.b == 0)) if shape == "one drug" else SHAPES[shape]
    return pairs.rows(which), made.data.y[which]

@campaign_of("kind", Y, 1)
@pytest.mark.parametrize("model", [gp.GaussianProcess(), Linear(), Linear("identity"), Trees(n_trees=20)], ids=["gp", "ridge", "effects", "trees"])
def test_models_forecast_finite_numbers_of_odd_values(made, kind, model):
    pairs, y = made.data.pairs, Y[kind](made.data.y)
    whole(clone(model).fit(pairs, y).forecast(pairs))

@campaign_of("shape", ["one", "twins", "all", "two", "four", "one drug"], 2)
@pytest.mark.parametrize("model", [gp.GaussianProcess(), Linear(), Trees(n_trees=20)], ids=["gp", "ridge", "trees"])
def test_models_of_few_or_repeated_pairs_forecast_or_refuse(made, shape, model):
    pairs, y = rows_of(made, shape)
    try: fitted = clone(model).fit(pairs, y)
    except InputError: return
    whole(fitted.forecast(made.data.pairs))

@campaign_of("kind", ["nothing", "no chemistry", "no curves", "all alike", "one bit"], 1)
@pytest.mark.parametrize("model", [gp.GaussianProcess(), Linear(), Trees(n_trees=20)], ids=["gp", "ridge", "trees"])
def test_models_of_a_library_that_says_little_forecast(made, kind, model):
    library = made.data.pairs.library
    chemistry, curves = library.chemistry, library.curves
    if kind in ("no chemistry", "nothing"): chemistry = np.full_like(chemistry, np.nan)
    if kind in ("no curves", "nothing"): curves = np.full_like(curves, np.nan)
    if kind == "all alike": chemistry, curves = np.ones_like(chemistry), np.zeros_like(curves)
    if kind == "one bit": chemistry = np.zeros((len(chemistry), 1), np.float32)
    pairs = replace(made.data.pairs, library=replace(library, chemistry=chemistry, curves=curves))
    whole(clone(model).fit(pairs, made.data.y).forecast(pairs))

@pytest.mark.parametrize("y", [np.nan, np.inf])
@pytest.mark.parametrize("model", [gp.GaussianProcess(), Linear(), Trees(n_trees=20)], ids=["gp", "ridge", "trees"])
def test_models_refuse_values_that_are_missing(made, y, model):
    with pytest.raises(InputError): clone(model).fit(made.data.pairs, np.r_[y, made.data.y[1:]])

def test_a_kernel_that_has_no_factor_is_helped_or_refused():
    k = np.array([[1.0, 2], [2, 1]])
    for odd in (k, np.full((2, 2), np.nan)):
        with pytest.raises(InputError): gp.factor(odd)
    same = np.ones((5, 5))  # duplicated inputs without noise
    lower, jitter = gp.factor(same)
    assert jitter in gp.JITTER and np.abs(lower @ lower.T - same).max() < 2*jitter
    assert gp.factor(same + np.eye(5))[1] == 0

def test_a_process_without_noise_and_with_repeated_rows_forecasts(made):
    model = gp.GaussianProcess().fit(*rows_of(made, "all"))
    model.weights_ = np.append(model.weights_[:-1], 0.0)
    pairs, y = made.data.pairs.rows([0, 0, 1, 1, 2]), made.data.y[[0, 0, 1, 1, 2]]
    f = model._factored(pairs, y).forecast(made.data.pairs)
    assert np.isfinite(f.mean).all() and np.isfinite(f.model_sd).all() and (f.noise > 0).all()

# ---- networks

FAST = dict(units=8, epochs=2, least_steps=10, samples=4, members=4)

@campaign_of("kind", Y, 0)
@campaign_of("name", ["LastLayer", "Ensemble", "BayesNet"], 1)
def test_networks_forecast_finite_numbers_of_odd_values_or_refuse(made, kind, name):
    pytest.importorskip("torch")
    from drugnb.synergy import networks
    model = getattr(networks, name)(**FAST)
    try: f = model.fit(made.data.pairs, Y[kind](made.data.y)).forecast(made.data.pairs)
    except InputError: return
    whole(f)

@campaign_of("shape", ["twins", "one", "two", "four", "one drug"], 0)
def test_networks_of_few_or_repeated_pairs_forecast_or_refuse(made, shape):
    pytest.importorskip("torch")
    from drugnb.synergy.networks import Ensemble
    try: fitted = Ensemble(**FAST).fit(*rows_of(made, shape))
    except InputError: return
    whole(fitted.forecast(made.data.pairs))

@pytest.mark.parametrize("how", [dict(rate=1e30), dict(rate=np.nan), dict(rate=1e6, dropout=0.0), dict(decay=np.nan), dict(decay=1e38),
    dict(unit=1e-300)])
def test_a_network_that_diverges_says_so(made, how):
    pytest.importorskip("torch")
    from drugnb.synergy.networks import BayesNet
    try: fitted = BayesNet(**{**FAST, **how}).fit(made.data.pairs, made.data.y)
    except InputError: return
    whole(fitted.forecast(made.data.pairs))

@pytest.mark.parametrize("x, y", [(np.zeros((6, 3)), np.arange(6.0)), (np.ones((6, 3)), np.zeros(6)), (np.ones((1, 2)), np.ones(1)),
                                  (np.eye(4)*1e9, np.arange(4.0)), (np.eye(4)*1e-12, np.arange(4.0))])
def test_evidence_regression_is_finite(strict, x, y):
    pytest.importorskip("torch")
    from drugnb.synergy.networks import evidence_regression
    found = evidence_regression(x, y)
    assert np.isfinite(found.mean).all() and np.isfinite(found.root).all() and found.alpha > 0 and found.beta > 0

# ---- what is asked for

@pytest.mark.parametrize("policy", ["greedy", "ucb", "expected improvement", "thompson"])
@pytest.mark.parametrize("mean, sd", [(np.nan, 1.0), ([1.0, np.nan, 2.0], 1.0), (1.0, np.nan), (np.inf, 1.0), (0.0, np.inf)])
def test_a_forecast_that_is_no_number_chooses_nothing(made, policy, mean, sd):
    asked = made.data.pairs
    with pytest.raises(InputError): active.choose_batch(Told(mean, sd), asked, np.ones(len(asked), bool), 5, policy, note=lambda s: None)

@pytest.mark.parametrize("policy", active.POLICIES)
def test_batches_of_no_candidate_ties_and_more_than_there_are(made, policy):
    asked, said = made.data.pairs, []
    model = Told(1.0, 0.0)
    none = np.zeros(len(asked), bool)
    which, _ = active.choose_batch(model, asked, none, 5, policy, best=1.0, note=said.append)
    assert len(which) == 0 and "only 0 left of 5 asked" in said[0]
    two = none.copy()
    two[[3, 7]] = True
    which, _ = active.choose_batch(model, asked, two, 5, policy, best=1.0, note=said.append)
    assert sorted(which) == [3, 7]
    every, _ = active.choose_batch(model, asked, ~none, len(asked) + 9, policy, best=1.0, note=said.append)
    assert sorted(every) == list(range(len(asked)))

@pytest.mark.parametrize("n", [-3, 0, 2.5, np.nan])
def test_a_batch_of_no_size_is_refused(made, n):
    with pytest.raises(InputError): active.choose_batch(Told(), made.data.pairs, np.ones(45, bool), n, note=lambda s: None)
    with pytest.raises(InputError): active.covering_start(made.data.pairs, n, note=lambda s: None)

@pytest.mark.parametrize("kappa", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused(made, kappa):
    with pytest.raises(InputError): active.choose_batch(Told(0.0, 1.0), made.data.pairs, np.ones(45, bool), 3, "ucb", kappa, note=lambda s: None)

@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_measurements_that_are_no_numbers_stop_a_campaign(made, value):
    with pytest.raises(InputError): active.run_campaign(Told(0.0, 1.0), made.data.pairs, lambda rows: np.full(len(rows), value), 3, 3, 2,
        note=lambda s: None)

def test_a_first_batch_of_twins_and_of_unknown_drugs(made):
    library = made.data.pairs.library
    blank = replace(library, chemistry=np.full_like(library.chemistry, np.nan), curves=np.full_like(library.curves, np.nan))
    which = active.covering_start(candidates(blank), 8)
    assert len(set(which)) == 8

# ---- judging

def scored(made, y, mean, sd=1.0, noise=1.0):
    data = Measured(made.data.pairs, y, made.data.repeats)
    n = len(y)
    rows = pd.DataFrame({"model": "m", "split": "pairs", "seed": 0, "row": np.arange(n), "mean": np.resize(mean, n).astype(float), "model_sd": sd,
                         "noise": noise, "df": np.inf})
    return judge.score_table(rows, data, draws=20)

@pytest.mark.parametrize("y", [np.zeros(45), np.full(45, 7.0), np.full(45, 1e19)])
def test_a_constant_truth_has_no_r2_and_no_rank_correlation(strict, made, y):
    table = scored(made, y, np.arange(45.0))
    for s in ("r2", "r2_low", "r2_high", "spearman"): assert np.isnan(float(table[s].iloc[0]))
    assert np.isfinite(float(table.rmse.iloc[0]))

def test_a_constant_forecast_has_a_rank_correlation_of_0(strict, made): assert float(scored(made, made.data.y, 1.0).spearman.iloc[0]) == 0

@pytest.mark.parametrize("mean, sd, noise", [(np.nan, 1.0, 1.0), (0.0, np.nan, 1.0), (0.0, 1.0, np.nan), (np.inf, 1.0, 1.0),
    (0.0, 0.0, 0.0), (0.0, -1.0, -1.0)])
def test_predictions_that_are_no_numbers_are_not_scored(made, mean, sd, noise):
    with pytest.raises(InputError): scored(made, made.data.y, mean, sd, noise)

@campaign_of("residual", [np.zeros(20), np.full(20, 5.0), np.r_[1e19, np.zeros(19)], np.full(20, 1e-30), np.zeros(1), np.ones(1)], 2)
@pytest.mark.parametrize("sd", [0.0, 1.0])
def test_calibration_of_odd_residuals_is_finite(residual, sd):
    found = judge.calibrate(residual, np.full(len(residual), sd))
    assert np.isfinite(found).all() and found[0] > 0 and found[1] > 0 and found[2] > 2
    s = gp.learn_scatter(residual, np.zeros(len(residual)), np.full(len(residual), sd))
    assert np.isfinite([s.factor, s.scale, s.slope, s.width]).all() and s.scale > 0 and s.width > 0

@pytest.mark.parametrize("n", [0, 1])
def test_no_residuals_are_no_calibration(n):
    with pytest.raises(InputError): judge.calibrate(np.zeros(0), np.zeros(0))

@pytest.mark.parametrize("kind", ["all the same", "no spread of pairs", "no noise", "constant"])
def test_reliability_is_told_or_missing(strict, kind):
    n = 12
    value = {"all the same": np.zeros((n, 2)), "no spread of pairs": np.tile([1.0, -1.0], (n, 1)),
        "no noise": np.repeat(np.arange(n), 2).reshape(n, 2)*1.0,
             "constant": np.full((n, 2), 4.0)}[kind]
    library = Library(np.arange(n + 1).astype(str), np.array(["L"]), np.zeros((n + 1, 0)), np.full((1, n + 1, 5), np.nan))
    pairs = Pairs(np.zeros(n, int), np.arange(1, n + 1), np.zeros(n, int), library)
    data = Measured(pairs, value.mean(1), pd.DataFrame({"row": np.repeat(np.arange(n), 2), "value": value.ravel()}))
    found = judge.reliability(data, draws=20)
    text = judge.reliability_text(found)
    assert "nan" not in text and "inf" not in text

@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_pairs_to_judge_are_refused(made, n):
    with pytest.raises(InputError): judge.split_parts(made.data.pairs.rows(np.arange(n)), note=lambda s: None)

def test_a_split_without_a_score_has_a_title():
    rows = pd.DataFrame({"r2": [np.nan, np.nan]}, ["extra trees", "ridge"])
    assert "nan" not in held_out._finding(rows)

def test_the_best_pairs_of_values_that_are_missing_are_refused():
    for y in (np.array([1.0, np.nan, 2.0]), np.array([])):
        with pytest.raises(InputError): replay.best_pairs(y)

def test_a_replay_text_of_missing_shares_has_no_nan_as_a_number():
    picks = pd.DataFrame({"round": [0, 0, 1], "candidate": [0, 1, 2]})
    with pytest.raises(InputError): replay.found_by_round(picks, np.array([], int))

# ---- plates

RECIPES = [{"size": 100}, {"size": 0}, {"size": np.nan}, {"size": "384"}, {"well_ul": 0.0}, {"well_ul": -5.0}, {"well_ul": np.nan},
    {"well_ul": np.inf}, {"dmso_percent": 0.0},
           {"dmso_percent": 150.0}, {"dmso_percent": np.nan}, {"replicates": 0}, {"replicates": 1.5}, {"replicates": np.nan},
               {"replicates": np.inf}, {"replicates": "2"},
           {"n_dmso": np.nan}, {"n_dmso": -1}, {"ring": np.inf}, {"ring": 99}, {"seed": -1}, {"seed": 0.5}, {"seed": np.nan},
               {"droplet_nl": 0.0}, {"droplet_nl": np.nan}, {"dead_ul": -1.0},
           {"dead_ul": np.inf}, {"deviation": np.nan}, {"deviation": -0.1}, {"dilution": 0.5}, {"dilution": np.nan}, {"fill_ul": 1.0},
               {"positive": "X"},
           {"positive_dose": 1.0}, {"positive": "X", "positive_dose": np.nan}, {"well_ul": "50"}, {"well_ul": None}, {"positive": 3,
               "positive_dose": 1.0}, {"singles": -1},
           {"n_positive": 2}, {"well_ul": 1e30}, {"well_ul": 1e-9}, {"dmso_percent": 1e-9}]

@pytest.mark.parametrize("change", RECIPES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))
def test_a_recipe_that_no_plate_can_keep_to_is_refused(change):
    with pytest.raises(InputError): plate.Recipe(**change)

def tables():
    proposal = pd.DataFrame({"drug_a": ["d1", "d1"], "drug_b": ["d2", "d3"]})
    doses = pd.DataFrame(product(["d1", "d2", "d3"], [0.1, 1.0, 10.0]), columns=["drug", "dose_uM"])
    stock = pd.DataFrame({"drug": ["d1", "d2", "d3"], "stock": 10.0, "unit": "mM", "source_plate": "S", "source_well": ["A1", "B1", "C1"],
        "volume_ul": 50.0})
    return {"proposal": proposal, "doses": doses, "stock": stock}

SPOILT = [("stock", "volume_ul", v) for v in (np.nan, 0, -5, np.inf, "much", None, 1e-6, 1e9)] + \
         [("stock", "stock", v) for v in (np.nan, 0, -1, np.inf, "strong", None, 1e-9, 1e30)] + \
         [("stock", "unit", v) for v in ("furlong", "%", None)] + [("stock", "source_well", v) for v in ("Z99", "B1", "", None, "=A1",
             "AG49", "A0", 7)] + \
         [("stock", "drug", v) for v in (None, "", "=cmd|' /C calc'!A0", "d2\n")] + [("stock", "source_plate", v) for v in (None, "@S")] + \
         [("doses", "dose_uM", v) for v in (np.nan, 0, -1, np.inf, "some", 1e30, 1e-30, 1.0)] + [("doses", "drug", v) for v in (None, "+d1")] + \
         [("proposal", "drug_a", v) for v in (None, "", "d2", "d9", "-d1", "DMSO")] + [("proposal", "drug_b", v) for v in (np.nan, "d1")]

@campaign_of("table, column, value", SPOILT, 5, ids=lambda v: repr(v)[:20])
def test_tables_of_a_layout_with_nonsense_are_refused(table, column, value):
    given = tables()
    given[table] = given[table].astype(object)
    given[table].loc[0, column] = value
    with pytest.raises(InputError) as said: plate.lay_out(**given)
    assert "\n" not in str(said.value)

@pytest.mark.parametrize("rank", [np.nan, 1.5, 2, np.inf, -np.inf, "first", None, -4, 0])
def test_ranks_that_are_none_are_refused(rank):
    given = tables()
    given["proposal"] = given["proposal"].assign(rank=[rank, 2]).astype(object)
    with pytest.raises(InputError): plate.lay_out(**given)

@pytest.mark.parametrize("table", ["proposal", "doses", "stock"])
def test_a_table_without_rows_or_columns_is_refused(table):
    for empty in (tables()[table].iloc[:0], pd.DataFrame()):
        with pytest.raises(InputError): plate.lay_out(**{**tables(), table: empty})

# ---- results

def test_z_prime_of_nothing_is_no_quality():
    assert np.isnan(results.z_prime([], [])) and np.isnan(results.z_prime([1, np.nan], [0.0, 0.1]))
    assert results.z_prime([np.inf]*4, [0, 0, 0]) != results.GOOD  # not a number that can be trusted

@campaign_of("state", ["all 0", "all the same", "negative", "infinite", "tiny", "huge"], 1)
def test_plates_of_odd_signals_fail_or_are_finite(state):
    laid = plate.lay_out(**tables())
    signals = results.simulate_lab(laid.plate_map, lambda line, a, da, b, db: np.full(len(a), 50.0), 0)
    v = signals.signal
    signals["signal"] = {"all 0": 0*v, "all the same": 0*v + 5, "negative": -v, "infinite": v.mask(v.index == 3, np.inf), "tiny": v*1e-30,
        "huge": v*1e30}[state]
    try: found = results.read_results(signals, laid.plate_map)
    except InputError: return
    assert np.isfinite(found.wells.viability).all() and (found.quality.state != "good").all() == (state in ("all 0", "all the same", "negative"))

# ---- campaigns

@pytest.fixture(scope="module")
def screen():
    whole_screen = open_screen("simulated-small")
    blocks = pd.Series(whole_screen.wells.block.unique())[:60]
    return replace(whole_screen, wells=whole_screen.wells[whole_screen.wells.block.isin(blocks)].reset_index(drop=True), key="part")

WISHES = [{"n": 0}, {"n": -5}, {"n": np.nan}, {"n": 2.5}, {"kappa": np.nan}, {"kappa": np.inf}, {"kappa": -1.0}, {"score": "loewe_max"},
    {"score": ""}, {"model": "oracle"}, {"model": ""},
          {"policy": "luck"}, {"policy": ""}, {"seed": -1}, {"seed": 1.5}, {"threshold": np.inf}, {"threshold": -np.inf}, {"n": "30"},
              {"model": "ridge,extra trees"}]

@pytest.mark.parametrize("change", WISHES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))
def test_a_wish_that_cannot_be_met_is_refused(screen, change):
    with pytest.raises(InputError): propose.next_round(screen, propose.Wish(**{"n": 4, "model": "ridge", **change}))

ASKED = {"n": 30, "model": "ridge", "policy": "ucb", "kappa": 2.0, "score": "bliss_max", "lines": [], "without": ["D01"],
    "threshold": None, "seed": 0, "recipe": {}}
LOGS = {
    "a list": [], "no rounds": {}, "rounds as text": {"rounds": "all"}, "rounds null": {"rounds": None}, "a round as text": {"rounds": ["one"]},
    "a round without a number": {"rounds": [{"state": "open", "asked": ASKED}]},
    "a round of number 0": {"rounds": [{"round": 0, "state": "open", "asked": ASKED}]},
    "a negative round": {"rounds": [{"round": -1, "state": "closed", "asked": ASKED}]},
    "a round of 1.5": {"rounds": [{"round": 1.5, "state": "open", "asked": ASKED}]},
    "a round that is true": {"rounds": [{"round": True, "state": "open", "asked": ASKED}]},
    "a round up the tree": {"rounds": [{"round": "1/../../../elsewhere", "state": "closed", "asked": ASKED}]},
    "an absolute path": {"rounds": [{"round": "/etc", "state": "closed", "asked": ASKED}]},
    "another state": {"rounds": [{"round": 1, "state": "lost", "asked": ASKED}]},
    "no state": {"rounds": [{"round": 1, "asked": ASKED}]},
    "a round twice": {"rounds": [{"round": 1, "state": "closed", "asked": ASKED}]*2},
    "a gap": {"rounds": [{"round": 2, "state": "open", "asked": ASKED}]},
    "open before closed": {"rounds": [{"round": 1, "state": "open", "asked": ASKED}, {"round": 2, "state": "closed", "asked": ASKED}]},
    "asked null": {"rounds": [{"round": 1, "state": "open", "asked": None}]}, "asked for nothing": {"rounds": [{"round": 1,
        "state": "open", "asked": {}}]},
    "another score": {"rounds": [{"round": 1, "state": "open", "asked": {**ASKED, "score": "../x"}}]},
        "no asked": {"rounds": [{"round": 1, "state": "open"}]},
    "a field more": {"rounds": [], "also": 1},
}

@pytest.mark.parametrize("kind", LOGS)
def test_a_log_that_is_no_campaigns_is_refused(tmp_path, kind):
    if isinstance(LOGS[kind], dict): write_json(tmp_path/campaign.LOG, LOGS[kind])  # with a checksum that fits
    else: (tmp_path/campaign.LOG).write_text(json.dumps(LOGS[kind]))
    with pytest.raises(InputError, match=campaign.LOG): campaign.read_log(tmp_path)

def test_a_whole_log_is_read(tmp_path):
    rounds = [{"round": 1, "state": "closed", "asked": ASKED}, {"round": 2, "state": "open", "asked": {**ASKED, "threshold": 5.5}}]
    write_json(tmp_path/campaign.LOG, {"rounds": rounds})
    assert campaign.read_log(tmp_path) == rounds

@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '{"rounds": NaN}', "\x00", '{"rounds": [], "rounds": []}'])
def test_a_log_that_is_no_json_is_refused(tmp_path, text):
    (tmp_path/campaign.LOG).write_text(text)
    with pytest.raises(InputError, match=campaign.LOG): campaign.read_log(tmp_path)

@pytest.mark.parametrize("kind", ["viability NaN", "a column less", "no rows", "no table", "gone"])
def test_wells_of_a_closed_round_that_were_changed_are_refused(screen, tmp_path, kind):
    here = campaign.round_folder(tmp_path, 1)
    here.mkdir()
    wells = screen.wells.head(16).assign(block="mine (round 1)")
    save_csv(wells, here/"wells.csv")
    written = {"round": 1, "state": "closed", "asked": ASKED, "wells": file_digest(here/"wells.csv")}
    write_json(tmp_path/campaign.LOG, {"rounds": [written]})
    assert len(campaign.known_screen(screen, tmp_path).wells) == len(screen.wells) + 16
    if kind == "viability NaN": save_csv(wells.assign(viability=np.nan), here/"wells.csv")
    if kind == "a column less": save_csv(wells.drop(columns="dose_b"), here/"wells.csv")
    if kind == "no rows": save_csv(wells.head(0), here/"wells.csv")
    if kind == "no table": (here/"wells.csv").write_bytes(b"\x00\xff\n\n\x00")
    if kind == "gone": (here/"wells.csv").unlink()
    with pytest.raises(InputError, match="wells.csv"): campaign.known_screen(screen, tmp_path)

def test_an_outcome_of_missing_numbers_makes_no_sentence_of_them():
    table = pd.DataFrame({"expected": [1.0, 1, 1, 1], "low_90": np.nan, "high_90": np.nan, "measured": [1.0, 2, 3, 4]})
    said = campaign.outcome_text(table)
    assert "nan" not in said and "0% inside" not in said
    table = table.assign(measured=2.0, expected=[1.0, 2, 3, 4], low_90=0.0, high_90=5.0)
    assert "nan" not in campaign.outcome_text(table)

def test_a_proposal_of_what_is_missing_claims_nothing(made):
    said = Forecast(np.array([np.nan, 1.0]), np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(InputError): propose.proposal_table(made.data.pairs.rows([0, 1]), said, made.data, 2.0)

# ---- what small changes of the code would leave unnoticed

def repeated(n):
    "Pairs i measured twice, as i - 1 and i + 1: their variance is 2, that of all measurements that of i plus 1."
    library = Library(np.arange(n + 1).astype(str), np.array(["L"]), np.zeros((n + 1, 0)), np.full((1, n + 1, 5), np.nan))
    pairs, i = Pairs(np.zeros(n, int), np.arange(1, n + 1), np.zeros(n, int), library), np.arange(n)
    return Measured(pairs, i*1.0, pd.DataFrame({"row": np.repeat(i, 2), "value": np.column_stack([i - 1.0, i + 1.0]).ravel()}))

def test_reliability_by_hand():
    found = judge.reliability(repeated(12), draws=50)
    spread = 143/12  # of 0 .. 11
    assert found.r == pytest.approx(1 - 2/(spread + 1)) and found.noise == pytest.approx(np.sqrt(2)) and found.ceiling == pytest.approx(1 - 1/spread)
    assert judge.reliability(repeated(10), draws=50).pairs == 10 and judge.reliability(repeated(9), draws=50) is None

def test_a_corrected_forecast_by_hand(made):
    model = judge.Calibrated(Told())
    model.model_, model.of_line_ = Told(4.0, 1.0, 3.0), judge.Correction(1.0, 10.0, 0.0)
    model.of_drugs_ = [judge.Correction(), judge.Correction(0.5, 1.0, 2.0), judge.Correction(0.0, 7.0, 5.0)]
    model.known_drugs_, model.known_lines_ = np.arange(2, 10), np.array([0])
    pairs = Pairs(np.array([2, 0, 0]), np.array([3, 3, 1]), np.zeros(3, int), made.data.pairs.library)
    f = model.forecast(pairs)  # no, one and two drugs that were never met
    np.testing.assert_allclose([f.mean, f.model_sd, f.noise], [[4, 3, 7], [1, np.hypot(0.5, 2), 5], [3, 3, 3]])
    other = model.forecast(Pairs(pairs.a, pairs.b, np.ones(3, int), pairs.library))
    np.testing.assert_allclose(other.mean, 14)

def test_new_lines_are_drawn_by_line_and_pairs_by_drug(made):
    data = made.data
    by_drug, by_line = (judge.row_weights(data.pairs, split, 30) for split in ("pairs", "new lines"))
    assert (by_line == 1).all() and len(np.unique(by_drug)) > 2
    rows = pd.DataFrame({"model": "m", "seed": 0, "row": np.arange(45), "mean": np.arange(45.0), "model_sd": 1.0, "noise": 1.0, "df": np.inf})
    table = judge.score_table(pd.concat([rows.assign(split=s) for s in ("pairs", "new lines")]), data, draws=30)
    width = (table.rmse_high - table.rmse_low).astype(float).droplevel("model")
    assert width["new lines"] == 0 < width["pairs"]

def test_links_of_wells_with_their_distance_from_the_edge():
    laid = plate.lay_out(**tables())
    treated = laid.plate_map[laid.plate_map.role.isin(["combination", "single"])]
    row, column = treated.row.map(lambda r: ord(r) - 65), treated.column - 1
    edge = np.min([row - 1, 14 - row, column - 1, 22 - column], axis=0)  # the outer ring of 16 x 24 wells is empty
    links = plate.position_links(laid.plate_map, laid.recipe).set_index(["factor", "position"]).r
    single = (treated.role == "single").astype(float)
    for name, place in (("row", row), ("column", column), ("edge", edge)):
        assert links["single or pair", name] == pytest.approx(np.corrcoef(single, place)[0, 1])
