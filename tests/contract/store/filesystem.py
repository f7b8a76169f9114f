"""A process that meets a bad disk: `python filesystem.py full|read-only DIRECTORY`.

It mounts a small file system of its own, so it needs a mount namespace. It prints what it meets.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from katgen.leader.store import Store, StoreError, Transaction
from katgen.leader.store.sqlite import SqliteStore


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


async def fill(store: Store) -> int:
    """Write until the disk is full; return how many writes were acknowledged."""
    n = 0
    while True:
        try:
            await store.commit(Transaction(puts={f"k/{n:04}": bytes(20_000)}))
        except StoreError as err:
            say(err)
            return n
        n += 1


async def full(path: Path) -> None:
    ballast = path.with_name("ballast")
    ballast.write_bytes(bytes(500_000))
    store = await SqliteStore.open(path)
    written = await fill(store)
    say(len((await store.list("k/")).items) == written > 0)
    ballast.unlink()
    revision = await store.commit(Transaction(puts={"later": b"1"}))
    say(revision == written + 1)
    await store.close()
    again = await SqliteStore.open(path)
    listing = await again.list("")
    say((len(listing.items), listing.revision) == (written + 1, written + 1))
    await again.close()


async def read_only(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.commit(Transaction(puts={"a": b"1"}))
    await store.close()
    mount("-o", "remount,ro", str(path.parent))
    try:
        await SqliteStore.open(path)
    except StoreError as err:
        say(err)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    where = Path(sys.argv[2])
    mount("-t", "tmpfs", "-o", "size=2m", "store-test", str(where))
    asyncio.run({"full": full, "read-only": read_only}[sys.argv[1]](where / "store.db"))
