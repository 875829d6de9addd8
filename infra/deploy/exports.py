"""What other stacks import cannot change while they do: CloudFormation refuses, after it has done the rest.

So each living stack is rendered as it is and as it would be, and what both export is compared.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from infra.deploy.cloud import Cloud
from infra.deploy.stacks import Stacks
from infra.rendering import STACKS, Rendered, StageFile, parse, render, template

TOLD_BY_OTHERS: Final = frozenset({"ApiId", "EdgeSecretVersion", "MasterSecretArn"})
"""Parameters that the stage's file does not choose; nothing that is exported depends on them."""


@dataclass(frozen=True, slots=True)
class Living:
    """A stack that is there, as it was sent."""

    parameters: Mapping[str, str]
    rendered: Rendered

    @property
    def imports(self) -> set[str]:
        return set(re.findall(r"<import:([\w-]+)>", json.dumps(self.rendered.resources)))


def changed_in_use(cloud: Cloud, stacks: Stacks, given: StageFile) -> Iterator[str]:
    """Each export that would change or go although somebody imports it, in a sentence with what to do."""
    living = {stack: found for stack in STACKS if (found := _living(cloud, stacks, stack)) is not None}
    for stack, there in living.items():
        users = [other for other in living if other != stack]
        to_be = render(template(stack), given.parameters(stack))
        for name, output in there.rendered.outputs.items():
            export = output["Export"]["Name"]
            using = [other for other in users if export in living[other].imports]
            if using and (name not in to_be.outputs or to_be.outputs[name]["Value"] != output["Value"]):
                yield (
                    f"{stack}: the export {export} would change, {_why(stack, there, given)}, and the stacks "
                    f"{', '.join(using)} use it: CloudFormation refuses that. Take it back, or make another stage."
                )


def _living(cloud: Cloud, stacks: Stacks, stack: str) -> Living | None:
    sent = stacks.sent(cloud.stack_name(stack))
    if sent is None:
        return None
    text, parameters = sent
    return Living(parameters, render(parse(text), parameters))


def _why(stack: str, there: Living, given: StageFile) -> str:
    other = [
        f"`{name}` is {value or 'empty'} now and was {was or 'empty'}"
        for name, value in given.with_defaults(stack).items()
        if name not in TOLD_BY_OTHERS and (was := there.parameters.get(name, value)) != value
    ]
    said = f"for in infra/parameters/{given.stage}.json {' and '.join(other)}"
    return said if other else "since its template did"
