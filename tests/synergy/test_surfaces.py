"""Scores of dose matrices: curves against scipy, surfaces with known truth, inputs that broke other tools, intervals that hold,
and nothing that depends on the order of rows, on units or on what stands beside a matrix."""
import json
import warnings
import zipfile
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, curve_fit

from drugnb.core.settings import InputError, data_folders, read_settings
from drugnb.synergy.surfaces import (
    FAILED,
    FITTED,
    FLAT,
    MEASURES,
    curve_table,
    fit_curves,
    held_within,
    loewe_response,
    pooled_variance,
    replicate_means,
    score_wells,
    stacks,
)
from drugnb.weighting.pickles import read_pickled_frames

A, B = [0, 0.1, 0.3, 1, 3, 10], [0, 0.05, 0.2, 0.5, 2, 5]
SCORED = {m: [c for c in (m, f"{m}_low", f"{m}_high")] for m in MEASURES}

def hill(d, e0, emax, h, c): return emax + (e0 - emax)/(1 + (np.asarray(d)/c)**h)

def matrix(viability, block="m", doses=(A, B), drugs=("drugA", "drugB"), line="MCF7"):
    "Wells of a surface; viability(a, b) is a fraction."
    rows = [(block, line, drugs[0], a, drugs[1], b, 100*viability(a, b), "") for a, b in product(*doses)]
    return pd.DataFrame(rows, columns=["block", "line", "drug_a", "dose_a", "drug_b", "dose_b", "viability", "plate"])

def independent(a, b): return hill(a, 1, 0.1, 1.2, 1)*hill(b, 1, 0.25, 0.9, 0.5)
def sham(a, b): return hill(a + b, 1, 0, 2, 1)
def potentiated(a, b):
    x, y = a**1.2, (b/0.5)**0.9
    return 1/(1 + x + y + 3*x*y)
def stronger(a, b): return min(hill(a, 1, 0.1, 1.2, 1), hill(b, 1, 0.25, 0.9, 0.5))
def same_potency(a, b): return 1/(1 + (a + b/0.5)**1.5)
def partial(a, b): return hill(a, 1, 0, 1, 1)*hill(b, 1, 0.5, 1, 0.5)
def inert(a, b): return hill(a, 1, 0, 1, 1)

def one(wells, **how): return score_wells(wells, None, **how).blocks.iloc[0]

@pytest.fixture(scope="module")
def synergy():
    "The real tables of the study; tests that need them are skipped where they are not."
    found = next((f/"synergy" for f in data_folders(read_settings()) if (f/"synergy/surfaces").is_dir()), None)
    if not found: pytest.skip("the real tables of synergy are in no data folder: set DRUGNB_DATA to the folder that holds synergy/")
    return found

def noisy(viability, blocks, replicates, sd, seed, doses=(A, B)):
    rng, plain = np.random.default_rng(seed), matrix(viability, doses=doses)
    many = pd.concat([plain]*blocks*replicates, ignore_index=True)
    many["block"] = np.repeat([f"m{i:04d}" for i in range(blocks)], replicates*len(plain))
    return many.assign(viability=many.viability + rng.normal(0, sd, len(many)))

# curves

def random_curves(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(80, 120, n), rng.uniform(0, 40, n), rng.uniform(0.5, 4, n), 10**rng.uniform(-1.5, 1.5, n)])

def test_exact_points_give_back_their_curve_in_any_unit_and_order_of_doses():
    truth, doses = random_curves(300), np.tile(np.r_[0, np.geomspace(0.003, 300, 11)], (300, 1))
    y = np.array([hill(d, *t) for d, t in zip(doses, truth, strict=True)])
    order = np.random.default_rng(1).permuted(np.arange(12))
    for d, v, unit in ((doses, y, 1), (1000*doses, y, 1000), (1e-6*doses, y, 1e-6), (doses[:, order], y[:, order], 1)):
        found = curve_table(fit_curves(d, v))
        np.testing.assert_allclose(found[["E0", "Emax", "h"]], truth[:, :3], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.C/unit, truth[:, 3], rtol=1e-9)
    assert (found.status == FITTED).all()

def test_no_fit_of_scipy_has_a_smaller_error():
    truth, doses, rng = random_curves(40, 3), np.r_[0, np.geomspace(0.01, 100, 8)], np.random.default_rng(4)
    y = np.array([hill(doses, *t) for t in truth]) + rng.normal(0, 6, (40, 9))
    wells = rng.integers(1, 5, (40, 9))
    found = fit_curves(np.tile(doses, (40, 1)), y, wells)
    error = (wells*(y - found.at(np.tile(doses, (40, 1))))**2).sum(1)
    compared = 0
    for i in np.flatnonzero(found.status == FITTED):
        bounds = ([-np.inf, min(0, y[i].min()), 0.1, 1e-4], [np.inf, max(100, y[i].max()), 20, 1e4])
        best, _ = curve_fit(hill, doses, y[i], truth[i], sigma=wells[i]**-0.5, bounds=bounds)
        assert error[i] <= (wells[i]*(y[i] - hill(doses, *best))**2).sum()*(1 + 1e-6)
        compared += 1
    assert compared > 30

