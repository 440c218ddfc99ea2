"""Connectivity scores against the papers' definitions written out plainly, and all pairs against a loop over them."""
import io
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, mannwhitneyu, pearsonr, rankdata, spearmanr

from drugnb.combos import connect, pairs
from drugnb.combos.connect import (
    METHODS,
    Shelf,
    cosine,
    figure_ranking,
    ks,
    lamb,
    matched,
    mechanisms,
    ncs,
    pearson,
    permutation_p,
    query_drugs,
    score_drugs,
    spearman,
    tau,
    top_genes,
    wtcs,
    xcos,
    xsum,
    zhang,
)
from drugnb.combos.data import open_combos, simulate_combos
from drugnb.combos.pairs import figure_pairs, query_pairs, rerank, retrieval, retrieval_summary
from drugnb.core.settings import InputError
from drugnb.core.style import save_figure

# ---- the definitions, one query, one drug and one gene at a time

def blocks(v):
    "Genes in order of falling value, those of one value together."
    return [np.flatnonzero(v == value) for value in sorted(set(v), reverse=True)]

def both_ways(up, down, divide):
    if up is None or down is None: return up if down is None else -down
    return 0 if up*down > 0 else (up - down)/divide

def plain_ks(x, v):
    "Lamb et al. 2006; a tied block is passed in one step."
    if len(set(v)) == 1 or not np.nan_to_num(x).any() or (x > 0).all() or (x < 0).all(): return np.nan
    def one(members):
        if not members.any(): return None
        n, t, passed, found, a, b = len(v), members.sum(), 0, 0, [], []
        for block in blocks(v):
            here = members[block].sum()
            if here: b.append(Fraction(int(passed + 1), int(n)) - Fraction(int(found), int(t)))
            passed, found = passed + len(block), found + here
            if here: a.append(Fraction(int(found), int(t)) - Fraction(int(passed), int(n)))
        a, b = max(a), max(b)
        return a if a > b else -b if b > a else Fraction(0)
    up, down = one(x > 0), one(x < 0)
    return float(both_ways(up, down, 1))

def plain_wtcs(x, v):
    "Subramanian et al. 2017; the walk is looked at where a block of tied genes ends."
    def es(members):
        if not members.any(): return None
        weight, misses, walk, places = np.abs(v[members]).sum(), (~members).sum(), 0.0, [0.0]
        if weight == 0 or misses == 0: return 0
        for block in blocks(v):
            for g in block: walk += abs(v[g])/weight if members[g] else -1/misses
            places.append(walk)
        high, low = max(places), min(places)
        return 0 if abs(high + low) < 1e-12 else high if high > -low else low
    up, down = es(x > 0), es(x < 0)
    if len(set(v)) == 1 or (up is None and down is None) or (x > 0).all() or (x < 0).all(): return np.nan
    return both_ways(up, down, 2)

def extremes(v, n):
    if len(set(v)) == 1: return []
    ordered = sorted(v)
    n = min(n, len(v))
    return [g for g in range(len(v)) if v[g] >= ordered[-n] or v[g] <= ordered[n - 1]]

def silent(x, v): return len(set(v)) == 1 or not np.nan_to_num(x).any()

def plain_xsum(x, v, n):
    if silent(x, v): return np.nan
    return sum(v[g] for g in extremes(v, n) if x[g] > 0) - sum(v[g] for g in extremes(v, n) if x[g] < 0)

def plain_xcos(x, v, n):
    if silent(x, v): return np.nan
    e = [g for g in extremes(v, n) if not np.isnan(x[g])]
    size = np.sqrt(sum(x[g]**2 for g in e)*sum(v[g]**2 for g in e))
    return sum(x[g]*v[g] for g in e)/size if size else 0

def plain_zhang(x, v):
    if silent(x, v): return np.nan
    inside, n, ranks = [g for g in range(len(v)) if x[g] != 0 and not np.isnan(x[g])], len(v), rankdata(np.abs(v))
    s = dict(zip(inside, rankdata(np.abs(x[inside])), strict=True))
    best = sum((n - i)*r for i, r in enumerate(sorted(s.values(), reverse=True)))
    return sum(ranks[g]*np.sign(v[g])*s[g]*np.sign(x[g]) for g in inside)/best

def plain_dense(x, v, how):
    has = ~np.isnan(x)
    x, v = x[has], v[has]
    if how == "cosine": return x @ v/np.sqrt((x @ x)*(v @ v)) if x.any() and v.any() else np.nan
    return np.nan if len(set(x)) == 1 or len(set(v)) == 1 else {"pearson": pearsonr, "spearman": spearmanr}[how](x, v)[0]

PLAIN = dict(ks=plain_ks, wtcs=plain_wtcs, zhang=plain_zhang, xsum=lambda x, v: plain_xsum(x, v, 4), xcos=lambda x, v: plain_xcos(x, v, 4),
             **{m: lambda x, v, m=m: plain_dense(x, v, m) for m in ("cosine", "pearson", "spearman")})

