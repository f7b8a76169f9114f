"""What all lists have in common: selectors, pages of one revision, and watches."""

import asyncio
import base64
import binascii
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from katgen.leader.auth import CALLER, REQUEST_ID, Answer, judge_again
from katgen.leader.errors import DeniedError, GoneAnswerError, InputError
from katgen.leader.feeds.ring import GoneError, News, Row, line
from katgen.leader.feeds.watches import FEEDS, Feed, Watch, bookmark, chosen, first_lines
from katgen.leader.limits import TURNSTILE
from katgen.leader.routes.wire import JSON, LINES, flag, whole
from katgen.leader.selectors import Selection, selection
from katgen.leader.store import StoreError

TIMEOUT_MAX_S: Final = 3_600
"""Of a watch; whoever wants to know more goes on with another one."""
SEND_BYTES: Final = 64 << 10
"""What the kernel may hold for a watcher that does not read."""
_NO_FIELDS: Final[Mapping[str, str]] = {}
_AGAIN: Final = "list again, and watch from there"


@dataclass(frozen=True, slots=True)
class Pace:
    """Of watches: how long without news until a bookmark, and how long a reader may not read.

    As often as bookmarks come, it is also looked whether the reader may still read.
    """

    bookmark_s: float = 30.0
    write_s: float = 20.0


PACE: Final = web.AppKey("pace", Pace)


def watchable(answer: Answer) -> Answer:
    """Mark a route that has no deadline if it is asked with `watch=1`."""
    answer.is_watchable = True  # type: ignore[attr-defined]  # functions take any
    return answer


async def listing(
    request: web.Request, kind: str, namespace: str = "", fields: Mapping[str, str] = _NO_FIELDS
) -> web.StreamResponse:
    """Answer with the objects of a kind, or with what becomes of them. '' is every namespace.

    `fields` are selected besides those of the query.
    """
    wanted = selection(kind, namespace, request.query, fields)
    limit, seconds = whole(request, "limit", 0), whole(request, "timeoutSeconds", 0)
    if flag(request, "watch"):
        return await _watch(request, kind, wanted, min(seconds or TIMEOUT_MAX_S, TIMEOUT_MAX_S))
    feed = await request.app[FEEDS].current(kind)
    token = request.query.get("continue", "")
    if token:
        return await _next_page(feed, kind, wanted, limit, token)
    return _page(kind, wanted, _first_page(feed, kind, wanted, limit))


# --- pages ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows as of a version, and how many more there are."""

    rows: Sequence[Row]
    left: int
    version: str


def _cut(rows: Sequence[Row], limit: int, version: str) -> _Page:
    """Return the first rows; `limit` 0 means all."""
    shown = rows[:limit] if limit else rows
    return _Page(shown, len(rows) - len(shown), version)


def _page(kind: str, wanted: Selection, page: _Page) -> web.Response:
    metadata: dict[str, str | int] = {"resourceVersion": page.version}
    if page.left:
        metadata["continue"] = _token(page.version, page.rows[-1].key)
        if not wanted.is_narrow:  # as in Kubernetes
            metadata["remainingItemCount"] = page.left
    head = msgspec.json.encode({"kind": f"{kind}List", "metadata": metadata})
    items = b",".join(row.encoded for row in page.rows)
    return web.Response(body=b'%b,"items":[%b]}' % (head[:-1], items), content_type=JSON)


def _first_page(feed: Feed, kind: str, wanted: Selection, limit: int) -> _Page:
    version = feed.version(kind)
    if limit and not wanted.is_narrow:
        return _Page(*feed.page(kind, wanted.namespace, "", limit), version)
    return _cut(chosen(feed, kind, wanted), limit, version)


async def _next_page(
    feed: Feed, kind: str, wanted: Selection, limit: int, token: str
) -> web.Response:
    version, after = _from_token(token)
    try:
        number = await feed.number(version)
        news = _news_since(feed, kind, number)
        if limit and not wanted.is_narrow and not news:
            rows, left = feed.page(kind, wanted.namespace, after, limit)
            return _page(kind, wanted, _Page(rows, left, version))
        every = _as_of(feed.rows(kind), news)
        first = [row.key for row in every].index(after) + 1
    except GoneError as err:
        what = f"this list can no longer be continued: {err}; begin it again"
        raise GoneAnswerError(what) from err
    except ValueError as err:
        raise _bad_token() from err
    rest = [row for row in every[first:] if _is_meant(row, wanted)]
    return _page(kind, wanted, _cut(rest, limit, version))


def _is_meant(row: Row, wanted: Selection) -> bool:
    is_here = not wanted.namespace or row.namespace == wanted.namespace
    return is_here and (not wanted.is_narrow or wanted.takes(row.document))


def _news_since(feed: Feed, kind: str, number: int) -> list[News]:
    """Return the news of a kind from a number on. Raises GoneError."""
    since = feed.ring.since(number, feed.ring.end - number)
    return [news for news in since if news.kind == kind]


def _as_of(now: list[Row], since: Sequence[News]) -> list[Row]:
    """Return what was there before some news, in order. Raises GoneError."""
    rows = {row.key: row for row in now}
    for news in reversed(since):
        if news.before is None:
            rows.pop(news.row.key, None)
        elif news.before.is_partial:
            raise GoneError("the store does not remember what was there")
        else:
            rows[news.row.key] = news.before
    return sorted(rows.values(), key=lambda row: (row.order, row.key))


def _token(version: str, after: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((version, after))).decode()


def _from_token(token: str) -> tuple[str, str]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as err:
        raise _bad_token() from err


