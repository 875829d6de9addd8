"""Every line of the bad-input table that needs no database. Each was seen red with its check taken out."""

import time
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import (
    MOST_BYTES,
    Big,
    In,
    Instant,
    Line,
    Version,
    idempotency_key,
    json_body,
    path_value,
    query_of,
    text_body,
)
from chalicelib.domain.errors import Invalid, Malformed, NotFound, TooLarge, UnsupportedMediaType
from chalicelib.domain.ids import RunId, new_run_id

JSON = "application/json"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Lead(In):
    full_name: Line


class Person(In):
    kind: Literal["person"]
    age: int


class Company(In):
    kind: Literal["company"]
    size: int


class Decision(In):
    version: Version
    note: str = ""
    rows_seen: int = 0
    bytes_seen: Big | None = None
    due_at: Instant | None = None
    leads: tuple[Lead, ...] = ()
    about: Annotated[Person | Company, Field(discriminator="kind")] | None = None
    extra: Any = None


class Search(Listing):
    colours: tuple[Colour, ...] = ()
    is_open: bool | None = None
    since: Instant | None = None


def decided(raw: bytes | str, content_type: str | None = JSON) -> Decision:
    return json_body(Decision, raw.encode() if isinstance(raw, str) else raw, content_type)


def searched(**given: str) -> Search:
    return query_of(Search, {name: [text] for name, text in given.items()})


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"{'version': 1}", id="single quotes"),
        pytest.param(b'{"version": 1} x', id="more after it"),
        pytest.param(b'{"note": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"note": "\xed\xa0\x80"}', id="a surrogate as UTF-8"),
        pytest.param('{"version": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"version": 1}'.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param(b'{"version": ' + b"1" * 5000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="depth 5,000"),
        pytest.param(b'{"extra":' * 33 + b"1" + b"}" * 33, id="depth 33"),
        pytest.param(b"[" * 5000, id="depth 5,000, never closed"),
        pytest.param(b'{"version": NaN}', id="NaN"),
        pytest.param(b'{"version": -Infinity}', id="infinity"),
        pytest.param(b'{"version": 1, "version": 2}', id="duplicate key"),
        pytest.param(b'{"version": 1, "extra": {"a": 1, "\\u0061": 2}}', id="duplicate key, escaped, within"),
        pytest.param(b'{"note": "a\x00b"}', id="NUL as it is"),
    ],
)
def test_what_is_not_strict_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decided(raw)


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        pytest.param("[]", "", id="a list"),
        pytest.param("null", "", id="null"),
        pytest.param('"text"', "", id="a text"),
        pytest.param("{}", "/version", id="a field is missing"),
        pytest.param('{"version": "1"}', "/version", id="text for a number"),
        pytest.param('{"version": true}', "/version", id="true for a number"),
        pytest.param('{"version": 1.0}', "/version", id="a fraction for a number"),
        pytest.param('{"version": null}', "/version", id="null for a number"),
        pytest.param('{"version": 1, "note": 5}', "/note", id="a number for text"),
        pytest.param('{"version": 1, "customerId": "x"}', "/customerId", id="customerId"),
        pytest.param('{"version": 1, "status": "x"}', "/status", id="status"),
        pytest.param('{"version": 1, "role": "ADMIN"}', "/role", id="role"),
        pytest.param('{"version": 1, "rows_seen": 1}', "/rows_seen", id="our own spelling"),
        pytest.param('{"version": 1, "a/b~c": 1}', "/a~1b~0c", id="a name that has to be escaped"),
        pytest.param(
            '{"version": 1, "leads": [{"fullName": "A"}, {}]}', "/leads/1/fullName", id="missing, deep"
        ),
        pytest.param('{"version": 1, "leads": [{"fullName": "A\\r\\nB"}]}', "/leads/0/fullName", id="CR LF"),
        pytest.param(
            '{"version": 1, "about": {"kind": "person", "age": "1"}}', "/about/age", id="in a union"
        ),
        pytest.param('{"version": 1, "note": "\\u0000"}', "/note", id="NUL"),
        pytest.param('{"version": 1, "extra": ["\\ud800"]}', "/extra/0", id="half a surrogate pair"),
        pytest.param('{"version": 1, "extra": {"\\udc00": 1}}', "/extra", id="half a pair in a key"),
        pytest.param('{"version": 1, "rowsSeen": 2147483648}', "/rowsSeen", id="more than an integer holds"),
        pytest.param(
            '{"version": 1, "bytesSeen": 9223372036854775808}', "/bytesSeen", id="more than 64 bits"
        ),
        pytest.param('{"version": 1e400}', "/version", id="a number that is infinite to us"),
        pytest.param('{"version": 1, "extra": 1000000000000000000000000000000}', "/extra", id="10^30"),
        pytest.param('{"version": 1, "dueAt": "infinity"}', "/dueAt", id="infinity as a time"),
        pytest.param('{"version": 1, "dueAt": "10000-01-01T00:00:00Z"}', "/dueAt", id="the year 10000"),
        pytest.param('{"version": 1, "dueAt": "9999-12-31T23:59:59-12:00"}', "/dueAt", id="10000 in UTC"),
        pytest.param('{"version": 1, "dueAt": "2030-01-01T00:00:00"}', "/dueAt", id="a time without a zone"),
        pytest.param('{"version": 1, "dueAt": "1700000000"}', "/dueAt", id="a time as seconds"),
        pytest.param('{"version": 1, "dueAt": 1700000000}', "/dueAt", id="a time as a number"),
    ],
)
def test_json_that_breaks_a_rule_is_told_where(raw: str, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        decided(raw)
    assert type(refused.value) is Invalid
    assert refused.value.pointer == pointer


def test_a_good_body_arrives_as_the_model_says() -> None:
    body = decided('{"version": 3, "dueAt": "2030-01-01T01:00:00+01:00", "bytesSeen": 9007199254740993}')
    assert body.version == 3
    assert body.due_at is not None
    assert body.due_at.isoformat() == "2030-01-01T00:00:00+00:00"
    assert body.bytes_seen == 9007199254740993


def test_every_mistake_is_listed_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        decided('{"note": 5, "x": 1}')
    assert {error["pointer"] for error in refused.value.details["errors"]} == {"/version", "/note", "/x"}


def test_a_message_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(Invalid) as refused:
        decided('{"version": "hunter2", "leads": "hunter2"}')
    assert "hunter2" not in f"{refused.value.message} {refused.value.details}"
    assert refused.value.__cause__ is None


def test_depth_32_and_brackets_in_texts_are_fine() -> None:
    deep = '{"version": 1, "extra": ' + "[" * 31 + '"' + "[{" * 100 + '\\"' + "[" * 50 + '"' + "]" * 31 + "}"
    assert decided(deep).version == 1


def test_a_hostile_body_costs_no_time() -> None:
    started = time.perf_counter()
    for raw in ('"' + '\\"' * 120_000, "[" * 33 + '"' + '\\"' * 120_000, '"[' * 80_000, "[" * 200_000):
        with pytest.raises(Malformed):
            decided(raw)
    assert time.perf_counter() - started < 1


def test_256_kilobytes_are_taken_and_one_byte_more_is_not() -> None:
    frame = '{"version": 1, "note": ""}'
    full = frame.replace('""', '"' + "x" * (MOST_BYTES - len(frame)) + '"')
    assert decided(full).version == 1
    with pytest.raises(TooLarge):
        decided(full + " ")


@pytest.mark.parametrize(
    "content_type",
    [JSON, "Application/JSON; charset=utf-8", 'application/json;charset="UTF-8"', " application/json "],
)
def test_json_by_any_spelling_of_its_name(content_type: str) -> None:
    assert decided('{"version": 1}', content_type).version == 1


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/jsonp", "application/json; charset=utf-16", "multipart/form-data"],
)
def test_a_body_of_another_type_is_refused(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        decided('{"version": 1}', content_type)


def test_a_text_body_loses_its_mark_and_keeps_its_rules() -> None:
    assert text_body(b"\xef\xbb\xbfa,b\n", "text/csv; charset=utf-8", "text/csv") == "a,b\n"
    with pytest.raises(Malformed):
        text_body(b"\xff", "text/csv", "text/csv")
    with pytest.raises(Invalid):
        text_body(b"a\0b", "text/csv", "text/csv")
    with pytest.raises(TooLarge):
        text_body(b"abc", "text/csv", "text/csv", most_bytes=2)


@pytest.mark.parametrize(
    "limit", ["-1", "0", "101", "1" + "0" * 30, "1_0", " 1", "+1", "1.0", "٣", "", "ten"]
)
def test_a_limit_is_a_plain_number_from_1_to_100(limit: str) -> None:
    with pytest.raises(Invalid) as refused:
        searched(limit=limit)
    assert refused.value.pointer == "limit"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("offset", "5"),
        ("is_open", "true"),
        ("isOpen", "yes"),
        ("isOpen", "1"),
        ("colours", "green"),
        ("since", "1700000000"),
        ("since", "infinity"),
        ("cursor", "\0"),
        ("cursor", "\ud800"),
    ],
)
def test_a_query_that_breaks_a_rule_is_told_where(name: str, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        searched(**{name: text})
    assert str(refused.value.pointer).partition("/")[0] == name


def test_a_repeated_parameter_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        query_of(Search, {"limit": ["1", "2"]})
    assert refused.value.pointer == "limit"


def test_a_parameter_whose_name_cannot_be_stored_is_refused() -> None:
    with pytest.raises(Invalid):
        query_of(Search, {"a\0": ["1"]})


def test_a_good_query_arrives_as_the_model_says() -> None:
    query = searched(limit="100", colours="red,blue", isOpen="false", since="2030-01-01T00:00:00Z")
    assert (query.limit, query.colours, query.is_open) == (100, (Colour.RED, Colour.BLUE), False)


@pytest.mark.parametrize(
    "text", ["", "x", "run_", "run_1", "agt_01m82rkeffe89atrqxc3kt20gj", "RUN_01m82rkeffe89atrqxc3kt20gj"]
)
def test_a_malformed_or_foreign_id_names_nothing(text: str) -> None:
    with pytest.raises(NotFound):
        path_value(RunId, text)


def test_paths_take_ids_and_words_of_a_list() -> None:
    run_id = new_run_id()
    assert path_value(RunId, run_id) == run_id
    assert path_value(Colour, "red") is Colour.RED
    with pytest.raises(NotFound):
        path_value(Colour, "green")
    with pytest.raises(NotFound):
        path_value(str, "x" * 101)


@pytest.mark.parametrize("text", ["a\0", "a%00", "\ud800", "%ed%a0%80"])
def test_a_path_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        path_value(str, text)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb", "é", "a\0"])
def test_an_idempotency_key_is_short_printable_ascii(key: str) -> None:
    with pytest.raises(Invalid):
        idempotency_key({"idempotency-key": key})


def test_a_cursor_comes_back_as_the_key_it_was() -> None:
    runs = Keyset("runs", tuple[Instant, RunId, Big])
    since = searched(since="2030-01-01T00:00:00.123456Z").since
    assert since is not None
    key = (since, new_run_id(), 2**40)
    assert runs.read(runs.write(key)) == key
    assert runs.read(None) is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "!!!!",
        "bnVsbA",  # null
        "WzFd",  # [1]
        Keyset("items", tuple[int, str]).write((1, "a")),
        Keyset("runs", tuple[str, str]).write(("one", "a")),
        Keyset("runs", tuple[int, str]).write((1, "a"))[:-2],
        Keyset("runs", tuple[Big, str]).write((2**40, "a")),
        Keyset("runs", tuple[int, str]).write((1, "a\0")),
    ],
)
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        Keyset("runs", tuple[int, str]).read(cursor)
    assert refused.value.pointer == "cursor"


def test_a_page_has_a_next_cursor_only_where_more_follows() -> None:
    numbers = Keyset("numbers", tuple[int])

    def page(rows: list[int], total: int) -> Any:
        return numbers.page(rows, limit=2, key=lambda row: (row,), item=str, total=total)

    first = page([1, 2, 3], 10_001)
    assert (first.items, first.total, first.total_is_capped) == (["1", "2"], 10_000, True)
    assert numbers.read(first.next_cursor) == (2,)
    assert page([3], 3).next_cursor is None
