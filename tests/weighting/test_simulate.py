"""The simulated study: a seed means the same numbers for ever, and its parts do what they say."""
import numpy as np
import pytest

from drugnb.core.settings import DEFAULTS
from drugnb.weighting.simulate import (
    DOSES,
    EMAX,
    MECHANISMS,
    draw_compounds,
    draw_labels,
    draw_training,
    draw_wells,
    draw_world,
    plain_ridge,
    simulate,
    study_tables,
)


def test_a_seed_means_the_numbers_it_always_meant():
    "Each part draws in turn from one stream, so these hold only if all draws happen in their old order."
    study = simulate(600, 120, seed=1)
    assert study.key == "b8f69a906266b830" and len(study.outside) == 336
    close = {"rtol": 1e-5, "atol": 1e-6}
    labels, outside = study.samples.viability, study.outside_samples.viability
    some = labels[["s00000", "s00007", "s00599"]]
    np.testing.assert_allclose(some, [1.003733, 1.022226, 0.944277], **close)
    np.testing.assert_allclose([labels.sum(), outside.sum()], [529.910010332, 299.505901711], **close)
    np.testing.assert_allclose(outside[["o00000", "o00005"]], [0.983726, 0.618411], **close)
    assert list(study.samples.cell[["s00000", "s00007"]]) == ["cell 9", "cell 8"]
    assert study.samples.plate["s00599"] == "batch 7"
    assert study.truth["trusted"].sum() == 360 and study.truth["cluster"].sum() == 14387
    np.testing.assert_allclose(study.truth["killed"].sum(), 52.582938394, **close)
    np.testing.assert_allclose(study.signatures.iloc[0, :3], [-0.0370146, -4.6126738, -0.0734698], rtol=1e-4)
    np.testing.assert_allclose(study.outside.iloc[3, :3], [-4.0729766, -3.7230241, 1.4419340], rtol=1e-4)
    assert list(study.outside.columns[[0, -1]]) == ["PSME1", "PSMB10"]
    published = study.coefficients.iloc[[0, 5, -1]]
    np.testing.assert_allclose(published, [-0.0089277978, 0.0050267077, 0.970212107], rtol=1e-3)

def test_wells_of_a_row_share_compound_and_cell_line_and_inactive_compounds_do_nothing():
    rng = np.random.default_rng(0)
    world = draw_world(rng, 50)
    compounds = draw_compounds(rng, 40, world.potency, np.arange(len(MECHANISMS)), "C")
    wells = draw_wells(rng, compounds, np.repeat(np.arange(40), 6), world.sensitivity, DOSES, per_row=6)
    rows = wells.groupby(np.arange(240)//6)
    assert (rows["compound"].nunique() == 1).all() and (rows["cell"].nunique() == 1).all()
    assert (rows["dose"].nunique() == 6).all()
    assert (wells.loc[~wells.active, ["engaged", "killed"]] == 0).all(axis=None)
    assert (wells.killed <= EMAX[wells.mechanism_id]).all() and wells.engaged.between(0, 1).all()

def test_labels_mislead_in_five_batches_where_the_target_is_hardly_engaged_and_nowhere_else():
    rng = np.random.default_rng(0)
    wells = draw_training(rng, draw_world(rng, 50), 6000)[1]
    viability, misled = draw_labels(rng, wells)
    assert (misled == ((wells.batch < 5) & (wells.engaged < 0.5))).all()
    error = viability - (1 - wells.killed)
    assert error[~misled].std() == pytest.approx(0.05, abs=0.005)
    carried = np.corrcoef(error[misled], wells.assay_day[misled])[0, 1]
    assert carried < -0.7 and abs(np.corrcoef(error[~misled], wells.assay_day[~misled])[0, 1]) < 0.1

def test_the_published_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 60)), rng.normal(size=20)
    fitted, peer = plain_ridge(x, y, 3.0), Ridge(3.0).fit(x, y)
    np.testing.assert_allclose(fitted, [*peer.coef_, peer.intercept_], rtol=1e-8)

def test_tables_carry_the_names_that_the_settings_give(small):
    tables = study_tables(small, {**DEFAULTS, "viability": "alive", "siginfo": "wells_*", "compound": "drug"})
    assert {"drug", "alive"} <= set(tables["wells_example.csv"].columns)
    assert tables["cpd_withrep.csv"].index.name == "drug"
    assert set(tables) == {"lm_example.csv", "wells_example.csv", "lfc_with_viab_calced.csv",
                           "meta_with_viab_calced.csv", "cpd_withrep.csv", "coefficients.csv"}
