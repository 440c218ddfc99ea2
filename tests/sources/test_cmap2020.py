"""The L1000 release of 2020, several releases side by side, and what a build refuses: miniatures, and real rows."""
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from drugnb.command import main
from drugnb.core.settings import InputError
from drugnb.sources.build import (
    ambiguous_lines,
    describe,
    find_response,
    find_structures,
    line_keys,
    outside_part,
    read_doses,
    training_part,
    without_older,
)
from drugnb.sources.layouts import (
    files_below,
    find_releases,
    read_gdsc,
    read_gene_info,
    read_lincs,
    read_mixseq,
    read_pert_info,
    read_sig_info,
)
from drugnb.sources.miniatures import (
    mini_cmap2020,
    mini_ctrp,
    mini_gdsc,
    mini_lincs,
    mini_mixseq,
    mini_viability,
    mini_world,
)
from drugnb.weighting.load import read_folder
from drugnb.weighting.tables import build_folder, folder_tables


@pytest.fixture
def beta(tmp_path):
    "The release of 2020 in a subfolder, with CTRP and prepared tables of MIX-seq beside it."
    truth = mini_cmap2020(tmp_path/"raw/CMAP_2020", seed=3)
    mini_ctrp(tmp_path/"raw/ctrp", seed=3)
    mini_mixseq(tmp_path/"raw/mixseq", seed=3, prepared=True)
    return tmp_path/"raw", truth

def text(path, how): path.write_text(how(path.read_text()))

def put_gctx(path, values):
    "Write signatures x genes as GCTX."
    with h5py.File(path, "w") as h:
        h["0/DATA/0/matrix"] = values.to_numpy(np.float32)
        h["0/META/ROW/id"], h["0/META/COL/id"] = (i.to_numpy("S") for i in (values.columns, values.index))

# the release of 2020

def test_the_release_of_2020_is_read_as_it_was_meant(beta):
    raw, truth = beta
    signatures, samples = read_lincs(raw/"CMAP_2020")
    meant = truth["samples"]
    pd.testing.assert_frame_equal(samples.loc[meant.index, meant.columns], meant, check_dtype=False)
    np.testing.assert_array_equal(signatures, truth["signatures"].loc[samples.index, signatures.columns])
    assert set(signatures.columns) == set(truth["genes"].query("landmark").index) and set(samples.release) == {"CMap 2020"}
    said = "\n".join(samples.attrs["report"])
    assert "ctl_vehicle 3, trt_oe 1, trt_sh 1" in said and "1 GCTX file not read: level5_beta_ctl_n3x35.gctx" in said
    assert "9 doses taken from the id" in said and "(given in ng/ml)" in said.lower() and "216 read" in said

def test_compounds_of_2020_have_a_row_each_with_every_target(beta):
    raw, truth = beta
    found = read_pert_info(raw/"CMAP_2020/compoundinfo_beta.txt")
    assert found.index.is_unique and set(found.index) == set(truth["compounds"].index)
    pd.testing.assert_frame_equal(found.loc[truth["compounds"].index, ["name", "inchikey", "smiles"]], truth["compounds"],
                                  check_names=False, check_dtype=False)
    assert {frozenset(t.split("|")) for t in found.target} == {frozenset({"TARGET1"}), frozenset({"TARGET1", "TARGET2"})}
    assert set(found.mechanism) == {"an inhibitor"} and found.synonyms.notna().sum() == 6

def test_a_build_from_2020_is_checked_and_its_labels_are_true(beta, tmp_path, capsys):
    raw, _ = beta
    main(["build", str(raw), str(tmp_path/"mine"), "--response", "ctrp-curves"])
    said = capsys.readouterr().out
    assert "training of CMap 2020, ctrp-curves" in said and "check: 215 signatures" in said.replace("  ", " ")
    study = read_folder(tmp_path/"mine")
    off = (study.samples.viability - mini_viability(mini_world(3), study.samples)).abs()
    assert len(study.samples) == 215 and off.max() < 0.006 and len(study.genes) == 30 and len(study.outside) == 18
    main(["check", "weighting", "--data", str(tmp_path/"mine")])
    assert "215 signatures" in capsys.readouterr().out

