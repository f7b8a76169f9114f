"""A record is one line, whatever stands in it."""

import logging

from katgen.leader.logs import LineFormatter


def line(text: str, level: int = logging.INFO, **fields: object) -> str:
    record = logging.LogRecord("kat", level, "", 0, text, (), None)
    record.fields = fields
    return LineFormatter().format(record)


def test_fields_follow_the_text() -> None:
    assert line("request", path="/healthz", ms=3) == "<6>request path=/healthz ms=3"


def test_the_priority_is_the_journal_s() -> None:
    assert line("a", logging.ERROR) == "<3>a"
    assert line("a", logging.WARNING) == "<4>a"


def test_a_field_cannot_begin_a_line_or_another_field() -> None:
    assert line("request", path="/a\n<0>b c=d") == '<6>request path="/a\\n<0>b c=d"'


def test_a_text_cannot_begin_a_line() -> None:
    assert line("ignoring: a\n<0>b\x1b[2J\u2028c") == "<6>ignoring: a\\n<0>b\\x1b[2J\\u2028c"


def test_a_text_has_an_end() -> None:
    assert len(line("x" * 2_000_000)) == 2003
