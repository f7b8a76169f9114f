"""What a workload becomes, as the files of its instances."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest

from katgen.bundle import Activation, SecretSlot, entry
from katgen.errors import EncodeError
from katgen.names import InstanceKey, NodeName, Ordinal
from katgen.planned import Placement
from katgen.render.quadlet import build, unit_template
from tests.unit.render.planned import CLUSTER, FIRST, Fields, lines, planned, template, unit

SIMPLEST = """\
# Managed by KAT: an instance of workload shop/web, revision 0123456789.
# A change made here is reported as drift. Why it is here: katcall explain shop/web

[Quadlet]
DefaultDependencies=false

[Unit]
Description=shop/web of KAT (%N)
PartOf=kat.shop.target
Requires=kat-nft.service
Wants=kat-network.service
After=network.target kat-network.service kat-nft.service
StartLimitIntervalSec=300
StartLimitBurst=11

[Container]
Image=docker.io/library/nginx:1.27
Pull=missing
Label=kat.namespace=shop
Label=kat.workload=web
Label=kat.revision=0123456789
DNSSearch=shop.kat.cluster.local
NoNewPrivileges=true
DropCapability=NET_ADMIN NET_RAW
UIDMap=0:200000:65536
GIDMap=0:200000:65536
LogDriver=journald
StopSignal=SIGTERM
StopTimeout=30

[Service]
Restart=always
RestartSec=1
TimeoutStartSec=300
SuccessExitStatus=143
Slice=kat-shop.slice
TimeoutStopSec=40

[Install]
WantedBy=kat.shop.target

# This instance

