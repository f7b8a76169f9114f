"""The revision of a workload: a hash of whatever must roll its instances when it changes.

What decides only where or how many instances run has no part in it: replicas, selectors, affinity,
tolerations, spread, priority, rollout settings, the load balancer. Values equal to a default leave
no trace, so that a release which adds a field changes no revision.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from katgen.model.objects import BuildDefinition, JobDefinition
from katgen.model.spec import Spec
from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import WorkloadKey, key

LENGTH: Final = 10
"""Hex digits."""
NOT_ROLLING: Final = frozenset(
    {
        "replicas", "update_strategy", "revision_history_limit", "node_selector", "affinity",
        "tolerations", "spread", "priority", "depends_on",
    }
)  # fmt: skip
"""Fields of a workload's spec that place, count or roll instances without being part of them."""
JOB_ROLLING: Final = (
    "active_deadline_seconds", "backoff_limit", "backoff_seconds", "concurrency_policy",
)  # fmt: skip
"""Fields of a job that land in an instance's unit; the schedule lands in a timer."""

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
References = tuple[tuple[WorkloadKey, ...], tuple[WorkloadKey, ...]]
"""Configs, and Secrets."""
_NOTHING: Final[Mapping[str, object]] = {}
_ATOMS: Final = (str, int, dict, type(None))
_defaults: dict[type[Spec], Mapping[str, object]] = {}


def revision(objects: WorkloadObjects, referenced: Mapping[str, object]) -> str:
    """Return the hash over a workload and what `referenced_by` it."""
    workload = objects.workload
    content: dict[str, object] = {
        "workload": _plain(workload.spec, NOT_ROLLING),
        "labels": workload.metadata.labels,
        "annotations": workload.metadata.annotations,
    }
    if objects.job is not None:
        content["job"] = _job(objects.job)
    if objects.build is not None:
        content["build"] = _build(objects.build)
    content |= referenced
    digest = hashlib.sha256(_ENCODER.encode(content))
    return digest.hexdigest()[:LENGTH]


def named_by(objects: WorkloadObjects) -> References:
    """Return the keys of the Configs and of the Secrets that any of the objects names, sorted.

    Whatever a plan must hold to be complete: more than rolls instances.
    """
    configs, secrets = references(objects.workload)
    balancer = objects.load_balancer
    if balancer is None or not balancer.spec.ingress:
        return configs, secrets
    names = {one.tls.secret_name for one in balancer.spec.ingress if one.tls is not None}
    namespace = balancer.metadata.namespace
    certificates = {key(namespace, name) for name in names if name is not None}
    return configs, tuple(sorted(certificates.union(secrets)))


def references(workload: Workload) -> References:
    """Return the keys of the Configs and of the Secrets that instances are made of, sorted."""
    spec = workload.spec
    configs: set[str] = set()
    secrets = {e.value_from.secret.name for e in spec.container.env if e.value_from is not None}
    for volume in spec.volumes:
        if volume.config is not None:
            configs.add(volume.config.name)
        elif volume.secret is not None:
            secrets.add(volume.secret.name)
    if not configs and not secrets:
        return (), ()
    namespace = workload.metadata.namespace
    return (
        tuple([key(namespace, name) for name in sorted(configs)]),
        tuple([key(namespace, name) for name in sorted(secrets)]),
    )


def referenced_by(workload: Workload, specs: Specs) -> Mapping[str, object]:
    """Return the data of the Configs and the keys of the Secrets that a workload names."""
    configs, secrets = references(workload)
    if not configs and not secrets:
        return _NOTHING
    data = {k: specs.configs[k].data for k in configs if k in specs.configs}
    keys = {k: sorted(specs.secrets[k]) for k in secrets if k in specs.secrets}
    return {name: value for name, value in (("configs", data), ("secrets", keys)) if value}


def _job(job: JobDefinition) -> dict[str, object]:
    values = _plain(job.spec)
    rolling: dict[str, object] = {name: values[name] for name in JOB_ROLLING if name in values}
    return {**rolling, "scheduled": job.spec.schedule is not None}


def _build(build: BuildDefinition) -> Mapping[str, object]:
    return _plain(build.spec)


def _plain(model: Spec, without: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return a model's values that differ from their defaults, by field name.

    A field that was not given has its default, so that only the given ones need a look.
    """
    kind = type(model)
    defaults = _defaults.get(kind)
    if defaults is None:
        defaults = _defaults[kind] = _defaults_of(kind)
    values = model.__dict__
    plain: dict[str, object] = {}
    for name in model.__pydantic_fields_set__:
        value = values[name]
        if not isinstance(value, str):
            value = _plain_value(value)
        if value != defaults[name] and name not in without:
            plain[name] = value
    return plain


def _defaults_of(kind: type[Spec]) -> Mapping[str, object]:
    return {name: _plain_value(field.get_default()) for name, field in kind.model_fields.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, _ATOMS):
        return value
    if isinstance(value, Spec):
        return _plain(value)
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    return str(value)
