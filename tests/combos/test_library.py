"""A library scored by blocks: the same as in memory for every score, whatever the blocks, threads and order of the file."""
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from drugnb.combos import connect, library
from drugnb.combos.connect import METHODS, Shelf, query_drugs, score_drugs, top_genes
from drugnb.combos.library import query_library
from drugnb.core import blocks
from drugnb.core.blocks import open_blocks
from drugnb.core.gct import MATRIX
from drugnb.core.identity import landmark_genes
from drugnb.core.settings import InputError, project_path

GENES = landmark_genes().symbol.tolist()[:40]
CUTS = dict(n_top=6, n_extreme=9)

def tables(kind="plain", seed=0, n=83, queries=4):
    "Queries and profiles; rounded for ties, with gaps on either side, with profiles of one value."
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal((queries, len(GENES))), rng.standard_normal((n, len(GENES))).astype(np.float32)
    if kind == "ties": x, v = np.round(x), np.round(v)
    if kind == "gaps": v[rng.random(v.shape) < 0.05] = np.nan
    if kind == "lacking": x[rng.random(x.shape) < 0.2] = np.nan
    if kind == "odd":
        x[0], x[1] = np.abs(x[0]), np.sign(x[1])
        v[0], v[1], v[2], v[2, 5] = 2, 0, 0, 3
    return (pd.DataFrame(x, [f"q{i}" for i in range(queries)], GENES),
            pd.DataFrame(v, [f"p{i:03d}" for i in rng.permutation(n)], GENES))

def gctx(path, profiles, genes=None):
    with h5py.File(path, "w") as h:
        h.create_dataset(MATRIX, data=profiles.fillna(-666).to_numpy(), chunks=(8, profiles.shape[1]), compression="gzip")
        h["0/META/ROW/id"] = profiles.columns.tolist() if genes is None else genes
        h["0/META/COL/id"] = profiles.index.tolist()
    return path

@pytest.fixture(autouse=True)
def small_blocks(monkeypatch): monkeypatch.setattr(blocks, "BLOCK", 16*len(GENES))

def same(ours, whole, columns=("score", "normalised"), tol=1e-6):
    "The same rows in both tables, and the same numbers in them."
    both = whole.merge(ours, on=["query", "drug"], suffixes=("", "_ours"), validate="1:1")
    assert len(both) == len(whole) == len(ours)
    for c in columns:
        assert (c in whole) == (c in ours)
        if c in whole: np.testing.assert_allclose(both[f"{c}_ours"], both[c], rtol=tol, atol=tol)

@pytest.mark.parametrize("kind", ["plain", "ties", "gaps", "lacking", "odd"])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_in_memory(method, kind, tmp_path):
    queries, profiles = tables(kind)
    whole = query_drugs(queries, profiles, method, permutations=0, **CUTS)
    ours = query_library(queries, gctx(tmp_path/"x.gctx", profiles), method, top=0, **CUTS)
    same(ours, whole)
    if kind == "plain" and method not in ("ks", "spearman"):  # whose scores tie
        assert ours["rank"].tolist() == whole["rank"].tolist()
    single = query_library(queries.iloc[1], profiles, method, top=0, **CUTS)
    same(single, whole[whole["query"] == "q1"])

@pytest.mark.parametrize("method", METHODS)
def test_neither_the_order_of_profiles_and_genes_nor_threads_change_a_score(method, tmp_path):
    queries, profiles = tables("ties")
    whole = query_library(queries, gctx(tmp_path/"x.gctx", profiles), method, top=0, jobs=1, **CUTS)
    turned = gctx(tmp_path/"y.gctx", profiles.sample(frac=1, random_state=1).sample(frac=1, axis=1, random_state=2))
    again = query_library(queries.sample(frac=1, axis=1, random_state=3), turned, method, top=0, jobs=3, **CUTS)
    same(again, whole, tol=1e-9 if method in ("ks", "wtcs") else 1e-6)
    pd.testing.assert_frame_equal(whole, query_library(queries, tmp_path/"x.gctx", method, top=0, jobs=3, **CUTS))

@pytest.mark.parametrize("kind", ["plain", "ties"])
@pytest.mark.parametrize("top", [1, 5, 41, 42, 300])
def test_top_lists_are_the_two_ends_of_the_whole_table(kind, top, tmp_path):
    queries, profiles = tables(kind)
    path = gctx(tmp_path/"x.gctx", profiles)
    whole = query_library(queries, path, top=0, **CUTS)
    ends = [rows if 2*top >= len(rows) else pd.concat([rows.head(top), rows.tail(top)]) for _, rows in whole.groupby("query", sort=False)]
    ours = query_library(queries, path, top=top, **CUTS)
    pd.testing.assert_frame_equal(ours, pd.concat(ends, ignore_index=True))
    for _, rows in whole.groupby("query"): assert rows["rank"].tolist() == rankdata(rows.score, "min").tolist()

