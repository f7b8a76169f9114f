"""What a store takes, and how much it remembers."""

from dataclasses import dataclass

from katgen.leader.store import VALUE_MAX, TooLargeError, Transaction


@dataclass(frozen=True, slots=True)
class Memory:
    """How much history is kept for watches; the last transaction always is."""

    revisions: int = 10_000
    size_bytes: int = 64 * 2**20


def check(transaction: Transaction) -> None:
    """Raise what is wrong with a transaction in itself (see `Store.commit`)."""
    for key in (*transaction.puts, *transaction.deletes, *transaction.expected):
        if not key:
            raise ValueError("a key is empty")
        key.encode()  # half of a surrogate pair is a ValueError too
    for key, value in transaction.puts.items():
        if len(value) > VALUE_MAX:
            raise TooLargeError(
                f"the value of {key} has {len(value)} bytes; the store takes {VALUE_MAX}"
            )
    both = sorted(transaction.puts.keys() & set(transaction.deletes))
    if both:
        raise ValueError(f"both put and deleted: {', '.join(both)}")


def past(prefix: str) -> str:
    """Return the least text that sorts after everything beginning with `prefix`; '' if none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    surrogates = range(0xD800, 0xE000)
    return stem[:-1] + chr(surrogates.stop if following in surrogates else following)
