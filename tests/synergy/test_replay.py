"""Replay of a measured screen: what is counted, chance, the oracle, tables and figures."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.artefacts import RunFolder
from drugnb.core.settings import InputError
from drugnb.synergy.gp import GaussianProcess, made_screen
from drugnb.synergy.replay import (
    best_pairs,
    by_chance,
    curve_table,
    figure_picked,
    figure_replay,
    found_by_round,
    mean_curves,
    oracle_curves,
    replay,
    replay_curves,
    ways,
)


@pytest.fixture(scope="module")
def data(): return made_screen(20, seed=4).data

@pytest.fixture(scope="module")
def picks(data): return replay(data, ways("Gaussian process, random"), 15, 4, 3)

def test_the_best_hundredth_is_rounded_up_and_by_value():
    y = np.random.default_rng(0).standard_normal(5131)
    assert len(best_pairs(y)) == 52 and y[best_pairs(y)].min() > np.sort(y)[-53]
    assert best_pairs(np.array([1.0, 3, 2]), 0.5).tolist() == [1, 2]

def test_found_pairs_are_counted_with_those_of_the_start():
    picks = pd.DataFrame({"round": [0, 0, 1, 1, 2], "candidate": [4, 7, 1, 2, 9]})
    found = found_by_round(picks, np.array([7, 9, 3, 2]))
    assert found.found.tolist() == [1, 2, 3] and found.share.tolist() == [0.25, 0.5, 0.75] and found.measured.tolist() == [2, 4, 5]

def test_every_campaign_asks_for_measured_pairs_once_and_repeats(data, picks):
    by = picks.groupby(["model", "seed"])
    assert (by.candidate.nunique() == 75).all() and len(by) == 6
    np.testing.assert_array_equal(picks.y, data.y[picks.candidate])
    again = replay(data, ways("Gaussian process"), 15, 4, 1, seed=1)
    one = picks[(picks.model == "Gaussian process") & (picks.seed == 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, again)

def test_chance_is_what_drawing_gives():
    rng = np.random.default_rng(1)
    said = by_chance(400, 12, np.array([40, 200]))
    for m, row in zip((40, 200), said.itertuples(), strict=True):
        drawn = np.array([np.isin(np.arange(12), rng.permutation(400)[:m]).mean() for _ in range(3000)])
        assert abs(drawn.mean() - row.share) < 0.01
        assert 0.94 < ((row.low - 1e-9 <= drawn) & (drawn <= row.high + 1e-9)).mean()

def test_the_oracle_beats_chance_and_finds_everything_in_the_end(data):
    best = best_pairs(data.y, 0.05)
    curves = oracle_curves(data, best, np.array([0, 38, 190, 500]), seeds=2)
    share = curves.groupby("measured").share.mean()
    assert share.iloc[0] == 0 and share.iloc[-1] == 1 and share.loc[38] > 0.3

def test_tables_have_a_row_a_seed_and_a_round(data, picks):
    best = best_pairs(data.y, 0.05)
    curves = replay_curves(picks, best)
    assert len(curves) == 2*3*5 and curves.columns.tolist() == ["model", "policy", "seed", "round", "measured", "found", "share"]
    means = mean_curves(curves)
    row, of = means[(means.model == "random") & (means["round"] == 3)].iloc[0], curves[(curves.model == "random") & (curves["round"] == 3)]
    assert row.share == pytest.approx(of.share.mean()) and (row.low, row.high) == (of.share.min(), of.share.max())
    half = 4.302653*of.share.std()/np.sqrt(3)
    assert row.mean_high - row.share == pytest.approx(half, rel=1e-5)
    assert mean_curves(curves[curves.seed < 2]).mean_low.isna().all(), "two seeds are too few for an interval"
    measured = curves.measured.unique()
    table = curve_table(curves, by_chance(len(data.y), len(best), measured), oracle_curves(data, best, measured, 1))
    assert len(table) == len(curves) and table[["chance", "oracle"]].notna().all().all()

def test_figures_say_what_they_show(data, picks):
    best = best_pairs(data.y, 0.05)
    means = mean_curves(replay_curves(picks, best))
    measured = means.measured.unique()
    fig = figure_replay(means, by_chance(len(data.y), len(best), measured), oracle_curves(data, best, measured, 1), len(best))
    ax = fig.axes[0]
    at = means[(means["round"] == 1) & (means.model == "random")].share.iloc[0]
    assert f"random {at:.0%}" in ax.get_title(loc="left") + ax.get_title() and ax.get_xlabel() == "pairs measured"
    assert len(figure_picked(picks, best, ["random"]).axes) == 1

def test_rounds_are_kept_in_the_run_folder_and_not_made_again(data, tmp_path, monkeypatch):
    store, asking = RunFolder(tmp_path), ways("Gaussian process")
    one = replay(data, asking, 15, 3, 2, store=store)
    files = sorted(p.name for p in (tmp_path/"rounds").glob("*.parquet"))
    assert files == ["Gaussian_process_0.parquet", "Gaussian_process_1.parquet"]
    monkeypatch.setattr(GaussianProcess, "fit", None)
    pd.testing.assert_frame_equal(one, replay(data, asking, 15, 3, 2, store=store))

def test_an_unknown_way_of_asking_is_named():
    with pytest.raises(InputError, match="no way of asking 'luck'"): ways("random, luck")
    assert list(ways("random, extra trees")) == ["random", "extra trees"]

def test_a_terminal_shows_means_over_seeds_beside_chance_and_oracle():
    from drugnb.synergy.replay import replay_text
    table = pd.DataFrame({"model": "m", "policy": "ucb", "seed": [0, 1]*2, "round": [0, 0, 5, 5], "measured": [30, 30, 180, 180],
                          "found": 0, "share": [0, 0, 0.2, 0.4], "chance": [0.1, 0.1, 0.15, 0.15], "oracle": 0.9})
    text = replay_text(table).splitlines()
    assert "2 seeds" in text[0] and text[1].split()[-2:] == ["5", "rounds"]
    assert [line.split()[-1] for line in text[2:]] == ["0.30", "0.15", "0.90"]
