"""Templates as CloudFormation would see them at one stage: conditions decided, parameters filled in.

What only AWS knows stays a word in angle brackets: `<Cluster.Endpoint.Address>`, `<import:bevyly-dev-VpcId>`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network
from itertools import islice
from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).parent
STAGES: Final = ("dev", "staging", "prod")
STACKS: Final = (
    "network",
    "data",
    "messaging",
    "identity",
    "functions",
    "edge",
    "proxy",
    "observability",
    "streaming",
)
"""In the order in which they are made; the last is optional."""

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"
_NOTHING: Final = object()

Template = dict[str, Any]
Resources = dict[str, dict[str, Any]]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # PyYAML has no types
    """YAML with CloudFormation's short forms; ten times as quick where PyYAML has libyaml."""


def _short_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _short_form)


def parse(text: str) -> Template:
    """A template's text, short forms written out."""
    template: Template = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    return template


def template_text(stack: str) -> str:
    return (HERE / "templates" / f"{stack}.yaml").read_text(encoding="utf-8")


def sent_text(stack: str, stage: str) -> str:
    """The template as it is sent, log groups named in plain words.

    Only so does CloudFormation take those that a destroyed stage left into the new stack (ImportExistingResources).
    """
    return _GROUP.sub(
        lambda found: found[0].replace("!Sub ", "").replace("${Stage}", stage), template_text(stack)
    )


_GROUP: Final = re.compile(r"^ +LogGroupName: !Sub .*\$\{Stage\}.*$", re.MULTILINE)


@cache
def template(stack: str) -> Template:
    """Read once; whoever changes it changes a copy."""
    return parse(template_text(stack))


@dataclass(frozen=True, slots=True)
class StageFile:
    """infra/parameters/<stage>.json."""

    stage: str
    stacks: Mapping[str, Mapping[str, str]]
    concurrency: Mapping[str, int]  # at most so many at once, of functions that no queue limits
    settings: Mapping[str, str] = field(
        default_factory=dict
    )  # of the functions, as in .env.example; the operator's choice

    @classmethod
    def of(cls, stage: str) -> "StageFile":
        said = json.loads((HERE / "parameters" / f"{stage}.json").read_text(encoding="utf-8"))
        return cls.said(stage, said)

    @classmethod
    def said(cls, stage: str, said: Mapping[str, Any]) -> "StageFile":
        """Of such a file's content. Raises KeyError for a part that is missing."""
        settings = {name: str(value) for name, value in said.get("settings", {}).items()}
        return cls(stage, said["stacks"], said["concurrency"], settings)

    def parameters(self, stack: str) -> dict[str, str]:
        """All that the stack is given. Each template has the stage."""
        return {"Stage": self.stage, **self.stacks.get(stack, {})}

    def with_defaults(self, stack: str) -> dict[str, str]:
        """Every parameter of the template with its value; empty where neither it nor the stage says one."""
        declared = template(stack)["Parameters"]
        return {
            **{name: str(said.get("Default", "")) for name, said in declared.items()},
            **self.parameters(stack),
        }


@dataclass(frozen=True, slots=True)
class Rendered:
    """One stack at one stage: the resources and outputs that there would be."""

    resources: Resources
    outputs: Mapping[str, dict[str, Any]]
    source: Template

    def of_type(self, *types: str) -> Resources:
        return {name: each for name, each in self.resources.items() if each["Type"] in types}


def render(
    parsed: Template, parameters: Mapping[str, str], *, region: str = REGION, account: str = ACCOUNT
) -> Rendered:
    """As CloudFormation would see it.

    Raises ValueError for a parameter that the template does not have, one that it needs and was not given, or a rule
    of the template's that does not hold.
    """
    return _Rendering(parsed, parameters, region, account).rendered()


