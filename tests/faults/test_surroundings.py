"""The same numbers whatever the threads, locales, hash seeds, time zones, folders and umask, and whatever the order of rows."""
import shutil

import campaign
import pandas as pd
import pytest

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
WORLDS = {  # each a new interpreter
    "again": {},
    "two threads": {**dict.fromkeys(THREADS, "2"), "PYTHONHASHSEED": "0"},
    "C, Kiribati": {"LC_ALL": "C", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1", "COLUMNS": "20"},
    "C.UTF-8, Newfoundland": {"LC_ALL": "C.UTF-8", "LANG": "", "TZ": "America/St_Johns", "PYTHONHASHSEED": "random", "TERM": "dumb"},
    "ASCII": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    "no home": {"HOME": "/nowhere", "TMPDIR": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1", "XDG_CONFIG_HOME": "/nowhere"},
}

@pytest.mark.slow
@pytest.mark.parametrize("which", WORLDS)
def test_the_same_numbers_in_other_surroundings(five, home, which):
    "A new interpreter, in another folder, its files for nobody else."
    env = {k: str(home/"no") if v == "/nowhere" else v for k, v in WORLDS[which].items()}
    (home/"elsewhere").mkdir()
    done = campaign.fresh(five.words(home/"r"), home/"elsewhere", env, umask=0o077)
    assert done.code == 0, done.err[-3000:]
    assert five.same(home/"r")
    if which == "ASCII": assert done.out.isascii()

@pytest.mark.slow
def test_the_same_numbers_where_the_decimal_sign_is_a_comma(five, home):
    "What a library does that calls setlocale: here a locale is asked for, and a comma stands in where there is none."
    import locale
    def comma():
        for name in ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"):
            try: return locale.setlocale(locale.LC_ALL, name)
            except locale.Error: pass
        whole = locale.localeconv
        locale.localeconv = lambda: {**whole(), "decimal_point": ",", "thousands_sep": "."}
    done = campaign.forked(five.words(home/"r"), home, before=comma)
    assert done.code == 0 and five.same(home/"r"), done.err[-2000:]

@pytest.mark.slow
def test_the_same_numbers_whatever_the_order_of_rows(five, home):
    shutil.copytree(five.source, home/"tables")
    for i, path in enumerate(sorted((home/"tables").glob("*.csv*"))):
        pd.read_csv(path, dtype=str, keep_default_na=False).sample(frac=1, random_state=i).to_csv(path, index=False)
    done = campaign.forked(five.words(home/"r", source=home/"tables"), home)
    assert done.code == 0, done.err[-2000:]
    found = campaign.differences(five.calm, home/"r", leave_out=["study.json"], ordered=False)
    assert not found, "\n".join(found)
