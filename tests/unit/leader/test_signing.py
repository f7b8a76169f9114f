"""A signature holds for exactly one record."""

from base64 import b64decode
from pathlib import Path

import msgspec
import pytest

from katgen.leader.signing import SigningError, is_signed, load_signer, make_signer
from katgen.protocol import CommitRecord

RECORD = CommitRecord(cluster="c", epoch=1, generation=7, plan="p", root="r", size=3)


def test_the_signature_is_over_the_context_and_the_text_as_it_travels() -> None:
    signer = make_signer()
    signed = signer.sign(RECORD)
    content = b"kat commit record v1\0" + signed.record.encode()
    assert is_signed(b64decode(signed.signature), content, signer.public_key)
    assert not is_signed(b64decode(signed.signature), content + b" ", signer.public_key)
    assert msgspec.json.decode(signed.record, type=CommitRecord) == RECORD


def test_the_record_s_fields_are_those_that_the_protocol_names() -> None:
    signed = make_signer().sign(RECORD)
    assert msgspec.json.decode(signed.record) == {
        "cluster": "c",
        "epoch": 1,
        "generation": 7,
        "plan": "p",
        "root": "r",
        "size": 3,
        "formatVersion": 1,
        "critical": [],
    }


def test_another_key_s_signature_does_not_pass() -> None:
    signed = make_signer().sign(RECORD)
    content = b"kat commit record v1\0" + signed.record.encode()
    assert not is_signed(b64decode(signed.signature), content, make_signer().public_key)


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    signer = make_signer()
    (tmp_path / "signing.key").write_bytes(signer.pem())
    assert load_signer(tmp_path / "signing.key").key_id == signer.key_id


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_text("nothing")
    with pytest.raises(SigningError, match=r"signing\.key is no private key"):
        load_signer(tmp_path / "signing.key")
