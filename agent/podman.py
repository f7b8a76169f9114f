"""Podman's API, spoken to by children of ours (`agent.podman_child`)."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from agent.ports import Container, PullError, Systemd, UnfitError, UnitError
from agent.tools import end, environment

SOCKET: Final = "/run/podman/podman.sock"
SOCKET_UNIT: Final = "podman.socket"
CALL_S: Final = 60
IDLE_S: Final = 30
"""How long the child for questions waits for the next one before it ends."""
PULLS: Final = 4
"""Pulls at the same time: each is a process, and they share the node's link."""
_LINE_BYTES: Final = 16 << 20
_POLICIES: Final = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}


class PodmanService:
    """Podman over its socket, which systemd opens for it."""

    def __init__(self, systemd: Systemd, *, idle_s: float = IDLE_S) -> None:
        self._systemd = systemd
        self._idle_s = idle_s
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._pulls = asyncio.Semaphore(PULLS)
        self._ending: asyncio.TimerHandle | None = None

    async def pull(self, image: str, policy: str, timeout_s: float) -> AsyncGenerator[str, None]:
        """Pull in a child of its own, killed with the deadline or when nobody listens any more."""
        request = {"verb": "pull", "image": image, "policy": _POLICIES[policy]}
        async with self._pulls:
            child = await self._start()
            deadline = asyncio.get_running_loop().time() + timeout_s
            try:
                async with aclosing(_ask(child, request, deadline)) as answers:
                    async for answer in answers:
                        if "error" in answer:
                            raise PullError(str(answer["error"]))
                        if "line" in answer:
                            yield str(answer["line"])
            except TimeoutError as err:
                raise PullError(f"{image}: not pulled within {timeout_s:g} s") from err
            finally:
                await end(child)

    async def digest(self, image: str) -> str | None:
        """Look for an image."""
        found = await self._call("digest", image=image)
        return None if found is None else str(found)

    async def containers(self) -> Sequence[Container]:
        """List ours."""
        return tuple(
            Container(
                name=one["name"],
                id=one["id"],
                running=one["running"],
                unit=one["labels"].get("PODMAN_SYSTEMD_UNIT", ""),
                image_id=one["image_id"],
                health=one["health"],
                labels=one["labels"],
            )
            for one in await self._call("containers")
        )

    async def remove(self, name: str) -> None:
        """Remove a container."""
        await self._call("remove", name=name)

    async def images(self) -> Mapping[str, Sequence[str]]:
        """List images."""
        found: Mapping[str, Sequence[str]] = await self._call("images")
        return found

    async def remove_image(self, reference: str) -> bool:
        """Remove an image."""
        return bool(await self._call("remove_image", image=reference))

    async def version(self) -> str:
        """Ask the service."""
        return str(await self._call("version"))

    async def close(self) -> None:
        """End the child."""
        async with self._turn:
            await self._end()

    async def _call(self, verb: str, **words: str) -> Any:  # noqa: ANN401 -- JSON
        async with self._turn:
            if self._ending is not None:
                self._ending.cancel()
            if self._child is None or self._child.returncode is not None:
                self._child = await self._start()
            else:
                await self._wake()
            answer = await self._answer(self._child, {"verb": verb, **words})
            self._ending = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
        if "error" in answer:
            raise UnfitError(f"Podman: {answer['error']}")
        return answer.get("value")

    async def _answer(
        self, child: asyncio.subprocess.Process, request: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Return the one answer. The child does not outlive a question that was given up."""
        deadline = asyncio.get_running_loop().time() + CALL_S
        answer: Mapping[str, Any] = {}
        try:
            async with aclosing(_ask(child, request, deadline)) as answers:
                async for said in answers:
                    answer = said
        except TimeoutError as err:
            await self._end()
            raise UnfitError(f"Podman has not answered for {CALL_S} s") from err
        except BaseException:
            await self._end()
            raise
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        await self._wake()
        found_in = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent.podman_child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd="/",
            env=environment(found_in),
            limit=_LINE_BYTES,
            start_new_session=True,
        )

    async def _wake(self) -> None:
        """Have systemd open the socket if nobody listens on it."""
        try:
            _, writer = await asyncio.open_unix_connection(SOCKET)
        except OSError:
            try:
                await self._systemd.start(SOCKET_UNIT, CALL_S)
            except UnitError as err:
                raise UnfitError(f"Podman: {err}; see: systemctl status {SOCKET_UNIT}") from err
        else:
            writer.close()

    async def _end(self) -> None:
        if self._child is not None:
            await end(self._child)
            self._child = None

    def _retire(self) -> None:
        """Let the child end: it does with its stdin."""
        if self._child is not None and self._child.stdin is not None and not self._turn.locked():
            self._child.stdin.close()
            self._child = None


async def _ask(
    child: asyncio.subprocess.Process, request: Mapping[str, str], deadline: float
) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield what a child answers, up to a value or an error. TimeoutError, UnfitError."""
    assert child.stdin is not None  # noqa: S101 -- it was asked for
    assert child.stdout is not None  # noqa: S101 -- the same
    child.stdin.write(json.dumps(request).encode() + b"\n")
    with contextlib.suppress(ConnectionError):  # it has died: there will be no answer
        await child.stdin.drain()
    while True:
        async with asyncio.timeout_at(deadline):
            line = await child.stdout.readline()
        if not line:
            raise UnfitError("the process that speaks to Podman has died; see the agent's journal")
        answer: Mapping[str, Any] = json.loads(line)
        yield answer
        if "line" not in answer:
            return
