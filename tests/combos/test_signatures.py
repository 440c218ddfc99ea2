"""Queries as people have them: tables of differential expression, sets, lists; one reading each, or a question."""
import gzip

import numpy as np
import pandas as pd
import pytest

from drugnb.combos.connect import matched, query_drugs
from drugnb.combos.signatures import (
    compares_groups,
    fold_changes,
    query_of_sets,
    query_of_table,
    read_genes,
    read_signatures,
    signed_set,
)
from drugnb.core.identity import landmark_genes
from drugnb.core.read import read_gene_sets as read_gmt
from drugnb.core.settings import InputError

GENES = landmark_genes().symbol[:30].tolist()
EFFECT = np.random.default_rng(0).standard_normal(30).round(3)

def table(*columns, genes=GENES, effect=""):
    "A row a gene; the column `effect` holds the true effects, the others noise."
    rng = np.random.default_rng(len(columns))
    frame = pd.DataFrame({c: np.abs(rng.standard_normal(len(genes))) for c in columns}, genes)
    if effect: frame[effect] = EFFECT[:len(genes)]
    return frame

TOOLS = {
    "limma": (["logFC", "AveExpr", "t", "P.Value", "adj.P.Val", "B"], "logFC"),
    "edgeR": (["logFC", "logCPM", "F", "PValue", "FDR"], "logFC"),
    "edgeR exact": (["logFC", "logCPM", "PValue", "FDR"], "logFC"),
    "DESeq2": (["baseMean", "log2FoldChange", "lfcSE", "stat", "pvalue", "padj"], "log2FoldChange"),
    "DESeq2 shrunken": (["baseMean", "log2FoldChange", "lfcSE", "pvalue", "padj"], "log2FoldChange"),
    "Seurat": (["p_val", "avg_log2FC", "pct.1", "pct.2", "p_val_adj"], "avg_log2FC"),
    "Seurat 3": (["p_val", "avg_logFC", "pct.1", "pct.2", "p_val_adj"], "avg_logFC"),
    "scanpy": (["scores", "logfoldchanges", "pvals", "pvals_adj"], "logfoldchanges"),
    "by hand": (["Log2 Fold Change", "p-value", "q-value"], "Log2 Fold Change"),
    "no fold change": (["t", "P.Value"], "t"),
    "GEO2R": (["adj.P.Val", "P.Value", "t", "B", "logFC"], "logFC"),
}

@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("way", ["unnamed", "R", "column", "last", "tsv.gz"])
def test_the_fold_change_of_every_tool_is_the_one_query(tmp_path, tool, way):
    columns, effect = TOOLS[tool]
    frame, path = table(*columns, effect=effect), tmp_path/"result.csv"
    if way == "unnamed": frame.to_csv(path)
    if way == "R": path.write_text("".join(f"{line}\n" for line in frame.to_csv().lstrip(",").splitlines()))  # a header one short
    if way == "column": frame.rename_axis("gene").to_csv(path)
    if way == "last": frame.assign(symbol=GENES).set_axis([f"ENSG{i:011d}" for i in range(30)]).rename_axis("ID").to_csv(path)
    if way == "tsv.gz":
        path = tmp_path/"result.tsv.gz"
        path.write_bytes(gzip.compress(frame.rename_axis("names").to_csv(sep="\t").encode()))
    found = read_signatures(path, known=set(GENES))
    assert found.shape == (1, 30) and found.index.tolist() == ["result"]
    np.testing.assert_allclose(found.loc["result", GENES], EFFECT)
    assert any(effect in line for line in found.attrs["report"])

def test_a_frame_in_python_is_read_alike():
    deseq2 = table(*TOOLS["DESeq2"][0], effect="log2FoldChange")
    profiles = pd.DataFrame(np.random.default_rng(1).standard_normal((4, 30)), list("abcd"), GENES)
    found, _ = matched(deseq2, profiles)
    assert found.shape == (1, 30) and np.allclose(found.loc["query"], EFFECT)
    plain = pd.Series(EFFECT, GENES, name="query")
    pd.testing.assert_frame_equal(query_drugs(deseq2, profiles, permutations=0), query_drugs(plain, profiles, permutations=0))

