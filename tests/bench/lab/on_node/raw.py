"""Run on a node by its own Python: Quadlet files by hand. Prints JSON.

raw.py start N         N instances: seconds from the first file until they run
raw.py hold N          N instances, a few at a time, and they stay
raw.py change STAGE    one more instance, changed: seconds, and those of the reload
raw.py delete          all of it
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, run

HOLD = "hold"
AT_ONCE = 8
FOLDER = Path("/etc/containers/systemd/raw")
CONTAINER = """\
[Container]
ContainerName={name}
Image=localhost/bb:1
Pull=never
Exec=sleep infinity
StopSignal=SIGKILL
Environment=STAGE={stage}
[Quadlet]
DefaultDependencies=false
"""


def systemctl(*words: str) -> None:
    run(["systemctl", *words], check=True, stdout=DEVNULL)


def put(names: list[str], verb: str, stage: str = "one") -> dict[str, float]:
    begin = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        text = CONTAINER.format(name=name, stage=stage)
        (FOLDER / f"{name}.container").write_text(text)
    written = time.monotonic()
    systemctl("daemon-reload")
    reloaded = time.monotonic()
    for some in batches(names) if verb == HOLD else [names]:
        systemctl("start" if verb == HOLD else verb, *(f"{name}.service" for name in some))
    return {"reload": reloaded - written, "running": time.monotonic() - begin}


def batches(names: list[str]) -> Iterator[list[str]]:
    """Yield a few at a time: many Podmans at once take much memory, and some of them fail."""
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def delete(names: list[str]) -> None:
    for some in batches(names):
        systemctl("stop", *(f"{name}.service" for name in some))
    for name in names:
        (FOLDER / f"{name}.container").unlink()
    systemctl("daemon-reload")


def main() -> None:
    verb, *rest = sys.argv[1:]
    took: dict[str, float] = {}
    if verb in {"start", "hold"}:
        names = [f"raw-{n}" for n in range(int(rest[0]))]
        took = put(names, verb)
        if verb == "start":
            delete(names)
    elif verb == "change":
        took = put(["raw-one"], "restart", rest[0])
    elif verb == "delete":
        delete([path.stem for path in FOLDER.iterdir()])
    sys.stdout.write(json.dumps(took))


main()
