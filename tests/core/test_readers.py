"""GCT and GCTX: the Broad's own files, round trips, slices of files larger than memory, and files that are not whole."""
import gzip
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest

from drugnb.core import gct
from drugnb.core.gct import read_gct, read_gctx
from drugnb.core.read import read_matrix
from drugnb.core.settings import InputError

LJP009, LJP005 = "cmap/l1ktools/*/matlab/data_pipeline/results/*/*.gct", "cmap/cmapPy/*/cmapPy/pandasGEXpress/tests/functional_tests/test_l1000.gct"
CPC006, PRISM = "cmap/cmapM/*/sig_tools/tests/assets/*.gctx", "cmap/cmapM/*/sig_tools/tests/recall_tests/*.gctx"

def is_text(column): return column.dtype == gct.TEXT
def is_number(column): return column.dtype == np.float64

# real files

@pytest.mark.parametrize("pattern, reader, wells", [(LJP009, read_gct, 371), (LJP005, read_gct, 377), (CPC006, read_gctx, 371)])
def test_plates_come_out_typed_and_alike(mirror, pattern, reader, wells):
    matrix, genes, about = reader(next(mirror.glob(pattern)))
    assert matrix.shape == (978, wells) and (matrix.dtypes == np.float32).all() and matrix.notna().all(axis=None)
    assert matrix.index.equals(genes.index) and matrix.columns.equals(about.index)
    assert genes.pr_gene_id["200814_at"] == "5720" and genes.pr_gene_symbol["200814_at"] == "PSME1" and genes.pr_gene_id.is_unique
    for table in (genes, about):
        for name, column in table.items():
            assert is_text(column) or is_number(column), name
            if gct.NAMING.search(name): assert is_text(column), name
            assert not column.isin([-666, "-666", ""]).any(), name
    assert is_number(genes.pr_analyte_num) and all(is_number(about[c]) for c in ("qc_slope", "qc_f_logp", "qc_iqr", "count_cv", "count_mean"))
    assert all(is_text(about[c]) for c in ("pert_id", "pert_type", "det_plate", "det_well", "rna_well"))

def test_spot_values_of_the_plates(mirror):
    matrix, _, about = read_gct(next(mirror.glob(LJP009)))
    assert matrix.iloc[0, :4].tolist() == pytest.approx([1.0190, 0.7330, -0.3330, 0.3562]) and about.pert_mfc_desc.iloc[0] == "VORINOSTAT"
    assert about.pert_dose.iloc[:4].tolist() == pytest.approx([10, 10, np.nan, np.nan], nan_ok=True) and about.x_hmsl_id.iloc[:2].isna().all()
    matrix, _, about = read_gct(next(mirror.glob(LJP005)))
    assert matrix.loc["200814_at"].iloc[:2].tolist() == pytest.approx([11.3819, 11.3336]) and about.mfc_plate_dim.isna().all()
    assert about.mfc_plate_id.isna().all() and is_text(about.mfc_plate_id), "an id of which nothing is known is still text"
    matrix, _, about = read_gctx(next(mirror.glob(CPC006)))
    assert matrix.iloc[:3, 0].tolist() == pytest.approx([-0.6887418, -1.4419807, 1.4541287])
    assert about.qc_f_logp.iloc[0] == 6.4 and about.pert_desc.iloc[0] == "GELDANAMYCIN" and about.exp_pert_dose.iloc[:3].tolist() == [10]*3

def test_two_plates_of_a_kind_have_the_same_types(mirror):
    one, other = (read_gct(next(mirror.glob(p)))[2].dtypes for p in (LJP005, LJP009))
    shared = one.index.intersection(other.index)
    assert len(shared) > 25 and one[shared].equals(other[shared])

def test_prism_activities(mirror):
    matrix, lines, compounds = read_gctx(next(mirror.glob(PRISM)))
    assert matrix.shape == (489, 1396) and lines.index[:3].tolist() == ["1", "10", "100"] and lines.cell_id.iloc[0] == "ACH-000824"
    assert compounds.target_name.loc["BRD-A00077618"] == "PRKG1" and matrix.iloc[0, 0] == pytest.approx(0.01296198)
    some = read_gctx(next(mirror.glob(PRISM)), rows=["100", "1"], columns=compounds.index[[900, 3, 5]])
    assert some[0].equals(matrix.loc[["100", "1"], compounds.index[[900, 3, 5]]]) and some[2].equals(compounds.iloc[[900, 3, 5]])

# what was written comes back

