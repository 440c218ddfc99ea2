"""Images from files: names, stains, axes, damage, sizes, scale and the cache; what is unclear is refused by name."""
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile

from drugnb.core.settings import InputError, data_folders, read_settings
from drugnb.morphology import images as module
from drugnb.morphology.images import (
    BAD_COLUMNS,
    BadImages,
    cache_paths,
    check_files,
    find_images,
    in_order,
    load_pixels,
    name_parts,
    plain_site,
    plain_stain,
    plain_well,
    shrunk,
    well_name,
    well_position,
    write_example_images,
)

tifffile = pytest.importorskip("tifffile", reason="needs drugnb[deep]")

STAINS = ["DNA", "ER", "Mito"]

def scene(seed=0, shape=(24, 20), dtype="u2"):
    "A picture whose every pixel differs from its neighbours."
    return np.random.default_rng(seed).integers(100, 4000, shape).astype(dtype)

def one(path, **columns): return pd.DataFrame({"path": [str(path)], "plate": "P1", "well": "B02", "site": 1, **columns})

def refused(call, *words, kind=InputError):
    with pytest.raises(kind) as e: call()
    for word in words: assert str(word) in str(e.value), f"{word!r} not in {e.value}"
    assert len(str(e.value)) < 600 and "\n" not in str(e.value)
    return e.value

def said(loaded, *words):
    assert any(all(w in n for w in words) for n in loaded.notes), loaded.notes

@pytest.fixture
def study(tmp_path):
    "Two plates x two wells x two sites x three stains as TIFF, the stains in another order on the second plate."
    rows = []
    for p, order in (("P1", [0, 1, 2]), ("P2", [2, 0, 1])):
        for w in ("B02", "C03"):
            for s in (1, 2):
                for k, c in enumerate(order, 1):
                    name = f"{p}_{w}_s{s}_w{k}.tif"
                    seed = 1000*c + hash_of(p, w, s)
                    tifffile.imwrite(tmp_path/name, scene(seed))
                    rows.append((name, p, w, s, k, STAINS[c], seed, "DMSO" if w == "B02" else "taxol"))
    table = pd.DataFrame(rows, columns=["path", "plate", "well", "site", "index", "stain", "seed", "treatment"])
    return Folder(tmp_path, table)

def hash_of(plate, well, site): return 100*int(plate[1]) + 10*int(well[1:]) + site

class Folder:
    "A study on disk, with what each file holds."
    def __init__(self, path, table): self.path, self.table = path, table
    stains = property(lambda self: self.table[["plate", "index", "stain"]].drop_duplicates())
    indexed = property(lambda self: self.table[["path", "plate", "well", "site", "index", "treatment"]])
    named = property(lambda self: self.indexed.drop(columns="index").assign(channel=self.table["stain"]))
    def load(self, table=None, **more): return load_pixels(self.named if table is None else table, self.path, **more)
    def expected(self, channels=STAINS):
        "Images x channels, by site in the order of the table."
        by = {(r.plate, r.well, r.site, r.stain): r.seed for r in self.table.itertuples()}
        sites = self.table[["plate", "well", "site"]].drop_duplicates()
        return np.stack([[scene(by[(*s, c)]) for c in channels] for s in sites.itertuples(index=False)])

@pytest.fixture(scope="session")
def cases():
    "Small inputs that broke other tools; tests over them are skipped where they are not."
    folder = data_folders(read_settings(Path(__file__).parents[2]))[-1].with_name("cases")/"morphology"
    if not folder.is_dir(): pytest.skip(f"the folder of cases is not at {folder}")
    return folder

# wells, sites, names of files

@pytest.mark.parametrize("text, row, column", [
    ("A1", 1, 1), ("A01", 1, 1), ("a01", 1, 1), ("A-01", 1, 1), ("B - 02", 2, 2), ("H12", 8, 12), ("P24", 16, 24), ("AA02", 27, 2),
    ("AF48", 32, 48), ("r03c11", 3, 11), (" b_2 ", 2, 2)])
def test_a_well_has_one_position(text, row, column):
    assert well_position(text) == (row, column)
    assert plain_well(pd.Series([text]))[0] == well_name(row, column)

@pytest.mark.parametrize("text", ["", "A0", "A00", "A49", "AG1", "12", "B02.1", "nan", "BB", "A100", None])
def test_what_is_no_well_is_refused(text): refused(lambda: well_position(text), "is no well")

def test_every_well_of_a_large_plate_comes_back():
    wells = [(r, c) for r in range(1, 33) for c in range(1, 49)]
    assert [well_position(well_name(*w)) for w in wells] == wells

def test_sites_and_stains_have_one_spelling():
    assert plain_site(pd.Series(["01", 1, 1.0, "s1", "Site 1", "field_01", "top"])).tolist() == ["1"]*6 + ["top"]
    assert plain_stain("Mito") == plain_stain("mito ") == plain_stain("MI-TO") != plain_stain("α-Mito")
    assert plain_stain("Hoechst 33342") == "hoechst33342" and plain_stain("HOECHST", {"Hoechst": "D.N.A"}) == "dna"

@pytest.mark.parametrize("name, plate, well, site, index, channel", [
    ("B02_s1_w1", "", "B02", "1", "1", ""),
    ("G10_s1_w1BEDC2073-A983-4B98-95E9-84466707A25D", "", "G10", "1", "1", ""),
    ("Week1_150607_B02_s4_w107447158-AC79-4467-93A3-7A7B59B2A4C7", "Week1_150607", "B02", "4", "1", ""),
    ("P1_B02_s2_w12", "P1", "B02", "2", "12", ""),
    ("r03c03f03p01-ch2sk1fk1fl1", "", "r03c03", "03", "2", ""),
    ("B7_01_1_3_DAPI_001", "", "B7", "3", "", "DAPI"),
    ("AS_09125_050116030001_D03f00d2", "AS_09125_050116030001", "D03", "00", "2", ""),
    ("MFGTMP_120417_B03_T0001F002L01A01Z01C03", "MFGTMP_120417", "B03", "002", "03", ""),
    ("A - 01(fld 2 wv DAPI)", "", "A - 01", "2", "", "DAPI"),
    ("P1_B02_s3_Mito", "P1", "B02", "3", "", "Mito"),
    ("P1_B02_s1", "P1", "B02", "1", "", ""), ("B02", "", "B02", "", "", "")])
def test_names_of_microscopes_are_understood(name, plate, well, site, index, channel):
    parts = name_parts(pd.Series([name])).iloc[0]
    assert [parts.get(k, "") for k in ("plate", "well", "site", "index", "channel")] == [plate, well, site, index, channel]

def touch(folder, *names):
    for n in names:
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).touch()

def test_a_name_that_fits_no_pattern_is_refused_with_examples(tmp_path):
    touch(tmp_path, "B02_s1_w1.tif", "B02_s1_w2.tif", "overview.tif")
    refused(lambda: find_images(tmp_path), "1 file name of 3", "overview")
    touch(tmp_path/"b", "plate7--B-02--dna.tif")
    found = find_images(tmp_path/"b", r"(?P<plate>\w+)--(?P<well>[A-Z]-\d+)--(?P<channel>\w+)")
    assert found.loc[0, ["plate", "well", "channel"]].tolist() == ["plate7", "B02", "dna"]
    refused(lambda: find_images(tmp_path/"b", r"(?P<plate>\w+"), "no regular expression")
    refused(lambda: find_images(tmp_path/"b", r"(?P<plate>.+)"), "which well")
    refused(lambda: find_images(tmp_path/"none"), "holds no images")

def test_a_folder_is_read_as_it_is_laid_out(tmp_path):
    touch(tmp_path, "HUVEC-1/Plate1/B02_s1_w1.png", "HUVEC-1/Plate1/B02_s1_w2.PNG", "HUVEC-2/Plate1/AA3_s2_w1.TIF",
          "HUVEC-2/Plate1/.B02_s1_w9.tif", "__MACOSX/B02_s1_w1.tif", "HUVEC-1/Plate1/B02_s1_thumb_w1.png", "HUVEC-1/notes.txt")
    found = find_images(tmp_path)
    assert found["plate"].tolist() == ["HUVEC-1_1", "HUVEC-1_1", "HUVEC-2_1"] and found["well"].tolist() == ["B02", "B02", "AA03"]
    assert found["index"].tolist() == ["1", "2", "1"] and "1 thumbnail left out" in found.attrs["notes"][0]

