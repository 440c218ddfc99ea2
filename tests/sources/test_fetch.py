"""Public files: the registry, a mirror as a folder and as a real server on this machine, and servers that fail or lie."""
import hashlib
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.sources import fetch as sources
from drugnb.sources.fetch import HOME, fetch, mirror_place, raw_folder, registry, target_of, terms

NAMES = ["someone/things/0abc/a table, with a comma.csv", "someone/things/0abc/deep/b.bin"]
CONTENT = {NAMES[0]: b"gene,value\nTP53,1\n"*9000, NAMES[1]: bytes(range(256))*700}

def rows(content):
    "A registry of one's own."
    return pd.DataFrame([dict(study="mine", repository="someone/things", commit="0abc", path=n.split("/", 3)[3], bytes=len(b),
                              sha256=hashlib.sha256(b).hexdigest(), licence="MIT", what="an example", cite="nobody")
                         for n, b in content.items()], index=list(content))

@pytest.fixture
def serve():
    "Start servers: serve(answer) with answer(handler, body, start, n) for the n-th request; gives the address and the list of starts asked for."
    running = []
    def start(answer, content=CONTENT):
        asked = []
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                given = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                asked.append(int(given[1]) if given else 0)
                body = content.get(unquote(self.path).lstrip("/"))
                try: self.send_error(404) if body is None else answer(self, body, asked[-1], len(asked))
                except (BrokenPipeError, ConnectionResetError): pass
            def log_message(self, *_): pass
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked
    yield start
    for server in running:
        server.shutdown()
        server.server_close()

def reply(handler, body, start=0, length=None, sent=None, status=None, content_range=None):
    "Answer with the body from `start`; announce `length` bytes and send `sent` of them."
    rest = body[start:]
    handler.send_response(status or (206 if start else 200))
    if start: handler.send_header("Content-Range", content_range or f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(rest) if length is None else length))
    handler.end_headers()
    handler.wfile.write(rest if sent is None else rest[:sent])

def fair(handler, body, start, n): reply(handler, body, start)

@pytest.fixture
def get(tmp_path, monkeypatch):
    "Fetch the example from a mirror into a data folder."
    monkeypatch.setattr(sources, "TRIES", 2)
    return lambda mirror, folder="data": fetch(folder=tmp_path/folder, mirror=mirror, files=rows(CONTENT), quiet=True)

def whole(tmp_path, folder="data"): return all((tmp_path/folder/"raw"/n).read_bytes() == b for n, b in CONTENT.items())
def kept(tmp_path, folder="data"): return sorted(p.name for p in (tmp_path/folder).rglob("*") if p.is_file())

def test_the_registry_is_the_mirrors_list(mirror):
    theirs = pd.read_csv(mirror/"SOURCES.csv")
    ours = registry()
    pd.testing.assert_frame_equal(ours[list(theirs)].reset_index(drop=True), theirs)
    assert (ours.cite.str.len() > 5).all() and ours.index.is_unique

def test_every_file_of_the_mirror_comes_through_a_folder_and_lies_as_in_it(mirror, tmp_path):
    got = fetch(folder=tmp_path, mirror=mirror, quiet=True)
    assert (got.how == "fetched").all() and len(got) == len(registry()) and (got.file == [raw_folder(tmp_path)/n for n in got.index]).all()
    assert all(f.stat().st_size == n for f, n in zip(got.file, got.bytes, strict=True))
    again = fetch("weighting", tmp_path/"other", raw_folder(tmp_path), quiet=True)
    assert (again.how == "fetched").all(), "what one person has fetched is the next one's mirror"

@pytest.mark.parametrize("study", sorted(registry().study.unique()))
def test_every_file_of_a_study_comes_through_a_server(study, mirror, tmp_path, serve, monkeypatch):
    content = {n: (mirror/n).read_bytes() for n in registry(study).index}
    address, asked = serve(fair, content)
    monkeypatch.setenv("DRUGNB_MIRROR", address + "/")
    assert (fetch(study, tmp_path, quiet=True).how == "fetched").all() and len(asked) == len(content)
    again = fetch(study, tmp_path, quiet=True)
    assert (again.how == "there already").all() and len(asked) == len(content), "nothing is asked for twice"

def test_a_path_with_a_space_is_quoted_in_the_address_and_plain_on_disk(tmp_path, serve):
    name, paths = "someone/things/0abc/DepMap 24Q2/Model, all.csv", []
    def answer(handler, body, start, n):
        paths.append(handler.path)
        reply(handler, body, start)
    address, _ = serve(answer, {name: b"ModelID\n"})
    for mirror in (address, tmp_path/"one/raw"):
        into = tmp_path/("one" if mirror == address else "two")
        got = fetch(folder=into, mirror=mirror, files=rows({name: b"ModelID\n"}), quiet=True)
        assert got.file.item().read_bytes() == b"ModelID\n" and got.file.item().parent.name == "DepMap 24Q2"
    assert paths == ["/someone/things/0abc/DepMap%2024Q2/Model%2C%20all.csv"]
    assert "DepMap 24Q2/Model.csv" in "".join(registry("essentiality").path), "the registry has such a path"

