"""Simulated cells: the truth is what was drawn, layouts keep their word, light is counted, and nothing else tells the effect."""
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from drugnb.core.settings import InputError
from drugnb.morphology.data import IMAGE_COLUMNS
from drugnb.morphology.simulate import (
    CHANNELS,
    FIELD,
    FULL,
    SIMULATED,
    SLOTS,
    TREATMENTS,
    draw_cells,
    draw_golgi,
    draw_ground,
    draw_mitochondria,
    draw_organelles,
    expose,
    figure_stains,
    image_table,
    lay_out,
    lit,
    plate_map,
    position_field,
    simulate_cells,
    simulate_profiles,
    simulated,
    simulated_fixed,
    simulated_small,
    spots,
)

SMALL = SIMULATED["simulated-small"]

@pytest.fixture(scope="module")
def study(): return simulated()

@pytest.fixture(scope="module")
def small(): return simulated_small()

def organelles(n, size, organelle="", strength=1.0, seed=0):
    "Light of n images, one organelle changed, everything else drawn alike."
    s = np.zeros((n, len(CHANNELS)))
    if organelle: s[:, CHANNELS.index(organelle)] = strength
    rng = np.random.default_rng(seed)
    cells = draw_cells(rng, np.zeros(n), s[:, 0])
    return cells, draw_organelles(rng, cells, size, s)

# a study

def test_a_study_has_the_shape_that_it_says(study):
    assert study.pixels.shape == (624, 6, 64, 64) and study.pixels.dtype == np.float32
    assert list(study.images.columns) == IMAGE_COLUMNS and study.images.index.is_unique and study.images.index.name == "image"
    assert study.channels == CHANNELS and study.pixel_um == pytest.approx(0.65)
    assert study.images.plate.nunique() == 6 and study.images.batch.nunique() == 3
    assert study.images.groupby("plate").batch.nunique().max() == 1, "a plate is measured in one week"
    assert (study.images.groupby(["plate", "well"]).treatment.nunique() == 1).all()
    assert (study.images.groupby(["plate", "well"]).site.nunique() == 4).all()
    untreated = study.images[study.images.untreated]
    assert (untreated.dose == 0).all() and (untreated.condition == "DMSO").all() and (untreated.mechanism == "").all()
    assert (study.images.dose[~study.images.untreated] > 0).all()
    assert set(study.images.mechanism[study.images.treatment == "inert"]) == {""}

def test_a_smaller_study_shows_the_same_field_of_view(small):
    assert small.pixels.shape == (96, 6, 32, 32) and small.pixel_um*32 == pytest.approx(FIELD)

def test_wells_stand_where_their_row_and_column_say(study):
    for r in study.images.itertuples(): assert r.well == f"{chr(64 + r.row)}{r.column:02d}"

def test_pixels_are_whole_counts_of_a_camera_of_twelve_bits(study, small):
    for s in (study, small):
        assert s.pixels.min() >= 0 and s.pixels.max() <= FULL
        assert np.array_equal(s.pixels, np.rint(s.pixels)) and (s.pixels == FULL).mean() < 1e-3, "hardly anything is saturated"

def test_one_seed_makes_the_same_study_and_another_a_different_one(small):
    again, other = simulated_small(), simulate_cells(**SMALL, seed=1)
    assert np.array_equal(small.pixels, again.pixels) and small.images.equals(again.images) and small.key == again.key
    assert not np.array_equal(small.pixels, other.pixels) and small.key != other.key

def test_stains_come_in_the_order_that_is_asked_for(small):
    some = simulate_cells(**SMALL, channels=("Golgi", "DNA"))
    assert some.channels == ("Golgi", "DNA")
    assert np.array_equal(some.pixels, small.pixels[:, [5, 0]]) and np.array_equal(some.truth["masks"], small.truth["masks"][:, [5, 0]])