@pytest.mark.parametrize("method", METHODS)
def test_tau_is_that_in_memory(method, tmp_path):
    "But for references that are linked exactly as strongly, whose order in memory is a matter of rounding."
    queries, profiles = tables("gaps")
    references = tables(seed=5, queries=120)[0]
    groups = pd.Series(np.resize(["A375", "MCF7", "PC3"], len(profiles)), profiles.index)
    options = dict(references=references, **CUTS)
    whole = query_drugs(queries, profiles, method, groups=groups.to_numpy(), permutations=0, **options)
    path = gctx(tmp_path/"x.gctx", profiles)
    ours = query_library(queries, path, method, top=0, groups=groups.sample(frac=1, random_state=0), **options)
    same(ours, whole, columns=("score", "normalised"))
    both = whole.merge(ours, on=["query", "drug"])
    apart = (both.tau_x - both.tau_y).abs()*len(references)/100
    assert apart.max() <= 3.01 and apart.lt(0.01).mean() > (0.7 if method == "ks" else 0.95)
    few = query_library(queries, path, method, top=4, groups=groups, **options)
    same(few, ours.merge(few[["query", "drug"]]), columns=("score", "normalised", "tau"), tol=1e-6)

def test_too_few_references_give_no_tau_and_it_is_said(tmp_path):
    queries, profiles = tables()
    ours = query_library(queries, gctx(tmp_path/"x.gctx", profiles), references=tables(seed=5, queries=20)[0], **CUTS)
    assert ours.tau.isna().all() and any("of 20 references" in note for note in ours.attrs["notes"])

def test_tau_counts_weaker_references_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "MIN_REFERENCES", 3)
    _, profiles = tables()
    path, x = gctx(tmp_path/"x.gctx", profiles), profiles.iloc[0].rename("mine")
    references = pd.DataFrame([profiles.iloc[0]*2, -profiles.iloc[1], profiles.iloc[2]], ["same", "b", "c"], GENES)
    ours = query_library(x, path, "pearson", references=references, top=0).set_index("drug")
    r = np.corrcoef(np.vstack([profiles, x, references]).astype(float))
    at = len(profiles)
    weaker = (np.abs(r[at + 2:, :at]) < np.abs(r[at, :at])).sum(0)  # the first reference is as strong, never weaker
    np.testing.assert_allclose(ours.tau.reindex(profiles.index), np.sign(r[at, :at])*100*weaker/3, atol=1e-4)

def test_p_is_drawn_for_the_listed_profiles_alone_whatever_their_order(tmp_path, monkeypatch):
    queries, profiles = tables(queries=2)
    profiles.iloc[0] = queries.iloc[0].to_numpy() + 0.1*profiles.iloc[0]
    path = gctx(tmp_path/"x.gctx", profiles)
    monkeypatch.setattr(library, "SAMPLE", 60)
    options = dict(top=3, permutations=200, seed=3, **CUTS)
    ours = query_library(queries, path, **options)
    assert len(ours) == 12 and ours.p.between(0, 1).all() and "p_adjusted" not in ours
    found = ours[ours.drug == profiles.index[0]].iloc[0]
    assert found["rank_mimic"] == 1 and found.p < 0.01
    turned = gctx(tmp_path/"y.gctx", profiles.sample(frac=1, random_state=1).sample(frac=1, axis=1, random_state=2))
    pd.testing.assert_frame_equal(query_library(queries, turned, **options), ours)

def test_p_is_that_in_memory_where_the_sample_is_everything(tmp_path):
    queries, profiles = tables(queries=2)
    whole = query_drugs(queries, profiles, permutations=300, **CUTS)
    ours = query_library(queries, gctx(tmp_path/"x.gctx", profiles), top=10, permutations=300, **CUTS)
    both = whole.merge(ours, on=["query", "drug"])
    assert (both.p_x - both.p_y).abs().max() < 0.1 and np.corrcoef(np.log(both.p_x), np.log(both.p_y))[0, 1] > 0.95

