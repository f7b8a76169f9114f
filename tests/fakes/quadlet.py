"""As much of Quadlet as the agent can tell apart: which service comes of which file."""

import re
from collections.abc import Iterator

from tests.fakes.files import FakeFiles

SUFFIXES = {".container": "", ".build": "-build", ".volume": "-volume", ".network": "-network"}


class RefusalError(ValueError):
    """Quadlet would not convert the file."""


def services(files: FakeFiles, folder: str) -> Iterator[tuple[str, str | RefusalError]]:
    """Yield a service's name and its text, or why there is none, for all files of a directory."""
    for path, content in files.below(folder).items():
        name = path.rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        if dot + suffix in SUFFIXES:
            service = f"{stem}{SUFFIXES[dot + suffix]}.service"
            try:
                yield service, convert(content.decode(), path, stem)
            except RefusalError as refusal:
                yield service, refusal


def convert(text: str, path: str, stem: str) -> str:
    """Return a service. RefusalError without an image (or, of a build, without a name for it)."""
    named = re.search(r"^Image(?:Tag)?=(\S+)", text, re.MULTILINE)
    if path.endswith((".container", ".build")) and not named:
        raise RefusalError(f'converting "{path.rpartition("/")[2]}": no Image or Rootfs key')
    name = re.search(r"^ContainerName=(\S+)", text, re.MULTILINE)
    image = named.group(1) if named else ""
    run = f"/usr/bin/podman run --name {name.group(1) if name else f'systemd-{stem}'} --rm {image}"
    kept = re.sub(r"^\[(Container|Build|Volume|Network)\]", r"[X-\1]", text, flags=re.MULTILINE)
    command = run if path.endswith(".container") else "/usr/bin/podman build"
    return f"{kept}\n[Unit]\nSourcePath={path}\n[Service]\nExecStart={command}\n"