def _bad_token() -> InputError:
    what = "continue is not what an earlier page of this list gave"
    return InputError(what, status=HTTPStatus.BAD_REQUEST)


# --- watches -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Begun:
    """A watch, and the lines that come before its news."""

    watch: Watch
    first: Iterator[bytes]
    is_resumed: bool = False


async def _watch(
    request: web.Request, kind: str, wanted: Selection, seconds: int
) -> web.StreamResponse:
    feeds = request.app[FEEDS]
    with request.app[TURNSTILE].watch(request[CALLER].name):
        async with feeds.watching(kind):
            feed = await feeds.current(kind)
            version = request.query.get("resourceVersion", "")
            begun = await _begin(feed, kind, wanted, version)
            if begun.is_resumed and kind == "Workload" and not feeds.objects.is_own(version):
                begun = _with_statuses(feed, begun.watch, wanted)
            response = web.StreamResponse(
                headers={"Content-Type": LINES, "X-Request-Id": request[REQUEST_ID]}
            )
            await response.prepare(request)
            stream = _Stream(request, response, begun)
            await stream.run(asyncio.get_running_loop().time() + seconds)
    return response


async def _begin(feed: Feed, kind: str, wanted: Selection, version: str) -> _Begun:
    """Return a watch from a version on; without one, with all that is there first."""
    if version not in {"", "0"}:
        try:
            number = await feed.number(version)
            return _Begun(Watch(feed, kind, wanted, number), iter(()), is_resumed=True)
        except GoneError as err:
            raise GoneAnswerError(f"{err}; {_AGAIN}") from err
        except ValueError as err:
            what = f"resourceVersion: {version[:60]!r} is none; give what a list or a watch gave"
            raise InputError(what, status=HTTPStatus.BAD_REQUEST) from err
    rows = chosen(feed, kind, wanted)
    place = bookmark(kind, feed.version(kind))

    def first() -> Iterator[bytes]:
        yield from first_lines(rows)
        yield place

    return _Begun(Watch(feed, kind, wanted, feed.ring.end), first())


def _with_statuses(feed: Feed, watch: Watch, wanted: Selection) -> _Begun:
    """Begin with what was missed, and then with how every workload is now.

    The version is another leader's: what statuses were when it was given is not known.
    """

    def first() -> Iterator[bytes]:
        while lines := watch.take():
            yield lines
        rows, place = chosen(feed, "Workload", wanted), watch.bookmark()
        yield from first_lines(rows, "MODIFIED")
        yield place

    return _Begun(watch, first())


class _Stream:
    """Sends a watch to whoever reads it."""

    def __init__(self, request: web.Request, response: web.StreamResponse, begun: _Begun) -> None:
        self._request, self._response, self._begun = request, response, begun
        self._feeds, self._pace = request.app[FEEDS], request.app[PACE]
        self._clock = asyncio.get_running_loop().time
        self._judged = self._clock()
        if request.transport is not None:
            _keep_small(request.transport)

    async def run(self, end: float) -> None:
        """Send until a time of the loop's clock, or the reader has gone."""
        try:
            await self._told(end)
        except TimeoutError:  # it does not read; what is on its way is lost, and not its place
            if self._request.transport is not None:
                self._request.transport.abort()
        except ConnectionError:  # the reader has gone
            pass

    async def _told(self, end: float) -> None:
        """Send until the end, or why there is no more. Raises TimeoutError, ConnectionError."""
        try:
            await self._all(end)
        except GoneError as err:
            if not self._feeds.is_closing:
                await self._write(self._problem(HTTPStatus.GONE, f"{err}; {_AGAIN}"))
        except DeniedError as err:
            await self._write(self._problem(err.status, err.detail))

    async def _all(self, end: float) -> None:
        watch, clock = self._begun.watch, self._clock
        for lines in self._begun.first:
            watch.refuse_if_lost()  # nor is anything kept that was there before
            await self._send(lines)
        due = clock() + self._pace.bookmark_s
        while not self._is_gone():
            if lines := watch.take():
                await self._send(lines)
                due = clock() + self._pace.bookmark_s
            elif clock() >= min(due, end):
                await self._send(watch.bookmark())
                due = clock() + self._pace.bookmark_s
                if clock() >= end:
                    return
            else:
                await _until(watch.waiting(), min(due, end))

    def _is_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def _send(self, lines: bytes) -> None:
        """Send to who may still read. Raises DeniedError, TimeoutError, ConnectionError."""
        if self._clock() >= self._judged + self._pace.bookmark_s:
            self._judged = self._clock()
            with suppress(StoreError):  # then nobody knows otherwise
                await judge_again(self._request)
        await self._write(lines)
        await asyncio.sleep(0)  # others' turn, however much there is for this one

    async def _write(self, lines: bytes) -> None:
        async with asyncio.timeout(self._pace.write_s):
            await self._response.write(lines)

    def _problem(self, status: HTTPStatus, what: str) -> bytes:
        shown = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status,
            "detail": what,
            "requestId": self._request[REQUEST_ID],
            "problems": [],
        }
        return line("ERROR", msgspec.json.encode(shown))


async def _until(future: "asyncio.Future[None]", when: float) -> None:
    """Wait for the first of both."""
    timer = asyncio.get_running_loop().call_at(when, _done, future)
    try:
        await future
    finally:
        timer.cancel()


def _done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _keep_small(transport: asyncio.Transport) -> None:
    """Let little wait for a watcher that does not read: its place in the ring is enough."""
    transport.set_write_buffer_limits(SEND_BYTES)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