@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_all_rows_go_to_a_file(ending, tmp_path):
    queries, profiles = tables("gaps")
    path = gctx(tmp_path/"x.gctx", profiles)
    options = dict(references=tables(seed=5, queries=120)[0], **CUTS)
    whole = query_library(queries, path, top=0, **options)
    out = tmp_path/f"new/scores.{ending}"
    ours = query_library(queries, path, top=2, out=out, **options)
    assert len(ours) == 4*len(queries)
    written = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    pd.testing.assert_frame_equal(written, whole, check_dtype=False, rtol=1e-9)
    assert [p.name for p in out.parent.iterdir()] == [out.name]

def test_genes_by_any_name_repeated_ones_and_those_that_are_not_asked_for(tmp_path):
    "Entrez ids stored as numbers, two rows of one gene, inferred genes beside landmarks."
    queries, profiles = tables("gaps")
    entrez = landmark_genes().entrez_id.astype(int).tolist()[:40]
    same(query_library(queries, gctx(tmp_path/"n.gctx", profiles, entrez), top=0, **CUTS),
         query_drugs(queries, profiles, permutations=0, **CUTS))
    twice = pd.concat([profiles, profiles.iloc[:, [3, 3, 9]]*3], axis=1)
    named = twice.columns.tolist()
    for method in METHODS:
        path = gctx(tmp_path/f"{method}.gctx", twice.set_axis([f"g{i}" for i in range(43)], axis=1), None)
        with h5py.File(path, "r+") as h:
            del h["0/META/ROW/id"]
            h["0/META/ROW/id"] = [*named[:40], "PSME1 (5720)", *named[41:]]
        expected = query_drugs(queries, twice.set_axis([*named[:40], "5720", *named[41:]], axis=1), method, permutations=0, **CUTS)
        same(query_library(queries, path, method, top=0, **CUTS), expected)

def test_landmark_genes_only_where_asked(tmp_path):
    queries, profiles = tables()
    inferred = pd.DataFrame(np.random.default_rng(1).standard_normal((len(profiles), 7)), profiles.index, [f"INFERRED{i}" for i in range(7)])
    path = gctx(tmp_path/"x.gctx", pd.concat([inferred, profiles], axis=1))
    landmarks = query_library(queries, path, top=0, genes="landmark", **CUTS)
    same(landmarks, query_drugs(queries, profiles, permutations=0, **CUTS))
    same(query_library(queries, path, top=0, **CUTS), query_drugs(queries, pd.concat([inferred, profiles], axis=1), permutations=0, **CUTS))
    assert "40 of 47 genes of 83 profiles read" in landmarks.attrs["report"]
    with pytest.raises(InputError, match="no landmark gene"): query_library(inferred.iloc[0], inferred, genes="landmark")

@pytest.mark.parametrize("kind", ["parquet", "csv", "turned"])
def test_other_formats_and_orientations(kind, tmp_path):
    queries, profiles = tables("gaps")
    path = tmp_path/("x.parquet" if kind == "parquet" else "x.csv")
    if kind == "parquet": profiles.to_parquet(path)
    else: (profiles.T if kind == "turned" else profiles).to_csv(path)
    same(query_library(queries, path, top=0, **CUTS), query_drugs(queries, profiles, permutations=0, **CUTS))

def test_some_profiles_only(tmp_path):
    queries, profiles = tables("gaps")
    path = gctx(tmp_path/"x.gctx", profiles)
    kept = profiles[profiles.index.str.endswith(("1", "2"))]
    some = open_blocks(path).only(lambda names: np.isin(names, kept.index))
    same(query_library(queries, some, top=0, **CUTS), query_drugs(queries, kept, permutations=0, **CUTS))
    with pytest.raises(InputError, match="holds no profile"): query_library(queries, some.only(lambda names: names == "none"))

def test_missing_values_are_counted_and_genes_found_are_said(tmp_path):
    queries, profiles = tables("gaps")
    report = query_library(queries.assign(NOTHERE=1.0), gctx(tmp_path/"x.gctx", profiles), **CUTS).attrs["report"]
    assert "At least 98% of the genes of each of 4 queries found" in report
    assert f"({int(profiles.isna().sum().sum())} missing values in profiles set to 0)" in report

