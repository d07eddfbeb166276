"""HumanData in its real format: the same bodies as SMPL's own forward says, and one clear error a mistake."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from generation.__main__ import main as make
from shards import ClipStore
from shards.__main__ import main
from shards.convert import read_clips
from shards.layouts.choice import Choice
from shards.npzfile import load_npz
from shards.people.body import read_body, write_body
from shards.people.labels import Reading, rotation_matrices
from tests.shards.smpl_bodies import SIZE, as_body, expected, make_labels, make_model, vertices_of, write_model

MODEL = make_model()
BODY = as_body(MODEL)
FOCAL, CENTRE = 70.0, (41.0, 29.5)


def human_data(folder, *, labels=None, model="smplx", without=(), num=3, **more):
    """Write images and labels as HumanData.dump and Zolly do; returns the npz."""
    rng = np.random.default_rng(1)
    for row in range(num):
        (folder / "imgs" / f"{row:03d}").mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "imgs" / f"{row:03d}" / "view.png")
    k = np.tile(np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]], np.float32), (num, 1, 1))
    content = {
        "__key_strict__": False, "__temporal_len__": num, "__keypoints_compressed__": True,
        "image_path": [f"imgs/{row:03d}/view.png" for row in range(num)],
        "bbox_xywh": np.tile([5.0, 5.0, 70.0, 50.0, 1.0], (num, 1)),
        "keypoints2d": np.ones((num, 10, 3)), "keypoints2d_mask": (np.arange(190) < 10).astype(int),
        "config": "pdhuman", "meta": {"gender": ["f"] * num}, "K": k, "distortion_max": np.linspace(1, 2, num),
        model: make_labels(num) if labels is None else labels,
    }  # fmt: skip
    content = {name: value for name, value in (content | more).items() if name not in without}
    np.savez_compressed(folder / "pdhuman_train.npz", **content)
    return folder / "pdhuman_train.npz"


def read(path, body=BODY, choice=None, **settings):
    return list(read_clips("human_data", path, choice or Choice(), Reading(body=body, **settings)))


def test_bodies_are_those_of_smpls_own_forward(tmp_path):
    labels = make_labels()
    clips = read(human_data(tmp_path, labels=labels))
    assert [clip.key for clip in clips] == [f"pdhuman_train-{row:07d}" for row in range(3)]
    for row, clip in enumerate(clips):
        vertices, joints = expected(MODEL, labels, row)
        np.testing.assert_allclose(vertices_of(BODY, clip.person), vertices, atol=2e-6)
        np.testing.assert_allclose(clip.person.joints_m[0], joints, atol=2e-6)
        np.testing.assert_allclose(clip.person.pelvis_m[0], joints[0], atol=2e-6)
        projected = FOCAL * joints[:, :2] / joints[:, 2:] + CENTRE
        np.testing.assert_allclose(clip.tracks[0], projected, atol=2e-4)
        np.testing.assert_array_equal(clip.video[0], np.array(Image.open(tmp_path / f"imgs/{row:03d}/view.png")))
        assert clip.metadata["distortion_max"] == 1 + row / 2 and clip.metadata["row"] == row
    assert clips[0].metadata["recipe"] == clips[2].metadata["recipe"]
    assert clips[0].metadata["recipe"]["body_digest"] == BODY.digest == clips[0].person.body


def test_the_drawn_mask_is_where_opencv_fills_the_projected_triangles(tmp_path):
    labels = make_labels()
    for row, clip in enumerate(read(human_data(tmp_path, labels=labels))):
        vertices, _ = expected(MODEL, labels, row)
        xy = FOCAL * vertices[:, :2] / vertices[:, 2:] + CENTRE
        large = np.zeros((8 * SIZE[0], 8 * SIZE[1]), np.uint8)
        for face in BODY.faces:
            cv2.fillConvexPoly(large, np.rint(8 * xy[face] - 0.5).astype(np.int32), 1)
        filled, drawn = large[4::8, 4::8] > 0, clip.person.parts[0] > 0
        assert (filled & drawn).sum() / (filled | drawn).sum() > 0.93
        inside = ((clip.tracks[0] >= 0) & (clip.tracks[0] < SIZE[::-1])).all(-1)
        assert clip.visible[0].sum() > 5 and not (clip.visible[0] & ~inside).any()


def test_blades_own_conversion_holds_torch_tensors(tmp_path):
    """Lists of tensors (1, ...), of which some want gradients, in a pickle: read without torch's unpickler."""
    labels = make_labels()
    tensors = {name: [torch.tensor(row).float()[None] for row in rows] for name, rows in labels.items()}
    tensors["transl"] = [torch.nn.Parameter(one) for one in tensors["transl"]]
    tensors["body_pose"] = [2 * one.requires_grad_() / 2 for one in tensors["body_pose"]]
    tensors["global_orient"] = list(torch.tensor(labels["global_orient"]).float()[:, None])  # views of one storage
    path = human_data(tmp_path, labels=tensors | {"img_i": [0, 1, 2]})
    for row, clip in enumerate(read(path)):
        np.testing.assert_allclose(vertices_of(BODY, clip.person), expected(MODEL, labels, row)[0], atol=1e-5)


