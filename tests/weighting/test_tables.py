"""From raw files to the five tables: the real set beside the prepared one, and a set from miniatures."""
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.command import main
from drugnb.core.artefacts import write_tables
from drugnb.core.settings import InputError
from drugnb.sources.build import compare_tables, read_tables_of
from drugnb.sources.layouts import read_ctrp, read_lincs
from drugnb.sources.miniatures import mini_viability, mini_world, write_miniatures
from drugnb.weighting.load import open_study, read_folder
from drugnb.weighting.tables import KINDS, NAMES_6H, build_folder, folder_tables, treated_wells

# the real set

@pytest.fixture(scope="module")
def rebuilt(mirror, tmp_path_factory):
    "A data folder that `drugnb fetch weighting` filled from the mirror."
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as m:
        m.setenv("DRUGNB_DATA", str(folder))
        m.setenv("DRUGNB_MIRROR", str(mirror))
        main(["fetch", "weighting"])
    return folder

def test_the_rebuilt_set_is_the_prepared_one_up_to_named_differences(rebuilt, data):
    ours, theirs = (read_tables_of(folder/"weighting") for folder in (rebuilt, data))
    changed = compare_tables(ours, theirs).set_index(["table", "column"])
    assert {t for t, _ in changed.index} == {p.name for p in (data/"weighting").iterdir()}, "every table"
    x = changed.loc["lm_700.csv.gz", "all values"]
    assert x.both == 700*978 and x.differ == 0 and x.only_ours == x.only_theirs == 0
    x = changed.loc["lfc_with_viab_calced.csv", "all values"]
    assert x.both == 103*978 and x.differ == 0 and x.only_theirs == 7*978
    counts = {("siginfo_700.csv", "viability"): [228, 0, 42, 66],
              ("siginfo_700.csv", "viability_prism"): [353, 0, 0, 12],
              ("meta_with_viab_calced.csv", "viability"): [103, 0, 0, 7]}
    for which, wanted in counts.items():
        assert changed.loc[which, ["both", "differ", "only_ours", "only_theirs"]].tolist() == wanted, which
    explained = {"inchikey14", "viability", "viability_prism", "moa", "target", "cpd_name"}
    odd = changed[(changed.differ > 0) | (changed.only_theirs > 0)].drop(["lfc_with_viab_calced.csv", "meta_with_viab_calced.csv"])
    assert {c for _, c in odd.index} <= explained, odd

def test_the_committed_report_is_what_a_rebuilding_says(rebuilt, data):
    kept = Path(__file__).parents[2]/"figures/weighting/l1000-a375"
    said = [pd.read_csv(folder/"matching.csv") for folder in (rebuilt/"weighting", kept)]
    pd.testing.assert_frame_equal(*said)
    now = compare_tables(*(read_tables_of(folder/"weighting") for folder in (rebuilt, data)))
    before = pd.read_csv(kept/"rebuilt.csv")
    now, before = (t.set_index(["table", "column"]).sort_index() for t in (now, before))
    counts = ["both", "differ", "only_ours", "only_theirs"]
    pd.testing.assert_frame_equal(now[counts], before[counts], check_dtype=False)

def test_the_compounds_that_differ_are_those_that_the_notebook_names(rebuilt, data):
    ours, theirs = (pd.read_csv(f/"weighting/siginfo_700.csv", index_col=0) for f in (rebuilt, data))
    lost = theirs[ours.viability.isna() & theirs.viability.notna()].pert_iname.unique()
    assert set(lost) == {"AZD-1480", "buparlisib", "crizotinib", "dasatinib", "erlotinib", "GDC-0879",
                         "ON-01910", "PHA-665752", "SGX523", "sirolimus", "sunitinib"}
    gained = ours[ours.viability.notna() & theirs.viability.isna()].pert_id.unique()
    assert len(gained) == 7 and "BRD-K65182930" in gained
    meta, before = (pd.read_csv(f/"weighting/meta_with_viab_calced.csv", index_col=0)
                    for f in (rebuilt, data))
    assert ((meta.viability - before.viability).abs() < 1e-4)[meta.index].all()
    assert set(before.pert_iname[~before.index.isin(meta.index)]) == {
        "blebbistatin", "brd-k26664453", "parthenolide", "quinine hemisulfate salt monohydrate", "curcumin", "tipifarnib-p1"}

def test_the_named_set_opens_from_what_was_fetched(rebuilt, monkeypatch):
    monkeypatch.setenv("DRUGNB_DATA", str(rebuilt))
    study = open_study("l1000-a375")
    assert study.signatures.shape == (700, 978) and study.labelled.sum() == 270
    assert study.outside.shape == (103, 978)
    assert study.coefficients.index.isin(study.genes).sum() == 978

