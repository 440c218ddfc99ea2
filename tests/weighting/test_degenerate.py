"""Degenerate input to maps, clusters, weights and ratios: a defined answer, or a sentence that is true."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.weighting.blocks import grams_of_blocks, read_blocks
from drugnb.weighting.cluster import (
    cluster_table,
    dbscan,
    enrichment,
    hdbscan,
    k_distances,
    knee_eps,
    leiden,
    one_giant,
    pair_counts,
    stability,
)
from drugnb.weighting.domain import METHODS, effective_size, fit_ratio, separability, shared_components
from drugnb.weighting.embed import embed, place, principal_components
from drugnb.weighting.learn import learn_weights
from drugnb.weighting.ridge import grams
from drugnb.weighting.weight import (
    CLUSTER_METRICS,
    NOISE,
    SAMPLE_METRICS,
    as_weights,
    cluster_weights,
    replicate_agreement,
    sample_weights,
)

X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
FLAW = np.arange(480).reshape(60, 8) == 5
SAMPLES = pd.DataFrame({"compound": [f"c{i//3}" for i in range(60)], "dose": 1.0, "cell": "A",
                        "viability": np.random.default_rng(1).uniform(0, 1.2, 60)}, [f"s{i}" for i in range(60)])
COMPOUNDS, VIABILITY = SAMPLES["compound"], SAMPLES.viability.to_numpy()

def table(x): return pd.DataFrame(x, [f"s{i}" for i in range(len(x))], [f"g{j}" for j in range(x.shape[1])])

def points(x): return pd.DataFrame(x, columns=["x", "y"])

EXPRESSION = {  # name: expression, and what principal components say of it
    "equal signatures": (np.full((60, 8), 3.3), "All 60 signatures are the same"),
    "missing": (X*np.nan, "missing or infinite"), "one missing": (np.where(FLAW, np.nan, X), "missing or infinite"),
    "infinite": (np.where(FLAW, np.inf, X), "missing or infinite"), "1e200": (1e200*X.astype(float), "overflow"),
    "one signature": (X[:1], "two signatures or more"), "no signature": (X[:0], "two signatures or more"),
}

@pytest.mark.parametrize("name", EXPRESSION)
def test_expression_without_components_is_named(name):
    x, why = EXPRESSION[name]
    for of in (principal_components, leiden):
        with pytest.raises(InputError, match=why): of(table(x))
    if len(x) > 3:
        with pytest.raises(InputError, match=why): embed(table(x), 5)

@pytest.mark.parametrize("x", [X[:, :1], X[:2], np.c_[X[:, :2], np.ones((60, 6))], 1e19*X, 1e-30*X, 1e100*X.astype(float)])
def test_odd_expression_has_components_and_communities(x):
    pca, components = principal_components(table(x))
    centred = x.astype(float) - x.astype(float).mean(0)
    kept = min(components.shape[1], np.linalg.matrix_rank(centred))
    sizes = np.linalg.svd(centred, compute_uv=False)[:kept]
    np.testing.assert_allclose(np.linalg.norm(components, axis=0)[:kept], sizes, rtol=1e-5)
    assert len(leiden(table(x))) == len(x)

def test_a_map_that_is_no_map_is_refused():
    with pytest.raises(InputError, match="two genes or more"): embed(table(X[:, :1]), 5)
    with pytest.raises(InputError, match="finite numbers"): embed(table(1e19*X), 5)
    xy = points(X[:, :2]).set_axis(SAMPLES.index)
    with pytest.raises(InputError, match="lack 7 of 8 genes, g1 for one"): place(table(X[:, :1]), table(X), xy, 5)
    with pytest.raises(InputError, match="new signatures hold missing"): place(table(np.where(FLAW, np.nan, X)), table(X), xy, 5)
    copies = embed(table(np.repeat(X[:30], 2, 0)), 5)
    assert np.isfinite(copies).all(axis=None)

# clusters

def test_points_in_one_place_are_one_cluster_and_others_noise():
    for x, sizes in ((np.zeros((60, 2)), [0, 60]), (np.r_[np.zeros((59, 2)), [[1e9, 0]]], [1, 59])):
        eps = knee_eps(k_distances(points(x), 10))
        assert eps > 0 and np.bincount(dbscan(points(x), eps) + 1, minlength=2).tolist() == sizes
    line = points(np.c_[np.arange(60.0), np.zeros(60)])
    assert np.bincount(dbscan(line, knee_eps(k_distances(line, 10)))).tolist() == [60]

def test_equal_distances_have_no_knee():
    assert knee_eps(np.full(30, 2.5)) == 2.5
    assert knee_eps(np.zeros(30)) == np.finfo(float).tiny

@pytest.mark.parametrize("bad", [0, -3, 2.5, np.nan, "10", None])
def test_settings_of_clusters_are_numbers(bad):
    xy = points(X[:, :2])
    with pytest.raises(InputError, match=f"min_samples is {bad}: use a whole number of 1"): dbscan(xy, 0.5, bad)
    with pytest.raises(InputError, match=f"min_samples is {bad}: use a whole number of 1"): k_distances(xy, bad)
    with pytest.raises(InputError, match=f"min_samples is {bad}: use a whole number of 2"): hdbscan(xy, bad)
    with pytest.raises(InputError, match=f"n_neighbors is {bad}"): leiden(table(X), n_neighbors=bad)
    if bad not in (0, 2.5):
        with pytest.raises(InputError, match=f"resolution is {bad}: use a number of 0 or more"): leiden(table(X), bad)

def test_settings_at_their_limits_are_taken():
    xy = points(X[:, :2])
    assert (dbscan(xy, 1e-9, 1) >= 0).all() and len(hdbscan(xy, 2)) == len(hdbscan(xy, 60)) == 60
    assert (leiden(table(X), 0) == 0).all() and len(leiden(table(X), n_neighbors=1)) == 60
    assert (k_distances(xy, 1) == 0).all() and len(k_distances(xy, 60)) == 60

@pytest.mark.parametrize("eps", [0, -1, np.nan, np.inf])
def test_a_radius_is_above_zero(eps):
    with pytest.raises(InputError, match=f"eps is {eps}"): dbscan(points(X[:, :2]), eps)

@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_map_with_gaps_is_refused(bad):
    xy = points(np.where(FLAW, bad, X)[:, 4:6])
    for cluster in (lambda: dbscan(xy, 0.5), lambda: hdbscan(xy), lambda: k_distances(xy)):
        with pytest.raises(InputError, match="missing or infinite coordinates"): cluster()

def test_fewer_points_than_asked_for_are_refused():
    for n in (1, 2, 9):
        for cluster in (k_distances, hdbscan):
            with pytest.raises(InputError, match=f"{n} signatures are fewer than min_samples = 10"): cluster(points(X[:n, :2]))

LABELS = {"noise": np.full(60, -1), "one": np.zeros(60, int), "singletons": np.arange(60), "mixed": np.arange(60) % 4 - 1}

@pytest.mark.parametrize("name, says", [("noise", "100.0% of the signatures are noise"), ("one", "one cluster holds 100.0%"),
                                        ("singletons", ""), ("mixed", "")])
def test_a_clustering_that_can_carry_no_weights_is_described_truly(name, says):
    said = one_giant(pd.Series(LABELS[name]))
    assert said.startswith(says) and bool(said) == bool(says)
    assert ("larger eps" in said) == (name == "noise") and ("smaller eps" in said) == (name == "one")

def test_nine_in_ten_is_not_yet_one_giant():
    assert one_giant(pd.Series([0]*90 + [1]*10)) == "" and one_giant(pd.Series([0]*91 + [1]*9))
    assert one_giant(pd.Series([-1]*90 + [1]*10)) == "" and "noise" in one_giant(pd.Series([-1]*91 + [1]*9))
    assert one_giant(pd.Series([], dtype=int)) == ""

def test_enrichment_of_nothing_is_an_empty_table():
    mechanisms = pd.Series(np.where(np.arange(60) < 20, "m", "k"), SAMPLES.index)
    nothing = pd.Series(None, SAMPLES.index, dtype=object)
    for labels in LABELS.values():
        labels = pd.Series(labels, SAMPLES.index)
        assert len(enrichment(labels, COMPOUNDS, nothing)) == 0
        found = enrichment(labels, COMPOUNDS, mechanisms)
        assert list(found) == ["cluster", "mechanism", "compounds", "expected", "p", "p_adjusted"]
        assert found[["expected", "p", "p_adjusted"]].notna().all(axis=None) and len(found) == 0 or (labels >= 0).any()
    one = enrichment(pd.Series(0, SAMPLES.index), COMPOUNDS, mechanisms)
    assert one.p.tolist() == one.p_adjusted.tolist() == [1, 1] and one.compounds.tolist() == one.expected.tolist()

def test_pair_counts_leave_noise_out_but_count_it():
    rows = pd.DataFrame({"cluster": [-1, 0, 0, 1], "compound": list("aabc"), "mechanism": list("mmmk")})
    assert pair_counts(rows).to_numpy().tolist() == [[0, "m", 2, 2, 2], [1, "k", 1, 1, 1]]

def test_groupings_with_gaps_are_not_compared():
    whole = pd.Series([0, 1, 1])
    with pytest.raises(InputError, match="mine has no cluster for some"): stability({"all": whole, "mine": whole.where(whole > 0)})

# weights

@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("metric", CLUSTER_METRICS)
def test_all_noise_or_one_cluster_weigh_all_the_same(metric, noise):
    one = cluster_weights(SAMPLES, pd.Series(0, SAMPLES.index), metric, noise=noise)
    np.testing.assert_allclose(one.values, 1)
    assert one.effective_size == pytest.approx(60)
    labels = pd.Series(-1, SAMPLES.index)
    if noise == "drop":
        with pytest.raises(InputError, match="weight 0 to every"): cluster_weights(SAMPLES, labels, metric, noise=noise)
    else: np.testing.assert_allclose(cluster_weights(SAMPLES, labels, metric, noise=noise).values, 1)
    with pytest.raises(InputError, match="60 labelled signatures lie in 60 clusters"):
        cluster_weights(SAMPLES, pd.Series(np.arange(60), SAMPLES.index), metric, noise=noise)
    with pytest.raises(InputError, match="missing weights"): cluster_weights(SAMPLES, labels.where(FLAW[:, 5]), metric)

@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_signatures_without_viability_are_not_weighted(bad):
    spoilt = SAMPLES.assign(viability=np.where(np.arange(60) == 7, bad, VIABILITY))
    for metric in SAMPLE_METRICS:
        with pytest.raises(InputError, match="1 of 60 signatures have no viability"): sample_weights(spoilt, table(X), metric)
    for metric in CLUSTER_METRICS:
        with pytest.raises(InputError, match="1 of 60"): cluster_weights(spoilt, pd.Series(LABELS["mixed"], SAMPLES.index), metric)
    with pytest.raises(InputError, match="0 of 0"): sample_weights(SAMPLES[:0], table(X[:0]), "dose")

@pytest.mark.parametrize("value", [0.0, 0.8, 1.0, 1.3])
def test_viabilities_that_are_all_the_same(value):
    same, labels = SAMPLES.assign(viability=value), pd.Series(LABELS["mixed"], SAMPLES.index)
    for metric in ("sd", "range"):
        with pytest.raises(InputError, match="weight 0 to every"): cluster_weights(same, labels, metric)
    for metric in ("1/label density", "1 - viability")[:1 + (value < 1)]:
        np.testing.assert_allclose(sample_weights(same, table(X), metric).values, 1)
    if value < 1: return
    with pytest.raises(InputError, match="weight 0 to every"): sample_weights(same, table(X), "1 - viability")

@pytest.mark.parametrize("raw", [[0, 0], [-1, 1], [np.nan, 1], [np.inf, 1], [1e308]*10])
def test_what_cannot_be_weights(raw):
    with pytest.raises(InputError, match="A weighting gave"): as_weights(raw)

def test_the_effective_size_of_no_weight_is_zero_and_of_equal_ones_their_number():
    assert effective_size([0, 0]) == 0 and effective_size([2, 2, 2]) == 3 and effective_size([1, 0]) == 1
    assert effective_size([3, 1]) == 1.6

def test_replicates_of_signatures_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="missing or infinite"): replicate_agreement(SAMPLES, table(np.where(FLAW, np.nan, X)))
    assert (replicate_agreement(SAMPLES, table(np.ones((60, 8)))) == 0.01).all(), "flat signatures agree in nothing"

# learned weights

FOURS = np.arange(60) % 4

def learned(x=X, y=VIABILITY, clusters=FOURS, units=COMPOUNDS, **how):
    return learn_weights(x.astype(float), y, clusters, units, **how)

@pytest.mark.parametrize("worst", [False, True])
def test_weights_are_not_learned_from_what_says_nothing(worst):
    for spoilt in (dict(x=np.where(FLAW, np.nan, X)), dict(y=np.where(np.arange(60) == 3, np.nan, VIABILITY)),
                   dict(x=np.where(FLAW, np.inf, X)), dict(clusters=np.full(60, np.nan))):
        with pytest.raises(InputError, match="missing or infinite"): learned(**spoilt, worst=worst)
    with pytest.raises(InputError, match="all the same"): learned(y=np.full(60, 0.8), worst=worst)
    with pytest.raises(InputError, match="from one group"): learned(units=np.zeros(60), worst=worst)
    with np.errstate(all="ignore"), pytest.raises(InputError, match="overflow"):
        learned(y=1e200*VIABILITY, worst=worst)

def test_weights_are_learned_from_little():
    for little in (dict(units=np.arange(60) % 2), dict(x=X[:, :1]), dict(x=np.ones((60, 3))), dict(x=1e-30*X)):
        assert np.isfinite(learned(**little).values).all() and learned(**little).values.mean() == pytest.approx(1)
    np.testing.assert_allclose(learned(clusters=np.zeros(60)).values, 1)

# ratios

@pytest.mark.parametrize("x, why", [
    (np.ones((60, 8)), "0 of 8 genes differ .* by more than a 30,000th"), (X + np.float64(1e6), "0 of 8 genes differ"),
    (X*np.nan, "missing or infinite"), (1e200*X.astype(float), "overflow"), (X[:3], "at least 10")])
def test_sets_that_cannot_be_compared_are_described_truly(x, why):
    for sets in ((table(x), table(X)), (table(X), table(x))):
        with pytest.raises(InputError, match=why): shared_components(*sets, 5)
        if len(x) < 10 or not (np.abs(x.astype(float)) < 1e150).all():
            for method in METHODS:
                with pytest.raises(InputError): fit_ratio(*(s.to_numpy(float) for s in sets), method)
            with pytest.raises(InputError): separability(*(s.to_numpy(float) for s in sets))

def test_genes_that_training_lacks_are_named():
    with pytest.raises(InputError, match="training signatures lack 7 of 8 genes, g1 for one"): shared_components(table(X[:, :1]), table(X), 5)
    with pytest.raises(InputError, match="1 of 1 genes differ"): shared_components(table(X), table(X[:, :1]), 5)
    for n in (0, -1):
        with pytest.raises(InputError, match=f"{n} components hold nothing"): shared_components(table(X), table(X), n)
    assert shared_components(table(X), table(X), 99).train.shape == (60, 8)

@pytest.mark.parametrize("method", METHODS)
def test_ratios_of_odd_sets_are_finite_with_mean_one(method):
    same, far = np.ones((30, 8)), X + np.float32(50)
    for train, outside in ((X, same), (same, X), (same, same + 1), (X, far), (1e19*X, X)):
        train = train.astype(float)
        ratio = fit_ratio(train, outside, method)(train)
        assert np.isfinite(ratio).all() and (ratio >= 0).all() and ratio.mean() == pytest.approx(1)

# blocks

def test_blocks_that_are_none_are_refused(tmp_path):
    for shape in ((0, 3), (5,), (2, 2, 2)):
        with pytest.raises(InputError, match="blocks need signatures x genes"): read_blocks(np.zeros(shape))
    for rows in (0, -1, 2.5):
        with pytest.raises(InputError, match=f"Blocks of {rows}"): read_blocks(X, rows=rows)
    with pytest.raises(InputError, match="There is no file"): read_blocks(tmp_path/"none.npy")
    groups = np.zeros(60, int)
    with pytest.raises(InputError, match="0 blocks and 1 workers"): grams_of_blocks([], VIABILITY, groups)
    with pytest.raises(InputError, match="60 blocks and 0 workers"): grams_of_blocks(read_blocks(X, rows=1), VIABILITY, groups, workers=0)
    one_by_one = grams_of_blocks(read_blocks(X, rows=1), VIABILITY, groups)
    np.testing.assert_allclose(one_by_one, grams(X, VIABILITY, groups), rtol=1e-9)

def test_a_table_of_one_cluster_without_labels_has_none():
    found = cluster_table(SAMPLES.assign(viability=np.nan), pd.Series(0, SAMPLES.index))
    assert found.loc[0, "labelled"] == 0 and found.loc[0, ["mean", "sd", "range"]].isna().all() and found.loc[0, "size"] == 60