@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    matrix = pd.DataFrame(rng.normal(size=(60, 90)).astype("f4"), [f"{i}_at" for i in range(60)], [f"P{i // 50}:{i}" for i in range(90)])
    matrix.iloc[3, 4] = np.nan
    matrix.iloc[5, 6] = -666
    rows = pd.DataFrame({"pr_gene_id": [str(1000 + i) for i in range(60)], "pr_gene_title": ['5" end', "it's µ"]*30,
                         "order": np.arange(60.)}, matrix.index)
    columns = pd.DataFrame({"pert_id": ["BRD-1", None, "7"]*30, "det_well": [str(i) for i in range(90)], "pert_dose": [0.37, np.nan, 10]*30,
                            "pert_type": ["trt_cp", None, "12"]*30}, matrix.columns)
    return matrix, rows, columns

def write_gct(path, matrix, rows, columns, version="1.3"):
    cell = lambda v: "-666" if pd.isna(v) else str(v)
    body = [[i, *map(cell, rows.loc[i]), *(v if v == v else "NaN" for v in matrix.loc[i])] for i in matrix.index]
    head = [["id", *rows.columns, *matrix.columns]] + [[c, *["na"]*rows.shape[1], *map(cell, columns[c])] for c in columns]
    counts = [*matrix.shape] + ([rows.shape[1], columns.shape[1]] if version == "1.3" else [])
    text = "\n".join("\t".join(map(str, line)) for line in [[f"#{version}"], counts, *head, *body]) + "\n"
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(text.encode())

def write_gctx(path, matrix, rows, columns, fixed=True, **how):
    def stored(values):
        if values.dtype == float: return values.fillna(-666).to_numpy("f4")
        values = values.fillna("-666").astype(object)
        return np.array([v.encode() for v in values]) if fixed else values.to_list()
    with h5py.File(path, "w") as h:
        h.create_dataset("0/DATA/0/matrix", data=matrix.to_numpy().T, **how)
        for side, t in (("ROW", rows), ("COL", columns)):
            h[f"0/META/{side}/id"] = stored(t.index.to_series())
            for c in t: h[f"0/META/{side}/{c}"] = stored(t[c])

def same(found, wanted):
    for f, w in zip(found, wanted, strict=True):
        w = w.astype({c: gct.TEXT for c in w if w[c].dtype == object})
        w = w.mask(w == -666)
        pd.testing.assert_frame_equal(f, w, check_names=False, check_index_type=False, check_column_type=False, check_like=True)

@pytest.mark.parametrize("name", ["p.gct", "p.gct.gz"])
def test_gct_1_3_comes_back(table, tmp_path, name):
    write_gct(tmp_path/name, *table)
    same(read_gct(tmp_path/name), table)
    assert read_matrix(tmp_path/name).index[0] == "1000", "gene ids are preferred to probe ids"

def test_gct_1_2_comes_back(table, tmp_path):
    matrix, rows, columns = table
    write_gct(tmp_path/"p.gct", matrix, rows[["pr_gene_title"]].rename(columns={"pr_gene_title": "Description"}), columns[[]], "1.2")
    found, notes, nothing = read_gct(tmp_path/"p.gct")
    same([found], [matrix])
    assert notes.Description.iloc[0] == '5" end' and nothing.shape == (90, 0)

LAYOUTS = [{}, {"chunks": (7, 13)}, {"chunks": (7, 60), "compression": "gzip"}, {"chunks": (16, 5), "compression": "lzf"}]

@pytest.mark.parametrize("how", LAYOUTS, ids=str)
@pytest.mark.parametrize("fixed", [True, False])
def test_gctx_comes_back_and_slices_are_slices_of_the_whole(table, tmp_path, how, fixed, monkeypatch):
    write_gctx(tmp_path/"p.gctx", *table, fixed=fixed, **how)
    whole = read_gctx(tmp_path/"p.gctx")
    same(whole, table)
    monkeypatch.setattr(gct, "GAP", 40)
    monkeypatch.setattr(gct, "BLOCK", 1000)
    same(read_gctx(tmp_path/"p.gctx"), table)
    rng = np.random.default_rng(0)
    picks = [(rng.permutation(60)[:k], rng.permutation(90)[:m]) for k in (1, 4, 60) for m in (1, 9, 90)]
    picks += [(np.arange(60)[::-1], np.arange(90)[::-1]), ([], [3]), ([2], []), ([], []), ([5, 5, 2, 5], [89, 0, 89])]
    for i, j in picks:
        rows, columns = list(whole[0].index[i]), list(whole[0].columns[j])
        got = read_gctx(tmp_path/"p.gctx", rows, columns)
        for g, w in zip(got, (whole[0].iloc[i, j], whole[1].iloc[i], whole[2].iloc[j]), strict=True):
            pd.testing.assert_frame_equal(g, w, check_index_type=False, check_column_type=False)
    pd.testing.assert_frame_equal(read_gctx(tmp_path/"p.gctx", columns=["P1:77"])[0], whole[0][["P1:77"]])

