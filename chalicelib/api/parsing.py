"""From bytes and strings to checked values, or a 4xx that says where. Nothing here reads a database.

JSON is taken strictly: UTF-8, no duplicate key, no NaN, at most 256 KB and 32 levels. Afterwards the models
decide, and an error's place is a JSON pointer in the client's own names.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NewType, NoReturn, TypeVar, Union, get_args, get_origin
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from chalicelib.domain.errors import Invalid, Malformed, NotFound, TooLarge, UnsupportedMediaType
from chalicelib.domain.ids import PREFIXES, is_id

MOST_BYTES: Final = 256 * 1024
DEEPEST: Final = 32
MOST_ERRORS: Final = 20  # that one answer lists

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1


# Models and types that input is made of


class In(BaseModel):
    """A body or a query. Strict: "1" is no number, an unknown field an error, names are camelCase.

    A plain `int` holds what a PostgreSQL integer does; `Big` says that it may be longer.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        defer_build=True,  # at the first use: a cold start builds what its request needs
    )

    @field_validator("*", mode="after")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Any:
        if type(value) is int and abs(value) > INT32:
            field = cls.model_fields[info.field_name or ""]
            if not is_big(Annotated[field.annotation, *field.metadata, None]):
                raise ValueError(f"Input should be between -{INT32} and {INT32}")
        return value


class Nothing(In):
    """The query of a route that takes none."""


class _Big:
    """Marks an integer that may need 64 bits."""


def is_big(annotation: Any) -> bool:
    """Whether the type says that its integers may need 64 bits."""
    return isinstance(annotation, _Big) or any(is_big(part) for part in get_args(annotation))


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text):
        raise ValueError("must be a single line without control characters")
    return text


def _timestamp_only(value: Any) -> Any:
    if not isinstance(value, str) or not _TIMESTAMP.match(value):
        raise ValueError("Input should be a timestamp such as 2030-01-31T09:00:00Z")
    return value


def _utc(moment: datetime) -> datetime:
    if not 1900 <= moment.year <= 9998:  # noqa: PLR2004 - so that no zone leads out of what a datetime holds
        raise ValueError("Input should be a timestamp between the years 1900 and 9998")
    return moment.astimezone(UTC)


_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]", re.ASCII)

Big = Annotated[int, Field(ge=-INT64, le=INT64), _Big()]
Version = Annotated[int, Field(ge=1, le=INT32)]
Limit = Annotated[int, Field(ge=1, le=100, description="How many to return at most.")]
Line = Annotated[str, AfterValidator(_one_line)]
Instant = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_timestamp_only), AfterValidator(_utc)
]

Model = TypeVar("Model", bound=BaseModel)


# Bodies


def json_body(model: type[Model], raw: bytes, content_type: str | None) -> Model:
    """The body as the model says. Raises Malformed, TooLarge, UnsupportedMediaType, Invalid."""
    check_body(raw, content_type, "application/json")
    document = document_of(raw)
    _check_values(document, "")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        _refuse(error, document)


def text_body(raw: bytes, content_type: str | None, media_type: str, *, most_bytes: int = MOST_BYTES) -> str:
    """The body as text, e.g. of "text/csv"; a leading byte order mark is dropped. Raises as `json_body`."""
    check_body(raw, content_type, media_type, most_bytes=most_bytes)
    text = _utf8(raw).removeprefix("\ufeff")
    check_text(text, pointer="")
    return text


def check_body(
    raw: bytes, content_type: str | None, media_type: str, *, most_bytes: int = MOST_BYTES
) -> None:
    """Raise unless there is a body of this type and of no more bytes."""
    if len(raw) > most_bytes:
        raise TooLarge(f"The body may have at most {most_bytes // 1024} KB.")
    if not raw:
        raise Malformed(f"A body is required, as {media_type}.")
    given, _, parameters = (content_type or "").partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
    if given.strip().lower() != media_type or (charset and charset[1].lower() not in {"utf-8", "utf8"}):
        raise UnsupportedMediaType(f"The body must be sent as {media_type}, in UTF-8.")


