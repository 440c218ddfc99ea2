"""`drugnb query` from end to end: what people type, what they get, and what is said."""
import io

import numpy as np
import pandas as pd
import pytest

from drugnb.combos import use
from drugnb.combos.connect import MIN_REFERENCES
from drugnb.combos.use import LEGEND, chosen_profiles, drugs_in_names, drugs_of, labels_of
from drugnb.command import main
from drugnb.core.identity import landmark_genes
from drugnb.core.settings import InputError, project_path

GENES = landmark_genes().symbol[100:140].tolist()
NAMES = ["drug0__A375__1um", "drug0__A375__10um", "drug1__A375__1um", "drug1__MCF7__1um", "drug2__A375__1um", "drug2__MCF7__1um"]

@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    "A folder with a library and a signature; a call of the command gives its table and what it says."
    rng = np.random.default_rng(0)
    library = pd.DataFrame(rng.standard_normal((6, 40)).round(4), NAMES, GENES)
    library.to_csv(tmp_path/"library.csv")
    (-library.iloc[1]).rename("mine").to_frame().to_csv(tmp_path/"mine.csv")
    monkeypatch.chdir(tmp_path)
    def call(*words, profiles="library.csv"):
        main(["query", *words, "--profiles", profiles])
        out, err = capsys.readouterr()
        return pd.read_csv(io.StringIO(out)) if out else None, err
    call.library, call.folder = library, tmp_path
    def refused(*words, profiles="library.csv"):
        with pytest.raises(SystemExit) as e: main(["query", *words, "--profiles", profiles])
        assert e.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith("drugnb: ") and err.count("\n") == 1
        return err
    call.refused = refused
    return call

def test_both_ranks_the_drug_and_a_legend_of_every_column(asked):
    table, says = asked("mine.csv", "--method", "pearson", "--permutations", "50")
    assert table.drug[0] == NAMES[1] and table["rank"].tolist() == [1, 2, 3, 4, 5, 6] and table.rank_mimic.tolist() == [6, 5, 4, 3, 2, 1]
    assert table.compound.tolist() == [n.split("__")[0] for n in table.drug] and "before '__'" in says
    assert set(table.columns) <= set(LEGEND) and all(f"  {c}: " in says for c in table.columns)

