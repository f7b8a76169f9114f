"""What the agent needs of a machine and of a leader. Each port has a real adapter and a fake.

One contract suite runs on both (`tests/contract`). Adapters raise `UnfitError` for what is the
machine's fault (disk full, read-only, a missing tool, D-Bus down, a timeout).

What yields holds something (a process, a subscription): close it with `contextlib.aclosing`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.nft_listing import SeenRules
from agent.observed.counts import Counts
from katgen.errors import KatError
from katgen.protocol import BundleAnswer, Facts, LogLine, ReadLogs, ToAgent, ToLeader, Usage


class UnfitError(KatError):
    """This machine cannot do it now. The message says what and why."""


class PullError(KatError):
    """An image cannot be had; the message is the registry's or Podman's own text."""


class UnitError(KatError):
    """A job of systemd did not end as wanted; `result` is systemd's word (`failed`)."""

    def __init__(self, unit: str, result: str) -> None:
        self.unit, self.result = unit, result
        super().__init__(f"{unit}: {result}")


@dataclass(frozen=True, slots=True)
class Stat:
    """A file as it is. `digest` is SHA-256 of its content, hex; `owner` is `user:group` by name."""

    digest: str
    mode: int
    owner: str


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to write."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


class Files(Protocol):
    """The one place that touches a node's disk. Paths are absolute; `root` of the adapter precedes.

    Every method may raise UnfitError. Links are never followed in the last component.
    """

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None if it is not there."""

    def stat(self, path: str) -> Stat | None:
        """Return what a regular file is, or None if there is none."""

    def write(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file whole: temporary, fsync, rename; makes missing directories above (0755)."""

    def write_all(self, files: Sequence[NewFile]) -> None:
        """Write many: each whole, none before all have found their room. Faster than one by one."""

    def rehearse(self, files: Sequence[NewFile]) -> None:
        """Do as `write_all` does, but for the last step, and leave nothing."""

    def delete(self, path: str) -> None:
        """Delete a file; it may be missing. Directories that this leaves empty stay."""

    def flush(self, folders: Collection[str]) -> None:
        """Fsync directories: renames and deletions in them are durable after."""

    def list(self, folder: str) -> Sequence[str]:
        """Return the paths of files directly in a directory, sorted; none if it is missing."""

    def folders(self, folder: str) -> Sequence[str]:
        """Return the paths of directories directly in a directory, sorted; none if missing."""

    def delete_tree(self, folder: str) -> None:
        """Delete a directory with all in it; it may be missing."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A loaded unit. `since` is Unix seconds; `need_reload` is systemd's NeedDaemonReload."""

    unit: str
    load_state: str
    active_state: str
    sub_state: str
    result: str = ""
    restarts: int = 0
    exit_code: int = 0
    since: float = 0
    main_pid: int = 0
    need_reload: bool = False
    fragment: str = ""


class Systemd(Protocol):
    """PID 1, networkd and resolved over D-Bus. Every method may raise UnfitError.

    Calls survive `daemon-reexec` and a restart of the bus: they connect again and go on.
    """

    async def start(self, unit: str, timeout_s: float) -> None:
        """Start a unit (mode `replace`) and wait for JobRemoved. Raises UnitError."""

    async def begin(self, unit: str) -> None:
        """Start a unit (mode `replace`) and do not wait: a job's run, a target with all in it.

        Raises UnitError if there is no such unit.
        """

    async def stop(self, unit: str, timeout_s: float) -> None:
        """Stop a unit and wait for JobRemoved; one that is not loaded is stopped. UnitError."""

    async def restart(self, unit: str, timeout_s: float) -> None:
        """Restart a unit and wait. Raises UnitError."""

    async def try_restart(self, unit: str, timeout_s: float) -> None:
        """Restart a unit that runs, and wait. Raises UnitError.

        One that does not run, or is about to stop, is left alone, and that is no error.
        """

    async def run_program(self, unit: str, argv: Sequence[str], timeout_s: float) -> int:
        """Run a program as a transient unit with this new name; return the code it ended with.

        `argv[0]` is absolute. What takes longer is killed, with all that it started; -1 for that,
        and for what a signal has ended.
        """

    async def reload(self, unit: str, timeout_s: float) -> None:
        """Reload a unit, or restart it if it cannot (ReloadOrRestart); start it if inactive."""

    async def reset_failed(self, unit: str) -> None:
        """Forget a unit's failure, so that it is collected. Not being loaded is fine."""

    async def daemon_reload(self) -> None:
        """Load every unit anew. Never two at once."""

    async def reload_networkd(self) -> None:
        """Have networkd read its files and configure links anew."""

    async def states(self, units: Collection[str]) -> Mapping[str, UnitState]:
        """Return the state of each of these; one that is not loaded has load_state not-found."""

    async def loaded(self, pattern: str) -> Sequence[UnitState]:
        """Return the loaded units whose name matches a glob (`kat.*`); less detail is filled."""

    async def control_groups(self, units: Collection[str]) -> Mapping[str, str]:
        """Return each unit's cgroup, `/kat.slice/…`; '' for one that is not loaded or has none."""

    async def is_stopping(self) -> bool:
        """Whether the machine is going down: whatever stops now stops for that."""

    def changes(self) -> AsyncGenerator[str, None]:
        """Yield the name of every KAT unit whose state has changed; '' after a reconnection."""

    async def close(self) -> None:
        """Disconnect."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container that Podman knows. `unit` is that of its label PODMAN_SYSTEMD_UNIT, or ''."""

    name: str
    id: str
    running: bool
    unit: str
    image_id: str
    health: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Podman(Protocol):
    """Images, and what is there. Never lifecycle, but for removing what has no unit."""

    def pull(self, image: str, policy: str, timeout_s: float) -> AsyncGenerator[str, None]:
        """Make an image available, yield progress for people. Raises PullError, UnfitError."""

    async def digest(self, image: str) -> str | None:
        """Return an image's digest (`sha256:…`), '' if it came from no registry, None if absent."""

    async def containers(self) -> Sequence[Container]:
        """Return KAT's containers, running or not: those whose name begins with `kat.`."""

    async def remove(self, name: str) -> None:
        """Remove a container by its name or id, running or not; it may be missing."""

    async def images(self) -> Mapping[str, Sequence[str]]:
        """Return every image id with the references (names, digests) that it goes by."""

    async def remove_image(self, reference: str) -> bool:
        """Remove an image that no container uses; False if one does."""

    async def version(self) -> str:
        """Return Podman's version."""