def test_a_gctx_with_ids_alone_and_numbers_as_ids(tmp_path):
    "GSE92742's level 5 names its genes by id and says nothing else of them."
    with h5py.File(tmp_path/"p.gctx", "w") as h:
        h["0/DATA/0/matrix"] = np.arange(6.).reshape(3, 2)
        h["0/META/ROW/id"], h["0/META/COL/id"] = np.array([5720, 55847]), np.array(["a", "b", "c"], "S")
    matrix, rows, _ = read_gctx(tmp_path/"p.gctx", rows=[55847], columns=["c", "a"])
    assert matrix.index.tolist() == ["55847"] and matrix.to_numpy().tolist() == [[5, 1]] and rows.shape == (1, 0)

# larger than memory

HUGE = {"rows": {"chunks": (21, 12328)}, "packed": {"chunks": (268, 978), "compression": "gzip"}, "contiguous": {"fill_time": "never"}}

@pytest.mark.parametrize("how", HUGE.values(), ids=HUGE)
def test_a_part_of_twenty_gigabytes_takes_a_part_of_the_memory(tmp_path, monkeypatch, how):
    n, p = 400_000, 12_328
    with h5py.File(tmp_path/"big.gctx", "w") as h:
        m = h.create_dataset("0/DATA/0/matrix", (n, p), "f4", **how)
        m[5, 7], m[399_999, 12_327], m[123_456, 6_000] = 1, 2, 3
        h["0/META/ROW/id"] = np.arange(p).astype("S")
        h["0/META/COL/id"] = np.arange(n).astype("S")
    assert (tmp_path/"big.gctx").stat().st_blocks*512 < 20e6, "nearly all of it is a hole"
    rng, read = np.random.default_rng(1), []
    rows = rng.permutation(np.r_[7, 12_327, 6_000, rng.choice(np.arange(8, 6_000), 975, replace=False)])
    some = np.arange(200_000, 201_997) if "compression" in how else rng.choice(np.arange(150_000, 350_000), 1_997, replace=False)
    columns = rng.permutation(np.r_[5, 399_999, 123_456, some])  # a compressed chunk of 268 is read whole, so those lie together
    plain = h5py.Dataset.__getitem__
    def counted(self, where):
        found = plain(self, where)
        if self.name.endswith("matrix"): read.append(found.nbytes)
        return found
    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    monkeypatch.setattr(gct, "require_whole_hdf5", lambda *_: None)  # which refuses the parts that this file was spared
    tracemalloc.start()
    matrix, *_ = read_gctx(tmp_path/"big.gctx", rows, columns)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert matrix.shape == (978, 2_000) and matrix.to_numpy().sum() == 6
    assert [matrix.loc[r, c] for r, c in (("7", "5"), ("12327", "399999"), ("6000", "123456"))] == [1, 2, 3]
    assert peak < 250e6, "the part is 8 MB, ids and a block take the rest; the whole would be 20 GB"
    assert sum(read) < 1.1*2_000*p*4 + 60e6 and max(read) < 32e6 and len(read) <= 2_000

# what is not whole, or something else

def damaged_gctx(path, table, change):
    write_gctx(path, *table)
    with h5py.File(path, "a") as h: change(h)

def change_ids(h): h["0/META/COL/id"][1] = h["0/META/COL/id"][0]
def drop(part): return lambda h: h.__delitem__(part)
def replace(part, value):
    def change(h):
        del h[part]
        h[part] = value
    return change

