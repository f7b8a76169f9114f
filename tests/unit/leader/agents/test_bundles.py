"""What agents may fetch, for how long, and what it costs the leader."""

from dataclasses import replace
from time import thread_time

import msgspec
import pytest

from katgen.leader.agents.bundles import KEPT, LEAST, RENDERED_AT_ONCE, WORK_KEPT, Bundles
from katgen.names import NodeName
from katgen.plan import PlanState, advance, start
from katgen.render.change import rerender
from katgen.render.cluster import Counters, Rendered, render
from tests.bench import synthetic

ONE, TWO = NodeName("node-00000"), NodeName("node-00001")
IMAGE = "registry.example/shop/web:{}"


@pytest.fixture(scope="module")
def state() -> PlanState:
    return start(synthetic.specs(60, 4), synthetic.inventory(2)).state


@pytest.fixture(scope="module")
def first(state: PlanState) -> Rendered:
    return render(state.plan)


def changed(state: PlanState, before: Rendered, times: int) -> list[Rendered]:
    """Return what follows when the same workload gets another image so many times."""
    key, made = synthetic.workload_key(0), [before]
    now = start(state.plan.specs, state.plan.inventory, state.plan).state
    for number in range(times):
        objects = synthetic.objects(0, 4, IMAGE.format(f"other-{number}"))
        specs = replace(now.plan.specs, workloads={**now.plan.specs.workloads, key: objects})
        now = advance(now, specs, [key]).state
        made.append(rerender(made[-1], now.plan))
    return made[1:]


def offering(*generations: Rendered) -> Bundles:
    bundles = Bundles()
    for number, rendered in enumerate(generations, 1):
        bundles.put(number, rendered)
    return bundles


def kept(rendered: Rendered, had_by_all: int = 0, count: int = 100) -> tuple[int, ...]:
    """Return which are kept of so many generations that each cost as much as this one."""
    bundles = Bundles(lambda: had_by_all)
    for number in range(1, count + 1):
        bundles.put(number, rendered)
        bundles.keep_until(number)
    return bundles.generations


def test_a_node_finds_all_of_its_files_and_none_of_another_s(first: Rendered) -> None:
    bundles = offering(first)
    files = {node: {one.digest: one.content for one in first.files(node)} for node in (ONE, TWO)}
    wanted = [*files[ONE], *files[TWO], "0" * 64]
    assert bundles.contents(ONE, wanted) == files[ONE]
    assert bundles.contents(TWO, wanted) == files[TWO]
    assert bundles.contents(NodeName("gone"), wanted) == {}


def test_a_file_alone_is_found_wherever_it_comes_from(first: Rendered) -> None:
    bundles = offering(first)
    for one in first.files(ONE):
        assert bundles.contents(ONE, [one.digest]) == {one.digest: one.content}, one.path


def test_a_set_that_a_node_does_not_carry_is_not_handed_out(first: Rendered) -> None:
    files = first.nodes[ONE]
    alone = replace(files, manifest=msgspec.structs.replace(files.manifest, shared_sets=("base",)))
    bundles = offering(replace(first, nodes={**first.nodes, ONE: alone}))
    digests = [one.digest for one in first.shared["open/n0"].artifacts]
    assert len(bundles.contents(TWO, digests)) == len(digests)
    assert bundles.contents(ONE, digests) == {}


def test_files_of_earlier_generations_are_found(state: PlanState, first: Rendered) -> None:
    later = changed(state, first, 2)
    bundles = offering(first, *later)
    for rendered in (first, *later):
        files = {one.digest: one.content for one in rendered.files(ONE)}
        assert bundles.contents(ONE, files) == files


def test_of_very_many_generations_one_answer_has_some_and_the_next_the_others(
    state: PlanState, first: Rendered
) -> None:
    later = changed(state, first, RENDERED_AT_ONCE + 2)
    bundles = offering(*later)
    own = [{e.digest for e in one.nodes[ONE].manifest.entries} for one in later]
    wanted = own[0].union(*own[1:]) - own[0].intersection(*own[1:])
    answers = 0
    while wanted:
        found = bundles.contents(ONE, wanted)
        assert found
        wanted -= found.keys()
        answers += 1
    assert answers == 2


def test_what_no_bundle_lists_costs_no_rendering(first: Rendered) -> None:
    bundles = offering(*[first] * KEPT)
    begun = thread_time()
    list(first.files(ONE))
    once = thread_time() - begun
    begun = thread_time()
    assert bundles.contents(ONE, ["0" * 64]) == {}
    assert thread_time() - begun < once * KEPT / 8


def test_generations_that_have_most_in_common_are_kept_for_who_is_slow(first: Rendered) -> None:
    small = replace(first, counters=Counters(2, 2, 1))
    assert kept(small) == tuple(range(101 - KEPT, 101))


def test_generations_that_have_nothing_in_common_are_kept_by_their_size(first: Rendered) -> None:
    quarter = replace(first, counters=Counters(WORK_KEPT // 4, 0, 0))
    assert kept(quarter) == (97, 98, 99, 100)
    huge = replace(first, counters=Counters(WORK_KEPT * 2, 0, 0))
    assert kept(huge) == tuple(range(101 - LEAST, 101))


def test_what_every_node_has_gone_beyond_is_not_kept(first: Rendered) -> None:
    small = replace(first, counters=Counters(2, 2, 1))
    assert kept(small, had_by_all=98) == (98, 99, 100)
    assert kept(small, had_by_all=100) == (100,)
    assert kept(small, had_by_all=1000) == (100,)
