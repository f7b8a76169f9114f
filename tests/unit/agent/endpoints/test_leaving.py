from agent.endpoints.leaving import NOBODY, leaving
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey

WEB = InstanceEntry(InstanceKey("shop/web/0-1"), "kat.shop.web.0-1.service", "10.100.0.10")
HEADER = "# Managed by KAT's agent: instances on their way out, until they have stopped."
PINS = [
    'add element bridge kat instances { "kat-0a64000a" . 0a:4b:0a:64:00:0a . 10.100.0.10 }',
    "add element inet kat itself { 10.100.0.10 . 10.100.0.10 }",
]


def lines(before: set[str], after: set[str]) -> list[str]:
    text = leaving([WEB], (), before, after).text
    return text.decode().splitlines() if text else []


def test_where_nobody_leaves_there_is_no_file() -> None:
    assert leaving([], (), set(), set()) == NOBODY


def test_one_that_leaves_keeps_its_pins() -> None:
    assert lines({"open/*"}, {"open/*"}) == [HEADER, *PINS]


def test_one_of_an_isolated_namespace_stays_behind_its_wall() -> None:
    assert lines({"isolated/shop"}, {"isolated/shop"}) == [
        HEADER,
        *PINS,
        "add element inet kat ns-shop { 10.100.0.10 }",
        "add element inet kat isolated { 10.100.0.10 : goto ns-shop }",
    ]


def test_where_the_wall_has_gone_too_the_last_of_it_is_closed() -> None:
    assert lines({"isolated/shop"}, set()) == [
        HEADER,
        *PINS,
        "add element inet kat isolated { 10.100.0.10 : goto closed }",
    ]


def test_the_wall_of_another_namespace_is_none() -> None:
    assert lines({"isolated/other"}, {"isolated/other"}) == [HEADER, *PINS]


def test_what_it_added_is_removed_whether_it_is_there_or_not() -> None:
    removal = leaving([WEB], (), {"isolated/shop"}, set()).removal
    assert removal.splitlines() == [
        'add element bridge kat instances { "kat-0a64000a" . 0a:4b:0a:64:00:0a . 10.100.0.10 }',
        'delete element bridge kat instances { "kat-0a64000a" . 0a:4b:0a:64:00:0a . 10.100.0.10 }',
        "add element inet kat itself { 10.100.0.10 . 10.100.0.10 }",
        "delete element inet kat itself { 10.100.0.10 . 10.100.0.10 }",
        "add element inet kat isolated { 10.100.0.10 : goto closed }",
        "delete element inet kat isolated { 10.100.0.10 }",
    ]


def test_what_a_successor_at_the_same_address_needs_stays() -> None:
    found = leaving([WEB], {"10.100.0.10"}, set(), set())
    assert found.removal == ""
    assert found.text is not None
