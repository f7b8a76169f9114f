"""Run on a node in the leader's place, with its keys: it says what no leader should.

Takes what the agent has applied, changes it in one way after another, and writes for each a line of
JSON: its name, what the agent reported of it, and what then differed on the node.
"""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, "/usr/lib/kat")
import msgspec
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent import state
from katgen.leader.serve import tls
from katgen.merkle import merkle_tree
from katgen.protocol import SIGNING_CONTEXT, BundleAnswer, Proven
from katgen.render.cluster import leaf

LEADER = Path("/var/lib/kat/leader")
PORT = 9115
WAIT_S = 20
LOOK = """
find /etc /run/systemd/system /var/lib/kat/config /var/lib/kat/dns -type f \
    -printf '%p %i %m %s %T@\\n' | sort
podman ps -a --format '{{.Names}} {{.Pid}}' | sort
systemctl list-units --all --plain --no-legend 'kat*' | tr -s ' '
nft list ruleset
"""


@dataclass(frozen=True)
class Word:
    """What a leader says: fields of the record, the bundle's parts, and how they are spoilt.

    `manifest` and `sets` are the bytes that are served; the record commits their root, or `root`.
    """

    manifest: bytes
    sets: tuple[tuple[str, bytes], ...]
    record: dict[str, Any]
    node: str = "a"
    root: str = ""
    signed: Callable[[str, str], str] = lambda signature, _: signature
    answer: Callable[[bytes], bytes] = lambda answer: answer
    contents: Callable[[bytes], bytes] = lambda content: content

    def bundle(self) -> BundleAnswer:
        """Return the bundle with its proofs."""
        parts = [("node", self.node, self.manifest), *(("set", n, c) for n, c in self.sets)]
        tree = merkle_tree([leaf(k, n, hashlib.sha256(c).hexdigest()) for k, n, c in parts])
        proven = [
            Proven(name, msgspec.Raw(content), at, tuple(one.hex() for one in tree.proof(at)))
            for at, (_, name, content) in enumerate(parts)
        ]
        root = tree.root.hex()
        return BundleAnswer(
            self.record["generation"], root, len(parts), proven[0], tuple(proven[1:])
        )

    def commit(self, key: Ed25519PrivateKey, key_id: str) -> dict[str, Any]:
        """Return the message that commits it."""
        made = self.bundle()
        fields = {"root": self.root or made.root, "size": made.size, **self.record}
        text = msgspec.json.encode(fields).decode()
        signature = base64.b64encode(key.sign(SIGNING_CONTEXT + text.encode())).decode()
        signed = {"record": text, "signature": self.signed(signature, text), "keyId": key_id}
        return {"type": "commit", "signed": signed}


class KeptSet(msgspec.Struct):
    """A shared set as the agent keeps it."""

    name: str
    content: msgspec.Raw


