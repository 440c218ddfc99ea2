"""A small simulated set of pairs, and the real one where it is."""
import pytest

from drugnb.combos.data import read_combos, simulate_combos


@pytest.fixture(scope="module")
def combos(): return simulate_combos(n_pairs=40, n_studies=12, n_genes=60, n_drugs=14, n_mechanisms=5, n_queries=2, seed=3)

@pytest.fixture(scope="module")
def melanoma(data):
    if not (data/"combos").is_dir(): pytest.skip("the melanoma tables are not beside the others")
    return read_combos(data/"combos")
