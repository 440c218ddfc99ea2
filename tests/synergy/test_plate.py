"""Plates: every promise of a layout, over many recipes; faults that must be seen; volumes that cannot be dispensed."""
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError, project_path
from drugnb.synergy.plate import (
    SIZES,
    Recipe,
    check_plates,
    dose_volumes,
    draw_plate,
    inner_shape,
    lay_out,
    layout_label,
    pack_pairs,
    plain_well,
    plate_wells,
    position_links,
    read_doses,
    read_proposal,
    read_stock,
    room,
    row_name,
    write_plates,
)

DRUGS = [f"d{i}" for i in range(17)]

def tables(n_pairs=30, lines=("",), levels=(0.1, 1.0, 10.0), volume=30.0):
    "A proposal, doses and stocks as people have them."
    pairs = [p for p in product(DRUGS[:5], DRUGS[10:])][:n_pairs]
    proposal = pd.DataFrame([(line, *p) for line in lines for p in pairs], columns=["line", "drug_a", "drug_b"])
    if lines == ("",): proposal = proposal.drop(columns="line")
    doses = pd.DataFrame([*product(DRUGS, levels)], columns=["drug", "dose_uM"])
    wells = [f"{row_name(i % 16)}{i//16 + 1}" for i in range(len(DRUGS))]
    stock = pd.DataFrame({"drug": DRUGS, "stock": 10.0, "unit": "mM", "source_plate": "SRC1", "source_well": wells, "volume_ul": volume})
    return proposal, doses, stock

@pytest.fixture(scope="module")
def laid(): return lay_out(*tables())

def used_of(plates): return plates.plate_map[plates.plate_map.role != "empty"]

