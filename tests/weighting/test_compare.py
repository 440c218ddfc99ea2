"""Choosing and comparing: what is fitted, what a choice may see, what is kept, and what is said about it."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import RunFolder, load_frame, save_frame
from drugnb.core.settings import InputError
from drugnb.weighting.choose import RULES, allowed, best, cross_fit, nested_choice, training_splits
from drugnb.weighting.compare import (
    CONTENDERS,
    REFERENCE,
    SELECT,
    Recipe,
    comparison_text,
    inside_comparison,
    inside_predictions,
    judge,
    optimism,
    read_table,
    read_tables,
    row_of,
    split_halves,
    verdict,
    with_roles,
)
from drugnb.weighting.figures import figure_choice, figure_comparison, figure_predicted, neighbour_r
from drugnb.weighting.grid import fit_sets, grid_index, shared_cells
from drugnb.weighting.weight import UNWEIGHTED, Weighting

QUICK = dict(alphas=(10, 1000), repeats=50, factors=(1,), most_masked=2)
COMMITTED = ["figures/weighting", "figures/weighting/l1000-a375"]

@pytest.fixture(scope="module")
def pieces(small):
    "Clusters, density ratios and a map of the small study, made up: nothing here depends on their quality."
    rng, ids = np.random.default_rng(0), small.signatures.index
    clusters = pd.DataFrame({"cluster": small.truth["cluster"] % 4}, ids)
    ratios = pd.DataFrame(rng.lognormal(size=(len(ids), 3)), ids, ["logistic", "KLIEP", "uLSIF"])
    return clusters, ratios, {(30, 0): pd.DataFrame(rng.normal(size=(len(ids), 2)), ids, ["x", "y"])}

@pytest.fixture(scope="module")
def judged(small, pieces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    return folder, judge(small, RunFolder(folder), *pieces, Recipe(**QUICK))

# Training sets

def test_signatures_of_the_same_training_sets_share_a_cell():
    rng = np.random.default_rng(0)
    sets = [np.flatnonzero(rng.random(40) < 0.5) for _ in range(4)]
    cells = shared_cells(sets, 40)
    member = np.array([np.isin(np.arange(40), rows) for rows in sets])
    used = member.any(0)
    assert (cells.of[~used] == -1).all() and (cells.holds[:, cells.of[used]] == member[:, used]).all()
    assert len(set(cells.of[used])) == cells.holds.shape[1] == len(np.unique(member[:, used], axis=1).T)

def test_a_weighting_that_is_not_defined_is_missing_beside_others_and_refused_alone(small, pieces):
    traits, sets = pieces[0].join(pieces[1]), [np.arange(20)]
    several = [UNWEIGHTED, Weighting("learned", "plates"), Weighting("domain", "uLSIF")]
    nameless = small.samples.drop(columns="plate")
    without_plates = type(small)(**{**vars(small), "samples": nameless})
    models = fit_sets(without_plates, traits, sets, several, (10,))
    assert np.isfinite(models[0, [0, 2]]).all() and np.isnan(models[0, 1]).all()
    with pytest.raises(InputError, match="have no plate"):
        fit_sets(without_plates, traits, sets, several[1:2], (10,))
    two_of_a_kind = fit_sets(without_plates, traits, sets, several[1:], (10,))
    assert np.isnan(two_of_a_kind[0, 0]).all(), "the only one shared by clusters, not the only one asked for"

# Choices

def test_a_choice_in_two_folds_is_refused_and_never_uninitialised_memory(small, pieces):
    splits = training_splits(small.samples, n_folds=2)
    crossed = cross_fit(small, pieces[0], {"compound": splits}, [UNWEIGHTED], (10, 1000))["compound"]
    assert crossed.inner.shape == (0, 2)
    index = grid_index([UNWEIGHTED], (10, 1000))
    with pytest.raises(InputError, match="2 folds: use three"):
        nested_choice(crossed.inner, crossed.held_out, splits, index)
    table, predictions = inside_comparison(small, splits, crossed, index, repeats=20), inside_predictions(small, splits, crossed, index)
    assert not (table.chosen == "training").any() and table.gain.isna().all(), "nothing is chosen, nothing gained"
    assert {"no information", "mean effects", "published coefficients"} <= set(predictions)
    assert np.isfinite(table.pearson).all()
    assert np.isfinite(predictions.drop(columns="compound").astype(float)).all(axis=None)

def test_a_fold_in_which_nothing_can_be_chosen_is_named():
    index, splits = grid_index([UNWEIGHTED], (1, 10)), [(None, np.array([f])) for f in range(3)]
    inner = np.array([[0.1, 0.2], [np.nan, np.nan], [0.2, 0.1]])
    with pytest.raises(InputError, match="without fold 1"):
        nested_choice(inner, np.ones((2, 3)), splits, index)
    inner[1] = 0.3, np.nan
    predicted, chosen = nested_choice(inner, np.array([[1.0, 2, 3], [4, 5, 6]]), splits, index)
    assert predicted.tolist() == [4, 2, 3] and [alpha for _, alpha in chosen] == [10, 1, 1]

def test_a_rule_knows_families_and_refuses_names_it_does_not_know():
    named = ["unweighted", "cluster: sd ^2", "sample: dose", "domain: KLIEP", "learned: worst plate"]
    assert [allowed(named, rule).tolist().index(True) for rule in RULES] == [0, 1, 2, 3, 4, 1]
    assert allowed(named, "weighted").sum() == 4 and allowed(["sample: height"], "").all()
    with pytest.raises(InputError, match="GRID has no weighting 'sample: height'"):
        allowed(["sample: height"], "weighted")

def test_a_study_in_two_folds_is_judged_without_a_nested_choice(small, pieces, tmp_path, capsys):
    judged = judge(small, RunFolder(tmp_path), *pieces, Recipe(**QUICK, folds=2))
    assert "note: with two folds no choice is nested" in capsys.readouterr().out
    inside = judged.comparison.loc["inside"]
    assert (inside.chosen == "").all() and inside.gain.isna().all() and np.isfinite(inside.pearson).all()
    said = verdict(read_tables(tmp_path))
    assert said == verdict(judged._asdict()) and not [s for s in said if "nested" in s or "nan" in s]
    assert "nan" not in comparison_text(judged.comparison)
    assert figure_choice(judged.grid, judged.comparison, judged.optimism).axes

# What models are is a column

def test_no_two_contenders_other_than_families_are_made_in_the_same_way():
    made = [(c.role, c.chosen, c.left_out) for c in CONTENDERS if c.role != "family"]
    assert len(made) == len(set(made)) and len({c.model for c in CONTENDERS}) == len(CONTENDERS)

@pytest.mark.parametrize("folder", COMMITTED)
def test_the_committed_tables_say_in_columns_what_each_model_is(folder):
    table = read_table(folder, "comparison")
    assert table[SELECT].equals(with_roles(table.drop(columns=SELECT))[SELECT])
    assert (table.choice[table.chosen != ""] != "").all()
    assert (table.loc[table.role == "baseline", ["choice", *SELECT[1:]]] == "").all(axis=None)
    assert row_of(table.loc["all"], "unweighted", "training", "compounds").name == REFERENCE
    assert table[table.chosen == "outside"].p.isna().all(), "what was picked on these labels gets no test"

def test_a_table_of_an_earlier_version_is_not_misread(judged, tmp_path):
    table = read_table(judged[0], "comparison")
    table.drop(columns=SELECT).to_csv(tmp_path/"comparison.csv")
    with pytest.raises(InputError, match="no column 'role': run the study again"):
        read_table(tmp_path, "comparison")
    with pytest.raises(InputError, match="There is no masking.csv"): read_table(tmp_path, "masking")

def test_figures_take_models_by_column_and_not_by_name(judged):
    _, j = judged
    renamed = {m: f"model {i}" for i, m in enumerate(j.comparison.index.unique("model"))}
    comparison, outside = j.comparison.rename(index=renamed, level="model"), j.outside.rename(columns=renamed)
    panels = [len(figure_predicted(o, c).axes) for o, c in ((j.outside, j.comparison), (outside, comparison))]
    assert panels[0] == panels[1] == 4
    titles = [figure_comparison(c).axes[0].get_title("left") for c in (j.comparison, comparison)]
    assert titles[0] == titles[1] and "plates left out" in titles[0]

# What is kept

def test_each_artefact_names_the_parameters_that_shape_it_and_no_others(judged, pieces, small):
    folder, _ = judged
    parameters = {p.stem: load_frame(p)[1]["parameters"] for p in folder.glob("*.parquet")}
    fits = {"alphas", "noise", "weightings", "folds", "seed"}
    compared = {"repeats", "seed", "folds", "by"}
    moved = {"factors", "alphas", "noise", "method", "min_samples", "resolution", "folds", "seed"}
    expected = {"models": fits, "comparison": compared | {"columns"}, "held_out": compared,
                "optimism": compared, "robustness": moved, "masking": {"most", "probes", "noise"},
                "coverage": {"chosen", "seed", "ways"}}
    for by in ("compound", "plate"):
        expected |= {f"cv_{by}": fits, f"held_out_{by}": fits, f"splits_{by}": {"folds", "seed"}}
    assert {stage: set(p) for stage, p in parameters.items()} == expected
    assert parameters["masking"]["most"] == 2 and parameters["models"]["alphas"] == [10, 1000]

def test_a_second_judgement_reloads_all_and_a_changed_recipe_all_that_it_leaves(judged, small, pieces, capsys):
    folder, first = judged
    again = judge(small, RunFolder(folder), *pieces, Recipe(**QUICK))
    assert "computed" not in capsys.readouterr().out
    for name, table in first._asdict().items(): pd.testing.assert_frame_equal(table, getattr(again, name))
    judge(small, RunFolder(folder), *pieces, Recipe(**{**QUICK, "most_masked": 1}))
    lines = [line for line in capsys.readouterr().out.splitlines() if "computed" in line]
    assert [line.split(":")[0] for line in lines] == ["masking"]

def test_a_comparison_kept_without_roles_is_computed_again(small, pieces, tmp_path, capsys):
    judge(small, RunFolder(tmp_path), *pieces, Recipe(**QUICK))
    path = tmp_path/"comparison.parquet"
    frame, made = load_frame(path)
    made["parameters"].pop("columns")
    save_frame(frame.drop(columns=SELECT), path, made)
    capsys.readouterr()
    again = judge(small, RunFolder(tmp_path), *pieces, Recipe(**QUICK))
    assert "comparison: computed" in capsys.readouterr().out and set(SELECT) <= set(again.comparison)

def test_plates_cannot_be_left_out_for_the_choice_where_none_are_known(small, pieces, capsys):
    nameless = type(small)(**{**vars(small), "samples": small.samples.drop(columns="plate")})
    with pytest.raises(InputError, match="cannot be chosen by 'plate': use compound"):
        judge(nameless, RunFolder(), *pieces, Recipe(**QUICK, choose_by="plate"))
    assert "note: The signatures have no plate" in capsys.readouterr().out

# What is said

def test_the_table_for_a_terminal_has_one_line_a_model_and_no_missing_number(judged):
    text = comparison_text(judged[1].comparison)
    assert "nan" not in text and text.count("Pearson r (95%)") == 3
    assert "\ninside training, held-out compounds: 600 samples of" in text
    for model in judged[1].comparison.index.unique("model"): assert f"  {model} " in text
    assert len({len(line) for line in text.splitlines() if line.startswith("  model")}) == 1

def test_sentences_say_what_the_interval_of_a_gain_allows(judged):
    tables = {**judged[1]._asdict(), "comparison": judged[1].comparison.copy()}
    cases = ((0.006, 0.1, "above"), (-0.1, -0.006, "below"), (-0.1, 0.1, "indistinguishable from"))
    for low, high, words in cases:
        tables["comparison"][["gain_low", "gain_high"]] = low, high
        said = [s for s in verdict(tables) if "gain" in s]
        assert said and all(f", {words} the unweighted model" in s for s in said)

def test_choosing_on_noise_promises_more_than_it_delivers():
    "Predictions without information: the best on half of the groups has no r on the other half."
    rng = np.random.default_rng(0)
    viability, predictions, compounds = rng.normal(size=120), rng.normal(size=(50, 120)), np.arange(120)//2
    on_half, on_other = split_halves(viability, predictions, compounds, 100)
    assert on_half > 0.2 and abs(on_other) < 0.15

def test_optimism_is_the_difference_of_two_models_on_the_same_samples(judged, small):
    _, j = judged
    grid = j.grid
    gap = j.optimism["compounds left out"]
    assert np.isclose(gap["r, chosen outside"], grid.r_outside.max())
    assert np.isclose(gap["r, chosen in training"], grid.r_outside[best(grid, "r_compound")])
    outside = np.tile(small.outside_samples.viability.to_numpy(), (len(grid), 1))
    same = optimism(small.outside_samples, grid.assign(r_outside=1.0), outside, repeats=20)
    assert same.optimism == same.optimism_low == same.optimism_high == 0

def test_neighbours_on_a_map_of_noise_share_no_viability():
    rng = np.random.default_rng(0)
    xy, viability = pd.DataFrame(rng.normal(size=(500, 2)), columns=["x", "y"]), pd.Series(rng.random(500))
    assert abs(neighbour_r(xy, viability)) < 0.15 < neighbour_r(xy, xy.x)
    viability[20:] = np.nan
    assert np.isfinite(neighbour_r(xy, viability))
    assert np.isnan(neighbour_r(xy, viability.where(viability.index < 5))), "five have no ten neighbours"