def document_of(raw: bytes) -> Any:
    """JSON as plain values. Raises Malformed."""
    text = _utf8(raw)
    _check_depth(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: line {error.lineno}, column {error.colno}.") from None
    except ValueError as error:  # a number of thousands of digits, or our own hooks
        told = (
            str(error) if isinstance(error, _NotStrictError) else "The body holds a number that is too long."
        )
        raise Malformed(told) from None


class _NotStrictError(ValueError):
    """JSON to Python's parser, and not to us."""


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotStrictError("The body holds an object that has the same key twice.")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _NotStrictError(f"The body holds {name}, which is not JSON.")


_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[\[{]|[\]}]', re.DOTALL)


def _check_depth(text: str) -> None:
    """Before the parser, which recurses. The pattern matches any text once, so the time is linear."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                raise Malformed(f"The body is nested deeper than {DEEPEST} levels.")
        elif match[0] in "]}":
            depth -= 1


def _check_values(value: Any, pointer: str) -> None:
    if isinstance(value, str):
        check_text(value, pointer=pointer)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key, pointer=pointer)  # the key itself could not be shown
            _check_values(inner, f"{pointer}/{_escaped(key)}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check_values(inner, f"{pointer}/{place}")
    elif isinstance(value, int | float) and not abs(value) <= _largest(value):
        raise Invalid("The number is out of range.", pointer=pointer)


def _largest(number: float) -> float:
    return INT64 if isinstance(number, int) else math.nextafter(math.inf, 0)


def check_text(text: str, *, pointer: str) -> None:
    """Raise Invalid for what PostgreSQL cannot store: NUL and halves of surrogate pairs."""
    if "\0" in text or _SURROGATE.search(text):
        raise Invalid("A text holds a NUL or half a surrogate pair.", pointer=pointer)


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


# Queries


def query_of(model: type[Model], given: Mapping[str, Sequence[str]]) -> Model:
    """The query string as the model says; a tuple's or list's values are separated by commas."""
    values: dict[str, Any] = {}
    kinds = _kinds(model)
    for key, texts in given.items():
        check_text(key, pointer="")
        for text in texts:
            check_text(text, pointer=key)
        if len(texts) != 1:
            raise Invalid("The parameter is given more than once.", pointer=key)
        values[key] = kinds.get(key, str)(texts[0])
        if values[key] is None:
            raise Invalid("Input should be " + _EXPECTED[kinds[key]], pointer=key)
    try:
        return model.model_validate(values, strict=False)
    except ValidationError as error:
        _refuse(error, values, prefix="")


def _integer(text: str) -> int | None:
    return int(text) if _DECIMAL.fullmatch(text) else None


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _words(text: str) -> list[str]:
    return text.split(",")


_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_EXPECTED: Final[Mapping[Callable[[str], Any], str]] = {
    _integer: "a whole number",
    _boolean: "true or false",
}


@cache
def _kinds(model: type[BaseModel]) -> dict[str, Callable[[str], Any]]:
    """How each parameter's text is read, where the model's own lax reading would take more than we say."""
    readers: dict[str, Callable[[str], Any]] = {}
    for name, known in model.model_fields.items():
        kinds = set(_leaves(known.annotation))
        for kind, reader in ((bool, _boolean), (int, _integer), (tuple, _words), (list, _words)):
            if kind in kinds:
                readers[known.alias or name] = reader
                break
    return readers


def _leaves(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for option in get_args(annotation):
            if option is not NoneType:
                yield from _leaves(option)
    else:
        yield origin or annotation


# Paths and headers


def path_value(kind: Any, text: str) -> Any:
    """One segment of the path as its annotation says: a branded id, an enum, or a short text.

    What does not fit names nothing: NotFound, the same as for an id that nobody has.
    """
    for form in (text, unquote(text, errors="surrogateescape")):
        check_text(form, pointer="")
    if isinstance(kind, NewType):
        if kind.__name__ in PREFIXES and is_id(kind.__name__, text):
            return text
    elif kind is str:
        if len(text) <= LONGEST_SEGMENT:
            return text
    elif text in {str(member) for member in kind}:
        return kind(text)
    raise NotFound("There is no such thing here.")


LONGEST_SEGMENT: Final = 100
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]{1,200}")


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The header Idempotency-Key, if sent: 1 to 200 printable ASCII characters."""
    key = headers.get("idempotency-key")
    if key is not None and not _PRINTABLE.fullmatch(key):
        raise Invalid("Idempotency-Key takes 1 to 200 printable ASCII characters.", pointer="Idempotency-Key")
    return key


# Where and what is wrong


def _refuse(error: ValidationError, document: Any, *, prefix: str = "/") -> NoReturn:
    found = [
        {"pointer": _pointer(entry["loc"], document, prefix, missing=entry["type"] == "missing"),
         "message": entry["msg"].removeprefix("Value error, ")}
        for entry in error.errors(include_url=False, include_input=False, include_context=False)[:MOST_ERRORS]
    ]  # fmt: skip
    first = found[0]
    raise Invalid(
        first["message"], pointer=first["pointer"], details={"errors": found} if len(found) > 1 else None
    ) from None


def _pointer(loc: Sequence[int | str], document: Any, prefix: str, *, missing: bool) -> str:
    """The error's place. Parts of `loc` that only name a branch of a union lead nowhere and are left out."""
    steps: list[str] = []
    here = document
    for nth, part in enumerate(loc):
        inside, found = _step(here, part)
        if found:
            here = inside
        elif not (missing and nth == len(loc) - 1):
            continue
        steps.append(prefix + _escaped(str(part)))
    return "".join(steps) if prefix else "".join(steps[:1])  # a parameter's name: a query is flat


def _step(here: Any, part: int | str) -> tuple[Any, bool]:
    if isinstance(here, list) and isinstance(part, int) and part < len(here):
        return here[part], True
    if isinstance(here, dict) and part in here:
        return here[part], True
    return None, False


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
