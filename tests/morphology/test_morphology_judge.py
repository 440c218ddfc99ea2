"""The judge: what is held out, shams, references that no asked well belongs to, scores with intervals, confounding said."""
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from drugnb.core.settings import InputError, data_folders, read_settings
from drugnb.morphology.features import Fixed
from drugnb.morphology.judge import (
    FoldFeatures,
    Method,
    Question,
    batch_shams,
    beside_shams,
    choose,
    claims,
    deal_parts,
    figure_splits,
    judge,
    on_plates_with_both,
    position_alone,
    position_shams,
    questions,
    references,
    score_table,
    scores_text,
    skill,
    split_finding,
    splits,
    tally,
    tally_scores,
    told_by_position,
    unit_means,
    unit_of,
    units,
    well_names,
)
from drugnb.morphology.normalise import STRENGTHS
from drugnb.morphology.simulate import simulate_profiles


def table_of(wells, sites=1, **columns):
    "Images as a study has them, from rows of plate, well and treatment."
    table = pd.DataFrame(np.repeat(np.array(wells, object), sites, axis=0), columns=["plate", "well", "treatment"])
    table["site"] = [f"s{k % sites + 1}" for k in range(len(table))]
    table = table.assign(dose=np.nan, mechanism="", batch=table.plate.str.split("_").str[0], condition=table.treatment,
                         untreated=table.treatment == "DMSO")
    table["row"], table["column"] = table.well.str[0].map(ord) - 64, table.well.str[1:].astype(int)
    return table.set_axis(table.plate + " " + table.well + " " + table.site, axis=0).assign(**columns)

def two_columns(plates=("w1_a", "w1_b", "w2_a", "w2_b"), sites=1):
    "Plates of one layout: untreated in columns 1 and 6, treated between them."
    return table_of([(p, f"{r}{c:02d}", "DMSO" if c in (1, 6) else "drug") for p in plates for r in "ABCD" for c in range(1, 7)], sites)

@pytest.fixture(scope="module")
def screen(): return simulate_profiles(n_plates=4, n_wells=3, n_features=12, n_treatments=3, effect=0.0, seed=0)

class Watched(NamedTuple):
    "Features that remember what they were trained on."
    name: str
    values: np.ndarray
    seen: list

    def for_training(self, rows):
        self.seen.append(rows)
        return self.values

# splits

@pytest.mark.parametrize("by, column", [("well", None), ("plate", "plate"), ("week", "batch")])
def test_what_is_held_out_is_never_on_both_sides(by, column):
    images = two_columns(sites=2)
    groups = well_names(images) if column is None else images[column]
    tested = []
    for train, test in splits(images, by, seed=3):
        assert not set(groups.iloc[train]) & set(groups.iloc[test]) and len(train) + len(test) == len(images)
        tested += list(test)
    assert sorted(tested) == list(range(len(images)))

def test_few_plates_and_weeks_are_held_out_one_by_one():
    images = two_columns()
    assert len(splits(images, "plate", 2)) == 4 and len(splits(images, "week", 5)) == 2 and len(splits(images, "well", 3)) == 3
    many = two_columns([f"w{k}_a" for k in range(12)])
    assert len(splits(many, "plate", 5)) == 5

def test_a_question_about_some_plates_holds_out_these():
    images = two_columns()
    rows = np.flatnonzero(images.plate.isin(["w1_a", "w2_b"]))
    found = splits(images, "plate", rows=rows)
    assert [set(images.plate.iloc[test]) for _, test in found] in ([{"w1_a"}, {"w2_b"}], [{"w2_b"}, {"w1_a"}])
    assert all(images.plate.iloc[train].nunique() == 3 for train, _ in found)
    for train, test in splits(images, "plate", rows=rows[images.untreated.iloc[rows]]):
        assert not set(images.plate.iloc[train]) & set(images.plate.iloc[test]), "nor are the plate's other wells in training"