def ours(method, x, v): return METHODS[method](x, v, 4) if method in ("xsum", "xcos") else METHODS[method](x, v)

def world(kind, seed, n_queries=9, n_drugs=14, n_genes=23):
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal((n_queries, n_genes)), rng.standard_normal((n_drugs, n_genes))
    if kind == "ties": x, v = np.round(x), np.round(v)
    if kind == "sets": x = rng.choice([-1, 0, 0, 1], x.shape)*1.0
    if kind == "missing": x[rng.random(x.shape) < 0.3] = np.nan
    if kind == "odd":  # nothing, everything, one side, one gene; profiles flat, of zeros, with one gene changed
        x[0], x[1], x[2], x[3], x[3, 4] = 0, 1, np.abs(x[2]), 0, -1
        v[0], v[1], v[2], v[2, 5] = 2, 0, 0, 3
    return x, v

@pytest.mark.parametrize("kind", ["plain", "ties", "sets", "missing", "odd"])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_the_papers_definitions(method, kind):
    for seed in range(2):
        x, v = world(kind, seed)
        expected = [[PLAIN[method](row, drug) for drug in v] for row in x]
        found = ours(method, x, v)
        assert np.isfinite(found).all() == (kind != "odd")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)

def test_lambs_formula_as_printed_where_nothing_ties():
    rng = np.random.default_rng(4)
    v, members = rng.standard_normal(50), rng.random(50) < 0.2
    place = sorted(rankdata(-v)[members])
    n, t = 50, len(place)
    a, b = max(j/t - at/n for j, at in enumerate(place, 1)), max(at/n - (j - 1)/t for j, at in enumerate(place, 1))
    assert ks(members[None]*1.0, v[None])[0, 0] == pytest.approx(a if a > b else -b)

# ---- worked by hand

V = np.array([[3, 2, 1, -1, -2, -4.0]])  # six genes g1 .. g6, sorted already

@pytest.mark.parametrize("method, query, value", [
    # up g1 g2: a = max(1/2 - 1/6, 1 - 2/6) = 2/3, b = max(1/6, 2/6 - 1/2) = 1/6: 2/3; down g6: a = 1 - 6/6 = 0, b = 6/6 = 1: -1
    ("ks", [1, 1, 0, 0, 0, -1], 2/3 + 1),
    # up g1: a = 1 - 1/6, b = 1/6: 5/6; down g2: a = 1 - 2/6, b = 2/6: 2/3; one sign, so 0
    ("ks", [1, -1, 0, 0, 0, 0], 0),
    # up g1 g6: shares 3/7, 4/7, a miss 1/4: 0.4286, .1786, -.0714, -.3214, -.5714, 0: ES = -4/7; down g2: 2/2, misses 1/5: -.2, .8: ES = 0.8
    ("wtcs", [1, -1, 0, 0, 0, 1], (-4/7 - 0.8)/2),
    # down alone: minus its ES; g5 after four misses of 1/5: -0.8, then 0.2: ES = -0.8
    ("wtcs", [0, 0, 0, 0, -1, 0], 0.8),
    # two extremes to each side are g1 g2 g5 g6: up g1 g3 keeps g1 (3), down g6 takes away -4
    ("xsum", [1, 0, 1, 0, 0, -1], 7),
    # over g1 g2 g5 g6 the query is 2, 0, 0, -1: (6 + 4)/sqrt(5 * (9 + 4 + 4 + 16))
    ("xcos", [2, 0, 5, 0, 0, -1], 10/np.sqrt(5*33)),
    # |v| has ranks 5, 3.5, 1.5, 1.5, 3.5, 6; |x| 5, 2, 9 has 2, 1, 3: g1 5 * 2, g5 -3.5 * -1, g6 -6 * -3; at best 6 * 3 + 5 * 2 + 4 * 1
    ("zhang", [5, 0, 0, 0, -2, -9], (10 + 3.5 + 18)/32),
    # a set: 5 + 3.5 + 6 of at most 6 + 5 + 4
    ("zhang", [1, 0, 0, 0, -1, -1], 14.5/15),
    # x is 1, 0, 0, 0, 0, -1: 3 + 4 over sqrt(2 * 35)
    ("cosine", [1, 0, 0, 0, 0, -1], 7/np.sqrt(70)),
    # the mean of v is -1/6, that of x 0: 7/sqrt(2 * (35 - 6/36))
    ("pearson", [1, 0, 0, 0, 0, -1], 7/np.sqrt(2*(35 - 1/6))),
    # ranks of v 6 5 4 3 2 1, of x 6 3.5 3.5 3.5 3.5 1: centred products 2.5*2.5*2 = 12.5 over sqrt(17.5 * 12.5)
    ("spearman", [1, 0, 0, 0, 0, -1], 12.5/np.sqrt(17.5*12.5)),
])
def test_by_hand(method, query, value):
    x = np.array([query], float)
    score = METHODS[method](x, V, 2) if method in ("xsum", "xcos") else METHODS[method](x, V)
    assert score[0, 0] == pytest.approx(value, abs=1e-12)

