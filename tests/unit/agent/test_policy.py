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


def test_kats_own_storage_is_no_host_path() -> None:
    text = "[Container]\nUIDMap=0:1:2\nVolume=/var/lib/kat/volumes/shop/db/data/0:/data\n"
    assert beyond("hostPaths = []", text) == []


def test_a_way_out_of_kats_own_storage_is_one() -> None:
    text = "[Container]\nVolume=/var/lib/kat/../../etc:/data\n"
    assert beyond("hostPaths = []", text) == [
        "the host path /var/lib/kat/../../etc is not allowed here"
    ]


def test_a_bind_mount_of_the_other_kind_is_a_host_path_too() -> None:
    text = "[Container]\nMount=type=bind,source=/srv/a:b,destination=/x\n"
    assert beyond("hostPaths = []", text) == ["the host path /srv/a:b is not allowed here"]


def test_devices() -> None:
    assert beyond("devices = []") == ["the device /dev/fuse is not allowed here"]
    assert beyond('devices = ["/dev/fuse"]') == []


def test_devices_of_a_vendor_by_kind_or_one_by_one() -> None:
    text = "[Container]\nUIDMap=0:1:2\nAddDevice=nvidia.com/gpu=0\nAddDevice=nvidia.com/gpu=1\n"
    assert beyond('devices = ["nvidia.com/gpu"]', text) == []
    assert beyond('devices = ["nvidia.com/gpu=0"]', text) == [
        "the device nvidia.com/gpu=1 is not allowed here"
    ]


def test_a_device_below_one_that_is_listed_but_for_two_dots() -> None:
    text = "[Container]\nUIDMap=0:1:2\nAddDevice=/dev/dri/../sda\n"
    assert beyond('devices = ["/dev/dri"]', text) == ["the device /dev/sda is not allowed here"]


def test_capabilities() -> None:
    assert beyond("capabilities = []") == ["the capability SYS_ADMIN is not allowed here"]
    assert beyond('capabilities = ["CAP_SYS_ADMIN"]') == []


def test_namespaces() -> None:
    assert beyond('namespaces = ["shop"]') == ["namespace ops may not run here"]


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
