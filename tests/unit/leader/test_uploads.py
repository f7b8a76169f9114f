"""What is uploaded is taken or refused, within bounded memory and time."""

import asyncio
import gzip
import io
import os
import resource
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest

from katgen.leader.errors import InputError
from katgen.leader.uploads import BODY_BYTES, body, documents, unpacked
from tests.environment import REPOSITORY
from tests.unit.leader.given import workload

MIB: Final = 1 << 20


def archive(*members: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=form) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return packed.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        unpacked(content)
    (problem,) = caught.value.problems
    return str(problem)


def test_kat_files_come_out_by_name_and_others_are_left_out() -> None:
    packed = archive(("./b.kat", b"2"), ("README.md", b"x"), ("web/a.kat", b"1"))
    assert unpacked(packed) == [("b.kat", b"2"), ("web/a.kat", b"1")]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_usual_form_of_tar_is_read(form: int) -> None:
    name = "/".join(["folder"] * 20) + "/ä.kat"
    assert unpacked(archive((name, b"1"), form=form)) == [(name, b"1")]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_000])
def test_a_file_of_any_size_comes_out_whole(size: int) -> None:
    content = os.urandom(size)
    assert unpacked(archive(("a.kat", content), ("b.kat", b"b"))) == [
        ("a.kat", content),
        ("b.kat", b"b"),
    ]


def test_what_gnu_tar_packs_is_read(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/workload.kat").write_bytes(b"1")
    made = subprocess.run(
        ["tar", "-C", str(tmp_path), "-cz", "web"], capture_output=True, check=True
    )
    assert unpacked(made.stdout) == [("web/workload.kat", b"1")]


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (("/etc/a.kat", b""), "/etc/a.kat: is an absolute path"),
        (("../a.kat", b""), "../a.kat: leaves the archive"),
        (("a/../../b.kat", b""), "a/../../b.kat: leaves the archive"),
        (special("a.kat", tarfile.SYMTYPE, "/etc/shadow"), "a.kat: is a symbolic link"),
        (special("a.kat", tarfile.LNKTYPE, "b.kat"), "a.kat: is a hard link"),
        (special("a.kat", tarfile.CHRTYPE), "a.kat: is a device"),
        (special("a.kat", tarfile.BLKTYPE), "a.kat: is a device"),
        (special("a.kat", tarfile.FIFOTYPE), "a.kat: is a pipe"),
        (special("a.txt", tarfile.SYMTYPE, "b"), "a.txt: is a symbolic link"),
        (special("a.kat", b"Z"), "a.kat: is of an unknown type"),
    ],
)
def test_what_does_not_belong_there_is_refused(
    member: tarfile.TarInfo | tuple[str, bytes], told: str
) -> None:
    assert refusal(archive(("ok.kat", b""), member)).startswith(told)


def test_a_link_with_a_long_target_is_refused() -> None:
    link = special("a.kat", tarfile.SYMTYPE, "x" * 200)
    assert "link" in refusal(archive(link, form=tarfile.PAX_FORMAT))
    assert "link" in refusal(archive(link, form=tarfile.GNU_FORMAT))


def test_a_name_that_stands_twice_is_refused() -> None:
    told = refusal(archive(("a.kat", b"1"), ("./a.kat", b"2")))
    assert told == "a.kat: stands twice in the archive"


def test_an_archive_without_kat_files_is_refused() -> None:
    assert refusal(archive(("a.txt", b"1"))) == "the archive holds no .kat file"


@pytest.mark.parametrize("cut", [10, 100, 400, 520])
def test_a_cut_archive_is_refused(cut: int) -> None:
    plain = gzip.decompress(archive(("a.kat", os.urandom(400)), form=tarfile.USTAR_FORMAT))
    assert "ends in its middle" in refusal(gzip.compress(plain[:cut]))


