"""Numbers that others published for TAP-Vid's benchmarks, each with its source: eval/published.csv.

None of them was run here. They are x100, as they were stated; what a source does not state is empty.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from eval.tapvid import QUERY_MODES

PUBLISHED = Path(__file__).with_name("published.csv")
MARK = "published, not run here"
COLUMNS = ("benchmark", "query_mode", "tracker", "delta_avg", "AJ", "OA", "year", "source")
NUMBERS = ("delta_avg", "AJ", "OA")


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """What one source states about one tracker: numbers x100 by column title, and where they are from.

    benchmark: the name of the data set, such as tapvid_davis; year: of the source, empty where it has a commit instead.
    """

    benchmark: str
    query_mode: str
    tracker: str
    numbers: dict[str, float]
    year: str
    source: str

    @property
    def citation(self) -> str:
        """The source, and its year where the text does not have it."""
        return self.source if self.year in self.source else f"{self.source}, {self.year}"


def read_published(path: str | Path = PUBLISHED) -> tuple[PublishedScore, ...]:
    """Read and check the table; raises ValueError with the line of the first mistake."""
    with Path(path).open(newline="") as stream:
        reader = csv.DictReader(stream, restkey="more", restval="")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: the columns must be {','.join(COLUMNS)}")
        found: dict[tuple[str, str, str], PublishedScore] = {}
        for row in reader:
            where = f"{path}:{reader.line_num}"
            score = _read_row(row, where)
            key = (score.benchmark, score.query_mode, score.tracker)
            if key in found:
                raise ValueError(f"{where}: {score.tracker!r} has another line; say in its name what is different")
            found[key] = score
    return tuple(found.values())


def _read_row(row: dict[str, str], where: str) -> PublishedScore:
    missing = [column for column in ("benchmark", "query_mode", "tracker", "source") if not row[column].strip()]
    if missing or "more" in row:
        raise ValueError(f"{where}: " + (f"`{missing[0]}` is empty" if missing else "more cells than columns"))
    if row["query_mode"] not in QUERY_MODES:
        raise ValueError(f"{where}: query_mode {row['query_mode']!r} is none of {', '.join(QUERY_MODES)}")
    if row["year"] and not (row["year"].isdigit() and len(row["year"]) == 4):
        raise ValueError(f"{where}: year {row['year']!r} is none")
    try:
        numbers = {column: float(row[column]) for column in NUMBERS if row[column]}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not numbers or not all(1 < number <= 100 for number in numbers.values()):
        raise ValueError(f"{where}: needs at least one of {', '.join(NUMBERS)}, x100: above 1 and at most 100")
    texts = {column: row[column] for column in ("benchmark", "query_mode", "tracker", "year", "source")}
    return PublishedScore(numbers=numbers, **texts)


def published_scores(benchmark: str, query_mode: str) -> tuple[PublishedScore, ...]:
    """Return what others published for a benchmark's queries, in the order of the table."""
    return tuple(s for s in read_published() if (s.benchmark, s.query_mode) == (benchmark, query_mode))