def test_normalised_scores_and_tau_by_hand():
    s = np.array([[0.4, 0.2, 0, -0.1, -0.5]])
    np.testing.assert_allclose(lamb(s), [[1, 0.5, 0, -0.2, -1]])
    np.testing.assert_allclose(ncs(s), [[4/3, 2/3, 0, -1/3, -5/3]])
    np.testing.assert_allclose(ncs(s, list("aabbb")), [[4/3, 2/3, 0, -1/3, -5/3]])
    np.testing.assert_allclose(ncs(s, list("abbab")), [[1, 1, 0, -1, -1]])
    reference = np.array([[0.1, 0.9, 1, 0, 0.4], [-0.3, -0.1, 1, 0.2, 0.6], [0.5, 0.2, 1, 0, 0], [0.2, 0, 0, 0, 0]])
    np.testing.assert_allclose(tau(s, reference), [[75, 50, 0, -75, -75]])
    assert not lamb(np.zeros((1, 3))).any() and not ncs(np.zeros((1, 3))).any()

# ---- what must not matter

@pytest.mark.parametrize("method", METHODS)
def test_order_and_scale_mean_nothing(method):
    x, v = world("ties", 5)
    rng = np.random.default_rng(0)
    score, genes, drugs = ours(method, x, v), rng.permutation(x.shape[1]), rng.permutation(len(v))
    np.testing.assert_allclose(ours(method, x[:, genes], v[:, genes]), score, atol=1e-12)
    np.testing.assert_allclose(ours(method, x, v[drugs]), score[:, drugs], atol=1e-12)
    np.testing.assert_allclose(ours(method, 7*x, v), score, atol=1e-12)
    np.testing.assert_allclose(ours(method, x, 7*v), score*(7 if method == "xsum" else 1), atol=1e-12)
    np.testing.assert_allclose(ours(method, -x, v), -score, atol=1e-12)
    np.testing.assert_allclose(ours(method, x, Shelf(v)), score, atol=0)

def test_many_queries_in_blocks_are_the_queries_one_by_one():
    x, v = world("sets", 6, n_queries=400, n_drugs=90, n_genes=60)
    for score in (ks, wtcs):
        whole = score(x, v)
        np.testing.assert_array_equal(whole, np.vstack([score(row[None], v) for row in x]))

def test_top_genes_take_ties_and_a_set_whole():
    x = np.array([[5, 4, 4, 1, 0, -1, -2, np.nan]])
    assert top_genes(x, 2).tolist() == [[5, 4, 4, 0, 0, -1, -2, 0]]
    assert top_genes(np.sign(np.nan_to_num(x)), 1).tolist() == [[1, 1, 1, 1, 0, -1, -1, 0]]
    assert top_genes(np.array([[3, 2, 1.0]]), 99).tolist() == [[3, 2, 1]]

# ---- reading

def table(n_drugs=6, seed=0):
    genes = ["TP53", "CDK1", "JUN", "MYC", "EGFR", "BAX", "PCNA"]
    return pd.DataFrame(np.random.default_rng(seed).standard_normal((n_drugs, 7)).astype("f4"), [f"drug {i}" for i in range(n_drugs)], genes)

def write(frame, path):
    if path.name.endswith(".parquet"): frame.to_parquet(path)
    elif path.name.endswith(".gct"):
        lines = ["#1.2", f"{len(frame)}\t{frame.shape[1]}", "\t".join(["Name", "Description", *frame.columns])]
        lines += ["\t".join([name, "na", *map(str, row)]) for name, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)]
        path.write_text("\n".join(lines) + "\n")
    else: frame.rename_axis("id").to_csv(path, sep="\t" if ".tsv" in path.name else ",")
    return path

@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.tsv.gz", "t.parquet", "t.gct"])
def test_files_in_either_orientation(tmp_path, name, turn):
    p = table()
    q = p.iloc[[2, 4]].set_axis(["one", "two"])
    files = [write(t.T if turn else t, tmp_path/f"{w}{name}") for t, w in ((q, "q"), (p, "p"))]
    plain = query_drugs(q, p, "pearson", permutations=0)
    pd.testing.assert_frame_equal(query_drugs(*files, "pearson", permutations=0), plain, atol=1e-6)
    pd.testing.assert_frame_equal(query_drugs(files[0], p, "pearson", permutations=0), plain, atol=1e-6)
    assert plain[plain["query"] == "one"].drug.iloc[-1] == "drug 2"

