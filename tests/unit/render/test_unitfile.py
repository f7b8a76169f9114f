"""How each encoder writes, and what it refuses."""

import pytest

from katgen.errors import EncodeError
from katgen.render import unitfile
from katgen.render.unitfile import Variables

NONCHARACTERS = ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"]
CARRIED_BY_NONE = ["\0", "a\0b", "\ud800", "\udfff", *NONCHARACTERS]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain-1.2/x:y=z@a,b+c", "plain-1.2/x:y=z@a,b+c"),
        ("two words", '"two words"'),
        (" edge ", '" edge "'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ("${KAT_1}", '"$${KAT_1}"'),
        ("%n", '"%%n"'),
        ('"', r'"\""'),
        ("'", '"\'"'),
        ("\\", r'"\\"'),
        ("a\nb", r'"a\nb"'),
        ("a\r\n\tb", r'"a\r\n\tb"'),
        ("\x01\x1b\x7f", r'"\x01\x1b\x7f"'),
        ("\x85\u2028\u202e\ufeff", r'"\u0085\u2028\u202e\ufeff"'),
        ("ü 日本 🦀", '"ü 日本 🦀"'),
        (";;", '";;"'),
        ("# no comment", '"# no comment"'),
        ("{{ x }}", '"{{ x }}"'),
    ],
)
def test_a_word_is_quoted_and_escaped(value: str, written: str) -> None:
    assert unitfile.word(value) == written


@pytest.mark.parametrize("value", ["", ";", "\x80", "a\x80b", *CARRIED_BY_NONE])
def test_a_word_that_quadlet_or_systemd_would_misread_is_refused(value: str) -> None:
    with pytest.raises(EncodeError):
        unitfile.word(value)


@pytest.mark.parametrize(
    ("value", "variable"), [("", '"KAT_1="'), (";", '"KAT_1=;"'), ("\x80", r'"KAT_1=\u0080"')]
)
def test_what_quadlet_misreads_goes_by_variable(value: str, variable: str) -> None:
    variables = Variables()
    assert unitfile.exec_word(value, variables) == "${KAT_1}"
    assert variables.lines() == [f"Environment={variable}"]


def test_variables_are_numbered_and_keep_dollars() -> None:
    variables = Variables()
    assert variables.reference("$a") == "${KAT_1}"
    assert variables.reference("50%") == "${KAT_2}"
    assert variables.lines() == ['Environment="KAT_1=$a"', 'Environment="KAT_2=50%%"']


@pytest.mark.parametrize("value", CARRIED_BY_NONE)
def test_no_variable_carries_what_no_line_carries(value: str) -> None:
    with pytest.raises(EncodeError, match=r"no unit file carries U\+"):
        Variables().reference(value)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("b", "Environment=A=b"),
        ("", "Environment=A="),
        (";", 'Environment="A=;"'),
        ("\x80", "Environment=A=${KAT_1}"),
        ("a\r\n'$b\"\\", r"""PodmanArgs=--env-merge "A=a\r\n\\'\\$$b\\\"\\\\" """.strip()),
    ],
)
def test_a_variable_of_the_container(value: str, line: str) -> None:
    assert unitfile.environment("A", value, Variables()) == line


def test_a_label_by_variable_keeps_its_key_in_sight() -> None:
    assert unitfile.label("a/b", "\x80", Variables()) == "Label=a/b=${KAT_1}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/srv/a b", "/srv/a b"),
        ("/50%/$x", "/50%%/$$x"),
        ("/a\\b", "/a\\b"),
        ("/a\\", "${KAT_1}"),
        ('/a"', "${KAT_1}"),
        ("/a ", "${KAT_1}"),
        ("/ü", "${KAT_1}"),
        ("/a\n", "${KAT_1}"),
        (";", "${KAT_1}"),
    ],
)
def test_a_value_that_quadlet_takes_whole(value: str, written: str) -> None:
    assert unitfile.raw(value, Variables()) == written


def test_an_empty_value_is_refused_where_quadlet_takes_it_for_none() -> None:
    with pytest.raises(EncodeError):
        unitfile.raw("", Variables())


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("/bin/sh", "Entrypoint=/bin/sh"),
        ("sh", 'Entrypoint=["sh"]'),
        ("null", 'Entrypoint=["null"]'),
        ("/a b", 'Entrypoint=["/a b"]'),
        ("/\u2028", r'Entrypoint=["/\u2028"]'),
    ],
)
def test_an_entrypoint_is_json_unless_it_is_a_plain_path(program: str, line: str) -> None:
    assert unitfile.entrypoint(program, Variables()) == line


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["/bin/true"], "CMD /bin/true"),
        (["CMD", "$x", "50%"], "CMD CMD $$x 50%%"),
        (["a", ";"], "CMD a ;"),
        (["a", "b c"], '["a", "b c"]'),
        (["a", ""], '["a", ""]'),
        (["a", "b\n$"], r'["a", "b\n$$"]'),
        (["a", "ü"], "${KAT_1}"),
        (["a", 'b"'], "${KAT_1}"),
    ],
)
def test_a_health_check_is_run_without_a_shell(words: list[str], written: str) -> None:
    assert unitfile.health_command(words, Variables()) == written


