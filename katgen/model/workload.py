"""Workload (spec §3.2)."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from katgen.model.container import Container
from katgen.model.placing import Affinity, Spread, Toleration
from katgen.model.spec import Document, OneOf, Spec, later
from katgen.model.text import DnsLabel, GitUrl, LabelKey, LabelValue
from katgen.model.types import (
    BOTH,
    Count,
    Flag,
    GitBranch,
    GitCommit,
    GitTag,
    ImageRef,
    Seconds,
)
from katgen.model.volume import Volume

WorkloadType = Annotated[Literal["Service", "Job", "DaemonService"], BOTH]
Condition = Annotated[Literal["Always", "OnFailure", "Never"], BOTH]
Isolation = Annotated[Literal["userns", "rootless", "host-root"], BOTH]
Replicas = Annotated[int, Field(strict=True, ge=0, le=100_000)]
Priority = Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)]


class Git(OneOf):
    """A commit of a repository: exactly one of `branch`, `tag`, `commit`."""

    one_of: ClassVar = ("branch", "tag", "commit")

    url: GitUrl = Field(description="As https://git.example.org/shop/web.git.")
    branch: GitBranch | None = Field(
        default=None,
        description="Its latest commit.",
        **later("branches, which only a leader can follow"),
    )
    tag: GitTag | None = Field(
        default=None,
        description="The tag's commit.",
        **later("tags, which only a leader can follow"),
    )
    commit: GitCommit | None = Field(default=None, description="The full id.")


class SourceSpec(OneOf):
    """Where the image comes from: exactly one of `image` and `git`."""

    one_of: ClassVar = ("image", "git")

    image: ImageRef | None = Field(
        default=None, description="As docker.io/library/nginx:1.27, or with a digest."
    )
    git: Git | None = Field(
        default=None, description="Built from a repository, as the BuildDefinition says."
    )
    cache_image: ImageRef | None = Field(
        default=None,
        description="With `git`: where built layers are kept, without a tag.",
        **later("build caches"),
    )

    @model_validator(mode="after")
    def _cache_of_a_build(self) -> Self:
        if self.cache_image is not None and self.git is None:
            raise ValueError("cacheImage goes with git; with image, leave it out")
        return self


class Rolling(Spec):
    """The pace of a rolling update."""

    max_surge: Count = Field(
        default=1,
        description="Instances above the number, at most. Exclusive instances and those of a "
        "DaemonService have none: they are replaced in place, at most maxUnavailable at a time, "
        "but one at least.",
    )
    max_unavailable: Count = Field(
        default=0,
        description="Instances below the number, at most; with maxSurge 0, one at least.",
    )
    pause_after: Count = Field(
        default=0,
        description="Wait for `katcall rollout resume` after so many; 0: never.",
        **later("pauseAfter"),
    )


class UpdateStrategy(Spec):
    """How instances are replaced when the spec changes."""

    type: Annotated[Literal["Rolling", "Simultaneous"], BOTH] = Field(
        default="Rolling", description="A few at a time, or all at once."
    )
    rolling: Rolling = Field(default=Rolling(), description="Of type Rolling.")
    auto_rollback: Flag = Field(
        default=True,
        description="Go back to the old revision if the new one fails.",
        **later("autoRollback"),
    )
    progress_deadline_seconds: Seconds = Field(
        default=300, description="Without progress until it has failed."
    )


class RestartPolicy(Spec):
    """What systemd does when the container ends."""

    condition: Condition = Field(
        default="Always", description="When it is started again; OnFailure or Never for a Job."
    )
    max_restarts: Count = Field(
        default=10,
        description="Within resetSeconds, before systemd gives up; 0: no limit. A Job has the "
        "JobDefinition's backoffLimit and backoffSeconds in place of these three.",
    )
    reset_seconds: Seconds = Field(default=300, description="The span of maxRestarts.")
    backoff_seconds: Seconds = Field(default=1, description="Before it is started again.")


class DependsOn(Spec):
    """A workload of the same namespace that comes first."""

    workload: DnsLabel = Field(description="Its name.")
    condition: Annotated[Literal["Started", "Ready", "Completed"], BOTH] = Field(
        default="Ready", description="How far it must be."
    )


class WorkloadSpec(Spec):
    """What runs, how often, where and how."""

    type: WorkloadType = Field(
        description="`Service`: so many, always; `Job`: to its end, as the JobDefinition says; "
        "`DaemonService`: one on every node."
    )
    source: SourceSpec = Field(description="Where the image comes from.")
    replicas: Replicas | None = Field(
        default=None, description="How many instances; of a Service only; 1 if not given."
    )
    singleton: Flag = Field(
        default=False, description="At most one, even on doubt.", **later("singleton")
    )
    update_strategy: UpdateStrategy = Field(
        default=UpdateStrategy(), description="How a change is rolled out."
    )
    revision_history_limit: Count = Field(default=10, description="Old revisions that are kept.")
    restart_policy: RestartPolicy = Field(
        default=RestartPolicy(), description="What happens when the container ends."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default={}, description="Labels that a node must have."
    )
    affinity: Affinity = Field(default=Affinity(), description="Wanted nodes and neighbours.")
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Taints that do not keep the instances away."
    )
    spread: tuple[Spread, ...] = Field(
        default=(), description="Even numbers over parts of the cluster."
    )
    priority: Priority = Field(default=0, description="Higher ones are placed first.")
    depends_on: tuple[DependsOn, ...] = Field(
        default=(), description="What comes first.", **later("dependsOn")
    )
    isolation: Isolation = Field(
        default="userns",
        description="`userns`: root in the container is nobody on the node, by a range of user "
        "ids of its own; `host-root`: root of the node, if the Namespace allows it; `rootless`: "
        "the namespace's own system user.",
        **later("", "rootless"),
    )
    container: Container = Field(default=Container(), description="What runs in each instance.")
    volumes: tuple[Volume, ...] = Field(default=(), description="What the container can mount.")
    sidecars: tuple[Container, ...] = Field(
        default=(), description="Further containers of an instance.", **later("sidecars")
    )

    @model_validator(mode="before")
    @classmethod
    def _job_ends(cls, given: Any) -> Any:  # noqa: ANN401 -- whatever a file has
        """Give a Job, which cannot be started again when it has ended, another default."""
        if not isinstance(given, dict) or str(given.get("type")).upper() != "JOB":
            return given
        policy = given.get("restartPolicy", {})
        if not isinstance(policy, dict) or "condition" in policy:
            return given
        return {**given, "restartPolicy": {**policy, "condition": "OnFailure"}}


class Workload(Document):
    """Something to run: its container, where it may run, and what it needs."""

    kind: Literal["Workload"] = Field(description="This kind.")
    spec: WorkloadSpec = Field(description="What runs, how often, where and how.")