def test_a_split_that_a_study_does_not_allow_is_refused_or_left_out_and_said():
    images, said = two_columns(["w1_a", "w1_b"]), []
    with pytest.raises(InputError, match="There is no split 'month'"): splits(images, "month")
    with pytest.raises(InputError, match="found 1"): splits(images, "week")
    with pytest.raises(InputError, match="24 images are of no known week, such as w1_a A01"):
        splits(images.assign(batch=np.where(images.plate == "w1_a", "", "w1")), "week")
    table = judge(Fixed("x", np.eye(len(images))), images, claims(images), ("week", "plate"), Method("raw"), note=said.append).scores
    assert set(table.split) == {"plate"} and said[0] == "the split by week is left out: there is one week"

def test_images_that_share_a_well_with_training_are_counted_in_the_random_split_alone():
    images = table_of([(p, w, "DMSO" if w < "D" else "IFN") for p in ("P1", "P2") for w in ("B02", "C02", "D04", "E05")], 4)
    said = judge(Fixed("x", np.random.default_rng(0).standard_normal((32, 3))), images, claims(images), ("random", "well"), Method("raw"))
    rows, wells = said.predictions[said.predictions.split == "random"], well_names(images)
    fold = rows.set_index("image").fold
    brute = sum(any(fold[j] != fold[i] for j in images.index[wells == wells[i]]) for i in images.index)
    table = said.scores.set_index("split")
    assert table.shared_wells["random"] == brute > 25 and table.shared_wells["well"] == 0
    assert table.n_wells["random"] == 8 and table.n_images["random"] == 32

def test_the_case_of_four_images_of_one_well_is_right(cases):
    made = pd.read_csv(cases/"14-one-site-both-sides/images.csv")
    images = table_of(made.drop_duplicates(["plate", "well"])[["plate", "well", "treatment"]].to_numpy().tolist(), 4)
    table = judge(Fixed("x", np.random.default_rng(0).standard_normal((32, 3))), images, claims(images), "random", Method("raw")).scores
    assert len(made) == 32 and table.n_wells[0] == 8 and table.shared_wells[0] > 0
    assert f"{table.shared_wells[0]} of 32 test images share a well with training" in scores_text(beside_shams(table))

# questions

def test_batch_shams_are_constant_within_weeks_and_differ_from_draw_to_draw():
    images = two_columns([f"w{w}_{p}" for w in range(6) for p in "ab"])
    found = batch_shams(images, 8)
    assert len(found) == 8 and all(images.untreated.iloc[q.rows].all() for q in found)
    halves = set()
    for q in found:
        by = pd.Series(q.labels).groupby(images.batch.iloc[q.rows].to_numpy())
        assert (by.nunique() == 1).all() and (by.first() == "one").sum() == 3
        halves.add(frozenset([frozenset(by.first().index[by.first() == name]) for name in ("one", "other")]))
    assert len(halves) == 8, "a draw and its reverse are one"

def test_batch_shams_are_constant_within_plates_where_there_is_one_week_and_none_where_there_is_one_plate():
    one = two_columns(["w1_a", "w1_b", "w1_c"])
    assert all((pd.Series(q.labels).groupby(one.plate.iloc[q.rows].to_numpy()).nunique() == 1).all() for q in batch_shams(one))
    assert len(batch_shams(one)) == 3 and batch_shams(two_columns(["w1_a"])) == []

def test_position_shams_part_columns_else_rows_and_say_when_there_is_one_position():
    images, said = two_columns(), []
    q, = position_shams(images)
    assert set(q.labels) == {"column 1", "column 6"} and (q.labels == "column 1").sum() == 16
    assert all(label == f"column {c}" for label, c in zip(q.labels, images.column.iloc[q.rows], strict=True))
    down = table_of([(p, f"{r}0{c}", "DMSO" if c == 1 else "drug") for p in ("w1_a", "w2_a") for r in "ABCD" for c in (1, 2)])
    assert set(position_shams(down)[0].labels) == {"rows 1-2", "rows 3-4"}
    single = table_of([(p, w, "DMSO" if w == "B02" else "drug") for p in ("w1_a", "w2_a") for w in ("B02", "C03", "D05")], 6)
    found = questions(single, note=said.append)
    assert said == ["the position sham cannot be checked here: untreated wells stand at one position"]
    assert "position sham" not in {q.name for q in found}

