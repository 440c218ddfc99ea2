"""The command `drugnb score`: the same numbers as the functions, whole files, pictures of every kind of matrix, and bad input in one
sentence."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fastcore.script import anno_parser

from drugnb.core.settings import InputError
from drugnb.synergy.data import open_screen
from drugnb.synergy.score import (
    block_curves,
    figure_blocks,
    figure_contour,
    figure_curves,
    figure_surface,
    score,
    score_figures,
    short_table,
    single_points,
    strongest,
    surface_grid,
    surface_title,
    wells_to_score,
    with_references,
)
from drugnb.synergy.surfaces import MEASURES, score_wells

A, B = [0, 0.1, 0.3, 1, 3], [0, 0.05, 0.2, 0.5]

def alive(a, b): return 1/((1 + a**1.2)*(1 + b/0.5))*(0.7 if a and b else 1)

def table(doses_a=A, doses_b=B, replicates=2, sd=3.0, seed=0, scale=100, **more):
    rng = np.random.default_rng(seed)
    rows = [("MCF7", "drugA", a, "drugB", b, "uM", scale*(alive(a, b) + rng.normal(0, sd/100)))
            for _ in range(replicates) for a in doses_a for b in doses_b]
    names = ["cell_line", "drug_a", "dose_a", "drug_b", "dose_b", "unit", "viability"]
    return pd.DataFrame(rows, columns=names).assign(**more)

@pytest.fixture
def file(tmp_path):
    path = tmp_path/"wells.csv"
    table().to_csv(path, index=False)
    return path

@pytest.fixture(scope="module")
def screen(): return open_screen("simulated-small")

@pytest.fixture(scope="module")
def scored(screen): return score_wells(screen.wells, screen.singles, draws=100)

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")

def test_the_command_writes_what_the_functions_say(file, tmp_path, capsys):
    score(str(file), str(tmp_path/"out"))
    said, screen = capsys.readouterr().out, wells_to_score(str(file))
    expected = score_wells(screen.wells, screen.singles)
    for name, keys in (("cells", ["dose_a", "dose_b"]), ("blocks", ["block"])):
        found = pd.read_csv(tmp_path/f"out/{name}.csv").set_index(keys)
        ours = getattr(expected, name).set_index(keys)
        numbers = [c for c in ours.select_dtypes(float)]
        assert list(found.columns) == list(ours.columns) and len(numbers) > 10
        np.testing.assert_allclose(found[numbers].astype(float), ours[numbers], rtol=1e-5, atol=1e-9)
    curves = pd.read_csv(tmp_path/"out/curves.csv")
    assert set(curves.drug) == {"drugA", "drugB"} and set(curves.status) == {"fitted"}
    report = (tmp_path/"out/report.txt").read_text()
    for note in (*screen.report, *expected.notes): assert note in report and note in said
    assert "positive = more killing" in said and "drugA + drugB" in said and "noise of 1 blocks: its own replicates" in said
    assert f"{expected.blocks.bliss_mean[0]:.1f} (" in said
    pictures = {p.name for p in (tmp_path/"out").glob("*.png")}
    assert pictures == {"blocks.png", "surface_1.png", "contour_1.png", "curves_1.png"} and not list((tmp_path/"out").glob(".partial*"))

@pytest.mark.slow
def test_a_second_time_gives_the_same_bytes(file, tmp_path):
    for name in "ab": score(str(file), str(tmp_path/name))
    files = sorted(p.name for p in (tmp_path/"a").iterdir())
    assert len(files) == 12 and all((tmp_path/"a"/f).read_bytes() == (tmp_path/"b"/f).read_bytes() for f in files)

def test_the_command_line_names_every_option():
    parsed = anno_parser(score).parse_args("mine.csv --out folder --cap singles --response inhibition --unit nM --top 3".split())
    assert (parsed.wells, parsed.out, parsed.cap, parsed.response, parsed.unit, parsed.top) == (
        "mine.csv", "folder", "singles", "inhibition", "nM", 3)

def test_scale_kind_and_unit_change_nothing(file, tmp_path, capsys):
    plain = table()
    same = {"fraction": plain.assign(viability=plain.viability/100),
            "inhibition": plain.assign(inhibition=100 - plain.viability).drop(columns="viability"),
            "nanomolar": plain.assign(dose_a=1000*plain.dose_a, dose_b=1000*plain.dose_b, unit="nM")}
    found = {}
    for name, wells in {"plain": plain, **same}.items():
        wells.to_csv(tmp_path/f"{name}.csv", index=False)
        screen = wells_to_score(str(tmp_path/f"{name}.csv"))
        found[name] = score_wells(screen.wells, screen.singles, draws=0).cells
    for name in same:
        for m in MEASURES: np.testing.assert_allclose(found[name][m], found["plain"][m], atol=1e-6)
    unsaid = plain.drop(columns="unit").rename(columns={"viability": "response"})
    unsaid.to_csv(tmp_path/"unsaid.csv", index=False)
    with pytest.raises(InputError, match="unit"): score(str(tmp_path/"unsaid.csv"))
    screen = wells_to_score(str(tmp_path/"unsaid.csv"), "viability", "nM")
    np.testing.assert_allclose(score_wells(screen.wells, screen.singles, draws=0).cells.bliss, found["plain"].bliss, atol=1e-6)
    assert np.isclose(screen.wells.dose_a.max(), 0.003)

@pytest.mark.parametrize("how, says", [
    (dict(wells="nowhere.csv"), "nowhere"),
    (dict(wells="nowhere.csv", unit="nM"), "no file or folder"),
    (dict(wells="simulated-small", response="viability"), "one's own wells"),
    (dict(wells="simulated-small", cap="half"), "capping rule"),
])
def test_what_cannot_be_scored_is_one_sentence_and_nothing_is_written(how, says, tmp_path, capsys):
    with pytest.raises(InputError, match=says): score(**how, out=str(tmp_path/"out"))
    assert not (tmp_path/"out").exists() and capsys.readouterr().out == ""

def test_the_strongest_are_the_surest_and_unscored_matrices_are_left_out():
    blocks = pd.DataFrame({"block": list("abcd"), "bliss_mean": [20, 10, np.nan, 5], "bliss_mean_low": [-5, 8, np.nan, np.nan]})
    assert list(strongest(blocks).block) == ["b", "a", "d"] and list(strongest(blocks, n=1).block) == ["b"]

def test_the_short_table_leaves_out_what_is_not_known(scored):
    plain = scored.blocks.head(2).copy()
    plain.loc[0, ["loewe_mean", "loewe_mean_low"]] = np.nan
    plain.loc[1, ["bliss_mean_low", "bliss_mean_high", "bliss_max_p"]] = np.nan
    shown = short_table(plain)
    assert shown.loewe[0] == "" and "(" in shown.hsa[0] and "(" not in shown.bliss[1] and shown.p[1] == ""
    assert shown.bliss[1] == f"{plain.bliss_mean[1]:.1f}"

def test_the_grid_of_a_figure_has_every_well_in_its_place(scored, screen):
    block = scored.blocks.iloc[7]
    mine, wells = scored.cells[scored.cells.block == block.block], screen.wells[screen.wells.block == block.block]
    grid = with_references(mine.sample(frac=1, random_state=0), block.untreated)
    assert list(grid.index) == sorted(wells.dose_a.unique()) and list(grid.columns) == sorted(wells.dose_b.unique())
    for row in wells.itertuples(): assert np.isclose(grid.loc[row.dose_a, row.dose_b], row.viability)
    assert surface_grid(mine.iloc[1:], "bliss").isna().sum().sum() == 1

def test_a_title_says_what_the_table_says(scored):
    block = scored.blocks.iloc[3].copy()
    title = surface_title(block, "bliss", 500)
    for score_ in ("bliss_mean", "bliss_mean_low", "bliss_mean_high", "bliss_max"): assert f"{block[score_]:.1f}" in title
    block["loewe_mean"], block["loewe_reason"] = np.nan, "drugB is not fitted"
    assert surface_title(block, "loewe").endswith("drugB is not fitted")

@pytest.mark.parametrize("spoil", [
    lambda w: w,
    lambda w: w.drop(index=w.index[(w.dose_a == 1) & (w.dose_b == 0.2)]),  # a gap
    lambda w: w[w.dose_a.isin([0, 1]) & w.dose_b.isin([0, 0.2])],  # one cell
    lambda w: w.assign(viability=100.0),  # nothing happens
    lambda w: w.assign(viability=w.viability.where(w.dose_b > 0, 100 + 60*w.dose_a)),  # a drug that cannot be fitted
    lambda w: w[~((w.dose_a == 0) & (w.dose_b == 0))],  # no untreated well
    lambda w: w.iloc[:len(w)//2],  # no replicates
], ids=["whole", "gap", "one cell", "flat", "not fitted", "no untreated", "no replicates"])
def test_every_kind_of_matrix_has_its_pictures(spoil, tmp_path):
    path = tmp_path/"wells.csv"
    spoil(table()).to_csv(path, index=False)
    screen = wells_to_score(str(path), "viability")
    found = score_wells(screen.wells, screen.singles, draws=50)
    block = found.blocks.iloc[0]
    curves = block_curves(found.curves, block)
    figures = [figure_surface(found.cells, block, "bliss"), figure_surface(found.cells, block, "loewe"), figure_blocks(found.blocks),
               figure_curves(curves, [single_points(screen.wells, screen.singles, c) for _, c in curves.iterrows()])]
    for fig in figures: fig.canvas.draw()
    assert len(figures[0].axes) == 4 and len(curves) == 2

def test_curves_show_the_wells_that_they_were_fitted_to(screen, scored):
    block = scored.blocks.iloc[0]
    curves = block_curves(scored.curves, block)
    assert list(curves.drug) == [block.drug_a, block.drug_b] and set(curves.block) == {block.block}
    points = single_points(screen.wells, screen.singles, curves.iloc[0])
    mine = screen.wells[(screen.wells.block == block.block) & (screen.wells.dose_b == 0)]
    assert sorted(points.viability) == sorted(mine.viability)
    other = scored.curves[scored.curves.block == ""].iloc[0]
    wells = single_points(screen.wells, screen.singles, other)
    assert len(wells) == ((screen.singles.drug == other.drug) & (screen.singles.line == other.line)).sum() > 3
    assert len(figure_curves(curves, [points, points]).axes) == 2

def test_the_overview_counts_the_sure_ones(scored):
    blocks = scored.blocks
    title = figure_blocks(blocks)._suptitle.get_text()
    assert f"above 0 in {(blocks.bliss_mean_low > 0).sum()}, below 0 in {(blocks.bliss_mean_high < 0).sum()}" in title
    unknown = blocks.assign(bliss_mean_low=np.nan, bliss_mean_high=np.nan)
    assert "no interval" in figure_blocks(unknown, named=3)._suptitle.get_text()
    fig = figure_contour(scored.cells[scored.cells.block == blocks.block[0]], blocks.iloc[0], "hsa")
    assert fig.axes[0].get_xscale() == "log"

def test_no_more_surfaces_are_drawn_than_there_are(screen, scored, tmp_path):
    paths = score_figures(screen, scored, tmp_path, n=1)
    assert sorted({p.stem for p in paths}) == ["blocks", "contour_1", "curves_1", "surface_1"] and plt.get_fignums() == []
