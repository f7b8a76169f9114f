"""systemd-networkd has no offline checker: the real daemon reads the files and complains."""

import re
from collections.abc import Mapping

from tests.oracles.cell import Cell
from tests.oracles.complaint import Complaint

FOLDER = "/etc/systemd/network/"
DAEMON = "/usr/lib/systemd/systemd-networkd"
READY_S = 20
FAULT = re.compile(r"^/\S+:\d+: |^/\S+: |, ignoring|Failed to (load|parse|read)|[Ii]nvalid")
AT = re.compile(r"^(/[^\s:]+):(?:(\d+):)? ?(.*)$")
KEY_FILE = re.compile(rb"^\s*(?:PrivateKeyFile|PresharedKeyFile)\s*=\s*(\S+)", re.MULTILINE)
ANY_KEY = b"YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=\n"
PREPARE = """
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases
chown -R systemd-network:systemd-network /run/systemd/netif
for key; do chgrp systemd-network "$key"; chmod 0640 "$key"; done
"""


def judge(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Start networkd until it has read its files; a line that names a file is a complaint."""
    # A device whose key cannot be read is ignored whole, and so would be its other faults.
    keys = sorted({key.decode() for text in files.values() for key in KEY_FILE.findall(text)})
    cell.enclosure.unpack(cell.root, dict.fromkeys(keys, ANY_KEY))
    cell.run(["sh", "-ec", PREPARE, "sh", *keys])
    argv = ["env", "SYSTEMD_LOG_TARGET=console", DAEMON]
    try:
        said = cell.run_until_ready(argv, READY_S)
    except TimeoutError:
        return [Complaint("systemd-networkd", FOLDER, "does not get ready with these files")]
    return sorted({_complaint(line) for line in said.splitlines() if FAULT.search(line)})


def _complaint(line: str) -> Complaint:
    found = AT.match(line)
    if found is None:
        return Complaint("systemd-networkd", FOLDER, line)
    path, number, text = found.groups()
    return Complaint("systemd-networkd", path, f"line {number}: {text}" if number else text)
