"""Clients of a leader's API on its node: some write without a pause, and one watches them.

with clients(kat.node) as told:
    ...
assert told.faults == []

A writer has names of its own and knows what each must be: what was answered counts, and after
every failure it writes that name anew. The watch goes on where it was, and must show whatever was
answered once and in order. The same file is the program that runs on the node.
"""

import http.client
import json
import math
import signal
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.lab.node import Node

PROGRAM = "/root/clients.py"
CONTEXTS = "/root/.config/kat/config.json"
CONFIGS = "/v1alpha1/n/default/configs"
WRITERS = 4
NAMES = 3
"""Of each writer; every third of what it does to each is to delete it."""
PAUSE_S = 0.02
ANSWER_S = 60
END = "end"
SHOWN = {"ADDED": "put", "MODIFIED": "put", "DELETED": "delete"}

Deed = tuple[str, str, int]
"""put or delete, of which name, and its count."""


@dataclass(slots=True)
class Told:
    """What became of it, once the clients have ended.

    `refusals` counts what failures said, `gone` how often the watch had to list again.
    """

    answered: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    shown: int = 0
    gone: int = 0
    faults: list[str] = field(default_factory=list)


@contextmanager
def clients(node: "Node") -> Iterator[Told]:
    """Write and watch from the node itself until the block ends, and then judge."""
    from tests.lab.process import begun  # noqa: PLC0415 -- the node has this file alone

    node.put(PROGRAM, Path(__file__).read_bytes())
    told = Told()
    command = node.command(["python3", "-I", PROGRAM])
    with begun(command, ends_within_s=6 * ANSWER_S) as said:
        yield told
    for name, value in json.loads(said[0]).items():
        setattr(told, name, value)


