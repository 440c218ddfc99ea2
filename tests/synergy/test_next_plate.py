"""Rounds that go out and come back: proposals, the campaign's folder, the command."""
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.command import main
from drugnb.core.artefacts import write_json
from drugnb.core.settings import InputError
from drugnb.synergy.campaign import close_round, known_screen, open_round, outcome_text, read_log, round_folder, with_references
from drugnb.synergy.data import open_screen
from drugnb.synergy.propose import Wish, assumed_stock, drug_table, nearest_measured, next_round, pending_pairs, screen_doses
from drugnb.synergy.results import Lab, read_plate_map, read_results, simulate_lab

QUICK = dict(model="ridge", policy="greedy")

@pytest.fixture(scope="module")
def part():
    "A third of the matrices of the small simulated screen."
    screen = open_screen("simulated-small")
    blocks = pd.Series(screen.wells.block.unique()).sample(frac=0.35, random_state=0)
    return replace(screen, wells=screen.wells[screen.wells.block.isin(blocks)].reset_index(drop=True), key="part")

def true_viability(screen):
    "The function that a simulated lab asks, from the screen's own truth."
    curves = screen.truth["curves"].set_index(["line", "drug"])
    strength = screen.truth["pairs"].set_index(["line", "drug_a", "drug_b"]).interaction
    def viability(line, drug_a, dose_a, drug_b, dose_b):
        alive, shares = np.full(len(line), 100.0), []
        for drug, dose in ((drug_a, dose_a), (drug_b, dose_b)):
            c, dose = curves.reindex(pd.MultiIndex.from_arrays([line, drug])), np.nan_to_num(np.asarray(dose, float))
            share = np.where(dose > 0, 1/(1 + (c.C.to_numpy()/np.where(dose > 0, dose, 1))**c.h.to_numpy()), 0)
            alive = alive*(1 - np.nan_to_num((1 - c.Emax.to_numpy()/100)*share))
            shares.append(np.nan_to_num(share))
        both = strength.reindex(pd.MultiIndex.from_arrays([line, drug_a, drug_b])).fillna(0).to_numpy()
        return alive*(1 - both*shares[0]*shares[1])
    return viability

def pair_names(table): return set(map(frozenset, zip(table.drug_a, table.drug_b, strict=True)))

def measured_names(screen):
    both = screen.wells[(screen.wells.dose_a > 0) & (screen.wells.dose_b > 0)]
    return pair_names(both[["drug_a", "drug_b"]].drop_duplicates())

def test_proposed_pairs_are_new_different_and_the_same_again(part):
    one, two = (next_round(part, Wish(n=20, seed=3, **QUICK)) for _ in range(2))
    names = pair_names(one.table)
    assert one.table.equals(two.table) and len(names) == 20 and not names & measured_names(part)
    assert all(len(n) == 2 for n in names), "no drug with itself"
    assert one.table.expected.is_monotonic_decreasing and (one.table.drug_a < one.table.drug_b).all()

def test_pending_and_unavailable_drugs_are_left_out_by_any_spelling(part):
    first = next_round(part, Wish(n=5, **QUICK)).table
    swapped = first.rename(columns={"drug_a": "drug_b", "drug_b": "drug_a"})[["drug_a", "drug_b"]].map(str.lower)
    assert not pair_names(next_round(part, Wish(n=30, **QUICK), swapped).table) & pair_names(first)
    gone = first.drug_a[0]
    left = next_round(part, Wish(n=500, without=(gone.lower(),), **QUICK))
    assert gone not in set(left.table.drug_a) | set(left.table.drug_b) and "left of 500 asked" in left.notes[0]
    with pytest.raises(InputError, match="no drug 'nothing'"): next_round(part, Wish(without=("nothing",), **QUICK))
    with pytest.raises(InputError, match="no cell line 'HeLa'"): next_round(part, Wish(lines=("HeLa",), **QUICK))
    with pytest.raises(InputError, match="There is no model 'oracle'"): next_round(part, Wish(model="oracle"))
    with pytest.raises(InputError, match="no column 'drug_b'"): next_round(part, Wish(**QUICK), first[["drug_a"]])

def test_a_screen_without_a_pair_left_says_so(part):
    several = Wish(n=10**4, **QUICK)
    everything = next_round(part, several).table[["drug_a", "drug_b"]]
    with pytest.raises(InputError, match="Nothing is left to propose"): next_round(part, several, everything)

