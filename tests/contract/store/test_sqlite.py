"""What only a store on a disk can do: survive, and refuse a file that is not right."""

import asyncio
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from katgen.leader.store import FencedError, Store, StoreError, Transaction
from katgen.leader.store.limits import Memory
from katgen.leader.store.schema import opened
from katgen.leader.store.sqlite import SqliteStore
from katgen.leader.store.tables import Done, Tables, listing
from katgen.leader.store.writer import Work, Writer
from tests.contract.store.world import StillClock, next_of, put, values, watched
from tests.environment import REPOSITORY, refuse

ROUNDS = 8
HERE = Path(__file__).parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def test_everything_is_there_after_a_restart(file: Path) -> None:
    store = await SqliteStore.open(file)
    await put(store, a="1")
    await put(store, a="2", b="1")
    before = await store.list("")
    await store.close()
    again = await SqliteStore.open(file)
    assert await again.list("") == before
    assert await watched(again.watch("", 0), 2) == [(1, "a", "1"), (2, "a", "2"), (2, "b", "1")]
    assert await put(again, c="1") == 3
    await again.close()


async def test_a_fencing_token_outlives_a_restart(file: Path) -> None:
    store = await SqliteStore.open(file)
    await store.commit(Transaction(puts={"a": b"1"}, token=7))
    await store.close()
    again = await SqliteStore.open(file)
    with pytest.raises(FencedError):
        await again.commit(Transaction(puts={"a": b"2"}, token=6))
    await again.close()


async def test_a_lease_has_its_full_time_again_after_a_restart(file: Path) -> None:
    clock = StillClock()
    store = await SqliteStore.open(file, clock=clock)
    lease = await store.grant(10)
    await store.commit(Transaction(puts={"a": b"1"}, lease=lease))
    await clock.advance(9)
    await store.close()
    clock = StillClock()
    again = await SqliteStore.open(file, clock=clock)
    watch = again.watch("", 1)
    await clock.advance(9)
    assert await values(again) == {"a": "1"}
    await clock.advance(1)
    assert await next_of(watch) == [(2, "a", None)]
    assert await again.grant(10) == lease + 1
    await again.close()


@pytest.fixture
def public(file: Path) -> Path:
    """Return a file of a mode that everybody may read."""
    file.touch(mode=0o644)
    return file


async def test_nobody_else_may_read_any_of_its_files(public: Path) -> None:
    file = public
    store = await SqliteStore.open(file)
    await put(store, a="1")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    await store.close()
    assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600) | {
        "store.db.lock": 0o600
    }


async def test_many_waiting_writes_share_few_syncs(file: Path) -> None:
    """SQLite syncs its log once for each COMMIT."""
    connection, reader = opened(file)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    writer = Writer(connection, Tables(connection, Memory()), file, lambda _: None)
    works = [creation(f"k{n}") for n in range(200)]
    outcomes = await asyncio.gather(*map(writer.carry_out, works))
    writer.stop()
    reader.close()
    assert sorted(outcomes) == list(range(1, 201))
    assert 0 < statements.count("COMMIT") < 20


async def test_a_fault_of_one_of_a_group_is_its_own(file: Path) -> None:
    connection, reader = opened(file)
    writer = Writer(connection, Tables(connection, Memory()), file, lambda _: None)

    def breaks(tables: Tables) -> Done:
        creation("half")(tables)
        raise LookupError("half way")

    works = [creation("a"), breaks, creation("b"), creation("a")]
    outcomes = await asyncio.gather(*map(writer.carry_out, works), return_exceptions=True)
    writer.stop()
    assert list(map(str, outcomes)) == ["1", "half way", "2", "somebody else changed a"]
    found = [item.key for item in listing(reader, "", "", 0).items]
    reader.close()
    assert found == ["a", "b"]


def creation(key: str) -> Work:
    return lambda tables: tables.commit(Transaction({key: b""}, expected={key: 0}), has_lease=True)


async def test_a_second_process_is_refused(file: Path) -> None:
    store = await SqliteStore.open(file)
    await put(store, a="1")
    told = f"{file} is in use by process {os.getpid()}: one leader at a time; stop that one first"
    assert told in await asyncio.to_thread(said_by_another, file)
    assert await put(store, a="2") == 2
    await store.close()


