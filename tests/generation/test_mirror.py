"""A miniature of Kubric's bucket: fetched over HTTP, checked, resumed; missing and wrong assets are named."""

import functools
import gzip
import hashlib
import http.server
import json
import threading

import pytest

from generation.__main__ import main
from generation.assets import make_archive
from generation.mirror import MirrorError, build_mirror
from generation.sources import BadAssetError, check_archives, ids_of_split, read_pack, sha256_of_pack

HDR = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n1234"


def write_bucket(root):
    """The three manifests as Kubric writes them (their data_dir is in the bucket), and their archives."""
    contents = {
        "GSO": {f"shoe_{n}": {"visual.obj": b"v 0 0 0\n"} for n in range(10)},
        "HDRI_haven": {name: {f"{name}.hdr": HDR} for name in ("noon", "rain")},
        "KuBasic": {name: {"visual.obj": b"v 0 0 0\n"} for name in ("dome", "cube")},
    }
    for source, assets in contents.items():
        (root / source).mkdir(parents=True)
        entries = {}
        for name, files in assets.items():
            (root / source / f"{name}.tar.gz").write_bytes(make_archive({"data.json": b"{}"} | files))
            kind = "Texture" if source == "HDRI_haven" else "FileBasedObject"
            kwargs = {"filename": f"{{asset_dir}}/{name}.hdr"} if kind == "Texture" else {}
            entries[name] = {"asset_type": kind, "license": "CC0", "kwargs": kwargs, "metadata": {}}
        manifest = {"name": source, "data_dir": f"gs://kubric-public/assets/{source}", "assets": entries}
        (root / source / f"{source}.json").write_text(json.dumps(manifest))
    return root


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, counts requests, and cuts or refuses what a test asks it to."""

    asked: list[str]
    failing: dict[str, int]

    def do_GET(self):
        self.asked.append(self.path)
        left = self.failing.get(self.path, 0)
        if left:
            self.failing[self.path] = left - 1
            return self.send_error(503)
        return super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def bucket(tmp_path):
    return write_bucket(tmp_path / "bucket")


@pytest.fixture
def server(bucket, monkeypatch):
    monkeypatch.setattr("generation.mirror.time.sleep", lambda seconds: None)
    handler = type("Own", (Handler,), {"asked": [], "failing": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=bucket)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        httpd.url, httpd.handler = f"http://127.0.0.1:{httpd.server_address[1]}", handler
        yield httpd
        httpd.shutdown()


def test_a_mirror_is_fetched_listed_and_never_fetched_again(server, bucket, tmp_path):
    out = tmp_path / "mirror"
    content = build_mirror(out, server.url)
    assert len(content["files"]) == 3 + 14
    name = "GSO/shoe_3.tar.gz"
    assert content["files"][name] == hashlib.sha256((bucket / name).read_bytes()).hexdigest()
    assert read_pack(out) == content
    assert sha256_of_pack(out) == sha256_of_pack(out)
    server.handler.asked.clear()
    (out / name).unlink()
    assert build_mirror(out, server.url)["files"] == content["files"]
    assert server.handler.asked == [f"/{name}"]
    assert not list(out.rglob("*.tmp"))


def test_a_server_that_stumbles_is_asked_again_and_one_that_refuses_is_named(server, tmp_path, capsys):
    server.handler.failing["/GSO/shoe_1.tar.gz"] = 2
    build_mirror(tmp_path / "mirror", server.url)
    assert capsys.readouterr().err.count("shoe_1.tar.gz: trying again") == 2
    server.handler.failing["/HDRI_haven/rain.tar.gz"] = 99
    with pytest.raises(MirrorError, match=r"rain\.tar\.gz: 503 .*\n1 of 17 files"):
        build_mirror(tmp_path / "other", server.url)
    server.handler.failing.clear()
    server.handler.asked.clear()
    build_mirror(tmp_path / "other", server.url)  # goes on where it was
    assert server.handler.asked == ["/HDRI_haven/rain.tar.gz"]


def test_a_folder_can_be_mirrored_and_one_put_there_by_hand_is_listed(bucket, tmp_path):
    assert main(["mirror", "--out", str(tmp_path / "copy"), "--url", str(bucket)]) == 0
    assert main(["mirror", "--out", str(bucket), "--marker", str(tmp_path / "marker.json")]) == 0
    assert read_pack(tmp_path / "copy")["files"] == read_pack(bucket)["files"]
    assert json.loads((tmp_path / "marker.json").read_text()) == read_pack(bucket)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "shoe_2.tar.gz: missing"),
        (b"<html>not found</html>", "shoe_2.tar.gz: no archive"),
        (make_archive({"visual.obj": b"v"}), "without data.json is no asset"),
        (gzip.compress(b"x" * 5000, mtime=0)[:30], "shoe_2.tar.gz: no archive"),
    ],
    ids=["missing", "a page", "without data.json", "cut short"],
)
def test_a_missing_or_wrong_archive_is_named_with_exit_code_1(bucket, capsys, content, message):
    path = bucket / "GSO" / "shoe_2.tar.gz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert main(["mirror", "--out", str(bucket)]) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert "1 of 17 files are missing or wrong" in errors


def test_a_changed_archive_is_found_by_check_and_before_it_is_used(bucket, capsys):
    build_mirror(bucket, None)
    used = [("objects", "shoe_4"), ("hdri", "noon"), ("basic", "dome")]
    rows = check_archives(bucket, used)
    assert [(row["source"], row["id"]) for row in rows] == [
        ("KuBasic", "dome"),
        ("HDRI_haven", "noon"),
        ("GSO", "shoe_4"),
    ]
    (bucket / "GSO" / "shoe_4.tar.gz").write_bytes(make_archive({"data.json": b"{}", "visual.obj": b"other"}))
    with pytest.raises(BadAssetError, match=r"shoe_4\.tar\.gz: not the archive that pack\.json lists"):
        check_archives(bucket, used)
    assert main(["mirror", "--out", str(bucket), "--check"]) == 1
    assert "shoe_4.tar.gz: is not what pack.json lists" in capsys.readouterr().err
    (bucket / "GSO" / "shoe_4.tar.gz").unlink()
    with pytest.raises(BadAssetError, match="the archive of asset shoe_4 is missing"):
        check_archives(bucket, used)


def test_a_light_that_is_no_hdri_is_named(bucket):
    (bucket / "HDRI_haven" / "rain.tar.gz").write_bytes(make_archive({"data.json": b"{}", "rain.hdr": b"\x89PNG...."}))
    build_mirror(bucket, None)
    with pytest.raises(BadAssetError, match=r"rain\.hdr in it is no HDRI"):
        check_archives(bucket, [("hdri", "rain")])


def test_a_mirror_without_its_list_and_a_broken_manifest_say_the_next_command(bucket):
    with pytest.raises(ValueError, match="python -m generation mirror --out"):
        read_pack(bucket)
    (bucket / "GSO" / "GSO.json").write_text("{}")
    with pytest.raises(ValueError, match=r"GSO\.json: no manifest of assets"):
        build_mirror(bucket, None)


def test_kubric_s_own_split_is_a_tenth_and_the_same_every_time():
    names = {f"shoe_{n}": {"metadata": {}} for n in range(50)}
    train, test = ids_of_split(names, "train"), ids_of_split(names, "test")
    assert len(test) == 5
    assert sorted(train + test) == sorted(names)
    assert test == ids_of_split(names, "test")
