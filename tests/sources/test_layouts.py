"""Public layouts: each miniature is read back as it was meant, and a fault is named with its file and column."""
import gzip
import re

import numpy as np
import pandas as pd
import pytest
import scipy.io

from drugnb.core.identity import DOSE_UNITS, amounts, plain_cell
from drugnb.core.settings import InputError
from drugnb.sources.layouts import (
    read_ctrp,
    read_ctrp_curves,
    read_gdsc,
    read_gene_info,
    read_level5,
    read_lincs,
    read_mixseq,
    read_pert_info,
    read_sig_info,
)
from drugnb.sources.miniatures import mini_viability, mini_world, write_miniatures


@pytest.fixture
def mini(tmp_path): return tmp_path, write_miniatures(tmp_path, seed=3)

def one(folder, pattern): return next(folder.glob(pattern))

def rewrite(path, how):
    "Change the text of a file, gzipped or not."
    zipped = path.suffix == ".gz"
    text = how((gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()).decode())
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())

@pytest.mark.parametrize("release", ["GSE92742", "GSE70138"])
def test_sig_info_is_read_as_it_was_meant(mini, release):
    folder, truth = mini
    meant, samples = truth["lincs"][release]["samples"], read_sig_info(one(folder/"lincs", f"{release}*sig_info*"))
    assert set(samples.index) == set(meant.index) and samples.index.name == "id"
    pd.testing.assert_frame_equal(samples.loc[meant.index, meant.columns], meant, check_dtype=False)
    assert samples.compound.map(type).eq(str).all() and samples.dose.dtype == float
    by_weight = 1 if release == "GSE92742" else 0  # one compound in ng; vehicles (in %) are no compounds and not counted
    assert samples.dose.isna().sum() == 4 + by_weight and len(samples.attrs["report"]) == 1 + by_weight
    if by_weight: assert samples.attrs["report"][1].endswith("1 dose not a positive concentration (given in ng): unknown")

@pytest.mark.parametrize("text, dose", [("10.0 um", 10), ("10 µM", 10), ("10 μM", 10), ("10 \ufffdM", 10), ("500 nM", 0.5), ("5e-1 mM", 500),
                                        ("2 pM", 2e-6), ("-666", None), ("-666.000000 -666", None), ("0 uM", None), ("0.1 %", None),
                                        ("300 ng|300 ng", None),
                                        ("300.0|300.000000 ng|ng", None), ("3.0|3.000000 um|um", 3), ("10", 10), ("", None), (None, None)])
def test_doses_in_every_spelling(text, dose):
    found = amounts(pd.Series([text, "1 um"]), DOSE_UNITS)[0].tolist()
    assert found[1] == 1 and (np.isnan(found[0]) if dose is None else found[0] == pytest.approx(dose))

def test_a_dose_without_a_number_is_taken_from_the_dose_aimed_at(mini):
    path = one(mini[0]/"lincs", "GSE92742*sig_info*")
    before = read_sig_info(path)
    lost = before.index[before.pert_type.eq("trt_cp") & before.dose.eq(3.33)][0]
    rewrite(path, lambda t: re.sub(rf"({re.escape(lost)}\t.*?trt_cp\t\w+\t)3.33\tµM", r"\g<1>-666\t-666", t))
    pd.testing.assert_frame_equal(read_sig_info(path), before)

def test_compounds_of_both_releases_and_of_the_published_list(mini, mirror):
    folder, truth = mini
    for release in truth["lincs"]:
        meant, found = truth["lincs"][release]["compounds"], read_pert_info(one(folder/"lincs", f"{release}*pert_info*"))
        pd.testing.assert_frame_equal(found.loc[meant.index, ["name", "inchikey", "smiles"]], meant, check_dtype=False)
        assert found.inchikey14.dropna().str.len().eq(14).all() and found.inchikey14.isna().sum() == 1
    real = read_pert_info(one(mirror, "bence-szalai/*/*/data/LINCS/l1000_smiles.txt"))
    assert real.shape == (21299, 4) and real.index.is_unique and real.loc["BRD-K81418486", "name"] == "vorinostat"
    assert real.isna().sum().to_dict() == {"name": 0, "inchikey": 79, "inchikey14": 79, "smiles": 79}  # 63 are -666, 16 restricted
    assert real.loc["BRD-A64297288", "inchikey14"] == "HTIQEAQVCYTUBX"  # amlodipine, whose prefix in the file is of another molecule

