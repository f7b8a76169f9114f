"""Volumes of a workload, as lines of its units and as places for its secrets."""

from collections.abc import Iterator
from dataclasses import dataclass

from katgen import names
from katgen.bundle import SecretSlot
from katgen.model.container import VolumeMount
from katgen.model.volume import Volume
from katgen.planned import Placement
from katgen.render import unitfile
from katgen.render.lines import Line, Slots, section
from katgen.render.unitfile import Variables, command
from katgen.render.view import ClusterView, PlannedWorkload

SECRETS = "/run/kat/secrets"
"""A tmpfs; below it a folder per unit stem: `env/<NAME>` holds `NAME=value`, `<volume>/` files."""
_ENSURE = {
    "Directory": (("/usr/bin/test", "-d"),),
    "DirectoryOrCreate": (("/usr/bin/mkdir", "-p"), ("/usr/bin/test", "-d")),
    "File": (("/usr/bin/test", "-f"),),
    "FileOrCreate": (("/usr/bin/touch", "-a"), ("/usr/bin/test", "-f")),
    "Socket": (("/usr/bin/test", "-S"),),
}
_LINKS_A_LINE = 16
"""Each is a path of up to two PATH_MAX, and systemd reads lines of 1 MiB."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """What the lines of one workload's mounts are made from."""

    workload: PlannedWorkload
    cluster: ClusterView
    slots: Slots
    variables: Variables

    def lines(self) -> Iterator[Line]:
        """Return the lines of every mount, in the order of the workload."""
        spec = self.workload.objects.workload.spec
        volumes = {volume.name: volume for volume in spec.volumes}
        for mount in spec.container.volume_mounts:
            yield from self._one(volumes[mount.name], mount)

    def _one(self, volume: Volume, mount: VolumeMount) -> Iterator[Line]:
        if volume.tmpfs is not None:
            text = unitfile.tmpfs_mount(mount.mount_path, volume.tmpfs.size, self.variables)
            yield "Container", text
            return
        root = self._source(volume)
        source = f"{root}/{mount.sub_path}" if mount.sub_path else root
        is_written = volume.config is None and volume.secret is None
        read_only = mount.read_only or not is_written
        bind = unitfile.bind_mount(
            source, mount.mount_path, read_only=read_only, variables=self.variables
        )
        yield "Container", bind
        if not bind.startswith("Volume="):
            yield "Unit", unitfile.requires_mounts_for(source)
        checks = _no_links(self._trusted(volume), source) if is_written else ()
        yield from section("Service", (f"ExecStartPre={check}" for check in checks))
        if volume.host_mount is not None:
            ensured = _ENSURE[volume.host_mount.ensure_type]
            yield from section("Service", (f"ExecStartPre={command(*c, root)}" for c in ensured))
        if volume.secret is not None:
            yield "Unit", f"AssertPathExists={root}"

    def _trusted(self, volume: Volume) -> str:
        """Return the folder below which a container may have left links.

        Of storage that is the whole volume, also for an instance with a part of its own: the volume
        may have been shared before.
        """
        if volume.host_mount is not None:
            return self.workload.host_roots.get(volume.name, "/")
        return self._volume(volume)

    def _source(self, volume: Volume) -> str:
        """Return the path on the node."""
        if volume.host_mount is not None:
            return volume.host_mount.host_path.rstrip("/") or "/"
        if volume.config is not None:
            return self.workload.config_folders[volume.config.name]
        if volume.secret is not None:
            return f"{SECRETS}/{self.slots.stem}/{volume.name}"
        folder = self._volume(volume)
        storage = volume.simple_cluster_storage
        is_shared = storage is not None and storage.shared
        return folder if is_shared else f"{folder}/{self.slots.ordinal}"

    def _volume(self, volume: Volume) -> str:
        base = self.cluster.spec.volume_base_path.rstrip("/")
        return f"{base}/{self.workload.key}/{volume.name}"


def _no_links(root: str, path: str) -> Iterator[str]:
    """Return checks that no part of a path below `root` is a link.

    A container could have left one in its volume that leads anywhere on the node, and Podman, mkdir
    and touch, which are root, would follow it.
    """
    parts = _parts(path)
    depths = range(len(_parts(root)) + 1, len(parts) + 1)
    paths = ["/" + "/".join(parts[:depth]) for depth in depths]
    for start in range(0, len(paths), _LINKS_A_LINE):
        some = paths[start : start + _LINKS_A_LINE]
        words = [word for one in some for word in ("-a", "!", "-L", one)]
        yield command("/usr/bin/test", *words[1:])


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def secret_slots(workload: PlannedWorkload, placement: Placement) -> Iterator[SecretSlot]:
    """Return the places that an instance has for secret values: variables first, then files."""
    ordinal, incarnation = placement.ordinal, placement.incarnation
    instance = names.instance(workload.key, ordinal, incarnation)
    folder = f"{SECRETS}/{names.unit_stem(workload.key, ordinal, incarnation)}"
    namespace, _ = names.split_key(workload.key)
    spec = workload.objects.workload.spec
    for one in spec.container.env:
        if one.value_from is not None:
            secret = one.value_from.secret
            path = f"{folder}/env/{one.name}"
            yield SecretSlot(instance, names.key(namespace, secret.name), secret.key, path)
    for volume in spec.volumes:
        if volume.secret is not None:
            mode, uid = int(volume.secret.mode, 8), workload.plan.uid_base + volume.secret.user
            for key in workload.secret_keys[volume.secret.name]:
                path = f"{folder}/{volume.name}/{key}"
                source = names.key(namespace, volume.secret.name)
                yield SecretSlot(instance, source, key, path, mode, uid)
