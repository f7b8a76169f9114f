import json

from katgen.cli.generate import NUMBERS, proto_files
from katgen.proto import grown, messages, proto
from tests.environment import REPOSITORY

KNOWN = json.loads((REPOSITORY / NUMBERS).read_text(encoding="utf-8"))


def message(text: str, name: str) -> list[str]:
    """Return the lines of a message, without comments."""
    body = text.partition(f"message {name} {{\n")[2].partition("\n}\n")[0]
    return [line.strip() for line in body.splitlines() if not line.strip().startswith("//")]


def test_generated_files_are_up_to_date() -> None:
    for name, made in proto_files(KNOWN).items():
        assert (REPOSITORY / name).read_text(encoding="utf-8") == made, name


def test_no_number_is_given_twice() -> None:
    for name, numbers in KNOWN.items():
        assert len(set(numbers.values())) == len(numbers), name


def test_a_new_field_gets_the_number_after_all_others() -> None:
    before = {**KNOWN, "Taint": {"effect": 1, "key": 7}}
    assert grown(before)["Taint"] == {"effect": 1, "key": 7, "value": 8}


def test_the_order_of_the_model_moves_no_number() -> None:
    turned = {name: dict(reversed(numbers.items())) for name, numbers in KNOWN.items()}
    assert proto(grown(turned)) == proto(KNOWN)


def test_a_field_that_is_no_more_is_reserved_and_keeps_its_number() -> None:
    numbers = grown({**KNOWN, "Taint": {**KNOWN["Taint"], "colour": 9}})
    assert numbers["Taint"]["colour"] == 9
    assert message(proto(numbers), "Taint")[-5:] == [
        "reserved 9;",
        'reserved "colour";',
        "string key = 1;",
        "string value = 2;",
        "Effect effect = 3;",
    ]


def test_a_value_that_is_no_more_is_reserved() -> None:
    numbers = grown({**KNOWN, "WorkloadType": {**KNOWN["WorkloadType"], "POD": 4}})
    assert 'reserved 4;\n  reserved "POD";' in proto(numbers)


def test_a_message_that_is_no_more_leaves_its_name() -> None:
    assert "Pod" not in messages()
    assert "// Pod is no more; its name is not used again." in proto({**KNOWN, "Pod": {"a": 1}})


def test_fields_that_differ_in_json_say_so_and_defaults_that_are_not_zero_have_presence() -> None:
    cluster = message(proto(KNOWN), "ClusterConfigurationSpec")
    assert 'string cluster_cidr = 1 [json_name = "clusterCIDR"];' in cluster
    assert "optional int32 node_subnet_bits = 3;" in cluster
    assert "int32 priority = 14;" in message(proto(KNOWN), "WorkloadSpec")


def test_of_a_choice_only_one_can_be_set() -> None:
    assert message(proto(KNOWN), "SourceSpec")[-4:] == [
        "oneof one {",
        "string image = 1;",
        "Git git = 2;",
        "}",
    ]