def test_nothing_depends_on_the_order_of_rows(beta):
    raw, _ = beta
    before, _ = folder_tables(raw)
    for path in (raw/"CMAP_2020").glob("*_beta.txt"):
        pd.read_csv(path, sep="\t", dtype=str).sample(frac=1, random_state=9).to_csv(path, sep="\t", index=False)
    after, _ = folder_tables(raw)
    for name, table in before.items(): pd.testing.assert_frame_equal(table, after[name][table.columns])

ROUNDING = [  # id after the plate, pert_dose, unit, pert_idose: dose
    ("24H:BRD-A17883755-001-02-0:177.6", None, None, "200 uM", 177.6), ("24H:BRD-A76941896-003-04-6:10.2", "", "", "10 uM", 10.2),
    ("XH:BRD-K81418486:1:24", "-666", "-666", "1.11 uM", 1), ("24H:BRD-K81418486:1:24", "1.05", "uM", "1.11 uM", 1.05),
    ("24H:BRD-K81418486:0.37", None, None, "370 nM", 0.37), ("24H:BRD-K81418486:10", None, None, "0.37 uM", 0.37),
    ("24H:A03", None, None, "3.33 uM", 3.33), ("24H:A03", "500", "nM", "0.37 uM", 0.5), ("24H:A03", "3", "ug/ml", "3 uM", None),
    ("24H:BRD-K81418486:3", None, None, "3 ng/ml", None), ("24H:A03", None, None, "-666", None), ("24H:A03", "0", "uM", "0 uM", None)]

@pytest.mark.parametrize("tail, number, unit, rounded, dose", ROUNDING)
def test_the_dose_that_was_given_goes_before_the_rounded_one(tmp_path, tail, number, unit, rounded, dose):
    rows = pd.DataFrame({"sig_id": [f"CPC006_A375_{tail}", "x"], "pert_id": "BRD-K1", "cmap_name": "a", "pert_type": "trt_cp",
                         "cell_iname": "A375", "pert_dose": [number, "1"], "pert_dose_unit": [unit, "uM"], "pert_idose": [rounded, "1 uM"]})
    rows.to_csv(tmp_path/"siginfo_beta.txt", sep="\t", index=False)
    found = read_sig_info(tmp_path/"siginfo_beta.txt")
    assert found.dose.iloc[1] == 1 and (np.isnan(found.dose.iloc[0]) if dose is None else found.dose.iloc[0] == pytest.approx(dose))
    assert found.time.isna().tolist() == [False, True] and "1 time unknown" in found.attrs["report"][-1] and found.repeats.tolist() == [1, 1]

@pytest.mark.parametrize("marks, found", [("1 0", 1), ("1.0 0.0", 1), ("True False", 1), ("landmark inferred", 1), ("LANDMARK best\tinferred", 1),
                                          ("0 0", "marks no gene"), ("lm yes", 2), ("measured maybe", "'measured'"), ("1 -666", 1)])
def test_landmarks_are_marked_in_many_ways(tmp_path, marks, found):
    flags = [m.replace("\t", " ") for m in marks.split(" ")]
    path = tmp_path/"geneinfo_beta.txt"
    pd.DataFrame({"gene_id": ["5720", "466.0"], "gene_symbol": ["PSME1", "ATF1"], "feature_space": flags}).to_csv(path, sep="\t", index=False)
    if isinstance(found, str):
        with pytest.raises(InputError, match=found): read_gene_info(path)
    else:
        genes = read_gene_info(path)
        assert genes.landmark.sum() == found and list(genes.index) == ["5720", "466"]

