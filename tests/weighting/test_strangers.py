"""Tables as strangers have them: read for what they are, or refused in one sentence with the remedy; never wrong without a word."""
import dataclasses

import numpy as np
import pandas as pd
import pytest

from drugnb.core.identity import landmark_genes
from drugnb.core.plausible import viability_kind
from drugnb.core.settings import DEFAULTS, InputError
from drugnb.weighting.choose import training_splits
from drugnb.weighting.compare import REFERENCE, compared, comparison_text, headline, judged_by, optimism, read_table, spanned, withheld
from drugnb.weighting.load import ENOUGH, assemble, gene_column, read_coefficients, read_folder, size_notes, treated_alike


def viability(change):
    def spoilt(folder, spoil): spoil(folder, "siginfo", lambda t: t.assign(viability=change(t.viability)))
    return spoilt

def column(which, **columns):
    def spoilt(folder, spoil): spoil(folder, which, lambda t: t.assign(**{c: f(t) for c, f in columns.items()}))
    return spoilt

def values(which, change):
    "All numbers of a matrix; ids stay."
    def spoilt(folder, spoil): spoil(folder, which, lambda t: pd.concat([t.iloc[:, :1], change(t.iloc[:, 1:])], axis=1))
    return spoilt

def remove(*which):
    def spoilt(folder, spoil):
        for name in which: next(folder.glob(f"{name}*")).unlink()
    return spoilt

def write(name, text):
    def spoilt(folder, spoil): (folder/name).write_text(text)
    return spoilt

def coefficients(make):
    def spoilt(folder, spoil): spoil(folder, "coefficients", make)
    return spoilt

counts = lambda x: (2**(x.clip(-3, 3) + 6)).round()

REFUSED = {  # what a stranger has -> how the tables are spoilt, words of the sentence
    "percent": (viability(lambda v: 100*v), ["percentages of untreated cells", "divide it by 100"]),
    "percent inhibition": (viability(lambda v: 100*(1 - v).clip(0, 1)), ["percent inhibition", "1 - x/100"]),
    "inhibition": (viability(lambda v: (1 - v).clip(0, 1)), ["rises with dose", "1 - x"]),
    "log2 fold changes": (viability(lambda v: np.log2(v.clip(lower=0.01))), ["log fold changes", "2**x"]),
    "percent growth": (viability(lambda v: 200*v - 175), ["NCI-60", "(x + 100)/200"]),
    "growth rates": (viability(lambda v: 2*v - 1), ["growth", "(x + 1)/2"]),
    "two scales": (viability(lambda v: v.where(v.index > 250, 100*v)), ["mixes two scales"]),
    "a code of its own": (viability(lambda v: v.where(v.index > 40, -999)), ["-999", "leave these cells empty"]),
    "luminescence": (viability(lambda v: 40_000*v + 300), ["raw signal", "untreated wells"]),
    "one value": (viability(lambda v: 0*v + 1), ["does not vary"]),
    "stray values": (viability(lambda v: v.where(v.index > 1, [12.0, 7.0] + [0.0]*(len(v) - 2))), ["12 of s00000", "correct them"]),
    "outside in percent": (column("meta_", viability=lambda t: 100*t.viability), ["outside viability", "divide it by 100"]),
    "counts": (values("lm_", counts), ["training matrix looks like raw counts", "z-scores"]),
    "log counts": (values("lfc_", lambda x: np.log2(counts(x) + 1)), ["outside matrix looks like expression itself"]),
    "zeros": (values("lm_", lambda x: 0*x), ["holds 0 everywhere"]),
    "-9999 for missing": (values("lm_", lambda x: x.where(x.abs() > 0.01, -9999)), ["-9999", "leave these cells empty"]),
    "unknown unit": (column("siginfo", dose_um=lambda t: t.dose_um.astype(str) + " ng/mL"), ["dose", "ng/mL", "uM"]),
    "unknown unit of time": (column("meta_", time_h=lambda t: "3 moons"), ["time", "moons", "hours"]),
    "unknown unit beside": (column("siginfo", dose_unit=lambda t: "mg/kg"), ["dose", "mg/kg"]),
    "hardly any id": (column("siginfo", sig_id=lambda t: t.sig_id.where(t.index < 20, "x" + t.sig_id)), ["share only 20 ids"]),
    "hardly any gene": (column("lfc_", gene=lambda t: t.gene.where(t.index < 5, t.gene + "_at")), ["share only 5 genes"]),
    "an outside matrix alone": (remove("meta_"), ["lfc_with_viab_calced", "meta_with_viab_calced", "training only"]),
    "probes in the model": (coefficients(lambda t: t.assign(gene=t.gene + "_at")), ["coefficients.csv", "no gene of this study"]),
    "two models": (coefficients(lambda t: t.rename(columns={"coefficient": "a"}).assign(b=0.5)), ["several columns", "(a, b)", "'coefficient'"]),
    "a misspelt setting": (write("settings.ini", "[DEFAULT]\nviablity = alive\n"), ["settings.ini", "'viablity'", "did you mean 'viability'?"]),
    "settings that are none": (write("settings.ini", "[DEFAULT]\nnothing\n"), ["settings.ini", "NAME = VALUE"]),
    "settings of another table": (write("settings.ini", "viability = alive\n"), ["siginfo_example.csv", "'alive'"]),
    "shares with a sign": (viability(lambda v: (100*v).round().astype(str) + "%"), ["600 in all", "0.82"]),
    "log molar doses": (column("siginfo", dose_um=lambda t: np.log10(1e-6*t.dose_um)), ["logarithm", "uM"]),
}

