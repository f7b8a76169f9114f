"""What every machine must do, by name. Each case runs on the fake and on a real node."""

from contextlib import aclosing

from agent.endpoints.elements import Elements, changes
from agent.ports import PullError, UnfitError, UnitError
from katgen.protocol import ReadLogs
from tests.contract.agent.world import IMAGE, Case, World, during, first, refusal, soon

START_S = 20


async def a_started_unit_is_active_and_loaded(world: World) -> None:
    world.service("kat.c1.service")
    await world.ports.systemd.start("kat.c1.service", START_S)
    state = (await world.ports.systemd.states(["kat.c1.service"]))["kat.c1.service"]
    assert [state.load_state, state.active_state] == ["loaded", "active"]
    assert state.sub_state == "running"
    assert state.fragment == "/run/systemd/system/kat.c1.service"
    assert not state.need_reload


async def a_stopped_unit_is_not_loaded_any_more(world: World) -> None:
    world.service("kat.c2.service")
    await world.ports.systemd.start("kat.c2.service", START_S)
    await world.ports.systemd.stop("kat.c2.service", START_S)
    states = await world.ports.systemd.states(["kat.c2.service"])
    assert states["kat.c2.service"].load_state == "not-found"


async def a_unit_that_does_not_start_says_so_until_it_is_reset(world: World) -> None:
    world.service("kat.c3.service", "fails")
    systemd = world.ports.systemd
    text = await refusal(systemd.start("kat.c3.service", START_S), UnitError)
    assert text == "kat.c3.service: failed"
    state = (await systemd.states(["kat.c3.service"]))["kat.c3.service"]
    assert (state.active_state, state.result, state.exit_code) == ("failed", "exit-code", 1)
    await systemd.reset_failed("kat.c3.service")
    assert await systemd.loaded("kat.c3.*") == ()


async def an_unknown_unit_cannot_be_started_and_need_not_be_stopped(world: World) -> None:
    systemd = world.ports.systemd
    text = await refusal(systemd.start("kat.none.service", START_S), UnitError)
    assert text == "kat.none.service: not-found"
    assert await refusal(systemd.begin("kat.none.service"), UnitError) == text
    await systemd.stop("kat.none.service", START_S)
    await systemd.reset_failed("kat.none.service")


async def a_start_that_takes_too_long_is_given_up(world: World) -> None:
    world.service("kat.c4.service", "hangs")
    text = await refusal(world.ports.systemd.start("kat.c4.service", 0.3), UnfitError)
    assert "kat.c4.service" in text
    assert "has not ended after 0.3 s" in text


async def a_start_can_be_begun_without_waiting(world: World) -> None:
    world.service("kat.c5.service", "hangs")
    await soon(world.ports.systemd.begin("kat.c5.service"))


async def a_reload_starts_what_does_not_run(world: World) -> None:
    world.service("kat.c6.service")
    await world.ports.systemd.reload("kat.c6.service", START_S)
    found = await world.ports.systemd.loaded("kat.c6.*")
    assert [(one.unit, one.active_state) for one in found] == [("kat.c6.service", "active")]


async def a_unit_whose_file_is_gone_needs_a_reload(world: World) -> None:
    world.service("kat.c7.service")
    systemd = world.ports.systemd
    await systemd.start("kat.c7.service", START_S)
    world.ports.files.delete("/run/systemd/system/kat.c7.service")
    assert (await systemd.states(["kat.c7.service"]))["kat.c7.service"].need_reload
    world.service("kat.c7.service")
    await systemd.daemon_reload()
    assert not (await systemd.states(["kat.c7.service"]))["kat.c7.service"].need_reload


async def the_change_of_a_unit_is_told(world: World) -> None:
    world.service("kat.c8.service")

    async def restart() -> None:
        await world.ports.systemd.restart("kat.c8.service", START_S)

    await during(world.ports.systemd.changes(), restart, lambda unit: unit == "kat.c8.service")


async def only_a_unit_that_runs_is_tried_to_restart(world: World) -> None:
    systemd = world.ports.systemd
    world.service("kat.c10.service")
    await systemd.try_restart("kat.c10.service", START_S)
    assert (await systemd.states(["kat.c10.service"]))["kat.c10.service"].active_state != "active"
    await systemd.start("kat.c10.service", START_S)
    await systemd.try_restart("kat.c10.service", START_S)
    assert (await systemd.states(["kat.c10.service"]))["kat.c10.service"].active_state == "active"


async def a_program_is_run_and_its_end_told(world: World) -> None:
    systemd = world.ports.systemd
    assert await systemd.run_program("check-1.service", ["/bin/true"], START_S) == 0
    assert await systemd.run_program("check-2.service", ["/bin/false"], START_S) == 1
    assert await systemd.loaded("check-*") == ()


async def a_machine_that_stays_up_is_not_about_to_stop(world: World) -> None:
    assert not await world.ports.systemd.is_stopping()