def test_gain_is_the_change_of_a_curve_with_its_points():
    doses, truth = np.r_[0, np.geomspace(0.05, 20, 7)], np.array([100, 20, 1.3, 1.0])
    y, wells = hill(doses, *truth), np.array([4, 1, 2, 1, 1, 3, 1, 1])
    base = fit_curves(doses, y, wells)
    for k in range(8):
        moved = y.copy()
        moved[k] += 1e-3*100/np.sqrt(wells[k])  # a thousandth of a fraction, in standard errors
        change = (fit_curves(doses, moved, wells).theta - base.theta)/1e-3
        np.testing.assert_allclose(change[0], base.gain[0, :, k], rtol=0.02, atol=0.02)

@pytest.mark.parametrize("y, status, reason", [
    ([100]*6, FLAT, ""),
    ([100.2, 99.9, 100.1, 100, 99.8, 100], FLAT, ""),
    ([100, 101, 103, 104, 107, 108], FLAT, ""),
    ([115.04, 153.88, 187.24, 181.18, 151.48, 46.98], FAILED, "not monotone"),
    ([100, 103, 112, 130, 142, 150], FAILED, "rises"),
    ([100, 60, np.nan, np.nan, np.nan, 20], FAILED, "fewer than 4"),
    ([np.nan]*6, FAILED, "fewer than 4"),
    ([100, 99, 60, 20, np.nan, np.nan], FITTED, ""),
])
def test_what_is_no_hill_curve_is_marked_and_no_warning_is_given(y, status, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = curve_table(fit_curves([0, 0.01, 0.04, 0.16, 0.6, 2.5], y)).iloc[0]
    assert found.status == status and reason in found.reason and bool(found.reason) == (status == FAILED)
    assert np.isfinite(found.C) == (status == FITTED) and np.isfinite(found.E0) == (status != FAILED)

def test_a_negative_dose_is_refused():
    with pytest.raises(InputError, match="negative"): fit_curves([0, -1, 2, 3], [1, 2, 3, 4])

# Loewe

def test_loewe_is_the_root_that_brent_finds_cell_by_cell_and_its_derivatives_are_differences():
    rng, n = np.random.default_rng(0), 200
    sides = [np.column_stack([rng.uniform(0.9, 1.1, n), rng.uniform(0, 0.4, n), np.log(rng.uniform(0.5, 3, n)), rng.normal(0, 1, n)])
             for _ in "ab"]
    doses = 10**rng.uniform(-1.5, 1.5, (2, n))
    found, checked = loewe_response(*doses, *sides), 0
    def left(e, i):
        parts = [d[i]/(np.exp(t[i, 3])*((t[i, 0] - e)/(e - t[i, 1]))**np.exp(-t[i, 2])) for d, t in zip(doses, sides, strict=True)]
        return sum(parts) - 1
    for i in np.flatnonzero(~found.beyond):
        low, high = max(t[i, 1] for t in sides), min(t[i, 0] for t in sides)
        root = brentq(left, low + 1e-13, high - 1e-13, args=(i,), xtol=1e-15, rtol=1e-14)
        assert abs(root - found.expected[i]) < 1e-11
        checked += 1
    assert checked > 80 and found.beyond.sum() > 20
    for p in range(4):
        for side, by in enumerate((found.by_a, found.by_b)):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [t.copy() for t in sides]
                moved[side][:, p] += step
                ends.append(loewe_response(*doses, *moved))
            same = (ends[0].beyond == found.beyond) & (ends[1].beyond == found.beyond)
            numeric = (ends[0].expected - ends[1].expected)/2e-6
            np.testing.assert_allclose(by[same, p], numeric[same], rtol=1e-3, atol=1e-5)

# surfaces with known truth

def reference(name, a, b):
    "Loewe's expectation from the true curves, a cell at a time."
    (ea, ha, ca), (eb, hb, cb) = {"independent": ((0.1, 1.2, 1), (0.25, 0.9, 0.5)), "sham": ((0, 2, 1), (0, 2, 1)),
                                  "potentiated": ((0, 1.2, 1), (0, 0.9, 0.5)), "stronger": ((0.1, 1.2, 1), (0.25, 0.9, 0.5)),
                                  "same_potency": ((0, 1.5, 1), (0, 1.5, 0.5)), "partial": ((0, 1, 1), (0.5, 1, 0.5))}[name]
    alone = hill(a, 1, ea, ha, ca)
    if alone <= eb + 1e-12: return alone, True
    def left(e): return a/(ca*((1 - e)/(e - ea))**(1/ha)) + b/(cb*((1 - e)/(e - eb))**(1/hb)) - 1
    return brentq(left, max(ea, eb) + 1e-14, 1 - 1e-14, xtol=1e-15), False

SURFACES = [independent, sham, potentiated, stronger, same_potency, partial]

@pytest.mark.parametrize("viability", SURFACES, ids=lambda f: f.__name__)
def test_the_closed_forms_are_met_in_every_cell(viability):
    found = score_wells(matrix(viability), None).cells
    doses = np.column_stack([found.dose_a, found.dose_b])
    f, fa, fb = (np.array([100*viability(a, b) for a, b in doses*there]) for there in ([1, 1], [1, 0], [0, 1]))
    np.testing.assert_allclose(found.bliss, fa*fb/100 - f, atol=1e-9)
    np.testing.assert_allclose(found.hsa, np.minimum(fa, fb) - f, atol=1e-9)
    expected = [reference(viability.__name__, a, b) for a, b in zip(found.dose_a, found.dose_b, strict=True)]
    np.testing.assert_allclose(found.loewe, [100*e for e, _ in expected] - f, atol=1e-6)
    assert list(found.loewe_beyond) == [beyond for _, beyond in expected]
    if viability in (independent, partial): np.testing.assert_allclose(found.zip, 0, atol=1e-6)
    if viability is potentiated: np.testing.assert_allclose(found.zip, found.bliss, atol=1e-6)

NAMES = {"1_bliss_exact": "1", "2_sham": "2", "3_zip_potency": "3", "4_hsa_exact": "4", "5_loewe_exact": "5", "6_loewe_partial_range": "6"}

@pytest.mark.parametrize("name", NAMES)
def test_the_six_surfaces_of_the_study_are_met(name, synergy):
    table, truth = pd.read_csv(synergy/f"surfaces/{name}.csv"), json.loads((synergy/"surfaces/truth.json").read_text())[name]
    wells = table.assign(block="m", line="MCF7", drug_a="A", drug_b="B", viability=100*table.viability, plate="")
    scored = score_wells(wells, None)
    both = scored.cells.merge(table, on=["dose_a", "dose_b"], suffixes=("", "_true"))
    for m in ("bliss", "hsa", "loewe"): np.testing.assert_allclose(both[m], 100*both[f"{m}_true"], atol=1e-6)
    row = scored.blocks.iloc[0]
    assert row.n_beyond == truth["cells_beyond_weaker"] == both.loewe_beyond_weaker.sum()
    for m in ("bliss", "hsa", "loewe", "zip"):
        for part in ("mean", "max"):
            if f"{m}_{part}" in truth: assert abs(row[f"{m}_{part}"]/100 - truth[f"{m}_{part}"]) < 1e-6

# inputs that broke other tools

def test_untreated_wells_far_from_100_are_said_and_nothing_is_divided():
    alone_a, alone_b = {0: 122.96, 1: 90.0, 3: 40.0, 9: 20.0}, {1: 80.0, 3: 60.0, 9: 30.0}
    wells = matrix(lambda a, b: (alone_a[a] if not b else alone_b[b] if not a else 30)/100, doses=([0, 1, 3, 9], [0, 1, 3, 9]))
    found = score_wells(wells, None)
    assert any("untreated well at 122.96 % of control in m" in note for note in found.notes)
    assert abs(found.cells.bliss[0] - (90*80/100 - 30)) < 1e-9 and np.isclose(found.blocks.untreated[0], 122.96)

def test_responses_above_100_are_capped_by_name_and_kept_as_measured():
    y = {(0, 0): 100, (1, 0): 130, (10, 0): 60, (0, 1): 110, (0, 10): 50, (1, 1): 104, (1, 10): 70, (10, 1): 55, (10, 10): 20}
    wells = matrix(lambda a, b: y[a, b]/100, doses=([0, 1, 10], [0, 1, 10]))
    capped, plain, singles = (score_wells(wells, None, cap=cap) for cap in ("all", "none", "singles"))
    np.testing.assert_allclose(capped.cells.bliss, [0, -20, 5, 10])
    np.testing.assert_allclose(plain.cells.bliss, [39, -5, 11, 10])
    np.testing.assert_allclose(singles.cells.bliss, [-4, -20, 5, 10])
    np.testing.assert_allclose(capped.blocks[["bliss_mean", "bliss_max"]].iloc[0].astype(float), [-1.25, 10])
    np.testing.assert_allclose(plain.blocks[["bliss_mean", "bliss_max"]].iloc[0].astype(float), [13.75, 39])
    assert (capped.blocks.n_capped[0], singles.blocks.n_capped[0], plain.blocks.n_capped[0]) == (3, 2, 0)
    assert list(capped.cells.capped) == [True, True, True, False] and any("3 responses" in n for n in capped.notes)
    np.testing.assert_allclose(capped.cells.bliss_uncapped, plain.cells.bliss)
    np.testing.assert_allclose(capped.cells[["reference_a", "viability"]], [[130, 104], [130, 70], [60, 55], [60, 20]])

def singles_of(drug, curve, doses=None, line="MCF7"):
    doses = np.geomspace(0.01, 100, 9) if doses is None else doses
    return pd.DataFrame({"line": line, "drug": drug, "dose": doses, "viability": 100*hill(doses, *curve), "plate": ""})

def test_references_come_from_curves_of_single_drugs_and_are_marked():
    wells = matrix(independent)
    pairs = wells[(wells.dose_a > 0) & (wells.dose_b > 0)]
    singles = pd.concat([singles_of("drugA", (1, 0.1, 1.2, 1)), singles_of("drugB", (1, 0.25, 0.9, 0.5))])
    found = score_wells(pairs, singles)
    assert found.cells.bliss.abs().max() < 1e-6 and {*found.cells.source_a, *found.cells.source_b} == {"fitted"}
    other = pairs.assign(block="MCF7: drugA + drugC", drug_b="drugC")
    both = score_wells(pd.concat([pairs, other]), singles)
    assert list(both.blocks.block) == ["m"] and any("drugA + drugC has no single-agent wells for drugC" in n for n in both.notes)
    with pytest.raises(InputError, match="has no single-agent wells for drugA, drugB"): score_wells(pairs, singles.iloc[:0])

def test_a_curve_of_single_drugs_that_failed_leaves_what_was_measured_at_the_same_dose():
    wells = matrix(independent)
    pairs = wells[(wells.dose_a > 0) & (wells.dose_b > 0)]
    odd = singles_of("drugA", (1, 0.1, 1.2, 1), np.array([0.1, 0.3, 1, 3, 10.0])).assign(viability=[60, 70, 95, 120, 40.0])
    found = score_wells(pairs, pd.concat([odd, singles_of("drugB", (1, 0.25, 0.9, 0.5))]))
    assert set(found.cells.source_a) == {"measured"} and set(found.cells.source_b) == {"fitted"}
    row = found.blocks.iloc[0]
    assert np.isfinite(row.bliss_mean) and np.isnan(row.loewe_mean) and np.isnan(row.zip_mean)
    assert row.bliss_reason == "" and "drugA is not fitted: viability is not monotone" in row.loewe_reason

def test_absent_cells_are_counted_and_never_imputed():
    wells = matrix(potentiated)
    def absent(t): return ((t.dose_a == 0.3) & (t.dose_b == 0.5)) | ((t.dose_a == 1) & (t.dose_b == 2))
    found, whole = score_wells(wells[~absent(wells)], None), score_wells(wells, None)
    row = found.blocks.iloc[0]
    assert (row.n_cells, row.n_missing, len(found.cells)) == (23, 2, 23) and any("2 cells of 1 blocks" in n for n in found.notes)
    kept = whole.cells[~absent(whole.cells)]
    assert abs(row.bliss_mean - kept.bliss.mean()) < 1e-9 and abs(row.bliss_mean - 2.992227) < 1e-6
    assert abs(row.zip_mean - row.bliss_mean) < 1e-6 and abs(whole.blocks.bliss_mean[0] - 3.207261) < 1e-6

def test_a_failed_fit_leaves_loewe_and_zip_blank_and_the_others_whole():
    wells = matrix(independent)
    alone = (wells.dose_b == 0)
    wells.loc[alone, "viability"] = [115.04, 153.88, 187.24, 181.18, 151.48, 46.98]
    found = score_wells(wells, None)
    row, curve = found.blocks.iloc[0], found.curves[found.curves.drug == "drugA"].iloc[0]
    assert curve.status == FAILED and np.isnan(curve.C) and "not monotone" in row.loewe_reason and "not monotone" in row.zip_reason
    assert found.cells[["loewe", "zip"]].isna().all(axis=None) and found.cells[["bliss", "hsa"]].notna().all(axis=None)
    assert row.bliss_reason == row.hsa_reason == "" and np.isfinite(row[["bliss_mean", "hsa_max"]].astype(float)).all()

def test_beyond_the_weaker_drug_is_flagged_and_can_be_left_blank():
    found = score_wells(matrix(partial), None)
    assert found.blocks.n_beyond[0] == 15 and found.cells.loewe_beyond.sum() == 15
    assert abs(found.blocks.loewe_mean[0] - 6.3541) < 1e-3 and abs(found.blocks.loewe_max[0] - 22.7273) < 1e-3
    blank = score_wells(matrix(partial), None, beyond="nan")
    assert abs(blank.blocks.loewe_mean[0] - found.cells.loewe[~found.cells.loewe_beyond].mean()) < 1e-9
    assert blank.blocks.loewe_reason[0].startswith("15 of 25")

def test_an_inert_drug_has_no_c_and_every_score_is_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_wells(matrix(inert), None)
        both = score_wells(matrix(lambda a, b: 1.0), None)
    for scored in (found, both): assert scored.cells[list(MEASURES)].abs().max(axis=None) < 1e-6
    curve = found.curves.set_index("drug").loc["drugB"]
    assert curve.status == FLAT and np.isnan(curve.C) and curve.E0 == 100

def test_more_killing_than_expected_is_positive():
    y = {(0, 0): 1, (1, 0): 0.8, (0, 1): 0.5}
    for pair, excess in ((0.2, 20), (0.6, -20)):
        found = one(matrix(lambda a, b, pair=pair: y.get((a, b), pair), doses=([0, 1], [0, 1])))
        assert abs(found.bliss_mean - excess) < 1e-9 and np.sign(found.bliss_max) == np.sign(excess)

def test_a_stray_unit_shows_as_too_many_dose_levels():
    wells = matrix(potentiated)
    at = (wells.dose_a > 0) & (wells.dose_b.rank(method="dense") - 2 == wells.dose_a.rank(method="dense") - 2)
    wells.loc[at, "dose_b"] *= 1000
    assert any("10 dose levels of drugB where 5 are expected" in n for n in score_wells(wells, None).notes)

def test_scores_do_not_depend_on_the_unit_of_dose_and_c_does():
    plain, nano = score_wells(matrix(potentiated), None), score_wells(matrix(potentiated).assign(
        dose_a=lambda d: d.dose_a*1000, dose_b=lambda d: d.dose_b*1000), None)
    for m in MEASURES: np.testing.assert_allclose(plain.cells[m], nano.cells[m], atol=1e-7)
    np.testing.assert_allclose(nano.curves.C/1000, plain.curves.C, rtol=1e-8)
    np.testing.assert_allclose(plain.curves.set_index("drug").C.loc[["drugA", "drugB"]], [1, 0.5], rtol=1e-8)

# nothing depends on order or neighbours

def test_scores_do_not_depend_on_the_order_of_wells_or_on_other_blocks():
    wells = pd.concat([noisy(potentiated, 6, 2, 5, 0), matrix(partial, "other", ([0, 1, 3, 9], B), ("x", "y"))], ignore_index=True)
    whole = score_wells(wells, None, draws=200)
    shuffled = score_wells(wells.sample(frac=1, random_state=0), None, draws=200)
    pd.testing.assert_frame_equal(whole.cells, shuffled.cells)
    pd.testing.assert_frame_equal(whole.blocks, shuffled.blocks)
    part = score_wells(wells[wells.block == "m0003"], None, draws=200)
    expected = whole.blocks[whole.blocks.block == "m0003"].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.blocks, expected, rtol=1e-7)

