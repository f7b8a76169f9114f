"""Labels and taints: on which nodes a workload may ever run, and which it prefers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from katgen.planned import Node, Taint
from katgen.schedule.needs import Expression, Requirement, Term, Tolerance

NO_SCHEDULE: Final = "NoSchedule"
PREFER_NO_SCHEDULE: Final = "PreferNoSchedule"
NO_EXECUTE: Final = "NoExecute"
AVOIDED: Final = -100
"""What a PreferNoSchedule taint is worth: as much as the heaviest preferred term is, against."""

_Test = Callable[[str | None, tuple[str, ...]], bool]


def _number(text: str | None) -> int | None:
    plain = (text or "").removeprefix("-")
    return int(text or "") if plain.isascii() and plain.isdigit() else None


def _greater(label: str | None, values: tuple[str, ...]) -> bool:
    number = _number(label)
    return number is not None and number > int(values[0])


def _less(label: str | None, values: tuple[str, ...]) -> bool:
    number = _number(label)
    return number is not None and number < int(values[0])


OPERATORS: Final[Mapping[str, _Test]] = {
    "In": lambda label, values: label in values,
    "NotIn": lambda label, values: label not in values,
    "Exists": lambda label, _: label is not None,
    "DoesNotExist": lambda label, _: label is None,
    "Gt": _greater,
    "Lt": _less,
}
"""NotIn holds without the label, and Gt and Lt want a whole number, as in Kubernetes."""


def holds(term: Term, labels: Mapping[str, str]) -> bool:
    """Whether all of a term's expressions hold."""
    return all(OPERATORS[operator](labels.get(key), values) for key, operator, values in term.match)


def tolerates(tolerations: tuple[Tolerance, ...], taint: Taint) -> bool:
    """Whether any toleration covers the taint."""
    return any(
        (t.effect is None or t.effect == taint.effect)
        and (t.key is None or t.key == taint.key)
        and (t.exists or t.value == taint.value)
        for t in tolerations
    )


def evicting(requirement: Requirement, node: Node) -> Taint | None:
    """Return a taint that drives even running instances away."""
    for taint in node.taints:
        if taint.effect == NO_EXECUTE and not tolerates(requirement.tolerations, taint):
            return taint
    return None


def admits(requirement: Requirement, node: Node) -> bool:
    """Whether labels and taints let the workload run there."""
    return next(objections(requirement, node), None) is None


def objections(requirement: Requirement, node: Node) -> Iterator[tuple[str, str]]:
    """Yield what in a node's labels and taints keeps the workload away: the rule, then the fact."""
    for key, value in requirement.selector:
        label = node.labels.get(key)
        if label != value:
            yield f"nodeSelector {key}={value}", _is(key, label)
    if requirement.required and not any(holds(t, node.labels) for t in requirement.required):
        shown = " or ".join(_term_text(t) for t in requirement.required)
        keys = dict.fromkeys(e[0] for t in requirement.required for e in t.match)
        labels = ", ".join(_is(key, node.labels.get(key)) for key in keys)
        yield f"node affinity {shown}", labels
    for taint in node.taints:
        if taint.effect != PREFER_NO_SCHEDULE and not tolerates(requirement.tolerations, taint):
            yield f"taint {taint_text(taint)}", "not tolerated"


def preference(requirement: Requirement, node: Node) -> int:
    """Return the weights of the preferred terms that hold, less what avoided taints cost."""
    score = sum(t.weight for t in requirement.preferred if holds(t, node.labels))
    for taint in node.taints:
        if taint.effect == PREFER_NO_SCHEDULE and not tolerates(requirement.tolerations, taint):
            score += AVOIDED
    return score


def taint_text(taint: Taint) -> str:
    """Return a taint as people write it: `dedicated=db:NoSchedule`."""
    value = f"={taint.value}" if taint.value else ""
    return f"{taint.key}{value}:{taint.effect}"


def _is(key: str, label: str | None) -> str:
    return f"the node has no label {key}" if label is None else f"the node's {key} is {label}"


def _term_text(term: Term) -> str:
    return " and ".join(map(_expression_text, term.match))


def _expression_text(expression: Expression) -> str:
    key, operator, values = expression
    return f"{key} {operator} {', '.join(values)}".rstrip()