@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_remedy(what, folder, spoil):
    how, words = REFUSED[what]
    how(folder, spoil)
    with pytest.raises(InputError) as e: read_folder(folder)
    said = str(e.value)
    assert all(word in said for word in words), said
    assert "\n" not in said and said.endswith((".", "?"))

def spelt(folder, spoil):
    "A gene under two spellings, the second row 0 throughout."
    spoil(folder, "lfc_", lambda t: pd.concat([t, (0*t.set_index("gene").head(1)).reset_index().assign(gene=t.gene[0].lower())]))

ACCEPTED = {  # what a stranger has -> how, words of the report, what must be the same as in the clean tables
    "doses in nM in the cell": (column("siginfo", dose_um=lambda t: (1000*t.dose_um).map("{:g} nM".format)), []),
    "doses in nM by a column beside": (column("siginfo", dose_um=lambda t: 1000*t.dose_um, dose_unit=lambda t: "nM"), []),
    "times in minutes and days": (column("siginfo", time_h=lambda t: np.resize(["1440 min", "1 d", "24 h"], len(t))), []),
    "decimal commas in doses": (column("siginfo", dose_um=lambda t: t.dose_um.map("{:.6f}".format).str.replace(".", ",")), []),
    "rounded doses beside exact ones": (column("siginfo", pert_dose=lambda t: t.dose_um, dose_um=lambda t: None, pert_idose=lambda t: "10 uM"), []),
    "PRISM ids": (column("meta_", pert_id=lambda t: t.pert_id), []),
    "row numbers in the model": (coefficients(lambda t: t.rename_axis("").reset_index()), []),
    "R's intercept and standard errors": (coefficients(lambda t: t.replace("intercept", "(Intercept)").rename(columns={"coefficient": "Estimate"})
                                                       .assign(**{"Std. Error": 0.25, "p": 0.5})), []),
    "the model as one row": (coefficients(lambda t: t.set_index("gene").T), []),
    "a gene twice": (spelt, ["0 throughout", "left out"]),
    "words beside the numbers": (column("siginfo", comment=lambda t: "fine"), []),
}

SAME = ("dose", "time", "viability", "compound")

