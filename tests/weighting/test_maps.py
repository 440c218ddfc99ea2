"""Maps that belong to a study, and clusters on them."""
import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom

from drugnb.core.artefacts import RunFolder, save_frame
from drugnb.core.settings import InputError
from drugnb.weighting import embed
from drugnb.weighting.cluster import by_size, cluster_table, dbscan, enrichment, pair_counts
from drugnb.weighting.embed import all_maps, map_name, other_labels, read_map, saved_path, study_map


@pytest.fixture
def drawn(monkeypatch):
    "Perplexities and seeds of the maps that were computed, none of which takes any time."
    calls = []
    def quick(signatures, perplexity=30, seed=0, n_jobs=1):
        calls.append((perplexity, seed))
        return pd.DataFrame({"x": 0.0, "y": float(seed)}, signatures.index)
    monkeypatch.setattr(embed, "embed", quick)
    return calls

def test_a_map_is_computed_once_and_reloaded_by_the_same_signatures_only(small, drawn, tmp_path):
    store = RunFolder(tmp_path)
    first, again = study_map(small, store), study_map(small, store)
    assert drawn == [(30, 0)] and again.equals(first) and again.attrs["key"] == first.attrs["key"]
    study_map(dataclasses.replace(small, map_key="other"), store)
    assert len(drawn) == 2

def test_further_maps_leave_out_what_does_not_fit_and_what_is_there_already(small, drawn):
    maps = all_maps(small, RunFolder(), 30, 0, perplexities=(10, 30, 300), seeds=(0, 1))
    assert list(maps) == drawn == [(30, 0), (10, 0), (30, 1)]

def test_a_map_beside_the_tables_comes_first_and_only_for_the_first_seed(small, drawn, tmp_path):
    beside = tmp_path/"tsne_result_perplexity_30.parquet"
    pd.DataFrame({"x": 1.0, "y": 2.0}, small.signatures.index).to_parquet(beside)
    study = dataclasses.replace(small, saved_maps=(beside,))
    assert (study_map(study, RunFolder()).x == 1).all() and drawn == []
    assert (study_map(study, RunFolder(), seed=1).y == 1).all() and drawn == [(30, 1)]

def test_a_map_that_came_with_the_notebooks_is_used_only_if_it_was_made_from_this(
        small, drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(embed, "saved_folder", lambda: tmp_path)
    name, computed = map_name(30, 0), tmp_path/"run"
    study_map(small, RunFolder(computed))
    (computed/f"{name}.parquet").rename(saved_path(small, name))
    assert study_map(small, RunFolder()).shape == (600, 2) and drawn == [(30, 0)]
    study_map(dataclasses.replace(small, map_key="other"), RunFolder())
    assert "is not used, it was made from other inputs" in capsys.readouterr().out and len(drawn) == 2

def test_rows_of_a_map_come_in_the_studys_order(small, tmp_path):
    xy = pd.DataFrame({"x": np.arange(600.0), "y": 0.0}, small.signatures.index)
    save_frame(xy.iloc[::-1], tmp_path/"map.parquet", {})
    pd.testing.assert_frame_equal(read_map(tmp_path/"map.parquet", small), xy)
    save_frame(xy.iloc[:-1], tmp_path/"map.parquet", {})
    with pytest.raises(InputError, match="599 points, the study 600 signatures; remove it"):
        read_map(tmp_path/"map.parquet", small)

def test_labels_are_compared_where_both_are_known_and_somewhere_they_must_be():
    labels, nothing = np.array([0.1, 0.2, np.nan]), np.full(3, np.nan)
    assert other_labels(labels, np.array([0.1, np.nan, 0.9])) == ""
    assert other_labels(labels, np.array([0.1, 0.3, 0.9])) == "1 of 2 points have another viability"
    assert other_labels(labels, nothing) and other_labels(nothing, labels)

def test_clusters_are_numbered_by_size_whatever_they_were_called():
    rng = np.random.default_rng(0)
    labels = rng.choice([-1, 4, 7, 2], 200, p=[0.1, 0.2, 0.3, 0.4])
    renamed = np.select([labels == 4, labels == 7, labels == 2], [90, 3, 11], -1)
    numbered = by_size(labels)
    assert (numbered == by_size(renamed)).all() and ((numbered == -1) == (labels == -1)).all()
    assert np.all(np.diff(np.bincount(numbered[numbered >= 0])) <= 0)

def test_far_points_are_noise_and_bunches_are_clusters():
    rng = np.random.default_rng(0)
    bunch = [rng.normal(c, 0.1, size=(n, 2)) for c, n in ((0, 40), (10, 60))]
    xy = pd.DataFrame(np.concatenate([*bunch, [[50, 50]]]), columns=["x", "y"])
    assert list(dbscan(xy, 1.0)) == [1]*40 + [0]*60 + [-1]

def test_enrichment_counts_compounds_and_leaves_out_noise():
    rng = np.random.default_rng(0)
    compound = pd.Series(np.repeat([f"c{i}" for i in range(60)], 3))
    mechanism = pd.Series(np.repeat(rng.choice(["a", "b", "c", None], 60), 3))
    cluster = pd.Series(np.repeat(rng.integers(-1, 3, 60), 3))
    table = enrichment(cluster, compound, mechanism)
    rows = pd.DataFrame({"cluster": cluster, "compound": compound, "mechanism": mechanism})
    rows = rows.dropna().drop_duplicates()
    counts = pair_counts(rows)
    assert (counts.cluster >= 0).all() and (table.cluster >= 0).all() and table.p.is_monotonic_increasing
    for _, row in table.iterrows():
        inside, of_it = rows[rows.cluster == row.cluster], rows[rows.mechanism == row.mechanism]
        both = inside[inside.mechanism == row.mechanism]
        assert row["compounds"] == len(both)
        assert row.p == pytest.approx(hypergeom.sf(len(both) - 1, len(rows), len(of_it), len(inside)))
    assert (table.p_adjusted >= table.p).all()

def test_a_cluster_table_holds_what_its_members_hold(small):
    labels = pd.Series(np.arange(600) % 7 - 1, small.samples.index)
    table = cluster_table(small.samples, labels)
    some = small.samples[labels == 3]
    assert table.loc[3, ["minimum", "maximum"]].tolist() == [some.viability.min(), some.viability.max()]
    assert table.loc[3, "cells"] == some.cell.nunique() and table["size"].sum() == 600 and -1 in table.index