def test_either_drug_may_come_first():
    wells = noisy(potentiated, 5, 2, 6, 1)
    turned = wells.rename(columns={"drug_a": "drug_b", "drug_b": "drug_a", "dose_a": "dose_b", "dose_b": "dose_a"})
    one_way, other = (score_wells(w, None, draws=400) for w in (wells, turned))
    for m in MEASURES:
        for part in ("mean", "mean_low", "mean_high", "max"):
            np.testing.assert_allclose(one_way.blocks[f"{m}_{part}"], other.blocks[f"{m}_{part}"], atol=1e-6)
        np.testing.assert_allclose(one_way.blocks[f"{m}_max_p"], other.blocks[f"{m}_max_p"], atol=0.12)

def test_matrices_of_different_shapes_stand_in_stacks_of_their_own():
    cells = pd.DataFrame({"code": [0, 0, 1, 2, 2], "dose_a": [1, 2, 1, 5, 6.0], "dose_b": [1, 1, 1, 3, 3.0],
                          "viability": [1, 2, 3, 4, 5.0], "n": 1})
    found = {s.y.shape: s for s in stacks(cells)}
    assert set(found) == {(2, 2, 1), (1, 1, 1)} and list(found[2, 2, 1].codes) == [0, 2]
    np.testing.assert_array_equal(found[2, 2, 1].doses_a, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(found[2, 2, 1].y[..., 0], [[1, 2], [4, 5]])

# noise

def test_replicates_give_the_noise_and_copies_do_not():
    means = replicate_means(pd.DataFrame({"k": [1, 1, 1, 2], "viability": [1.0, 2, 3, 7]}), ["k"])
    assert list(means.n) == [3, 1] and list(means.squares) == [2, 0] and list(means.viability) == [2, 7]
    rng = np.random.default_rng(0)
    pairs = rng.normal(0, 4, (3000, 2))
    squares = ((pairs - pairs.mean(1, keepdims=True))**2).sum(1)
    variance, df = pooled_variance(squares, np.full(3000, 2))
    assert abs(np.sqrt(variance) - 4) < 0.3 and df == 3000
    assert np.isnan(pooled_variance(np.zeros(9), np.full(9, 2))[0]) and np.isnan(pooled_variance([0.0], [1])[0])

def test_the_noise_says_where_it_comes_from():
    rich, poor = noisy(independent, 4, 2, 5, 0), matrix(independent, "alone", drugs=("p", "q"))
    found = score_wells(pd.concat([rich, poor]), None, draws=50).blocks.set_index("block")
    assert found.noise_from["m0000"] == "its own replicates" and found.noise_from["alone"] == "pooled over the screen"
    assert np.isfinite(found.bliss_mean_low["alone"]) and abs(found.noise_sd["m0000"] - 5) < 2
    assert one(poor).noise_from == "none" and np.isnan(one(poor).bliss_mean_low) and np.isnan(one(poor).bliss_max_p)
    again = pd.concat([noisy(independent, 1, 1, 5, s).assign(block=f"time {s}") for s in range(3)])
    assert set(score_wells(again, None, draws=50).blocks.noise_from) == {"repeated matrices"}
    singles = pd.concat([singles_of("p", (1, 0.1, 1.2, 1))]*3)
    singles = singles.assign(viability=singles.viability + np.random.default_rng(0).normal(0, 5, len(singles)))
    assert score_wells(poor, singles, draws=50).blocks.noise_from[0] == "replicates of single drugs"

def test_the_error_of_a_mean_is_what_repeating_the_experiment_shows():
    "Cells share reference wells: independent cells would give an interval that is too short."
    found = score_wells(noisy(independent, 400, 2, 4, 5), None, cap="none", draws=20)
    for m in MEASURES:
        spread = found.blocks[f"{m}_mean"].std()
        half = (found.blocks[f"{m}_mean_high"] - found.blocks[f"{m}_mean_low"]).median()/2/1.96
        assert abs(half/spread - 1) < 0.12, (m, half, spread)
    squares = (found.cells.bliss_high - found.cells.bliss)**2
    as_if_independent = np.sqrt(squares.groupby(found.cells.block).sum())/25/1.96
    assert as_if_independent.median() < 0.8*found.blocks.bliss_mean.std()

@pytest.mark.parametrize("cap, doses, replicates", [("none", (A, B), 2), ("all", (A, B), 1), ("all", ([0, 1, 10], [0, 0.5, 5]), 4)])
def test_intervals_hold_the_truth_and_p_is_uniform_without_interaction(cap, doses, replicates):
    blocks, few = 400, replicates == 1
    wells = noisy(independent, blocks, replicates, 6, 7, doses)
    if few: wells = pd.concat([wells, noisy(independent, 5, 3, 6, 8, doses).assign(drug_a="p", drug_b="q", block="rich")])
    found = score_wells(wells, None, cap=cap, draws=500, measures=("bliss", "zip"))
    mine = found.blocks[found.blocks.block != "rich"]
    covered = ((mine.bliss_mean_low <= 0) & (mine.bliss_mean_high >= 0)).mean()
    cells = found.cells[found.cells.block != "rich"]
    by_cell = ((cells.bliss_low <= 0) & (cells.bliss_high >= 0)).mean()
    largest = ((mine.bliss_max_low <= 0) & (mine.bliss_max_high >= 0)).mean()
    assert 0.92 < covered < 0.99 and 0.92 < by_cell < 0.985 and largest > 0.92
    if cap == "none":
        p = np.sort(mine.bliss_max_p)
        assert np.abs(p - (np.arange(blocks) + 0.5)/blocks).max() < 1.63/np.sqrt(blocks)  # Kolmogorov and Smirnov, 1%
    assert (mine.bliss_max_p <= 0.05).mean() < 0.09

def test_a_level_that_scales_a_whole_matrix_is_learned_from_repeats_and_widens_intervals():
    rng, parts = np.random.default_rng(3), []
    for i in range(60):
        for time in range(2):
            wells = noisy(independent, 1, 1, 2, 1000 + 2*i + time).assign(block=f"{i} ({time})", drug_a=f"a{i}", drug_b=f"b{i}")
            parts.append(wells.assign(viability=wells.viability*np.exp(rng.normal(0, 0.05))))
    found = score_wells(pd.concat(parts), None, cap="none", draws=200, measures=("bliss",)).blocks
    assert (found.noise_from == "repeated matrices").all() and abs(found.level_sd[0] - 5) < 1.5 and abs(found.noise_sd[0] - 2) < 0.3
    assert ((found.bliss_mean_low <= 0) & (0 <= found.bliss_mean_high)).mean() > 0.9
    alone = (found.bliss_mean_high - found.bliss_mean_low)/found.noise_sd
    known = score_wells(noisy(independent, 3, 2, 2, 5), None, cap="none", draws=20, measures=("bliss",)).blocks
    assert alone.median() > 1.5*((known.bliss_mean_high - known.bliss_mean_low)/known.noise_sd).median()

def test_the_derivatives_of_scores_are_differences():
    "Moving one well by a little moves every score as the intervals assume."
    rng, wells = np.random.default_rng(0), matrix(potentiated)
    wells = wells.assign(viability=wells.viability + rng.normal(0, 1, len(wells)))
    twice = pd.concat([wells.assign(viability=wells.viability + d) for d in (-1, 1)])  # sd of a well is known: sqrt(2)
    base, ends = score_wells(twice, None, cap="none", draws=50), []
    for step in (0.01, -0.01):
        moved = [wells.assign(block=f"{i:02d}", viability=wells.viability + np.where(np.arange(len(wells)) == i, step, 0))
                 for i in range(len(wells))]
        ends.append(score_wells(pd.concat(moved), None, cap="none", draws=0).cells[list(MEASURES)].to_numpy().reshape(-1, 25, 4))
    error = (((ends[0] - ends[1])/0.02)**2).sum(0)  # variance of one unit of noise
    told = np.column_stack([(base.cells[f"{m}_high"] - base.cells[m]) for m in MEASURES])
    ratio = told/np.sqrt(error)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0, 0], ratio.shape), rtol=0.12)
    np.testing.assert_allclose(ratio[:, 0], ratio[0, 0], rtol=1e-4)

