"""The command line: clear errors, what it keeps, what it says when the renderer ends badly. No Blender here.

The renderer is a small script that stands in for the child: the parent must not care what made the folder.
"""

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from generation import environment, preflight, shard, worker
from generation.__main__ import main
from generation.config import MoviConfig
from generation.fingerprint import fingerprint
from generation.shard import RenderError, Studio, render_clips

GOOD_CHILD = """
import json, pathlib, sys
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(job["out"])
out.mkdir(parents=True)
(out / "data").write_text(str(job["seed"]) + str(job["attempt"]))
(out / "manifest.json").write_text(json.dumps({"recipe_digest": job["digest"], "files": {}}))
"""

WORKER = """
import os, pathlib, sys
answers = os.dup(1)
for line in sys.stdin:
    job = pathlib.Path(line.strip())
    log = os.open(job.with_name("render.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    code, script = 0, sys.argv[1]
    sys.argv[1:] = [str(job)]
    try:
        exec(pathlib.Path(script).read_text())
    except SystemExit as end:
        if end.code not in (3, 4, 5):
            raise
        code = end.code
    sys.argv[1:] = [script]
    sys.stdout.flush()
    os.write(answers, b"%d\\n" % code)
"""
"""Answers jobs as generation/render.py does, by running a test's code with the job's path as argument."""


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """Rendering with a child whose code a test chooses: `studio.act(code)`."""
    assets = tmp_path / "assets"
    for name in ("objects", "hdri", "basic"):
        (assets / name).mkdir(parents=True)
        (assets / name / f"{name}.json").write_text(json.dumps({"assets": {}}))
    (assets / "pack.json").write_text(json.dumps({"format": "frameline-assets/1", "files": {}}))
    child, code = tmp_path / "child.py", tmp_path / "act.py"
    child.write_text(WORKER)
    monkeypatch.setattr(environment, "installed_versions", lambda python: {"bpy": "0"})
    monkeypatch.setattr(shard, "check_system_libraries", lambda python: None)
    monkeypatch.setattr(
        environment, "renderer_command", lambda python, module, out: [sys.executable, str(child), str(code)]
    )

    class Acting(Studio):
        def act(self, text: str) -> None:
            code.write_text(text)

    stage = Acting(renderer=Path(sys.executable), assets=assets, out=tmp_path / "clips")
    stage.act(GOOD_CHILD)
    return stage


def run(studio, *seeds, done=None, **changes):
    return render_clips(MoviConfig(**changes), list(seeds), "toy", studio, done)


def test_clips_are_listed_at_the_end_and_kept(studio, capsys):
    done = studio.out / "shard-000000.json"
    run(studio, 0, 1, done=done)
    listed = json.loads(done.read_text())
    assert listed["format"] == "frameline-clips/1"
    assert [(clip["key"], clip["path"]) for clip in listed["clips"]] == [("toy-000000",) * 2, ("toy-000001",) * 2]
    out = capsys.readouterr().out
    assert "toy-000001" in out
    assert "min left" in out
    studio.act("raise SystemExit('must not render again')")
    run(studio, 0, 1, done=done)
    assert "2 of 2 clips are complete already" in capsys.readouterr().out
    studio.act(GOOD_CHILD)
    before = (studio.out / "toy-000000" / "manifest.json").stat().st_mtime_ns
    run(studio, 0, num_frames=3)  # another recipe is another clip
    assert (studio.out / "toy-000000" / "manifest.json").stat().st_mtime_ns > before


def test_a_killed_child_is_reported_with_its_signal_and_leaves_nothing(studio):
    studio.act(
        "import os, pathlib, sys, json\n" + GOOD_CHILD.split('(out / "manifest')[0] + "\nos.kill(os.getpid(), 9)"
    )
    with pytest.raises(RenderError, match="killed by SIGKILL"):
        run(studio, 0)
    assert [path.name for path in studio.out.iterdir()] == ["toy-000000.log"]
    studio.act(GOOD_CHILD)
    run(studio, 0)
    assert [path.name for path in studio.out.iterdir()] == ["toy-000000"]


