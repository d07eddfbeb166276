"""Archives that would write elsewhere, make links, or fill the disk."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow import archive, fetch
from workflow.fetch import Wanted


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for member, content in members:
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, leads_to
    return made


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, mode in members:
            information = zipfile.ZipInfo(name)
            information.external_attr = mode << 16
            information.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(information, content)
    return buffer.getvalue()


FINE = (member("set/0000/frames/a.png"), b"picture")
REFUSED = {
    "above": (tar_of(FINE, (member("set/../../escaped"), b"x")), "no name inside"),
    "absolute": (tar_of(FINE, (member("/tmp/escaped-by-frameline"), b"x")), "no name inside"),
    "symbolic link": (tar_of(FINE, (member("set/l", tarfile.SYMTYPE, "/etc"), b"")), "link, a device"),
    "link inside": (tar_of(FINE, (member("set/l", tarfile.SYMTYPE, "0000"), b"")), "link, a device"),
    "hard link": (tar_of(FINE, (member("set/l", tarfile.LNKTYPE, "set/0000/frames/a.png"), b"")), "link, a device"),
    "device": (tar_of(FINE, (member("set/d", tarfile.CHRTYPE), b"")), "link, a device"),
    "pipe": (tar_of(FINE, (member("set/d", tarfile.FIFOTYPE), b"")), "link, a device"),
    "twice": (tar_of(FINE, FINE), "comes twice"),
    "capitals": (tar_of(FINE, (member("set/0000/Frames/A.png"), b"x")), "in other capitals"),
    "below a file": (tar_of(FINE, (member("set/0000/frames/a.png/b"), b"x")), "comes twice"),
    "escape sequence": (tar_of(FINE, (member("set/\x1b[2J"), b"x")), "no name inside"),
    "zip above": (zip_of(("set/a", b"x", 0), ("../escaped", b"x", 0)), "no name inside"),
    "zip absolute": (zip_of(("set/a", b"x", 0), ("/tmp/escaped-by-frameline", b"x", 0)), "no name inside"),
    "zip backslash": (zip_of(("set/a", b"x", 0), ("..\\escaped", b"x", 0)), "no name inside"),
    "zip link": (zip_of(("set/a", b"x", 0), ("set/l", b"/etc", stat.S_IFLNK | 0o777)), "link, a device"),
    "zip device": (zip_of(("set/a", b"x", 0), ("set/d", b"", stat.S_IFBLK | 0o600)), "link, a device"),
    "zip capitals": (zip_of(("set/a", b"x", 0), ("SET/A", b"x", 0)), "in other capitals"),
}


def unpack(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "downloads").mkdir()
    packed = tmp_path / "downloads/.set.archive"
    packed.write_bytes(content)
    archive.unpack(Wanted(path=tmp_path / "downloads/set", url="https://example.org/x", is_archive=True), packed, "{}")
    return tmp_path / "downloads/set"


@pytest.mark.parametrize("harm", REFUSED)
def test_an_archive_that_would_write_elsewhere_or_make_links_is_refused(tmp_path, harm):
    content, told = REFUSED[harm]
    with pytest.raises(ValueError, match=told) as error:
        unpack(tmp_path, content)
    assert str(error.value).isprintable()
    assert [path.name for path in tmp_path.rglob("*")] == ["downloads", ".set.archive"]
    assert not Path("/tmp/escaped-by-frameline").exists()


def test_permissions_of_an_archive_are_not_taken_over(tmp_path):
    file = member("set/0000/frames/run")
    file.mode, file.uid = 0o6777, 12345
    found = unpack(tmp_path, tar_of((file, b"x"), FINE)) / "0000/frames/run"
    assert found.stat().st_mode & 0o7022 == 0 and found.stat().st_uid == os.getuid()


@pytest.mark.parametrize("kind", ["zip", "tar", "many", "member"])
def test_an_archive_that_grows_beyond_measure_is_refused(tmp_path, monkeypatch, kind, capsys):
    monkeypatch.setattr(fetch, "ALWAYS_FINE", 1 << 16)
    zeros = bytes(1 << 20)
    content = {
        "zip": zip_of(("set/a", zeros, 0)),
        "tar": tar_of((member("set/a"), zeros)),
        "many": zip_of(*((f"set/{number}", zeros[: 1 << 15], 0) for number in range(40))),
        "member": zip_of(("a.pkl", zeros, 0)),
    }[kind]
    with pytest.raises(ValueError, match=r"unpacks to more than [\d,]+ bytes, 200 times its size"):
        if kind != "member":
            unpack(tmp_path, content)
        (tmp_path / "part").write_bytes(content)
        wanted = Wanted(path=tmp_path / "a.pkl", url="https://example.org/x.zip", member="a.pkl")
        fetch._put_in_place(wanted, tmp_path / "part")
    assert not list(tmp_path.rglob("set/*")) and not (tmp_path / "a.pkl").exists()


def test_an_archive_that_the_disk_cannot_hold_is_not_thrown_away(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3))
    with pytest.raises(OSError, match="7 bytes do not fit on the disk"):
        unpack(tmp_path, tar_of(FINE))
    assert (tmp_path / "downloads/.set.archive").exists() and not (tmp_path / "downloads/set").exists()
