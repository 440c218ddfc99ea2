"""Activity: average precision, swaps within plates, shams beside treatments, sizes that used to end in a kill."""
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from drugnb.core.settings import InputError, data_folders, read_settings
from drugnb.morphology import activity as module
from drugnb.morphology.activity import (
    Group,
    activity,
    activity_finding,
    activity_table,
    activity_text,
    block_swaps,
    condition_groups,
    empirical_p,
    figure_activity,
    fixed_layout,
    mean_ap,
    mechanism_map,
    on_one_footing,
    ranked,
    sham_activity,
    sham_groups,
    sham_rate,
    similarities,
    swap_test,
    well_profiles,
)
from drugnb.morphology.simulate import simulate_profiles


@pytest.fixture(scope="module")
def bbbc021():
    "Profiles of wells of BBBC021, and what the wells hold; skipped where they are not."
    folder = data_folders(read_settings(Path(__file__).parents[2]))[-1]/"morphology"
    if not (folder/"bbbc021_well_profiles.csv.gz").exists(): pytest.skip("the profiles of BBBC021 are in no data folder")
    both = pd.read_csv(folder/"bbbc021_well_labels.csv").merge(pd.read_csv(folder/"bbbc021_well_profiles.csv.gz"))
    values = both.select_dtypes("number").drop(columns="Image_Metadata_Concentration")
    images = table_of(both.iloc[:, :3].to_numpy().tolist())
    dose = both.Image_Metadata_Concentration.map("{:g}".format).to_numpy()
    condition = images.treatment.where(images.untreated, images.treatment + " " + dose + " µM")
    return values.to_numpy(), images.assign(condition=condition, batch=both.batch.to_numpy())

def table_of(wells):
    "Images as a study has them, from rows of plate, well and treatment."
    table = pd.DataFrame(wells, columns=["plate", "well", "treatment"]).assign(site="", dose=np.nan, mechanism="", batch="")
    table["condition"], table["untreated"] = table.treatment, table.treatment == "DMSO"
    table["row"], table["column"] = table.well.str[0].map(ord) - 64, table.well.str[1:].astype(int)
    return table.set_axis(table.plate + " " + table.well, axis=0)

def two_alike(replicates, seed=0):
    "A plate on which wells of drugA resemble each other and no untreated well."
    rng, wells = np.random.default_rng(seed), [f"{r}{c:02d}" for c in (1, 2, 3) for r in "ABCDEFGH"][:16 + replicates]
    values = np.r_[np.full((replicates, 3), 5.0) + rng.normal(0, 0.01, (replicates, 3)), rng.normal(0, 1.6, (16, 3))]
    return values, table_of([("P1", w, "drugA" if i < replicates else "DMSO") for i, w in enumerate(wells)])

def slow_map(similarity, plate, treated):
    "Mean average precision by scikit-learn, a query at a time."
    found = []
    for q in treated:
        rows = [i for i in range(len(plate)) if i != q and (i in treated or plate[i] == plate[q])]
        found.append(average_precision_score([i in treated for i in rows], similarity[q, rows]))
    return np.mean(found)

# average precision

@pytest.mark.parametrize("digits", [12, 1, 0])
def test_average_precision_is_scikit_learn_s_with_ties_and_without(digits):
    rng = np.random.default_rng(digits)
    similarity = similarities(rng.standard_normal((24, 3))).round(digits)
    plate = rng.integers(0, 3, 24)
    treated = np.array([rng.permutation(24)[:5] for _ in range(30)])
    expected = [slow_map(similarity, plate, list(t)) for t in treated]
    np.testing.assert_allclose(mean_ap(ranked(similarity, plate), treated), expected, rtol=0, atol=1e-12)

def test_average_precision_of_a_case_worked_by_hand():
    "Well 0 sees its mates 1 and 2 at places 1 and 3 of four: (1/1 + 2/3)/2."
    similarity = np.array([[1, .9, .5, .7, .1], [.9, 1, .8, .2, .1], [.5, .8, 1, .2, .1], [.7, .2, .2, 1, 0], [.1, .1, .1, 0, 1]])
    of = ranked(similarity, np.zeros(5))
    assert mean_ap(of, np.array([[0, 1, 2]]))[0] == pytest.approx((5/6 + 1 + 1)/3, abs=1e-15)

