"""Whatever is signed: a node takes the lines that KAT renders, and no other."""

import pytest

from agent.policy import Policy, complaints
from katgen.bundle import Artifact
from tests.environment import REPOSITORY
from tests.unit.agent.cluster import instance

GOLDEN = REPOSITORY / "tests/golden"
WEB = instance(0, 1)
BUILD = "/etc/containers/systemd/kat/kat.default.welcome.build"
NODE = "git-build-service/want"


def strange(path: str, text: str) -> list[str]:
    return [c.text for c in complaints(Policy(), {path: ("digest", text)})]


def rendered(path: str, case: str = NODE) -> str:
    return next(GOLDEN.glob(f"{case}/*{path}")).read_text()


def web(*lines: str) -> Artifact:
    return instance(0, 1, more="\n".join(lines))


def _is_judged(parts: tuple[str, ...]) -> bool:
    return parts[0] != "var" or parts[:4] == ("var", "lib", "kat", "services")


def test_every_file_that_kat_renders_is_taken() -> None:
    nodes = [node for node in GOLDEN.glob("*/want/*") if node.is_dir()]
    texts = {
        (node, f"/{path.relative_to(node)}"): path.read_text()
        for node in nodes
        for path in node.rglob("*")
        if path.is_file() and _is_judged(path.relative_to(node).parts)
    }
    assert len(texts) > 400
    assert {at: found for at, text in texts.items() if (found := strange(at[1], text))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "PodmanArgs=--privileged --volume=/:/host",
        "PodmanArgs=--env-merge A=b --privileged",
        "Volume=%t/../etc:/h",
        "Volume=../../../../:/h",
        "UIDMap=0:0:4294967295",
        "Rootfs=/",
        "Network=host",
        "EnvironmentFile=/etc/shadow",
        "EnvironmentFile=/run/kat/secrets/kat.shop.db.0-1/env/PASSWORD",
        "SecurityLabelDisable=true",
        "Mount=type=bind,source=/etc,target=/h",
        "Exec=$KAT_1",
        'Environment="A=%h"',
        'Environment="A=\\x25h"',
        " AddDevice=/dev/sda",
        "[Service]\nExecStartPre=/bin/sh -c id",
        "[Service]\nExecStartPre=-/usr/bin/mkdir -p /etc/cron.d",
        "[Service]\nUser=root",
        "[Unit]\nConflicts=sshd.service",
        "[Unit]\nRequires=kat-nft.service kat.ops.web-build.service",
        "[Install]\nWantedBy=multi-user.target",
        "[Socket]\nListenStream=1",
        "ContainerName=kat.shop.web.1-1",
    ],
)
def test_a_line_that_kat_does_not_write_is_refused(line: str) -> None:
    assert len(strange(WEB.path, web(line).content.decode())) == 1


def test_nothing_hides_behind_a_comment() -> None:
    text = web("# \\", "AddDevice=/dev/sda").content.decode()
    assert strange(WEB.path, text) == ["line 10 goes on in the next one"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (("Image=--privileged",), "Image='--privileged' is none"),
        (("Image=dir:/root",), "Image='dir:/root' is none"),
        (
            ("Image=${KAT_1}", "[Service]", 'Environment="KAT_1=--privileged"'),
            "Image='--privileged' is none",
        ),
        (
            ("PodmanArgs=--mount ${KAT_1}", "[Service]", 'Environment="KAT_1=type=bind,src=/"'),
            "--mount 'type=bind,src=/' is no mount that KAT writes",
        ),
        (
            ("[Service]", "ExecStartPre=/usr/bin/mkdir -p /etc/cron.d"),
            "ExecStartPre= is about '/etc/cron.d', which is not mounted",
        ),
        (("Volume=/srv/../etc:/h",), "the mount's source '/srv/../etc' is no absolute path "),
    ],
)
def test_a_word_that_podman_reads_is_read_here_too(lines: tuple[str, ...], fault: str) -> None:
    (found,) = strange(WEB.path, web(*lines).content.decode())
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "line",
    ["PodmanArgs=--volume=/:/host", "Volume=/:/h", "File=/etc/shadow", "SetWorkingDirectory=/etc"],
)
def test_a_build_reads_its_repository_and_nothing_here(line: str) -> None:
    text = rendered(BUILD).replace("[Build]\n", f"[Build]\n{line}\n")
    assert len(strange(BUILD, text)) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/etc/tmpfiles.d/kat.conf", "f+ /etc/kat/policy 0644 root root -"),
        ("/etc/tmpfiles.d/kat.conf", "d /srv/../etc :0755 :0 :0"),
        ("/etc/tmpfiles.d/kat.conf", "d /etc 0777 root root"),
        ("/etc/sysusers.d/kat.conf", "u evil 0 - /root /bin/sh"),
        ("/etc/sysctl.d/50-kat.conf", "kernel.core_pattern=|/bin/sh"),
        ("/etc/kat/kat.nft", "flush ruleset"),
        ("/etc/kat/kat.nft", 'include "/etc/shadow"'),
        ("/etc/kat/kat.nft", "add element inet kat  host-ports { tcp . 22 : 10.0.0.1 . 22 }"),
        ("/etc/kat/cluster.nft", "add table inet filter"),
        ("/etc/systemd/system/multi-user.target.d/kat.conf", "Conflicts=sshd.service"),
        ("/etc/systemd/system/kat.target", "Conflicts=sshd.service"),
        ("/etc/systemd/network/50-kat-br0.network", "[Match]\nName=eth0"),
        ("/etc/systemd/network/50-kat-br0.network", "[Route]\nDestination=0.0.0.0/0"),
        ("/etc/containers/networks/kat.json", "x"),
    ],
)
def test_a_line_more_in_a_file_of_the_machine_is_refused(path: str, line: str) -> None:
    text = rendered(path)
    assert strange(path, text) == []
    assert len(strange(path, f"{text}{line}\n")) == 1


def test_a_network_that_matches_every_link_is_refused() -> None:
    assert strange("/etc/systemd/network/50-kat-br0.network", "[Network]\nLLMNR=no\n") == [
        "it has no Name= in [Match]"
    ]


def test_a_timer_starts_the_job_of_its_name_and_nothing_else() -> None:
    path = "/etc/systemd/system/kat.shop.backup.timer"
    text = rendered(path, "*/want")
    assert strange(path, text) == []
    other = text.replace("Unit=kat.shop.backup.", "Unit=kat.shop.db.")
    assert [one.partition(": ")[2] for one in strange(path, other)] == [
        "Unit= is that of another unit"
    ]
    assert len(strange(path, text.replace("Unit=kat.shop", " Unit=kat.shop"))) == 2
