"""The page's server: this computer only, behind a random token, one JSON object a line as work goes on.

GET  /TOKEN/                       the page            GET  /TOKEN/settings                  its limits
POST /TOKEN/video?name=            a video file; answers with its sizes
GET  /TOKEN/video/ID/frame/T.jpg   one frame           GET  /TOKEN/video/ID/tracks.{npz,csv,mp4}
POST /TOKEN/video/ID/track         {"points": [{"t", "x", "y"}], "backward": bool}; answers with all positions
POST /TOKEN/video/ID/film          draws the mp4
"""

import contextlib
import json
import re
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trainer.demo.points import describe, read_clicks
from trainer.demo.videos import UploadedVideo
from trainer.follow import Tracker

PAGE = Path(__file__).with_name("page.html")
MAX_REQUEST_BYTES = 1 << 20  # of a request that is no video
PIECE_BYTES = 1 << 20
IDLE_SECONDS = 60  # a connection that says nothing for so long is closed
KEPT_VIDEOS = 4  # the newest; older ones make room
MEDIA = {"npz": "application/octet-stream", "csv": "text/csv; charset=utf-8", "mp4": "video/mp4"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the page takes: frames of a video, MiB of its file, points."""

    max_frames: int = 200
    max_upload_mib: int = 512
    max_points: int = 1024


class DemoServer(ThreadingHTTPServer):
    """Serves the page on 127.0.0.1 at `address`; files go to `folder`, which is the caller's to delete.

    One video is read, tracked or drawn at a time; the next request waits. OSError for a port that is taken.
    """

    daemon_threads = True

    def __init__(self, port: int, tracker: Tracker, folder: Path, limits: Limits):
        self.tracker, self.folder, self.limits = tracker, folder, limits
        self.token = secrets.token_urlsafe(16)
        self.videos: dict[str, UploadedVideo] = {}
        self.working, self.is_ending = threading.Lock(), False
        self._changing, self._num_videos = threading.Lock(), 0
        super().__init__(("127.0.0.1", port), DemoHandler)  # closes itself where the port is taken

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def new_video(self, name: str) -> tuple[str, UploadedVideo]:
        """An empty folder for a video, and its id; it is listed only when `keep` is called."""
        with self._changing:
            self._num_videos += 1
            number = str(self._num_videos)
        video = UploadedVideo(name=name, folder=self.folder / number)
        video.folder.mkdir()
        return number, video

    def keep(self, number: str, video: UploadedVideo) -> None:
        """List a video; the oldest one goes when there are too many."""
        with self._changing:
            self.videos[number] = video
            while len(self.videos) > KEPT_VIDEOS:
                oldest = self.videos.pop(next(iter(self.videos)))
                shutil.rmtree(oldest.folder, ignore_errors=True)

    def server_close(self) -> None:
        """Take no more requests, and wait until the one at work has stopped: nothing writes to `folder` any more."""
        self.is_ending = True
        super().server_close()
        self.working.acquire()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away is no error; everything else is shown in the terminal."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Refused(Exception):  # noqa: N818
    """A request that is answered with an HTTP status and one line."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class DemoHandler(BaseHTTPRequestHandler):
    """One request. HTTP/1.0: an answer ends where its connection does, so lines can follow as they come."""

    server: DemoServer
    timeout = IDLE_SECONDS
    server_version, sys_version = "frameline", ""

    def do_GET(self) -> None:
        """Page, settings, frames and results."""
        self._answer(
            {
                "": self._send_page,
                "settings": self._send_settings,
                r"video/(\w+)/frame/(\d+)\.jpg": self._send_frame,
                r"video/(\w+)/tracks\.(npz|csv|mp4)": self._send_tracks,
            }
        )

    def do_POST(self) -> None:
        """Upload, track, draw."""
        self._answer(
            {"video": self._take_video, r"video/(\w+)/track": self._track, r"video/(\w+)/film": self._draw_film}
        )

    def log_message(self, *arguments: Any) -> None:
        """The terminal keeps its few lines."""

    def _answer(self, routes: dict[str, Callable[..., None]]) -> None:
        try:
            path = self._path_behind_token()
            for pattern, answer in routes.items():
                found = re.fullmatch(pattern, path)
                if found:
                    return answer(*found.groups())
            raise Refused(404, "there is no such page")
        except Refused as error:
            self._begin(error.status, "application/x-ndjson")
            self._send_line({"error": str(error)})

    def _path_behind_token(self) -> str:
        """The path after the token; refused for a wrong token, and for a request that another site sent."""
        port = self.server.server_port
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in hosts or (origin and origin not in {f"http://{host}" for host in hosts}):
            raise Refused(403, "requests come from this page on this computer only")
        token, slash, path = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(404, "wrong address: open the one that the command printed")
        return path

    def _video(self, number: str) -> UploadedVideo:
        video = self.server.videos.get(number)
        if video is None:
            raise Refused(404, "this video is no longer here: upload it again")
        return video

    # ---- GET

    def _send_page(self) -> None:
        self._send(PAGE.read_bytes(), "text/html; charset=utf-8")

    def _send_settings(self) -> None:
        self._send(json.dumps(vars(self.server.limits)).encode(), "application/json")

    def _send_frame(self, number: str, t: str) -> None:
        picture = self._video(number).picture(int(t))
        if not picture.is_file():
            raise Refused(404, f"there is no frame {t}")
        self._send(picture.read_bytes(), "image/jpeg")

    def _send_tracks(self, number: str, kind: str) -> None:
        video = self._video(number)
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(video.name).stem)  # what a header may hold
        result = video.result(kind)
        if not result.is_file():
            raise Refused(404, "the mp4 is not drawn yet" if video.tracked else "nothing is tracked yet")
        self._send(
            result.read_bytes(), MEDIA[kind], {"Content-Disposition": f'attachment; filename="{stem}_tracks.{kind}"'}
        )

    # ---- POST

    def _take_video(self) -> None:
        limits = self.server.limits
        length = self._body_length(limits.max_upload_mib << 20)
        name = Path(parse_qs(urlsplit(self.path).query).get("name", ["video"])[0]).name
        number, video = self.server.new_video(name)
        is_kept = False
        try:
            self._save_body(video.source, length)
            with self._lines():
                for done in video.unpack(limits.max_frames):
                    self._send_line({"done": done})
                self.server.keep(number, video)
                is_kept = True
                height, width = video.frame_size
                sizes = {"width": width, "height": height, "num_frames": video.num_frames, "rate": float(video.rate)}
                named = {"id": number, "name": video.name, "note": video.note}
                self._send_line({"finished": True, "video": named | sizes})
        finally:
            if not is_kept:
                shutil.rmtree(video.folder, ignore_errors=True)

    def _track(self, number: str) -> None:
        video = self._video(number)
        asked = self._read_json()
        with self._lines():
            query_tyx = read_clicks(
                asked.get("points"),
                num_frames=video.num_frames,
                frame_size=video.frame_size,
                max_points=self.server.limits.max_points,
            )
            is_backward = asked.get("backward") is True
            for t, rows in enumerate(video.follow(self.server.tracker, query_tyx, is_backward)):
                self._send_line({"done": t + 1, "all": video.num_frames, "frame": t, "points": describe(rows)})
            self._send_line({"finished": True})

    def _draw_film(self, number: str) -> None:
        video = self._video(number)
        self._read_json()
        with self._lines():
            video.draw_film(lambda done: self._send_line({"done": done, "all": video.num_frames}))
            self._send_line({"finished": True})

    # ---- requests in, answers out

    def _body_length(self, limit: int) -> int:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(411, "the request does not tell its length")
        if int(length) > limit:
            raise Refused(413, f"the file has {int(length) / 2**20:.1f} MiB; at most {limit >> 20}")
        return int(length)

    def _save_body(self, path: Path, length: int) -> None:
        try:
            with path.open("wb") as file:
                while length:
                    piece = self.rfile.read(min(length, PIECE_BYTES))
                    if not piece:
                        raise ConnectionAbortedError("the upload broke off")
                    length -= file.write(piece)
        except OSError as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            raise Refused(507, f"the video cannot be kept: {error.strerror}") from None

    def _read_json(self) -> dict[str, Any]:
        try:
            asked = json.loads(self.rfile.read(self._body_length(MAX_REQUEST_BYTES)))
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise Refused(400, "the request is not a JSON object")
        return asked

    def _begin(self, status: int, media: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (HEADERS | {"Content-Type": media} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content: bytes, media: str, headers: dict[str, str] | None = None) -> None:
        self._begin(200, media, {"Content-Length": str(len(content))} | (headers or {}))
        self.wfile.write(content)

    @contextlib.contextmanager
    def _lines(self) -> Iterator[None]:
        """Work, and answer with lines; a mistake of the user's becomes the last one."""
        self._begin(200, "application/x-ndjson")
        try:
            with self.server.working:
                yield
        except ValueError as error:
            self._send_line({"error": str(error)})

    def _send_line(self, message: dict[str, Any]) -> None:
        if self.server.is_ending:
            raise ConnectionAbortedError("the server ends")
        self.wfile.write(json.dumps(message).encode() + b"\n")