def promised(plates, proposal, doses, stock):
    "The promises again, in other words than check_plates has for them."
    recipe, table = plates.recipe, plates.plate_map
    rows, columns = SIZES[recipe.size]
    r = table.well.map(dict(zip(plate_wells(recipe.size).well, np.arange(recipe.size), strict=True))).to_numpy()
    ring = (r//columns < recipe.ring) | (r//columns >= rows - recipe.ring) | (r % columns < recipe.ring) | (r % columns >= columns - recipe.ring)
    assert (table.role[ring] == "empty").all()
    for _, plate in table.groupby("plate"):
        assert (plate.role == "dmso").sum() == recipe.n_dmso and (plate.role == "positive").sum() == recipe.n_positive
        for axis, n in zip(("row", "column"), inner_shape(recipe), strict=True):
            counts = plate[plate.role == "dmso"].groupby(axis).size().reindex(sorted({*plate[axis]})[recipe.ring:][:n]).fillna(0)
            assert counts.max() - counts.min() <= 1, "DMSO is spread over rows and columns"
    matrix = table[table.role == "combination"]
    n = doses.groupby("drug").size()
    for (_, a, b), wells in matrix.groupby(["line", "drug_a", "drug_b"]):
        assert a < b and wells.plate.nunique() == 1 and len(wells) == n[a]*n[b]*recipe.replicates
    assert matrix.groupby(["line", "drug_a", "drug_b"]).ngroups == len(proposal)
    total = plates.picklist.groupby(["destination_plate", "destination_well"]).volume_nl.sum()
    assert len(total) == len(used_of(plates)) and np.isclose(total.min(), total.max())
    assert total.max() <= recipe.dmso_percent/100*recipe.well_ul*1000 + 1e-6
    drops = plates.picklist.volume_nl/recipe.droplet_nl
    assert np.allclose(drops, drops.round())
    assert (plates.drawn.left_ul >= recipe.dead_ul - 1e-6).all()
    made = plates.volumes
    assert (np.abs(made.dose/made.asked - 1) <= recipe.deviation + 1e-5).all()


# the case that other software got wrong

def test_thirty_pairs_need_two_plates_and_the_ring_of_76_wells_stays_empty(laid):
    first = laid.plate_map[laid.plate_map.plate == "plate_1"]
    ring = first.row.isin(["A", "P"]) | first.column.isin([1, 24])
    assert ring.sum() == 76 and (first.role[ring] == "empty").all()
    assert laid.plate_map.plate.nunique() == 2 and (laid.plate_map.role == "combination").sum() == 270
    assert laid.plate_map.groupby("plate")["rank"].nunique().tolist() == [28, 2]
    singles = laid.plate_map[laid.plate_map.role == "single"].groupby("plate")[["drug_a", "dose_a"]].agg("nunique")
    assert singles.values.tolist() == [[11, 3], [3, 3]]
    promised(laid, *tables())
    assert laid.notes[0] == "plate_1: 28 pairs; wells: 252 combination, 33 single, 16 dmso, 4 positive, 79 empty"
    assert any(n.startswith("the stocks name no DMSO: 1 source well must be filled") for n in laid.notes)

def test_a_weak_stock_is_an_error_that_names_drug_and_top_dose():
    proposal, doses, stock = tables()
    stock.loc[stock.drug == "d3", "stock"] = 0.01
    with pytest.raises(InputError, match=r"d3 at 10 µM takes 50,000.0 nL .* at most 250.0 nL .*stronger stock"): lay_out(proposal, doses, stock)
    lay_out(proposal[proposal.drug_a != "d3"], doses, stock)

def test_the_shared_case_is_laid_out():
    folder = project_path("../shared/cases/synergy/16-plate-controls")
    if not folder.is_dir(): pytest.skip("the small inputs that broke others' tools are not beside the project")
    pairs, doses, stock = (pd.read_csv(folder/f"{name}.csv") for name in ("pairs", "doses", "stock"))
    with pytest.raises(InputError, match="d3 at 10 µM"): lay_out(pairs, doses, stock)
    stock["stock"] = stock.stock.where(stock.drug != "d3", 10.0)
    plates = lay_out(pairs, doses, stock, Recipe(positive="d7", positive_dose=10))
    assert not check_plates(plates, pairs, doses, stock)
    promised(plates, pairs, doses, stock)


# promises, over many recipes

def drawn_recipe(rng, seed):
    "A recipe at random."
    size = int(rng.choice([96, 384, 384, 1536]))
    positive = [{}, dict(positive="d16", positive_dose=5.0)][rng.integers(2)]
    return Recipe(size=size, well_ul={96: 100.0, 384: 40.0, 1536: 10.0}[size], dmso_percent=1.5, ring=int(rng.integers(0, 3)) if size > 96 else 1,
                  replicates=int(rng.integers(1, 3)), singles=int(rng.integers(0, 3)), n_dmso=int(rng.integers(16, 22)),
                  n_positive=int(rng.integers(4, 9)), seed=seed, dilution=float(rng.choice([5, 10, 20])), deviation=0.1,
                  dead_ul=float(rng.choice([0, 2.5, 15])), **positive)

@pytest.mark.parametrize("seed", range(12))
def test_every_promise_holds_for_a_recipe_drawn_at_random(seed):
    rng = np.random.default_rng(seed)
    recipe = drawn_recipe(rng, seed)
    levels = np.sort(rng.choice([0.03, 0.1, 0.37, 1.0, 2.2, 5.0, 10.0], rng.integers(1, 4), replace=False))
    lines = [("",), ("A375", "MCF7")][rng.integers(2)]
    proposal, doses, stock = tables(int(rng.integers(1, 20)), lines, tuple(levels), 60.0)
    proposal = proposal.sample(frac=1, random_state=seed).assign(rank=np.arange(len(proposal)) + 3)
    plates = lay_out(proposal, doses, stock, recipe)
    assert not check_plates(plates, proposal, doses, stock)
    promised(plates, proposal, doses, stock)
    assert plates.plate_map.groupby("plate").line.nunique().max() == 1

def test_positive_controls_lie_elsewhere_on_every_plate():
    proposal, doses, stock = tables(24)
    plates = lay_out(proposal, doses, stock, Recipe(size=96, well_ul=100))
    wells = [{*t.well[t.role == "positive"]} for _, t in plates.plate_map.groupby("plate")]
    assert len(wells) > 6 and max(len(a & b) for a, b in combinations(wells, 2)) <= 2

def test_role_and_dose_do_not_follow_position(laid):
    links = position_links(laid.plate_map, laid.recipe)
    assert (links.r.abs() < 2/np.sqrt(links.n)).all()
    treated = laid.plate_map[laid.plate_map.role == "combination"]
    by_column = treated[treated.plate == "plate_1"].groupby("dose_a")["column"].mean()
    assert np.ptp(by_column) < 2, "mean column of a dose level"

def test_the_layout_depends_on_the_seed_and_not_on_order_or_on_which_drug_is_a(laid):
    proposal, doses, stock = tables()
    again = lay_out(proposal.rename(columns={"drug_a": "drug_b", "drug_b": "drug_a"}), doses.sample(frac=1, random_state=0), stock[::-1])
    pd.testing.assert_frame_equal(again.plate_map, laid.plate_map)
    other = lay_out(proposal, doses, stock, Recipe(seed=1))
    assert layout_label(other.plate_map) != layout_label(laid.plate_map)
    assert not other.plate_map.role.equals(laid.plate_map.role)

@pytest.mark.parametrize("spoil, seen", [
    (lambda p: replace(p, plate_map=p.plate_map.assign(role=p.plate_map.role.mask(p.plate_map.well == "A01", "dmso"))), "outer ring"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(role=p.plate_map.role.replace("positive", "dmso"))), "positive wells, not 4"),
    (lambda p: replace(p, plate_map=p.plate_map[p.plate_map.well != "C05"]), "has not each well once"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(dose_a=p.plate_map.dose_a.replace(10.0, 5.0))), "does not get the doses of the map"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(line="HeLa")), "lines are not those"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(line=p.plate_map.row)), "more than one line"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(rank=p.plate_map["rank"] + 1)), "has another rank"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(drug_b=p.plate_map.drug_b.replace("d10", "d9"))), "pairs are not those"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(role=p.plate_map.role.replace("single", "empty"))), "single drugs of plate_1"),
    (lambda p: replace(p, picklist=p.picklist.assign(volume_nl=p.picklist.volume_nl*1.1)), "no whole droplets"),
    (lambda p: replace(p, picklist=p.picklist.assign(volume_nl=p.picklist.volume_nl*3)), "holds too much DMSO"),
    (lambda p: replace(p, picklist=p.picklist.assign(volume_nl=p.picklist.volume_nl*300)), "is overdrawn"),
    (lambda p: replace(p, picklist=p.picklist[p.picklist.drug != "DMSO"]), "DMSO differs between wells"),
    (lambda p: replace(p, picklist=p.picklist.assign(source_plate="elsewhere")), "a source well is unknown"),
    (lambda p: replace(p, prepared=p.prepared.assign(dmso_ul=2*p.prepared.dmso_ul)), "does not get the doses of the map"),
    (lambda p: replace(p, template=p.template.head(10)), "template does not have"),
    (lambda p: replace(p, template=p.template.assign(signal=1.0)), "template does not have"),
    (lambda p: replace(p, volumes=p.volumes.assign(asked=2*p.volumes.asked)), "far from what was asked"),
    (lambda p: replace(p, recipe=replace(p.recipe, replicates=2)), "is not whole"),
    (lambda p: replace(p, plate_map=in_order(p.plate_map)), "is correlated with"),
    (lambda p: replace(p, plate_map=p.plate_map.assign(drug_a=p.plate_map.drug_a.replace("d0", "d00"))), "the map was changed"),
    (lambda p: replace(p, plate_map=alike(p.plate_map)), "share more than half of their positive wells"),
    (lambda p: replace(p, plate_map=crowded(p.plate_map)), "dmso wells of plate_1 crowd in one row"),
    (lambda p: replace(p, plate_map=split(p.plate_map)), "is split over plates"),
])
def test_a_broken_promise_is_seen(laid, spoil, seen):
    assert any(seen in wrong for wrong in check_plates(spoil(laid), *tables()))