def test_labels_of_smpl_with_hands_and_a_body_of_smpl(tmp_path):
    labels = make_labels(num_joints=24)
    body = as_body(MODEL, "smpl-neutral")
    for row, clip in enumerate(read(human_data(tmp_path, labels=labels, model="smpl"), body)):
        short = labels | {"body_pose": labels["body_pose"][:, :21]}
        np.testing.assert_allclose(vertices_of(body, clip.person), expected(MODEL, short, row)[0], atol=2e-6)


@pytest.mark.parametrize(("num_joints", "model"), [(55, "smplx"), (24, "smpl")])
def test_the_body_file_that_is_made_of_a_users_model_fits_its_labels(tmp_path, num_joints, model):
    """From SMPL-X's own npz to the vertices of its labels: both ends are told apart from SMPL's forward."""
    path = write_model(tmp_path / "NEUTRAL.npz", MODEL, num_joints)
    words = ["body", "smplx", "--model", str(path), "--shapes", "4", "--out", str(tmp_path / "body.npz")]
    assert make(words) == 0
    body, labels = read_body(tmp_path / "body.npz"), make_labels()
    for row, clip in enumerate(read(human_data(tmp_path, labels=labels, model=model), body)):
        vertices, joints = expected(MODEL, labels, row)
        np.testing.assert_allclose(vertices_of(body, clip.person), vertices, atol=1e-5)
        np.testing.assert_allclose(clip.person.joints_m[0], joints, atol=1e-5)


def test_of_both_models_that_of_the_body_is_read(tmp_path):
    labels = make_labels()
    path = human_data(tmp_path, labels=labels, smpl=make_labels(num_joints=24, seed=5))
    assert np.allclose(read(path)[1].person.pelvis_m[0], expected(MODEL, labels, 1)[1][0], atol=1e-5)


def test_a_focal_length_alone_has_its_centre_in_the_middle(tmp_path):
    clip = read(human_data(tmp_path, without=["K"], focal_length=np.full((3, 2), 65.0)))[0]
    assert clip.person.focal_px[0] == 65 and clip.person.centre_px[0].tolist() == [40, 30]


def test_fewer_shape_coefficients_are_padded_and_more_are_refused(tmp_path):
    few = make_labels(num_shapes=2)
    padded = few | {"betas": np.pad(few["betas"], ((0, 0), (0, 2)))}
    clip = read(human_data(tmp_path / "few", labels=few))[2]
    np.testing.assert_allclose(vertices_of(BODY, clip.person), expected(MODEL, padded, 2)[0], atol=2e-6)
    many = make_labels(num_shapes=6)
    path = human_data(tmp_path / "many", labels=many)
    with pytest.raises(ValueError, match=r"have 6 shape coefficients, the body file 4; .*--truncate-shape"):
        read(path)
    cut = many | {"betas": many["betas"][:, :4]}
    clip = read(path, truncate_shape=True)[0]
    np.testing.assert_allclose(vertices_of(BODY, clip.person), expected(MODEL, cut, 0)[0], atol=2e-6)


def test_rows_are_chosen_and_those_without_labels_left_out(tmp_path, capsys):
    labels = make_labels()
    labels["transl"][1] = np.nan
    path = human_data(tmp_path, labels=labels, has_smpl=np.array([1, 0, 1]))
    assert [clip.metadata["row"] for clip in read(path)] == [0, 2]
    assert "1 of 3 rows have no labels (has_smpl)" in capsys.readouterr().err
    assert [clip.metadata["row"] for clip in read(path, choice=Choice(start=2))] == [2]
    with pytest.raises(ValueError, match="every image here is a clip of its own"):
        read(path, choice=Choice(window=2))


def with_change(name, change):
    labels = make_labels()
    labels[name] = change(labels[name].copy())
    return {"labels": labels}


def at(place, value):
    def change(array):
        array[place] = value
        return array

    return change