@pytest.mark.parametrize("both", [True, False])
def test_lincs_is_landmarks_of_treated_compounds(mini, both):
    folder, truth = mini
    if not both:
        for f in (folder/"lincs").glob("GSE70138*"): f.unlink()
    releases = [r for r in truth["lincs"] if both or r == "GSE92742"]
    signatures, samples = read_lincs(folder/"lincs")
    values = pd.concat([truth["lincs"][r]["signatures"] for r in releases])
    landmarks = truth["lincs"]["GSE92742"]["genes"].query("landmark").index
    assert signatures.shape == (216*len(releases), 30) and set(signatures.columns) == set(landmarks) and set(samples.release) == set(releases)
    assert (signatures.dtypes == np.float32).all() and signatures.index.equals(samples.index) and set(samples.pert_type) == {"trt_cp"}
    np.testing.assert_array_equal(signatures, values.loc[samples.index, signatures.columns])

def test_only_what_is_kept_is_read(mini):
    folder, _ = mini
    every, samples = read_lincs(folder/"lincs")
    chosen, few = read_lincs(folder/"lincs", lambda s: s[s.cell.eq("PC3") & s.time.eq(24)])
    assert set(few.cell) == {"PC3"} and set(few.time) == {24} and 0 < len(few) < len(samples)
    pd.testing.assert_frame_equal(chosen, every.loc[few.index])
    with pytest.raises(InputError, match="none was chosen"): read_lincs(folder/"lincs", lambda s: s[s.cell.eq("nowhere")])

def test_level5_comes_in_the_order_asked(mini):
    folder, truth = mini
    values = truth["lincs"]["GSE70138"]["signatures"].iloc[[7, 3, 50], [34, 0, 12]]
    gctx = one(folder/"lincs", "GSE70138*.gctx")
    pd.testing.assert_frame_equal(read_level5(gctx, values.index, values.columns), values, check_names=False)
    with pytest.raises(InputError, match="'nobody'"): read_level5(gctx, ["nobody"], values.columns)

def test_gene_ids_stay_text(mini):
    folder, truth = mini
    genes = read_gene_info(one(folder/"lincs", "GSE92742*gene_info*"))
    assert genes.index.map(type).unique().tolist() == [str] and genes.landmark.sum() == 30
    pd.testing.assert_frame_equal(genes.loc[truth["lincs"]["GSE92742"]["genes"].index], truth["lincs"]["GSE92742"]["genes"], check_dtype=False)

def test_the_table_of_delta_landmarks_beside_gene_info_is_no_second_one(mini):
    folder, _ = mini
    (folder/"lincs/GSE92742_Broad_LINCS_gene_info_delta_landmark.txt").write_text("pr_gene_id\n1\n")
    read_lincs(folder/"lincs")

def test_an_unpacked_file_stands_for_its_gz(mini):
    folder, _ = mini
    packed = one(folder/"lincs", "GSE92742*sig_info*")
    header, *lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    packed.with_suffix("").write_text("\n".join([header, *(line for line in lines if "_A375_" in line.split("\t")[0])]))
    assert set(read_lincs(folder/"lincs")[1].query("release == 'GSE92742'").cell) == {"A375"}

def test_ctrp_by_dose_is_the_mean_over_experiments(mini):
    folder, truth = mini
    found, meant = read_ctrp(folder/"ctrp"), truth["ctrp"]["doses"]
    assert list(found.columns) == ["compound", "name", "cell", "dose", "viability", "experiments", "mechanism"] and len(found) == len(meant) == 12*3*6
    found = found.set_index(["compound", "cell", "dose"]).loc[meant.index]
    np.testing.assert_allclose(found.viability, meant["mean"], rtol=1e-12)
    assert (found.experiments == meant["count"]).all() and sorted(set(found.experiments)) == [1, 2]
    assert found.name.notna().all() and found.index.get_level_values("compound").str.fullmatch(r"BRD-K\d{8}").all()

def test_an_experiment_counts_once_however_often_it_measured_a_dose(mini):
    folder, _ = mini
    path = folder/"ctrp/v20.data.per_cpd_post_qc.txt"
    table = pd.read_csv(path, sep="\t")
    before = read_ctrp(folder/"ctrp")
    once = table[(table.experiment_id == 7)].iloc[[0]]
    pd.concat([table, once, once]).to_csv(path, sep="\t", index=False)
    pd.testing.assert_frame_equal(read_ctrp(folder/"ctrp"), before)

