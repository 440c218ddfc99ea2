"""Tables as people have them: what each layout is read as, or the sentence that refuses it."""
import bz2
import gzip
import lzma
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest

from drugnb.core.read import find_table, read_annotations, read_matrix, read_table
from drugnb.core.settings import InputError

PLAIN = pd.DataFrame([[1.5, -2, 0], [0.25, 7, 3]], ["s1", "s2"], ["TP53", "MYC", "GAPDH"], dtype=np.float32)

def put(folder, name, content):
    "A file with this text or these bytes."
    path = folder/name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path

def zipped(folder, text, *more):
    with zipfile.ZipFile(folder/"m.csv.zip", "w") as z:
        for name in ("m.csv", *more): z.writestr(name, text)
    return folder/"m.csv.zip"

def one_sentence(error):
    text = str(error.value)
    return "\n" not in text and text.endswith(".") and len(text) < 400

CSV = "id,TP53,MYC,GAPDH\ns1,1.5,-2,0\ns2,0.25,7,3\n"
TAB = CSV.replace(",", "\t")
READ = {  # layout: (name, content) of a file that holds PLAIN
    "comma": ("m.csv", CSV), "tab": ("m.tsv", TAB), "tab in .txt": ("m.txt", TAB), "comma in .txt": ("m.txt", CSV),
    "tab in .csv": ("m.csv", TAB), "no ending": ("m", CSV), "gzip": ("m.csv.gz", gzip.compress(CSV.encode())),
    "gzip without its ending": ("m.csv", gzip.compress(CSV.encode())),
    "bgzip": ("m.csv.gz", gzip.compress(CSV[:20].encode()) + gzip.compress(CSV[20:].encode())),
    "bzip2": ("m.csv.bz2", bz2.compress(CSV.encode())), "xz": ("m.csv.xz", lzma.compress(CSV.encode())),
    "no ending that it is": ("m.csv.gz", CSV),
    "semicolons, decimal comma": ("m.csv", CSV.replace(",", ";").replace(".", ",")),
    "semicolons, decimal point": ("m.csv", CSV.replace(",", ";")),
    "tabs, decimal comma": ("m.txt", TAB.replace(".", ",")), "quoted decimal comma": ("m.csv", CSV.replace("1.5", '"1,5"').replace("0.25", '"0,25"')),
    "Excel's sep=": ("m.csv", "sep=;\n" + CSV.replace(",", ";")), "Excel's sep= with mark": ("m.csv", "\ufeffsep=,\r\n" + CSV),
    "upright strokes": ("m.txt", CSV.replace(",", "|")),
    "R write.table": ("m.txt", '"TP53" "MYC" "GAPDH"\n"s1" 1.5 -2 0\n"s2" 0.25 7 3\n'),
    "R write.table, tabs": ("m.tsv", "TP53\tMYC\tGAPDH\ns1\t1.5\t-2\t0\ns2\t0.25\t7\t3\n"),
    "R write.table, tabs and quotes": ("m.txt", '"TP53"\t"MYC"\t"GAPDH"\n"s1"\t1.5\t-2\t0\n"s2"\t0.25\t7\t3\n'),
    "R write.csv": ("m.csv", '"","TP53","MYC","GAPDH"\n"s1",1.5,-2,0\n"s2",0.25,7,3\n'),
    "R write.csv, commas in .tsv": ("m.tsv", '"","TP53","MYC","GAPDH"\n"s1",1.5,-2,0\n"s2",0.25,7,3\n'),
    "pandas' index": ("m.csv", ",id,TP53,MYC,GAPDH\n0,s1,1.5,-2,0\n1,s2,0.25,7,3\n"),
    "pandas' index read back": ("m.csv", "Unnamed: 0,id,TP53,MYC,GAPDH\n0,s1,1.5,-2,0\n1,s2,0.25,7,3\n"),
    "pandas' index, rows chosen": ("m.csv", ",id,TP53,MYC,GAPDH\n17,s1,1.5,-2,0\n4,s2,0.25,7,3\n"),
    "every cell quoted": ("m.csv", "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in CSV.split())),
    "byte-order mark": ("m.csv", "\ufeff" + CSV), "UTF-16": ("m.txt", TAB.encode("utf-16")),
    "UTF-16 without mark": ("m.txt", TAB.encode("utf-16-le")),
    "lines of Windows": ("m.csv", CSV.replace("\n", "\r\n")), "lines of old Macs": ("m.csv", CSV.replace("\n", "\r")),
    "no line end": ("m.csv", CSV.strip()), "blank lines": ("m.csv", "\n" + CSV.replace("\n", "\n\n")),
    "a tab too many in all lines": ("m.tsv", TAB.replace("\n", "\t\n")), "in rows": ("m.tsv", TAB.replace("\n", "\t\n").replace("\t\n", "\n", 1)),
    "in the header": ("m.tsv", TAB.replace("\n", "\t\n", 1)), "empty columns and rows of Excel": ("m.csv", CSV.replace("\n", ",,\n") + ",,,,,\n"),
    "comments": ("m.tsv", "# by a program\n#\n" + TAB), "header with #": ("m.tsv", "#" + TAB),
    "GEO's series": ("m.txt", '!Series_title\t"x"\n!series_matrix_table_begin\n' + TAB.replace("id", '"ID_REF"') + "!series_matrix_table_end\n"),
    "spaces after commas": ("m.csv", CSV.replace(",", ", ")),
    "ids in the last column": ("m.csv", "TP53,MYC,GAPDH,sig_id\n1.5,-2,0,s1\n0.25,7,3,s2\n"),
    "DepMap": ("m.csv", ",SequencingID,ModelID,IsDefaultEntryForModel,ModelConditionID,IsDefaultEntryForMC,TP53,MYC,GAPDH\n"
                        "0,C1,s1,Yes,MC-1,Yes,1.5,-2,0\n1,C2,s2,No,MC-2,No,9,9,9\n2,C3,s2,Yes,MC-3,Yes,0.25,7,3\n"),
    "DepMap's portal": ("m.csv",
    "depmap_id,cell_line_display_name,lineage_1,lineage_6,TP53,MYC,GAPDH\ns1,A375,Skin,,1.5,-2,0\ns2,A549,Skin,,0.25,7,3\n"),
    "a name with a comma": ("m.csv", CSV.replace("s1", '"s1"')), "capital endings": ("M.CSV", CSV),
}

@pytest.mark.parametrize("layout", READ)
def test_layouts_that_are_read(tmp_path, layout):
    found = read_matrix(put(tmp_path, *READ[layout]))
    pd.testing.assert_frame_equal(found, PLAIN, check_names=False)

REFUSED = {  # layout: name, content, words of the sentence
    "words among numbers": ("m.csv", "id,X9,MYC\na,1,1\nb,2,1\nc,no,1\nd,no,1\ne,no,1\n", "'no' in row 'c', column 'X9'"),
    "rows without a last cell": ("m.csv", "id,TP53,MYC\ns1,1\ns2,2\n", "1 name (MYC)"),
    "one column": ("m.csv", "gene\nTP53\n", "one column"), "empty": ("m.csv", "", "empty"), "header alone": ("m.csv", "id,TP53\n", "no rows"),
    "comments alone": ("m.csv", "# nothing\n", "no table"),
    "two separators": ("m.dat", "id\tx,y\ns1\t1,2\n", "tabs or by commas"), "thousands": ("m.csv", 'id,TP53\ns1,"1,234"\n', "thousands"),
    "German thousands": ("m.csv", "id;TP53\ns1;1.234,5\ns2;2,5\n", "'1.234,5'"),
    "English thousands": ("m.csv", 'id,TP53\ns1,"1,234.5"\ns2,2\ns3,3\n', "'1,234.5' in row 's1', column 'TP53'"),
    "both marks": ("m.csv", "id;TP53\ns1;0,5\ns2;0.5\n", "decimal point"),
    "a word": ("m.csv", CSV.replace("0.25", "high"), "'high' in row 's2', column 'TP53'"), "below a limit": ("m.csv", CSV.replace("0.25", "<0.1"),
    "limit of detection"),
    "a word under a gene": ("m.csv", "id,TP53,MYC\ns1,high,1\n", "'high'"),
    "cut": ("m.csv", CSV[:-4], "cut short"), "a name too few": ("m.tsv", "id\tTP53\ns1\t1\t2\t3\ns2\t1\t2\t3\n", "every column one name"),
    "unquoted comma": ("m.csv", CSV.replace("s2", "s,2"), "5 cells instead of 4"),
    "no header": ("m.csv", "s1,1.5,2.5\ns2,0.5,0.25\n", "add a header"), "no ids": ("m.csv", "TP53,MYC\n0.5,1.5\n0.25,2\n", "no column of ids"),
    "no numbers": ("m.csv", "id,cell\ns1,A375\n", "no column of numbers"), "a row without id": ("m.csv", CSV + ",1,2,3\n", "row 3"),
    "repeated ids": ("m.csv", CSV + "s1,1,2,3\n", "'s1' more than once"), "repeated genes": ("m.csv", CSV.replace("MYC", "TP53"),
    "'TP53' more than once"),
    "repeated after trimming": ("m.csv", CSV + " s1 ,1,2,3\n", "'s1' more than once"),
    "infinite": ("m.csv", CSV.replace("7", "inf"), "infinite value in row 's2', column 'MYC'"),
    "Excel's dates": ("m.csv", "gene,s1\n1-Mar,1\n1-Mar,2\nTP53,3\nMYC,3\n", "1-Mar"),
    "dates among genes": ("m.csv", "id,TP53,2-Sep,MYC\ns1,1,2,3\n", "2-Sep"),
    "an old workbook": ("m.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), ".xlsx or CSV"),
    "a web page": ("m.csv", "<!DOCTYPE html>\n<html>", "web page"),
    "Git LFS": ("m.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "R's data": ("m.rds", gzip.compress(b"X\n\0\0\0\3")), "a pickle": ("lm.pkl", b"\x80\x04\x95\0", "pickle"),
    "JSON": ("m.csv", '{"TP53": [1]}', "JSON"), "bytes": ("m.csv", bytes(range(256))*4, "no text"),
    "half a gzip": ("m.csv.gz", gzip.compress(CSV.encode()*99)[:60], "cut short"),
    "not a GCT": ("m.gct", CSV, "does not begin"), "not Parquet": ("m.parquet", CSV, "cannot be read"),
    "half Parquet": ("m.parquet", b"PAR1" + bytes(40), "cannot be read"),
}

@pytest.mark.parametrize("layout", REFUSED)
def test_layouts_that_are_refused(tmp_path, layout):
    name, content, *words = REFUSED[layout]
    with pytest.raises(InputError) as e: read_matrix(put(tmp_path, name, content))
    assert one_sentence(e) and all(w in str(e.value) for w in [name, *words]), str(e.value)

def test_a_missing_file_is_named(tmp_path):
    for read in (read_matrix, read_table):
        with pytest.raises(InputError, match="There is no file"): read(tmp_path/"m.csv")

def test_an_archive_of_one_table_is_read_and_of_several_refused(tmp_path):
    pd.testing.assert_frame_equal(read_matrix(zipped(tmp_path, CSV, "__MACOSX/._m.csv")), PLAIN, check_names=False)
    with pytest.raises(InputError, match=r"2 files \(m.csv, n.csv\)"): read_matrix(zipped(tmp_path, CSV, "n.csv"))

# missing cells

@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_missing_cells_are_counted_by_what_they_hold(tmp_path, separator):
    text = "id,A,B,C\ns1,-666,#VALUE!,NA\ns2,1,-666.0,\ns3,nan,#DIV/0!,2\n".replace(",", separator)
    found = read_matrix(put(tmp_path, "m.csv" if separator != "\t" else "m.tsv", text))
    assert found.isna().to_numpy().tolist() == [[True]*3, [False, True, True], [True, True, False]]
    said, = found.attrs["report"]
    assert said.startswith("7 of 9 cells of m.") and all(w in said for w in ("2 hold -666", "1 holds #VALUE!", "1 holds #DIV/0!",
    "3 are empty or NA"))

@pytest.mark.parametrize("ending", ["parquet", "feather", "xlsx", "h5ad", "gctx", "gct"])
def test_minus_666_is_missing_in_every_format(tmp_path, ending):
    values = PLAIN.copy()
    values.iloc[1, 2] = -666
    path = tmp_path/f"m.{ending}"
    write(values, path)
    found = read_matrix(path)
    found = found if "s1" in found.index else found.T
    assert np.isnan(found.loc["s2", "GAPDH"]) and found.notna().sum().sum() == 5
    assert "1 of 6 cells" in found.attrs["report"][0] and "-666" in found.attrs["report"][0]

def write(values, path):
    "The matrix in a format."
    ending = path.suffix[1:]
    if ending == "parquet": values.to_parquet(path)
    if ending == "feather": values.reset_index(names="id").to_feather(path)
    if ending == "xlsx": pytest.importorskip("openpyxl") and values.to_excel(path)
    if ending == "h5ad": pytest.importorskip("anndata").AnnData(values).write_h5ad(path)
    if ending == "gct":
        rows = "\n".join("\t".join(map(str, (i, *values.loc[i]))) for i in values.index)
        path.write_text("#1.3\n2\t3\t0\t0\nid\t" + "\t".join(values) + "\n" + rows + "\n")
    if ending == "gctx":
        with h5py.File(path, "w") as h:
            h["0/DATA/0/matrix"], h["0/META/ROW/id"], h["0/META/COL/id"] = values.to_numpy(), values.columns.to_numpy("S"), values.index.to_numpy("S")

def test_a_report_does_not_hinder_saving(tmp_path):
    found = read_matrix(put(tmp_path, "m.csv", CSV.replace("7", "-666")))
    found.to_parquet(tmp_path/"again.parquet")
    found.reset_index(names="id").to_feather(tmp_path/"again.feather")
    assert read_matrix(tmp_path/"again.parquet").equals(found)

# Parquet, Feather, workbooks, AnnData

IDS = PLAIN.reset_index(names="sig_id")
STORED = {"index": PLAIN, "first column": IDS, "last column": IDS[["TP53", "MYC", "GAPDH", "sig_id"]], "category": IDS.astype({"sig_id": "category"}),
          "numbers as text": IDS.astype(str), "a second id": IDS.assign(cell="A375").set_index("sig_id"),
          "numbering left over": IDS.set_index(pd.Index([4, 2])),
          "integers": IDS.assign(MYC=IDS.MYC.astype(int)), "nullable": IDS.convert_dtypes(),
          "read by other programs": IDS.assign(**{"__index_level_0__": [0, 1]})[["__index_level_0__", *IDS]]}

@pytest.mark.parametrize("layout", STORED)
@pytest.mark.parametrize("how", ["parquet", "feather"])
def test_stored_frames(tmp_path, layout, how):
    frame = STORED[layout]
    if how == "feather" and not isinstance(frame.index, pd.RangeIndex): frame = frame.reset_index()
    getattr(frame, f"to_{how}")(tmp_path/f"m.{how}")
    pd.testing.assert_frame_equal(read_matrix(tmp_path/f"m.{how}"), PLAIN, check_names=False)

def test_a_text_among_stored_numbers_is_named(tmp_path):
    IDS.astype(str).replace("7.0", "high").to_parquet(tmp_path/"m.parquet")
    with pytest.raises(InputError, match="'high' in row 's2', column 'MYC'"): read_matrix(tmp_path/"m.parquet")

def test_workbooks(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    PLAIN.to_excel(tmp_path/"m.xlsx")
    pd.testing.assert_frame_equal(read_matrix(tmp_path/"m.xlsx"), PLAIN, check_names=False)
    (tmp_path/"m.csv").write_bytes((tmp_path/"m.xlsx").read_bytes())
    assert read_matrix(tmp_path/"m.csv").equals(read_matrix(tmp_path/"m.xlsx")), "a workbook by another name"
    book = openpyxl.Workbook()
    book.active.append(["gene", "s1"])
    book.active.append(["TP53", 1])
    book.active.append([pd.Timestamp("2023-03-01"), 2])
    book.create_sheet("empty")
    book.save(tmp_path/"d.xlsx")
    with pytest.raises(InputError, match="2023-03-01"): read_matrix(tmp_path/"d.xlsx")
    book["empty"].append(["more"])
    book.save(tmp_path/"d.xlsx")
    with pytest.raises(InputError, match=r"2 sheets with something on them \(Sheet, empty\)"): read_table(tmp_path/"d.xlsx")
    book.remove(book["empty"])
    book.active["B3"] = "=B2*2"
    book.save(tmp_path/"d.xlsx")
    with pytest.raises(InputError, match="formulas without their values"): read_table(tmp_path/"d.xlsx")

def test_one_h5ad_is_matrix_and_annotation(tmp_path):
    anndata, sparse = pytest.importorskip("anndata"), pytest.importorskip("scipy.sparse")
    obs = pd.DataFrame({"viability": [0.5, 0.9], "pert_id": pd.Categorical(["BRD-1", "-666"])}, PLAIN.index)
    var = pd.DataFrame({"gene_symbols": PLAIN.columns}, ["ENSG00000141510.16", "ENSG00000136997", "ENSG00000111640"])
    anndata.AnnData(sparse.csr_matrix(PLAIN.to_numpy()), obs, var).write_h5ad(tmp_path/"a.h5ad")
    pd.testing.assert_frame_equal(read_matrix(tmp_path/"a.h5ad"), PLAIN, check_names=False)
    found = read_annotations(tmp_path/"a.h5ad", {"id": "sig_id", "viability": "viability", "compound": "pert_id"}, ["id", "viability", "compound"])
    assert found.index.tolist() == ["s1", "s2"] and found.viability.tolist() == [0.5, 0.9] and found["compound"].isna().tolist() == [False, True]

# GCT and GCTX

GCTS = {
    "plain": "#1.2\n2\t2\nName\tDescription\tS1\tS2\nENSG00000141510.16\tTP53\t1\t2\nENSG00000136997.19\tMYC\t3\t4\n",
    "a tissue of GTEx": "#1.2\n2\t2\nid\tName\tDescription\tS1\tS2\n0\tENSG00000141510.16\tTP53\t1\t2\n1\tENSG00000136997.19\tMYC\t3\t4\n",
}
GCTS |= {"byte-order mark": "\ufeff" + GCTS["plain"], "a tab too many": GCTS["plain"].replace("\n", "\t\n"),
    "tabs after the first lines": GCTS["plain"].replace("#1.2\n2\t2\n", "#1.2\t\t\n2\t2\t\t\n"),
         "lines of Windows": GCTS["plain"].replace("\n", "\r\n"), "lines of old Macs": GCTS["plain"].replace("\n", "\r"),
         "UTF-16": GCTS["plain"].encode("utf-16"),
         "quoted": "#1.2\n2\t2\n" + '"Name"\t"Description"\t"S1"\t"S2"\n"ENSG00000141510.16"\t"TP53"\t1\t2\n"ENSG00000136997.19"\t"MYC"\t3\t4\n',
         "gzip": gzip.compress(GCTS["plain"].encode())}

@pytest.mark.parametrize("layout", GCTS)
@pytest.mark.parametrize("name", ["g.gct", "g.txt"])
def test_gct_as_people_have_it(tmp_path, layout, name):
    found = read_matrix(put(tmp_path, name, GCTS[layout]))
    assert found.to_numpy().tolist() == [[1, 2], [3, 4]] and found.columns.tolist() == ["S1", "S2"]
    assert found.index.tolist() == ["ENSG00000141510.16", "ENSG00000136997.19"]

def test_ids_that_were_cut_off_are_named(tmp_path):
    with pytest.raises(InputError, match="'CPC006_...' more than once: its ids were cut off"):
        read_matrix(put(tmp_path, "g.gct", "#1.3\n1\t2\t0\t0\nid\tCPC006_...\tCPC006_...\ng\t1\t2\n"))

@pytest.mark.parametrize("ids", [np.array([7157, 4609]), np.array([7157.0, 4609.0]), np.array([b"7157 ", b"4609 "]), np.array(["7157", "4609"],
    object)], ids=str)
def test_ids_of_a_gctx_are_names_however_they_are_stored(tmp_path, ids):
    with h5py.File(tmp_path/"g.gctx", "w") as h:
        h["0/DATA/0/matrix"], h["0/META/ROW/id"], h["0/META/COL/id"] = np.array([[1.0, 2.0]]), ids, ["µ"]
    found = read_matrix(tmp_path/"g.gctx")
    assert found.index.tolist() == ["7157", "4609"] and found.columns.tolist() == ["µ"]

def test_a_gct_tells_of_its_samples(tmp_path):
    text = "#1.3\n1\t2\t1\t2\nid\tpr_gene_symbol\tw1\tw2\npert_id\tna\tBRD-1\t-666\ndose\tna\t10\t-666\n7157\tTP53\t1\t2\n"
    found = read_annotations(put(tmp_path, "g.gct", text), {"id": "sig_id", "compound": "PERT_ID"}, ["id", "compound"])
    assert found.index.tolist() == ["w1", "w2"] and found["compound"].isna().tolist() == [False, True] and found.dose.iloc[0] == 10

# annotation tables

NAMES = {"id": "sig_id", "viability": "viability", "compound": "pert_id"}
NOTES = "sig_id,pert_id,viability\n01,5,0.5\n02,7,-666\n"
TABLES = {
    "comma": ("t.csv", NOTES), "tab": ("t.txt", NOTES.replace(",", "\t")), "semicolons": ("t.csv", NOTES.replace(",", ";").replace(".", ",")),
    "index of pandas": ("t.csv", ",sig_id,pert_id,viability\n0,01,5,0.5\n1,02,7,-666\n"),
    "rows chosen": ("t.csv", ",sig_id,pert_id,viability\n8,01,5,0.5\n3,02,7,-666\n"),
    "row names of R": ("t.csv", '"","pert_id","viability"\n"01",5,0.5\n"02",7,NA\n'),
    "write.table": ("t.txt", '"pert_id" "viability"\n"01" 5 0.5\n"02" 7 NA\n'),
    "write.table with ids": ("t.tsv", "sig_id\tpert_id\tviability\n1\t01\t5\t0.5\n2\t02\t7\tNA\n"),
    "another case": ("t.csv", NOTES.replace("sig_id", "Sig.ID").replace("viability", "Viability")), "quotes": ("t.csv", NOTES.replace("01", '"01"')),
    "quotes in .txt": ("t.txt", '"sig_id"\t"pert_id"\t"viability"\n"01"\t"5"\t0.5\n"02"\t"7"\tNA\n'),
    "UTF-16": ("t.txt", NOTES.replace(",", "\t").encode("utf-16")),
    "old Mac": ("t.csv", NOTES.replace("\n", "\r")), "empty rows": ("t.csv", NOTES + ",,\n,,\n"), "spaces": ("t.csv", NOTES.replace(",", " , ")),
    "an error of Excel": ("t.csv", NOTES.replace("-666", "#REF!")), "restricted": ("t.csv", NOTES.replace("-666", "N/A")),
    "numbers as 5.0": ("t.csv", NOTES.replace(",5,", ",5.0,")),
}

@pytest.mark.parametrize("layout", TABLES)
def test_annotation_tables(tmp_path, layout):
    found = read_annotations(put(tmp_path, *TABLES[layout]), NAMES, ["id", "viability", "compound"])
    assert found.index.tolist() == ["01", "02"] and found["compound"].isin(["5", "7", "5.0"]).all()
    assert found.viability.tolist()[0] == 0.5 and found.viability.isna().tolist() == [False, True]

def test_what_is_unusual_is_said(tmp_path):
    def said(text): return " ".join(read_annotations(put(tmp_path, "t.csv", text), NAMES, ["id"]).attrs["report"])
    assert said(NOTES) == ""
    assert "1 cell of column viability in t.csv holds #REF!: missing" in said(NOTES.replace("-666", "#REF!"))
    assert "2 empty rows of t.csv left out" in said(NOTES + ",,\n,,\n")
    assert "1 row of t.csv without an id left out" in said(NOTES + ",9,0.5\n")

@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("start", [0, 1])
def test_numbers_of_rows_are_no_column_and_other_numbers_are(tmp_path, order, start):
    text = ",gene,coefficient\n" + "".join(f"{i + start},G{i},0.5\n" for i in order)
    assert list(read_table(put(tmp_path, "t.csv", text))) == ["gene", "coefficient"]
    entrez = read_table(put(tmp_path, "t.csv", ",coefficient\n7157,0.5\n4609,1\n"))
    assert list(entrez) == ["Unnamed: 0", "coefficient"] and entrez.iloc[:, 0].tolist() == [7157, 4609]

def test_a_last_column_without_cells_is_said(tmp_path):
    found = read_table(put(tmp_path, "t.csv", "block,value,layer\n1,0.5\n2,1\n"))
    assert list(found) == ["block", "value"] and found.attrs["report"] == ["no row of t.csv has a cell of layer"]

BAD = {
    "a cell too many": ("sig_id,viability\n1,A1,3\n", "every column one name"),
    "no such column": (NOTES.replace("viability", "viabilty"), "did you mean 'viabilty'"),
    "two that fit": (NOTES.replace("sig_id,pert_id", "Sig_ID,SIG.ID"), "no column 'sig_id'"),
    "two of one name": (NOTES.replace("pert_id", "viability"), "2 columns called 'viability'"),
    "a quote that swallows": (NOTES.replace("5,", '"5,9,'), "a quote"),
    "cut short": (NOTES[:-7], "cut short"), "unquoted comma": (NOTES.replace("5,", "5,6,"), "4 cells instead of 3"),
}

@pytest.mark.parametrize("layout", BAD)
def test_annotation_tables_that_are_refused(tmp_path, layout):
    text, words = BAD[layout]
    with pytest.raises(InputError) as e: read_annotations(put(tmp_path, "t.csv", text), NAMES, ["id", "viability", "compound"])
    assert one_sentence(e) and words in str(e.value), str(e.value)

@pytest.mark.parametrize("rows", [[50, 250], [50], [], [0, 599]])
def test_a_quote_at_the_beginning_of_a_name_swallows_nothing(tmp_path, rows):
    names = ['"5-AZA' if i in rows else f"drug {i}" for i in range(600)]
    text = "sig_id\tpert_iname\tviability\n" + "".join(f"s{i}\t{n}\t0.5\n" for i, n in enumerate(names))
    found = read_annotations(put(tmp_path, "t.txt", text), {"id": "sig_id"}, ["id"])
    assert found.pert_iname.tolist() == names and len(found) == 600

def test_quotes_that_pair_up_are_taken_off_and_a_cell_may_have_two_lines(tmp_path):
    text = 'sig_id,name,viability\n"s1","a ""b"", c",0.5\n"s2","two\nlines",1\n'
    assert read_table(put(tmp_path, "t.csv", text)).name.tolist() == ['a "b", c', "two lines"]
    assert read_table(put(tmp_path, "t.txt", text.replace(",", "\t"))).name.tolist()[1] == "two lines"

def test_texts_stay_texts_and_numbers_become_numbers(tmp_path):
    text = "code,word,whole,number,comma,truth,mixed,gap\n007,x,1,0.5,\"0,5\",True,1,1\n12,1e3,2,1e3,\"1,25\",False,b,\n"
    found = read_table(put(tmp_path, "t.csv", text))
    assert found.code.tolist() == ["007", "12"] and found.word.tolist() == ["x", "1e3"] and found.mixed.tolist() == ["1", "b"]
    assert found.whole.dtype == int and found.number.tolist() == [0.5, 1000] and found.comma.tolist() == [0.5, 1.25] and found.truth.dtype == bool
    assert found.gap.isna().tolist() == [False, True] and found.gap.dtype == float

def test_letters_of_another_code_page_beyond_the_first_lines(tmp_path):
    text = "sig_id,name,viability\n" + "".join(f"s{i},drug {i},0.5\n" for i in range(70_000)) + "last,10 µM,1\n"
    assert read_table(put(tmp_path, "t.csv", text.encode("cp1252"))).name.iloc[-1] == "10 µM"
    matrix = "id,TP53\n" + "".join(f"sample number {i},0.5\n" for i in range(70_000)) + "last µ,1\n"
    assert read_matrix(put(tmp_path, "m.csv", matrix.encode("cp1252"))).index[-1] == "last µ"

def test_long_lines_are_read(tmp_path):
    names = [f"a name that is as long as some names are, {i}" for i in range(30_000)]
    text = "id\t" + "\t".join(names) + "\n" + "".join(f"{s}" + "\t1"*30_000 + "\n" for s in ("s1", "s2", "s3"))
    assert len("".join(names)) > 1 << 20 and read_matrix(put(tmp_path, "m.csv", text)).shape == (3, 30_000)

def test_the_order_of_rows_and_columns_changes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(30, 8)), [f"s{i}" for i in range(30)], list("ABCDEFGH")).rename_axis("id").reset_index()
    wide = wide.assign(cell="A375", number=range(30))
    first = read_matrix(write_csv(wide, tmp_path))
    for _ in range(3):
        again = read_matrix(write_csv(wide.sample(frac=1, random_state=rng).sample(frac=1, axis=1, random_state=rng), tmp_path))
        pd.testing.assert_frame_equal(again.loc[first.index, first.columns], first)

def write_csv(table, folder):
    table.to_csv(folder/"m.csv", index=False)
    return folder/"m.csv"

@pytest.mark.parametrize("names, pattern, wanted", [
    (["lm_a.csv", "lm_a.bak"], "lm_*", "lm_a.csv"), (["LM_A.TXT.GZ"], "lm_*", "LM_A.TXT.GZ"),
    (["lm_a.xlsx", "~$lm_a.xlsx", "._lm_a.xlsx"], "*lm_*", "lm_a.xlsx"),
    (["lm_a.csv", "LM_B.csv"], "lm_*", "lm_a.csv"), (["a.csv"], "a.csv", "a.csv"), (["lm.csv.zip"], "lm", "lm.csv.zip"),
    (["lm_1.csv"], "lm_*.csv", "lm_1.csv"),
])
def test_which_file_is_meant(tmp_path, names, pattern, wanted):
    for n in names: (tmp_path/n).touch()
    assert find_table(tmp_path, pattern).name == wanted
