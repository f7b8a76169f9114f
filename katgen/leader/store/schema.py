"""The store's file: made, locked, checked, opened; and what its errors mean to people."""

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from katgen.leader.store import StoreError

APPLICATION_ID: Final = 0x4B415453
"""`KATS`, in the header of the file: sqlite.org/fileformat.html."""
VERSION: Final = 1
MODE: Final = 0o600
TABLES: Final = (
    """CREATE TABLE items (
        key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,
        created INTEGER NOT NULL, modified INTEGER NOT NULL, lease INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX items_of_lease ON items (lease) WHERE lease != 0",
    """CREATE TABLE history (
        revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL,
        PRIMARY KEY (revision, key)
    ) STRICT""",
    # AUTOINCREMENT: the number of a lease is never used again.
    "CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_s REAL NOT NULL) STRICT",
    """CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, oldest INTEGER NOT NULL,
        token INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO state VALUES (1, 0, 1, 0)",
)
_BUSY_S: Final = 5.0
_WAL_BYTES: Final = 64 * 2**20
_MEANINGS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; make room, nothing that was acknowledged is lost",
    sqlite3.SQLITE_READONLY: "it cannot be written; check the mount and the owner of its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory exists, and its owner",
    sqlite3.SQLITE_PERM: "it may not be opened; check its owner and mode",
    sqlite3.SQLITE_IOERR: "the disk fails; look into the kernel's log",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop the leader and restore a backup",
    sqlite3.SQLITE_NOTADB: "it is damaged or no store of KAT's; move it away or restore a backup",
}
_PRIMARY: Final = 0xFF
"""The low byte of an extended result code is the primary one, sqlite.org/rescode.html."""


def fault(err: sqlite3.Error, path: Path) -> StoreError:
    """Return what an error of SQLite means, and what to do."""
    code = getattr(err, "sqlite_errorcode", 0)
    meaning = _MEANINGS.get(code & _PRIMARY, "this is unexpected; look into the leader's log")
    return StoreError(f"{path}: {err}: {meaning}")


class Lock:
    """Holds `<file>.lock` for this process alone; the kernel lets it go when the process dies.

    A file of its own, because closing any descriptor of the database would drop SQLite's own locks.
    """

    def __init__(self, path: Path) -> None:
        """Raise StoreError if another has it."""
        self._path = path.with_name(f"{path.name}.lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self._path, flags, MODE)
        except OSError as err:
            what = f"{self._path}: {err.strerror}; check that its directory exists and its owner"
            raise StoreError(what) from err
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            who = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            what = f"{path} is in use by process {who}: one leader at a time; stop that one first"
            raise StoreError(what) from err
        with suppress(OSError):  # only says who; a full disk must not keep a leader from reading
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others in. The file stays: removing it would let two lock two files."""
        os.close(self._fd)


def opened(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Return a connection to write and one to read. Raises StoreError.

    A new file is made; one that is not KAT's, is damaged, or of a newer version is left alone.
    """
    try:
        _make_private(path)
        writer = _connected(path)
        try:
            _prepare(writer, path)
            reader = _connected(path)
            reader.execute("PRAGMA query_only = ON")
        except BaseException:
            writer.close()
            raise
    except sqlite3.Error as err:
        raise fault(err, path) from err
    except OSError as err:
        raise StoreError(f"{path}: {err.strerror}; check the disk and the file's owner") from err
    return writer, reader


def _make_private(path: Path) -> None:
    """Make the file if it is missing, for its owner only. SQLite gives its companions that mode."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    try:
        os.fchmod(fd, MODE)
    finally:
        os.close(fd)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check whose file it is before anything is written to it."""
    owner, version = (_number(connection, name) for name in ("application_id", "user_version"))
    is_new = (
        not owner and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    )
    if not is_new and owner != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program; move it away")
    if version > VERSION:
        raise StoreError(
            f"{path} has version {version}, this KAT knows {VERSION}: start the newer KAT again, "
            "or restore a backup made before the update"
        )
    found = [] if is_new else [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if found not in ([], ["ok"]):
        raise StoreError(f"{path} is damaged ({found[0].splitlines()[-1]}); restore a backup")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path}: its file system cannot share memory; use a local disk")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if is_new:
        _make_tables(connection)


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    found: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return found
