"""A local mirror of Kubric's asset bucket: fetch what is missing, check every archive, list the sha256 of all files.

Layout, as in the bucket: <root>/{GSO/GSO.json, HDRI_haven/HDRI_haven.json, KuBasic/KuBasic.json} with an archive
<id>.tar.gz beside its manifest for each asset, and our pack.json. Kubric publishes no digests: the first fetch is
trusted, every later use is held against pack.json.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from generation.config import KUBRIC_ASSETS
from generation.environment import write_json
from generation.sources import MANIFESTS, PACK, PACK_FORMAT, archive_path, find_manifests, read_assets

NUM_CONNECTIONS = 8
NUM_TRIES = 4
TIMEOUT_SECONDS = 60
SAVE_EVERY = 50
"""Archives between two writings of pack.json: an interrupted fetch goes on where it was."""


class MirrorError(Exception):
    """Files that could not be fetched or are not what they should be; one line each."""


def build_mirror(root: Path, url: str | None, *, is_thorough: bool = False) -> dict[str, Any]:
    """Fetch what is missing from `url` (http, https, or a folder), check it, and write pack.json; returns its content.

    Without `url` nothing is fetched. `is_thorough` hashes again what pack.json lists already. Raises MirrorError.
    """
    fetch = make_fetcher(url) if url else None
    if fetch:
        for names in MANIFESTS.values():
            if not (root / names[1]).is_file():
                fetch(names[1], root / names[1])
    manifests = find_manifests(root)
    listed = _listed_before(root)
    wanted = [path for manifest in manifests.values() for path in _files_of(manifest)]
    done, problems = {}, []
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        check = functools.partial(_complete, root, fetch, {} if is_thorough else listed)
        for number, (path, digest, problem) in enumerate(pool.map(check, wanted), start=1):
            name = path.relative_to(root).as_posix()
            if not problem and is_thorough and listed.get(name, digest) != digest:
                problem = f"{path}: is not what {PACK} lists; delete it and fetch it again"
            if problem:
                problems.append(problem)
            else:
                done[name] = digest
            if number % SAVE_EVERY == 0:
                print(f"mirror: {number}/{len(wanted)} files", flush=True)
                _write_pack(root, url, listed | done)
    if problems:
        _write_pack(root, url, listed | done)
        raise MirrorError("\n".join([*problems[:20], f"{len(problems)} of {len(wanted)} files are missing or wrong"]))
    print(f"mirror: {len(wanted)} files, all there", flush=True)
    return _write_pack(root, url, done)


def _files_of(manifest: Path) -> Iterator[Path]:
    """The manifest and its archives."""
    yield manifest
    for asset_id in sorted(read_assets(manifest)):
        yield archive_path(manifest, asset_id)


def _listed_before(root: Path) -> dict[str, str]:
    try:
        return json.loads((root / PACK).read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        return {}


def _write_pack(root: Path, url: str | None, files: dict[str, str]) -> dict[str, Any]:
    content = {"format": PACK_FORMAT, "making": {"mirror_of": url}, "files": files}
    write_json(root / PACK, content)
    return content


def _complete(
    root: Path, fetch: Callable[[str, Path], None] | None, listed: dict[str, str], path: Path
) -> tuple[Path, str, str]:
    """Make sure of one file; returns it with its sha256 and what is wrong with it ("" for nothing)."""
    name = path.relative_to(root).as_posix()
    try:
        if not path.is_file():
            if fetch is None:
                return path, "", f"{path}: missing; fetch it with --url"
            fetch(name, path)
        elif name in listed:
            return path, listed[name], ""
        problem = "" if path.suffix == ".json" else find_archive_problem(path)
        return path, hashlib.sha256(path.read_bytes()).hexdigest(), problem
    except MirrorError as error:
        return path, "", str(error)


def find_archive_problem(path: Path) -> str:
    """What is wrong with an asset's archive; "" for one that Kubric can unpack."""
    try:
        with tarfile.open(path, "r:gz") as file:
            names = file.getnames()
    except (tarfile.TarError, OSError, EOFError) as error:
        return f"{path}: no archive ({error}); delete it and fetch it again"
    asset_id = path.name.removesuffix(".tar.gz")
    if not {"data.json", "./data.json", f"{asset_id}/data.json"} & set(names):
        return f"{path}: an archive without data.json is no asset of Kubric's"
    return ""


def make_fetcher(url: str) -> Callable[[str, Path], None]:
    """A function that brings a file of the bucket (or of a folder) to a path, whole or not at all."""
    if url.startswith("gs://"):
        raise ValueError(f"{url}: give the bucket's web address, {KUBRIC_ASSETS}")
    if url.startswith(("http://", "https://")):
        return functools.partial(_download, url.rstrip("/"))
    if not Path(url).is_dir():
        raise ValueError(f"{url}: neither a web address nor a folder")
    return functools.partial(_copy, Path(url))


def _copy(source: Path, name: str, path: Path) -> None:
    if not (source / name).is_file():
        raise MirrorError(f"{source / name}: missing")
    with (source / name).open("rb") as file:
        _save(file, path)


def _download(base: str, name: str, path: Path) -> None:
    address = f"{base}/{name}"
    for attempt in range(1, NUM_TRIES + 1):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
                _save(answer, path, answer.headers.get("Content-Length"))
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == NUM_TRIES:
                raise MirrorError(f"{address}: {error.code} {error.reason}") from None
        except (OSError, EOFError) as error:
            if attempt == NUM_TRIES:
                raise MirrorError(f"{address}: {getattr(error, 'reason', error)} after {NUM_TRIES} tries") from None
        print(f"mirror: {address}: trying again", file=sys.stderr, flush=True)
        time.sleep(2 ** (attempt - 1))


def _save(stream: Any, path: Path, length: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            shutil.copyfileobj(stream, file)
        if length is not None and temporary.stat().st_size != int(length):
            raise EOFError(f"{temporary.stat().st_size} of {length} bytes came")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