def test_claims_are_what_a_table_allows():
    images = two_columns()
    treated = ~images.untreated
    images.loc[treated, "treatment"] = np.where(images.row[treated] < 3, "a", "b")
    images.loc[treated, "mechanism"] = np.where(images.row[treated] < 3, "m1", "m2")
    images.loc[treated, "dose"] = np.where(images.column[treated] < 4, 1.0, 10.0)
    found = {q.name: q for q in claims(images)}
    assert list(found) == ["treated against untreated", "a against untreated", "b against untreated", "mechanism", "dose"]
    assert set(found["mechanism"].rows) == set(np.flatnonzero(treated))
    assert all((label == "low") == (images.dose.iloc[r] == 1) for r, label in zip(found["dose"].rows, found["dose"].labels, strict=True))
    assert [q.name for q in claims(images, treatments=1)] == ["treated against untreated", "mechanism", "dose"]
    with pytest.raises(InputError, match="Nothing can be asked"): questions(images[images.untreated], note=lambda says: None)

def test_plates_with_nothing_treated_are_not_asked_about():
    images = two_columns()
    images.loc[images.plate == "w2_b", "untreated"] = True
    assert set(images.plate[on_plates_with_both(images)]) == {"w1_a", "w1_b", "w2_a"} == set(images.plate.iloc[claims(images)[0].rows])

# position

def test_a_label_that_follows_the_layout_is_said_beside_every_accuracy():
    images = two_columns()
    q = claims(images)[0]
    assert told_by_position(images, q.rows, q.labels) == 1
    assert q.warning == "treatment and well position cannot be told apart here"
    table = beside_shams(judge(Fixed("x", np.eye(len(images))), images, questions(images), ("plate", "week"), Method("raw")).scores)
    assert (table.warning == q.warning).all() and scores_text(table).count(q.warning) == len(table)
    assert (table.position == 1).all() and "follow the layout" in split_finding(judge(
        Fixed("x", np.eye(len(images))), images, questions(images), "plate", Method("raw")).scores)

def test_positions_dealt_anew_are_no_warning(screen):
    _, images = screen
    q = claims(images)[0]
    assert q.warning == "" and told_by_position(images, q.rows, q.labels) < 0.8

def test_one_untreated_well_at_one_place_is_told_by_position():
    images = table_of([(p, w, "DMSO" if w == "B02" else "drug") for p in ("w1_a", "w2_a") for w in ("B02", "C03", "D05")], 6)
    assert claims(images)[0].warning != ""

def test_position_alone_is_the_usual_label_of_the_well_then_of_the_column():
    images = two_columns(["w1_a", "w2_a"])
    rng = np.random.default_rng(0)
    labels, train, test = rng.choice(["x", "y", "z"], 24), np.arange(24), np.arange(24, 48)
    train, labels = train[2:], labels[2:]
    said = position_alone(images, labels, train, test)
    own = pd.Series(labels).groupby([images.row.iloc[train].to_numpy(), images.column.iloc[train].to_numpy()]).first()
    for r, found in zip(test, said, strict=True):
        place = images.row.iloc[r], images.column.iloc[r]
        near = pd.Series(labels)[images.column.iloc[train].to_numpy() == place[1]]
        assert found == (own[place] if place in own.index else near.mode().iloc[0])

# references

@pytest.mark.parametrize("untreated, sites, parts", [(8, 1, 2), (6, 1, 2), (4, 1, 4), (4, 2, 2), (1, 12, 2), (1, 5, 3)])
def test_parts_are_as_few_as_leave_references_and_never_share_a_well(untreated, sites, parts):
    images = table_of([(p, f"A{c:02d}", "DMSO" if c <= untreated else "drug") for p in ("P1", "P2") for c in range(1, 13)], sites)
    part = deal_parts(images, 1)
    assert (part[~images.untreated] == -1).all() and set(part[images.untreated]) == set(range(parts))
    for plate in ("P1", "P2"):
        own = part[(images.plate == plate) & images.untreated]
        assert all((own != k).sum() >= 3 for k in range(parts))
        if untreated > 1: assert (pd.Series(part).groupby(well_names(images).to_numpy()).nunique() == 1).all()

