"""What each route is for, in the words of its OpenAPI document. One line for every route."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

Json = dict[str, Any]


class Access(Enum):
    """Who may ask."""

    ANYBODY = "anybody"
    PEOPLE = "people"
    AGENTS = "agents"
    KNOWN = "known"


class Body(Enum):
    """What is sent."""

    NOTHING = "nothing"
    OBJECT = "object"
    OBJECTS = "objects"
    MAYBE_OBJECTS = "maybe objects"
    SCALE = "Scale"
    ROLLBACK = "Rollback"
    REPORT = "Report"
    DIGESTS = "digests"


@dataclass(frozen=True, slots=True)
class Operation:
    """A route. `answer` is a schema's name, `Kind` the kind of the path, '' text.

    `refusals` are statuses beside those that every route has.
    """

    summary: str
    answer: str
    query: tuple[str, ...] = ()
    body: Body = Body.NOTHING
    refusals: tuple[int, ...] = ()
    access: Access = Access.PEOPLE
    form: str = "application/json"


LISTING: Final = (
    "watch", "resourceVersion", "timeoutSeconds", "limit", "continue", "labelSelector",
    "fieldSelector",
)  # fmt: skip
_WORKLOAD: Final = "/v1alpha1/n/{ns}/workloads/{name}"
_NODE: Final = "/v1alpha1/nodes/{node}"
_LINES: Final = "application/x-ndjson"
_TEXT: Final = "text/plain"
_PUT: Final = (409, 408, 413, 415, 422)


def _list(summary: str, kind: str, *more: str) -> Operation:
    return Operation(summary, f"{kind}List", (*LISTING, *more), refusals=(410,))


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GET /healthz": Operation(
        "Whether the process lives.", "Health", ("verbose",), access=Access.ANYBODY, form=_TEXT
    ),
    "GET /readyz": Operation(
        "Whether the store answers and the last plan is loaded.", "Health", ("verbose",),
        access=Access.ANYBODY, form=_TEXT,
    ),
    "GET /metrics": Operation(
        "Metrics for Prometheus; as JSON on `Accept: application/json`.", "Families",
        access=Access.KNOWN, form=_TEXT,
    ),
    "GET /openapi.json": Operation("This document.", "object", access=Access.ANYBODY),
    "GET /v1alpha1/version": Operation("Which KAT this is, of which cluster.", "ClusterVersion"),
    "GET /v1alpha1/{kinds}": _list("List or watch all of a kind.", "Kind"),
    "GET /v1alpha1/n/{ns}/{kinds}": _list("List or watch a kind in a namespace.", "Kind"),
    "GET /v1alpha1/n/{ns}/{kinds}/{name}": Operation("Get one.", "Kind"),
    "PUT /v1alpha1/n/{ns}/{kinds}/{name}": Operation(
        "Create or replace one.", "Written", ("dryRun",), Body.OBJECT, _PUT
    ),
    "DELETE /v1alpha1/n/{ns}/{kinds}/{name}": Operation(
        "Delete one; a Workload takes along what belongs to it.", "Written",
        ("dryRun", "expectedVersion"), refusals=(409,),
    ),
    "POST /v1alpha1/n/{ns}/workloads": Operation(
        "Create a workload, with what belongs to it.", "Written", ("dryRun",), Body.OBJECT, _PUT
    ),
    "PUT /v1alpha1/n/{ns}/workloads": Operation(
        "Create or replace a workload, with what belongs to it.", "Written", ("dryRun",),
        Body.OBJECT, _PUT,
    ),
    f"PUT {_WORKLOAD}": Operation(
        "Create or replace a workload. A directory replaces all that belongs to it.", "Written",
        ("dryRun",), Body.OBJECT, _PUT,
    ),
    f"POST {_WORKLOAD}/scale": Operation(
        "Set the number of instances.", "Written", ("dryRun",), Body.SCALE, _PUT
    ),
    f"POST {_WORKLOAD}/restart": Operation(
        "Replace all instances.", "Written", ("dryRun",), refusals=(409, 422)
    ),
    f"POST {_WORKLOAD}/rollback": Operation(
        "Go back to an earlier revision.", "Written", ("dryRun",), Body.ROLLBACK, _PUT
    ),
    f"GET {_WORKLOAD}/history": Operation("Revisions that nodes have run.", "RevisionList"),
    f"GET {_WORKLOAD}/logs": Operation(
        "What instances wrote, as lines of JSON.", "Line",
        ("instance", "follow", "since", "tail", "everything"), form=_LINES,
    ),
    "POST /v1alpha1/apply": Operation(
        "Create or replace any objects, all or nothing. With `dryRun` it answers as `plan` does.",
        "Applied", ("dryRun", "force", "namespace"), Body.OBJECTS, (*_PUT, 503),
    ),
    "POST /v1alpha1/plan": Operation(
        "Show what a change would do; without a body, what is pending.", "Preview",
        ("force", "namespace"), Body.MAYBE_OBJECTS, (*_PUT, 503),
    ),
    "GET /v1alpha1/changes/{revision}": Operation(
        "How far the change of a resourceVersion is, line by line, to its end.", "Progress",
        form=_LINES,
    ),
    "GET /v1alpha1/namespaces": _list("List or watch namespaces.", "Namespace"),
    "GET /v1alpha1/namespaces/{name}": Operation("Get a namespace.", "Namespace"),
    "PUT /v1alpha1/namespaces/{name}": Operation(
        "Create or replace a namespace.", "Written", ("dryRun",), Body.OBJECT, _PUT
    ),
    "DELETE /v1alpha1/namespaces/{name}": Operation(
        "Delete a namespace.", "Written", ("dryRun", "expectedVersion"), refusals=(409,)
    ),
    "GET /v1alpha1/clusterconfiguration": Operation(
        "Settings of the cluster.", "ClusterConfiguration"
    ),
    "GET /v1alpha1/plans": _list("List or watch committed plans.", "Generation"),
    "GET /v1alpha1/events": _list("List or watch events.", "Event", "namespace", "workload"),
    "GET /v1alpha1/instances": _list("List or watch all instances.", "Instance"),
    "GET /v1alpha1/n/{ns}/instances": _list(
        "List or watch the instances of a namespace.", "Instance"
    ),
    "GET /v1alpha1/explain/{ns}/{name}": Operation(
        "Why a workload runs where it does.", "Explanation", refusals=(409,)
    ),
    "GET /v1alpha1/usage": Operation("What instances use now.", "UsageList"),
    "GET /v1alpha1/nodes": _list("List or watch nodes.", "Node"),
    "GET /v1alpha1/nodes/{name}": Operation("Get a node.", "Node"),
    f"GET {_NODE}/session": Operation(
        "An agent's connection, a web socket.", "", refusals=(403,), access=Access.AGENTS,
        form=_TEXT,
    ),
    f"POST {_NODE}/status": Operation(
        "An agent's report, without a session.", "MaybeRecord", body=Body.REPORT,
        refusals=(403, 408, 413, 422), access=Access.AGENTS,
    ),
    f"GET {_NODE}/bundle": Operation(
        "A node's part of a plan.", "BundleAnswer", ("generation",), refusals=(403,),
        access=Access.AGENTS,
    ),
    f"POST {_NODE}/contents": Operation(
        "Files by their digests, as a MessagePack map.", "", body=Body.DIGESTS,
        refusals=(403, 408, 413, 422), access=Access.AGENTS, form="application/msgpack",
    ),
}  # fmt: skip
"""By method and path, as the routes have them."""

_FLAG: Final[Json] = {"type": "string", "enum": ["1", "true", "0", "false", ""]}
_WHOLE: Final[Json] = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999}
_STRING: Final[Json] = {"type": "string"}
QUERY: Final[Mapping[str, tuple[str, Json]]] = {
    "verbose": ("Answer with each check, as JSON.", _FLAG),
    "watch": ("Answer with what changes, as lines of JSON, instead of a list.", _FLAG),
    "resourceVersion": ("Where a watch begins: of a list, or of a watch's last line.", _STRING),
    "timeoutSeconds": ("A watch ends after so long.", _WHOLE),
    "limit": ("Most items of one page; 0 is all.", _WHOLE),
    "continue": ("The next page: what the page before gave.", _STRING),
    "labelSelector": ("As `tier=front,stage!=test,zone in (a, b),!old`.", _STRING),
    "fieldSelector": ("As `spec.type=Job`.", _STRING),
    "dryRun": (
        "Try it, and write nothing.",
        {"type": "string", "enum": ["1", "true", "All", "0", "false", ""]},
    ),
    "expectedVersion": ("Delete only what has this resourceVersion; 0 is any.", _WHOLE),
    "force": ("Whatever resourceVersion the objects have.", _FLAG),
    "namespace": ("Of objects that name none; of events, the only one.", _STRING),
    "workload": ("Of objects of this name alone.", _STRING),
    "instance": ("A unique end of `<workload>/<id>`.", _STRING),
    "follow": ("Go on with what comes.", _FLAG),
    "since": ("No older than so many seconds; 0 is all.", _WHOLE),
    "tail": ("So many lines at most of what there is.", _WHOLE),
    "everything": ("Also what systemd and Podman wrote.", _FLAG),
    "generation": ("Of the plan.", _WHOLE),
}
"""Query parameters by name, with what they are for. `expectedVersion` is called resourceVersion."""
RENAMED: Final[Mapping[str, str]] = {"expectedVersion": "resourceVersion"}
PATH: Final[Mapping[str, tuple[str, Json]]] = {
    "ns": ("The namespace.", {"type": "string", "examples": ["default"]}),
    "name": ("The object's name.", {"type": "string", "examples": ["web"]}),
    "node": ("The node's name.", _STRING),
    "revision": (
        "A write's resourceVersion.", {"type": "string", "pattern": "^[0-9]{1,15}$"},
    ),
}  # fmt: skip
REFUSALS: Final[Mapping[int, str]] = {
    400: "The query or the body cannot be read.",
    401: "The token or certificate is missing, or not known here.",
    403: "Only a node's agent may do this.",
    404: "There is no such thing, or it is none of the caller's business.",
    405: "The path has no such method.",
    408: "The body did not arrive in time.",
    409: "It exists, it is in use, or somebody else changed it.",
    410: "That version or page is not remembered any more: list again.",
    413: "The body is too large.",
    415: "The body's type is not taken.",
    422: "The objects have problems: all of them are told.",
    429: "Too much at a time; `Retry-After` says when to ask again.",
    500: "A fault in KAT.",
    503: "The store or a node does not answer, or the leader is not ready.",
    504: "It took too long.",
}
ALWAYS: Final = (400, 401, 404, 405, 429, 500, 503, 504)
"""What any route may answer that is not for anybody."""
