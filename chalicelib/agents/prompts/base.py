"""What a prompt is, and how it is asked.

A prompt's rules are checked, not hoped for: `check` says which of them an answer breaks. Each answer is recorded
with the prompt's name and version, so that it can be told later what a text was asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from chalicelib.agents.base import Call
from chalicelib.domain.errors import Refused
from chalicelib.domain.money import Quote

Context = TypeVar("Context")
Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Break:
    """A rule that an answer breaks, in words for the model that is to mend it and for the person who reviews it."""

    code: str
    message: str

    def as_flag(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Prompt(Generic[Context, Form]):
    """One thing that a model is asked. A changed text, form or check is another version."""

    name: str
    version: str
    instructions: str
    form: type[Form]
    facts: Callable[[Context], dict[str, Any]]  # bounded, and all that the model is told
    check: Callable[[Context, Form], list[Break]]
    pays: Quote

    @property
    def label(self) -> str:
        """As it is recorded with what came of it: `email-draft/1`."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Said(Generic[Form]):
    """An answer, and the prompt that it is the answer to: what a step records."""

    prompt: str
    answer: Form


def ask(call: Call, prompt: Prompt[Context, Form], context: Context) -> Said[Form]:
    """The answer, whatever rules it breaks.

    Raises Refused and the other kinds of ProviderFailed; see LanguageModel.
    """
    answer = call.model.answer(
        call.caller, instructions=prompt.instructions, facts=prompt.facts(context), form=prompt.form
    )
    return Said(prompt=prompt.label, answer=answer)


def ask_by_the_rules(call: Call, prompt: Prompt[Context, Form], context: Context) -> Said[Form]:
    """The answer, which breaks no rule.

    Raises Refused where it does (`rules_broken`), besides what `ask` raises; its usage is booked all the same.
    """
    said = ask(call, prompt, context)
    if broken := prompt.check(context, said.answer):
        raise Refused(
            f"The model's answer was thrown away, since it broke a rule. {' '.join(one.message for one in broken)}",
            code="rules_broken",
            details={"prompt": prompt.label, "rules": [one.code for one in broken]},
        )
    return said
