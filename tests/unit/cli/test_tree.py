import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from katgen.cli import tree
from katgen.cli.tree import TreeFile, write_tree
from katgen.errors import RefusedError

OLD = TreeFile("a/etc/old", b"old")
NEW = TreeFile("a/etc/new", b"new", 0o640)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != tree.SUMS
    }


def refusal(folder: Path) -> str:
    before = content(folder)
    with pytest.raises(RefusedError) as caught:
        write_tree(folder, [NEW])
    assert content(folder) == before
    return str(caught.value)


def test_files_arrive_with_their_modes(tmp_path: Path) -> None:
    write_tree(tmp_path / "deep/out", [NEW])
    assert content(tmp_path / "deep/out") == {"a/etc/new": b"new"}
    assert (tmp_path / "deep/out/a/etc/new").stat().st_mode & 0o7777 == 0o640


def test_the_directory_has_the_mode_that_mkdir_gives(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [NEW])
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_second_tree_replaces_the_first_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [OLD])
    write_tree(tmp_path / "out", [NEW])
    assert content(tmp_path) == {"out/a/etc/new": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    write_tree(tmp_path, [NEW])
    assert content(tmp_path) == {"a/etc/new": b"new"}


def test_a_foreign_file_is_named_and_kept(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [OLD])
    (tmp_path / "out/notes").write_text("mine")
    assert refusal(tmp_path / "out") == (
        f"{tmp_path}/out: 1 file not written by KAT: notes; KAT replaces only what it wrote: "
        "move them away, or name another directory"
    )


def test_an_edited_file_is_named_and_kept(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [OLD])
    (tmp_path / "out/a/etc/old").write_text("edited")
    assert f"{tmp_path}/out: 1 file edited since KAT wrote it: a/etc/old" in refusal(
        tmp_path / "out"
    )


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}").write_text("mine")
    assert f"{tmp_path}: 12 files not written by KAT: 0, 1, 10 and 9 more;" in refusal(tmp_path)


def test_a_foreign_link_is_kept_and_not_followed(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [OLD])
    (tmp_path / "out/link").symlink_to("/etc")
    assert f"{tmp_path}/out: 1 file not written by KAT: link" in refusal(tmp_path / "out")


def test_a_file_in_the_place_of_the_directory_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RefusedError, match="is no directory"):
        write_tree(tmp_path / "out", [NEW])
    assert (tmp_path / "out").read_text() == "mine"


def test_the_working_directory_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is the working directory" in refusal(Path())


def test_a_link_to_the_directory_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    write_tree(tmp_path / "out", [NEW])
    assert (tmp_path / "out").is_symlink()
    assert content(tmp_path / "real") == {"a/etc/new": b"new"}


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "a//x", "a/./x", "", "a/", ".."])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    write_tree(tmp_path / "out", [OLD])
    with pytest.raises(RefusedError, match="is no path inside the directory"):
        write_tree(tmp_path / "out", [NEW, TreeFile(path, b"")])
    assert content(tmp_path) == {"out/a/etc/old": b"old"}
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_file_that_came_while_the_tree_was_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(tree, "_exchanged", lambda *_: False)
    write_tree(tmp_path / "out", [OLD])

    def meanwhile() -> Iterator[TreeFile]:
        yield NEW
        (tmp_path / "out/notes").write_text("mine")

    with pytest.raises(RefusedError, match="1 file not written by KAT: notes"):
        write_tree(tmp_path / "out", meanwhile())
    assert content(tmp_path) == {"out/a/etc/old": b"old", "out/notes": b"mine"}
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_link_shares_the_first_copys_inode(tmp_path: Path) -> None:
    files = [NEW, TreeFile("b/new", NEW.content, NEW.mode, link_of=NEW.path)]
    write_tree(tmp_path / "out", files)
    assert (tmp_path / "out/b/new").samefile(tmp_path / "out/a/etc/new")
    write_tree(tmp_path / "out", files)


def test_an_edit_of_a_linked_file_is_one_of_all_its_names(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [OLD, TreeFile("b/old", OLD.content, link_of=OLD.path)])
    (tmp_path / "out/b/old").write_text("edited")
    assert "2 files edited since KAT wrote it: a/etc/old, b/old" in refusal(tmp_path / "out")


def test_where_there_can_be_no_link_there_is_a_copy(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [TreeFile("b/new", b"new", 0o640, link_of="gone")])
    assert (tmp_path / "out/b/new").read_bytes() == b"new"
    assert (tmp_path / "out/b/new").stat().st_mode & 0o7777 == 0o640


def test_a_digest_that_is_known_is_taken(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [TreeFile("a", b"", digest="0" * 64)])
    assert (tmp_path / f"out/{tree.SUMS}").read_text() == f"{'0' * 64}  a\n"


def failing(err: BaseException) -> Iterator[TreeFile]:
    yield NEW
    raise err


@pytest.mark.parametrize("err", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_what_fails_on_the_way_leaves_the_old_tree_whole(
    tmp_path: Path, err: BaseException
) -> None:
    write_tree(tmp_path / "out", [OLD])
    with pytest.raises(type(err)):
        write_tree(tmp_path / "out", failing(err))
    assert content(tmp_path) == {"out/a/etc/old": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_leaves_the_old_tree_whole(tmp_path: Path) -> None:
    """In a mount namespace of its own, on a file system of 64 KiB."""
    script = """
import sys
from pathlib import Path
from katgen.cli.tree import TreeFile, write_tree
out = Path(sys.argv[1], "out")
write_tree(out, [TreeFile("a", b"old")])
try:
    write_tree(out, [TreeFile("a", b"x" * 100_000)])
except OSError as err:
    print(err.strerror, (out / "a").read_text(), [p.name for p in out.parent.iterdir()])
"""
    mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "No space left on device old ['out']\n", done.stderr


def test_without_an_exchange_the_old_tree_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system without renameat2."""
    monkeypatch.setattr(tree, "_exchanged", lambda *_: False)
    write_tree(tmp_path / "out", [OLD])
    write_tree(tmp_path / "out", [NEW])
    assert content(tmp_path) == {"out/a/etc/new": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sha256sum_confirms_every_file_whatever_its_name(tmp_path: Path) -> None:
    names = ["plain", "with blank", "back\\slash", "new\nline", "both\\n\n", "umläut"]
    write_tree(tmp_path / "out", [TreeFile(name, name.encode()) for name in names])
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", tree.SUMS], cwd=tmp_path / "out", check=True
    )
    assert done.returncode == 0
    write_tree(tmp_path / "out", [NEW])


def test_the_listing_is_sorted_by_name(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", [OLD, NEW])
    assert (tmp_path / f"out/{tree.SUMS}").read_text() == (
        f"{hashlib.sha256(b'new').hexdigest()}  a/etc/new\n"
        f"{hashlib.sha256(b'old').hexdigest()}  a/etc/old\n"
    )