def test_one_process_makes_all_clips_and_a_fresh_one_follows_when_it_is_full(studio, monkeypatch):
    monkeypatch.setattr(worker, "CLIPS_PER_PROCESS", 2)
    studio.act("import os\n" + GOOD_CHILD.replace('str(job["seed"])', "str(os.getpid())"))
    run(studio, *range(5))
    made_by = [(studio.out / f"toy-00000{seed}" / "data").read_text() for seed in range(5)]
    assert made_by[0] == made_by[1] != made_by[2] == made_by[3] != made_by[4] != made_by[0]
    assert len(list(studio.out.iterdir())) == 5
    for pid in {int(text[:-1]) for text in made_by}:  # the last character is the attempt
        assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_ends_well_without_an_answer_made_no_clip(studio):
    studio.act("import os; os._exit(0)")
    with pytest.raises(RenderError, match="exit code 1"):
        run(studio, 0)


def test_a_failing_child_s_last_line_and_log_without_blender_s_noise(studio):
    studio.act("print('Error: Not freed memory blocks: 1'); import sys; sys.exit('cannot find the sky')")
    with pytest.raises(RenderError, match=r"exit code 1: cannot find the sky; its output is in .*toy-000000\.log"):
        run(studio, 0)
    assert "sky" in (studio.out / "toy-000000.log").read_text()


def test_degenerate_scenes_take_the_next_sub_seed(studio, capsys):
    refuse = (
        "import sys, json\nif json.load(open(sys.argv[1]))['attempt'] < {}: sys.exit(print('degenerate: dark') or 3)\n"
    )
    studio.act(refuse.format(2) + GOOD_CHILD)
    run(studio, 7)
    assert (studio.out / "toy-000007" / "data").read_text() == "72"
    assert capsys.readouterr().err.count("dark") == 2
    studio.act(refuse.format(99))
    with pytest.raises(RenderError, match="seed 8 made no clip, the last because dark") as raised:
        run(studio, 8)
    assert raised.value.exit_code == 3
    assert [path.name for path in studio.out.iterdir()] == ["toy-000007"]


def test_a_full_disk_is_said_plainly(studio, monkeypatch, capsys):
    studio.act("import sys; sys.exit(4)")
    with pytest.raises(OSError, match="No space") as raised:
        run(studio, 0)
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.setattr("generation.__main__.render_clips", lambda *a: run(studio, 0))
    code = main(["movi_f", "--seed", "0", "--out", str(studio.out)])
    assert code == 1
    assert "no space left on the disk" in capsys.readouterr().err


def test_another_process_that_was_first_wins(studio):
    other = GOOD_CHILD + (
        "import shutil\nfinal = out.parent.parent / 'toy-000000'\nshutil.copytree(out, final)\n"
        "(final / 'data').write_text('first')\n"
    )
    studio.act(other)
    run(studio, 0)
    assert (studio.out / "toy-000000" / "data").read_text() == "first"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["movi_f", "--seed", "1", "--out", "x", "resolutoin=3"], "did you mean 'resolution'"),
        (["movi_f", "--seed", "-1", "--out", "x"], "seeds are from 0"),
        (["movi_f", "--seed", "1", "--out", "x", "--dataset", "a.b"], "letters, digits"),
        (["movi_f", "--seed", "1", "--out", "OUT", "--assets", "none"], "generation assets --out none"),
        (["assets", "--out", "OUT", "--renderer", "no/python"], "snakemake renderer"),
        (["assets", "--out", "OUT", "--objects", "3"], "from 8 to 700"),
        (["verify", "OUT"], "no complete clip"),
        (["picture", "OUT", "--out", "OUT/x.png"], "no complete clip"),
        (["annotate", "OUT.json", "--out", "OUT"], "no list of rendered clips"),
        (["mirror", "--out", "OUT"], "no asset pack"),
        (["mirror", "--out", "OUT", "--url", "gs://kubric-public/assets"], "the bucket's web address"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, message, tmp_path, capsys):
    arguments = [word.replace("OUT", str(tmp_path / "out")) for word in arguments]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["movi_f", "annotate", "import", "mirror"])