@pytest.mark.parametrize("what", ACCEPTED)
def test_the_same_study_in_another_dress(what, folder, spoil):
    plain = read_folder(folder)
    how, words = ACCEPTED[what]
    how(folder, spoil)
    settings = {**DEFAULTS, "dose": "pert_idose"} if "pert_idose" in next(folder.glob("siginfo*")).read_text() else DEFAULTS
    study = read_folder(folder, settings=settings)
    pd.testing.assert_frame_equal(study.samples[list(SAME)], plain.samples[list(SAME)], rtol=1e-5, check_dtype=False)
    pd.testing.assert_series_equal(study.coefficients.sort_index(), plain.coefficients.sort_index(), check_names=False, rtol=1e-6)
    assert study.outside.equals(plain.outside) and list(study.unseen) == list(plain.unseen)
    assert all(word in str(study) for word in words)

def coded(folder, training=lambda b: b, outside=lambda b: b, catalogue=lambda b: b, names=True):
    "The same compounds under Broad ids, written differently in each table."
    paths = [next(folder.glob(f"{w}*")) for w in ("siginfo", "meta_", "cpd_")]
    tables = [pd.read_csv(p) for p in paths]
    brd = {c: f"BRD-K{10000000 + i}" for i, c in enumerate(pd.unique(pd.concat([t.pert_id for t in tables])))}
    for path, table, how in zip(paths, tables, (training, outside, catalogue), strict=True):
        table["pert_id"] = how(table.pert_id.map(brd))
        if not names: table = table.drop(columns=["pert_iname", "cpd_name"], errors="ignore")
        table.to_csv(path, index=False)

SPELT = {"batch": lambda b: b + "-001-14-8", "PRISM columns": lambda b: b + "-001-14-8::2.5::HTS", "PRISM rows": lambda b: "BRD:" + b + "-001-14-8",
         "lower case": lambda b: b.str.lower()}

@pytest.mark.parametrize("outside", SPELT.values(), ids=SPELT)
def test_one_compound_is_one_whatever_its_id(outside, folder):
    "Unseen, folds, effects of compounds and mechanisms: all by the same notion."
    plain = read_folder(folder)
    coded(folder, training=lambda b: b.where(b.index % 2 == 0, b + "-300-02-1"), outside=outside, catalogue=lambda b: b + "-001-03-3", names=False)
    study = read_folder(folder)
    assert list(study.unseen) == list(plain.unseen) and plain.unseen.sum() == 264
    assert study.samples["compound"].nunique() == plain.samples["compound"].nunique() == 50
    assert study.mechanism(study.samples).equals(plain.mechanism(plain.samples))
    assert set(study.samples["compound"]) & set(study.outside_samples["compound"]), "mean effects carry across"
    for train, test in training_splits(study.samples):
        plain_ids = plain.samples["compound"]
        assert not set(plain_ids.iloc[train]) & set(plain_ids.iloc[test]), "a compound under two ids lies in one fold"
    assert "several ids for one compound" in str(study)

def test_ids_that_went_through_floats_and_names_with_salts(folder):
    plain = read_folder(folder)
    paths = [next(folder.glob(f"{w}*")) for w in ("siginfo", "meta_")]
    train, out = map(pd.read_csv, paths)
    words = str.maketrans("0123456789", "abcdefghij")
    out["pert_id"], out["pert_iname"] = "OTHER-" + out.pert_id, out.pert_iname.str.translate(words).str.upper() + " hydrochloride"
    train.assign(pert_iname=train.pert_iname.str.translate(words)).to_csv(paths[0], index=False)
    out.to_csv(paths[1], index=False)
    assert list(read_folder(folder).unseen) == list(plain.unseen)
    code = {c: i for i, c in enumerate(pd.unique(pd.concat([plain.samples["compound"], plain.outside_samples["compound"]])))}
    train = train.assign(pert_id=train.pert_id.map(code).astype(float))
    out = out.assign(pert_id=plain.outside_samples["compound"].map(code).to_numpy())
    train.loc[3, "pert_id"] = np.nan
    paths[0].unlink()
    train.drop(columns="pert_iname").to_parquet(folder/"siginfo_example.parquet")
    out.drop(columns="pert_iname").to_csv(paths[1], index=False)
    floats = read_folder(folder)
    assert list(floats.unseen) == list(plain.unseen) and "s00003" in str(floats) and len(floats.samples) == 599