def exchanged_rows(table, one, other):
    "A map in which what is in some wells is exchanged with what is in others."
    what = ["role", "line", "drug_a", "dose_a", "drug_b", "dose_b", "replicate", "rank"]
    found = table.copy()
    found.loc[[*one, *other], what] = table.loc[[*other, *one], what].to_numpy()
    return found

def in_order(table):
    "Treated wells sorted by dose, row after row."
    at = table.index[table.role.isin(["combination", "single"])]
    return table.assign(**{c: table[c].where(~table.index.isin(at), pd.Series(table.loc[at].sort_values(["plate", "dose_a"])[c].to_numpy(), at))
                           for c in ("role", "drug_a", "dose_a", "drug_b", "dose_b", "replicate", "rank")})

def alike(table):
    "Positive wells of the second plate where those of the first are."
    one, other = (table[table.plate == f"plate_{i}"] for i in (1, 2))
    meant = other.index[other.well.isin(one.well[one.role == "positive"])]
    return exchanged_rows(table, other.index[other.role == "positive"], meant)

def crowded(table):
    "DMSO wells of the first plate all in one row."
    first = table[table.plate == "plate_1"]
    there = first.index[(first.row == "C") & (first.column > 1) & (first.column < 24)][:16]
    away = first.index[(first.role == "dmso") & ~first.index.isin(there)]
    targets = [i for i in there if first.role[i] != "dmso"][:len(away)]
    return exchanged_rows(table, away[:len(targets)], targets)

