"""Bad input: one sentence that names what is wrong and where, and no traceback for the command's user."""
import h5py
import numpy as np
import pytest

from drugnb.load import InputError, read_folder, read_matrix
from drugnb.run import main


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

def one_sentence(text): return text.count("\n") <= 1 and "Traceback" not in text and text.rstrip().endswith(".")

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
    (["run", "weighting", "-p", "perplexity=high"], "should be a number"),
    (["run", "weighting", "--run", "/dev/null/here"], "cannot be made"),
    (["predict", "nothing.csv", "--model", "nowhere"], "no model at nowhere"),
])
def test_wrong_arguments(arguments, said, capfd):
    with pytest.raises(SystemExit) as e: main(arguments)
    error = capfd.readouterr().err
    assert e.value.code == 2 and said in error and "Traceback" not in error and one_sentence(error)

def test_an_unknown_study_source_is_named(tmp_path, capfd):
    with pytest.raises(SystemExit) as e: main(["run", "weighting", "--data", "no-such-folder", "--run", str(tmp_path)])
    assert e.value.code == 2 and "no-such-folder" in capfd.readouterr().err

def test_a_matrix_either_way_round_is_the_same_study(folder, spoil):
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
    spoil(folder, "lm_", lambda t: t.replace({t.columns[2]: {t.iloc[0, 2]: np.nan}}))
    study = read_folder(folder)
    assert study.signatures.iloc[0, 1] == 0 and "1 missing training expression value" in str(study)