class FalseLeader:
    """Serves one word at a time."""

    def __init__(self) -> None:
        loaded = load_pem_private_key((LEADER / "signing.key").read_bytes(), None)
        assert isinstance(loaded, Ed25519PrivateKey)
        self.key = loaded
        self.applied = json.loads(Path(state.APPLIED).read_bytes())
        folder = Path(state.GENERATIONS, self.applied["files"])
        sets = msgspec.json.decode((folder / "sets.json").read_bytes(), type=list[KeptSet])
        texts = [(one.name, bytes(one.content)) for one in sets]
        self.key_id = self.applied["signed"]["keyId"]
        record = json.loads(self.applied["signed"]["record"])
        record = {k: record[k] for k in ("cluster", "epoch", "generation", "plan")}
        self.true = Word((folder / "manifest.json").read_bytes(), tuple(texts), record)
        self.word = self.true
        self.socket: asyncio.Future[web.WebSocketResponse] = asyncio.Future()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def session(self, request: web.Request) -> web.WebSocketResponse:
        """Hear what the agent says."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                said = json.loads(frame.data)
                if said["type"] == "hello":
                    self.socket.set_result(socket)
                self.heard.put_nowait(said)
        return socket

    async def bundle(self, _: web.Request) -> web.Response:
        """Give the bundle."""
        return web.Response(body=self.word.answer(msgspec.json.encode(self.word.bundle())))

    async def contents(self, request: web.Request) -> web.Response:
        """Give contents, as the word would have them."""
        found = {digest: self.word.contents(content_of(digest)) for digest in await request.json()}
        return web.Response(body=msgspec.msgpack.encode(found))

    async def say(self, word: Word) -> list[str]:
        """Commit a word and return what the agent then has to complain of, that it had not."""
        self.word = word
        while not self.heard.empty():
            self.heard.get_nowait()
        await self._send(word.commit(self.key, self.key_id))
        return await self.until(lambda said: bool(said.get("problems")))

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[str]:
        """Return the problems of the first report that is wanted, or what was last said."""
        said: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WAIT_S):
                while not wanted(said):
                    said = await self.heard.get()
        except TimeoutError:
            return [f"nothing, but {said}"]
        return [one["text"] for one in said.get("problems", said.get("complaints", ()))]

    async def obeyed(self, word: Word) -> list[str]:
        """Commit a word, wait until it is in place, and return the problems that are left."""
        self.word = word
        await self._send(word.commit(self.key, self.key_id))
        done = {"generation": word.record["generation"], "sync": "in sync"}
        return await self.until(lambda said: {**said, **done} == said)

    async def propose(self, word: Word) -> list[str]:
        """Propose a word, have it verified, and abort it."""
        self.word, made = word, word.bundle()
        generation = word.record["generation"]
        asked = {"root": made.root, "size": made.size, "timeoutS": 10}
        await self._send({"type": "propose", "generation": generation, **asked})
        said = await self.until(lambda said: said.get("type") == "verdict")
        await self._send({"type": "abort", "generation": generation})
        return said

    async def _send(self, message: dict[str, Any]) -> None:
        await (await self.socket).send_str(json.dumps(message))


NEW = b"another motto\n"
"""The content of every file that is not the node's yet."""


def content_of(digest: str) -> bytes:
    """Return a content of the node's own, or else what is new."""
    path = Path(state.content_path(digest))
    return path.read_bytes() if path.exists() else NEW


Change = Callable[[Word], Word]


def numbered(change: Change, generation: int) -> Change:
    """Return the change, as a generation that is newer by so much."""
    return lambda word: change(replace(word, record={**word.record, "generation": generation}))


def recorded(**fields: object) -> Change:
    """Return a change of fields of the record."""
    return lambda word: replace(word, record={**word.record, **fields})


def manifested(change: Callable[[dict[str, Any]], object]) -> Change:
    """Return a change of the manifest."""

    def changed(word: Word) -> Word:
        manifest = json.loads(word.manifest)
        change(manifest)
        return replace(word, manifest=json.dumps(manifest).encode())

    return changed


def entry(path: str, **fields: object) -> Change:
    """Return a change that adds a file to the manifest."""
    new = {"path": path, "digest": hashlib.sha256(NEW).hexdigest(), "mode": 0o644, **fields}
    new = {"owner": "root:root", "activation": "none", "unit": "", "pairKey": "", **new}
    return manifested(lambda manifest: manifest["entries"].append(new))


def flipped(data: bytes) -> bytes:
    """Return the data with one bit changed."""
    return bytes([data[0] ^ 1]) + data[1:]


def spoilt(answer: bytes) -> bytes:
    """Return a bundle whose first proof leads to another root."""
    made = json.loads(answer)
    made["manifest"]["position"] = made["size"] - 1
    return json.dumps(made).encode()