def test_real_rows_of_the_release_are_read(mirror, tmp_path):
    excerpt = mirror.with_name("cases")/"input/01-cmap2020-build/real-excerpt"
    if not excerpt.is_dir(): pytest.skip(f"the excerpt of the release is not in {excerpt}")
    for theirs, ours in (("siginfo", "siginfo_beta"), ("geneinfo", "geneinfo_beta"), ("compoundinfo", "compoundinfo_beta")):
        shutil.copy(excerpt/f"example_{theirs}.txt", tmp_path/f"{ours}.txt")
    samples, genes, compounds = (read(tmp_path/f"{what}_beta.txt") for read, what in (
        (read_sig_info, "siginfo"), (read_gene_info, "geneinfo"), (read_pert_info, "compoundinfo")))
    values = pd.DataFrame(np.random.default_rng(0).normal(size=(len(samples), len(genes))), samples.index, genes.index)
    put_gctx(tmp_path/"level5_beta_trt_cp_n496x163.gctx", values)
    assert (len(genes), genes.landmark.sum(), len(compounds)) == (163, 64, 45)
    assert compounds.target["BRD-K82746043"] == "BCL2|BCL2L1|BCL2L2"
    assert compounds.mechanism["BRD-K13646352"] == "FLT3 inhibitor|KIT inhibitor|PKC inhibitor"
    signatures, samples = read_lincs(tmp_path)
    assert signatures.shape == (396, 64) and samples.dose.notna().all() and samples.time.isin([6, 24, 48, 72, 96]).all()
    exact = {"CPC006_A375_24H:BRD-A17883755-001-02-0:177.6": 177.6, "LPROT003_A375_6H:BRD-A17883755:1": 1.0,
             "CRCGN004_PC3_24H:BRD-A76941896-003-04-6:10.2": 10.2, "ASG002_A549_24H:I20": 1.11}
    assert samples.dose[list(exact)].to_dict() == exact
    assert set(samples["compound"]) <= set(compounds.index) and any("trt_oe 61, trt_xpr 39" in r for r in samples.attrs["report"])

# several releases

@pytest.fixture
def releases(tmp_path):
    "Every release in a folder of its own, GDSC1 and GDSC2 too."
    raw, truth = tmp_path/"raw", {}
    for name in ("GSE92742", "GSE70138"): truth[name] = mini_lincs(raw/name, name, seed=3)
    mini_gdsc(raw/"gdsc", seed=3)
    for n in "12":
        (raw/f"GDSC{n}").mkdir()
        for f in (raw/"gdsc").glob(f"GDSC{n}_*"): f.rename(raw/f"GDSC{n}"/f.name)
    mini_mixseq(raw/"mixseq", seed=3, prepared=True)
    return raw, truth

def test_every_release_in_subfolders_is_read(releases):
    raw, _ = releases
    mini_cmap2020(raw/"CMAP_2020", seed=3)
    found, unread = find_releases(raw)
    assert [r.name for r in found] == ["CMap 2020", "GSE70138", "GSE92742"] and unread == ["1 GCTX file not read: level5_beta_ctl_n3x35.gctx"]
    signatures, samples = read_lincs(raw)
    assert samples.release.value_counts().to_dict() == dict.fromkeys(["CMap 2020", "GSE70138", "GSE92742"], 216)
    response = find_response(raw, "gdsc")
    assert set(response.measured.set) == {"GDSC1", "GDSC2"} and set(response.compounds.name.str.lower()) == set(samples.name.str.lower())
    merged, kept, reports, _ = training_part(raw, find_structures(raw), response)
    assert {r.table.iloc[0] for r in reports} == {f"training of {n}, gdsc" for n in ("CMap 2020", "GSE70138", "GSE92742")}
    assert merged.index.equals(kept.index) and not kept.duplicated(["compound", "cell", "dose", "time"]).any()

def test_a_signature_in_two_releases_is_read_once_from_the_newer(releases):
    raw, truth = releases
    values, again = truth["GSE70138"]["signatures"], truth["GSE70138"]["samples"].query("pert_type == 'trt_cp'").index[:5]
    path = next((raw/"GSE92742").glob("*.gctx"))
    with h5py.File(path) as h: ids, genes, x = (h[f"0/{k}"][:] for k in ("META/COL/id", "META/ROW/id", "DATA/0/matrix"))
    x = pd.DataFrame(x, [i.decode() for i in ids], [g.decode() for g in genes])
    more = pd.DataFrame(0, again, x.columns)
    put_gctx(path, pd.concat([x, more]))
    info = next((raw/"GSE92742").glob("*sig_info*"))
    rows = pd.read_csv(info, sep="\t", dtype=str)
    copies = rows[rows.pert_type == "trt_cp"].head(5).assign(sig_id=again)
    pd.concat([rows, copies]).to_csv(info, sep="\t", index=False)
    signatures, samples = read_lincs(raw)
    assert samples.index.is_unique and len(samples) == 432 and (samples.release[again] == "GSE70138").all()
    np.testing.assert_array_equal(signatures.loc[again], values.loc[again, signatures.columns])
    assert any("5 more were read from a newer release" in line for line in samples.attrs["report"])