def test_genes_missing_on_either_side_and_a_query_larger_than_the_profiles():
    p = table()
    q = pd.Series(range(1, 1004), [*"TP53 983 JUN".split(), *(f"other{i}" for i in range(1000))], dtype=float, name="large")
    found, same = matched(q, p)
    assert found.attrs["found"] == {"large": 3/1003} and "3 of 1003 genes" in found.attrs["report"] and same.equals(p)
    for method in METHODS:
        assert np.isfinite(query_drugs(q, p, method, permutations=20).drop(columns=["query", "drug"]).to_numpy(float)).all()
    small = p[["JUN", "TP53", "CDK1"]]
    score = query_drugs(q, p, "pearson", permutations=0).set_index("drug").score
    assert score["drug 1"] == pytest.approx(np.corrcoef(small.loc["drug 1"], [3, 1, 2])[0, 1], abs=1e-6), "over the genes that both know"
    assert query_drugs(q, p, "ks", permutations=0).score.abs().max() > 0

def test_genes_are_told_from_drugs_also_where_drugs_are_shared():
    p = table(8)
    for q, profiles in ((p.T, p.T), (p.T, p), (p, p.T), (p.iloc[:3], p), (p.rename(columns={"TP53": "7157"}), p.T)):
        queries, same = matched(q, profiles)
        assert list(queries.index) == list(p.index[:len(queries)]) and np.allclose(queries[same.columns], p.iloc[:len(queries)][same.columns])

def test_a_file_is_looked_for_in_the_working_folder(tmp_path, monkeypatch):
    write(table(), tmp_path/"mine.csv")
    monkeypatch.chdir(tmp_path)
    pd.testing.assert_frame_equal(matched(table().iloc[0], "mine.csv")[1], table(), check_index_type=False, rtol=1e-6)

def test_repeated_genes_are_averaged_and_gaps_are_no_change():
    p = table()
    twice = p.assign(**{"7157": p.TP53 + 2})
    assert np.allclose(matched(p.iloc[0], twice)[1].TP53, p.TP53 + 1)
    gap = p.mask(p == p.iloc[0, 0])
    queries, filled = matched(p.iloc[0], gap)
    assert filled.iloc[0, 0] == 0 and "1 missing value" in queries.attrs["report"]

@pytest.mark.parametrize("query, profiles, words", [
    (pd.Series({"NOT": 1.0}), table(), "share no gene"),
    (table().iloc[0].astype(str), table(), "numbers only"),
    (table().iloc[0]*np.inf, table(), "finite"),
    ([1, 2], table(), "not of type list"),
    (table().iloc[:0], table(), "empty"),
    (table().iloc[0], pd.concat([table(), table()]), "more than once in the profiles"),
    (table().iloc[0]*np.nan, table(), "every value is missing"),
    ("nowhere.csv", table(), "There is no file"),
])
def test_bad_input_is_one_sentence(query, profiles, words):
    for call in (query_drugs, query_pairs):
        with pytest.raises(InputError, match=words) as e: call(query, profiles)
        assert str(e.value).endswith(".") and "\n" not in str(e.value)

def test_unknown_names_are_said():
    q, p = table().iloc[0], table()
    with pytest.raises(InputError, match="use one of ks, wtcs"): query_drugs(q, p, "kendall")
    with pytest.raises(InputError, match="use one of pearson, cosine"): query_pairs(q, p, method="ks")
    with pytest.raises(InputError, match="no drug 'aspirin'"): query_pairs(q, p, drug="aspirin")
    with pytest.raises(InputError, match="1 or more"): query_pairs(q, p, top=0)
    with pytest.raises(InputError, match="not given"): query_pairs(q, p, drugs=pd.Series({"drug 0": "a"}))
    with pytest.raises(InputError, match="known mechanism"): mechanisms(query_drugs(q, p, permutations=0), pd.Series({"x": "kinase"}))
    with pytest.raises(InputError, match="No mechanism has 2"):
        mechanisms(query_drugs(q, p, permutations=0), pd.Series({"drug 1": "kinase", "drug 2": "other"}))
    with pytest.raises(InputError, match="2 groups for 6 profiles"): query_drugs(q, p, groups=["a", "b"])

# ---- tables and significance

def test_the_table_of_drugs():
    rng = np.random.default_rng(2)
    p = pd.DataFrame(rng.standard_normal((30, 80)), [f"d{i:02d}" for i in range(30)], [f"g{i}" for i in range(80)])
    q = pd.DataFrame([-p.loc["d07"] + 0.3*rng.standard_normal(80), p.loc["d03"]], ["ill", "alike"])
    others = pd.DataFrame(rng.standard_normal((120, 80)), columns=p.columns)
    for method in METHODS:
        t = query_drugs(q, p, method, others, n_top=20, n_extreme=20, permutations=100)
        ill, alike = (t[t["query"] == n] for n in q.index)
        assert ill.drug.iloc[0] == "d07" and ill["rank"].iloc[0] == 1 and alike.drug.iloc[-1] == "d03"
        assert ill.p.iloc[0] < 3/1001 and ill.p_adjusted.iloc[0] <= 90/1001 and (t.p_adjusted >= t.p).all()
        assert ill.tau.iloc[0] < -85 and alike.tau.iloc[-1] > 85 and (ill.score.diff().dropna() >= 0).all()
        pd.testing.assert_frame_equal(t, query_drugs(q, p.iloc[::-1], method, others, n_top=20, n_extreme=20, permutations=100), atol=1e-9)

