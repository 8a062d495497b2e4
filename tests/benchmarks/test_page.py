"""The performance page shows what the results say, and nothing else."""

import re

import pytest

from benchmarks.page import PAGE, RESULTS, rendered

TEXT = PAGE.read_text(encoding="utf-8")
TABLES = re.findall(r"<!-- ([\w-]+) -->", TEXT)


def test_the_page_is_that_of_the_results() -> None:
    assert rendered(TEXT) == TEXT, "python -m benchmarks.page"


def test_every_result_that_measures_speed_has_a_table() -> None:
    measured = {folder.parent.name for folder in RESULTS.glob("*/result.json")}
    assert measured <= set(TABLES)


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("end", "goals")])
def test_every_table_has_rows_and_an_origin(name: str) -> None:
    section = TEXT.partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]
    assert section.count("\n|") >= 3
    assert re.search(r"commit [0-9a-f]{10}, \d{4}-\d\d-\d\d: \[result.json\]", section)
