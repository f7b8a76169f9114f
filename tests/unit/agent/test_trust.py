import msgspec
import pytest

from agent.ports import UnfitError
from agent.state import HighWater
from agent.trust import RecordError, unknown_fields, verify
from katgen.protocol import CommitRecord, SignedRecord
from tests.unit.agent.cluster import Cluster

RECORD = CommitRecord("cluster-1", 2, 7, "p", "root", 3)
CLUSTER = Cluster()
NO_MARK = HighWater()


def with_fields(**more: object) -> SignedRecord:
    fields = {**msgspec.to_builtins(RECORD), **more}
    return CLUSTER.sign(msgspec.json.encode(fields).decode())


def refusal(signed: SignedRecord, mark: HighWater = NO_MARK) -> str:
    with pytest.raises(RecordError) as error:
        verify(signed, CLUSTER.trust, mark)
    return str(error.value)


def test_a_signed_record_is_taken() -> None:
    assert verify(CLUSTER.sign(RECORD), CLUSTER.trust, HighWater(2, 6)) == RECORD


def test_the_record_that_is_applied_is_taken_again() -> None:
    assert verify(CLUSTER.sign(RECORD), CLUSTER.trust, HighWater(2, 7, "root")) == RECORD


@pytest.mark.parametrize("mark", [HighWater(2, 8), HighWater(3, 1)])
def test_an_older_record_is_refused(mark: HighWater) -> None:
    assert refusal(CLUSTER.sign(RECORD), mark) == (
        f"the commit record 2-7 is older than {mark.epoch}-{mark.generation}, "
        "which this node has accepted"
    )


def test_a_second_record_of_one_number_is_refused() -> None:
    assert refusal(CLUSTER.sign(RECORD), HighWater(2, 7, "another")) == (
        "there are two commit records 2-7; this node keeps the first"
    )


def test_a_changed_text_is_refused() -> None:
    signed = CLUSTER.sign(RECORD)
    forged = msgspec.structs.replace(signed, record=signed.record.replace('"root"', '"rooT"'))
    assert refusal(forged) == "the signature of the commit record is wrong"


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!"])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    signed = msgspec.structs.replace(CLUSTER.sign(RECORD), signature=signature)
    assert refusal(signed) == "the signature of the commit record is wrong"


def test_a_key_that_is_not_trusted_is_named() -> None:
    signed = Cluster().sign(RECORD)
    assert refusal(signed) == (
        f"the commit record is signed with a key that is unknown: {signed.key_id}"
    )


def test_a_key_of_a_stranger_under_a_trusted_id_is_refused() -> None:
    signed = msgspec.structs.replace(Cluster().sign(RECORD), key_id=CLUSTER.sign(RECORD).key_id)
    assert refusal(signed) == "the signature of the commit record is wrong"


def test_the_record_of_another_cluster_is_refused() -> None:
    record = msgspec.structs.replace(RECORD, cluster="cluster-2")
    assert refusal(CLUSTER.sign(record)) == (
        "the commit record is of cluster cluster-2, this node of cluster-1"
    )


@pytest.mark.parametrize(
    "text", ['{"cluster":"cluster-1","cluster":"cluster-1"}', '{ "cluster": "cluster-1"}', "[]"]
)
def test_a_record_with_two_readings_is_refused(text: str) -> None:
    assert refusal(CLUSTER.sign(text)) == "the commit record is not in its canonical form"


def test_a_record_without_its_fields_is_refused() -> None:
    assert refusal(CLUSTER.sign('{"cluster":"cluster-1"}')).startswith(
        "the commit record makes no sense: "
    )


def test_an_unknown_field_is_ignored_and_named() -> None:
    signed = with_fields(weather="fine")
    assert verify(signed, CLUSTER.trust, HighWater()) == RECORD
    assert unknown_fields(signed) == ("weather",)


def test_an_unknown_field_that_is_critical_makes_the_node_unfit() -> None:
    signed = with_fields(weather="fine", critical=["weather"])
    with pytest.raises(UnfitError, match="needs weather, which this agent does not know"):
        verify(signed, CLUSTER.trust, HighWater())


def test_a_newer_format_makes_the_node_unfit() -> None:
    with pytest.raises(UnfitError, match="has format 2, this agent knows 1"):
        verify(with_fields(formatVersion=2), CLUSTER.trust, HighWater())
