"""Pathways against plain definitions, known truth and permuted labels."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, linregress

from drugnb.core.artefacts import RunFolder
from drugnb.core.settings import InputError
from drugnb.essentiality import pathways as pw
from drugnb.essentiality.data import enough
from drugnb.essentiality.held_out import judged, screen_folds, screen_models


def frame(values, row="line", column="c"):
    return pd.DataFrame(values, [f"{row}{i}" for i in range(len(values))], [f"{column}{i}" for i in range(len(values[0]))])

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

def test_q_is_benjamini_and_hochbergs():
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    assert np.allclose(pw.adjusted(p), [[0.03, np.nan], [0.04, 0.04]], equal_nan=True)
    assert np.isnan(pw.adjusted([np.nan])).all() and len(pw.adjusted([])) == 0

def test_a_set_that_leads_everywhere_is_said_to():
    table = pd.DataFrame({"perturbation": list("aabbcc"), "set": ["x", "y"]*3, "rank": [1, 2, 1, 2, 2, 1], "r": [1, 0, 1, 0, 0, np.nan]})
    found = pw.leading_sets(table, 1)
    assert found.index[0] == "x" and np.allclose(found[["x", "y"]], [2/3, 0])

# ---- predictions of a run, and what is made from them

@pytest.fixture
def run(screen, tmp_path):
    "A run folder with the tissue mean's predictions, with 4 folds."
    def make(model="tissue mean", n_folds=4, inputs=None):
        store, parts = RunFolder(tmp_path/"run"), screen_folds(screen.known, n_folds, 1, 0, "new lines")
        store.stage("predictions", lambda: judged(screen, screen_models(model)[model], parts)[1],
                    inputs or [screen.key], model=model, folds=n_folds, seeds=1, seed=0, least=0.5, only="")
        return store
    return make

def test_the_run_s_predictions_are_taken_with_their_folds_and_their_model(screen, run):
    found = pw.left_out(screen, run(), 4)
    assert found.model == "tissue mean" and found.key != pw.left_out(screen, RunFolder(""), 4).key
    assert np.allclose(found.predictions, pw.fold_predictions(screen, "tissue mean", 4))
    for _, _, fold, _, test in screen_folds(screen.known, 4, 1, 0, "new lines"):
        assert (found.fold.iloc[test] == int(fold)).all()
    assert (screen.lines.patient.groupby(found.fold).nunique().sum()) == screen.lines.patient.nunique()

def test_predictions_of_other_folds_or_lines_or_none_are_not_taken(screen, run, capsys):
    assert pw.left_out(screen, run(), 5).model == pw.QUICK and "other lines or folds" in capsys.readouterr().out
    assert pw.left_out(screen, run(inputs=["another"]), 4).model == pw.QUICK
    assert pw.left_out(screen, RunFolder(""), 4).predictions.notna().all(axis=None)

def test_a_screen_s_associations_are_those_of_its_tables_and_are_kept(screen, scores, tmp_path, capsys):
    some, store = enough(screen, 0.5), RunFolder(tmp_path)
    left = pw.left_out(some, store, 3)
    found = pw.screen_associations(some, left, store, 20)
    z = pw.standardised(some.expression.astype(float))
    how = some.lines.tissue, some.lines.patient, some.units["sensitive"], 20
    again = pw.drug_pathways(some.responses, pw.pathway_scores(z, some.gene_sets), *how)
    pd.testing.assert_frame_equal(found.measured[again.columns], again, check_names=False)
    assert found.measured.p_genes.between(1/201, 1).all() and {p.stem for p in tmp_path.glob("*.parquet")} == {
        "drug_pathways", "drug_pathways_specific", "drug_pathways_predicted"}
    capsys.readouterr()
    reloaded = pw.screen_associations(some, left, store, 20)
    assert capsys.readouterr().out.count("reloaded") == 3
    pd.testing.assert_frame_equal(reloaded.predicted, found.predicted)
    assert capsys.readouterr().out == "" and (pw.screen_associations(some, left, RunFolder(""), 5).measured.p >= 1/6).all()

def test_a_screen_without_gene_sets_has_no_associations(screen):
    from dataclasses import replace
    bare = replace(screen, gene_sets=None)
    found = pw.screen_associations(bare, pw.left_out(bare, RunFolder(""), 3), RunFolder(""), 5)
    assert not any(map(len, found)) and not len(pw.leading_sets(found.measured))

# ---- the picture

def test_the_picture_shows_only_drugs_with_something(screen, table):
    fig = pw.figure_pathways(table, screen.perturbations, pw.coverage(screen.gene_sets, screen.expression.columns), most=5)
    assert len(fig.axes[0].get_yticks()) == 5 and "5 shown" in fig.axes[0].get_title(loc="left")
    strict = pw.figure_pathways(table, screen.perturbations, level=0.0)
    assert "no drug of 16" in strict.axes[0].get_title(loc="left")
