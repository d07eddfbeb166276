"""Plain data comes out of a pickle as it went in; everything else is refused, and nothing is executed."""

import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest

from shards.unpickle import iterate_pickle, load_npy_object, load_pickle

PLAIN = {
    "uint8": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f8"),
    "bool": np.array([[True, False]]),
    "empty": np.zeros((0, 5, 2), np.float32),
    "zero-dimensional": np.array(3.5),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"x\x00y", b"zzz"]),
    "objects": np.array([b"\xff\xd8", b""], object),
    "scalar": np.float32(1.25),
    "noncontiguous": np.arange(20)[::3],
    "nested": [{"a": (1, 2.5, None, True, "ä", b"\x00\xff")}, [], {}],
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_survives(tmp_path, protocol):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(PLAIN, protocol))
    read = load_pickle(tmp_path / "x.pkl")
    assert read.keys() == PLAIN.keys()
    for name, value in PLAIN.items():
        if isinstance(value, np.ndarray | np.generic):
            assert read[name].dtype == value.dtype, name
            assert read[name].shape == value.shape, name
            np.testing.assert_array_equal(read[name], value)
        else:
            assert read[name] == value


def test_names_of_numpy_1_are_known(tmp_path):
    content = pickle.dumps(np.arange(3), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in content
    (tmp_path / "x.pkl").write_bytes(content)
    np.testing.assert_array_equal(load_pickle(tmp_path / "x.pkl"), np.arange(3))


def test_an_npy_that_holds_a_dictionary(tmp_path):
    np.save(tmp_path / "x.npy", PLAIN)
    np.testing.assert_array_equal(load_npy_object(tmp_path / "x.npy")["uint8"], PLAIN["uint8"])
    np.save(tmp_path / "y.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"y\.npy: holds an array \(3,\) of float64, expected one pickled dictionary"):
        load_npy_object(tmp_path / "y.npy")
    (tmp_path / "z.npy").write_bytes(b"\x93NUM")
    with pytest.raises(ValueError, match=r"z\.npy: not an npy file"):
        load_npy_object(tmp_path / "z.npy")


class Call:
    """Pickles as a call of any function with any arguments, and a state that is then set on what it returned."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


TOUCH = "import pathlib; pathlib.Path('executed').touch()"
STRUCTURED = np.zeros(1, [("pointer", object)])
HOSTILE = {
    "exec": Call(exec, TOUCH),
    "eval in a video": {"camel": {"video": [b"x", Call(eval, f"exec({TOUCH!r})")]}},
    "system": b"cos\nsystem\n(S'touch executed'\ntR.",
    "getattr": Call(getattr, "", "join"),
    "numpy's own function": Call(np.fromfile, "/etc/hostname"),
    "a file by memmap": Call(np.memmap, "/etc/hostname"),
    "an array of any size": Call(np.ndarray, (10**6,)),
    "a structured array with pointers": STRUCTURED,
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "a forged dtype": b"cnumpy\ndtype\n(S'V8'\ntR(I3\nS'|'\nN(S'a'\ntN(dNtb.",
    "raw bytes as objects": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\ntRI00\nS'AAAAAAAA'\ntb.",
    "an array larger than its bytes": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    b"(I1\n(I1000000000\ntcnumpy\ndtype\n(S'f8'\ntRI00\nC\x04abcdtb.",
    "a negative shape": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    b"(I1\n(I-1\ntcnumpy\ndtype\n(S'u1'\ntRI00\nC\x04abcdtb.",
    "bytes of any size": b"c__builtin__\nbytes\n(I1000000000\ntR.",
    "state set on a stand-in": b"cnumpy\ndtype\n(N}S'make'\nS'x'\nstb.",
    "attributes of a stand-in": b"cnumpy\ndtype\n}S'__call__'\nS'x'\nsb.",
    "a list inside itself": b"(lp0\ng0\na.",
    "a codec": b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
    "an outside object": b"Pfile\n.",
    "a dotted name": pickle.PROTO + b"\x04\x8c\x05numpy\x8c\x12ndarray.__class__\x93.",
    "a function as a value": b"cnumpy\ndtype\n.",
    "a function as a key": b"}cnumpy\ndtype\nI1\ns.",
    "a set": {1, 2},
    "more bytes than there are": pickle.PROTO + b"\x04" + pickle.BINBYTES8 + struct.pack("<Q", 1 << 40) + b"abc.",
    "a place in the file that is moved": pickle.PROTO
    + b"\x04"
    + pickle.BINBYTES
    + struct.pack("<I", 5000)
    + bytes(5000)
    + b"N}S'offset'\nI0\ns\x86b.",
    "half a pickle": pickle.dumps(PLAIN)[:500],
    "no pickle": b"<html>not found</html>",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_refused_and_not_executed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = HOSTILE[name] if isinstance(HOSTILE[name], bytes) else pickle.dumps(HOSTILE[name], 2)
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pkl: refused or damaged pickle: "):
        load_pickle(tmp_path / "x.pkl")
    assert not (tmp_path / "executed").exists()


def test_the_hostile_ones_would_work_elsewhere(tmp_path, monkeypatch):
    """Otherwise the test above could pass on broken pickles."""
    monkeypatch.chdir(tmp_path)
    for name in ("exec", "eval in a video", "system"):
        content = HOSTILE[name] if isinstance(HOSTILE[name], bytes) else pickle.dumps(HOSTILE[name], 2)
        pickletools.dis(content, out=(tmp_path / "listing").open("w"))
        pickle.loads(content)
        assert (tmp_path / "executed").exists(), name
        (tmp_path / "executed").unlink()


def test_a_shared_array_is_made_once(tmp_path):
    array = np.arange(5)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([array, {"again": array}]))
    first, second = load_pickle(tmp_path / "x.pkl")
    assert first is second["again"]


def test_long_bytes_stay_in_the_file_until_their_value_comes(tmp_path):
    videos = {name: {"video": np.full(10**6, place, np.uint8)} for place, name in enumerate("abcdef")}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(videos, 4))
    tracemalloc.start()
    for place, (name, video) in enumerate(iterate_pickle(tmp_path / "x.pkl")):
        assert name == "abcdef"[place]
        assert (video["video"] == place).all()
        del video
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # of 6 MB: one video, the comparison and little else


def test_lists_are_iterated_by_number_and_other_content_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([b"a" * 5000, [1, 2]]))
    assert list(iterate_pickle(tmp_path / "x.pkl")) == [(0, b"a" * 5000), (1, [1, 2])]
    (tmp_path / "y.pkl").write_bytes(pickle.dumps(3))
    with pytest.raises(ValueError, match=r"y\.pkl: expected a dictionary or list, got one value"):
        next(iterate_pickle(tmp_path / "y.pkl"))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_refused_video_by_video_too(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = HOSTILE[name] if isinstance(HOSTILE[name], bytes) else pickle.dumps(HOSTILE[name], 2)
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pkl: refused or damaged pickle: "):
        list(iterate_pickle(tmp_path / "x.pkl"))
    assert not (tmp_path / "executed").exists()
