"""`katcall plan --offline` between two versions of the shop: an image and one variable of `api`.

`shop-update/plan.txt` is all that it prints; what must be in there is written out below.
"""

import json
import re
from pathlib import Path

import pytest

from katgen.cli.main import run
from tests.golden.case import CASES, EXAMPLES

PRINTED = CASES / "shop-update/plan.txt"
HASHED = re.compile(r"revision[= ][0-9a-f]{10}|SOA .*")
"""What follows from the rest of a file."""


@pytest.fixture
def arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the command line, once the old version is rendered."""
    assert run(["render", "-f", str(EXAMPLES / "shop"), "-o", str(tmp_path / "files")]) == 0
    capsys.readouterr()
    parent = str(tmp_path / "files/plan.json")
    return ["plan", "--offline", "-f", str(EXAMPLES / "shop-v2"), "--parent", parent]


def test_the_whole_output_is_this(
    arguments: list[str], capsys: pytest.CaptureFixture[str], *, blesses: bool
) -> None:
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    if blesses:
        PRINTED.write_text(printed)
    assert printed == PRINTED.read_text()


EDITS = (
    "-Image=docker.io/postgrest/postgrest:v12.2.3",
    "+Image=docker.io/postgrest/postgrest:v12.2.8",
    "-Environment=PGRST_DB_POOL=10",
    "+Environment=PGRST_DB_POOL=20",
)
ZONE_LINES = [
    "-ep.api.shop.kat.cluster.local. 5 IN A 10.100.1.10",
    "-ep.api.shop.kat.cluster.local. 5 IN A 10.100.0.11",
    "+ep.api.shop.kat.cluster.local. 5 IN A 10.100.1.12",
    "+ep.api.shop.kat.cluster.local. 5 IN A 10.100.0.13",
    "-0.api.shop.kat.cluster.local. 5 IN A 10.100.1.10",
    "-1.api.shop.kat.cluster.local. 5 IN A 10.100.0.11",
    "+0.api.shop.kat.cluster.local. 5 IN A 10.100.1.12",
    "+1.api.shop.kat.cluster.local. 5 IN A 10.100.0.13",
]


def test_exactly_the_changed_lines_are_shown(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run([*arguments, "--json"])
    shown = json.loads(capsys.readouterr().out)
    changed = {
        (",".join(file["nodes"]), file["path"]): [
            HASHED.sub("…", line)
            for line in file["diff"].splitlines()[2:]
            if line[0] in "+-" and not HASHED.search(line)
        ]
        for file in shown["files"]
    }
    units = "/etc/containers/systemd/kat"
    zone = "/var/lib/kat/dns/shop.kat.cluster.local.zone"
    assert sorted(changed.pop(("a", f"{units}/kat.shop.api.1-4.container"))) == sorted(
        [
            *EDITS,
            *moved("1-2", "1-4", "10.100.0.11 0a:4b:0a:64:00:0b", "10.100.0.13 0a:4b:0a:64:00:0d"),
        ]
    )
    assert sorted(changed.pop(("b", f"{units}/kat.shop.api.0-3.container"))) == sorted(
        [
            *EDITS,
            *moved("0-1", "0-3", "10.100.1.10 0a:4b:0a:64:01:0a", "10.100.1.12 0a:4b:0a:64:01:0c"),
        ]
    )
    assert changed.pop(("a,b,c", zone)) == ZONE_LINES
    assert sorted(changed) == [
        ("a", "/etc/kat/kat.nft"),
        ("a,b,c", "/etc/kat/services/shop.nft"),
        ("a,b,c", "/var/lib/kat/services/shop.json"),
        ("b", "/etc/kat/kat.nft"),
    ]
    addresses = re.compile(r"10\.100\.[01]\.1[0123]\b")
    assert all(addresses.search(line) for lines in changed.values() for line in lines)


def moved(old: str, new: str, old_at: str, new_at: str) -> list[str]:
    """Return the lines that say which instance a unit is, and where."""
    return [
        line for sign, *of in (("-", old, old_at), ("+", new, new_at)) for line in one(sign, *of)
    ]


def one(sign: str, instance: str, at: str) -> list[str]:
    address, mac = at.split()
    port = "kat-" + mac.removeprefix("0a:4b:").replace(":", "")
    secret = f"/run/kat/secrets/kat.shop.api.{instance}/env/PGPASSWORD"
    return [
        f"{sign}AssertPathExists={secret}",
        f"{sign}ContainerName=kat.shop.api.{instance}",
        f"{sign}EnvironmentFile={secret}",
        f"{sign}Label=kat.instance=shop/api/{instance}",
        f"{sign}Network=kat:ip={address},mac={mac},host_interface_name={port}",
    ]


def test_exactly_the_instances_of_the_changed_workload_are_touched(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run([*arguments, "--json"])
    shown = json.loads(capsys.readouterr().out)
    steps = {
        node: [(a["verb"], a["unit"]) for a in actions if a["verb"] not in {"write", "delete"}]
        for node, actions in shown["actions"].items()
    }
    readers = [("reload", "kat-nft.service"), ("reload", "kat-dns.service")]
    assert steps == {
        "a": [
            *readers,
            ("stop", "kat.shop.api.1-2.service"),
            ("start", "kat.shop.api.1-4.service"),
        ],
        "b": [
            *readers,
            ("stop", "kat.shop.api.0-1.service"),
            ("start", "kat.shop.api.0-3.service"),
        ],
        "c": readers,
    }