@pytest.mark.parametrize("method", ["ks", "wtcs", "zhang", "pearson", "xsum"])
def test_p_is_uniform_where_genes_are_independent(method):
    rng = np.random.default_rng(3)
    v = rng.standard_normal((1, 60))
    x = top_genes(rng.standard_normal((300, 60)), 10) if method != "pearson" else rng.standard_normal((300, 60))
    p = np.array([permutation_p(row, v, METHODS[method], 199, seed=i)[0] for i, row in enumerate(x)])
    scored = METHODS[method](x, v)[:, 0] != 0
    assert (p[~scored] == 1).all(), "no score, no evidence"
    for level in (0.05, 0.2): assert abs((p <= level).mean() - level) < 4*np.sqrt(level*(1 - level)/300)
    if method in ("zhang", "pearson", "xsum"): assert kstest(p, "uniform").pvalue > 1e-3

def test_permutation_p_of_r_is_near_its_t_test_and_independent_of_blocks(monkeypatch):
    rng = np.random.default_rng(5)
    x, v = rng.standard_normal(100), rng.standard_normal((8, 100))
    p = permutation_p(x, v, pearson, 3000)
    assert np.abs(p - [pearsonr(x, row).pvalue for row in v]).max() < 0.04
    monkeypatch.setattr(connect, "BLOCK", 4*100*37)
    assert np.array_equal(permutation_p(x, v, pearson, 3000), p)

def test_genes_that_a_query_lacks_stay_lacking():
    x = np.r_[np.nan, np.arange(9.0), np.nan]
    seen = []
    permutation_p(x, np.ones((2, 11)), lambda q, shelf: (seen.append(q), np.zeros((len(q), 2)))[1], 20)
    dealt = np.vstack(seen)
    assert np.isnan(dealt[:, [0, 10]]).all() and (np.sort(dealt[:, 1:10]) == np.arange(9)).all() and len(np.unique(dealt[:, 1:10], axis=0)) > 15

def test_rare_drugs_get_more_permutations():
    rng = np.random.default_rng(7)
    x, v = rng.standard_normal(80), rng.standard_normal((5, 80))
    v[2] = x + 0.1*v[2]
    p = permutation_p(x, v, pearson, 200)
    others = p[[0, 1, 3, 4]]*201
    assert p[2] == pytest.approx(1/2001) and np.allclose(others, np.round(others)) and (others >= 10).all()

@pytest.mark.parametrize("method", ["pearson", "xcos", "spearman", "wtcs"])
def test_p_with_genes_missing_is_of_the_score_that_is_shown(method):
    rng = np.random.default_rng(8)
    p = pd.DataFrame(rng.standard_normal((6, 60)), [f"d{i}" for i in range(6)], [f"g{i}" for i in range(60)])
    q = (p.loc["d3"] + 0.1*rng.standard_normal(60)).iloc[:40]
    t = query_drugs(q, p, method, n_top=15, n_extreme=10, permutations=100).set_index("drug")
    assert t.p["d3"] < 3/1001 and (t.p.drop("d3") > 1/1001).all()
    x = q.reindex(p.columns).to_numpy()
    far = []
    for _ in range(300):
        dealt = x.copy()
        dealt[:40] = rng.permutation(dealt[:40]) if method != "wtcs" else dealt[:40]
        if method == "wtcs": dealt = rng.permutation(np.nan_to_num(x))
        far.append(np.abs(score_drugs(dealt[None], p.to_numpy(), method, 15, 10)[0]) >= np.abs(t.score.reindex(p.index)) - 1e-12)
    assert np.abs(np.mean(far, axis=0) - t.p.reindex(p.index)).max() < 0.17

def test_mechanisms_are_a_rank_sum_test():
    rng = np.random.default_rng(6)
    score = rng.standard_normal(40)
    score[:6] -= 1.5
    t = pd.DataFrame({"query": "q", "drug": [f"d{i}" for i in range(40)], "score": score})
    kind = pd.Series(["a"]*6 + ["b|c"]*4 + ["c"]*29 + [None], t.drug)
    found = mechanisms(t, kind, permutations=4000).set_index("mechanism")
    assert found.n.to_dict() == {"a": 6, "b": 4, "c": 33} and found.index[0] == "a"
    inside, outside = score[:6], score[6:39]
    test = mannwhitneyu(inside, outside)
    assert found.enrichment["a"] == pytest.approx(2*test.statistic/(6*33) - 1) and found.p["a"] == pytest.approx(test.pvalue, abs=0.01)
    assert found.mean_score["a"] == pytest.approx(inside.mean()) and (found.p_adjusted >= found.p).all()