def test_ordinary_tables_of_several_signatures_stay_several(tmp_path):
    several = table("patient 1", "patient 2", "t1")
    several.to_csv(tmp_path/"several.csv")
    assert not compares_groups(several) and not compares_groups(table("F", "B", "T")), "genes called F and B are no statistics"
    found = read_signatures(tmp_path/"several.csv")
    assert 3 in found.shape and 30 in found.shape

@pytest.mark.parametrize("columns, says", [
    (["logFC.treated", "logFC.washed", "logCPM", "F", "PValue"], "logFC.treated, logFC.washed.*--column"),
    (["log2FoldChange", "logFC", "padj"], "--column"),
    (["baseMean", "pvalue", "padj"], "without a fold change.*--column"),
    (["FC", "p-value"], "without a fold change.*FC.*--column"),
])
def test_where_several_or_none_could_be_meant_it_asks(columns, says):
    with pytest.raises(InputError, match=says): query_of_table(table(*columns))

def test_a_column_by_name_and_several_of_them():
    frame = table("logFC.a", "logFC.b", "F", "PValue")
    assert query_of_table(frame, column="logfc_B").loc["query"].tolist() == frame["logFC.b"].tolist()
    assert query_of_table(frame, "x", column="logFC.a, logFC.b").index.tolist() == ["x logFC.a", "x logFC.b"]
    with pytest.raises(InputError, match="no column 'lfc'.*logFC.a"): query_of_table(frame, column="lfc")
    with pytest.raises(InputError, match="holds no numbers"): query_of_table(frame.assign(gene="x"), column="gene")

def test_a_filter_by_fdr_leaves_the_others_measured_and_unmoved():
    frame = table(*TOOLS["limma"][0], effect="logFC").assign(**{"adj.P.Val": np.r_[np.full(5, 0.01), np.full(24, 0.5), np.nan]})
    found = query_of_table(frame, fdr=0.05).loc["query", GENES]
    assert np.allclose(found[:5], EFFECT[:5]) and (found[5:] == 0).all()
    with pytest.raises(InputError, match="No gene.*raise --fdr"): query_of_table(frame, fdr=0.001)
    with pytest.raises(InputError, match="needs a column of adjusted p"): query_of_table(frame.drop(columns="adj.P.Val"), fdr=0.05)

def test_clusters_one_below_the_other_are_queries_of_their_own():
    two = [table(*TOOLS["Seurat"][0], effect="avg_log2FC").assign(cluster=c).rename_axis("gene").reset_index() for c in ("T cells", "B cells")]
    found = query_of_table(pd.concat(two), "markers")
    assert found.index.tolist() == ["markers T cells", "markers B cells"] and np.allclose(found.loc["markers B cells", GENES], EFFECT)

def test_repeats_dates_and_nameless_rows_are_named(tmp_path):
    frame = pd.DataFrame({"gene": ["TP53", "TP53", "1-Sep", None, "MYC"], "logFC": [2.0, -1, 3, 4, 1], "PValue": 0.1})
    found = query_of_table(frame)
    assert found.loc["query"].to_dict() == {"TP53": 0.5, "MYC": 1.0}
    says = " ".join(found.attrs["report"])
    for word in ("1 gene of query with several rows averaged (TP53)", "opposite signs", "1-Sep", "1 row without a gene"): assert word in says
    assert "above 0" in " ".join(query_of_table(table("logFC", "PValue")).attrs["report"])

def test_entrez_and_ensembl_ids_are_symbols():
    ids = landmark_genes().entrez_id[:30].astype(int)
    found = query_of_table(pd.DataFrame({"entrez": ids.to_numpy(), "logFC": EFFECT, "FDR": 0.5}))
    assert np.allclose(found.loc["query", GENES], EFFECT)

# sets

def test_sets_are_joined_by_the_endings_of_their_names():
    sets = {"a_UP": ["TP53"], "a_DN": ["MYC"], "b up": ["TP53"], "b down": ["MYC"], "HALLMARK_C": ["JUN"], "d.dn": ["TP53"], "soup": ["JUN"]}
    found = query_of_sets(sets)
    assert found.index.tolist() == ["a", "b", "HALLMARK_C", "d", "soup"]
    assert found.loc["a"].dropna().to_dict() == {"TP53": 1, "MYC": -1} == found.loc["b"].dropna().to_dict()
    assert found.loc["d"].dropna().to_dict() == {"TP53": -1} and "soup" in found.attrs["report"][-1]
    assert query_of_sets({"UP": ["TP53"], "DN": ["MYC"]}, "mine").index.tolist() == ["mine"]
    with pytest.raises(InputError, match="Two sets of the query a are its down genes"): query_of_sets({"a_dn": ["TP53"], "a_down": ["MYC"]})

