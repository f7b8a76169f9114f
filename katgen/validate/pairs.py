"""Objects that belong to a Workload, by namespace and name (spec §3)."""

from collections.abc import Iterator

from katgen.errors import Problem
from katgen.model.workload import Workload
from katgen.validate.load import Written
from katgen.validate.objects import Objects


def pairs(objects: Objects) -> Iterator[Problem]:
    """JobDefinition ⇔ type Job; BuildDefinition ⇔ git; a load balancer only for what serves."""
    for workload in objects.workloads.values():
        yield from _needs(workload, objects)
    yield from _load_balancers(objects)
    yield from _jobs(objects)
    yield from _builds(objects)


def _needs(workload: Written[Workload], objects: Objects) -> Iterator[Problem]:
    spec, key = workload.object.spec, workload.key
    if spec.type == "Job" and objects.lacks("JobDefinition", key):
        hint = f"add a JobDefinition with namespace and name {key}, or choose another type"
        yield Problem(workload.at("spec", "type"), "a Job needs its JobDefinition", hint)
    if spec.source.git is not None and objects.lacks("BuildDefinition", key):
        hint = f"add a BuildDefinition with namespace and name {key}, or give an image"
        yield Problem(workload.at("spec", "source", "git"), "git needs a BuildDefinition", hint)


def _load_balancers(objects: Objects) -> Iterator[Problem]:
    for key, balancer in objects.load_balancers.items():
        at = balancer.at("metadata", "name")
        workload = objects.workloads.get(key)
        if objects.lacks("Workload", key):
            hint = "it takes the namespace and name of the Workload that it serves"
            yield Problem(at, f"there is no Workload {key}", hint)
        elif workload is not None and workload.object.spec.type == "Job":
            hint = "remove it; Service and DaemonService can have one"
            yield Problem(at, f"Workload {key} is a Job, which serves nothing", hint)


def _jobs(objects: Objects) -> Iterator[Problem]:
    for key, job in objects.jobs.items():
        at = job.at("metadata", "name")
        workload = objects.workloads.get(key)
        if objects.lacks("Workload", key):
            hint = "it takes the namespace and name of the Workload that it runs"
            yield Problem(at, f"there is no Workload {key}", hint)
        elif workload is not None and workload.object.spec.type != "Job":
            what = f"Workload {key} is a {workload.object.spec.type}, not a Job"
            yield Problem(at, what, "make it `type: Job`, or remove the JobDefinition")


def _builds(objects: Objects) -> Iterator[Problem]:
    for key, build in objects.builds.items():
        at = build.at("metadata", "name")
        workload = objects.workloads.get(key)
        if objects.lacks("Workload", key):
            hint = "it takes the namespace and name of the Workload that it builds"
            yield Problem(at, f"there is no Workload {key}", hint)
        elif workload is not None and workload.object.spec.source.git is None:
            what = f"Workload {key} runs an image and is not built"
            yield Problem(at, what, "give it source.git, or remove the BuildDefinition")