def test_doses_of_one_drug_count_once():
    t = pd.DataFrame({"query": "q", "drug": ["a1", "a2", "b1", "c1", "d1"], "score": [-1, -3, -1.0, 1, 2]})
    kind = pd.Series(["x", "x", "x", "y", "y"], t.drug)
    found = mechanisms(t, kind, t.set_index("drug").index.to_series().str[0], permutations=99).set_index("mechanism")
    assert found.n.to_dict() == {"x": 2, "y": 2} and found.mean_score["x"] == -1.5 and found.enrichment["x"] == -1

# ---- pairs

def loop(q, p, method="pearson", drugs=None):
    "Every pair formed, one after the other; what cancels to rounding error has no score."
    out = {}
    x = q[p.columns].to_numpy(float)
    x = x - x.mean() if method == "pearson" else x
    for i, a in enumerate(p.index):
        for b in p.index[i + 1:]:
            if drugs is not None and drugs[a] == drugs[b]: continue
            u, w = p.loc[a].to_numpy(float), p.loc[b].to_numpy(float)
            m = u + w
            m = m - m.mean() if method == "pearson" else m
            size = np.linalg.norm(m)
            if size > 1e-14*(np.linalg.norm(u) + np.linalg.norm(w)): out[a, b] = m @ x/(size*np.linalg.norm(x))
    return pd.Series(out)

def nasty(seed=0, n=37, genes=20):
    "Profiles of which some are the same, some cancel, nearly or exactly, and some are flat."
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((n, genes)) + 3
    v[1], v[2], v[3], v[4] = v[0], -v[0], -v[0] + 1e-6*rng.standard_normal(genes), -v[0] + 1e-9*rng.standard_normal(genes)
    v[5], v[6], v[7], v[8] = 0, 2, -v[9] + 1e-3*rng.standard_normal(genes), 1/3 - v[10]
    v[11], v[12] = 1e4*v[13], 1e-4*v[14]
    return pd.DataFrame(v, [f"d{i:02d}" for i in range(n)], [f"g{i}" for i in range(genes)])

@pytest.mark.parametrize("method", ["pearson", "cosine"])
@pytest.mark.parametrize("tile", [1, 5, 37, 512])
def test_all_pairs_are_the_loop(monkeypatch, method, tile):
    monkeypatch.setattr(pairs, "TILE", tile)
    p = nasty()
    for seed in range(2):
        q = pd.Series(np.random.default_rng(seed + 9).standard_normal(20), p.columns)
        expected, found = loop(q, p, method), query_pairs(q, p, 10_000, method)
        assert len(found) == found.attrs["pairs"] == len(expected) < 37*36//2 and any("cancel out" in note for note in found.attrs["notes"])
        assert list(found["rank"]) == list(range(1, len(found) + 1)) and (found.score.diff().dropna() >= 0).all()
        np.testing.assert_allclose(found.set_index(["drug_a", "drug_b"]).score.reindex(expected.index), expected, rtol=0, atol=1e-9)
        best = query_pairs(q, p, 11, method)
        np.testing.assert_allclose(best.score, np.r_[np.sort(expected)[:11], np.sort(expected)[-11:]], rtol=0, atol=1e-9)
        assert list(best["rank"]) == [*range(1, 12), *range(len(expected) - 10, len(expected) + 1)]
        assert not best.duplicated(["drug_a", "drug_b"]).any()

def test_the_lowest_scores_are_those_of_a_stable_sort_of_all():
    rng = np.random.default_rng(0)
    for k in (1, 7, 40, 500):
        lowest, seen = pairs._Lowest(k), []
        for first in range(0, 60, 6):
            r, c = np.arange(first, first + 6), np.arange(9)
            s = np.where(rng.random((6, 9)) < 0.2, np.nan, rng.integers(0, 30, (6, 9)))
            lowest.see(r, c, s)
            seen += [(s[i, j], r[i], c[j]) for i in range(6) for j in range(9) if not np.isnan(s[i, j])]
        expected = sorted(seen, key=lambda one: one[0])[:k]  # of ties those seen first
        found = sorted(zip(lowest.scores, *lowest.pairs.T, strict=True), key=lambda one: one[0])
        assert found == expected

def test_pairs_that_cancel_exactly_have_no_score():
    p = nasty()
    found = query_pairs(pd.Series(np.random.default_rng(1).standard_normal(20), p.columns), p, 10_000).set_index(["drug_a", "drug_b"]).score
    assert not {("d00", "d02"), ("d05", "d06"), ("d08", "d10")} & set(found.index) and found.notna().all()

