from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from katgen.bundle import Activation, Entry
from katgen.diff import Action, Files, Verb, changes, diff

QUADLETS = "/etc/containers/systemd/kat"


def instance(
    ordinal: str,
    incarnation: int,
    digest: str = "1",
    activation: Activation = Activation.START,
) -> Entry:
    stem = f"kat.shop.web.{ordinal}-{incarnation}"
    return Entry(
        path=f"{QUADLETS}/{stem}.container",
        digest=digest,
        activation=activation,
        unit=f"{stem}.service",
        pair_key=f"shop/web/{ordinal}",
    )


def loaded(name: str, digest: str = "1") -> Entry:
    return Entry(f"/etc/systemd/system/{name}", digest, 0o644, "root:root",
                 Activation.DAEMON_RELOAD, name)  # fmt: skip


def read(path: str, activation: Activation, digest: str = "1") -> Entry:
    return Entry(path, digest, activation=activation)


def files(*entries: Entry) -> Files:
    return {entry.path: entry for entry in entries}


def steps(actions: Sequence[Action]) -> list[tuple[str, str]]:
    return [(action.verb.value, action.unit or action.path) for action in actions]


def test_equal_files_need_nothing() -> None:
    assert diff(files(instance("0", 1)), files(instance("0", 1))) == ()


def test_a_new_instance_is_written_and_started_without_a_reload() -> None:
    assert diff({}, files(instance("0", 1))) == (
        Action(Verb.WRITE, f"{QUADLETS}/kat.shop.web.0-1.container", because="new"),
        Action(Verb.START, unit="kat.shop.web.0-1.service", because="new"),
    )


def test_an_instance_that_leaves_is_stopped_before_its_file_goes() -> None:
    assert diff(files(instance("0", 1)), {}) == (
        Action(Verb.STOP, unit="kat.shop.web.0-1.service", because="not wanted here any more"),
        Action(
            Verb.DELETE,
            f"{QUADLETS}/kat.shop.web.0-1.container",
            because="not wanted here any more",
        ),
    )


def test_a_stop_first_successor_is_written_when_its_predecessor_is_gone() -> None:
    old = instance("0", 1)
    new = instance("0", 2, activation=Activation.STOP_FIRST)
    actions = diff(files(old), files(new))
    assert steps(actions) == [
        ("stop", "kat.shop.web.0-1.service"),
        ("delete", f"{QUADLETS}/kat.shop.web.0-1.container"),
        ("write", f"{QUADLETS}/kat.shop.web.0-2.container"),
        ("start", "kat.shop.web.0-2.service"),
    ]
    assert actions[0].because == "kat.shop.web.0-2.service replaces it"
    assert actions[3].because == "replaces kat.shop.web.0-1.service, once it is stopped and gone"


def test_an_instance_whose_bytes_differ_under_its_id_is_kept_and_not_restarted() -> None:
    actions = diff(files(instance("0", 1, "1")), files(instance("0", 1, "2")))
    assert steps(actions) == [("keep", "kat.shop.web.0-1.service")]
    assert actions[0].because == "pending re-render: an instance's file is written once"


def test_a_changed_timer_is_reloaded_and_restarted() -> None:
    actions = diff(files(loaded("kat.shop.tidy.timer")), files(loaded("kat.shop.tidy.timer", "2")))
    assert steps(actions) == [
        ("write", "/etc/systemd/system/kat.shop.tidy.timer"),
        ("daemon-reload", ""),
        ("restart", "kat.shop.tidy.timer"),
    ]


def test_a_changed_target_is_not_restarted_because_its_members_would_be() -> None:
    actions = diff(files(loaded("kat.shop.target")), files(loaded("kat.shop.target", "2")))
    assert steps(actions) == [
        ("write", "/etc/systemd/system/kat.shop.target"),
        ("daemon-reload", ""),
    ]


def test_a_run_that_a_timer_starts_is_stopped_before_its_file_goes_and_never_started() -> None:
    run = instance("0", 1, activation=Activation.NONE)
    assert steps(diff({}, files(run))) == [("write", run.path)]
    assert steps(diff(files(run), {})) == [("stop", run.unit), ("delete", run.path)]


def test_a_changed_build_is_reloaded_and_built_again() -> None:
    def build(digest: str) -> Files:
        path, unit = f"{QUADLETS}/kat.shop.web.build", "kat.shop.web-build.service"
        entry = Entry(path, digest, activation=Activation.DAEMON_RELOAD, unit=unit, pair_key=path)
        return files(entry)

    assert steps(diff(build("1"), build("2"))) == [
        ("write", f"{QUADLETS}/kat.shop.web.build"),
        ("daemon-reload", ""),
        ("restart", "kat.shop.web-build.service"),
    ]


def test_needed_units_start_first_and_stop_last() -> None:
    some = files(
        loaded("kat.shop.web.0-build.service"),
        loaded("kat.shop.tidy.timer"),
        loaded("kat.shop.target"),
        loaded("kat-shop.slice"),
        instance("0", 1),
    )
    units = [action.unit for action in diff({}, some) if action.verb is Verb.START]
    assert units == [
        "kat.shop.target",
        "kat.shop.web.0-build.service",
        "kat.shop.web.0-1.service",
        "kat.shop.tidy.timer",
    ]
    units = [action.unit for action in diff(some, {}) if action.verb is Verb.STOP]
    assert units == [
        "kat.shop.tidy.timer",
        "kat.shop.web.0-1.service",
        "kat.shop.web.0-build.service",
        "kat.shop.target",
        "kat-shop.slice",
    ]


