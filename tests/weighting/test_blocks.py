"""Sums from blocks: the same numbers however the data lie and whoever adds them, and no more memory than was promised."""
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.weighting.blocks import grams_of_blocks, read_blocks
from drugnb.weighting.ridge import grams, solve_grams


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("blocks"), np.random.default_rng(0)
    x = rng.normal(size=(3000, 25)).astype(np.float32)
    np.save(folder/"x.npy", x)
    pd.DataFrame(x, columns=[f"g{i}" for i in range(25)]).assign(name="text").to_parquet(folder/"x.parquet", row_group_size=700)
    return folder, x, rng.normal(size=3000), rng.integers(-1, 5, 3000), rng.random(3000)

def ways(folder, x):
    names = [f"g{i}" for i in range(25)]
    return {"one block": read_blocks(x, rows=5000), "blocks": read_blocks(x, rows=333), "memory map": read_blocks(folder/"x.npy", rows=1000),
            "an open map": read_blocks(np.load(folder/"x.npy", mmap_mode="r"), rows=1000), "Parquet": read_blocks(folder/"x.parquet"),
            "Parquet, named": read_blocks(folder/"x.parquet", names)}

def same(made, whole):
    np.testing.assert_allclose(made, whole, rtol=1e-9, atol=1e-9)
    models = [solve_grams(sums, np.eye(5), [0.1, 10]) for sums in (made, whole)]
    np.testing.assert_allclose(*models, rtol=1e-8, atol=1e-10)

def test_the_same_numbers_from_one_block_many_and_files(tables):
    folder, x, y, g, w = tables
    how = dict(weights=w, centre=x.mean(0))
    for blocks in ways(folder, x).values(): same(grams_of_blocks(blocks, y, g, **how), grams(x, y, g, **how))

def test_the_same_numbers_from_joblib_workers(tables):
    folder, x, y, g, w = tables
    for name in ("blocks", "Parquet"): same(grams_of_blocks(ways(folder, x)[name], y, g, weights=w, workers=2), grams(x, y, g, weights=w))

def test_the_same_numbers_from_a_dask_cluster(tables):
    distributed = pytest.importorskip("distributed", reason="dask is not installed: pip install 'drugnb[scale]'")
    folder, x, y, g, w = tables
    how = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with distributed.LocalCluster(**how) as cluster, distributed.Client(cluster) as client:
        for name in ("blocks", "Parquet"): same(grams_of_blocks(ways(folder, x)[name], y, g, weights=w, workers=client), grams(x, y, g, weights=w))

def test_columns_are_read_in_the_order_asked_for(tables):
    folder, x, y, g, _ = tables
    turned = grams_of_blocks(read_blocks(folder/"x.parquet", ["g3", "g0"]), y, g)
    np.testing.assert_allclose(turned, grams(x[:, [3, 0]], y, g), rtol=1e-9, atol=1e-9)

def test_what_does_not_fit_is_named(tables, tmp_path):
    folder, x, y, g, _ = tables
    with pytest.raises(InputError, match="3000 signatures and y has 2999"): grams_of_blocks(read_blocks(x), y[1:], g[1:])
    with pytest.raises(InputError, match="neither a .npy nor a .parquet"): read_blocks(tmp_path/"x.csv")
    with pytest.raises(InputError, match="no number column 'TP53'"): read_blocks(folder/"x.parquet", ["g1", "TP53"])

LIMITED = """
import resource, sys
import numpy as np
from drugnb.weighting.blocks import grams_of_blocks, read_blocks
y, g = np.random.default_rng(1).normal(size=200_000), np.arange(200_000) % 3
now = int([l for l in open("/proc/self/status") if l.startswith("VmData")][0].split()[1])*1024
resource.setrlimit(resource.RLIMIT_DATA, (now + 150*2**20, now + 150*2**20))
try: np.array(np.load(sys.argv[1], mmap_mode="r")); print("the whole fits: the limit does not bind")
except MemoryError: print("the whole does not fit")
sums = grams_of_blocks(read_blocks(sys.argv[1], rows=8192), y, g)
print(f"{sums.sum():.10g}")
"""

@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited so on Linux only")
def test_a_matrix_larger_than_the_memory_allowed(tmp_path):
    "320 MB of signatures, 150 MB allowed."
    x = np.lib.format.open_memmap(tmp_path/"x.npy", "w+", np.float32, (200_000, 400))
    rng, tile = np.random.default_rng(0), np.random.default_rng(0).normal(size=(20_000, 400)).astype(np.float32)
    for start in range(0, 200_000, 20_000): x[start:start + 20_000] = tile[rng.permutation(20_000)]
    x.flush()
    y, g = np.random.default_rng(1).normal(size=200_000), np.arange(200_000) % 3
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path/"x.npy")], capture_output=True, text=True,
                          env={"PATH": "", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stderr[-2000:]
    first, total = done.stdout.splitlines()
    assert first == "the whole does not fit"
    np.testing.assert_allclose(float(total), grams(x, y, g).sum(), rtol=1e-7)
