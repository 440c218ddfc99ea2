"""Do notebooks, modules and README agree? With --write, navigation and README.md are written."""
import json
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbdev.process import NBProcessor
from nbdev.processors import hide_, rm_export

ROOT = Path(__file__).resolve().parent.parent
UNWANTED = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
MADE = ("drugnb/**/*.py", "nbs/**/*.ipynb")  # what notebooks decide, and notebooks themselves
NAVIGATION = "navigation"  # id of the cell

def from_root(link: re.Match) -> str:
    "A Markdown link of a notebook in `nbs` as README.md needs it."
    opening, target = link[1], link[2]
    if re.match(r"[a-z]+:|#", target): return link[0]
    return f"{opening}({posixpath.normpath(posixpath.join('nbs', target))})"

def readme() -> str:
    "README.md as nbs/index.ipynb says it: hidden cells and code that only makes a table are left out."
    processed = NBProcessor(ROOT/"nbs/index.ipynb", procs=[hide_, rm_export])
    processed.process()
    for cell in processed.nb.cells:
        if cell.get("directives_", {}).get("echo") == "false": cell.source = ""
    text, _ = MarkdownExporter().from_notebook_node(nbformat.from_dict(processed.nb))
    text = re.sub(r"(\])\(([^()\s]+)\)", from_root, text).replace("```\n\n```\n", "")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).strip() + "\n"

def notebooks(root: Path = ROOT) -> list[Path]:
    "Every notebook of `nbs` and its folders."
    return sorted(p for p in root.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in p.parts)

def number(path: Path) -> tuple[int, str] | None:
    "Where a notebook stands in its folder: 04b_learn is (4, 'b'). None for a page, which has no number."
    found = re.match(r"(\d+)([a-z]?)_", path.stem)
    return (int(found[1]), found[2]) if found else None

def navigation(path: Path) -> str:
    "The last cell of a numbered notebook: links to the previous and the next of its folder and to the index."
    books = sorted((p for p in path.parent.glob("*.ipynb") if number(p)), key=number)
    at = books.index(path)
    index = next(folder for folder in path.parents if (folder/"index.ipynb").exists())/"index.ipynb"
    up = "../"*(len(path.parents) - len(index.parents))
    links = [f"[index]({up}index.ipynb)"]
    if at > 0: links.insert(0, f"previous: [{books[at - 1].stem}]({books[at - 1].name})")
    if at + 1 < len(books): links.append(f"next: [{books[at + 1].stem}]({books[at + 1].name})")
    return " | ".join(links)

def first_line(cell: dict) -> str:
    "A cell's first line that holds anything."
    return next((line.strip() for line in "".join(cell["source"]).splitlines() if line.strip()), "")

def exports_all(cell: dict) -> bool:
    "Is this the hidden cell that exports the whole project, which `make export` does instead?"
    recipe = r"(#\|.*\s+|from nbdev(\.\w+)* import nbdev_export\s+)*nbdev_export\(\)"
    return cell["cell_type"] == "code" and bool(re.fullmatch(recipe, "".join(cell["source"]).strip()))

def navigates(cell: dict) -> bool:
    "Is this a navigation cell, perhaps one whose id an editor has changed?"
    links = r"(previous: \[\w+\]\(\S+\) \| )?\[index\]\(\S+\)"
    return cell.get("id") == NAVIGATION or bool(re.match(links, "".join(cell["source"])))

def collapsed(path: Path) -> list[dict]:
    "A notebook's cells: exported ones, and those that make a page's tables, collapsed; none exports all."
    cells = [c for c in json.loads(path.read_text())["cells"] if not exports_all(c)]
    aside = r"#\| *exporti?\b" if number(path) else r"#\| *(hide\b|echo: *false)"
    for cell in cells:
        if cell["cell_type"] == "code" and re.match(aside, first_line(cell)):
            cell["metadata"]["jupyter"] = cell["metadata"].get("jupyter", {}) | {"source_hidden": True}
    return cells

def dressed(path: Path) -> str:
    "A notebook's text as it should be: exported cells collapsed, navigation last where it has a number."
    cells = [c for c in collapsed(path) if not navigates(c)]
    if number(path):
        last = {"cell_type": "markdown", "id": NAVIGATION, "metadata": {}, "source": [navigation(path)]}
        cells.append(last)
    notebook = json.loads(path.read_text()) | {"cells": cells}
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"

def write(root: Path = ROOT):
    "Dress every notebook that is not as it should be, and write README.md."
    for path in notebooks(root):
        text = dressed(path)
        if text != path.read_text(): path.write_text(text)
    if root == ROOT: (root/"README.md").write_text(readme())

def remade(copy: Path) -> Path:
    "A copy of the project whose modules are exported and whose notebooks are cleaned afresh."
    for name in ("nbs", "drugnb"): shutil.copytree(ROOT/name, copy/name, ignore=UNWANTED)
    for name in ("pyproject.toml", "settings.ini", "README.md"): shutil.copy(ROOT/name, copy)
    for module in copy.glob("drugnb/**/*.py"):
        if module.name != "__init__.py": module.unlink()
    for command in ("nbdev-export", "nbdev-clean"):
        subprocess.run([str(Path(sys.executable).with_name(command))], cwd=copy, check=True)
    return copy

def contents(root: Path) -> dict[str, bytes]:
    "Modules and notebooks, by their path below the root."
    found = [p for pattern in MADE for p in root.glob(pattern) if ".ipynb_checkpoints" not in p.parts]
    return {str(p.relative_to(root)): p.read_bytes() for p in found}

def disagreements() -> list[str]:
    "Files that would change if all were made again, and modules that no notebook makes."
    with tempfile.TemporaryDirectory() as d:
        ours, theirs = contents(ROOT), contents(remade(Path(d, "project")))
        wrong = {n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n)}
    wrong |= {str(p.relative_to(ROOT)) for p in notebooks() if dressed(p) != p.read_text()}
    if readme() != (ROOT/"README.md").read_text(): wrong.add("README.md")
    return sorted(wrong)

if __name__ == "__main__":
    if "--write" in sys.argv: write()
    wrong = disagreements()
    if wrong:
        sys.exit(f"Notebooks and what is made from them disagree: {', '.join(wrong)}. "
                 "Run nbdev-export, nbdev-clean and python tests/agree.py --write.")
    print("notebooks, modules and README agree")