def test_a_tie_counts_both_whatever_the_order_of_rows():
    similarity = np.array([[1, .5, .5], [.5, 1, 0], [.5, 0, 1.]])
    assert mean_ap(ranked(similarity, np.zeros(3)), np.array([[0, 1]]))[0] == pytest.approx((1/2 + 1)/2)
    back = similarity[::-1, ::-1]
    assert mean_ap(ranked(back, np.zeros(3)), np.array([[2, 1]]))[0] == pytest.approx((1/2 + 1)/2)

def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    of, treated = ranked(similarities(rng.standard_normal((15, 4))), np.repeat([0, 1, 2], 5)), np.array(list(combinations(range(15), 3)))
    whole = mean_ap(of, treated)
    monkeypatch.setattr(module, "BLOCK", 40)
    np.testing.assert_array_equal(mean_ap(of, treated), whole)

def test_a_well_without_direction_is_like_none():
    values = np.array([[0, 0], [1, 0], [2, 0.0]])
    np.testing.assert_array_equal(similarities(values), [[0, 0, 0], [0, 1, 1], [0, 1, 1]])

# swaps

def test_a_perfect_pair_among_sixteen_has_as_many_equals_as_pairs_that_rank_each_other_first():
    values, images = two_alike(2)
    found = swap_test(values, np.zeros(18), ~images.untreated.to_numpy())
    s = similarities(values) - 2*np.eye(18)
    mutual = sum(s[i].argmax() == j and s[j].argmax() == i for i, j in combinations(range(18), 2))
    assert found.map == 1 and found.swaps == 153 and found.exact
    assert found.p == mutual/153 and found.smallest == 1/153

def test_one_replicate_has_no_pairs_and_is_listed_apart():
    values, images = two_alike(1)
    table = activity(values, images)
    row = table.loc["drugA"]
    assert row.status == "no pairs" and np.isnan(row.p) and np.isnan(row["map"]) and np.isnan(row.q) and not row.active

def test_replicate_cases_of_others_are_right(cases):
    for name, swaps in (("two_replicates", 153), ("one_replicate", 0)):
        made = pd.read_csv(cases/f"08-map-few-replicates/{name}.csv")
        images = table_of(made[["plate", "well", "treatment"]].to_numpy().tolist())
        row = activity(made[["f1", "f2", "f3"]].to_numpy(), images, footing=False).loc["drugA"]
        assert row.swaps == swaps
        if swaps: assert row["map"] == 1 and row.p == 6/153 and row.smallest == 1/153 and row.exact
        else: assert row.status == "no pairs" and np.isnan(row.p)

def test_all_swaps_are_every_choice_once_and_random_ones_keep_the_number_on_each_plate():
    plate, treated = np.repeat([0, 1, 2], [4, 5, 3]), np.zeros(12, bool)
    treated[[0, 1, 5]] = True
    every = block_swaps(plate, treated)
    assert every.exact and len({tuple(sorted(r)) for r in every.treated.tolist()}) == 6*5 == len(every.treated)
    some = block_swaps(plate, treated, 29, 0)
    assert not some.exact and len(some.treated) == 29
    for rows in (every.treated, some.treated):
        assert {tuple(np.bincount(plate[r], minlength=3)) for r in rows} == {(2, 1, 0)}
        assert all(len(set(r)) == 3 for r in rows.tolist())

def test_drawn_swaps_estimate_the_exact_p_and_never_reach_zero():
    rng = np.random.default_rng(5)
    values, plate, treated = rng.standard_normal((24, 4)), np.repeat([0, 1, 2], 8), np.zeros(24, bool)
    treated[[0, 1, 8, 16]] = True
    exact, drawn = swap_test(values, plate, treated), swap_test(values, plate, treated, 1500)
    assert exact.swaps == 28*8*8 and drawn.swaps == 1500 and not drawn.exact
    assert abs(exact.p - drawn.p) < 4*np.sqrt(exact.p*(1 - exact.p)/1500) and drawn.smallest == 1/1501
    values[treated] += 20*rng.standard_normal(4)
    assert swap_test(values, plate, treated, 200).p == pytest.approx(1/201)