def said_by_another(file: Path) -> str:
    argv = [sys.executable, str(HERE / "writes.py"), str(file), "0"]
    second = subprocess.run(
        argv, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    return second.stderr


async def test_a_second_one_in_the_same_process_is_refused(file: Path) -> None:
    store = await SqliteStore.open(file)
    with pytest.raises(StoreError, match="is in use by process"):
        await SqliteStore.open(file)
    await store.close()
    await (await SqliteStore.open(file)).close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


async def test_no_acknowledged_write_is_lost_to_a_kill(file: Path) -> None:
    choice = random.Random(3)  # noqa: S311 -- no secret: a seed must repeat
    highest = 0
    for round_number in range(ROUNDS):
        lines = killed_after(choice.randrange(1, 400), file, round_number)
        acknowledged = [tuple(map(int, line.split())) for line in lines]
        store = await SqliteStore.open(file)
        await look(store, acknowledged, highest)
        highest = (await store.list("")).revision
        await store.close()


def killed_after(count: int, file: Path, seed: int) -> list[str]:
    """Return what a writer had acknowledged when it was killed, some lines after `count`."""
    argv = [sys.executable, str(HERE / "writes.py"), str(file), str(seed)]
    with subprocess.Popen(
        argv, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(count)]
        child.kill()
        lines += child.stdout.readlines()
    assert child.returncode == -9
    return [line for line in lines if line.endswith("\n")]


async def look(store: Store, acknowledged: list[tuple[int, ...]], highest: int) -> None:
    """Compare what is there with what was acknowledged since revision `highest`."""
    found = await values(store)
    revision = (await store.list("")).revision
    assert min(r for _, _, r in acknowledged) > highest
    assert revision >= max(r for _, _, r in acknowledged)
    assert len({r for _, _, r in acknowledged}) == len(acknowledged)
    for writer, n, _ in acknowledged:
        assert int(found[f"w/{writer}"].partition(" ")[0]) >= n
    for writer in range(8):
        if f"w/{writer}" in found:
            assert found[f"pair/{writer}"] == found[f"w/{writer}"].partition(" ")[0]
    history = await watched(store.watch("pair/", highest), revision)
    assert [r for r, _, _ in history] == list(range(highest + 1, revision + 1))
    told = {(f"pair/{writer}", str(n), r) for writer, n, r in acknowledged}
    assert told <= {(key, value, r) for r, key, value in history}


def met(kind: str, where: Path) -> list[str]:
    """Return what a process in its own mount namespace says of a bad disk."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        refuse("root and unshare, to mount a file system")
    argv = ["unshare", "-m", sys.executable, str(HERE / "filesystem.py"), kind, str(where)]
    ran = subprocess.run(
        argv, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout.splitlines()


def test_a_full_disk_loses_nothing_and_is_left_behind(tmp_path: Path) -> None:
    told, *held = met("full", tmp_path)
    assert told.startswith(f"{tmp_path}/store.db: ")
    assert "the disk is full; make room, nothing that was acknowledged is lost" in told
    assert held == ["True", "True", "True"]


def test_a_read_only_directory_is_named(tmp_path: Path) -> None:
    (told,) = met("read-only", tmp_path)
    assert told == (
        f"{tmp_path}/store.db.lock: Read-only file system; "
        "check that its directory exists and its owner"
    )


def refusal(file: Path) -> str:
    """Return why a store does not open."""
    with pytest.raises(StoreError) as refused:
        asyncio.run(SqliteStore.open(file))
    return str(refused.value)


def written(file: Path, **texts: str) -> None:
    """Make a store that holds something, and close it."""

    async def write() -> None:
        store = await SqliteStore.open(file)
        await put(store, **texts)
        await store.close()

    asyncio.run(write())


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    told = "store.db.lock: No such file or directory; check that its directory exists"
    assert told in refusal(tmp_path / "missing/store.db")


def test_a_file_that_is_no_database_is_left_alone(file: Path) -> None:
    file.write_text("my notes\n" * 1000)
    assert "no store of KAT's; move it away or restore a backup" in refusal(file)
    assert file.read_text() == "my notes\n" * 1000


def test_the_database_of_another_program_is_left_alone(file: Path) -> None:
    theirs = sqlite3.connect(file)
    theirs.execute("CREATE TABLE photos (name TEXT)")
    theirs.close()
    before = file.read_bytes()
    assert refusal(file) == f"{file} is a database of another program; move it away"
    assert file.read_bytes() == before


def test_a_newer_version_is_refused(file: Path) -> None:
    written(file, a="1")
    newer = sqlite3.connect(file)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    assert refusal(file) == (
        f"{file} has version 2, this KAT knows 1: start the newer KAT again, "
        "or restore a backup made before the update"
    )


def test_a_damaged_file_is_refused_and_left_alone(file: Path) -> None:
    written(file, **{f"k{n}": "v" * 3000 for n in range(100)})
    data = bytearray(file.read_bytes())
    data[4096:40960] = b"\x99" * 36864
    file.write_bytes(data)
    told = refusal(file)
    assert "is damaged" in told
    assert "restore a backup" in told
    assert file.read_bytes() == data


def test_a_link_is_not_followed(file: Path) -> None:
    target = file.with_name("elsewhere")
    target.write_bytes(b"")
    file.symlink_to(target)
    assert "Too many levels of symbolic links" in refusal(file)
    assert target.read_bytes() == b""


def test_a_store_that_was_refused_can_be_opened_once_it_is_right(file: Path) -> None:
    file.write_text("my notes\n" * 1000)
    refusal(file)
    file.unlink()
    written(file, a="1")