def split(table):
    "One well of a pair on the other plate."
    one = table.index[(table.plate == "plate_1") & (table["rank"] == 1)][:1]
    other = table.index[(table.plate == "plate_2") & (table["rank"] == 29)][:1]
    return exchanged_rows(table, one, other)


# volumes, by hand

def made(levels, stocks, recipe=None, volume=30.0):
    "How doses (µM) of one drug are made of stocks (mM)."
    recipe = recipe or Recipe()
    stock = pd.DataFrame({"drug": "x", "stock": stocks, "unit": "mM", "source_plate": "S", "source_well": [f"A{i + 1}" for i in range(len(stocks))],
                          "volume_ul": volume})
    return dose_volumes(read_doses(pd.DataFrame({"drug": "x", "dose": levels})), read_stock(stock), recipe)

def test_volumes_by_hand():
    found = made([0.1, 1, 10], [10])
    assert found.volume_nl.tolist() == [5.0, 5.0, 50.0]  # 10 µM in 50 µL is 500 pmol: 50 nL of 10 mM
    assert found.stock_um.tolist() == [1000.0, 10000.0, 10000.0] and found.steps.tolist() == [1, 0, 0]
    assert np.allclose(found.dose, [0.1, 1, 10])

def test_a_second_stock_is_used_before_anything_is_diluted():
    found = made([0.1, 10], [10, 0.1])
    assert found.stock_um.tolist() == [100.0, 10000.0] and found.volume_nl.tolist() == [50.0, 50.0] and (found.steps == 0).all()

def test_the_dose_of_the_map_is_the_dose_that_droplets_give():
    found = made([1.03], [10])
    assert found.volume_nl.tolist() == [5.0] and found.dose.tolist() == [1.0] and np.isclose(found.change[0], 1/1.03 - 1)
    finer = made([1.03], [10], Recipe(deviation=0.02))
    assert finer.stock_um.tolist() == [1000.0] and finer.volume_nl.tolist() == [52.5] and finer.dose.tolist() == [1.05]

@pytest.mark.parametrize("levels, stocks, recipe, words", [
    ([0.1], [10], Recipe(dilution=0), "x at 0.1 µM takes 0.50 nL of its weakest stock of 10,000 µM"),
    ([1.2], [10], Recipe(dilution=0), "do not give to within 5%"),
    ([1, 50, 100], [10], Recipe(), "x at 100 µM takes 500.0 nL of its stock of 10,000 µM .* at most 250.0 nL"),
    ([1.0, 1.03], [10], Recipe(), "x at 1 and 1.03 µM come out as one dose"),
])
def test_a_dose_that_cannot_be_dispensed_is_named(levels, stocks, recipe, words):
    with pytest.raises(InputError, match=words): made(levels, stocks, recipe)

def test_steps_of_dilution_are_planned_and_drawn_from_each_other():
    proposal, _, stock = tables(2)
    doses = pd.DataFrame([*product(DRUGS, ["1 nM", "10 nM", "10 uM"])], columns=["drug", "dose"])
    plates = lay_out(proposal, doses, stock)
    of = plates.prepared[plates.prepared.drug == "d0"].sort_values("stock_um")
    assert of.stock_um.tolist() == [10.0, 100.0, 1000.0]
    assert of.from_plate.tolist() == ["prepared", "prepared", "SRC1"] and of.from_well.tolist()[:2] == of.well.tolist()[1:]
    assert np.allclose(of.transfer_nl/(of.transfer_nl + 1000*of.dmso_ul), 0.1)

def test_top_doses_that_are_too_much_together_name_the_pair():
    proposal, doses, stock = tables(3, levels=(1.0, 30.0))
    with pytest.raises(InputError, match=r"d0 at 30 µM and d1. at 30 µM take 300 nL of stock together, but DMSO may be at most 250 nL"):
        lay_out(proposal, doses, stock)

