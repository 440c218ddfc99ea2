"""The tables of the combos study: read, written and simulated, in any order, from real files, and bad input named."""
import numpy as np
import pandas as pd
import pytest

from drugnb.combos.data import (
    assemble_combos,
    build_melanoma,
    melanoma_tables,
    open_combos,
    read_combos,
    simulate_combos,
    write_combos,
)
from drugnb.command import main
from drugnb.core.settings import InputError
from drugnb.sources.fetch import registry


def test_a_set_survives_its_files_and_any_order_of_rows_genes_and_drugs(combos, tmp_path):
    write_combos(combos, tmp_path)
    profiles, conditions = (pd.read_csv(tmp_path/f"{t}.csv", index_col=0, dtype={"dose_a": float}) for t in ("profiles", "conditions"))
    rng = np.random.default_rng(0)
    turned = conditions.copy()
    pair = turned.drug_b.notna() & (rng.random(len(turned)) < 0.5)
    turned.loc[pair, ["drug_a", "drug_b"]] = turned.loc[pair, ["drug_b", "drug_a"]].to_numpy()
    shuffled = profiles.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=1)
    again = assemble_combos("again", shuffled, turned.sample(frac=1, random_state=2))
    assert {*again.pairs.index} == {*combos.pairs.index}
    for table in ("singles", "measured"):
        ours = getattr(combos, table)
        np.testing.assert_allclose(getattr(again, table).loc[ours.index, ours.columns], ours, rtol=1e-4, atol=1e-5)
    assert read_combos(tmp_path).queries.shape == combos.queries.shape

def test_a_single_of_another_study_or_dose_is_not_the_pairs_own():
    profiles = pd.DataFrame(np.eye(4, dtype="f4"), list("abcd"), ["TP53", "EGFR", "MYC", "JUN"])
    conditions = pd.DataFrame({"drug_a": ["x", "y", "y", "x"], "drug_b": [None, None, None, "y"], "study": ["s", "s", "t", "s"],
                               "dose_a": [1, 2, 2, 1], "dose_b": [None, None, None, 2]}, list("abcd"))
    assert assemble_combos("", profiles, conditions).pairs.iloc[0].tolist() == ["s:x@1", "s:y@2", "x", "y", "s"]
    for column, value in (("study", "t"), ("dose_b", 3)):
        other = conditions.copy()
        other.loc["d", column] = value
        found = assemble_combos("", profiles, other)
        assert not len(found.pairs) and any("1 pairs left out" in line for line in found.report)

def test_variances_of_averaged_repeats_shrink():
    profiles = pd.DataFrame([[1.0], [3], [0], [2]], list("abcd"), ["TP53"], dtype="f4")
    conditions = pd.DataFrame({"drug_a": ["x", "x", "y", "x"], "drug_b": [None, None, None, "y"]}, list("abcd"))
    found = assemble_combos("", profiles, conditions, variances=pd.DataFrame({"TP53": [0.2, 0.4, np.nan]}, list("abc")))
    assert np.isclose(found.variances.loc["x", "TP53"], 0.15) and np.isnan(found.variances.loc["y", "TP53"])

@pytest.mark.parametrize("spoil, says", [
    (lambda p, c: (p, c.rename(index={"a": "b"})), "more than once"),
    (lambda p, c: (p.set_axis([*"wxyz"]), c), "share no id"),
    (lambda p, c: (p, c.assign(drug_b="z")), "one drug alone"),
    (lambda p, c: (p.mask(p == 1), c), "have no value in row 'a', column 'TP53'"),
    (lambda p, c: (p, c.drop(columns="drug_b")), "no column 'drug_b'"),
])
def test_spoilt_tables_are_named(spoil, says):
    profiles = pd.DataFrame(np.eye(4, dtype="f4"), list("abcd"), ["TP53", "EGFR", "MYC", "JUN"])
    conditions = pd.DataFrame({"drug_a": ["x", "y", "z", "x"], "drug_b": [None, None, None, "y"]}, list("abcd"))
    with pytest.raises(InputError, match=says): assemble_combos("", *spoil(profiles, conditions))

