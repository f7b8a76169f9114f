"""Tells whether an Ed25519 signature is right: a program of its own, that `agent.signatures` runs.

Arguments: the raw public key and the signature, both base64; the text is stdin. It imports nothing
of ours, because it runs for every plan: its start is most of what it costs.
"""

import binascii
import sys
from base64 import b64decode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RIGHT, WRONG = 40, 41
"""How it ends; nothing that goes wrong ends so."""


def answer(key: str, signature: str, text: bytes) -> int:
    """Return how to end."""
    try:
        public = Ed25519PublicKey.from_public_bytes(b64decode(key, validate=True))
        public.verify(b64decode(signature, validate=True), text)
    except (InvalidSignature, binascii.Error, ValueError):
        return WRONG
    return RIGHT


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()))
