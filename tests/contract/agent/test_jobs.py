"""How the end of a job is learned, and of an entry of the journal too long to hold."""

import asyncio

import pytest

from agent.jobs import KEPT, Jobs, LostError
from agent.journal import ENTRY_BYTES, _lines
from agent.systemd import unit_of_path


async def test_a_job_that_ends_before_anybody_waits_is_remembered() -> None:
    jobs = Jobs()
    jobs.ended("/job/1", "failed")
    assert await jobs.result("/job/1") == "failed"


async def test_who_waits_is_told_when_the_end_may_have_been_missed() -> None:
    jobs = Jobs()
    waiting = asyncio.create_task(jobs.result("/job/1"))
    await asyncio.sleep(0)
    jobs.lost()
    with pytest.raises(LostError):
        await waiting
    again = asyncio.create_task(jobs.result("/job/1"))
    await asyncio.sleep(0)
    jobs.ended("/job/1", "done")
    assert await again == "done"


async def test_only_the_last_results_are_kept() -> None:
    jobs = Jobs()
    for number in range(KEPT + 1):
        jobs.ended(f"/job/{number}", "done")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(jobs.result("/job/0"), 0)
    assert await jobs.result("/job/1") == "done"


def test_a_units_name_is_read_from_its_object_path() -> None:
    assert unit_of_path("kat_2eteam_5cx2da_2eweb_2e0_2d1_2eservice") == (
        "kat.team\\x2da.web.0-1.service"
    )


async def test_a_line_too_long_to_hold_is_left_out_whole() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"before\n" + b"x" * (3 * ENTRY_BYTES) + b"\nafter\n")
    stream.feed_eof()
    assert [line async for line in _lines(stream)] == [b"before", b"after"]
