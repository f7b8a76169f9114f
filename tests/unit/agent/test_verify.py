import pytest

from agent.ports import Ran, UnfitError
from agent.stage import Staged, staged
from agent.verify import services, verify, verify_folder
from katgen.bundle import Activation, Artifact, artifact
from katgen.protocol import Facts, Versions
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, instance, rules, target_unit, zone

WEB = instance(0, 1)
SCRATCH = "/run/kat/staged/1"


def ready(*files: Artifact) -> tuple[FakeNode, Staged]:
    """Return a node and a proposal of these files whose contents it has."""
    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, *files)
    cluster.put_contents(node.ports)
    node.trace.clear()
    return node, staged(target, node.ports)


async def refused(node: FakeNode, proposal: Staged) -> list[tuple[str, str, str]]:
    return [(c.tool, c.path, c.text) for c in await verify(proposal, node.ports)]


async def test_a_sound_bundle_is_taken_and_nothing_but_scratch_is_written() -> None:
    node, proposal = ready(target_unit(), rules(), WEB, zone())
    assert await verify(proposal, node.ports) == ()
    assert all(step.startswith(f"files.write {SCRATCH}/") for step in node.trace.changes())
    assert node.trace.texts("systemd.") == []


async def test_the_same_files_are_asked_about_once() -> None:
    node, proposal = ready(target_unit(), rules(), WEB)
    await verify(proposal, node.ports)
    node.trace.clear()
    assert await verify(proposal, node.ports) == ()
    assert node.trace.texts("tools.run") == []
    assert node.trace.texts("machine.") == []


async def test_the_same_files_are_not_asked_about_later_by_the_same_tools() -> None:
    node, proposal = ready(target_unit(), rules(), WEB)
    await verify(proposal, node.ports)
    node.trace.clear()
    node.clock.boot_s += 60
    assert await verify(proposal, node.ports) == ()
    assert node.trace.texts("tools.run") == []


async def test_other_tools_are_asked_again() -> None:
    node, proposal = ready(WEB)
    await verify(proposal, node.ports)
    node.trace.clear()
    versions = Versions(podman="6.0.0")
    node.clock.boot_s += 60
    node.machine.told = Facts(1000, 1 << 30, versions=versions)
    await verify(proposal, node.ports)
    assert node.trace.texts("tools.run") != []


async def test_a_file_that_quadlet_skips_is_refused_in_its_words() -> None:
    node, proposal = ready(WEB)
    said = 'quadlet-generator[1]: converting "kat.shop.web.0-1.container": no such option'
    node.tools.answers["quadlet"] = lambda *_: Ran(1, "", said)
    assert await refused(node, proposal) == [
        ("quadlet", WEB.path, 'converting "kat.shop.web.0-1.container": no such option')
    ]


async def test_a_service_with_a_command_of_its_own_is_refused_before_any_tool_reads_it() -> None:
    node, proposal = ready(instance(0, 1, more="[Service]\nExecStart=/usr/bin/touch /x\n"))
    assert await refused(node, proposal) == [
        ("node", WEB.path, "line 11: KAT writes no such ExecStart= into [Service]")
    ]
    assert node.trace.texts("tools.run") == []


async def test_an_included_file_of_the_machine_is_not_even_read() -> None:
    node, proposal = ready(rules('include "/etc/shadow"\n'))
    assert await refused(node, proposal) == [
        ("node", rules().path, "line 1 is no line that KAT writes")
    ]
    assert node.trace.texts("tools.run") == []


async def test_what_a_tool_quotes_of_the_machines_files_stays_here() -> None:
    node, proposal = ready(rules())
    node.tools.refusals["nft"] = "/etc/shadow:1:1-4: Error: syntax error\nroot:$y$secret"
    with pytest.raises(UnfitError, match=r"^nft cannot check: it speaks of /etc/shadow$"):
        await verify(proposal, node.ports)


async def test_a_bare_semicolon_in_a_command_is_refused() -> None:
    node, proposal = ready(WEB)
    generated = f"{SCRATCH}/generated/{WEB.unit}"

    def inject(*_: object) -> Ran:
        service = b"[Service]\nExecStart=/usr/bin/podman run x ; /usr/bin/touch /x\n"
        node.files.put(generated, service)
        return Ran(0, "", "")

    node.tools.answers["quadlet"] = inject
    assert await refused(node, proposal) == [
        ("quadlet", WEB.path, "the service has 1 ExecStart= with 2 commands, not one of one")
    ]


async def test_what_systemd_says_of_a_unit_is_a_complaint_even_if_it_ends_well() -> None:
    node, proposal = ready(WEB)
    said = f"{SCRATCH}/generated/{WEB.unit}:7: Unknown key 'Wat' in section [Unit], ignoring."
    node.tools.answers["systemd-analyze"] = lambda *_: Ran(0, "", said)
    assert await refused(node, proposal) == [
        (
            "systemd-analyze verify",
            WEB.path,
            f"/generated/{WEB.unit}:7: Unknown key 'Wat' in section [Unit], ignoring.",
        )
    ]


