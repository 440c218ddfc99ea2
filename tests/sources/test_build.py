"""Build: what a folder of published files gives, and doses that are written in beside MIX-seq."""
import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.sources.build import (
    RESPONSES,
    compare_tables,
    find_response,
    find_structures,
    outside_part,
    training_part,
)
from drugnb.sources.miniatures import mini_mixseq, mini_viability, mini_world, write_miniatures


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_miniatures(folder, seed=3)
    return folder

@pytest.mark.parametrize("name", RESPONSES)
def test_labels_are_near_the_true_viability_whatever_the_response(raw, name):
    response, structures = find_response(raw, name), find_structures(raw)
    signatures, samples, reports, _ = training_part(raw, structures, response)
    assert signatures.index.equals(samples.index) and samples.viability.notna().all() and len(samples) > 300
    off = (samples.viability - mini_viability(mini_world(3), samples)).abs()
    assert off.median() < (0.1 if name != "gdsc" else 0.3), "GDSC has no slope and no lower end"
    assert sum(r.signatures.sum() for r in reports) >= len(samples)

def test_the_first_response_that_is_there_is_taken(raw, tmp_path):
    assert find_response(raw).name == "ctrp"
    with pytest.raises(InputError, match="put the files of CTRP"): find_response(tmp_path)
    with pytest.raises(InputError, match="'prism': use one of ctrp"): find_response(raw, "prism")

@pytest.fixture
def mixseq(tmp_path, raw):
    "MIX-seq as counts, with a table of doses: mixseq(text) gives the labelled samples."
    mini_mixseq(tmp_path/"mixseq", seed=3)
    def label(doses):
        (tmp_path/"doses.csv").write_text(doses)
        return outside_part(tmp_path, find_structures(raw), find_response(raw, "ctrp-curves"))[1]
    return label

def test_doses_beside_mixseq_are_read_with_their_unit(mixseq):
    plain = mixseq("name,dose\nbortezomib,1.0\nTrametinib,0.5\n")
    spelt = mixseq("name,dose\nBORTEZOMIB,1 µM\ntrametinib,500 nM\n")
    pd.testing.assert_frame_equal(plain, spelt)
    true = mini_viability(mini_world(3), plain.assign(compound=by_id(plain)))
    np.testing.assert_allclose(plain.viability, true, atol=2e-3)

def by_id(samples):
    "Broad ids of samples, by name."
    compounds = mini_world(3)["compounds"]
    return samples.name.str.lower().map(dict(zip(compounds.name, compounds.index, strict=True)))

@pytest.mark.parametrize("dose", ["1 ng", "high", "-1 uM"])
def test_a_dose_that_is_no_concentration_is_named(mixseq, dose):
    with pytest.raises(InputError, match=f"doses.csv gives Trametinib the dose '{dose}'"):
        mixseq(f"name,dose\nbortezomib,1.0\nTrametinib,{dose}\n")

def test_two_builds_are_compared_by_their_ids_and_not_by_their_order():
    one = pd.DataFrame({"v": [0.1, 0.2], "w": ["x", "y"]}, ["a", "b"])
    found = compare_tables({"t": one}, {"t": one.iloc[::-1, ::-1]})
    assert found[["differ", "only_ours", "only_theirs"]].to_numpy().sum() == 0 and (found.both == 2).all()
    wide = pd.DataFrame(np.zeros((2, 60)))
    found = compare_tables({"t": wide}, {"t": wide + 0.5}).iloc[0]
    assert found["column"] == "all values" and found.differ == 120 and found.largest == 0.5