def test_each_reader_is_told_once_whatever_the_number_of_its_files() -> None:
    zones = [read(f"/var/lib/kat/dns/{n}.zone", Activation.DNS) for n in ("a", "b", "c")]
    rules = read("/etc/kat/kat.nft", Activation.NFT)
    link = read("/etc/systemd/network/50-kat0.network", Activation.NETWORKD)
    reloads = [a for a in diff({}, files(*zones, rules, link)) if a.verb is Verb.RELOAD]
    assert reloads == [
        Action(Verb.RELOAD, unit="systemd-networkd.service", because="50-kat0.network"),
        Action(Verb.RELOAD, unit="kat-nft.service", because="kat.nft"),
        Action(Verb.RELOAD, unit="kat-dns.service", because="a.zone and 2 more"),
    ]


def test_a_changed_mode_is_written_again() -> None:
    old = Entry("/etc/kat/x", "1", 0o644)
    assert steps(diff(files(old), files(Entry("/etc/kat/x", "1", 0o600)))) == [
        ("write", "/etc/kat/x")
    ]


def test_old_and_new_instances_pair_by_ordinal() -> None:
    old = files(instance("0", 1), instance("1", 2), instance("2", 3))
    new = files(instance("1", 4), instance("0", 5))
    pairs = [(c.old and c.old.unit, c.new and c.new.unit) for c in changes(old, new)]
    assert pairs == [
        ("kat.shop.web.0-1.service", "kat.shop.web.0-5.service"),
        ("kat.shop.web.1-2.service", "kat.shop.web.1-4.service"),
        ("kat.shop.web.2-3.service", None),
    ]


some_instances = st.builds(
    instance,
    st.sampled_from("012"),
    st.integers(1, 4),
    st.sampled_from("ab"),
    st.sampled_from([Activation.START, Activation.STOP_FIRST, Activation.NONE]),
)
some_loaded = st.builds(
    loaded, st.sampled_from(["a.timer", "b.target", "c.slice"]), st.sampled_from("ab")
)
some_read = st.builds(
    read,
    st.sampled_from(["/etc/x", "/etc/y", "/etc/z"]),
    st.sampled_from(list(Activation)),
    st.sampled_from("ab"),
)
bundles = st.lists(some_instances | some_loaded | some_read, max_size=12).map(
    lambda entries: files(*entries)
)


@given(bundles)
def test_no_bundle_differs_from_itself(bundle: Files) -> None:
    assert diff(bundle, bundle) == ()


def applied(actions: Sequence[Action], before: Files, target: Files) -> Files:
    after = dict(before)
    for action in actions:
        if action.verb is Verb.WRITE:
            after[action.path] = target[action.path]
        elif action.verb is Verb.DELETE:
            del after[action.path]
    return after


@given(bundles, bundles)
def test_the_actions_turn_one_bundle_into_the_other_but_for_kept_instances(
    before: Files, target: Files
) -> None:
    actions = diff(before, target)
    kept = {action.path for action in actions if action.verb is Verb.KEEP}
    assert kept == {
        path
        for path, entry in target.items()
        if path.endswith(".container") and path in before and before[path] != entry
    }
    wanted = {path: before[path] if path in kept else entry for path, entry in target.items()}
    assert applied(actions, before, target) == wanted


@given(bundles, bundles)
def test_no_unit_is_both_stopped_and_started_and_none_runs_without_its_file(
    before: Files, target: Files
) -> None:
    actions = diff(before, target)
    stopped = {action.unit for action in actions if action.verb is Verb.STOP}
    started = {action.unit for action in actions if action.verb in {Verb.START, Verb.RESTART}}
    assert not stopped & started
    assert not stopped & {entry.unit for entry in target.values()}
    assert started <= {entry.unit for entry in target.values()}


def test_what_a_reload_takes_up_is_gone_before_it() -> None:
    rules = read("/etc/kat/services/shop.nft", Activation.NFT)
    assert steps(diff(files(instance("0", 1), rules), {})) == [
        ("delete", "/etc/kat/services/shop.nft"),
        ("reload", "kat-nft.service"),
        ("stop", "kat.shop.web.0-1.service"),
        ("delete", f"{QUADLETS}/kat.shop.web.0-1.container"),
    ]


@given(bundles, bundles)
def test_steps_come_in_the_order_of_the_verbs(before: Files, target: Files) -> None:
    order = [Verb.WRITE, Verb.KEEP]  # both are about files, by path
    waiting = {p for p, e in target.items() if e.activation is Activation.STOP_FIRST}
    steps = [
        action
        for action in diff(before, target)
        if action.verb is not Verb.DELETE and action.path not in waiting
    ]
    verbs = [Verb.WRITE if a.verb in order else a.verb for a in steps]
    rank = {verb: number for number, verb in enumerate(Verb)}
    rank[Verb.RESTART] = rank[Verb.START]
    assert [rank[verb] for verb in verbs] == sorted(rank[verb] for verb in verbs)