class Api:
    """One connection to the leader of root's context, made anew when it is lost."""

    def __init__(self) -> None:
        known = json.loads(Path(CONTEXTS).read_text(encoding="utf-8"))
        context = known["contexts"][known["current"]]
        self._url = urlsplit(context["server"])
        self._trust = ssl.create_default_context(cadata=context["ca"])
        self._headers = {"Authorization": f"Bearer {context['token']}"}
        self._connection: http.client.HTTPSConnection | None = None

    def ask(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        """Return the answer. Raises OSError, HTTPException."""
        if self._connection is None:
            host, port = self._url.hostname or "", self._url.port
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=ANSWER_S, context=self._trust
            )
        data = None if body is None else json.dumps(body)
        headers = {**self._headers, "Content-Type": "application/json"}
        try:
            self._connection.request(method, path, data, headers)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise

    def hang_up(self) -> None:
        """Begin with a new connection next time."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Writer:
    """Puts and deletes. `there` is what its names are, None for not there."""

    def __init__(self, number: int) -> None:
        self._api = Api()
        self._names = [f"w{number}-{k}" for k in range(NAMES)]
        self.unknown: set[str] = set()
        self.there: dict[str, int | None] = {}
        self.answered: list[Deed] = []
        self.tried: set[Deed] = set()
        self.refusals: Counter[str] = Counter()

    def run(self, enough: threading.Event) -> None:
        """Write until it is enough and everything is known, or it takes too long to know it."""
        count, end = 0, math.inf
        while (not enough.is_set() or self.unknown) and time.monotonic() < end:
            if enough.is_set():
                end = min(end, time.monotonic() + ANSWER_S)
            count += 1
            name = self._names[count % NAMES]
            if not enough.is_set() or name in self.unknown:
                self._write(name, count)
                time.sleep(PAUSE_S)

    def _write(self, name: str, count: int) -> None:
        old = self.there.get(name)
        is_put = old is None or name in self.unknown or count // NAMES % 3 != 2
        deed = ("put", name, count) if is_put or old is None else ("delete", name, old)
        self.tried.add(deed)
        if fault := carried_out(self._api, deed):
            self.refusals[fault] += 1
            self.unknown.add(name)
            return
        self.answered.append(deed)
        self.there[name] = count if is_put else None
        self.unknown.discard(name)


def carried_out(api: Api, deed: Deed) -> str:
    """Do something, and return why it failed."""
    verb, name, count = deed
    metadata = {"name": name, "namespace": "default"}
    document = {
        "apiVersion": "kat/v1alpha1",
        "kind": "Config",
        "metadata": metadata,
        "data": {"count": str(count)},
    }
    path = f"{CONFIGS}/{name}"
    try:
        answer = api.ask("PUT", path, document) if verb == "put" else api.ask("DELETE", path)
        body = answer.read()
    except (OSError, http.client.HTTPException) as err:
        api.hang_up()
        return type(err).__name__
    return "" if answer.status < 300 else f"{answer.status} {json.loads(body)['detail']}"


class Watcher:
    """Watches until it sees the end. `shown` is what it saw, in order."""

    def __init__(self) -> None:
        self._api = Api()
        self._version = ""
        self.shown: list[Deed] = []
        self.gone = 0
        self.refusals: Counter[str] = Counter()

    def run(self, begun: threading.Event) -> None:
        """Watch, and go on after every cut."""
        while True:
            try:
                if not self._version:
                    listing = json.loads(self._api.ask("GET", CONFIGS).read())
                    self._version = listing["metadata"]["resourceVersion"]
                begun.set()
                if self._watch():
                    return
            except (OSError, ValueError, KeyError, http.client.HTTPException) as err:
                self.refusals[f"watch: {type(err).__name__}"] += 1
                time.sleep(PAUSE_S)
            self._api.hang_up()

    def _watch(self) -> bool:
        """Take what comes; return whether the end has come."""
        answer = self._api.ask("GET", f"{CONFIGS}?watch=1&resourceVersion={self._version}")
        if answer.status != 200:
            self._again(str(answer.status))
            return False
        for text in answer:
            line = json.loads(text)
            if line["type"] == "ERROR":
                self._again("error")
                return False
            self._version = line.get("resourceVersion", self._version)
            if line["type"] in SHOWN and self._take(SHOWN[line["type"]], line["object"]):
                return True
        return False

    def _take(self, what: str, document: dict[str, Any]) -> bool:
        name = document["metadata"]["name"]
        if name.startswith("w"):
            self.shown.append((what, name, int(document["data"]["count"])))
        return bool(name == END)

    def _again(self, why: str) -> None:
        self.refusals[f"watch: {why}"] += 1
        self.gone += 1
        self._version = ""


def judged(writers: list[Writer], watcher: Watcher) -> list[str]:
    """Return what is not as it was answered."""
    tried = {deed for one in writers for deed in one.tried}
    times = Counter(watcher.shown)
    faults = [f"{deed} is shown {n} times" for deed, n in times.items() if n > 1]
    faults += [f"{deed} is shown, and was nobody's" for deed in times.keys() - tried]
    for one in writers:
        faults += out_of_order(one.answered, watcher.shown)
    items = json.loads(Api().ask("GET", CONFIGS).read())["items"]
    found = {one["metadata"]["name"]: int(one["data"]["count"]) for one in items}
    there = {name: count for one in writers for name, count in one.there.items()}
    return faults + [
        f"{name} was answered to be {count}, and is {found.get(name)}"
        for name, count in there.items()
        if found.get(name) != count
    ]


def out_of_order(answered: list[Deed], shown: list[Deed]) -> list[str]:
    """Return what of one writer's is not shown, or earlier than what came before it."""
    places = {deed: at for at, deed in enumerate(shown)}
    faults, last = list[str](), -1
    for deed in answered:
        at = places.get(deed, -1)
        if at <= last:
            faults.append(f"{deed} was answered, and is {'not shown' if at < 0 else 'too early'}")
        last = max(last, at)
    return faults


def run() -> Told:
    """Write and watch until standard input ends."""
    writers, watcher = [Writer(number) for number in range(WRITERS)], Watcher()
    begun, enough = threading.Event(), threading.Event()
    watching = threading.Thread(target=watcher.run, args=(begun,), daemon=True)
    watching.start()
    begun.wait(ANSWER_S)
    threads = [threading.Thread(target=one.run, args=(enough,)) for one in writers]
    for thread in threads:
        thread.start()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdin.read()
    enough.set()
    for thread in threads:
        thread.join()
    faults = [f"{name} is still refused" for one in writers for name in sorted(one.unknown)]
    if fault := carried_out(Api(), ("put", END, 0)):
        faults.append(f"the end: {fault}")
    watching.join(ANSWER_S)
    faults += ["the watch does not show the end"] if watching.is_alive() else []
    refusals = sum((one.refusals for one in writers), watcher.refusals)
    return Told(
        sum(len(one.answered) for one in writers),
        dict(refusals),
        len(watcher.shown),
        watcher.gone,
        (faults + judged(writers, watcher))[:20],
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write(json.dumps(asdict(run())))
