"""The commands of people's evaluation, from files to files, and the pictures that they draw."""

import io

import numpy as np
import pytest
from PIL import Image

from eval.__main__ import main
from eval.people.overlay import LONG_SIDE, add_outline, choose, lay_over
from eval.people.predictions import PeoplePredictions
from eval.people.score import read_people_score
from eval.people.truth import PeopleTruth
from shards.people.body import pose_body
from shards.people.raster import draw
from tests.eval.people.persons import make_person, pack_people, write_exact


@pytest.fixture(scope="module")
def truth_words(people_index, body_path):
    return ["--truth", str(people_index), "--body", str(body_path)]


@pytest.fixture(scope="module")
def exact(people_index, tmp_path_factory):
    return str(write_exact(tmp_path_factory.mktemp("exact") / "exact.npz", people_index))


def test_from_a_training_set_to_a_table(exact, truth_words, body, tmp_path, capsys):
    training = pack_people(tmp_path, body, "training", first_seed=100)
    constant, scores = str(tmp_path / "constant.npz"), [str(tmp_path / f"{name}.json") for name in ("c", "e")]
    assert main(["people-constant", "--training", str(training), *truth_words, "--out", constant]) == 0
    for predictions, score in zip((constant, exact), scores, strict=True):
        assert main(["people-score", "--predictions", predictions, *truth_words, "--out", score]) == 0
    assert "people exact (toy): T_z m 0.000" in capsys.readouterr().out
    assert main(["people-table", *scores, "--out", str(tmp_path / "table.md")]) == 0
    assert "| constant |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "table.csv").is_file()
    assert main(["people-compare", *scores, "--out", str(tmp_path / "compared.md")]) == 0
    assert "exact against constant" in (tmp_path / "compared.md").read_text()
    assert read_people_score(scores[0])["mean"]["depth_error"] > 0.1


def test_a_mistake_is_one_line_and_exit_code_two(exact, truth_words, tmp_path, capsys):
    words = ["people-score", "--predictions", exact, *truth_words[:3], str(tmp_path / "none.npz"), "--out", "x.json"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "none.npz: there is no body file" in error
    assert main(["people-overlay", "--predictions", exact, *truth_words, "--frames", "0", "--out", "x.png"]) == 2


def test_overlays_are_pictures_of_equal_bytes(exact, truth_words, tmp_path):
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for file in files:
        assert main(["people-overlay", "--predictions", exact, *truth_words, "--out", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(io.BytesIO(files[0].read_bytes())) as image:
        assert image.width == pytest.approx(3 * LONG_SIDE, abs=10) and image.height > 2 * LONG_SIDE


def test_frames_to_draw_go_from_good_to_bad(people_index, body_path, tmp_path):
    def worse_and_worse(clip):
        error = (0.02 * clip.metadata["seed"] + 0.01) * (1 + 0.01 * np.arange(len(clip.video)))
        shape = clip.person.shape + error.astype(np.float32)[:, None]
        return {"shape": shape}

    path = write_exact(tmp_path / "worse.npz", people_index, worse_and_worse)
    shown = choose(PeopleTruth(people_index, body_path), PeoplePredictions(path), 3)
    assert [each.name for each in shown] == ["people-0", "people-2", "people-4"]
    assert shown[0].error < shown[1].error < shown[2].error


def test_a_mesh_covers_its_own_pixels_and_the_outline_lies_inside(body):
    person = make_person(body, 1, seed=0)
    mesh = pose_body(body, person.shape, person.rotations, person.pelvis_m).vertices_m[0]
    picture = np.full((64, 64, 3), 200, np.uint8)
    drawn = draw(mesh, body.faces, float(person.focal_px[0]), np.array([32, 32]), (64, 64))
    over = lay_over(picture, body, mesh, float(person.focal_px[0]))
    np.testing.assert_array_equal((over != picture).any(-1), drawn.mask)
    edge = (add_outline(picture, drawn) != picture).any(-1)
    assert 0 < edge.sum() < drawn.mask.sum() and not (edge & ~drawn.mask).any()


def test_a_model_without_a_pose_is_shown_by_its_depth(people_index, truth_words, tmp_path):
    no_pose = dict.fromkeys(("shape", "rotations", "joints_px", "joints_score"))
    path = write_exact(tmp_path / "depth.npz", people_index, lambda clip: no_pose)
    out = tmp_path / "depth.png"
    assert main(["people-overlay", "--predictions", str(path), *truth_words, "--out", str(out)]) == 0
    assert out.stat().st_size > 1000
