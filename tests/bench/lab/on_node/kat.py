"""Run on a node by its own Python, over KAT's API. Prints JSON.

kat.py stand           an instance that stays, so that its namespace does
kat.py start N         N instances: seconds from the answer to the apply until they run
kat.py fresh N         the same in a namespace that was not there
kat.py hold N          the same, and they stay
kat.py change STAGE    one more instance, changed: seconds, and where they went
kat.py delete          the instances of hold and change
"""

import json
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPSConnection
from pathlib import Path
from subprocess import run
from typing import Any
from urllib.parse import urlsplit

CONFIG = Path("/root/.config/kat/config.json")
API = "/v1alpha1"
MANY, ONE = "many", "one"


class Leader:
    """A connection that stands before anything is timed."""

    def __init__(self) -> None:
        config = json.loads(CONFIG.read_text())
        context = config["contexts"][config["current"]]
        where = urlsplit(context["server"])
        trust = ssl.create_default_context(cadata=context["ca"])
        self.http = HTTPSConnection(where.hostname, where.port, context=trust, timeout=300)
        self.http.connect()
        self.headers = {"Authorization": f"Bearer {context['token']}"}

    def ask(self, verb: str, path: str, body: object = None) -> Mapping[str, str]:
        headers = {**self.headers, "Content-Type": "application/json"}
        self.http.request(verb, API + path, json.dumps(body) if body else None, headers)
        answer = self.http.getresponse()
        text = answer.read().decode()
        if answer.status >= 400:
            sys.exit(f"{verb} {path}: {answer.status} {text}")
        found: Mapping[str, str] = json.loads(text)
        return found

    def workloads(self) -> set[str]:
        listed: Any = self.ask("GET", "/n/default/workloads")
        return {item["metadata"]["name"] for item in listed["items"]}

    def until_done(self, revision: str) -> Iterator[tuple[float, str]]:
        """Yield the time of each phase's first line; `running` is when all instances do.

        `done` is later: the leader first watches whether they stay.
        """
        self.http.request("GET", f"{API}/changes/{revision}", headers=self.headers)
        phase, is_running = "", False
        for line in self.http.getresponse():
            if not line.strip():
                continue  # a sign of life
            told = json.loads(line)
            if told["phase"] == "failed":
                sys.exit(line.decode())
            states = {one["state"] for one in told["workloads"]}
            if not is_running and told["phase"] in {"applying", "done"} and states == {"running"}:
                is_running = True
                yield time.monotonic(), "running"
            if told["phase"] != phase:
                phase = told["phase"]
                yield time.monotonic(), phase


def workload(
    name: str, replicas: int, *, stage: str = "", namespace: str = "default"
) -> dict[str, object]:
    container = {
        "command": ["sleep"],
        "args": ["infinity"],
        "env": [{"name": "STAGE", "value": stage}] if stage else [],
        "imagePullPolicy": "Never",
        "stopSignal": "SIGKILL",
    }
    source = {"image": "localhost/bb:1"}
    spec = {"type": "Service", "replicas": replicas, "source": source, "container": container}
    return {
        "apiVersion": "kat/v1alpha1",
        "kind": "Workload",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def apply(leader: Leader, document: dict[str, object]) -> dict[str, float]:
    """Return seconds since the answer to the apply, by phase."""
    items = {"kind": "List", "items": [document]}
    revision = leader.ask("POST", "/apply", items)["resourceVersion"]
    accepted = time.monotonic()
    return {phase: at - accepted for at, phase in leader.until_done(revision)} | {"at": accepted}


def delete(leader: Leader, name: str, namespace: str = "default") -> None:
    answer = leader.ask("DELETE", f"/n/{namespace}/workloads/{name}")
    for _ in leader.until_done(answer["resourceVersion"]):
        pass


def in_systemd(key: str, accepted: float) -> dict[str, float]:
    """Return when PID 1 began to start a workload's newest unit, and when it was up."""
    show = [
        "systemctl",
        "show",
        "-p",
        "InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic",
    ]
    shown = run([*show, f"kat.{key}.*"], capture_output=True, text=True, check=True).stdout
    stamps: dict[str, float] = {}
    for line in shown.split():
        key, _, value = line.partition("=")
        stamps[key] = max(stamps.get(key, 0), int(value) / 1e6 - accepted)
    begun, up = stamps["InactiveExitTimestampMonotonic"], stamps["ActiveEnterTimestampMonotonic"]
    return {"begun": begun, "up": up}


def main() -> None:
    verb, *rest = sys.argv[1:]
    leader = Leader()
    took: dict[str, float] = {}
    if verb in {"start", "fresh"}:
        namespace = {"start": "default"}.get(verb, verb)
        took = apply(leader, workload(MANY, int(rest[0]), namespace=namespace))
        took |= in_systemd(f"{namespace}.{MANY}", took["at"])
        delete(leader, MANY, namespace)
    elif verb == "stand":
        took = apply(leader, workload("standing", 1))
    elif verb == "hold":
        took = apply(leader, workload(MANY, int(rest[0])))
    elif verb == "change":
        took = apply(leader, workload(ONE, 1, stage=rest[0]))
        took |= in_systemd(f"default.{ONE}", took["at"])
    elif verb == "delete":
        for name in leader.workloads() - {"standing"}:
            delete(leader, name)
    sys.stdout.write(json.dumps(took))


main()
