"""Documents from a leader, by kind and name."""

from collections.abc import Iterable, Mapping, Sequence

from katgen.cli.connection import Leader, Request, path
from katgen.cli.documents import Document, Listing, name
from katgen.cli.documents import namespace as namespace_of
from katgen.cli.failures import failure
from katgen.cli.nouns import BY_KIND, Noun

EVERYWHERE = ""
"""In the place of a namespace: all of them."""


def listed(
    leader: Leader, noun: Noun, namespace: str, query: Mapping[str, str] | None = None
) -> Sequence[Document]:
    """Return all objects of a kind in a namespace. Raises LeaderError."""
    query = dict(query or {})
    if noun.kind == "Instance" and query:
        return _of_workloads(leader, namespace, query)
    if noun.kind == "Event":
        if namespace:
            query["namespace"] = namespace
        where = path(noun.plural)
    elif noun.kind == "ClusterConfiguration":
        return [leader.ask(Request(path(noun.plural)), dict[str, object])]
    elif noun.is_namespaced and namespace:
        where = path("n", namespace, noun.plural)
    else:
        where = path(noun.plural)
    return leader.ask(Request(where, query=query), Listing).items


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


def _of_workloads(leader: Leader, scope: str, query: Mapping[str, str]) -> Sequence[Document]:
    """Return the instances of those workloads that a label selector takes."""
    fitting = {
        (namespace_of(one), name(one)) for one in listed(leader, BY_KIND["Workload"], scope, query)
    }
    every = instances(leader, scope)
    return [one for one in every if (namespace_of(one), workload_of(one)) in fitting]


def _instances(every: Sequence[Document], given: str, namespace: str) -> Sequence[Document]:
    """Return an instance by its name, or a workload's by that of the workload."""
    found = [one for one in every if given in {name(one), workload_of(one)}]
    if not found:
        what = f"there is no instance {given!r} in the namespace {namespace!r}"
        raise failure(what, f"katcall get instances -n {namespace} shows what there is")
    return found