def test_the_simulated_pairs_saturate_and_share_a_response():
    c = simulate_combos(n_pairs=120, n_studies=60, n_genes=300, seed=1)
    total, true = c.single_a + c.single_b, c.truth["pairs"].to_numpy(float)
    far = np.abs(total) > 4
    assert (np.abs(true[far]) < np.abs(total[far])).mean() > 0.9
    assert np.corrcoef(c.measured.mean(), true.mean(0))[0, 1] > 0.9 and 0.5 < c.variances.notna().to_numpy().mean() < 0.85
    assert (c.truth["pairs"].index == c.measured.index).all()

def test_melanoma_from_its_files_is_the_prepared_set(mirror, data, tmp_path, monkeypatch, capsys):
    first = registry("combos").index[0]
    made, prepared = melanoma_tables((mirror/first).parent), data/"combos"
    if not prepared.is_dir(): pytest.skip("the melanoma tables are not beside the others")
    theirs = pd.read_csv(prepared/"melanoma_profiles.csv", index_col=0)
    assert made["melanoma_profiles.csv"].index.equals(theirs.index) and np.allclose(made["melanoma_profiles.csv"], theirs)
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror))
    main(["fetch", "combos"])
    assert "drugnb run combos --data melanoma" in capsys.readouterr().out
    ours, theirs = open_combos("melanoma"), read_combos(prepared)
    pd.testing.assert_frame_equal(ours.measured, theirs.measured)
    pd.testing.assert_frame_equal(ours.singles, theirs.singles)
    assert ours.treatments.mechanism["PLX@60"] == "BRAFm inhibitor" and ours.treatments.mechanism["901@1.5"] == "MEK inhibitor"
    assert build_melanoma(tmp_path)[0] == tmp_path/"combos", "made again, in place"

def test_effects_are_the_singles_of_each_pair_and_rows_keep_them_together(combos):
    e = combos.effects
    for side, effect, variance in (("a", e.a, e.variance_a), ("b", e.b, e.variance_b)):
        assert effect.dtype == np.float64 and np.array_equal(effect, combos.singles.loc[combos.pairs[side]])
        assert np.array_equal(variance, combos.variances.loc[combos.pairs[side]], equal_nan=True)
    some = np.array([3, 0])
    assert all(np.array_equal(part, whole[some], equal_nan=True) for part, whole in zip(e.rows(some), e, strict=True))
    assert e._replace(variance_a=None, variance_b=None).rows(some)[2:4] == (None, None)

# doses

def two_drugs(**doses):
    "Two singles and their pair, with doses as given."
    profiles = pd.DataFrame([[1.0, 0], [0, 2], [3, 3]], list("abc"), ["TP53", "EGFR"], dtype="f4")
    return profiles, pd.DataFrame({"drug_a": ["x", "y", "x"], "drug_b": [None, None, "y"], **doses}, list("abc"))

def test_doses_as_text_with_units_are_those_of_numbers():
    numbers = two_drugs(dose_a=[0.5, 2, 0.5], dose_b=[np.nan, np.nan, 2])
    texts = two_drugs(dose_a=["500 nM", "2 uM", "0.5"], dose_b=[None, "", "2 µM"])
    ours, theirs = (assemble_combos("", *tables) for tables in (texts, numbers))
    assert ours.pairs.equals(theirs.pairs) and ours.pairs.index.tolist() == ["x@0.5 + y@2"]
    assert ours.treatments.equals(theirs.treatments) and ours.singles.equals(theirs.singles)

