"""Objects through the API."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest

from katgen.leader.store import TooLargeError
from tests.unit.leader.api import Api, api
from tests.unit.leader.given import WITH_CONFIG, balancer, config, secret, workload

WORKLOADS = "/v1alpha1/n/default/workloads"


@pytest.fixture
async def kat() -> AsyncIterator[Api]:
    async with api() as made:
        yield made


def packed(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{name}.kat")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


async def test_a_workload_is_created_once(kat: Api) -> None:
    answer = await kat.write("POST", WORKLOADS, workload())
    assert await answer.json() == {
        "resourceVersion": "2",
        "changed": [
            {"kind": "Workload", "namespace": "default", "name": "web", "result": "created"}
        ],
        "notes": [],
    }
    assert await kat.refused("POST", WORKLOADS, workload()) == (
        409,
        "Workload default/web exists already",
        [],
    )


async def test_a_directory_replaces_what_was_there(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload() + "---" + balancer())
    headers = {"Content-Type": "application/gzip"}
    answer = await kat.ask("PUT", WORKLOADS, data=packed(workload=workload()), headers=headers)
    changed = [(one["kind"], one["result"]) for one in (await answer.json())["changed"]]
    assert changed == [("Workload", "unchanged"), ("VirtualLoadBalancer", "deleted")]


async def test_one_json_document_replaces_itself_alone(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload() + "---" + balancer())
    document = await kat.get(f"{WORKLOADS}/web")
    document["spec"]["replicas"] = 4
    answer = await kat.ask("PUT", f"{WORKLOADS}/web", json=document)
    assert answer.status == 200
    assert len(await kat.objects.all()) == 2
    assert (await kat.get(f"{WORKLOADS}/web"))["spec"]["replicas"] == 4


async def test_another_namespace_inside_is_refused(kat: Api) -> None:
    elsewhere = workload().replace("name: web", "name: web, namespace: shop")
    assert await kat.refused("POST", WORKLOADS, elsewhere) == (
        422,
        "the objects have problems",
        ["body:4:34 metadata.namespace: the address names the namespace default"],
    )


async def test_two_workloads_are_refused_here(kat: Api) -> None:
    both = workload() + "---" + workload("api")
    refusal = await kat.refused("POST", WORKLOADS, both)
    assert refusal == (422, "the body has 2 Workloads; send exactly one", [])


async def test_all_problems_are_told_with_their_places(kat: Api) -> None:
    bad = workload(extra="replicas: -1") + "---" + workload("api", "replica: 1")
    status, _, problems = await kat.refused("POST", "/v1alpha1/apply", bad)
    assert status == 422
    assert [one.partition(": ")[0] for one in problems] == [
        "body:8:13 spec.replicas",
        "body:16:3 spec.replica",
    ]
    assert await kat.objects.all() == ()


async def test_lists_are_of_a_namespace_or_of_all(kat: Api) -> None:
    other = workload("api").replace("name: api", "name: api, namespace: shop")
    await kat.write("POST", "/v1alpha1/apply", workload() + "---" + other)
    here, everywhere = await kat.get(WORKLOADS), await kat.get("/v1alpha1/workloads")
    assert here["kind"] == "WorkloadList"
    assert here["metadata"]["resourceVersion"].partition("-")[0] == "2"
    assert [one["metadata"]["name"] for one in here["items"]] == ["web"]
    assert [one["metadata"]["name"] for one in everywhere["items"]] == ["web", "api"]


async def test_labels_select(kat: Api) -> None:
    front = workload().replace("name: web", "name: web, labels: {tier: front}")
    await kat.write("POST", "/v1alpha1/apply", front + "---" + workload("api"))

    async def names(selector: str) -> list[str]:
        found = await kat.get(f"{WORKLOADS}?labelSelector={selector}")
        return [one["metadata"]["name"] for one in found["items"]]

    assert await names("tier%3Dfront") == ["web"]
    assert await names("tier%21%3Dfront") == ["api"]
    assert await names("tier") == ["web"]
    assert await names("%21tier") == ["api"]
    status, detail, _ = await kat.refused("GET", f"{WORKLOADS}?labelSelector=a%20within%20(b)")
    assert (status, detail.partition(":")[0]) == (400, "labelSelector")


async def test_a_stale_write_is_a_conflict(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload())
    old = await kat.get(f"{WORKLOADS}/web")
    await kat.write("PUT", WORKLOADS, workload(extra="replicas: 2"))
    answer = await kat.ask("PUT", f"{WORKLOADS}/web", json=old)
    assert answer.status == 409
    forced = await kat.ask("POST", "/v1alpha1/apply?force=1", json=old)
    assert forced.status == 200


async def test_deleting_at_a_revision_that_has_passed_is_a_conflict(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload())
    await kat.write("PUT", WORKLOADS, workload(extra="replicas: 2"))
    status, _, _ = await kat.refused("DELETE", f"{WORKLOADS}/web?resourceVersion=2")
    assert status == 409
    answer = await kat.ask("DELETE", f"{WORKLOADS}/web?resourceVersion=3")
    assert answer.status == 200


async def test_a_config_in_use_is_not_deleted(kat: Api) -> None:
    await kat.write("POST", "/v1alpha1/apply", config() + "---" + workload(extra=WITH_CONFIG))
    where = "stored Workload default/web spec.volumes[0].config.name"
    assert await kat.refused("DELETE", "/v1alpha1/n/default/configs/conf") == (
        409,
        "Config default/conf is in use",
        [f"{where}: there is no Config default/conf"],
    )


async def test_no_answer_has_a_secret_s_value(kat: Api) -> None:
    written = await kat.write("POST", "/v1alpha1/apply", secret(value="hunter2"))
    paths = ("/v1alpha1/secrets", "/v1alpha1/n/default/secrets/db")
    texts = [await (await kat.ask("GET", path)).text() for path in paths]
    texts.append(await written.text())
    bad = secret(value="hunter2").replace('"hunter2"', '["hunter2"]')
    texts.append(await (await kat.write("POST", "/v1alpha1/apply", bad)).text())
    assert all("hunter2" not in text for text in texts)
    assert (await kat.get("/v1alpha1/n/default/secrets/db"))["keys"] == ["password"]


async def test_a_config_is_put_by_its_own_address_only(kat: Api) -> None:
    path = "/v1alpha1/n/default/configs/conf"
    assert (await kat.write("PUT", path, config())).status == 200
    assert await kat.refused("PUT", path, config("other")) == (
        422,
        "the body is not what the address names",
        ["body:4:18 metadata.name: is not Config default/conf, which the address names"],
    )


async def test_scale_writes_as_a_user_would(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload())
    answer = await kat.ask("POST", f"{WORKLOADS}/web/scale", json={"replicas": 3})
    assert (await answer.json())["changed"][0]["result"] == "configured"
    assert (await kat.get(f"{WORKLOADS}/web"))["spec"]["replicas"] == 3
    assert await kat.refused("POST", f"{WORKLOADS}/gone/scale", "{replicas: 1}") == (
        400,
        "the body: JSON is malformed: object keys must be strings (byte 1)",
        [],
    )
    answer = await kat.ask("POST", f"{WORKLOADS}/gone/scale", json={"replicas": 3})
    assert answer.status == 404


async def test_scales_of_many_all_count(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload())
    asked = [kat.ask("POST", f"{WORKLOADS}/web/scale", json={"replicas": n}) for n in range(2, 7)]
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_restart_is_another_revision_of_the_same(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload())
    await kat.commit()
    await kat.ask("POST", f"{WORKLOADS}/web/restart", json={})
    document = await kat.get(f"{WORKLOADS}/web")
    assert [*document["metadata"]["annotations"]] == ["kat/restarted-at"]
    history = await kat.get(f"{WORKLOADS}/web/history")
    assert [one["n"] for one in history["items"]] == [1]


async def test_rollback_restores_what_rolls_and_keeps_the_number(kat: Api) -> None:
    for n in (1, 2, 3):
        await kat.write("PUT", WORKLOADS, workload(image=f"localhost/web:{n}"))
        await kat.commit()
    await kat.ask("POST", f"{WORKLOADS}/web/scale", json={"replicas": 5})
    await kat.ask("POST", f"{WORKLOADS}/web/rollback", json={"to": 1})
    spec = (await kat.get(f"{WORKLOADS}/web"))["spec"]
    assert (spec["source"]["image"], spec["replicas"]) == ("localhost/web:1", 5)
    await kat.ask("POST", f"{WORKLOADS}/web/rollback", json={})
    spec = (await kat.get(f"{WORKLOADS}/web"))["spec"]
    assert spec["source"]["image"] == "localhost/web:3"
    answer = await kat.ask("POST", f"{WORKLOADS}/web/rollback", json={"to": 99})
    assert answer.status == 404


async def test_a_dry_run_previews_the_whole_set_and_writes_nothing(kat: Api) -> None:
    await kat.write("POST", "/v1alpha1/apply", config())
    answer = await kat.write("POST", "/v1alpha1/apply?dryRun=1", workload())
    (after,) = kat.told.previewed
    assert (await answer.json())["digest"] == "abc"
    assert [str(one.key) for one in after or ()] == ["Config default/conf", "Workload default/web"]
    assert len(await kat.objects.all()) == 1


async def test_a_plan_without_a_body_is_of_what_is_pending(kat: Api) -> None:
    answer = await kat.ask("POST", "/v1alpha1/plan")
    assert (await answer.json())["generation"] == 2
    assert kat.told.previewed == [None]


async def test_namespaces_are_those_written_and_those_named(kat: Api) -> None:
    text = "apiVersion: kat/v1alpha1\nkind: Namespace\nmetadata: {name: empty}\n---\n" + config()
    await kat.write("POST", "/v1alpha1/apply", text)
    found = await kat.get("/v1alpha1/namespaces")
    assert [one["metadata"]["name"] for one in found["items"]] == ["default", "empty"]
    assert (await kat.ask("DELETE", "/v1alpha1/namespaces/empty")).status == 200
    assert (await kat.ask("DELETE", "/v1alpha1/namespaces/empty")).status == 404


async def test_a_namespace_with_objects_in_it_is_not_deleted(kat: Api) -> None:
    text = "apiVersion: kat/v1alpha1\nkind: Namespace\nmetadata: {name: default}\n---\n" + config()
    await kat.write("POST", "/v1alpha1/apply", text)
    assert await kat.refused("DELETE", "/v1alpha1/namespaces/default") == (
        409,
        "Namespace default is in use",
        ["stored Config default/conf: is in the namespace default"],
    )


async def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(kat: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1 << 14):
            yield bytes(1 << 16)

    headers = {"Content-Type": "application/gzip"}
    answer = await kat.ask("POST", "/v1alpha1/apply", data=endless(), headers=headers)
    assert (answer.status, (await answer.json())["detail"]) == (413, "the upload is too large")


async def test_a_workload_is_shown_with_how_it_is(kat: Api) -> None:
    await kat.write("POST", WORKLOADS, workload())
    shown = await kat.get(f"{WORKLOADS}/web")
    assert (shown["status"]["state"], shown["status"]["revision"]) == ("running", "r1")
    (listed,) = (await kat.get(WORKLOADS))["items"]
    assert listed["status"] == shown["status"]
    answer = await kat.write("PUT", WORKLOADS, json.dumps(shown))
    assert answer.status == 200


async def test_what_the_store_cannot_take_is_too_large(
    kat: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: object) -> int:
        raise TooLargeError("the value has 9 bytes; the store takes 8")

    monkeypatch.setattr(kat.store, "commit", full)
    status, detail, _ = await kat.refused("POST", WORKLOADS, workload())
    assert (status, detail) == (413, "the value has 9 bytes; the store takes 8")
