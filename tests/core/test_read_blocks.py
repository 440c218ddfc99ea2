"""A matrix read in blocks: every layout gives the same numbers, whatever the blocks, and faults are named."""
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest

from drugnb.core import blocks
from drugnb.core.blocks import open_blocks
from drugnb.core.gct import MATRIX
from drugnb.core.identity import landmark_genes
from drugnb.core.settings import InputError

GENES = landmark_genes().symbol.tolist()[:12]
ENTREZ = landmark_genes().entrez_id.tolist()[:12]

def table(samples=31):
    values = np.random.default_rng(0).standard_normal((samples, len(GENES))).astype(np.float32).round(3)
    values[3, 2] = np.nan
    return pd.DataFrame(values, [f"s{i}" for i in range(samples)], GENES)

def write_gctx(path, frame, genes=None, turned=False, notes=None, gap=-666, **how):
    "A GCTX file of samples x genes; turned: with samples as its rows."
    values = frame.fillna(gap).to_numpy()
    with h5py.File(path, "w") as h:
        h.create_dataset(MATRIX, data=values.T if turned else values, **how)
        ids = {"ROW": frame.columns.tolist() if genes is None else genes, "COL": frame.index.tolist()}
        for side, other in (("ROW", "COL"), ("COL", "ROW")): h[f"0/META/{side}/id"] = ids[other if turned else side]
        for name, of in (notes or {}).items(): h[f"0/META/ROW/{name}"] = of
    return path

def read(source, **options):
    "All blocks of a source as one table."
    parts = list(source.blocks(**options))
    return np.concatenate([n for n, _ in parts]), np.vstack([v for _, v in parts]), len(parts)

def written(kind, frame, folder):
    "The table in one of many layouts."
    path = folder/f"x.{kind.split()[0]}"
    if kind == "gctx": write_gctx(path, frame)
    if kind == "gctx nan": write_gctx(folder/"x.gctx", frame, gap=np.nan)
    if kind == "gctx numbers": write_gctx(path, frame, np.array(ENTREZ, int))
    if kind == "gctx floats": write_gctx(path, frame, np.array(ENTREZ, float))
    if kind == "gctx bytes": write_gctx(path, frame, np.array(ENTREZ, "S"))
    if kind == "gctx turned": write_gctx(path, frame, turned=True)
    if kind == "gctx chunks": write_gctx(path, frame, chunks=(4, 12), compression="gzip")
    if kind == "gctx tall": write_gctx(path, frame, chunks=(31, 3), compression="gzip")
    if kind == "gctx double": write_gctx(path, frame.astype(float))
    if kind == "gctx symbols": write_gctx(path, frame, [f"g{i}" for i in range(12)], notes={"pr_gene_symbol": GENES})
    if kind == "parquet": frame.to_parquet(path)
    if kind == "parquet ids": frame.reset_index(names="sig_id").to_parquet(path)
    if kind == "parquet last": frame.assign(sig_id=frame.index).reset_index(drop=True).to_parquet(path)
    if kind == "parquet turned": frame.T.to_parquet(path)
    if kind == "parquet gaps": frame.fillna(-666).to_parquet(path, row_group_size=9)
    if kind == "feather": frame.reset_index(names="id").to_feather(path)
    if kind == "csv": frame.to_csv(path)
    if kind == "csv gaps": frame.fillna(-666).to_csv(path)
    if kind == "csv turned": frame.T.to_csv(path)
    if kind == "tsv": frame.to_csv(path, sep="\t")
    if kind == "csv.gz": frame.to_csv(path)
    return path

KINDS = ["gctx", "gctx nan", "gctx numbers", "gctx floats", "gctx bytes", "gctx turned", "gctx chunks", "gctx tall", "gctx double", "gctx symbols",
         "parquet", "parquet ids", "parquet last", "parquet turned", "parquet gaps", "feather", "csv", "csv gaps", "csv turned", "tsv", "csv.gz"]

@pytest.mark.parametrize("size", [10, 100, 1 << 21])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_gives_the_same_numbers_in_blocks_of_any_size(kind, size, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", size)
    frame = table()
    source = open_blocks(written(kind, frame, tmp_path))
    names, values, n = read(source)
    by_entrez = kind.split()[-1] in ("numbers", "floats", "bytes")
    assert source.genes.tolist() == (ENTREZ if by_entrez else GENES) and source.count in (31, None)
    assert names.tolist() == frame.index.tolist()
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, frame.to_numpy(), rtol=1e-6)
    assert (n > 1) == (size < 400) or kind == "gctx tall"

@pytest.mark.parametrize("kind", ["gctx", "gctx turned", "gctx chunks", "parquet", "csv", "csv turned", "feather"])
def test_genes_are_read_by_position_in_any_order_and_again(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 16)
    frame = table()
    source = open_blocks(written(kind, frame, tmp_path))
    for some in ([7], [2, 9, 4], [3, 4, 5], [11, 0]):
        np.testing.assert_allclose(read(source, genes=np.array(some))[1], frame.to_numpy()[:, some], rtol=1e-6)

def test_a_table_in_memory_is_a_source_in_either_orientation(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 50)
    frame = table()
    for t in (frame, frame.T): np.testing.assert_allclose(read(open_blocks(t))[1], frame.to_numpy())

def test_genes_are_found_by_those_that_are_wanted_where_none_is_a_landmark(tmp_path):
    frame = table().set_axis([f"protein{i}" for i in range(12)], axis=1)
    path = write_gctx(tmp_path/"x.gctx", frame, turned=True)
    assert open_blocks(path, ["protein3", "protein4"]).genes.tolist() == frame.columns.tolist()

