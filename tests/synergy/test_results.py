"""Results: what a simulated lab sends back is read, judged and normalised; what cannot be trusted is refused."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.core.worlds import hill_viability
from drugnb.synergy.plate import Recipe, lay_out, row_name, write_plates
from drugnb.synergy.results import (
    Lab,
    block_names,
    effects_said,
    normalised,
    plate_quality,
    position_effects,
    read_plate_map,
    read_results,
    read_signals,
    simulate_lab,
    z_prime,
)

DRUGS = [f"d{i}" for i in range(1, 9)]
HALF = dict(zip(DRUGS, np.geomspace(0.3, 30, 8), strict=True))
EVEN = Lab(rows=0, columns=0, edge=0)
EXACT = Lab(plates=0.3, rows=0, columns=0, edge=0, noise=1e-5)

def alone(drug, dose): return np.array([hill_viability(d, HALF[x], 1.0, 0.1) if d > 0 else 1.0 for x, d in zip(drug, dose, strict=True)])

def truth(line, drug_a, dose_a, drug_b, dose_b):
    "Viability in percent; MCF7 is more resistant, one pair synergises."
    bliss = alone(drug_a, dose_a)*alone(drug_b, dose_b)
    bliss = np.where(line == "MCF7", np.sqrt(bliss), bliss)
    return 100*np.where((drug_a == "d1") & (drug_b == "d4"), 0.6*bliss, bliss)

def laid_out(n=12, lines=("A375", "MCF7"), **recipe):
    pairs = [(line, a, b) for line in lines for a in DRUGS[:3] for b in DRUGS[3:]]
    proposal = pd.DataFrame(pairs, columns=["line", "drug_a", "drug_b"]).groupby("line").head(n)
    doses = pd.DataFrame([(d, x) for d in DRUGS for x in (0.1, 1.0, 10.0)], columns=["drug", "dose"])
    wells = [f"{row_name(i)}1" for i in range(8)]
    stock = pd.DataFrame({"drug": DRUGS, "stock": "10 mM", "source_plate": "S", "source_well": wells, "volume_ul": 60.0})
    return lay_out(proposal, doses, stock, Recipe(**recipe))

@pytest.fixture(scope="module")
def plates(): return laid_out()

@pytest.fixture(scope="module")
def sent(plates): return simulate_lab(plates.plate_map, truth, 0)

def true_of(wells): return truth(*(wells[c].to_numpy() for c in ("line", "drug_a", "dose_a", "drug_b", "dose_b")))

def failing(table, where, value): return table.assign(signal=table.signal.mask(where, value))


# the round trip

def test_a_lab_without_noise_gives_the_truth_back_exactly(plates):
    found = read_results(simulate_lab(plates.plate_map, truth, 0, EXACT), plates.plate_map)
    assert np.allclose(found.wells.viability, true_of(found.wells), atol=0.02) and len(found.wells) == 2*12*9
    singles = found.singles
    expected = 100*alone(singles.drug, singles.dose)
    assert np.allclose(singles.viability, np.where(singles.line == "MCF7", 10*np.sqrt(expected), expected), atol=0.02)

def test_pairs_and_singles_keep_the_schema_of_a_screen(plates, sent):
    found = read_results(sent, plates.plate_map)
    assert found.wells.columns.tolist() == ["block", "line", "drug_a", "dose_a", "drug_b", "dose_b", "viability", "plate"]
    assert found.singles.columns.tolist() == ["line", "drug", "dose", "viability", "plate"]
    assert (found.wells.drug_a < found.wells.drug_b).all() and (found.wells[["dose_a", "dose_b"]] > 0).all().all()
    assert "A375: d1 + d4" in set(found.wells.block) and found.wells.groupby("block").size().eq(9).all()
    assert found.wells.plate.str.startswith(plates.plate_map.layout[0]).all() and found.wells.plate.nunique() == 2

@pytest.mark.slow
def test_normalising_by_controls_is_unbiased_with_heavy_tails_and_drift():
    plates, mean = laid_out(12, ("A375",)), []
    for seed in range(40):
        wells = read_results(simulate_lab(plates.plate_map, truth, seed, Lab(edge=0)), plates.plate_map).wells
        mean.append((wells.viability - true_of(wells)).mean())
    assert abs(np.mean(mean)) < 3*np.std(mean, ddof=1)/np.sqrt(len(mean)) + 0.05
    assert np.std(mean) < 2

def test_errors_do_not_follow_the_dose(plates):
    slopes = []
    for seed in range(20):
        wells = read_results(simulate_lab(plates.plate_map, truth, seed, Lab(columns=0.4)), plates.plate_map).wells
        slopes.append(np.corrcoef(np.log(wells.dose_a), wells.viability/true_of(wells))[0, 1])
    assert abs(np.mean(slopes)) < 0.1

def test_a_template_goes_out_as_a_file_is_filled_in_and_comes_back(plates, sent, tmp_path):
    folder = write_plates(tmp_path/"out", plates)
    template = pd.read_csv(folder/"results_template.csv", keep_default_na=False)
    filled = template.drop(columns="signal").merge(sent, on=["layout", "plate", "well"]).sample(frac=1, random_state=0)
    filled.to_csv(tmp_path/"back.csv", index=False)
    found = read_results(tmp_path/"back.csv", folder/"plate_map.csv")
    expected = read_results(sent, plates.plate_map)
    pd.testing.assert_frame_equal(found.wells, expected.wells)
    pd.testing.assert_frame_equal(found.singles, expected.singles)

def test_the_positive_control_can_be_zero(plates, sent):
    lifted = sent.assign(signal=sent.signal + 8000)  # a background that kills no cell
    found = read_results(lifted, plates.plate_map, zero="positive").wells
    raised = read_results(lifted, plates.plate_map).wells
    assert abs((found.viability - true_of(found)).median()) < 2 < (raised.viability - true_of(raised)).median()
    with pytest.raises(InputError, match="zero is 'none'"): read_results(sent, plates.plate_map, zero="none")

def test_the_lab_is_the_seed_s(plates, sent):
    assert simulate_lab(plates.plate_map, truth, 0).equals(sent) and not simulate_lab(plates.plate_map, truth, 1).signal.equals(sent.signal)


# what people send

def as_typed(table):
    return table.assign(well=table.well.str.lower().str.replace(r"([a-p])0", r"\1", regex=True), plate=table.plate.str.replace("_", " ").str.title())

def test_wells_plates_order_and_columns_may_be_as_people_write_them(plates, sent, tmp_path):
    expected = read_signals(sent, plates.plate_map)[0]
    typed = as_typed(sent).sample(frac=1, random_state=0).rename(columns={"signal": "Luminescence"}).assign(note="=1+1")
    assert read_signals(typed, plates.plate_map)[0].signal.equals(expected.signal)
    comma = sent.assign(signal=sent.signal.astype(str).str.replace(".", ","))
    comma.to_csv(tmp_path/"excel.csv", sep=";", index=False, encoding="utf-8-sig")
    assert read_signals(tmp_path/"excel.csv", plates.plate_map)[0].signal.equals(expected.signal)

def test_missing_wells_are_named_and_left_out(plates, sent):
    gone = sent.drop(index=[0, 5]).assign(signal=lambda t: t.signal.mask(t.index == 7))
    found = read_results(gone, plates.plate_map)
    first = f"{sent.plate[0]} {sent.well[0]}"
    assert any("have no signal: 3 wells" in n and first in n for n in found.notes)
    whole = read_results(sent, plates.plate_map)
    lost = plates.template.merge(sent, on=["plate", "well"]).role[[0, 5, 7]].isin(["combination", "single"]).sum()
    assert len(found.wells) + len(found.singles) == len(whole.wells) + len(whole.singles) - lost and lost > 0
    assert found.wells.viability.notna().all() and found.singles.viability.notna().all()

def test_text_zeros_and_saturated_wells_are_named(plates, sent):
    text = sent.assign(signal=sent.signal.astype(object))
    treated = plates.template.merge(sent.reset_index(), on=["plate", "well"]).query("role == 'combination'")["index"].to_numpy()
    text.loc[treated[0], "signal"], text.loc[treated[1], "signal"], text.loc[treated[2], "signal"] = "OVER", "#VALUE!", 0.0
    text.loc[treated[3], "signal"] = -12.0
    notes = read_results(text, plates.plate_map).notes
    assert any("hold text instead of a number: 2 wells" in n for n in notes)
    assert any("signal is 0 or less: 2 wells" in n for n in notes)
    top = sent.groupby("plate").signal.transform(lambda s: s.nlargest(5).min())
    capped = sent.assign(signal=np.minimum(sent.signal, top))
    assert any("have exactly its largest signal" in n for n in read_results(capped, plates.plate_map).notes)

def test_a_plate_that_has_not_come_back_yet_is_said(plates, sent):
    found = read_results(sent[sent.plate == "plate_1"], plates.plate_map)
    assert "plate_2 has no signals yet" in found.notes and found.wells.plate.nunique() == 1

@pytest.mark.parametrize("change, words", [
    (lambda t: pd.concat([t, t.head(2)]), "more than once: keep one row a well"),
    (lambda t: pd.concat([t, t.head(1).assign(well=lambda x: x.well.str.lower())]), "more than once"),
    (lambda t: t.assign(well=t.well.mask(t.index == 3, "Q1")), "the well 'Q1', which plate_1 does not have"),
    (lambda t: t.assign(well=t.well.mask(t.index == 3, "1-Sep")), "the well '1-Sep'"),
    (lambda t: t.assign(plate=t.plate.mask(t.index == 3, "plate_7")), "the plate 'plate_7', which the map does not have"),
    (lambda t: t.assign(layout="L1234567"), "belongs to the layout L1234567"),
    (lambda t: t.drop(columns="signal"), "no column 'signal'"),
    (lambda t: t.drop(columns="plate"), "no column 'plate'"),
    (lambda t: t.assign(signal=np.nan), "has no signal"),
    (lambda t: t.assign(signal=np.inf), "an infinite value"),
    (lambda t: t.assign(signal="1,234"), "is the comma decimal or for thousands"),
])
def test_what_cannot_be_placed_is_refused_in_one_sentence(plates, sent, change, words):
    with pytest.raises(InputError, match=words): read_results(change(sent), plates.plate_map)

@pytest.mark.parametrize("change", [lambda t: t.replace({"drug_a": {"d1": "1-Sep"}}), lambda t: t.assign(dose_a=t.dose_a*10), lambda t: t.iloc[1:],
                                    lambda t: t.assign(well=t.well.sample(frac=1, random_state=0).to_numpy())])
def test_a_map_that_was_changed_is_refused(plates, change):
    with pytest.raises(InputError, match="is not as it was laid out"): read_plate_map(change(plates.plate_map))


# is the plate what it says, and did it work?

@pytest.mark.parametrize("seed", range(4))
def test_exchanged_and_turned_plates_are_seen_and_right_ones_are_not(seed):
    plates = laid_out(15, ("A375",), size=96, well_ul=100.0, seed=seed)
    sent = simulate_lab(plates.plate_map, truth, seed)
    full = plates.plate_map[["layout", "plate", "well"]].merge(sent.drop(columns="layout"), how="left", on=["plate", "well"])
    assert len(read_results(full, plates.plate_map).wells)
    swap = full.assign(plate=full.plate.replace({"plate_1": "plate_2", "plate_2": "plate_1"}))
    with pytest.raises(InputError, match="controls of plate_1 do not separate, but those of the map of plate_2 do"):
        read_results(swap, plates.plate_map)
    first = full.plate == "plate_1"
    turned = full.assign(signal=full.signal.mask(first, pd.Series(full.signal[first].to_numpy()[::-1], full.index[first])))
    with pytest.raises(InputError, match="plate_1 do not separate, but those of its own map turned by half do"):
        read_results(turned, plates.plate_map)

def test_a_failed_plate_is_left_out_and_said(plates, sent):
    dead = failing(sent, sent.plate == "plate_2", 500 + np.arange(len(sent)) % 97)
    found = read_results(dead, plates.plate_map)
    assert found.quality.state.tolist() == ["good", "failed"] and not found.wells.plate.str.contains("plate_2").any()
    assert any(n.startswith("plate_2 failed and is left out") for n in found.notes)
    with pytest.raises(InputError, match="Every plate failed; plate_1"):
        read_results(failing(sent, sent.signal > 0, 500 + np.arange(len(sent)) % 97), plates.plate_map)

def test_a_plate_without_controls_is_not_normalised(plates, sent):
    controls = plates.plate_map[plates.plate_map.role == "dmso"].groupby("plate").head(10)
    lost = sent.merge(controls[["plate", "well"]].assign(lost=True), how="left", on=["plate", "well"])
    lost = failing(sent, lost.lost.eq(True).to_numpy() & (sent.plate == "plate_1"), np.nan)
    found = read_results(lost, plates.plate_map)
    assert found.quality.reason["plate_1"] == "only 6 DMSO wells have a signal" and found.quality.state["plate_2"] == "good"

def test_a_reader_that_saturates_on_untreated_wells_fails_the_plate(plates, sent):
    found = read_signals(sent.assign(signal=sent.signal.clip(upper=20000)), plates.plate_map)[0]
    assert (plate_quality(found).reason == "its DMSO wells are saturated").all()

def test_z_prime_by_hand():
    assert np.isclose(z_prime([98, 102, 100], [10, 12, 8], robust=False), 1 - 3*(2 + 2)/90)
    robust = z_prime([98, 102, 100, 0.1], [10, 12, 8, 300])
    assert robust > 0.75 > z_prime([98, 102, 100, 0.1], [10, 12, 8, 300], robust=False)
    assert np.isnan(z_prime([100], [1, 2])) and z_prime([1, 2], [3, 4]) == -np.inf

def test_one_failed_control_moves_nothing(plates):
    signals = read_signals(simulate_lab(plates.plate_map, truth, 0, EXACT), plates.plate_map)[0]
    first = signals.index[signals.role == "dmso"][0]
    broken = signals.assign(signal=signals.signal.mask(signals.index == first, 1.0))
    both = [normalised(s, plate_quality(s)).set_index(["plate", "well"]).viability for s in (signals, broken)]
    assert np.allclose(both[0].drop(both[0].index[first]), both[1].drop(both[1].index[first]))

def test_drift_is_found_where_there_is_one_and_not_where_there_is_none():
    plates = laid_out(12, ("A375",), n_dmso=32)
    steep = Lab(rows=0, columns=0, edge=0.25, noise=0.02)
    edgy = position_effects(read_signals(simulate_lab(plates.plate_map, truth, 0, steep), plates.plate_map)[0]).set_index("term")
    assert edgy.high["at the edge"] < 0 and edgy.effect["at the edge"] < -8
    assert effects_said(edgy.reset_index())[0].startswith("DMSO wells of plate_1 change by -")
    false = [effects_said(position_effects(read_signals(simulate_lab(plates.plate_map, truth, s, EVEN), plates.plate_map)[0])) for s in range(30)]
    assert sum(map(bool, false)) <= 5, "one in twenty is expected"

def test_a_drift_of_known_size_lies_in_its_interval():
    plates, inside = laid_out(12, ("A375",)), []
    used = plates.plate_map[plates.plate_map.role != "empty"]
    tilt = 1 + 0.3*((used.column - used.column.min())/np.ptp(used.column) - 0.5)
    for seed in range(20):
        sent = simulate_lab(plates.plate_map, truth, seed, EVEN)
        effect = position_effects(read_signals(sent.assign(signal=sent.signal*tilt.to_numpy()), plates.plate_map)[0]).iloc[1]
        inside.append(effect.low < 30 < effect.high)
    assert np.mean(inside) >= 0.8

def test_labels_of_blocks_without_a_line():
    assert block_names(pd.DataFrame({"line": ["", "HeLa"], "drug_a": "a", "drug_b": "b"})).tolist() == ["a + b", "HeLa: a + b"]

def test_a_map_survives_its_file_whatever_its_drugs_are_called(tmp_path):
    names = ["00123", "1.50", "NSC-740", "8E5"]
    proposal = pd.DataFrame({"line": "0042", "drug_a": names[:2], "drug_b": names[2:]})
    stock = pd.DataFrame({"drug": names, "stock": "10 mM", "source_plate": "S", "source_well": ["A1", "A2", "A3", "A4"], "volume_ul": 40.0})
    plates = lay_out(proposal, pd.DataFrame({"drug": names, "dose": 1.0}), stock)
    folder = write_plates(tmp_path/"out", plates)
    pd.testing.assert_frame_equal(read_plate_map(folder/"plate_map.csv"), plates.plate_map)
    (folder/"plate_map.csv").write_text((folder/"plate_map.csv").read_text().replace("00123", "123"))
    with pytest.raises(InputError, match="is not as it was laid out"): read_plate_map(folder/"plate_map.csv")
    with pytest.raises(InputError, match="There is no file"): read_plate_map(folder/"nothing.csv")

def test_a_plate_whose_controls_overlap_has_failed(plates):
    wild = simulate_lab(plates.plate_map, truth, 3, Lab(noise=0.5, df=30, kill=50.0))
    quality = plate_quality(read_signals(wild, plates.plate_map)[0])
    assert (quality.z_robust < 0).all() and np.isfinite(quality.z_robust).all() and (quality.state == "failed").all()
    assert quality.reason.str.startswith("the bands of its controls overlap").all()