MISTAKES = {
    "NaN": (with_change("body_pose", at((1, 4), np.nan)), "row 1: body_pose is NaN or infinite"),
    "millimetres": (with_change("transl", lambda t: 1000 * t), "row 0: transl is over 100 m: millimetres"),
    "one row in millimetres": (with_change("transl", at((2, 2), 2300)), "row 2: transl is over 100 m: millimetres"),
    "degrees": (with_change("body_pose", np.degrees), "row 0: body_pose turns by more than two circles: degrees"),
    "behind": (with_change("transl", at((1, 2), -2)), "row 1: .*pelvis is behind the camera in frame 0"),
    "beside": (with_change("transl", at((1, 0), 9)), "row 1: .*the body is not in the picture of frame 0"),
    "another box": ({"bbox_xywh": np.tile([500.0, 5, 70, 50, 1], (3, 1))}, "row 0: the joints lie .* beside bbox_xywh"),
    "no camera": ({"without": ["K"]}, "has neither K nor focal_length"),
    "normalised camera": ({"K": np.tile(np.eye(3), (3, 1, 1))}, "row 0: K has focal lengths of 1 and 1; pixels"),
    "oblong pixels": ({"K": np.tile(np.diag([70, 80, 1]), (3, 1, 1))}, "only square pixels are read"),
    "no labels": ({"without": ["smplx"]}, "has neither smplx nor smpl: there are no labels of a body"),
    "short": (with_change("transl", lambda t: t[:2]), r"transl has shape \(2, 3\), which does not fit 3 rows"),
    "few joints": (with_change("body_pose", lambda p: p[:, :9]), "body_pose is of 9 joints, smplx-test has 21"),
    "no images": ({"without": ["image_path"]}, "lacks 'image_path'"),
    "missing image": ({"image_path": ["imgs/000/view.png", "imgs/7.png", "b.png"]}, "imgs/7.png: this image is miss"),
    "an image elsewhere": ({"image_path": ["../../etc/view.png"] * 3}, "leads out of the folder of images"),
    "smc": ({"image_path": ["p000455_a000986.smc"] * 3}, "take the images out of HuMMan's .smc"),
    "labels of another kind": ({"labels": [1, 2]}, "smplx is .*, expected a dictionary"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(tmp_path, mistake):
    changes, message = MISTAKES[mistake]
    path = human_data(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_labels_without_a_translation_are_refused(tmp_path):
    labels = {name: value for name, value in make_labels().items() if name != "transl"}
    with pytest.raises(ValueError, match="smplx lacks transl: without it the distance of the camera is not known"):
        read(human_data(tmp_path, labels=labels))


@pytest.mark.parametrize("name", ["smplx-neutral", "anny-0.6.2-anny", "toy"])
def test_another_body_model_is_refused(tmp_path, name):
    path = human_data(tmp_path, labels=make_labels(num_joints=24), model="smpl")
    with pytest.raises(ValueError, match=f"the labels are of smpl, and the body file is of {name}"):
        read(path, as_body(MODEL, name))


def test_human36m_images_lie_without_their_middle_folder(tmp_path):
    path = human_data(tmp_path)
    for row in range(3):
        (tmp_path / "imgs" / f"{row:03d}" / "view.png").rename(tmp_path / f"{row}.png")
    content = load_npz(path, ["K", "smplx", "bbox_xywh"])
    np.savez(tmp_path / "h36m.npz", image_path=[f"images/{row}.png" for row in range(3)], **content)
    assert len(read(tmp_path / "h36m.npz")) == 3


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_pickles_run_nothing(tmp_path, capsys):
    path = human_data(tmp_path, labels={"transl": Evil()})
    with pytest.raises(ValueError, match=r"asks for builtins\.print; only arrays"):
        read(path)
    assert "run" not in capsys.readouterr().out


def test_damaged_files_are_named(tmp_path):
    path = human_data(tmp_path, num=1)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    num_refused = 0
    for place in rng.integers(0, len(whole), 60).tolist():
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                read(path)
            except ValueError as error:
                num_refused += 1
                assert str(path) in str(error) or str(tmp_path) in str(error)
    assert num_refused > 60
    with pytest.raises(ValueError, match="not there"):
        load_npz(tmp_path / "other.npz", ["K"])


def test_the_commands(tmp_path, capsys):
    path, body = human_data(tmp_path / "data"), write_body(tmp_path / "body.npz", BODY)
    prefix = tmp_path / "shards" / "pdhuman" / "shard-000000"
    pack = ["pack", "--source", "human_data", str(path), "--out", str(prefix)]
    assert main(pack) == 2
    assert "labels of layout human_data are of a body model; give its file with --body" in capsys.readouterr().err
    assert main([*pack, "--body", str(body), "--codec", "jpeg95"]) == 0
    index = prefix.parent / "index.json"
    assert main(["index", f"{prefix}.json", "--dataset", "pdhuman", "--out", str(index)]) == 0
    assert main(["verify", "--deep", str(index)]) == 0
    assert ClipStore(index).summary["recipe"]["config"] == "pdhuman"
    convert = ["convert", "--from", "human_data", str(path), "--to", "index", "--frames", "1:", "--body", str(body)]
    assert main([*convert, "--clips-per-shard", "1", "--out", str(tmp_path / "out")]) == 0
    assert len(ClipStore(tmp_path / "out" / "index.json").shards) == 2
    assert main(["pack", "--source", "index", str(index), "--body", str(body), "--out", str(prefix)]) == 2
    assert "labels of layout index are not of a body model; leave --body out" in capsys.readouterr().err


def test_rotations_are_those_of_the_exponential_map():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(5, 3)), 1e-9 * rng.normal(size=(2, 3)), np.zeros((1, 3))])
    matrices = rotation_matrices(vectors)
    for vector, matrix in zip(vectors, matrices, strict=True):
        x, y, z = vector
        generator = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        np.testing.assert_allclose(matrix, torch.matrix_exp(generator).numpy(), atol=1e-12)