def test_gdsc2_goes_before_gdsc1(releases):
    table, notes = without_older(read_gdsc(releases[0]))
    both = table.groupby(["name", "cell"]).set.agg(set)
    assert notes[0].startswith("12 curves of GDSC1") and both.map(len).eq(1).all()
    assert table.set.value_counts().to_dict() == {"GDSC2": 24, "GDSC1": 12}
    alone = table[table.set == "GDSC1"]
    pd.testing.assert_frame_equal(without_older(alone)[0], alone)
    assert without_older(alone)[1] == []

def replaced(name, *pairs):
    "Spoil a file: replace text by text."
    def spoil(raw):
        path = raw/name
        for old, new in pairs: path.write_text(path.read_text().replace(old, new))
    return spoil

def rewritten(name, how):
    "Spoil the rows of a file: how(number, row)."
    def spoil(raw):
        first, *rows = (raw/name).read_text().splitlines()
        (raw/name).write_text("\n".join([first, *(how(i, r) for i, r in enumerate(rows))]))
    return spoil

def matrix(raw): return next((raw/"CMAP_2020").glob("level5_beta_trt*"))

INFO, GENES = "CMAP_2020/siginfo_beta.txt", "CMAP_2020/geneinfo_beta.txt"
CELLS, LFC = "ctrp/v20.meta.per_cell_line.txt", "mixseq/lfc_with_viab_calced.csv"

@pytest.mark.parametrize("spoil, said", [
    (lambda raw: shutil.copytree(raw/"CMAP_2020", raw/"copy"), "2 tables of signatures .* are of one release"),
    (lambda raw: matrix(raw).unlink(), "no file like level5_beta_trt_cp_….gctx"),
    (lambda raw: matrix(raw).rename(raw/"level5_beta_trt_cp_n1x1.gctx.gz"), "still compressed"),
    (lambda raw: shutil.copy(matrix(raw), raw/"CMAP_2020/level5_beta_trt_cp_landmark_only.gctx"), "2 files"),
    (replaced(INFO, ("trt_cp", "trt_xpr")), "no signature of a compound"),
    (replaced(INFO, ("_A375_", "_X1_"), ("_PC3_", "_X2_"), ("_MCF7_", "_X3_")), "share no signature"),
    (replaced(GENES, ("landmark", "inferred")), "marks no gene as a landmark"),
    (rewritten(GENES, lambda i, r: r.replace("\t", "9\t", 1)), "has none of the 30 landmark genes"),
    (replaced(CELLS, ("A375", "X1"), ("MCF7", "X2"), ("PC3", "X3")), "viability from ctrp .216 not measured in this cell line"),
    (replaced(INFO, ("\tuM\t", "\tnM\t")), "gives 185 doses twice, more than tenfold apart"),
    (replaced(INFO, ("uM", "mg/kg")), "No signature in .* gets a viability from ctrp .216 dose unknown"),
    (rewritten(LFC, lambda i, r: f"ENSG0{i:010d}" + r[r.index(","):]), "share no gene"),
])
def test_what_cannot_become_a_study_is_refused_before_anything_is_written(beta, spoil, said, tmp_path):
    raw, _ = beta
    spoil(raw)
    with pytest.raises(InputError, match=said) as e: build_folder(raw, tmp_path/"mine")
    assert "\n" not in str(e.value) and str(e.value).endswith(".") and not (tmp_path/"mine").exists()

@pytest.mark.slow
def test_ensembl_ids_outside_are_those_of_the_releases_table_of_genes(beta):
    raw, _ = beta
    genes = pd.read_csv(raw/"CMAP_2020/geneinfo_beta.txt", sep="\t", dtype=str).set_index("gene_symbol").ensembl_id
    path = raw/"mixseq/lfc_with_viab_calced.csv"
    table = pd.read_csv(path, index_col=0)
    before = folder_tables(raw)[0]["lfc_with_viab_calced.parquet"]
    table.set_axis(genes[table.index] + ".3").rename_axis("gene").to_csv(path)
    pd.testing.assert_frame_equal(folder_tables(raw)[0]["lfc_with_viab_calced.parquet"], before)