[Container]
ContainerName=kat.shop.web.0-1
Label=kat.instance=shop/web/0-1
Network=kat:ip=10.100.1.10,mac=0a:4b:0a:64:01:0a,host_interface_name=kat-0a64010a
HostName=web-0
DNS=10.100.1.1
"""


def test_the_simplest_workload_gives_this_unit() -> None:
    (made,) = template({}).artifacts(FIRST)
    assert made.content.decode() == SIMPLEST
    assert made.path == "/etc/containers/systemd/kat/kat.shop.web.0-1.container"
    assert made.unit == "kat.shop.web.0-1.service"
    assert made.pair_key == "shop/web/0"
    assert made.activation is Activation.START


def test_the_digest_is_that_of_the_content() -> None:
    (made,) = template({}).artifacts(FIRST)
    assert made.digest == hashlib.sha256(made.content).hexdigest()


def test_entries_say_the_same_as_artifacts() -> None:
    scheduled = {"schedule": "@daily"}
    for made in (template({}), template({"type": "Job"}, job=scheduled)):
        assert made.entries(FIRST) == tuple(map(entry, made.artifacts(FIRST)))


def test_an_exclusive_instance_starts_after_the_one_before() -> None:
    exclusive = msgspec.structs.replace(FIRST, stop_first=True)
    assert template({}).artifacts(exclusive)[0].activation is Activation.STOP_FIRST


def test_instances_differ_only_in_their_own_part() -> None:
    made = template({})
    other = Placement(Ordinal("b"), 7, "0123456789", NodeName("b"), "10.100.2.200")
    one, two = (made.artifacts(p)[0].content.decode() for p in (FIRST, other))
    assert one.partition("# This instance")[0] == two.partition("# This instance")[0]
    assert two.partition("# This instance\n\n")[2] == (
        "[Container]\n"
        "ContainerName=kat.shop.web.b-7\n"
        "Label=kat.instance=shop/web/b-7\n"
        "Network=kat:ip=10.100.2.200,mac=0a:4b:0a:64:02:c8,host_interface_name=kat-0a6402c8\n"
        "HostName=web-b\n"
        "DNS=10.100.2.1\n"
    )


@pytest.mark.parametrize(
    ("bits", "address", "gateway"),
    [
        (5, "10.100.0.77", "10.100.0.65"),
        (8, "10.100.3.77", "10.100.3.1"),
        (10, "10.100.7.77", "10.100.4.1"),
        (16, "10.100.7.77", "10.100.0.1"),
    ],
)
def test_the_node_is_the_first_address_of_its_subnet(bits: int, address: str, gateway: str) -> None:
    view = msgspec.structs.replace(FIRST, address=address)
    spec = CLUSTER.spec.model_copy(update={"node_subnet_bits": bits})
    cluster = type(CLUSTER)(spec, 1420, multi_node=True)
    made = unit_template(planned({}), cluster).artifacts(view)[0].content.decode()
    assert f"\nDNS={gateway}\n" in made


def test_text_that_looks_like_an_instance_s_own_stays_as_it_is() -> None:
    args = ["K0", "Kk0", "Kkk1", "%s", "%(x)s"]
    assert lines({"container": {"args": args}}, "Exec") == ['Exec=K0 Kk0 Kkk1 "%%s" "%%(x)s"']


def test_command_args_and_folder() -> None:
    container = {"command": ["/bin/sh", "-c", "exit"], "args": ["a b"], "workingDir": "/srv"}
    assert lines({"container": container}, "Entrypoint", "Exec", "WorkingDir") == [
        "Entrypoint=/bin/sh",
        'Exec=-c exit "a b"',
        "WorkingDir=/srv",
    ]


@pytest.mark.parametrize(
    ("policy", "pull"), [("Always", "newer"), ("IfNotPresent", "missing"), ("Never", "never")]
)
def test_pull_policies(policy: str, pull: str) -> None:
    assert lines({"container": {"imagePullPolicy": policy}}, "Pull") == [f"Pull={pull}"]


def test_an_image_with_a_digest_is_there_before_the_start() -> None:
    source = {"image": f"docker.io/library/nginx:1.27@sha256:{'a' * 64}"}
    container = {"imagePullPolicy": "Always"}
    assert lines({"source": source, "container": container}, "Image", "Pull") == [
        f"Image=docker.io/library/nginx:1.27@sha256:{'a' * 64}",
        "Pull=never",
    ]


def test_labels_of_kat_come_after_the_user_s() -> None:
    assert lines({}, "Label", labels={"kat.workload": "x", "tier": "a b"}) == [
        "Label=kat.workload=x",
        'Label="tier=a b"',
        "Label=kat.namespace=shop",
        "Label=kat.workload=web",
        "Label=kat.revision=0123456789",
        "Label=kat.instance=shop/web/0-1",
    ]


def test_a_description_comes_from_its_annotation() -> None:
    assert lines({}, "Description", annotations={"kat/description": "The 100% front"}) == [
        "Description=The 100%% front (%N)"
    ]


def test_security() -> None:
    context = {
        "user": 1000,
        "readOnlyRootFilesystem": True,
        "capabilities": {"add": ["CAP_NET_RAW", "SYS_TIME"], "drop": ["CHOWN"]},
        "devices": ["/dev/fuse"],
    }
    keys = ("User", "ReadOnly", "DropCapability", "AddCapability", "AddDevice")
    assert lines({"container": {"securityContext": context}}, *keys) == [
        "User=1000",
        "DropCapability=CHOWN NET_ADMIN",
        "AddCapability=NET_RAW SYS_TIME",
        "ReadOnly=true",
        "AddDevice=/dev/fuse",
    ]


def test_all_capabilities_but_one_can_be_dropped() -> None:
    context = {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}
    keys = ("DropCapability", "AddCapability")
    assert lines({"container": {"securityContext": context}}, *keys) == [
        "DropCapability=ALL",
        "AddCapability=NET_BIND_SERVICE",
    ]


def test_host_root_has_no_user_namespace() -> None:
    assert lines({"isolation": "host-root"}, "UIDMap", "GIDMap", uid_base=0) == []


def test_resources() -> None:
    amounts = {
        "requests": {"cpu": "250m", "memory": "128Mi"},
        "limits": {"cpu": "1255m", "memory": "1Gi"},
    }
    keys = ("CPUQuota", "MemoryMax", "CPUWeight", "MemoryLow")
    assert lines({"container": {"resources": amounts}}, *keys) == [
        "CPUQuota=125.5%",
        "MemoryMax=1073741824",
        "CPUWeight=25",
        "MemoryLow=134217728",
    ]


def test_gpus_are_the_placement_s() -> None:
    spec = {"container": {"resources": {"gpu": {"count": 2, "vendor": "amd"}}}}
    placed = msgspec.structs.replace(FIRST, gpus=(0, 3))
    made = template(spec).artifacts(placed)[0]
    assert made.content.decode().endswith(
        "\n[Container]\nAddDevice=amd.com/gpu=0\nAddDevice=amd.com/gpu=3\n"
    )
    assert made.digest == hashlib.sha256(made.content).hexdigest()


def probe(*command: str, **rest: int) -> dict[str, object]:
    return {"exec": {"command": list(command)}, **rest}


HEALTH = (
    *("HealthCmd", "HealthInterval", "HealthTimeout", "HealthRetries", "HealthStartPeriod"),
    *("HealthOnFailure", "HealthStartupCmd", "Notify"),
)


def test_liveness_by_command_kills() -> None:
    checked = probe("a", "b c", periodSeconds=2, initialDelaySeconds=1, failureThreshold=5)
    assert lines({"container": {"liveness": checked}}, *HEALTH) == [
        'HealthCmd=["a", "b c"]',
        "HealthInterval=2s",
        "HealthTimeout=3s",
        "HealthRetries=5",
        "HealthStartPeriod=1s",
        "HealthOnFailure=kill",
    ]


@pytest.mark.parametrize(
    "checked",
    [
        {"readiness": probe("r")},
        {"readiness": {"http": {"port": 80}}, "liveness": {"tcp": {"port": 80}}},
    ],
    ids=["readiness by command", "by network"],
)
def test_all_other_checks_are_the_agent_s(checked: dict[str, object]) -> None:
    assert lines({"container": checked}, *HEALTH) == []


def test_readiness_changes_nothing_of_liveness() -> None:
    both = {"readiness": probe("r", successThreshold=2), "liveness": probe("l")}
    assert lines({"container": both}, *HEALTH) == lines(
        {"container": {"liveness": probe("l")}}, *HEALTH
    )


def volumes(mounts: Sequence[Mapping[str, str]], *sources: Mapping[str, object]) -> Fields:
    return {"container": {"volumeMounts": mounts}, "volumes": list(sources)}


KEYS = ("Volume", "Mount", "PodmanArgs", "RequiresMountsFor", "AssertPathExists", "ExecStartPre")


def test_every_kind_of_volume() -> None:
    names = ("own", "all", "dir", "conf", "cert", "ram")
    spec = volumes(
        [{"name": name, "mountPath": f"/{name}"} for name in names],
        {"name": "own", "simpleClusterStorage": {}},
        {"name": "all", "simpleClusterStorage": {"shared": True}},
        {"name": "dir", "hostMount": {"hostPath": "/srv/x"}},
        {"name": "conf", "config": {"name": "conf"}},
        {"name": "cert", "secret": {"name": "tls"}},
        {"name": "ram", "tmpfs": {"size": "1Ki"}},
    )
    assert lines(spec, *KEYS) == [
        "Volume=/var/lib/kat/volumes/shop/web/all:/all",
        "Volume=/srv/x:/dir",
        "Volume=/var/lib/kat/config/shop/conf/0123456789ab:/conf:ro",
        "Mount=type=tmpfs,target=/ram,tmpfs-size=1024,tmpfs-mode=1777",
        'ExecStartPre=/usr/bin/test "!" -L /srv -a "!" -L /srv/x',
        "ExecStartPre=/usr/bin/test -d /srv/x",
        "AssertPathExists=/run/kat/secrets/kat.shop.web.0-1/cert",
        "Volume=/var/lib/kat/volumes/shop/web/own/0:/own",
        "Volume=/run/kat/secrets/kat.shop.web.0-1/cert:/cert:ro",
        'ExecStartPre=/usr/bin/test "!" -L /var/lib/kat/volumes/shop/web/own/0',
    ]


@pytest.mark.parametrize(
    ("ensured", "checks"),
    [
        ("Directory", ["test -d"]),
        ("DirectoryOrCreate", ["mkdir -p", "test -d"]),
        ("File", ["test -f"]),
        ("FileOrCreate", ["touch -a", "test -f"]),
        ("Socket", ["test -S"]),
    ],
)
def test_host_paths_are_ensured_before_the_start(ensured: str, checks: list[str]) -> None:
    source = {"name": "a", "hostMount": {"hostPath": "/x y", "ensureType": ensured}}
    spec = volumes([{"name": "a", "mountPath": "/a"}], source)
    all_checks = ['test "!" -L', *checks]
    assert lines(spec, "ExecStartPre") == [f'ExecStartPre=/usr/bin/{c} "/x y"' for c in all_checks]


def test_a_part_of_a_writable_volume_must_not_be_a_link() -> None:
    mount = {"name": "a", "mountPath": "/a", "subPath": "b/c"}
    spec = volumes([mount], {"name": "a", "simpleClusterStorage": {"shared": True}})
    folder = "/var/lib/kat/volumes/shop/web/a"
    assert lines(spec, "Volume", "ExecStartPre") == [
        f"Volume={folder}/b/c:/a",
        f'ExecStartPre=/usr/bin/test "!" -L {folder}/b -a "!" -L {folder}/b/c',
    ]


def test_an_own_part_of_a_volume_must_not_be_a_link_either() -> None:
    mount = {"name": "a", "mountPath": "/a", "subPath": "b"}
    spec = volumes([mount], {"name": "a", "simpleClusterStorage": {}})
    folder = "/var/lib/kat/volumes/shop/web/a/0"
    assert lines(spec, "ExecStartPre") == [
        f'ExecStartPre=/usr/bin/test "!" -L {folder} -a "!" -L {folder}/b',
    ]


def test_a_host_path_is_no_link_below_what_is_allowed() -> None:
    mount = {"name": "a", "mountPath": "/a", "subPath": "z"}
    spec = volumes([mount], {"name": "a", "hostMount": {"hostPath": "/srv/x//y/"}})
    of = replace(planned(spec), host_roots={"a": "/srv"})
    (one,) = unit_template(of, CLUSTER).artifacts(FIRST)
    written = one.content.decode().splitlines()
    checks = [line for line in written if line.startswith("ExecStartPre=")]
    assert checks[0] == (
        'ExecStartPre=/usr/bin/test "!" -L /srv/x -a "!" -L /srv/x/y -a "!" -L /srv/x/y/z'
    )


def test_the_allowed_path_itself_may_be_a_link() -> None:
    mount = {"name": "a", "mountPath": "/a"}
    spec = volumes([mount], {"name": "a", "hostMount": {"hostPath": "/srv/"}})
    of = replace(planned(spec), host_roots={"a": "/srv"})
    (one,) = unit_template(of, CLUSTER).artifacts(FIRST)
    assert " -L " not in one.content.decode()


def test_many_parts_are_checked_in_several_lines() -> None:
    mount = {"name": "a", "mountPath": "/a", "subPath": "/".join("b" * 20)}
    spec = volumes([mount], {"name": "a", "simpleClusterStorage": {"shared": True}})
    assert [line.count(" -L ") for line in lines(spec, "ExecStartPre")] == [16, 4]


def test_an_own_volume_at_an_odd_path_keeps_its_ordinal() -> None:
    mount = {"name": "a", "mountPath": "/a:b"}
    spec = volumes([mount], {"name": "a", "simpleClusterStorage": {}})
    own = unit(spec).partition("# This instance\n")[2]
    source = "/var/lib/kat/volumes/shop/web/a/0"
    assert f"\nRequiresMountsFor={source}\n" in own
    variable = rf"KAT_1=type=bind,\"source={source}\",\"target=/a:b\""
    check = f'ExecStartPre=/usr/bin/test "!" -L {source}'
    assert f'\n[Service]\n{check}\nEnvironment="{variable}"\n' in own


def test_secrets_are_references() -> None:
    reference = {"secret": {"name": "db", "key": "pw"}}
    spec = {
        "container": {
            "env": [{"name": "PW", "valueFrom": reference}],
            "volumeMounts": [{"name": "cert", "mountPath": "/c"}],
        },
        "volumes": [{"name": "cert", "secret": {"name": "tls", "mode": "0440", "user": 5}}],
    }
    folder = "/run/kat/secrets/kat.shop.web.0-1"
    assert lines(spec, "Environment", "EnvironmentFile", "AssertPathExists") == [
        f"AssertPathExists={folder}/env/PW",
        f"AssertPathExists={folder}/cert",
        f"EnvironmentFile={folder}/env/PW",
    ]
    instance = InstanceKey("shop/web/0-1")
    assert template(spec).secret_slots(FIRST) == (
        SecretSlot(instance, "shop/db", "pw", f"{folder}/env/PW", 0o400, 0),
        SecretSlot(instance, "shop/tls", "crt", f"{folder}/cert/crt", 0o440, 200_005),
        SecretSlot(instance, "shop/tls", "key", f"{folder}/cert/key", 0o440, 200_005),
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            {"condition": "OnFailure", "maxRestarts": 3, "resetSeconds": 60, "backoffSeconds": 5},
            ["StartLimitIntervalSec=60", "StartLimitBurst=4", "Restart=on-failure", "RestartSec=5"],
        ),
        (
            {"condition": "Never", "maxRestarts": 0},
            ["StartLimitIntervalSec=0", "Restart=no", "RestartSec=1"],
        ),
    ],
)
def test_restart_policies(policy: dict[str, object], expected: list[str]) -> None:
    keys = ("Restart", "RestartSec", "StartLimitIntervalSec", "StartLimitBurst")
    assert lines({"restartPolicy": policy}, *keys) == expected


def test_stopping() -> None:
    container = {"stopSignal": "SIGQUIT", "stopTimeoutSeconds": 5, "init": True}
    keys = ("RunInit", "StopSignal", "StopTimeout", "TimeoutStopSec", "SuccessExitStatus")
    assert lines({"container": container}, *keys) == [
        "RunInit=true",
        "StopSignal=SIGQUIT",
        "StopTimeout=5",
        "SuccessExitStatus=131",
        "TimeoutStopSec=15",
    ]


def test_a_job_runs_once_and_leaves_a_mark() -> None:
    job = {"backoffLimit": 2, "backoffSeconds": 3, "activeDeadlineSeconds": 60}
    text = unit({"type": "Job"}, job=job)
    mark = "/var/lib/kat/runs/kat.shop.web.0-1"
    assert "[Install]" not in text
    assert "\nLogDriver=passthrough\n" in text
    assert "\nType=oneshot\nRestart=on-failure\nRestartSec=3\nTimeoutStartSec=60\n" in text
    assert "\nStartLimitIntervalSec=infinity\nStartLimitBurst=3\n" in text
    assert f"\nConditionPathExists=!{mark}\n" in text
    assert f"\nExecStartPost=/usr/bin/install -D -m 0600 /dev/null {mark}\n" in text


def test_a_scheduled_job_leaves_no_mark_and_starts_with_its_timer_only() -> None:
    made = template({"type": "Job"}, job={"schedule": "@daily", "backoffLimit": 0}).artifacts(FIRST)
    text = made[0].content.decode()
    assert "[Install]" not in text
    assert "/var/lib/kat/runs" not in text
    assert "\nRestart=no\n" in text
    assert "\nStartLimitIntervalSec=0\n" in text
    assert [(one.unit, one.activation) for one in made] == [
        ("kat.shop.web.0-1.service", Activation.NONE),
        ("kat.shop.web.timer", Activation.DAEMON_RELOAD),
        ("", Activation.DAEMON_RELOAD),
    ]


def test_retries_of_a_scheduled_job_are_counted_since_its_timer() -> None:
    job = {"schedule": "@daily", "backoffLimit": 2}
    script = r'"test \"$$(systemctl show -P NRestarts \"$$1\")\" -le \"$$2\""'
    shown = lines({"type": "Job"}, "ExecCondition", job=job)
    assert shown == [f"ExecCondition=/bin/sh -c {script} sh %n 2"]


COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = {"url": "https://git.example/shop/web.git", "commit": COMMIT}


def test_a_build_is_made_once_per_commit_and_settings() -> None:
    settings = {
        "buildContext": "app",
        "dockerfilePath": "build/Dockerfile",
        "buildArgs": {"B": "a b", "A": ";"},
        "targetStage": "run",
        "platform": "linux/arm64/v8",
        "registry": "registry.example/x",
    }
    (made,) = build(planned({"source": {"git": GIT}}, build=settings), CLUSTER)
    image = f"registry.example/x/shop/web:{COMMIT}-901e43d8"
    assert made.path == "/etc/containers/systemd/kat/kat.shop.web.build"
    assert made.unit == "kat.shop.web-build.service"
    assert (
        made.content.decode()
        == f"""\
