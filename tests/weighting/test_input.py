"""Bad input: one sentence that names what is wrong and where, and no traceback for the command's user."""
import dataclasses

import h5py
import numpy as np
import pandas as pd
import pytest

from drugnb.command import main
from drugnb.core.artefacts import RunFolder, read_json, write_json
from drugnb.core.read import read_matrix
from drugnb.core.settings import DEFAULTS, InputError, read_settings
from drugnb.weighting.cluster import k_distances
from drugnb.weighting.compare import comparison
from drugnb.weighting.embed import embed, read_map
from drugnb.weighting.load import open_study, read_folder
from drugnb.weighting.simulate import simulate
from drugnb.weighting.weight import cluster_weights


def no_file(folder, spoil): next(folder.glob("siginfo*")).unlink()
def two_files(folder, spoil): (folder/"lm_other.csv").write_text("sig_id,TP53\na,1\n")
def no_column(folder, spoil): spoil(folder, "siginfo", lambda t: t.rename(columns={"viability": "survival"}))
def repeated_ids(folder, spoil): spoil(folder, "lm_", lambda t: t.assign(sig_id=t.sig_id.where(t.index != 1, t.sig_id[0])))
def other_ids(folder, spoil): spoil(folder, "siginfo", lambda t: t.assign(sig_id="x" + t.sig_id))
def text_in_matrix(folder, spoil): spoil(folder, "lm_", lambda t: t.astype({t.columns[3]: object}).replace({t.columns[3]: {t.iloc[5, 3]: "high"}}))
def infinite(folder, spoil): spoil(folder, "lfc_", lambda t: t.replace({t.columns[2]: {t.iloc[4, 2]: np.inf}}))
def text_viability(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.astype({"viability": object}).replace({"viability": {t.viability[7]: "dead"}}))

def no_viability(folder, spoil): spoil(folder, "siginfo", lambda t: t.assign(viability=np.nan))
def no_shared_genes(folder, spoil): spoil(folder, "lfc_", lambda t: t.assign(gene="probe_" + t.gene))
def empty_file(folder, spoil): next(folder.glob("lm_*")).write_text("")
def header_only(folder, spoil): (p := next(folder.glob("lm_*"))).write_text(p.read_text().splitlines()[0] + "\n")