def test_numbers_are_taken_as_they_are_also_as_text():
    for doses in ([0, 10, 0], ["0", "10.0", "0e1"]):
        found = assemble_combos("", *two_drugs(dose_a=doses, dose_b=[None, None, 10]))
        assert found.pairs.index.tolist() == ["x@0 + y@10"]

def test_a_dose_that_is_not_understood_is_reported_and_not_averaged():
    profiles, conditions = two_drugs(dose_a=["low", "2", "1"], dose_b=[None, None, "2"])
    more = pd.DataFrame([[5.0, 5]], ["d"], profiles.columns, dtype="f4")
    found = assemble_combos("", pd.concat([profiles, more]), pd.concat([
        conditions, pd.DataFrame({"drug_a": ["x"], "drug_b": [None], "dose_a": ["1"], "dose_b": [None]}, ["d"])]))
    assert "1 condition with a dose that is not understood ('low') left out" in found.report
    assert found.singles.index.tolist() == ["y@2", "x@1"] and found.singles.loc["x@1"].tolist() == [5, 5]
    with pytest.raises(InputError, match="one drug alone.*dose_a a number or text"):
        assemble_combos("", *two_drugs(dose_a=["low", "high", "1"]))

def test_a_row_of_profiles_that_occurs_twice_is_named():
    profiles, conditions = two_drugs()
    with pytest.raises(InputError, match="The table of profiles holds the id 'a' more than once"):
        assemble_combos("", pd.concat([profiles, profiles.iloc[:1]]), conditions)

def test_the_truth_of_each_simulated_pair_is_its_own():
    c = simulate_combos(n_pairs=30, n_studies=9, n_genes=978, n_drugs=40, n_mechanisms=4, seed=2)
    true, measured = c.truth["pairs"].to_numpy(), c.measured.to_numpy()
    nearest = [np.square(true - row).sum(1).argmin() for row in measured]
    assert len(true) == 30 and nearest == [*range(30)]

@pytest.mark.parametrize("a, b", [
    (["0.1 uM", "10 uM"], ["0.1 uM", "10 uM"]), (["100 nM", "10"], ["100nM", "10"]), (["0,1", "10,0"], ["0,1", "10,0"]),
    (["1e-7 M", "0.01 mM"], ["100 nmol/L", "10 µM"]), ([0.1, 10], [0.1, 10])])
def test_doses_of_one_drug_stay_apart_in_every_spelling(a, b):
    rows = [("A", a[0], None, None), ("A", a[1], None, None), ("B", b[0], None, None), ("B", b[1], None, None), ("A", a[0], "B", b[0]),
            ("A", a[1], "B", b[1])]
    conditions = pd.DataFrame(rows, [f"c{i}" for i in range(6)], ["drug_a", "dose_a", "drug_b", "dose_b"])
    profiles = pd.DataFrame([[1, 0], [10, 0], [0, 1], [0, 10], [1, 1], [10, 10]], conditions.index, ["TP53", "MYC"], dtype="f4")
    found = assemble_combos("", profiles, conditions)
    assert found.pairs.index.tolist() == ["A@0.1 + B@0.1", "A@10 + B@10"] and found.singles.loc["A@10"].tolist() == [10, 0]
    mixed = any(str(v) == "10" for v in (*a, *b)) and any("nM" in str(v) for v in a)
    assert any("without a unit" in line for line in found.report) == mixed

def test_a_unit_that_is_not_known_is_refused_by_name():
    with pytest.raises(InputError, match="unit that is not known .ug/ml."):
        assemble_combos("", *two_drugs(dose_a=["5 ug/ml", "2 uM", "5 ug/ml"], dose_b=[None, None, "2 uM"]))

def test_one_drug_under_several_spellings_is_one_and_said():
    profiles, conditions = two_drugs()
    found = assemble_combos("", profiles, conditions.assign(drug_a=["Drug X", "y", "drug-x"]))
    assert len(found.pairs) == 1 and any("Drug X is drug-x" in line or "drug-x is Drug X" in line for line in found.report)
