"""benchmarks/tapvid_metric.py: takes one function out of a file, compares what it gives with ours."""

import pytest

from benchmarks import tapvid_metric

OURS = """
import a_package_that_is_not_installed
from eval.tapvid import compute_tapvid_metrics as ours


def compute_tapvid_metrics(*arguments):
    from eval.tapvid import compute_tapvid_metrics as ours

    return {name: value + %s for name, value in ours(*arguments).items()}
"""


@pytest.mark.parametrize(("offset", "code"), [("0.0", 0), ("1e-9", 1)])
def test_only_the_function_is_run_and_its_results_are_compared(tmp_path, capsys, offset, code):
    path = tmp_path / "official.py"
    path.write_text(OURS % offset)
    assert tapvid_metric.main(["--official", str(path), "--seconds", "0.01"]) == code
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[:3] for row in rows[:2]] == [["30", "70", "first"], ["30", "70", "strided"]]
    assert len(rows) == 6


def test_another_file_is_refused(tmp_path, capsys):
    (tmp_path / "official.py").write_text("x = 1\n")
    assert tapvid_metric.main(["--official", str(tmp_path / "official.py")]) == 2
    assert "defines no compute_tapvid_metrics" in capsys.readouterr().err
