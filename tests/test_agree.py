"""What is made from notebooks: navigation, collapsed cells, and a front door whose words and links hold."""
import json
import posixpath
import re
import subprocess
from pathlib import Path

import pytest
from agree import collapsed, dressed, navigation, notebooks, readme, write

ROOT = Path(__file__).resolve().parent.parent
PAGES = [p for p in sorted((ROOT/"nbs").glob("*.ipynb")) if not p.stem[0].isdigit()]
HIDDEN = {"source_hidden": True}

def cell(source, kind="code", **metadata):
    "A cell as a notebook's file holds it."
    more = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"c{abs(hash(source)):x}", "metadata": metadata, "source": source} | more

@pytest.fixture
def house(tmp_path):
    "A folder of notebooks: three numbered ones, a page, and a wing of one."
    cells = [cell("# Title", "markdown"), cell("#| export\ndef f(): return 1"), cell("f()", tags=["slow"]),
             cell("#| echo: false\nf()"), cell("#| hide\nfrom nbdev import nbdev_export\nnbdev_export()")]
    for name in ("00_load", "02_cluster", "02a_domain", "index", "wing/10_data"):
        path = tmp_path/f"nbs/{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return tmp_path

def test_a_numbered_notebook_links_to_its_neighbours_and_to_the_index(house):
    first, middle = (navigation(house/f"nbs/{name}.ipynb") for name in ("00_load", "02_cluster"))
    assert first == "[index](index.ipynb) | next: [02_cluster](02_cluster.ipynb)"
    assert middle.split(" | ") == [
        "previous: [00_load](00_load.ipynb)", "[index](index.ipynb)", "next: [02a_domain](02a_domain.ipynb)"]
    assert navigation(house/"nbs/wing/10_data.ipynb") == "[index](../index.ipynb)"

def test_notebooks_are_in_the_order_of_their_numbers_not_of_the_alphabet(house):
    (house/"nbs/100_late.ipynb").write_text((house/"nbs/00_load.ipynb").read_text())
    assert "next: [100_late]" in navigation(house/"nbs/02a_domain.ipynb")

def test_exported_cells_are_collapsed_and_none_exports_the_project(house):
    load, index = collapsed(house/"nbs/00_load.ipynb"), collapsed(house/"nbs/index.ipynb")
    assert [c["metadata"].get("jupyter") for c in load] == [None, HIDDEN, None, None]
    assert load[2]["metadata"] == {"tags": ["slow"]}, "other metadata stay"
    of_index = [c["metadata"].get("jupyter") for c in index]
    assert of_index == [None, None, None, HIDDEN], "a page collapses the code of its tables"

def test_writing_twice_is_writing_once_and_a_changed_neighbour_is_followed(house):
    write(house)
    once = {p: p.read_text() for p in notebooks(house)}
    assert all(dressed(p) == text for p, text in once.items())
    last = json.loads(once[house/"nbs/00_load.ipynb"])["cells"][-1]
    assert last["cell_type"] == "markdown" and "02_cluster" in last["source"][0]
    (house/"nbs/02_cluster.ipynb").rename(house/"nbs/02_groups.ipynb")
    write(house)
    cells = json.loads((house/"nbs/00_load.ipynb").read_text())["cells"]
    assert sum("[index]" in "".join(c["source"]) for c in cells) == 1
    assert "02_groups" in cells[-1]["source"][0]

def test_a_cell_that_does_more_than_export_is_kept(house):
    path = house/"nbs/00_load.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"].append(cell("from nbdev import nbdev_export\nprint(1)\nnbdev_export()"))
    path.write_text(json.dumps(notebook))
    assert "print(1)" in collapsed(path)[-1]["source"]

def test_the_readme_is_short_and_holds_three_blocks_of_commands():
    text = readme()
    assert len(text.split()) <= 1000
    blocks = [b.strip().splitlines() for b in re.findall(r"```sh\n(.*?)```", text, re.S)]
    assert len(blocks) == 3
    assert blocks[0] == ["make figures", "make test"]
    assert all(line.startswith("pip install ") for line in blocks[1])
    commands = [" ".join(line.split()[:2]) for line in blocks[2]]
    assert commands == ["drugnb example", "drugnb check", "drugnb run", "drugnb predict"]

def links(text):
    "Relative targets of Markdown links and pictures."
    return [t for t in re.findall(r"\]\(([^()\s#]+)[^()\s]*\)", text) if not re.match(r"[a-z]+:", t)]

@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_a_text_lead_somewhere(name):
    assert all((ROOT/target).exists() for target in links((ROOT/name).read_text()))

@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_links_of_a_page_lead_somewhere(path):
    "Those of its tables too, which were made when it was last run."
    cells = json.loads(path.read_text())["cells"]
    written = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    shown = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    targets = links("\n".join(written + ["".join(data.get("text/markdown", [])) for data in shown]))
    lost = [t for t in targets if not (ROOT/posixpath.normpath(posixpath.join("nbs", t))).exists()]
    assert targets and not lost

def test_what_the_front_door_shows_is_tracked():
    if not (ROOT/".git").exists(): pytest.skip("not a clone")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pictures = [t for t in links(readme()) if t.endswith(".png")]
    assert pictures and set(pictures) <= set(tracked.split())
