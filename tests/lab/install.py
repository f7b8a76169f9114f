"""Put a rendered node's files on a host and make them active, in the order that an agent keeps."""

import io
import tarfile
from pathlib import Path

from tests.lab.node import Node
from tests.oracles.cell import static_units

# Keys of the overlay stand in files that networkd alone may read, systemd.netdev(5).
ACTIVATE = """
set -e
systemd-sysusers
chgrp systemd-network /etc/systemd/network/*.netdev /etc/systemd/network/*.netdev.d/* 2>/dev/null ||
    true
systemd-tmpfiles --create /etc/tmpfiles.d/kat.conf
/usr/lib/systemd/systemd-sysctl /etc/sysctl.d/50-kat.conf
networkctl reload
systemctl daemon-reload
"""


def install(node: Node, folder: Path) -> int:
    """Install `DIR/<node>` as `katcall render -o DIR` wrote it; return the number of files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in files:
            archive.add(path, str(path.relative_to(folder)), filter=_owned_by_root)
    node.put_tree(static_units())
    node.run(["tar", "-x", "-C", "/"], stdin=buffer.getvalue())
    node.run(["sh", "-c", ACTIVATE])
    return len(files)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
