"""This node's WireGuard key. It never leaves the node; the leader is told the public half."""

from base64 import b64encode
from typing import Final

from agent.ports import Files

PRIVATE: Final = "/var/lib/kat/wireguard/private.key"
PUBLIC: Final = "/var/lib/kat/wireguard/public.key"


def make_key(files: Files) -> str:
    """Make the key unless there is one; return the public half, base64 as `wg pubkey` prints it.

    The public half is written last: where it is, the pair is whole.
    """
    known = public_key(files)
    if known:
        return known
    # The daemon only ever reads the public half: it does without 7 MB of library.
    from cryptography.hazmat.primitives.asymmetric.x25519 import (  # noqa: PLC0415 -- see above
        X25519PrivateKey,
    )

    key = X25519PrivateKey.generate()
    public = b64encode(key.public_key().public_bytes_raw())
    # networkd reads it, as its own user, systemd.netdev(5).
    private = b64encode(key.private_bytes_raw()) + b"\n"
    files.write(PRIVATE, private, 0o640, "root:systemd-network")
    files.write(PUBLIC, public + b"\n", 0o644)
    files.flush([PRIVATE.rpartition("/")[0]])
    return public.decode()


def public_key(files: Files) -> str:
    """Return the public half, '' if there is no key."""
    return (files.read(PUBLIC) or b"").decode(errors="replace").strip()
