"""Clients of a name server in one file, for `python resolving.py …` on a host.

load ADDRESS NAME SECONDS        asks as a resolver does, 1 s for an answer and three tries, without
                                 a pause; prints questions, repeated ones and unanswered ones
change ADDRESS NAME NAMESPACE TEXT
                                 writes an endpoint state and says so; prints the milliseconds until
                                 the answer to NAME is another one
connections ADDRESS NAME SECONDS asks over TCP, each time on a new connection and once; prints
                                 questions and unanswered ones
malformed ADDRESS NAME COUNT     sends so many messages that are none, and asks in between; prints
                                 unanswered questions
many ADDRESS DOMAIN COUNT        asks for so many names below DOMAIN at once; prints how many
                                 answers came with code 0, 2 and 3
"""

import random
import socket
import sys
import time
from pathlib import Path

TRIES = 3
TIMEOUT_S = 1.0
SO_RCVBUFFORCE = 33
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


def connections(address: str, name: str, seconds: float) -> str:
    """Ask over TCP until the time is over."""
    asked = unanswered = 0
    end = time.monotonic() + seconds
    data = query(name, 1)
    while time.monotonic() < end:
        asked += 1
        try:
            with socket.create_connection((address, 53), timeout=5) as channel:
                channel.sendall(len(data).to_bytes(2) + data)
                unanswered += len(channel.recv(2048)) == 0
        except OSError:
            unanswered += 1
    return f"{asked} {unanswered}"


def malformed(address: str, name: str, count: int) -> str:
    """Send questions with octets changed, put in or left out."""
    chance = random.Random(count)  # noqa: S311 -- to be repeatable
    unanswered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, 53))
        channel.settimeout(5 * TIMEOUT_S)
        for number in range(count):
            data = bytearray(query(name, 0))
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(data))
                data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(6))
            channel.send(data)
            if number % 50 == 0:  # and wait, so that no buffer is full
                unanswered += ask(channel, name, 0x4B41) is None
    return str(unanswered)


def many(address: str, domain: str, count: int) -> str:
    """Ask for different names without waiting."""
    codes: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 * 1024 * 1024)
        channel.connect((address, 53))
        channel.settimeout(8 * TIMEOUT_S)
        for number in range(count):
            channel.send(query(f"w{number}.{domain}", number))
        try:
            while len(codes) < count:
                codes.append(channel.recv(2048)[3] & 15)
        except TimeoutError:
            pass
    return " ".join(str(codes.count(code)) for code in (0, 2, 3))


if __name__ == "__main__":
    verb, to, *words = sys.argv[1:]
    said = {
        "load": lambda: load(to, words[0], float(words[1])),
        "change": lambda: change(to, *words),
        "connections": lambda: connections(to, words[0], float(words[1])),
        "malformed": lambda: malformed(to, words[0], int(words[1])),
        "many": lambda: many(to, words[0], int(words[1])),
    }[verb]()
    sys.stdout.write(f"{said}\n")