async def a_running_unit_has_a_cgroup_and_others_have_none(world: World) -> None:
    world.service("kat.c9.service")
    await world.ports.systemd.start("kat.c9.service", START_S)
    groups = await world.ports.systemd.control_groups(["kat.c9.service", "kat.none.service"])
    assert groups["kat.c9.service"].endswith("/kat.c9.service")
    assert groups["kat.none.service"] == ""


async def an_image_of_no_registry_has_no_digest(world: World) -> None:
    assert await world.ports.podman.digest(IMAGE) == ""
    assert await world.ports.podman.digest("localhost/none:1") is None


async def an_image_that_is_here_is_not_pulled(world: World) -> None:
    for policy in ("IfNotPresent", "Never"):
        async with aclosing(world.ports.podman.pull(IMAGE, policy, START_S)) as progress:
            assert [line async for line in progress if "Trying" in line] == []


async def a_pull_that_fails_says_which_image_and_why(world: World) -> None:
    image = "localhost:1/none/x:1"
    lines = world.ports.podman.pull(image, "Always", START_S)
    text = await refusal(first(lines, lambda _: False), PullError)
    assert image in text
    lines = world.ports.podman.pull("localhost/none:1", "Never", START_S)
    assert "localhost/none:1" in await refusal(first(lines, lambda _: False), PullError)


async def containers_of_ours_are_listed_and_removed(world: World) -> None:
    await world.run_container("kat.c.d.0-1")
    await world.run_container("somebodys")
    podman = world.ports.podman
    (ours,) = await podman.containers()
    assert (ours.name, ours.running) == ("kat.c.d.0-1", True)
    assert IMAGE in (await podman.images())[ours.image_id]
    assert not await podman.remove_image(IMAGE)
    await podman.remove("kat.c.d.0-1")
    await podman.remove("kat.c.d.0-1")
    assert await podman.containers() == ()


async def the_digest_of_the_rules_is_theirs_alone(world: World) -> None:
    network = world.ports.network
    assert (await network.rules()).digest == ""
    await world.load_rules("ip daddr 192.0.2.1 counter accept")
    loaded = (await network.rules()).digest
    await world.load_rules("ip daddr 192.0.2.2 counter accept")
    assert (await network.rules()).digest not in ("", loaded)
    await world.load_rules("ip daddr 192.0.2.1 counter accept")
    assert (await network.rules()).digest == loaded
    await world.flush_rules()
    assert (await network.rules()).digest == ""


async def elements_of_endpoint_state_are_no_part_of_the_digest(world: World) -> None:
    network = world.ports.network
    await world.load_rules("ip daddr 192.0.2.1 counter accept")
    loaded = await network.rules()
    assert loaded.elements == Elements()
    wanted = Elements(
        {"10.101.0.5": "goto random-2", "10.101.0.6": "goto sticky-1"},
        {
            "10.101.0.5 . 0x4b000000": "10.100.1.10",
            "10.101.0.5 . 0x4b000001": "10.100.1.11",
            "10.101.0.6 . 0x4b800000": "10.100.1.10",
        },
        {"10.100.1.12 . tcp . 8080": "", "10.100.1.12 . udp . 53": ""},
    )
    await network.change_rules(changes(loaded.elements, wanted, loaded.chains))
    found = await network.rules()
    assert found.elements == wanted
    assert found.chains == {"random-2", "sticky-1"}
    assert found.digest == loaded.digest
    await network.change_rules(changes(wanted, Elements(), found.chains))
    assert (await network.rules()).elements == Elements()


async def a_change_that_is_refused_changes_nothing_and_says_why(world: World) -> None:
    network = world.ports.network
    await world.load_rules("ip daddr 192.0.2.1 counter accept")
    before = await network.generation()
    text = changes(Elements(), Elements({}, {}, {"10.100.1.12 . tcp . 8080": ""}), ())
    missing = changes(Elements({"10.101.0.5": "goto random-2"}), Elements(), ())
    said = await refusal(network.change_rules(text + missing), UnfitError)
    assert "No such file or directory" in said
    assert (await network.rules()).elements == Elements()
    assert await network.generation() == before


async def every_change_of_rules_counts_once(world: World) -> None:
    network = world.ports.network
    await world.load_rules("ip daddr 192.0.2.1 counter accept")
    first = await network.generation()
    text = changes(Elements(), Elements({}, {}, {"10.100.1.12 . tcp . 8080": ""}), ())
    assert await network.change_rules(text) == (first, first + 1)
    await network.rules()
    assert await network.generation() == first + 1
    await world.flush_rules()
    assert await network.generation() > first + 1


async def what_nft_can_destroy_is_found_out_without_a_change(world: World) -> None:
    network = world.ports.network
    before = await network.generation()
    probe = "table inet kat_probe {\n\tmap one { type ipv4_addr : ipv4_addr; }\n}\n"
    assert await network.takes_rules(f"{probe}destroy element inet kat_probe one {{ 192.0.2.1 }}\n")
    assert await network.generation() == before