@pytest.mark.parametrize("names, plates", [
    (["P1_B02_s1_w1.tif", "P2_B02_s1_w1.tif"], ["P1", "P2"]),  # several plates in a folder
    (["Week4/Week4_27481/G10_s1_w1.tif", "Week4/Week4_27521/G10_s1_w1.tif"], ["Week4_27481", "Week4_27521"]),
    (["Week1/Week1_22123/Week1_150607_B02_s1_w1.tif", "Week1/Week1_22141/Week1_150607_B02_s1_w1.tif"], ["Week1_22123", "Week1_22141"]),
    (["BR1__2020/Images/r01c01f01p01-ch1sk1fk1fl1.tiff"], ["BR1__2020"]), (["images/P1/B02_s1_w1.png"], ["P1"]), (["B02_s1_w1.png"], [""])])
def test_plates_come_from_folders_or_names(tmp_path, names, plates):
    touch(tmp_path, *names)
    assert find_images(tmp_path)["plate"].tolist() == plates

def test_links_that_lead_back_are_followed_once(tmp_path):
    touch(tmp_path, "P1/B02_s1_w1.tif")
    (tmp_path/"P1/back").symlink_to(tmp_path)
    assert find_images(tmp_path)["path"].tolist() == ["P1/B02_s1_w1.tif"]

def test_several_focal_planes_are_refused(tmp_path):
    touch(tmp_path, "r03c03f03p01-ch1sk1fk1fl1.tiff", "r03c03f03p02-ch1sk1fk1fl1.tiff")
    refused(lambda: find_images(tmp_path), "2 focal planes", "01, 02")

# tables

def test_a_table_is_read_by_name_and_its_sites_keep_their_order(study):
    shuffled = study.named.sample(frac=1, random_state=0)
    turned = shuffled[shuffled.columns[::-1]].rename(columns=str.upper)
    got, base = study.load(turned, channels=STAINS), study.load()
    assert got.images.index.tolist() == list(dict.fromkeys(f"{r.plate} {r.well} {r.site}" for r in shuffled.itertuples()))
    at = base.images.index.get_indexer(got.images.index)
    np.testing.assert_array_equal(got.pixels, base.pixels[at])
    np.testing.assert_array_equal(base.pixels, study.expected())
    assert base.pixels.dtype == np.float32 and base.images["treatment"].tolist() == ["DMSO", "DMSO", "taxol", "taxol"]*2

def test_one_well_in_two_spellings_is_one_site(study):
    table = study.named.copy()
    table.loc[::2, "well"] = table["well"].str.replace("0", "").str.lower()
    table["site"] = "s" + table["site"].astype(str).str.zfill(2)
    np.testing.assert_array_equal(study.load(table).pixels, study.load().pixels)

def test_equal_rows_are_dropped_and_counted(study):
    said(study.load(pd.concat([study.named, study.named.iloc[:2]])), "2 doubled rows")

def test_a_table_that_contradicts_itself_is_refused(study):
    t = study.named
    refused(lambda: study.load(t.drop(columns="path")), "no column path")
    refused(lambda: study.load(t.iloc[:0]), "no rows")
    refused(lambda: study.load(t.assign(well=["", *t["well"][1:]])), "1 row", "no well", t["path"][0])
    refused(lambda: study.load(t.assign(well=["Z99", *t["well"][1:]])), "'Z99' is no well")
    refused(lambda: study.load(t.assign(channel=["", *t["channel"][1:]])), "have no channel")
    twice = pd.concat([t, t.iloc[:1].assign(treatment="taxol")])
    refused(lambda: study.load(twice), t["path"][0], "listed 2 times", "treatment")
    refused(lambda: study.load(t.assign(treatment=["taxol", *t["treatment"][1:]])), "several values of treatment", "DMSO")
    refused(lambda: study.load(on_bad="ignore"), "stop")

def test_paths_may_be_absolute_linked_or_written_as_on_windows(study):
    t = study.named
    (study.path/"sub").mkdir()
    for p in t["path"]: shutil.move(study.path/p, study.path/"sub"/p)
    first = study.load(t.assign(path="sub/" + t["path"])).pixels
    for paths in ("sub\\" + t["path"], [str(study.path/"sub"/p) for p in t["path"]], "./sub/../sub/" + t["path"]):
        np.testing.assert_array_equal(study.load(t.assign(path=paths)).pixels, first)
    (study.path/"link").symlink_to(study.path/"sub")
    np.testing.assert_array_equal(study.load(t.assign(path="link/" + t["path"])).pixels, first)
    upper = t.assign(path="sub/" + t["path"].str.upper())
    for p, q in zip(t["path"], upper["path"], strict=True): shutil.move(study.path/"sub"/p, study.path/q)
    np.testing.assert_array_equal(study.load(upper).pixels, first)

# stains

def test_stains_are_joined_by_name_whatever_their_order(study):
    by_index = study.load(study.indexed, stains=study.stains)
    np.testing.assert_array_equal(by_index.pixels, study.expected())
    assert by_index.channels == tuple(STAINS)
    turned = study.load(study.indexed, stains=study.stains, channels=["mito", "Dna", "er"])
    assert turned.channels == ("mito", "Dna", "er")
    np.testing.assert_array_equal(turned.pixels, study.expected(["Mito", "DNA", "ER"]))
    few = study.load(study.indexed, stains=study.stains, channels=["ER"])
    np.testing.assert_array_equal(few.pixels, study.expected(["ER"]))
    said(few, "2 stains", "DNA, Mito")

def test_the_order_of_the_files_of_a_plate_does_not_matter(study):
    t = study.indexed.sample(frac=1, random_state=3).sort_values("plate", kind="stable")
    assert study.load(t, stains=study.stains).channels == tuple(STAINS)

def test_plates_whose_stains_are_not_one_set_are_refused(study):
    def with_stains(how, **more): return lambda: study.load(study.indexed, stains=how(study.stains), **more)
    refused(with_stains(lambda s: s[(s["plate"] != "P2") | (s["stain"] != "ER")]), "no name for index 3", "plate P2")
    refused(with_stains(lambda s: s.replace({"stain": {"ER": "DNA"}})), "the stain DNA of plate P1", "more than once")
    one_off = study.stains.assign(stain=study.stains["stain"].mask((study.stains["plate"] == "P2") & (study.stains["stain"] == "ER"), "AGP"))
    refused(with_stains(lambda s: one_off), "Plate P2", "no stain ER", "AGP", "aliases")
    refused(with_stains(lambda s: one_off, channels=STAINS), "Plate P2", "no stain ER")
    extra = study.named[(study.named["plate"] != "P1") | (study.named["channel"] != "ER")]
    refused(lambda: study.load(extra), "Plate P2 has ER", "P1 has not")
    refused(with_stains(lambda s: s, channels=["DNA", "ER", "dna"]), "'dna' twice")
    refused(with_stains(lambda s: pd.concat([s, s.iloc[:1].assign(stain="RNA")])), "index 1 of plate P1", "more than once")

def test_other_names_of_a_stain_are_said_not_guessed(study):
    t = study.named.assign(channel=study.named["channel"].mask(study.named["plate"] == "P2", study.named["channel"].replace("DNA", "Hoechst")))
    refused(lambda: study.load(t), "Plate P2", "no stain DNA", "Hoechst")
    np.testing.assert_array_equal(study.load(t, aliases={"hoechst": "DNA"}).pixels, study.expected())

def test_an_order_without_names_is_taken_on_trust_and_said(study):
    refused(lambda: study.load(study.indexed), "Nothing names the stains", "1, 2, 3")
    got = study.load(study.indexed[study.indexed["plate"] == "P1"], channels=STAINS)
    said(got, "channel order taken on trust", "1 is DNA, 2 is ER, 3 is Mito")
    refused(lambda: study.load(study.indexed, channels=["DNA", "ER"]), "plate P1", "DNA, ER")
    shifted = study.indexed.assign(index=study.indexed["index"] + (study.indexed["plate"] == "P2"))
    refused(lambda: study.load(shifted, channels=STAINS), "Plate P2 has the index 2, 3, 4")
    numbers = study.indexed.rename(columns={"index": "channel"})
    refused(lambda: study.load(numbers), "Nothing names the stains")

# axes

