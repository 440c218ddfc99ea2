"""p of connectivity: exact values kept, lacking genes lacking, calibrated where genes move together, on a real plate too."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from drugnb.combos.connect import METHODS, Shelf, permutation_p, query_drugs, score_by
from drugnb.combos.null import Permuter, gene_structure
from drugnb.core.gct import read_gct
from drugnb.core.identity import landmark_genes

MODULES = 12

def world(n, n_genes=180, shared=0.5, seed=0):
    "Signatures whose genes move in modules."
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((n, MODULES))*np.r_[2, np.ones(MODULES - 1)]
    return np.sqrt(shared)*own[:, np.arange(n_genes) % MODULES] + np.sqrt(1 - shared)*rng.standard_normal((n, n_genes))

def plain_p(query, v, score, rng, n=99):
    has, permuted = ~np.isnan(query), np.tile(query, (n, 1))
    permuted[:, has] = rng.permuted(permuted[:, has], axis=1)
    return (1 + (np.abs(score(permuted, v)) >= np.abs(score(query[None], v))).sum(0))/(n + 1)

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
        assert np.mean([plain_p(row, v, score, rng) < 0.05 for row in x]) > 0.12, "which plain permutations are not"

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
    assert (p < 0.05).mean() < 0.15 < np.mean(plain_p(query, v, score, rng) < 0.05)

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

# a real plate

@pytest.fixture(scope="module")
def plate(mirror):
    "Treated and untreated wells of an L1000 plate of A375 cells, z-scores by symbol."
    found = next(mirror.glob("**/LJP009_A375_24H_X1_B20_ZSPCQNORM_n371x978.gct"), None)
    if found is None: pytest.skip("the mirror has no plate LJP009")
    values, genes, wells = read_gct(found)[:3]
    values = values.set_axis(genes.pr_gene_symbol.astype(str), axis=0).T
    untreated = (wells.pert_type == "ctl_vehicle").to_numpy()
    return values[~untreated].to_numpy(float), values[untreated].to_numpy(float)

def alarms(p):
    passed = np.array([false_discovery_control(row) for row in p]) < 0.05
    return {"p < 0.05": (p < 0.05).mean(), "FDR 5%": passed.mean(), "wells with any": passed.any(1).mean()}

@pytest.mark.slow
@pytest.mark.parametrize("method", ["pearson", "wtcs", "xsum", "spearman"])
def test_untreated_wells_of_a_real_plate_are_rarely_significant(plate, method, record_property):
    "By plain permutations, more than a quarter of the treated wells pass an FDR of 5% for an untreated one."
    treated, untreated = plate
    rng, score, shelf = np.random.default_rng(0), score_by(method, 100, 97), Shelf(treated)
    kept = alarms(np.array([permutation_p(row, shelf, score, 300) for row in untreated]))
    plain = alarms(np.array([plain_p(row, shelf, score, rng, 999) for row in untreated]))
    print(method, "plain", plain, "kept", kept)
    assert plain["FDR 5%"] > 0.25 and plain["p < 0.05"] > 0.35
    assert kept["p < 0.05"] < 0.1 and kept["FDR 5%"] < 0.02
