"""Documents from a leader, by kind and name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from katgen.cli.connection import Leader, Request, path
from katgen.cli.documents import Document, Listing, name, text
from katgen.cli.failures import LeaderError, failure
from katgen.cli.nouns import BY_KIND, Noun

EVERYWHERE = ""
"""In the place of a namespace: all of them."""
CHUNK: Final = 500
"""Objects in one answer; a list of many comes in several, all of one moment."""
_NO_QUERY: Final[Mapping[str, str]] = {}


def listed(
    leader: Leader,
    noun: Noun,
    namespace: str,
    query: Mapping[str, str] = _NO_QUERY,
    *,
    chunk: int = CHUNK,
) -> Sequence[Document]:
    """Return all objects of a kind in a namespace; `chunk` 0 means all at once.

    Raises LeaderError.
    """
    asked = collection(noun, namespace, query)
    if noun.kind == "ClusterConfiguration":
        return [leader.ask(asked, dict[str, object])]
    try:
        return [one for page in _pages(leader, asked, chunk) for one in page]
    except LeaderError as err:
        if err.status != HTTPStatus.GONE:
            raise
    # So much has changed since its first page that it cannot be continued.
    return leader.ask(asked, Listing).items


def collection(noun: Noun, namespace: str, query: Mapping[str, str] = _NO_QUERY) -> Request:
    """Return what asks for the objects of a kind in a namespace."""
    if noun.kind == "Event":
        within = {"namespace": namespace} if namespace else {}
        return Request(path(noun.plural), query={**within, **query})
    if noun.is_namespaced and namespace:
        return Request(path("n", namespace, noun.plural), query=query)
    return Request(path(noun.plural), query=query)


def _pages(leader: Leader, asked: Request, chunk: int) -> Iterator[Sequence[Document]]:
    query = {**asked.query, **({"limit": str(chunk)} if chunk else {})}
    while True:
        page = leader.ask(Request(asked.path, query=query), Listing)
        yield page.items
        token = text(page.metadata, "continue")
        if not token:
            return
        query["continue"] = token


def named(leader: Leader, noun: Noun, namespace: str, names: Iterable[str]) -> Sequence[Document]:
    """Return the objects of these names, in this order. Raises LeaderError if one is missing."""
    if noun.kind == "Instance":
        every = listed(leader, noun, namespace)
        return [found for one in names for found in _instances(every, one, namespace)]
    if noun.kind in {"Event", "Generation", "ClusterConfiguration"}:
        every = listed(leader, noun, namespace)
        return [one for one in every if {name(one), str(one.get("generation"))} & set(names)]
    return [one_of(leader, noun, namespace, each) for each in names]


def one_of(leader: Leader, noun: Noun, namespace: str, named: str) -> Document:
    """Return one object. Raises LeaderError."""
    parts = ("n", namespace, noun.plural, named) if noun.is_namespaced else (noun.plural, named)
    return leader.ask(Request(path(*parts)), dict[str, object])


def instances(leader: Leader, namespace: str, workload: str = "") -> Sequence[Document]:
    """Return the instances of a namespace, or of one workload in it. Raises LeaderError."""
    every = listed(leader, BY_KIND["Instance"], namespace)
    return [one for one in every if not workload or workload_of(one) == workload]


def workload_of(instance: Document) -> str:
    """Return the name of an instance's workload."""
    return name(instance).partition("/")[0]


def _instances(every: Sequence[Document], given: str, namespace: str) -> Sequence[Document]:
    """Return an instance by its name, or a workload's by that of the workload."""
    found = [one for one in every if given in {name(one), workload_of(one)}]
    if not found:
        raise no_instance(given, namespace)
    return found


def no_instance(given: str, namespace: str) -> LeaderError:
    """Return the error that there is none of this name."""
    what = f"there is no instance {given!r} in the namespace {namespace!r}"
    return failure(what, f"katcall get instances -n {namespace} shows what there is")
