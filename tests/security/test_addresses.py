"""Downloads have a checksum, and addresses hold no secret."""

import json
from pathlib import Path

import pytest

from shards.transfer import authorization_of
from tests.security.conftest import tiny
from workflow import archive, fetch
from workflow.addresses import check_address, without_secrets
from workflow.plan import Plan
from workflow.provenance import record, sidecar_path


def test_a_download_has_a_sha256_or_the_word_that_there_is_none():
    config = tiny()
    config["datasets"]["tapvid_davis"]["url"] = "https://example.org/x.pkl"
    with pytest.raises(ValueError, match=r"datasets\.tapvid_davis\.sha256: missing beside a url"):
        Plan(config)
    for said in (None, "0" * 64):
        config["datasets"]["tapvid_davis"]["sha256"] = said
        Plan(config)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@example.org/x",
        "https://hunter2@example.org/x",
        "https://example.org/x?token=hunter2",
        "https://example.org/x?a=1&X-Amz-Signature=hunter2",
        "https://example.org/x?sig=hunter2",
        "https://example.org/x?api_key=hunter2",
        "ftp://example.org/hunter2",
        "file:///etc/hunter2",
        "gs://bucket/hunter2",
        "https://exam ple.org/hunter2",
        "https:///hunter2",
        "https://example.org:port/hunter2",
    ],
)
def test_an_address_with_a_secret_or_of_another_kind_is_refused_without_repeating_it(url, capsys):
    config = tiny()
    config["datasets"]["tapvid_davis"] |= {"url": url, "sha256": None}
    with pytest.raises(ValueError, match=r"datasets\.tapvid_davis\.url: ") as error:
        Plan(config)
    assert "hunter2" not in str(error.value)
    if "://" in url:
        with pytest.raises(ValueError, match="kubric_assets: ") as error:
            Plan(tiny() | {"kubric_assets": url})
        assert "hunter2" not in str(error.value)
    for command in (fetch.main, lambda words: archive.main([*words, "--folder", "nowhere/f"])):
        assert command(["--url", url, "--out", "nowhere/x", "--attempts", "1"]) == 2
        assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["https://example.org/a.zip?download=1&v=2", "http://127.0.0.1:80/x", "https://h/k-e-y"]
)
def test_plain_addresses_are_addresses(url):
    check_address("here", url)


def test_a_password_is_read_from_netrc_and_sent_to_its_own_host_alone(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    server.away = server.url.replace("127.0.0.1", "localhost") + "/there"
    assert fetch.main(["--url", f"{server.url}/away", "--out", str(tmp_path / "x")]) == 0
    (first, sent), (second, sent_on) = server.asked
    assert (first, second) == ("/away", "/there")
    assert sent == "Basic bWU6aHVudGVyMg==" and sent_on is None
    assert authorization_of("http://127.0.0.2/x") is None and authorization_of("http://example.org/x") is None
    assert "hunter2" not in "".join(capsys.readouterr())
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 password hunter2 hunter3\n")
    assert fetch.main(["--url", f"{server.url}/x", "--out", str(tmp_path / "y")]) == 2
    assert "hunter" not in capsys.readouterr().err


def test_a_sidecar_holds_no_password_of_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    Path("out").write_text("made")
    record("x", {}, ["out"], {}, ["python", "-m", "y", "--url=https://me:hunter2@example.org/a", "--b", "http://t@h/"])
    text = sidecar_path("out").read_text()
    assert "hunter2" not in text and json.loads(text)["command"].count("***@") == 2
    assert without_secrets("ftp://a:b@c/d e@f") == "ftp://***@c/d e@f"