@pytest.mark.parametrize(
    "words",
    [[], [""], ["a b"], ["a\u3000b"], ["CMD", " "], ["cmd-shell", " "], ["None", ""], ["a", "\0 "]],
)
def test_a_health_check_that_podman_would_read_otherwise_is_refused(words: list[str]) -> None:
    with pytest.raises(EncodeError):
        unitfile.health_command(words, Variables())


def test_a_plain_mount_is_a_volume() -> None:
    line = unitfile.bind_mount("/a/b", "/c", read_only=True, variables=Variables())
    assert line == "Volume=/a/b:/c:ro"


def test_any_other_mount_goes_past_quadlet_as_csv() -> None:
    variables = Variables()
    line = unitfile.bind_mount('/a:"b', "/c,d", read_only=True, variables=variables)
    assert line == "PodmanArgs=--mount ${KAT_1}"
    value = r"type=bind,\"source=/a:\"\"b\",\"target=/c,d\",readonly"
    assert variables.lines() == [f'Environment="KAT_1={value}"']


def test_a_mount_with_cr_lf_is_refused() -> None:
    with pytest.raises(EncodeError, match="CR LF"):
        unitfile.bind_mount("/a", "/b\r\n", read_only=False, variables=Variables())


def test_a_tmpfs() -> None:
    plain = unitfile.tmpfs_mount("/t", 1024, Variables())
    assert plain == "Mount=type=tmpfs,target=/t,tmpfs-size=1024,tmpfs-mode=1777"
    variables = Variables()
    assert unitfile.tmpfs_mount("/t t", None, variables) == "PodmanArgs=--mount ${KAT_1}"
    value = r"type=tmpfs,\"target=/t t\",tmpfs-mode=1777"
    assert variables.lines() == [f'Environment="KAT_1={value}"']


def test_devices() -> None:
    assert unitfile.device("/dev/null", Variables()) == "AddDevice=/dev/null"
    assert unitfile.device("/dev/a b", Variables()) == "AddDevice=${KAT_1}"
    for path in ("/dev/a:b", "/dev/a\nb"):
        with pytest.raises(EncodeError):
            unitfile.device(path, Variables())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/a/b", "RequiresMountsFor=/a/b"),
        ("/a b", 'RequiresMountsFor="/a b"'),
        ('/a"\\%$', r'RequiresMountsFor="/a\"\\%%$"'),
    ],
)
def test_mounts_to_wait_for(path: str, line: str) -> None:
    assert unitfile.requires_mounts_for(path) == line


@pytest.mark.parametrize("path", ["/a\nb", "/a\rb"])
def test_a_line_break_cannot_be_waited_for(path: str) -> None:
    with pytest.raises(EncodeError, match="line break"):
        unitfile.requires_mounts_for(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Front", "Description=Front (%N)"),
        (" 50% $x \\", "Description=%i 50%% $x \\ (%N)"),
        ("", "Description=%i (%N)"),
    ],
)
def test_a_description(text: str, line: str) -> None:
    assert unitfile.description(text) == line


def test_a_description_of_two_lines_is_refused() -> None:
    with pytest.raises(EncodeError, match="line break"):
        unitfile.description("a\nExecStartPre=/bin/false")


def test_an_image_named_like_a_quadlet_is_not_taken_for_one() -> None:
    variables = Variables()
    assert unitfile.image("localhost/a:1.build", variables) == "Image=${KAT_1}"
    assert unitfile.image("localhost/a:1", variables) == "Image=localhost/a:1"
    assert variables.lines() == ['Environment="KAT_1=localhost/a:1.build"']


def test_words_of_systemd_s_own_commands() -> None:
    assert unitfile.command("/usr/bin/test", "-d", "/a b%$") == '/usr/bin/test -d "/a b%%$$"'


def test_what_is_longer_than_linux_passes_on_is_refused() -> None:
    size = 128 * 1024 - 1025
    assert unitfile.environment("A", "x" * size, Variables()) == f"Environment=A={'x' * size}"
    with pytest.raises(EncodeError, match="131072 bytes"):
        unitfile.environment("A", "x" * (size + 1025), Variables())
    with pytest.raises(EncodeError, match="bytes are more"):
        unitfile.health_command(["a", " ", "\x01" * (size // 6)], Variables())


def test_a_line_that_systemd_would_not_read_is_refused() -> None:
    with pytest.raises(EncodeError, match="1048576"):
        unitfile.check_line("A=" + "x" * 1024 * 1024)
