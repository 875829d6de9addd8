"""Our stacks in moto, as far as it knows their resources. What it does not know is left out and said."""

import json
import re
from collections.abc import Mapping
from typing import Any

from moto.cloudformation import parsing  # noqa: F401 - it imports the models of every service
from moto.core.common_models import CloudFormationModel

from infra.rendering import Rendered

PLACEHOLDER = "unknown-to-moto"
PLACEHOLDER_ARN = "arn:aws:unknown:::unknown-to-moto"


NO_AURORA = {"AWS::RDS::DBInstance"}
"""Moto knows the type, and no version of aurora-postgresql."""


def known_types() -> set[str]:
    found: set[str] = set()
    classes: list[type[Any]] = [CloudFormationModel]
    while classes:
        kind = classes.pop()
        classes += kind.__subclasses__()
        if kind is not CloudFormationModel and "cloudformation_type" in vars(kind):
            found.add(kind.cloudformation_type())
    return found - NO_AURORA


def for_moto(rendered: Rendered, imports: Mapping[str, str]) -> tuple[str, set[str]]:
    """A template's JSON with what moto knows, and the types that were left out."""
    known = known_types()
    kept = {name: each for name, each in rendered.resources.items() if each["Type"] in known}
    left_out = {each["Type"] for each in rendered.resources.values()} - known
    resources = {name: _with_functions(each, set(kept), imports) for name, each in kept.items()}
    for each in resources.values():
        if each["Type"] == "AWS::Events::Archive":  # moto wants text where CloudFormation takes an object
            each["Properties"]["EventPattern"] = json.dumps(each["Properties"]["EventPattern"])
        if "DependsOn" in each and each["DependsOn"] not in kept:
            del each["DependsOn"]
    outputs = {
        name: {
            "Value": _with_functions(each["Value"], set(kept), imports),
            "Export": {"Name": each["Export"]["Name"]},
        }
        for name, each in rendered.outputs.items()
    }
    return json.dumps({"Resources": resources, "Outputs": outputs}), left_out


def _with_functions(value: Any, kept: set[str], imports: Mapping[str, str]) -> Any:
    """`<Name>` and `<Name.Attribute>` as the functions they came from; of what is left out, a placeholder."""
    if isinstance(value, dict):
        return {key: _with_functions(each, kept, imports) for key, each in value.items()}
    if isinstance(value, list):
        values = [_with_functions(each, kept, imports) for each in value]
        # Fn::Split of what is known only now.
        split = len(value) == 1 and str(value[0]).endswith("-SubnetIds>")
        return values[0].split(",") if split else values
    return _text(value, kept, imports) if isinstance(value, str) else value


def _text(value: str, kept: set[str], imports: Mapping[str, str]) -> Any:
    if whole := re.fullmatch(r"<(\w+)(?:\.([\w.]+))?>", value):
        name, attribute = whole.groups()
        if name not in kept:
            return PLACEHOLDER_ARN if attribute == "Arn" else PLACEHOLDER
        return {"Fn::GetAtt": [name, attribute]} if attribute else {"Ref": name}

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("import:"):
            found = imports.get(name.removeprefix("import:"), PLACEHOLDER)
            return PLACEHOLDER_ARN if found == PLACEHOLDER and name.endswith("Arn") else found
        return f"${{{name}}}" if name.split(".")[0] in kept else PLACEHOLDER

    text = re.sub(r"<([\w:.-]+)>", filled, value)
    return {"Fn::Sub": text} if "${" in text else text
