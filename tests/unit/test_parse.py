import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from katgen.parse import parse
from katgen.parse.compose import Composer, TooMuchError
from katgen.parse.decode import FILE_MAX
from katgen.parse.quick import values


def problems(content: bytes | str, name: str = "a.kat") -> list[str]:
    data = content.encode() if isinstance(content, str) else content
    return [str(problem) for problem in sorted(parse([(name, data)]).problems)]


def value(content: str) -> object:
    parsed = parse([("a.kat", content.encode())])
    assert not parsed.problems
    return parsed.documents[0].value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("22:22", "22:22"),
        ("2026-01-01", "2026-01-01"),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("-7", -7),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("+.inf", float("inf")),
        ("'7'", "7"),
        ('"true"', "true"),
        ("=", "="),
        ("9" * 65, "9" * 65),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, expected: object) -> None:
    assert value(f"a: {text}\n") == {"a": expected}


def test_documents_of_a_file_are_told_apart() -> None:
    parsed = parse([("a.kat", b"a: 1\n---\n# nothing\n---\nb: 2\n...\n---\nc: 3\n")])
    assert [document.value for document in parsed.documents] == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_dashes_inside_a_block_are_text() -> None:
    assert value("a: |\n  x\n  ---\n  y\n") == {"a": "x\n---\ny\n"}


def test_carriage_returns_before_line_feeds_are_line_ends() -> None:
    assert value("a:\r\n  - b\r\n") == {"a": ["b"]}


def test_every_part_knows_its_place() -> None:
    text = "x: 1\n---\na:\n  - b: {c: ü, d: 4}\n"
    document = parse([("a.kat", text.encode())]).documents[1]
    assert str(document.at()) == "a.kat:3:1"
    assert str(document.at(("a", 0, "b", "d"))) == "a.kat:4:18 a[0].b.d"
    assert str(document.at(("a", 0, "b", "d"), key=True)) == "a.kat:4:15 a[0].b.d"


def test_what_is_not_there_is_placed_in_what_is() -> None:
    document = parse([("a.kat", b"a:\n  b: 1\n")]).documents[0]
    assert str(document.at(("a", "c", "d"))) == "a.kat:2:3 a.c.d"


def test_odd_keys_are_quoted_in_paths() -> None:
    document = parse([("a.kat", b'a: {"x/y": 1, "\\e[31m": 2}\n')]).documents[0]
    assert document.at(("a", "x/y")).path == "a['x/y']"
    assert document.at(("a", "\x1b[31m")).path == "a['\\x1b[31m']"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a.kat: holds no object; write one, or leave it out"),
        (
            b"\xef\xbb\xbfa: 1",
            "a.kat: begins with a byte order mark; save it as UTF-8 without a byte order mark",
        ),
        (
            "a: 1".encode("utf-16"),
            "a.kat: is UTF-16; save it as UTF-8 without a byte order mark",
        ),
        (
            "\ufeffa: 1".encode("utf-16-be"),
            "a.kat: is UTF-16; save it as UTF-8 without a byte order mark",
        ),
        (
            "a: 1".encode("utf-16-le"),
            "a.kat: is not text; KAT reads YAML files; leave this one out",
        ),
        (
            b"\x7fELF\x02\x01\x01\0\0\0\xff",
            "a.kat: is not text; KAT reads YAML files; leave this one out",
        ),
        (b"a: 1\nb: \xe9t\xe9\n", "a.kat:2:4: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (
            b"a: 1\nb: x\x1b[31m\n",
            (
                "a.kat:2:5: YAML cannot carry the character U+001B as it is; "
                'write "\\x1b" inside double quotes'
            ),
        ),
        (
            "a: x\u2028y".encode(),
            (
                "a.kat:1:5: YAML cannot carry the character U+2028 as it is; "
                'write "\\u2028" inside double quotes'
            ),
        ),
        (
            b"a: 1\rb: 2\r",
            "a.kat:1:5: a carriage return without a line feed; end lines with a line feed",
        ),
        (b"a: \ta\n\tb: c\n", "a.kat:2:1: a tab cannot indent YAML; use spaces"),
        (b"a: |\n\tb\n", "a.kat:2:1: a tab cannot indent YAML; use spaces"),
        (b'a: "\\ud800"', "a.kat:1:7: no such character; write the character itself"),
        (
            b"a" * (FILE_MAX + 1),
            "a.kat: has 4194305 bytes; the most is 4194304; split it",
        ),
        (b"[" * 300_000, "a.kat:1:65: nested more than 64 levels deep; flatten it"),
        (b"- " * 300_000, "a.kat:1:129: nested more than 64 levels deep; flatten it"),
        (
            b"a:\n" + b"- b\n" * 60_000,
            "a.kat:49999:3: more than 50000 values in one document; split it",
        ),
        (b"a: 1\n---\n" * 10_001, "a.kat: holds 10002 documents; the most is 10000; split it"),
    ],
    ids=range(18),
)
def test_what_is_no_file_of_kat_is_refused(content: bytes, expected: str) -> None:
    said = problems(content)
    assert said[0] == expected
    assert len(said) <= 2


def test_a_bomb_of_aliases_is_refused_at_its_first_anchors() -> None:
    layers = ["a0: &a0 [x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    said = problems("\n".join(layers))
    assert said[0] == "a.kat:1:5 a0: an anchor (&) is not taken; write the value out"
    assert said[2] == "a.kat:2:10 a1[0]: an alias (*) is not taken; write the value out"
    assert "a.kat:11:47: too many problems; the rest of the file is not read" in said
    assert len(said) == 101


def test_one_unreadable_file_hides_no_other() -> None:
    parsed = parse(
        [("a.kat", b"\xff\xfe"), ("b.kat", b"x: {\n"), ("c.kat", b"ok: 1\n"), ("-", b"")]
    )
    assert [document.file for document in parsed.documents] == ["c.kat"]
    assert [str(problem) for problem in parsed.problems] == [
        "a.kat: is UTF-16; save it as UTF-8 without a byte order mark",
        "b.kat:1:5: the document ends inside brackets; close every '{' and '['",
        "-: holds no object; write one, or leave it out",
    ]


SIGNS = st.sampled_from("ab1:,[]{}&*!~?|#%'\"\t\n é")
PHRASES = st.sampled_from(["- ", ": ", "&x ", "*x", "!t ", "<<: ", "true", "\n  ", "\n---\n"])


@settings(max_examples=600, derandomize=True, deadline=None)
@given(st.lists(SIGNS | PHRASES, max_size=14).map("".join))
def test_the_quick_way_gives_what_the_thorough_one_gives(text: str) -> None:
    composer = Composer("a.kat")
    try:
        thorough = [value for value, _ in composer.compose(text, 1)]
    except TooMuchError:
        thorough = []
    quick = values(text)
    assert (quick is None) == bool(composer.problems)
    assert quick is None or quick == thorough


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_no_bytes_at_all_raise_anything(content: bytes) -> None:
    parsed = parse([("a.kat", content)])
    assert parsed.problems or all(isinstance(d.value, dict) for d in parsed.documents)