@pytest.mark.slow
def test_fetching_again_makes_the_same_bytes(rebuilt, mirror, monkeypatch, capsys):
    before = {p.name: p.read_bytes() for p in (rebuilt/"weighting").iterdir()}
    monkeypatch.setenv("DRUGNB_DATA", str(rebuilt))
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror))
    main(["fetch", "weighting"])
    said = capsys.readouterr().out
    for text in ("(10 there already)", "Licence: GPL-3.0", "matched by InChIKey", "Szalai et al. 2019"):
        assert text in said
    assert {p.name: p.read_bytes() for p in (rebuilt/"weighting").iterdir()} == before

def test_prepared_tables_are_not_overwritten(mirror, tmp_path, monkeypatch, capsys):
    (tmp_path/"weighting").mkdir()
    (tmp_path/"weighting/lm_mine.csv").write_text("sig_id,TP53\na,1\n")
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    monkeypatch.setenv("DRUGNB_MIRROR", str(mirror))
    with pytest.raises(SystemExit) as e: main(["fetch", "weighting"])
    assert e.value.code == 2 and "a table that drugnb did not make" in capsys.readouterr().err
    assert [p.name for p in (tmp_path/"weighting").iterdir()] == ["lm_mine.csv"]

def test_a_set_that_is_nowhere_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path))
    with pytest.raises(InputError, match="get it with drugnb fetch weighting, or set DRUGNB_DATA"):
        open_study("l1000-a375")

