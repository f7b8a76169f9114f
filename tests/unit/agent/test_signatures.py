"""Signatures, asked of the real child. The vectors are RFC 8032 §7.1, test 2."""

from base64 import b64encode

import pytest

from agent import signatures
from agent.ports import UnfitError
from agent.signatures import is_signed

KEY = b64encode(
    bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
).decode()
SIGNATURE = b64encode(
    bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
).decode()
TEXT = b"\x72"


def test_the_signature_of_the_standard_is_right() -> None:
    assert is_signed(KEY, SIGNATURE, TEXT)


@pytest.mark.parametrize(
    ("key", "signature", "text"),
    [
        (KEY, SIGNATURE, b"\x73"),
        (KEY, SIGNATURE, b""),
        (KEY, "", TEXT),
        (KEY, "!" + SIGNATURE, TEXT),
        (KEY, b64encode(bytes(64)).decode(), TEXT),
        (b64encode(bytes(range(32))).decode(), SIGNATURE, TEXT),
        ("", SIGNATURE, TEXT),
    ],
)
def test_any_other_is_wrong(key: str, signature: str, text: bytes) -> None:
    assert not is_signed(key, signature, text)


def test_a_child_that_cannot_tell_has_not_said_that_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signatures, "_CHILD", "/nonexistent/child.py")
    is_signed.cache_clear()
    with pytest.raises(UnfitError, match="nonexistent"):
        is_signed(KEY, SIGNATURE, TEXT)