def test_the_reason_of_a_pair_is_the_measured_pair_most_like_it(part):
    made = next_round(part, Wish(n=10, **QUICK))
    data, library = made.data, made.data.pairs.library
    at, alike = nearest_measured(data.pairs, data.pairs)
    np.testing.assert_array_equal(at, np.arange(len(at)))
    np.testing.assert_allclose(alike, 1)
    row = made.table.iloc[0]
    held = data.y[[i for i in range(len(data.y)) if f"{library.drugs[data.pairs.a[i]]} + {library.drugs[data.pairs.b[i]]}" == row.nearest_measured]]
    assert row.its_score in held and 0 < row.similarity < 1
    counts = sum((library.drugs[side] == row.drug_a).sum() for side in (data.pairs.a, data.pairs.b))
    assert counts == row.measured_of_a

def test_what_is_expected_of_a_drug_is_the_mean_over_its_partners(part):
    made = next_round(part, Wish(n=2, **QUICK))
    table = drug_table(made.model, made.data, draws=50)
    assert len(table) == len(part.drugs) and (table.low <= table.expected + 1e-9).all() and table.expected.is_monotonic_decreasing
    assert table.measured.corr(table.expected) > 0.8

def test_doses_are_those_of_the_screen_and_an_assumed_stock_reaches_them(part):
    doses = screen_doses(part, ["A01", "B02"])
    used = part.wells[part.wells.drug_a == "A01"].dose_a
    assert set(doses[doses.drug == "A01"].dose_uM) <= set(used) and (doses.groupby("drug").size() == 3).all()
    with pytest.raises(InputError, match="no doses of Z99"): screen_doses(part, ["Z99"])
    from drugnb.synergy.propose import FROM_STOCKS
    stock = assumed_stock(doses.assign(dose_uM=doses.dose_uM*1000), FROM_STOCKS)
    top = doses.groupby("drug").dose_uM.max()*1000
    nl = top.loc[stock.drug].to_numpy()*FROM_STOCKS.well_ul/stock.stock.to_numpy()
    weak = assumed_stock(doses.assign(dose_uM=doses.dose_uM/1000), FROM_STOCKS).stock
    assert (weak < stock.stock.to_numpy()).all() and (np.log10(weak) % 1 == 0).all(), "a potent drug gets a weaker stock"
    assert (nl <= FROM_STOCKS.well_ul*1000*FROM_STOCKS.dmso_percent/100/2 + 1e-9).all(), "two drugs share the DMSO of a well"

def test_a_plate_goes_out_comes_back_and_is_in_training(part, tmp_path):
    wish, folder = Wish(n=6, **QUICK), tmp_path/"next"
    first, notes = open_round(part, folder, wish)
    assert read_log(folder)[0]["state"] == "open" and any("stock: assumed" in n for n in notes)
    before = {p.name: p.read_bytes() for p in round_folder(folder, 1).iterdir()}
    open_round(part, folder, wish)
    assert before == {p.name: p.read_bytes() for p in round_folder(folder, 1).iterdir()}, "typed again: the same files"
    with pytest.raises(InputError, match="Round 1 is open and was asked for otherwise"): open_round(part, folder, replace(wish, n=7))
    quiet = Lab(plates=0.1, rows=0, columns=0, edge=0, noise=0.005)
    filled = simulate_lab(read_plate_map(round_folder(folder, 1)/"plate_map.csv"), true_viability(part), 1, quiet)
    filled.sample(frac=1, random_state=0).to_csv(tmp_path/"results.csv", index=False)
    said = close_round(folder, tmp_path/"results.csv")
    assert said[0] == "round 1 is closed" and "6 of 6 pairs came back" in said[-1]
    with pytest.raises(InputError, match="No round is open"): close_round(folder, tmp_path/"results.csv")
    known = known_screen(part, folder)
    assert known.key != part.key and len(measured_names(known)) == len(measured_names(part)) + 6
    table = pd.read_csv(round_folder(folder, 1)/"outcome.csv").merge(part.truth["pairs"], on=["line", "drug_a", "drug_b"])
    map_ = read_plate_map(round_folder(folder, 1)/"plate_map.csv")
    assert table.measured.notna().all() and (map_.role == "combination").sum() == 54
    second, _ = open_round(part, folder, wish)
    assert not pair_names(second.table) & pair_names(first.table) and len(second.data.y) == len(first.data.y) + 6