def test_source_wells_are_used_in_turn_and_never_overdrawn():
    proposal, doses, stock = tables(20)
    little = stock.assign(volume_ul=stock.volume_ul.mask(stock.drug == "d0", 16.2))
    with pytest.raises(InputError, match=r"of d0 \(10000 µM\), and its source wells hold 1.20 µL above the dead volume of 15 µL"):
        lay_out(proposal, doses, little)
    second = little[little.drug == "d0"].assign(source_well="H9", volume_ul=20.0)
    plates = lay_out(proposal, doses, pd.concat([little, second]))
    drawn = plates.drawn[plates.drawn.drug.eq("d0") & plates.drawn.stock_um.eq(1e4)]
    assert len(drawn) == 2 and (drawn.left_ul >= 15 - 1e-9).all()

def test_dmso_of_the_stock_table_is_used_and_may_run_out():
    proposal, doses, stock = tables(20)
    dmso = pd.DataFrame({"drug": "dmso", "stock": np.nan, "unit": "", "source_plate": "SOLVENT", "source_well": ["A1", "A2"], "volume_ul": 30.0})
    plates = lay_out(proposal, doses, pd.concat([stock, dmso]))
    assert {*plates.picklist.source_plate[plates.picklist.drug == "DMSO"]} == {"SOLVENT"} and not (plates.prepared.drug == "DMSO").any()
    with pytest.raises(InputError, match="µL of DMSO, and its source wells hold 15.00 µL"): lay_out(proposal, doses, pd.concat([stock, dmso.head(1)]))


# what people have

@pytest.mark.parametrize("column, values", [("dose", ["100 nM", "1 µM"]), ("dose_nM", [100, 1000]), ("dose", [0.1, 1]), ("dose_µM", [0.1, 1])])
def test_doses_in_the_units_that_people_use(column, values):
    assert read_doses(pd.DataFrame({"drug": "x", column: values})).dose.tolist() == [0.1, 1]

def test_a_unit_of_its_own_column_counts():
    assert read_doses(pd.DataFrame({"drug": "x", "dose": [500, 1], "unit": ["nM", "µM"]})).dose.tolist() == [0.5, 1]

@pytest.mark.parametrize("change, words", [
    (lambda p, d, s: (p.assign(drug_b=p.drug_a), d, s), "'d0' is paired with itself"),
    (lambda p, d, s: (pd.concat([p, p.head(1).set_axis(["drug_b", "drug_a"], axis=1)]), d, s), "d0 \\+ d10 is proposed more than once"),
    (lambda p, d, s: (p.replace("d10", "=HYPERLINK(1)"), d, s), "begins with =, \\+, - or @"),
    (lambda p, d, s: (p.replace("d10", np.nan), d, s), "names none"),
    (lambda p, d, s: (p.assign(rank=1), d, s), "ranks .* each used once"),
    (lambda p, d, s: (p.head(0), d, s), "proposed pairs is empty"),
    (lambda p, d, s: (p.drop(columns="drug_b"), d, s), "no column 'drug_b'"),
    (lambda p, d, s: (p, d[d.drug != "d10"], s), "doses has no row of the drug 'd10'"),
    (lambda p, d, s: (p, d.replace("d10", "D-10"), s), "\\(it has 'D-10'\\)"),
    (lambda p, d, s: (p, d, s[s.drug != "d10"]), "stocks has no row of the drug 'd10'"),
    (lambda p, d, s: (p, pd.concat([d, d.head(1)]), s), "0.1 µM of d0 more than once"),
    (lambda p, d, s: (p, d.assign(dose_uM=d.dose_uM.replace(1.0, 0.0)), s), "no amount above 0"),
    (lambda p, d, s: (p, d.rename(columns={"dose_uM": "dose"}).assign(unit="mg/ml"), s), "no amount above 0 in pM"),
    (lambda p, d, s: (p, d, s.drop(columns="unit")), "does not say the unit of stock 10"),
    (lambda p, d, s: (p, d, s.assign(source_well="A1")), "source well A1 of SRC1 .* more than once"),
    (lambda p, d, s: (p, d, s.assign(source_well=["A1", "A01", *s.source_well[2:]])), "A01 of SRC1 .* more than once"),
    (lambda p, d, s: (p, d, s.assign(source_well="1-Sep")), "'1-Sep' names no source well"),
    (lambda p, d, s: (p, d, s.assign(volume_ul="lots")), "no number of µL above 0"),
])
def test_bad_tables_are_refused_in_one_sentence(change, words):
    with pytest.raises(InputError, match=words): lay_out(*change(*tables(3)))

