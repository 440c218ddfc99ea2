"""Style: the house's look whatever the caller's, and the same bytes for the same picture."""
import subprocess
import sys

import matplotlib.pyplot as plt

from drugnb.core.style import STYLE, save_figure, save_html, styled


@styled
def draw():
    fig, ax = plt.subplots()
    ax.plot([1, 2, 3])
    ax.set_title(f"size {plt.rcParams['font.size']}")
    return fig

def test_a_figure_is_drawn_in_the_houses_style_and_the_callers_is_left_as_it_was():
    with plt.rc_context({"font.size": 30}):
        before = dict(plt.rcParams)
        fig = draw()
        assert dict(plt.rcParams) == before
    with plt.style.context(STYLE): size = plt.rcParams["font.size"]
    assert fig.axes[0].get_title(loc="left") == f"size {size}" and size != 30 and draw.__name__ == "draw"

def test_the_same_picture_has_the_same_bytes_in_another_process(tmp_path):
    code = ("import sys, matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
            "from drugnb.core.style import save_figure, styled\n"
            "@styled\ndef draw():\n    fig, ax = plt.subplots()\n    ax.plot([1, 2])\n    return fig\n"
            "save_figure(draw(), sys.argv[1], 'f')")
    for where in ("a", "b"): subprocess.run([sys.executable, "-c", code, tmp_path/where], check=True)
    for file in ("f.png", "f.svg"):
        assert (tmp_path/"a"/file).read_bytes() == (tmp_path/"b"/file).read_bytes()

def test_figures_are_written_whole_into_a_folder_that_is_made(tmp_path):
    paths = save_figure(draw(), tmp_path/"deep/er", "f")
    assert [p.name for p in paths] == ["f.png", "f.svg"]
    assert sorted((tmp_path/"deep/er").iterdir()) == paths

def test_a_page_is_named_by_its_file_so_that_its_bytes_repeat(tmp_path):
    class Page:
        def write_html(self, path, include_plotlyjs, div_id): path.write_text(f"{div_id} {include_plotlyjs}")
    assert save_html(Page(), tmp_path, "map").read_text() == "map True" and (tmp_path/"map.html").exists()

def test_importing_the_style_loads_no_heavy_library():
    code = ("import sys, drugnb.core.style\n"
            "heavy = {'plotly', 'seaborn', 'openTSNE', 'leidenalg', 'kneed', 'sklearn', 'torch'}\n"
            "assert not heavy & set(sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
