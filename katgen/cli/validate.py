"""`katcall validate`."""

import click

from katgen.cli import options
from katgen.cli.exits import Exit
from katgen.cli.output import (
    Form,
    counted,
    print_json,
    print_notes,
    print_problems,
    problem_fields,
    say,
)
from katgen.cli.reading import checked
from katgen.validate import Checked


@click.command("validate", short_help="Say what is wrong with .kat files.")
@options.files
@options.cluster
@options.nodes
@options.form
@options.ending
def command(form: Form, **given: options.Given) -> int:
    """Say what is wrong with .kat files: all problems of all files at once."""
    found = checked(options.named(given))
    if form is Form.JSON:
        print_json(
            {
                "problems": [problem_fields(one) for one in found.problems],
                "notes": [problem_fields(one) for one in found.notes],
            }
        )
        return Exit.PROBLEMS if found.problems else Exit.FINE
    print_notes(found.notes)
    if found.problems:
        print_problems(found.problems, form)
        return Exit.PROBLEMS
    say(f"valid: {_summary(found)}")
    return Exit.FINE


def _summary(found: Checked) -> str:
    specs = found.specs
    joined = specs.workloads.values() if specs else ()
    counts = {
        "Workload": len(joined),
        "VirtualLoadBalancer": sum(one.load_balancer is not None for one in joined),
        "JobDefinition": sum(one.job is not None for one in joined),
        "BuildDefinition": sum(one.build is not None for one in joined),
        "Config": len(specs.configs) if specs else 0,
        "Secret": len(specs.secrets) if specs else 0,
        "Node": len(found.nodes),
    }
    return ", ".join(counted(number, kind) for kind, number in counts.items() if number)
