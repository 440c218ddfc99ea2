"""The door: whatever a person types or a file holds ends in a result, or in one sentence, a status and nothing half-written."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drugnb.command import main, study_commands
from drugnb.core.settings import InputError
from drugnb.run import FIXED, notebook_parameters, plan
from drugnb.studies import STUDIES, card, function

COMMAND = [sys.executable, "-c", "from drugnb.command import main; main()"]
LONG, ESCAPE, HIDDEN = "x" * 300, "\x1b[2J\rdrugnb: all is well\x07", "\u202egnp.exe\u200b"


class Hung(BaseException):
    "A command that waits for what never comes."


def hung(*_):
    raise Hung


@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty folder to work in, with nothing of the machine's own in the environment; nothing waits for ever in it."
    usual = signal.signal(signal.SIGALRM, hung)
    signal.alarm(60)
    for name in ("DRUGNB_DATA", "DRUGNB_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "home")
    yield tmp_path / "home"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, usual)


def there(folder):
    "Every file, folder and link, and what is in it."
    return {str(p): p.read_bytes() if p.is_file() and not p.is_symlink() else b"" for p in sorted(folder.parent.rglob("*"))}


def refused(capsys, folder, *arguments, status=2):
    "The one sentence with which a command line is refused; nothing is written."
    before = there(folder)
    with pytest.raises(SystemExit) as e:
        main(list(arguments))
    said = capsys.readouterr().err
    assert e.value.code == status, f"status {e.value.code}: {said}"
    assert said.startswith("drugnb: ") and said.endswith("\n") and said[:-1].isprintable(), said
    assert "Traceback" not in said and "fault of drugnb" not in said and len(said) < 3000, said
    assert there(folder) == before, "something was written"
    return said


def cases(*tables):
    "Parameters for pytest out of tables {name: ...}."
    return [pytest.param(*(value if isinstance(value, tuple) else (value,)), id=name) for table in tables for name, value in table.items()]


# what is typed

TYPED = {  # kind: arguments, words of the sentence
    "no command": ("", "needs a command"),
    "a misspelt command": ("rnu", "did you mean 'run'"),
    "an option for a command": ("--quiet", "see"),
    "a missing study": ("run", "needs a study"),
    "a misspelt study": ("run weigting", "did you mean 'weighting'"),
    "an unknown study": ("check xyz", "There is no study"),
    "a study of another command": ("query a --profiles b --study weighting", "no command query"),
    "a misspelt set": ("check combos --data simulatd", "did you mean 'simulated'"),
    "no set of that name": ("check synergy --data qqq", "no folder of that name"),
    "a misspelt option": ("run weighting --figurs x", "did you mean '--figures'"),
    "an option in part": ("run weighting --fig x", "no option --fig"),
    "an option of another command": ("check weighting --jobs 2", "no option --jobs"),
    "an option twice": ("check weighting --data a --data b", "twice"),
    "an option of a study's twice": ("query a --profiles b --top 1 --top 2", "twice"),
    "an option without a value": ("run weighting --run", "expected one argument"),
    "an argument too many": ("check weighting now", "can make nothing of 'now'"),
    "an argument too few": ("predict", "required"),
    "no model": ("predict x", "required: --model"),
    "a hidden option": ("query a --profiles b --pdb", "no option --pdb"),
    "an option of the parser's": ("query a --profiles b --xtra=1", "no option --xtra"),
    "a parameter without a value": ("run weighting -p folds", "NAME=VALUE"),
    "a parameter without a name": ("run weighting -p =3", "no notebook"),
    "a parameter twice": ("run weighting -p folds=3 -p folds=4", "twice"),
    "a misspelt parameter": ("run weighting -p fold=3", "did you mean 'folds'"),
    "a parameter that is the run's": ("sweep weighting -g run=a,b", "use --data and --run"),
    "nothing swept": ("sweep weighting", "-g NAME=VALUE"),
    "a sweep without values": ("sweep weighting -g folds=", "folds"),
    "a value swept twice": ("sweep weighting -g folds=3,3", "give each once"),
    "a parameter swept twice": ("sweep weighting -g folds=3 -g folds=4", "swept twice"),
    "a parameter fixed and swept": ("sweep weighting -g folds=3,4 -p folds=5", "both as fixed"),
    "a swept word": ("sweep weighting -g method=a,b", "method"),
    "files of no study": ("fetch nothing", "'nothing'"),
    "a study that has no example": ("example e --study nothing", "There is no study"),
    "an option for a flag": ("run weighting --quiet=2", "quiet"),
    "a folder of no name": ("example ", None),
}


@pytest.mark.parametrize("line, says", cases({k: v for k, v in TYPED.items() if v[1]}))
def test_what_is_typed_wrongly_is_one_sentence(line, says, home, capsys):
    assert says.lower() in refused(capsys, home, *line.split()).lower()


JOBS = ["0", "-1", "1.5", "nan", "inf", "1e9", "1_0", "", "two", "٣"]


@pytest.mark.parametrize("jobs", JOBS)
def test_jobs_are_a_number_of_processes(jobs, home, capsys):
    assert "--jobs" in refused(capsys, home, "sweep", "weighting", "-g", "folds=3,4", "--jobs", jobs)


# every number of every study

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e99",
    "1e400",
    "-1",
    "-3",
    "",
    " ",
    "1_000",
    "0x10",
    "٣",
    "9" * 25,
    "1,2",
    "one",
    "1 2",
    "--",
    "True",
    "1j",
    "(",
    "\x1b[2J",
]
WHOLE = [*NUMBERS, "2.5", "1e-3"]
LISTS = ["nan", "inf", "1,,2", ",", "1,nan", "-1,2", "1;2", "1_000", "٣", "1e400", "a"]
FLAGS = ["1", "yes", "", "none", "(" * 500]


def wrong_values(default, rule):
    "Values that a parameter with this default cannot have, of its kind."
    if isinstance(default, bool):
        return FLAGS
    if isinstance(default, int):
        return WHOLE
    if isinstance(default, float):
        return [v for v in NUMBERS if not (v in ("-1", "-3") and rule and -1000 <= rule.low < 0)]
    if rule and rule.words:
        return ["", "qqq", "ALL OF THEM"] if not rule.many else ["qqq", ",", "all,,none"]
    return LISTS if rule and rule.many else []


def every_parameter():
    "(study, parameter, default) of all notebooks on all cards."
    found = {}
    for study in STUDIES:
        for name in card(study).notebooks:
            for p, (default, _) in notebook_parameters(name).items():
                found.setdefault((study, p), default)
    return [(s, p, d) for (s, p), d in found.items() if p not in FIXED]


def every_option():
    "(command, study, option, default) of all commands that studies bring."
    import inspect

    for command, offered in study_commands().items():
        for study, (name, _) in offered.items():
            for p, about in inspect.signature(function(name)).parameters.items():
                if about.default is not inspect.Parameter.empty:
                    yield command, study, p, about.default


@pytest.mark.parametrize("study", STUDIES)
def test_every_number_of_every_notebook_has_two_ends_and_no_other_kind_of_value(study):
    fell = []
    for p, default in ((p, d) for s, p, d in every_parameter() if s == study):
        rule = card(study).rules.get(p)
        for value in wrong_values(default, rule):
            try:
                plan(study, {p: value})
            except InputError as e:
                assert p in str(e), e
            else:
                fell.append(f"{p}={value!r}")
    assert not fell, fell


@pytest.mark.parametrize("most", [2, pytest.param(99, marks=pytest.mark.slow)])
def test_every_number_of_every_command_has_two_ends_and_no_other_kind_of_value(most, home, capsys):
    fell, choose = [], random.Random(2)
    for command, study, p, default in every_option():
        option = "--" + p.replace("_", "-")
        rule = getattr(card(study), "options", {}).get(p)
        values = [v for v in wrong_values(default, rule) if v or not isinstance(default, str)]
        for value in [] if isinstance(default, bool) else choose.sample(values, min(most, len(values))):
            words = ["a", "b"] if command == "build" else ["a", "--profiles", "b"] if command == "query" else ["a"]
            words += ["--model", "m"] if command in ("predict", "embed") else []
            try:
                said = refused(capsys, home, command, "--study", study, *words, f"{option}={value}")
            except (AssertionError, Exception) as e:
                fell.append(f"{command} {option}={value!r}: {e}"[:200])
            else:
                if option not in said:
                    fell.append(f"{command} {option}={value!r}: {said}")
    assert not fell, "\n".join(fell)


# settings files


def text(content, encoding="utf-8"):
    return lambda path: path.write_bytes(content.encode(encoding))


def fifo(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("no such file")


def device(path):
    path.symlink_to("/dev/zero")


def a_folder(path):
    path.mkdir()


SETTINGS = {
    "a line without =": text("[DEFAULT]\nviability\n"),
    "a name twice": text("dose = a\ndose = b\n"),
    "a name twice in other case": text("dose = a\nDOSE = b\n"),
    "a section twice": text("[a]\nx = 1\n[a]\ny = 2\n"),
    "a name in two sections": text("[a]\ndose = 1\n[b]\ndose = 2\n"),
    "another encoding": text("name = Größe\n", "cp1252"),
    "UTF-16": text("name = x\n", "utf-16"),
    "UTF-16 without a mark": text("name = x\n", "utf-16-le"),
    "a zero byte": text("name = a\0b\n"),
    "an escape sequence": text(f"name = {ESCAPE[:4]}\n"),
    "a mark that reverses": text(f"name = {HIDDEN}\n"),
    "quotes": text('name = "x"\n'),
    "a comment behind": text("name = x  # the name\n"),
    "an open bracket": text("[DEFAULT\nname = x\n"),
    "a section without a name": text("[]\nname = x\n"),
    "a folder": a_folder,
    "a fifo": fifo,
    "a link to nothing": dangling,
    "a link to itself": loop,
    "a device": device,
    "far too much": text("x = 1\n" + "#" * (1 << 21)),
    "no name": text("= 3\n"),
    "an indented beginning": text("  stray\nname = x\n"),
    "a table": text("sig_id,pert_id\nA,B\n"),
    "JSON": text('{"name": "x"}'),
}


@pytest.mark.parametrize("spoil", cases(SETTINGS))
def test_a_settings_file_that_cannot_be_taken_at_its_word_is_one_sentence(spoil, home, capsys):
    spoil(home / "settings.ini")
    assert "settings.ini" in refused(capsys, home, "check", "weighting", "--data", "simulated-small")
    (home / "inside").mkdir()
    os.replace(home / "settings.ini", home / "inside/settings.ini")
    assert "settings.ini" in refused(capsys, home, "check", "weighting", "--data", "inside")


PARAMETERS = {"folds = many": "folds", "alphas = 1,,2": "alphas", "method = kmeans": "method", "seed = -1": "seed"}


@pytest.mark.parametrize("line", PARAMETERS)
def test_a_parameter_of_a_settings_file_keeps_to_its_rule(line, home, capsys):
    (home / "settings.ini").write_text(line)
    assert PARAMETERS[line] in refused(capsys, home, "check", "weighting", "--data", "simulated-small")


# paths


def a_file(path):
    path.write_text("a file")


PLACES = {  # command line -> which of its words is a path
    "run": ["run", "combos", "--data", "simulated-small", "--run", ...],
    "figures": ["run", "combos", "--data", "simulated-small", "--figures", ...],
    "data": ["check", "combos", "--data", ...],
    "data of weighting": ["check", "weighting", "--data", ...],
    "data of essentiality": ["check", "essentiality", "--data", ...],
    "data of synergy": ["check", "synergy", "--data", ...],
    "data of morphology": ["check", "morphology", "--data", ...],
    "example": ["example", ...],
    "notebooks": ["notebooks", ...],
    "folder of a sweep": ["sweep", "combos", "--data", "simulated-small", "-g", "folds=3,4", "--run", ...],
    "swept data": ["sweep", "combos", "-g", "folds=3", "--data", ...],
    "model": ["predict", "x.csv", "--model", ...],
    "model of pairs": ["predict", "x.csv", "--study", "combos", "--model", ...],
    "model of screens": ["predict", "x.csv", "--study", "essentiality", "--model", ...],
    "encoder": ["embed", "x", "--model", ...],
    "raw": ["build", ..., "made"],
    "images": ["embed", ..., "--model", "m"],
    "signature": ["query", ..., "--profiles", "p.csv"],
    "profiles": ["query", "q.csv", "--profiles", ...],
    "wells": ["score", ...],
    "wells to propose from": ["propose", ...],
}
ODD = {  # a path that no command can use
    "too long": LONG,
    "a folder too long": f"{LONG}/x",
    "below a file": "file/x",
    "a zero byte": "a\0b",
    "bytes that are no text": "a\udcffb",
    "a link to itself": "loop",
    "a link to itself, below": "loop/x",
    "nobody's home": "~nobody-of-that-name/x",
    "a mark that reverses": f"no/{HIDDEN}/x\0",
    "an escape sequence": f"file/{ESCAPE}",
    "a bucket": "s3://bucket/\0",
    "spaces": "file/ ",
    "a line break": "file/a\nb",
    "empty": "",
}


def odd_paths():
    "Every odd path in every place but where it means the default, or a folder that can be made."
    named = ("example", "notebooks", "raw", "images", "wells", "wells to propose from")
    made = ("run", "figures", "example", "notebooks", "folder of a sweep")
    every = [(p, o) for p in PLACES for o in ODD if (o != "empty" or p in named) and (o != "nobody's home" or p not in made)]
    few = random.Random(3).sample(every, 50)
    return [pytest.param(*c, id=" | ".join(c), marks=[] if c in few else pytest.mark.slow) for c in every]


@pytest.mark.parametrize("place, odd", odd_paths())
def test_a_path_that_cannot_be_used_is_one_sentence(place, odd, home, capsys):
    a_file(home / "file")
    loop(home / "loop")
    refused(capsys, home, *(ODD[odd] if word is ... else word for word in PLACES[place]))


# files


def deep(path):
    path.write_text("[" * 100_000)


def junk(path):
    path.write_bytes(random.Random(0).randbytes(5000))


def cut_gzip(path):
    path.write_bytes(gzip.compress(random.Random(0).randbytes(5000))[:2000])


def long_field(path):
    path.write_text("gene,logFC\nTP53,1\n" + "x" * 200_000 + ",2\n")


SPOILT = {
    "nothing there": lambda path: None,
    "empty": text(""),
    "one blank": text(" "),
    "a folder": a_folder,
    "a fifo": fifo,
    "a link to nothing": dangling,
    "a link to itself": loop,
    "a device": device,
    "binary": junk,
    "half a gzip": cut_gzip,
    "UTF-16": text("gene,logFC\nTP53,1\n", "utf-16"),
    "zero bytes": text("gene,\0logFC\n\0,1\n"),
    "a line": text("nothing here\n"),
    "a header only": text("gene,logFC\n"),
    "deep brackets": deep,
    "a field too long": long_field,
    "an escape sequence": text(f"{ESCAPE}\t{HIDDEN}\nx\n"),
    "a page": text("<html><script>alert(1)</script></html>"),
    "rows of other lengths": text("a,b\n1\n1,2,3\n"),
    "quotes that never end": text('gene,"logFC\nTP53,1\n'),
}
ENDINGS = [".csv", ".tsv", ".csv.gz", ".parquet", ".gct", ".gctx", ".xlsx", ".h5ad", ".json", ".gmt", ".grp", ".feather", ".zip", ""]
READERS = {
    "signature": "query {} --profiles good.csv",
    "profiles": "query good.csv --profiles {}",
    "up": "query --up {} --profiles good.csv",
    "references": "query good.csv --profiles good.csv --references {}",
    "groups": "query good.csv --profiles good.csv --groups {}",
    "drugs": "query good.csv --profiles good.csv --drugs {}",
    "include": "query good.csv --profiles good.csv --include {}",
    "wells": "score {}",
    "proposed": "propose {} --out next",
    "results": "propose simulated-small --out next --add {}",
    "images": "embed {} --model .",
    "stock": "propose simulated-small --out next --stock {}",
    "set": "check synergy --data {}",
    "study": "check morphology --data {}",
}


def spoilt_files():
    every = random.Random(1).sample([(r, e, s) for r in READERS for e in ENDINGS for s in SPOILT], 400)
    few = every[:25]
    return [pytest.param(*c, id=" | ".join(c), marks=[] if c in few else pytest.mark.slow) for c in every]


# a list of names may be any text; UTF-16 is read, and a quote that is never closed is a name
ACCEPTED = {"empty", "one blank", "a line", "an escape sequence", "a page", "a header only", "UTF-16", "quotes that never end", "a field too long"}


@pytest.mark.parametrize("reader, ending, spoil", spoilt_files())
def test_a_spoilt_file_is_one_sentence(reader, ending, spoil, home, capsys):
    (home / "good.csv").write_text("id,TP53,MDM2,CDKN1A\nd1,1,2,-1\nd2,-1,0.5,2\nd3,0.1,-2,0.3\n")
    SPOILT[spoil](home / f"spoilt{ending}")
    line = READERS[reader].format(f"spoilt{ending}").split()
    before = there(home)
    try:
        main(line)
    except SystemExit as e:
        said = capsys.readouterr().err
        assert e.code == 2 and "Traceback" not in said and "fault of drugnb" not in said, said
        sentences = [s for s in said.splitlines() if s.startswith("drugnb: ")]
        assert len(sentences) == 1 and said[:-1].isprintable() and len(said) < 3000 and there(home) == before, said
    else:
        told = capsys.readouterr()
        assert reader in ("groups", "drugs", "include") or spoil in ACCEPTED, told
        assert "\x1b" not in told.err + told.out


# models

MODELS = {
    "nothing": text(""),
    "a list": text("[]"),
    "an empty object": text("{}"),
    "a number": text("3"),
    "half": text('{"genes": ["A'),
    "binary": junk,
    "deep": deep,
    "a folder": a_folder,
    "NaN": text('{"intercept": NaN}'),
    "null": text("null"),
    "UTF-16": text("{}", "utf-16"),
    "a fifo": fifo,
    "a link to itself": loop,
}
FILES = {"weighting": "model.json", "combos": "pairs_model.json", "essentiality": "model.json"}


@pytest.mark.parametrize("study", FILES)
@pytest.mark.parametrize("spoil", cases(MODELS))
def test_a_spoilt_model_is_one_sentence(spoil, study, home, capsys):
    (home / "x.csv").write_text("id,TP53,MDM2\ns1,1,2\n")
    (home / "run").mkdir()
    spoil(home / "run" / FILES[study])
    refused(capsys, home, "predict", "x.csv", "--study", study, "--model", "run")


# the environment


def test_a_working_folder_that_is_gone_is_one_sentence(home, capsys):
    (home / "gone").mkdir()
    os.chdir(home / "gone")
    (home / "gone").rmdir()
    for line in ("check combos --data simulated-small", "run weighting --data x", "example e", "query a --profiles b", "fetch weighting"):
        assert "working folder" in refused(capsys, home, *line.split())


@pytest.mark.parametrize(
    "value, says", [("file", "is not in"), ("no/such", "is not in"), (LONG, "too long"), ("\x1b[2J", "is not in"), ("~nobody-x/y", "is not in")]
)
def test_a_data_folder_of_the_environment_that_is_none_is_one_sentence(value, says, home, capsys, monkeypatch):
    a_file(home / "file")
    monkeypatch.setenv("DRUGNB_DATA", value)
    assert says in refused(capsys, home, "check", "weighting", "--data", "l1000-a375")


def test_an_empty_data_folder_of_the_environment_is_none_at_all(home, capsys, monkeypatch):
    for blank in ("", "  "):
        monkeypatch.setenv("DRUGNB_DATA", blank)
        assert str(home / "data") in refused(capsys, home, "check", "weighting", "--data", "l1000-a375")


# faults


def test_a_fault_of_drugnb_keeps_its_traceback_in_a_file_that_is_named(home, capsys, monkeypatch):
    from drugnb import run

    def broken(*given):
        return {}["no such key"]

    monkeypatch.setattr(run, "check_study", broken)
    with pytest.raises(SystemExit) as e:
        main(["check", "combos"])
    said = capsys.readouterr().err
    assert (
        e.value.code == 1
        and said.count("\n") == 1
        and said.startswith("drugnb: This is a fault of drugnb (KeyError: 'no such key'); the traceback is in ")
    )
    log = Path(said.split(" is in ")[1].split(": ")[0])
    assert "in broken" in log.read_text() and list((home.parent / "temporary").iterdir()) == [log]
    monkeypatch.setattr("tempfile.tempdir", str(home / "not there"))
    with pytest.raises(SystemExit) as e:
        main(["check", "combos"])
    said = capsys.readouterr().err
    assert e.value.code == 1 and "in broken" in said and said.splitlines()[-1].startswith("drugnb: This is a fault of drugnb")


@pytest.mark.parametrize(
    "error, status, says",
    [
        (MemoryError("Unable to allocate 7 TiB"), 1, "not enough memory"),
        (OSError(28, "No space left on device", "/x/y"), 2, "'/x/y'"),
        (PermissionError(13, "Permission denied", "/x"), 2, "you may use"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), 2, "cannot be written down"),
        (RecursionError("maximum recursion depth exceeded"), 2, "cannot be read"),
        (KeyboardInterrupt(), 130, "stopped"),
        (InputError("Two\nlines\x1b[2J."), 2, r"Two\nlines\x1b[2J."),
    ],
)
def test_each_kind_of_error_has_its_status_and_its_sentence(error, status, says, home, capsys, monkeypatch):
    from drugnb import run

    def broken(*given):
        raise error

    monkeypatch.setattr(run, "check_study", broken)
    assert says in refused(capsys, home, "check", "combos", status=status)


# streams and signals, as another process


def started(home, *arguments, **how):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen([*COMMAND, *arguments], cwd=home, stderr=subprocess.PIPE, text=True, env={**environment, **how.pop("env", {})}, **how)


def test_a_reader_who_leaves_and_a_full_disk_are_no_traceback(home):
    reader, writer = os.pipe()
    os.close(reader)
    left = started(home, "studies", stdout=writer)
    os.close(writer)
    with open("/dev/full", "w") as full:
        filled = started(home, "studies", stdout=full)
    assert (left.communicate()[1], left.returncode) == ("", 141)
    said = filled.communicate()[1]
    assert said.startswith("drugnb: ") and "No space left" in said and said.count("\n") == 1 and filled.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("shell, status", [(">&-", 0), ("2>&-", 0), ("<&-", 0), (">&- 2>&- <&-", 0)])
def test_closed_streams_are_no_fault(shell, status, home):
    done = subprocess.run(
        ["bash", "-c", f'"$@" {shell}', "-", *COMMAND, "example", "made", "--study", "combos"], cwd=home, capture_output=True, text=True
    )
    assert done.returncode == status and "Traceback" not in done.stderr and any((home / "made").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "0"},
        {"NO_COLOR": "1", "TERM": "dumb"},
        {"TMPDIR": "/no/such/folder"},
        {"HOME": ""},
    ],
    ids=str,
)
def test_odd_environments_change_no_answer(variables, home):
    for line, status in (("studies", 0), ("query --help", 0), ("check weighting --data größe-µ-雷", 2)):
        done = started(home, *line.split(), stdout=subprocess.PIPE, env=variables)
        said = done.communicate()[1]
        assert done.returncode == status and "Traceback" not in said and said.count("\n") == (status == 2), said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_a_sentence_and_nothing_half_written(number, home):
    run = started(home, "run", "combos", "--data", "simulated-small", "--run", "r", stdout=subprocess.DEVNULL)
    signal.alarm(400)
    deadline = time.time() + 300
    while not list(home.glob("r/journal.jsonl")) and run.poll() is None and time.time() < deadline:
        time.sleep(0.2)
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 128 + number and said.splitlines()[-1].startswith("drugnb: stopped") and "Traceback" not in said, said
    assert not list(home.rglob(".partial-*"))


# notebooks

BROKEN = {
    "a file that is not there": ("open('/no/such/file')", 2, "/no/such/file"),
    "a fault": ("{}['no such key']", 1, "This is a fault of drugnb (KeyError"),
    "a folder in place of a file": ("open('/')", 2, "give a file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("code, status, says", cases(BROKEN))
def test_a_notebook_that_stops_says_why_in_a_sentence_and_is_kept(code, status, says, home, capsys, monkeypatch):
    from drugnb import run

    cell = dict(cell_type="code", metadata=dict(tags=["parameters"]), outputs=[], execution_count=None, source="", id="a")
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    book = dict(cells=[cell, {**cell, "source": code, "metadata": {}, "id": "b"}], metadata=kernel, nbformat=4, nbformat_minor=5)
    (home / "broken.ipynb").write_text(json.dumps(book))
    monkeypatch.setattr(run, "notebooks_folder", lambda: home)
    monkeypatch.setattr(run, "check_study", lambda *given: run.run_notebook("broken", {}, home / "r"))
    with pytest.raises(SystemExit) as e:
        main(["check", "combos"])
    said = capsys.readouterr().err
    assert e.value.code == status and says in said and said.count("\n") == 1 and "r/broken.failed.ipynb" in said
    assert [p.name for p in (home / "r").iterdir()] == ["broken.failed.ipynb"]


@pytest.mark.slow
def test_a_notebook_runs_in_a_folder_of_any_name(home, monkeypatch):
    from drugnb import run

    cell = dict(cell_type="code", metadata=dict(tags=["parameters"]), outputs=[], execution_count=None, source="where = ''", id="a")
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    code = {**cell, "source": "open(where, 'w').write(where)", "metadata": {}, "id": "b"}
    folder = home / "{c} [b]*? 100% #1 'x' \"y\" größe 雷\nz\\q $HOME `ls`"
    folder.mkdir()
    (folder / "whole.ipynb").write_text(json.dumps(dict(cells=[cell, code], metadata=kernel, nbformat=4, nbformat_minor=5)))
    monkeypatch.setattr(run, "notebooks_folder", lambda: folder)
    run.run_notebook("whole", {"where": str(folder / "out")}, folder / "r")
    assert (folder / "out").read_text() == str(folder / "out") and [p.name for p in (folder / "r").iterdir()] == ["whole.ipynb"]
