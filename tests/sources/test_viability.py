"""Matching: compounds by three routes, doses and curves, each beside a plain loop; what is dropped is counted."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.identity import ROUTES, broad_core, first_block, match_compounds, plain_name
from drugnb.core.settings import InputError
from drugnb.core.worlds import hill_viability
from drugnb.sources.viability import (
    NO_DOSE,
    NOT_FOUND,
    NOT_MEASURED,
    match_report,
    viability_from_activity,
    viability_from_curves,
    viability_from_doses,
)


def catalogue(rng, n, prefix):
    "A catalogue of some of 60 molecules, each described by some of its id, structure, name and synonyms."
    letter = lambda i: "".join(chr(65 + int(c)) for c in f"{i:014d}")
    m = rng.integers(60, size=n)
    ids = [f"BRD-K{i:08d}-00{j}-02-3" if rng.random() < 0.4 else f"{prefix}{j}" for j, i in enumerate(m)]
    keys = [rng.choice([letter(i) + "-UHFFFAOYSA-N", letter(i), "-666", "restricted"]) for i in m]
    names = [rng.choice([f"AB-{i}c", f"ab{i}C", f"AB {i}C hydrochloride", ""]) for i in m]
    synonyms = [rng.choice(["", f"YZ{i}, y z {i}", f"w|yz-{i}"]) for i in m]
    return pd.DataFrame({"name": names, "inchikey": keys, "synonyms": synonyms}, ids)

def by_loop(wanted, known):
    "The same matches, one pair at a time."
    plain = lambda r: set(plain_name(pd.Series([r["name"].removesuffix("hydrochloride"), *r["synonyms"].replace("|", ",").split(",")]))) - {"", "w"}
    each = {id(table): {i: plain(r) for i, r in table.iterrows()} for table in (wanted, known)}
    same_id = lambda i, j: i[:13] == j[:13] if i.startswith("BRD-K") else i == j
    alike = lambda i, j: bool(each[id(wanted)][i] & each[id(known)][j])
    others = {j: [i for i in wanted.index if same_id(i, j)] for j in known.index}
    free = {j: not held or any(not each[id(wanted)][i] or alike(i, j) for i in held) for j, held in others.items()}
    found = []
    for i, w in wanted.iterrows():
        tests = {"InChIKey": lambda j, k, w=w: len(w.inchikey) > 20 and w.inchikey == k.inchikey,
                 "id": lambda j, k, i=i: same_id(i, j),
                 "InChIKey without stereo": lambda j, k, w=w: len(w.inchikey) > 10 and w.inchikey[:14] == k.inchikey[:14],
                 "name": lambda j, k, i=i: free[j] and alike(i, j)}
        for route, same in tests.items():
            hits = [(i, j, route) for j, k in known.iterrows() if same(j, k)]
            if hits: break
        found += hits
    return pd.DataFrame(found, columns=["wanted", "known", "route"])

@pytest.mark.parametrize("seed", range(4))
def test_matches_are_those_of_a_loop_in_the_order_of_the_catalogues(seed):
    rng = np.random.default_rng(seed)
    wanted, known = catalogue(rng, 60, "A"), catalogue(rng, 80, "B")
    found = match_compounds(wanted, known)
    pd.testing.assert_frame_equal(found, by_loop(wanted, known), check_dtype=False)
    assert set(found.route) == set(ROUTES), "the example takes every route"

def test_columns_that_are_not_there_close_their_route():
    wanted, known = catalogue(np.random.default_rng(0), 60, "A"), catalogue(np.random.default_rng(1), 80, "B")
    assert set(match_compounds(wanted[["name"]], known).route) == {"id", "name"}
    assert set(match_compounds(wanted, known[[]]).route) == {"id"}
    assert match_compounds(wanted[:0], known).empty

@pytest.mark.parametrize("given, core", [("BRD-K81418486-001-15-2", "BRD-K81418486"), ("BRD-K81418486", "BRD-K81418486"),
                                         (" BRD-M97302542 ", "BRD-M97302542"), ("BRD-K8141", "BRD-K8141"), ("GDSC:1-2", "GDSC:1-2")])
def test_broad_ids(given, core): assert broad_core(pd.Series([given]))[0] == core

@pytest.mark.parametrize("given, block", [("WAEXFXRVDQXREF-UHFFFAOYSA-N", "WAEXFXRVDQXREF"), ("WAEXFXRVDQXREF", "WAEXFXRVDQXREF"),
                                          ("waexfxrvdqxref", None), ("WAEXFXRVDQXREF-UHFF", None), ("-666", None),
                                          ("", None), (None, None), ("restricted", None)])
def test_structures(given, block):
    found = first_block(pd.Series([given], ["i"]))["i"]
    assert found == block if block else pd.isna(found)

def test_a_missing_structure_or_name_matches_nothing():
    blank = pd.DataFrame({"name": ["", None, "-"], "inchikey": ["-666", None, "restricted"], "synonyms": [None, "", ", |"]}, ["a", "b", "c"])
    assert match_compounds(blank, blank.set_axis(["x", "y", "z"])).empty

# viability

@pytest.fixture
def wells():
    rng = np.random.default_rng(5)
    n = 200
    samples = pd.DataFrame({"compound": rng.choice([f"w{i}" for i in range(20)], n), "cell": rng.choice(["A375", "MCF7"], n),
                            "dose": np.where(rng.random(n) < 0.1, np.nan, 10**rng.uniform(-2, 1, n))}, [f"s{i}" for i in range(n)])
    matches = pd.DataFrame({"wanted": [f"w{i}" for i in range(18)] + ["w0", "w1"], "known": [f"k{i}" for i in range(18)] + ["k30", "k31"],
                            "route": ["id"]*9 + ["InChIKey"]*5 + ["name"]*4 + ["id"]*2})
    return samples, matches, rng

def test_the_nearest_dose_is_that_of_a_loop(wells):
    samples, matches, rng = wells
    doses = pd.DataFrame({"compound": rng.choice([f"k{i}" for i in [*range(16), 30]], 900), "cell": rng.choice(["A375", "MCF7"], 900, p=[0.8, 0.2]),
                          "dose": 10**rng.uniform(-2, 1, 900).round(1), "viability": rng.random(900)})
    labels = viability_from_doses(samples, matches, doses)
    reasons = set()
    for i, s in samples.iterrows():
        known = set(matches.known[matches.wanted == s["compound"]])
        there = doses[doses["compound"].isin(known) & (doses.cell == s.cell)]
        off = (np.log10(there.dose) - np.log10(s.dose)).abs().round(9)
        near = there[(off == off.min()) & (off <= 0.2)]
        why = next((reason for reason, holds in ((NOT_FOUND, not known), (NOT_MEASURED, there.empty), (NO_DOSE, np.isnan(s.dose)),
                                                 ("no dose within 0.2 in log10", near.empty)) if holds), "")
        assert labels.why[i] == why and (np.isclose(labels.viability[i], near.viability.mean()) if not why else np.isnan(labels.viability[i]))
        assert labels.route[i] == ("" if why else matches.route[matches.wanted == s["compound"]].iloc[0])
        reasons.add(why)
    assert len(reasons) == 5, "the example meets every reason"
    assert match_report(samples, labels).signatures.sum() == len(samples)

def test_a_dose_just_within_and_just_beyond():
    one = pd.DataFrame({"compound": "w", "cell": "c", "dose": [1.0]}, ["s"])
    matches = pd.DataFrame({"wanted": ["w"], "known": ["k"], "route": ["id"]})
    at = lambda d: viability_from_doses(one, matches, pd.DataFrame({"compound": "k", "cell": "c", "dose": [d], "viability": [0.5]})).viability["s"]
    assert at(10**0.2) == at(10**-0.2) == 0.5 and np.isnan(at(10**0.2001)) and np.isnan(at(10**-0.2001))

def test_curves_are_evaluated_at_the_samples_dose(wells):
    samples, matches, rng = wells
    pairs = [(f"k{i}", c) for i in [*range(16), 30] for c in ("A375", "MCF7")]
    curves = pd.DataFrame(pairs, columns=["compound", "cell"]).assign(half=10**rng.uniform(-1, 1, len(pairs)), slope=rng.uniform(1, 3, len(pairs)),
                                                                       lower=rng.uniform(0, 0.5, len(pairs)))
    labels = viability_from_curves(samples, matches, curves)
    by = curves.set_index(["compound", "cell"])
    for i, s in samples.iterrows():
        known = [k for k in matches.known[matches.wanted == s["compound"]] if (k, s.cell) in by.index]
        if not known or np.isnan(s.dose): assert np.isnan(labels.viability[i])
        else:
            c = by.loc[[(k, s.cell) for k in known]]
            half, slope, lower = np.exp(np.log(c["half"]).mean()), c.slope.mean(), c.lower.mean()
            assert labels.viability[i] == pytest.approx(lower + (1 - lower)/(1 + (s.dose/half)**slope))
    order = samples.index[rng.permutation(len(samples))]
    shuffled = viability_from_curves(samples.loc[order], matches.sample(frac=1, random_state=0), curves.sample(frac=1, random_state=0))
    np.testing.assert_allclose(shuffled.loc[samples.index].viability, labels.viability)

def test_more_is_never_better_for_the_cells():
    dose = np.geomspace(1e-3, 1e3, 50)
    assert (np.diff(hill_viability(dose, 0.7, 1.3, 0.2)) < 0).all() and hill_viability(0.7, 0.7, 5, 0.2) == pytest.approx(0.6)

def test_activity_counts_at_any_dose(wells):
    samples, matches, _ = wells
    activity = pd.DataFrame({"compound": ["k3", "k0", "k30"], "cell": "A375", "activity": [0.25, 0.2, 0.4]})
    labels = viability_from_activity(samples, matches, activity)
    inside, of = samples.cell == "A375", samples["compound"]
    assert labels.viability[inside & of.eq("w3")].eq(0.75).all() and labels.viability[inside & of.eq("w0")].eq(0.7).all()
    assert labels.viability[~inside].isna().all() and set(labels.why[~inside]) == {NOT_MEASURED, NOT_FOUND}

def test_missing_measurements_do_not_count(wells):
    samples, matches, _ = wells
    activity = pd.DataFrame({"compound": ["k3", "k3"], "cell": "A375", "activity": [0.25, np.nan]})
    assert viability_from_activity(samples, matches, activity).viability.max() == 0.75

def test_faults_are_named(wells):
    samples, matches, _ = wells
    bad = pd.DataFrame({"compound": ["k0"], "cell": ["A375"], "half": [-1.2]})
    with pytest.raises(InputError, match="no column 'half'"): viability_from_curves(samples, matches, bad.drop(columns="half"))
    with pytest.raises(InputError, match="'k0' in 'A375' has half its effect at -1.2"): viability_from_curves(samples, matches, bad)
    with pytest.raises(InputError, match="known compounds holds the id 'a' more than once"):
        match_compounds(samples[:0], pd.DataFrame(index=["a", "a"]))