class Network(Protocol):
    """The kernel's network, over netlink."""

    async def rules(self) -> SeenRules:
        """Return what KAT's tables hold. Takes a second for 100,000 elements."""

    async def generation(self) -> int:
        """Return how often anybody has changed packet rules of this machine; costs next to nothing.

        The number is of 32 bits, and begins anew.
        """

    async def change_rules(self, text: str) -> tuple[int, int]:
        """Have nft carry out a text as one transaction; return the generations before and after.

        If they differ by more than one, somebody else was at work too. UnfitError with nft's words.
        """

    async def takes_rules(self, text: str) -> bool:
        """Whether nft and the kernel understand a text that needs nothing else; changes nothing."""

    async def forget_udp(self, answering: Mapping[str, Collection[str]]) -> int:
        """Have the kernel forget UDP connections to addresses that others answer than are named.

        Their clients' next packets are led anew. Returns how many there were.
        """

    async def forget_untranslated(self, virtual: Collection[str]) -> int:
        """Have the kernel forget connections to these addresses that are led to nobody.

        They began while there were no packet rules. Returns how many there were.
        """

    def table_changes(self) -> AsyncGenerator[None, None]:
        """Yield at once: what was before is not heard. Then when somebody changes KAT's tables.

        A burst of changes counts once, and that tables are removed is a change.
        """

    async def interface_of(self, address: str) -> str:
        """Return the name of the link that carries an IPv4 address, or ''."""

    async def addresses(self) -> Mapping[str, Sequence[str]]:
        """Return every link's IPv4 addresses with prefix length."""


class Journal(Protocol):
    """systemd's journal."""

    async def tail(self, unit: str, lines: int) -> Sequence[str]:
        """Return the last lines of a unit's last run: its container's, or if it has none, others'.

        Others' are without what Podman remarks.
        """

    def read(self, asked: ReadLogs) -> AsyncGenerator[LogLine, None]:
        """Yield entries in order; with `follow` never ends by itself."""


class Tools(Protocol):
    """The node's own checkers and generators, as subprocesses. Each may raise UnfitError."""

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], stdin: bytes = b""
    ) -> "Ran":
        """Run a program to its end; UnfitError if it is missing or takes too long."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str


class Machine(Protocol):
    """Facts about this machine."""

    async def facts(self) -> Facts:
        """Return capacity and versions."""

    async def usage(self, units: Sequence[str]) -> Sequence[Usage]:
        """Return what units use now; those without a cgroup are left out."""

    def boot_id(self) -> str:
        """Return the kernel's boot id."""


class Clock(Protocol):
    """Time. CLOCK_BOOTTIME goes on during suspend (spec §7)."""

    def boottime(self) -> float:
        """Return seconds since boot."""

    def now(self) -> float:
        """Return Unix seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Session(Protocol):
    """One connection to a leader."""

    async def send(self, message: ToLeader) -> None:
        """Send a message. Raises LeaderError."""

    def messages(self) -> AsyncIterator[ToAgent]:
        """Yield what the leader says, until the connection ends."""

    async def bundle(self, generation: int) -> BundleAnswer:
        """Fetch a bundle. Raises LeaderError."""

    async def contents(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """Fetch some of these files by digest: at least one, as many as fit into an answer.

        Raises LeaderError if none comes.
        """


class LeaderError(KatError):
    """No leader answers, or not as agreed."""


@dataclass(frozen=True, slots=True)
class NodePorts:
    """A whole machine, and what the agent counts of its work on it."""

    files: Files
    systemd: Systemd
    podman: Podman
    network: Network
    journal: Journal
    tools: Tools
    machine: Machine
    clock: Clock
    counts: Counts = field(default_factory=Counts)
