"""torch's zip files: torch reads ours, we read torch's, and what asks for more is refused."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shards.torchfile import load_torch, save_torch

ARRAYS = {
    "traj_2d": np.arange(12, dtype=np.float32).reshape(4, 3),
    "verts_inds_vis": np.array([True, False, True, True]),
    "img": np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
    "long": np.array([[-(2**40), 7]]),
    "half": np.array([0.5, -2], np.float16),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(3.5),
}


def test_torch_reads_ours_and_we_read_it_back(tmp_path):
    save_torch(tmp_path / "a.pth", ARRAYS)
    theirs, ours = torch.load(tmp_path / "a.pth", weights_only=True), load_torch(tmp_path / "a.pth")
    assert list(theirs) == list(ours) == list(ARRAYS)
    for name, array in ARRAYS.items():
        for read in (theirs[name].numpy(), ours[name]):
            assert read.dtype == array.dtype and read.shape == array.shape
            np.testing.assert_array_equal(read, array)


def test_equal_arrays_give_equal_bytes(tmp_path):
    for name in "ab":
        save_torch(tmp_path / name, ARRAYS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_views_parameters_and_containers_of_torch(tmp_path):
    grid = torch.arange(24.0).reshape(4, 6)
    content = {"t": grid.T, "part": grid[1:3, ::2], "same": [grid, (1, "x", None, True)], "int": torch.tensor(5)}
    torch.save(content, tmp_path / "t.pth")
    read = load_torch(tmp_path / "t.pth")
    np.testing.assert_array_equal(read["t"], grid.T)
    np.testing.assert_array_equal(read["part"], grid[1:3, ::2])
    np.testing.assert_array_equal(read["same"][0], grid)
    assert read["same"][1] == (1, "x", None, True) and read["int"] == 5
    assert not read["t"].flags.writeable


class Hostile:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


def test_a_hostile_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Hostile()}, "h.pth")
    with pytest.raises(ValueError, match=r"h\.pth: refused .*: asks for (__builtin__|builtins)\.exec"):
        load_torch(tmp_path / "h.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": torch.zeros(2, dtype=torch.bfloat16)}, r"asks for torch\.BFloat16Storage"),
        ({"x": torch.nn.Linear(2, 2)}, r"asks for torch\.nn"),
        ({"x": torch.zeros(2).to_sparse()}, "asks for torch"),
        ({"x": torch.zeros(1).expand(5)}, r"holds a tensor of size \(5,\)"),
    ],
)
def test_what_is_not_a_plain_tensor_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message):
        load_torch(tmp_path / "x.pth")


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in change(members).items():
            archive.writestr(name, content)


def tensor(size, stride, offset=0, numel=4):
    """data.pkl of one tensor with such numbers, over storage 0."""

    def integers(numbers):
        return b"(" + b"".join(b"\x8a\x09" + n.to_bytes(9, "little", signed=True) for n in numbers) + b"t"

    place = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + integers([numel])[1:-1] + b"tQ"
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + place
        + integers([offset])[1:-1]
        + (integers(size) + integers(stride) + b"\x89NtR.")
    )


@pytest.mark.parametrize(
    "pickled",
    [
        tensor((5,), (1,)),
        tensor((2, 2), (4, 1)),
        tensor((2,), (1,), offset=3),
        tensor((2,), (1,), offset=-1),
        tensor((-2,), (1,)),
        tensor((2,), (-1,)),
        tensor((1 << 60,), (0,)),
        tensor((1 << 40, 1 << 40), (0, 0)),
        tensor((2, 2), (1,)),
        tensor((4,), (1,), numel=1 << 50),
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02cos\nsystem\n(X\x04\0\0\0truetR.",
        b"",
    ],
)
def test_forged_tensors_are_refused(tmp_path, pickled):
    save_torch(tmp_path / "x.pth", {"x": np.arange(4, dtype=np.float32)})
    rewrite(tmp_path / "x.pth", lambda members: members | {"archive/data.pkl": pickled})
    with pytest.raises(ValueError, match=r"x\.pth: refused or damaged torch file: ."):
        load_torch(tmp_path / "x.pth")


def test_the_forged_pickle_is_whole_where_its_numbers_are(tmp_path):
    save_torch(tmp_path / "x.pth", {"x": np.arange(4, dtype=np.float32)})
    rewrite(tmp_path / "x.pth", lambda members: members | {"archive/data.pkl": tensor((2,), (2,), offset=1)})
    assert load_torch(tmp_path / "x.pth").tolist() == [1, 3]


def test_compressed_members_are_refused(tmp_path):
    save_torch(tmp_path / "x.pth", {"x": np.zeros(1000, np.float32)})
    rewrite(tmp_path / "x.pth", lambda members: members, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed, which torch never does"):
        load_torch(tmp_path / "x.pth")


def test_files_of_another_format_are_named(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(ValueError, match=r"x\.pth: refused or damaged torch file: File is not a zip"):
        load_torch(tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"absent\.pth: not there"):
        load_torch(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"c is of complex128"):
        save_torch(tmp_path / "y.pth", {"c": np.zeros(2, complex)})
    assert not (tmp_path / "y.pth").exists()


@given(st.data())
def test_damage_anywhere_is_a_valueerror_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torch") / "x.pth"
    save_torch(path, {"x": np.arange(4, dtype=np.float32), "y": np.array([True])})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        read = load_torch(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert read["x"].tolist() == [0, 1, 2, 3]  # what is stored has a crc32