def test_without_a_table_of_genes_the_known_landmarks_are_read(beta):
    raw, _ = beta
    before = read_lincs(raw)[0]
    (raw/"CMAP_2020/geneinfo_beta.txt").unlink()
    signatures, samples = read_lincs(raw)
    pd.testing.assert_frame_equal(signatures[before.columns], before)
    assert any("lacks 948 of 978 landmark genes" in line for line in samples.attrs["report"])

def test_an_earlier_build_inside_the_folder_is_no_source(beta):
    raw, _ = beta
    folder, report = build_folder(raw, raw/"mine")
    again, second = build_folder(raw, raw/"mine")
    assert folder == again and report.equals(second)
    assert not any(p.name.startswith("lfc_with_viab") for p in files_below(raw) if p.parent == folder)

def test_links_are_followed_and_hidden_files_are_not(beta, tmp_path):
    raw, _ = beta
    (tmp_path/"linked").mkdir()
    (tmp_path/"linked/cmap").symlink_to(raw/"CMAP_2020")
    (tmp_path/"linked/cmap/again").symlink_to(tmp_path/"linked")
    shutil.copy(raw/"CMAP_2020/siginfo_beta.txt", tmp_path/"linked/._siginfo_beta.txt")
    assert len(find_releases(tmp_path/"linked")[0]) == 1

# compounds and cell lines

def test_what_the_catalogue_does_not_say_of_a_compound_the_release_does(beta):
    raw, _ = beta
    structures, response = find_structures(raw), find_response(raw)
    samples = read_lincs(raw)[1].drop_duplicates("compound").head(4)
    unknown = response.compounds.drop(samples["compound"].iloc[0])
    about = describe(samples, structures, type(response)("ctrp", unknown, response.measured, response.viability))
    first = about.loc[samples["compound"].iloc[0]]
    assert first.mechanism == "an inhibitor" and first.target.startswith("TARGET") and first.cpd_name == samples.name.iloc[0]
    assert about.mechanism.iloc[1:].str.startswith("inhibitor of").all() and list(about.index) == list(samples["compound"])

def test_lines_that_a_plain_name_joins_are_matched_as_they_are_spelt():
    measured = pd.Series(["B-1", "B1", "A-375", "a-375"])
    apart = ambiguous_lines(measured)
    assert list(apart) == ["B1"]
    assert line_keys(pd.Series(["b1", "B-1", "B 1", "A375"]), apart).tolist() == ["B1", "B-1", "B 1", "A375"]
    assert len(ambiguous_lines(pd.Series(["A375"]), pd.Series(["A-375"]))) == 0, "two tables may spell as they like"

@pytest.mark.slow
def test_two_lines_of_one_plain_name_keep_their_own_viabilities(beta):
    raw, _ = beta
    cells, doses = raw/"ctrp/v20.meta.per_cell_line.txt", raw/"ctrp/v20.data.per_cpd_post_qc.txt"
    text(cells, lambda t: t + "9\tA-375\tccle\tskin\n")
    text(raw/"ctrp/v20.meta.per_experiment.txt", lambda t: t + "99\t1\t2\tx\ty\t9\n")
    table = pd.read_csv(doses, sep="\t", dtype=str)
    other = table[table.experiment_id == "4"].assign(experiment_id="99", cpd_avg_pv="5.000e-001")
    pd.concat([table, other]).to_csv(doses, sep="\t", index=False)
    structures = find_structures(raw)
    (raw/"CMAP_2020/cellinfo_beta.txt").unlink()
    _, samples, _, notes = training_part(raw, structures, find_response(raw))
    assert not (samples.viability[samples.cell == "A375"] == 0.5).all() and any("as they are spelt" in n for n in notes)
    text(raw/"CMAP_2020/siginfo_beta.txt", lambda t: t.replace("\tA375\t", "\tA-375\t"))
    _, samples, _, _ = training_part(raw, structures, find_response(raw))
    assert (samples.viability[samples.cell == "A-375"] == 0.5).all()

# MIX-seq

