"""Names in a configuration that a shell would run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shards import ClipStore
from shards.layouts.tapvid import write_tapvid
from tests.conftest import make_clip
from tests.security.conftest import tiny
from tests.workflow.copies import copy_repository, environment_of
from workflow.addresses import check_path
from workflow.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = ("a b; touch hacked", "$(touch hacked)", "`touch hacked`", "q'; touch hacked; '", 'd"; touch hacked; "')


def snakemake(root: Path, config: dict, *words: str, **environment: str) -> str:
    """Run Snakemake in a copy of the repository; returns all that it printed."""
    (root / "config/mine.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/mine.yaml", "--cores", "1", *words]
    done = subprocess.run(
        command, cwd=root, env=environment_of(root) | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


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


def test_paths_that_are_paths():
    for path in ("a b/c.pkl", "/x/é.pkl", "$(x).pkl", "./-x"):
        check_path("here", path)
    check_path("here", "a.{mode}.npz", "{mode}")
