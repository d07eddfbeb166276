"""The capsule man, and a packed data set of him."""

from pathlib import Path

import pytest

from generation.people.toy import make_toy
from shards.people.body import Body, write_body
from tests.eval.people.persons import pack_people


@pytest.fixture(scope="session")
def body() -> Body:
    return make_toy()


@pytest.fixture(scope="session")
def body_path(body, tmp_path_factory) -> Path:
    return write_body(tmp_path_factory.mktemp("body") / "toy.npz", body)


@pytest.fixture(scope="session")
def people_index(body, tmp_path_factory) -> Path:
    return pack_people(tmp_path_factory.mktemp("people"), body, "people")
