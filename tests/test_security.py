"""What a configuration, a download or a file of others may not do: run code, write elsewhere, leak a secret."""

import ast
import io
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from shards import ClipStore
from shards.layouts.tapvid import write_tapvid
from shards.transfer import authorization_of
from tests.conftest import make_clip
from tests.workflow.copies import copy_repository, environment_of
from workflow import archive, fetch
from workflow.addresses import check_address, check_path, without_secrets
from workflow.fetch import Wanted
from workflow.plan import Plan
from workflow.provenance import record, sidecar_path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("eval", "generation", "shards", "trainer", "workflow", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALLOWED = {
    ("shards/unpickle.py", "pickle._Unpickler"): "the restricted unpickler: it makes stand-ins and calls nothing",
    ("shards/torchfile.py", "pickle._Unpickler"): "the same for .pth files: tensors' storages and containers only",
    ("shards/layouts/npy_folder.py", "numpy.save(allow_pickle=True)"): "writes the published format; reading is ours",
    ("workflow/archive.py", "members.extractall without filter"): "a zip, whose members were all admitted before",
    ("benchmarks/tapvid_metric.py", "exec"): "runs the published metric from a file that a person names, to time it",
}
"""What looks dangerous and is not, and why; an entry that is no longer needed fails, too."""


# Code of ours that would run code of others


def dangers_of(code: str) -> list[tuple[int, str]]:
    """Line and name of every call or class in Python code that can run code from data, or a shell."""
    tree = ast.parse(code)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _full_name(node, names).startswith(("pickle.", "_pickle.", "cPickle.")):
            if "npickler" in node.attr or node.attr in ("load", "loads"):
                found.append((node.lineno, _full_name(node, names)))
        elif isinstance(node, ast.Call) and (danger := _danger_of_call(node, names)):
            found.append((node.lineno, danger))
    return sorted(set(found))


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{_full_name(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def _danger_of_call(call: ast.Call, names: dict[str, str]) -> str:
    name = _full_name(call.func, names)
    words = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}
    if name in ("eval", "exec", "__import__", "os.system", "os.popen", "subprocess.getoutput", "marshal.loads"):
        return name
    if name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "shelve.open", "pandas.read_pickle"):
        return name
    if name == "torch.load" and words.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    if words.get("allow_pickle", "False") != "False":
        return f"{name.replace('np.', 'numpy.')}(allow_pickle={words['allow_pickle']})"
    if words.get("shell", "False") != "False":
        return f"{name}(shell={words['shell']})"
    if name.startswith("yaml.") and name.split(".")[1] in ("unsafe_load", "full_load", "load", "load_all"):
        return name
    return f"{name} without filter" if _is_bare_extraction(call, words) else ""


def _is_bare_extraction(call: ast.Call, words: dict[str, str]) -> bool:
    is_extraction = isinstance(call.func, ast.Attribute) and call.func.attr in ("extractall", "unpack_archive")
    return is_extraction and "filter" not in words


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_of_ours_runs_what_it_reads(path):
    name = path.relative_to(ROOT).as_posix()
    wrong = [f"{name}:{line}: {what}" for line, what in dangers_of(path.read_text()) if (name, what) not in ALLOWED]
    assert wrong == []


def test_every_exception_is_still_needed():
    found = {(path.relative_to(ROOT).as_posix(), what) for path in SOURCES for _, what in dangers_of(path.read_text())}
    assert ALLOWED.keys() <= found


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(p)",
        "import torch as t\nt.load(p, weights_only=False)",
        "from torch import load\nload(p)",
        "import pickle\npickle.loads(b)",
        "from pickle import load as l\nl(f)",
        "import pickle\nclass A(pickle.Unpickler): pass",
        "import numpy as np\nnp.load(p, allow_pickle=True)",
        "import numpy\nnumpy.load(p, allow_pickle=flag)",
        "eval(text)",
        "exec(text)",
        "import os\nos.system(c)",
        "import subprocess\nsubprocess.run(c, shell=True)",
        "from subprocess import run\nrun(c, shell=True)",
        "import yaml\nyaml.load(t, Loader=yaml.Loader)",
        "import tarfile\ntarfile.open(p).extractall(q)",
    ],
)
def test_what_is_dangerous_is_found(code):
    assert len(dangers_of(code)) == 1


def test_what_is_not_dangerous_is_left_alone():
    code = "import torch, yaml, re, subprocess\ntorch.load(p, weights_only=True)\nmodel.eval()\nre.compile(t)\n"
    assert dangers_of(code + "yaml.safe_load(t)\nsubprocess.run(['ls'])\npart.compile()") == []


def test_no_rule_runs_a_shell_of_its_own():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        assert not re.search(r"os\.system|shell=True|\beval\(|\bexec\(|subprocess|yaml\.load\(", path.read_text()), path


