"""Faults that a person would want to see, each with what it is like in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.faults import Fault, parse


@dataclass(frozen=True, slots=True)
class Preset:
    name: str  # as in its path
    group: str
    title: str
    then: str  # what a caller meets
    content: Mapping[str, Any]  # as one would post it to /_control/faults

    @property
    def fault(self) -> Fault:
        return parse(dict(self.content))


def _apollo(name: str, title: str, then: str, **content: Any) -> Preset:
    return Preset(f"apollo-{name}", "Apollo.io", title, then, {"provider": "apollo", **content})


def _openai(name: str, title: str, then: str, **content: Any) -> Preset:
    return Preset(f"openai-{name}", "OpenAI", title, then, {"provider": "openai", **content})


def _both(name: str, title: str, then: str, **content: Any) -> Preset:
    return Preset(name, "Both", title, then, content)


COMPLETIONS: Final = "/v1/chat/completions"
PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset
    for preset in (
        _apollo(
            "out-of-credits",
            "Apollo is out of credits",
            "Calls that cost credits are refused with a 422; free ones still work.",
            kind="no_credit",
        ),
        _apollo(
            "out-of-credits-402",
            "Apollo is out of credits, the other way",
            "The same refusal, as a 402.",
            kind="payment_required",
        ),
        _apollo(
            "bad-key",
            "Apollo does not know the key",
            "Each call is answered 401, in plain text, as for a key that was deleted.",
            kind="bad_key",
        ),
        _apollo(
            "free-plan",
            "Apollo's plan has no API",
            "Each call is refused with a 403, as on a free plan; the key check passes.",
            kind="free_plan",
        ),
        _apollo(
            "busy",
            "Apollo takes no more calls for now",
            "The next three calls are answered 429 and told to come back in 5 seconds.",
            status=429,
            retry_after=5,
            times=3,
        ),
        _apollo(
            "busy-oddly",
            "Apollo says so oddly",
            "The next call is answered 429 with its JSON wrapped in a string.",
            kind="string_429",
            retry_after=5,
            times=1,
        ),
        _apollo(
            "down",
            "Apollo is down",
            "Each call is answered 500 with a web page, until you end it.",
            status=500,
        ),
        _apollo(
            "hangs",
            "Apollo does not answer",
            "The next call is carried out and charged, then nothing comes back.",
            kind="hang",
            times=1,
        ),
        _apollo(
            "breaks-off",
            "Apollo's answer breaks off",
            "The next answer is paid for, but only half of it arrives.",
            kind="truncate",
            times=1,
        ),
        _apollo(
            "reordered",
            "Apollo shuffles bulk answers",
            "Bulk answers come in another order, and what was not found is left out.",
            kind="reordered",
        ),
        _openai(
            "out-of-quota",
            "OpenAI is out of quota",
            "Each completion is answered 429 insufficient_quota, which waiting does not mend.",
            path=COMPLETIONS,
            kind="quota",
        ),
        _openai(
            "no-credits",
            "OpenAI's prepaid credits are used up",
            "Each completion is answered 429 credit_balance_exhausted.",
            path=COMPLETIONS,
            kind="credit_balance_exhausted",
        ),
        _openai(
            "bad-key",
            "OpenAI does not know the key",
            "Each call is answered 401 invalid_api_key.",
            kind="bad_key",
        ),
        _openai(
            "busy",
            "OpenAI takes no more calls for now",
            "The next two calls are answered 429 and told to come back in 5 seconds.",
            status=429,
            retry_after=5,
            times=2,
        ),
        _openai("down", "OpenAI is down", "Each call is answered 503, until you end it.", status=503),
        _openai(
            "hangs",
            "OpenAI does not answer",
            "The next completion is written and charged, then nothing comes back.",
            path=COMPLETIONS,
            kind="hang",
            times=1,
        ),
        _openai(
            "refuses",
            "The model refuses",
            "The next completion is a polite refusal. It is paid for.",
            path=COMPLETIONS,
            kind="refusal",
            times=1,
        ),
        _openai(
            "filtered",
            "The content filter steps in",
            "The next completion ends with finish_reason content_filter and no text.",
            path=COMPLETIONS,
            kind="content_filter",
            times=1,
        ),
        _openai(
            "cut-off",
            "The answer is cut off",
            "The next completion ends with finish_reason length, in the middle of its JSON.",
            path=COMPLETIONS,
            kind="truncate",
            times=1,
        ),
        _openai(
            "chatty",
            "The model does not keep to JSON",
            "The next completion talks before its JSON and breaks off.",
            path=COMPLETIONS,
            kind="invalid_json",
            times=1,
        ),
        _openai(
            "model-gone",
            "The model was shut down",
            "Each completion is answered 404 model_not_found.",
            path=COMPLETIONS,
            kind="model_not_found",
        ),
        _both(
            "slow",
            "Everything takes two seconds longer",
            "Each call is answered as ever, two seconds late.",
            latency_ms=2_000,
        ),
        _both(
            "proxy",
            "A proxy answers instead",
            "The next call gets a web page with status 200 where JSON should be.",
            kind="not_json",
            times=1,
        ),
        _both(
            "unplugged",
            "The network is unplugged",
            "Each connection closes before anything is done.",
            kind="refused",
        ),
    )
}