def test_p_of_exact_swaps_is_uniform_over_all_labels():
    "The share of labellings with p at most k/n is at most k/n, and k/n where nothing ties."
    rng = np.random.default_rng(6)
    values, plate = rng.standard_normal((10, 3)), np.repeat([0, 1], 5)
    p = np.array([swap_test(values, plate, np.isin(np.arange(10), [i, j])).p for i in range(5) for j in range(5, 10)])
    for level in (0.04, 0.2, 0.48): assert (p <= level + 1e-9).mean() <= level + 1e-9
    assert p.max() == 1

# one footing

def test_one_footing_does_not_know_which_wells_are_untreated_nor_the_units_or_level_of_a_plate():
    rng = np.random.default_rng(1)
    values, plate = rng.standard_normal((12, 5)), np.repeat([0, 1], 6)
    values[:, 4] = 3.3
    made = on_one_footing(values, plate)
    moved = on_one_footing(values*[1, 10, 100, 0.01, 1] + np.array([[5.0], [-70.0]])[plate], plate)
    np.testing.assert_allclose(made, moved, atol=1e-9)
    assert not made[:, 4].any(), "a constant feature says nothing"
    assert np.abs(pd.DataFrame(made).groupby(plate).mean()).to_numpy().max() < 1e-12

def small_p(layout, seeds, **kwargs):
    "Shares of inert treatments and of shams with p at most .05."
    found = []
    for seed in seeds:
        values, images = simulate_profiles(n_wells=1, n_treatments=12, layout=layout, seed=seed, **kwargs)
        t, s = activity(values.to_numpy(), images, 300, seed), sham_activity(values.to_numpy(), images, 12, 300, seed)
        found.append(((t.p <= .05).to_numpy(), (s.p <= .05).to_numpy(), t.calibrated.all()))
    return np.concatenate([f[0] for f in found]).mean(), np.concatenate([f[1] for f in found]).mean(), {f[2] for f in found}

def test_p_is_calibrated_where_positions_are_randomised_and_said_not_to_be_where_they_are_fixed():
    inert, sham, calibrated = small_p("randomised", range(14))
    assert 0.01 <= inert <= 0.09 and 0.01 <= sham <= 0.1 and calibrated == {True}
    inert, sham, calibrated = small_p("fixed", range(3))
    assert inert > 0.2 and sham > 0.2 and calibrated == {False}

@pytest.mark.slow
def test_p_is_calibrated_over_many_screens():
    inert, sham, _ = small_p("randomised", range(100, 200))
    assert 0.03 <= inert <= 0.07 and 0.03 <= sham <= 0.08

def test_an_effect_is_found():
    values, images = simulate_profiles(n_wells=2, n_treatments=6, effect=1.5, seed=2)
    table = activity(values.to_numpy(), images, 500)
    assert table.active.mean() > 0.8 and (table.q >= table.p).all()

# the table

def test_order_of_rows_and_images_of_a_well_change_nothing():
    values, images = simulate_profiles(n_plates=2, n_wells=2, n_treatments=3, effect=0.5, seed=1)
    twice = pd.concat([images.assign(site=s).set_axis(images.index + s, axis=0) for s in ("a", "b")])
    v = np.r_[values.to_numpy() + 1, values.to_numpy() - 1]
    order = np.random.default_rng(0).permutation(len(v))
    one, two = activity(values.to_numpy(), images), activity(v[order], twice.iloc[order])
    assert one.exact.all() and (one.n_wells == 4).all()
    pd.testing.assert_frame_equal(one, two)

def test_only_treatments_that_can_reach_the_level_are_corrected_for():
    rng = np.random.default_rng(0)
    rows = [("P1", f"A{c:02d}", "DMSO") for c in (1, 2, 3)] + [("P1", "B01", "x"), ("P1", "B02", "x"), ("P1", "C01", "y")]
    rows += [("P1", f"D{c:02d}", "z") for c in (1, 2, 3, 4, 5)]
    table = activity(rng.standard_normal((len(rows), 3)), table_of(rows))
    assert table.status.to_dict() == {"x": "cannot reach", "y": "no pairs", "z": "tested"}
    assert table.loc["x", "smallest"] == 1/10 and np.isnan(table.loc["x", "q"]) and table.loc["z", "q"] == table.loc["z", "p"]

