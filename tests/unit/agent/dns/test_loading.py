"""Files come into the table as they change; damaged ones change nothing."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.dns import loading
from agent.dns.loading import Loading
from agent.dns.respond import Responder
from agent.dns.table import Table
from tests.unit.agent.dns.served import DOMAIN, SHOP, ZONE, ask, shown

BOTH = ["10.100.0.20", "10.100.0.21"]
NOT_0 = '{"format":1,"withdrawn":{"db":["10.100.0.20"]}}'
NOT_1 = '{"format":1,"withdrawn":{"db":["10.100.0.21"]}}'
RUN, SAVED = "run/kat/endpoints/shop.json", "var/lib/kat/endpoints/shop.json"
FILE = f"var/lib/kat/dns/shop.{DOMAIN}.zone"
OTHER = f"var/lib/kat/dns/other.{DOMAIN}.zone"


class Disk:
    """A root directory, and what is loaded from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        table = Table(DOMAIN)
        self.responder = Responder(table)
        self.loading = Loading(root, DOMAIN, table, self.said.append)

    def put(self, path: str, text: str) -> None:
        """Write a file as the agent does: anew, and renamed."""
        at = self.root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        new = at.with_name(at.name + ".new")
        new.write_text(text)
        new.rename(at)

    def take(self) -> int:
        return asyncio.run(self.loading.take_zones())

    def reload(self) -> int:
        return asyncio.run(self.loading.take_zones(drops=True))

    def db(self) -> list[str]:
        return [line.split()[-1] for line in shown(ask(self.responder, "db").answer)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    assert made.said == []


@pytest.fixture
def broken(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_without_files_no_name_is_there_and_none_denied(disk: Disk) -> None:
    (disk.root / FILE).parent.mkdir(parents=True)
    assert disk.take() == 0
    assert ask(disk.responder, "db").rcode() == 2
    disk.put(f"var/lib/kat/dns/other.{DOMAIN}.zone", ZONE.replace("shop.", "other."))
    disk.take()
    assert ask(disk.responder, "db").rcode() == 3


def test_without_a_folder_no_name_is_denied_and_that_is_told(broken: Disk) -> None:
    assert (broken.reload(), broken.take()) == (0, 0)
    assert ask(broken.responder, "db").rcode() == 2
    assert len(broken.said) == 1
    assert "No such file or directory" in broken.said[0]


def test_a_zone_is_taken_once_and_again_when_it_changes(disk: Disk) -> None:
    disk.put(FILE, ZONE)
    assert (disk.take(), disk.db()) == (1, BOTH)
    assert disk.take() == 0
    disk.put(FILE, ZONE.replace("10.100.0.20", "10.100.0.30"))
    assert (disk.take(), disk.db()) == (1, ["10.100.0.21", "10.100.0.30"])


def test_a_zone_that_is_deleted_is_gone_when_told_to_reload(disk: Disk) -> None:
    disk.put(FILE, ZONE)
    disk.put(OTHER, ZONE.replace("shop.", "other."))
    disk.take()
    (disk.root / FILE).unlink()
    assert disk.reload() == 1
    assert ask(disk.responder, "db").rcode() == 3
    assert ask(disk.responder, f"db.other.{DOMAIN}.").rcode() == 0


def test_a_zone_that_vanishes_stays_and_that_is_told_once(broken: Disk) -> None:
    broken.put(FILE, ZONE)
    broken.put(OTHER, ZONE.replace("shop.", "other."))
    broken.take()
    (broken.root / FILE).unlink()
    assert (broken.take(), broken.take(), broken.db()) == (0, 0, BOTH)
    assert broken.said == [f"/{FILE} is gone, serving what it was until told to reload"]
    broken.put(FILE, ZONE.replace("10.100.0.20", "10.100.0.30"))
    assert (broken.take(), broken.db()) == (1, ["10.100.0.21", "10.100.0.30"])
    (broken.root / FILE).unlink()
    broken.take()
    assert len(broken.said) == 2


@pytest.mark.parametrize("is_folder_there", [True, False])
def test_zones_stay_without_any_file_also_when_told_to_reload(
    broken: Disk, *, is_folder_there: bool
) -> None:
    broken.put(FILE, ZONE)
    broken.take()
    (broken.root / FILE).unlink()
    if not is_folder_there:
        (broken.root / FILE).parent.rmdir()
    assert (broken.take(), broken.reload(), broken.take(), broken.db()) == (0, 0, 0, BOTH)
    assert len(broken.said) == 1
    assert broken.said[0].endswith(", the zones stay as they are")


HOSTILE = [
    "a" * 64 + f".{DOMAIN}",
    DOMAIN,
    f".{DOMAIN}",
    f"a.b.{DOMAIN}",
    f"Shop.{DOMAIN}",
    f"a\nb.{DOMAIN}",
    f"\udcff\udcfe.{DOMAIN}",
    f"\u00e4.{DOMAIN}",
    "a" * 250,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_with_a_hostile_name_is_told_once_and_keeps_no_zone_back(
    broken: Disk, name: str
) -> None:
    broken.put(FILE, ZONE)
    file = broken.root / f"var/lib/kat/dns/{name}.zone"
    file.write_text(ZONE)
    assert (broken.take(), broken.take(), broken.db()) == (1, 0, BOTH)
    (told,) = broken.said
    assert "its name is no namespace's of kat.cluster.local" in told
    assert ask(broken.responder, "nope").rcode() == 3
    file.unlink()
    assert (broken.take(), broken.reload(), broken.said) == (1, 0, [told])


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)


@pytest.mark.parametrize("make", [Path.mkdir, fifo, loop, nothing, endless, huge])
def test_whatever_is_in_a_zones_place_leaves_what_was_there_and_is_told_once(
    broken: Disk, make: Callable[[Path], None]
) -> None:
    broken.put(FILE, ZONE)
    broken.take()
    (broken.root / FILE).unlink()
    make(broken.root / FILE)
    assert (broken.take(), broken.reload(), broken.db()) == (0, 0, BOTH)
    (told,) = broken.said
    assert f"shop.{DOMAIN}.zone" in told


@pytest.mark.parametrize("make", [fifo, endless, huge])
def test_whatever_is_in_a_states_place_leaves_what_was_there(
    broken: Disk, make: Callable[[Path], None]
) -> None:
    broken.put(FILE, ZONE)
    broken.put(RUN, NOT_0)
    broken.take()
    (broken.root / RUN).unlink()
    make(broken.root / RUN)
    assert (broken.take(), broken.take(), broken.db()) == (0, 0, ["10.100.0.21"])
    assert len(broken.said) == 1


def test_what_is_in_a_zones_place_takes_no_open_file(broken: Disk) -> None:
    (broken.root / FILE).mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        broken.take()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_damaged_zone_leaves_the_last_good_one_and_is_told_once(broken: Disk) -> None:
    broken.put(FILE, ZONE)
    broken.take()
    broken.put(FILE, ZONE.replace("10.100.0.20", "10.100.0.300"))
    assert (broken.take(), broken.take(), broken.db()) == (0, 0, BOTH)
    assert broken.said == [
        f"/{FILE}:13: '10.100.0.300' is no IPv4 address, serving what it was before"
    ]
    broken.put(FILE, ZONE)
    assert (broken.take(), broken.db()) == (1, BOTH)


def test_one_damaged_zone_keeps_no_other_one_back(broken: Disk) -> None:
    broken.put(f"var/lib/kat/dns/a.{DOMAIN}.zone", "nonsense\n")
    broken.put(FILE, ZONE)
    assert (broken.take(), broken.db(), len(broken.said)) == (1, BOTH, 1)


def test_a_zone_that_is_no_utf_8_is_told(broken: Disk) -> None:
    broken.put(FILE, ZONE)
    (broken.root / FILE).write_bytes(b"\xff\xfe")
    assert broken.take() == 0
    assert "can't decode" in broken.said[0]


def test_a_zone_that_cannot_be_read_is_tried_again_and_told_once(broken: Disk) -> None:
    broken.put(FILE, ZONE)
    broken.take()
    (broken.root / FILE).unlink()
    (broken.root / FILE).mkdir()
    assert (broken.take(), broken.take(), broken.db()) == (0, 0, BOTH)
    assert len(broken.said) == 1
    (broken.root / FILE).rmdir()
    broken.put(FILE, ZONE.replace("10.100.0.20", "10.100.0.30"))
    assert (broken.take(), broken.db()) == (1, ["10.100.0.21", "10.100.0.30"])


def test_a_zone_that_can_be_read_again_unchanged_is_taken(
    broken: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> str:
        raise OSError("input/output error")

    broken.put(FILE, ZONE)
    with monkeypatch.context() as disk:
        disk.setattr(loading, "read", fails)
        assert broken.take() == 0
    assert (broken.take(), broken.db()) == (1, BOTH)


def test_no_name_of_a_zone_that_was_never_read_is_denied(broken: Disk) -> None:
    broken.put(FILE, "nonsense\n")
    broken.take()
    names = ("db", SHOP, f"db.other.{DOMAIN}.")
    assert [ask(broken.responder, one).rcode() for one in names] == [2, 2, 3]
    broken.put(FILE, ZONE)
    broken.take()
    assert [ask(broken.responder, one).rcode() for one in ("db", "nope")] == [0, 3]


def test_of_two_looks_at_once_the_newer_file_is_what_stays(disk: Disk) -> None:
    """The second look begins while the first one, which is slow, has read the older file."""
    more = "".join(f"w{n}.{SHOP} 5 IN A 10.0.{n // 250}.{n % 250}\n" for n in range(3000))
    disk.put(FILE, ZONE + more)

    async def looks() -> None:
        first = asyncio.create_task(disk.loading.take_zones())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        disk.put(FILE, ZONE.replace("10.100.0.20", "10.100.0.30"))
        await asyncio.gather(first, disk.loading.take_zones())

    asyncio.run(looks())
    assert disk.db() == ["10.100.0.21", "10.100.0.30"]


def test_while_a_large_zone_is_read_others_have_their_turn(disk: Disk) -> None:
    more = "".join(f"w{n}.{SHOP} 5 IN A 10.0.{n // 250}.{n % 250}\n" for n in range(3000))
    disk.put(FILE, ZONE + more)

    async def turns() -> int:
        taking = asyncio.create_task(disk.loading.take_zones())
        count = 0
        while not taking.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert asyncio.run(turns()) > 3000 // 256
    assert shown(ask(disk.responder, "w2999").answer) == [f"w2999.{SHOP} 5 IN A 10.0.11.249"]


def test_states_on_disk_hold_from_the_beginning(disk: Disk) -> None:
    disk.put(SAVED, NOT_0)
    disk.put(FILE, ZONE)
    disk.take()
    assert disk.db() == ["10.100.0.21"]


def test_the_agents_own_state_counts_before_what_it_saved(disk: Disk) -> None:
    disk.put(SAVED, NOT_0)
    disk.put(RUN, NOT_1)
    disk.put(FILE, ZONE)
    disk.take()
    assert disk.db() == ["10.100.0.20"]


def test_a_change_of_state_is_taken_when_its_namespace_is_named(disk: Disk) -> None:
    disk.put(FILE, ZONE)
    disk.take()
    disk.put(RUN, NOT_0)
    assert (disk.loading.take_states({"shop"}), disk.db()) == (1, ["10.100.0.21"])
    disk.put(RUN, '{"format":1,"withdrawn":{}}')
    assert (disk.loading.take_states({"shop"}), disk.db()) == (1, BOTH)


def test_a_change_whose_word_was_lost_is_taken_with_the_next_one(disk: Disk) -> None:
    disk.put(FILE, ZONE)
    disk.take()
    disk.put(RUN, NOT_0)
    assert (disk.loading.take_states({"other"}), disk.db()) == (1, ["10.100.0.21"])


def test_states_that_are_gone_leave_out_nothing(disk: Disk) -> None:
    disk.put(FILE, ZONE)
    disk.put(RUN, NOT_0)
    disk.take()
    (disk.root / RUN).unlink()
    assert (disk.loading.take_states({"shop"}), disk.db()) == (1, BOTH)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "1",
        pytest.param("[" * 100_000, id="nested too deeply"),
        '{"format":2,"withdrawn":{}}',
        '{"format":1}',
        '{"format":1,"withdrawn":[]}',
        '{"format":1,"withdrawn":{"db":"10.100.0.20"}}',
        '{"format":1,"withdrawn":{"db":[1]}}',
        '{"format":1,"withdrawn":{"db":["::1"]}}',
    ],
)
def test_a_damaged_state_leaves_what_was_there(broken: Disk, text: str) -> None:
    broken.put(FILE, ZONE)
    broken.put(RUN, NOT_0)
    broken.take()
    broken.put(RUN, text)
    assert (broken.loading.take_states({"shop"}), broken.db()) == (0, ["10.100.0.21"])
    assert len(broken.said) == 1
    assert RUN in broken.said[0]


@pytest.mark.parametrize("name", ["../shop", "", "a/b", "x" * 64, "\0", "Shop"])
def test_names_that_are_no_namespaces_reach_no_file(disk: Disk, name: str) -> None:
    disk.put("run/kat/shop.json", "{")
    disk.put(FILE, ZONE)
    disk.take()
    assert disk.loading.take_states({name}) == 0