MOTTO = "/var/lib/kat/config/default/motto/0123456789ab/motto.txt"
SAME: Change = lambda word: word  # noqa: E731 -- one of a table of them
# No two in a row with the same answer: an agent does not say again what it has said.
RECORDS: dict[str, Change] = {
    "bad signature": lambda word: replace(word, signed=lambda s, _: flipped_base64(s)),
    "another cluster": recorded(cluster="another"),
    "no signature": lambda word: replace(word, signed=lambda _s, _t: ""),
    "lower epoch": recorded(epoch=0, generation=999),
    "empty plan that nobody signed": lambda word: replace(emptied(word), signed=lambda _s, _t: ""),
    "lower generation": recorded(generation=0),
    "same number": entry(MOTTO),
    "newer format": recorded(formatVersion=2, generation=999),
    "critical field": recorded(colour="red", critical=["colour"], generation=999),
    "older empty plan": lambda word: recorded(generation=0)(emptied(word)),
}
BUNDLES: dict[str, Change] = {
    "empty answer": lambda word: replace(word, answer=lambda _: b""),
    "empty object": lambda word: replace(word, answer=lambda _: b"{}"),
    "cut JSON": lambda word: replace(word, answer=lambda answer: answer[: len(answer) // 2]),
    "another node": lambda word: replace(word, node="b"),
    "another node inside": manifested(lambda made: made.update(node="b")),
    "proof that does not fit": lambda word: replace(word, answer=spoilt),
    "content with a bit flipped": lambda word: replace(entry(MOTTO)(word), contents=flipped),
    "outside the roots": entry("/etc/passwd"),
    "the node's policy": entry("/etc/kat/policy"),
    "a service": entry("/etc/systemd/system/kat-agent.service"),
    "upwards": entry("/var/lib/kat/config/default/../../agent/trust.json"),
    "set-user-id": entry(MOTTO, mode=0o4755),
}


def flipped_base64(text: str) -> str:
    """Return a signature with one bit changed."""
    return base64.b64encode(flipped(base64.b64decode(text))).decode()


def look() -> list[str]:
    """Return everything that an apply could change."""
    return subprocess.run(
        ["sh", "-c", LOOK], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def differing(before: list[str]) -> list[str]:
    """Return what is there now and was not, or the other way round."""
    return sorted({*before} ^ {*look()})


def tell(name: str, said: list[str], changed: list[str]) -> None:
    """Write one line."""
    print(json.dumps({"name": name, "said": said, "changed": changed}), flush=True)  # noqa: T201 -- its answer


def words(true: Word) -> Iterator[tuple[str, Word]]:
    """Yield what to say, each newer than what came before it."""
    for name, change in RECORDS.items():
        yield name, change(true)
    newer = true.record["generation"]
    for number, (name, change) in enumerate(BUNDLES.items(), newer + 1):
        yield name, numbered(change, number)(true)


async def main() -> None:
    """Say it all."""
    leader = FalseLeader()
    app = web.Application()
    base = "/v1alpha1/nodes/a"
    app.router.add_get(f"{base}/session", leader.session)
    app.router.add_get(f"{base}/bundle", leader.bundle)
    app.router.add_post(f"{base}/contents", leader.contents)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, None, PORT, ssl_context=tls(LEADER)).start()
    before = look()
    for name, word in words(leader.true):
        tell(name, await leader.say(word), differing(before))
    await proposals(leader, before)
    await runner.cleanup()


async def proposals(leader: FalseLeader, before: list[str]) -> None:
    """Propose and abort; serve that in place of what is committed; then what is obeyed."""
    true, number = leader.true, leader.true.record["generation"] + len(BUNDLES) + 1
    aborted = numbered(entry(MOTTO), number)(true)
    tell("aborted", await leader.propose(aborted), differing(before))
    root = numbered(SAME, number)(true).bundle().root
    tell("aborted replayed", await leader.say(replace(aborted, root=root)), differing(before))
    known = numbered(recorded(colour="red"), number + 1)(true)
    tell("unknown field", await leader.obeyed(known), differing(before))
    empty = numbered(emptied, number + 2)(true)
    tell("newer empty plan", await leader.obeyed(empty), differing(before))


def emptied(word: Word) -> Word:
    """Return a plan in which nothing runs on this node."""

    def without(manifest: dict[str, Any]) -> None:
        kept = [one for one in manifest["entries"] if not one["path"].endswith(".container")]
        manifest["entries"] = kept

    return manifested(without)(word)


if __name__ == "__main__":
    asyncio.run(main())