def test_wells_beside_no_untreated_well_are_left_out_and_counted():
    values, images = simulate_profiles(n_plates=3, n_wells=1, n_treatments=2, seed=0)
    bare = ~(images.untreated & (images.plate == images.plate.iloc[0])).to_numpy()
    table = activity(values.to_numpy()[bare], images[bare])
    assert (table.left_out == 1).all() and (table.n_wells == 2).all() and (table.n_plates == 2).all()
    assert "2 treated wells are left out" in activity_text(table, table.assign(batch=""))

def test_what_cannot_be_compared_is_refused():
    values, images = simulate_profiles(n_plates=2, n_treatments=2, seed=0)
    v = values.to_numpy()
    for kept in (images.untreated.to_numpy(), ~images.untreated.to_numpy()):
        with pytest.raises(InputError, match="one of them is missing"): activity(v[kept], images[kept])
    with pytest.raises(InputError, match="holds two conditions"): well_profiles(v, images.assign(well="A01"))
    one = images.untreated.to_numpy() & ~images.duplicated(["plate", "untreated"]).to_numpy()
    with pytest.raises(InputError, match="more untreated wells than a treatment has"):
        sham_activity(v[one | ~images.untreated], images[one | ~images.untreated])

def test_nine_thousand_wells_of_one_treatment_stay_small():
    import tracemalloc
    rows = [(f"P{p:02d}", f"{r}{c:02d}", "drug" if c % 2 else "DMSO") for p in range(24) for r in "ABCDEFGHIJKLMNOP" for c in range(1, 25)]
    images, values = table_of(rows), np.random.default_rng(0).standard_normal((len(rows), 8))
    tracemalloc.start()
    row = activity(values, images, 20).loc["drug"]
    assert tracemalloc.get_traced_memory()[1] < 1e9
    tracemalloc.stop()
    assert row.n_wells == 24*12 == row.n_untreated and row.left_out == 4608 - row.n_wells and row.n_plates == 24

# shams

def test_shams_are_untreated_wells_placed_as_treatments_are():
    for layout in ("fixed", "randomised"):
        values, images = simulate_profiles(n_plates=4, n_wells=2, layout=layout, seed=3)
        wells = well_profiles(values.to_numpy(), images)
        assert fixed_layout(wells.table) == (layout == "fixed")
        groups = sham_groups(wells.table, 20)
        assert len(groups) == 20
        for g in groups:
            own, rest = wells.table.iloc[g.treated], wells.table.iloc[g.untreated]
            assert own.untreated.all() and rest.untreated.all() and not set(g.treated) & set(g.untreated)
            assert (own.plate.value_counts() == 2).all() and own.plate.nunique() == 4 and len(g.treated) + len(g.untreated) == 32
            if layout == "fixed": assert own.groupby(["row", "column"]).plate.nunique().eq(4).all()

def test_no_sham_is_drawn_twice_where_the_layout_is_fixed():
    values, images = simulate_profiles(n_plates=2, n_wells=1, layout="fixed", n_untreated=5, seed=3)
    groups = sham_groups(well_profiles(values.to_numpy(), images).table)
    assert len(groups) == 5 == len({tuple(g.treated) for g in groups})

def test_the_rate_of_shams_counts_those_that_could_reach_it():
    shams = pd.DataFrame({"p": [.01, .2, .05, np.nan], "status": ["tested"]*3 + ["no pairs"], "active": [True, False, False, False],
                          "batch": "w1", "plates": "a"})
    rate = sham_rate(shams)
    assert rate.n == 3 and rate.rate == pytest.approx(2/3) and rate.called == pytest.approx(1/3) and rate.over == "shams"
    assert rate.low < 2/3 < rate.high
    weeks = pd.concat([shams.iloc[:1].assign(batch=f"w{k}", p=p) for k, p in enumerate([.01, .5]*5)])
    assert sham_rate(weeks).over == "weeks" and sham_rate(weeks).low == pytest.approx(0.2, abs=0.11)

