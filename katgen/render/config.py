"""A Config's files on a node: a folder per content, so that no revision sees another's files."""

import hashlib

import msgspec

from katgen.bundle import Artifact, artifact
from katgen.model.objects import Config
from katgen.names import WorkloadKey

ROOT = "/var/lib/kat/config"


def folder(key: WorkloadKey, config: Config) -> str:
    """Return `/var/lib/kat/config/<ns>/<name>/<12 hex of the content>`, the folder to mount."""
    data = msgspec.json.encode(sorted(config.data.items()))
    return f"{ROOT}/{key}/{hashlib.sha256(data).hexdigest()[:12]}"


def files(key: WorkloadKey, config: Config) -> tuple[Artifact, ...]:
    """Return one artifact for each of the Config's files: world-readable, the bytes as written."""
    base = folder(key, config)
    return tuple(
        artifact(f"{base}/{name}", text, mode=0o444, pair_key=f"config/{key}/{name}")
        for name, text in sorted(config.data.items())
    )
