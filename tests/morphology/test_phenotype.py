"""What is compared with what, what strict features may see, gains, and features of new images."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import RunFolder
from drugnb.core.settings import InputError
from drugnb.morphology import phenotype
from drugnb.morphology.active import all_activity, profile_features
from drugnb.morphology.data import open_study
from drugnb.morphology.embed import embed, embedded, matched_stains, run_encoder, unlike_training
from drugnb.morphology.images import write_example_images
from drugnb.morphology.judge import SHAMS, Method, questions
from drugnb.morphology.phenotype import (
    PUBLISHED,
    SEEN,
    STRICT,
    Features,
    Plan,
    by_group,
    claims_text,
    feature_sets,
    headline,
    image_features,
    paired_gain,
    recipe_of,
    rounds,
    said_of,
    scored,
    size_notes,
    source_of,
    training_sides,
    widest,
)
from drugnb.morphology.simclr import Recipe, train
from drugnb.morphology.use import check, results, summary

TINY = Recipe(epochs=1, size=16, batch=32)

@pytest.fixture(scope="module")
def study(): return open_study("simulated-small")

@pytest.fixture(scope="module")
def plan(study): return Plan(questions(study.images, draws=1), ["well", "week"], ["logistic"], TINY, 3)

@pytest.fixture(scope="module")
def said(study, plan):
    return pd.concat([said_of(study, of, plan, "") for of in (Features("intensity", "kept"), Features("texture", "removed"))])

@pytest.fixture(scope="module")
def table(said): return scored(said)

@pytest.fixture(scope="module")
def encoder(study): return train(study.pixels, study.images, study.channels, replace(TINY, intensity="removed"))

def test_an_unknown_set_of_features_is_refused_by_name(study):
    with pytest.raises(InputError, match="no set of features 'resnet'"): feature_sets(study, "texture, resnet")

def test_without_torch_networks_are_left_out_and_said(study, monkeypatch):
    monkeypatch.setattr(phenotype, "find_spec", lambda name: None)
    says = []
    assert {of.name for of in feature_sets(study, "", says.append)} == {"intensity", "texture", "pixel PCA"}
    assert "torch is not installed" in says[0]

def test_a_study_of_published_features_has_one_set(study):
    published = replace(study, pixels=None, features=pd.DataFrame({"a": 1.0}, study.images.index))
    assert feature_sets(published) == [Features(PUBLISHED, "")]

def test_the_widest_split_needs_two_groups(study):
    images = study.images
    assert widest(images, ["random", "plate", "week"]) == "week"
    assert widest(images.assign(batch="one"), ["random", "plate", "week"]) == "plate"
    with pytest.raises(InputError, match="one plate"): widest(images.assign(plate="p", batch="w"), ["plate", "week"])

def test_strict_features_are_judged_where_most_is_held_out_only(plan):
    assert {s for splits, *_ in rounds(Features(STRICT, "kept"), plan, "week") for s in splits} == {"week"}
    assert {s for splits, *_ in rounds(Features("texture", "removed"), plan, "week") for s in splits} == {"well", "week"}

def test_published_features_are_sphered_in_every_split(plan):
    first = rounds(Features(PUBLISHED, ""), plan, "week")[0]
    assert set(first[0]) == {"well", "week"} and Method("robust z", "chosen", "logistic") in first[1]

def test_strict_features_never_saw_what_is_held_out(study, plan):
    (side, *_) = training_sides(study.images, plan, "week")
    out = np.setdiff1d(np.arange(len(study.images)), side)
    spoilt = study.pixels.copy()
    spoilt[out] = np.random.default_rng(0).normal(1e4, 1e3, spoilt[out].shape)
    of = Features(STRICT, "kept")
    ours, theirs = (source_of(s, of, [side], TINY, RunFolder()).for_training(side)[side]
                    for s in (study, replace(study, pixels=spoilt)))
    np.testing.assert_array_equal(ours, theirs)

def test_strict_features_know_only_their_own_training_side(study, plan):
    side = training_sides(study.images, plan, "week")[0]
    source = source_of(study, Features(STRICT, "kept"), [side], TINY, RunFolder())
    with pytest.raises(KeyError): source.for_training(side[1:])

def test_images_smaller_than_asked_are_taken_as_they_are(study):
    given = dict(encoder="small", positives="view", epochs=1, seed=0)
    assert recipe_of(given | {"size": 64}, study).size == 0 and recipe_of(given | {"size": 16}, study).size == 16

def test_large_images_reduced_to_little_are_named(study):
    large = replace(study, pixels=np.zeros((1, 6, 200, 200), np.float32))
    assert "200 pixels reduced to 32" in size_notes(large, Recipe(size=32))[0]
    assert not size_notes(large, Recipe(size=0)) and not size_notes(study, Recipe(size=16))

def test_features_of_networks_belong_to_their_recipe(study, tmp_path):
    store = RunFolder(tmp_path)
    first = image_features(study, Features("untrained", "removed"), TINY, store)
    again = image_features(study, Features("untrained", "removed"), replace(TINY, seed=1), store)
    assert not np.allclose(first, again) and (first.index == study.images.index).all()

def test_a_run_keeps_its_encoder_and_no_checkpoint(study, tmp_path):
    image_features(study, Features(SEEN, "kept"), replace(TINY, intensity="kept"), RunFolder(tmp_path))
    assert (tmp_path/"encoder_kept.npz").exists() and not list(tmp_path.glob("checkpoint*"))

def said_rows(predicted, truth=("a", "b")*6):
    n = len(truth)
    return pd.DataFrame({"draw": 0, "fold": 0, "part": -1, "image": range(n), "truth": truth, "predicted": predicted,
                         "group": [f"p{i//2}" for i in range(n)], "plate": "p", "well": range(n), "split": "plate"})

def test_a_gain_is_the_difference_on_the_same_units_and_none_over_oneself():
    right, wrong = said_rows(("a", "b")*6), said_rows(("b", "a")*6)
    assert paired_gain(right, wrong) == {"gain": 1, "gain_low": 1, "gain_high": 1}
    assert paired_gain(right, right) == {"gain": 0, "gain_low": 0, "gain_high": 0}

def test_a_gain_needs_the_same_units():
    assert paired_gain(said_rows(("a", "b")*6), said_rows(("a", "b")*6)[:-1]) == {}

def test_a_gain_does_not_depend_on_the_order_of_rows():
    ours = said_rows(("a", "a", "b", "b")*3)
    there = said_rows(("a", "b")*6)
    assert paired_gain(ours, there) == paired_gain(ours, there.sample(frac=1, random_state=0))

def test_every_claim_stands_beside_its_shams(table):
    claims = table[table.kind == "claim"]
    assert {"batch_sham", "position_sham", "verdict", "gain"} <= set(claims) and set(SHAMS) <= set(table.question)
    assert claims[claims.features == "texture"].gain.isna().all()
    main = claims[(claims.features == "intensity") & claims.question.isin(phenotype.MAIN)]
    assert main.gain.notna().all() and (main.gain_low <= main.gain).all()

def test_texture_knows_the_mechanism_better_than_brightness(table):
    rows = headline(table).set_index("features")
    assert rows.question.unique() == ["mechanism"] and rows.split.unique() == ["week"]
    assert rows.balanced["texture"] > rows.balanced["intensity"] and rows.balanced["texture"] > 0.9

def test_each_group_held_out_is_scored_by_itself(said, study):
    rows = by_group(said)
    assert set(rows.group) == set(study.images.batch) and rows.balanced.between(0, 1).all()
    assert rows.groupby(["features", "question"]).size().unique() == [2]

def test_the_text_names_the_layout_where_position_tells(table):
    assert "cannot be told apart" not in claims_text(table)
    assert "cannot be told apart" in claims_text(table.assign(warning="treatment and well position cannot be told apart here"))

def test_activity_is_tested_on_named_features_only(study):
    with pytest.raises(InputError, match="tested on 'pixel PCA'"): profile_features(study, "pixel PCA", TINY, RunFolder())

def test_activity_stands_alone_where_no_well_is_spare(study):
    few = study.images.copy()
    untreated = few[few.untreated].drop_duplicates("plate").well
    keep = ~few.untreated | (few.plate + few.well).isin(few.plate[untreated.index] + untreated)
    values, says = pd.DataFrame(np.random.default_rng(0).normal(size=(keep.sum(), 5)), few.index[keep]), []
    table, shams = all_activity(values, few[keep], note=says.append)
    assert not len(shams) and "stand alone" in says[0] and "empirical_p" not in table

@pytest.mark.slow
def test_activity_is_the_same_whatever_the_order_of_images(study):
    values = image_features(study, Features("texture", "removed"), TINY, RunFolder())
    mixed = study.images.sample(frac=1, random_state=0).index
    one, other = (all_activity(values.loc[i], study.images.loc[i])[0]["map"] for i in (study.images.index, mixed))
    pd.testing.assert_series_equal(one.sort_index(), other.sort_index())

def test_stains_of_new_images_are_joined_by_name(study, encoder):
    order = [3, 1, 0, 5, 4, 2]
    turned = replace(study, pixels=study.pixels[:, order], channels=tuple(study.channels[k].upper() for k in order))
    one, other = (embedded(s, encoder)[0].filter(like="feature_") for s in (study, turned))
    np.testing.assert_allclose(one, other, atol=1e-5)

def test_a_missing_stain_is_refused_and_a_spare_one_said(study, encoder):
    with pytest.raises(InputError, match="no Golgi"):
        matched_stains(replace(study, channels=study.channels[:5], pixels=study.pixels[:, :5]), encoder.channels)
    more = replace(study, channels=(*study.channels, "actin 2"), pixels=study.pixels[:, [*range(6), 2]])
    assert "actin 2" in matched_stains(more, encoder.channels)[1][0]

@pytest.mark.parametrize("times, says", [(1, 0), (1.5, 0), (10, 6), (0.1, 6)])
def test_images_of_another_exposure_are_named(study, encoder, times, says):
    assert len(unlike_training(study.pixels*times, encoder)) == says

def test_images_without_labels_are_embedded_from_a_folder(study, encoder, tmp_path, capsys):
    few = replace(study, images=study.images.iloc[:4], pixels=study.pixels[:4])
    few = replace(few, images=few.images.assign(site=["1", "2", "1", "2"]))
    folder = write_example_images(tmp_path/"new", few)
    meta = next(folder.glob("metadata*"))
    pd.read_csv(meta, dtype=str)[["plate", "well", "site"]].to_csv(meta, index=False)
    with pytest.raises(InputError, match="no column of treatments"): open_study(folder, cache="")
    encoder.save(tmp_path/"run"/"encoder_removed.npz") if (tmp_path/"run").mkdir() is None else None
    embed(str(folder), str(tmp_path/"run"), out=str(tmp_path/"out.csv"))
    table = pd.read_csv(tmp_path/"out.csv")
    expected = embedded(few, encoder)[0].filter(like="feature_")
    np.testing.assert_allclose(table.filter(like="feature_"), expected, atol=2e-2)
    assert "4 images" in capsys.readouterr().err

def test_a_run_without_an_encoder_is_refused(tmp_path, encoder):
    with pytest.raises(InputError, match="holds no encoder"): run_encoder(tmp_path)
    encoder.save(tmp_path/"encoder_removed.npz")
    with pytest.raises(InputError, match="--intensity"): run_encoder(tmp_path, "kept")
    with pytest.raises(InputError, match="kept or removed"): run_encoder(tmp_path, "both")

USUAL = dict(models="", seed=0, splits="random,week", classifiers="logistic", encoder="small", positives="view", size=0,
             epochs=5, profile="texture")

@pytest.mark.parametrize("name, value, says", [
    ("models", "magic", "no set of features"), ("profile", "magic", "tested on"), ("splits", "fortnight", "None of the splits"),
    ("encoder", "resnet", "encoder"), ("positives", "plate", "positives")])
def test_check_stops_at_what_a_run_would_stop_at(name, value, says):
    with pytest.raises(InputError, match=says): check("simulated-small", USUAL | {name: value}, RunFolder())

def test_check_says_what_position_tells():
    said = check("simulated-fixed", USUAL, RunFolder())
    assert any("cannot be told apart" in s for s in said)

def test_results_and_summary_read_what_a_run_wrote(table, tmp_path):
    assert summary(tmp_path) == ""
    table.set_index("features").to_csv(tmp_path/"scores.csv")
    about, rows = results(tmp_path)
    assert about["wells"] > 10 and list(rows.columns) == ["balanced", "low", "high"] and "texture" in rows.index
    assert "mechanism, weeks held out" in summary(tmp_path)

def test_damaged_files_are_listed_in_the_run_folder(study, tmp_path):
    few = replace(study, images=study.images.iloc[:8].assign(site=["1", "2"]*4), pixels=study.pixels[:8])
    folder = write_example_images(tmp_path/"mine", few)
    broken = next(folder.rglob("*_w3.png"))
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(InputError, match="bad_images.csv"): check(str(folder), USUAL, RunFolder(tmp_path/"run"))
    listed = pd.read_csv(tmp_path/"run/bad_images.csv", dtype=str)
    assert len(listed) == 1 and listed.plate.notna().all() and listed.path.iloc[0].endswith(broken.name)
