"""Identity on real tables: L1000's compounds, GDSC's drugs, DepMap's cell lines."""
import pandas as pd
import pytest

from drugnb.core.identity import compound_groups, compound_names, match_compounds, plain_cell, shared_lines, unclear_compounds
from drugnb.core.settings import project_path
from drugnb.sources.layouts import read_pert_info

MIRROR = project_path("../shared/mirror")

def real(pattern):
    found = sorted(MIRROR.glob(pattern))
    if not found: pytest.skip(f"there is no {pattern} in {MIRROR}")
    return found[0]

@pytest.fixture(scope="module")
def l1000(): return read_pert_info(real("bence-szalai/Cell-death-signatures/*/data/LINCS/l1000_smiles.txt"))

@pytest.fixture(scope="module")
def gdsc():
    drugs = pd.read_csv(real("horsedayday/DualGCN/*/data/drug/*Drug_list*.csv")).rename(columns={"Name": "name", "Synonyms": "synonyms"})
    return drugs.set_index("GDSC:" + drugs.drug_id.astype(str))

def test_the_inactive_mirror_image_of_jq1_gets_nothing(l1000, gdsc):
    jq1 = l1000.loc[["BRD-K54606188", "BRD-K17588104"]]
    found = match_compounds(jq1, gdsc)
    assert found.wanted.tolist() == ["BRD-K54606188"]*2 and found.known.tolist() == ["GDSC:163", "GDSC:1218"]
    assert compound_groups(jq1.reset_index()).nunique() == 2

def test_most_drugs_of_gdsc_are_in_l1000_and_none_is_lost_by_a_structure(l1000, gdsc):
    found = match_compounds(l1000, gdsc)
    assert found.known.nunique() >= 0.75*len(gdsc) and not len(unclear_compounds(l1000, gdsc))
    assert found.groupby("wanted").known.nunique().max() <= 3

def test_l1000_holds_compounds_under_several_ids(l1000):
    rows = l1000.reset_index()
    groups = compound_groups(rows)
    assert 20_000 < groups.nunique() < len(rows)
    names = compound_names(rows["name"])
    split = groups.groupby(names).nunique()
    assert (split > 1).sum() < 0.02*len(split), "few names stand for structures that contradict each other"

def test_no_two_lines_of_depmap_share_a_stripped_name():
    lines = pd.read_csv(real("adrianlayer/EssenCDNA/*/data/DepMap*/Model.csv"), dtype=str)
    for column in ("CellLineName", "StrippedCellLineName", "CCLEName"):
        named = lines.dropna(subset=column)
        assert not len(shared_lines(named[column], named.ModelID)), column
    both = lines.dropna(subset=["CellLineName", "CCLEName"])
    assert (plain_cell(both.CellLineName).to_numpy() == plain_cell(both.CCLEName).to_numpy()).mean() > 0.95
