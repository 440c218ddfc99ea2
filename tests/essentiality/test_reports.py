"""Reports: linear maps against the model itself, stability selection against its bounds, pages against their tables."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge, lars_path

from drugnb.core.settings import InputError
from drugnb.essentiality import pathways as pw
from drugnb.essentiality import reports as rp
from drugnb.essentiality.biomarkers import drug_mutations
from drugnb.essentiality.judge import agreement, self_agreement
from drugnb.essentiality.kernel import ComponentRidge, FastModel


def frame(values, row="line", column="c"):
    return pd.DataFrame(values, [f"{row}{i}" for i in range(len(values))], [f"{column}{i}" for i in range(len(values[0]))])

# ---- one linear map

def test_a_linear_model_is_its_map_exactly():
    rng = np.random.default_rng(0)
    x = frame(2 + 3*rng.standard_normal((50, 80)), column="G").assign(flat=1.0)
    y = rng.standard_normal((50, 3))
    models = [Ridge(a).fit(x, y) for a in (1, 10)]
    def ensemble(table): return pd.DataFrame(np.mean([m.predict(table) for m in models], 0), table.index, list("abc"))
    found = rp.probe(ensemble, x)
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
    found = rp.distil(x, y, alone)
    assert found.check.determined.all() and found.check.deviation.max() < 1e-8 and found.check.r2_left_out.min() > 1 - 1e-9
    assert np.allclose(found.predict(pw.standardised(x)), y)
    noise = pd.DataFrame(rng.standard_normal((20, 2)), x.index[:20], ["a", "b"])
    few = rp.distil(x[:20], noise, alone[:20])
    assert not few.check.determined.any() and few.check.r2_left_out.max() < 0.3

def test_of_a_curved_model_the_share_explained_is_said():
    rng = np.random.default_rng(0)
    x = frame(rng.standard_normal((200, 10)), column="G")
    line = x.to_numpy() @ rng.standard_normal(10)
    y = pd.DataFrame({"bent": np.abs(line), "some": line + np.abs(line)}, x.index)
    found = rp.distil(x, y, pd.Series(x.index, x.index)).check.r2_left_out
    assert found["bent"] < 0.1 and 0.4 < found["some"] < 0.95

def test_the_map_does_not_depend_on_the_order_of_lines_or_genes():
    rng = np.random.default_rng(0)
    x = frame(rng.standard_normal((40, 60)), column="G")
    y, alone = frame(rng.standard_normal((40, 2))), pd.Series(x.index, x.index)
    one, two = rp.distil(x, y, alone), rp.distil(x.iloc[::-1, ::-1], y, alone)
    assert np.allclose(one.weights, two.weights.loc[one.weights.index])

def test_the_map_of_a_ridge_is_exact_and_that_of_the_fast_model_says_what_it_explains(screen):
    exact = rp.gene_map(ComponentRidge(20), screen)
    model = ComponentRidge(20).fit(screen.known, screen.responses.to_numpy())
    z = pw.standardised(screen.expression.astype(float))
    assert exact.exact and (exact.explained > 1 - 1e-9).all()
    said = z.to_numpy() @ exact.weights.to_numpy()
    assert np.allclose(said - said.mean(0), model.predict(screen.known) - model.predict(screen.known).mean(0))
    curved = rp.gene_map(FastModel(), screen)
    assert not curved.exact and curved.explained.median() < 1 and curved.weights.shape == exact.weights.shape

def test_a_model_is_asked_with_the_tissue_of_lines_that_it_knows(screen):
    class Tissues:
        def predict(self, lines): return (lines.tissue != "")[:, None]*np.ones(screen.responses.shape[1])
    ask = rp.model_predictor(Tissues(), screen)
    assert (ask(screen.expression) == 1).all(axis=None) and (ask(screen.expression.reset_index(drop=True)) == 0).all(axis=None)

# ---- stability selection

def test_bounds_are_those_of_the_papers():
    assert np.allclose(rp.selection_bounds(2, 14, 0.75, 50), (4/14/0.5, 4/14/(2*(0.5 - 0.01))))
    assert np.isclose(rp.selection_bounds(2, 14, 0.9, 50)[1], 4/14*4*(0.1 + 0.01)/1.02)
    assert rp.selection_bounds(9, 14, 0.75)[1] == np.inf
    with pytest.raises(InputError, match="above 0.5"): rp.selection_bounds(2, 14, 0.5)

def test_halves_are_complementary_and_keep_patients_whole():
    patient = np.repeat(np.arange(21), 2)
    for one, other in rp.half_patients(patient, 5):
        assert not set(patient[one]) & set(patient[other]) and len(one) == len(other) == 20

def test_the_first_features_are_those_of_the_lasso_path():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal((30, 12)) @ (np.eye(12) + 0.4*rng.standard_normal((12, 12)))
        y = x @ rng.standard_normal(12)*0.3 + rng.standard_normal(30)
        _, _, coefs = lars_path(x - x.mean(0), y - y.mean(), method="lasso")
        entered = [i for step in (coefs != 0).T for i in np.flatnonzero(step)]
        assert set(np.flatnonzero(rp._first_features(x, y, 4))) == set(list(dict.fromkeys(entered))[:4])

def test_flat_features_and_flat_responses_choose_nothing_or_others():
    x = np.c_[np.ones(20), np.arange(20.0)]
    assert rp._first_features(x, np.arange(20.0), 1).tolist() == [False, True]
    assert not rp._first_features(x, np.ones(20), 1).any() and not rp._first_features(x[:2], np.arange(2.0), 1).any()

@pytest.mark.parametrize("correlated", [False, True])
def test_false_selections_stay_below_the_bound(correlated):
    rng = np.random.default_rng(0)
    lines = [f"l{i}" for i in range(100)]
    x = rng.standard_normal((100, 20))
    if correlated: x = x + 1.5*rng.standard_normal((100, 1))
    x, tissue = pd.DataFrame(x, lines), pd.Series(rng.integers(0, 3, 100), lines)
    signal = -1.0*x[[0]].to_numpy() if correlated else 0
    y = pd.DataFrame(rng.standard_normal((100, 40)) + signal, lines)
    found = rp.stability_selection(x, y, tissue, pd.Series(lines, lines), pairs=15)
    kept = found.probability >= found.threshold
    false = kept.drop(columns=[0] if correlated else []).sum(axis=1).mean()
    assert false <= found.bounds[1] <= 0.5 and (not correlated or kept[0].mean() > 0.9)

def test_the_true_pathway_is_chosen_again_on_simulated_drugs(screen, scores):
    some = screen.responses.columns[:8]
    found = rp.stability_selection(scores, screen.responses[some], screen.lines.tissue, screen.lines.patient, pairs=10)
    own = np.array([found.probability.loc[d, screen.truth["pathway"][d]] for d in some])
    assert own.mean() > 3*(found.probability.sum(axis=1).mean() - own.mean())/(scores.shape[1] - 1)
    none = rp.stability_selection(scores.iloc[:, :0], screen.responses, screen.lines.tissue, screen.lines.patient)
    assert none.probability.shape == (screen.responses.shape[1], 0)

# ---- pages

def test_agreement_is_averaged_over_folds_and_never_pooled():
    lines = [f"l{i}" for i in range(40)]
    rng = np.random.default_rng(0)
    y = pd.DataFrame({"d": rng.standard_normal(40)}, lines)
    fold = pd.Series(np.repeat([0, 1], 20), lines)
    p = y + 10.0*fold.to_numpy()[:, None]
    tissue, alone = pd.Series("a", lines), pd.Series(lines, lines)
    found = rp.drug_agreement(y, p, fold, tissue, alone, 50).loc["d"]
    assert np.allclose(found[["spearman", "within", "high"]], 1) and y["d"].corr(p["d"], method="spearman") < 0.8
    y.iloc[::7] = np.nan
    noisy = rp.drug_agreement(y, p + rng.standard_normal((40, 1)), fold, tissue, alone, 100).loc["d"]
    by_hand = np.mean([y["d"][fold == f].corr((p + 0)["d"][fold == f], method="spearman") for f in (0, 1)])
    assert np.isclose(by_hand, 1) and noisy.low < noisy.spearman < noisy.high and noisy.n == y["d"].notna().sum()
    assert np.isnan(rp.drug_agreement(y, p, fold, tissue, alone, 0).low["d"])

def test_tissue_share_is_none_for_noise_and_nearly_all_for_tissues():
    rng = np.random.default_rng(0)
    tissue = pd.Series(rng.integers(0, 8, 200), [f"l{i}" for i in range(200)])
    y = pd.DataFrame({"noise": rng.standard_normal(200), "tissue": tissue*3.0 + 0.1*rng.standard_normal(200), "flat": 1.0}, tissue.index)
    share = rp.tissue_share(y, tissue)
    noise = rp.tissue_share(pd.DataFrame(rng.standard_normal((40, 100)), tissue.index[:40]), tissue)
    assert abs(noise.mean()) < 0.03
    assert abs(share["noise"]) < 0.1 and share["tissue"] > 0.99 and np.isnan(share["flat"])

def test_drugs_are_found_by_name_label_or_id_and_strangers_refused():
    names = pd.DataFrame({"name": ["Afatinib", "Afatinib", "PLX-4720"], "label": ["Afatinib (1)", "Afatinib (2)", "PLX-4720"]}, list("123"))
    assert rp.find_drugs(names, "plx4720, 2, afatinib") == ["3", "2", "1"] and rp.find_drugs(names, " , ") == []
    with pytest.raises(InputError, match="called 'aspirin'"): rp.find_drugs(names, "Afatinib, aspirin")

@pytest.fixture(scope="module")
def evidence(screen, scores, table):
    z, y, about = pw.standardised(screen.expression.astype(float)), screen.responses, screen.lines
    fold = pd.Series(np.arange(len(y)) % 5, y.index)
    guess = y.fillna(y.mean()) + np.random.default_rng(0).standard_normal(y.shape)
    map_ = rp.distil(screen.expression.astype(float), guess, about.patient)
    some = y.columns[:2]
    return rp.Evidence(
        screen.name, screen.units["responses"], "low", screen.perturbations, y, guess, "a guess", about.tissue,
        rp.drug_agreement(y, guess, fold, about.tissue, about.patient, 20),
        self_agreement(agreement(screen)).reindex(y.columns),
        table.assign(p_genes=1.0), table.assign(r=table.r/2), table, pw.coverage(screen.gene_sets, z.columns),
        drug_mutations(y, screen.mutations, about.tissue, about.patient), map_.weights, map_.check.r2_left_out,
        rp.stability_selection(z, y[some], about.tissue, about.patient, pairs=3),
        pd.DataFrame({"measured": rp.tissue_share(y, about.tissue), "predicted": rp.tissue_share(guess, about.tissue)}))

def test_pages_are_a_picture_and_a_text_with_the_same_numbers(evidence, tmp_path):
    drug = evidence.responses.columns[0]
    path, = rp.write_pages(evidence, [drug], tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".md", ".png", ".svg"}
    text = path.read_text()
    lead = evidence.pathways[evidence.pathways.perturbation == drug].sort_values("p", kind="stable").iloc[0]
    assert f"| {lead.r/2:+.2f} | {lead.r:+.2f} |" in text
    assert evidence.perturbations.label[drug] in text and f"{lead.r:+.2f} ({lead.low:+.2f} to {lead.high:+.2f})" in text
    assert f"{evidence.agreement.spearman[drug]:.2f}" in text and "by: a guess" in text and "nan" not in text

def test_a_page_can_be_drawn_where_little_is_known(evidence):
    drug = evidence.responses.columns[1]
    bare = replace(evidence, mutations=evidence.mutations[:0], pathways=evidence.pathways[:0], specific=evidence.specific[:0],
                   learnt=evidence.learnt[:0], replicates=evidence.replicates*np.nan, tissue=pd.Series("", evidence.tissue.index))
    titles = [ax.get_title(loc="left") for ax in rp.drug_page(bare, drug).axes]
    assert any("no repeats" in t for t in titles) and any(t.startswith("Mutations: none") for t in titles)
    assert "not screened twice" in rp.drug_text(bare, drug)

def test_genes_of_a_page_point_towards_sensitivity(evidence):
    drug = evidence.responses.columns[0]
    genes = rp.page_genes(evidence, drug)
    assert np.allclose(genes.weight, -evidence.weights[drug][genes.index]) and genes.probability.max() > 0
    assert evidence.weights[drug].abs().idxmax() in genes.index

# ---- the real screen

def test_a_known_target_is_chosen_on_halves_of_the_real_screen(gdsc):
    x, y, about, tissue, _ = gdsc
    nutlin = about.index[about.name.str.startswith("Nutlin")]
    found = rp.stability_selection(pw.standardised(x), y[nutlin], tissue, pd.Series(x.index, x.index), pairs=15)
    assert {"MDM2", "CDKN1A"} <= set(found.probability.columns[found.probability.iloc[0] >= found.threshold])