# Names in a configuration that a shell would run

HOSTILE = ("a b; touch hacked", "$(touch hacked)", "`touch hacked`", "q'; touch hacked; '", 'd"; touch hacked; "')


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", self.server.away)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.asked, server.away = b"content", [], ""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def snakemake(root: Path, config: dict, *words: str, **environment: str) -> str:
    """Run Snakemake in a copy of the repository; returns all that it printed."""
    (root / "config/mine.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/mine.yaml", "--cores", "1", *words]
    done = subprocess.run(
        command, cwd=root, env=environment_of(root) | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tiny() -> dict:
    return yaml.safe_load((ROOT / "config/tiny.yaml").read_text())


@pytest.mark.timeout(400)
def test_no_name_in_a_configuration_reaches_a_shell(tmp_path):
    """A dry run of all rules prints commands in which each hostile text is one word."""
    root = copy_repository(tmp_path / "graph")
    config = tiny()
    hostile = iter(HOSTILE * 3)
    names = {key: f"{next(hostile)}/{key}" for key in ("pickle", "folder", "sequences", "animals", "other", "assets")}
    names |= {"member": f"in {next(hostile)}.pkl", "url": "https://example.org/$(touch${IFS}hacked);`x`'y'.zip"}
    names["project"] = "$(touch hacked) ; touch hacked"
    sets = config["datasets"]
    sets["tapvid_davis"] |= {"path": f"{names['pickle']}.pkl", "url": names["url"], "member": names["member"]}
    sets["tapvid_davis"]["sha256"] = None
    sets["archived"] = {"source": "lbm_folder", "path": names["sequences"], "url": names["url"], "sha256": "0" * 64}
    sets["films"] = {"source": "videos", "path": names["folder"], "height": 64}
    sets["tiny"]["assets"] = "kubric"
    config["kubric_assets"] = names["assets"]
    config["badja_root"] = names["animals"]
    config["benchmarks"]["tapvid_davis"]["predictions"] = {"mine": f"{names['other']}.{{mode}}.npz"}
    config["stages"]["lbm"]["overrides"].append(f"logging.wandb_project='{names['project']}'")
    config["stages"]["lbm"]["overrides"].append("logging.wandb_entity='{touch}'")
    for path in (names["folder"], names["animals"], f"{names['other']}.first.npz", f"{names['other']}.strided.npz"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    targets = ["all", "evaluate", *(f"data/shards/{name}/index.json" for name in ("archived", "films", "badja"))]
    told = snakemake(root, config, "-n", "-p", "--forceall", *targets)
    commands = [line.strip() for line in told.splitlines() if "python -m workflow.provenance --made" in line]
    words = {word for command in commands for word in shlex.split(command)}
    wanted = [
        names["assets"],
        names["animals"],
        names["folder"],
        f"{names['pickle']}.pkl",
        f"{names['sequences']}.json",
    ]
    wanted += [f"--url={names['url']}", f"--member={names['member']}", f"--folder={names['sequences']}"]
    wanted += [f"{names['other']}.first.npz", f"logging.wandb_project='{names['project']}'"]
    assert set(wanted) <= words
    for command in commands:
        lexer = shlex.shlex(command, posix=True, punctuation_chars=";&|<>()`$")
        lexer.whitespace_split = True
        is_of_two = "generation check >" in command
        assert not {";", "`", "$", "$(", "&&", "||"} & set(lexer) or is_of_two, command
    assert not list(root.rglob("hacked"))


@pytest.mark.timeout(400)
def test_jobs_with_hostile_names_run_and_touch_nothing(server, tmp_path):
    root = copy_repository(tmp_path / "graph")
    write_tapvid([make_clip("dog", num_frames=3, depth=False)], tmp_path / "davis.pkl")
    server.content = (tmp_path / "davis.pkl").read_bytes()
    config = tiny()
    path = "a b; touch hacked $(touch hacked) `touch hacked`/q'u\"ote && touch hacked.pkl"
    known = config["datasets"]["tapvid_davis"]
    known |= {"path": path, "url": f"{server.url}/$(touch${{IFS}}hacked);x.pkl", "sha256": None}
    index = "data/shards/tapvid_davis/index.json"
    snakemake(root, config, index, WANDB_API_KEY="a-very-secret-key")
    assert (root / path).read_bytes() == server.content
    assert ClipStore(root / index).keys == ["dog"]
    assert not list(root.rglob("hacked"))
    written = [file for file in root.rglob("*") if file.is_file() and file.suffix in (".json", ".log", ".tsv", "")]
    assert len(written) > 5
    assert not [file for file in written if b"a-very-secret-key" in file.read_bytes()]
    assert "sha256: " in (root / "logs/fetch/tapvid_davis.log").read_text(), "none is configured: the log says it"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("--out=elsewhere", "begins like an option; write ./--out=elsewhere"),
        ("a\nb", "cannot be printed"),
        ("a\x1b[2Jb", "cannot be printed"),
        ("a/{dataset}.pkl", "has braces"),
    ],
)
def test_a_path_that_is_more_than_a_path_is_refused(path, told):
    config = tiny()
    config["datasets"]["tapvid_davis"]["path"] = path
    with pytest.raises(ValueError, match=re.escape(told)) as error:
        Plan(config)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)
    config = tiny() | {"badja_root": path}
    with pytest.raises(ValueError, match=r"datasets\.badja\.path: "):
        Plan(config)
    config = tiny()
    config["benchmarks"]["tapvid_davis"]["predictions"] = {"mine": f"{path}.{{mode}}.npz"}
    with pytest.raises(ValueError, match=r"benchmarks\.tapvid_davis\.predictions\.mine: "):
        Plan(config)