def test_ctrp_curves_give_the_true_viability_in_the_standard_form(mini):
    folder, _ = mini
    curves, world = read_ctrp_curves(folder/"ctrp"), mini_world(3)
    assert len(curves) == 36 and curves.attrs["report"] == ["1 curves of CTRP have no centre in micromolar and are left out"]
    for dose in (0.02, 0.5, 10):
        seen = curves.lower + (curves.upper - curves.lower)/(1 + (dose/curves.half)**curves.slope)
        np.testing.assert_allclose(seen, mini_viability(world, curves.assign(dose=dose)), atol=2e-3)
    assert (curves.max_dose == 10).all() and set(curves.experiment) == {4, 5, 6}

def test_ctrp_parameters_by_hand(mini):
    "Centre 1 (2 uM), slope -1/ln 2, from 1 down to 0.2: at 2 uM 0.6, at 6 uM 0.2 + 0.8/4. A rising curve turns round."
    folder, _ = mini
    path = folder/"ctrp/v20.data.curves_post_qc.txt"
    table = pd.read_csv(path, sep="\t").iloc[[0, 1]].assign(p1_center=1, p2_slope=[-1/np.log(2), 1/np.log(2)], p3_total_decline=0.8, p4_baseline=0.2)
    table.to_csv(path, sep="\t", index=False)
    curves = read_ctrp_curves(folder/"ctrp")
    value = lambda dose: (curves.lower + (curves.upper - curves.lower)/(1 + (dose/curves.half)**curves.slope)).tolist()
    assert curves.half.tolist() == [2, 2] and curves.slope.tolist() == pytest.approx([1, -1])
    assert value(2) == pytest.approx([0.6, 0.6]) and value(6) == pytest.approx([0.4, 0.8]) and value(1e9) == pytest.approx([0.2, 1])

def test_mixtures_and_salts_of_brd_ids(mini):
    folder, _ = mini
    path = folder/"ctrp/v20.meta.per_compound.txt"
    first, second = pd.read_csv(path, sep="\t").broad_cpd_id[:2]
    rewrite(path, lambda t: t.replace(first, first + "-001-01-9").replace(second, "BRD-M01915239"))
    assert {first, "BRD-M01915239"} <= set(read_ctrp(folder/"ctrp").compound)

def test_gdsc(mini):
    folder, truth = mini
    table = read_gdsc(folder/"gdsc")
    assert table.set_index(["set", "name", "cell"]).ln_ic50.loc[truth["gdsc"].index].tolist() == truth["gdsc"].tolist()
    assert table.compound.map(type).eq(str).all() and set(table.set) == {"GDSC1", "GDSC2"} and "PC-3" in set(table.cell)
    only = read_gdsc(one(folder/"gdsc", "GDSC2*"))
    pd.testing.assert_frame_equal(only, table[table.set == "GDSC2"].reset_index(drop=True))
    half = mini_world(3)["curves"].half.xs("PC3", level="cell")[mini_world(3)["compounds"].name.eq("nutlin-3").to_numpy()].item()
    assert np.exp(table[(table.name == "Nutlin-3") & (table.cell == "PC-3")].ln_ic50.item()) == pytest.approx(half, rel=1e-5)

def test_mixseq_log_fold_changes_agree_with_a_plain_loop(mini):
    folder, truth = mini
    changes, samples = read_mixseq(folder/"mixseq")
    t, symbols = truth["mixseq"], truth["mixseq"]["genes"]
    def profile(condition, line):
        cells = t["cells"][condition]
        use = np.flatnonzero((cells.singlet_ID == line) & (cells.cell_quality == "normal"))
        per_million = np.mean([1e6*t["counts"][condition][:, i]/t["counts"][condition][:, i].sum() for i in use], axis=0)
        return np.log2(10 + pd.Series(per_million, symbols).groupby(level=0).sum())
    assert set(samples.index) == {f"{line}.{c}" for line in ("A375_SKIN", "MCF7_BREAST") for c in ("Bortezomib_24hr_expt1", "Trametinib_6hr_expt1")}
    for i, row in samples.iterrows():
        control = (profile("DMSO_6hr_expt1", row.line) + profile("DMSO_24hr_expt1", row.line))/2
        meant = profile(i.split(".")[1], row.line) - control
        np.testing.assert_allclose(changes.loc[i, meant.index], meant, atol=1e-5)
    assert samples.dose.isna().all() and set(samples.name) == {"Bortezomib", "Trametinib"} and set(samples.cell) == {"A375", "MCF7"}
    assert any("trametinib_tc_expt5" in line for line in samples.attrs["report"])