def test_samples_named_like_genes_do_not_turn_a_file(tmp_path):
    "Profiles of knock-downs are named by the gene."
    frame = table(12).set_axis(GENES[::-1], axis=0)
    for kind in ("gctx", "parquet", "csv"):
        names, values, _ = read(open_blocks(written(kind, frame, tmp_path)))
        assert names.tolist() == GENES[::-1]
        np.testing.assert_allclose(values, frame.to_numpy(), rtol=1e-6)

def test_a_sample_named_like_a_gene_does_not_make_its_side_the_genes(tmp_path):
    frame = table().rename({"s4": "TP53"})
    for kind in ("csv turned", "parquet turned", "gctx turned"):
        assert read(open_blocks(written(kind, frame, tmp_path)))[0].tolist() == frame.index.tolist(), kind

@pytest.mark.parametrize("layout", ["numbered", "semicolons", "tabs", "header one short", "more columns", "other program", "two ids"])
def test_layouts_that_only_the_reader_of_whole_files_knows_are_left_to_it(layout, tmp_path):
    frame, path = table().rename_axis("sig_id"), tmp_path/"x.csv"
    if layout == "numbered": frame.reset_index().to_csv(path)
    if layout == "semicolons": frame.to_csv(path, sep=";", decimal=",")
    if layout == "tabs": frame.to_csv(path, sep="\t")
    if layout == "header one short": path.write_text(frame.to_csv(sep=",").replace("sig_id,", "", 1))
    if layout == "more columns": frame.assign(tissue="skin").to_csv(path)
    if layout in ("other program", "two ids"):
        path = tmp_path/"x.parquet"
        more = {"__index_level_0__": range(31)} if layout == "other program" else {"cell": "A375"}
        frame.reset_index().assign(**more)[[*more, "sig_id", *GENES]].to_parquet(path)
    source = open_blocks(path)
    names, values, _ = read(source)
    assert source.whole and source.genes.tolist() == GENES and names.tolist() == frame.index.tolist()
    np.testing.assert_allclose(values, frame.to_numpy(), rtol=1e-5)

def test_a_row_without_a_name_is_refused(tmp_path):
    frame = table(60).reset_index(names="id")
    frame.loc[50, "id"] = None
    frame.to_parquet(tmp_path/"x.parquet")
    with pytest.raises(InputError, match="without an id"): read(open_blocks(tmp_path/"x.parquet"))

def test_whole_numbers_with_gaps(tmp_path):
    frame = pd.DataFrame([[1, -666, 3], [4, 5, 6]], ["a", "b"], GENES[:3])
    with h5py.File(tmp_path/"x.gctx", "w") as h:
        h[MATRIX], h["0/META/ROW/id"], h["0/META/COL/id"] = frame.to_numpy(np.int32), GENES[:3], ["a", "b"]
    frame.to_parquet(tmp_path/"x.parquet")
    for name in ("x.gctx", "x.parquet"):
        assert np.isnan(read(open_blocks(tmp_path/name))[1]).tolist() == [[False, True, False], [False]*3]

# faults

def test_an_infinite_value_is_named(tmp_path):
    frame = table()
    frame.iloc[20, 5] = np.inf
    for kind in ("gctx", "parquet"):
        with pytest.raises(InputError, match=rf"sample 's20', gene '{GENES[5]}'"): read(open_blocks(written(kind, frame, tmp_path)))

def test_faulty_files_are_refused_in_one_sentence(tmp_path):
    frame = table()
    path = write_gctx(tmp_path/"cut.gctx", pd.concat([frame]*40, ignore_index=True).rename("s{}".format))
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(InputError, match="cut.gctx cannot be read"): read(open_blocks(path))
    with h5py.File(tmp_path/"other.gctx", "w") as h: h["data"] = [1]
    with pytest.raises(InputError, match="HDF5 but not GCTX"): open_blocks(tmp_path/"other.gctx")
    (tmp_path/"text.gctx").write_text("no HDF5")
    (tmp_path/"text.parquet").write_text("no Parquet")
    for name in ("text.gctx", "text.parquet"):
        with pytest.raises(InputError, match=f"{name} cannot be read"): open_blocks(tmp_path/name)
    with pytest.raises(InputError, match="There is no file"): open_blocks(tmp_path/"none.gctx")

def test_shapes_that_do_not_fit_and_repeated_samples_are_refused(tmp_path):
    frame = table()
    with pytest.raises(InputError, match="damaged or was not written as GCTX"):
        open_blocks(write_gctx(tmp_path/"x.gctx", frame, genes=GENES[:-1]))
    with pytest.raises(InputError, match="'s0' more than once"):
        open_blocks(write_gctx(tmp_path/"y.gctx", frame.rename({"s1": "s0"})))

def test_text_among_numbers_is_named_as_by_the_reader_of_whole_files(tmp_path):
    lines = table().astype(object)
    lines.iloc[1, 1] = "oops"
    lines.to_csv(tmp_path/"x.csv")
    with pytest.raises(InputError, match="oops"): open_blocks(tmp_path/"x.csv")

def test_little_more_than_a_block_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 12_000)
    frame = table(40_000)
    for kind in ("gctx", "parquet gaps"):
        if kind == "parquet gaps": frame.to_parquet(tmp_path/"x.parquet", row_group_size=2000)
        path = tmp_path/"x.parquet" if kind == "parquet gaps" else written(kind, frame, tmp_path)
        source = open_blocks(path)
        tracemalloc.start()
        for _ in source.blocks(): pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < frame.to_numpy().nbytes/4, kind