@pytest.mark.parametrize("change, says", [
    (dict(treatments={"x": ("lysosome", 1.0)}), "changes 'lysosome'"),
    (dict(treatments={"x": ("DNA", -1.0)}), "the size -1.0"),
    (dict(treatments={"x": ("DNA", np.nan)}), "the size nan"),
    (dict(treatments={"DMSO": ("DNA", 1.0)}), "cannot be called 'DMSO'"),
    (dict(positions="shuffled"), "'randomised' or 'fixed', not 'shuffled'"),
    (dict(channels=("DNA", "lysosome")), "should be some of"), (dict(channels=("DNA", "DNA")), "each once"), (dict(channels=()), "each once"),
    (dict(n_weeks=5), "4 plates cannot stand in 5 weeks"), (dict(n_untreated=13), "do not fit a plate"), (dict(n_untreated=0), "do not fit a plate"),
    (dict(n_wells=0), "do not fit a plate"), (dict(n_wells=7), "do not fit a plate"),
    (dict(n_sites=0), "a site or more"), (dict(size=4), "8 pixels or more"),
])
def test_what_cannot_be_simulated_is_refused_by_name(change, says):
    with pytest.raises(InputError, match=says): simulate_cells(**{**SMALL, **change})

# layouts

@pytest.mark.parametrize("n_untreated, n_wells, n_treatments", [*product((1, 4, 8, 12), (1, 2, 3, 6), (0, 1, 4, 8)), (8, 1, 48), (2, 3, 16)])
def test_a_plate_map_holds_every_well_once(n_untreated, n_wells, n_treatments):
    plan = plate_map([f"t{i}" for i in range(n_treatments)], n_untreated, n_wells)
    assert not plan.duplicated(["row", "column"]).any()
    assert plan.row.between(2, 7).all() and plan.column.between(2, 11).all()
    counts = plan.treatment.value_counts()
    assert counts["DMSO"] == n_untreated and (counts.drop("DMSO") == n_wells).all() and len(counts) == n_treatments + 1
    untreated = plan.treatment == "DMSO"
    assert plan.column[untreated].isin((2, 11)).all() and plan.column[~untreated].between(3, 10).all()

def test_a_fixed_layout_is_the_same_on_all_plates_and_a_randomised_one_is_not(study):
    fixed = simulated_fixed().images
    assert (fixed.groupby("well").treatment.nunique() == 1).all() and set(fixed.column[fixed.untreated]) == {2, 11}
    assert study.truth["positions"] == "randomised" and study.images.groupby("well").treatment.nunique().min() > 1
    assert set(fixed.plate + fixed.well) == set(study.images.plate + study.images.well), "the same wells are used"

def test_randomised_positions_are_uniform():
    plan = plate_map(["a", "b"], 4, 2)
    at = np.zeros(len(plan))
    for seed in range(100):
        wells = lay_out(np.random.default_rng(seed), 6, 2, plan, "randomised")
        at += (wells.treatment == "a").to_numpy().reshape(6, -1).sum(0)
    assert stats.chisquare(at).pvalue > 0.001

# what is drawn

def test_spots_lie_where_they_should_with_as_much_light_at_any_size():
    for size in (32, 64, 128):
        made = spots(np.array([[30.0, 90.0]]), np.array([[11.0, 5.0]]), np.array([[2.0, 9.0]]), 2.0, size)[0]
        row, column = np.unravel_index(made.argmax(), made.shape)
        assert abs((column + 0.5)*FIELD/size - 30) < FIELD/size and abs((row + 0.5)*FIELD/size - 11) < FIELD/size
        assert made.sum()*(FIELD/size)**2 == pytest.approx(2*2*np.pi*2.0**2, rel=0.02)

def test_nuclei_lie_in_bodies_and_have_the_area_of_their_radius():
    cells = draw_cells(np.random.default_rng(1), np.zeros(40), np.zeros(40))
    alone = cells._replace(shown=(np.arange(SLOTS) == 0)*np.ones((40, 1)))
    ground = draw_ground(alone, 128)
    px = (FIELD/128)**2
    h = alone.lobes[:, 0]
    area = np.pi*alone.nucleus[:, 0]**2*(1 + (h**2).sum(1)/2) + np.pi**3/3*0.45**2  # two harmonics, a logistic edge of 0.45 µm
    assert np.allclose(ground.nucleus.sum((1, 2))*px, area, rtol=0.02)
    assert (ground.nucleus <= ground.body + 0.02).all()

def test_a_treatment_changes_its_own_stain_alone():
    for organelle in CHANNELS[1:]:
        usual, changed = organelles(30, 32)[1], organelles(30, 32, organelle)[1]
        assert [c for k, c in enumerate(CHANNELS) if not np.allclose(usual[:, k], changed[:, k])] == [organelle]
    assert not np.allclose(organelles(30, 32)[1][:, 0], organelles(30, 32, "DNA")[1][:, 0])