@pytest.mark.parametrize("tile", [2, 512])
def test_pairs_of_one_drug_and_of_different_drugs(monkeypatch, tile):
    monkeypatch.setattr(pairs, "TILE", tile)
    p, q = nasty(3), pd.Series(np.random.default_rng(8).standard_normal(20), nasty().columns)
    with_d20 = loop(q, p).loc[lambda s: [("d20" in k) for k in s.index]]
    found = query_pairs(q, p, 1000, drug="d20")
    assert len(found) == 36 == found.attrs["pairs"]
    np.testing.assert_allclose(found.set_index(["drug_a", "drug_b"]).score.reindex(with_d20.index), with_d20, rtol=0, atol=1e-9)
    drugs = pd.Series([f"D{i//3}" for i in range(37)], p.index)
    expected = loop(q, p, drugs=drugs)
    found = query_pairs(q, p, 1000, drugs=drugs)
    assert len(found) == found.attrs["pairs"] == len(expected)
    np.testing.assert_allclose(found.score, np.sort(expected), rtol=0, atol=1e-9)
    of_one = query_pairs(q, p, 1000, drug="D2", drugs=drugs)
    cancelled = 3*34 - len(of_one)
    assert len(of_one) == of_one.attrs["pairs"] and cancelled <= 4
    np.testing.assert_allclose(of_one.score, np.sort([s for (a, b), s in expected.items() if "D2" in (drugs[a], drugs[b])]), rtol=0, atol=1e-9)
    assert query_pairs(q, p, 5, drug="D2", drugs=pd.Series("D2", p.index)).empty

def test_largest_genes_many_queries_and_order_of_rows():
    p = nasty(4)
    q = pd.DataFrame(np.random.default_rng(3).standard_normal((4, 20)), list("abcd"), p.columns)
    q.loc["d", ["g1", "g2"]] = np.nan
    whole = query_pairs(q, p, 30, genes=8)
    for name, row in q.iterrows():
        top = row.abs().nlargest(8).index
        one = whole[whole["query"] == name]
        np.testing.assert_allclose(one.score, np.sort(loop(row[top], p[top]))[[*range(30), *range(-30, 0)]], rtol=0, atol=1e-9)
        alone = query_pairs(row.rename(name), p.iloc[::-1, ::-1], 30, genes=8)
        np.testing.assert_allclose(alone.score, one.score, rtol=0, atol=1e-12)

def test_sum_and_average_rank_alike():
    p = nasty(5).iloc[15:]
    q = pd.Series(np.random.default_rng(3).standard_normal(20), p.columns)
    for method in ("pearson", "cosine"): assert query_pairs(q, p, 10, method).equals(query_pairs(q, 2*p, 10, method))

def test_memory_of_all_pairs_is_bounded():
    rng = np.random.default_rng(0)
    p = pd.DataFrame(rng.standard_normal((3000, 30)), columns=[f"g{i}" for i in range(30)])
    tracemalloc.start()
    found = query_pairs(pd.Series(rng.standard_normal(30), p.columns), p, 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.attrs["pairs"] == 4_498_500 and peak < 40e6, "the scores alone would be 36 MB, with all products three times as much"

class Saturating:
    "A model that uses variances where it is given some."
    def predict(self, effects):
        known = effects.variance_a is not None
        return np.tanh(effects.a + effects.b) - (effects.variance_a + effects.variance_b if known else 0)

def test_pairs_are_scored_again_by_a_model():
    p = nasty(6)
    q = pd.DataFrame(np.random.default_rng(3).standard_normal((2, 20)), ["a", "b"], p.columns)
    chosen = query_pairs(q, p, 20, genes=9)
    again = rerank(chosen, q, p, Saturating(), genes=9, block=7)
    assert len(again) == len(chosen) and list(again["query"].unique()) == ["a", "b"]
    for _, row in again.sample(8, random_state=0).iterrows():
        genes = q.loc[row["query"]].abs().nlargest(9).index
        predicted = np.tanh(p.loc[row.drug_a] + p.loc[row.drug_b])
        assert row.model_score == pytest.approx(np.corrcoef(q.loc[row["query"], genes], predicted[genes])[0, 1])
    assert all((g.model_score.diff().dropna() >= 0).all() and list(g.model_rank) == list(range(1, 41)) for _, g in again.groupby("query"))
    spread = p.abs()
    assert not np.allclose(rerank(chosen, q, p, Saturating(), variances=spread).model_score, rerank(chosen, q, p, Saturating()).model_score)
    with pytest.raises(InputError, match="not both among"): rerank(chosen, q, p.iloc[:5], Saturating())

def test_measured_pairs_find_their_singles():
    world = simulate_combos(30, 10, 200, 30, 8, limit=1e9, seed=2)
    sums = pd.DataFrame(world.single_a + world.single_b, world.pairs.index, world.singles.columns)
    exact = retrieval(replace(world, measured=sums))
    assert (exact["rank"] == 1).all() and (exact.study_rank == 1).all() and np.allclose(exact.score, 1)
    found = retrieval(world)
    own = loop(world.measured.iloc[3], world.singles, drugs=world.treatments.drug)
    score = own[tuple(sorted(found[["a", "b"]].iloc[3], key=list(world.singles.index).index))]
    assert found.score.iloc[3] == pytest.approx(score) and found.candidates.iloc[3] == len(own)
    assert found["rank"].iloc[3] == (own > score + 1e-9).sum() + 1
    summary = retrieval_summary(found)
    assert (summary.low <= summary.value).all() and (summary.value <= summary.high).all()
    assert summary.value["first place"] == (found["rank"] == 1).mean()
    rng = np.random.default_rng(0)
    lost = retrieval_summary(found.assign(rank=rng.integers(1, len(own) + 1, len(found))))
    assert lost.low["median rank"] < lost.chance["median rank"] < lost.high["median rank"]

# ---- pictures, and the real set

def test_figures_have_the_same_bytes_and_say_what_is_seen(tmp_path):
    world = open_combos("simulated-small")
    kinds = world.treatments.mechanism
    t = query_drugs(world.queries.iloc[0], world.singles, permutations=50)
    best = query_pairs(world.queries.iloc[0], world.singles, 30)
    draw = {"ranking": lambda: figure_ranking(t, kinds), "pairs": lambda: figure_pairs(best, kinds)}
    for name, make in draw.items():
        first, second = (save_figure(make(), tmp_path/str(i), name) for i in range(2))
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)), name
    assert t.drug.iloc[0] in figure_ranking(t).axes[0].get_title("left") and "best reversing pairs" in figure_pairs(best).axes[0].get_title("left")
    assert "best mimicking pairs" in figure_pairs(best.assign(score=1.0)).axes[0].get_title("left")
    assert "No pair" in figure_pairs(best.assign(score=0.0)).axes[0].get_title("left")
    assert "No drug" in figure_ranking(t.assign(score=0.5)).axes[0].get_title("left")