FOLDERS = {  # a condition's folder: its time, or why it is left out
    "Bortezomib_24hr_expt1": 24, "Trametinib_6hr_expt1": 6, "Bortezomib_expt4": 24, "Bortezomib_expt10": 24, "Bortezomib_expt7": None,
    "sgGPX4_1_expt2": "a guide RNA", "sgLACZ_expt2": "a guide RNA", "trametinib_tc_expt5": "a time course", "Untreated_6hr_expt1": "untreated",
    "Bortezomib": "its name is not like"}

@pytest.mark.parametrize("name", FOLDERS)
def test_the_folders_of_mixseq(tmp_path, name):
    mini_mixseq(tmp_path/"all", seed=3)
    source = tmp_path/"all"/("Bortezomib_24hr_expt1" if not name.startswith("T") else "Trametinib_6hr_expt1")
    shutil.copytree(source, tmp_path/"some"/name)
    shutil.copytree(tmp_path/"all/DMSO_24hr_expt1", tmp_path/"some"/f"DMSO_{name.split('_')[-1]}" if "expt" in name else tmp_path/"some/DMSO_expt1")
    if not isinstance(FOLDERS[name], int | None):
        for drug in ("Bortezomib", "DMSO"): shutil.copytree(tmp_path/f"all/{drug}_24hr_expt1", tmp_path/"some"/f"{drug}_24hr_expt8")
    changes, samples = read_mixseq(tmp_path/"some")
    said = "\n".join(samples.attrs["report"])
    if isinstance(FOLDERS[name], str):
        assert f"{name} is left out: {FOLDERS[name]}" in said and set(samples.plate) == {"expt8"}
    else:
        assert samples.time.fillna(-1).eq(FOLDERS[name] or -1).all() and len(samples) == 2
        assert ("2 samples of unknown time" in said) == (FOLDERS[name] is None)

def test_one_condition_under_both_names_counts_once(tmp_path):
    mini_mixseq(tmp_path/"all", seed=3)
    for drug in ("Bortezomib", "DMSO"):
        for pool in ("expt4", "expt10"): shutil.copytree(tmp_path/f"all/{drug}_24hr_expt1", tmp_path/f"some/{drug}_{pool}")
    _, samples = read_mixseq(tmp_path/"some")
    assert len(samples) == 2 and sum("under another name" in line for line in samples.attrs["report"]) == 2

DOSES = [  # the table, and the doses of Bortezomib and Trametinib, or the sentence
    ("name,dose\nbortezomib,1.11\ntrametinib,1.11\n", (1.11, 1.11)),
    ("name,dose\nbortezomib,1110 nM\ntrametinib,1.11 uM\n", (1.11, 1.11)),
    ("Name,Dose,unit\nbortezomib,1110,nM\ntrametinib,1.11,uM\n", (1.11, 1.11)),
    ("name,dose\nbortezomib,1.11\ntrametinib,1.11\nTRAMETINIB,1.11 µM\n", (1.11, 1.11)),
    ("name,dose\nBortezomib_24hr_expt1,1.11\ntrametinib,0.37\n", (1.11, 0.37)),
    ("name,dose\nBortezomib,\ntrametinib,1.11\n", (None, 1.11)),
    ("name,dose\nbortezomib,1.11\ntrametinib,1.11\nTrametinib,10\n", "one drug two doses"),
    ("name,dose\nbortezomib,1.11\nbortezomib,0.37\ntrametinib,1\n", "one drug two doses"),
    ("name,dose\nbortezomib,1110\ntrametinib,1110\n", "up to 10 µM: if it is in nanomolar"),
    ("name,dose\nbortezomib,0\ntrametinib,1.11\n", "gives bortezomib the dose '0"),
    ("name,dose\nbortezomib,-1\ntrametinib,1.11\n", "gives bortezomib the dose"),
    ("name,dose\nbortezomib,1 mg/kg\ntrametinib,1.11\n", "gives bortezomib the dose '1 mg/kg'"),
    ("name,dose\naspirin,1\n", "4 dose unknown.*: correct the table doses"),
    ("drug,dose\nbortezomib,1\n", "has no column 'name'"),
]

