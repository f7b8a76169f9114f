"""Cut nodes off from each other: their packets are lost, and no link goes down."""

from tests.lab.node import Node

RULES = """
table bridge lab {
    set pairs { typeof iifname . oifname; }
    set alone { typeof iifname; }
    chain forward { type filter hook forward priority 0; }
}
flush chain bridge lab forward
add rule bridge lab forward iifname . oifname @pairs drop
add rule bridge lab forward iifname @alone drop
add rule bridge lab forward oifname @alone drop
"""


def partition(one: Node, other: Node) -> None:
    """Lose every packet between two nodes, until `heal`."""
    ways = f'"{one.port}" . "{other.port}", "{other.port}" . "{one.port}"'
    _nft(one, f"{RULES}add element bridge lab pairs {{ {ways} }}\n")


def isolate(node: Node) -> None:
    """Lose every packet between a node and all others, until `heal`."""
    _nft(node, f'{RULES}add element bridge lab alone {{ "{node.port}" }}\n')


def heal(node: Node) -> None:
    """End every cut in the lab of this node."""
    _nft(node, "add table bridge lab\ndelete table bridge lab\n")


def _nft(node: Node, rules: str) -> None:
    """Run the root file system's own nft on the bridge between the nodes."""
    node.enclosure.run(["chroot", f"{node.home}/root", "nft", "-f", "-"], rules.encode())