def test_recomputed_tables_replace_only_tables_of_drugnb(tmp_path):
    table = pd.DataFrame({"TP53": [1.0]}, ["a"])
    write_tables({"lm_1.csv.gz": table, "siginfo_1.csv": table}, tmp_path, {}, KINDS)
    (tmp_path/"notes.txt").write_text("mine")
    write_tables({"lm_2.csv": table}, tmp_path, {}, KINDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lm_2.csv", "made_from.json", "notes.txt"]
    (tmp_path/"lm_mine.csv").write_text("x")
    with pytest.raises(InputError, match="did not make \\(lm_mine.csv\\)"):
        write_tables({"lm_3.csv": table}, tmp_path, {}, KINDS)

def test_wells_of_vehicles_and_without_a_dose_are_dropped_and_counted():
    wells = pd.DataFrame({"pert_id": list("ABCD"), "pert_desc": ["One", "Two", "DMSO", "Four"],
                          "exp_pert_dose": [1.0000012, -666, 0, np.nan], "exp_pert_time": 6.0,
                          "cell_id": "A375",
                          "pert_type": ["TRT_CP", "trt_poscon", "ctl_vehicle", "trt_cp"],
                          "rna_plate": "CPC006_A375_6H_X1"}, ["w1", "w2", "w3", "w4"])
    treated, notes = treated_wells(wells, NAMES_6H)
    kept = {"compound": "A", "name": "One", "cell": "A375", "dose": 1.0, "time": 6, "plate": "CPC006",
            "pert_type": "TRT_CP"}
    assert treated.to_dict("records") == [kept]
    assert notes == ["1 wells of CPC006_A375_6H_X1 are vehicles",
                     "2 wells of CPC006_A375_6H_X1 have no positive dose: w2, w4"]
    assert treated_wells(wells[:1], NAMES_6H)[1] == ["0 wells of CPC006_A375_6H_X1 are vehicles"]

# a set of one's own

@pytest.fixture
def raw(tmp_path):
    "LINCS, CTRP, GDSC and MIX-seq in one folder."
    write_miniatures(tmp_path/"raw", seed=3)
    return tmp_path/"raw"

def labels_and_truth(tables):
    ours = {"pert_id": "compound", "cell_id": "cell", "dose_um": "dose"}
    s = tables["siginfo_merged.csv"].rename(columns=ours)
    return s.viability, mini_viability(mini_world(3), s)

@pytest.mark.parametrize("response, off", [("ctrp-curves", 0.006), ("ctrp", 0.25)])
def test_labels_are_the_true_viabilities_up_to_the_files_precision(raw, response, off):
    viability, truth = labels_and_truth(folder_tables(raw, response)[0])
    assert (viability - truth).abs().max() < off and len(viability) > 300

def test_labels_by_dose_are_those_of_the_table(raw):
    s = folder_tables(raw)[0]["siginfo_merged.csv"]
    doses = read_ctrp(raw/"ctrp")
    for r in s.sample(40, random_state=0).itertuples():
        there = doses[(doses["compound"] == r.pert_id) & (doses.cell == r.cell_id)]
        nearest = there.loc[(np.log10(there.dose) - np.log10(r.dose_um)).abs().idxmin()]
        assert r.viability == pytest.approx(nearest.viability)

def test_repeats_are_merged_and_counted(raw):
    tables, report = folder_tables(raw)
    s, x = tables["siginfo_merged.csv"], tables["lm_merged.parquet"]
    assert not s.duplicated(["pert_id", "cell_id", "dose_um", "time_h"]).any()
    assert list(x.index) == list(s.index) and x.shape[1] == 30
    every = read_lincs(raw/"lincs")[1]
    assert s.repeats.sum() == every.repeats[every.dose.notna()].sum(), "wells count through both mergings"
    assert report.signatures[report.outcome.str.startswith("matched")].sum() == 431
    assert any("431 signatures are 3" in o for o in report.outcome)
    odd = "GSE92742_Broad_LINCS_sig_info.txt.gz: 1 dose not a positive concentration (given in ng): unknown"
    assert odd in set(report.outcome)

def test_the_study_runs_from_the_built_folder_and_knows_mechanisms(raw, tmp_path):
    folder, _ = build_folder(raw, tmp_path/"mine")
    study = read_folder(folder)
    assert len(study.signatures) > 300 and study.labelled.all()
    assert len(study.genes) == 30 and len(study.outside) == 18
    assert study.mechanism(study.samples).str.startswith("inhibitor of").all() and not study.unseen.any()

def test_published_counts_of_mixseq_need_doses(raw, tmp_path):
    shutil.rmtree(raw/"prepared")
    with pytest.raises(InputError, match="add a table doses"): folder_tables(raw)
    doses = pd.DataFrame({"name": ["Bortezomib", "trametinib"], "dose": [1.0, 1.0]})
    doses.to_csv(raw/"doses.csv", index=False)
    tables, report = folder_tables(raw)
    meta = tables["meta_with_viab_calced.csv"]
    ids = {name: i for i, name in mini_world(3)["compounds"].name.items()}
    known = meta.assign(compound=meta.pert_id.map(ids), cell=meta.cell_id, dose=1.11)
    truth = mini_viability(mini_world(3), known)
    assert len(meta) == 4 and (meta.viability - truth).abs().max() < 0.25 and (meta.dose_um == 1).all()
    assert "outside, ctrp" in set(report.table) and tables["lfc_with_viab_calced.parquet"].shape == (30, 4)

def test_without_mixseq_there_is_a_training_set_alone(raw, tmp_path, capsys):
    for d in ("mixseq", "prepared"): shutil.rmtree(raw/d)
    main(["build", str(raw), str(tmp_path/"mine")])
    assert "no outside set in these files (MIX-seq): training only" in capsys.readouterr().out
    assert not [p for p in (tmp_path/"mine").iterdir() if p.name.startswith(("lfc", "meta"))]
    study = read_folder(tmp_path/"mine")
    assert len(study.signatures) > 300 and not len(study.outside)

def test_gdsc_matches_by_name(raw):
    shutil.rmtree(raw/"ctrp")
    tables, report = folder_tables(raw)
    assert set(report.outcome[report.table.str.endswith("gdsc")]) <= {"matched by name", "dose unknown"}
    assert len(tables["siginfo_merged.csv"]) > 300

@pytest.mark.parametrize("spoil, said", [
    (lambda raw: shutil.rmtree(raw/"lincs"), "sig_info"),
    (lambda raw: [p.unlink() for p in raw.rglob("matrix.mtx") if shutil.rmtree(raw/"prepared", True) or "DMSO" in str(p)], "has a vehicle"),
    (lambda raw: [shutil.rmtree(raw/d) for d in ("ctrp", "gdsc")],
     "no viabilities of ctrp or ctrp-curves or gdsc"),
    (lambda raw: next((raw/"lincs").glob("GSE92742*gctx")).write_bytes(b"x"), "GSE92742_Broad_LINCS_Level5"),
])
def test_what_is_missing_or_spoilt_is_named(raw, spoil, said, tmp_path, capsys):
    spoil(raw)
    with pytest.raises(SystemExit) as e: main(["build", str(raw), str(tmp_path/"mine")])
    error = capsys.readouterr().err
    assert e.value.code == 2 and said in error and "Traceback" not in error and not (tmp_path/"mine").exists()

def test_an_unknown_response_and_a_folder_of_somebody_elses(raw, tmp_path, capsys, folder):
    mine = str(tmp_path/"m")
    for arguments, said in ((["build", str(raw), mine, "--response", "prism"], "use ctrp, ctrp-curves, gdsc"),
                            (["build", str(raw), str(folder)], "a table that drugnb did not make"),
                            (["build", "nowhere", mine], "nowhere: give the one")):
        with pytest.raises(SystemExit) as e: main(arguments)
        assert e.value.code == 2 and said in capsys.readouterr().err
