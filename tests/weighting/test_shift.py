"""Worlds whose outside set is shifted in one way, and the ways of making intervals for it."""
import numpy as np
import pandas as pd
import pytest

from drugnb.weighting.model import LEAST_SHARE
from drugnb.weighting.shift import PLATFORMS, Platform, eight_ways, fit_shift, judge_ways, over_seeds, shifted_world

SIZE = {"n": 960, "n_genes": 120, "n_outside": 150}

@pytest.fixture(scope="module")
def fits():
    names = ("as training", "batches", "noise, scales, batches", "half the signal")
    return {name: fit_shift(shifted_world(PLATFORMS[name], 5, **SIZE)) for name in names}

def test_only_the_platform_differs_between_worlds_of_one_seed():
    plain, noisy = (shifted_world(Platform(noise=noise), 3, **SIZE) for noise in (1.0, 3.0))
    pd.testing.assert_frame_equal(plain.signatures, noisy.signatures)
    np.testing.assert_array_equal(plain.outside_samples.viability, noisy.outside_samples.viability)
    assert noisy.outside.to_numpy().std() > 2*plain.outside.to_numpy().std()
    assert plain.key != noisy.key and plain.map_key == noisy.map_key

def test_idle_active_and_extreme_compounds_are_what_they_are_called():
    kinds = {"idle": Platform(active=0), "all": Platform(active=1), "extreme": Platform(active=1, extreme=True)}
    y = {name: shifted_world(p, 4, **SIZE).outside_samples.viability for name, p in kinds.items()}
    assert y["idle"].std() < 0.1 and y["all"].mean() < y["idle"].mean() - 0.1
    assert not y["extreme"].between(0.36, 0.84).any() and abs((y["extreme"] < 0.5).mean() - 0.5) < 1e-9

def test_the_saved_way_holds_where_the_textbook_s_fails(fits):
    tables = {name: judge_ways(fit, name).droplevel("set").coverage for name, fit in fits.items()}
    for name in ("batches", "noise, scales, batches"):
        assert tables[name]["held-out compounds"] < 0.75 < 0.85 < tables[name]["as saved"]
    assert tables["as training"]["as saved"] > 0.85
    weak = tables["half the signal"]
    assert weak["scaled by the spread"] < weak["held-out plates"], "a narrow spread is no small error"

def test_no_way_looks_at_the_outside_labels(fits):
    fit = fits["batches"]
    samples = fit.study.outside_samples.assign(viability=9.0)
    blind = fit._replace(study=type(fit.study)(**{**vars(fit.study), "outside_samples": samples}))
    for name, made in eight_ways(fit).items():
        pd.testing.assert_frame_equal(made, eight_ways(blind)[name])

def test_a_set_that_spreads_too_widely_gets_no_claim(fits):
    fit = fits["batches"]
    t = fit.model.predict(fit.study.outside)
    assert t.attrs["share"] < LEAST_SHARE and t.claim.str.startswith("none").all()
    calm = fits["as training"]
    t = calm.model.predict(calm.study.outside)
    assert (t.claim == "held-out plates").mean() > 0.9

def test_a_mean_over_worlds_comes_with_their_spread():
    rows = pd.DataFrame({"coverage": [0.8, 1.0], "width": [1, 3], "rmse": [0.1, 0.3], "compounds": [10, 20]},
                        pd.MultiIndex.from_tuples([("s", "w", 0), ("s", "w", 1)], names=["set", "way", "seed"]))
    row = over_seeds(rows).loc[("w", "s")]
    assert (row.coverage, row.width, row.compounds, row.worlds) == (pytest.approx(0.9), 2, 30, 2)
    assert row.coverage_low == pytest.approx(0.7) and row.coverage_high == 1

def test_a_study_of_one_plate_falls_back_on_compounds():
    study = shifted_world(Platform(), 5, **SIZE)
    one = type(study)(**{**vars(study), "samples": study.samples.assign(plate="P1")})
    fit = fit_shift(one)
    assert fit.model.calibration.left_out == "compounds" and fit.model.calibration.offset == 0
    assert (fit.model.predict(one.outside, alone=True).claim.isin(["held-out compounds", "none: outside the domain"])).all()
