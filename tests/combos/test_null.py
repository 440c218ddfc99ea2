"""p of connectivity: exact values kept, lacking genes lacking, calibrated where genes move together, on a real plate too."""
import numpy as np
import pandas as pd
import pytest

from drugnb.combos.calibrate import alarm_rates, calibration, figure_calibration, plain_p, read_plate
from drugnb.combos.connect import METHODS, Shelf, permutation_p, query_drugs, score_by
from drugnb.combos.null import Permuter, gene_structure
from drugnb.core.identity import landmark_genes
from drugnb.core.settings import InputError

MODULES = 12

def world(n, n_genes=180, shared=0.5, seed=0):
    "Signatures whose genes move in modules."
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((n, MODULES))*np.r_[2, np.ones(MODULES - 1)]
    return np.sqrt(shared)*own[:, np.arange(n_genes) % MODULES] + np.sqrt(1 - shared)*rng.standard_normal((n, n_genes))

def test_modules_of_genes_are_found_and_independent_genes_have_none():
    structure = gene_structure(world(150))
    assert structure.directions.shape[1] in range(MODULES - 2, MODULES + 1) and (np.diff(structure.block) >= 0).all()
    assert np.bincount(structure.block)[0] == 1, "the strong module stands alone"
    np.testing.assert_allclose(structure.directions.T @ structure.directions, np.eye(structure.directions.shape[1]), atol=1e-9)
    assert gene_structure(np.random.default_rng(1).standard_normal((150, 180))).directions.shape[1] <= 1
    for odd in (np.zeros((3, 5)), np.ones((1, 5)), np.arange(5.0)[None], np.ones((4, 1))):
        assert gene_structure(odd).directions.shape[1] == 0, "nothing in common to keep"

def test_a_permuted_query_has_the_values_of_the_query_and_its_part_in_each_block():
    structure = gene_structure(world(150))
    rng, draws, blocks = np.random.default_rng(2), world(3, seed=5), np.eye(structure.block.max() + 1)[structure.block]
    for query in (draws[0], np.sign(draws[1])*(np.abs(draws[1]) > 1.5), np.round(draws[2])):
        permuted = Permuter(query, structure, rng).draw(300)
        assert (np.sort(permuted) == np.sort(query)).all() and len(np.unique(permuted, axis=0)) > 290
        def parts(x): return ((x - x.mean(-1, keepdims=True)) @ structure.directions)**2 @ blocks
        own, kept, plain = parts(query), parts(permuted).mean(0), parts(rng.permuted(np.tile(query, (300, 1)), axis=1)).mean(0)
        assert np.abs(np.log(kept/own)).max() < 0.3 and np.abs(np.log(plain/own)).max() > 0.7
    assert (Permuter(np.full(180, 2.0), structure, rng).draw(3) == 2).all(), "a flat query has one permutation"

@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lacking", [0, 0.6])
def test_p_is_calibrated_for_unrelated_queries_whose_genes_move_together(method, lacking):
    n, rng = 12, np.random.default_rng(3)
    v, x, score = world(60, seed=1), world(n, seed=2), score_by(method, 25, 25)
    x[:, rng.random(180) < lacking] = np.nan
    p = np.array([permutation_p(row, v, score, 79, seed=i) for i, row in enumerate(x)])
    assert 0.005 < (p < 0.05).mean() < 0.11 and 0.2 < (p < 0.5).mean() < 0.62
    if not lacking and method in ("wtcs", "xsum", "zhang", "pearson", "spearman", "cosine"):
        assert np.mean([plain_p(row, v, score, 99, seed=i) < 0.05 for i, row in enumerate(x)]) > 0.12, "which plain permutations are not"

def test_a_real_match_among_moving_genes_is_still_found():
    v = world(60, seed=1)
    query = v[7] + 0.5*np.random.default_rng(0).standard_normal(180)
    for method in ("wtcs", "pearson"):
        p = permutation_p(query, v, score_by(method, 25, 25), 200)
        assert p[7] < 0.01 and np.median(p) > 0.2, method

def test_what_most_profiles_share_with_a_query_widens_the_null():
    rng = np.random.default_rng(4)
    plate = rng.standard_normal(150)
    v, query = rng.standard_normal((80, 150)) + 0.4*plate, rng.standard_normal(150) + 0.4*plate
    score = score_by("pearson")
    p = permutation_p(query, v, score, 200)
    assert (p < 0.05).mean() < 0.15 < np.mean(plain_p(query, v, score, 99) < 0.05)

@pytest.mark.parametrize("method", ["wtcs", "pearson", "xsum"])
def test_the_order_of_genes_profiles_and_queries_does_not_change_p(method):
    genes = landmark_genes().symbol[:90]
    v = pd.DataFrame(world(20, 90, seed=3), [f"d{i}" for i in range(20)], genes)
    q = pd.DataFrame(world(2, 90, seed=4), ["a", "b"], genes).iloc[:, 10:]
    one = query_drugs(q, v, method, n_top=10, n_extreme=10, permutations=60)
    other = query_drugs(q.iloc[::-1, ::-1], v.sample(frac=1, random_state=1).sample(frac=1, axis=1, random_state=2), method, n_top=10,
                        n_extreme=10, permutations=60)
    keys = ["query", "drug"]
    pd.testing.assert_frame_equal(one.sort_values(keys).reset_index(drop=True), other.sort_values(keys).reset_index(drop=True), atol=1e-9)
    alone = query_drugs(q.loc["b"], v, method, n_top=10, n_extreme=10, permutations=60).set_index("drug").p
    assert np.allclose(alone, one[one["query"] == "b"].set_index("drug").p[alone.index]), "nor what else is asked"

