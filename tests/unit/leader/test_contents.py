"""How much an agent gets with one answer."""

from katgen.leader.routes.agents import ANSWER_BYTES, fitting

HALF = b"x" * (ANSWER_BYTES // 2)


def test_as_many_files_as_fit_are_answered() -> None:
    assert [name for name, _ in fitting({"a": HALF, "b": HALF, "c": b"x"})] == ["a", "b"]


def test_one_file_is_always_answered_however_large() -> None:
    assert [name for name, _ in fitting({"a": HALF * 3, "b": b"x"})] == ["a"]