async def test_what_systemd_says_of_others_is_not_this_bundles_fault() -> None:
    node, proposal = ready(WEB)
    said = "/etc/systemd/system/theirs.service:1: Unknown section 'X'. Ignoring."
    node.tools.answers["systemd-analyze"] = lambda *_: Ran(0, "", said)
    assert await refused(node, proposal) == []


async def test_a_tool_that_fails_over_something_else_makes_the_node_unfit() -> None:
    node, proposal = ready(rules())
    node.tools.refusals["nft"] = "netlink: Error: cache initialization failed"
    with pytest.raises(UnfitError, match="nft cannot check: netlink"):
        await verify(proposal, node.ports)


async def test_a_missing_tool_makes_the_node_unfit() -> None:
    node, proposal = ready(rules())
    node.tools.missing.add("nft")
    with pytest.raises(UnfitError, match="nft is not installed"):
        await verify(proposal, node.ports)


async def test_rules_are_checked_as_one_with_the_included_files_of_the_proposal() -> None:
    more = artifact("/etc/kat/services/shop.nft", "# x\n", activation=Activation.NFT)
    node, proposal = ready(rules('include "/etc/kat/services/*.nft"\n'), more)
    where = f"{SCRATCH}/nft/etc/kat"
    node.tools.refusals["nft"] = f"{where}/services/shop.nft:1:1-1: Error: syntax error"
    assert await refused(node, proposal) == [
        ("nft", more.path, "/etc/kat/services/shop.nft:1:1-1: Error: syntax error")
    ]
    assert node.files.tree[f"{where}/kat.nft"].content == (
        f'include "{where}/services/*.nft"\n'.encode()
    )


async def test_the_node_s_own_endpoints_are_not_checked_with_a_proposal() -> None:
    node, proposal = ready(rules('include "/var/lib/kat/endpoints/*.nft"\n'))
    node.files.put("/var/lib/kat/endpoints/shop.nft", b"of other rules")
    await verify(proposal, node.ports)
    assert node.files.tree[f"{SCRATCH}/nft/etc/kat/kat.nft"].content == (
        f'include "{SCRATCH}/nft/var/lib/kat/endpoints/*.nft"\n'.encode()
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the zone is empty: it has no SOA"),
        ("web.shop.example. 5 IN A 10.0.0.1", "line 1: the first record, and no other, is the SOA"),
        ("x", "line 1: no record of the form `name TTL IN TYPE data`"),
        (
            "shop.example. 5 IN SOA a. b. 1 2 3 4",
            "line 1: a. b. 1 2 3 4 is no data of SOA",
        ),
        (
            "other.example. 5 IN SOA a. b. 1 2 3 4 5",
            "line 1: other.example. is no name in shop.example",
        ),
    ],
)
async def test_a_zone_that_no_server_would_read_is_refused(text: str, fault: str) -> None:
    node, proposal = ready(artifact(zone().path, text, activation=Activation.DNS))
    assert await refused(node, proposal) == [("zone", zone().path, fault)]


async def test_a_timer_that_starts_nothing_is_refused() -> None:
    path = "/etc/systemd/system/kat.shop.job.timer"
    timer = artifact(path, "[Timer]\nUnit=kat.shop.job.0-9.service\nOnCalendar=daily\n")
    node, proposal = ready(timer)
    assert await refused(node, proposal) == [
        ("timer", path, "Unit=kat.shop.job.0-9.service is not on this node")
    ]


async def test_beyond_the_nodes_policy_no_tool_is_even_asked() -> None:
    node, proposal = ready(WEB)
    node.files.put("/etc/kat/policy", b'namespaces = ["ops"]\n')
    assert await refused(node, proposal) == [
        ("node policy", WEB.path, "namespace shop may not run here")
    ]
    assert node.trace.texts("tools.run") == []


async def test_services_are_made_anew_when_nothing_is_staged() -> None:
    node, proposal = ready(WEB)
    made = await services(proposal.target, [WEB.unit], node.ports)
    assert f"SourcePath={WEB.path}\n" in made[WEB.unit]


async def test_a_rendered_folder_is_checked_without_a_leader() -> None:
    node = FakeNode()
    broken = "[Container]\nContainerName=x\n"
    for one in (artifact(WEB.path, broken), rules(), zone()):
        node.files.put(f"/srv/out/a{one.path}", one.content)
    found = await verify_folder(node.ports, "/srv/out/a")
    assert {(c.tool, c.path) for c in found} == {("node", WEB.path)}
    assert node.files.below("/run/kat") == {}


async def test_a_quadlet_that_fails_over_no_file_is_the_machine_s_fault() -> None:
    node, proposal = ready(instance(0, 1))
    node.tools.answers["quadlet"] = lambda *_: Ran(1, "", "out of order\n")
    with pytest.raises(UnfitError, match=r"^quadlet ended with code 1: out of order$"):
        await verify(proposal, node.ports)
