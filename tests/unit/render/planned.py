"""A workload with its decisions, for renderers under test."""

from collections.abc import Mapping
from typing import Any

from katgen.model.cluster import ClusterSpec
from katgen.model.objects import BuildDefinition, JobDefinition
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.planned import Placement, WorkloadPlan
from katgen.render.quadlet import UnitTemplate, unit_template
from katgen.render.view import ClusterView, PlannedWorkload

Fields = Mapping[str, Any]
SPEC = ClusterSpec.model_validate({"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16"})
CLUSTER = ClusterView(SPEC, 1420, multi_node=True)
FIRST = Placement(Ordinal("0"), 1, "0123456789", NodeName("a"), "10.100.1.10")


def kind(name: str, spec: Fields, **metadata: object) -> dict[str, object]:
    """Return an object `shop/web` of a kind."""
    envelope = {"name": "web", "namespace": "shop", **metadata}
    return {"apiVersion": "kat/v1alpha1", "kind": name, "metadata": envelope, "spec": spec}


def planned(
    spec: Fields,
    *,
    job: Fields | None = None,
    build: Fields | None = None,
    uid_base: int = 200_000,
    **metadata: object,
) -> PlannedWorkload:
    """Return a workload of revision 0123456789."""
    full = {"type": "Service", "source": {"image": "docker.io/library/nginx:1.27"}, **spec}
    objects = WorkloadObjects(
        Workload.model_validate(kind("Workload", full, **metadata)),
        job=JobDefinition.model_validate(kind("JobDefinition", job)) if job is not None else None,
        build=BuildDefinition.model_validate(kind("BuildDefinition", build))
        if build is not None
        else None,
    )
    return PlannedWorkload(
        WorkloadKey("shop/web"),
        objects,
        WorkloadPlan("0123456789", 2, uid_base, placements=(FIRST,)),
        isolated=False,
        config_folders={"conf": "/var/lib/kat/config/shop/conf/0123456789ab"},
        secret_keys={"tls": ("crt", "key")},
    )


def template(spec: Fields, **rest: Any) -> UnitTemplate:  # noqa: ANN401 -- those of `planned`
    """Return the template of a workload."""
    return unit_template(planned(spec, **rest), CLUSTER)


def unit(spec: Fields, **rest: Any) -> str:  # noqa: ANN401 -- those of `planned`
    """Return the first instance's unit."""
    return template(spec, **rest).artifacts(FIRST)[0].content.decode()


def lines(spec: Fields, *keys: str, **rest: Any) -> list[str]:  # noqa: ANN401 -- those of `planned`
    """Return the lines of some keys of the first instance's unit, in the order of the file."""
    return [line for line in unit(spec, **rest).splitlines() if line.partition("=")[0] in keys]
