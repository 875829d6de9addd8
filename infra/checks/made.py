"""A stage as its templates would make it, for the checks to read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.functions import Function
from infra.rendering import STACKS, Rendered, StageFile, Template, render, template

WITH_AN_API: Final = {"ApiId": "abcdefghij", "EdgeSecretVersion": "the-version-given"}


@dataclass(frozen=True, slots=True)
class Installation:
    """A stage as its templates and parameters would make it, and the functions that it is for."""

    given: StageFile
    stacks: Mapping[str, Rendered]
    functions: Sequence[Function]

    @property
    def stage(self) -> str:
        return self.given.stage

    def each(self, *types: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """`stack.Name` and properties of every resource of these types."""
        for stack, rendered in self.stacks.items():
            for name, resource in rendered.of_type(*types).items():
                yield f"{stack}.{name}", resource.get("Properties", {})

    def output(self, name: str) -> str | None:
        """What other stacks get for `<import:bevyly-<stage>-Name>`."""
        for rendered in self.stacks.values():
            if name in rendered.outputs:
                return str(rendered.outputs[name]["Value"])
        return None

    def imported(self, name: str) -> str:
        """An output, as another stack has it."""
        return f"<import:bevyly-{self.stage}-{name}>"

    def again(self, stack: str, parameters: Mapping[str, str]) -> Rendered:
        """A stack with these parameters in the place of the stage's."""
        return render(self.stacks[stack].source, {**self.given.parameters(stack), **parameters})


def installation(
    given: StageFile, functions: Sequence[Function], templates: Mapping[str, Template] | None = None
) -> Installation:
    """Of the files in this folder, or of other templates in their place."""
    templates = templates or {stack: template(stack) for stack in STACKS}
    return Installation(
        given,
        {stack: render(parsed, given.parameters(stack)) for stack, parsed in templates.items()},
        functions,
    )


Problems = Iterator[str]


def with_api(made: Installation) -> Rendered:
    """The edge as it is after the API was made."""
    return made.again("edge", WITH_AN_API)


def grants(made: Installation, function: Function) -> set[tuple[str, str]]:
    """What a function's role itself allows: action, and the output that names the resource (or its own words)."""
    return grants_of(made, "functions", f"{function.words}Role")


def grants_of(made: Installation, stack: str, role: str) -> set[tuple[str, str]]:
    prefix = made.imported("").rstrip(">")
    return {
        (action, str(resource).removeprefix(prefix).rstrip(">") if prefix in str(resource) else str(resource))
        for policy in made.stacks[stack].resources[role]["Properties"].get("Policies", [])
        for statement in listed(policy["PolicyDocument"]["Statement"])
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def trusts(role: Mapping[str, Any], service: str) -> bool:
    """This service of AWS, and nobody else."""
    trusted = listed(role["Properties"]["AssumeRolePolicyDocument"]["Statement"])
    return [each["Principal"] for each in trusted] == [{"Service": service}]


def statements(made: Installation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy but of trust."""
    for stack, rendered in made.stacks.items():
        for name, resource in rendered.resources.items():
            properties = resource.get("Properties", {})
            documents = [properties.get("PolicyDocument"), properties.get("KeyPolicy")]
            if resource["Type"] == "AWS::IAM::Role":
                documents += [each["PolicyDocument"] for each in properties.get("Policies", [])]
            for document in documents:
                for statement in listed(document["Statement"]) if document else []:
                    yield f"{stack}.{name}", statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def true(value: Any) -> bool:
    return value is True or value == "true"


def everybody(principal: Any) -> bool:
    return principal == "*" or (isinstance(principal, dict) and "*" in listed(principal.get("AWS")))


def of_the_account(principal: Any) -> bool:
    return isinstance(principal, dict) and str(principal.get("AWS", "")).endswith(":root")
