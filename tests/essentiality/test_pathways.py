"""Pathways against plain definitions, known truth, permuted labels, and the real screen where it is there."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, linregress
from sklearn.linear_model import LinearRegression, Ridge, lars_path
from sklearn.metrics import roc_auc_score

from drugnb.core.settings import InputError, data_folders, read_settings
from drugnb.essentiality import pathways as pw
from drugnb.essentiality.data import simulate_screen


def frame(values, row="line", column="c"):
    return pd.DataFrame(values, [f"{row}{i}" for i in range(len(values))], [f"{column}{i}" for i in range(len(values[0]))])

@pytest.fixture(scope="module")
def screen(): return simulate_screen(n_lines=150, n_genes=120, n_drugs=16, n_pathways=6, n_tissues=5, seed=3)

@pytest.fixture(scope="module")
def scores(screen): return pw.pathway_scores(pw.standardised(screen.expression.astype(float)), screen.gene_sets)

@pytest.fixture(scope="module")
def table(screen, scores):
    return pw.drug_pathways(screen.responses, scores, screen.lines.tissue, screen.lines.patient, "low", 200)

@pytest.fixture
def world():
    "120 lines of 100 patients and 4 tissues; three gene sets; responses that follow the first within tissues."
    rng = np.random.default_rng(1)
    lines = [f"line{i}" for i in range(120)]
    tissue = pd.Series(rng.choice(list("abcd"), 120), lines)
    patient = pd.Series([f"p{min(i, 99)}" if i < 100 else f"p{i - 100}" for i in range(120)], lines)
    tissue.iloc[100:] = tissue.iloc[:20].to_numpy()
    active = rng.standard_normal((120, 3)) + pd.get_dummies(tissue).to_numpy()[:, :3]*3
    responses = frame(-active @ rng.standard_normal((3, 5)) + rng.standard_normal((120, 5)), column="drug")
    responses = responses.mask(rng.random(responses.shape) < 0.2)
    return pd.DataFrame(active, lines, ["one", "two", "three"]), responses, tissue, patient

# ---- scores

def test_a_score_is_the_t_value_of_a_line_through_the_genes(screen, scores):
    z = pw.standardised(screen.expression.astype(float))
    for name in scores.columns[:3]:
        w = screen.gene_sets[name].reindex(z.columns).fillna(0)
        for line in (0, 7):
            fit = linregress(w, z.iloc[line])
            assert np.isclose(scores[name].iloc[line], fit.slope/fit.stderr)

def test_scores_do_not_depend_on_the_order_of_lines_genes_or_sets(screen, scores):
    rng = np.random.default_rng(0)
    z = pw.standardised(screen.expression.astype(float))
    z = z.iloc[rng.permutation(len(z)), rng.permutation(z.shape[1])]
    sets = screen.gene_sets.iloc[rng.permutation(len(screen.gene_sets)), ::-1]
    again = pw.pathway_scores(z, sets).loc[scores.index, scores.columns]
    assert np.allclose(again, scores)

def test_coverage_counts_genes_and_weight():
    sets = pd.DataFrame({"s": [3.0, 4, 0, 0], "none": [0, 0, 0, 2.0]}, ["A", "B", "C", "X"])
    found = pw.coverage(sets, pd.Index(["A", "C", "D"]))
    assert found.loc["s", ["asked", "found"]].tolist() == [2, 1] and np.isclose(found.weight["s"], 9/25)
    assert found.found["none"] == 0

def test_sets_without_a_gene_are_left_out_and_no_gene_at_all_is_refused():
    x = frame(np.random.default_rng(0).standard_normal((5, 6)), column="G")
    sets = pd.DataFrame({"some": [1.0, 0], "other": [0, 1.0]}, ["G1", "elsewhere"])
    assert list(pw.pathway_scores(x, sets)) == ["some"]
    with pytest.raises(InputError, match="No gene of the 1 in the sets .elsewhere.* among the 6"):
        pw.pathway_scores(x, sets.iloc[1:])
    with pytest.raises(InputError, match="more than once"): pw.pathway_scores(x, pd.concat([sets, sets]))

def test_a_gene_that_does_not_vary_is_no_z_score_and_a_missing_value_is_refused():
    x = pd.DataFrame({"A": [1.0, 2, 3], "B": [5.0, 5, 5]})
    assert (pw.standardised(x).B == 0).all()
    with pytest.raises(InputError, match="Expression of A is missing"): pw.standardised(x.mask(x == 2))

def test_p_of_scores_is_uniform_on_noise_and_small_where_a_set_is_active():
    rng = np.random.default_rng(0)
    x = frame(rng.standard_normal((60, 80)), column="G")
    sets = pd.DataFrame(rng.standard_normal((80, 4))*(rng.random((80, 4)) < 0.2), x.columns, list("abcd"))
    assert kstest(pw.score_p(x, sets, 199).to_numpy().ravel(), "uniform").pvalue > 0.01
    active = x + 2*sets["a"].to_numpy()
    assert (pw.score_p(active, sets, 199)["a"] <= 0.01).mean() > 0.8

# ---- within tissues

def test_within_products_are_those_of_a_loop(world):
    x, y, tissue, _ = world
    x = x.mask(np.random.default_rng(0).random(x.shape) < 0.1)
    w = np.random.default_rng(1).integers(0, 3, len(x)).astype(float)
    s = pw.within_products(x.to_numpy(), y.to_numpy(), tissue, w)
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            t = pd.DataFrame({"a": x[a], "b": y[b], "w": w, "t": tissue}).dropna()
            sums = np.zeros(4)
            for _, g in t.groupby("t"):
                if not g.w.sum(): continue
                da, db = (g[c] - np.average(g[c], weights=g.w) for c in "ab")
                sums += [g.w.sum(), (g.w*da**2).sum(), (g.w*db**2).sum(), (g.w*da*db).sum()]
            assert np.allclose([s.n[i, j], s.xx[i, j], s.yy[i, j], s.xy[i, j]], sums)

def test_an_association_that_is_only_between_tissues_is_none():
    rng = np.random.default_rng(0)
    tissue = pd.Series(np.repeat(list("ab"), 60), [f"l{i}" for i in range(120)])
    patient = pd.Series(tissue.index, tissue.index)
    shift = (tissue == "a").to_numpy()*5.0
    x = pd.DataFrame({"s": shift + rng.standard_normal(120)}, tissue.index)
    y = pd.DataFrame({"d": shift + rng.standard_normal(120)}, tissue.index)
    found = pw.drug_pathways(y, x, tissue, patient, "low", 199)
    assert x["s"].corr(y["d"]) > 0.8 and abs(found.r[0]) < 0.2 and found.p[0] > 0.05

def test_plus_means_more_active_is_more_sensitive_whatever_the_unit(world):
    x, y, tissue, patient = world
    low = pw.drug_pathways(y, x, tissue, patient, "low", 50)
    high = pw.drug_pathways(-3*y + 7, x, tissue, patient, "high", 50)
    columns = ["r", "low", "high", "rank", "p"]
    assert np.allclose(low[columns], high[columns])
    with pytest.raises(InputError, match="say low or high"): pw.drug_pathways(y, x, tissue, patient, "small", 5)

def test_associations_do_not_depend_on_the_order_of_lines(world):
    x, y, tissue, patient = world
    order = np.random.default_rng(2).permutation(len(x))
    one = pw.drug_pathways(y, x, tissue, patient, repeats=5)
    two = pw.drug_pathways(y.iloc[order], x, tissue.iloc[::-1], patient, repeats=5)
    assert np.allclose(one[["r", "low", "high"]], two[["r", "low", "high"]])

def test_a_line_without_scores_is_named(world):
    x, y, tissue, patient = world
    with pytest.raises(InputError, match=r"1 of 120 lines have no pathway scores .such as line5"):
        pw.drug_pathways(y, x.drop("line5"), tissue, patient)
    with pytest.raises(InputError, match="more than once"):
        pw.drug_pathways(y, pd.concat([x, x[:1]]), tissue, patient)

def test_r_is_that_of_residuals_and_its_interval_that_of_a_bootstrap_by_patient(world):
    x, y, tissue, patient = world
    found = pw.drug_pathways(y, x, tissue, patient, "high", 5).set_index(["perturbation", "set"])
    rng = np.random.default_rng(0)
    known = y["drug0"].dropna().index
    people = patient[known]
    where = {p: np.flatnonzero((people == p).to_numpy()) for p in people.unique()}
    names, draws = list(where), []
    def r_of(rows):
        t = tissue[known].iloc[rows].to_numpy()
        a, b = (v.loc[known].iloc[rows].reset_index(drop=True) for v in (x["one"], y["drug0"]))
        a, b = a - a.groupby(t).transform("mean"), b - b.groupby(t).transform("mean")
        return a @ b/np.sqrt((a @ a)*(b @ b))
    for _ in range(600):
        draws.append(r_of(np.concatenate([where[names[i]] for i in rng.integers(0, len(names), len(names))])))
    row = found.loc[("drug0", "one")]
    assert np.isclose(row.r, r_of(np.arange(len(known))))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert abs((row.high - row.low)/(high - low) - 1) < 0.2 and abs(row.low - low) < 0.06 and abs(row.high - high) < 0.06

@pytest.mark.parametrize("twins", [0, 0.5])
def test_intervals_hold_the_truth_and_p_is_uniform_where_nothing_is_associated(twins):
    "Lines of one patient are nearly alike: intervals by line would be far too narrow."
    rng, held, p = np.random.default_rng(5), [], []
    lines = [f"l{i}" for i in range(120)]
    n = 120 - round(twins*60)
    who = np.r_[np.arange(n), np.arange(120 - n)]
    patient, tissue = pd.Series(who, lines), pd.Series(rng.integers(0, 4, n)[who], lines)
    for _ in range(20):
        both = rng.standard_t(5, (n, 12))[who] + 0.2*rng.standard_normal((120, 12))
        x, y = pd.DataFrame(both[:, :3], lines), pd.DataFrame(both[:, 3:], lines)
        found = pw.drug_pathways(y, x, tissue, patient, repeats=99)
        held += list((found.low < 0) & (found.high > 0))
        p += list(found.p)
    assert 0.91 < np.mean(held) < 0.98 and 0.02 < np.mean(np.array(p) <= 0.05) < 0.08

def test_a_drug_with_few_or_equal_values_gets_no_number_and_no_crash(world):
    x, y, tissue, patient = world
    y = y.assign(few=np.nan, same=1.0, none=np.nan)
    y.iloc[:4, y.columns.get_loc("few")] = [1.0, 2, 3, 4]
    found = pw.drug_pathways(y, x.assign(flat=2.0), tissue, patient, repeats=9).set_index(["perturbation", "set"])
    assert found.loc[["few", "same", "none"], ["r", "p", "q"]].isna().all(axis=None)
    assert found.loc[("drug0", "flat"), ["r", "p"]].isna().all() and found.loc[("drug0", "one"), "p"] <= 1

def test_no_gene_sets_give_an_empty_table_and_a_figure_that_says_so(world):
    _, y, tissue, patient = world
    nothing = pw.pathway_scores(frame(np.ones((120, 3)) + np.arange(3)), pd.DataFrame(index=["A"]))
    found = pw.drug_pathways(y, nothing, tissue, patient)
    assert not len(found) and list(found)[:3] == ["perturbation", "set", "r"]
    pw.figure_pathways(found, pd.DataFrame({"label": [], "pathway": []}))

def test_the_pathway_behind_each_simulated_drug_comes_first_in_its_direction(screen, table):
    r = table.pivot(index="perturbation", columns="set", values="r")
    truth, sign = screen.truth["pathway"][r.index], -screen.truth["sign"][r.index]
    rank = pd.Series({d: (sign[d]*r.loc[d]).rank(ascending=False)[truth[d]] for d in r.index})
    assert (rank <= 2).mean() >= 0.7

def test_general_sensitivity_is_taken_out_without_the_drug_itself(world):
    x, y, tissue, patient = world
    rng = np.random.default_rng(0)
    general = pd.Series(rng.standard_normal(120), y.index)
    y = pd.DataFrame({f"d{i}": general + 0.5*rng.standard_normal(120) for i in range(12)})
    y["alone"] = rng.standard_normal(120)
    rest = pw.specific_responses(y, tissue)
    assert rest.corrwith(general)[:12].abs().max() < 0.35 < 0.8 < y.corrwith(general)[:12].min()
    assert rest["alone"].corr(y["alone"]) > 0.95
    few = y[["alone"]].assign(other=rng.standard_normal(120))
    assert np.isclose(pw.specific_responses(few, tissue)["alone"].corr(few["alone"]), 1, atol=0.03)
    same = pw.specific_responses(pd.concat([y, y[["alone"]].rename(columns={"alone": "again"})], axis=1), tissue,
                                 pd.Series({**{c: c for c in y}, "again": "alone"}))
    assert np.allclose(same["alone"], same["again"]) and same["alone"].corr(y["alone"]) > 0.95

def test_random_genes_of_an_uninformative_table_are_as_good_as_the_set():
    rng = np.random.default_rng(0)
    lines = [f"l{i}" for i in range(80)]
    z = pd.DataFrame(rng.standard_normal((80, 60)), lines, [f"G{i}" for i in range(60)])
    sets = pd.DataFrame({"s": np.r_[np.ones(8), np.zeros(52)], "t": np.r_[np.zeros(30), np.ones(6), np.zeros(24)]}, z.columns)
    tissue, patient = pd.Series("a", lines), pd.Series(lines, lines)
    y = pd.DataFrame({"d": -z.iloc[:, :8].sum(axis=1) + rng.standard_normal(80), "e": rng.standard_normal(80)}, lines)
    found = pw.drug_pathways(y, pw.pathway_scores(z, sets), tissue, patient, repeats=9)
    p = pw.random_genes_p(found, y, z, sets, tissue, 200).to_numpy()
    assert p[0] < 0.02 and p[1] > 0.05
    shuffled = found.sample(frac=1, random_state=0)
    assert np.allclose(pw.random_genes_p(shuffled, y, z, sets, tissue, 200).loc[found.index], p)

# ---- truths

def test_patterns_of_truths_find_drugs_by_their_plain_names():
    names = pd.DataFrame({"name": ["PLX-4720", "Nutlin-3a (-)", "PLX4720", "Trametinib", "Aspirin"]}, list("abcde"))
    found = pw.matched_drugs(pw.PATHWAY_TRUTHS, names)
    assert set(found[(found.feature == "MAPK") & ~found.control].perturbation) == {"a", "c", "d"}
    assert set(found[found.feature == "p53"].query("not control").perturbation) == {"b"}
    assert "e" not in set(found.perturbation) and (found.source == "control").eq(found.control).all()
    assert all(t.source for t in (*pw.PATHWAY_TRUTHS, *pw.MUTATION_TRUTHS))

def test_chance_is_counted_over_the_screen_and_not_over_sets():
    "A pathway that leads for every drug is no news, however often it is met."
    drugs, sets = [f"d{i}" for i in range(20)], [f"s{i}" for i in range(10)]
    rng = np.random.default_rng(0)
    r = pd.DataFrame(rng.uniform(-0.2, 0.2, (20, 10)), drugs, sets)
    r["s0"] = 0.5
    r.loc["d1", "s3"] = 0.9
    found = r.rename_axis("perturbation").reset_index().melt("perturbation", var_name="set", value_name="r")
    found = found.assign(low=0, high=0, rank=0, p=0, q=0, n=9)
    listed = pd.DataFrame({"truth": ["common"]*5 + ["own"], "perturbation": [*drugs[5:10], "d1"], "sign": 1,
                           "feature": ["s0"]*5 + ["s3"], "control": False, "source": ""})
    counted = pw.count_truths(pw.truth_pathways(found, listed), found, 1, 300).set_index("truth")
    assert counted.hits.tolist() == [5, 1] and counted.chance["common"] > 4.5 and counted.p["common"] > 0.5
    assert counted.chance["own"] < 0.3 and counted.p["own"] < 0.15
    against = pw.truth_pathways(found, listed.assign(sign=-1), 1)
    assert not against.hit.any() and against["rank"].tolist()[:5] == [10]*5
    none = pw.truth_pathways(found, listed.assign(feature="elsewhere"))
    assert not len(none) and not len(pw.count_truths(none, found))

def test_truths_are_met_more_often_than_chance_and_controls_are_not(screen, table):
    own = pd.DataFrame({"feature": screen.truth["pathway"], "sign": -screen.truth["sign"]}).rename_axis("perturbation")
    own = own.reset_index().assign(truth="own", control=False, source="")
    pathways = sorted(own.feature.unique())
    wrong = own.assign(truth="wrong", control=True, feature=[pathways[pathways.index(f) - 1] for f in own.feature])
    counted = pw.count_truths(pw.truth_pathways(table, pd.concat([own, wrong])), table, 2, 300).set_index("truth")
    assert counted.hits["own"] > counted.chance_high["own"] and counted.p["own"] < 0.05 < counted.p["wrong"]

def test_alterations_are_found_by_gene_and_kind():
    m = pd.DataFrame({"BRAF_mut": [1, 0, np.nan], "BRAF": [0, 0, 1], "gain_cna1_(CDK12,ERBB2)": [0, 1, 0], "driver A": [1, 1, 0],
                      "loss_cna2_(ERBB2IP)": [1, 1, 1]})
    assert pw.mutated_lines(m, "BRAF").fillna(9).tolist() == [1, 0, 9]
    assert pw.mutated_lines(m, "gain ERBB2").tolist() == [0, 1, 0] and pw.mutated_lines(m, "loss ERBB2") is None
    assert pw.mutated_lines(m, "BRAF or gain ERBB2").tolist() == [1, 1, 0] and pw.mutated_lines(m, "driver A").sum() == 2
    assert pw.mutated_lines(m, "KRAS") is None

def test_auroc_is_that_of_scikit_learn_and_within_strata_that_of_a_loop():
    rng = np.random.default_rng(0)
    s, flags, strata = rng.standard_normal((2, 50)).round(1), rng.random(50) < 0.3, rng.integers(0, 4, 50)
    value, draws, n = pw.auroc(s, flags, np.arange(50), repeats=300)
    assert np.allclose(value, [roc_auc_score(flags, row) for row in s]) and n == flags.sum()
    pairs = [(s[0, i] > s[0, j]) + 0.5*(s[0, i] == s[0, j]) for i in np.flatnonzero(flags) for j in np.flatnonzero(~flags)
             if strata[i] == strata[j]]
    within, inside, _ = pw.auroc(s[0], flags, np.arange(50), strata, 300)
    assert np.isclose(within[0], np.mean(pairs)) and draws.shape == (300, 2)
    assert abs(np.nanmean(inside) - within[0]) < 0.03

def test_auroc_without_a_pair_is_missing():
    value, draws, n = pw.auroc(np.arange(4.0), [True, True, False, False], np.arange(4), list("aabb"), 10)
    assert np.isnan(value).all() and np.isnan(draws).all() and n == 0

def mutated_world(seed, effect, n=160):
    "Tissues differ in mutation and response; within tissues mutation counts for `effect`."
    rng = np.random.default_rng(seed)
    lines = [f"l{i}" for i in range(n)]
    tissue = pd.Series(rng.choice(["skin", "lung", "bone"], n), lines)
    m = pd.DataFrame({"BRAF_mut": (rng.random(n) < tissue.map({"skin": 0.7, "lung": 0.1, "bone": 0.1})).astype(float)}, lines)
    y = pd.DataFrame({"d": -3.0*(tissue == "skin") - effect*m.BRAF_mut + rng.standard_normal(n)}, lines)
    about = pd.DataFrame({"tissue": tissue, "patient": lines, "fold": np.arange(n) % 2}, lines)
    means = y.groupby(tissue).transform("mean")
    listed = pd.DataFrame([dict(truth="BRAF", perturbation="d", feature="BRAF", sign=1, control=False, source="x")])
    return listed, m, y, means, about

def test_a_mutation_that_only_marks_its_tissue_has_an_auroc_and_no_gain():
    listed, m, y, means, about = mutated_world(0, 0)
    found, nulls = pw.truth_mutations(listed, m, y, means, y, about, repeats=300)
    row = found.iloc[0]
    assert row.auroc_low > 0.52 and row.gain_low < 0.05 and row.within_low < 0.5 < row.within_high and not row.hit
    listed, m, y, means, about = mutated_world(0, 1.5)
    found, _ = pw.truth_mutations(listed, m, y, means, y, about, repeats=300)
    assert found.within[0] > 0.7 and found.hit[0] and found.gain_low[0] > 0
    shifted = y + 10.0*about.fold.to_numpy()[:, None]
    same, _ = pw.truth_mutations(listed, m, shifted, means, y, about, repeats=300)
    pd.testing.assert_frame_equal(same, found)

def test_hits_by_luck_are_one_in_twenty():
    worlds = [pw.truth_mutations(*mutated_world(s, 0, 80)[:4], *(mutated_world(s, 0, 80)[i] for i in (2, 4)), repeats=99) for s in range(60)]
    assert np.mean([w[0].hit[0] for w in worlds]) < 0.13
    tables, nulls = pd.concat([w[0] for w in worlds], ignore_index=True), np.concatenate([w[1] for w in worlds])
    counted = pw.count_mutations(tables, nulls).iloc[0]
    assert counted.judged == 60 and 1 < counted.chance < 3.6 and counted.hits <= 8

def test_truths_that_cannot_be_judged_say_why():
    listed, m, y, means, about = mutated_world(0, 0)
    both = pd.concat([listed.assign(feature="KRAS"), listed], ignore_index=True)
    m.loc[m.index[m.BRAF_mut == 1][3:], "BRAF_mut"] = 0
    found, nulls = pw.truth_mutations(both, m, y, means, y, about, repeats=20)
    assert found.why_not.tolist() == ["not in the table", "too few mutated lines"] and np.isnan(nulls).all()
    assert not len(pw.count_mutations(found, nulls)) and not found.hit.any()
    pw.figure_truths(found, nulls, pd.DataFrame({"label": ["drug"]}, ["d"]))

# ---- mutations

def test_the_effect_of_a_mutation_is_that_of_least_squares_with_tissues(world):
    _, y, tissue, _ = world
    rng = np.random.default_rng(0)
    m = frame((rng.random((120, 4)) < 0.3).astype(float), column="m").mask(rng.random((120, 4)) < 0.1)
    alone = pd.Series(m.index, m.index)
    found = pw.drug_mutations(y, m, tissue, alone, "high").set_index(["perturbation", "feature"])
    both = pd.concat([y["drug1"], m["m2"]], axis=1).dropna()
    design = pd.get_dummies(tissue[both.index]).astype(float).assign(m=both["m2"])
    fit = LinearRegression(fit_intercept=False).fit(design, both["drug1"])
    left = both["drug1"] - fit.predict(design)
    variance = left @ left/(len(both) - design.shape[1])*np.linalg.inv(design.T @ design)[-1, -1]
    row = found.loc[("drug1", "m2")]
    assert np.isclose(row.effect, fit.coef_[-1]) and row.mutated == both["m2"].sum() and row.n == len(both)
    assert np.isclose((row.high - row.low)/2, 1.98*np.sqrt(variance), rtol=0.01)

def test_lines_of_one_patient_count_once(world):
    _, y, tissue, _ = world
    m = frame((np.random.default_rng(0).random((120, 2)) < 0.4).astype(float), column="m")
    alone = pd.Series(m.index, m.index)
    once = pw.drug_mutations(y, m, tissue, alone)
    double = [pd.concat([t, t.set_axis([f"{i}again" for i in t.index])]) for t in (y, m, tissue)]
    twice = pw.drug_mutations(*double, pd.concat([alone, alone.set_axis([f"{i}again" for i in alone])]))
    columns = ["effect", "low", "high", "p", "n"]
    order = ["perturbation", "feature"]
    assert np.allclose(once.sort_values(order)[columns], twice.sort_values(order)[columns])

def test_rare_mutations_are_left_out_and_none_at_all_is_an_empty_table(world):
    _, y, tissue, patient = world
    m = pd.DataFrame({"rare": 0.0, "all": 1.0, "often": np.arange(120) % 3 == 0}, y.index, dtype=float)
    m.iloc[:4, 0] = 1
    assert set(pw.drug_mutations(y, m, tissue, patient).feature) == {"often"}
    empty = pw.drug_mutations(y, pd.DataFrame(index=y.index), tissue, patient)
    assert not len(empty) and {"effect", "q", "mutated"} <= set(empty)

def test_q_is_benjamini_and_hochbergs():
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    assert np.allclose(pw.adjusted(p), [[0.03, np.nan], [0.04, 0.04]], equal_nan=True)
    assert np.isnan(pw.adjusted([np.nan])).all() and len(pw.adjusted([])) == 0

# ---- one linear map

def test_a_linear_model_is_its_map_exactly():
    rng = np.random.default_rng(0)
    x = frame(2 + 3*rng.standard_normal((50, 80)), column="G").assign(flat=1.0)
    y = rng.standard_normal((50, 3))
    models = [Ridge(a).fit(x, y) for a in (1, 10)]
    def ensemble(table): return pd.DataFrame(np.mean([m.predict(table) for m in models], 0), table.index, list("abc"))
    found = pw.probe(ensemble, x)
    assert found.check.deviation.max() < 1e-9 and found.check.r2.min() > 1 - 1e-12
    by_sd = np.mean([m.coef_ for m in models], 0).T*x.std(ddof=0).to_numpy()[:, None]
    assert np.allclose(found.weights, by_sd) and (found.weights.loc["flat"] == 0).all()
    new = frame(2 + 3*rng.standard_normal((9, 80)), column="G").assign(flat=1.0)
    z = (new - x.mean())/x.std(ddof=0).replace(0, 1)
    assert np.allclose(found.predict(z[z.columns[::-1]]), ensemble(new))

def test_least_squares_finds_the_map_where_lines_are_many_and_says_where_they_are_few():
    rng = np.random.default_rng(0)
    x = frame(rng.standard_normal((90, 30)), column="G")
    y = pd.DataFrame(x.to_numpy() @ rng.standard_normal((30, 2)) + 4, x.index, ["a", "b"])
    alone = pd.Series(x.index, x.index)
    found = pw.distil(x, y, alone)
    assert found.check.determined.all() and found.check.deviation.max() < 1e-8 and found.check.r2_left_out.min() > 1 - 1e-9
    assert np.allclose(found.predict(pw.standardised(x)), y)
    noise = pd.DataFrame(rng.standard_normal((20, 2)), x.index[:20], ["a", "b"])
    few = pw.distil(x[:20], noise, alone[:20])
    assert not few.check.determined.any() and few.check.r2_left_out.max() < 0.3

def test_of_a_curved_model_the_share_explained_is_said():
    rng = np.random.default_rng(0)
    x = frame(rng.standard_normal((200, 10)), column="G")
    line = x.to_numpy() @ rng.standard_normal(10)
    y = pd.DataFrame({"bent": np.abs(line), "some": line + np.abs(line)}, x.index)
    found = pw.distil(x, y, pd.Series(x.index, x.index)).check.r2_left_out
    assert found["bent"] < 0.1 and 0.4 < found["some"] < 0.95

def test_the_map_does_not_depend_on_the_order_of_lines_or_genes():
    rng = np.random.default_rng(0)
    x = frame(rng.standard_normal((40, 60)), column="G")
    y, alone = frame(rng.standard_normal((40, 2))), pd.Series(x.index, x.index)
    one, two = pw.distil(x, y, alone), pw.distil(x.iloc[::-1, ::-1], y, alone)
    assert np.allclose(one.weights, two.weights.loc[one.weights.index])

# ---- stability selection

def test_bounds_are_those_of_the_papers():
    assert np.allclose(pw.selection_bounds(2, 14, 0.75, 50), (4/14/0.5, 4/14/(2*(0.5 - 0.01))))
    assert np.isclose(pw.selection_bounds(2, 14, 0.9, 50)[1], 4/14*4*(0.1 + 0.01)/1.02)
    assert pw.selection_bounds(9, 14, 0.75)[1] == np.inf
    with pytest.raises(InputError, match="above 0.5"): pw.selection_bounds(2, 14, 0.5)

def test_halves_are_complementary_and_keep_patients_whole():
    patient = np.repeat(np.arange(21), 2)
    for one, other in pw.half_patients(patient, 5):
        assert not set(patient[one]) & set(patient[other]) and len(one) == len(other) == 20

def test_the_first_features_are_those_of_the_lasso_path():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal((30, 12)) @ (np.eye(12) + 0.4*rng.standard_normal((12, 12)))
        y = x @ rng.standard_normal(12)*0.3 + rng.standard_normal(30)
        _, _, coefs = lars_path(x - x.mean(0), y - y.mean(), method="lasso")
        entered = [i for step in (coefs != 0).T for i in np.flatnonzero(step)]
        assert set(np.flatnonzero(pw._first_features(x, y, 4))) == set(list(dict.fromkeys(entered))[:4])

def test_flat_features_and_flat_responses_choose_nothing_or_others():
    x = np.c_[np.ones(20), np.arange(20.0)]
    assert pw._first_features(x, np.arange(20.0), 1).tolist() == [False, True]
    assert not pw._first_features(x, np.ones(20), 1).any() and not pw._first_features(x[:2], np.arange(2.0), 1).any()

@pytest.mark.parametrize("correlated", [False, True])
def test_false_selections_stay_below_the_bound(correlated):
    rng = np.random.default_rng(0)
    lines = [f"l{i}" for i in range(100)]
    x = rng.standard_normal((100, 20))
    if correlated: x = x + 1.5*rng.standard_normal((100, 1))
    x, tissue = pd.DataFrame(x, lines), pd.Series(rng.integers(0, 3, 100), lines)
    signal = -1.0*x[[0]].to_numpy() if correlated else 0
    y = pd.DataFrame(rng.standard_normal((100, 40)) + signal, lines)
    found = pw.stability_selection(x, y, tissue, pd.Series(lines, lines), pairs=15)
    kept = found.probability >= found.threshold
    false = kept.drop(columns=[0] if correlated else []).sum(axis=1).mean()
    assert false <= found.bounds[1] <= 0.5 and (not correlated or kept[0].mean() > 0.9)

def test_the_true_pathway_is_chosen_again_on_simulated_drugs(screen, scores):
    some = screen.responses.columns[:8]
    found = pw.stability_selection(scores, screen.responses[some], screen.lines.tissue, screen.lines.patient, pairs=10)
    own = np.array([found.probability.loc[d, screen.truth["pathway"][d]] for d in some])
    assert own.mean() > 3*(found.probability.sum(axis=1).mean() - own.mean())/(scores.shape[1] - 1)
    none = pw.stability_selection(scores.iloc[:, :0], screen.responses, screen.lines.tissue, screen.lines.patient)
    assert none.probability.shape == (screen.responses.shape[1], 0)

# ---- pages

def test_agreement_is_averaged_over_folds_and_never_pooled():
    lines = [f"l{i}" for i in range(40)]
    rng = np.random.default_rng(0)
    y = pd.DataFrame({"d": rng.standard_normal(40)}, lines)
    fold = pd.Series(np.repeat([0, 1], 20), lines)
    p = y + 10.0*fold.to_numpy()[:, None]
    tissue, alone = pd.Series("a", lines), pd.Series(lines, lines)
    found = pw.drug_agreement(y, p, fold, tissue, alone, 50).loc["d"]
    assert np.allclose(found[["spearman", "within", "high"]], 1) and y["d"].corr(p["d"], method="spearman") < 0.8
    y.iloc[::7] = np.nan
    noisy = pw.drug_agreement(y, p + rng.standard_normal((40, 1)), fold, tissue, alone, 100).loc["d"]
    by_hand = np.mean([y["d"][fold == f].corr((p + 0)["d"][fold == f], method="spearman") for f in (0, 1)])
    assert np.isclose(by_hand, 1) and noisy.low < noisy.spearman < noisy.high and noisy.n == y["d"].notna().sum()
    assert np.isnan(pw.drug_agreement(y, p, fold, tissue, alone, 0).low["d"])

def test_replicates_are_compared_with_repeats_and_the_second_screen():
    rng = np.random.default_rng(0)
    y = frame(rng.standard_normal((40, 3)), column="d")
    y["d1"] = y["d0"]
    found = pw.replicates(y, pd.Series({"d0": "x", "d1": "x", "d2": "z"}), y[["d2"]][:30]*2)
    assert np.allclose(found, 1) and pw.replicates(y[["d2"]], pd.Series({"d2": "z"})).isna().all()

def test_tissue_share_is_none_for_noise_and_nearly_all_for_tissues():
    rng = np.random.default_rng(0)
    tissue = pd.Series(rng.integers(0, 8, 200), [f"l{i}" for i in range(200)])
    y = pd.DataFrame({"noise": rng.standard_normal(200), "tissue": tissue*3.0 + 0.1*rng.standard_normal(200), "flat": 1.0}, tissue.index)
    share = pw.tissue_share(y, tissue)
    noise = pw.tissue_share(pd.DataFrame(rng.standard_normal((40, 100)), tissue.index[:40]), tissue)
    assert abs(noise.mean()) < 0.03
    assert abs(share["noise"]) < 0.1 and share["tissue"] > 0.99 and np.isnan(share["flat"])

def test_features_are_named_as_a_person_would():
    assert pw.feature_label("gain_cnaPANCAN301_(CDK12,ERBB2,MED24)") == "gain of CDK12, ERBB2, MED24"
    assert pw.feature_label("loss_cnaPANCAN20") == "loss of segment 20" and pw.feature_label("BRAF_mut") == "BRAF mutated"

def test_drugs_are_found_by_name_label_or_id_and_strangers_refused():
    names = pd.DataFrame({"name": ["Afatinib", "Afatinib", "PLX-4720"], "label": ["Afatinib (1)", "Afatinib (2)", "PLX-4720"]}, list("123"))
    assert pw.find_drugs(names, "plx4720, 2, afatinib") == ["3", "2", "1"] and pw.find_drugs(names, " , ") == []
    with pytest.raises(InputError, match="called 'aspirin'"): pw.find_drugs(names, "Afatinib, aspirin")

@pytest.fixture(scope="module")
def evidence(screen, scores, table):
    z, y, about = pw.standardised(screen.expression.astype(float)), screen.responses, screen.lines
    fold = pd.Series(np.arange(len(y)) % 5, y.index)
    guess = y.fillna(y.mean()) + np.random.default_rng(0).standard_normal(y.shape)
    map_ = pw.distil(screen.expression.astype(float), guess, about.patient)
    some = y.columns[:2]
    return pw.Evidence(
        screen.name, screen.units["responses"], "low", screen.perturbations, y, guess, about.tissue,
        pw.drug_agreement(y, guess, fold, about.tissue, about.patient, 20),
        pw.replicates(y, screen.perturbations.repeat_of, screen.second),
        table.assign(p_genes=1.0), table, pw.coverage(screen.gene_sets, z.columns),
        pw.drug_mutations(y, screen.mutations, about.tissue, about.patient), map_.weights, map_.check.r2_left_out,
        pw.stability_selection(z, y[some], about.tissue, about.patient, pairs=3),
        pd.DataFrame({"measured": pw.tissue_share(y, about.tissue), "predicted": pw.tissue_share(guess, about.tissue)}))

def test_pages_are_a_picture_and_a_text_with_the_same_numbers(evidence, tmp_path):
    drug = evidence.responses.columns[0]
    path, = pw.write_pages(evidence, [drug], tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".md", ".png", ".svg"}
    text = path.read_text()
    lead = evidence.pathways[evidence.pathways.perturbation == drug].sort_values("p", kind="stable").iloc[0]
    assert evidence.perturbations.label[drug] in text and f"{lead.r:+.2f} ({lead.low:+.2f} to {lead.high:+.2f})" in text
    assert f"{evidence.agreement.spearman[drug]:.2f}" in text and "nan" not in text

def test_a_page_can_be_drawn_where_little_is_known(evidence):
    drug = evidence.responses.columns[1]
    bare = replace(evidence, mutations=evidence.mutations[:0], pathways=evidence.pathways[:0], learnt=evidence.learnt[:0],
                   replicates=evidence.replicates*np.nan, tissue=pd.Series("", evidence.tissue.index))
    titles = [ax.get_title(loc="left") for ax in pw.drug_page(bare, drug).axes]
    assert any("no repeats" in t for t in titles) and any(t.startswith("Mutations: none") for t in titles)
    assert "not screened twice" in pw.drug_text(bare, drug)

def test_genes_of_a_page_point_towards_sensitivity(evidence):
    drug = evidence.responses.columns[0]
    genes = pw.page_genes(evidence, drug)
    assert np.allclose(genes.weight, -evidence.weights[drug][genes.index]) and genes.probability.max() > 0
    assert evidence.weights[drug].abs().idxmax() in genes.index

def test_the_picture_shows_only_drugs_with_something(screen, table):
    fig = pw.figure_pathways(table, screen.perturbations, pw.coverage(screen.gene_sets, screen.expression.columns), most=5)
    assert len(fig.axes[0].get_yticks()) == 5 and "5 shown" in fig.axes[0].get_title(loc="left")
    strict = pw.figure_pathways(table, screen.perturbations, level=0.0)
    assert "no drug of 16" in strict.axes[0].get_title(loc="left")

# ---- the real screen

@pytest.fixture(scope="module")
def gdsc():
    "The prepared tables, as they lie."
    folder = next((f/"essentiality" for f in data_folders(read_settings()) if (f/"essentiality/progeny_pathway_weights.csv").is_file()), None)
    if folder is None: pytest.skip("the prepared tables of essentiality are in no data folder: set DRUGNB_DATA")
    x, y = (pd.read_csv(folder/f"{name}.csv.gz", index_col=0) for name in ("expression_525x697", "gdsc_lnic50_969x266"))
    lines = x.index.intersection(y.index)
    y = y.loc[lines].loc[:, lambda t: t.notna().sum() >= len(lines)/2]
    about = pd.read_csv(folder/"gdsc_drugs.csv", dtype=str).set_index("drug_id").loc[y.columns].rename(columns={"Name": "name"})
    tissue = pd.read_csv(folder/"cell_lines.csv", index_col=0).lineage.reindex(lines).fillna("")
    return x.loc[lines], y, about, tissue, pd.read_csv(folder/"progeny_pathway_weights.csv", index_col=0)

def test_known_pathways_come_first_on_the_real_screen(gdsc):
    x, y, about, tissue, sets = gdsc
    alone = pd.Series(x.index, x.index)
    scores = pw.pathway_scores(pw.standardised(x), sets)
    listed = pw.matched_drugs(pw.PATHWAY_TRUTHS, about)
    for responses, least in ((y, 12), (pw.specific_responses(y, tissue, about.name), 11)):
        found = pw.drug_pathways(responses, scores, tissue, alone, "low", 100)
        counted = pw.count_truths(pw.truth_pathways(found, listed), found, 2, 300).query("not control").set_index("truth")
        assert counted.hits["MAPK"] >= least and counted.hits["MAPK"] > counted.chance_high["MAPK"]
        assert counted["first"]["p53"] == 1 and counted["first"]["EGFR"] >= 3
    assert pw.coverage(sets, x.columns).found.sum() < 100 and len(x) == 525

def test_a_known_target_is_chosen_on_halves_of_the_real_screen(gdsc):
    x, y, about, tissue, _ = gdsc
    nutlin = about.index[about.name.str.startswith("Nutlin")]
    found = pw.stability_selection(pw.standardised(x), y[nutlin], tissue, pd.Series(x.index, x.index), pairs=15)
    assert {"MDM2", "CDKN1A"} <= set(found.probability.columns[found.probability.iloc[0] >= found.threshold])