@pytest.mark.parametrize("how", [
    dict(metadata={"axes": "CYX"}), dict(metadata=None), dict(), dict(ome=True, metadata={"axes": "CYX"}),
    dict(imagej=True, metadata={"axes": "CYX"}), dict(bigtiff=True), dict(byteorder=">"), dict(compression="lzw"),
    dict(compression="zlib", predictor=True), dict(compression="packbits"),
    dict(tile=(16, 16)), dict(rowsperstrip=5, compression="lzw"), dict(photometric="minisblack", planarconfig="separate"),
    dict(compression="zstd")], ids=str)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_file_of_all_stains_is_read_in_every_kind_of_tiff(tmp_path, how, dtype):
    if how.get("predictor") and dtype == "f4": how = how | dict(predictor=3)
    stack = scene(shape=(5, 24, 20)).astype(dtype) if dtype != "u1" else (scene(shape=(5, 24, 20))//16).astype("u1")
    if how.get("byteorder"): stack = stack.astype(stack.dtype.newbyteorder(">"))
    tifffile.imwrite(tmp_path/"a.tif", stack, **{"photometric": "minisblack", **how})
    got = load_pixels(one("a.tif"), tmp_path, channels=list("abcde"))
    np.testing.assert_array_equal(got.pixels, stack[None].astype(np.float32))
    said(got, "on trust")

@pytest.mark.parametrize("axes, shape", [("YXC", (24, 20, 5)), ("CXY", (5, 20, 24)), ("YCX", (24, 5, 20)), ("TCYX", (1, 5, 24, 20)),
                                         ("ZCYX", (1, 5, 24, 20)), ("TZCYX", (1, 1, 5, 24, 20))])
def test_axes_are_read_from_metadata(tmp_path, axes, shape):
    stack, order = scene(shape=(5, 24, 20)), [a for a in axes if a in "CYX"]
    stored = stack.transpose(["CYX".index(a) for a in order]).reshape(shape)
    tifffile.imwrite(tmp_path/"a.tif", stored, metadata={"axes": axes}, photometric="minisblack")
    np.testing.assert_array_equal(load_pixels(one("a.tif"), tmp_path, channels=list("abcde")).pixels[0], stack)

def test_without_metadata_the_one_axis_that_fits_is_taken_and_else_axes_are_asked_for(tmp_path):
    stack = scene(shape=(5, 24, 20))
    np.save(tmp_path/"cyx.npy", stack)
    np.save(tmp_path/"yxc.npy", stack.transpose(1, 2, 0))
    np.save(tmp_path/"square.npy", scene(shape=(5, 5, 24)))
    names = list("abcde")
    for f in ("cyx", "yxc"): np.testing.assert_array_equal(load_pixels(one(f + ".npy"), tmp_path, channels=names).pixels[0], stack)
    refused(lambda: load_pixels(one("square.npy"), tmp_path, channels=names), "several axes", "5 stains", 'axes="CYX"')
    refused(lambda: load_pixels(one("cyx.npy"), tmp_path, channels=names[:4]), "no axis", "4 stains")
    got = load_pixels(one("square.npy"), tmp_path, channels=names, axes="YCX").pixels[0]
    np.testing.assert_array_equal(got, scene(shape=(5, 5, 24)).transpose(1, 0, 2))
    refused(lambda: load_pixels(one("cyx.npy"), tmp_path, channels=names, axes="CY"), "3 axes", "names 2")
    refused(lambda: load_pixels(one("cyx.npy"), tmp_path, channels=names, axes="CZT"), "do not name Y and X")

def test_metadata_that_contradict_the_stains_are_not_overruled_in_silence(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", scene(shape=(24, 20, 5)), metadata={"axes": "CYX"}, photometric="minisblack")
    refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=list("abcde")), "24 channels", "5 stains", 'axes="CYX"')
    np.testing.assert_array_equal(load_pixels(one("a.tif"), tmp_path, channels=list("abcde"), axes="YXC").pixels[0],
                                  scene(shape=(24, 20, 5)).transpose(2, 0, 1))

def test_focal_planes_and_times_are_no_channels(tmp_path):
    for axes, what in (("ZYX", "focal planes"), ("TYX", "points in time")):
        tifffile.imwrite(tmp_path/"a.tif", scene(shape=(3, 24, 20)), imagej=True, metadata={"axes": axes})
        refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=STAINS), f"3 {what}")

def test_stains_named_inside_a_file_are_joined_by_name(tmp_path):
    stack = scene(shape=(3, 24, 20))
    for name, order in (("a.ome.tif", [0, 1, 2]), ("b.ome.tif", [2, 0, 1])):
        about = {"axes": "CYX", "Channel": {"Name": [STAINS[c] for c in order]}}
        tifffile.imwrite(tmp_path/name, stack[order] + (name > "b"), ome=True, metadata=about, photometric="minisblack")
    table = pd.concat([one("a.ome.tif"), one("b.ome.tif").assign(well="B03")])
    got = load_pixels(table, tmp_path)
    assert got.channels == tuple(STAINS)
    np.testing.assert_array_equal(got.pixels, [stack, stack + 1])
    np.testing.assert_array_equal(load_pixels(table, tmp_path, channels=["Mito", "dna"]).pixels[:, 1], [stack[0], stack[0] + 1])
    refused(lambda: load_pixels(table, tmp_path, channels=["DNA", "AGP"]), "no stain AGP", "DNA, ER, Mito")
    wrong = pd.DataFrame({"index": [0, 1, 2], "stain": ["ER", "DNA", "Mito"]})
    refused(lambda: load_pixels(table, tmp_path, stains=wrong), "a.ome.tif names its stains DNA, ER, Mito", "ER, DNA, Mito")

