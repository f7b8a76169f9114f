from dataclasses import dataclass, field

from agent.observed.counts import Counts
from agent.ports import NodePorts
from tests.fakes.files import FakeFiles
from tests.fakes.journal import FakeJournal
from tests.fakes.machine import FakeClock, FakeMachine
from tests.fakes.network import FakeNetwork
from tests.fakes.podman import FakePodman
from tests.fakes.systemd import FakeSystemd
from tests.fakes.tools import FakeTools
from tests.fakes.trace import Trace

LEAVING = "/var/lib/kat/endpoints/_leaving.nft"
NFT_SERVICE = "kat-nft.service"
NFT_FILE = "/etc/kat/kat.nft"


@dataclass(slots=True)
class FakeNode:
    """A machine whose parts know each other; `kat-nft.service` is there and loads `kat.nft`.

    Of what that includes, only the elements of instances that leave are in the kernel after.
    """

    trace: Trace = field(default_factory=Trace)
    files: FakeFiles = field(init=False)
    podman: FakePodman = field(init=False)
    systemd: FakeSystemd = field(init=False)
    network: FakeNetwork = field(init=False)
    journal: FakeJournal = field(init=False)
    tools: FakeTools = field(init=False)
    machine: FakeMachine = field(init=False)
    clock: FakeClock = field(init=False)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.files = FakeFiles(self.trace)
        self.podman = FakePodman(self.trace)
        self.network = FakeNetwork(self.trace)
        self.journal = FakeJournal(self.trace)
        self.tools = FakeTools(self.files, self.trace)
        self.machine = FakeMachine(self.trace)
        self.clock = FakeClock()
        effects = {f"{kind} {NFT_SERVICE}": self._load for kind in ("start", "reload", "restart")}
        self.systemd = FakeSystemd(self.files, self.podman, self.trace, effects=effects)
        remain = b"[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        self.files.put(f"/usr/lib/systemd/system/{NFT_SERVICE}", remain)
        for one in ("sysusers", "tmpfiles-setup", "sysctl", "networkd"):
            self.files.put(f"/usr/lib/systemd/system/systemd-{one}.service", remain)

    @property
    def ports(self) -> NodePorts:
        """Return the machine as the agent sees it."""
        return NodePorts(
            self.files,
            self.systemd,
            self.podman,
            self.network,
            self.journal,
            self.tools,
            self.machine,
            self.clock,
            self.counts,
        )

    def reboot(self) -> None:
        """Start anew from disk: nothing runs, no rules are loaded, `/run` is empty."""
        self.files.lose_power()
        self.systemd.reboot()
        self.network.flush_unheard()
        self.machine.boot += "+"

    def _load(self) -> None:
        file = self.files.tree.get(NFT_FILE)
        leaving = self.files.tree.get(LEAVING)
        elements = leaving.content.decode() if file and leaving else ""
        self.network.load(file.content.decode() if file else "", elements)
