"""Downloads against a local HTTP server: resume, checksum, zip, refusal, and the line that says both ways."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workflow.fetch import Wanted, fetch, main

CONTENT = bytes(range(256)) * 4096


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; the first `num_cuts` answers end in the middle, the first `num_failures` are 503."""

    def __init__(self):
        self.files, self.requests, self.num_cuts, self.num_failures = {}, [], 0, 0
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        if server.num_failures:
            server.num_failures -= 1
            self.send_error(503)
            return
        content = server.files.get(self.path[1:])
        if content is None:
            self.send_error(404)
            return
        mark = f'"{sha256(content)[:8]}"'
        first = 0
        if (wanted := self.headers.get("Range")) and self.headers.get("If-Range") == mark:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("ETag", mark)
        self.end_headers()
        end = len(content)
        if server.num_cuts:
            server.num_cuts -= 1
            end = first + (end - first) // 2
        self.wfile.write(content[first:end])

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    server = Server()
    server.files = {"whole.bin": CONTENT, "pack.zip": make_zip({"inside/a.bin": CONTENT})}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def make_zip(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def get(path, url, **options):
    fetch(Wanted(path=path, url=url, **options), pause_seconds=0)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_and_checked(server, tmp_path):
    get(tmp_path / "a" / "whole.bin", server.url("whole.bin"), sha256=sha256(CONTENT))
    assert (tmp_path / "a/whole.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path / "a") == ["whole.bin"]


def test_a_member_of_a_zip(server, tmp_path):
    get(tmp_path / "a.bin", server.url("pack.zip"), member="inside/a.bin", sha256=sha256(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["a.bin"]


def test_a_broken_connection_goes_on_where_it_ended(server, tmp_path):
    server.num_cuts = 2
    get(tmp_path / "whole.bin", server.url("whole.bin"), sha256=sha256(CONTENT))
    assert (tmp_path / "whole.bin").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.requests == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_another_content_behind_the_url_starts_afresh(server, tmp_path):
    server.num_cuts = 1
    with pytest.raises(ValueError, match="could not be downloaded"):
        fetch(Wanted(path=tmp_path / "whole.bin", url=server.url("whole.bin")), attempts=1)
    server.files["whole.bin"] = other = CONTENT[::-1]
    get(tmp_path / "whole.bin", server.url("whole.bin"), sha256=sha256(other))
    assert (tmp_path / "whole.bin").read_bytes() == other


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.num_failures = 2
    get(tmp_path / "whole.bin", server.url("whole.bin"))
    assert len(server.requests) == 3


def test_a_refusal_is_asked_once_and_says_both_ways(server, tmp_path):
    with pytest.raises(ValueError) as error:
        get(tmp_path / "davis.pkl", server.url("gone.zip"), member="tapvid_davis/davis.pkl")
    told = str(error.value)
    assert "HTTP 404" in told
    assert f"either put tapvid_davis/davis.pkl of gone.zip at {tmp_path}/davis.pkl by hand" in told
    assert "or run the same command where the network allows the download" in told
    assert "\n" not in told
    assert len(server.requests) == 1


@pytest.mark.parametrize("harm", ["checksum", "member", "zip"])
def test_what_is_not_the_file_is_never_put_in_place(server, tmp_path, harm):
    options = {
        "checksum": ("whole.bin", {"sha256": "0" * 64}, "sha256 is"),
        "member": ("pack.zip", {"member": "inside/b.bin"}, "is not the zip expected"),
        "zip": ("whole.bin", {"member": "inside/a.bin"}, "is not the zip expected"),
    }
    name, wanted, message = options[harm]
    with pytest.raises(ValueError, match=message):
        get(tmp_path / "a.bin", server.url(name), **wanted)
    assert leftovers(tmp_path) == []


def test_a_file_that_is_there_is_checked_and_not_downloaded(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    get(tmp_path / "a.bin", server.url("whole.bin"), sha256=sha256(CONTENT))
    assert server.requests == []
    with pytest.raises(ValueError, match="sha256 is"):
        get(tmp_path / "a.bin", server.url("whole.bin"), sha256="0" * 64)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_the_command_ends_with_one_line(server, tmp_path, capsys):
    assert main(["--url", "http://127.0.0.1:9/x.zip", "--attempts", "1", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/x: missing, and http://127.0.0.1:9/x.zip could not")
    assert main(["--out", str(tmp_path / "x")]) == 2
    assert "no url is configured" in capsys.readouterr().err
    assert main(["--url", server.url("whole.bin"), "--out", str(tmp_path / "x")]) == 0
