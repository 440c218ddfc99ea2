"""Sums from blocks: the same numbers from any source and any worker, and no more memory than was promised."""
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
    frame = pd.DataFrame(x, columns=[f"g{i}" for i in range(25)]).assign(name="text")
    frame.to_parquet(folder/"x.parquet", row_group_size=700)
    return folder, x, rng.normal(size=3000), rng.integers(-1, 5, 3000), rng.random(3000)

def ways(folder, x):
    names = [f"g{i}" for i in range(25)]
    return {"one block": read_blocks(x, rows=5000), "blocks": read_blocks(x, rows=333),
            "memory map": read_blocks(folder/"x.npy", rows=1000),
            "an open map": read_blocks(np.load(folder/"x.npy", mmap_mode="r"), rows=1000),
            "Parquet": read_blocks(folder/"x.parquet"),
            "Parquet, named": read_blocks(folder/"x.parquet", names)}

def same(made, whole):
    np.testing.assert_allclose(made, whole, rtol=1e-9, atol=1e-9)
    models = [solve_grams(sums, np.eye(5), [0.1, 10]) for sums in (made, whole)]
    np.testing.assert_allclose(*models, rtol=1e-8, atol=1e-10)

def test_the_same_numbers_from_one_block_many_and_files(tables):
    folder, x, y, g, w = tables
    how = dict(weights=w, centre=x.mean(0))
    for blocks in ways(folder, x).values(): same(grams_of_blocks(blocks, y, g, **how), grams(x, y, g, **how))

@pytest.mark.slow
def test_the_same_numbers_from_joblib_workers(tables):
    folder, x, y, g, w = tables
    for name in ("blocks", "Parquet"):
        made = grams_of_blocks(ways(folder, x)[name], y, g, weights=w, workers=2)
        same(made, grams(x, y, g, weights=w))

def test_the_same_numbers_from_a_dask_cluster(tables):
    why = "dask is not installed: pip install 'drugnb[scale]'"
    distributed = pytest.importorskip("distributed", reason=why)
    folder, x, y, g, w = tables
    how = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with distributed.LocalCluster(**how) as cluster, distributed.Client(cluster) as client:
        for name in ("blocks", "Parquet"):
            made = grams_of_blocks(ways(folder, x)[name], y, g, weights=w, workers=client)
            same(made, grams(x, y, g, weights=w))

def test_blocks_read_every_row_once_and_in_order(tables):
    folder, x, *_ = tables
    for name, blocks in ways(folder, x).items():
        starts, stops = [b.start for b in blocks], [b.stop for b in blocks]
        assert [0, *stops[:-1]] == starts and stops[-1] == len(x), name
        np.testing.assert_array_equal(np.vstack([b.read() for b in blocks]), x, err_msg=name)

def test_columns_are_read_in_the_order_asked_for(tables):
    folder, x, y, g, _ = tables
    turned = grams_of_blocks(read_blocks(folder/"x.parquet", ["g3", "g0"]), y, g)
    np.testing.assert_allclose(turned, grams(x[:, [3, 0]], y, g), rtol=1e-9, atol=1e-9)

def test_what_does_not_fit_is_named(tables, tmp_path):
    folder, x, y, g, _ = tables
    with pytest.raises(InputError, match="3000 signatures and y has 2999"):
        grams_of_blocks(read_blocks(x), y[1:], g[1:])
    with pytest.raises(InputError, match="neither a .npy nor a .parquet"): read_blocks(tmp_path/"x.csv")
    with pytest.raises(InputError, match=r"no number column 'TP53' \(1 of 2 genes are missing\)"):
        read_blocks(folder/"x.parquet", ["g1", "TP53"])

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

@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited so on Linux only")
def test_a_matrix_larger_than_the_memory_allowed(tmp_path):
    "320 MB of signatures, 150 MB allowed."
    x = np.lib.format.open_memmap(tmp_path/"x.npy", "w+", np.float32, (200_000, 400))
    rng = np.random.default_rng(0)
    tile = np.random.default_rng(0).normal(size=(20_000, 400)).astype(np.float32)
    for start in range(0, 200_000, 20_000): x[start:start + 20_000] = tile[rng.permutation(20_000)]
    x.flush()
    y, g = np.random.default_rng(1).normal(size=200_000), np.arange(200_000) % 3
    paths = ":".join(sys.path)
    alone = {"PATH": "", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-c", LIMITED, str(tmp_path/"x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-2000:]
    first, total = done.stdout.splitlines()
    assert first == "the whole does not fit"
    np.testing.assert_allclose(float(total), grams(x, y, g).sum(), rtol=1e-7)
