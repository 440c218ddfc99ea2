"""Compounds: which ids, structures and names are one, in folds as between catalogues."""
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from drugnb.core.identity import (
    SALTS,
    compound_groups,
    compound_ids,
    compound_names,
    match_compounds,
    unclear_compounds,
)

PLUS, MINUS, FLAT, BLOCK = "DNVXATUJJDPFDM-KRWDZBQOSA-N", "DNVXATUJJDPFDM-QGZVFWFLSA-N", "DNVXATUJJDPFDM-UHFFFAOYSA-N", "DNVXATUJJDPFDM"
OTHER, SALT = "KTUFNOKKBVMGRW-UHFFFAOYSA-N", "YLMAHDNUQAMNNX-UHFFFAOYSA-N"  # imatinib and its mesylate

def table(*rows): return pd.DataFrame(rows, columns=["compound", "name", "inchikey"])

def partition(rows):
    "Groups of row numbers, whatever their labels."
    return {frozenset(members) for members in rows.groupby(compound_groups(rows).to_numpy()).groups.values()}

def same(one, other):
    "Whether two entries are one compound, which grouping and matching must agree on."
    rows = table(one, other)
    grouped = compound_groups(rows).nunique() == 1
    entries = [rows.iloc[[i]].set_index("compound") for i in (0, 1)]
    assert grouped == (len(match_compounds(*entries)) == 1) == (len(match_compounds(*entries[::-1])) == 1)
    return grouped

# ids

@pytest.mark.parametrize("written", [
    "BRD-K12345678", "brd-k12345678", " BRD-K12345678 ", "BRD-K12345678-001-14-8", "BRD:BRD-K12345678-001-14-8", "brd:brd-k12345678-001-01-9",
    "BRD-K12345678-001-14-8::2.5::HTS", "BRD.K12345678.001.14.8..2.5..HTS", "BRD_K12345678", "BRD-K12345678 (2)", b"BRD-K12345678-001-14-8"])
def test_a_broad_id_is_one_in_every_dress(written): assert compound_ids(pd.Series([written])).tolist() == ["BRD-K12345678"]

@pytest.mark.parametrize("written, text", [
    (5.0, "5"), ("5.0", "5"), ("5", "5"), (5, "5"), (np.float32(0), "0"), ("0.0", "0"), ("5.5", "5.5"), ("BRD-K123456789", "BRD-K123456789"),
    ("GDSC:1057", "GDSC:1057"), ("C1CCCCC1", "C1CCCCC1"), ("c1ccccc1", "c1ccccc1"), ("CHEMBL25-1", "CHEMBL25-1")])
def test_other_ids_are_left_as_they_are(written, text): assert compound_ids(pd.Series([written], dtype=object)).tolist() == [text]

def test_ids_keep_their_index_and_what_is_missing_stays_missing():
    ids = compound_ids(pd.Series(["a", None, -666.0, "NA", "", np.nan], list("uvwxyz"), name="pert_id", dtype=object))
    assert ids.index.tolist() == list("uvwxyz") and ids.name == "pert_id" and ids.isna().tolist() == [False] + [True]*5
    assert compound_ids(pd.Series([1.0, np.nan])).fillna("").tolist() == ["1", ""] and compound_ids(pd.Series([], dtype=object)).empty

@pytest.mark.parametrize("outside", [
    lambda b: b, lambda b: b + "-001-14-8", lambda b: b + "-001-14-8::2.5::HTS", lambda b: "BRD:" + b + "-001-14-8", str.lower])
def test_a_compound_of_training_is_met_outside_whatever_its_id_looks_like(outside):
    training = [f"BRD-K{10000000 + i}" for i in range(20)]
    rows = pd.DataFrame({"compound": [*training, *map(outside, training[:12]), "BRD-K99999999"]})
    groups = compound_groups(rows)
    assert groups[20:].isin(groups[:20]).tolist() == [True]*12 + [False]