def cut_gctx(folder, spoil):
    path = next(folder.glob("lm_*"))
    matrix = read_matrix(path)
    path.unlink()
    with h5py.File(folder/"lm_mine.gctx", "w") as h:
        h["0/DATA/0/matrix"], h["0/META/ROW/id"], h["0/META/COL/id"] = matrix.to_numpy(), matrix.columns.to_numpy("S"), matrix.index.to_numpy("S")
    whole = (folder/"lm_mine.gctx").read_bytes()
    (folder/"lm_mine.gctx").write_bytes(whole[:len(whole)*2//3])

def foreign_hdf5(folder, spoil):
    next(folder.glob("lm_*")).unlink()
    with h5py.File(folder/"lm_mine.gctx", "w") as h: h["something"] = [1, 2]

CASES = {
    no_file: ["siginfo_*", "settings.ini"], two_files: ["2 files", "lm_other.csv"], no_column: ["siginfo_example.csv", "'viability'"],
    repeated_ids: ["lm_example.csv", "'s00000'", "more than once"], other_ids: ["share no id", "xs00000"],
    text_in_matrix: ["lm_example.csv", "'high'", "'s00005'"], infinite: ["lfc_with_viab_calced.csv", "infinite"],
    text_viability: ["'s00007'", "'dead'"], no_viability: ["No training signature has a viability"],
    no_shared_genes: ["share no gene", "probe_"], empty_file: ["lm_example.csv"], header_only: ["lm_example.csv", "no rows"],
    cut_gctx: ["lm_mine.gctx", "cut short"], foreign_hdf5: ["lm_mine.gctx", "not GCTX"],
}

def one_sentence(text): return text.count("\n") <= 1 and "Traceback" not in text and text.rstrip().endswith((".", "?"))

@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_a_folder_with_a_fault_is_refused_in_one_sentence(case, folder, spoil):
    case(folder, spoil)
    with pytest.raises(InputError) as e: read_folder(folder)
    assert all(part in str(e.value) for part in CASES[case]) and one_sentence(str(e.value))

@pytest.mark.parametrize("case", [no_column, text_in_matrix, cut_gctx], ids=lambda c: c.__name__)
def test_the_commands_user_sees_the_sentence_and_nothing_else(case, folder, spoil, tmp_path, capfd):
    case(folder, spoil)
    with pytest.raises(SystemExit) as e: main(["run", "weighting", "--data", str(folder), "--run", str(tmp_path/"run")])
    said = capfd.readouterr().err.split("drugnb: ")[-1]
    assert e.value.code == 2 and all(part in said for part in CASES[case]) and one_sentence(said)
    assert not list((tmp_path/"run").glob("*.ipynb")), "a refused run leaves no half notebook"

@pytest.mark.parametrize("arguments, said", [
    (["run", "nothing"], "no study 'nothing'"),
    (["run", "weighting", "-p", "perplexity"], "NAME=VALUE"),
    (["run", "weighting", "-p", "perplxity=3"], "has a parameter 'perplxity'"),
    (["run", "weighting", "-p", "perplexity=high"], "should be a whole number"),
    (["run", "weighting", "--run", "/dev/null/here"], "cannot be made"),
    (["predict", "nothing.csv", "--model", "nowhere"], "There is no model at"),
])
def test_wrong_arguments(arguments, said, capfd):
    with pytest.raises(SystemExit) as e: main(arguments)
    error = capfd.readouterr().err
    assert e.value.code == 2 and said in error and "Traceback" not in error and one_sentence(error)

def test_an_unknown_study_source_is_named(tmp_path, capfd):
    with pytest.raises(SystemExit) as e: main(["run", "weighting", "--data", "no-such-folder", "--run", str(tmp_path)])
    assert e.value.code == 2 and "no-such-folder" in capfd.readouterr().err

def test_fewer_labels_than_the_clusters_need_are_refused(small):
    labels = pd.Series(np.arange(len(small.samples)) % 400, small.samples.index)
    with pytest.raises(InputError, match="600 labelled signatures lie in 400 clusters"): cluster_weights(small.samples, labels, "sd")

def test_fewer_signatures_than_a_neighbourhood_are_refused(small):
    with pytest.raises(InputError, match="8 signatures are fewer than min_samples = 10"): k_distances(small.signatures.iloc[:8, :2], 10)
    with pytest.raises(InputError, match="Perplexity 30 does not fit 50 signatures"): embed(small.signatures.iloc[:50], 30)

def test_a_matrix_in_either_orientation_is_the_same_study(folder, spoil):
    straight = read_folder(folder)
    path = next(folder.glob("lm_*"))
    read_matrix(path).T.rename_axis("gene").to_csv(path)
    turned = read_folder(folder)
    assert turned.signatures.equals(straight.signatures) and turned.map_key == straight.map_key

def test_rows_without_viability_stay_on_the_map_and_out_of_the_fit(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.assign(viability=t.viability.where(t.index >= 100)))
    study = read_folder(folder)
    assert len(study.signatures) == 600 and study.labelled.sum() == 500 and "500 of 600" in str(study)

def test_missing_expression_is_counted_and_counts_as_no_change(folder, spoil):
    path = spoil(folder, "lm_", lambda t: t.replace({t.columns[2]: {t.iloc[0, 2]: np.nan}}))
    study = read_folder(folder)
    assert study.signatures.loc["s00000", pd.read_csv(path, nrows=1).columns[2]] == 0 and "1 missing training expression value" in str(study)

@pytest.mark.parametrize("which, change", [
    ("lm_", lambda t: t.assign(**{t.columns[1]: t.iloc[:, 1] + 1})), ("siginfo", lambda t: t.assign(viability=0.9*t.viability)),
    ("lfc_", lambda t: t.assign(**{t.columns[1]: t.iloc[:, 1] + 1})), ("meta_", lambda t: t.assign(viability=0.9*t.viability)),
    ("cpd_", lambda t: t.assign(moa="none")), ("coefficients", lambda t: t.assign(coefficient=-t.coefficient)),
])
def test_a_change_in_any_table_is_another_study(which, change, folder, spoil):
    before = read_folder(folder)
    spoil(folder, which, change)
    after = read_folder(folder)
    assert after.key != before.key and (after.map_key != before.map_key) == (which == "lm_")

def test_ids_are_text_however_they_are_written(folder, spoil):
    "Numbers as compound ids, in some tables with spaces around them, mean the same compounds."
    plain = read_folder(folder)
    code = {c: str(1000 + i) for i, c in enumerate(sorted({*plain.samples.compound, *plain.outside_samples.compound, *plain.compounds.index}))}
    spoil(folder, "siginfo", lambda t: t.assign(pert_id=t.pert_id.map(code), pert_iname="x"))
    spoil(folder, "meta_", lambda t: t.assign(pert_id=t.pert_id.map(code), pert_iname="y"))
    spoil(folder, "cpd_", lambda t: t.assign(pert_id=" " + t.pert_id.map(code) + " "))
    coded = read_folder(folder)
    assert list(coded.unseen) == list(plain.unseen) and coded.mechanism(coded.samples).notna().all()

def test_another_viability_column_by_settings(folder, spoil):
    "A table that holds `viability` beside the column that the settings name."
    spoil(folder, "siginfo", lambda t: t.assign(other=t.viability/2))
    study = read_folder(folder, settings={**read_settings(), "viability": "other"})
    assert study.samples.viability.max() <= 0.8 and study.samples.columns.is_unique

def test_doses_in_words_and_impossible_ones(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.assign(dose_um=t.dose_um.astype(str).where(t.index > 2, ["10 uM", "-1", "high"] + [""]*(len(t) - 3))))
    study = read_folder(folder)
    assert study.samples.dose.iloc[0] == 10 and study.samples.dose.iloc[1:3].isna().all() and study.samples.dose.iloc[3:].gt(0).all()
    assert "2 signatures have a dose that is not a positive number" in str(study)

def test_rows_without_a_compound_are_left_out_and_counted(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.assign(pert_id=t.pert_id.where(t.index > 4)).drop(columns="pert_iname"))
    study = read_folder(folder)
    assert len(study.samples) == 595 == len(study.signatures) and "5 signatures without a compound left out" in str(study)

def test_percentages_are_refused(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.assign(viability=100*t.viability))
    with pytest.raises(InputError, match="divide it by 100"): read_folder(folder)

def test_a_parquet_matrix_keeps_its_ids(tmp_path):
    frame = pd.DataFrame({"rid": [7157, 4609], "s1": [0.5, 1.5], "s2": [1.0, 2.0]})
    frame.to_parquet(tmp_path/"m.parquet")
    assert list(read_matrix(tmp_path/"m.parquet").index) == ["7157", "4609"]
    frame.drop(columns="rid").to_parquet(tmp_path/"m.parquet")
    with pytest.raises(InputError, match="no column of ids"): read_matrix(tmp_path/"m.parquet")

def test_a_compound_with_a_row_for_each_target(folder, spoil):
    spoil(folder, "cpd_", lambda t: pd.concat([t, t.head(2).assign(moa="a second")]))
    study = read_folder(folder)
    assert study.compounds.mechanism.iloc[0].startswith("a second|") and study.compounds.index.is_unique

def test_the_working_folder_is_a_study_under_its_own_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("drugnb.weighting.load.read_settings", lambda: DEFAULTS)
    assert open_study(".").name == open_study("../mine").name == "mine"

def test_a_kept_study_is_reread_when_a_table_changes(folder, spoil, tmp_path, capsys):
    store = RunFolder(tmp_path/"run")
    first, again = read_folder(folder, store), read_folder(folder, store)
    assert "study: reloaded" in capsys.readouterr().out
    assert again.key == first.key and again.report == first.report
    for table in ("signatures", "samples", "outside", "outside_samples", "compounds", "coefficients"):
        assert getattr(again, table).equals(getattr(first, table)), table
    spoil(folder, "siginfo", lambda t: t.assign(viability=t.viability/2))
    assert read_folder(folder, store).key != first.key
    assert "read, checked and saved" in capsys.readouterr().out

def test_a_study_that_was_kept_in_part_is_not_used(folder, tmp_path):
    store = RunFolder(tmp_path/"run")
    first = read_folder(folder, store)
    for file in ("study_outside.arrow", "study_samples.parquet", "study.json"):
        (store.path/file).write_bytes((store.path/file).read_bytes()[:60])
        assert read_folder(folder, store).signatures.equals(first.signatures), file

def test_one_compound_under_two_ids_is_seen_by_its_name(small):
    "Only where a labelled training signature is of it: a signature without a label teaches nothing."
    samples, outside = small.samples.copy(), small.outside_samples.copy()
    new = outside.index[small.unseen][0]
    outside.loc[new, "name"] = samples.name.iloc[0].upper() + " "
    told = dataclasses.replace(small, samples=samples, outside_samples=outside)
    changed = outside.index[told.unseen != small.unseen]
    assert set(changed) == set(outside.index[outside["compound"] == outside["compound"][new]])
    samples.loc[samples["compound"] == samples["compound"].iloc[0], "viability"] = np.nan
    assert told.unseen[list(outside.index).index(new)]

def test_a_map_of_the_same_ids_and_other_expression_is_refused(tmp_path, small):
    other = simulate(600, 120, seed=1)
    RunFolder(tmp_path).stage("map", lambda: pd.DataFrame({"x": 0.0, "y": 0.0}, small.signatures.index), [other.map_key])
    with pytest.raises(InputError, match="the expression values are not"): read_map(tmp_path/"map.parquet", small)

def test_fewer_outside_compounds_than_an_interval_needs(small):
    few = dataclasses.replace(small, outside=small.outside.iloc[:3], outside_samples=small.outside_samples.iloc[:3])
    grid = pd.DataFrame({"r_compound": [0.1], "r_outside": [0.1]}, pd.MultiIndex.from_tuples([("unweighted", 1)], names=["weighting", "alpha"]))
    grid.loc[("cluster: sd", 1), :] = 0.2
    with pytest.raises(InputError, match="three or more are needed"): comparison(few, grid, np.zeros((2, 3)))

def test_a_study_kept_in_an_older_layout_is_read_again(folder, tmp_path, capsys):
    "Before, 10 nM was kept as a dose of 10 uM."
    store = RunFolder(tmp_path/"run")
    read_folder(folder, store)
    kept = tmp_path/"run/study.json"
    about = read_json(kept)
    del about["made_from"]["layout"]
    write_json(kept, about)
    capsys.readouterr()
    read_folder(folder, store)
    assert "read, checked and saved (an older drugnb made it)" in capsys.readouterr().out