def test_the_help_has_the_legend(capsys):
    with pytest.raises(SystemExit): main(["query", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in (*LEGEND, "--fdr", "--n-extreme", "--n-top", "--up", "--references"): assert word in text

def test_doses_of_one_drug_are_no_pair_however_it_is_told(asked):
    table = pd.DataFrame({"profile": NAMES, "dose": 1, "compound": [n[:5] for n in NAMES]})
    table.iloc[::-1].to_csv("drugs.csv", index=False)  # in another order
    table.rename(columns={"compound": "what"}).to_csv("odd.csv", index=False)
    for how in ([], ["--drugs", "drugs.csv"], ["--drugs", "odd.csv:what"]):
        pairs, says = asked("mine.csv", "--pairs", *how)
        assert (pairs.compound_a != pairs.compound_b).all() and "12 pairs ranked" in says and len(pairs) == 12
        assert (pairs["rank"] + pairs.rank_mimic == 13).all()
    assert "15 pairs ranked" in asked("mine.csv", "--pairs", "--drugs", "none")[1]
    pairs, says = asked("mine.csv", "--pairs", "--drug", "drug1")
    assert ((pairs.compound_a == "drug1") | (pairs.compound_b == "drug1")).all() and "8 pairs ranked" in says
    table.iloc[:4].to_csv("some.csv", index=False)
    assert "2 profiles without a drug" in asked("mine.csv", "--pairs", "--drugs", "some.csv")[1]
    assert "name the one that is meant" in asked.refused("mine.csv", "--drugs", "odd.csv")
    assert "neither a file nor a column" in asked.refused("mine.csv", "--drugs", "pert_iname")

def gct(path, library, **columns):
    "A GCT 1.3 with annotations of its profiles."
    lines = ["#1.3", f"{library.shape[1]}\t{len(library)}\t0\t{len(columns)}", "\t".join(["id", *library.index])]
    lines += ["\t".join([c, *map(str, values)]) for c, values in columns.items()]
    lines += ["\t".join([g, *map(str, library[g])]) for g in library]
    path.write_text("\n".join(lines) + "\n")

def test_a_column_of_the_profiles_own_file(asked):
    library = asked.library.set_axis([f"s{i}" for i in range(6)])
    gct(asked.folder/"library.gct", library, pert_iname=["a", "A", "b", "b", "c hydrochloride", "c"], cell_id=list("xxyyxx"))
    pairs, says = asked("mine.csv", "--pairs", "--drugs", "pert_iname", profiles="library.gct")
    assert "12 pairs ranked" in says and "6 profiles are of 3 drugs, by pert_iname" in says
    one, _ = asked("mine.csv", "--groups", "cell_id", "--permutations", "0", profiles="library.gct")
    plain, _ = asked("mine.csv", "--permutations", "0", profiles="library.gct")
    assert not np.allclose(one.set_index("drug").normalised, plain.set_index("drug").normalised[one.drug])
    assert "its columns are" in asked.refused("mine.csv", "--drugs", "nothing", profiles="library.gct")

def test_lists_of_drugs_to_keep_and_to_leave_out(asked):
    assert set(asked("mine.csv", "--permutations", "0", "--include", "Drug0,drug1__MCF7__1um")[0].drug) == {NAMES[0], NAMES[1], NAMES[3]}
    (asked.folder/"out.txt").write_text("drug0\nDRUG2\nelse\n")
    table, says = asked("mine.csv", "--permutations", "0", "--exclude", "out.txt")
    assert set(table["compound"]) == {"drug1"} and "1 name not among the profiles: else" in says and "4 profiles left out" in says
    assert "No profile is left" in asked.refused("mine.csv", "--include", "aspirin")

def test_up_and_down_lists(asked):
    lowest = asked.library.iloc[1].sort_values().index
    for name, side in (("up.txt", lowest[:6]), ("down.grp", lowest[-6:])): (asked.folder/name).write_text("\n".join(side))
    table, says = asked("--up", "up.txt", "--down", "down.grp", "--permutations", "0")
    assert table.drug[0] == NAMES[1] and table["query"][0] == "up" and "6 up and 6 down genes" in says
    one, says = asked("--down", "down.grp", "--permutations", "0")
    assert one.drug[0] == NAMES[1] and "it has no up genes, so its down genes alone are scored" in says
    assert "not both" in asked.refused("mine.csv", "--up", "up.txt") and "Give a signature" in asked.refused()
    assert "differential expression" in asked.refused("--up", "up.txt", "--fdr", "0.05")

def test_genes_used_and_lost_are_named_in_a_file_beside_the_output(asked):
    more = pd.concat([pd.read_csv("mine.csv", index_col=0), pd.DataFrame({"mine": [1.0, 2]}, ["NOTHERE", "NOR_THIS"])])
    more.to_csv("more.csv")
    _, says = asked("more.csv", "--out", "result.csv", "--permutations", "0")
    genes = pd.read_csv("result_genes.csv")
    assert "2 genes of the query that the profiles lack: NOTHERE, NOR_THIS" in says and "result_genes.csv" in says
    assert genes[~genes.found].gene.tolist() == ["NOTHERE", "NOR_THIS"] and set(genes[genes.found].gene) == set(GENES)

def test_tau_needs_a_hundred_references(asked):
    rng = np.random.default_rng(1)
    for n in (3, MIN_REFERENCES):
        pd.DataFrame(rng.standard_normal((n, 40)), [f"r{i}" for i in range(n)], GENES).to_csv("references.csv")
        table, says = asked("mine.csv", "--references", "references.csv", "--permutations", "0")
        assert table.tau.isna().all() == (n == 3) == ("tau is left out: of 3 references" in says)
    assert table.tau[0] < -90
    assert "not for --pairs" in asked.refused("mine.csv", "--references", "references.csv", "--pairs")

def test_extremes_that_are_all_genes_are_capped_and_said(asked):
    table, says = asked("mine.csv", "--method", "xcos", "--permutations", "0")
    assert "500 extreme genes to each side are all 40 genes: 4 are used" in says
    asked_for, says = asked("mine.csv", "--method", "xcos", "--n-extreme", "4", "--permutations", "0")
    assert asked_for.equals(table) and "are all" not in says

def test_a_differential_expression_table_and_its_filter(asked):
    effect = -asked.library.iloc[1]
    result = pd.DataFrame({"baseMean": 100.0, "log2FoldChange": effect, "padj": np.where(effect.abs() > 0.5, 0.01, 0.9)})
    result.to_csv("deseq2.csv")
    table, says = asked("deseq2.csv", "--method", "cosine", "--permutations", "0")
    assert table["query"].unique().tolist() == ["deseq2"] and table.score[0] == pytest.approx(-1) and "its fold change" in says
    _, says = asked("deseq2.csv", "--fdr", "0.05")
    assert f"{(effect.abs() > 0.5).sum()} of 40 genes have padj below 0.05" in says
    assert asked("deseq2.csv", "--column", "padj", "--method", "pearson", "--permutations", "0")[0]["query"][0] == "deseq2"
    assert "'deseq2' has no score" in asked.refused("deseq2.csv", "--column", "padj", "--permutations", "0")  # all genes of the library go up
    assert "no column 'logFC'" in asked.refused("deseq2.csv", "--column", "logFC")

def test_missing_codes_are_counted_and_no_number(asked):
    text = (asked.folder/"library.csv").read_text().splitlines()
    cells = text[1].split(",")
    cells[1:4] = ["#VALUE!", "-666", ""]
    (asked.folder/"holes.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]))
    table, says = asked("mine.csv", "--method", "pearson", "--permutations", "0", profiles="holes.csv")
    assert table.score.abs().max() <= 1 + 1e-9 and "3 missing values in profiles set to 0" in says
    assert "#VALUE!" in says and "-666" in says

def test_names_that_tell_the_drug_and_names_that_do_not():
    for names in (["a@1", "a@10", "b@1"], ["s:a@1", "t:a@1", "b@2"], ["a_1uM", "a_10 µM", "b 1nM"]):
        assert drugs_in_names(pd.Index(names))[0].tolist() == ["a", "a", "b"]
    lincs = ["P1:BRD-K11111111-001-01-1:10", "P2:BRD-K11111111:1", "P3:BRD-A22222222:1"]
    assert drugs_in_names(pd.Index(lincs))[0].nunique() == 2
    for names in (["a", "a_1", "b"], ["drug1", "drug2"], ["a@1", "b@1"], ["a@1", "a@2", "c"]): assert drugs_in_names(pd.Index(names))[1] == ""
    notes = []
    assert drugs_of("none", pd.Index(["a@1", "a@2"]), None, notes) is None and not notes

def test_a_table_of_drugs_that_contradicts_itself_is_refused(tmp_path):
    pd.DataFrame({"id": ["a", "a", "b"], "drug": ["x", "y", "z"]}).to_csv(tmp_path/"d.csv", index=False)
    with pytest.raises(InputError, match="several drug of the profile 'a'"):
        labels_of(str(tmp_path/"d.csv"), pd.Index(["a", "b"]), tmp_path/"p.csv", ("drug",))
    with pytest.raises(InputError, match="No column of d.csv holds the names"):
        labels_of(str(tmp_path/"d.csv"), pd.Index(["q"]), tmp_path/"p.csv", ("drug",))
    assert chosen_profiles(pd.Index(["a", "b"]), None, "", "", []).all()

def test_a_large_file_is_read_in_blocks(asked, monkeypatch):
    seen = {}
    monkeypatch.setattr(use, "_is_large", lambda path: True)
    import drugnb.combos.library as library
    def blocks(query, profiles, method, **how):
        seen.update(how, method=method, profiles=profiles)
        found = pd.DataFrame({"query": ["mine"], "drug": ["x"], "score": [1.0]})
        found.attrs = {"report": "all read", "notes": []}
        return found
    monkeypatch.setattr(library, "query_library", blocks)
    table, says = asked("mine.csv", "--top", "7")
    assert table.drug.tolist() == ["x"] and "all read" in says and seen["top"] == 7 and seen["method"] == "wtcs"
    assert "read in blocks" in asked.refused("mine.csv", "--pairs")

def test_a_file_read_in_blocks_knows_drugs_groups_and_lists(tmp_path, monkeypatch, capsys):
    rng, genes = np.random.default_rng(3), landmark_genes().symbol[:60].tolist()
    names = [f"d{i}__{c}__1um" for i in range(12) for c in ("A375", "MCF7")]
    profiles = pd.DataFrame(rng.standard_normal((24, 60)), names, genes).astype("float32")
    profiles.to_parquet(tmp_path/"library.parquet")
    groups = pd.DataFrame({"id": names[::-1], "cell": [n.split("__")[1] for n in names[::-1]]})
    groups.to_csv(tmp_path/"cells.csv", index=False)
    profiles.iloc[[0]].rename(index={names[0]: "q"}).to_csv(tmp_path/"q.csv")
    def table():
        use.query(str(tmp_path/"q.csv"), str(tmp_path/"library.parquet"), groups=str(tmp_path/"cells.csv"),
                  exclude="d0", permutations=50, top=100)
        printed = capsys.readouterr()
        return pd.read_csv(io.StringIO(printed.out)).sort_values("drug").reset_index(drop=True), printed.err
    whole, _ = table()
    monkeypatch.setattr(use, "_is_large", lambda path: True)
    blocks, says = table()
    assert "24 profiles are of 12 drugs" in says and "2 profiles left out" in says
    assert len(blocks) == 22 and blocks["compound"].tolist() == whole["compound"].tolist()
    for column in ("rank", "rank_mimic", "score", "normalised"):
        np.testing.assert_allclose(blocks[column], whole[column], atol=1e-5)
    assert blocks.p.between(0, 1).all()

# the cases that broke others' tools

CASES = project_path("../shared/cases/combos")

@pytest.mark.skipif(not CASES.is_dir(), reason="the folder of cases is not there")
@pytest.mark.parametrize("case, query, profiles, words, says", [
    ("01-down-set-absent", "query.csv", "profiles.csv", [], "its up genes alone are scored"),
    ("02-tau-few-references", "query.csv", "profiles.csv", ["--references", "references.csv"], "tau is left out"),
    ("03-gctx-integer-ids", "query.csv", "profiles.gctx", [], "200 of 200 genes"),
    ("06-duplicate-genes", "query.csv", "profiles.csv", [], "with several rows averaged"),
    ("07-de-table-all-columns", "query.csv", "profiles.csv", [], "the query is log2FoldChange"),
    ("08-drug-doses-as-pairs", "query.csv", "profiles.csv", ["--pairs"], "16 profiles are of 8 drugs"),
    ("09-gct-missing-codes", "query.csv", "profiles.gct", [], "-666"),
    ("10-landmark-xcos", "query.csv", "profiles.csv", ["--method", "xcos"], "500 extreme genes"),
    ("12-queried-genes-shown", "query.csv", "profiles.csv", [], "genes of the query that the profiles lack"),
    ("13-sets-as-files", "query.gmt", "profiles.csv", [], "20 up and 20 down genes"),
])
def test_cases(case, query, profiles, words, says, monkeypatch, capsys):
    monkeypatch.chdir(CASES/case)
    main(["query", query, "--profiles", profiles, *words, *([] if "--pairs" in words else ["--permutations", "0"])])
    out, err = capsys.readouterr()
    assert says in err and pd.read_csv(io.StringIO(out))["query"].nunique() == 1
