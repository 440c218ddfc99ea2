"""From wells to signatures: hand-worked cases, an explicit loop, the plates as the Broad ships them, and a table of a hundred thousand repeats."""
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from drugnb.core.gct import read_gct, read_gctx
from drugnb.core.settings import InputError
from drugnb.sources import plates
from drugnb.sources.plates import FLOOR, LIMIT, SCALE, merge_repeats, plate_zscores

LJP009, LJP005 = "cmap/l1ktools/*/matlab/data_pipeline/results/*/*.gct", "cmap/cmapPy/*/cmapPy/pandasGEXpress/tests/functional_tests/test_l1000.gct"
CPC006 = "cmap/cmapM/*/sig_tools/tests/assets/*.gctx"

# z-scores

def test_one_gene_by_hand():
    "Median 5, absolute deviations 0 1 1 2 2 3 3 4 95: MAD 2."
    levels = pd.DataFrame({"g": [5., 4, 6, 3, 7, 2, 8, 1, 100]})
    assert plate_zscores(levels).g.tolist() == pytest.approx([(v - 5)/(1.4826*2) for v in (5, 4, 6, 3, 7, 2, 8, 1)] + [10])

def test_a_gene_that_stands_still_is_divided_by_the_floor():
    levels = pd.DataFrame({"g": [15.]*9 + [14.95, 10, np.nan]})
    assert plate_zscores(levels).g.tolist()[-3:] == pytest.approx([-0.5, -10, np.nan], abs=1e-5, nan_ok=True)

def test_missing_levels_stay_missing_and_move_nothing():
    rng = np.random.default_rng(0)
    levels = pd.DataFrame(rng.normal(8, 1, (60, 20)))
    holes = levels.mask(rng.random(levels.shape) < 0.2)
    z = plate_zscores(holes)
    for g in holes: pd.testing.assert_series_equal(z[g].dropna(), plate_zscores(holes[[g]].dropna())[g])
    assert z.isna().equals(holes.isna())
    holes.iloc[7:, 3] = np.nan
    assert plate_zscores(holes)[3].isna().all(), "seven values do not tell how much a gene varies"

def test_the_vehicle_is_the_reference_where_it_is_given():
    rng = np.random.default_rng(1)
    levels = pd.DataFrame(rng.normal(8, 1, (100, 5)), [f"w{i}" for i in range(100)])
    vehicle = np.arange(100) < 20
    levels[~vehicle] += 3
    z = plate_zscores(levels, vehicle)
    scale = SCALE*(levels[vehicle] - levels[vehicle].median()).abs().median()
    np.testing.assert_allclose(z, (levels - levels[vehicle].median())/scale, rtol=1e-5, atol=1e-6)
    assert z[~vehicle].median().min() > 1.5 and plate_zscores(levels)[~vehicle].median().max() < 1
    shuffled = pd.Series(vehicle, levels.index).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(plate_zscores(levels, shuffled), z)

@pytest.mark.parametrize("controls, said", [
    (np.arange(40) < 7, "7 reference wells"), (np.ones(39, bool), "each of the 40"), (np.ones(40), "each of the 40"),
    (np.zeros(40, bool), "0 reference wells"),
    (pd.Series(True, range(1, 41)), "each of the 40"),
])
def test_a_reference_that_does_not_fit_is_refused(controls, said):
    with pytest.raises(InputError, match=said): plate_zscores(pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3))), controls)

def test_too_few_wells_and_infinite_levels_are_refused():
    with pytest.raises(InputError, match="5 reference wells"): plate_zscores(pd.DataFrame(np.zeros((5, 3))))
    with pytest.raises(InputError, match="infinite"): plate_zscores(pd.DataFrame(np.full((20, 3), -np.inf)))

# real plates

@pytest.fixture(scope="module")
def shipped(mirror):
    "Wells x genes (Entrez ids), and what is known of the wells, of the three plates."
    found = {}
    for name, pattern, reader in (("LJP005", LJP005, read_gct), ("LJP009", LJP009, read_gct), ("CPC006", CPC006, read_gctx)):
        matrix, genes, about = reader(next(mirror.glob(pattern)))
        found[name] = matrix.set_axis(genes.pr_gene_id, axis=0).T, about
    return found

@pytest.fixture(scope="module")
def prepared(data): return pd.read_csv(data/"weighting/lm_700.csv.gz", index_col=0).rename(columns=str)

def test_level_3_of_ljp005_becomes_the_prepared_table(shipped, prepared):
    levels, about = shipped["LJP005"]
    treated = about.index[about.pert_type != "ctl_vehicle"]
    assert set(treated) == set(prepared.index[prepared.index.str.startswith("LJP005")]) and len(treated) == 351
    difference = plate_zscores(levels).loc[treated, prepared.columns] - prepared.loc[treated]
    assert difference.abs().max(axis=None) < 0.0005 + 1e-6, "equal to the three decimals that were kept"