@pytest.mark.parametrize("section", ["datasets", "stages", "benchmarks"])
@pytest.mark.parametrize("name", ["a\n", "a;b", "-a", "$(a)", "../a", "a.b", ""])
def test_a_name_is_letters_digits_and_dashes(section, name):
    config = tiny()
    config[section][name] = dict(next(iter(config[section].values())))
    with pytest.raises(ValueError) as error:
        Plan(config)
    assert "\n" not in str(error.value)


# Archives


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


# Downloads and secrets


def test_a_download_has_a_sha256_or_the_word_that_there_is_none():
    config = tiny()
    config["datasets"]["tapvid_davis"]["url"] = "https://example.org/x.pkl"
    with pytest.raises(ValueError, match=r"datasets\.tapvid_davis\.sha256: missing beside a url"):
        Plan(config)
    for said in (None, "0" * 64):
        config["datasets"]["tapvid_davis"]["sha256"] = said
        Plan(config)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@example.org/x",
        "https://hunter2@example.org/x",
        "https://example.org/x?token=hunter2",
        "https://example.org/x?a=1&X-Amz-Signature=hunter2",
        "https://example.org/x?sig=hunter2",
        "https://example.org/x?api_key=hunter2",
        "ftp://example.org/hunter2",
        "file:///etc/hunter2",
        "gs://bucket/hunter2",
        "https://exam ple.org/hunter2",
        "https:///hunter2",
        "https://example.org:port/hunter2",
    ],
)
def test_an_address_with_a_secret_or_of_another_kind_is_refused_without_repeating_it(url, capsys):
    config = tiny()
    config["datasets"]["tapvid_davis"] |= {"url": url, "sha256": None}
    with pytest.raises(ValueError, match=r"datasets\.tapvid_davis\.url: ") as error:
        Plan(config)
    assert "hunter2" not in str(error.value)
    if "://" in url:
        with pytest.raises(ValueError, match="kubric_assets: ") as error:
            Plan(tiny() | {"kubric_assets": url})
        assert "hunter2" not in str(error.value)
    for command in (fetch.main, lambda words: archive.main([*words, "--folder", "nowhere/f"])):
        assert command(["--url", url, "--out", "nowhere/x", "--attempts", "1"]) == 2
        assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["https://example.org/a.zip?download=1&v=2", "http://127.0.0.1:80/x", "https://h/k-e-y"]
)
def test_plain_addresses_are_addresses(url):
    check_address("here", url)


def test_a_password_is_read_from_netrc_and_sent_to_its_own_host_alone(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    server.away = server.url.replace("127.0.0.1", "localhost") + "/there"
    assert fetch.main(["--url", f"{server.url}/away", "--out", str(tmp_path / "x")]) == 0
    (first, sent), (second, sent_on) = server.asked
    assert (first, second) == ("/away", "/there")
    assert sent == "Basic bWU6aHVudGVyMg==" and sent_on is None
    assert authorization_of("http://127.0.0.2/x") is None and authorization_of("http://example.org/x") is None
    assert "hunter2" not in "".join(capsys.readouterr())
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 password hunter2 hunter3\n")
    assert fetch.main(["--url", f"{server.url}/x", "--out", str(tmp_path / "y")]) == 2
    assert "hunter" not in capsys.readouterr().err


def test_a_sidecar_holds_no_password_of_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    Path("out").write_text("made")
    record("x", [], ["out"], {}, ["python", "-m", "y", "--url=https://me:hunter2@example.org/a", "--b", "http://t@h/"])
    text = sidecar_path("out").read_text()
    assert "hunter2" not in text and json.loads(text)["command"].count("***@") == 2
    assert without_secrets("ftp://a:b@c/d e@f") == "ftp://***@c/d e@f"


def test_paths_that_are_paths():
    for path in ("a b/c.pkl", "/x/é.pkl", "$(x).pkl", "./-x"):
        check_path("here", path)
    check_path("here", "a.{mode}.npz", "{mode}")
