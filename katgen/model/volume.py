"""The volumes of a Workload (spec §3.2)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from katgen.model.spec import OneOf, Spec, later
from katgen.model.text import AbsolutePath, DnsLabel, ShortPath, Text
from katgen.model.types import BOTH, Flag, OctalMode, PositiveMemory, UserId


class SimpleClusterStorage(Spec):
    """A directory below volumeBasePath. The instance stays where its data is."""

    shared: Flag = Field(
        default=False, description="One directory for all instances on a node, not one for each."
    )


class HostMount(Spec):
    """A path of the node; only what the Namespace allows."""

    host_path: ShortPath = Field(description="On the node.")
    ensure_type: Annotated[
        Literal["Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"], BOTH
    ] = Field(
        default="Directory",
        description="What must be there; `…OrCreate` makes it, empty, if nothing is.",
    )


class ConfigVolume(Spec):
    """The files of a Config in the same namespace."""

    name: DnsLabel = Field(description="The Config's name.")


class SecretVolume(Spec):
    """The values of a Secret in the same namespace, as files in memory."""

    name: DnsLabel = Field(description="The Secret's name.")
    mode: OctalMode = Field(default="0400", description="Of each file, octal, in quotes.")
    user: UserId = Field(default=0, description="Owner, by user id inside the container.")


class Tmpfs(Spec):
    """Memory; gone with the container."""

    size: PositiveMemory | None = Field(
        default=None, description="Most bytes, as 64Mi; if not given, half of the machine's."
    )


class Nfs(Spec):
    """A directory of an NFS server."""

    server: Text = Field(description="Its name or address.")
    path: AbsolutePath = Field(description="What it exports.")
    options: Text = Field(default="", description="Of the mount, as `nfsvers=4.2,ro`.")


class Cifs(Spec):
    """A share of an SMB server."""

    share: Text = Field(description="As //server/share.")
    options: Text = Field(default="", description="Of the mount.")


class Volume(OneOf):
    """Something to mount: exactly one source."""

    one_of: ClassVar = (
        "simple_cluster_storage",
        "host_mount",
        "config",
        "secret",
        "tmpfs",
        "nfs",
        "cifs",
    )

    name: DnsLabel = Field(description="What volumeMounts call it.")
    simple_cluster_storage: SimpleClusterStorage | None = Field(
        default=None, description="A directory that outlives instances."
    )
    host_mount: HostMount | None = Field(default=None, description="A path of the node.")
    config: ConfigVolume | None = Field(default=None, description="Files of a Config.")
    secret: SecretVolume | None = Field(default=None, description="Values of a Secret.")
    tmpfs: Tmpfs | None = Field(default=None, description="Memory.")
    nfs: Nfs | None = Field(
        default=None, description="A directory of an NFS server.", **later("NFS volumes")
    )
    cifs: Cifs | None = Field(
        default=None, description="A share of an SMB server.", **later("CIFS volumes")
    )