def test_a_file_that_was_changed_is_fetched_again_and_others_are_left_alone(get, serve, tmp_path):
    address, asked = serve(fair)
    get(address)
    (tmp_path/"data/raw"/NAMES[0]).write_bytes(CONTENT[NAMES[0]][:-1] + b"2")
    assert list(get(address).how) == ["fetched again", "there already"]
    assert len(asked) == 3 and whole(tmp_path)

def test_a_server_that_hangs_up_is_asked_for_the_rest(get, serve, tmp_path):
    address, asked = serve(lambda h, body, start, n: reply(h, body, start, sent=50_000))
    get(address)
    assert whole(tmp_path) and asked == [0, 50_000, 100_000, 150_000]*2 and kept(tmp_path) == [NAMES[0].split("/")[-1], "b.bin"]

def test_the_same_command_goes_on_where_another_was_cut_off(get, serve, tmp_path):
    stingy, asked = serve(lambda h, body, start, n: reply(h, body, start, sent=70_000 if n == 1 else 0))
    with pytest.raises(InputError, match="cut off after 70,000 of 162,000 bytes.*goes on from there"): get(stingy)
    assert [(p[:25], p[-5:]) for p in kept(tmp_path)] == [(NAMES[0].split("/")[-1], ".part")] and asked == [0, 70_000, 70_000]
    address, asked = serve(fair)
    get(address)
    assert asked == [70_000, 0] and whole(tmp_path)

def test_a_server_that_cannot_go_on_begins_again(get, serve, tmp_path):
    address, asked = serve(lambda h, body, start, n: reply(h, body, 0, sent=70_000 if n == 1 else None))
    get(address)
    assert asked == [0, 70_000, 0] and whole(tmp_path)

def test_a_server_that_sends_another_part_is_not_believed(get, serve, tmp_path):
    def answer(h, body, start, n):
        if n == 1: reply(h, body, 0, sent=70_000)
        elif start: reply(h, body, start, content_range=f"bytes {start - 10}-{len(body) - 1}/{len(body)}")
        else: reply(h, body)
    address, asked = serve(answer)
    get(address)
    assert asked == [0, 70_000, 0, 0] and whole(tmp_path)

def test_a_server_in_trouble_is_asked_again(get, serve, tmp_path):
    address, _ = serve(lambda h, body, start, n: h.send_error(503) if n == 1 else reply(h, body, start))
    get(address)
    assert whole(tmp_path)
    down, asked = serve(lambda h, body, start, n: h.send_error(500))
    with pytest.raises(InputError, match="the server answered 500"): get(down, "other")
    assert len(asked) == 2

def test_a_spoilt_part_does_not_spoil_the_file_for_ever(get, serve, tmp_path):
    target = tmp_path/"data/raw"/NAMES[0]
    target.parent.mkdir(parents=True)
    part = target.with_name(f"{target.name}.{rows(CONTENT).sha256[NAMES[0]][:12]}.part")
    part.write_bytes(b"x"*1000)
    target.with_name(target.name + ".part").write_bytes(b"of something else")
    address, asked = serve(fair)
    with pytest.raises(InputError, match="SHA-256 differs"): get(address)
    assert not part.exists() and list(get(address).how) == ["fetched", "fetched"] and whole(tmp_path)
    part.write_bytes(b"x"*(len(CONTENT[NAMES[0]]) + 5))
    target.unlink()
    get(address)
    assert whole(tmp_path), "a part that is too long is dropped"

@pytest.mark.parametrize("answer, said", [
    (lambda h, body, start, n: reply(h, body[::-1]), "SHA-256 differs"),
    (lambda h, body, start, n: reply(h, body + b"more"), "is announced with 162,004 bytes where the registry says 162,000"),
    (lambda h, body, start, n: reply(h, body[:-9]), "is announced with 161,991 bytes"),
    (lambda h, body, start, n: reply(h, body, length=10**15, sent=100), "is announced with 1,000,000,000,000,000 bytes"),
    (lambda h, body, start, n: reply(h, body, sent=0), "cut off after 0 of 162,000"),
    (lambda h, body, start, n: h.send_error(404), "There is no file at .* \\(the server answered 404\\)"),
    (lambda h, body, start, n: h.send_error(403), "the server answered 403"),
])
def test_a_server_that_fails_or_lies_is_refused_in_a_sentence_and_nothing_is_kept(answer, said, get, serve, tmp_path):
    address, _ = serve(answer)
    with pytest.raises(InputError, match=said) as e: get(address)
    assert str(e.value).count("\n") == 0 and str(e.value).endswith(".") and kept(tmp_path) == []

