"""A process that writes until it is killed: `python writes.py FILE SEED`.

Eight tasks write at once, in transactions of two keys. Once a commit has returned, one line says
so: `<writer> <n> <revision>`.
"""

import asyncio
import random
import sys
from pathlib import Path

from katgen.leader.store import Transaction
from katgen.leader.store.sqlite import SqliteStore


async def write(store: SqliteStore, writer: int, choice: random.Random) -> None:
    item = await store.get(f"w/{writer}")
    n = int(item.value.partition(b" ")[0]) if item else 0
    while True:
        n += 1
        value = b"%d %s" % (n, bytes(choice.randrange(5000)))
        puts = {f"w/{writer}": value, f"pair/{writer}": b"%d" % n}
        revision = await store.commit(Transaction(puts=puts, token=choice.randrange(2)))
        sys.stdout.write(f"{writer} {n} {revision}\n")
        sys.stdout.flush()


async def main() -> None:
    store = await SqliteStore.open(Path(sys.argv[1]))
    choice = random.Random(int(sys.argv[2]))  # noqa: S311 -- no secret: a seed must repeat
    async with asyncio.TaskGroup() as tasks:
        for writer in range(8):
            tasks.create_task(write(store, writer, choice))


if __name__ == "__main__":
    asyncio.run(main())