def test_level_4_of_ljp009_clipped_is_the_prepared_table(shipped, prepared):
    z, about = shipped["LJP009"]
    treated = about.index[about.pert_type != "ctl_vehicle"]
    assert set(treated) == set(prepared.index[prepared.index.str.startswith("LJP009")]) and len(treated) == 349
    assert (z.loc[treated, prepared.columns].clip(-LIMIT, LIMIT) - prepared.loc[treated]).abs().max(axis=None) < 0.0005 + 1e-6

@pytest.mark.parametrize("plate, floored", [("LJP009", {"GAPDH", "RPS6", "LAMA3", "MUC1", "PROS1"}), ("CPC006", {"GAPDH", "RPS6", "CDC20", "MIF"})])
def test_shipped_z_scores_are_of_our_kind(shipped, mirror, plate, floored):
    """Median 0 and scaled MAD 1 for each gene, but for a few whose scaled MAD is below 1, as a floor makes them: genes at an end of the scale, with
    a MAD of 0 or nearly, and some with few distinct levels. Scoring them again gives them back, save for those few."""
    z, _ = shipped[plate]
    spread = SCALE*(z - z.median()).abs().median()
    assert z.median().abs().max() < 1e-6
    odd = (spread - 1).abs() > 1e-3
    genes = (read_gct if plate == "LJP009" else read_gctx)(next(mirror.glob(LJP009 if plate == "LJP009" else CPC006)))[1].set_index("pr_gene_id")
    assert set(genes.pr_gene_symbol[z.columns[odd]]) == floored and (spread[odd] < 0.97).all() and (spread == 0).any()
    again = plate_zscores(z)
    assert (again - z.clip(-LIMIT, LIMIT)).loc[:, ~odd].abs().max(axis=None) < 2e-4
    expected = (z/np.maximum(spread, FLOOR)).clip(-LIMIT, LIMIT)
    assert (again - expected).loc[:, odd].abs().max(axis=None) < 2e-4

def test_our_z_scores_and_the_shipped_ones_speak_one_language(shipped):
    """Five compounds are on both plates. At equal dose they find each other among 349 treatments of the other plate, and unlike ones are unlike.
    Not at 10 uM: three of those four wells lie in column 01 of LJP005, where treatments do not look like themselves at 3.3 uM."""
    (levels, one), (other_z, other) = shipped["LJP005"], shipped["LJP009"]
    key = lambda about: about.pert_id + " " + about.pert_dose.round(2).astype(str)
    both = pd.concat([plate_zscores(levels), other_z.clip(-LIMIT, LIMIT)[levels.columns]])
    keys = pd.concat([key(one), key(other)])[pd.concat([one, other]).pert_type != "ctl_vehicle"]
    merged, repeats = merge_repeats(both.loc[keys.index], keys)
    pairs = repeats[repeats.n == 2]
    assert pairs.group.nunique() == 22 and pairs.correlation.groupby(pairs.group).nunique().max() <= 2 and (pairs.weight == 0.5).all()
    low = pairs[~pairs.group.str.endswith(" 10.0")]
    r = pd.DataFrame(spearmanr(both.loc[keys.index], axis=1).statistic, keys.index, keys.index).loc[
        keys.index.str.startswith("LJP005"), keys.index.str.startswith("LJP009")]
    assert low.correlation.median() > 0.35 and abs(np.median(r)) < 0.03
    first = low[low.index.str.startswith("LJP005")]
    rank = [(r.loc[i] > c).sum() + 1 for i, c in first.correlation.items()]
    assert np.median(rank) <= 5

# repeats

def explicit(x):
    "Szalai's rule, pair by pair."
    if len(x) < 3: return np.full(len(x), 1/len(x))
    r = np.array([np.mean([spearmanr(a, b).statistic for j, b in enumerate(x) if j != i]) for i, a in enumerate(x)])
    r[r <= 0] = 0.01
    return r/r.sum()

@pytest.fixture(scope="module")
def repeats():
    "Groups of 1 to 9, some with repeats of opposite sign, in mixed order, with ties."
    rng = np.random.default_rng(4)
    groups = rng.permutation(np.repeat([f"g{i}" for i in range(60)], rng.integers(1, 10, 60)))
    effect = {g: rng.normal(size=80) for g in np.unique(groups)}
    x = np.stack([effect[g]*rng.choice([1, 0.3, -0.5], p=[0.6, 0.3, 0.1]) + rng.normal(size=80) for g in groups])
    return pd.DataFrame(x.round(1).astype("f4"), [f"s{i}" for i in range(len(groups))]), groups

