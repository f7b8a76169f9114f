"""A server and a client in one file, for `python echo.py …` within a network namespace.

serve NAME PORT              answers on TCP and UDP with its name, the peer's address, and the
                             largest segment that it may send; prints `ready` once it listens
call tcp|udp ADDRESS PORT N [FROM]
                             makes N connections, prints each answer, or how it failed
hear PORT                    prints `ready`, then where the first packet comes from, and ends
send ADDRESS PORT [FROM]     sends one packet and waits for nothing
arp ADDRESS LINK             tells everyone on LINK that ADDRESS is here
"""

import contextlib
import selectors
import socket
import struct
import sys
from collections.abc import Callable

TIMEOUT_S = 1.5


def serve(name: str, port: int) -> None:
    """Answer forever."""
    stream = socket.create_server(("0.0.0.0", port), backlog=128)  # noqa: S104 -- in a namespace
    packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    packets.bind(("0.0.0.0", port))  # noqa: S104 -- in a namespace
    chosen = selectors.DefaultSelector()
    chosen.register(stream, selectors.EVENT_READ)
    chosen.register(packets, selectors.EVENT_READ)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in chosen.select():
            with contextlib.suppress(OSError):
                answer(name, stream, packets, tcp=key.fileobj is stream)


def answer(name: str, stream: socket.socket, packets: socket.socket, *, tcp: bool) -> None:
    """Answer one connection or packet."""
    if not tcp:
        _, peer = packets.recvfrom(2048)
        packets.sendto(f"{name} {peer[0]} 0".encode(), peer)
        return
    connection, peer = stream.accept()
    with connection:
        segment = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        connection.sendall(f"{name} {peer[0]} {segment}".encode())


def call(protocol: str, to: tuple[str, int], own: str) -> str:
    """Return the answer of one connection, or the name of the error."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(TIMEOUT_S)
        try:
            if own:
                one.bind((own, 0))
            one.connect(to)
            if protocol == "udp":
                one.send(b"hello")
            return one.recv(2048).decode()
        except OSError as err:
            return type(err).__name__


def calls(protocol: str, address: str, port: str, count: str, own: str = "") -> None:
    """Print the answers to several calls."""
    for _ in range(int(count)):
        sys.stdout.write(call(protocol, (address, int(port)), own) + "\n")


def hear(port: str) -> None:
    """Print who sends the first packet."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        one.bind(("::", int(port)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdout.write(one.recvfrom(2048)[1][0].removeprefix("::ffff:") + "\n")


def send(address: str, port: str, own: str = "") -> None:
    """Send one packet."""
    family, _, _, _, to = socket.getaddrinfo(address, int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        if own:
            one.bind((own, 0))
        one.sendto(b"hello", to)


def arp(address: str, link: str) -> None:
    """Claim an address, RFC 5227: an announcement, as a reply to everyone."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind((link, 0))
        mac = one.getsockname()[4]
        claimed = mac + socket.inet_aton(address)
        everyone = b"\xff" * 6
        frame = everyone + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 2)
        one.send(frame + claimed + everyone + socket.inet_aton(address))


VERBS: dict[str, Callable[..., None]] = {
    "serve": lambda name, port: serve(name, int(port)),
    "call": calls,
    "hear": hear,
    "send": send,
    "arp": arp,
}


def main(verb: str, *rest: str) -> None:
    """Do what the command line says."""
    VERBS[verb](*rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
