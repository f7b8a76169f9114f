"""`make demo`: from the shop example's specs to one of its containers running on a real host.

1. `katcall render` writes the files of three nodes.
2. The real tools judge them: Quadlet, systemd, networkd, nft, a zone checker, Podman.
3. A systemd host boots in namespaces of its own, gets node a's files, and starts a web instance.

There is no registry in the demo: a static busybox stands in for the image of the web server.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.environment import CACHE, REPOSITORY, missing
from tests.lab import Node, host
from tests.lab.enclosure import enclosure
from tests.lab.images import import_busybox
from tests.lab.install import install
from tests.oracles.cell import cell
from tests.oracles.oracle import Oracle, tree_from
from tests.oracles.quadlet import generate

BIN = Path(sys.executable).parent
SPEC = "examples/shop"
OUT = CACHE / "demo"
NODE = "a"
WEB = "shop/web/"
PAGE = "the shop is open"


def main() -> int:
    """Run the demo; 1 if a tool complains, 2 if this machine lacks what it needs."""
    lacks = missing(["systemd-nspawn", "unshare", "nsenter", "setpriv", "ip"])
    if lacks:
        say(f"this machine lacks {', '.join(lacks)}")
        return 2
    if not render() or not judge():
        return 1
    run_one(NODE)
    return 0


def render() -> bool:
    """Write every node's files."""
    argv = ["katcall", "render", "-f", SPEC, "-o", str(OUT.relative_to(REPOSITORY))]
    with step(" ".join(argv)):
        done = subprocess.run([BIN / argv[0], *argv[1:]], cwd=REPOSITORY, check=False)
    return done.returncode == 0


def judge() -> bool:
    """Ask the real tools about every node; show what Quadlet makes. False if one complains."""
    complaints: list[str] = []
    with step("the real tools judge every node's files"), enclosure() as inside:
        oracle = Oracle(inside)
        for folder in nodes():
            files = tree_from(folder)
            found = oracle.check_tree(files)
            complaints += [f"{folder.name}: {complaint}" for complaint in found]
            with cell(inside, files) as scratch:
                services = sorted(generate(scratch, files).services)
            say(f"node {folder.name}: {len(files)} files, {len(found)} complaints; Quadlet makes")
            for service in services:
                say(f"    {service}")
    for complaint in complaints:
        say(complaint)
    return not complaints


def run_one(name: str) -> None:
    """Boot a host, install a node's files, start one web instance, ask it for its page."""
    manifest = json.loads((OUT / f"{name}.manifest.json").read_bytes())
    web = next(i for i in manifest["instances"] if i["instance"].startswith(WEB))
    with contextlib.ExitStack() as until_done:
        with step(f"a host boots and gets node {name}'s files"):
            node = until_done.enter_context(host(name))
            say(f"{install(node, OUT / name)} files installed")
            stand_in(node, image_of(web["unit"]))
        with step(f"systemctl start {web['unit']}"):
            node.run(["systemctl", "start", web["unit"]])
        show(node, ["systemctl", "list-units", "--no-pager", "--plain", "--no-legend", "kat*"])
        show(node, ["podman", "ps", "--format", "{{.Names}}  {{.Image}}  {{.Status}}"])
        # systemd calls a container started before its server listens.
        retry = ["--retry", "9", "--retry-connrefused", "--retry-delay", "1"]
        show(node, ["curl", "-sS", *retry, f"http://{web['address']}:8080/"])


def image_of(unit: str) -> str:
    """Return the image that an instance's file names."""
    path = next(OUT.glob(f"*/etc/containers/systemd/kat/{unit.removesuffix('.service')}.container"))
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("Image=") for line in lines if line.startswith("Image="))


def stand_in(node: Node, image: str) -> None:
    """Make an image of that name: busybox that serves one page on port 8080."""
    command = f'CMD ["sh", "-c", "echo {PAGE} >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]'
    import_busybox(node, image, command)
    say(f"busybox stands in for {image}")


def show(node: Node, argv: list[str]) -> None:
    """Run a command on the host and print what it prints."""
    say(f"{node.name}# {' '.join(argv)}")
    say(node.run(argv).stdout.rstrip())


def nodes() -> list[Path]:
    """Return every node's folder."""
    return sorted(path for path in OUT.iterdir() if path.is_dir())


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print a title, and how long the step took."""
    say(f"\n== {title}")
    start = time.monotonic()
    yield
    say(f"   {time.monotonic() - start:.1f} s")


def say(line: str) -> None:
    """Print, before anything that a child prints next."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
