"""What a change does to what runs: images that cannot be had, plans kept to, volumes, uploads."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

from tests.lab.cluster import VIRTUAL_ADDRESS, OneNode, one_node

FROM_KAT = "find /etc /var/lib/kat/dns -path '*kat*' -type f ! -path '*/kat-leader*' -print0"
BYTES = f"{FROM_KAT} | sort -z | xargs -0 sha256sum"
KEEPER = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: keeper}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args:
      - |
        mkdir /data/lock || {{ echo twice >>/data/twice; exit 3; }}
        trap 'sleep 0.3; rmdir /data/lock; exit' TERM
        sleep infinity & wait
    env: [{{name: STAGE, value: "{stage}"}}]
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, simpleClusterStorage: {{}}}}]
"""


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        made.apply(made.web())
        yield made


def bytes_on_node(kat: OneNode) -> str:
    """Return the digest of every file that KAT keeps on the node."""
    return kat.node.run(["sh", "-c", BYTES]).stdout


def test_an_image_that_cannot_be_had_fails_the_apply_with_the_registry_s_words(
    kat: OneNode,
) -> None:
    before = bytes_on_node(kat), kat.pids()
    missing = kat.image.replace("lab/bb:1", "lab/nothing:7")
    said = kat.apply(kat.web(image=missing), "--timeout", "60s", check=False)
    assert said.code == 5
    assert "manifest unknown" in said.stderr
    assert (bytes_on_node(kat), kat.pids()) == before
    assert kat.fetch(f"http://{VIRTUAL_ADDRESS}/") == {"web-0"}


def test_what_follows_an_image_that_could_not_be_had_is_applied(kat: OneNode) -> None:
    missing = kat.image.replace("lab/bb:1", "lab/nothing:8")
    assert kat.apply(kat.web(image=missing), check=False).code == 5
    kat.apply(kat.web(stage="after"))
    (name,) = (one for one in kat.pids() if one.startswith("kat.default.web."))
    assert kat.node.run(["podman", "exec", name, "sh", "-c", "echo $STAGE"]).stdout == "after\n"


def test_an_apply_that_takes_too_long_says_so_and_the_old_revision_serves(kat: OneNode) -> None:
    # Nobody answers at this address of the lab's own network.
    silent = kat.image.replace("192.0.2.11", "192.0.2.77")
    before = kat.pids()
    said = kat.apply(kat.web(image=silent), "--timeout", "3s", check=False)
    assert said.code != 0
    assert "default/web" in said.stderr
    assert kat.pids() == before
    kat.apply(kat.web(stage="after"))


def test_what_plan_shows_is_what_then_stands_on_the_node(kat: OneNode) -> None:
    kat.apply(kat.web(stage="before"))
    text = kat.web(stage="planned", replicas=2)
    shown = json.loads(kat.katcall("plan", "-f", "-", "-o", "json", stdin=text).stdout)
    before = {file["path"]: patched(kat, file) for file in shown["files"]}
    kat.apply(text)
    plan = kat.ask("get", "plans")["items"][0]
    assert plan["digest"] == shown["digest"]
    assert plan["generation"] >= shown["generation"]  # a rollout takes more than one
    assert len(before) >= 4
    assert {path: content(kat, path) for path in before} == before


def patched(kat: OneNode, file: dict[str, str]) -> str:
    """Return what a file becomes if the diff that a plan shows is applied to what is there now."""
    with tempfile.TemporaryDirectory() as name:
        old, diff, new = (Path(name, part) for part in ("old", "diff", "new"))
        old.write_text(content(kat, file["oldPath"]), encoding="utf-8")
        diff.write_text(file["diff"], encoding="utf-8")
        run(["patch", "-s", "-o", new, old, diff], check=True)
        return new.read_text(encoding="utf-8")


def content(kat: OneNode, path: str) -> str:
    """Return a file of the node; '' if it is not there."""
    return kat.node.run(["cat", path], check=False).stdout if path else ""


