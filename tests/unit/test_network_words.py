"""What a node's endpoint and link may be; model and encoder ask the same function."""

import pytest

from katgen.errors import EncodeError
from katgen.model.network import is_endpoint, is_link
from katgen.render import networkd_words


@pytest.mark.parametrize(
    "text", ["192.0.2.1:1", "[2001:db8::1]:51820", "a.example.org:65535", "node-1:7", "1a.b2:7"]
)
def test_endpoints_are_written_as_they_are(text: str) -> None:
    assert is_endpoint(text)
    assert networkd_words.endpoint(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:0", "a:01", "a:65536", ":1", "-a:1", "a-:1", "a.:1", ".a:1", "1.2.3:1", "a.7:1",
     "2001:db8::1:1", "[::g]:1", "[]:1", "[1.2.3.4]:1", "a:1\n",
     f"{'a' * 64}:1", "é:1", "[::1%7]:1"],
)  # fmt: skip
def test_other_text_is_no_endpoint(text: str) -> None:
    assert not is_endpoint(text)
    with pytest.raises(EncodeError):
        networkd_words.endpoint(text)


@pytest.mark.parametrize(("text", "is_one"), [
    ("eth0", True), ("kat-uplink", True), ("7up", True), ("a" * 127, True),
    ("7", False), ("", False), (".", False), ("..", False), ("a/b", False), ("a" * 128, False),
])  # fmt: skip
def test_links_have_names_and_no_numbers(text: str, is_one: bool) -> None:  # noqa: FBT001 -- a case
    assert is_link(text) is is_one
