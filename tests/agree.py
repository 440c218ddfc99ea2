"""Do notebooks, modules and README agree? With --write, README.md is made anew from nbs/index.ipynb."""
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

def readme() -> str:
    "README.md as nbs/index.ipynb says it: hidden cells and code that is only there to make a table are left out."
    processed = NBProcessor(ROOT/"nbs/index.ipynb", procs=[hide_, rm_export])
    processed.process()
    for cell in processed.nb.cells:
        if cell.get("directives_", {}).get("echo") == "false": cell.source = ""
    text, _ = MarkdownExporter().from_notebook_node(nbformat.from_dict(processed.nb))
    text = text.replace("](../figures/", "](figures/").replace("```\n\n```\n", "")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).strip() + "\n"

def disagreements() -> list[str]:
    "Files that export, clean and the README's recipe would change, and modules that no notebook makes."
    with tempfile.TemporaryDirectory() as d:
        copy = Path(d, "project")
        copy.mkdir()
        unwanted = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        for name in ("nbs", "drugnb"): shutil.copytree(ROOT/name, copy/name, ignore=unwanted)
        for name in ("pyproject.toml", "settings.ini", "README.md"): shutil.copy(ROOT/name, copy)
        for module in copy.glob("drugnb/*.py"):
            if module.name != "__init__.py": module.unlink()
        for command in ("nbdev-export", "nbdev-clean"):
            subprocess.run([str(Path(sys.executable).with_name(command))], cwd=copy, check=True)
        ours, theirs = ({str(p.relative_to(r)): p.read_bytes() for f in ("drugnb/*.py", "nbs/*.ipynb") for p in r.glob(f)} for r in (ROOT, copy))
        wrong = sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
    if readme() != (ROOT/"README.md").read_text(): wrong.append("README.md")
    return wrong

if __name__ == "__main__":
    if "--write" in sys.argv: (ROOT/"README.md").write_text(readme())
    wrong = disagreements()
    if wrong:
        sys.exit(f"Notebooks and what is made from them disagree: {', '.join(wrong)}. "
                 "Run nbdev-export, nbdev-clean and python tests/agree.py --write.")
    print("notebooks, modules and README agree")
