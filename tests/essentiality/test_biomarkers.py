"""Biomarkers: truths beside chance, effects of mutations against least squares, AUROCs against scikit-learn."""
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from drugnb.core.artefacts import RunFolder
from drugnb.essentiality import biomarkers as bm
from drugnb.essentiality import pathways as pw


def frame(values, row="line", column="c"):
    return pd.DataFrame(values, [f"{row}{i}" for i in range(len(values))], [f"{column}{i}" for i in range(len(values[0]))])

# ---- truths

def test_patterns_of_truths_find_drugs_by_their_plain_names():
    names = pd.DataFrame({"name": ["PLX-4720", "Nutlin-3a (-)", "PLX4720", "Trametinib", "Aspirin"]}, list("abcde"))
    found = bm.matched_drugs(bm.PATHWAY_TRUTHS, names)
    assert set(found[(found.feature == "MAPK") & ~found.control].perturbation) == {"a", "c", "d"}
    assert set(found[found.feature == "p53"].query("not control").perturbation) == {"b"}
    assert "e" not in set(found.perturbation) and (found.source == "control").eq(found.control).all()
    assert all(t.source for t in (*bm.PATHWAY_TRUTHS, *bm.MUTATION_TRUTHS))

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
    counted = bm.count_truths(bm.truth_pathways(found, listed), found, 1, 300).set_index("truth")
    assert counted.hits.tolist() == [5, 1] and counted.chance["common"] > 4.5 and counted.p["common"] > 0.5
    assert counted.chance["own"] < 0.3 and counted.p["own"] < 0.15
    against = bm.truth_pathways(found, listed.assign(sign=-1), 1)
    assert not against.hit.any() and against["rank"].tolist()[:5] == [10]*5
    none = bm.truth_pathways(found, listed.assign(feature="elsewhere"))
    assert not len(none) and not len(bm.count_truths(none, found))

def test_truths_are_met_more_often_than_chance_and_controls_are_not(screen, table):
    own = pd.DataFrame({"feature": screen.truth["pathway"], "sign": -screen.truth["sign"]}).rename_axis("perturbation")
    own = own.reset_index().assign(truth="own", control=False, source="")
    pathways = sorted(own.feature.unique())
    wrong = own.assign(truth="wrong", control=True, feature=[pathways[pathways.index(f) - 1] for f in own.feature])
    counted = bm.count_truths(bm.truth_pathways(table, pd.concat([own, wrong])), table, 2, 300).set_index("truth")
    assert counted.hits["own"] > counted.chance_high["own"] and counted.p["own"] < 0.05 < counted.p["wrong"]

def test_alterations_are_found_by_gene_and_kind():
    m = pd.DataFrame({"BRAF_mut": [1, 0, np.nan], "BRAF": [0, 0, 1], "gain_cna1_(CDK12,ERBB2)": [0, 1, 0], "driver A": [1, 1, 0],
                      "loss_cna2_(ERBB2IP)": [1, 1, 1]})
    assert bm.mutated_lines(m, "BRAF").fillna(9).tolist() == [1, 0, 9]
    assert bm.mutated_lines(m, "gain ERBB2").tolist() == [0, 1, 0] and bm.mutated_lines(m, "loss ERBB2") is None
    assert bm.mutated_lines(m, "BRAF or gain ERBB2").tolist() == [1, 1, 0] and bm.mutated_lines(m, "driver A").sum() == 2
    assert bm.mutated_lines(m, "KRAS") is None

def test_auroc_is_that_of_scikit_learn_and_within_strata_that_of_a_loop():
    rng = np.random.default_rng(0)
    s, flags, strata = rng.standard_normal((2, 50)).round(1), rng.random(50) < 0.3, rng.integers(0, 4, 50)
    value, draws, n = bm.auroc(s, flags, np.arange(50), repeats=300)
    assert np.allclose(value, [roc_auc_score(flags, row) for row in s]) and n == flags.sum()
    pairs = [(s[0, i] > s[0, j]) + 0.5*(s[0, i] == s[0, j]) for i in np.flatnonzero(flags) for j in np.flatnonzero(~flags)
             if strata[i] == strata[j]]
    within, inside, _ = bm.auroc(s[0], flags, np.arange(50), strata, 300)
    assert np.isclose(within[0], np.mean(pairs)) and draws.shape == (300, 2)
    assert abs(np.nanmean(inside) - within[0]) < 0.03

def test_auroc_without_a_pair_is_missing():
    value, draws, n = bm.auroc(np.arange(4.0), [True, True, False, False], np.arange(4), list("aabb"), 10)
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
    found, nulls = bm.truth_mutations(listed, m, y, means, y, about, repeats=300)
    row = found.iloc[0]
    assert row.auroc_low > 0.52 and row.gain_low < 0.05 and row.within_low < 0.5 < row.within_high and not row.hit
    listed, m, y, means, about = mutated_world(0, 1.5)
    found, _ = bm.truth_mutations(listed, m, y, means, y, about, repeats=300)
    assert found.within[0] > 0.7 and found.hit[0] and found.gain_low[0] > 0
    shifted = y + 10.0*about.fold.to_numpy()[:, None]
    same, _ = bm.truth_mutations(listed, m, shifted, means, y, about, repeats=300)
    pd.testing.assert_frame_equal(same, found)