@pytest.mark.parametrize("table, found", DOSES)
def test_the_table_of_doses_as_people_write_it(tmp_path, table, found):
    mini_mixseq(tmp_path/"mixseq", seed=3)
    mini_ctrp(tmp_path/"ctrp", seed=3)
    (tmp_path/"doses.csv").write_text(table)
    nothing = pd.DataFrame(columns=["name", "inchikey"], dtype=str)
    if isinstance(found, str):
        with pytest.raises(InputError, match=found): outside_part(tmp_path, nothing, find_response(tmp_path))
        return
    _, samples, _, notes = outside_part(tmp_path, nothing, find_response(tmp_path))
    doses = samples.groupby("name").dose.first()
    assert doses.to_dict() == {n: pytest.approx(d) for n, d in zip(("Bortezomib", "Trametinib"), found, strict=True) if d}
    if None in found: assert "doses.csv gives no dose of Bortezomib" in notes

def test_names_in_the_table_of_doses_that_are_not_there_are_said(tmp_path):
    mini_mixseq(tmp_path/"mixseq", seed=3)
    mini_ctrp(tmp_path/"ctrp", seed=3)
    (tmp_path/"mixseq/doses.csv").write_text("name,dose\nbortezomib,1.11\ntrametinb,1.11\n")
    notes = outside_part(tmp_path, pd.DataFrame(columns=["name", "inchikey"], dtype=str), find_response(tmp_path))[3]
    assert "doses.csv names what is not in MIX-seq here: trametinb" in notes and "doses.csv gives no dose of Trametinib" in notes
    assert read_doses(tmp_path/"mixseq/doses.csv").dose.tolist() == [1.11, 1.11]
    shutil.copy(tmp_path/"mixseq/doses.csv", tmp_path/"doses.tsv")
    with pytest.raises(InputError, match="2 tables of doses"): outside_part(tmp_path, pd.DataFrame(), find_response(tmp_path))

@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "txt.gz"])
def test_annotations_that_were_saved_again_are_found(beta, form):
    raw, truth = beta
    for path in (raw/"CMAP_2020").glob("*_beta.txt"):
        table = pd.read_csv(path, sep="\t", dtype=str)
        new = path.with_name(path.name.replace("txt", form))
        if form == "parquet": table.to_parquet(new, index=False)
        else: table.to_csv(new, sep="," if form == "csv" else "\t", index=False)
        path.unlink()
    signatures, samples = read_lincs(raw)
    assert samples.dose[truth["samples"].index].equals(truth["samples"].dose) and len(find_structures(raw)) == 12

def test_responses_that_are_not_read_are_named(releases):
    raw, _ = releases
    mini_ctrp(raw/"ctrp", seed=3)
    assert find_response(raw).measured.attrs["report"][0] == "viabilities are of ctrp; not read: ctrp-curves, gdsc (--response)"
    assert find_response(raw, "GDSC").measured.attrs["report"][0].endswith("not read: ctrp, ctrp-curves (--response)")

@pytest.mark.slow
def test_a_second_build_that_fails_leaves_the_first_as_it_was(beta, tmp_path, monkeypatch):
    raw, _ = beta
    folder, _ = build_folder(raw, tmp_path/"mine")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    def full(self, *a, **k): raise OSError(28, "no space left on device")
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="space"): build_folder(raw, tmp_path/"mine")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before

@pytest.mark.parametrize("form", ["xlsx", "csv;", "tsv", "utf16", "quoted"])
def test_tables_that_were_saved_again_in_another_form_are_read(tmp_path, form):
    mini_gdsc(tmp_path, seed=3)
    before = read_gdsc(tmp_path)
    for path in sorted(tmp_path.glob("*.csv")):
        table = pd.read_csv(path)
        if form == "xlsx":
            pytest.importorskip("openpyxl")
            table.to_excel(path.with_suffix(".xlsx"), index=False)
            path.unlink()
        elif form == "csv;": table.to_csv(path, sep=";", decimal=",", index=False)
        elif form == "tsv": table.to_csv(path, sep="\t", index=False)
        elif form == "utf16": table.to_csv(path, index=False, encoding="utf-16")
        else: table.to_csv(path, index=False, quoting=1)
    pd.testing.assert_frame_equal(read_gdsc(tmp_path), before)