def test_numbers_with_a_gap_are_the_same_numbers():
    rows = pd.concat([pd.DataFrame({"compound": [0.0, 1.0, np.nan]}), pd.DataFrame({"compound": ["0", "2", None]})], ignore_index=True)
    assert compound_groups(rows).fillna("none").tolist() == ["0", "1", "none", "0", "2", "none"]

# names

@pytest.mark.parametrize("names", [
    ["imatinib", "Imatinib", "IMATINIB mesylate", "imatinib-mesylate", "Imatinib (mesylate)", "imatinib.mesylate", "imatinib, mesylate salt"],
    ["vorinostat", " Vorinostat ", "vorinostat hydrochloride", "vorinostat HCl", "vorinostat 2HCl", "vorinostat dihydrochloride monohydrate"],
    ["BMS-536924", "BMS536924", "bms 536924 HCl"], ["(+)-JQ-1", "JQ1-(+)", "JQ1 (+)", "(+)-JQ1 hydrochloride", "jq1( + )"],
    ["JQ1-(-)", "JQ1-(−)", "(–)-JQ1"], ["JQ1-(+/-)", "(±)-JQ1", "rac-JQ1", "Racemic JQ1"], ["17β-estradiol", "17beta-Estradiol", "17 β estradiol"],
    ["(R)-roscovitine", "roscovitine (R)", "Roscovitine-(R)"], ["naïve drug", "naive drug"], ["BRD-K12345678", "BRD-K12345678-001-02-3"],
    ["Gefitinib (ZD1839)", "gefitinib", "Gefitinib®"], ["Tofacitinib (CP-690550) Citrate", "tofacitinib"], ["Erlotinib HCl (OSI-744)", "erlotinib"],
    ["Temsirolimus (CCI-779, NSC 683864)", "temsirolimus"], ["pemetrexed disodium hemipentahydrate", "pemetrexed"],
    ["dimethyl fumarate", "Dimethyl-Fumarate"], ["sodium chloride", "Sodium Chloride"], ["cis-platin", "cisplatin"]])
def test_spellings_of_one_compound_are_one(names): assert compound_names(pd.Series(names)).nunique() == 1

@pytest.mark.parametrize("names", [
    ["JQ1", "JQ1-(+)", "JQ1-(-)", "JQ1-(+/-)"], ["17α-estradiol", "17β-estradiol", "17-estradiol"], ["(R)-x7", "(S)-x7", "x7", "(E)-x7", "(Z)-x7"],
    ["D-glucose", "L-glucose"], ["cis-resveratrol", "trans-resveratrol", "resveratrol"], ["compound 1-12", "compound 11-2", "compound 11-3"],
    ["dimethyl fumarate", "dimethyl sulfate", "dimethyl succinate"], ["sodium chloride", "potassium chloride", "sodium"],
    ["UTU-62 hydrochloride", "UTU-621 hydrochloride", "UTU 3 HCl"], ["abiraterone", "abiraterone acetate"], ["A", "B"],
    ["estradiol (17-beta)", "estradiol (17-alpha)", "estradiol"], ["ginsenoside (Rg1)", "ginsenoside (Rg3)"], ["x7 (1R,2S)", "x7 (1S,2R)"]])
def test_names_of_several_compounds_are_several(names): assert compound_names(pd.Series(names)).is_unique

def test_every_salt_stands_behind_a_name_and_none_is_a_name_of_its_own():
    bare = compound_names(pd.Series(["abcdefinib"]))[0]
    assert (compound_names(pd.Series([f"Abcdefinib {s}" for s in SALTS])) == bare).all()
    assert (compound_names(pd.Series(list(SALTS))) != "").all()

@pytest.mark.parametrize("name", [None, "", "NA", "-666", -666, "restricted", "unknown", "compound", np.nan])
def test_what_is_no_name_joins_nothing(name):
    assert compound_names(pd.Series([name], dtype=object)).tolist() == [""]
    assert compound_groups(table(("a", name, None), ("b", name, None))).tolist() == ["a", "b"]