def test_a_catalogue_bridges_ids_and_names(folder, spoil):
    "Training has ids alone, the outside set names alone: the table of compounds knows both."
    plain = read_folder(folder)
    spoil(folder, "siginfo", lambda t: t.drop(columns="pert_iname"))
    spoil(folder, "meta_", lambda t: t.drop(columns="pert_id"))
    study = read_folder(folder)
    assert list(study.unseen) == list(plain.unseen)
    assert study.mechanism(study.outside_samples).tolist() == plain.mechanism(plain.outside_samples).tolist()

def test_nothing_depends_on_the_order_of_rows_genes_or_sides(folder):
    def change(which, how):
        path = next(folder.glob(f"{which}*"))
        how(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    plain = read_folder(folder)
    for which in ("lm_", "siginfo", "lfc_", "meta_", "cpd_", "coefficients"): change(which, lambda t: t.sample(frac=1, random_state=1))
    for which in ("lm_", "lfc_"): change(which, lambda t: t[[t.columns[0], *t.columns[1:][::-1]]])
    shuffled = read_folder(folder)
    for which in ("lm_", "lfc_"): change(which, lambda t: t.set_index(t.columns[0]).T.rename_axis("id").reset_index())
    turned = read_folder(folder)
    for other in (shuffled, turned):
        assert (other.key, other.map_key, other.report) == (plain.key, plain.map_key, plain.report)
        assert other.signatures.equals(plain.signatures) and other.outside.equals(plain.outside)
        assert other.samples.equals(plain.samples) and other.coefficients.equals(plain.coefficients)

def test_doubts_are_said(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.assign(dose_um=1e-6*t.dose_um, time_h=1440, viability=(t.viability > 0.5)*1.0))
    spoil(folder, "lfc_", lambda t: pd.concat([t.iloc[:, :1], 20*t.iloc[:, 1:]], axis=1))
    notes = [s for s in read_folder(folder).report if s.startswith("note:")]
    for word in ("in M or nM", "days or minutes", "a class", "times as widely"): assert any(word in n for n in notes), word

def test_noisy_viabilities_pass(small):
    rng = np.random.default_rng(0)
    noisy = (small.samples.viability + rng.normal(0, 0.15, 600)).clip(-0.3, 2)
    noisy.iloc[0] = 2.0
    assert assemble("noisy", small.signatures, small.samples.assign(viability=noisy)).labelled.all()
    few = noisy.where(small.samples.viability > 0.3, rng.normal(0, 0.02, 600))
    assert assemble("dead", small.signatures, small.samples.assign(viability=few)).labelled.all()

def test_training_alone_is_a_study(folder, spoil):
    remove("lfc_", "meta_", "cpd_")(folder, spoil)
    study = read_folder(folder)
    assert not len(study.outside) and list(study.genes) == list(study.signatures.columns) and not len(study.unseen)
    assert study.mechanism(study.samples).isna().all()
    for word in ("no file lfc_with_viab_calced", "no file cpd_withrep", "no outside set", "no table of compounds"): assert word in str(study)

def test_tables_that_are_not_read_are_named(folder):
    (folder/"lfc_with_viability.csv").write_text("a,b\n1,2\n")
    assert "not read: lfc_with_viability.csv" in str(read_folder(folder))

def test_settings_beside_the_tables_go_before_the_project_s(folder, spoil):
    spoil(folder, "siginfo", lambda t: t.rename(columns={"viability": "alive", "pert_id": "drug"}))
    spoil(folder, "meta_", lambda t: t.rename(columns={"pert_id": "drug"}))
    spoil(folder, "cpd_", lambda t: t.rename(columns={"pert_id": "drug"}))
    (folder/"settings.ini").write_text("[DEFAULT]\nviability = alive\ncompound = drug\nperplexity = 50\n")
    study = read_folder(folder)
    said = "settings.ini beside the tables is used: viability = alive, compound = drug (not used here: perplexity)"
    assert study.labelled.all() and said in study.report

def test_a_column_named_after_its_unit_has_that_unit(folder, spoil):
    plain = read_folder(folder)
    spoil(folder, "siginfo", lambda t: t.assign(dose_nM=1000*t.dose_um).drop(columns="dose_um"))
    assert np.allclose(read_folder(folder, settings={**DEFAULTS, "dose": "dose_nM"}).samples.dose, plain.samples.dose)

def test_half_found_is_flagged(folder, spoil):
    spoil(folder, "lfc_", lambda t: t.assign(gene=t.gene.where(t.index % 3 == 0, t.gene + "_at")))
    spoil(folder, "siginfo", lambda t: t.assign(sig_id=t.sig_id.where(t.index % 3 == 0, "x" + t.sig_id)))
    spoil(folder, "coefficients", lambda t: t.assign(gene=t.gene.where(t.index % 7 == 0, t.gene + "_at")))
    study = read_folder(folder)
    notes = [s for s in study.report if s.startswith("note:")]
    for word in ("genes named alike", "ids of one kind", "published coefficients"): assert any(word in n for n in notes), word

def test_what_was_lost_is_named(folder, spoil):
    spoil(folder, "meta_", lambda t: t.assign(viability=t.viability.where(t.index > 6)))
    spoil(folder, "siginfo", lambda t: t.assign(dose_um=t.dose_um.where(t.index > 1, 0)).drop(index=[5]))
    report = str(read_folder(folder))
    assert "7 outside samples without viability left out: o00000, o00001, o00002, o00003, o00004, …" in report
    assert "counts as unknown (s00000: 0" in report and "no annotation and are left out: s00005" in report

def test_genes_without_a_value_and_empty_samples_are_left_out_and_named(folder, spoil):
    def holes(t):
        t.iloc[:, 3] = np.nan
        t.iloc[7, 1:] = np.nan
        return t
    spoil(folder, "lm_", holes)
    name = pd.read_csv(next(folder.glob("lm_*")), nrows=1).columns[3]
    study = read_folder(folder)
    assert name not in study.signatures and "s00007" not in study.signatures.index and len(study.signatures) == 599
    assert f"no value and are left out: {name}" in str(study) and "of the genes) left out: s00007" in str(study)

# a published model

def test_genes_are_found_by_content(tmp_path):
    "Row numbers are Entrez ids of other genes; symbols and ids both count, the column with more of them wins."
    genes, rng = landmark_genes(), np.random.default_rng(0)
    table = pd.DataFrame({"gene": genes.symbol, "coefficient": rng.normal(size=len(genes))})
    table.to_csv(tmp_path/"coefficients.csv")
    read = read_coefficients(tmp_path/"coefficients.csv", pd.Index(genes.symbol))
    assert np.allclose(read[genes.symbol], table.coefficient)
    entrez = pd.DataFrame({"pr_gene_id": genes.entrez_id, "rank": range(len(genes)), "value": table.coefficient})
    entrez.to_csv(tmp_path/"coefficients.csv", index=False)
    read = read_coefficients(tmp_path/"coefficients.csv", pd.Index(genes.symbol))
    assert np.allclose(read[genes.entrez_id], table.coefficient)
    assert gene_column(entrez, pd.Index(["NOGENE"]))[0] is None

# too few for a claim

def few_compounds(small, n): return small.outside_samples["compound"].isin(small.outside_samples["compound"].unique()[:n]).to_numpy()

def test_few_compounds_give_neither_interval_nor_p(small):
    rows = few_compounds(small, ENOUGH - 1)
    samples = small.outside_samples[rows]
    made = {REFERENCE: np.linspace(0, 1, len(samples)), "other": samples.viability.to_numpy() + 0.1*np.arange(len(samples))}
    table = compared("all", samples, made, {}, repeats=50)
    claims = [c for c in table if c.endswith(("_low", "_high")) or c in ("p", "gain_p")]
    assert table[claims].isna().all(axis=None) and table.pearson.notna().all() and not table.enough.any()
    assert spanned(table.iloc[1], "pearson").endswith("(too few)") and f"fewer than {ENOUGH}" in comparison_text(table)
    rows = few_compounds(small, ENOUGH)
    enough = compared("all", small.outside_samples[rows], {REFERENCE: np.linspace(0, 1, rows.sum())}, {}, repeats=50)
    assert enough.enough.all() and enough.pearson_low.notna().all()

def test_the_optimism_of_few_compounds_has_no_interval(small):
    rows = few_compounds(small, 6)
    index = pd.MultiIndex.from_tuples([("unweighted", 1), ("cluster: sd", 1)], names=["weighting", "alpha"])
    grid = pd.DataFrame({"r_compound": [0.2, 0.1], "r_outside": [0.1, 0.3]}, index)
    made = np.random.default_rng(0).normal(size=(2, len(rows)))
    few, all_ = (optimism(small.outside_samples[r], grid, made[:, r], repeats=20) for r in (rows, np.ones(len(rows), bool)))
    assert np.isnan(few.optimism_low) and np.isfinite(all_.optimism_low)

def test_a_small_set_is_named_before_the_run(small):
    few = dataclasses.replace(small, outside=small.outside[few_compounds(small, 6)], outside_samples=small.outside_samples[few_compounds(small, 6)])
    assert any("of 6 compounds, fewer than 10" in note and note.startswith("note:") for note in size_notes(few))
    assert not size_notes(small)

def test_a_comparison_of_an_earlier_version_is_read_with_its_claims_withheld(tmp_path):
    row = {"compounds": "all", "model": "m", "role": "unweighted", "chosen": "", "left_out": "", "choice": "", "groups": 6,
           "pearson": 0.5, "pearson_low": 0.1, "pearson_high": 0.8, "p": 0.01}
    pd.DataFrame([row]).to_csv(tmp_path/"comparison.csv", index=False)
    table = read_table(tmp_path, "comparison")
    assert not table.enough.any() and table.p.isna().all() and withheld(table).equals(table)

def test_the_headline_is_outside_where_there_is_one():
    index = pd.MultiIndex.from_tuples([("all", "m"), ("inside", "m")], names=["compounds", "model"])
    both = pd.DataFrame({"pearson": [0.1, 0.9]}, index)
    assert headline(both).pearson["m"] == 0.1 and headline(both.loc[["inside"]]).pearson["m"] == 0.9
    assert judged_by(pd.DataFrame(columns=["r_compound"])) == "r_compound"

# what is real

def test_real_tables_pass(data):
    for name in ("viability", "viability_prism"):
        study = read_folder(data/"weighting", settings={**DEFAULTS, "viability": name})
        assert study.labelled.sum() > 200 and len(study.outside) > 100

@pytest.mark.parametrize("z, kind", [(5, "percent inhibition"), (-5, "percent"), (np.nan, "percentages")])
def test_percentages_are_told_by_their_direction(z, kind):
    assert viability_kind(np.linspace(0, 100, 101), z) == kind

def test_a_catalogue_tells_that_an_id_and_a_name_are_one_compound():
    training, outside = pd.DataFrame({"compound": ["BRD-K12345678"]}), pd.DataFrame({"compound": ["X-1"], "name": ["olaparib"]})
    catalogue = pd.DataFrame({"name": ["Olaparib"]}, ["BRD-K12345678-001-01-1"])
    assert not treated_alike(outside, training, np.ones(1, bool))[0]
    assert treated_alike(outside, training, np.ones(1, bool), catalogue)[0]