def test_a_cut_stream_is_refused() -> None:
    packed = archive(("a.kat", os.urandom(100_000)))
    assert refusal(packed[: len(packed) // 2]) == "the archive ends in its middle"


def test_noise_is_refused() -> None:
    assert refusal(b"noise") == "the archive is no gzip, or damaged"
    assert refusal(gzip.compress(b"noise" * 1000)) == "the archive is no tar, or damaged"


def test_a_size_beyond_tar_s_digits_is_refused() -> None:
    info = tarfile.TarInfo("a.kat")
    info.size = 1 << 40
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert "8 GiB or more" in refusal(gzip.compress(header))


@pytest.mark.parametrize("record", [b"0 a=b\n", b"999999999 a=b\n", b"x", b"7 size\n"])
def test_a_damaged_extended_header_is_refused(record: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", len(record)
    plain = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    assert refusal(gzip.compress(plain)) == "an extended header is damaged"


# --- bounds --------------------------------------------------------------------------------------


def bomb() -> bytes:
    """One file of 7 GiB, if one believes it."""
    info = tarfile.TarInfo("a.txt")
    info.size = 7 << 30
    zipper = zlib.compressobj(9, wbits=31)
    parts = [zipper.compress(info.tobuf(tarfile.USTAR_FORMAT))]
    chunk = bytes(16 * MIB)
    parts += [zipper.compress(chunk) for _ in range(16)]
    return b"".join([*parts, zipper.flush()])


def zeros_first() -> bytes:
    """A file that claims little, then a flood."""
    zipper = zlib.compressobj(9, wbits=31)
    info = tarfile.TarInfo("a.txt")
    info.size = 60 * MIB
    head = info.tobuf(tarfile.USTAR_FORMAT)
    parts = [zipper.compress(head + bytes(60 * MIB)) for _ in range(10)]
    return b"".join([*parts, zipper.flush()])


def many_members() -> bytes:
    zipper = zlib.compressobj(1, wbits=31)
    header = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)
    return zipper.compress(header * 100_000) + b"".join(
        [zipper.compress(header * 100_000) for _ in range(9)] + [zipper.flush()]
    )


def many_headers() -> bytes:
    """10⁶ extended headers, and never a file."""
    record = b"30 comment=" + b"x" * 18 + b"\n"
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", len(record)
    both = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    return gzip.compress(both * 60_000, 1)


def large_header() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 60 * MIB
    return gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(60 * MIB), 1)


def large_kat_files() -> bytes:
    return archive(*((f"{n}.kat", bytes(3 * MIB)) for n in range(20)))


BOMBS: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "bomb": (bomb, "a.txt has 7516192768 bytes; the most is 67108864"),
    "zeros first": (zeros_first, "the archive goes on when unpacked; the most is 67108864"),
    "many members": (many_members, "the archive has more than 10000 members"),
    "many headers": (many_headers, "the archive has more than 10000 members"),
    "large header": (large_header, "a header has 62914560 bytes; the most is 65536"),
    "large files": (large_kat_files, "has 3145728 bytes; the most is 2097152"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_32_mib_and_2_seconds(name: str, tmp_path: Path) -> None:
    make, told = BOMBS[name]
    path = tmp_path / "bomb"
    path.write_bytes(make())
    outcome = in_a_process(path, "application/gzip")
    assert told in outcome.told
    assert outcome.grown_mib <= 32 + path.stat().st_size / MIB
    assert outcome.seconds < 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: &a [1]\nb: *a\n", "anchor"),
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b"a: [" + b"1," * 2_000_000 + b"]\n", "more than 50000 values in one document"),
        (b"---\n" * 1_000_000, "holds 1000000 documents"),
    ],
)
def test_a_yaml_bomb_is_refused_within_bounds(text: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(archive(("a.kat", text)))
    outcome = in_a_process(path, "application/gzip")
    assert told in outcome.told
    assert outcome.grown_mib <= 128
    assert outcome.seconds < 5


def test_the_worst_that_is_read_has_its_bounds(tmp_path: Path) -> None:
    """A quarter of the most: documents full of short values."""
    document = b"---\na: [" + b"1," * 49_000 + b"]\n"
    file = document * 10
    path = tmp_path / "worst"
    path.write_bytes(archive(("a.kat", file), ("b.kat", file)))
    outcome = in_a_process(path, "application/gzip")
    assert outcome.grown_mib <= 150
    assert outcome.seconds < 20


class Outcome(msgspec.Struct):
    """`seconds` are of CPU: others may use the machine too."""

    told: str
    grown_mib: float
    seconds: float


PROBE: Final = """
import resource, sys, time
import msgspec
from pathlib import Path
from katgen.leader.errors import InputError
from katgen.leader.uploads import documents
content = Path(sys.argv[1]).read_bytes()
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    told = "; ".join(map(str, documents(content, sys.argv[2]).problems))
except InputError as err:
    told = "; ".join([err.detail, *map(str, err.problems)])
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
answer = {"told": told[:1000], "grown_mib": grown, "seconds": time.process_time() - begun}
print(msgspec.json.encode(answer).decode())
"""


def in_a_process(path: Path, content_type: str) -> Outcome:
    """Read an upload in a process of its own, and return what that took."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path), content_type],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
    )
    return msgspec.json.decode(done.stdout, type=Outcome)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(64 << 10)


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    with grows_less_than(48), pytest.raises(InputError, match="too large"):
        await body(endless(), None)


async def test_a_body_that_announces_too_much_is_not_read_at_all() -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(InputError) as caught:
        await body(never(), 1 << 30)
    assert caught.value.status == 413


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("katgen.leader.uploads.READ_S", 0.01)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    with pytest.raises(InputError, match="did not arrive"):
        await body(stuck(), None)


@contextmanager
def grows_less_than(mib: int) -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < mib
    assert time.monotonic() - begun < 5
    assert BODY_BYTES == 16 * MIB


# --- JSON and YAML -------------------------------------------------------------------------------


def test_json_is_one_object_or_a_list() -> None:
    one = {"kind": "Config", "metadata": {"name": "😀 \u2028"}}
    (document,) = documents(msgspec.json.encode(one), "application/json").documents
    assert document.value == one
    both = {"kind": "List", "items": [one, one]}
    parsed = documents(msgspec.json.encode(both), "application/json")
    assert [document.file for document in parsed.documents] == ["items[0]", "items[1]"]


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"kind": "List", "items": []}']
)
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        documents(content, "application/json")


def test_a_null_is_a_problem_and_not_ignored() -> None:
    content = b'{"apiVersion": "kat/v1alpha1", "kind": "Config", "data": null}'
    assert documents(content, "application/json").problems != ()


def test_yaml_is_taken_as_a_file_would_be() -> None:
    parsed = documents(workload().encode(), "application/yaml")
    assert [document.value["kind"] for document in parsed.documents] == ["Workload"]


def test_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="is not taken") as caught:
        documents(b"", "text/html")
    assert caught.value.status == 415
