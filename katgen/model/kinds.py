"""Every kind, by its name."""

from collections.abc import Mapping
from typing import Final

from katgen.model.cluster import ClusterConfiguration
from katgen.model.node import Node
from katgen.model.objects import (
    BuildDefinition,
    Config,
    JobDefinition,
    Namespace,
    Secret,
    VirtualLoadBalancer,
)
from katgen.model.spec import Document
from katgen.model.workload import Workload

KINDS: Final[Mapping[str, type[Document]]] = {
    model.__name__: model
    for model in (
        Workload,
        VirtualLoadBalancer,
        JobDefinition,
        BuildDefinition,
        Config,
        Secret,
        Namespace,
        ClusterConfiguration,
        Node,
    )
}
