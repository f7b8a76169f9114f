"""When names and traffic follow an instance's health, measured on a node.

`python -m tests.lab.turning FILE ADDRESS in|out NAME URL HOST WHO` takes FILE away, or makes it, so
that the instance at ADDRESS, which answers WHO, fails its check or passes it. Prints as JSON how
long each of these took, in seconds:

checked   the first check after the turn (SEEN beside FILE has been touched)
names     kat-dns at HOST answers NAME without ADDRESS, or with it
traffic   the last connection to URL that reached the instance was begun, or the first one

Connections are begun on time whatever becomes of those before; names are asked all the time.
"""

import asyncio
import json
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.load import fetched
from tests.lab.resolving import ask

RATE = 150
QUIET_S = 0.5
"""So long nobody may reach an instance that is out."""
LIMIT_S = 15
ASK_S = 0.003
SEEN = "seen"


@dataclass(slots=True)
class Seen:
    """What was seen: who answered a connection, and when that was begun; moments by name."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    moments: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done and looked at; `who` is how the instance answers."""

    file: Path
    address: str
    is_in: bool
    name: str
    url: str
    host: str
    who: str

    def act(self) -> None:
        """Turn the instance."""
        if self.is_in:
            self.file.touch()
        else:
            self.file.unlink()

    def checked(self) -> int:
        """Return when the instance was last asked, 0 for never."""
        seen = self.file.with_name(SEEN)
        return seen.stat().st_mtime_ns if seen.exists() else 0


async def connect(turn: Turn, seen: Seen) -> None:
    """Make one request and note who answered."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT_S):
            seen.answers.append((begun, await fetched(turn.url)))
    except (OSError, ValueError, TimeoutError) as err:
        seen.lost.append(f"{type(err).__name__} {err}")


async def traffic(turn: Turn, seen: Seen) -> None:
    """Begin connections until cancelled."""
    begun, count = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(max(0.0, begun + count / RATE - time.monotonic()))
            count += 1
            group.create_task(connect(turn, seen))


def names(turn: Turn, seen: Seen) -> None:
    """Ask for the name until the answer is the one that is waited for."""
    packed = socket.inet_aton(turn.address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((turn.host, 53))
        channel.settimeout(1)
        number = 0
        while "names" not in seen.moments:
            number = number + 1 & 0xFFFF
            answer = ask(channel, turn.name, number)
            if answer is not None and (packed in answer) == turn.is_in:
                seen.moments["names"] = time.monotonic()
            time.sleep(ASK_S)


def is_over(turn: Turn, seen: Seen) -> bool:
    """Whether everything has followed; notes when traffic did."""
    mine = [at for at, said in seen.answers if said == turn.who and at > seen.moments["begun"]]
    now = time.monotonic()
    if turn.is_in and mine:
        seen.moments["traffic"] = min(mine)
    elif not turn.is_in and now - max(mine, default=seen.moments["begun"]) > QUIET_S:
        seen.moments["traffic"] = max(mine, default=seen.moments["begun"])
    return {"names", "traffic", "checked"} <= seen.moments.keys()


async def run(turn: Turn) -> dict[str, object]:
    """Turn the instance and return what was measured."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    connecting = asyncio.create_task(traffic(turn, seen))
    await asyncio.sleep(0.3)
    before, wall = turn.checked(), time.time_ns()
    seen.moments["begun"] = time.monotonic()
    turn.act()
    asking = loop.run_in_executor(None, names, turn, seen)
    while not is_over(turn, seen):
        if time.monotonic() - seen.moments["begun"] > LIMIT_S:
            break
        if "checked" not in seen.moments and (now := turn.checked()) > before:
            # A file's time may be some milliseconds old.
            seen.moments["checked"] = seen.moments["begun"] + max(0, now - wall) / 1e9
        await asyncio.sleep(0.002)
    seen.moments.setdefault("names", float("inf"))
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await asking
    took = {k: at - seen.moments["begun"] for k, at in seen.moments.items() if k != "begun"}
    return {"took": took, "lost": seen.lost}


def main(words: list[str]) -> None:
    """Be the program."""
    file, address, where, name, url, host, who = words
    turn = Turn(Path(file), address, where == "in", name, url, host, who)
    sys.stdout.write(json.dumps(asyncio.run(run(turn))))


if __name__ == "__main__":
    main(sys.argv[1:])
