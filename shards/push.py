"""Copy packed data sets and other files to s3:// or another URL that can be written, what names them always last."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from shards import transfer
from shards.bucket import Bucket, MissingError, open_object
from shards.files import sha256_of
from shards.shelf import NUM_CONNECTIONS, depth_files
from shards.store import ClipStore
from shards.transfer import CHUNK, GivenUpError, insist, is_url

T = TypeVar("T")
LIST_FORMAT = "frameline-files/1"
LIST_NAME = "files.json"


def push_dataset(index: str | Path, url: str, *, replace: bool = False) -> Iterator[tuple[str, bool]]:
    """Copy an index and its shards to the folder `url`; yields each file's URL and whether it was sent or there before.

    What is sent is read back. Beside each tar and depth store a file `.sha256` is written when it is whole: it and
    the size tell at the next time what is there. The index comes last, so that no reader sees one whose shards are
    not there. Raises ValueError for shards that are not those of the index, for another index at `url` (without
    `replace`; with it that index goes first), and for what the server does not take.
    """
    _check_writable(url)
    store = ClipStore(index)
    if store.shelf.url is not None:
        raise ValueError(f"{store.name}: its shards are not here; push them from where they are")
    url, place = url.rstrip("/"), f"{url.rstrip('/')}/index.json"
    found = _insist(place, lambda: _read_small(place))
    is_same = found is not None and hashlib.sha256(found).hexdigest() == store.sha256
    if found is not None and not is_same:
        if not replace:
            raise ValueError(f"{place}: is another index; push to another folder, or say --replace")
        _insist(place, lambda: _call(place, "rm_file"))
    for shard in store.shards:
        for name in filter(None, (shard["tar"], shard["depth"])):
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise ValueError(f"{store.name}: {name} is not in the folder of the index; pack them into one folder")
        yield f"{url}/{shard['tar']}", _send_tar(store.path.parent / shard["tar"], f"{url}/{shard['tar']}", shard)
        if shard["depth"]:
            target = f"{url}/{shard['depth']}"
            yield target, _send_depth(store.path.parent / shard["depth"], target, shard)
    if not is_same:
        _insist(place, lambda: _send_file(store.path, place))
    yield place, not is_same


def send_files(names: Iterable[str], url: str, *, replace: bool = False) -> Iterator[tuple[str, bool]]:
    """Copy files to the same names below the folder `url`, each with its sidecar of provenance where there is one.

    An index.json takes its shards with it, as `push_dataset` does. Yields each file's URL and whether it was sent or
    there before, which `files.json` at `url` tells: sha256 and bytes by name; it comes last. Raises ValueError for a
    name that leads out of this folder, for a file that is not there, and what `push_dataset` raises.
    """
    _check_writable(url)
    url, wanted = url.rstrip("/"), list(dict.fromkeys(names))
    for name in wanted:
        if Path(name).is_absolute() or ".." in Path(name).parts or not Path(name).is_file():
            raise ValueError(f"{name}: no file below this folder; send files by their names from where the graph runs")
    sidecars = [sidecar for name in wanted if Path(sidecar := f"{name}.prov.json").is_file()]
    place = f"{url}/{LIST_NAME}"
    found = _insist(place, lambda: _read_small(place))
    listed = _parse_list(found, place)
    for name in wanted:
        if Path(name).name == "index.json":
            yield from push_dataset(name, f"{url}/{Path(name).parent.as_posix()}", replace=replace)
    sizes = _insist(url, lambda: _list_sizes(url))

    def send_one(name: str) -> bool:
        entry = {"sha256": sha256_of(Path(name)), "bytes": Path(name).stat().st_size}
        is_there = listed.get(name) == entry and sizes.get(name) == entry["bytes"]
        if not is_there:
            _insist(f"{url}/{name}", partial(_send_file, Path(name), f"{url}/{name}"))
        listed[name] = entry
        return not is_there

    others = [*(name for name in wanted if Path(name).name != "index.json"), *sidecars]
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        for name, is_new in zip(others, pool.map(send_one, others), strict=True):
            yield f"{url}/{name}", is_new
    content = (json.dumps({"format": LIST_FORMAT, "files": listed}, indent=1, sort_keys=True) + "\n").encode()
    if content != found:
        _insist(place, lambda: _call(place, "pipe_file", content))
    yield place, content != found


def _parse_list(content: bytes | None, place: str) -> dict[str, Any]:
    if content is None:
        return {}
    try:
        listing = json.loads(content)
        if listing["format"] != LIST_FORMAT or not isinstance(listing["files"], dict):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{place}: is no list of files that were sent; send to another folder") from None
    return listing["files"]


def _check_writable(url: str) -> None:
    if not is_url(url) or url.startswith(("http://", "https://")):
        raise ValueError(f"{url}: cannot be written; give a URL such as s3://bucket/shards/NAME")


def _send_tar(path: Path, url: str, shard: dict[str, Any]) -> bool:
    sha256, size = shard["sha256"], shard["bytes"]
    if _insist(url, lambda: _read_small(f"{url}.sha256") == sha256.encode() and _size_of(url) == size):
        return False
    _check_local(path, sha256)
    _insist(url, lambda: _send_file(path, url))
    _insist(url, lambda: _call(f"{url}.sha256", "pipe_file", sha256.encode()))
    return True


def _send_depth(path: Path, url: str, shard: dict[str, Any]) -> bool:
    """Send the files of a depth store; its `.sha256` is of the whole folder, as in the index."""
    sha256, size = shard["depth_sha256"], shard["depth_bytes"]

    def is_there() -> bool:
        return _read_small(f"{url}.sha256") == sha256.encode() and _call(url, "du") == size

    if _insist(url, is_there):
        return False
    _check_local(path, sha256)
    files = depth_files(row["key"] for row in shard["clips"])
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        sending = [
            pool.submit(_insist, f"{url}/{name}", partial(_send_file, path / name, f"{url}/{name}")) for name in files
        ]
        for one in sending:
            one.result()
    _insist(url, lambda: _call(f"{url}.sha256", "pipe_file", sha256.encode()))
    return True


def _send_file(path: Path, url: str) -> None:
    """Send a file and read it back; OSError where other bytes came back, so that it is sent again."""
    size, patience = path.stat().st_size, transfer.PATIENCE
    bucket = Bucket(url)
    timeout_seconds = patience.timeout_seconds + size / patience.slowest
    bucket.call("put_file", str(path), bucket.path, timeout_seconds=timeout_seconds)
    digest = hashlib.sha256()
    with open_object(url, 0, patience.timeout_seconds) as (answer, _, _):
        while chunk := answer.read1(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256_of(path):
        raise OSError("other bytes came back than were sent")


def _check_local(path: Path, sha256: str) -> None:
    if not path.exists() or sha256_of(path) != sha256:
        raise ValueError(f"{path}: is not what the index says; see `python -m shards verify {path.parent}/index.json`")


def _read_small(url: str) -> bytes | None:
    """The content of a small file; None where it is not there."""
    try:
        return _call(url, "cat_file")
    except MissingError:
        return None


def _size_of(url: str) -> int | None:
    try:
        return Bucket(url).size(transfer.PATIENCE.timeout_seconds)
    except MissingError:
        return None


def _list_sizes(url: str) -> dict[str, int]:
    """Bytes of all files below a folder, by their names in it."""
    bucket = Bucket(url)
    found = bucket.call("find", bucket.path, detail=True, timeout_seconds=transfer.PATIENCE.timeout_seconds)
    return {name.removeprefix(bucket.path).lstrip("/"): int(about["size"]) for name, about in found.items()}


def _call(url: str, method: str, *arguments: Any) -> Any:
    bucket = Bucket(url)
    return bucket.call(method, bucket.path, *arguments, timeout_seconds=transfer.PATIENCE.timeout_seconds)


def _insist(url: str, attempt: Callable[[], T]) -> T:
    """Attempt with patience; ValueError says what could not be done where."""
    try:
        return insist(attempt, transfer.PATIENCE)
    except GivenUpError as error:
        raise ValueError(
            f"{url}: could not be written ({error}); check bucket and rights, then push again: what is there stays"
        ) from None