# Managed by KAT: the image of workload shop/web.

[Quadlet]
DefaultDependencies=false

[Unit]
Description=Image of shop/web of KAT
PartOf=kat.shop.target

[Build]
ImageTag={image}
SetWorkingDirectory=https://git.example/shop/web.git#{COMMIT}:app
File=build/Dockerfile
PodmanArgs=--build-arg "A=;"
PodmanArgs=--build-arg "B=a b"
Target=run
Arch=arm64
Variant=v8

[Service]
ExecCondition=/bin/sh -c "! /usr/bin/podman image exists \\"$$1\\"" sh {image}
TimeoutStartSec=infinity
"""
    )


def test_an_instance_of_a_build_waits_for_it() -> None:
    spec = {"source": {"git": GIT}}
    shown = lines(spec, "Image", "Pull", "Requires", "After", build={})
    assert shown == [
        "Requires=kat-nft.service kat.shop.web-build.service",
        "After=network.target kat-network.service kat-nft.service kat.shop.web-build.service",
        f"Image=localhost/kat/shop/web:{COMMIT}-36823c63",
        "Pull=never",
    ]


def test_a_workload_with_an_image_has_no_build() -> None:
    assert build(planned({}), CLUSTER) == ()


def test_what_no_grammar_carries_stops_the_render() -> None:
    good = planned({})
    container = good.objects.workload.spec.container.model_copy(update={"args": ("a\0b",)})
    spec = good.objects.workload.spec.model_copy(update={"container": container})
    workload = good.objects.workload.model_copy(update={"spec": spec})
    broken = type(good)(good.key, type(good.objects)(workload), good.plan, isolated=False)
    with pytest.raises(EncodeError, match=r"U\+0000"):
        unit_template(broken, CLUSTER)
