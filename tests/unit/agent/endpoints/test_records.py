import msgspec

from agent.endpoints.records import Memory, Records
from katgen.names import InstanceKey
from katgen.protocol import EndpointRecord

WEB, API = InstanceKey("shop/web/0-1"), InstanceKey("shop/api/0-1")
BOTH = frozenset({WEB, API})


def record(
    sequence: int, state: str, *, instance: InstanceKey = WEB, boot: str = "b"
) -> EndpointRecord:
    return EndpointRecord(instance, boot, sequence, state)


def records(*own: EndpointRecord, others: tuple[EndpointRecord, ...] = ()) -> Records:
    made = Records("here")
    made.recall(Memory(1, "here", own, others))
    return made


def test_of_one_boot_the_higher_sequence_counts() -> None:
    known = records(others=(record(5, "ready"),))
    assert known.hear([record(4, "notready")], BOTH, full=False) == set()
    assert known.hear([record(6, "notready")], BOTH, full=False) == {WEB}
    assert known.states == {WEB: "notready"}


def test_a_record_of_another_boot_replaces_what_was_known() -> None:
    known = records(others=(record(5, "ready"),))
    assert known.hear([record(1, "notready", boot="c")], BOTH, full=False) == {WEB}


def test_what_full_news_do_not_speak_of_is_forgotten() -> None:
    known = records(others=(record(1, "ready"), record(1, "ready", instance=API)))
    assert known.hear([record(1, "ready", instance=API)], BOTH, full=True) == {WEB}
    assert known.states == {API: "ready"}


def test_what_partial_news_do_not_speak_of_stays() -> None:
    known = records(others=(record(1, "ready"),))
    known.hear([record(1, "ready", instance=API)], BOTH, full=False)
    assert known.states == {WEB: "ready", API: "ready"}


def test_nobody_else_speaks_of_an_own_instance() -> None:
    known = records(record(1, "ready", boot="here"))
    assert known.hear([record(9, "notready")], BOTH, full=True) == set()
    assert known.states == {WEB: "ready"}


def test_a_state_that_this_version_does_not_know_says_nothing() -> None:
    known = records(others=(record(1, "ready"),))
    assert known.hear([record(2, "splendid")], BOTH, full=False) == set()


def test_news_may_come_before_the_plan_that_has_the_instance() -> None:
    known = records()
    assert known.hear([record(1, "ready")], frozenset(), full=False) == {WEB}
    assert known.states == {WEB: "ready"}


def test_news_of_an_instance_that_has_left_leave_nothing() -> None:
    known = records(others=(record(1, "ready"),))
    known.hear([record(2, "draining")], frozenset(), full=False)
    assert known.memory().others == ()


def test_records_without_candidates_are_bounded() -> None:
    known = records()
    many = [record(1, "ready", instance=InstanceKey(f"n/w/{n}-1")) for n in range(10_050)]
    known.hear(many, frozenset(), full=False)
    assert len(known.memory().others) == 10_000
    assert len(known.states) == 10_000


def test_each_change_of_an_own_instance_has_a_higher_sequence() -> None:
    known = records()
    known.say(WEB, "ready", 1.5)
    first = known.own[WEB].sequence
    assert known.say(WEB, "notready", 1.5) == (WEB,)
    assert known.own[WEB] == record(first + 1, "notready", boot="here")


def test_an_instance_is_new_until_it_has_been_ready() -> None:
    known = records()
    said = []
    for now, state in enumerate(("notready", "draining", "notready", "ready", "notready")):
        known.say(WEB, state, now)
        said.append((known.own[WEB].is_new, known.states[WEB]))
    assert said == [
        (True, "new"),
        (True, "draining"),
        (True, "new"),
        (False, "ready"),
        (False, "notready"),
    ]


def test_who_says_nothing_of_being_new_is_not() -> None:
    said = b'{"instance":"shop/web/0-1","boot":"b","sequence":1,"state":"notready"}'
    known = records()
    known.hear([msgspec.json.decode(said, type=EndpointRecord)], BOTH, full=False)
    assert known.states == {WEB: "notready"}


def test_the_same_state_again_makes_no_record() -> None:
    known = records()
    known.say(WEB, "ready", 1)
    before = known.own[WEB]
    assert known.say(WEB, "ready", 2) == ()
    assert known.own[WEB] is before


def test_sequences_grow_even_if_all_memory_is_lost() -> None:
    known = records()
    for now in (1.0, 1.001, 60.0):
        known.say(WEB, "ready", now)
        known.say(WEB, "notready", now)
    later = records()
    later.say(WEB, "ready", 61.0)
    assert later.own[WEB].sequence > known.own[WEB].sequence


def test_own_states_of_an_earlier_boot_are_forgotten_and_others_stay() -> None:
    known = records(record(7, "ready", boot="earlier"), others=(record(1, "ready", instance=API),))
    assert known.states == {API: "ready"}


def test_memory_brings_back_what_was_known() -> None:
    known = records(record(7, "ready", boot="here"), others=(record(1, "ready", instance=API),))
    again = Records("here")
    again.recall(known.memory())
    assert again.states == {WEB: "ready", API: "ready"}
    assert again.memory() == known.memory()


def test_what_has_left_is_forgotten() -> None:
    known = records(record(7, "ready", boot="here"), others=(record(1, "ready", instance=API),))
    assert known.disown(()) == {WEB}
    assert known.forget([API]) == {API}
    assert known.states == {}
