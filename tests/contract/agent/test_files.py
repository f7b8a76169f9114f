"""What every disk must do: a real directory, and the fake."""

import grp
import hashlib
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.files import DiskFiles
from agent.ports import Files, NewFile, Stat, UnfitError
from tests.environment import refuse
from tests.fakes import FakeFiles


@dataclass(frozen=True, slots=True)
class Disk:
    """`link` makes somebody's link at a path."""

    files: Files
    link: Callable[[str], None]


def real(scratch: Path) -> Disk:
    if os.geteuid() != 0:
        refuse("root (files are given to users)")
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("not ours", encoding="utf-8")

    def link(path: str) -> None:
        place = scratch / "root" / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(elsewhere if path.endswith("folder") else elsewhere / "file")
        os.lchown(place, 65_534, 65_534)

    (scratch / "root").mkdir()
    return Disk(DiskFiles(scratch / "root"), link)


def fake(_: Path) -> Disk:
    files = FakeFiles()
    return Disk(files, files.links.add)


@pytest.fixture(params=[real, fake], ids=["real", "fake"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    made: Disk = request.param(tmp_path)
    return made


def test_a_file_is_read_as_it_was_written(disk: Disk) -> None:
    disk.files.write("/etc/kat/a", b"content", 0o640)
    assert disk.files.read("/etc/kat/a") == b"content"
    digest = hashlib.sha256(b"content").hexdigest()
    assert disk.files.stat("/etc/kat/a") == Stat(digest, 0o640, "root:root")


def test_a_missing_file_is_nothing_and_can_be_deleted(disk: Disk) -> None:
    disk.files.delete("/etc/kat/a")
    disk.files.delete_tree("/etc/kat")
    disk.files.flush(["/etc/kat"])
    assert disk.files.read("/etc/kat/a") is None
    assert disk.files.stat("/etc/kat/a") is None
    assert list(disk.files.list("/etc/kat")) == []
    assert list(disk.files.folders("/etc/kat")) == []


def test_a_second_write_replaces_content_and_mode(disk: Disk) -> None:
    disk.files.write("/etc/a", b"one", 0o600)
    disk.files.write("/etc/a", b"two")
    found = disk.files.stat("/etc/a")
    assert found is not None
    assert (disk.files.read("/etc/a"), found.mode) == (b"two", 0o644)


def test_files_and_directories_are_listed_apart(disk: Disk) -> None:
    disk.files.write_all([NewFile("/d/b", b""), NewFile("/d/a", b""), NewFile("/d/sub/c", b"")])
    assert list(disk.files.list("/d")) == ["/d/a", "/d/b"]
    assert list(disk.files.folders("/d")) == ["/d/sub"]


def test_a_rehearsal_leaves_everything_as_it_was(disk: Disk) -> None:
    disk.files.write("/d/a", b"old")
    disk.files.rehearse([NewFile("/d/a", b"new"), NewFile("/d/b", b"more")])
    assert disk.files.read("/d/a") == b"old"
    assert list(disk.files.list("/d")) == ["/d/a"]


def test_a_rehearsal_fails_as_the_write_would(disk: Disk) -> None:
    disk.link("/d/folder")
    with pytest.raises(UnfitError):
        disk.files.rehearse([NewFile("/d/folder/x", b"")])


def test_a_tree_is_deleted_with_all_in_it(disk: Disk) -> None:
    disk.files.write("/d/sub/c", b"")
    disk.files.write("/e", b"")
    disk.files.delete_tree("/d")
    assert disk.files.read("/d/sub/c") is None
    assert disk.files.read("/e") == b""
    disk.files.write("/d/sub/c", b"again")
    assert disk.files.read("/d/sub/c") == b"again"


def test_an_owner_that_is_not_known_is_refused_and_nothing_is_left(disk: Disk) -> None:
    with pytest.raises(UnfitError, match=r"^/d/a: no user or group "):
        disk.files.write("/d/a", b"", owner="nobody-knows:nobody-knows")
    assert list(disk.files.list("/d")) == []


def test_a_link_in_a_files_place_is_no_file_is_not_read_and_is_replaced(disk: Disk) -> None:
    disk.link("/etc/a")
    assert disk.files.stat("/etc/a") is None
    with pytest.raises(UnfitError, match=r"^/etc/a: .*link"):
        disk.files.read("/etc/a")
    disk.files.write("/etc/a", b"ours")
    assert disk.files.read("/etc/a") == b"ours"


def test_a_strangers_link_above_a_file_is_not_followed(disk: Disk) -> None:
    disk.link("/etc/folder")
    for attempt in (disk.files.read, lambda path: disk.files.write(path, b"x")):
        with pytest.raises(UnfitError, match=r"^/etc/folder/a: .*link.*root's"):
            attempt("/etc/folder/a")


def test_roots_own_link_above_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "etc/linked").symlink_to(tmp_path / "run")
    DiskFiles(tmp_path).write("/etc/linked/a", b"x", owner=own())
    assert (tmp_path / "run/a").read_bytes() == b"x"


def test_a_path_that_leaves_its_root_is_refused(tmp_path: Path) -> None:
    for path in ("/etc/../../x", "etc/x", "/etc/\0"):
        with pytest.raises(UnfitError, match="is no absolute path"):
            DiskFiles(tmp_path).write(path, b"", owner=own())


def test_a_full_disk_says_so_changes_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DiskFiles(tmp_path)
    files.write("/d/a", b"old", owner=own())
    true_write, room = os.write, [4]

    def write(fd: int, data: bytes) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        return true_write(fd, data)

    monkeypatch.setattr(os, "write", write)
    batch = [NewFile("/d/a", b"new", owner=own()), NewFile("/d/b", b"more", owner=own())]
    with pytest.raises(UnfitError, match=r"^/d/b: No space left on device; make room"):
        files.write_all(batch)
    assert files.read("/d/a") == b"old"
    assert [one.name for one in (tmp_path / "d").iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_swept_and_never_listed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.a.kat-new").write_text("half", encoding="utf-8")
    assert list(DiskFiles(tmp_path).list("/d")) == []
    DiskFiles(tmp_path).write("/d/b", b"", owner=own())
    assert [one.name for one in (tmp_path / "d").iterdir()] == ["b"]


def test_the_fake_forgets_what_was_not_flushed_when_power_is_lost() -> None:
    files = FakeFiles()
    files.write("/d/a", b"one")
    files.flush(["/d"])
    files.write("/d/a", b"two")
    files.lose_power()
    assert files.read("/d/a") == b"one"


def own() -> str:
    """Return who runs the test: it may not give files away."""
    return f"{pwd.getpwuid(os.geteuid()).pw_name}:{grp.getgrgid(os.getegid()).gr_name}"


def test_a_folder_that_somebody_took_away_is_made_again(tmp_path: Path) -> None:
    disk = DiskFiles(tmp_path)
    disk.write("/etc/kat/a", b"x", owner=own())
    (tmp_path / "etc/kat/a").unlink()
    (tmp_path / "etc/kat").rmdir()
    disk.write("/etc/kat/a", b"x", owner=own())
    assert (tmp_path / "etc/kat/a").read_bytes() == b"x"