def test_a_server_that_never_stops_is_stopped(get, serve, tmp_path):
    def endless(h, body, start, n):
        h.send_response(200)
        h.end_headers()  # no length: the body lasts as long as the connection
        for _ in range(100): h.wfile.write(body)
    address, _ = serve(endless)
    with pytest.raises(InputError, match="sends more than the 162,000 bytes"): get(address)
    assert kept(tmp_path) == []

def test_no_server_at_all(get):
    with pytest.raises(InputError, match="cut off after 0 of .*ConnectionError"): get("http://127.0.0.1:9")

def test_a_mirror_folder_without_the_file_or_with_another(get, tmp_path):
    (tmp_path/"mirror").mkdir()
    with pytest.raises(InputError, match="has no someone/things/0abc/a table"): get(tmp_path/"mirror")
    for n, b in CONTENT.items():
        (tmp_path/"mirror"/n).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/"mirror"/n).write_bytes(b[::-1])
    with pytest.raises(InputError, match="SHA-256 differs"): get(tmp_path/"mirror")
    with pytest.raises(InputError, match="neither a folder nor an http address"): get(tmp_path/"nowhere")
    assert kept(tmp_path) == []

@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_folder_that_cannot_be_written(tmp_path, get, serve):
    address, _ = serve(fair)
    (tmp_path/"data").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"): get(address)

def test_a_file_where_the_data_folder_should_be(tmp_path, get, serve):
    address, _ = serve(fair)
    (tmp_path/"data").write_text("")
    with pytest.raises(InputError, match="cannot be written"): get(address)

def test_where_files_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("DRUGNB_MIRROR", raising=False)
    assert mirror_place() == HOME
    monkeypatch.setenv("DRUGNB_MIRROR", str(tmp_path))
    assert mirror_place() == tmp_path.resolve() and mirror_place("") == HOME
    monkeypatch.setenv("DRUGNB_DATA", str(tmp_path/"here"))
    assert raw_folder() == tmp_path/"here"/"raw"

def test_terms_name_licence_citation_and_content():
    said = terms(registry("weighting"))
    assert all(part in said for part in ("Licence: GPL-3.0", "Licence: none stated", "Szalai et al. 2019", "PREP2_AUC", "CPC006"))

@pytest.mark.parametrize("name", ["../../victim", "/etc/hostname", "a//b", "a/./b", "a/../../b", "", "a\\b", "a/b\0"])
def test_no_name_of_a_registry_leads_out_of_the_folder(name, tmp_path):
    with pytest.raises(InputError, match="give REPOSITORY/COMMIT/PATH"): target_of(tmp_path/"raw", name)

@pytest.mark.parametrize("place", ["", "part"])
@pytest.mark.parametrize("make", [lambda p, v: p.symlink_to(v), lambda p, v: p.mkdir(), lambda p, v: os.mkfifo(p)], ids=["link", "folder", "pipe"])
def test_links_folders_and_pipes_in_the_place_of_a_file_are_left_alone(place, make, get, serve, tmp_path):
    address, _ = serve(fair)
    target, victim = tmp_path/"data/raw"/NAMES[1], tmp_path/"victim"
    victim.write_text("precious")
    target.parent.mkdir(parents=True)
    if place: target = target.with_name(f"{target.name}.{rows(CONTENT).sha256[NAMES[1]][:12]}.part")
    make(target, victim)
    before = target.lstat().st_mode
    with pytest.raises(InputError, match="not a regular file"): get(address)
    assert victim.read_text() == "precious" and target.lstat().st_mode == before

def test_a_file_that_somebody_links_to_its_right_content_is_there_already(get, serve, tmp_path):
    address, asked = serve(fair)
    for n, b in CONTENT.items():
        target = tmp_path/"data/raw"/n
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/target.name).write_bytes(b)
        target.symlink_to(tmp_path/target.name)
    assert list(get(address).how) == ["there already"]*2 and asked == []

def test_a_mirrors_file_of_another_length_is_not_even_copied(get, tmp_path, monkeypatch):
    for n in NAMES:
        (tmp_path/"mirror"/n).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/"mirror"/n).write_bytes(b"short")
    monkeypatch.setattr(sources.shutil, "copyfile", None)
    with pytest.raises(InputError, match="has 5 bytes where the registry says"): get(tmp_path/"mirror")
