"""Build units: an image from a git source, made on each node that runs it, once per commit."""

from collections.abc import Iterator

from katgen import names
from katgen.bundle import Activation, Artifact, artifact
from katgen.model.objects import BuildSpec
from katgen.model.workload import Git
from katgen.render import unitfile
from katgen.render.container import built_image
from katgen.render.lines import Line, layout, section
from katgen.render.unitfile import Variables, command
from katgen.render.view import ClusterView, PlannedWorkload

QUADLET = "/etc/containers/systemd/kat"


def build(workload: PlannedWorkload, _: ClusterView) -> tuple[Artifact, ...]:
    """Return the build unit of a workload with a git source, else nothing."""
    git = workload.objects.workload.spec.source.git
    if git is None:
        return ()
    variables = Variables()
    lines = [*_lines(workload, git, variables), *section("Service", variables.lines())]
    header = f"# Managed by KAT: the image of workload {workload.key}.\n\n"
    stem = names.workload_stem(workload.key)
    text = header + layout([(name, unitfile.check_line(line)) for name, line in lines])
    path = f"{QUADLET}/{stem}.build"
    unit = f"{stem}-build.service"
    return (artifact(path, text, activation=Activation.DAEMON_RELOAD, unit=unit, pair_key=path),)


def _lines(workload: PlannedWorkload, git: Git, variables: Variables) -> Iterator[Line]:
    spec = workload.objects.build.spec if workload.objects.build else BuildSpec()
    image = built_image(workload, git)
    namespace, _ = names.split_key(workload.key)
    yield "Quadlet", "DefaultDependencies=false"
    yield "Unit", f"Description=Image of {workload.key} of KAT"
    yield "Unit", f"PartOf={names.namespace_target(namespace)}"
    yield from section("Build", _build(git, spec, image, variables))
    # The image is named by its commit: if it is there, a boot needs neither network nor build.
    missing = command("/bin/sh", "-c", '! /usr/bin/podman image exists "$1"', "sh", image)
    yield "Service", f"ExecCondition={missing}"
    yield "Service", "TimeoutStartSec=infinity"


def _build(git: Git, spec: BuildSpec, image: str, variables: Variables) -> Iterator[str]:
    reference = git.commit or git.tag or git.branch
    folder = spec.build_context.strip("/")
    context = f"{git.url}#{reference}" + (f":{folder}" if folder not in {"", "."} else "")
    yield f"ImageTag={unitfile.raw(image, variables)}"
    yield f"SetWorkingDirectory={unitfile.raw(context, variables)}"
    yield f"File={unitfile.raw(spec.dockerfile_path, variables)}"
    for name, value in sorted(spec.build_args.items()):
        yield f"PodmanArgs=--build-arg {unitfile.exec_word(f'{name}={value}', variables)}"
    if spec.target_stage is not None:
        yield f"Target={spec.target_stage}"
    if spec.platform is not None:
        _, architecture, *variant = spec.platform.split("/")
        yield f"Arch={architecture}"
        yield from (f"Variant={one}" for one in variant)
