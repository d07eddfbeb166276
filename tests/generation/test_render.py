"""Real renders with Blender: the tracks agree with the rendered passes, same seed same bytes, kill -9 leaves nothing.

Slow (`pytest -m slow`), a minute or two on two cores. The renderer is data/envs/render (`snakemake renderer` builds it)
or the interpreter that FRAMELINE_RENDERER names.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from generation import meshes
from generation.assets import make_archive
from generation.config import TrackConfig
from generation.environment import renderer_environment
from generation.verify import BOUNDS, load_clip, measure, violations

ROOT = Path(__file__).resolve().parents[2]
RENDERER = Path(os.environ.get("FRAMELINE_RENDERER", ROOT / "data/envs/render/bin/python"))
SMALL = ("resolution=128", "num_frames=6", "frame_rate=6", "samples_per_pixel=2")
FEW = TrackConfig(num_tracks=256, sampling_stride=1)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer"),
]


def command(assets: Path, out: Path, *words: str, seed: int = 17) -> list[str]:
    start = [sys.executable, "-m", "generation", "movi_f", "--seed", str(seed), "--out", str(out)]
    return [*start, "--assets", str(assets), "--renderer", str(RENDERER), *SMALL, *words]


def render(assets: Path, out: Path, *words: str, seed: int = 17) -> Path:
    result = subprocess.run(
        command(assets, out, *words, seed=seed), cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return out / f"movi_f-{seed:06d}"


def bytes_of(folder: Path) -> dict[str, str]:
    """sha256 of all files of a clip folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def assets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("assets") / "open"
    words = ["assets", "--out", str(folder), "--marker", f"{folder}.json", "--renderer", str(RENDERER)]
    subprocess.run([sys.executable, "-m", "generation", *words], cwd=ROOT, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def clip(assets, tmp_path_factory) -> Path:
    """A clip with all passes, rendered without disturbance by one thread."""
    return render(assets, tmp_path_factory.mktemp("clip"), "save_flow=true")


@pytest.fixture(scope="module")
def mirror(assets, tmp_path_factory) -> Path:
    """A miniature of Kubric's bucket made of the open pack: its names, no splits, a dome with a picture on it."""
    root = tmp_path_factory.mktemp("mirror")
    for source, name, kept in (("objects", "GSO", 12), ("hdri", "HDRI_haven", 3), ("basic", "KuBasic", 99)):
        (root / name).mkdir()
        listed = json.loads((assets / source / f"{source}.json").read_bytes())["assets"]
        entries = {key: listed[key] for key in sorted(listed)[:kept]}
        for key, entry in entries.items():
            entry["metadata"] = {"category": "any"}
            shutil.copyfile(assets / source / f"{key}.tar.gz", root / name / f"{key}.tar.gz")
        content = {"name": name, "data_dir": f"gs://kubric-public/assets/{name}", "assets": entries}
        (root / name / f"{name}.json").write_text(json.dumps(content))
    vertices, triangles = meshes.make_dome(27.0, 30.0)
    material = b"newmtl textured\nKd 0.0 0.0 0.0\nKe 1.0 1.0 1.0\nmap_Ke texture.png\n"  # it shines: no light comes in
    picture = iio.imwrite("<bytes>", np.full((8, 8, 3), 90, np.uint8), extension=".png")
    with tarfile.open(root / "KuBasic" / "dome.tar.gz") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    textured = (vertices[:, :2] / 60 + 0.5, triangles)
    files["visual.obj"] = meshes.format_obj(vertices, triangles, textured, "textured").encode()
    files |= {"visual.mtl": material, "texture.png": picture}
    (root / "KuBasic" / "dome.tar.gz").write_bytes(make_archive(files))
    subprocess.run([sys.executable, "-m", "generation", "mirror", "--out", str(root)], cwd=ROOT, check=True)
    return root


def test_a_mirror_of_kubric_s_assets_renders(mirror, tmp_path):
    clip = render(mirror, tmp_path, "resolution=64", "num_frames=2")
    metadata = json.loads((clip / "metadata.json").read_bytes())
    used = {(row["source"], row["id"]) for row in metadata["assets"]}
    assert {source for source, _ in used} == {"GSO", "HDRI_haven", "KuBasic"}
    assert {("GSO", body["asset_id"]) for body in metadata["instances"]} <= used
    assert iio.imread(clip / "frames/000.png").std() > 5


@pytest.mark.parametrize("recipe", ["movi_a", "movi_b", "movi_c", "movi_e_panning"])
def test_each_kind_of_variant_agrees_with_itself(assets, tmp_path, recipe):
    words = ["resolution=128", "num_frames=4", "frame_rate=6", "samples_per_pixel=1", "denoise=false", "save_flow=true"]
    start = [sys.executable, "-m", "generation", recipe, "--seed", "4", "--out", str(tmp_path)]
    where = ["--assets", str(assets), "--renderer", str(RENDERER)]
    subprocess.run([*start, *where, *words], cwd=ROOT, check=True, timeout=200)
    figures = measure(load_clip(tmp_path / f"{recipe}-000004", FEW))
    assert violations(figures) == []
    metadata = json.loads((tmp_path / f"{recipe}-000004" / "metadata.json").read_bytes())
    assert (metadata["scene"]["hdri"] is None) == (recipe in ("movi_a", "movi_b"))


@pytest.mark.parametrize("recipe", ["movi_a", "movi_f"])
def test_what_blender_keeps_between_frames_changes_no_byte(assets, tmp_path, recipe):
    script = Path(__file__).with_name("scene_kept.py")
    command = [str(RENDERER), "-P", "-s", str(script), str(assets), str(tmp_path), recipe]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, env=renderer_environment(1))
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.strip().splitlines()[-1])
    assert {"frames", "depth_m", "hashes", "forward_flow"} <= set(report["compared"])
    assert report["differing"] == []


