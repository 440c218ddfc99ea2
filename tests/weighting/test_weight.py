"""Weights by cluster and by sample, against the long way round."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from drugnb.core.settings import InputError
from drugnb.weighting.cluster import cluster_table
from drugnb.weighting.weight import (
    CLUSTER_METRICS,
    SAMPLE_METRICS,
    WEIGHTINGS,
    cluster_metric,
    cluster_weights,
    mean_agreement,
    replicate_agreement,
    sample_weights,
    size_weighted_mean,
)


def clustered(seed=0, n=60):
    "Samples in four clusters and noise."
    rng = np.random.default_rng(seed)
    compounds, viability = rng.integers(0, 12, n).astype(str), rng.uniform(0, 1.2, n)
    return pd.DataFrame({"compound": compounds, "viability": viability}), pd.Series(rng.integers(-1, 4, n))

@pytest.mark.parametrize("metric", CLUSTER_METRICS)
def test_neutral_noise_has_weight_one_and_dropped_noise_none(metric):
    samples, labels = clustered()
    for power in (1, 2):
        neutral = cluster_weights(samples, labels, metric, power, noise="neutral").values
        dropped = cluster_weights(samples, labels, metric, power, noise="drop").values
        np.testing.assert_allclose(neutral[labels == -1], 1)
        assert (dropped[labels == -1] == 0).all() and np.isclose(dropped.mean(), 1)

def test_a_cluster_without_an_answer_takes_the_mean_of_the_others_by_size():
    table = cluster_table(*clustered())
    table.loc[2, "sd"] = np.nan
    others = table.index != 2
    expected = (table["sd"]*table["size"])[others].sum()/table["size"][others].sum()
    assert cluster_metric(table, "sd")[2] == pytest.approx(expected)
    assert size_weighted_mean(table["sd"], table["size"], np.zeros(len(table), bool)) == 1

def test_ranks_keep_the_order_and_nothing_else():
    table = cluster_table(*clustered())
    ranked = cluster_metric(table, "mean", ranks=True)
    assert sorted(ranked) == pytest.approx(np.arange(1, len(table) + 1)/len(table))
    assert (ranked.rank() == table["mean"].rank()).all()

def test_replicates_agree_as_scipy_says_over_many_blocks_of_rows():
    "More rows than one block holds, so that groups at the ends of blocks count, too."
    rng = np.random.default_rng(0)
    which = rng.integers(0, 2500, 9000)
    samples = pd.DataFrame({"compound": which.astype(str), "dose": rng.choice([1.0, np.nan], 9000)})
    x = pd.DataFrame(rng.normal(size=(9000, 12)) + 2*rng.normal(size=(2500, 12))[which])
    found = replicate_agreement(samples, x)
    groups = samples.groupby(["compound", "dose"], dropna=False).groups
    alone = [rows[0] for rows in groups.values() if len(rows) == 1]
    assert found[alone].isna().all() and found.notna().sum() == 9000 - len(alone)
    several = [rows for rows in groups.values() if len(rows) > 1]
    for rows in several[::25]:
        r = pd.DataFrame({a: {b: spearmanr(x.loc[a], x.loc[b])[0] for b in rows if b != a} for a in rows})
        np.testing.assert_allclose(found[rows], r.mean().clip(lower=0.01)[rows], atol=1e-9)

def test_agreement_of_equal_and_of_opposite_signatures():
    x = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1]])
    np.testing.assert_allclose(mean_agreement(x[:2], np.zeros(2)), 1)
    np.testing.assert_allclose(mean_agreement(x[1:], np.zeros(2)), -1)

def test_unknown_metrics_and_policies_are_named():
    table = cluster_table(*clustered())
    with pytest.raises(InputError, match="no cluster metric 'median': use one of mean"):
        cluster_metric(table, "median")
    with pytest.raises(InputError, match="no noise policy 'keep'"):
        cluster_metric(table, "mean", noise="keep")

def test_weights_of_single_signatures_as_worked_by_hand():
    samples = pd.DataFrame({"compound": list("abc"), "viability": [0.5, 1.0, 1.5], "dose": [1.0, 10, 10]})
    wanted = {"1 - viability": [3, 0, 0], "distance from inert": [1.5, 0, 1.5], "1/label density": [1, 1, 1],
              "dose": [0.5, 1.25, 1.25], "replicate agreement": [1, 1, 1]}
    for metric, weights in wanted.items():
        np.testing.assert_allclose(sample_weights(samples, pd.DataFrame(np.eye(3)), metric).values, weights)
    squared = sample_weights(samples, pd.DataFrame(np.eye(3)), "dose", power=2).values
    np.testing.assert_allclose(squared, np.array([1, 6.25, 6.25])/4.5)
    ranked = sample_weights(samples.assign(viability=[0.1, 0.2, 0.9]), pd.DataFrame(np.eye(3)), "1 - viability", ranks=True)
    np.testing.assert_allclose(ranked.values, [1.5, 1, 0.5])

def test_the_weightings_that_are_tried_are_these():
    by = {family: [str(w) for w in WEIGHTINGS if w.family == family] for family in ("none", "cluster", "sample", "domain")}
    assert by["none"] == ["unweighted"] and len(by["cluster"]) == 12 and "cluster: 1/size ^2" in by["cluster"]
    assert by["sample"] == [f"sample: {m}" for m in SAMPLE_METRICS]
    assert by["domain"] == [f"domain: {m}{p}" for m in ("logistic", "KLIEP", "uLSIF") for p in (" ^0.5", "")]
