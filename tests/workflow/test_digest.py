"""What counts as a change of code: real edits of what an entry point reaches, and nothing else."""

import pytest

from workflow import sources
from workflow.digest import parse_module, source_digest

FILES = {
    "pkg/__init__.py": '"""A package."""\nfrom pkg.metric import score\n',
    "pkg/metric.py": '''"""Metrics."""
from pkg import tables
from pkg.shapes import area as surface
from . import words

LIMITS = (1, 2)
UNREACHED = 3


def score(x):
    """A docstring."""
    from pkg.late import late
    return surface(x) + LIMITS[0] + tables.ROW + late()


def other(x):
    return UNREACHED + words.HELLO
''',
    "pkg/shapes.py": """def area(x):
    return x * side()


def side():
    return 2


def unused():
    return 1
""",
    "pkg/tables.py": "ROW = 1\nCOLUMN = 2\n",
    "pkg/words.py": "HELLO = 'hello'\n",
    "pkg/late.py": "def late():\n    return 0\n",
    "pkg/data.txt": "one\n",
}


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "pkg").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(root, entry="pkg.metric:score", **options):
    parse_module.cache_clear()
    return source_digest(entry, root=root, **options)


def edit(root, name, old, new):
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pkg/metric.py", "LIMITS = (1, 2)", "LIMITS = (1,  # a comment\n    2)"),
        ("pkg/metric.py", "A docstring.", "Another."),
        ("pkg/metric.py", '"""Metrics."""', '"""Other words."""'),
        ("pkg/metric.py", "UNREACHED = 3", "UNREACHED = 4"),
        ("pkg/metric.py", "return UNREACHED", "return 7 + UNREACHED"),
        ("pkg/shapes.py", "return 1\n", "return 9\n"),
        ("pkg/tables.py", "COLUMN = 2", "COLUMN = 3"),
        ("pkg/words.py", "hello'", "good bye'"),
        ("pkg/metric.py", "from . import words", "from . import words\nimport os"),
    ],
)
def test_what_nothing_reaches_and_what_is_only_words_does_not_count(repository, name, old, new):
    before = digest(repository)
    edit(repository, name, old, new)
    assert digest(repository) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pkg/metric.py", "LIMITS = (1, 2)", "LIMITS = (1, 3)"),
        ("pkg/metric.py", "LIMITS[0]", "LIMITS[1]"),
        ("pkg/shapes.py", "return 2", "return 3"),
        ("pkg/tables.py", "ROW = 1", "ROW = 2"),
        ("pkg/late.py", "return 0", "return 1"),
        ("pkg/shapes.py", "def area", "print('at import')\n\n\ndef area"),
        ("pkg/__init__.py", "from pkg.metric", "setting = print()\nfrom pkg.metric"),
    ],
)
def test_an_edit_of_what_is_reached_counts(repository, name, old, new):
    before = digest(repository)
    edit(repository, name, old, new)
    if "setting" in new:
        assert digest(repository) == before, "a name that nothing uses"
        edit(repository, name, "setting = print()", "print()")
    assert digest(repository) != before


def test_data_files_and_versions_count(repository):
    before = digest(repository, files=["pkg/data.txt"])
    edit(repository, "pkg/data.txt", "one", "two")
    assert digest(repository, files=["pkg/data.txt"]) != before
    assert digest(repository, packages=["numpy"]) != digest(repository)


def test_an_entry_or_file_that_does_not_exist_is_named(repository):
    with pytest.raises(ValueError, match=r"pkg.metric:scores: no such code"):
        digest(repository, "pkg.metric:scores")
    with pytest.raises(ValueError, match=r"gone.txt: missing"):
        digest(repository, files=["gone.txt"])


def test_every_rule_s_sources_exist_and_differ():
    digests = {
        rule: sources.digest_of(rule, *(["lbm"] if source.has_model else []))
        for rule, source in sources.SOURCES.items()
    }
    own = [value for value in digests.values() if value]
    # Pages of one system alone are made by one command.
    assert len(set(own)) == len({source for rule, source in sources.SOURCES.items() if digests[rule]})


def test_training_does_not_depend_on_metrics_and_scoring_not_on_torch():
    from workflow.digest import ROOT, reach

    parse_module.cache_clear()
    train = sources.SOURCES["train_stage"]
    entries = (*train.entries, "trainer.models.lbm.task")
    trained = set(reach(entries, ROOT, train.apart_from))
    training = {name.split(":")[0].split("#")[0] for name in trained}
    validating = {name.split(":")[0].split("#")[0] for name in reach(entries, ROOT, ["trainer.models"])} - training
    scoring = {name.split(":")[0].split("#")[0] for name in reach(sources.SOURCES["score"].entries, ROOT)}
    assert "trainer.models.lbm.losses" in training
    models = {".".join(name.split(".")[:3]) for name in training if name.startswith("trainer.models")}
    assert models == {"trainer.models.lbm"}, "no other model, nor the table of all of them"
    # A teacher may be a file of predictions; what reads one is all that a training takes from eval.
    assert {name for name in training if name.startswith("eval.")} == {"eval.predictions", "eval.tapvid"}
    of_metrics = {name.rsplit(".", 1)[0] for name in trained if name.startswith("eval.tapvid")}
    assert of_metrics == {"eval.tapvid:QUERY_MODES", "eval.tapvid:RESOLUTION"}
    assert {"trainer.validation", "eval.protocol"} <= validating
    assert not any(name.startswith("trainer.models") for name in validating)
    assert "eval.tapvid" in scoring
    assert not any(name.startswith("trainer") for name in scoring)


def test_no_rule_is_run_again_for_the_way_that_shards_come():
    from workflow.digest import ROOT, reach

    parse_module.cache_clear()
    for rule, source in sources.SOURCES.items():
        entries = (*source.entries, *(["trainer.models.lbm.task"] if source.has_model else []))
        reached = {name.split(":")[0].split("#")[0] for name in reach(entries, ROOT, source.apart_from)}
        assert not reached & set(sources.FETCHING), rule
    assert set(sources.FETCHING) <= {name.split(":")[0] for name in reach(["shards.reader:read"], ROOT)}