def test_viabilities_that_came_back_are_the_true_ones_without_noise(part, tmp_path):
    open_round(part, tmp_path, Wish(n=4, **QUICK))
    plate_map, truth = read_plate_map(round_folder(tmp_path, 1)/"plate_map.csv"), true_viability(part)
    still = Lab(plates=0.3, rows=0, columns=0, edge=0, noise=1e-4)
    wells = with_references(read_results(simulate_lab(plate_map, truth, 2, still), plate_map), 1)
    np.testing.assert_allclose(wells.viability, truth(wells.line, wells.drug_a, wells.dose_a, wells.drug_b, wells.dose_b), atol=0.3)
    sizes = wells.groupby("block").size()
    assert (sizes == 9 + 6).all(), "three by three doses, and each drug alone at its three"

def test_a_campaign_that_is_none_and_a_lost_round_are_said(part, tmp_path):
    (tmp_path/"campaign.json").write_text("[]")
    with pytest.raises(InputError, match="is not a campaign's log"): open_round(part, tmp_path)
    asked = {**asdict(Wish()), "threshold": None, "recipe": {}}
    write_json(tmp_path/"campaign.json", {"rounds": [{"round": 1, "state": "closed", "asked": asked}]})
    with pytest.raises(InputError, match="Round 1 is closed.*not there"): known_screen(part, tmp_path)
    round_folder(tmp_path, 1).mkdir()
    (round_folder(tmp_path, 1)/"wells.csv").write_text("block,line\n")
    with pytest.raises(InputError, match="changed since it was written"): known_screen(part, tmp_path)

def test_how_a_round_turned_out_is_said_in_a_sentence():
    t = pd.DataFrame({"expected": [10, 5, 0.0], "low_90": [0, 0, -5.0], "high_90": [20, 10, 5.0], "measured": [12, 30, np.nan]})
    assert outcome_text(t) == "2 of 3 pairs came back"
    t.loc[2, "measured"] = 1
    assert "67% inside the 90% intervals" in outcome_text(t) and "r = 0.38" in outcome_text(t)

def test_pending_pairs_need_a_line_where_there_are_several():
    screen = open_screen("simulated")
    from drugnb.core.artefacts import RunFolder
    from drugnb.synergy.pairs import screen_target
    pairs = screen_target(screen, RunFolder()).pairs
    with pytest.raises(InputError, match="the screen has several lines"):
        pending_pairs(pd.DataFrame({"drug_a": ["A01"], "drug_b": ["B01"]}), pairs)
    found = pending_pairs(pd.DataFrame({"drug_a": ["A01"], "drug_b": ["B01"], "line": ["LINE-1"]}), pairs)
    assert len(found) == 1 and pairs.library.lines[found.line[0]] == "line 1"

def test_the_command_proposes_and_takes_results_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert not main(["example", "mine", "--study", "synergy"])
    how = ["propose", "mine", "--out", "next", "--model", "ridge", "--policy", "greedy", "--n", "4"]
    assert not main(how)
    assert "round 1 is open" in capsys.readouterr().out
    template = pd.read_csv("next/round_1/results_template.csv")
    screen = open_screen("simulated-small")
    filled = simulate_lab(read_plate_map("next/round_1/plate_map.csv"), true_viability(screen), 0, Lab(noise=0.01))
    assert set(filled.well) == set(template.well)
    filled.to_csv("back.csv", index=False)
    assert not main([*how, "--add", "back.csv"])
    out = capsys.readouterr().out
    assert "round 1 is closed" in out and "round 2 is open" in out
    with pytest.raises(SystemExit): main([*how, "--add", "nothing.csv"])
    assert "nothing.csv" in capsys.readouterr().err

@pytest.mark.slow
def test_proposing_needs_neither_torch_nor_rdkit(tmp_path):
    code = (f"import sys; from drugnb.command import main; told = main(['propose', 'simulated-small', '--out', {str(tmp_path/'next')!r}, "
            "'--n', '3', '--model', 'ridge']); sys.exit(told or len({'torch', 'rdkit'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
