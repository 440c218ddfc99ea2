"""Explanations: the right stain is named, controls are not, plates stay apart, and Grad-CAM is what its paper says."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.morphology.data import IMAGE_COLUMNS, Study
from drugnb.morphology.explain import (
    DONORS,
    MODELS,
    Asked,
    CamScores,
    ClassifierRecipe,
    Explained,
    accuracy_table,
    asked_images,
    chosen_treatments,
    draw_donors,
    explain_model,
    explain_study,
    explanation_text,
    figure_cam,
    figure_swap,
    naming,
    network_input,
    organelle_masks,
    out_of_fold,
    score_cams,
    shrunk,
    shuffled_labels,
    swap_draws,
)
from drugnb.morphology.simulate import simulate_cells

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'drugnb[deep]'")
pytest.importorskip("monai", reason="MONAI is not installed: pip install 'drugnb[deep]'")

from drugnb.morphology.explain import (  # noqa: E402
    classifier_network,
    grad_cam,
    log_odds,
    swap_drops,
    train_classifier,
)

RECIPE = ClassifierRecipe(folds=2, epochs=12)

def simulated(seed=1, **change):
    settings = dict(n_plates=4, n_weeks=2, n_untreated=4, n_wells=3, n_sites=2, size=32, seed=seed,
                    treatments={"disperser": ("Golgi", 2.0), "inert": ("", 0.0)})
    return simulate_cells(**{**settings, **change})

@pytest.fixture(scope="module")
def study(): return simulated()

@pytest.fixture(scope="module")
def explained(study): return explain_study(study, ["disperser"], RECIPE)

def asked_of(plate, well, treated):
    plate, well = np.array(plate, object), np.array([f"{p} {w}" for p, w in zip(plate, well, strict=True)], object)
    return Asked("x", np.arange(len(plate)), np.array(treated, bool), plate, well, "")

def table(plates, wells, treatments):
    images = pd.DataFrame({"plate": plates, "well": wells, "treatment": treatments, "row": 2, "column": range(2, 2 + len(wells))})
    return images.assign(untreated=images.treatment == "DMSO").set_axis([f"i{k}" for k in range(len(wells))])

# the claim

def test_the_changed_stain_is_named_and_no_control_explains(study, explained):
    named = naming(explained.scores, explained.accuracies, study.truth["changed"]).set_index("model")
    assert named.channel.to_dict() == {"trained": "Golgi", "random weights": "", "shuffled labels": ""}
    assert named["drop"]["trained"] > 10*abs(named["drop"]["random weights"]) and named["first"]["trained"] > 0.95
    assert "looks at Golgi, which it changes: Golgi" in explanation_text(named.reset_index(), explained.scores)

@pytest.mark.slow
def test_each_organelle_is_named_on_plates_that_were_not_seen():
    for organelle in ("DNA", "Golgi", "mitochondria", "actin"):
        made = simulated(n_plates=6, n_sites=4, size=48, n_wells=4, treatments={"x": (organelle, 1.5)})
        explained = explain_study(made, ["x"], ClassifierRecipe())
        assert naming(explained.scores, explained.accuracies).channel[0] == organelle

@pytest.mark.slow
def test_a_treatment_without_effect_is_hardly_ever_explained():
    found = [explain_study(simulated(seed), ["inert"], replace(RECIPE, epochs=6)).accuracies.explains.any() for seed in range(8)]
    assert sum(found) <= 1

def test_a_treatment_without_effect_leaves_nothing_to_explain(study):
    asked = asked_images(study.images, "inert", RECIPE)
    x = network_input(study.pixels, asked, RECIPE)
    said = {m: explain_model(x, asked, RECIPE, m) for m in MODELS}
    assert not accuracy_table(asked, said).explains.any()

def test_a_study_without_pixels_says_so(study):
    with pytest.raises(InputError, match="has no pixels"): explain_study(replace(study, pixels=None), ["disperser"], RECIPE)

# held out

def test_a_plate_is_judged_by_a_network_that_has_not_seen_it(study, explained):
    said = explained.predictions
    assert (said.groupby("plate").fold.nunique() == 1).all() and said.fold.nunique() == 2
    assert set(said.index) == set(study.images.index[study.images.treatment.isin(["DMSO", "disperser"])]) and said.index.is_unique
    assert np.allclose(said.probability, 1/(1 + np.exp(-said.log_odds)))
    assert (said.treated == (study.images.treatment[said.index] == "disperser")).all()

def test_what_a_held_out_plate_shows_does_not_change_its_network(study):
    "Another plate's pixels in the same fold, and the labels of the asked fold, leave a prediction as it is."
    asked = asked_images(study.images, "disperser", RECIPE)
    x = network_input(study.pixels, asked, RECIPE)
    first = explain_model(x, asked, RECIPE, "trained")
    test = first.fold == 0
    other = asked._replace(treated=np.where(test, ~asked.treated, asked.treated))
    again = explain_model(x, other, RECIPE, "trained")
    assert np.array_equal(first.log_odds[test], again.log_odds[test]) and not np.array_equal(first.log_odds[~test], again.log_odds[~test])

def test_the_same_seed_says_the_same_and_torch_is_left_as_it_was(study):
    state = torch.get_rng_state()
    a, b = (out_of_fold(study.pixels, study.images, "disperser", RECIPE) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)
    assert torch.equal(state, torch.get_rng_state())
    other = out_of_fold(study.pixels, study.images, "disperser", replace(RECIPE, seed=1))
    assert not np.array_equal(a.log_odds, other.log_odds)

def test_answers_belong_to_ids_not_positions(study):
    order = np.random.default_rng(0).permutation(len(study.images))
    a = asked_images(study.images, "disperser", RECIPE)
    b = asked_images(study.images.iloc[order], "disperser", RECIPE)
    assert set(study.images.index[a.rows]) == set(study.images.index[order][b.rows])
    of_a, of_b = pd.Series(a.treated, study.images.index[a.rows]), pd.Series(b.treated, study.images.index[order][b.rows])
    assert of_a.sort_index().equals(of_b.sort_index())
    assert (study.images.treatment.iloc[a.rows] == "disperser").to_numpy().tolist() == a.treated.tolist()

# what is asked

def test_only_plates_with_both_classes_are_asked_about():
    images = table(["p1", "p1", "p2", "p2", "p3", "p4"], ["B02", "B03", "B02", "B03", "B02", "B02"], ["DMSO", "a", "DMSO", "a", "DMSO", "a"])
    assert asked_images(images, "a", RECIPE).rows.tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"share 1 plate\(s\)"): asked_images(images.iloc[[0, 1, 4, 5]], "a", RECIPE)
    with pytest.raises(InputError, match="no treated images of 'DMSO'"): asked_images(images, "DMSO", RECIPE)

def test_too_many_images_are_thinned_evenly_over_wells():
    wells = ["B02"]*50 + ["B03"]*2 + ["B04"]*50
    images = pd.concat([table([p]*102, wells, ["a"]*102) for p in ("p1", "p2")] + [table(["p1", "p2"], ["C02"]*2, ["DMSO"]*2)])
    images.index = [f"i{k}" for k in range(len(images))]
    asked = asked_images(images, "a", replace(RECIPE, most=40))
    counts = pd.Series(asked.well[asked.treated]).value_counts()
    assert counts.sum() == 40 and counts["p1 B03"] == counts["p2 B03"] == 2 and counts.drop(["p1 B03", "p2 B03"]).tolist() == [9]*4

def test_a_fixed_layout_is_warned_about():
    fixed = simulated(positions="fixed")
    assert "cannot be told apart" in asked_images(fixed.images, "disperser", RECIPE).warning
    assert asked_images(simulated().images, "disperser", RECIPE).warning == ""

def test_treatments_of_different_mechanisms_come_first():
    images = table(["p"]*7, range(7), ["DMSO", "a", "a", "b", "b", "c", "d"]).assign(mechanism=["", "m", "m", "m", "m", "n", ""])
    assert chosen_treatments(images) == ["a", "c", "b"] and chosen_treatments(images, "d, a") == ["d", "a"]
    with pytest.raises(InputError, match="no treatment 'e'"): chosen_treatments(images, "e")

@pytest.mark.parametrize("change, says", [
    (dict(intensity="half"), "'removed' or 'kept'"), (dict(epochs=0), "epochs should be 1"), (dict(width=6), "multiple of 4")])
def test_a_recipe_that_cannot_be_is_refused(change, says):
    with pytest.raises(InputError, match=says): ClassifierRecipe(**change)

# input

def test_images_are_averaged_down_by_whole_pixels():
    x = np.random.default_rng(0).random((2, 3, 10, 13)).astype(np.float32)
    made = shrunk(x, 5)
    assert made.shape == (2, 3, 3, 4) and np.allclose(made[1, 2, 1, 3], x[1, 2, 3:6, 9:12].mean())
    assert np.array_equal(shrunk(x, 13), x)

def test_brightness_is_removed_or_put_on_the_plates_scale(study):
    asked = asked_images(study.images, "disperser", RECIPE)
    brighter = study.pixels*np.random.default_rng(0).uniform(0.5, 2, (len(study.pixels), 6, 1, 1)).astype(np.float32)
    a, b = (network_input(p, asked, RECIPE) for p in (study.pixels, brighter))
    assert np.allclose(a, b, atol=1e-3)
    kept = network_input(study.pixels, asked, replace(RECIPE, intensity="kept"))
    for plate in set(asked.plate):
        on = kept[asked.plate == plate]
        assert np.allclose(on.mean((0, 2, 3)), 0, atol=1e-3) and np.allclose(on.std((0, 2, 3)), 1, atol=1e-3)
    assert not np.allclose(kept.mean((2, 3)), 0, atol=0.05), "images keep their own brightness"

def test_a_flat_stain_is_no_number_nowhere(study):
    asked, pixels = asked_images(study.images, "disperser", RECIPE), study.pixels.copy()
    pixels[:, 2] = 7
    for intensity in ("removed", "kept"): assert not network_input(pixels, asked, replace(RECIPE, intensity=intensity))[:, 2].any()

def test_a_pixel_that_is_no_number_is_named(study):
    asked, pixels = asked_images(study.images, "disperser", RECIPE), study.pixels.copy()
    pixels[asked.rows[5], 0, 3, 3] = np.nan
    with pytest.raises(InputError, match=f"Image {asked.rows[5]} "): network_input(pixels, asked, RECIPE)

# networks

@pytest.mark.parametrize("size", [16, 32, 64, 96])
def test_maps_are_fine_enough_to_point_at_something(size):
    network = classifier_network(3, size, RECIPE, 0)
    assert network[:3](torch.zeros(1, 3, size, size)).shape[-1] >= min(16, size//2)
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 1)

def test_training_learns_a_bright_square_and_explanations_find_it():
    "Truth by hand: treated images have a square in stain 1; Grad-CAM and the swap must find it."
    rng = np.random.default_rng(0)
    treated, x = np.arange(60) % 2 == 0, rng.normal(0, 1, (60, 3, 32, 32)).astype(np.float32)
    masks = np.zeros((60, 3, 32, 32), bool)
    for i in np.flatnonzero(treated):
        r, c = rng.integers(2, 22, 2)
        x[i, 1, r:r + 8, c:c + 8] += 3
        masks[i, 1, r:r + 8, c:c + 8] = True
    asked = asked_of(np.repeat(["p1", "p2", "p3", "p4"], 15), np.arange(60), treated)
    said = explain_model(x, asked, replace(RECIPE, epochs=40), "trained", masks)
    assert np.mean((said.log_odds > 0) == treated) > 0.9
    assert np.nanmean(said.scores.hit[treated, 1]) > 0.9 and np.nanmean(said.scores.share[treated, 1]) > 2*np.nanmean(said.scores.chance[treated, 1])
    drop = swap_draws(asked, said)[0]
    assert drop.argmax() == 1 and drop[1] > 5*max(abs(drop[0]), abs(drop[2]))

def test_training_ends_where_it_comes_to_no_number():
    x = np.full((8, 1, 16, 16), 1e30, np.float32)*np.arange(1, 9, dtype=np.float32)[:, None, None, None]
    network = classifier_network(1, 16, RECIPE, 0)
    with torch.no_grad(): network.head.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="no number"): train_classifier(network, x, np.arange(8) % 2 == 0, RECIPE, 0)

def test_grad_cam_is_gradient_weighted_and_leaves_the_network_alone():
    network, x = classifier_network(2, 32, RECIPE, 3), np.random.default_rng(0).normal(0, 1, (3, 2, 32, 32)).astype(np.float32)
    before = log_odds(network, x)
    cams = grad_cam(network, x)
    maps = network[:3](torch.from_numpy(x)).detach().requires_grad_()
    network[3:](maps).sum().backward()
    small = torch.relu((maps.grad.mean((2, 3), keepdim=True)*maps).sum(1, keepdim=True))
    by_hand = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear", align_corners=False)[:, 0].detach().numpy()
    assert np.allclose(cams, by_hand, atol=1e-6) and cams.min() >= 0 and cams.max() > 0
    assert np.array_equal(before, log_odds(network, x)) and not network.maps._forward_hooks and not network.maps._backward_hooks

# scores

def test_maps_are_scored_by_hand():
    cams, masks = np.zeros((3, 4, 4)), np.zeros((3, 2, 4, 4), bool)
    cams[0, 0, 0], cams[0, 3, 3], cams[1, 1, 1] = 3, 1, 2  # the third map is empty
    masks[:, 0, 0, 0], masks[:, 1, 2:, 2:] = True, True
    made = score_cams(cams, masks)
    assert made.share[0].tolist() == [0.75, 0.25] and made.hit[0].tolist() == [1, 0] and made.chance[0].tolist() == [1/16, 4/16]
    assert made.share[1].tolist() == [0, 0] and np.isnan(made.share[2]).all() and np.isnan(made.hit[2]).all()

def test_a_swap_of_a_stain_that_nothing_reads_costs_nothing():
    rng = np.random.default_rng(0)
    network, x = classifier_network(3, 32, RECIPE, 0), rng.normal(0, 1, (6, 3, 32, 32)).astype(np.float32)
    with torch.no_grad(): network.first[0].weight[:, 1] = 0
    drops = swap_drops(network, x, np.arange(3), rng.integers(3, 6, (DONORS, 3)))
    assert np.allclose(drops[:, 1], 0, atol=1e-6) and (np.abs(drops[:, [0, 2]]) > 1e-6).all()
    whole = log_odds(network, x[:1])
    changed = x[:1].copy()
    changed[0, 0] = x[4, 0]
    assert swap_drops(network, x, np.array([0]), np.array([[4]]))[0, 0] == pytest.approx(whole[0] - log_odds(network, changed)[0], abs=1e-6)

def test_donors_are_untreated_of_the_plate_and_of_another_well_where_there_is_one():
    asked = asked_of(["p"]*6 + ["q"]*3, ["a", "a", "b", "b", "c", "c", "a", "a", "b"], [0, 0, 0, 0, 1, 1, 0, 0, 1])
    donors = draw_donors(asked, np.arange(9), np.random.default_rng(0))
    assert donors.shape == (DONORS, 9) and not asked.treated[donors].any() and (asked.plate[donors] == asked.plate).all()
    assert (asked.well[donors] != asked.well)[:, [0, 1, 2, 3, 4, 5, 8]].all()
    assert (donors[:, 6] == 7).all() and (donors[:, 7] == 6).all(), "the other image of the plate's one untreated well"

def test_shuffled_labels_keep_wells_whole_and_tell_nothing():
    plate, well, treated = np.repeat(["p", "q"], 32), np.tile(np.repeat(range(8), 4), 2), np.tile(np.repeat([1, 1, 1, 1, 0, 0, 0, 0], 4), 2)
    asked = asked_of(plate, well, treated)
    for seed in range(5):
        made = shuffled_labels(asked, seed)
        assert (pd.Series(made).groupby(asked.well).nunique() == 1).all()
        for p in "pq":
            on = plate == p
            assert made[on].sum() == treated[on].sum() and made[on & (treated == 1)].mean() == made[on & (treated == 0)].mean() == 0.5
    few = asked_of(["p"]*20 + ["q"]*20, [0]*10 + [1]*10 + [0]*10 + [1]*10, np.tile(np.repeat([0, 1], 10), 2))
    made = shuffled_labels(few, 0)
    assert [made[few.treated & (few.plate == p)].sum() for p in "pq"] == [5, 5], "of two wells, images are exchanged"

def test_accuracy_is_that_of_wells_and_its_interval_covers_it():
    asked = asked_of(np.repeat(["p", "q"], 24), np.tile(np.repeat(range(12), 2), 2), np.tile(np.repeat([1]*6 + [0]*6, 2), 2))
    odds = np.where(asked.treated, 1.0, -1.0)
    odds[:4] = [-3, 1, -3, 1]  # two treated wells are wrong on average, though half of their images are right
    nothing = np.full((48, 1), np.nan)
    said = Explained(odds, np.zeros(48, int), nothing, np.zeros((48, 2, 2)), CamScores(nothing, nothing, nothing))
    made = accuracy_table(asked, dict.fromkeys(MODELS, said)).iloc[0]
    assert made.unit == "well" and made.accuracy == pytest.approx((10/12 + 1)/2) and made.accuracy_low < made.accuracy <= made.accuracy_high
    assert made.lead == 0 and not made.explains, "no lead over shuffled labels"

def test_organelles_are_bright_sides_where_nobody_knows(study):
    asked = asked_images(study.images, "disperser", RECIPE)
    x = network_input(study.pixels, asked, RECIPE)
    truth, guessed = organelle_masks(x, asked, study.truth, 96), organelle_masks(x, asked, {}, 96)
    assert np.array_equal(truth, study.truth["masks"][asked.rows]) and guessed.shape == truth.shape
    assert (guessed & truth).sum()/truth.sum() > 0.9

def test_the_table_has_a_row_a_method_model_and_stain(study, explained):
    scores = explained.scores
    assert len(scores) == 3*3*6 and not scores.duplicated(["treatment", "method", "model", "channel"]).any()
    assert ((scores.low <= scores["score"] + 1e-9) & (scores["score"] <= scores.high + 1e-9)).all()
    assert (scores.chance[scores.method == "channel swap"] == 0).all() and (scores.masks == "truth").all()
    cams = scores[scores.method != "channel swap"]
    assert cams["score"].between(0, 1).all() and cams.chance.between(0, 1).all()
    assert np.allclose(scores.groupby(["method", "model"])["first"].sum(), 1)

def test_figures_state_what_was_found(study, explained):
    import matplotlib.pyplot as plt
    named = naming(explained.scores, explained.accuracies)
    swap, cam = figure_swap(explained.scores, named), figure_cam(study, explained, named)
    assert "disperser:\nlooks at Golgi" in swap.axes[0].get_title(loc="left") + swap.axes[0].get_title()
    assert "trained" in cam.get_suptitle() and len(cam.axes) == 4
    nothing = named.assign(channel="")
    assert figure_cam(study, explained, nothing).get_suptitle() == "No classifier has anything to explain"
    plt.close("all")

def test_a_study_of_one_stain_of_images_that_are_not_square_is_explained():
    rng = np.random.default_rng(0)
    plates = np.repeat([f"p{k}" for k in range(3)], 12)
    wells = np.tile([f"B{k + 2:02d}" for k in range(6)], 6)
    images = pd.DataFrame({"plate": plates, "well": wells, "treatment": np.where(np.tile(np.arange(6) < 3, 6), "DMSO", "a"), "row": 2,
                           "column": np.tile(np.arange(2, 8), 6)}, index=[f"i{k}" for k in range(36)])
    images = images.assign(untreated=images.treatment == "DMSO", mechanism="", batch="", site="", dose=0.0, condition="")[IMAGE_COLUMNS]
    pixels = rng.normal(100, 10, (36, 1, 24, 40)).astype(np.float32)
    made = explain_study(Study("x", images, ("DNA",), pixels), ["a"], replace(RECIPE, epochs=1))
    assert len(made.scores) == 9 and set(made.scores.masks) == {"bright side of the stain"} and (made.scores["first"] == 1).all()
    assert made.maps["map"].map(len).eq(24*40).all()
