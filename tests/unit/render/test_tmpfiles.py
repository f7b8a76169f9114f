"""Directories, files and users that must exist before anything starts."""

from typing import Any

import pytest

from katgen.bundle import Activation
from katgen.errors import EncodeError
from katgen.render import tmpfiles
from katgen.render.tmpfiles_words import quoted
from tests import cuts

BASE = "/srv/volumes"
AT_A = {"0": ("a", "10.100.1.10")}


def made_for(volumes: list[dict[str, Any]], **more: Any) -> list[str]:  # noqa: ANN401 -- a YAML document
    """Return what a workload with these volumes adds to node a's file."""
    placed = more.pop("placed", AT_A)
    of = cuts.workload("shop/db", placed, volumes=volumes, **more)
    (own,) = tmpfiles.own(cuts.node_view(cuts.cluster(volumeBasePath=BASE), "a", [of]))
    _, _, rest = own.content.decode().partition(f"d {BASE} 0711 root root\n")
    return rest.splitlines()


def mounted(path: str, kind: str) -> list[dict[str, Any]]:
    """Return one hostMount volume."""
    return [{"name": "v", "hostMount": {"hostPath": path, "ensureType": kind}}]


def test_a_node_has_the_folders_of_kat() -> None:
    (own,) = tmpfiles.own(cuts.node_view(cuts.cluster(), "a"))
    assert own.path == "/etc/tmpfiles.d/kat.conf"
    assert own.activation is Activation.TMPFILES
    assert own.content.decode() == (
        "# Managed by KAT; an edit is reported as drift.\n"
        "d /var/lib/kat 0755 root root\n"
        "d /var/lib/kat/config 0755 root root\n"
        "d /var/lib/kat/dns 0755 root root\n"
        "d /var/lib/kat/endpoints 0755 root root\n"
        "d /var/lib/kat/ingress 0755 root root\n"
        "d /var/lib/kat/services 0755 root root\n"
        "d /var/lib/kat/wireguard 0750 root systemd-network\n"
        "z /var/lib/kat/wireguard/private.key 0640 root systemd-network\n"
        "d /run/kat 0755 root root\n"
        "d /run/kat/endpoints 0755 root root\n"
        "d /run/kat/ingress 0711 root root\n"
        "d /run/kat/secrets 0711 root root\n"
        "d /var/lib/kat/volumes 0711 root root\n"
    )


def test_a_volume_belongs_to_the_mapped_root_of_its_instance() -> None:
    assert made_for([{"name": "data", "simpleClusterStorage": {}}]) == [
        "d /srv/volumes/shop/db/data/0 :0755 :200000 :200000"
    ]


def test_a_volume_belongs_to_the_mapped_user_if_the_instance_has_one() -> None:
    container = {"securityContext": {"user": 1000}}
    made = made_for([{"name": "data", "simpleClusterStorage": {}}], container=container)
    assert made == ["d /srv/volumes/shop/db/data/0 :0755 :201000 :201000"]


def test_an_instance_with_the_nodes_root_has_volumes_of_roots() -> None:
    made = made_for([{"name": "data", "simpleClusterStorage": {}}], uid_base=0)
    assert made == ["d /srv/volumes/shop/db/data/0 :0755 :0 :0"]


def test_a_shared_volume_is_made_once() -> None:
    placed = {"0": ("a", "10.100.1.10"), "1": ("a", "10.100.1.11"), "2": ("b", "10.100.2.10")}
    volumes = [{"name": "pool", "simpleClusterStorage": {"shared": True}}]
    assert made_for(volumes, placed=placed) == ["d /srv/volumes/shop/db/pool :0755 :200000 :200000"]


def test_a_sub_path_is_made_step_by_step() -> None:
    container = {"volumeMounts": [{"name": "data", "mountPath": "/x", "subPath": "a/b"}]}
    made = made_for([{"name": "data", "simpleClusterStorage": {}}], container=container)
    assert made == [
        "d /srv/volumes/shop/db/data/0 :0755 :200000 :200000",
        "d /srv/volumes/shop/db/data/0/a :0755 :200000 :200000",
        "d /srv/volumes/shop/db/data/0/a/b :0755 :200000 :200000",
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("DirectoryOrCreate", ["d /etc/x :0755 :200000 :200000"]),
        ("FileOrCreate", ["f /etc/x :0644 :200000 :200000"]),
        ("Directory", []),
        ("File", []),
        ("Socket", []),
    ],
)
def test_a_host_path_is_made_only_if_the_workload_says_so(kind: str, expected: list[str]) -> None:
    assert made_for(mounted("/etc/x", kind)) == expected


def test_kats_own_programs_have_users() -> None:
    (shared,) = tmpfiles.sysusers()
    assert shared.path == "/etc/sysusers.d/kat.conf"
    assert shared.content.decode() == (
        "# Managed by KAT; an edit is reported as drift.\n"
        'u kat-leader - "KAT leader" /var/lib/kat/leader\n'
        'u kat-dns - "KAT name server" /\n'
        'u kat-etcd - "KAT store" /var/lib/kat/etcd\n'
    )


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/a/b-c_d.e+f@g=h", "/a/b-c_d.e+f@g=h"),
        ("/with space", '"/with space"'),
        ("/100%", '"/100%%"'),
        ('/say "hi"', r'"/say \"hi\""'),
        ("/back\\slash", r'"/back\\slash"'),
        ("/line\nbreak\t", r'"/line\x0abreak\x09"'),
        ("/it's", '"/it\'s"'),
        ("/#hash", '"/#hash"'),
        ("/grün", '"/grün"'),
        ("/nel\x85", r'"/nel\xc2\x85"'),
        ("/$HOME/*?[a]", '"/$HOME/*?[a]"'),
    ],
)
def test_a_path_is_quoted_where_it_must_be(path: str, field: str) -> None:
    assert quoted(path) == field


@pytest.mark.parametrize("path", ["", "a", "/a/../b", "/./a", "/..", "/a\0b", "/\ud800"])
def test_what_is_no_clean_absolute_path_is_refused(path: str) -> None:
    with pytest.raises(EncodeError):
        quoted(path)
