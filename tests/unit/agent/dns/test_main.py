"""The process: what it ends for, and how."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = {
    "format": 1,
    "domain": "kat.cluster.local",
    "address": "127.0.0.1",
    "clusterCIDR": "127.0.0.0/8",
    "serviceCIDR": "10.101.0.0/16",
    "upstreams": [],
}
RUN = "import sys; from agent.dns.main import main; sys.exit(main())"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", RUN, *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)


def test_without_sockets_of_systemd_it_does_not_run() -> None:
    ran = run()
    assert ran.returncode == 1
    assert ran.stderr == (
        "<3>systemd passed no socket, kat-dns.socket starts this; or say --listen\n"
    )


def test_a_second_one_on_the_same_address_does_not_run() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.bind(("127.0.0.1", 0))
        ran = run("--listen", f"127.0.0.1:{first.getsockname()[1]}")
    assert ran.returncode == 1
    assert ran.stderr.startswith("<3>[Errno 98] ")


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}'])
def test_without_settings_it_does_not_run(tmp_path: Path, text: str) -> None:
    settings = tmp_path / "etc/kat/dns.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    ran = run("--root", str(tmp_path), "--listen", "127.0.0.1:0")
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"<3>{settings}: ")


def test_told_to_stop_it_ends_without_a_word(tmp_path: Path) -> None:
    settings = tmp_path / "etc/kat/dns.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(SETTINGS))
    (tmp_path / "var/lib/kat/dns").mkdir(parents=True)
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(tmp_path / "notify"))
    ready.settimeout(120)
    argv = [sys.executable, "-c", RUN, "--root", str(tmp_path), "--listen", "127.0.0.1:0"]
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": ":".join(sys.path)}
    with (
        ready,
        subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process,
    ):
        while b"READY=1" not in ready.recv(1024):
            pass
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
