"""The chain behind a score: complete to the scene seeds, honest about what changed, and comparable to another."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.chain import find_root, read_chain, tell_ranges
from workflow.provenance import check_inputs, main, record, sha256_of, sidecar_path
from workflow.tree import tell_tree

ROOT = Path(__file__).resolve().parents[2]
SCORE = "results/bench/lbm.first.256.json"
WEIGHTS = "results/lbm/weights.safetensors"
SPENT = {"seconds": 1.5, "finished": "2026-01-01T00:00:00+00:00", "cpu": "A", "cores": 2, "gpus": [], "commit": "abc"}


def write(name: str, content: str | bytes) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def safetensors(recipe: dict) -> bytes:
    header = json.dumps({"__metadata__": {"frameline": json.dumps({"recipe": recipe})}}).encode()
    return struct.pack("<Q", len(header)) + header


def make_shard(dataset: str, number: int, num_clips: int, tracks: str) -> str:
    stem = f"{dataset}/shard-{number:06d}"
    seeds = range(number * num_clips, (number + 1) * num_clips)
    clips = write(f"data/clips/{stem}.json", f"scenes {list(seeds)}")
    record(
        "render_shard",
        check_inputs(["data/assets/open.json"]),
        [clips],
        {"seeds": f"{seeds.start}:{seeds.stop}"},
        spent=SPENT,
    )
    annotated = write(f"data/tracks/{stem}.json", f"{tracks} {list(seeds)}")
    record("annotate_shard", check_inputs([clips]), [annotated], {"tracks": tracks}, spent=SPENT)
    tar = write(f"data/shards/{stem}.tar", f"{tracks} frames {number}")
    depth = Path(f"data/shards/{stem}.zarr")
    write(f"{depth}/c/0", "depth")
    entry = {
        "tar": Path(tar).name,
        "bytes": Path(tar).stat().st_size,
        "sha256": sha256_of(Path(tar)),
        "depth": depth.name,
        "depth_sha256": sha256_of(depth),
        "clips": [{"key": str(seed), "seed": seed} for seed in seeds],
    }
    made = write(f"data/shards/{stem}.json", json.dumps(entry))
    record("pack", check_inputs([annotated]), [made, tar], {"codec": "png"}, spent=SPENT)
    return made


def make_index(dataset: str, shards: list[str]) -> str:
    entries = [json.loads(Path(shard).read_text()) for shard in shards]
    index = write(f"data/shards/{dataset}/index.json", json.dumps({"shards": entries}))
    record("index", check_inputs(shards), [index], {"shards": str(len(shards))}, spent=SPENT)
    return index


def make_graph(folder: Path, *, rate: float = 0.1, tracks: str = "few", device: str = "A", rounding: str = "") -> Path:
    """Files and sidecars of a whole graph, from scenes to a score, as its rules would leave them."""
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        write("data/assets/open.json", "assets")
        record("render_assets", {}, ["data/assets/open.json"], {}, spent=SPENT)
        train = make_index("train", [make_shard("train", number, 4, tracks) for number in range(5)])
        truth = make_index("bench", [make_shard("bench", 9, 2, "few")])
        recipe = {"optimizer": {"rate": rate}, "training": {"seed": 42}}
        write(WEIGHTS, safetensors(recipe) + f"{tracks}{rounding}".encode())
        facts = {"recipe": f"digest-{rate}", "processes": "2", "source": "code"}
        record("train_stage", check_inputs([train]), [WEIGHTS], facts, spent=SPENT | {"cpu": device})
        predictions = write(SCORE.replace("json", "predictions.npz"), f"predictions {rate} {tracks} {rounding}")
        record("predict", check_inputs([truth, WEIGHTS]), [predictions], {"source": "p"}, spent=SPENT)
        write(SCORE, f"score {rate} {tracks} {rounding}")
        record("score", check_inputs([predictions, truth]), [SCORE], {"source": "s"}, spent=SPENT)
    finally:
        os.chdir(before)
    return folder


def test_drawn_people_end_at_their_seeds_and_their_body(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    body, stem = write("data/bodies/toy.npz", "body"), "data/shards/people/shard-000000"
    record("body", {}, [body], {"body": "toy"}, spent=SPENT)
    tar, depth = write(f"{stem}.tar", "frames"), Path(f"{stem}.zarr")
    write(f"{depth}/c/0", "depth")
    entry = {
        "tar": Path(tar).name, "bytes": 6, "sha256": sha256_of(Path(tar)), "depth": depth.name,
        "depth_sha256": sha256_of(depth), "clips": [{"key": str(seed), "seed": seed} for seed in range(4)],
    }  # fmt: skip
    made = write(f"{stem}.json", json.dumps(entry))
    record("draw_people", {body: sha256_of(Path(body))}, [made, tar], {"seeds": "0:4"}, spent=SPENT)
    index = make_index("people", [made])
    chain = read_chain(Path(index))
    assert {name: link.role for name, link in chain.items()} == {
        index: "index", made: "shard", body: "body", tar: "frames", depth.as_posix(): "depth"
    }  # fmt: skip
    assert chain[made].details == {"num_clips": 4, "scene_seeds": "0:4"}
    assert show(index, capsys)[0] == 0
    Path(tar).unlink()
    code, told = show(index, capsys)
    assert code == 1 and "gone" in told
    sidecar_path(Path(body)).unlink()
    assert "nothing beside it says how it was made" in show(index, capsys)[1]


@pytest.fixture
def graph(tmp_path):
    return make_graph(tmp_path / "one")


def show(file, capsys, *options) -> tuple[int, str]:
    code = main(["show", str(file), *options])
    return code, capsys.readouterr().out


def test_the_chain_of_a_score_ends_at_the_seeds_of_its_scenes(graph, capsys):
    code, told = show(graph / SCORE, capsys)
    assert code == 0 and told.endswith("files, all as they were made\n")
    lines = told.splitlines()
    order = [
        SCORE,
        "predictions.npz",
        WEIGHTS,
        "train/index.json",
        "shard-000000.json",
        "data/clips/train",
        "  seeds 0:4, ",
    ]
    places = [next(n for n, line in enumerate(lines) if part in line) for part in order]
    assert places == sorted(places)
    assert "scene_seeds 0:20" in told and "scene_seeds 18:20" in told, "of both data sets"
    assert "processes 2" in told and "seed 42" in told and "device 2 cores of A" in told and "commit abc" in told
    assert "4 more of shard, unchanged" in told and "shard-000003" not in told
    assert "shard-000003" in show(graph / SCORE, capsys, "--all")[1]


def test_a_score_has_one_row_that_says_where_it_is_from(graph, capsys):
    code, told = show(graph / SCORE, capsys, "--json")
    content = json.loads(told)
    origin = content["origin"]
    index = graph / "data/shards/train/index.json"
    assert code == 0 and content["format"] == "frameline-chain/1"
    assert (origin["recipe"], origin["seed"], origin["world_size"]) == ("digest-0.1", 42, 2)
    assert origin["index_sha256"]["data/shards/train/index.json"] == sha256_of(index)
    assert origin["code"] == {"score": "s", "predict": "p", "train_stage": "code"}
    assert (origin["device"], origin["problems"]) == ("2 cores of A", 0)
    names = [link["name"] for link in content["links"]]
    assert len(names) == len(set(names)) == 1 + 1 + 1 + 2 + 6 * 5 + 1
    assert all(inner in names for link in content["links"] for inner in link["inputs"])


@pytest.mark.parametrize(
    ("file", "harm", "told"),
    [
        (WEIGHTS, "edit", f"weights {WEIGHTS}  .*  changed since it was made"),
        (WEIGHTS, "delete", f"weights {WEIGHTS}  .*  GONE"),
        ("data/clips/train/shard-000003.json", "edit", "scenes data/clips/train/shard-000003.json .* changed since"),
        ("data/shards/train/shard-000004.tar", "edit", "frames .*shard-000004.tar .* has 6 bytes instead of 12"),
        (f"{WEIGHTS}.prov.json", "delete", f"file {WEIGHTS}  .* nothing beside it says how it was made"),
        (f"{WEIGHTS}.prov.json", "edit", f"file {WEIGHTS}  .* its provenance is damaged"),
    ],
)
def test_what_changed_or_is_gone_is_red(graph, capsys, file, harm, told):
    (graph / file).unlink() if harm == "delete" else (graph / file).write_text("edited")
    code, tree = show(graph / SCORE, capsys)
    assert code == 1 and "1 of them changed or gone" in tree and "\033" not in tree
    coloured = list(tell_tree(read_chain(graph / SCORE), colours=True))
    (red,) = [line for line in coloured if "\033[31m" in line]
    assert re.search(told, red)


def test_bytes_of_a_shard_are_read_when_asked_for(graph, capsys):
    tar = graph / "data/shards/train/shard-000002.tar"
    tar.write_bytes(tar.read_bytes()[::-1])
    assert show(graph / SCORE, capsys)[0] == 0
    code, told = show(graph / SCORE, capsys, "--read-shards")
    assert code == 1 and "shard-000002.tar" in told and "changed since it was made" in told


def test_a_given_file_needs_no_provenance_and_an_input_that_was_swapped_is_seen(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("workflow/list.txt", "given")
    write("data/envs/x.json", "made")
    record("render_environment", check_inputs(["workflow/list.txt"]), ["data/envs/x.json"], {})
    assert show("data/envs/x.json", capsys)[0] == 0
    write("workflow/list.txt", "other")
    code, told = show("data/envs/x.json", capsys)
    assert code == 1 and "changed since data/envs/x.json was made from it" in told


def test_a_file_that_never_was_is_one_line(tmp_path, capsys):
    assert main(["show", str(tmp_path / "results/x.json")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/results/x.json: not there, nor is x.json.prov.json")


def compare(capsys, one: Path, other: Path, *options) -> tuple[int, str]:
    code = main(["compare", str(one), str(other), *options])
    return code, capsys.readouterr().out


def test_equal_clones_are_equal(graph, tmp_path, capsys):
    shutil.copytree(graph, tmp_path / "two")
    code, told = compare(capsys, graph / SCORE, tmp_path / "two" / SCORE)
    assert code == 0 and told == "equal: 36 files and all that decided them\n"


def test_another_learning_rate_is_found_in_the_weights(graph, tmp_path, capsys):
    other = make_graph(tmp_path / "two", rate=0.2)
    code, told = compare(capsys, graph / SCORE, other / SCORE)
    assert code == 1
    first, following = told.split("what follows from them:")
    assert f"  {WEIGHTS}\n" in first and "recipe optimizer.rate: 0.1 -> 0.2" in first and "predictions" not in first
    assert SCORE in following and "predictions.npz" in following and "equal: 33 files" in following


def test_another_annotation_is_found_before_the_index_and_the_weights(graph, tmp_path, capsys):
    other = make_graph(tmp_path / "two", tracks="many")
    told = json.loads(compare(capsys, graph / SCORE, other / SCORE, "--json")[1])
    causes = [row for row in told["differences"] if row["kind"] == "cause" and "tracks" in row["one"]]
    assert [row["one"] for row in causes] == [f"data/tracks/train/shard-00000{number}.json" for number in range(5)]
    assert all(row["facts"] == ["tracks: few -> many"] for row in causes)
    consequences = [row["one"] for row in told["differences"] if row["kind"] == "consequence"]
    assert {"data/shards/train/index.json", WEIGHTS, SCORE} <= set(consequences)
    assert "data/shards/bench/index.json" not in {row["one"] for row in told["differences"]}


def test_equal_making_with_other_content_names_the_devices(graph, tmp_path, capsys):
    other = make_graph(tmp_path / "two", device="B", rounding="1e-7")
    told = compare(capsys, graph / SCORE, other / SCORE)[1]
    assert "made in the same way from the same files, on other devices: 2 cores of A | 2 cores of B" in told


def test_other_code_with_the_same_content_is_no_cause(graph, tmp_path, capsys):
    shutil.copytree(graph, tmp_path / "two")
    path = sidecar_path(tmp_path / "two" / "data/shards/train/index.json")
    sidecar = json.loads(path.read_text())
    path.write_text(json.dumps(sidecar | {"facts": {"shards": "5", "source": "new"}}))
    told = compare(capsys, graph / SCORE, tmp_path / "two" / SCORE)[1]
    assert "first differences" not in told and "made otherwise, with the same content:" in told
    assert "source: nothing -> new" in told


def test_two_rows_of_one_table_meet_in_their_data(graph, capsys):
    here = Path.cwd()
    os.chdir(graph)
    try:
        predictions = write("results/bench/static.first.256.predictions.npz", "static")
        record("baseline", check_inputs(["data/shards/bench/index.json"]), [predictions], {"source": "b"}, spent=SPENT)
    finally:
        os.chdir(here)
    code, told = compare(capsys, graph / SCORE.replace("json", "predictions.npz"), graph / predictions)
    assert code == 1 and "only in the first" in told and WEIGHTS in told


def test_seeds_are_told_as_the_configuration_has_them():
    assert tell_ranges([3, 0, 1, 2, 7]) == "0:4 7:8"


def test_the_folder_that_snakemake_ran_in_is_found(graph, tmp_path):
    assert find_root(graph / SCORE) == graph
    shutil.copytree(graph / "results", tmp_path / "moved/results")
    assert find_root(tmp_path / "moved" / SCORE) == tmp_path / "moved"


def test_the_command_works_from_anywhere(graph):
    words = [sys.executable, "-m", "workflow.provenance", "show", SCORE]
    done = subprocess.run(
        words, cwd=graph, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"score {SCORE}")