def test_no_well_that_is_asked_about_is_a_reference():
    images, rng = two_columns(sites=2), np.random.default_rng(0)
    values, part = rng.standard_normal((len(images), 4)), deal_parts(images, 0)
    of, train = units(images, "image"), splits(images, "plate")[0][0]
    for k in (0, 1):
        spoilt = values.copy()
        spoilt[part == k] += 1e6*rng.standard_normal(((part == k).sum(), 4))
        one, two = (FoldFeatures(Fixed("x", v), images, train, part).of("robust z", k, of, 0.0) for v in (values, spoilt))
        np.testing.assert_array_equal(one[part != k], two[part != k])
        assert not np.array_equal(one[part == k], two[part == k])

def test_references_are_of_the_training_side_where_a_plate_has_some_there():
    images = two_columns()
    plates = images.plate.to_numpy()
    train = np.flatnonzero((plates != "w2_b") & (np.arange(len(images)) % 6 != 0))
    found = references(images, train)
    assert (found[plates == "w2_b"] == images.untreated[plates == "w2_b"]).all(), "a plate that is held out"
    assert not found[plates == "w1_a"][images.column[plates == "w1_a"] == 1].any() and found.sum() == 3*4 + 8

@pytest.mark.parametrize("split", ["random", "well", "plate", "week"])
def test_inert_treatments_are_not_told_from_untreated_wells(split):
    found = []
    for seed in range(5):
        values, images = simulate_profiles(n_plates=4, n_wells=3, n_features=20, n_treatments=2, seed=seed)
        found.append(judge(Fixed("x", values.to_numpy()), images, claims(images, 0)[0], split, seed=seed).scores.balanced[0])
    assert 0.4 < np.mean(found) < 0.6, found

def test_an_effect_is_told_with_weeks_held_out_and_plates_alone_are_not_once_normalised():
    values, images = simulate_profiles(n_plates=6, n_wells=3, n_features=20, n_treatments=2, effect=2.0, seed=1)
    asked = [*claims(images, 0), *batch_shams(images)]
    table = judge(Fixed("x", values.to_numpy()), images, asked, ("plate", "week"), (Method("raw"), Method())).scores
    claim = table[(table.question == "treated against untreated") & (table.normalisation == "robust z")]
    sham = table[(table.question == "batch sham") & (table.split == "plate")].set_index("normalisation").balanced
    assert (claim.balanced > 0.85).all() and sham["raw"] - sham["robust z"] > 0.1 or sham["raw"] < 0.6

# methods and units

def test_a_method_that_is_none_is_refused():
    images = two_columns()
    for bad in (Method("z"), Method(classifier="svm"), Method(sphering=2.0)):
        with pytest.raises(InputError, match="There is no|strength of sphering"):
            judge(Fixed("x", np.eye(len(images))), images, claims(images)[0], "plate", bad)

def test_training_never_sees_what_is_held_out():
    values, images = simulate_profiles(n_plates=3, n_wells=2, n_features=4, n_treatments=1, seed=0)
    watched, q = Watched("x", values.to_numpy(), []), claims(images, 0)[0]
    said = judge(watched, images, q, "plate", Method(sphering="chosen")).predictions
    assert [set(images.plate.iloc[rows]) for rows in watched.seen] == [set(images.plate) - {p} for p in said.groupby("fold").plate.first()]
    for plate, rows in said.groupby("plate"):
        spoilt = values.to_numpy().copy()
        spoilt[(images.plate == plate) & ~images.untreated] = 1e3
        labels = np.where(images.plate.iloc[q.rows] == plate, "treated", q.labels)
        again = judge(Fixed("x", spoilt), images, q._replace(labels=labels), "plate", Method(sphering="chosen")).predictions
        again = again[(again.plate == plate) & (again.fold == rows.fold.iloc[0])]
        assert sorted(again.strength) == sorted(rows.strength), "the strength is chosen on the training side"
        both = rows.merge(again, on=["image", "part"])
        both = both[images.untreated[both.image].to_numpy()]
        assert len(both) and (both.predicted_x == both.predicted_y).all(), "untreated wells' answers come from training"