def test_one_frame_of_an_odd_size(assets, tmp_path):
    clip = render(assets, tmp_path, "resolution=49", "num_frames=1", "save_flow=true")
    figures = measure(load_clip(clip, TrackConfig(num_tracks=5)))
    assert figures["query_px"] < BOUNDS["query_px"]
    assert iio.imread(clip / "frames/000.png").shape == (49, 49, 3)


def test_tracks_agree_with_rendered_coordinates_depth_and_flow(clip):
    """BOUNDS states the pixel errors: 0.02 px to the rendered object coordinates, 0.01 px to Blender's own flow."""
    figures = measure(load_clip(clip, FEW))
    assert violations(figures) == []
    assert figures["num_other_samples"] > 200, "nothing was compared"
    assert figures["coordinates_px_p9999"] <= BOUNDS["coordinates_px_p9999"] == 0.02


def test_the_bounds_see_a_shift_of_a_tenth_of_a_pixel_and_a_frame_too_late(clip):
    shifted = load_clip(clip, FEW)
    shifted.tracks[...] += 0.1 * np.sign(64 - shifted.tracks)
    assert any("query_px" in line for line in violations(measure(shifted)))
    late = load_clip(clip, FEW)
    is_query = np.arange(len(late.tracks))[:, None] == late.query_frame
    late.tracks[...] = np.where(is_query[..., None], late.tracks, np.roll(late.tracks, 1, axis=0))
    assert any("forward_flow_px" in line for line in violations(measure(late)))


def test_a_clip_moves_is_lit_and_is_described(clip):
    frames = np.stack([iio.imread(path) for path in sorted((clip / "frames").glob("*.png"))])
    metadata = json.loads((clip / "metadata.json").read_bytes())
    assert frames.shape == (6, 128, 128, 3)
    assert frames.std() > 10
    assert (frames[0] != frames[-1]).any()
    assert len(metadata["camera"]["positions"]) == 6
    assert any(body["is_dynamic"] for body in metadata["instances"])
    assert len(metadata["instances"]) >= 5


def test_same_seed_same_bytes_on_any_number_of_threads(clip, assets, tmp_path):
    again = render(assets, tmp_path, "--threads", "2", "save_flow=true")
    assert bytes_of(again) == bytes_of(clip)
    other = render(assets, tmp_path, "save_flow=true", seed=18)
    assert bytes_of(other)["frames/000.png"] != bytes_of(clip)["frames/000.png"]


def test_a_process_that_made_other_clips_before_makes_the_same_bytes(clip, assets, tmp_path):
    words = command(assets, tmp_path, "save_flow=true")
    words[words.index("--seed") : words.index("--seed") + 2] = ["--seeds", "15:18"]
    subprocess.run(words, cwd=ROOT, check=True, timeout=300)
    assert bytes_of(tmp_path / "movi_f-000017") == bytes_of(clip)


@pytest.mark.parametrize("seconds", [1.5, 3.0])
def test_kill_9_leaves_nothing_complete_and_the_next_run_the_same_bytes(clip, assets, tmp_path, seconds):
    process = subprocess.Popen(
        command(assets, tmp_path, "save_flow=true"), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(seconds)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)  # the parent alone: its renderer must end by itself
    process.wait()
    assert not (tmp_path / "movi_f-000017").exists()
    deadline = time.monotonic() + 10
    while renders_in(tmp_path):
        assert time.monotonic() < deadline, "the renderer outlived its parent"
        time.sleep(0.2)
    assert bytes_of(render(assets, tmp_path, "save_flow=true")) == bytes_of(clip)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["movi_f-000017"]


def renders_in(folder: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def test_a_complete_clip_is_never_rendered_again(clip, assets):
    before = {path: path.stat().st_mtime_ns for path in clip.rglob("*")}
    began = time.monotonic()
    render(assets, clip.parent, "save_flow=true")
    assert time.monotonic() - began < 5
    assert {path: path.stat().st_mtime_ns for path in clip.rglob("*")} == before