def test_a_line_too_rare_in_the_vehicles_is_left_out(mini):
    folder, _ = mini
    for f in (folder/"mixseq").glob("DMSO*/classifications.csv"):
        t = pd.read_csv(f)
        rare = t.singlet_ID.eq("MCF7_BREAST") & t.cell_quality.eq("normal")
        t.assign(cell_quality=t.cell_quality.where(~rare | (rare.cumsum() <= 2), "low_quality")).to_csv(f, index=False)
    assert set(read_mixseq(folder/"mixseq")[1].cell) == {"A375"}

def test_times_of_mixseq_conditions(mini):
    folder, _ = mini
    for old in ("DMSO_24hr_expt1", "Trametinib_6hr_expt1"): (folder/"mixseq"/old).rename(folder/"mixseq"/(old.split("_")[0] + "_expt10"))
    samples = read_mixseq(folder/"mixseq")[1]
    assert samples.groupby("plate").time.unique().map(list).to_dict() == {"expt1": [24], "expt10": [24]}

@pytest.mark.parametrize("turned", [False, True])
def test_mixseq_as_prepared_tables(mini, turned):
    folder, truth = mini
    path = folder/"prepared/lfc_with_viab_calced.csv"
    if turned: pd.read_csv(path, index_col=0).T.to_csv(path)
    changes, samples = read_mixseq(folder/"prepared")
    meant = truth["prepared"]["samples"]
    pd.testing.assert_frame_equal(samples.loc[meant.index, meant.columns], meant, check_dtype=False)
    np.testing.assert_allclose(changes.loc[meant.index, truth["prepared"]["signatures"].columns], truth["prepared"]["signatures"], atol=1e-5)

def test_plain_cells():
    names = ["A375_SKIN", "a-375", "TT_OESOPHAGUS", "HEL9217_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE", "NCI_H460", "SK-MEL-5", "", None]
    assert plain_cell(names).tolist() == ["A375", "A375", "TDOTT", "HEL9217", "NCIH460", "SKMEL5", "", ""]

def test_the_layouts_tell_of_the_same_compounds_and_doses(mini):
    "What a matching of the sets relies on: BRD ids in two, names in all, doses in uM."
    folder, _ = mini
    samples, ctrp, gdsc = read_lincs(folder/"lincs")[1], read_ctrp(folder/"ctrp"), read_gdsc(folder/"gdsc")
    assert set(samples.compound) == set(ctrp.compound) and set(samples.dose.dropna()) == set(ctrp.dose.replace({1.1: 1.11, 3.3: 3.33}))
    assert set(gdsc.name.str.lower()) == set(samples.name.str.lower()) and set(plain_cell(gdsc.cell)) == set(samples.cell)


