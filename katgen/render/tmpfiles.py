"""`/etc/tmpfiles.d/kat.conf` of a node, and `/etc/sysusers.d/kat.conf`, which all nodes share.

A `:` before mode and owner gives them to what is new and leaves alone what exists: an instance may
give its own directory away, and keeps that over a boot. Nothing is recursive.

Sources: tmpfiles.d(5), sysusers.d(5).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from katgen.bundle import Activation, Artifact, artifact
from katgen.model.volume import Volume
from katgen.names import split_key
from katgen.render.tmpfiles_words import quoted
from katgen.render.view import NodeView, PlacedInstance

TMPFILES = "/etc/tmpfiles.d/kat.conf"
SYSUSERS = "/etc/sysusers.d/kat.conf"
_HEADER = "# Managed by KAT; an edit is reported as drift.\n"
_OWN_FOLDERS = """\
d /var/lib/kat 0755 root root
d /var/lib/kat/config 0755 root root
d /var/lib/kat/dns 0755 root root
d /var/lib/kat/endpoints 0755 root root
d /var/lib/kat/ingress 0755 root root
d /var/lib/kat/services 0755 root root
d /var/lib/kat/wireguard 0750 root systemd-network
z /var/lib/kat/wireguard/private.key 0640 root systemd-network
d /run/kat 0755 root root
d /run/kat/endpoints 0755 root root
d /run/kat/ingress 0711 root root
d /run/kat/secrets 0711 root root
"""
_USERS = """\
u kat-leader - "KAT leader" /var/lib/kat/leader
u kat-dns - "KAT name server" /
u kat-etcd - "KAT store" /var/lib/kat/etcd
"""


@dataclass(frozen=True, slots=True)
class _Made:
    """Something that must exist before an instance starts; `kind` is tmpfiles.d's letter."""

    kind: str
    path: str
    mode: str
    uid: int


def own(view: NodeView) -> tuple[Artifact, ...]:
    """Return the node's file: KAT's folders, volumes, and host paths to be made."""
    base = view.cluster.spec.volume_base_path
    first: dict[str, _Made] = {}
    for made in _needed(view.instances, base):
        first.setdefault(made.path, made)
    lines = [f"{m.kind} {quoted(m.path)} :{m.mode} :{m.uid} :{m.uid}\n" for m in first.values()]
    volumes = f"d {quoted(base)} 0711 root root\n"
    text = "".join((_HEADER, _OWN_FOLDERS, volumes, *lines))
    return (artifact(TMPFILES, text, activation=Activation.TMPFILES, pair_key=TMPFILES),)


def sysusers() -> tuple[Artifact, ...]:
    """Return the users of KAT's own programs."""
    text = _HEADER + _USERS
    return (artifact(SYSUSERS, text, activation=Activation.SYSUSERS, pair_key=SYSUSERS),)


def volume_path(base: str, instance: PlacedInstance, volume: Volume) -> str:
    """Return the directory of a simpleClusterStorage volume, spec §4 "User ids"."""
    namespace, name = split_key(instance.of.key)
    storage = volume.simple_cluster_storage
    whole = f"{base.rstrip('/')}/{namespace}/{name}/{volume.name}"
    return whole if storage and storage.shared else f"{whole}/{instance.placement.ordinal}"


def _needed(instances: Iterable[PlacedInstance], base: str) -> Iterator[_Made]:
    for instance in instances:
        if not instance.of.makes_paths:
            continue
        spec = instance.of.objects.workload.spec
        uid = instance.of.plan.uid_base + (spec.container.security_context.user or 0)
        for volume in spec.volumes:
            if volume.simple_cluster_storage is not None:
                yield from _volume(instance, volume, base, uid)
            elif volume.host_mount is not None:
                yield from _host_mount(volume, uid)


def _volume(instance: PlacedInstance, volume: Volume, base: str, uid: int) -> Iterator[_Made]:
    path = volume_path(base, instance, volume)
    yield _Made("d", path, "0755", uid)
    for mount in instance.of.objects.workload.spec.container.volume_mounts:
        below = path
        for part in mount.sub_path.split("/") if mount.name == volume.name else ():
            if part:
                below = f"{below}/{part}"
                yield _Made("d", below, "0755", uid)


def _host_mount(volume: Volume, uid: int) -> Iterator[_Made]:
    mount = volume.host_mount
    if mount is not None and mount.ensure_type == "DirectoryOrCreate":
        yield _Made("d", mount.host_path, "0755", uid)
    elif mount is not None and mount.ensure_type == "FileOrCreate":
        yield _Made("f", mount.host_path, "0644", uid)
