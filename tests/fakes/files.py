import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from agent.ports import NewFile, Stat, UnfitError
from tests.fakes.trace import Trace


@dataclass(frozen=True, slots=True)
class FakeFile:
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


@dataclass(slots=True)
class FakeFiles:
    """A disk. `put`, `take` and `tree` are for tests: not recorded, never failing.

    `room_bytes`: what still fits, then the disk is full. `read_only`: folders mounted so.
    `links`: paths that are somebody's links; nothing goes through them, a write replaces one.
    """

    trace: Trace = field(default_factory=Trace)
    room_bytes: int | None = None
    read_only: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=lambda: {"root", "systemd-network"})
    tree: dict[str, FakeFile] = field(default_factory=dict)
    _durable: dict[str, FakeFile | None] = field(default_factory=dict)

    def put(
        self, path: str, content: bytes = b"", mode: int = 0o644, owner: str = "root:root"
    ) -> None:
        self.tree[path] = FakeFile(content, mode, owner)

    def take(self, path: str) -> None:
        self.tree.pop(path, None)

    def below(self, folder: str) -> dict[str, bytes]:
        """Return path and content of all files below a directory."""
        prefix = folder.rstrip("/") + "/"
        return {p: f.content for p, f in sorted(self.tree.items()) if p.startswith(prefix)}

    def lose_power(self) -> None:
        """Take back every write and deletion whose directory was not flushed."""
        for path, file in self._durable.items():
            if file is None:
                self.tree.pop(path, None)
            else:
                self.tree[path] = file
        self._durable.clear()

    def read(self, path: str) -> bytes | None:
        self.trace.note("files.read", path)
        self._refuse_links(path)
        if path in self.links:
            raise UnfitError(f"{path}: is a link, and KAT follows only root's: remove it")
        file = self.tree.get(path)
        return file.content if file else None

    def stat(self, path: str) -> Stat | None:
        self.trace.note("files.stat", path)
        file = self.tree.get(path)
        if file is None or path in self.links:
            return None
        return Stat(hashlib.sha256(file.content).hexdigest(), file.mode, file.owner)

    def write(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        self.trace.note("files.write", path, changes=True)
        self._refuse_links(path)
        self._refuse_read_only(path)
        for name in owner.split(":"):
            if name not in self.users:
                raise UnfitError(f"{path}: no user or group {name}")
        self._fill(path, len(content))
        self._remember(path)
        self.links.discard(path)
        self.tree[path] = FakeFile(content, mode, owner)

    def write_all(self, files: Sequence[NewFile]) -> None:
        room = self.room_bytes
        needed = sum(len(file.content) for file in files)
        if room is not None and needed > room:
            raise UnfitError(f"{files[-1].path}: No space left on device; free some")
        for file in files:
            self.write(file.path, file.content, file.mode, file.owner)

    def rehearse(self, files: Sequence[NewFile]) -> None:
        self.trace.note("files.rehearse", " ".join(file.path for file in files))
        for file in files:
            self._refuse_links(file.path)
            self._refuse_read_only(file.path)
        if self.room_bytes is not None and sum(len(f.content) for f in files) > self.room_bytes:
            raise UnfitError(f"{files[-1].path}: No space left on device; free some")

    def delete(self, path: str) -> None:
        self.trace.note("files.delete", path, changes=True)
        self._refuse_read_only(path)
        self._remember(path)
        self.tree.pop(path, None)

    def flush(self, folders: Collection[str]) -> None:
        self.trace.note("files.flush", " ".join(sorted(folders)))
        kept = {folder.rstrip("/") for folder in folders}
        for path in [p for p in self._durable if p.rpartition("/")[0] in kept]:
            del self._durable[path]

    def list(self, folder: str) -> Sequence[str]:
        self.trace.note("files.list", folder)
        prefix = folder.rstrip("/")
        return sorted(path for path in self.tree if path.rpartition("/")[0] == prefix)

    def folders(self, folder: str) -> Sequence[str]:
        self.trace.note("files.folders", folder)
        prefix = folder.rstrip("/") + "/"
        inside = (path.removeprefix(prefix) for path in self.tree if path.startswith(prefix))
        return sorted({prefix + rest.partition("/")[0] for rest in inside if "/" in rest})

    def delete_tree(self, folder: str) -> None:
        self.trace.note("files.delete_tree", folder, changes=True)
        self._refuse_read_only(folder)
        for path in self.below(folder):
            self._remember(path)
            del self.tree[path]

    def _remember(self, path: str) -> None:
        self._durable.setdefault(path, self.tree.get(path))

    def _refuse_links(self, path: str) -> None:
        for one in self.links:
            if path.startswith(f"{one}/"):
                raise UnfitError(f"{path}: {one} is a link, and KAT follows only root's: remove it")

    def _refuse_read_only(self, path: str) -> None:
        for folder in self.read_only:
            if path == folder or path.startswith(folder.rstrip("/") + "/"):
                raise UnfitError(f"{path}: Read-only file system; mount it writable")

    def _fill(self, path: str, size: int) -> None:
        if self.room_bytes is None:
            return
        if size > self.room_bytes:
            raise UnfitError(f"{path}: No space left on device; free some")
        self.room_bytes -= size
