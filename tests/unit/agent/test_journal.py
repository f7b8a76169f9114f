"""What becomes of the journal's entries, as conmon and Podman 5.4 write them."""

from agent.journal import PIECE_BYTES, Entry, _Lines
from katgen.protocol import LogLine

UNIT = "kat.default.web.0-1.service"
STDOUT, STDERR = "6", "3"


def wrote(
    text: str | list[int | str],
    stream: str = STDOUT,
    *,
    partial: str = "",
    by: str = "5fb2289c7ee6",
) -> Entry:
    return Entry(
        at="1500000",
        message=text,
        unit=UNIT,
        priority=stream,
        by="kat.default.web.0-1",
        container="kat.default.web.0-1",
        container_id=by,
        partial=partial,
    )


def texts(*entries: Entry) -> list[str]:
    lines = _Lines()
    return [
        line.text for some in ([*lines.take(one, UNIT)] for one in entries) for line in some
    ] + [line.text for line in lines.left()]


def piece(letter: str) -> str:
    return letter * PIECE_BYTES


def test_a_line_has_its_time_and_unit_and_no_end_of_line() -> None:
    assert [*_Lines().take(wrote("hello\n"), UNIT)] == [LogLine(1.5, UNIT, "hello")]


def test_the_pieces_of_a_long_line_are_put_together() -> None:
    cut = wrote(piece("x"), partial="true")
    assert texts(cut, wrote("end\n"), wrote("next\n")) == [piece("x") + "end", "next"]


def test_a_line_on_the_other_stream_does_not_come_between_the_pieces() -> None:
    cut = wrote(piece("x"), partial="true")
    assert texts(cut, wrote("err\n", STDERR), wrote("end\n")) == ["err", piece("x") + "end"]


def test_what_a_container_wrote_last_without_an_end_of_line_is_told_at_once() -> None:
    lines = _Lines()
    last = wrote("panic: no", partial="true")
    assert [line.text for line in lines.take(last, UNIT)] == ["panic: no"]


def test_the_next_container_does_not_go_on_with_the_line_of_one_that_was_killed() -> None:
    cut = wrote(piece("x"), partial="true")
    assert texts(cut, wrote("new\n", by="28c130942e3f")) == [piece("x"), "new"]


def test_a_letter_that_was_cut_in_two_is_whole() -> None:
    first = [*b"x" * (PIECE_BYTES - 1), 0xC3]
    rest: list[int | str] = [0xA9, 0x0A]
    (line,) = texts(wrote([*first], partial="true"), wrote(rest))
    assert line.endswith("xé")


def test_remarks_of_podman_and_conmon_are_no_lines_of_a_failure() -> None:
    created = "2026-11-21 10:31:07.04 +0000 UTC m=+0.03 container create 28c130 (image=bb)"
    assert Entry(message=created, unit=UNIT, by="podman").is_event
    assert Entry(message="conmon 28c1: Failed to add", unit=UNIT, by="conmon").is_event
    assert Entry(message="5f" * 32, unit=UNIT, by="kat.default.web.0-1").is_event


def test_errors_of_podman_and_lines_of_a_container_are() -> None:
    error = "Error: statfs /srv/data: no such file or directory"
    assert not Entry(message=error, unit=UNIT, by="kat.default.web.0-1").is_event
    assert not wrote("5f" * 32).is_event