def test_a_placeholder_joins_nothing_but_a_drug_of_many_samples_is_one():
    ids = [f"s{i}" for i in range(60)]
    assert compound_groups(pd.DataFrame({"compound": ids, "name": "x"})).nunique() == 60
    names = np.where(np.arange(60) < 19, "olaparib", [f"n{i}a" for i in range(60)])
    assert compound_groups(pd.DataFrame({"compound": ids, "name": names})).nunique() == 42

# the rule

@pytest.mark.parametrize("one, other, are", [
    (("a", "JQ1", PLUS), ("b", "(+)-JQ1", PLUS), True),  # a whole key
    (("a", "JQ1", PLUS), ("b", "JQ1", MINUS), False), (("a", "x9", PLUS), ("b", "x9", OTHER), False),  # keys that contradict each other
    (("a", None, PLUS), ("b", None, BLOCK), True), (("a", None, FLAT), ("b", None, MINUS), True), (("a", None, BLOCK), ("b", None, BLOCK), True),
    (("a", "x9", None), ("b", "X-9", PLUS), True), (("a", "x9", None), ("b", "y9", None), False),
    (("a", "imatinib", OTHER), ("b", "imatinib mesylate", SALT), True), (("a", "imatinib", OTHER), ("b", "imatinib", SALT), False),
    (("a", "JQ1 HCl", PLUS), ("b", "JQ1", MINUS), False),  # a salt explains another skeleton, not another hand
    (("5", "x9", PLUS), ("5", "y9", OTHER), False), (("5", "x9", None), ("5.0", "y9", OTHER), True),  # 5 of two catalogues
    (("BRD-K00000001", None, PLUS), ("BRD-K00000001-001-01-1", None, OTHER), True),
    (("BRD-A00000001", "x9", PLUS), ("BRD-K00000001", "x9", MINUS), True), (("BRD-M00000001", "x9", SALT), ("BRD-K00000001", "x9", OTHER), True),
    (("a", "BAY 11-7082", None), ("b", "BAY-117082", None), True), (("a", "cmpd 1-12", None), ("b", "cmpd 11-2", None), False),
    (("a", None, "InChIKey=" + PLUS), ("b", None, PLUS.lower()), True), (("a", None, "-666"), ("b", None, "-666"), False)])
def test_two_entries_are_one_compound_or_not(one, other, are): assert same(one, other) is are

def test_an_entry_that_could_be_either_mirror_image_is_with_none():
    rows = table(("p", None, PLUS), ("m", None, MINUS), ("f", None, FLAT), ("b", None, BLOCK))
    assert partition(rows) == {frozenset({0}), frozenset({1}), frozenset({2, 3})}
    named = table(("p", "JQ1", PLUS), ("m", "JQ1", MINUS), ("n", "JQ1", None), ("o", "JQ1", None))
    assert partition(named) == {frozenset({0}), frozenset({1}), frozenset({2, 3})}

def test_names_do_not_join_through_a_third_what_keys_part():
    rows = table(("a", "one1", PLUS), ("b", "one1", None), ("b", "two2", None), ("c", "two2", OTHER))
    assert partition(rows) == {frozenset({0}), frozenset({1, 2}), frozenset({3})}
    assert partition(rows.assign(inchikey=None)) == {frozenset(range(4))}

def test_numbers_parted_in_two_ways_keep_the_unparted_name_out():
    assert partition(table(("a", "cmpd 1-12", None), ("b", "cmpd 11-2", None), ("c", "cmpd 112", None))) == {frozenset({i}) for i in range(3)}