def test_the_strength_that_answers_best_inside_training_is_chosen():
    rng, y = np.random.default_rng(0), np.tile(["a", "b"], 30)
    clean = (y == "a")[:, None] + rng.normal(0, 0.1, (60, 2))
    def x_of(strength): return clean if strength == STRENGTHS[2] else rng.standard_normal((60, 2))
    assert choose(x_of, y, np.repeat(np.arange(6), 10), Method(sphering="chosen")) == (STRENGTHS[2], "logistic")
    assert choose(lambda s: clean, y, np.repeat(np.arange(6), 10), Method(sphering="chosen"))[0] == STRENGTHS[0], "the first of equals"
    assert choose(x_of, y, np.zeros(60), Method(sphering=0.5, classifier="forest")) == (0.5, "forest")

@pytest.mark.parametrize("name", ["logistic", "forest", "discriminant", "chosen"])
def test_every_classifier_knows_a_clear_answer_and_permuted_labels_do_not(name):
    images = two_columns()
    values = np.c_[images.untreated, ~images.untreated] + np.random.default_rng(0).normal(0, 0.2, (len(images), 2))
    row = judge(Fixed("x", values), images, claims(images)[0], "plate", Method("raw", 0.0, name)).scores.iloc[0]
    assert row.balanced == 1 and row.balanced_baseline == 0.5
    assert np.isnan(row.permuted) if name == "forest" else row.permuted < 0.8, "a forest is too slow for a control of its own"

def test_a_sham_s_chance_is_even_whatever_is_commonest_in_training():
    images = two_columns()
    values = np.random.default_rng(0).normal(size=(len(images), 2))
    shams = [q for q in questions(images, note=lambda says: None) if q.kind == "sham"]
    assert (judge(Fixed("x", values), images, shams, "plate").scores.balanced_baseline == 0.5).all()

def test_wells_are_the_unit_unless_a_label_has_few():
    images = two_columns(sites=3)
    q = claims(images)[0]
    assert unit_of(images, q, "plate") == "well" and unit_of(images, q, "random") == "image"
    crops = table_of([(p, w, "DMSO" if w == "B02" else "drug") for p in ("w1_a", "w1_b", "w2_a") for w in ("B02", "C03")], 20)
    values = np.c_[crops.untreated, crops.untreated] + np.random.default_rng(0).normal(0, 0.1, (len(crops), 2))
    row = judge(Fixed("x", values), crops, claims(crops)[0], "plate").scores.iloc[0]
    assert row.unit == "image" and row.interval_over == "wells" and row.n_wells == 6 and row.n_images == 120 and row.balanced > 0.99

def test_features_of_a_well_are_the_mean_of_its_images():
    images = two_columns(sites=3)
    order = np.random.default_rng(0).permutation(len(images))
    values, of = np.random.default_rng(1).standard_normal((len(images), 4)), units(images.iloc[order], "well")
    expected = pd.DataFrame(values).groupby(well_names(images.iloc[order]).to_numpy(), sort=False).mean().to_numpy()
    np.testing.assert_allclose(unit_means(values, of), expected)

# scores

def made_up(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"draw": rng.integers(0, 2, 80), "part": -1, "fold": rng.integers(0, 3, 80), "truth": rng.choice(list("abc"), 80),
                         "predicted": rng.choice(list("abc"), 80), "group": rng.integers(0, 6, 80)})

def by_hand(rows):
    "Accuracy and balanced accuracy within folds of each draw, averaged by size."
    parts = [(len(f), (f.truth == f.predicted).mean(), np.mean([(g.truth == g.predicted).mean() for _, g in f.groupby("truth")]))
             for _, f in rows.groupby(["draw", "fold"])]
    n, a, b = np.array(parts).T
    return (n*a).sum()/n.sum(), (n*b).sum()/n.sum()

def test_scores_of_any_resampling_are_those_of_repeated_rows():
    rows = made_up()
    of, codes = tally(rows, "predicted", rows.group), pd.factorize(rows.group)[0]
    counts = np.random.default_rng(1).integers(0, 3, (20, 6))
    counts[0] = 1
    for made, weights in zip(tally_scores(of, counts), counts, strict=True):
        np.testing.assert_allclose(made, by_hand(rows.loc[np.repeat(rows.index, weights[codes])]), atol=1e-12)

def test_balanced_accuracy_of_one_fold_is_scikit_learn_s():
    rows = made_up().assign(draw=0, fold=0)
    found = tally_scores(tally(rows, "predicted", np.zeros(80)), np.ones((1, 1)))[0, 1]
    assert found == pytest.approx(balanced_accuracy_score(rows.truth, rows.predicted))

