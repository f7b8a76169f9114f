import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from katgen.udiff import unified

NAMES = ("old", "new")


def test_equal_texts_have_no_diff() -> None:
    assert unified("a\n", "a\n", NAMES) == []


def test_one_changed_line_stands_in_three_lines_of_context() -> None:
    old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n"
    assert unified(old, old.replace("5", "five"), NAMES) == [
        "--- old",
        "+++ new",
        "@@ -2,7 +2,7 @@",
        " 2",
        " 3",
        " 4",
        "-5",
        "+five",
        " 6",
        " 7",
        " 8",
    ]


def test_a_new_file_comes_from_nowhere() -> None:
    assert unified(None, "a\nb\n", NAMES) == [
        "--- /dev/null",
        "+++ new",
        "@@ -0,0 +1,2 @@",
        "+a",
        "+b",
    ]


def test_a_file_that_goes_ends_nowhere() -> None:
    assert unified("a\n", None, NAMES) == ["--- old", "+++ /dev/null", "@@ -1 +0,0 @@", "-a"]


def test_a_missing_final_newline_is_said() -> None:
    assert unified("a", "a\n", NAMES)[2:] == [
        "@@ -1 +1 @@",
        "-a",
        "\\ No newline at end of file",
        "+a",
    ]


def test_a_form_feed_does_not_break_a_line() -> None:
    assert unified("a\x0cb\n", "a\x0cc\n", NAMES)[3:] == ["-a\x0cb", "+a\x0cc"]


def test_far_apart_changes_are_hunks_of_their_own() -> None:
    old = "".join(f"{n}\n" for n in range(30))
    new = old.replace("3\n4", "3\nx\n4", 1).replace("25\n", "")
    assert [line for line in unified(old, new, NAMES) if line.startswith("@@")] == [
        "@@ -2,6 +2,7 @@",
        "@@ -23,7 +24,6 @@",
    ]


def test_a_hundred_thousand_lines_with_many_changes_are_compared_at_once() -> None:
    old = "".join(f"host-{n}. 5 IN A 10.0.0.1\n" for n in range(100_000))
    new = old.replace("9. 5 IN", "9. 5 IN A 10.0.0.2 ; was")
    diff = unified(old, new, NAMES)
    assert sum(line.startswith("-host") for line in diff) == 10_000


def patched(old: str, diff: list[str]) -> str:
    """Apply a diff as patch(1) does, by the line numbers of its hunks."""
    left = old.splitlines(keepends=True)
    new: list[str] = []
    taken = 0
    for line, following in pairwise([*diff, ""]):
        end = "" if following.startswith("\\") else "\n"
        if found := re.fullmatch(r"@@ -(\d+)(,0)?(?:,\d+)? \+\d+(?:,\d+)? @@", line):
            start = int(found[1]) - (0 if found[2] else 1)
            new += left[taken:start]
            taken = start
        elif line[0] in " -" and not line.startswith("--- "):
            assert left[taken] == line[1:] + end
            taken += 1
        if line[0] in " +" and not line.startswith("+++ "):
            new.append(line[1:] + end)
    return "".join((*new, *left[taken:]))


texts = st.lists(st.sampled_from(["a", "b", "c", "", "x y"]), max_size=12).map("\n".join)
some = texts | texts.map(lambda text: text + "\n")


@given(some, some)
def test_the_old_text_and_the_diff_give_the_new_text(old: str, new: str) -> None:
    diff = unified(old, new, NAMES)
    assert bool(diff) == (old != new)
    assert patched(old, diff) == new