@pytest.mark.parametrize("change, words", [
    (dict(size=100), "no plates of 100 wells"), (dict(n_dmso=15), "n_dmso is 15"), (dict(n_positive=3), "n_positive is 3"),
    (dict(replicates=0), "replicates is 0"), (dict(positive="d1"), "both a drug and a dose"), (dict(well_ul=np.nan), "well_ul is nan"),
    (dict(size=96, n_dmso=30), "more than half of the wells"), (dict(dmso_percent=0), "dmso_percent is 0"), (dict(dead_ul=70), "fill_ul"),
    (dict(dilution=0.5), "dilution is 0.5-fold")])
def test_recipes_that_no_plate_can_keep_to(change, words):
    with pytest.raises(InputError, match=words): Recipe(**change)

def test_a_pair_larger_than_a_plate_is_named():
    proposal, doses, stock = tables(1, levels=tuple(np.geomspace(0.5, 10, 8)))
    with pytest.raises(InputError, match=r"d0 \+ d10 takes 80 wells, and a plate has 40"):
        lay_out(proposal, doses, stock, Recipe(size=96, deviation=0.1))

def test_a_pair_goes_to_the_first_plate_of_its_line_with_room():
    proposal, _, _ = tables(30, ("A375", "MCF7"))
    recipe, pairs = Recipe(), read_proposal(proposal)
    where = pack_pairs(pairs, pd.Series(3, DRUGS), recipe)
    for number in np.unique(where):
        mine = pairs[where == number]
        assert mine.line.nunique() == 1 and 9*len(mine) + 3*len({*mine.drug_a, *mine.drug_b}) <= room(recipe)
    assert where[0] == 1 and (where[pairs.line == "MCF7"] > where[pairs.line == "A375"].max()).all()

def test_names_of_wells():
    assert plain_well(["b2", "B02", " 'AF48' ", "Sep-1", "1E5", "A00", None]).tolist() == ["B02", "B02", "AF48", "", "", "", ""]
    assert plate_wells(1536).well.iloc[[0, 47, 48, -1]].tolist() == ["A01", "A48", "B01", "AF48"] and row_name(26) == "AA"


# files

def test_files_are_written_and_say_the_same(laid, tmp_path):
    write_plates(tmp_path/"out", laid)
    names = {p.name for p in (tmp_path/"out").iterdir()}
    assert {"plate_map.csv", "echo_picklist.csv", "results_template.csv", "prepare.csv", "echo_dilutions.csv", "plate_1.png", "plate_2.png"} <= names
    picks = pd.read_csv(tmp_path/"out/echo_picklist.csv")
    assert picks.columns[:5].tolist() == ["Source Plate Name", "Source Well", "Destination Plate Name", "Destination Well", "Transfer Volume"]
    assert np.array_equal(picks["Transfer Volume"], laid.picklist.volume_nl)
    template = pd.read_csv(tmp_path/"out/results_template.csv", keep_default_na=False)
    assert (template.signal == "").all() and len(template) == len(used_of(laid))
    for path in (tmp_path/"out").glob("*.csv"):
        for line in path.read_text().splitlines(): assert not [c for c in line.split(",") if c[:1] in ("=", "+", "@", "-")]

def test_the_picture_says_what_is_on_the_plate(laid):
    title = draw_plate(laid, "plate_1").get_suptitle()
    assert title == "28 of 30 pairs on plate_1: 252 wells of pairs, 33 of single drugs, 16 DMSO, 4 positive"
    with pytest.raises(InputError, match="no plate 'plate_9'"): draw_plate(laid, "plate_9")

def test_the_map_of_plates_that_are_in_the_lab_is_not_overwritten(laid, tmp_path, monkeypatch):
    monkeypatch.setattr("drugnb.synergy.plate.save_figure", lambda *a: None)
    write_plates(tmp_path, laid)
    write_plates(tmp_path, laid)
    other = replace(laid, plate_map=laid.plate_map.assign(layout="L0000000"))
    with pytest.raises(InputError, match="holds the plates of another layout .*: choose another folder"): write_plates(tmp_path, other)

def test_a_proposal_for_no_named_line_is_of_one_line():
    proposal, doses, stock = tables(2)
    blank = lay_out(proposal.assign(line=""), doses, stock)
    assert (blank.plate_map.line == "").all() and not check_plates(blank, proposal, doses, stock)
