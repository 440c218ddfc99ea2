"""Real tables: the A375 set, the two saved maps of 74,709 signatures, and the Broad Institute's own files."""
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from drugnb.core.evaluate import scores
from drugnb.core.gct import read_gct, read_gctx
from drugnb.core.settings import InputError
from drugnb.weighting.choose import grid_r
from drugnb.weighting.cluster import cluster_table, dbscan, k_distances, knee_eps
from drugnb.weighting.embed import pickled_map, read_map
from drugnb.weighting.grid import apply_grid, fit_grid
from drugnb.weighting.load import open_study
from drugnb.weighting.weight import UNWEIGHTED, cluster_weights


@pytest.fixture(scope="module")
def a375(data):
    with pytest.MonkeyPatch.context() as m:
        m.setenv("DRUGNB_DATA", str(data))
        return open_study("l1000-a375")

def test_the_real_set_opens_in_one_language(a375):
    assert a375.signatures.shape == (700, 978) and a375.labelled.sum() == 294 and a375.outside.shape == (110, 978)
    assert a375.coefficients.index.isin(a375.genes).sum() == 978 and "intercept" in a375.coefficients.index
    assert {"WASHC5", "H2BC21"} <= set(a375.genes), "Entrez ids on one side and old symbols on the other meet in present symbols"

def test_its_numbers_are_those_measured_before(a375):
    "Ridge on GDSC labels, unseen outside compounds: 0.32 at alpha 1, 0.46 at 1,000, 0.48 at 10,000; published coefficients 0.10."
    models = fit_grid(a375, pd.DataFrame({"cluster": 0}, a375.signatures.index), [UNWEIGHTED], (1, 1000, 10000))
    unseen = a375.unseen
    r = grid_r(apply_grid(models, a375.outside)[:, :, unseen], a375.outside_samples.viability[unseen])
    np.testing.assert_allclose(r, [0.32, 0.46, 0.48], atol=0.01)
    c = a375.coefficients
    published = a375.outside @ c[a375.genes] + c["intercept"]
    assert abs(scores(a375.outside_samples.viability[unseen], published[unseen]).pearson - 0.10) < 0.01
    peer = Ridge(1000).fit(a375.signatures[a375.labelled][a375.genes].astype(float), a375.samples.viability[a375.labelled])
    np.testing.assert_allclose(models[0, 1, :-1], peer.coef_, rtol=1e-6, atol=1e-9)

@pytest.mark.parametrize("perplexity, clusters, largest", [(30, 35, 67_981), (50, 42, 66_754)])
def test_the_saved_maps_load_cluster_and_weigh(mirror, perplexity, clusters, largest):
    path = next(mirror.glob(f"gwenversluijs/*/*/tsne_result_perplexity_{perplexity}.pkl"))
    xy, viability = pickled_map(path)
    assert xy.shape == (74_709, 2) and np.isfinite(xy).all(axis=None) and np.isclose(np.nanmean(viability), 0.84, atol=0.01)
    labels = pd.Series(dbscan(xy, knee_eps(k_distances(xy, 10)), 10))
    table = cluster_table(pd.DataFrame({"compound": "unknown", "viability": viability}), labels)
    assert labels.max() + 1 == clusters and table["size"].max() == largest and table["size"].sum() == 74_709
    weights = cluster_weights(pd.DataFrame({"compound": "unknown", "viability": viability}), labels, "1 - mean")
    assert np.isclose(weights.values.mean(), 1) and 1 < weights.effective_size < 74_709

def test_a_map_of_other_signatures_is_refused(mirror, small):
    path = next(mirror.glob("gwenversluijs/*/*/tsne_result_perplexity_30.pkl"))
    with pytest.raises(InputError, match="74,709 points, the study 600 signatures"): read_map(path, small)

def test_plates_as_the_broad_ships_them(mirror):
    matrix, rows, columns = read_gct(next(mirror.glob("cmap/l1ktools/*/matlab/data_pipeline/results/*/*.gct")))
    assert matrix.shape == (978, 371) and rows.pr_gene_id.is_unique and columns.cell_id.eq("A375").all() and columns.shape == (371, 34)
    matrix, rows, columns = read_gctx(next(mirror.glob("cmap/cmapM/*/sig_tools/tests/assets/*.gctx")))
    assert matrix.shape == (978, 371) and matrix.index.is_unique and columns.pert_id.str.len().gt(0).all()

def test_a_truncated_plate_is_refused(mirror, tmp_path):
    readers = {"cmap/cmapM/*/sig_tools/tests/assets/*.gctx": read_gctx, "cmap/l1ktools/*/matlab/data_pipeline/results/*/*.gct": read_gct}
    for pattern, reader in readers.items():
        path = next(mirror.glob(pattern))
        cut = tmp_path/path.name
        cut.write_bytes(path.read_bytes()[:path.stat().st_size//2])
        with pytest.raises(InputError, match="cut short"): reader(cut)