def test_a_treatment_of_size_0_changes_nothing():
    for organelle in CHANNELS: assert np.array_equal(organelles(5, 32)[1], organelles(5, 32, organelle, 0.0)[1])

def test_effects_are_of_shape_and_make_no_more_of_an_organelle():
    rng, zero, one = np.random.default_rng, np.zeros(300), np.ones(300)
    cells = draw_cells(rng(0), zero, zero)
    for draw in (draw_golgi, draw_mitochondria):
        a, b = draw(rng(1), cells, 64, zero), draw(rng(1), cells, 64, one)
        assert b.sum()/a.sum() == pytest.approx(1, abs=0.08)

def extent(light):
    "Root mean square distance of a stain's light from its centre, µm, of each image."
    at = (np.arange(light.shape[-1]) + 0.5)*FIELD/light.shape[-1]
    total = light.sum((1, 2))
    x, y = (light*at).sum((1, 2))/total, (light*at[:, None]).sum((1, 2))/total
    return np.sqrt((light*(at**2 + at[:, None]**2)).sum((1, 2))/total - x**2 - y**2)

def test_effects_go_where_they_should_and_grow_with_their_size():
    rng, zero = np.random.default_rng, np.zeros(200)
    nuclei = [np.median(draw_cells(rng(0), zero, zero + s).nucleus) for s in (0, 0.5, 1)]
    assert nuclei[0] < nuclei[1] < nuclei[2]
    cells = draw_cells(rng(0), zero, zero)
    alone = cells._replace(shown=(np.arange(SLOTS) == 0)*np.ones((200, 1)))
    golgi, mitochondria = ([extent(draw(rng(1), alone, 64, zero + s)).mean() for s in (0, 0.5, 1)] for draw in (draw_golgi, draw_mitochondria))
    assert golgi[0] < golgi[1] < golgi[2] and mitochondria[0] > mitochondria[1] > mitochondria[2]
    light = {o: organelles(200, 64, o)[1] for o in ("", "ER", "actin", "RNA")}
    assert extent(light["ER"][:, 1]).mean() < extent(light[""][:, 1]).mean()
    assert light["actin"][:, 2].std((1, 2)).mean() < light[""][:, 2].std((1, 2)).mean(), "fibres are lost"

# truth

def test_masks_are_where_the_stain_is_brightest(study):
    masks = study.truth["masks"]
    assert masks.dtype == bool and masks.shape == study.pixels.shape and masks.any((2, 3)).all()
    inside, outside = ((study.pixels*m).sum((2, 3))/m.sum((2, 3)) for m in (masks, ~masks))
    assert (inside > outside).mean() > 0.99
    share = masks.mean((0, 2, 3))
    assert (share < 0.6).all() and share[0] < 0.15, "an organelle is a part of the picture"

def test_a_mask_is_the_light_above_a_quarter_of_its_maximum():
    light = np.zeros((1, 2, 64, 64))
    light[0, 0, 20:40, 20:40], light[0, 0, 50:60, 50:60], light[0, 1, 5:15, 5:15] = 1, 0.1, 7
    masks = lit(light)[0]
    assert masks[0, 25:35, 25:35].all() and not masks[0, 50:60, 50:60].any() and masks[1, 7:13, 7:13].all() and not masks[1, 30:].any()

def test_truth_names_the_stain_of_each_treatment(study, small):
    assert study.truth["changed"] == {t: o for t, (o, _) in TREATMENTS.items()}
    assert set(small.truth["changed"]) == set(small.images.treatment[~small.images.untreated])
    nothing = simulate_cells(**{**SMALL, "treatments": {"x": ("DNA", 0.0)}})
    assert nothing.truth["changed"] == {"x": ""}, "a size of 0 changes nothing"

# light and plates

def test_the_camera_counts_photons():
    n = 40_000
    for level in (100.0, 1600.0):
        flat = expose(np.random.default_rng(0), np.zeros((1, 1, 200, 200), np.float32), np.zeros((1, 1)), np.full((1, 1), level))
        assert flat.mean() == pytest.approx(level, abs=5*np.sqrt(level/4 + 9)/np.sqrt(n))
        assert flat.var() == pytest.approx(level/4 + 9 + 1/12, rel=0.05)