def test_empirical_p_is_the_share_of_shams_that_do_as_well():
    values, images = simulate_profiles(n_plates=4, n_wells=1, n_treatments=5, layout="fixed", effect=1.0, seed=1)
    shams = sham_activity(values.to_numpy(), images, most=5000)
    table = empirical_p(values.to_numpy(), images, shams, 5000)
    for row in table.itertuples(): assert row.empirical_p == (1 + (shams.p <= row.matched_p + 1e-12).sum())/(1 + len(shams))
    swaps = table.matched_p*shams.swaps.iloc[0]
    np.testing.assert_allclose(swaps, swaps.round(), atol=1e-6, err_msg="as many swaps as a sham has")
    wells = well_profiles(values.to_numpy(), images)
    first = wells.table[wells.table.untreated].drop_duplicates("plate").index
    fewer = activity_table([Group(g.name, g.treated, np.setdiff1d(g.untreated, first)) for g in condition_groups(wells.table)], wells)
    assert (shams.swaps == fewer.swaps.iloc[0]).all(), "as many untreated wells, so as many swaps"

def test_shams_make_p_honest_where_a_position_field_makes_it_false():
    naive, against = [], []
    for seed in range(3):
        values, images = simulate_profiles(layout="fixed", seed=seed, n_plates=4, n_wells=2, n_treatments=8, n_untreated=8)
        shams = sham_activity(values.to_numpy(), images, 28, 300)
        naive.append((activity(values.to_numpy(), images, 300).p <= .05).mean())
        against.append((empirical_p(values.to_numpy(), images, shams, 300).empirical_p <= .05).mean())
    assert np.mean(naive) > 0.3 and np.mean(against) <= 0.1

# mechanisms

def test_mechanisms_find_each_other_as_scikit_learn_counts():
    rng = np.random.default_rng(0)
    rows = [("P1", f"{'ABCDEFGH'[k % 8]}{k//8 + 1:02d}", f"t{k}") for k in range(12)]
    images = table_of(rows).assign(mechanism=np.repeat(["m1", "m2", "m3"], 4))
    values = rng.standard_normal((12, 3))
    found, s, m = mechanism_map(values, images, repeats=20), similarities(values), images.mechanism.to_numpy()
    own = [average_precision_score(np.delete(m == m[i], i), np.delete(s[i], i)) for i in range(12)]
    assert found.loc["all", "map"] == pytest.approx(np.mean(own), abs=1e-12)
    assert found.loc["m2", "map"] == pytest.approx(np.mean(own[4:8]), abs=1e-12)
    alike = mechanism_map(np.repeat(np.eye(3), 4, axis=0) + rng.normal(0, .01, (12, 3)), images, repeats=200)
    assert alike.loc["all", "map"] == 1 and alike.loc["all", "p"] < 0.05 and alike.loc["all", "chance"] < 0.6
    with pytest.raises(InputError, match="two or more"): mechanism_map(values, images.assign(mechanism="one"))

# words and pictures

def test_titles_and_text_state_what_the_tables_hold():
    values, images = simulate_profiles(n_wells=1, n_treatments=8, effect=1.0, layout="fixed", seed=0)
    t, s = activity(values.to_numpy(), images, 300), sham_activity(values.to_numpy(), images, 20, 300)
    share = f"{(t.p <= .05).mean():.0%} of 8 treatments"
    assert share in activity_finding(t, s) and f"{sham_rate(s).n} shams" in activity_finding(t, s)
    text = activity_text(t, s)
    assert "not calibrated" in text and f"{t.active.sum()} of 8 treatments are active" in text
    fig = figure_activity(t, s)
    assert share in fig.get_suptitle() and len(fig.axes) == 2

def test_real_treatments_stand_beside_real_shams(bbbc021):
    values, images = bbbc021
    t, s = activity(values, images), sham_activity(values, images)
    assert len(t) == 103 and not t.calibrated.any() and (t.p <= .05).mean() > 0.8
    rate = sham_rate(s)
    assert rate.over == "weeks" and 0.05 < rate.rate < 0.35 and rate.n == 102
    against = empirical_p(values, images, s)
    assert (against.empirical_p <= .05).mean() < (t.p <= .05).mean()
