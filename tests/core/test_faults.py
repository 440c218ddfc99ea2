"""Faults: what a file or a person causes is a sentence, what drugnb causes keeps its traceback."""
import builtins
import csv
import errno
import gzip
import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from drugnb.core.faults import ADVICE, class_names, explained, in_a_sentence, recorded
from drugnb.core.settings import Fault, InputError


def raised(what):
    "What a call raises."
    with pytest.raises(Exception) as e: what()
    return e.value

def test_the_systems_errors_name_the_path_and_what_to_do():
    for code, advice in ADVICE.items():
        said = in_a_sentence(OSError(code, os.strerror(code), "/some/where"))
        assert isinstance(said, InputError) and str(said) == f"A file or folder cannot be used ({os.strerror(code)}: '/some/where'): {advice}."
    odd = OSError(errno.ESTALE, "Stale file handle", "/x")
    assert str(in_a_sentence(odd)) == "A file or folder cannot be used (Stale file handle: '/x'): see whether it is there and can be used."
    assert "cannot be used (OSError): see" in str(in_a_sentence(OSError())), "one that says nothing is called by its name"

def test_damaged_files_are_the_files_fault():
    def fields(): return list(csv.reader(["x"*200_000]))
    for what in (lambda: zlib.decompress(b"no"), lambda: json.loads("{"), fields, lambda: b"\xff".decode(), lambda: zipfile.ZipFile(Path(__file__)),
                 lambda: json.loads("["*100_000), lambda: gzip.decompress(b"\x1f\x8b")):
        said = in_a_sentence(raised(what))
        assert isinstance(said, InputError) and "cannot be" in str(said) and str(said).endswith("."), said

def test_the_file_in_hand_is_named():
    def inner(path): return json.loads(path.read_text())
    def outer(path): return inner(Path(__file__))
    said = str(in_a_sentence(raised(lambda: outer(Path("/another")))))
    assert said.startswith(f"{__file__} cannot be read (") and "/another" not in said
    assert str(in_a_sentence(raised(lambda: json.loads("{")))).startswith("A file cannot be read (")

def test_lack_of_memory_is_a_fault_without_a_record(tmp_path):
    for error in (MemoryError("Unable to allocate"), raised(lambda: np.zeros(1 << 50))):
        assert isinstance(said := in_a_sentence(error, tmp_path), Fault) and "not enough memory" in str(said)
    assert not list(tmp_path.iterdir())

def test_a_kernel_hands_back_the_name_of_a_class_alone():
    assert "OSError" in class_names("PermissionError") and "ValueError" in class_names("UnicodeDecodeError")
    assert class_names("ArrowInvalid") == ["ArrowInvalid"] and class_names("print") == ["print"], "a function of Python's is no class"
    assert isinstance(explained(class_names("NotADirectoryError"), "[Errno 20] Not a directory: '/x/y'"), InputError)
    assert explained(class_names("KeyError"), "'x'") is None and explained(class_names("ValueError"), "x") is None

def test_what_is_neither_is_recorded_whole_for_its_owner_alone(tmp_path):
    for error in (raised(lambda: {}["x"]), raised(lambda: None + 1), raised(lambda: np.zeros(2)[5]), AssertionError(), ImportError("no\nline\x1b")):
        said = str(in_a_sentence(error, tmp_path))
        log, = tmp_path.iterdir()
        assert said.startswith(f"This is a fault of drugnb ({type(error).__name__}") and f"is in {log}: please report" in said and "\n" not in said
        assert log.name.startswith("drugnb-fault-") and log.suffix == ".log" and log.stat().st_mode & 0o777 == 0o600
        text = log.read_text()
        assert text.startswith("drugnb ") and type(error).__name__ in text.splitlines()[-1] + text and "Python 3" in text
        log.unlink()

def test_a_record_that_cannot_be_written_goes_to_standard_error(tmp_path, capsys):
    said = recorded(raised(lambda: {}["x"]), tmp_path/"no such folder")
    assert "the traceback above" in str(said) and "KeyError: 'x'" in capsys.readouterr().err

def test_input_errors_and_faults_are_left_as_they_are():
    for error in (InputError("a"), Fault("b")): assert in_a_sentence(error) is error
    assert issubclass(Fault, RuntimeError) and issubclass(InputError, ValueError) and hasattr(builtins, "RecursionError")