def test_a_gene_on_both_sides_is_left_out_and_said():
    found = signed_set(["TP53", "MYC", "7157"], ["MYC"], "x")
    assert found.loc["x"].to_dict() == {"TP53": 1} and "both sides" in found.attrs["report"][1]
    with pytest.raises(InputError, match="has no gene"): signed_set(["MYC"], ["MYC"])

@pytest.mark.parametrize("text", [
    "TP53\nMYC\n", "TP53\r\nMYC\r\n", "# a comment\nTP53\nMYC", "gene\nTP53\nMYC\n", '"TP53"\n"MYC"\n', "TP53, MYC", "TP53\tMYC", "\ufeffTP53\nMYC",
    "gene,logFC\nTP53,1\nMYC,2\n"])
def test_lists_in_every_form(tmp_path, text):
    path = tmp_path/"list.txt"
    path.write_text(text, encoding="utf-8")
    assert read_genes(path) == ["TP53", "MYC"]

def test_sets_in_files(tmp_path):
    (tmp_path/"x.gmt").write_text("s_up\tna\tTP53\tMYC\t\t\ns_dn\thttp://x\tJUN\n")
    assert read_gmt(tmp_path/"x.gmt") == {"s_up": ["TP53", "MYC"], "s_dn": ["JUN"]}
    assert read_signatures(tmp_path/"x.gmt").loc["s"].to_dict() == {"TP53": 1, "MYC": 1, "JUN": -1}
    (tmp_path/"w.gmt").write_text("s_up\tup after JUN, 24 h; twice\tTP53\tNA\tMYC\n")
    assert read_gmt(tmp_path/"w.gmt") == {"s_up": ["TP53", "MYC"]}, "only tabs separate: a description may hold commas"
    (tmp_path/"y.grp").write_text("TP53\nMYC\n")
    assert read_signatures(tmp_path/"y.grp").loc["y"].to_dict() == {"TP53": 1, "MYC": 1}
    (tmp_path/"z.csv").write_text("gene,direction\nTP53,up\nMYC,DOWN\n")
    assert read_signatures(tmp_path/"z.csv").loc["z"].to_dict() == {"TP53": 1, "MYC": -1}
    (tmp_path/"v.gmt").write_text("a\tna\nb\tna\tTP53\n")
    for name, says in (("v.gmt", "has no genes after its description"), ("none.gmt", "There is no file")):
        with pytest.raises(InputError, match=says): read_signatures(tmp_path/name)
    (tmp_path/"empty.txt").write_text("")
    with pytest.raises(InputError, match="is empty"): read_genes(tmp_path/"empty.txt")

def test_a_signature_of_a_matrix_by_name(tmp_path):
    frame = table("a", "b")
    frame.T.to_csv(tmp_path/"x.csv")
    lines = ["#1.2", "30\t2", "Name\tDescription\ta\tb", *(f"{g}\tna\t{v.a}\t{v.b}" for g, v in frame.iterrows())]
    (tmp_path/"x.gct").write_text("\n".join(lines) + "\n")
    one = read_signatures(tmp_path/"x.gct", column="b")
    assert one.index.tolist() == ["b"] and np.allclose(one.loc["b", GENES], frame.b)
    for how in ({"column": "c"}, {"fdr": 0.1}):
        with pytest.raises(InputError, match="has no signature|--fdr needs one"): read_signatures(tmp_path/"x.gct", **how)
    (tmp_path/"s.gmt").write_text("s\tna\tTP53\n")
    with pytest.raises(InputError, match="holds sets"): read_signatures(tmp_path/"s.gmt", fdr=0.1)

def test_fdr_without_statistics_is_refused(tmp_path):
    table("effect").rename_axis("gene").to_csv(tmp_path/"x.csv")
    with pytest.raises(InputError, match="--fdr needs one"): read_signatures(tmp_path/"x.csv", fdr=0.1)

def test_fold_changes_by_name():
    assert fold_changes(table("lfcSE", "logFC_se", "log2FC")) == ["log2FC"] and fold_changes(table("x", "y")) == []