def test_a_plan_changes_nothing(kat: OneNode) -> None:
    before = bytes_on_node(kat), kat.pids(), len(kat.ask("get", "plans")["items"])
    kat.katcall("plan", "-f", "-", stdin=kat.web(stage="never", replicas=3))
    kat.katcall("apply", "--dry-run", "-f", "-", stdin=kat.web(stage="never", replicas=3))
    assert (bytes_on_node(kat), kat.pids(), len(kat.ask("get", "plans")["items"])) == before


def test_an_instance_with_a_volume_never_runs_twice_on_it(kat: OneNode) -> None:
    for number in range(6):
        kat.apply(KEEPER.format(image=kat.image, stage=number))
    assert len([name for name in kat.pids() if name.startswith("kat.default.keeper.")]) == 1
    found = kat.node.run(["find", "/var/lib/kat/volumes", "-name", "twice"]).stdout
    assert found == ""


def archive(*members: tarfile.TarInfo) -> bytes:
    """Return a tar.gz of members without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for member in members:
            made.addfile(member, io.BytesIO(b"\0" * member.size))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    """Return a member that is what it is called."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, "/etc/shadow"
    return made


HOSTILE = {
    "traversal": lambda: archive(member("../../etc/kat/evil.kat")),
    "absolute": lambda: archive(member("/etc/kat/evil.kat")),
    "symbolic link": lambda: archive(member("a.kat", tarfile.SYMTYPE)),
    "hard link": lambda: archive(member("a.kat", tarfile.LNKTYPE)),
    "device": lambda: archive(member("a.kat", tarfile.BLKTYPE)),
    "tar bomb": lambda: archive(member("a.kat", size=300 * 2**20)),
    "a million files": lambda: archive(*(member(f"{n}.kat") for n in range(100_000))),
    "no archive": lambda: b"\0" * 1000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_upload_is_refused_in_bounded_memory(kat: OneNode, what: str) -> None:
    before = bytes_on_node(kat), memory_kib(kat)
    status, body = upload(kat, HOSTILE[what]())
    assert status in {400, 413, 422}
    assert json.loads(body)["title"]
    assert memory_kib(kat) - before[1] < 100 * 1024
    assert bytes_on_node(kat) == before[0]


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(kat: OneNode) -> None:
    before = memory_kib(kat)
    endless = "head -c 1073741824 /dev/zero | {curl}"
    status, _ = sent(kat, endless)
    assert status == 413
    assert memory_kib(kat) - before < 32 * 1024


def upload(kat: OneNode, body: bytes) -> tuple[int, str]:
    """POST a body to the API as the administrator; return status and answer."""
    kat.node.put("/root/body", body)
    return sent(kat, "cat /root/body | {curl}")


def sent(kat: OneNode, pipeline: str) -> tuple[int, str]:
    """Run a pipeline that ends in a POST to the API; return status and answer."""
    contexts = json.loads(kat.node.run(["cat", "/root/.config/kat/config.json"]).stdout)
    context = contexts["contexts"][contexts["current"]]
    kat.node.put("/root/ca.crt", context["ca"].encode())
    kat.node.put("/root/header", f"Authorization: Bearer {context['token']}\n".encode(), 0o600)
    curl = (
        "curl -sS --cacert /root/ca.crt -H @/root/header -H 'Content-Type: application/gzip' "
        f"-w '\\n%{{http_code}}' -T - -X POST {context['server']}/v1alpha1/apply"
    )
    said = kat.node.run(["sh", "-c", pipeline.format(curl=curl)], check=False)
    answer, _, status = said.stdout.rpartition("\n")
    return int(status), answer


def memory_kib(kat: OneNode) -> int:
    """Return the most memory that the leader has ever held, in KiB."""
    show = ["systemctl", "show", "--value", "-p", "MainPID", "kat-leader.service"]
    pid = kat.node.run(show).stdout.strip()
    status = kat.node.run(["grep", "VmHWM", f"/proc/{pid}/status"]).stdout
    return int(status.split()[1])