def test_what_does_not_go_together_is_refused(tmp_path):
    queries, profiles = tables()
    groups = pd.Series("A375", profiles.index)
    for fault, options in {"no method 'best'": dict(method="best"), "top lists only": dict(top=0, permutations=9),
                           "lack the profile": dict(groups=groups[3:]), "indexed by the names": dict(groups=["A375"]*len(profiles)),
                           ".csv or .parquet": dict(out="x.xlsx"), "no genes 'some'": dict(genes="some"), "top": dict(top=-1),
                           "jobs": dict(jobs=0)}.items():
        with pytest.raises(InputError, match=fault): query_library(queries, profiles, **options)
    with pytest.raises(InputError, match="share no gene"): query_library(pd.Series({"NOTHERE": 1.0}), profiles)
    with pytest.raises(InputError, match="more than once"): query_library(queries, profiles.rename({profiles.index[1]: profiles.index[0]}))
    profiles.rename({profiles.index[1]: profiles.index[0]}).to_csv(tmp_path/"x.csv")
    with pytest.raises(InputError, match="more than once"): query_library(queries, tmp_path/"x.csv")

def test_progress_is_shown_on_standard_error_where_asked(capsys):
    queries, profiles = tables()
    query_library(queries, profiles, **CUTS)
    assert capsys.readouterr() == ("", "")
    query_library(queries, profiles, progress=True, **CUTS)
    said = capsys.readouterr()
    assert "83" in said.err and not said.out

def test_memory_does_not_grow_with_what_is_computed_of_a_profile(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "BLOCK", 20_000)
    queries, profiles = tables(n=12_000)
    path = gctx(tmp_path/"x.gctx", profiles)
    peaks = []
    for run in (lambda: query_library(queries, path, top=5), lambda: query_drugs(queries, profiles, permutations=0)):
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < peaks[1]/2

CASES = project_path("../shared/cases/combos")

@pytest.mark.parametrize("case", ["03-gctx-integer-ids/profiles.gctx", "06-duplicate-genes/profiles.csv", "09-gct-missing-codes/profiles.gct"])
def test_files_that_people_have_score_as_in_memory(case):
    path = CASES/case
    if not path.exists(): pytest.skip(f"{case} is not here")
    for method in ("wtcs", "pearson"):
        whole = query_drugs(path.with_name("query.csv"), path, method, permutations=0)
        same(query_library(path.with_name("query.csv"), path, method, top=0), whole)

# what connect computes for blocks of many queries

def test_a_set_of_more_genes_than_a_short_number_counts():
    "32,768 places and more need longer numbers; a plain walk over all places says what is right."
    rng = np.random.default_rng(0)
    for n in (32_767, 32_768, 40_000):
        v, members = rng.standard_normal(n), rng.random(n) < 0.01
        order = np.argsort(-v)
        inside = members[order]
        walk = np.cumsum(np.where(inside, np.abs(v[order]), 0))/np.abs(v[members]).sum() - np.cumsum(~inside)/(~members).sum()
        expected = walk[np.abs(walk).argmax()]
        assert connect.wtcs(members[None]*1.0, v[None])[0, 0] == pytest.approx(expected, abs=1e-9)

@pytest.mark.parametrize("method", ["pearson", "cosine"])
def test_queries_that_lack_different_genes_score_as_each_alone(method):
    "Also where profiles are flat, or flat over a query's genes, or far from 0."
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((9, 30)), rng.standard_normal((12, 30)) + 1000
    x[rng.random(x.shape) < 0.3] = np.nan
    x[1], x[2, 3:], x[3, 1:], x[4, 10:] = np.nan, np.nan, np.nan, np.nan
    v[0], v[1], v[2, :10], v[3], v[4:, :10] = 0, 7, 7, v[3]*1e-9, rng.standard_normal((8, 1))
    together = score_drugs(x, Shelf(v), method)
    alone = np.vstack([score_drugs(row[None], Shelf(v), method) for row in x])
    np.testing.assert_allclose(together, alone, atol=1e-9)
    assert np.isnan(together[1]).all() and np.isnan(together[:, 0]).all()
    assert np.isfinite(together[5:, 3:]).all()

def test_mean_ranks_are_scipys():
    rng = np.random.default_rng(0)
    some = rng.standard_normal((7, 50))
    for v in (some, np.round(some), np.zeros((2, 3)), np.r_[some, np.ones((2, 50))]):
        np.testing.assert_array_equal(connect._mean_ranks(v), rankdata(v, axis=1))

@pytest.mark.parametrize("kind", ["plain", "ties"])
@pytest.mark.parametrize("method", ["ks", "wtcs"])
def test_sets_score_the_same_however_many_go_together(method, kind, monkeypatch):
    queries, profiles = tables(kind, queries=7)
    whole = score_drugs(queries, profiles.to_numpy(), method, n_top=6)
    monkeypatch.setattr(connect, "CACHE", 10)
    np.testing.assert_allclose(score_drugs(queries, profiles.to_numpy(), method, n_top=6), whole, atol=1e-12)
    assert top_genes(queries.to_numpy(), 6).any()
