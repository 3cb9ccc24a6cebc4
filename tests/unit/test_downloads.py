"""Downloads from a server of the test's own: mirrors, checksums, and resuming."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modeconn.datasets import downloads
from modeconn.datasets.downloads import Archive, fetch

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        content, start = self.server.content, 0
        if self.server.status != 200:
            return self.send_error(self.server.status)
        if self.server.resumes and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", len(content) - start)
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks_off])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """`serve(...)`: the address of a server that gives one file, under any name, and the server."""
    servers = []

    def start(content=CONTENT, status=200, resumes=True, breaks_off=None):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        vars(server).update(content=content, status=status, resumes=resumes, breaks_off=breaks_off, ranges=[])
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/files/", server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def archive(*mirrors):
    return Archive("data.tar.gz", MD5, mirrors)


DOWN = "http://127.0.0.1:1/"


def test_an_archive_is_downloaded_once(serve, tmp_path):
    address, server = serve()
    path = fetch(archive(address), tmp_path / "downloads")
    assert path == tmp_path / "downloads" / "data.tar.gz"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.tar.gz"]
    assert fetch(archive(address), tmp_path / "downloads") == path
    assert server.ranges == [None]


def test_an_archive_that_is_there_needs_no_network(tmp_path):
    (tmp_path / "data.tar.gz").write_bytes(CONTENT)
    assert fetch(archive(DOWN), tmp_path) == tmp_path / "data.tar.gz"


def test_a_damaged_archive_is_named_and_stays(serve, tmp_path, one_line):
    address, server = serve()
    (tmp_path / "data.tar.gz").write_bytes(CONTENT[:-1])
    with one_line(ValueError, tmp_path / "data.tar.gz", "damaged", MD5, f"{address}data.tar.gz"):
        fetch(archive(address), tmp_path)
    assert (tmp_path / "data.tar.gz").read_bytes() == CONTENT[:-1]
    assert server.ranges == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_the_next_mirror_is_tried(serve, tmp_path, status):
    refusing, good = serve(status=status)[0], serve()[0]
    assert fetch(archive(DOWN, refusing, good), tmp_path).read_bytes() == CONTENT


def test_a_wrong_file_of_a_mirror_is_not_taken(serve, tmp_path):
    wrong, good = serve(content=CONTENT[:-1] + b"x"), serve()
    assert fetch(archive(wrong[0], good[0]), tmp_path).read_bytes() == CONTENT
    assert good[1].ranges == [None]


def test_a_download_that_broke_off_goes_on(serve, tmp_path, one_line):
    breaking, _ = serve(breaks_off=300_000)
    with one_line(ValueError, "300,000 of 1,024,000 bytes", "run again"):
        fetch(archive(breaking), tmp_path)
    assert not (tmp_path / "data.tar.gz").exists()
    assert (tmp_path / "data.tar.gz.part").read_bytes() == CONTENT[:300_000]
    good, server = serve()
    assert fetch(archive(good), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=300000-"]
    assert [file.name for file in tmp_path.iterdir()] == ["data.tar.gz"]


def test_another_mirror_goes_on_where_the_first_broke_off(serve, tmp_path):
    breaking, good = serve(breaks_off=300_000), serve()
    assert fetch(archive(breaking[0], good[0]), tmp_path).read_bytes() == CONTENT
    assert good[1].ranges == ["bytes=300000-"]


def test_a_server_that_cannot_resume_starts_over(serve, tmp_path):
    (tmp_path / "data.tar.gz.part").write_bytes(CONTENT[:1000])
    address, server = serve(resumes=False)
    assert fetch(archive(address), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_complete_part_is_taken(serve, tmp_path):
    (tmp_path / "data.tar.gz.part").write_bytes(CONTENT)
    assert fetch(archive(serve()[0]), tmp_path).read_bytes() == CONTENT


def test_a_part_of_something_else_is_thrown_away(serve, tmp_path):
    (tmp_path / "data.tar.gz.part").write_bytes(b"x" * 5000)
    first, second = serve(), serve()
    assert fetch(archive(first[0], second[0]), tmp_path).read_bytes() == CONTENT
    assert (first[1].ranges, second[1].ranges) == (["bytes=5000-"], [None])


def test_when_all_mirrors_fail_one_line_says_what_to_do(serve, tmp_path, one_line):
    wrong, gone = serve(content=b"<html>moved</html>")[0], serve(status=404)[0]
    addresses = [f"{mirror}data.tar.gz" for mirror in (DOWN, wrong, gone)]
    place = tmp_path / "downloads" / "data.tar.gz"
    with one_line(ValueError, *addresses, "refused", "MD5", "404", f"by hand and put it at {place}"):
        fetch(archive(DOWN, wrong, gone), place.parent)
    assert not place.exists()


def test_two_that_need_one_archive_download_it_once(serve, tmp_path):
    address, server = serve()
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(archive(address), tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "data.tar.gz"] * 4
    assert server.ranges == [None]
    assert (tmp_path / "data.tar.gz").read_bytes() == CONTENT


def test_progress_is_a_line_for_each_tenth(serve, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 102_400)
    address, _ = serve()
    fetch(archive(address), tmp_path)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"downloading {address}data.tar.gz"
    assert rest == [f"data.tar.gz: {done:,} of 1,024,000 bytes" for done in range(102_400, 1_024_001, 102_400)]
