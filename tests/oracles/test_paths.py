"""systemd-tmpfiles makes the very path that was asked for, whatever characters it has."""

from pathlib import Path

import pytest

from katgen.render import tmpfiles
from katgen.render.tmpfiles_words import quoted
from tests import cuts
from tests.oracles.oracle import Oracle

PATHS = (
    "/srv/plain",
    "/srv/with space/and more",
    "/srv/100%/%n/%%",
    '/srv/say "hi"',
    "/srv/it's",
    "/srv/back\\slash\\n",
    "/srv/line\nbreak\ttab\r",
    "/srv/#hash;semicolon",
    "/srv/-dash/:colon",
    "/srv/$HOME/${x}",
    "/srv/*?[a-z]",
    "/srv/grün/日本/😀",
    "/srv/nel\x85/\x01\x7f",
    "/srv/trailing ",
)
REFUSED = set(":,\n\t\r\x85\x01\x7f")
"""Podman's mounts cannot carry these, so the model refuses them."""


@pytest.mark.parametrize("kind", ["DirectoryOrCreate", "FileOrCreate"])
def test_the_path_is_made_and_belongs_to_the_mapped_user(oracle: Oracle, kind: str) -> None:
    paths = [path for path in PATHS if not REFUSED & set(path)]
    volumes = [
        {"name": f"v{number}", "hostMount": {"hostPath": path, "ensureType": kind}}
        for number, path in enumerate(paths)
    ]
    of = cuts.workload("shop/db", {"0": ("a", "10.100.1.10")}, volumes=volumes)
    (own,) = tmpfiles.own(cuts.node_view(cuts.cluster(), "a", [of]))
    with oracle.cell({own.path: own.content}) as inside:
        inside.run(["systemd-tmpfiles", "--create", own.path])
        for path in paths:
            made = inside.enclosure.outside(inside.root) / path.lstrip("/")
            assert made.stat().st_uid == 200000, path
            assert made.is_dir() is (kind == "DirectoryOrCreate"), path


def test_every_path_is_made_as_it_is(oracle: Oracle) -> None:
    lines = "".join(f"d {quoted(path)} 0755 root root\n" for path in PATHS)
    with oracle.cell({"/etc/tmpfiles.d/kat.conf": lines.encode()}) as inside:
        ran = inside.run(["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/kat.conf"])
        assert (ran.code, ran.stderr) == (0, "")
        srv = inside.enclosure.outside(inside.root) / "srv"
        found = {f"/srv/{p.relative_to(srv)}" for p in srv.rglob("*") if _is_leaf(p)}
    assert found == set(PATHS)


def test_what_an_instance_gave_away_stays_given_away(oracle: Oracle) -> None:
    volumes = [{"name": "data", "simpleClusterStorage": {}}]
    of = cuts.workload("shop/db", {"0": ("a", "10.100.1.10")}, volumes=volumes)
    (own,) = tmpfiles.own(cuts.node_view(cuts.cluster(), "a", [of]))
    folder = "/var/lib/kat/volumes/shop/db/data/0"
    with oracle.cell({own.path: own.content}) as inside:
        inside.run(["systemd-tmpfiles", "--create", own.path])
        inside.run(["chown", "200999:200999", folder])
        inside.run(["chmod", "0700", folder])
        inside.run(["systemd-tmpfiles", "--create", own.path])
        seen = inside.run(["stat", "-c", "%u %g %a", folder]).stdout
    assert seen == "200999 200999 700\n"


def _is_leaf(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