def no_column(column, pattern): return lambda d: rewrite(one(d, pattern), lambda t: t.replace(column, "other", 1))
def gone(pattern): return lambda d: one(d, pattern).unlink()
def cut(pattern): return lambda d: (p := one(d, pattern)).write_bytes(p.read_bytes()[:p.stat().st_size*2//3])
def copied(pattern, name): return lambda d: (d/name).write_bytes(one(d, pattern).read_bytes())
def edited(pattern, how): return lambda d: rewrite(one(d, pattern), how)
def renamed(pattern, name): return lambda d: (p := one(d, pattern)).rename(p.with_name(name))

LINCS, CURVES = "GSE92742_Broad_LINCS", "v20.data.curves_post_qc.txt"
FAULTS = [
    (read_lincs, "lincs", no_column("pert_idose", "GSE70138*_sig*"), ["sig_info_2017-03-06.txt.gz", "'pert_idose'"]),
    (read_lincs, "lincs", no_column("cell_id", f"{LINCS}_sig*"), ["sig_info.txt.gz", "'cell_id' or 'cell_iname'"]),
    (read_lincs, "lincs", no_column("pr_is_lm", f"{LINCS}_gene*"), ["gene_info.txt.gz", "'pr_is_lm' or 'feature_space'"]),
    (read_lincs, "lincs", gone(f"{LINCS}_Level5*"), ["GSE92742_Broad_LINCS_Level5"]),
    (read_lincs, "lincs", cut(f"{LINCS}_Level5*"), ["Level5", "GCTX"]),
    (read_lincs, "lincs", cut(f"{LINCS}_sig*"), ["sig_info.txt.gz", "cut short"]),
    (read_lincs, "lincs", copied(f"{LINCS}_Level5*", f"{LINCS}_Level5_again.gctx"), ["2 files", "Level5_again.gctx"]),
    (read_lincs, "lincs", renamed(f"{LINCS}_Level5*", f"{LINCS}_Level5_x.gctx.gz"), ["Level5_x.gctx.gz", "gunzip"]),
    (read_lincs, "lincs", edited(f"{LINCS}_sig*", lambda t: t + t.splitlines()[-1] + "\n"), ["sig_info", "sig_id", "more than once"]),
    (read_lincs, "ctrp", lambda d: None, ["GSE92742_Broad_LINCS_sig_info.txt.gz"]),
    (read_ctrp, "ctrp", no_column("cpd_avg_pv", "*per_cpd*"), ["per_cpd_post_qc.txt", "'cpd_avg_pv'"]),
    (read_ctrp, "ctrp", no_column("ccl_name", "*per_cell*"), ["per_cell_line.txt", "'ccl_name'"]),
    (read_ctrp, "ctrp", gone("*per_experiment*"), ["v20.meta.per_experiment.txt"]),
    (read_ctrp, "ctrp", copied("*per_cpd*", "v21.data.per_cpd_post_qc.txt"), ["2 files", "v21.data"]),
    (read_ctrp, "ctrp", edited("*per_cpd*", lambda t: re.sub(r"\d\.\de-002", "high", t, count=1)), ["per_cpd_post_qc.txt", "high"]),
    (read_ctrp, "ctrp", edited("*per_exp*", lambda t: re.sub(r"\t76\n", "\t682\n", t, count=1)), ["per_experiment", "experiment_id"]),
    (read_ctrp_curves, "ctrp", no_column("p4_baseline", CURVES), [CURVES, "'p4_baseline'"]),
    (read_gdsc, "gdsc", no_column("LN_IC50", "GDSC1*"), ["GDSC1", "'LN_IC50'"]),
    (read_gdsc, "gdsc", copied("GDSC1*", "GDSC1_fitted_dose_response_24Jul22.csv"), ["2 files", "GDSC1"]),
    (read_gdsc, "gdsc", lambda d: [p.rename(p.with_suffix(".xlsx")).write_bytes(b"PK\3\4") for p in d.glob("*.csv")], ["GDSC1", "xlsx", "damaged"]),
    (read_gdsc, "ctrp", lambda d: None, ["GDSC2_fitted_dose_response"]),
    (read_mixseq, "mixseq", no_column("singlet_ID", "Bor*/class*"), ["classifications.csv", "'singlet_ID'"]),
    (read_mixseq, "mixseq", gone("Bor*/barcodes.tsv"), ["Bortezomib_24hr_expt1", "barcodes.tsv"]),
    (read_mixseq, "mixseq", cut("Bor*/matrix.mtx"), ["Bortezomib_24hr_expt1"]),
    (read_mixseq, "mixseq", lambda d: scipy.io.mmwrite(one(d, "Bor*/matrix.mtx"), scipy.sparse.eye(3)), ["Bortezomib_24hr_expt1", "3 x 3"]),
    (read_mixseq, "mixseq", lambda d: [p.unlink() for p in d.glob("DMSO*/*")], ["has a vehicle"]),
    (read_mixseq, "prepared", lambda d: rewrite(d/"meta_with_viab_calced.csv", lambda t: re.sub(r"(?m)^([A-Z])", r"x\1", t)), ["share no sample"]),
    (read_mixseq, "gdsc", lambda d: None, ["lfc_with_viab_calced.csv"]),
    (read_sig_info, "nowhere/sig_info.txt", lambda d: None, ["no file", "sig_info.txt"]),
]

@pytest.mark.parametrize("read, layout, spoil, said", FAULTS)
def test_a_fault_is_named_in_one_sentence(mini, read, layout, spoil, said):
    folder = mini[0]/layout
    spoil(folder)
    with pytest.raises(InputError) as e: read(folder)
    text = str(e.value)
    assert all(part in text for part in said), text
    assert "\n" not in text and text.rstrip().endswith("."), text