class _Rendering:
    def __init__(self, parsed: Template, given: Mapping[str, str], region: str, account: str) -> None:
        self._template = parsed
        declared: Mapping[str, Any] = parsed.get("Parameters", {})
        if unknown := given.keys() - declared.keys():
            raise ValueError(f"no such parameters: {', '.join(sorted(unknown))}")
        missing = [name for name, said in declared.items() if "Default" not in said and name not in given]
        if missing:
            raise ValueError(f"parameters are missing: {', '.join(missing)}")
        self._values: dict[str, Any] = {
            "AWS::Region": region,
            "AWS::AccountId": account,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NoValue": _NOTHING,
        }
        for name, said in declared.items():
            value = str(given.get(name, said.get("Default")))
            listed = said["Type"] == "CommaDelimitedList"
            self._values[name] = [word.strip() for word in value.split(",")] if listed else value

    def rendered(self) -> Rendered:
        for rule in self._template.get("Rules", {}).values():
            if self._holds(rule.get("RuleCondition", {"Fn::And": []})):
                for each in rule["Assertions"]:
                    if not self._holds(each["Assert"]):
                        raise ValueError(each["AssertDescription"])
        resources, outputs = (self._living(self._template.get(part, {})) for part in ("Resources", "Outputs"))
        return Rendered(resources, outputs, self._template)

    def _living(self, those: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self._value({key: value for key, value in each.items() if key != "Condition"})
            for name, each in those.items()
            if "Condition" not in each or self._holds({"Condition": each["Condition"]})
        }

    def _value(self, said: Any) -> Any:
        if isinstance(said, list):
            return [value for value in map(self._value, said) if value is not _NOTHING]
        if not isinstance(said, dict):
            return said
        if len(said) == 1:
            ((name, argument),) = said.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        values = {key: self._value(value) for key, value in said.items()}
        return {key: value for key, value in values.items() if value is not _NOTHING}

    def _call(self, name: str, argument: Any) -> Any:  # noqa: C901, PLR0911 - one case a function
        match name:
            case "Ref":
                return self._values.get(argument, f"<{argument}>")
            case "GetAtt":
                return f"<{'.'.join(argument)}>"
            case "Sub":
                return self._sub(argument)
            case "If":
                return self._value(argument[1] if self._holds({"Condition": argument[0]}) else argument[2])
            case "ImportValue":
                return f"<import:{self._value(argument)}>"
            case "Join":
                parts = self._value(argument[1])
                return argument[0].join(parts) if isinstance(parts, list) else parts
            case "Split":
                return str(self._value(argument[1])).split(argument[0])
            case "Select":
                listed = self._value(argument[1])
                known = isinstance(listed, list) and int(argument[0]) < len(listed)
                return listed[int(argument[0])] if known else f"<{argument[0]} of {listed}>"
            case "GetAZs":
                return [f"{self._values['AWS::Region']}{letter}" for letter in "abc"]
            case "Cidr":
                block, count, bits = argument
                networks = ip_network(self._value(block)).subnets(new_prefix=32 - int(bits))
                return [str(each) for each in islice(networks, int(count))]
        raise ValueError(f"Fn::{name} is not known here")

    def _sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        values = {key: self._value(value) for key, value in own.items()}

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            return str(values.get(name, self._values.get(name, f"<{name}>")))

        return re.sub(r"\$\{([^!}]+)\}", filled, text)

    def _holds(self, said: Mapping[str, Any]) -> bool:
        ((name, argument),) = said.items()
        match name.removeprefix("Fn::"):
            case "Condition":
                return self._holds(self._template["Conditions"][argument])
            case "Equals":
                left, right = map(self._value, argument)
                return bool(left == right)
            case "Not":
                return not self._holds(argument[0])
            case "And":
                return all(map(self._holds, argument))
            case "Or":
                return any(map(self._holds, argument))
            case "Contains":  # of rules alone
                listed, value = map(self._value, argument)
                return value in listed
        raise ValueError(f"{name} is no condition")
