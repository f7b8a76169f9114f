"""Requests → values, values → answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from katgen.leader import uploads
from katgen.leader.answers import Written, trouble
from katgen.leader.auth import CHANGED, REQUEST_ID, Answer, judge_again
from katgen.leader.documents import Incoming, Stored, Wire, incoming, shown
from katgen.leader.errors import InputError
from katgen.leader.objects import Applied
from katgen.leader.services import SERVICES
from katgen.leader.store import StoreError

API: Final = "/v1alpha1"
NAMESPACED: Final = f"{API}/n/{{ns}}"
JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
ALIVE_S: Final = 15.0
"""A stream without news carries an empty line so often: a reader that is gone is noticed. As often
it is looked whether one may still read."""
SMALL_S: Final = 20.0
"""For a body that is no upload to arrive."""
SMALL_BYTES: Final = 16 << 10
"""Of JSON, which is read at once: less work than a change of thread."""
UNPACKING: Final = web.AppKey("unpacking", asyncio.Semaphore)
"""Uploads that are unpacked and parsed at one time."""

T = TypeVar("T")


def answered(value: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return a value as JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=JSON)


def listed(kind: str, items: Iterable[object], revision: int | None = None) -> web.Response:
    """Return a list as JSON, in kubectl's form."""
    metadata = {} if revision is None else {"resourceVersion": str(revision)}
    return answered({"kind": f"{kind}List", "metadata": metadata, "items": [*items]})


def seen(request: web.Request, one: Stored) -> Wire:
    """Return an object as it is shown; a Workload with how it is."""
    value = shown(one)
    if one.key.kind == "Workload":
        status = request.app[SERVICES].view.workload_status(one.key.workload)
        value["status"] = msgspec.to_builtins(status)
    return value


def written(request: web.Request, applied: Applied) -> web.Response:
    """Return the answer to a write, and keep it for the audit."""
    changed = [one for one in applied.changed if one.result != "unchanged"]
    told = "; ".join(
        f"{one.kind} {'/'.join(filter(None, (one.namespace, one.name)))} {one.result}"
        for one in changed
    )
    request[CHANGED] = f"nothing (a dry run of: {told})" if is_dry(request) else told
    if changed and not is_dry(request):
        request.app[SERVICES].view.wrote(applied.revision, request[REQUEST_ID])
    return answered(
        Written(str(applied.revision), applied.changed, tuple(map(trouble, applied.notes)))
    )


def flag(request: web.Request, name: str) -> bool:
    """Whether a query has `name=1`. Raises InputError: nobody is to guess what else is meant."""
    text = request.query.get(name, "")
    if text not in YES | _NO:
        what = f"{name}: {text[:60]!r} is none; write 1, or leave it out"
        raise InputError(what, status=HTTPStatus.BAD_REQUEST)
    return text in YES


def is_dry(request: web.Request) -> bool:
    """Whether a write is only to be tried: `dryRun=1`, or `All` as in Kubernetes.

    Raises InputError: a word that is not understood must not write.
    """
    text = request.query.get("dryRun", "")
    if text.lower() not in _DRY | _NO:
        what = f"dryRun: {text[:60]!r} is none; write 1, or leave it out"
        raise InputError(what, status=HTTPStatus.BAD_REQUEST)
    return text.lower() in _DRY


YES: Final = frozenset({"1", "true"})
_NO: Final = frozenset({"", "0", "false"})
_DRY: Final = frozenset({*YES, "all"})


def whole(request: web.Request, name: str, default: int) -> int:
    """Return a number of the query. Raises InputError."""
    text = request.query.get(name, "")
    if text and not (text.isascii() and text.isdecimal() and len(text) < 16):  # noqa: PLR2004 -- 2⁵³
        raise InputError(f"{name} is no whole number", status=HTTPStatus.BAD_REQUEST)
    return int(text) if text else default


async def content(request: web.Request) -> bytes:
    """Return a body, within the bounds of uploads. Raises InputError."""
    return await uploads.body(request.content.iter_any(), request.content_length)


async def documents(request: web.Request, namespace: str) -> Incoming:
    """Return the objects of a body; `namespace` is that of those which name none.

    Raises InputError.
    """
    body = await content(request)
    if request.content_type == JSON and len(body) <= SMALL_BYTES:
        return _read(body, JSON, namespace)
    async with request.app[UNPACKING]:
        return await asyncio.to_thread(_read, body, request.content_type, namespace)


def _read(body: bytes, content_type: str, namespace: str) -> Incoming:
    return incoming(uploads.documents(body, content_type), namespace)


async def small(request: web.Request, as_type: type[T]) -> T:
    """Return a small JSON body as a value. Raises InputError."""
    try:
        async with asyncio.timeout(SMALL_S):
            body = await request.read()
        return msgspec.json.decode(body, type=as_type)
    except TimeoutError as err:
        what = f"the body did not arrive within {SMALL_S:.0f} s"
        raise InputError(what, status=HTTPStatus.REQUEST_TIMEOUT) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise InputError(f"the body: {err}", status=HTTPStatus.BAD_REQUEST) from err


def stream(answer: Callable[[web.Request], Any]) -> Answer:
    """Mark a route whose answer has no end of its own: it gets no deadline."""
    answer.is_stream = True  # type: ignore[attr-defined]  # functions take any
    return answer


async def lines(request: web.Request, values: AsyncIterator[object]) -> web.StreamResponse:
    """Send values as JSON lines as they come.

    The first is waited for before the answer begins, so that an error still has its status. Raises
    DeniedError, which cuts the connection, soon after the reader's token or certificate is gone.
    """
    clock = asyncio.get_running_loop().time
    async with aclosing(kept_alive(values)) as each:  # type: ignore[type-var]  # generators close
        first = await anext(each, None)
        response = web.StreamResponse(
            headers={"Content-Type": LINES, "X-Request-Id": request[REQUEST_ID]}
        )
        await response.prepare(request)
        if first is not None:
            await response.write(first)
        judged = clock()
        with suppress(ConnectionError):  # the reader has gone
            async for line in each:
                if clock() >= judged + ALIVE_S:
                    judged = clock()
                    with suppress(StoreError):  # then nobody knows otherwise
                        await judge_again(request)
                await response.write(line)
    return response


async def kept_alive(values: AsyncIterator[object]) -> AsyncIterator[bytes]:
    """Yield lines, and an empty one whenever there is nothing for a while."""
    coming = asyncio.ensure_future(_next(values))
    try:
        while True:
            done, _ = await asyncio.wait([coming], timeout=ALIVE_S)
            if not done:
                yield b"\n"
                continue
            value = coming.result()
            if value is None:
                return
            yield msgspec.json.encode(value) + b"\n"
            coming = asyncio.ensure_future(_next(values))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await coming
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


async def _next(values: AsyncIterator[object]) -> object | None:
    return await anext(values, None)
