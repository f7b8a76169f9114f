"""A failed test shows what KAT and failed units logged on its nodes."""

import re
from collections.abc import Generator

import pytest

from tests.environment import CACHE
from tests.lab import journals

FOLDER = CACHE / "lab-journals"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save the journals of a failed test's nodes; the report has their last lines."""
    report = yield
    if report.failed and (text := journals.collect()):
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', item.name)[:120]}.txt"
        path.write_text(text, encoding="utf-8", errors="replace")
        last = "\n".join(text.splitlines()[-journals.TAIL_LINES :])
        report.sections.append((f"journals, all in {path}", last))
    journals.forget()
    return report