async def udp_clients_of_who_does_not_answer_any_more_are_forgotten(world: World) -> None:
    every = [("10.101.0.5", "10.100.1.10"), ("10.101.0.5", "10.100.1.11")]
    every += [("10.101.0.6", "10.100.1.11"), ("10.101.0.7", "10.100.1.11")]
    for sport, one in enumerate(every, 40_000):
        await world.connect(*one, sport)
    assert await world.connected() >= set(every)
    network = world.ports.network
    assert await network.forget_udp({"10.101.0.5": ["10.100.1.10"]}) == 1
    assert await network.forget_udp({"10.101.0.5": ["10.100.1.10"]}) == 0
    assert await network.forget_udp({"10.101.0.6": (), "10.101.0.9": ()}) == 1
    left = {one for one in await world.connected() if one[0].startswith("10.101.")}
    assert left == {("10.101.0.5", "10.100.1.10"), ("10.101.0.7", "10.100.1.11")}


async def clients_who_were_led_to_nobody_are_forgotten(world: World) -> None:
    strays = {(f"10.101.1.{n}", f"10.101.1.{n}") for n in (5, 6, 7)}
    led = {("10.101.1.5", "10.100.1.10")}
    for sport, one in enumerate(sorted(strays | led), 41_000):
        await world.connect(*one, sport)
    network = world.ports.network
    assert await network.forget_untranslated(["10.101.1.5", "10.101.1.6", "10.100.1.10"]) == 2
    assert await network.forget_untranslated(["10.101.1.6"]) == 0
    assert await network.forget_untranslated(["10.101.1.7"]) == 1
    assert {one for one in await world.connected() if one[0].startswith("10.101.1.")} == led
    assert await network.forget_untranslated([]) == 0


async def a_flush_of_the_rules_is_told(world: World) -> None:
    await world.load_rules("ip daddr 192.0.2.1 counter accept")
    async with aclosing(world.ports.network.table_changes()) as changes:
        await soon(anext(changes))  # from here on they are heard
        await world.flush_rules()
        await soon(anext(changes))


async def the_link_of_an_address_is_found(world: World) -> None:
    assert await world.ports.network.interface_of("192.0.2.11") == "host0"
    assert await world.ports.network.interface_of("192.0.2.99") == ""
    assert (await world.ports.network.addresses())["host0"][0] == "192.0.2.11/24"


async def the_last_lines_of_a_unit_are_those_of_its_last_run(world: World) -> None:
    await world.log("kat.l1.service", "one", "two")
    await world.log("kat.l1.service", "one", "two")
    said = await world.ports.journal.tail("kat.l1.service", 9)
    assert [text for text in said if text in ("one", "two")] == ["one", "two"], said
    assert len(await world.ports.journal.tail("kat.l1.service", 1)) == 1
    assert await world.ports.journal.tail("kat.none.service", 9) == ()


async def new_entries_are_followed(world: World) -> None:
    journal = world.ports.journal
    entries = journal.read(ReadLogs("", ("kat.l2.service",), follow=True, everything=True))

    async def log() -> None:
        await world.log("kat.l2.service", "hello")

    line = await during(entries, log, lambda one: one.text == "hello")
    assert line.unit == "kat.l2.service"


async def facts_have_a_size_and_versions(world: World) -> None:
    facts = await world.ports.machine.facts()
    assert facts.cpu_millis >= 1000
    assert facts.memory_bytes > 1 << 27
    seen = facts.versions
    assert "" not in (seen.systemd, seen.podman, seen.netavark, seen.nft, seen.kernel)
    assert world.ports.machine.boot_id()


CASES: tuple[Case, ...] = (
    a_started_unit_is_active_and_loaded,
    a_stopped_unit_is_not_loaded_any_more,
    a_unit_that_does_not_start_says_so_until_it_is_reset,
    an_unknown_unit_cannot_be_started_and_need_not_be_stopped,
    a_start_that_takes_too_long_is_given_up,
    a_start_can_be_begun_without_waiting,
    a_reload_starts_what_does_not_run,
    a_unit_whose_file_is_gone_needs_a_reload,
    the_change_of_a_unit_is_told,
    only_a_unit_that_runs_is_tried_to_restart,
    a_program_is_run_and_its_end_told,
    a_running_unit_has_a_cgroup_and_others_have_none,
    an_image_of_no_registry_has_no_digest,
    an_image_that_is_here_is_not_pulled,
    a_pull_that_fails_says_which_image_and_why,
    containers_of_ours_are_listed_and_removed,
    the_digest_of_the_rules_is_theirs_alone,
    elements_of_endpoint_state_are_no_part_of_the_digest,
    a_change_that_is_refused_changes_nothing_and_says_why,
    every_change_of_rules_counts_once,
    what_nft_can_destroy_is_found_out_without_a_change,
    udp_clients_of_who_does_not_answer_any_more_are_forgotten,
    clients_who_were_led_to_nobody_are_forgotten,
    a_flush_of_the_rules_is_told,
    the_link_of_an_address_is_found,
    the_last_lines_of_a_unit_are_those_of_its_last_run,
    new_entries_are_followed,
    facts_have_a_size_and_versions,
)
