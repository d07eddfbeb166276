"""Every kind of source gives the frames that went in, and a broken one says so in a line."""

import io
import os
import threading
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from trainer import video as video_module
from trainer.video import open_video, write_video

HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 30


def make_frames(num_frames=NUM_FRAMES, height=HEIGHT, width=WIDTH):
    """A bright square on a smooth picture that moves two pixels a frame to the right: (T, H, W, 3) uint8."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    picture = np.stack([x * 2, y * 3, 100 + 0 * x], -1).astype(np.uint8)
    frames = np.repeat(picture[None], num_frames, 0)
    for t, frame in enumerate(frames):
        frame[10:20, 2 * t : 2 * t + 8] = 255
    return frames


def encode(file, frames, container_format, codec="libx264", rotation=0, **options):
    with av.open(file, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file


def read(source):
    with open_video(source) as video:
        return video, np.stack(list(video.frames))


def assert_alike(found, frames):
    assert found.shape == frames.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - frames).mean() < 4


@pytest.mark.parametrize(("name", "container_format"), [("a.mp4", "mp4"), ("a.mkv", "matroska"), ("a.ts", "mpegts")])
def test_a_file_gives_its_frames_and_rate(tmp_path, name, container_format):
    encode(str(tmp_path / name), make_frames(), container_format)
    video, found = read(tmp_path / name)
    assert_alike(found, make_frames())
    assert (video.rate, video.is_live, video.num_frames) == (25, False, NUM_FRAMES if name == "a.mp4" else None)


def test_a_file_of_any_rate_and_odd_size_is_written_and_read(tmp_path):
    frames = make_frames(height=47, width=63)
    write_video(iter(frames), Fraction(30000, 1001), tmp_path / "a.mp4")
    video, found = read(tmp_path / "a.mp4")
    assert video.rate == Fraction(30000, 1001) and found.shape == (NUM_FRAMES, 48, 64, 3)
    assert_alike(found[:, :47, :63], frames)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_without_h264_mpeg4_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    write_video(iter(make_frames()), Fraction(25), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert_alike(read(tmp_path / "a.mp4")[1], make_frames())


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    def failing():
        yield from make_frames(3)
        raise ValueError("cut off")

    with pytest.raises(ValueError, match="cut off"):
        write_video(failing(), Fraction(25), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rotation", "turns"), [(-90, -1), (90, 1), (180, 2)])
def test_turned_videos_come_upright(tmp_path, rotation, turns):
    encode(str(tmp_path / "a.mp4"), make_frames(), "mp4", rotation=rotation)
    # A display matrix of -90 degrees asks the player for a quarter clockwise.
    assert_alike(read(tmp_path / "a.mp4")[1], np.rot90(make_frames(), turns, axes=(1, 2)))


def read_from_pipe(monkeypatch, content):
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe:  # noqa: PTH123 (a descriptor has no path)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))

        def fill():
            with open(writing, "wb") as end:  # noqa: PTH123
                end.write(content)

        thread = threading.Thread(target=fill)
        thread.start()
        try:
            return read("-")
        finally:
            pipe.read()
            thread.join()


@pytest.mark.parametrize(
    ("container_format", "codec"), [("yuv4mpegpipe", "wrapped_avframe"), ("matroska", "libx264"), ("mpegts", "libx264")]
)
def test_a_pipe_gives_its_frames(monkeypatch, container_format, codec):
    frames = make_frames()
    video, found = read_from_pipe(monkeypatch, encode(io.BytesIO(), frames, container_format, codec).getvalue())
    assert_alike(found, frames)
    assert video.is_live and video.rate == 25


def test_a_pipe_without_a_video_says_so(monkeypatch):
    for content in (b"", b"no video at all" * 100):
        with pytest.raises(ValueError, match="standard input: not a video that can be read"):
            read_from_pipe(monkeypatch, content)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    frames = make_frames(12)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{t}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    video, found = read(tmp_path)
    np.testing.assert_array_equal(found, frames)
    assert video.num_frames == 12
    (tmp_path / "frame3.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"frame3.png: not a picture"):
        read(tmp_path)


class FakeCamera:
    """Gives three pictures; only number 0 is there."""

    def __init__(self, number):
        self.number, self.images, self.is_released = number, list(make_frames(3)[..., ::-1]), False
        cameras.append(self)

    def isOpened(self):  # noqa: N802 (OpenCV's name)
        return self.number == 0

    def get(self, property_id):
        return {cv2.CAP_PROP_FPS: 29.97}[property_id]

    def read(self):
        return (True, self.images.pop(0)) if self.images else (False, None)

    def release(self):
        self.is_released = True


cameras = []


def test_a_camera_gives_rgb_and_is_released(monkeypatch):
    monkeypatch.setattr(video_module.cv2, "VideoCapture", FakeCamera)
    video, found = read("camera:0")
    np.testing.assert_array_equal(found, make_frames(3))
    assert video.is_live and video.rate == Fraction(2997, 100)
    for source, message in (("camera:1", "no camera can be opened"), ("camera:front", "cameras are camera:0")):
        with pytest.raises(ValueError, match=message):
            read(source)
    assert len(cameras) == 2 and all(camera.is_released for camera in cameras)


def test_what_is_no_video_is_refused(tmp_path):
    cases = {"empty.mp4": b"", "words.mp4": b"hello " * 100, "words.txt": b"hello\n" * 100}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: (not a video that can be read|no video in it)"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match=r"nothing.mp4: no such file or folder"):
        read(tmp_path / "nothing.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder: no pictures in this folder"):
        read(tmp_path / "folder")


def test_a_video_without_frames_or_without_pictures_is_refused(tmp_path):
    encode(str(tmp_path / "a.y4m"), make_frames(1), "yuv4mpegpipe", "wrapped_avframe")
    header = (tmp_path / "a.y4m").read_bytes().split(b"FRAME")[0]
    (tmp_path / "a.y4m").write_bytes(header)
    with pytest.raises(ValueError, match=r"a.y4m: (a video without frames|not a video)"):
        read(tmp_path / "a.y4m")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound.wav: no video in it"):
        read(tmp_path / "sound.wav")


@pytest.mark.parametrize(
    ("name", "container_format", "options"),
    [("a.mp4", "mp4", {"movflags": "+faststart"}), ("a.mkv", "matroska", {})],
)
def test_a_file_that_was_cut_off_is_told_from_a_whole_one(tmp_path, name, container_format, options):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    encode(str(path), noise, container_format, **options)
    whole, found = read(path)[1], []
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with (
        pytest.raises(ValueError, match=rf"{name}: cut off or damaged \(.*--max-frames") as error,
        open_video(path) as video,
    ):
        found.extend(video.frames)
    assert 0 < len(found) < NUM_FRAMES
    assert f"its first {len(found)} frames can be read" in str(error.value)
    np.testing.assert_array_equal(np.stack(found), whole[: len(found)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 20])
    with pytest.raises(ValueError, match=rf"{name}: "):
        read(path)
