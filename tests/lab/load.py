"""A steady load of HTTP requests on a node, each on a connection of its own.

with load(node, "http://10.101.0.1/", rate=200) as asked:
    ...
assert asked.failed == []

Requests start on time whatever became of the ones before (an open loop), so that a server that
hangs is not asked less. The same file is the program that runs on the node.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.lab.node import Node

TIMEOUT_S = 10
PROGRAM = "/root/load.py"


@dataclass(slots=True)
class Load:
    """What became of the requests, once the load has ended.

    `failed` has a line for each that got no whole 200: when (seconds from the start), and why.
    `slowest` is in seconds. `answers` counts the different bodies.
    """

    sent: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0
    answers: dict[str, int] = field(default_factory=dict)


@contextmanager
def load(node: "Node", url: str, *, rate: int) -> Iterator[Load]:
    """Ask `rate` times a second from the node itself until the block ends; then wait for the rest.

    subprocess.TimeoutExpired if the program does not come to its end.
    """
    from tests.lab.process import begun  # noqa: PLC0415 -- the node has this file alone

    node.put(PROGRAM, Path(__file__).read_bytes())
    asked = Load()
    command = node.command(["python3", PROGRAM, url, str(rate)])
    with begun(command, ends_within_s=4 * TIMEOUT_S) as said:
        yield asked
    found = json.loads(said[0])
    asked.sent, asked.failed = found["sent"], found["failed"]
    asked.slowest, asked.answers = found["slowest"], found["answers"]


async def ask(url: str, begun: float, into: Load) -> None:
    """Make one request and note how it went."""
    at = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            body = await fetched(url)
    except (OSError, ValueError, TimeoutError, EOFError) as err:
        into.failed.append(f"{at - begun:.3f}: {type(err).__name__} {err}")
    else:
        into.answers[body] = into.answers.get(body, 0) + 1
    into.slowest = max(into.slowest, time.monotonic() - at)


async def fetched(url: str) -> str:
    """Return the body of an answer that is 200 and whole; ValueError if it is not."""
    to = urlsplit(url)
    reader, writer = await asyncio.open_connection(to.hostname, to.port or 80)
    try:
        head = f"GET {to.path or '/'} HTTP/1.1\r\nHost: {to.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    header, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = header.decode(errors="replace").split("\r\n")
    if " 200 " not in first:
        raise ValueError(f"answers {first[:80]!r}")
    lengths = [int(one.split(":")[1]) for one in lines if one.lower().startswith("content-length:")]
    if lengths and lengths[0] != len(body):
        raise ValueError(f"{len(body)} of {lengths[0]} bytes")
    return body.decode(errors="replace").strip()


async def run(url: str, rate: int) -> Load:
    """Ask until standard input ends."""
    made, tasks = Load(), set[asyncio.Task[None]]()
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), enough.set)
    begun = time.monotonic()
    while not enough.is_set():
        due = begun + made.sent / rate
        wait_s = due - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        made.sent += 1
        task = asyncio.create_task(ask(url, begun, made))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return made


def main(url: str, rate: str) -> None:
    """Be the program on the node."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    made = asyncio.run(run(url, int(rate)))
    told = {
        "sent": made.sent,
        "failed": made.failed[:50],
        "slowest": made.slowest,
        "answers": made.answers,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