def world(rng, n=60):
    "Rows of a careless world: few ids, structures, hands, names."
    ids = rng.choice([f"BRD-{k}{i:08d}" for k in "KAM" for i in range(6)] + [f"c{i}" for i in range(12)] + [None], n)
    keys = rng.choice([f"{c*14}-{h}SA-N" for c in "ABC" for h in ("UHFFFAOY", "RRRRRRRR", "SSSSSSSS")] + ["AAAAAAAAAAAAAA", None, None, None], n)
    names = rng.choice([f"n{i}x{s}" for i in range(12) for s in ("", " HCl", "-(+)")] + [None]*8, n)
    return pd.DataFrame({"compound": ids, "name": names, "inchikey": keys})

@pytest.mark.parametrize("seed", range(8))
def test_groups_depend_on_no_order_and_keep_their_promises(seed):
    rng = np.random.default_rng(seed)
    rows = world(rng)
    groups = compound_groups(rows)
    order = rng.permutation(len(rows))
    pd.testing.assert_series_equal(compound_groups(rows.iloc[order]).sort_index(), groups)
    twice = compound_groups(pd.concat([rows, rows], ignore_index=True))
    assert twice[:60].tolist() == twice[60:].tolist() == groups.tolist()
    assert groups.isna().tolist() == rows.isna().all(axis=1).tolist()
    broad = rows["compound"].str.startswith("BRD", na=False)
    assert groups[broad].groupby(rows["compound"][broad]).nunique().eq(1).all()
    told = rows[rows["compound"].str.startswith("c", na=False) & rows.inchikey.notna()].assign(group=groups)
    told = told[~told.inchikey.str.contains("UHFFFAOY") & (told.inchikey.str.len() > 14)]
    hands = told.assign(skeleton=told.inchikey.str[:14]).groupby(["group", "skeleton"]).inchikey.nunique()
    assert hands.eq(1).all(), "no two hands of one skeleton in one group"

def test_groups_of_nothing_and_of_a_table_without_names():
    assert compound_groups(pd.DataFrame({"compound": []})).empty
    assert compound_groups(pd.DataFrame({"name": ["A-1", "a1", None]})).fillna("").tolist() == ["name a1", "name a1", ""]
    assert compound_groups(pd.DataFrame({"other": [1, 2]}, ["u", "v"])).isna().tolist() == [True, True]
    category = pd.DataFrame({"compound": pd.Categorical(["a", "b", None]), "name": pd.array(["x1", "x1", None], dtype="string")})
    assert compound_groups(category).fillna("").tolist() == ["a", "a", ""]

# between catalogues

def entries(**rows): return pd.DataFrame.from_dict(rows, orient="index", columns=["name", "inchikey"])

def test_the_mirror_image_gets_nothing():
    ours = entries(plus=("JQ1-(+)", PLUS), minus=("JQ1-(-)", MINUS))
    for theirs in (entries(j=("JQ1", None)).assign(synonyms="JQ-1, (+)-JQ-1"), entries(j=("(+)-JQ-1", BLOCK)), entries(j=("(+)-JQ-1", PLUS))):
        assert match_compounds(ours, theirs).wanted.tolist() == ["plus"]
    both = match_compounds(ours, entries(p=("JQ1", PLUS), m=("JQ1", MINUS)))
    assert dict(zip(both.wanted, both.known, strict=True)) == {"plus": "p", "minus": "m"} and set(both.route) == {"InChIKey"}

def test_mirror_images_are_not_averaged_for_what_could_be_either():
    theirs = entries(p=("JQ1", PLUS), m=("JQ1", MINUS))
    for ours in (entries(w=("JQ1", None)), entries(w=("JQ1", FLAT)), entries(w=(None, BLOCK))):
        assert match_compounds(ours, theirs).empty and list(unclear_compounds(ours, theirs)) == ["w"]
    apart = entries(p=("dexJQ1", PLUS), m=("levJQ1", MINUS)).assign(synonyms="JQ1")
    assert match_compounds(entries(w=("levJQ1", None)).assign(synonyms="JQ1"), apart).known.tolist() == ["m"], "its own name decides"

