"""An etcd of the root file system's, on loopback, with TLS and client certificates.

with running(folder) as etcd:
    store = await EtcdStore.open(etcd.members, "some-cluster", found=True)
"""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from katgen.leader import pki
from katgen.leader.store.etcd_calls import Credentials, Members
from tests.environment import refuse, rootfs_path

START_S = 20
_POLL_S = 0.02


@dataclass(slots=True)
class EtcdServer:
    """A server that can be killed, stopped, started again. `members` is how to reach it.

    Its certificate is for `name` and `address`.
    """

    folder: Path
    options: Sequence[str] = ()
    name: str = "localhost"
    address: str = "127.0.0.1"
    ca: pki.Authority = field(default_factory=lambda: pki.make_ca("etcd"))
    members: Members = field(init=False)
    _ports: tuple[int, int, int] = field(init=False)
    _url: str = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        server = pki.issue_server(self.ca, [self.name], [self.address])
        for name, content in {
            "ca.crt": self.ca.pair.certificate,
            "server.crt": server.certificate,
            "server.key": server.key,
        }.items():
            (self.folder / name).write_bytes(content)
        self._ports = _free_ports()
        self._url = f"https://127.0.0.1:{self._ports[0]}"
        self.members = Members((self._url,), credentials(self.ca))

    def start(self, *, hidden: bool = False) -> None:
        """Start it on the data that it has, and wait until it serves.

        `hidden`: where nobody but `control` finds it.
        """
        client, peer, metrics = self._ports
        client = _free_ports()[0] if hidden else client
        self._url = f"https://127.0.0.1:{client}"
        argv = [_program(), "--data-dir", f"{self.folder}/data", "--log-level", "error"]
        argv += ["--listen-client-urls", self._url]
        argv += ["--advertise-client-urls", self._url]
        argv += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
        argv += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
        argv += ["--initial-cluster", f"default=http://127.0.0.1:{peer}"]
        argv += ["--listen-metrics-urls", f"http://127.0.0.1:{metrics}"]
        argv += ["--cert-file", f"{self.folder}/server.crt"]
        argv += ["--key-file", f"{self.folder}/server.key", "--client-cert-auth"]
        argv += ["--trusted-ca-file", f"{self.folder}/ca.crt", *self.options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        self._wait()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Have it stand still; its sockets stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        """Run etcdctl and return what it says."""
        own = credentials(self.ca)
        for name, content in (("client.crt", own.certificate), ("client.key", own.key)):
            (self.folder / name).write_bytes(content)
        argv = [_program("etcdctl"), "--endpoints", self._url]
        argv += ["--cacert", f"{self.folder}/ca.crt", "--cert", f"{self.folder}/client.crt"]
        argv += ["--key", f"{self.folder}/client.key", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{self._ports[2]}/health") as answer:
                if json.load(answer)["health"] == "true":
                    return
            time.sleep(_POLL_S)
        raise TimeoutError((self.folder / "log").read_text()[-2000:])


@contextmanager
def running(
    folder: Path, *options: str, name: str = "localhost", address: str = "127.0.0.1"
) -> Iterator[EtcdServer]:
    """Run an etcd whose data are in an empty folder; its certificate is for this name, address."""
    server = EtcdServer(folder, options, name, address)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def credentials(ca: pki.Authority) -> Credentials:
    """Return a client's."""
    pair = pki.issue_admin(ca, "etcd", "kat")
    return Credentials(ca.pair.certificate, pair.certificate, pair.key)


def _program(name: str = "etcd") -> str:
    path = rootfs_path() / "usr/bin" / name
    if not path.exists():
        refuse(f"etcd in {rootfs_path()} (make rootfs)")
    return str(path)


def _free_ports() -> tuple[int, int, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    one, two, three = (each.getsockname()[1] for each in sockets)
    for each in sockets:
        each.close()
    return one, two, three