def test_nothing_that_names_stains_is_refused(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", scene(shape=(3, 24, 20)), photometric="minisblack")
    refused(lambda: load_pixels(one("a.tif"), tmp_path), "Neither the table nor a.tif names the stains")

@pytest.mark.parametrize("first", [0, 1])
def test_one_file_may_be_listed_once_a_stain_with_an_index(tmp_path, first):
    stack = scene(shape=(3, 24, 20))
    tifffile.imwrite(tmp_path/"a.tif", stack, photometric="minisblack")
    table = pd.concat([one("a.tif", index=first + k, channel=STAINS[k]) for k in (2, 0, 1)])
    got = load_pixels(table, tmp_path, channels=STAINS)
    np.testing.assert_array_equal(got.pixels[0], stack)
    np.testing.assert_array_equal(load_pixels(table.drop(columns="channel"), tmp_path, channels=STAINS).pixels[0], stack)
    np.testing.assert_array_equal(load_pixels(table, tmp_path, channels=["ER"]).pixels[0], stack[1:2])

def test_one_file_for_two_stains_without_an_index_is_bad(study):
    t = study.named.assign(path=[study.named["path"][1], *study.named["path"][1:]])
    error = refused(lambda: study.load(t), "2 one file for two stains", kind=BadImages)
    assert error.bad["channel"].tolist() == ["DNA", "ER"]

# colour, palettes, alpha

def png(path, array, mode=None):
    Image.fromarray(array, mode=mode).save(path)
    return one(path.name)

def test_grey_that_was_stored_as_colour_is_one_stain_and_colour_is_not(tmp_path):
    grey = (scene()//16).astype("u1")
    copied = np.repeat(grey[..., None], 3, axis=2)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2)
    alpha = np.concatenate([copied, np.full_like(copied[..., :1], 200)], axis=2)
    tifffile.imwrite(tmp_path/"a.tif", copied, photometric="rgb")
    tifffile.imwrite(tmp_path/"b.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    for table in (png(tmp_path/"a.png", copied), png(tmp_path/"b.png", alpha), one("a.tif"), one("b.tif")):
        np.testing.assert_array_equal(load_pixels(table, tmp_path, channels=["DNA"]).pixels[0, 0], grey)
    tifffile.imwrite(tmp_path/"c.tif", colour, photometric="rgb")
    tifffile.imwrite(tmp_path/"d.tif", colour.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    for table in (png(tmp_path/"c.png", colour), one("c.tif")):
        refused(lambda t=table: load_pixels(t, tmp_path, channels=["DNA"]), "1 colour", table["path"][0], kind=BadImages)
    for table in (one("c.png"), one("c.tif"), one("d.tif")):
        np.testing.assert_array_equal(load_pixels(table, tmp_path, channels=STAINS).pixels[0], colour.transpose(2, 0, 1))
    refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=STAINS), "same content as another", kind=BadImages)
    said(load_pixels(one("b.png"), tmp_path, channels=["DNA"]), "alpha channel was left out", "b.png")

def test_an_alpha_channel_is_no_stain(tmp_path):
    four = (scene(shape=(24, 20, 4))//16).astype("u1")
    tifffile.imwrite(tmp_path/"a.tif", four, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(four).save(tmp_path/"a.png")
    for name in ("a.tif", "a.png"):
        refused(lambda n=name: load_pixels(one(n), tmp_path, channels=list("abcd")), "3 channels", "4 stains")
        np.testing.assert_array_equal(load_pixels(one(name), tmp_path, channels=STAINS).pixels[0], four[..., :3].transpose(2, 0, 1))

def test_palettes_of_greys_are_values_and_palettes_of_colours_are_refused(tmp_path):
    index = (scene()//16).astype("u1")
    index[0, 0] = 255
    ramp = np.arange(256)
    blue = np.stack([0*ramp, 0*ramp, ramp])
    rainbow = np.stack([ramp, ramp[::-1], np.abs(ramp - 128)])
    for name, colours in (("grey", np.stack([ramp]*3)), ("turned", np.stack([ramp[::-1]]*3)), ("blue", blue), ("rainbow", rainbow)):
        tifffile.imwrite(tmp_path/f"{name}.tif", index, photometric="palette", colormap=(257*colours).astype("u2"))
        picture = Image.fromarray(index, mode="P")
        picture.putpalette(colours.T.astype("u1").tobytes())
        picture.save(tmp_path/f"{name}.png")
    for kind in ("tif", "png"):
        def load(n, k=kind): return load_pixels(one(f"{n}.{k}"), tmp_path, channels=["DNA"])
        np.testing.assert_array_equal(load("grey").pixels[0, 0], index)
        np.testing.assert_array_equal(load("turned").pixels[0, 0], 255 - index.astype(int))
        np.testing.assert_array_equal(load("blue").pixels[0, 0], index)
        said(load("blue"), "look-up table")
        refused(lambda f=load: f("rainbow"), "1 colour", kind=BadImages)

def test_white_that_is_zero_is_turned_and_masks_are_refused(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", scene(), photometric="miniswhite")
    got = load_pixels(one("a.tif"), tmp_path, channels=["DNA"])
    np.testing.assert_array_equal(got.pixels[0, 0], 65535.0 - scene())
    said(got, "white was 0")
    tifffile.imwrite(tmp_path/"b.tif", scene() > 2000, photometric="minisblack")
    Image.fromarray(scene() > 2000).save(tmp_path/"b.png")
    np.save(tmp_path/"b.npy", scene() > 2000)
    for kind in ("tif", "png", "npy"):
        refused(lambda k=kind: load_pixels(one(f"b.{k}"), tmp_path, channels=["DNA"]), "no grey values", kind=BadImages)

def test_png_of_8_and_16_bits(tmp_path):
    Image.fromarray(scene()).save(tmp_path/"a.png")
    np.testing.assert_array_equal(load_pixels(one("a.png"), tmp_path, channels=["DNA"]).pixels[0, 0], scene())
    bits = (scene()//16).astype("u1")
    np.testing.assert_array_equal(load_pixels(png(tmp_path/"b.png", bits), tmp_path, channels=["DNA"]).pixels[0, 0], bits)
    codecs = pytest.importorskip("imagecodecs")
    (tmp_path/"c.png").write_bytes(codecs.png_encode(scene(shape=(24, 20, 3))))  # Pillow would make 8 bits of it
    np.testing.assert_array_equal(load_pixels(one("c.png"), tmp_path, channels=STAINS).pixels[0], scene(shape=(24, 20, 3)).transpose(2, 0, 1))

# arrays of many images

@pytest.fixture
def stack(): return scene(shape=(3, 4, 24, 20))

@pytest.mark.parametrize("kind", ["npy", "npz", "zarr2", "zarr3", "group"])
def test_rows_of_an_array_are_images(tmp_path, stack, kind):
    if kind == "npy": np.save(tmp_path/"a.npy", stack)
    elif kind == "npz": np.savez(tmp_path/"a.npz", X=stack, low=np.zeros(4))
    else:
        zarr = pytest.importorskip("zarr")
        where = str(tmp_path/("a.zarr/images" if kind == "group" else "a.zarr"))
        made = zarr.create_array(where, shape=stack.shape, dtype="u2", chunks=(1, 1, 12, 20), zarr_format=2 if kind == "zarr2" else 3)
        made[:] = stack
        if kind == "group": zarr.open_group(str(tmp_path/"a.zarr"), mode="a")
    path = {"npy": "a.npy", "npz": "a.npz"}.get(kind, "a.zarr")
    table = pd.concat([one(path, row=r).assign(well=w) for r, w in ((2, "A1"), (0, "A2"))])
    names = pd.DataFrame({"idx": [3, 0, 1, 2], "channel": ["RNA", *STAINS]})
    got = load_pixels(table, tmp_path, stains=names)
    assert got.channels == (*STAINS, "RNA")
    np.testing.assert_array_equal(got.pixels, stack[[2, 0]])
    refused(lambda: load_pixels(table.drop(columns="row").assign(well=["A1", "A2"]), tmp_path, stains=names), "say in a column row")
    refused(lambda: load_pixels(table.assign(row=[2, 7]), tmp_path, stains=names), "1 not there", "row 7 of an array of 3", kind=BadImages)
    refused(lambda: load_pixels(table.assign(row=[2, 2]), tmp_path, stains=names), "2 one file for two sites", kind=BadImages)

@pytest.mark.parametrize("version", [2, 3])
def test_one_zarr_group_a_site(tmp_path, stack, version):
    zarr = pytest.importorskip("zarr")
    for k in range(2):
        group = zarr.open_group(str(tmp_path/f"s{k}.zarr"), mode="w", zarr_format=version)
        group.create_array("image", shape=stack[k].shape, dtype="u2", chunks=(1, 24, 20))[:] = stack[k]
    table = pd.concat([one(f"s{k}.zarr").assign(site=k) for k in range(2)])
    np.testing.assert_array_equal(load_pixels(table, tmp_path, channels=list("abcd")).pixels, stack[:2])
    group.create_array("other", shape=(3,), dtype="u2")
    refused(lambda: load_pixels(table, tmp_path, channels=list("abcd")), "s1.zarr is a zarr group of 2 arrays", "image, other")

@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_says_axes_names_and_size(tmp_path, stack, version):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path/"a.zarr"), mode="w", zarr_format=version)
    group.create_array("0", shape=(1, 20, 24, 4), dtype="u2", chunks=(1, 20, 24, 4))[:] = stack[0].transpose(2, 1, 0)[None]
    unit = {"type": "space", "unit": "micrometer"}
    axes = [{"name": "t", "type": "time"}, {"name": "x", **unit}, {"name": "y", **unit}, {"name": "c", "type": "channel"}]
    scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 0.5, 0.5, 1]}]}]}]
    about = {"multiscales": scales, "omero": {"channels": [{"label": c} for c in (*STAINS, "RNA")]}}
    group.attrs.update(about if version == 2 else {"ome": about})
    got = load_pixels(one("a.zarr"), tmp_path)
    np.testing.assert_array_equal(got.pixels[0], stack[0])
    assert got.channels == (*STAINS, "RNA") and got.pixel_um == 0.5

@pytest.mark.parametrize("harm", ["missing", "truncated", "flipped"])
def test_a_harmed_chunk_of_a_zarr_array_is_found(tmp_path, stack, harm):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path/"a.zarr"), shape=stack.shape, dtype="u2", chunks=(1, 1, 12, 20), compressors=zarr.codecs.GzipCodec())[:] = stack
    chunk = tmp_path/"a.zarr/c/1/2/0/0"
    if harm == "missing": chunk.unlink()
    else: chunk.write_bytes(chunk.read_bytes()[:200] if harm == "truncated" else flipped(chunk.read_bytes(), 300))
    table = pd.concat([one("a.zarr", row=r).assign(site=r) for r in range(3)])
    what = "1 cut short" if harm == "missing" else "1 cannot be decoded"
    error = refused(lambda: load_pixels(table, tmp_path, channels=list("abcd")), what, kind=BadImages)
    assert error.bad["site"].tolist() == ["1"]
    np.testing.assert_array_equal(load_pixels(table, tmp_path, channels=list("abcd"), on_bad="drop").pixels, stack[[0, 2]])

def flipped(data, at): return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]

# damage

@pytest.mark.parametrize("how", [dict(), dict(metadata=None), dict(compression="lzw", rowsperstrip=4), dict(compression="lzw", metadata=None),
                                 dict(compression="zlib", tile=(16, 16)), dict(imagej=True), dict(ome=True),
                                 dict(bigtiff=True), dict(truncate=True)], ids=str)
