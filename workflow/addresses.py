"""Web addresses and paths in a configuration: none holds a secret, and none is more than an address or a path.

All that the configuration says is written down: in commands, logs and sidecars. So secrets have no place in it; a user
name and password for a download belong in ~/.netrc.
"""

import re
from urllib.parse import parse_qsl, urlsplit

SECRET_WORDS = ("token", "secret", "signature", "credential", "password", "passwd", "apikey", "accesskey")
SECRET_KEYS = {"sig", "key", "auth", "pwd", "sas"}
USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s'\"]*@")


def check_address(where: str, url: str) -> None:
    """Raise ValueError, which does not repeat the secret, for an address that holds one or is not of the web."""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        is_web = has_port = False
    if not (is_web and has_port and url.isprintable() and " " not in url):
        raise ValueError(f"{where}: not an address (https://...); what is on this machine is named by its path")
    host = parts.hostname
    if "@" in parts.netloc:
        raise ValueError(
            f"{where}: a user or password is in the address of {host}, and addresses are written to logs; "
            f"put `machine {host} login NAME password WORD` into ~/.netrc and leave both out"
        )
    for key, _ in parse_qsl(parts.query, keep_blank_values=True):
        plain = re.sub("[^a-z0-9]", "", key.lower())
        if plain in SECRET_KEYS or any(word in plain for word in SECRET_WORDS):
            raise ValueError(
                f"{where}: '{key}' in the address of {host} is a secret, and addresses are written to logs; "
                "download the file by hand to where `path` says"
            )


def check_remote(where: str, url: str) -> None:
    """Raise ValueError, which repeats no secret, for what is no URL of an index or a folder: https://, s3://..."""
    if url.startswith(("http://", "https://")):
        check_address(where, url)
    scheme, separator, rest = url.partition("://")
    if not (separator and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and rest.isprintable() and " " not in rest):
        raise ValueError(f"{where}: not a URL; give one such as s3://bucket/shards/NAME/index.json")
    if any(mark in rest for mark in ("@", "?", "#", "::", "{", "}")):
        raise ValueError(
            f"{where}: give the URL without user, password, query, '#', '::' and braces; its pin is `sha256`, and S3 "
            "has its keys from the environment (docs/how-to/remote-data.md)"
        )


def check_path(where: str, path: str, *allowed: str) -> None:
    """Raise ValueError for a path that a command could take for an option, or Snakemake for a pattern.

    `allowed` are placeholders that it may have, such as {mode}.
    """
    shown = path if path.isprintable() else repr(path)
    if path.startswith("-"):
        raise ValueError(f"{where}: {shown} begins like an option; write ./{shown}")
    if not path.isprintable():
        raise ValueError(f"{where}: {shown} has characters that cannot be printed; rename the file")
    plain = path
    for placeholder in allowed:
        plain = plain.replace(placeholder, "")
    if "{" in plain or "}" in plain:
        raise ValueError(f"{where}: {shown} has braces, which Snakemake takes for a wildcard; rename the file")


def without_secrets(text: str) -> str:
    """A text in which the user and password of every address are replaced by ***."""
    return USER_IN_ADDRESS.sub("***@", text)
