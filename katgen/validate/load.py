"""Documents → models: kind, version, fields, what is not built."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from katgen import names
from katgen.errors import Problem, Source
from katgen.model.kinds import KINDS
from katgen.model.spec import API_VERSION
from katgen.model.spec import Document as Model
from katgen.parse import Document
from katgen.validate import translate
from katgen.validate.later import unbuilt

SHOWN: Final = 100
"""Problems of one document; further ones are counted."""

M_co = TypeVar("M_co", bound=Model, covariant=True)


@dataclass(frozen=True, slots=True)
class Written(Generic[M_co]):
    """An object, and the document that it was read from."""

    object: M_co
    document: Document

    @property
    def key(self) -> names.WorkloadKey:
        """`<namespace>/<name>`."""
        return names.key(self.object.metadata.namespace, self.object.metadata.name)

    def at(self, *path: str | int) -> Source:
        """Return where a part stands."""
        return self.document.at(path)


def load(document: Document) -> tuple[Written[Model] | None, list[Problem]]:
    """Return the object, or None, and what is wrong with it as such."""
    found = [*_envelope(document)]
    model = KINDS.get(str(document.value.get("kind")))
    if model is None:
        return None, found
    try:
        loaded = model.model_validate(document.value)
    except ValidationError as err:
        found += translate.problems(document, model, err)
        return None, _bounded(document, found)
    found += unbuilt(document, loaded)
    return Written(loaded, document), found


def _envelope(document: Document) -> Iterator[Problem]:
    version = document.value.get("apiVersion")
    if version is None and not document.has(("apiVersion",)):
        yield Problem(document.at(("apiVersion",)), "is missing", f"write {API_VERSION}")
    elif version is not None and version != API_VERSION:
        what = f"unknown version: {translate.described(version)}"
        yield Problem(document.at(("apiVersion",)), what, f"write {API_VERSION}")
    kind = document.value.get("kind")
    if kind is None and not document.has(("kind",)):
        yield Problem(document.at(("kind",)), "is missing", translate.did_you_mean("", [*KINDS]))
    elif kind is not None and str(kind) not in KINDS:
        hint = translate.did_you_mean(str(kind), [*KINDS])
        yield Problem(document.at(("kind",)), f"unknown kind: {translate.described(kind)}", hint)


def _bounded(document: Document, found: list[Problem]) -> list[Problem]:
    if len(found) <= SHOWN:
        return found
    rest = len(found) - SHOWN
    return [*found[:SHOWN], Problem(document.at(), f"{rest} more problems in this object", "")]
