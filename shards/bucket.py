"""Files behind s3:// and every other URL that fsspec knows, each call within a time-out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PIECE = 2 << 20
"""Bytes that one request reads, within one time-out."""
OPTIONS: dict[str, dict[str, Any]] = {
    # The library's own retries would multiply with ours.
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 1}}},
    "file": {"auto_mkdir": True},
}


class RefusedError(Exception):
    """A server will not give or take a file: another attempt is of no use."""


class MissingError(RefusedError):
    """The server has no such file."""

    def __init__(self) -> None:
        super().__init__("not there")


class Bucket:
    """The file system behind a URL. Raises RefusedError for what will not pass, OSError for what may.

    It is made anew for every use, and never handed to another process: fsspec keeps one connection pool a process, and
    begins a new one after a fork.
    """

    def __init__(self, url: str):
        try:
            from fsspec.core import url_to_fs  # only here: local files and HTTP need no fsspec

            options = OPTIONS.get(url.partition("://")[0], {})
            self._filesystem, self.path = url_to_fs(url, use_listings_cache=False, **options)
        except (ImportError, ValueError) as error:
            raise RefusedError(f"{_one_line(error)}; for s3:// run: pip install -e '.[remote]'") from None

    def call(self, name: str, *arguments: Any, timeout_seconds: float, **options: Any) -> Any:
        """Call a method of the file system by its name; asynchronous ones end after the time-out."""
        try:
            if not self._filesystem.async_impl:
                return getattr(self._filesystem, name)(*arguments, **options)
            from fsspec.asyn import sync

            method = getattr(self._filesystem, f"_{name}")
            return sync(self._filesystem.loop, method, *arguments, timeout=timeout_seconds, **options)
        except FileNotFoundError:
            raise MissingError from None
        except (PermissionError, NotImplementedError) as error:
            raise RefusedError(f"refused: {_one_line(error)}") from None
        except TimeoutError:
            raise OSError(f"no answer within {timeout_seconds:g} s") from None
        except OSError as error:
            raise OSError(error.strerror or _one_line(error)) from None
        except Exception as error:  # each library behind fsspec raises exceptions of its own
            if type(error).__name__ == "NoCredentialsError":
                raise RefusedError("no credentials were found (for S3: AWS_PROFILE or AWS_ACCESS_KEY_ID)") from None
            raise OSError(f"{type(error).__name__}: {_one_line(error)}") from None

    def size(self, timeout_seconds: float) -> int:
        """Bytes of the file."""
        return int(self.call("info", self.path, timeout_seconds=timeout_seconds)["size"])


class _Pieces:
    """Reads a file by ranges, from byte `at` to `end`."""

    def __init__(self, bucket: Bucket, at: int, end: int, timeout_seconds: float):
        self._bucket, self._at, self._end, self._timeout_seconds = bucket, at, end, timeout_seconds

    def read1(self, _size: int, /) -> bytes:
        """The next piece; none at the end."""
        stop = min(self._at + PIECE, self._end)
        if self._at >= stop:
            return b""
        content = self._bucket.call(
            "cat_file", self._bucket.path, start=self._at, end=stop, timeout_seconds=self._timeout_seconds
        )
        self._at += len(content)
        return content


@contextmanager
def open_object(url: str, start: int, timeout_seconds: float) -> Iterator[tuple[_Pieces, int, int]]:
    """A reader from byte `start`, that place (0 where the file is shorter), and the number of bytes from there on."""
    bucket = Bucket(url)
    size = bucket.size(timeout_seconds)
    first = start if start <= size else 0
    yield _Pieces(bucket, first, size, timeout_seconds), first, size - first


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
