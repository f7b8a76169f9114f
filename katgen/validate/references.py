"""Configs and Secrets that workloads name, and the parts of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from katgen import names
from katgen.errors import Problem
from katgen.model.spec import Document
from katgen.parse.path import Step
from katgen.validate.load import Written
from katgen.validate.objects import Objects
from katgen.validate.translate import did_you_mean, nearest

_TLS_KEYS: Final = ("tls.crt", "tls.key")


@dataclass(frozen=True, slots=True)
class Reference:
    """A Config or Secret that `by` names at `path`; `key` is what it wants of it, '' for all."""

    by: Written[Document]
    kind: str
    name: str
    path: tuple[Step, ...]
    key: str = ""
    key_path: tuple[Step, ...] = ()

    @property
    def to(self) -> names.WorkloadKey:
        """Return `<namespace>/<name>` of what is meant."""
        return names.key(self.by.object.metadata.namespace, self.name)


def references(objects: Objects) -> Iterator[Problem]:
    """Every Config and Secret that is named exists in the namespace."""
    for reference in named(objects):
        if objects.lacks(reference.kind, reference.to):
            what = f"there is no {reference.kind} {reference.to}"
            yield Problem(reference.by.at(*reference.path), what, _instead(reference, objects))


def keys(objects: Objects) -> Iterator[Problem]:
    """Every Secret has the keys that are named of it."""
    for reference in named(objects):
        to = reference.to
        secret = objects.secrets.get(to)
        if reference.key and secret is not None and reference.key not in secret.object.data:
            known = sorted(secret.object.data)
            what = f"Secret {to} has no key {reference.key!r}"
            hint = did_you_mean(reference.key, known) if known else "it has none; add it"
            yield Problem(reference.by.at(*reference.key_path), what, hint)


def _instead(reference: Reference, objects: Objects) -> str:
    namespace = names.split_key(reference.to)[0]
    keys = (key for kind, key in objects.mentioned if kind == reference.kind)
    there = sorted(name for space, name in map(names.split_key, keys) if space == namespace)
    near = nearest(reference.name, there)
    return f"did you mean {near!r}?" if near else "add it, or name another one"


def named(objects: Objects) -> Iterator[Reference]:
    """Return every mention of a Config or Secret."""
    yield from _variables(objects)
    yield from _volumes(objects)
    yield from _certificates(objects)


def _variables(objects: Objects) -> Iterator[Reference]:
    for one in objects.workloads.values():
        for index, variable in enumerate(one.object.spec.container.env):
            if variable.value_from is not None:
                secret = variable.value_from.secret
                path = ("spec", "container", "env", index, "valueFrom", "secret")
                name_path, key_path = (*path, "name"), (*path, "key")
                yield Reference(one, "Secret", secret.name, name_path, secret.key, key_path)


def _volumes(objects: Objects) -> Iterator[Reference]:
    for one in objects.workloads.values():
        for index, volume in enumerate(one.object.spec.volumes):
            here = ("spec", "volumes", index)
            if volume.config is not None:
                yield Reference(one, "Config", volume.config.name, (*here, "config", "name"))
            if volume.secret is not None:
                yield Reference(one, "Secret", volume.secret.name, (*here, "secret", "name"))


def _certificates(objects: Objects) -> Iterator[Reference]:
    for one in objects.load_balancers.values():
        for index, ingress in enumerate(one.object.spec.ingress):
            if ingress.tls is not None and ingress.tls.secret_name is not None:
                path = ("spec", "ingress", index, "tls", "secretName")
                for key in _TLS_KEYS:
                    yield Reference(one, "Secret", ingress.tls.secret_name, path, key, path)
