"""Requests that a program got wrong, found by schemathesis: refused, and no fault of KAT's."""

import pytest

from tests.unit.leader.api import api


@pytest.mark.parametrize("kind", ["{}", "[]", "5", "null"])
async def test_a_kind_that_is_no_text_is_a_problem(kind: str) -> None:
    async with api() as client:
        body = f'{{"apiVersion": "kat/v1alpha1", "kind": {kind}, "metadata": {{"name": "a"}}}}'
        answer = await client.ask(
            "POST", "/v1alpha1/apply", data=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/readyz?verbose=yes",
        "/v1alpha1/workloads?watch=on",
        "/v1alpha1/workloads?timeoutSeconds=-1",
        "/v1alpha1/workloads?limit=many",
    ],
)
async def test_a_word_of_the_query_that_means_nothing_is_refused(path: str) -> None:
    async with api() as client:
        assert (await client.ask("GET", path)).status == 400