def test_a_synergy_is_found_in_the_largest_cell_and_its_interval_holds_it():
    found = score_wells(noisy(potentiated, 150, 3, 4, 9), None, cap="none", draws=400).blocks
    true = one(matrix(potentiated), cap="none").bliss_max
    assert (found.bliss_max_p <= 0.05).mean() > 0.6 and ((found.bliss_max_low <= true) & (true <= found.bliss_max_high)).mean() > 0.94
    assert found.bliss_max.mean() > true and (found.bliss_max_noise > 4).all()  # the largest of noisy cells is too large

def test_draws_are_the_seed_s_and_none_gives_no_interval():
    wells = noisy(independent, 3, 2, 5, 0)
    first, second, other = (score_wells(wells, None, draws=100, seed=s).blocks for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert not np.allclose(first.bliss_max_low, other.bliss_max_low) and np.allclose(first.bliss_mean_low, other.bliss_mean_low)
    none = score_wells(wells, None, draws=0)
    assert none.blocks[["bliss_mean_low", "bliss_max_p", "zip_mean_high"]].isna().all(axis=None) and none.cells.bliss_low.isna().all()
    np.testing.assert_allclose(none.blocks.bliss_max, first.bliss_max)

# bad input

@pytest.mark.parametrize("spoil, says", [
    (lambda w: w.drop(columns="dose_b"), "no column 'dose_b'"),
    (lambda w: w.assign(viability=np.nan), "missing or no such number"),
    (lambda w: w.assign(dose_a=-w.dose_a), "dose_a is missing or no such number"),
    (lambda w: w.assign(viability="high"), "'high' in row 0"),
    (lambda w: w[w.dose_b == 0], "nothing to score"),
    (lambda w: w.iloc[:0], "nothing to score"),
    (lambda w: pd.concat([w, w.assign(drug_b="z")]), "more than one pair"),
])
def test_wells_that_cannot_be_scored_are_refused(spoil, says):
    with pytest.raises(InputError, match=says): score_wells(spoil(matrix(independent)), None)

@pytest.mark.parametrize("how, says", [(dict(cap="half"), "all, singles, none"), (dict(measures=("bloss",)), "bloss"),
                                       (dict(beyond="x"), "stronger"), (dict(draws=-1), "whole number")])
def test_an_unknown_wish_is_refused(how, says):
    with pytest.raises(InputError, match=says): score_wells(matrix(independent), None, **how)
    assert held_within(np.array([-5.0, 120]), "all").tolist() == [0, 100]

# real screens

def test_worked_examples_of_others_give_their_values(synergy):
    mathews = pd.read_csv(synergy/"worked/mathews_screening_data.csv")
    wells = pd.DataFrame({"block": "block " + mathews.block_id.astype(str), "line": "TMD8", "drug_a": mathews.drug_row,
                          "dose_a": mathews.conc_r/1000, "drug_b": mathews.drug_col, "dose_b": mathews.conc_c/1000,
                          "viability": mathews.response})
    plain, capped = (score_wells(wells, None, cap=cap) for cap in ("none", "all"))
    np.testing.assert_allclose(plain.blocks.bliss_mean, [10.856471, -13.072695], atol=1e-6)
    np.testing.assert_allclose(plain.blocks.hsa_mean, [20.195099, -41.417556], atol=1e-6)
    assert abs(capped.blocks.bliss_mean[0] - 9.061396) < 1e-6
    assert any("untreated well at 122.96 % of control in block 1" in n for n in capped.notes)
    assert "canertinib is not fitted" in capped.blocks.loewe_reason[1] and np.isnan(capped.blocks.zip_mean[1])
    untreated = wells[(wells.dose_a == 0) & (wells.dose_b == 0)].set_index("block").viability
    divided = wells.assign(viability=100*wells.viability/wells.block.map(untreated))
    assert abs(score_wells(divided, None, cap="none").blocks.bliss_mean[0] - 4.397310) < 1e-6
    oneil = pd.read_csv(synergy/"worked/ONEIL_screening_data.csv")
    wells = pd.DataFrame({"block": oneil.block_id.astype(str), "line": oneil.cell_line_name, "drug_a": oneil.drug1, "dose_a": oneil.conc1,
                          "drug_b": oneil.drug2, "dose_b": oneil.conc2, "viability": 100 - oneil.response})
    found = score_wells(wells, None, cap="none").blocks
    np.testing.assert_allclose(found.bliss_mean, [35.306966, -77.679125], atol=1e-6)
    np.testing.assert_allclose(found.hsa_mean, [40.920165, -71.788476], atol=1e-6)
    assert list(found.n_cells) == [16, 16] and (found.noise_from == "its own replicates").all()

def test_bliss_equals_combokr_s_48441_values(mirror, tmp_path):
    packed = next(mirror.glob("aalto-ics-kepaco/comboKR/*/data_for_demo.zip"), None)
    if packed is None: pytest.skip("comboKR's demonstration data are not in the mirror of raw files")
    with zipfile.ZipFile(packed) as z: path = z.extract("data_for_demo/combo_data_for_demo.pickle", tmp_path)
    table = read_pickled_frames(path)["frame"]
    each = table.COMBODRUGSEQ.index.astype(str)
    wells = [pd.DataFrame({"block": each, "line": "786-0", "drug_a": "A", "dose_a": a, "drug_b": "B", "dose_b": b, "viability": v})
             for a, b, v in ((1.0, 1.0, table.Response_No_Tz), (1.0, 0.0, table.MONO_NSC1), (0.0, 1.0, table.MONO_NSC2))]
    wells = pd.concat([w.astype({"viability": float}) for w in wells], ignore_index=True)
    found = score_wells(wells, None, cap="singles", measures=("bliss",), draws=0).cells.set_index("block").bliss
    assert len(found) == 48_441
    np.testing.assert_allclose(found.loc[each].to_numpy(), table.S_BLISS.to_numpy(float), atol=1e-9)

@pytest.mark.slow
def test_oneil_s_whole_screen_is_scored(synergy):
    w, s = (pd.read_csv(synergy/f"oneil_{t}_wells.csv.gz") for t in ("pair", "single_agent"))
    singles = pd.DataFrame({"line": s.Channel, "drug": s.Compound.str.lower(), "dose": s.Dose, "viability": 100 - s.Response})
    wells = pd.DataFrame({"block": w.cell_line + ": " + w.drug_row + " + " + w.drug_col, "line": w.cell_line, "drug_a": w.drug_row,
                          "dose_a": 1e6*w.conc_row_molar, "drug_b": w.drug_col, "dose_b": 1e6*w.conc_col_molar,
                          "viability": 100*w.relative_viability})
    found = score_wells(wells, singles, draws=200)
    assert len(found.blocks) > 22_000 and found.blocks.bliss_mean.notna().all() and found.blocks.loewe_mean.notna().mean() > 0.9
    assert (found.blocks.loewe_mean.isna() == found.blocks.loewe_reason.str.contains("not fitted")).all()