@pytest.mark.parametrize("pages", [1, 3])
def test_a_tiff_cut_anywhere_is_found(tmp_path, how, pages):
    "A reader that goes on returns fewer pages, or zeros, with only a line in a log."
    made = io.BytesIO()
    tifffile.imwrite(made, scene(shape=(pages, 24, 20)) if pages > 1 else scene(), photometric="minisblack", **how)
    data, path = made.getvalue(), tmp_path/"a.tif"
    names = STAINS[:pages]
    path.write_bytes(data)
    whole = load_pixels(one("a.tif"), tmp_path, channels=names).pixels
    for end in sorted({*range(1, len(data), 211 if pages == 1 else 487), *range(len(data) - 39, len(data), 6)}):
        path.write_bytes(data[:end])
        try: got = load_pixels(one("a.tif"), tmp_path, channels=names).pixels
        except BadImages as e: assert e.bad["what"][0] in ("cut short", "cannot be decoded", "no image")
        else:  # padding at the end may be missing, values may not
            np.testing.assert_array_equal(got, whole)
            assert end > len(data) - 40

@pytest.mark.parametrize("how", [dict(compression="zlib"), dict(compression="lzw")], ids=str)
def test_a_hole_in_a_tiff_is_found(tmp_path, how):
    tifffile.imwrite(tmp_path/"a.tif", scene(), rowsperstrip=6, **how)
    with tifffile.TiffFile(tmp_path/"a.tif") as t: at, size = t.pages[0].dataoffsets[2], t.pages[0].databytecounts[2]
    data = (tmp_path/"a.tif").read_bytes()
    (tmp_path/"a.tif").write_bytes(data[:at] + bytes(size) + data[at + size:])
    refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=["DNA"]), "1 cannot be decoded", kind=BadImages)

@pytest.mark.parametrize("tag", [325, 324])  # counts of bytes, offsets
def test_a_tile_that_is_not_stored_is_found(tmp_path, tag):
    "A reader returns zeros for it."
    tifffile.imwrite(tmp_path/"a.tif", scene(shape=(32, 32)), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path/"a.tif") as t: at = t.pages[0].tags[tag].valueoffset
    data = (tmp_path/"a.tif").read_bytes()
    (tmp_path/"a.tif").write_bytes(data[:at] + bytes(4) + data[at + 4:])
    refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=["DNA"]), "1 cut short", "is not stored", kind=BadImages)

def test_rows_that_are_not_stored_are_found(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", scene(), metadata=None)
    with tifffile.TiffFile(tmp_path/"a.tif") as t: at = t.pages[0].tags[279].valueoffset
    data = (tmp_path/"a.tif").read_bytes()
    (tmp_path/"a.tif").write_bytes(data[:at] + (800).to_bytes(4, "little") + data[at + 4:])
    refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=["DNA"]), "stores 800 of 960 bytes", kind=BadImages)

@pytest.mark.parametrize("lenient", [False, True])  # as a program may have set for its own images
def test_a_png_cut_or_changed_anywhere_is_found(tmp_path, monkeypatch, lenient):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    path = tmp_path/"a.png"
    Image.fromarray(scene()).save(path)
    data = path.read_bytes()
    for end in range(1, len(data), 131):
        for spoilt in (data[:end], flipped(data, end)):
            path.write_bytes(spoilt)
            refused(lambda: load_pixels(one("a.png"), tmp_path, channels=["DNA"]), "1 bad file", kind=BadImages)

@pytest.fixture
def harmed(study):
    "The study with one of each kind of fault, and what each is called."
    def at(k): return study.path/study.table["path"][k]
    at(0).write_bytes(b"")
    at(4).write_bytes(bytes(3000))
    tifffile.imwrite(at(8), np.full((24, 20), 65535, "u2"))
    at(9).write_bytes(at(9).read_bytes()[:700])
    at(12).unlink()
    filled = scene()
    filled[15:] = 0
    tifffile.imwrite(at(16), filled)
    at(20).write_text("not an image")
    return study, ["empty", "all bytes are 0", "constant", "cut short", "not there", "cut short", "no image"]

def test_every_bad_file_is_in_one_table_and_one_sentence(harmed):
    study, kinds = harmed
    error = refused(lambda: study.load(), "7 bad files on 7 of 8 sites", "2 cut short", "1 empty", 'on_bad="drop"', kind=BadImages)
    assert list(error.bad.columns) == BAD_COLUMNS and error.bad["what"].tolist() == kinds
    assert error.bad["path"].tolist() == study.table["path"][[0, 4, 8, 9, 12, 16, 20]].tolist()
    checked = check_files(study.named, study.path)
    pd.testing.assert_frame_equal(checked.bad, error.bad)
    said(checked, "7 bad files")

def test_whole_sites_are_dropped_and_wells_that_are_lost_are_named(harmed):
    study, _ = harmed
    got = study.load(on_bad="drop")
    assert got.images.index.tolist() == ["P2 C03 2"]
    np.testing.assert_array_equal(got.pixels, study.expected()[7:])
    said(got, "7 sites left out; 3 wells lose all their sites", "P1 B02, P1 C03, P2 B02")
    (study.path/study.table["path"][23]).unlink()
    refused(lambda: study.load(on_bad="drop"), "no site is left", kind=BadImages)

def test_values_that_are_not_finite_are_bad(study):
    values = scene().astype("f4")
    for wrong in (np.nan, np.inf):
        values[3, 3] = wrong
        tifffile.imwrite(study.path/"x.tif", values)
        refused(lambda: load_pixels(one("x.tif"), study.path, channels=["DNA"]), "1 not finite", "1 of 480 pixels", kind=BadImages)

def test_a_dark_border_is_no_damage_where_zeros_occur_elsewhere(tmp_path):
    values = scene()
    values[20:], values[3, 4] = 0, 0
    tifffile.imwrite(tmp_path/"a.tif", values)
    np.testing.assert_array_equal(load_pixels(one("a.tif"), tmp_path, channels=["DNA"]).pixels[0, 0], values)

def test_missing_and_doubled_stains_of_a_site_are_bad(study):
    less = study.named.drop(index=4)
    error = refused(lambda: study.load(less), "1 no file", "P1 B02 2 ER", kind=BadImages)
    assert error.bad["path"].tolist() == [""]
    assert len(study.load(less, on_bad="drop").images) == 7
    tifffile.imwrite(study.path/"more.tif", scene(99))
    more = pd.concat([study.named, study.named.iloc[:1].assign(path="more.tif")])
    refused(lambda: study.load(more), "2 doubled", "2 files of one site and stain", kind=BadImages)
    np.testing.assert_array_equal(study.load(more, on_bad="drop").pixels, study.expected()[1:])

@pytest.mark.parametrize("how", ["copy", "symlink", "same path", "hard link"])
def test_one_file_under_two_sites_is_found(study, how):
    source, target = study.path/study.table["path"][0], study.path/study.table["path"][18]
    target.unlink()
    table = study.named
    if how == "copy": shutil.copy(source, target)
    if how == "symlink": target.symlink_to(source)
    if how == "hard link": os.link(source, target)
    if how == "same path": table = table.assign(path=table["path"].mask(table.index == 18, source.name))
    error = refused(lambda: study.load(table), "2 one file for two sites" if how == "same path" else "2 same content as another", kind=BadImages)
    assert error.bad[["plate", "well", "site"]].values.tolist() == [["P1", "B02", "1"], ["P2", "C03", "1"]]
    assert len(study.load(table, on_bad="drop").images) == 6

def test_a_wrong_root_is_seen_from_the_message(study):
    refused(lambda: load_pixels(study.named, study.path/"none"), "24 bad files on 8 of 8 sites (24 not there)", kind=BadImages)

def test_a_file_of_several_images_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path/"a.tif") as t:
        t.write(scene())
        t.write(scene(1, (40, 30)))
    refused(lambda: load_pixels(one("a.tif"), tmp_path, channels=["DNA"]), "a.tif holds 2 images", "24 x 20, 40 x 30")

def test_a_folder_or_another_format_is_no_image(tmp_path):
    (tmp_path/"a.tif").mkdir()
    (tmp_path/"b.jpg").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    (tmp_path/"c.npy").write_bytes(b"\x93NUMPY and so on")
    np.save(tmp_path/"d.npy", np.array([{"an": "object"}]), allow_pickle=True)
    for name in ("a.tif", "b.jpg", "c.npy", "d.npy"):
        refused(lambda n=name: load_pixels(one(n), tmp_path, channels=["DNA"]), "1 bad file", kind=BadImages)

