"""Which cells are looked at, on which scale, and who is near whom: known from simulated cells and points drawn by hand."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors

from drugnb.core.artefacts import RunFolder, provenance, save_frame
from drugnb.core.settings import InputError
from drugnb.morphology import gallery as module
from drugnb.morphology.data import Study
from drugnb.morphology.gallery import (
    WHY,
    bar_length,
    blended,
    chosen_stains,
    comparable_features,
    display_scale,
    figure_gallery,
    figure_map,
    figure_stains,
    gallery,
    layout_warning,
    map_features,
    nearest,
    neighbour_table,
    run_predictions,
    shared_label,
    treatment_table,
)
from drugnb.morphology.simulate import simulate_cells, simulate_profiles, simulated_small


@pytest.fixture(scope="module")
def study(): return simulated_small()

@pytest.fixture(scope="module")
def z(study): return comparable_features(study)

@pytest.fixture(scope="module")
def treatments(study, z): return treatment_table(z, study.images)

@pytest.fixture(scope="module")
def said(study):
    "Predictions that are right but for two images of one treatment, one surely and one barely wrong, and an untreated one."
    truth = np.where(study.images.untreated, "untreated", "treated")
    table = pd.DataFrame({"image": study.images.index, "question": "q", "truth": truth, "predicted": truth, "probability": 0.9})
    golgi = np.flatnonzero(study.images.treatment == "Golgi A")
    for row, p in ((golgi[3], 0.4), (golgi[10], 0.1), (np.flatnonzero(study.images.untreated)[0], 0.2)):
        table.loc[row, ["predicted", "probability"]] = ["treated" if truth[row] == "untreated" else "untreated", p]
    return table

@pytest.fixture(scope="module")
def table(study, z, said): return gallery(study, z, said)

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")

def part(table, treatment, why): return table[(table.treatment == treatment) & (table.why == why)]

# which cells

def test_typical_cells_are_nearest_to_the_median_of_their_treatment(study, z, table):
    rows = z[(study.images.treatment == "nuclear A").to_numpy()].astype(float)
    far = np.sqrt(np.square(rows - rows.median()).sum(axis=1)).sort_values()
    found = part(table, "nuclear A", "typical")
    assert found.image.iloc[0] == far.index[0] and np.isclose(found.value.iloc[0], far.iloc[0])

def test_untreated_cells_stand_on_the_plates_of_the_typical_ones(study, table):
    plates = table.set_index(["treatment", "why", "rank"]).plate.unstack("why")
    assert (plates.untreated == plates.typical).all()
    assert study.images.untreated[table.image[table.why == "untreated"]].all()
    assert not study.images.untreated[table.image[table.why != "untreated"]].any()
    shown = table[table.why == "untreated"]
    assert not shown.duplicated(["treatment", "image"]).any()

def test_each_well_is_shown_once_while_there_are_others(study, z):
    wide = gallery(study, z, n=8)
    of = wide[wide.why.isin(["typical", "most changed"])]
    assert not of.duplicated(["treatment", "why", "plate", "well"]).any()
    more = gallery(study, z, n=20)
    assert (more[more.why == "typical"].groupby("treatment").size() == 16).all()  # all there are

def test_changed_cells_lie_beyond_the_typical_ones(z, table):
    for name in table.treatment.unique():
        way = z.loc[part(table, name, "most changed").image].to_numpy() @ z.loc[part(table, name, "typical").image].mean().to_numpy()
        assert (way > 0).all() and part(table, name, "most changed").value.is_monotonic_decreasing

def test_misjudged_cells_are_those_told_wrong_the_surest_first(study, table):
    golgi = study.images.index[study.images.treatment == "Golgi A"]
    found = table[table.why == "misjudged"]
    assert found.image.tolist() == [golgi[10], golgi[3]] and found.value.tolist() == [0.1, 0.4]
    assert found.treatment.unique().tolist() == ["Golgi A"]

def test_without_predictions_nothing_is_called_misjudged(study, z):
    assert set(gallery(study, z).why) == set(WHY[:3])

def test_rows_are_found_by_name_not_by_position(study, z, said, table):
    order = np.random.default_rng(0).permutation(len(z))
    pd.testing.assert_frame_equal(gallery(study, z, said.iloc[::-1]), table)
    other = gallery(study, z.iloc[order], said)
    picked = ["treatment", "why", "image"]
    assert set(other[picked].itertuples(index=False, name=None)) == set(table[picked].itertuples(index=False, name=None))

def test_a_study_without_treated_images_has_no_gallery(study, z):
    own = study.images.untreated.to_numpy(bool)
    with pytest.raises(InputError, match="no treated image"): gallery(study, z[own])

# features

def test_untreated_cells_are_no_nearer_to_each_other_than_inert_ones(study, z):
    length = np.linalg.norm(z, axis=1)
    inert = (study.images.treatment == "inert").to_numpy()
    ratio = np.median(length[study.images.untreated])/np.median(length[inert])
    assert 0.85 < ratio < 1.15

def test_plates_without_untreated_cells_are_left_out_and_named(study):
    images, notes = study.images.copy(), []
    images.loc[images.plate == "p03", "untreated"] = False
    part = Study("mine", images, study.channels, study.pixels)
    kept = comparable_features(part, note=notes.append)
    assert len(kept) == 72 and "24 images of 1 plates" in notes[0] and "p03" in notes[0]
    none = Study("mine", images.assign(untreated=False), study.channels, study.pixels)
    with pytest.raises(InputError, match="No plate of mine"): comparable_features(none)

def test_published_features_are_used_where_there_are_no_pixels():
    values, images = simulate_profiles(4, 3, 20, effect=3.0)
    shuffled = Study("profiles", images, features=values.sample(frac=1, random_state=0))
    z = comparable_features(shuffled)
    assert z.index.equals(images.index) and list(z) == list(values)
    assert (treatment_table(z, images).low > treatment_table(z, images).chance).all()

# neighbours

def test_neighbours_agree_with_scikit_learn_and_are_of_other_wells(study, z):
    near = nearest(z, study.images, 3)
    well = (study.images.plate + study.images.well).to_numpy()
    order = NearestNeighbors(n_neighbors=96, algorithm="brute").fit(z).kneighbors(z, return_distance=False)
    for row, found in zip(near.rows, near.neighbours, strict=True):
        expected = [i for i in order[row] if well[i] != well[row]][:3]
        assert set(found) == set(expected)

def test_shares_and_chance_by_hand():
    images = pd.DataFrame({"plate": "p", "well": ["a", "a", "b", "c", "d"], "treatment": ["x", "x", "x", "y", "y"]},
                          index=list("vwxyz"))
    features = pd.DataFrame({"f": [0.0, 0.1, 0.2, 5.0, 5.1]}, images.index)
    row = shared_label(nearest(features, images, 1), images.treatment)
    assert row["share"] == 1 and np.isclose(row["chance"], (1/3 + 1/3 + 2/4 + 1/4 + 1/4)/5) and row["n"] == 5
    one = shared_label(nearest(features, images, 1, asked=(images.treatment == "y").to_numpy()), images.treatment)
    assert one["share"] == 1 and np.isclose(one["chance"], 1/4) and one["n"] == 2

def test_random_features_find_nobody():
    _, images = simulate_profiles(4, 3, 5, seed=1)
    noise = pd.DataFrame(np.random.default_rng(0).normal(size=(len(images), 5)), images.index)
    table = neighbour_table(noise, images)
    assert (table.low < table.chance).all() and (table.chance < table.high).all()
    each = treatment_table(noise, images)
    assert np.abs(each.share - each.chance).mean() < 0.1

def test_plates_are_seen_where_they_are_not_removed():
    values, images = simulate_profiles(4, 3, 20)
    z = comparable_features(Study("s", images, features=values))
    assert neighbour_table(values, images).low["plate"] > neighbour_table(z, images).high["plate"]

def test_an_inert_treatment_is_at_chance_beside_untreated_cells(treatments):
    assert treatments.index[0] == "Golgi A" and treatments.low["Golgi A"] > treatments.chance["Golgi A"] + 0.3
    assert treatments.low["inert"] < treatments.chance["inert"] < treatments.high["inert"]

def test_many_images_are_drawn_from(study, z, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKED", 20)
    assert len(nearest(z, study.images).rows) == 20
    assert neighbour_table(z, study.images).n.eq(20).all()

def test_too_few_wells_are_refused(study, z):
    own = (study.images.plate + study.images.well == "p01C03").to_numpy()
    with pytest.raises(InputError, match="too few for 5 neighbours"): nearest(z[own], study.images)

# pictures

def test_black_and_full_are_quantiles_of_untreated_pixels_alone(study):
    rows, pixels = study.images.untreated.to_numpy(bool), study.pixels.copy()
    low, high = display_scale(study)
    assert np.allclose(high, [np.quantile(pixels[rows, c], 0.998) for c in range(6)])
    pixels[~rows] *= 9
    assert np.array_equal(display_scale(Study("s", study.images, study.channels, pixels)).high, high)

def test_one_scale_means_that_a_brighter_cell_is_brighter(study):
    scale = display_scale(study)
    dim, bright = (blended(study.pixels[:1]*g, scale, [0, 1, 2]).mean() for g in (1, 1.5))
    assert bright > dim and blended(study.pixels, scale, [0]).shape == (96, 32, 32, 3)

def test_blend_of_one_stain_has_its_colour():
    pixels = np.ones((1, 2, 4, 4))
    scale = module.Scale(np.zeros(2), np.ones(2))
    assert np.allclose(blended(pixels, scale, [1])[0, 0, 0], module.BLEND["magenta"])
    assert np.allclose(blended(pixels*0 - 5, scale, [0, 1]), 0)

def test_stains_are_chosen_by_name():
    assert chosen_stains(("a", "b", "c", "d"), "d, a") == [3, 0] and chosen_stains(("a", "b")) == [0, 1]
    for names in ("x", "a,b,c,d"):
        with pytest.raises(InputError, match="Up to three stains"): chosen_stains(("a", "b", "c", "d"), names)

@pytest.mark.parametrize("width, pixel, px, text", [(64, 0.65, 10/0.65, "10 µm"), (68, np.nan, 20, "20 px (size of a pixel unknown)"),
                                                    (1080, 0.5, 400, "200 µm"), (20, 0.01, 100, "1 µm")])
def test_scale_bars_have_round_lengths(width, pixel, px, text):
    assert bar_length(width, pixel) == (pytest.approx(px), text)

def test_the_gallery_shows_every_cell_of_its_table_and_says_what_was_counted(study, table, treatments):
    fig = figure_gallery(study, table, treatments, [0, 5, 4], "a warning")
    axes = np.array(fig.axes).reshape(4, 8)
    assert [a.get_ylabel() for a in axes[:, 0]] == list(treatments.index)
    shown = sum(bool((a.get_images()[0].get_array() < 1).any()) for a in fig.axes)
    assert shown == len(table)
    best, last = treatments.index[[0, -1]]
    title = fig.get_suptitle().replace("\n", " ")
    for name in (best, last):
        assert f"{name} {treatments.share[name]:.0%} (" in title and f"chance {treatments.chance[name]:.0%})" in title
    assert "10 µm" in fig.get_supxlabel() and "a warning" in fig.get_supxlabel()
    first = part(table, best, "untreated").image.iloc[0]
    picture = blended(study.pixels[[study.images.index.get_loc(first)]], display_scale(study), [0, 5, 4])[0]
    assert np.allclose(axes[0, 0].get_images()[0].get_array(), picture)

def test_each_stain_is_shown_on_its_own_scale(study, table, treatments):
    fig = figure_stains(study, table, treatments)
    axes, scale = np.array(fig.axes).reshape(4, 12), display_scale(study)
    typical = study.images.index.get_loc(part(table, treatments.index[1], "typical").image.iloc[0])
    expected = np.clip((study.pixels[typical, 3] - scale.low[3])/(scale.high[3] - scale.low[3]), 0, 1)
    assert np.allclose(axes[1, 7].get_images()[0].get_array(), expected, atol=1e-6)
    assert {i.get_clim() for a in fig.axes for i in a.get_images()} == {(0, 1)}

def test_few_treatments_are_shown_of_many(study, table, treatments, monkeypatch):
    monkeypatch.setattr(module, "MOST_SHOWN", 2)
    fig = figure_stains(study, table, treatments)
    assert "2 of 4 treatments" in fig.get_suptitle()

# map

def test_a_map_is_the_same_for_the_same_seed_and_pca_where_images_are_few(z):
    few = map_features(z[:40])
    assert few.index.equals(z.index[:40]) and np.allclose(few.corr().iloc[0, 1], 0, atol=1e-5)
    assert np.array_equal(map_features(z, 1), map_features(z, 1)) and len(map_features(z[:1])) == 1

def test_many_images_are_mapped_in_part(z, monkeypatch):
    monkeypatch.setattr(module, "MOST_MAPPED", 30)
    points = map_features(z)
    assert len(points) == 30 and points.index.isin(z.index).all()

def test_the_map_says_how_many_neighbours_share_treatment_plate_and_week(study, z):
    shares = neighbour_table(z, study.images)
    fig = figure_map(map_features(z[:40]), study.images, shares, "a warning")
    titles = [a.get_title(loc="left") for a in fig.axes]
    assert len(titles) == 3 and f"same plate: {shares.share['plate']:.0%}" in titles[1] and f"{shares.chance['batch']:.0%}" in titles[2]
    assert fig.get_supxlabel() == "a warning"
    with pytest.raises(InputError, match="there is no map"): figure_map(map_features(z[:40]), study.images, shares[:0])

def test_a_fixed_layout_is_warned_of_and_a_randomised_one_is_not(study):
    fixed = simulate_cells(3, 1, 4, 1, 1, 16, {"nuclear A": ("DNA", 1.0)}, positions="fixed")
    assert "cannot be told apart" in layout_warning(fixed.images) and layout_warning(study.images) == ""
    assert layout_warning(study.images[study.images.untreated]) == ""

# the run's predictions

def test_the_hardest_split_and_the_best_features_of_a_run_are_used(tmp_path, said):
    wrong = said.assign(predicted="treated")
    tables = [said.assign(split="random", features="texture"), wrong.assign(split="plate", features="intensity"),
              said.assign(split="plate", features="texture"), said.assign(split="plate", features="texture", truth="mech", predicted="x")]
    store = RunFolder(tmp_path)
    assert run_predictions(store) is None and run_predictions(RunFolder("")) is None
    save_frame(pd.concat(tables, ignore_index=True), tmp_path/"predictions.parquet", provenance("predictions", [], {}))
    found = run_predictions(store)
    by_features = pd.concat(tables, ignore_index=True).set_index("features")
    save_frame(by_features, tmp_path/"predictions.parquet", provenance("predictions", [], {}))
    pd.testing.assert_frame_equal(run_predictions(store)[found.columns], found)
    assert len(found) == 96 and found.split.eq("plate").all() and found.features.eq("texture").all()
