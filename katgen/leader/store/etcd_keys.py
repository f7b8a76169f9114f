"""Where a cluster is in etcd, and how its transactions are written down.

| key below `/kat/<cluster uid>/` | what |
|---|---|
| `head` | the highest fencing token; every transaction writes it, so its revision tells of them |
| `k/<key>` | an item |
| `aside/<number>/<key>` | the value of an item that did not fit in its transaction |
| `intent/<number>` | while such values are being written, under a lease |

etcd takes 128 operations in one transaction by default. A transaction within a transaction counts
for itself, so a tree of them takes as many as one likes, all at one revision.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from katgen.leader.store import Change, Item
from katgen.leader.store.etcd_api import kv_pb2
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.limits import past

MAX_OPS: Final = 128
"""etcd's default of --max-txn-ops."""
COMPARES: Final = MAX_OPS // 2
"""Half of the operations, as `packed` leaves them at the top of a tree."""
MAX_REQUEST: Final = 1_500_000
"""Bytes of a request: somewhat below etcd's default of --max-request-bytes."""
_MARK: Final = b"\0"
_PLAIN: Final = b"\0="
_ASIDE: Final = b"\0@"


class Space:
    """The keys of one cluster."""

    def __init__(self, uid: str) -> None:
        root = f"/kat/{uid}/"
        self.root = root.encode()
        self.head = f"{root}head".encode()
        self.items, self.asides, self.intents = f"{root}k/", f"{root}aside/", f"{root}intent/"

    def item(self, key: str) -> bytes:
        """Return an item's key in etcd."""
        return (self.items + key).encode()

    def key(self, raw: bytes) -> str:
        """Return the key of an item that is in etcd."""
        return raw.decode().removeprefix(self.items)

    def aside(self, number: str, key: str) -> bytes:
        """Return where a value is put aside."""
        return f"{self.asides}{number}/{key}".encode()

    def put_aside(self, raw: bytes) -> tuple[str, str]:
        """Return the number and the key of a value aside, from its key in etcd."""
        number, _, key = raw.decode().removeprefix(self.asides).partition("/")
        return number, key

    def intent(self, number: str) -> bytes:
        """Return the key that is there while a transaction's values are put aside."""
        return f"{self.intents}{number}".encode()

    def intended(self, raw: bytes) -> str:
        """Return the number of an intent, from its key in etcd."""
        return raw.decode().removeprefix(self.intents)


def below(prefix: str) -> tuple[bytes, bytes]:
    """Return the begin and the end of the range of all keys below a prefix."""
    return prefix.encode(), past(prefix).encode()


def written(value: bytes) -> bytes:
    """Return a value as it is in etcd: as it is, but for those that look like one of our marks."""
    return _PLAIN + value if value.startswith(_MARK) else value


def pointer(number: str) -> bytes:
    """Return what stands in the place of a value that is put aside."""
    return _ASIDE + number.encode()


def pointed(raw: bytes) -> str:
    """Return where a value is put aside; '' if it is not."""
    return raw.removeprefix(_ASIDE).decode() if raw.startswith(_ASIDE) else ""


def read(raw: bytes) -> bytes:
    """Return a value that is not put aside."""
    return raw.removeprefix(_PLAIN) if raw.startswith(_PLAIN) else raw


def item(space: Space, kv: kv_pb2.KeyValue) -> Item:
    """Return an item; its value is etcd's still."""
    return Item(space.key(kv.key), kv.value, kv.create_revision, kv.mod_revision)


def change(space: Space, event: kv_pb2.Event) -> Change:
    """Return a change; its value is etcd's still."""
    kv = event.kv
    if event.type == kv_pb2.Event.DELETE:
        created = event.prev_kv.create_revision
        return Change(space.key(kv.key), None, kv.mod_revision, created)
    return Change(space.key(kv.key), kv.value, kv.mod_revision, kv.create_revision)


def putting(key: bytes, value: bytes, lease: int = 0) -> pb.RequestOp:
    """Return the writing of a key."""
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def deleting(key: bytes, end: bytes = b"") -> pb.RequestOp:
    """Return the deletion of a key, or of a range."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end))


def looking(key: bytes, *, keys_only: bool = True) -> pb.RequestOp:
    """Return a look at a key."""
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, keys_only=keys_only))


def modified_at(key: bytes, revision: int) -> pb.Compare:
    """Return that a key was modified last at a revision; 0: it is not there."""
    return pb.Compare(
        key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=revision
    )


def created_at(key: bytes, revision: int) -> pb.Compare:
    """Return that a key was created at a revision; 0: it is not there."""
    return pb.Compare(
        key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=revision
    )


def is_there(key: bytes) -> pb.Compare:
    """Return that a key is there."""
    return pb.Compare(
        key=key, target=pb.Compare.CREATE, result=pb.Compare.GREATER, create_revision=0
    )


def packed(operations: Sequence[pb.RequestOp], room: int = MAX_OPS) -> list[pb.RequestOp]:
    """Return the operations as a tree: at most half of `room` here, the other half for each below.

    etcd counts along each branch, the widest of compares and operations at every step.
    """
    width = room // 2
    if len(operations) <= width or width <= 1:
        return list(operations)
    size = -(-len(operations) // width)
    parts = [operations[at : at + size] for at in range(0, len(operations), size)]
    return [
        pb.RequestOp(request_txn=pb.TxnRequest(success=packed(part, room - width)))
        for part in parts
    ]


def flat(answers: Sequence[pb.ResponseOp]) -> Iterator[pb.ResponseOp]:
    """Yield the answers to packed operations, in the operations' order."""
    for answer in answers:
        if answer.WhichOneof("response") == "response_txn":
            yield from flat(answer.response_txn.responses)
        else:
            yield answer


def token_below(head: bytes, token: int) -> pb.Compare:
    """Return that the highest fencing token that has written is below one."""
    value = _token(token)
    return pb.Compare(key=head, target=pb.Compare.VALUE, result=pb.Compare.LESS, value=value)


def marking(head: bytes, token: int) -> pb.RequestOp:
    """Return the mark that a transaction leaves at the head, with its token if it has one."""
    put = pb.PutRequest(key=head, value=_token(token)) if token else (
        pb.PutRequest(key=head, ignore_value=True)
    )  # fmt: skip
    return pb.RequestOp(request_put=put)


def raising(head: bytes, token: int) -> pb.RequestOp:
    """Return the writing of a token that is higher than the one there, and of no other."""
    return pb.RequestOp(
        request_txn=pb.TxnRequest(
            compare=[token_below(head, token)], success=[marking(head, token)]
        )
    )


def founding(head: bytes) -> pb.TxnRequest:
    """Return the making of a cluster's head. It answers with nothing if there is one."""
    return pb.TxnRequest(compare=[modified_at(head, 0)], success=[putting(head, _token(0))])


def _token(token: int) -> bytes:
    """Return a fencing token so that etcd compares it as a number."""
    return token.to_bytes(8, "big")