@pytest.mark.parametrize("block", [1, 7, 2048])
def test_all_groups_at_once_are_the_groups_one_by_one(repeats, block, monkeypatch):
    monkeypatch.setattr(plates, "BLOCK", block)
    x, groups = repeats
    merged, table = merge_repeats(x, groups)
    assert list(merged.index) == list(dict.fromkeys(groups)) and (table.group == groups).all() and merged.to_numpy().dtype == np.float32
    assert (table.correlation < 0).sum() > 5
    for g in merged.index:
        rows = x[groups == g].to_numpy(float)
        np.testing.assert_allclose(table.weight[groups == g], explicit(rows), rtol=1e-9)
        np.testing.assert_allclose(merged.loc[g], explicit(rows) @ rows, atol=1e-6)
        assert (table.n[groups == g] == len(rows)).all() and table.correlation[groups == g].isna().all() == (len(rows) == 1)

def test_what_does_not_matter(repeats):
    "The order of rows, the unit of a row's values, and what other groups there are."
    x, groups = repeats
    merged, table = merge_repeats(x, groups)
    shuffled = np.random.default_rng(0).permutation(len(x))
    again, again_table = merge_repeats(x.iloc[shuffled], groups[shuffled])
    pd.testing.assert_frame_equal(again.loc[merged.index], merged, rtol=1e-5)
    pd.testing.assert_frame_equal(again_table.loc[table.index], table)
    np.testing.assert_allclose(merge_repeats(3*x + 1, groups)[1].weight, table.weight)
    big = groups == table.group[table.n.idxmax()]
    np.testing.assert_allclose(merge_repeats(x[big], groups[big])[1].weight, table.weight[big])

def test_one_two_and_three_by_hand():
    x = pd.DataFrame([[1, 2, 3, 4.], [9, 0, 0, 1], [1, 2, 4, 3], [0, 0, 0, 2], [4, 3, 2, 1]], list("abcde"))
    merged, table = merge_repeats(x, ["t", "one", "t", "one", "t"])
    np.testing.assert_allclose(table.correlation[["a", "c", "e"]], [(0.8 - 1)/2, (0.8 - 0.8)/2, -0.9], atol=1e-12)
    assert list(merged.index) == ["t", "one"] and merged.loc["one"].tolist() == [4.5, 0, 0, 1.5]
    np.testing.assert_allclose(merged.loc["t"], x.loc[["a", "c", "e"]].mean(), rtol=1e-6, err_msg="none agrees: equal weights")
    alone, table = merge_repeats(x.head(2), [2, 1])
    assert (alone.to_numpy() == x.head(2).to_numpy()).all() and list(alone.index) == [2, 1]
    assert (table.weight == 1).all() and table.correlation.isna().all()

def test_missing_genes_take_no_part(repeats):
    x, groups = repeats
    holes = x.copy()
    holes.iloc[:, :5] = np.nan
    merged, table = merge_repeats(holes, groups)
    fewer, fewer_table = merge_repeats(x.iloc[:, 5:], groups)
    assert merged.iloc[:, :5].isna().all(axis=None)
    np.testing.assert_allclose(merged.iloc[:, 5:], fewer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table.weight, fewer_table.weight, err_msg="exact where repeats miss the same genes")
    pair, _ = merge_repeats(pd.DataFrame([[1, np.nan, 3.], [3, 5, np.nan]]), ["a", "a"])
    assert pair.loc["a"].tolist() == [2, 5, 3]

def test_a_flat_repeat_agrees_with_none():
    x = pd.DataFrame(np.r_[np.random.default_rng(0).normal(size=(1, 50)) + np.zeros((3, 1)), np.zeros((1, 50))])
    _, table = merge_repeats(x, ["a"]*4)
    np.testing.assert_allclose(table.correlation, [2/3]*3 + [0], atol=1e-12)
    np.testing.assert_allclose(table.weight, np.array([2/3]*3 + [0.01])/2.01)

def test_bad_groups_are_refused(repeats):
    x, groups = repeats
    with pytest.raises(InputError, match="one label for each"): merge_repeats(x, groups[:-1])
    with pytest.raises(InputError, match="in their order"): merge_repeats(x, pd.Series(groups, x.index[::-1]))
    with pytest.raises(InputError, match="'s3' has no group"): merge_repeats(x, np.where(np.arange(len(x)) == 3, None, groups))
    empty, table = merge_repeats(x.iloc[:0], groups[:0])
    assert empty.shape == (0, 80) and len(table) == 0

def test_memory_is_that_of_the_result_and_a_block():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(30_000, 200)).astype("f4"))
    groups = rng.integers(0, 10_000, len(x))
    tracemalloc.start()
    merged, _ = merge_repeats(x, groups)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < merged.to_numpy().nbytes + 10*plates.BLOCK*200*8
