"""What rolls instances, and what does not."""

from typing import Any

import pytest

from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import WorkloadSpec
from katgen.names import WorkloadKey, key
from katgen.revision import JOB_ROLLING, NOT_ROLLING, referenced_by, revision
from tests.unit.schedule.world import cluster, specs, workload

ENV = {"env": [{"name": "A", "value": "1"}]}


def rev(objects: WorkloadObjects, written: Specs | None = None) -> str:
    return revision(objects, referenced_by(objects.workload, written or Specs(cluster())))


def test_a_revision_is_ten_hex_digits_and_lasts() -> None:
    assert rev(workload("web", 3, container=ENV)) == "a44572dac4"


ROLLS: list[dict[str, Any]] = [
    {"source": {"image": "localhost/app:2"}},
    {"container": {"env": [{"name": "A", "value": "2"}]}},
    {"container": {**ENV, "args": ["x"]}},
    {"container": {**ENV, "readiness": {"tcp": {"port": 80}}}},
    {"container": {**ENV, "resources": {"gpu": {}}}},
    {"container": {**ENV, "resources": {"limits": {"cpu": "1"}}}},
    {"restartPolicy": {"condition": "Never"}},
    {"isolation": "host-root"},
    {"singleton": True},
    {"volumes": [{"name": "data", "tmpfs": {}}]},
    {"labels": {"tier": "back"}},
    {"type": "DaemonService"},
]


@pytest.mark.parametrize("change", ROLLS)
def test_what_is_part_of_an_instance_rolls_it(change: dict[str, Any]) -> None:
    before = rev(workload("web", labels={"tier": "front"}, container=ENV))
    given = {"labels": {"tier": "front"}, "container": ENV, **change}
    assert rev(workload("web", **given)) != before


STAYS: list[dict[str, Any]] = [
    {"replicas": 7},
    {"balanced": True},
    {"nodeSelector": {"disk": "ssd"}},
    {"tolerations": [{"operator": "Exists"}]},
    {"spread": [{"topologyKey": "zone"}]},
    {"priority": 3},
    {"affinity": {"antiWorkload": {"required": [{"matchLabels": {"a": "b"}}]}}},
    {"updateStrategy": {"type": "Simultaneous"}},
    {"restartPolicy": {"condition": "Always", "maxRestarts": 10}},
    {"container": {**ENV, "init": False, "resources": {"requests": {}}}},
]


@pytest.mark.parametrize("change", STAYS)
def test_what_places_or_counts_instances_or_says_a_default_rolls_nothing(
    change: dict[str, Any],
) -> None:
    given: dict[str, Any] = {"container": ENV, **change}
    assert rev(workload("web", **given)) == rev(workload("web", container=ENV))


def test_every_field_of_a_workload_rolls_unless_it_is_named() -> None:
    assert set(WorkloadSpec.model_fields) > NOT_ROLLING


def test_the_order_of_labels_is_no_change() -> None:
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert rev(workload("web", labels=one)) == rev(workload("web", labels=other))


JOBS = [
    ({"backoffLimit": 1}, True), ({"activeDeadlineSeconds": 9}, True),
    ({"schedule": "@daily"}, True), ({"completions": 3}, False), ({"parallelism": 3}, False),
]  # fmt: skip


@pytest.mark.parametrize(("job", "rolls"), JOBS)
def test_of_a_job_rolls_what_lands_in_its_units(
    job: dict[str, Any],
    rolls: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    assert (rev(workload("job", job=job)) != rev(workload("job", job={}))) is rolls


def test_another_schedule_is_the_timers_affair() -> None:
    daily, weekly = ({"schedule": f"@{often}"} for often in ("daily", "weekly"))
    assert rev(workload("job", job=daily)) == rev(workload("job", job=weekly))


def test_job_fields_exist() -> None:
    assert set(JOB_ROLLING) == {
        "active_deadline_seconds", "backoff_limit", "backoff_seconds", "concurrency_policy",
    }  # fmt: skip


def with_config() -> WorkloadObjects:
    return workload("web", volumes=[{"name": "conf", "config": {"name": "web-conf"}}])


def test_another_content_of_a_mounted_config_rolls() -> None:
    one = specs(with_config(), configs={"web-conf": {"a": "1"}, "other": {"x": "1"}})
    two = specs(with_config(), configs={"web-conf": {"a": "2"}, "other": {"x": "1"}})
    aside = specs(with_config(), configs={"web-conf": {"a": "1"}, "other": {"x": "2"}})
    assert rev(with_config(), one) != rev(with_config(), two)
    assert rev(with_config(), one) == rev(with_config(), aside)


def test_of_a_secret_only_the_names_of_its_values_count() -> None:
    reference = {"secret": {"name": "db", "key": "password"}}
    objects = workload("web", container={"env": [{"name": "PW", "valueFrom": reference}]})

    def written(*keys: str) -> Specs:
        return Specs(cluster(), secrets={WorkloadKey(key("shop", "db")): keys})

    assert rev(objects, written("password")) != rev(objects, written("password", "user"))
    assert rev(objects, written("a", "b")) == rev(objects, written("b", "a"))
