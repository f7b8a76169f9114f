"""Clients of a name server in one file, for `python resolving.py …` on a host.

load ADDRESS NAME SECONDS        asks as a resolver does, 1 s for an answer and three tries, without
                                 a pause; prints questions, repeated ones and unanswered ones
change ADDRESS NAME NAMESPACE TEXT
                                 writes an endpoint state and says so; prints the milliseconds until
                                 the answer to NAME is another one
"""

import socket
import sys
import time
from pathlib import Path

TRIES = 3
TIMEOUT_S = 1.0
STATES = Path("/run/kat/endpoints")
NEWS = "/run/kat/dns.sock"


def query(name: str, number: int) -> bytes:
    """Return a question for addresses."""
    labels = b"".join(bytes((len(one),)) + one.encode() for one in name.split("."))
    head = number.to_bytes(2) + b"\x01\x00\x00\x01" + bytes(6)
    return head + labels + b"\0\0\1\0\1"


def ask(channel: socket.socket, name: str, number: int) -> bytes | None:
    """Return what follows the id in the answer, None if there is none in time."""
    channel.send(query(name, number))
    try:
        while True:
            data = channel.recv(2048)
            if data[:2] == number.to_bytes(2):
                return data[2:]
    except TimeoutError:
        return None


def load(address: str, name: str, seconds: float) -> str:
    """Ask until the time is over."""
    asked = repeated = unanswered = 0
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, 53))
        channel.settimeout(TIMEOUT_S)
        while time.monotonic() < end:
            asked += 1
            for attempt in range(TRIES):
                answer = ask(channel, name, asked & 0xFFFF)
                if answer is not None and answer[1] & 15 == 0:
                    break
                repeated += attempt < TRIES - 1
            else:
                unanswered += 1
    return f"{asked} {repeated} {unanswered}"


def change(address: str, name: str, namespace: str, text: str) -> str:
    """Change a state as the agent does, and wait for the answer to change."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, 53))
        channel.settimeout(TIMEOUT_S)
        before = sorted(ask(channel, name, 1) or b"")
        new = STATES / ".new"
        new.write_text(text, encoding="ascii")
        began = time.monotonic()
        new.rename(STATES / f"{namespace}.json")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
            news.sendto(namespace.encode(), NEWS)
        while sorted(ask(channel, name, 1) or b"") == before:
            if time.monotonic() - began > TIMEOUT_S:
                return "never"
        return f"{(time.monotonic() - began) * 1000:.1f}"


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    said = load(words[0], words[1], float(words[2])) if verb == "load" else change(*words)
    sys.stdout.write(f"{said}\n")
