"""The reading of command lines that the one-command rule rests on."""

import pytest

from tests.oracles.words import commands_in


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("/bin/a b", [["/bin/a", "b"]]),
        ("/bin/a ; /bin/b", [["/bin/a"], ["/bin/b"]]),
        ('/bin/a ";" b', [["/bin/a", '";"', "b"]]),
        (r"/bin/a \; b", [["/bin/a", r"\;", "b"]]),
        ("/bin/a 'x ; y'", [["/bin/a", "'x ; y'"]]),
        (r'/bin/a "q\" ; r"', [["/bin/a", r'"q\" ; r"']]),
        ("/bin/a b;c ;d", [["/bin/a", "b;c", ";d"]]),
        ("/bin/a 'open ; /bin/b", []),
    ],
)
def test_only_a_bare_semicolon_ends_a_command(line: str, commands: list[list[str]]) -> None:
    assert commands_in(line) == commands