def test_scores_do_not_depend_on_the_order_of_images_and_repeat_with_the_seed(screen):
    values, images = screen
    q, order = claims(images, 0)[0], np.random.default_rng(0).permutation(len(images))
    shuffled = images.iloc[order]
    one = judge(Fixed("x", values.to_numpy()), images, q, ("plate", "week"), Method("raw"))
    two = judge(Fixed("x", values.to_numpy()[order]), shuffled, claims(shuffled, 0)[0], ("plate", "week"), Method("raw"))
    both = one.predictions.merge(two.predictions, on=["image", "split"])
    assert len(both) == len(one.predictions) and (both.predicted_x == both.predicted_y).all()
    numbers = ["accuracy", "balanced", "baseline", "ceiling", "n_wells"]
    pd.testing.assert_frame_equal(one.scores[numbers], two.scores[numbers])
    again = judge(Fixed("x", values.to_numpy()), images, q, ("plate", "week"), Method("raw"))
    pd.testing.assert_frame_equal(one.scores, again.scores)

def test_the_ceiling_is_the_share_whose_label_is_met_in_training():
    images = table_of([(p, f"{r}{c:02d}", "DMSO" if c < 3 else f"t{c}") for p in ("w1_a", "w2_a", "w3_a") for r in "ABC" for c in range(1, 6)])
    images.loc[~images.untreated, "mechanism"] = "m" + images.column.astype(str)
    images.loc[~images.untreated & (images.plate == "w3_a") & (images.column == 5), "mechanism"] = "rare"
    table = judge(Fixed("x", np.eye(len(images))), images, [q for q in claims(images) if q.name == "mechanism"], "week", Method("raw")).scores
    assert table.ceiling[0] == pytest.approx(24/27) and table.n_units[0] == 27

def test_what_cannot_be_trained_is_counted_and_said():
    images, said = two_columns(["w1_a", "w1_b", "w2_a"]), []
    asked = [*claims(images), *batch_shams(images)]
    found = judge(Fixed("x", np.eye(len(images))), images, asked, ("plate", "week"), Method("raw"), note=said.append)
    table = found.scores.set_index(["split", "question"])
    assert table.left_out["plate", "batch sham"] == 8 and table.left_out["plate", "treated against untreated"] == 0
    assert said == ["batch sham cannot be judged in the split by week: no training side has two of its labels"]
    with pytest.raises(InputError, match="nothing can be judged"):
        judge(Fixed("x", np.eye(len(images))), images, batch_shams(images), "week", Method("raw"), note=said.append)

def test_draws_of_a_sham_are_one_row_and_their_mean():
    images = two_columns([f"w{w}_a" for w in range(4)])
    shams, values = batch_shams(images, 3), np.random.default_rng(0).standard_normal((96, 3))
    one = judge(Fixed("x", values), images, shams, "week", Method("raw")).scores
    each = [judge(Fixed("x", values), images, q, "week", Method("raw")).scores for q in shams]
    assert len(one) == 1 and one.accuracy[0] == pytest.approx(np.mean([e.accuracy[0] for e in each]))
    assert one.n_units[0] == 32

# beside shams

def rows_of(**changes):
    "A table of scores: a claim and two shams, by hand."
    base = {"features": "x", "normalisation": "raw", "sphering": "0.0", "classifier": "logistic", "c": 0.1, "split": "week",
            "unit": "well", "warning": "", "balanced_baseline": 0.5, "n_wells": 10, "n_images": 10, "shared_wells": 0, "position": .5}
    claim = base | {"question": "mechanism", "kind": "claim", "balanced": .6, "balanced_low": .5, "balanced_high": .7,
                    "balanced_baseline": 0.1} | changes
    batch = base | {"question": "batch sham", "kind": "sham", "balanced": .5, "balanced_low": .4, "balanced_high": .6}
    place = base | {"question": "position sham", "kind": "sham", "balanced": .7, "balanced_low": .6, "balanced_high": .8}
    return pd.DataFrame([claim, batch, place])