def test_the_melanoma_set(data, monkeypatch):
    monkeypatch.setenv("DRUGNB_DATA", str(data))
    if not (data/"combos").is_dir(): pytest.skip("the melanoma set is not there")
    world = open_combos("melanoma")
    summary = retrieval_summary(retrieval(world))
    assert summary.chance["median rank"] < 2*len(world.singles)**2 and summary.high["median rank"] < summary.chance["median rank"]
    pair = world.measured.iloc[0]
    for method in METHODS: assert query_drugs(pair, world.singles, method, permutations=20).notna().all(axis=None)
    found = query_pairs(pair, world.singles, 5000)
    expected = loop(pair, world.singles)
    np.testing.assert_allclose(found.score, np.sort(expected), rtol=0, atol=1e-9)

def test_scores_by_name():
    x, v = world("plain", 1)
    for method in METHODS: assert score_drugs(x, v, method, 5, 4).shape == (len(x), len(v))
    np.testing.assert_array_equal(score_drugs(x, v, "wtcs", 5), wtcs(top_genes(x, 5), v))
    np.testing.assert_array_equal(score_drugs(x, v, "xsum", 5, 4), xsum(top_genes(x, 5), v, 4))
    for f in (cosine, spearman, xcos, zhang): assert f(x, v).shape == (len(x), len(v))

# the command

def test_query_on_the_command_line_is_the_function(tmp_path, capsys, monkeypatch):
    from drugnb.command import main
    rng = np.random.default_rng(0)
    profiles = pd.DataFrame(rng.normal(size=(9, 40)), [f"d{i}" for i in range(9)], [f"g{j}" for j in range(40)])
    signature = pd.Series(rng.normal(size=40), profiles.columns, name="mine")
    profiles.T.rename_axis("gene").to_csv(tmp_path/"library.tsv", sep="\t")
    signature.rename_axis("gene").to_frame().to_csv(tmp_path/"mine.csv")
    monkeypatch.chdir(tmp_path)
    main(["query", "mine.csv", "--profiles", "library.tsv", "--method", "cosine"])
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    assert "40 of 40 genes of the query found" in err
    assert table.drug.tolist() == query_drugs(signature, profiles, "cosine", permutations=0).drug.tolist()
    main(["query", "mine.csv", "--profiles", "library.tsv", "--pairs", "--top", "3", "--drug", "d4", "--out", "pairs.csv"])
    pairs = pd.read_csv("pairs.csv")
    assert len(pairs) == 6 and ((pairs.drug_a == "d4") | (pairs.drug_b == "d4")).all() and "8 pairs ranked" in capsys.readouterr().err
    for file, method, says in (("none.csv", "ks", "There is no file"), ("mine.csv", "best", "'best'")):
        with pytest.raises(SystemExit) as e: main(["query", file, "--profiles", "library.tsv", "--method", method])
        assert e.value.code == 2 and says in capsys.readouterr().err
