"""Specs as documents in the words of the input, without what equals a default, and back.

Reading holds each object to the rules for an object by itself, so that nothing after it meets one
that no validation has seen. Rules between objects are for what users write: a plan may have, of a
workload that is held back, objects of an earlier apply than everybody else's, and a leader must
always be able to read what it has committed. Of a Secret only the names of its values exist here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from katgen.errors import Problem, Source, SpecError
from katgen.model.spec import API_VERSION, Spec
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import WorkloadKey, split_key
from katgen.parse import Document, Parsed
from katgen.planned import Earlier
from katgen.validate import check_alone

HINT: Final = "give a file that KAT wrote"
PARTS: Final = ("load_balancer", "job", "build")
WireDocument = dict[str, Any]


class WireObjects(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A workload and what belongs to it."""

    workload: WireDocument
    load_balancer: WireDocument | None = None
    job: WireDocument | None = None
    build: WireDocument | None = None


class WireSpecs(msgspec.Struct, frozen=True, omit_defaults=True):
    """model.specs.Specs, field for field."""

    cluster: WireDocument
    namespaces: Mapping[str, WireDocument] = {}
    workloads: Mapping[WorkloadKey, WireObjects] = {}
    configs: Mapping[WorkloadKey, WireDocument] = {}
    secrets: Mapping[WorkloadKey, tuple[str, ...]] = {}


class WireEarlier(msgspec.Struct, frozen=True, omit_defaults=True):
    """planned.Earlier, field for field."""

    objects: WireObjects
    configs: Mapping[WorkloadKey, WireDocument] = {}
    secrets: Mapping[WorkloadKey, tuple[str, ...]] = {}


WireEarlierOf = Mapping[WorkloadKey, Mapping[str, WireEarlier]]
"""By workload and revision."""


def specs_on_wire(specs: Specs) -> WireSpecs:
    """Return the specs as documents."""
    return WireSpecs(
        cluster=_document(specs.cluster),
        namespaces={name: _document(one) for name, one in specs.namespaces.items()},
        workloads={key: _objects(one) for key, one in specs.workloads.items()},
        configs={key: _document(one) for key, one in specs.configs.items()},
        secrets=specs.secrets,
    )


def earlier_on_wire(earlier: Mapping[str, Earlier]) -> dict[str, WireEarlier]:
    """Return what earlier revisions of a workload were made of, as documents."""
    return {
        revision: WireEarlier(
            _objects(one.objects),
            {key: _document(config) for key, config in one.configs.items()},
            one.secrets,
        )
        for revision, one in earlier.items()
    }


def _document(model: Spec) -> WireDocument:
    dumped: WireDocument = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return dumped


def _objects(objects: WorkloadObjects) -> WireObjects:
    present = {name: getattr(objects, name) for name in PARTS}
    return WireObjects(
        workload=_document(objects.workload),
        **{name: _document(one) for name, one in present.items() if one is not None},
    )


def specs_from_wire(wire: WireSpecs, shown_name: str) -> Specs:
    """Return the specs. Raises SpecError with all problems."""
    return _specs_of(_named(wire), _named, shown_name)


def earlier_from_wire(
    wire: WireEarlierOf, shown_name: str
) -> dict[WorkloadKey, dict[str, Earlier]]:
    """Return what earlier revisions were made of. Raises SpecError with all problems of one."""
    return {
        key: {revision: _earlier(key, revision, one, shown_name) for revision, one in known.items()}
        for key, known in wire.items()
    }


def _earlier(key: WorkloadKey, revision: str, one: WireEarlier, shown_name: str) -> Earlier:
    def named(wire: WireSpecs) -> dict[str, WireDocument]:
        return _named_objects(wire, f"earlier.{key}.{revision}")

    wire = WireSpecs({}, {}, {key: one.objects}, one.configs, one.secrets)
    specs = _specs_of(named(wire), named, shown_name)
    return Earlier(specs.workloads[key], specs.configs, specs.secrets)


def _specs_of(
    written: Mapping[str, WireDocument],
    named: Callable[[WireSpecs], Mapping[str, WireDocument]],
    shown_name: str,
) -> Specs:
    """Return documents, which are named by their paths in the file, as specs."""
    checked = check_alone(Parsed(tuple(_documents(written, shown_name))))
    if checked.specs is None:
        raise SpecError(map(_without_line, checked.problems))
    elsewhere = sorted({*written} ^ {*named(specs_on_wire(checked.specs))})
    if elsewhere:
        what = "holds, or is, the document of another object"
        raise SpecError(Problem(Source(shown_name, path=path), what, HINT) for path in elsewhere)
    return checked.specs


_ODD: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML may not."""


def as_document(value: WireDocument, file: str) -> Document:
    """Return an object as if it had been read, with a text of its own.

    JSON is YAML, but for odd characters.
    """
    text = msgspec.json.encode(value).decode()
    chunk = _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", text)
    return Document(file, value, chunk, 1, 0)


def _documents(named: Mapping[str, WireDocument], shown_name: str) -> Iterator[Document]:
    for path, written in named.items():
        yield as_document({"apiVersion": API_VERSION, **written}, f"{shown_name} {path}")


def _without_line(problem: Problem) -> Problem:
    """Place a problem by its path: the line is one of no file."""
    return replace(problem, at=Source(problem.at.file, path=problem.at.path))


def _named(wire: WireSpecs) -> dict[str, WireDocument]:
    """Return every document by its path in the file."""
    named = {"specs.cluster": wire.cluster}
    named |= {f"specs.namespaces.{name}": one for name, one in wire.namespaces.items()}
    return named | _named_objects(wire, "specs")


def _named_objects(wire: WireSpecs, at: str) -> dict[str, WireDocument]:
    """Return the documents of a namespace's objects by their paths below `at`."""
    named = {f"{at}.configs.{key}": one for key, one in wire.configs.items()}
    named |= {f"{at}.secrets.{key}": _secret(key, keys) for key, keys in wire.secrets.items()}
    for key, objects in wire.workloads.items():
        named[f"{at}.workloads.{key}.workload"] = objects.workload
        for part in PARTS:
            document = getattr(objects, part)
            if document is not None:
                named[f"{at}.workloads.{key}.{part}"] = document
    return named


def _secret(key: WorkloadKey, keys: tuple[str, ...]) -> WireDocument:
    namespace, name = split_key(key)
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "Secret", "metadata": metadata, "data": dict.fromkeys(keys, "")}
