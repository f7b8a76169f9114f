"""What a document tells of a machine, done on one: the blocks marked `<!-- on a host: STORY -->`.

The machine has KAT installed, `examples` of the repository in /root, and a registry that stands in
for docker.io: whatever image an example names is a static busybox that serves one page.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.blocks import Command, blocks, commands
from tests.environment import REPOSITORY
from tests.lab.images import import_busybox
from tests.lab.node import Node
from tests.lab.power import reboot
from tests.lab.registry import push, registry

REBOOT = "systemctl reboot"
PAGE = "hello from $(hostname)"
SERVE = f"echo {PAGE} >/tmp/index.html; trap exit TERM; httpd -f -p 8080 -h /tmp & wait"
MIRRORED = ("docker.io", "quay.io")
MIRROR = '[[registry]]\nprefix = "{of}"\nlocation = "{where}"\ninsecure = true\n'
_IMAGE = re.compile(r"^\s*image: (?:docker|quay)\.io/(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Told:
    """A command of the document, and what it printed on the machine."""

    command: Command
    printed: tuple[str, ...]


def prepare(node: Node, *names: str) -> None:
    """Put the examples on a node, and make the images that these of them name available."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(REPOSITORY / "examples", "root/examples")
    node.run(["tar", "-x", "-C", "/", "--no-same-owner"], stdin=buffer.getvalue())
    where = registry(node)
    stand_in = import_busybox(node, "localhost/stand-in:1", f'CMD ["sh", "-c", "{SERVE}"]')
    for image in sorted({image for name in names for image in images_of(name)}):
        push(node, stand_in, f"{where}/{image}")
    node.run(["podman", "rmi", "-f", stand_in])
    mirrors = "".join(MIRROR.format(of=of, where=where) for of in MIRRORED)
    node.put("/etc/containers/registries.conf.d/50-lab.conf", mirrors.encode())


def images_of(example: str) -> list[str]:
    """Return the images that an example names, without their registries."""
    files = sorted((REPOSITORY / "examples" / example).glob("*.kat"))
    return [image for path in files for image in _IMAGE.findall(path.read_text(encoding="utf-8"))]


def story(name: str, document: str = "README.md") -> list[Command]:
    """Return a story's commands."""
    found = blocks(REPOSITORY / document)
    return [command for block in found if block.story == name for command in commands(block)]


def tell(node: Node, name: str, document: str = "README.md") -> Iterator[Told]:
    """Run a story's commands on a node, one after the other, and yield what each printed."""
    for command in story(name, document):
        if command.text == REBOOT:
            reboot(node)
            yield Told(command, ())
            continue
        script = f"cd /root; {{ {command.text}\n}} 2>&1"
        ran = node.run(["bash", "-c", script], check=False, timeout_s=120)
        yield Told(command, tuple(ran.stdout.splitlines()))
