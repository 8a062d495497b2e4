"""The pages of results show what the results say, and nothing else."""

import re
from pathlib import Path

import pytest

from benchmarks.page import PAGES, RESULTS, ROOT, SUMMARIES, rendered


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def tables(page: Path) -> list[str]:
    return [name for name in re.findall(r"<!-- ([\w-]+) -->", read(page)) if name != "end"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_that_of_the_results(page: Path) -> None:
    assert rendered(read(page)) == read(page), "python -m benchmarks.page"


def test_every_result_has_one_table() -> None:
    measured = [folder.parent.name for folder in RESULTS.glob("*/result.json")]
    # Rows of one table in docs/settings.md.
    presets = {name for name in measured if name.startswith("presets-")}
    assert all(f"results/{name})" in read(ROOT / "docs" / "settings.md") for name in presets)
    measured = [name for name in measured if name not in presets]
    shown = [name for page in PAGES for name in tables(page) if name not in SUMMARIES]
    assert sorted(shown) == sorted(measured)


@pytest.mark.parametrize(
    ("page", "name"),
    [(page, name) for page in PAGES for name in tables(page) if name not in SUMMARIES],
)
def test_every_table_has_rows_and_an_origin(page: Path, name: str) -> None:
    section = read(page).partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]
    assert section.count("\n|") >= 3
    assert re.search(r"commit [0-9a-f]{10}, \d{4}-\d\d-\d\d: \[result.json\]", section)