# sizes, crops

def test_images_of_different_sizes_are_refused_unless_a_size_is_given(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", scene(0, (24, 24)))
    tifffile.imwrite(tmp_path/"b.tif", scene(1, (48, 48)))
    table = pd.concat([one("a.tif"), one("b.tif").assign(site=2)])
    refused(lambda: load_pixels(table, tmp_path, channels=["DNA"]), "b.tif is 48 x 48 px, a.tif is 24 x 24 px", "size")
    got = load_pixels(table, tmp_path, channels=["DNA"], size=12).pixels[:, 0]
    np.testing.assert_allclose(got[0], scene(0, (24, 24)).reshape(12, 2, 12, 2).mean((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(got[1], scene(1, (48, 48)).reshape(12, 4, 12, 4).mean((1, 3)), rtol=1e-6)
    refused(lambda: load_pixels(table, tmp_path, channels=["DNA"], size=30), "24 x 24 px and cannot become 30 x 30")
    refused(lambda: load_pixels(table, tmp_path, channels=["DNA"], size=0), "size=0")
    stains = pd.concat([one("a.tif", channel="DNA"), one("b.tif", channel="ER")])
    refused(lambda: load_pixels(stains, tmp_path), "stains of the site of a.tif differ in size", "24 x 24, 48 x 48")

@pytest.mark.parametrize("shape, size", [((24, 24), (7, 7)), ((25, 31), (10, 12)), ((24, 20), (12, 5)), ((9, 9), (9, 9)), ((9, 8), (9, 3))])
def test_shrinking_averages_areas(shape, size):
    values = scene(shape=shape).astype("f4")
    height, width = shape
    fine = np.repeat(np.repeat(values, size[0], 0), size[1], 1)  # an exact reference: every pixel cut into size[0] x size[1]
    exact = fine.reshape(size[0], height, size[1], width).mean((1, 3), dtype=float)
    np.testing.assert_allclose(shrunk(values, size), exact, rtol=1e-5)
    box = np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BOX))
    if not (height % size[0] or width % size[1]): np.testing.assert_allclose(shrunk(values, size), box, rtol=1e-5)
    np.testing.assert_allclose(shrunk(np.stack([values, 2*values]), size)[1], 2*shrunk(values, size), rtol=1e-6)

def test_a_picture_of_another_shape_is_cut_around_its_centre_and_that_is_said(tmp_path):
    tifffile.imwrite(tmp_path/"a.tif", scene(0, (24, 40)))
    got = load_pixels(one("a.tif"), tmp_path, channels=["DNA"], size=12)
    np.testing.assert_allclose(got.pixels[0, 0], shrunk(scene(0, (24, 40))[:, 8:32], (12, 12)))
    said(got, "24 x 40 px cut around the centre to 24 x 24 px")
    whole = load_pixels(one("a.tif"), tmp_path, channels=["DNA"], size=(12, 20))
    assert whole.pixels.shape[2:] == (12, 20) and not any("cut" in n for n in whole.notes)

def test_crops_lie_around_their_cells_and_border_cells_are_counted(study):
    cells = pd.DataFrame({"Plate": "P1", "Well": ["B2", "B02", "b02", "C03"], "Site": [1, 1, 2, 1], "x": [10, 3, 4.0, 16], "y": [12, 12, 20, 4]})
    got = study.load(cells=cells, crop=8)
    full = study.expected()
    assert got.images.index.tolist() == ["P1 B02 1 1", "P1 B02 2 1", "P1 C03 1 1"] and got.images["site"].tolist() == ["1 1", "2 1", "1 1"]
    for k, (site, y, x) in enumerate([(0, 8, 6), (1, 16, 0), (2, 0, 12)]):
        np.testing.assert_array_equal(got.pixels[k], full[site, :, y:y + 8, x:x + 8])
    assert got.images[["x", "y"]].values.tolist() == [[10, 12], [4, 20], [16, 4]] and got.images["treatment"].tolist() == ["DMSO", "DMSO", "taxol"]
    said(got, "1 cell within 4 px of a border")
    said(got, "5 sites without cells left out", "P1 C03 2")
    small = study.load(cells=cells, crop=8, size=4)
    np.testing.assert_allclose(small.pixels, shrunk(got.pixels, (4, 4)), rtol=1e-6)

def test_cells_may_stand_in_the_table_of_files(study):
    table = pd.concat([study.named.assign(x=x, y=12, cell=f"c{x}") for x in (6, 12)])
    got = study.load(table, crop=8)
    assert len(got.images) == 16 and got.images.index[:2].tolist() == ["P1 B02 1 c6", "P1 B02 1 c12"]
    np.testing.assert_array_equal(got.pixels[0], study.expected()[0, :, 8:16, 2:10])

def test_cells_that_are_not_understood_are_refused(study):
    cells = pd.DataFrame({"plate": "P1", "well": "B02", "site": 1, "x": [10.0], "y": [12.0]})
    refused(lambda: study.load(crop=8), "centres of cells")
    refused(lambda: study.load(cells=cells), "crop (their edge")
    refused(lambda: study.load(cells=cells.drop(columns="y"), crop=8), "no column y")
    refused(lambda: study.load(cells=cells.assign(x=np.nan), crop=8), "row 1", "P1 B02 1", "no x and y")
    refused(lambda: study.load(cells=cells.assign(plate="P9"), crop=8), "No cell", "P9 B02 1")
    refused(lambda: study.load(cells=cells.assign(x=1), crop=8), "No image is left")
    lost = pd.concat([cells, cells.assign(plate="P9")])
    said(study.load(cells=lost, crop=8), "1 cell on sites without files")
    refused(lambda: study.load(cells=cells.assign(cell="a").iloc[[0, 0]], crop=8), "Two cells", "P1 B02 1 a")

# scale

def test_mixed_types_in_one_stain_are_refused_by_name(study):
    tifffile.imwrite(study.path/study.table["path"][13], scene().astype("f4"))
    refused(lambda: study.load(), "DNA is uint16 in P1_B02_s1_w1.tif and float32 in P2_B02_s1_w2.tif")
    mixed = study.named[study.named["channel"] != "DNA"]
    for p in mixed["path"][mixed["channel"] == "ER"]: tifffile.imwrite(study.path/p, (tifffile.imread(study.path/p)//16).astype("u1"))
    assert study.load(mixed).pixels[:, 0].max() < 256  # types may differ between stains

@pytest.mark.parametrize("cache", ["", "cache"])
def test_signed_values_are_shifted_together_and_only_where_they_need_it(study, cache):
    cache = cache and study.path/cache
    er, mito = (study.named[study.named["channel"] == c]["path"] for c in ("ER", "Mito"))
    for p in er: tifffile.imwrite(study.path/p, (tifffile.imread(study.path/p).astype(int) - (2000 if p == er.iloc[3] else 0)).astype("i2"))
    for p in mito: tifffile.imwrite(study.path/p, tifffile.imread(study.path/p).astype("i2"))
    got, expected = study.load(cache=cache), study.expected().astype(float)
    expected[:, 1] += 32768
    expected[3, 1] -= 2000
    np.testing.assert_array_equal(got.pixels, expected)
    said(got, "ER has 16-bit values with a sign", "32768 was added")
    assert not any("Mito has" in n for n in got.notes)

def test_brightness_ratios_survive(tmp_path):
    base = scene(shape=(48, 48)).astype(float)
    for name, factor in (("a", 1.0), ("b", 1.37)): tifffile.imwrite(tmp_path/f"{name}.tif", (base*factor).astype("u2"))
    table = pd.concat([one("a.tif"), one("b.tif").assign(site=2)])
    got = load_pixels(table, tmp_path, channels=["DNA"], size=12, cache=tmp_path/"cache").pixels
    assert got[1].mean()/got[0].mean() == pytest.approx(1.37, rel=0.001)

def test_saturated_pixels_are_counted_by_plate_and_stain(study):
    values = tifffile.imread(study.path/study.table["path"][0])
    values[:3, :10] = 65535
    tifffile.imwrite(study.path/study.table["path"][0], values)
    got = study.load()
    table = got.saturated.set_index(["plate", "channel"])
    assert table.loc[("P1", "DNA"), "share"] == 30/(4*480) and table.loc[("P1", "DNA"), "ceiling"] == 65535
    assert table.loc[("P2", "DNA"), "share"] == 0 and np.isnan(table.loc[("P1", "ER"), "ceiling"])
    said(got, "saturated: 1 of 6", "DNA of plate P1 (1.6 % at 65535)")

def test_a_plate_with_another_range_is_pointed_out(study):
    for k, top in ((0, 60000), (13, 4095)):
        values = scene(k)
        values[0, 0] = top
        tifffile.imwrite(study.path/study.table["path"][k], values)
    said(study.load(), "DNA ends at 4095 on plate P2")

def ome_size(x, unit, y=None):
    about = {"PhysicalSizeX": x, "PhysicalSizeXUnit": unit, "PhysicalSizeY": y or x, "PhysicalSizeYUnit": unit}
    return dict(ome=True, metadata={"axes": "YX", **about})

@pytest.mark.parametrize("how, expected", [
    (ome_size(0.65, "µm"), 0.65), (ome_size(650, "nm"), 0.65), (ome_size(0.65, "pixel"), None), (ome_size(0.65, "µm", 0.9), None),
    (dict(imagej=True, resolution=(1/0.65, 1/0.65), metadata={"unit": "um"}), 0.65), (dict(imagej=True, resolution=(1/0.65, 1/0.65)), None),
    (dict(resolution=(10000/0.65, 10000/0.65), resolutionunit="CENTIMETER"), 0.65), (dict(resolution=(72, 72), resolutionunit="INCH"), None),
    (dict(resolution=(155, 155), resolutionunit="CENTIMETER"), None), (dict(), None)], ids=str)
def test_the_size_of_a_pixel_is_read_where_it_is_possible(tmp_path, how, expected):
    tifffile.imwrite(tmp_path/"a.tif", scene(), **how)
    got, half = (load_pixels(one("a.tif"), tmp_path, channels=["DNA"], size=s).pixel_um for s in (None, (12, 10)))
    if expected is None: assert np.isnan(got)
    else: assert got == pytest.approx(expected, rel=1e-3) and half == pytest.approx(2*expected, rel=1e-3)

def test_sizes_of_pixels_that_disagree_are_not_used(tmp_path):
    for k in (1, 2): tifffile.imwrite(tmp_path/f"{k}.tif", scene(k), resolution=(k*1e4, k*1e4), resolutionunit="CENTIMETER")
    got = load_pixels(pd.concat([one("1.tif"), one("2.tif").assign(site=2)]), tmp_path, channels=["DNA"])
    assert np.isnan(got.pixel_um)
    said(got, "0.5 to 1 µm")

# the cache

@pytest.fixture
def counted(monkeypatch):
    "How many sites have been decoded."
    done, real = [], module.read_site
    monkeypatch.setattr(module, "read_site", lambda *a, **k: (done.append(1), real(*a, **k))[1])
    return done

def test_a_cache_gives_the_same_without_decoding(study, counted):
    first = study.load(cache=study.path/"cache")
    again = study.load(cache=study.path/"cache")
    assert len(counted) == 8 and again.key == first.key == study.load().key
    assert isinstance(again.pixels, np.memmap) and not again.pixels.flags.writeable
    np.testing.assert_array_equal(again.pixels, study.expected())
    assert again.notes == first.notes and again.channels == first.channels
    for t in ("images", "bad", "saturated"): pd.testing.assert_frame_equal(getattr(again, t), getattr(first, t))
    assert again.images.index.name == "image"

@pytest.mark.parametrize("change", ["content", "channels", "order", "size", "aliases", "table", "version", "site"])
def test_whatever_shapes_the_result_misses_the_cache(study, counted, monkeypatch, change):
    cache, more, table = study.path/"cache", {}, study.named
    first = study.load(cache=cache)
    if change == "content":
        path = study.path/table["path"][5]
        before = path.stat()
        tifffile.imwrite(path, scene(77))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    if change == "channels": more = dict(channels=["DNA", "ER"])
    if change == "order": more = dict(channels=["ER", "DNA", "Mito"])
    if change == "size": more = dict(size=(12, 10))
    if change == "aliases": more = dict(aliases={"ER": "Golgi"})
    if change == "table": table = table.assign(treatment="other")
    if change == "site": table = table.assign(site=table["site"] + 4)
    if change == "version": monkeypatch.setattr(module.drugnb, "__version__", "99")
    second = study.load(table, cache=cache, **more)
    assert second.key != first.key and len(counted) == 16
    if change == "table": assert set(second.images["treatment"]) == {"other"}
    if change == "content": np.testing.assert_array_equal(second.pixels[1, 2], scene(77))
    np.testing.assert_array_equal(study.load(table, **more).pixels, second.pixels)

def test_an_interrupted_load_leaves_nothing(study, monkeypatch):
    real, done = module.read_site, []
    def stops(*args, **more):
        done.append(1)
        if len(done) > 5: raise KeyboardInterrupt
        return real(*args, **more)
    monkeypatch.setattr(module, "read_site", stops)
    with pytest.raises(KeyboardInterrupt): study.load(cache=study.path/"cache")
    assert not list((study.path/"cache").iterdir())

def test_bad_files_leave_nothing_in_the_cache(harmed):
    study, _ = harmed
    refused(lambda: study.load(cache=study.path/"cache"), "7 bad files", kind=BadImages)
    tifffile.imwrite(study.path/study.table["path"][13], scene().astype("f4"))
    refused(lambda: study.load(cache=study.path/"cache", on_bad="drop"), "float32")
    assert not [p for p in (study.path/"cache").iterdir()]

@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "tables", "half a table", "empty"])
def test_a_damaged_cache_is_made_again_and_said(study, harm):
    first = study.load(cache=study.path/"cache")
    values, tables = cache_paths(study.path/"cache", first.key)
    if harm == "truncated": values.write_bytes(values.read_bytes()[:-100])
    if harm == "flipped": values.write_bytes(flipped(values.read_bytes(), 5000))
    if harm == "missing": values.unlink()
    if harm == "empty": values.write_bytes(b"")
    if harm == "tables": tables.write_text(json.dumps({"notes": []}))
    if harm == "half a table": tables.write_text(tables.read_text()[:300])
    again = study.load(cache=study.path/"cache")
    np.testing.assert_array_equal(again.pixels, study.expected())
    said(again, "was damaged", "made again")
    assert not any("damaged" in n for n in study.load(cache=study.path/"cache").notes)

LOAD = """
import sys, pandas as pd
from drugnb.morphology.images import load_pixels
got = load_pixels(pd.read_csv(sys.argv[1] + "/table.csv"), sys.argv[1], cache=sys.argv[1] + "/cache")
print(got.key, float(got.pixels.sum(dtype=float)))
"""

def test_two_loads_at_once_agree(study):
    study.named.to_csv(study.path/"table.csv", index=False)
    other = subprocess.Popen([sys.executable, "-c", LOAD, str(study.path)], stdout=subprocess.PIPE, text=True)
    for _ in range(40):  # builds that the other process meets
        got = study.load(cache=study.path/"cache")
        if other.poll() is not None: break
        cache_paths(study.path/"cache", got.key)[1].unlink(missing_ok=True)
    assert other.communicate()[0] == f"{got.key} {float(got.pixels.sum(dtype=float))}\n"
    study.load(cache=study.path/"cache")
    assert len(list((study.path/"cache").iterdir())) == 2

def test_results_come_in_order_and_few_are_ahead():
    taken, started = [], []
    def work(i):
        started.append(i)
        return i*i
    for got in in_order(work, range(40), threads=2):
        taken.append(got)
        assert len(started) - len(taken) <= 5
    assert taken == [i*i for i in range(40)]

# a folder as a microscope leaves it

class Small:
    name, channels = "small", ("DNA", "ER")
    images = pd.DataFrame({"plate": ["P1", "P1", "P2"], "well": ["B02", "B02", "C03"], "site": ["1", "2", "1"],
                           "treatment": ["DMSO", "DMSO", "taxol"], "dose": [0, 0, 1.5], "batch": "week 1", "untreated": [True, True, False]})
    pixels = scene(shape=(3, 2, 24, 20)).astype("f4")

def test_a_study_written_as_files_comes_back(tmp_path):
    write_example_images(tmp_path, Small)
    found = find_images(tmp_path)
    got = load_pixels(found, tmp_path, stains=pd.read_csv(tmp_path/"channels.csv"))
    np.testing.assert_array_equal(got.pixels, Small.pixels)
    assert got.channels == Small.channels
    assert got.images[["plate", "well", "site"]].values.tolist() == Small.images[["plate", "well", "site"]].values.tolist()
    table = pd.read_csv(tmp_path/"metadata.csv")
    assert table.columns.tolist() == ["plate", "well", "site", "treatment", "dose_um", "week"] and table["dose_um"].tolist() == [0, 0, 1.5]

def test_values_that_16_bits_cannot_hold_are_refused(tmp_path):
    for factor in (-1, 1e3, 1e-6):
        class Wrong(Small): pixels = factor*Small.pixels
        refused(lambda: write_example_images(tmp_path, Wrong), "small", "16-bit")
    assert not list(tmp_path.iterdir())

# extras that are not installed

def test_reading_png_needs_no_extra_and_tiff_says_which(tmp_path):
    Image.fromarray(scene()).save(tmp_path/"a.png")
    tifffile.imwrite(tmp_path/"a.tif", scene())
    code = ("import sys\nfor m in ('tifffile', 'imagecodecs', 'zarr'): sys.modules[m] = None\n"
            "import pandas as pd\nfrom drugnb.morphology.images import load_pixels\n"
            "def load(name): return load_pixels(pd.DataFrame({'path': [name], 'well': 'A1'}), sys.argv[1], channels=['DNA'])\n"
            "print(load('a.png').pixels.shape)\n"
            "try: load('a.tif')\nexcept Exception as e: print(type(e).__name__, e)\n")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "(1, 1, 24, 20)", done.stderr
    assert done.stdout.splitlines()[1].startswith("InputError Reading a.tif needs tifffile") and "drugnb[deep]" in done.stdout

# the cases, and real files

def test_case_01_channel_order_by_source(cases):
    folder = cases/"01-channel-order-by-source"
    table, stains = (pd.read_csv(folder/f"{n}.csv") for n in ("images", "channels"))
    got = load_pixels(table, folder, stains=stains, channels=["DNA", "ER", "RNA", "AGP", "Mito"])
    dna = got.pixels[:, 0]
    border = np.ones(dna.shape[1:], bool)
    border[18:30, 18:30] = False
    assert set(got.images["plate"]) == {"P1", "P2"} and (dna[:, 18:30, 18:30].mean((1, 2)) > dna[:, border].mean(1)).all()
    refused(lambda: load_pixels(table, folder), "Nothing names the stains")
    said(load_pixels(table, folder, channels=["DNA", "ER", "RNA", "AGP", "Mito"]), "channel order taken on trust")

def test_case_03_zero_filled_and_truncated(cases):
    folder = cases/"03-zero-filled-and-truncated-tiff"
    table = pd.read_csv(folder/"images.csv")
    real = pd.DataFrame([{"plate": "P1", "well": "B09", "site": 1, "channel": 1, "path": "truncated_real.tif"}])
    table = pd.concat([table, real], ignore_index=True)
    error = refused(lambda: load_pixels(table, folder, channels=["DNA"]), "7 bad files on 7 of 8 sites", kind=BadImages)
    assert error.bad.set_index("path")["what"].to_dict() == {
        "zeros_bytes.tif": "all bytes are 0", "zeros_pixels.tif": "constant", "truncated.tif": "cut short", "truncated_real.tif": "cut short",
        "empty.tif": "empty", "constant.tif": "constant", "not_there.tif": "not there"}
    got = load_pixels(table, folder, channels=["DNA"], on_bad="drop")
    assert got.images.index.tolist() == ["P1 B02 1"]
    said(got, "7 wells lose all their sites")

def test_case_04_bit_depth(cases, tmp_path):
    folder = cases/"04-bit-depth"
    table = pd.read_csv(folder/"images.csv")
    refused(lambda: load_pixels(table, folder), "DNA is uint8 in u8.tif and uint16 in u12in16.tif")
    means = {}
    for r in range(len(table)):
        got = load_pixels(table.iloc[[r]], folder, cache=tmp_path)
        means[table["path"][r]] = got.pixels.mean()
        if table["path"][r] == "i16.tif": said(got, "32768 was added")
    assert means["i16.tif"] == pytest.approx(means["u16.tif"], rel=0.01) and means["u12in16.tif"]*16 == pytest.approx(means["u16.tif"], rel=0.01)
    both = load_pixels(table.iloc[[1, 2]], folder, cache=tmp_path).pixels.mean((1, 2, 3))
    assert both[1]/both[0] == pytest.approx(means["u16.tif"]/means["u12in16.tif"], rel=0.01)

def test_case_11_stale_cache(cases, tmp_path):
    folder = cases/"11-stale-cache"
    keys = set()
    for name in "ab":
        shutil.copy2(folder/f"{name}.tif", tmp_path/"x.tif")
        os.utime(tmp_path/"x.tif", (1, 1))
        got = load_pixels(one("x.tif"), tmp_path, channels=["DNA"], cache=tmp_path/"cache")
        np.testing.assert_array_equal(got.pixels[0, 0], tifffile.imread(folder/f"{name}.tif"))
        keys |= {got.key, load_pixels(one("x.tif"), tmp_path, channels=["ER"], cache=tmp_path/"cache").key}
    assert len(keys) == 4

def test_case_13_axes(cases):
    folder, names = cases/"13-axes-and-zarr", list("abcde")
    def load(name, **more): return load_pixels(one(name), folder, **{"channels": names, **more})
    for name in ("cyx.tif", "yxc.tif", "pages.tif"): assert load(name).pixels.shape == (1, 5, 48, 48)
    np.testing.assert_array_equal(load("yxc.tif").pixels[0], tifffile.imread(folder/"yxc.tif").transpose(2, 0, 1))
    refused(lambda: load("square.tif"), 'axes="CYX"')
    assert load("square.tif", axes="CYX").pixels.shape == (1, 5, 5, 5)
    assert load("rgba.tif", channels=STAINS).pixels.shape == (1, 3, 48, 48)
    refused(lambda: load("rgba.tif", channels=list("abcd")), "3 channels")

def real(mirror, pattern):
    found = next(mirror.glob(pattern), None)
    if found is None: pytest.skip(f"the mirror has no {pattern}")
    return found

def test_a_real_site_of_six_stains(mirror):
    folder = real(mirror, "cytomining/CytoDataFrame/*/tests/data/cytotable/pediatric_cancer_atlas_profiling/images/orig")
    table = find_images(folder)
    got = load_pixels(table, folder, channels=[f"stain {k}" for k in range(1, 7)], size=540)
    assert got.pixels.shape == (1, 6, 540, 540) and got.images.index.tolist() == ["C03 3"] and np.isnan(got.pixel_um)
    raw = tifffile.imread(folder/table["path"][2])
    np.testing.assert_allclose(got.pixels[0, 2], raw.reshape(540, 2, 540, 2).mean((1, 3)), rtol=1e-5)

def test_real_wells_of_three_stains_that_are_saturated(mirror):
    folder = real(mirror, "cytomining/CytoDataFrame/*/tests/data/cytotable/NF1_cellpainting_data_shrunken/Plate_2_images")
    got = load_pixels(find_images(folder), folder, size=(113, 153))
    assert got.pixels.shape == (5, 3, 113, 153) and got.channels == ("DAPI", "GFP", "RFP")
    assert got.images["well"].tolist() == ["B07", "D06", "D07", "F07", "H12"]
    assert (got.saturated["ceiling"] == 65535).all() and (got.saturated["share"] > 0).all()
    said(got, "saturated")

def test_a_real_zarr_array_of_two_sources(mirror):
    folder = real(mirror, "shntnu/duckdb-zarr-cellpainting-demo/*/jump_rab30_mini")
    table = pd.read_csv(folder/"sites.csv").rename(columns={"idx": "row"}).assign(path="images.zarr/images")
    got = load_pixels(table, folder, stains=pd.read_csv(folder/"channels.csv"))
    assert got.pixels.shape == (2, 5, 384, 384) and got.channels == ("AGP", "DNA", "ER", "Mito", "RNA")
    assert got.images["source"].tolist() == ["source_4", "source_13"] and got.images["well"].tolist() == ["G01", "L07"]

def test_a_real_site_of_8_bits(mirror):
    folder = real(mirror, "CellProfiler/examples/*/ExampleHuman/images")
    got = load_pixels(find_images(folder), folder, channels=["DNA", "pH3", "membrane"])
    assert got.pixels.shape == (1, 3, 512, 512) and got.pixels.max() == 255 and np.isnan(got.pixel_um)
