"""A simulated screen, its pathways, and a small world with tissues and patients, for several tests of the wing."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import data_folders, read_settings
from drugnb.essentiality import pathways as pw
from drugnb.essentiality.data import simulate_screen


@pytest.fixture(scope="session")
def screen(): return simulate_screen(n_lines=150, n_genes=120, n_drugs=16, n_pathways=6, n_tissues=5, seed=3)

@pytest.fixture(scope="session")
def scores(screen): return pw.pathway_scores(pw.standardised(screen.expression.astype(float)), screen.gene_sets)

@pytest.fixture(scope="session")
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
    responses = pd.DataFrame(-active @ rng.standard_normal((3, 5)) + rng.standard_normal((120, 5)), lines, [f"drug{i}" for i in range(5)])
    responses = responses.mask(rng.random(responses.shape) < 0.2)
    return pd.DataFrame(active, lines, ["one", "two", "three"]), responses, tissue, patient

@pytest.fixture(scope="session")
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