def test_blocks_and_shelves_are_a_matter_of_memory_only(monkeypatch):
    v, x = world(55, seed=1), world(1, seed=2)[0]
    score = score_by("pearson")
    whole = permutation_p(x, v, score, 100)
    assert np.array_equal(permutation_p(x, Shelf(v), score, 100), whole)

# a plate

def wells_of(n, seed):
    genes = landmark_genes().symbol[:90].tolist()
    return pd.DataFrame(world(n, 90, seed=seed), [f"w{seed}-{i}" for i in range(n)], genes)

def write_plate(path, wells, types, annotation="pert_type"):
    "A GCT file of wells x genes."
    lines = ["#1.3", f"{wells.shape[1]}\t{len(wells)}\t0\t1", "\t".join(["id", *wells.index]), "\t".join([annotation, *types])]
    path.write_text("\n".join([*lines, *("\t".join([g, *map(str, v)]) for g, v in wells.items())]) + "\n")
    return path

def test_treated_and_untreated_wells_are_read_by_what_the_file_says_of_them(tmp_path):
    wells = wells_of(14, 1).round(3)
    types = ["trt_cp", "ctl_vehicle", "DMSO", "CTL_UNTRT", "-666", "trt_poscon"] + ["trt_cp"]*5 + ["ctl_vehicle"]*3
    wells.iloc[0, 4] = np.nan
    treated, untreated = read_plate(write_plate(tmp_path/"plate.gct", wells.astype(object).where(wells.notna(), "-666"), types))
    assert list(untreated.index) == list(wells.index[[1, 2, 3, 11, 12, 13]])
    assert list(treated.index) == list(wells.index[[0, *range(5, 11)]])
    assert wells.columns[4] not in treated and treated.shape[1] == 89 and set(treated.columns) == set(untreated.columns)
    np.testing.assert_allclose(untreated, wells.loc[untreated.index, untreated.columns], atol=1e-4)
    report = " ".join(treated.attrs["report"])
    assert "w1-4" in report and "1 gene with missing values" in report and "3 treated" not in report and "7 treated" in report

@pytest.mark.parametrize("change, said", [
    (dict(annotation="kind"), "pert_type"), (dict(few=True), "4 untreated"), (dict(only=True), "no treated"),
    (dict(shift=9), "expression itself")])
def test_a_plate_that_cannot_answer_is_refused(tmp_path, change, said):
    wells = wells_of(20, 1).round(3) + change.get("shift", 0)
    n = 4 if change.get("few") else 20 if change.get("only") else 6
    path = write_plate(tmp_path/"plate.gct", wells, ["ctl_vehicle"]*n + ["trt_cp"]*(20 - n), change.get("annotation", "pert_type"))
    with pytest.raises(InputError, match=said): read_plate(path)

def test_alarms_are_counted_by_pair_and_by_query():
    rates = alarm_rates([[0.001, 0.04, 0.5, 0.9], [0.03, 0.2, 0.6, 0.8], [0.2]*4])
    assert rates.tolist() == pytest.approx([3/12, 1/12, 1/3]), "by hand: 4*0.001 passes, 4*0.03 does not"

def test_a_plate_s_calibration_tells_the_nulls_apart_and_depends_on_no_order():
    treated, untreated = wells_of(60, 1), wells_of(8, 2)
    table = calibration(treated, untreated, ["pearson"], 150)
    plain, kept = (table.set_index("null").loc[n] for n in ("genes permuted", "modules kept"))
    assert plain.below > 0.15 > 0.12 > kept.below and kept.below_low <= kept.below <= kept.below_high
    assert list(table.wells) == [8, 8] and list(table.drugs) == [60, 60]
    other = calibration(treated.iloc[::-1, ::-1], untreated.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=1), ["pearson"], 150)
    pd.testing.assert_frame_equal(table, other)
    fig = figure_calibration(table)
    assert f"{plain.below:.0%}" in fig.get_suptitle() and f"{kept.below:.0%}" in fig.get_suptitle()
    with pytest.raises(InputError): calibration(treated, untreated, ["nothing"], 10)

# a real plate

@pytest.fixture(scope="module")
def plate(mirror):
    "Treated and untreated wells of an L1000 plate of A375 cells, z-scores by symbol."
    found = next(mirror.glob("**/LJP009_A375_24H_X1_B20_ZSPCQNORM_n371x978.gct"), None)
    if found is None: pytest.skip("the mirror has no plate LJP009")
    return read_plate(found)

@pytest.mark.slow
@pytest.mark.parametrize("method", ["pearson", "wtcs", "xsum", "spearman"])
def test_untreated_wells_of_a_real_plate_are_rarely_significant(plate, method):
    "By plain permutations, more than a quarter of the treated wells pass an FDR of 5% for an untreated one."
    treated, untreated = plate
    table = calibration(treated, untreated, [method], 300).set_index("null")
    print(method, table.T)
    plain, kept = table.loc["genes permuted"], table.loc["modules kept"]
    assert plain.passed > 0.25 and plain.below > 0.35
    assert kept.below < 0.1 and kept.passed < 0.02