def test_hits_by_luck_are_one_in_twenty():
    worlds = [bm.truth_mutations(*mutated_world(s, 0, 80)[:4], *(mutated_world(s, 0, 80)[i] for i in (2, 4)), repeats=99) for s in range(60)]
    assert np.mean([w[0].hit[0] for w in worlds]) < 0.13
    tables, nulls = pd.concat([w[0] for w in worlds], ignore_index=True), np.concatenate([w[1] for w in worlds])
    counted = bm.count_mutations(tables, nulls).iloc[0]
    assert counted.judged == 60 and 1 < counted.chance < 3.6 and counted.hits <= 8

def test_truths_that_cannot_be_judged_say_why():
    listed, m, y, means, about = mutated_world(0, 0)
    both = pd.concat([listed.assign(feature="KRAS"), listed], ignore_index=True)
    m.loc[m.index[m.BRAF_mut == 1][3:], "BRAF_mut"] = 0
    found, nulls = bm.truth_mutations(both, m, y, means, y, about, repeats=20)
    assert found.why_not.tolist() == ["not in the table", "too few mutated lines"] and np.isnan(nulls).all()
    assert not len(bm.count_mutations(found, nulls)) and not found.hit.any()
    bm.figure_truths(found, nulls, pd.DataFrame({"label": ["drug"]}, ["d"]))

# ---- mutations

def test_the_effect_of_a_mutation_is_that_of_least_squares_with_tissues(world):
    _, y, tissue, _ = world
    rng = np.random.default_rng(0)
    m = frame((rng.random((120, 4)) < 0.3).astype(float), column="m").mask(rng.random((120, 4)) < 0.1)
    alone = pd.Series(m.index, m.index)
    found = bm.drug_mutations(y, m, tissue, alone, "high").set_index(["perturbation", "feature"])
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
    once = bm.drug_mutations(y, m, tissue, alone)
    double = [pd.concat([t, t.set_axis([f"{i}again" for i in t.index])]) for t in (y, m, tissue)]
    twice = bm.drug_mutations(*double, pd.concat([alone, alone.set_axis([f"{i}again" for i in alone])]))
    columns = ["effect", "low", "high", "p", "n"]
    order = ["perturbation", "feature"]
    assert np.allclose(once.sort_values(order)[columns], twice.sort_values(order)[columns])

def test_rare_mutations_are_left_out_and_none_at_all_is_an_empty_table(world):
    _, y, tissue, patient = world
    m = pd.DataFrame({"rare": 0.0, "all": 1.0, "often": np.arange(120) % 3 == 0}, y.index, dtype=float)
    m.iloc[:4, 0] = 1
    assert set(bm.drug_mutations(y, m, tissue, patient).feature) == {"often"}
    empty = bm.drug_mutations(y, pd.DataFrame(index=y.index), tissue, patient)
    assert not len(empty) and {"effect", "q", "mutated"} <= set(empty)

def test_features_are_named_as_a_person_would():
    assert bm.feature_label("gain_cnaPANCAN301_(CDK12,ERBB2,MED24)") == "gain of CDK12, ERBB2, MED24"
    assert bm.feature_label("loss_cnaPANCAN20") == "loss of segment 20" and bm.feature_label("BRAF_mut") == "BRAF mutated"

def test_a_screen_without_mutations_has_an_empty_table(screen):
    from dataclasses import replace
    assert len(bm.mutation_effects(screen, RunFolder(""))) and not len(bm.mutation_effects(replace(screen, mutations=None), RunFolder("")))

def test_counts_of_both_lists_stand_in_one_table():
    one = pd.DataFrame([dict(truth="MAPK", control=False, drugs=15, first=9, hits=13, share_low=0.6, share_high=0.98, chance=7.0,
                             chance_low=4, chance_high=10, p=0.001, view="specific")])
    two = pd.DataFrame([dict(control=True, judged=5, hits=1, share_low=0.0, share_high=0.7, measured=1, chance=0.25,
                             chance_low=0, chance_high=1)])
    found = bm.truth_counts(one, two)
    assert found.index.tolist() == ["pathways", "mutations"] and found["of"].tolist() == [15, 5]
    assert found["view"].tolist() == ["specific", "predicted"] and found.notna().all(axis=None)

# ---- the real screen

def test_known_pathways_come_first_on_the_real_screen(gdsc):
    x, y, about, tissue, sets = gdsc
    alone = pd.Series(x.index, x.index)
    scores = pw.pathway_scores(pw.standardised(x), sets)
    listed = bm.matched_drugs(bm.PATHWAY_TRUTHS, about)
    for responses, least in ((y, 12), (pw.specific_responses(y, tissue, about.name), 11)):
        found = pw.drug_pathways(responses, scores, tissue, alone, "low", 100)
        counted = bm.count_truths(bm.truth_pathways(found, listed), found, 2, 300).query("not control").set_index("truth")
        assert counted.hits["MAPK"] >= least and counted.hits["MAPK"] > counted.chance_high["MAPK"]
        assert counted["first"]["p53"] == 1 and counted["first"]["EGFR"] >= 3
    assert pw.coverage(sets, x.columns).found.sum() < 100 and len(x) == 525