def test_the_light_falls_off_towards_the_corners():
    bright = expose(np.random.default_rng(0), np.ones((50, 1, 32, 32), np.float32), np.zeros((50, 1)), np.full((50, 1), 20.0)).mean((0, 1))
    assert bright[:3, :3].mean() < 0.9*bright[14:18, 14:18].mean()

def test_the_position_field_tells_left_from_right_and_edge_from_middle():
    at = position_field([3, 3, 3, 4], [2, 11, 6, 7])
    assert at[0, 0] == -at[1, 0] == -1 and at[0, 2] == at[1, 2] > at[3, 2]

def test_weeks_and_plates_differ_more_than_wells_do(study):
    log = np.log(study.pixels.mean((2, 3)) - 100)
    table = pd.DataFrame(log[study.images.untreated], study.images.index[study.images.untreated])
    im = study.images[study.images.untreated]
    of_wells = table.groupby([im.plate, im.well]).mean()
    between = of_wells.groupby("plate").mean().var().mean()
    within = (of_wells - of_wells.groupby("plate").transform("mean")).var().mean()
    assert between > within

# profiles

def test_profiles_and_their_table_have_one_index_and_no_site():
    profiles, images = simulate_profiles(n_plates=4, n_wells=2, n_features=7, n_treatments=5, n_untreated=6)
    assert profiles.index.equals(images.index) and profiles.shape == (4*16, 7) and list(images.columns) == IMAGE_COLUMNS
    assert (images.site == "").all() and images.untreated.sum() == 24 and images.mechanism.eq("").all()
    assert np.isfinite(profiles.to_numpy()).all()

def test_randomised_treatments_without_effect_are_exchangeable_with_untreated_wells():
    "Share of treatments whose mean lies further from the plate's than 95% of permutations within plates would."
    rng, p = np.random.default_rng(0), []
    for seed in range(25):
        profiles, images = simulate_profiles(seed=seed, n_plates=4, n_features=10, n_treatments=3)
        values = (profiles - profiles.groupby(images.plate).transform("mean")).to_numpy()
        plates, label = images.plate.to_numpy(), images.treatment.to_numpy()
        def far(label, values=values): return ((values[label == "t01"].mean(0))**2).sum()
        drawn = [far(np.concatenate([rng.permutation(label[plates == p]) for p in pd.unique(plates)])) for _ in range(39)]
        p.append((1 + np.sum(np.array(drawn) >= far(label)))/40)
    assert stats.kstest(p, "uniform").pvalue > 0.01

def test_a_fixed_layout_makes_position_look_like_an_effect():
    def spread(layout):
        profiles, images = simulate_profiles(layout=layout, n_plates=8)
        centred = profiles - profiles.groupby(images.plate).transform("mean")
        return (centred[~images.untreated].groupby(images.treatment).mean()**2).mean().mean()
    assert spread("fixed") > 2*spread("randomised")

def test_effects_of_profiles_grow_with_their_size():
    sizes = []
    for effect in (0.0, 0.5, 1.0):
        profiles, images = simulate_profiles(effect=effect)
        centred = profiles - profiles.groupby(images.plate).transform("mean")
        sizes.append((centred.groupby(images.treatment).mean()**2).mean().mean())
    assert sizes == sorted(sizes) and sizes[2] > 2*sizes[0]

def test_a_table_of_wells_has_a_row_a_well():
    wells = lay_out(np.random.default_rng(0), 2, 1, plate_map(["a"], 2, 1), "fixed")
    assert image_table(wells, 0, {}).index.tolist() == [f"{p} {w}" for p in ("p01", "p02") for w in ("C02", "C11", "C03")]
    assert image_table(wells, 2, {}).site.tolist() == ["s1", "s2"]*6

def test_the_figure_frames_what_is_changed(small):
    import matplotlib.pyplot as plt
    fig = figure_stains(small)
    framed = [ax for ax in fig.axes if ax.spines["left"].get_visible()]
    assert len(fig.axes) == 5*6 and len(framed) == 3 and "3 of 4" in fig.get_suptitle()
    plt.close(fig)
