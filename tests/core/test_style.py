"""Style: the house's look whatever the caller's, and the same bytes for the same picture."""
import subprocess
import sys
import warnings

import matplotlib.pyplot as plt

from drugnb.core.style import STYLE, plain, plain_html, plain_markdown, save_figure, save_html, styled


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

# names in figures

NASTY = [r"$\frac$", "a$b", "$x^2$", "<script>", "雷公藤", "\x1b[31m", "n"*400, "\u202egnp", "a_b^c", "", "β-estradiol"]

def test_text_that_can_be_shown_is_left_alone():
    for text in ("Nutlin-3a (−), 1 µM", "r² = 0.3\nn = 5", "β-estradiol", r"a\b_c^d {e}", "x"*200): assert plain(text) == text

def test_formulas_letters_without_a_picture_and_what_is_hidden_are_escaped():
    assert plain("$x$ and $") == r"\$x\$ and \$" and plain(plain("$x$")) == plain("$x$")
    assert plain("雷公") == r"\u96f7\u516c" and plain("\x1b[2J\ta") == r"\x1b[2J\ta" and plain("\u202eb") == r"\u202eb"
    assert plain("a"*30, 10) == "aaaaa…aaaa" and plain("a"*10, 10) == "a"*10 and plain("ab\n" + "c"*12, 11) == "ab\nccccc…ccccc"

@styled
def names(labels, log=False):
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    left.barh(labels, range(1, len(labels) + 1), label=labels[0])
    left.set(title=labels[1], xlabel=labels[2], xscale="log" if log else "linear")
    right.plot([1, 2], label=labels[4])
    right.set_xticks(range(len(labels)), labels)
    right.annotate(labels[2], (0, 1))
    for ax in (left, right): ax.legend()
    fig.suptitle(labels[0])
    return fig

def test_any_name_is_drawn_without_a_warning_as_it_is(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = names(NASTY, log=True)
        save_figure(fig, tmp_path, "names")
    left, right = fig.axes
    ticks = [t.get_text() for t in left.get_yticklabels()]
    assert ticks == [plain(n, 63) for n in NASTY] and len(ticks[6]) == 63 and [t.get_text() for t in right.get_xticklabels()] == ticks
    assert left.get_title(loc="left") == r"a\$b" and left.get_xlabel() == r"\$x^2\$" and fig._suptitle.get_text() == r"\$\frac\$"
    assert right.get_legend().get_texts()[0].get_text() == plain("雷公藤") and right.texts[0].get_text() == r"\$x^2\$"
    assert any("mathdefault" in t.get_text() for t in left.get_xticklabels(which="both")), "powers of ten are mathematics"
    plt.close(fig)

def test_labels_are_shorter_than_titles_and_a_figure_of_no_style_is_saved_all_the_same(tmp_path):
    fig, ax = plt.subplots(figsize=(4, 3))
    ax.plot([1, 2], label="l"*100)
    ax.set(title="t"*100, ylabel="$\\frac$")
    ax.legend()
    ax.set_yticks([1, 2], ["$\\frac$", "y"*100])
    save_figure(fig, tmp_path, "names")
    assert len(ax.get_legend().get_texts()[0].get_text()) == len(ax.get_yticklabels()[1].get_text()) == 28 and ax.get_title() == "t"*100
    plt.close(fig)

def test_a_figure_of_plain_names_has_the_bytes_it_would_have_anyway(tmp_path):
    labels = ["one", "two", "three", "four", "five"]
    save_figure(names(labels), tmp_path, "a")
    with plt.style.context(STYLE): fig = names.__wrapped__(labels)
    with plt.style.context(STYLE): fig.savefig(tmp_path/"b.png", metadata={"Software": None})
    assert (tmp_path/"a.png").read_bytes() == (tmp_path/"b.png").read_bytes()
    plt.close("all")

def test_a_name_in_a_page_is_no_tag_and_in_markdown_no_border():
    assert plain_html("<b>\x1b&") == r"&lt;b&gt;\x1b&amp;" and plain_html("it's \"x\"") == "it's \"x\"" and plain_html(3) == "3"
    assert plain_markdown("a|b\n<i> [x](y)") == r"a\|b\n&lt;i> \[x](y)"
    assert plain_markdown("$x$") == r"\$x\$" and plain_markdown("HALLMARK_P53 (+0.2)") == "HALLMARK_P53 (+0.2)"
