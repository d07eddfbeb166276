"""Get one file from a URL: resumed, checked, retried a bounded number of times, and given up where a server is dying.

HTTP needs the standard library alone; s3:// and every other URL goes through fsspec (`shards.bucket`).
"""

import base64
import errno
import http.client
import netrc
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from shards.bucket import RefusedError, open_object
from shards.files import sha256_of

T = TypeVar("T")
CHUNK = 1 << 20
URL = re.compile(r"[a-z][a-z0-9+.-]+://")
MAY_PASS = (408, 429)
"""HTTP answers below 500 after which another attempt makes sense."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server may take before it is given up."""

    attempts: int = 5
    pause_seconds: float = 1.0
    """Before the second attempt; doubled before each one after it."""
    timeout_seconds: float = 30.0
    """Of connecting, and of each read."""
    slowest: float = 50_000
    """Bytes a second, on average over each window of an attempt."""
    window_seconds: float = 30.0


PATIENCE = Patience()


class GivenUpError(Exception):
    """A file cannot be had from its URL; the message is the reason alone, for a caller to say of what."""


class Answer(Protocol):
    """What a server sends, as urllib and `shards.bucket` give it."""

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes, as soon as there are some; none at the end."""


def is_url(location: str | Path) -> bool:
    """Whether a location is a URL; everything else is a path."""
    return isinstance(location, str) and bool(URL.match(location))


def shown(url: str) -> str:
    """The URL as it may stand in a log: without user, password, query and fragment, where secrets are."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def get(
    url: str,
    part: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    at_most: int | None = None,
    patience: Patience | None = None,
) -> None:
    """Download `url` to `part`, on from what an interrupted download left there; `size` in bytes goes with `sha256`.

    Raises GivenUpError: at once for what the server refuses, after `patience.attempts` attempts for what may pass (a
    broken connection, HTTP 5xx, a slow server, other bytes than those of `sha256`). The part stays for the next time,
    unless its bytes are wrong. Raises OSError where the disk is full.
    """
    patience = patience or PATIENCE

    def attempt() -> None:
        download(url, part, size=size, at_most=at_most, patience=patience)
        _check(part, size, sha256)

    insist(attempt, patience)


def insist(attempt: Callable[[], T], patience: Patience) -> T:
    """What `attempt` returns, the first time that it raises no OSError.

    Raises GivenUpError after the last attempt, and at once after a RefusedError; OSError where the disk is full.
    """
    last = max(patience.attempts, 1)
    for number in range(1, last + 1):
        try:
            return attempt()
        except RefusedError as error:
            raise GivenUpError(str(error)) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = error
        if number < last:
            time.sleep(patience.pause_seconds * 2 ** (number - 1))
    raise GivenUpError(f"{reason}; {last} attempts" if last > 1 else str(reason))


def download(
    url: str,
    part: Path,
    *,
    size: int | None = None,
    at_most: int | None = None,
    patience: Patience | None = None,
) -> None:
    """One attempt of `get`: OSError for what may pass, RefusedError for what will not or is more than `at_most` bytes.

    Where the `size` in bytes is known the bytes will be checked, so a part is continued as it is. Otherwise the
    server's mark of the content (ETag) is kept beside the part, and another content starts from the beginning.
    """
    patience = patience or PATIENCE
    mark = None if size is not None else part.with_name(f"{part.name}.etag")
    done = part.stat().st_size if part.exists() and (mark is None or mark.exists()) else 0
    if size is not None and done == size:
        return
    if size is not None and done > size:
        done = 0
    is_http = url.startswith(("http://", "https://"))
    opened = _ask_http(url, done, mark, patience) if is_http else open_object(url, done, patience.timeout_seconds)
    try:
        with opened as (answer, first, length):
            limit = at_most if size is None else size - first
            received = _save(answer, part, "ab" if first else "wb", limit, patience)
    except _StaleError:
        part.unlink(missing_ok=True)
        raise
    expected = length if size is None else size - first
    if expected is not None and received != expected:
        raise OSError(f"the connection ended after {received} of {expected} bytes")


@contextmanager
def _ask_http(url: str, done: int, mark: Path | None, patience: Patience) -> Iterator[tuple[Answer, int, int | None]]:
    """The answer, the place in the file at which it begins, and its length where the server says it."""
    if urllib.parse.urlsplit(url).username is not None:
        raise RefusedError("a user or password in a URL ends up in logs; they belong in ~/.netrc")
    headers = {"Range": f"bytes={done}-"} if done else {}
    if done and mark is not None:
        headers["If-Range"] = mark.read_text()
    try:
        request = urllib.request.Request(url, headers=headers)
        if authorization := authorization_of(url):
            request.add_unredirected_header("Authorization", authorization)  # for this host and no other
        with closing(urllib.request.urlopen(request, timeout=patience.timeout_seconds)) as answer:
            first = done if answer.status == 206 else 0
            place = answer.headers.get("Content-Range", f"bytes {first}-")
            if first and not place.startswith(f"bytes {first}-"):
                raise RefusedError(f"the server answered the range from byte {first} with {place!r}")
            if mark is not None and not first:
                mark.unlink(missing_ok=True)
                if answer.headers.get("ETag"):
                    mark.write_text(answer.headers["ETag"])
            length = answer.headers.get("Content-Length")
            yield answer, first, int(length) if length and length.isdecimal() else None
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file
            raise _StaleError("the interrupted download does not fit; starting again") from None
        if error.code < 500 and error.code not in MAY_PASS:
            raise RefusedError(f"HTTP {error.code} {error.reason}") from None
        raise OSError(f"HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None
    except http.client.InvalidURL as error:
        raise RefusedError(str(error)) from None
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def authorization_of(url: str) -> str | None:
    """What ~/.netrc has for the host; nothing where the password would travel in the clear to another machine."""
    parts = urllib.parse.urlsplit(url)
    file = Path("~/.netrc").expanduser()
    if not file.is_file() or (parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1")):
        return None
    try:
        found = netrc.netrc(file).hosts.get(parts.hostname or "")
    except netrc.NetrcParseError as error:
        raise RefusedError(f"{file} cannot be read near line {error.lineno}") from None
    except OSError as error:
        raise RefusedError(f"{file} cannot be read ({error.strerror})") from None
    return found and "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()


class _StaleError(OSError):
    """The part is no beginning of the file."""


def _save(answer: Answer, part: Path, mode: str, limit: int | None, patience: Patience) -> int:
    """Write what comes to `part`; returns the number of bytes. Raises OSError below the slowest rate."""
    received, in_window, since = 0, 0, time.monotonic()
    with part.open(mode) as file:
        while chunk := answer.read1(CHUNK):
            received += len(chunk)
            in_window += len(chunk)
            if limit is not None and received > limit:
                raise RefusedError(f"the server sends more than the {limit} bytes expected")
            file.write(chunk)
            seconds = time.monotonic() - since
            if seconds >= patience.window_seconds:
                if in_window < patience.slowest * seconds:
                    raise OSError(f"{in_window / seconds / 1e3:.1f} kB/s over {seconds:.0f} s is too slow")
                in_window, since = 0, time.monotonic()
    return received


def _check(part: Path, size: int | None, sha256: str | None) -> None:
    """Raise OSError for other bytes than expected, and delete them: a connection may have harmed them on the way."""
    found = part.stat().st_size
    if size is not None and found != size:
        part.unlink()
        raise OSError(f"{found} bytes instead of {size}")
    if sha256 is not None and (digest := sha256_of(part)) != sha256:
        part.unlink()
        raise OSError(f"sha256 is {digest}, expected {sha256}")