def test_a_claim_is_above_if_its_interval_is_above_the_skill_of_both_shams():
    row = beside_shams(rows_of()).iloc[0]
    assert row.skill == pytest.approx(5/9) and row.position_sham_skill == pytest.approx(0.4) and row.batch_sham == 0.5
    assert row.skill_low == pytest.approx(4/9) and row.verdict == "above"
    assert beside_shams(rows_of(balanced_low=0.45)).verdict[0] == "within"
    assert beside_shams(rows_of(split="plate")).verdict[0] == "unchecked", "shams of another split do not count"
    assert skill(pd.Series([.5, 1.0]), pd.Series([.5, .25])).tolist() == [0, 1]

def test_a_claim_below_chance_is_not_above_shams_below_chance():
    table = rows_of(balanced=0.08, balanced_low=0.05)
    table.loc[1:, "balanced"] = 0.2
    assert beside_shams(table).verdict[0] == "within"

def test_the_title_counts_claims_above_their_shams_in_the_hardest_split():
    table = pd.concat([rows_of(), rows_of(split="week", question="dose", balanced_low=.2).iloc[:1], rows_of(split="plate").assign(split="plate")])
    assert split_finding(table) == "With weeks held out, 1 of 2 claims lie above both shams"
    fig = figure_splits(table)
    assert fig.get_suptitle() == split_finding(table) and len(fig.axes) == 1

# real tables

@pytest.fixture(scope="module")
def bbbc021():
    "Profiles of wells of BBBC021, and what the wells hold; skipped where they are not."
    folder = data_folders(read_settings(Path(__file__).parents[2]))[-1]/"morphology"
    if not (folder/"bbbc021_well_profiles.csv.gz").exists(): pytest.skip("the profiles of BBBC021 are in no data folder")
    both = pd.read_csv(folder/"bbbc021_well_labels.csv").merge(pd.read_csv(folder/"bbbc021_well_profiles.csv.gz"))
    values = both.select_dtypes("number").drop(columns="Image_Metadata_Concentration")
    images = table_of(both.iloc[:, :3].to_numpy().tolist())
    mechanism = np.where(images.untreated, "", both.Metadata_moa)
    return values.to_numpy(), images.assign(batch=both.batch.to_numpy(), mechanism=mechanism)

def test_treatment_and_position_cannot_be_told_apart_in_bbbc021(bbbc021):
    _, images = bbbc021
    found = {q.name: q for q in questions(images, treatments=0)}
    assert found["treated against untreated"].warning == "treatment and well position cannot be told apart here"
    assert found["mechanism"].warning == "" and set(found["position sham"].labels) == {"column 2", "column 11"}
    assert found["batch sham"].rows.size == 330

def test_weeks_of_bbbc021_are_read_off_raw_profiles_until_they_are_held_out(bbbc021):
    values, images = bbbc021
    asked = [*batch_shams(images, 2), *position_shams(images)]
    table = judge(Fixed("profiles", values), images, asked, ("plate", "week"), Method("raw")).scores.set_index(["question", "split"])
    assert table.balanced["batch sham", "plate"] > 0.8 and table.balanced["batch sham", "week"] < 0.65
    assert table.balanced_low["position sham", "week"] > 0.55, "untreated wells know where they stand"

@pytest.mark.slow
def test_mechanisms_of_bbbc021_are_told_less_often_with_weeks_held_out(bbbc021):
    values, images = bbbc021
    q = next(q for q in claims(images, 0) if q.name == "mechanism")
    table = judge(Fixed("profiles", values), images, q, ("plate", "week"), (Method("raw"), Method())).scores
    table = table.set_index(["normalisation", "split"])
    assert (table.accuracy.xs("plate", level="split") > 0.8).all() and (table.accuracy.xs("week", level="split") < 0.72).all()
    assert table.ceiling["raw", "week"] == pytest.approx(0.907, abs=0.001) and table.ceiling["raw", "plate"] == 1

def test_questions_may_come_by_hand():
    images = two_columns()
    q = Question("half", "claim", np.arange(48), np.array(["a", "b"]*24, object))
    said = judge(Fixed("x", np.eye(len(images))), images, q, "plate", Method("raw"))
    assert len(said.predictions) == 48 and said.scores.question[0] == "half"
    assert set(score_table(said.predictions).columns) == set(said.scores.columns)