def test_the_id_of_another_compound_forbids_a_match_by_name():
    ours = entries(**{"BRD-K54606188": ("JQ1-(+)", PLUS), "BRD-K17588104": ("JQ1", MINUS)})
    theirs = entries(**{"BRD-K54606188-001-01-1": ("JQ-1", None)})
    found = match_compounds(ours, theirs)
    assert found.wanted.tolist() == ["BRD-K54606188"] and found.route.tolist() == ["id"]
    assert list(unclear_compounds(ours, theirs)) == ["BRD-K17588104"]
    assert match_compounds(ours.assign(inchikey=None), theirs).wanted.tolist() == ["BRD-K54606188"], "without structures too"
    two = entries(**{"BRD-K00000001": ("x9", None), "BRD-K00000002": ("X-9", None)})
    found = match_compounds(two, entries(**{"BRD-K00000001": ("x9", None)}))
    assert found.wanted.tolist() == ["BRD-K00000001", "BRD-K00000002"], "two ids of one name"

def test_routes_go_from_the_structure_to_the_name_and_take_all_of_the_first():
    theirs = entries(**{"k": ("x9", PLUS), "BRD-K00000001": ("z", None), "f": ("q9", FLAT), "n1": ("y9", None), "n2": ("Y9 HCl", None)})
    def found(id_, name, key):
        met = match_compounds(entries(**{id_: (name, key)}), theirs)
        return met.known.tolist(), met.route.unique().tolist()
    assert found("BRD-K00000001", "y9", PLUS) == (["k"], ["InChIKey"])
    assert found("BRD-K00000001", "y9", BLOCK) == (["BRD-K00000001"], ["id"])
    assert found("w", "y9", BLOCK) == (["k", "f"], ["InChIKey without stereo"])
    assert found("w", "y9", None) == (["n1", "n2"], ["name"]) and found("w", "w", None) == ([], [])

@pytest.mark.parametrize("seed", range(4))
def test_matches_depend_on_no_order_and_contradict_nothing(seed):
    rng = np.random.default_rng(seed)
    ours, theirs = (world(rng).dropna(subset="compound").drop_duplicates("compound").set_index("compound") for _ in range(2))
    found = match_compounds(ours, theirs)
    order = rng.permutation(len(ours)), rng.permutation(len(theirs))
    again = match_compounds(ours.iloc[order[0]], theirs.iloc[order[1]])
    assert sorted(map(tuple, found.to_numpy())) == sorted(map(tuple, again.to_numpy()))
    assert not found.wanted.isin(unclear_compounds(ours, theirs)).any() and found.groupby("wanted").route.nunique().eq(1).all()
    turned = match_compounds(theirs, ours)
    assert {(w, k) for w, k, r in found.to_numpy() if r == "InChIKey"} == {(k, w) for w, k, r in turned.to_numpy() if r == "InChIKey"}

def test_synonyms_with_commas_between_digits_are_one_name():
    theirs = entries(a=("DNP", None), b=("other7", None)).assign(synonyms=["2,4-dinitrophenol; aldifen", "x|4-dinitrophenol"])
    assert match_compounds(entries(w=("2,4-Dinitrophenol", None)), theirs).known.tolist() == ["a"]
    assert match_compounds(entries(w=("Aldifen", None)), theirs).known.tolist() == ["a"]
    assert match_compounds(entries(w=("ZD1839", None)), entries(g=("Gefitinib (ZD1839)", None))).known.tolist() == ["g"]

def test_every_order_of_three_entries_gives_the_same_groups():
    rows = table(("a", "x9", PLUS), ("b", "x9", None), ("c", "X-9 HCl", OTHER))
    parts = {frozenset(frozenset(p) for p in partition(rows.loc[list(order)])) for order in permutations(range(3))}
    assert len(parts) == 1
