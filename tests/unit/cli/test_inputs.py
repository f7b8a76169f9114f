import io
import os
from pathlib import Path

import pytest

from katgen.cli.inputs import read, read_one
from katgen.errors import SpecError


def write(path: Path, text: str = "x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def refusal(*paths: str) -> str:
    with pytest.raises(SpecError) as caught:
        read(paths)
    return str(caught.value)


def test_a_directory_gives_its_kat_files_of_all_depths_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.kat", "2")
    write(tmp_path / "a/deep/z.kat", "1")
    write(tmp_path / "notes.txt")
    assert read([str(tmp_path)]) == (
        (f"{tmp_path}/a/deep/z.kat", b"1"),
        (f"{tmp_path}/b.kat", b"2"),
    )


def test_a_file_that_is_named_needs_no_extension(tmp_path: Path) -> None:
    name = write(tmp_path / "web.yaml", "1")
    assert read([name]) == ((name, b"1"),)


def test_the_order_of_the_names_does_not_matter(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.kat"), write(tmp_path / "2.kat")
    assert read([two, one]) == read([one, two])


def test_what_is_named_twice_or_linked_is_read_once(tmp_path: Path) -> None:
    name = write(tmp_path / "web.kat")
    (tmp_path / "alias.kat").symlink_to(name)
    assert len(read([str(tmp_path), name])) == 1


def test_loops_of_links_end(tmp_path: Path) -> None:
    write(tmp_path / "a/web.kat")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "self.kat.d").symlink_to(tmp_path / "self.kat.d")
    assert [name for name, _ in read([str(tmp_path)])] == [f"{tmp_path}/a/web.kat"]


def test_standard_input_is_a_file_named_with_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"kind: Workload\n")))
    assert read(["-", "-"]) == (("-", b"kind: Workload\n"),)


def test_all_paths_that_cannot_be_read_are_reported_at_once(tmp_path: Path) -> None:
    name = write(tmp_path / "web.kat")
    (tmp_path / "broken.kat").symlink_to(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert refusal("nowhere.kat", f"{name}/x.kat", str(tmp_path), f"{tmp_path}/empty") == (
        f"{tmp_path}/broken.kat: no such file or directory; check the path\n"
        f"{tmp_path}/empty: is a directory without a .kat file; name another one\n"
        f"{name}/x.kat: not a directory; check the path\n"
        "nowhere.kat: no such file or directory; check the path"
    )


def test_a_name_that_no_file_can_have_is_reported() -> None:
    assert refusal("a\0b") == "a\0b: embedded null byte"


def test_an_endless_device_is_refused_and_not_read_to_its_end() -> None:
    assert refusal("/dev/zero") == "/dev/zero: has more than 4194304 bytes; split it"


def test_a_pipe_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"kind: Node\n")
    os.close(writing)
    assert read([f"/dev/fd/{reading}"]) == ((f"/dev/fd/{reading}", b"kind: Node\n"),)
    os.close(reading)


def test_a_directory_where_one_file_is_needed_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_one(str(tmp_path))
    assert str(caught.value) == f"{tmp_path}: is a directory; name a file in it"