@pytest.mark.parametrize("change, said", [
    (drop("0/DATA/0/matrix"), "no 0/DATA/0/matrix"), (drop("0/META"), "no 0/META/ROW/id"), (drop("0/META/COL/id"), "no 0/META/COL/id"),
    (replace("0/META/COL", [1, 2]), "no 0/META/COL/id"), (replace("0/DATA/0/matrix", np.zeros((60, 90))), "names 90 columns and 60 rows"),
    (replace("0/DATA/0/matrix", np.zeros(5)), "shape (5,)"), (replace("0/DATA/0/matrix", np.full((90, 60), b"x")), "is |S1"),
    (replace("0/META/ROW/order", np.zeros(59)), "0/META/ROW/order has 59 values for 60 ids"), (change_ids, "more than once"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_a_gctx_that_does_not_fit_is_named(table, tmp_path, change, said):
    damaged_gctx(tmp_path/"p.gctx", table, change)
    with pytest.raises(InputError) as e: read_gctx(tmp_path/"p.gctx")
    assert "p.gctx" in str(e.value) and said in str(e.value) and str(e.value).endswith(".") and "\n" not in str(e.value)

@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9])
def test_files_that_are_cut_short_are_refused(table, tmp_path, share):
    write_gctx(tmp_path/"p.gctx", *table, chunks=(7, 60), compression="gzip")
    write_gct(tmp_path/"p.gct", *table)
    write_gct(tmp_path/"p.gct.gz", *table)
    for name, reader in (("p.gctx", read_gctx), ("p.gct", read_gct), ("p.gct.gz", read_gct)):
        whole = (tmp_path/name).read_bytes()
        (tmp_path/name).write_bytes(whole[:int(len(whole)*share)])
        with pytest.raises(InputError) as e: reader(tmp_path/name)
        assert name in str(e.value) and str(e.value).endswith(".") and "\n" not in str(e.value)

def test_damage_within_a_gctx_is_refused(table, tmp_path):
    write_gctx(tmp_path/"p.gctx", *table, chunks=(90, 60), compression="gzip")
    with h5py.File(tmp_path/"p.gctx") as h: where = h["0/DATA/0/matrix"].id.get_chunk_info(0)
    content = bytearray((tmp_path/"p.gctx").read_bytes())
    content[where.byte_offset:where.byte_offset + where.size] = bytes(where.size)
    (tmp_path/"p.gctx").write_bytes(content)
    with pytest.raises(InputError, match="p.gctx is not a whole GCTX file"): read_gctx(tmp_path/"p.gctx")

def mend(old, new): return lambda text: text.replace(old, new, 1)

@pytest.mark.parametrize("change, said", [
    (mend("60\t90", "59\t90"), "60 rows follow"), (mend("60\t90", "61\t90"), "60 rows follow"),
    (mend("60\t90", "60\t89"), "line 3 has 94 cells instead of 93"),
    (mend("60\t90\t3\t4", "60\t90\t3\t3"), "row 'pert_type'"), (mend("60\t90\t3\t4", "60\t90"), "second line"),
    (mend("60\t90", "0\t90"), "second line"),
    (mend("#1.3", "#1.4"), "does not begin"), (mend("P0:1\t", "P0:0\t"), "'P0:0' more than once"),
    (mend("\n7_at", "\n6_at"), "'6_at' more than once"),
    (lambda text: text[:text.rindex("\t")] + "\n", "a row has 93 cells instead of 94"),
    (lambda text: text[:text.rindex("\t") + 1] + "high\n", "'high' in row '59_at', column 'P1:89'"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_a_gct_that_does_not_fit_is_named(table, tmp_path, change, said):
    write_gct(tmp_path/"p.gct", *table)
    (tmp_path/"p.gct").write_text(change((tmp_path/"p.gct").read_text()))
    with pytest.raises(InputError) as e: read_gct(tmp_path/"p.gct")
    assert "p.gct" in str(e.value) and said in str(e.value) and str(e.value).endswith(".") and "\n" not in str(e.value)

def test_ids_that_are_not_there_and_files_that_are_not_there(table, tmp_path):
    write_gctx(tmp_path/"p.gctx", *table)
    with pytest.raises(InputError, match=r"p.gctx has no row '99_at' \(2 of the 3"): read_gctx(tmp_path/"p.gctx", rows=["1_at", "99_at", "98_at"])
    with pytest.raises(InputError, match=r"p.gctx has no column 'P9:9'"): read_gctx(tmp_path/"p.gctx", columns=["P9:9"])
    for reader in (read_gct, read_gctx):
        with pytest.raises(InputError, match="There is no file"): reader(tmp_path/"none")
    (tmp_path/"text.gctx").write_text("#1.3\n")
    with pytest.raises(InputError, match="not HDF5"): read_gctx(tmp_path/"text.gctx")

@pytest.mark.parametrize("name, values, wanted", [
    ("pr_gene_id", np.array([5720, -666], "f4"), ["5720", None]), ("pert_id", np.array([b"1.0", b""]), ["1", None]),
    ("det_well", np.array([1, 2]), ["1", "2"]),
    ("dose", np.array([0.37, -666], "f4"), [0.37, np.nan]), ("dose", np.array([b"1e-3", b" 2 "]), [0.001, 2.0]),
    ("count", np.array([3, -666]), [3.0, np.nan]),
    ("code", np.array([b"1", b"x"]), ["1", "x"]), ("unit", np.array(["µM".encode(), "µM".encode("latin-1")]), ["µM", "µM"]),
    ("idea", np.array([b"1.0"]), [1.0]), ("nothing", np.array([b"-666"]), [np.nan]),
])
def test_one_rule_for_types(name, values, wanted):
    found = gct.typed_column(name, values)
    pd.testing.assert_series_equal(found, pd.Series(wanted, dtype=float if isinstance(wanted[0], float) else gct.TEXT))

def test_the_type_of_a_part_is_that_of_the_whole():
    assert is_text(gct.typed_column("code", np.array([b"1", b"x"]), np.array([0])))
