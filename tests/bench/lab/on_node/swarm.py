"""Run on a node by its own Python, over Docker's API. Prints JSON.

swarm.py init ADDRESS   make a swarm, and import the image from standard input
swarm.py start N        N instances: seconds from the answer to the creation until they run
swarm.py hold N         the same, and they stay
swarm.py delete         those
"""

import json
import socket
import sys
import time
from http.client import HTTPConnection
from typing import IO, Any
from urllib.parse import quote

SOCKET = "/run/docker.sock"
IMAGE = "bb:1"
POLL_S = 0.01


class Docker(HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)

    def ask(self, verb: str, path: str, body: str | IO[bytes] | None = None) -> Any:  # noqa: ANN401 -- whatever JSON it answers
        headers = {"Content-Type": "application/json" if isinstance(body, str) else "text/plain"}
        self.request(verb, path, body, headers)
        answer = self.getresponse()
        text = answer.read().decode()
        if answer.status >= 400:
            sys.exit(f"{verb} {path}: {answer.status} {text}")
        return json.loads(text) if text[:1] in {"{", "["} else text


def init(docker: Docker, address: str) -> None:
    docker.ask("POST", "/swarm/init", json.dumps({"ListenAddr": address, "AdvertiseAddr": address}))
    command = quote('CMD ["sleep","infinity"]')
    query = f"fromSrc=-&repo=bb&tag=1&changes={command}"
    docker.ask("POST", f"/images/create?{query}", sys.stdin.buffer)


def start(docker: Docker, replicas: int) -> float:
    spec = {
        "Name": "many",
        "TaskTemplate": {"ContainerSpec": {"Image": IMAGE, "StopSignal": "SIGKILL"}},
        "Mode": {"Replicated": {"Replicas": replicas}},
    }
    made = docker.ask("POST", "/services/create", json.dumps(spec))
    accepted = time.monotonic()
    which = quote(json.dumps({"id": [made["ID"]]}))
    while True:
        (service,) = docker.ask("GET", f"/services?status=true&filters={which}")
        if service["ServiceStatus"]["RunningTasks"] == replicas:
            return time.monotonic() - accepted
        time.sleep(POLL_S)


def delete(docker: Docker) -> None:
    docker.ask("DELETE", "/services/many")
    while docker.ask("GET", "/containers/json?all=true"):
        time.sleep(POLL_S)


def main() -> None:
    verb, *rest = sys.argv[1:]
    docker = Docker("localhost", timeout=300)
    took: dict[str, float] = {}
    if verb == "init":
        init(docker, rest[0])
    if verb in {"start", "hold"}:
        took["running"] = start(docker, int(rest[0]))
    if verb in {"start", "delete"}:
        delete(docker)
    sys.stdout.write(json.dumps(took))


main()
