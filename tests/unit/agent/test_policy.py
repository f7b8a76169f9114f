import pytest

from agent.policy import Policy, complaints, load_policy
from agent.ports import UnfitError
from tests.environment import REPOSITORY
from tests.fakes import FakeNode

GOLDEN = REPOSITORY / "tests/golden"
QUADLET = "/etc/containers/systemd/kat/kat.ops.backup.0-1.container"
HOST_ROOT = next(GOLDEN.glob("host-root/want/*/etc/containers/systemd/kat/*")).read_text()
RULES = next(GOLDEN.glob("daemon/want/*/etc/kat/kat.nft")).read_text()


def beyond(policy: str, text: str = HOST_ROOT, path: str = QUADLET) -> list[str]:
    node = FakeNode()
    node.files.put("/etc/kat/policy", policy.encode())
    return [c.text for c in complaints(load_policy(node.files), {path: ("digest", text)})]


def test_without_a_file_nothing_is_bounded() -> None:
    assert load_policy(FakeNode().files) == Policy()
    assert beyond("") == []


def test_host_root() -> None:
    assert beyond("allowHostRoot = false") == [
        "host-root is not allowed here: root inside would be root of this machine"
    ]


def test_host_paths_below_those_listed() -> None:
    assert beyond('hostPaths = ["/etc"]') == ["the host path /var/lib/backups is not allowed here"]
    assert beyond('hostPaths = ["/etc", "/var/lib"]') == []


def with_lines(*lines: str) -> str:
    """Return the unit with more lines in [Container]."""
    return HOST_ROOT.replace("[Container]\n", "\n".join(("[Container]", *lines, "")), 1)


def test_kats_own_storage_is_no_host_path() -> None:
    source = "/var/lib/kat/volumes/ops/backup/data"
    assert beyond(
        'hostPaths = ["/etc", "/var/lib/backups"]', with_lines(f"Volume={source}:/d")
    ) == ([])


def test_the_storage_of_another_workload_is_one() -> None:
    text = with_lines("Volume=/var/lib/kat/volumes/shop/db/data:/d")
    assert beyond('hostPaths = ["/etc", "/var/lib/backups"]', text) == [
        "the host path /var/lib/kat/volumes/shop/db/data is not allowed here"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "/var/lib/kat/agent",
        "/var/lib/kat/leader/ca.key",
        "/var/lib/kat/wireguard",
        "//var/lib//kat/agent",
        "/run/kat/secrets/kat.shop.db.0-1/database",
        "/var/run/kat/staged",
    ],
)
def test_what_kat_lives_on_is_for_no_container(source: str) -> None:
    assert beyond("", with_lines(f"Volume={source}:/d")) == [
        f"{source} is KAT's own, and no container sees it"
    ]


def test_a_part_of_a_volume_is_mounted_only_if_it_is_looked_at_for_links() -> None:
    source = "/var/lib/kat/volumes/ops/backup/data/0/sub"
    assert beyond("", with_lines(f"Volume={source}:/d")) == [
        f"'{source}' could be a link that a container made"
    ]


def test_devices() -> None:
    assert beyond("devices = []") == ["the device /dev/fuse is not allowed here"]
    assert beyond('devices = ["/dev/fuse"]') == []


def test_devices_of_a_vendor_by_kind_or_one_by_one() -> None:
    text = with_lines("AddDevice=nvidia.com/gpu=0", "AddDevice=nvidia.com/gpu=1")
    assert beyond('devices = ["/dev/fuse", "nvidia.com/gpu"]', text) == []
    assert beyond('devices = ["/dev/fuse", "nvidia.com/gpu=0"]', text) == [
        "the device nvidia.com/gpu=1 is not allowed here"
    ]


def test_a_device_below_one_that_is_listed_but_for_two_dots() -> None:
    assert beyond("", with_lines("AddDevice=/dev/dri/../sda")) == [
        "AddDevice='/dev/dri/../sda' is none"
    ]


def test_capabilities() -> None:
    assert beyond("capabilities = []") == ["the capability SYS_ADMIN is not allowed here"]
    assert beyond('capabilities = ["CAP_SYS_ADMIN"]') == []


def test_namespaces() -> None:
    assert beyond('namespaces = ["shop"]') == ["namespace ops may not run here"]


def test_a_build_is_of_a_namespace_too() -> None:
    found = next(GOLDEN.glob("git-build-service/want/*/etc/containers/systemd/kat/*.build"))
    path = f"/etc/containers/systemd/kat/{found.name}"
    assert beyond('namespaces = ["shop"]', found.read_text(), path) == [
        "namespace default may not run here"
    ]


def test_what_tmpfiles_makes_is_bounded_like_mounts() -> None:
    text = next(GOLDEN.glob("host-root/want/*/etc/tmpfiles.d/kat.conf")).read_text()
    path = "/etc/tmpfiles.d/kat.conf"
    assert beyond("", text, path) == []
    assert beyond("hostPaths = []", text, path) == [
        "the host path /var/lib/backups is not allowed here"
    ]
    assert beyond("allowHostRoot = false", text, path) == [
        "host-root is not allowed here, but /var/lib/backups would belong to user 0"
    ]


def test_host_ports() -> None:
    nft = "/etc/kat/kat.nft"
    assert beyond("hostPorts = []", RULES, nft) == ["the host port 9100 is not allowed here"]
    assert beyond('hostPorts = ["9000-9200"]', RULES, nft) == []
    assert beyond("hostPorts = [9100]", RULES, nft) == []


@pytest.mark.parametrize(
    "text",
    [
        "hostPath = []",
        'hostPorts = ["x"]',
        "hostPorts = [70000]",
        "allowHostRoot = 'no'",
        "= broken",
        'drift = "sometimes"',
    ],
)
def test_a_policy_that_is_not_understood_stops_everything(text: str) -> None:
    node = FakeNode()
    node.files.put("/etc/kat/policy", text.encode())
    with pytest.raises(UnfitError, match=r"^/etc/kat/policy: "):
        load_policy(node.files)