def test_a_target_that_cannot_be_written_is_one_line(studio, tmp_path, capsys, command):
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "out")
    record = tmp_path / "x.tfrecord"
    record.touch()
    (tmp_path / "GSO").mkdir()
    (tmp_path / "GSO" / "GSO.json").write_text("{}")
    words = {
        "movi_f": ["--seed", "0", "--assets", str(studio.assets)],
        "annotate": [str(tmp_path)],
        "import": [str(record)],
        "mirror": ["--url", str(tmp_path)],
    }[command]
    assert main([command, *words, "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert out in error


def test_a_missing_renderer_is_named_with_its_command(studio, monkeypatch, capsys):
    monkeypatch.undo()
    arguments = ["movi_f", "--seed", "1", "--out", str(studio.out), "--assets", str(studio.assets)]
    assert main([*arguments, "--renderer", "no/such/python"]) == 2
    assert "snakemake renderer" in capsys.readouterr().err


def test_seeds_must_be_a_range(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["movi_f", "--seeds", "8:8", "--out", "x"])
    assert raised.value.code == 2
    assert "write A:B with A below B" in capsys.readouterr().err


def test_missing_libraries_are_one_apt_line(monkeypatch, capsys):
    gone = ("libSM.so.6", "libX11.so.6", "libxkbcommon.so.0")
    monkeypatch.setattr(preflight, "can_load", lambda name: name not in gone)
    assert main(["check", "--renderer", "no/such/python"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip().endswith("apt-get install -y libsm6 libx11-6 libxkbcommon0")


def test_the_linker_is_asked_where_bpy_is(monkeypatch, tmp_path):
    library = tmp_path / "lib" / "python3.11" / "site-packages" / "bpy" / "__init__.so"
    library.parent.mkdir(parents=True)
    library.touch()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ldd").write_text(
        f'#!/bin/sh\n[ "$1" = {library} ] && printf \'\\tlibXi.so.6 => not found\\n\\tlibodd.so.3 => not found\\n'
        "\\tlibc.so.6 => /lib/libc.so.6 (0x0)\\n'\n"
    )
    (tools / "ldd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    assert preflight.find_missing(tmp_path / "bin" / "python") == ["libXi.so.6", "libodd.so.3"]
    line = preflight.describe_missing(["libXi.so.6", "libodd.so.3"])
    assert "apt-get install -y libxi6 and your system's package with libodd.so.3" in line


def test_requirements_are_pinned_hashed_and_without_tensorflow():
    text = environment.REQUIREMENTS.read_text()
    blocks = [block for block in text.replace("\\\n", " ").splitlines() if not block.startswith("#")]
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)
    names = {block.split("==")[0] for block in blocks}
    assert {"bpy", "kubric-nightly", "pybullet", "numpy"} <= names
    assert not names & {"tensorflow", "torch", "apache-beam"}
    assert "://" not in text
    asked = [
        line.split("#")[0].strip() for line in environment.REQUIREMENTS.with_suffix(".in").read_text().splitlines()
    ]
    for line in filter(None, asked):
        assert any(block.startswith(f"{line} ") for block in blocks), line


def test_a_half_built_environment_is_not_complete(tmp_path):
    out = tmp_path / "env"
    (out / "bin").mkdir(parents=True)
    (out / "bin" / "python").touch()
    assert not environment.is_complete(out, "digest")
    environment.write_json(out / environment.COMPLETE, {"requirements_sha256": "digest"})
    assert environment.is_complete(out, "digest")
    assert not environment.is_complete(out, "other requirements")
    with pytest.raises(ValueError, match="not an environment of ours"):
        environment._install(out, out / "bin" / "python", tmp_path / "render.txt")
    assert (out / "bin" / "python").exists()


def test_the_fingerprint_sees_code_and_no_words(tmp_path, monkeypatch):
    import generation.fingerprint as module

    monkeypatch.setattr(module, "__file__", str(tmp_path / "fingerprint.py"))

    def of(text: str) -> str:
        (tmp_path / "scene.py").write_text(text)
        return fingerprint(["scene"])

    plain = of("def f(x):\n    return x + 1\n")
    assert plain == of('"""Words."""\ndef f(x):\n    """More."""\n    return x + 1  # why\n')
    assert plain != of("def f(x):\n    return x + 2\n")


def test_renderer_modules_import_nothing_of_the_main_environment():
    import ast

    allowed = {
        "numpy",
        "imageio",
        "kubric",
        "bpy",
        "mathutils",
        "OpenEXR",
        "scipy",
        "generation",
    } | sys.stdlib_module_names
    todo, seen = ["render", "assets", "probe", "child", "driving/render"], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in ast.walk(ast.parse((Path(shard.__file__).parent / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module]
                if node.module in ("generation", "generation.driving"):
                    folder = node.module.replace(".", "/").removeprefix("generation").removeprefix("/")
                    todo += [f"{folder}/{alias.name}".removeprefix("/") for alias in node.names]
                elif node.module.startswith("generation."):
                    todo.append(node.module.removeprefix("generation.").replace(".", "/"))
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            assert {module.split(".")[0] for module in modules} <= allowed, (name, modules)
    assert {name for maker in shard.MAKERS.values() for name in maker.modules} <= seen
