"""What every table shares: the metadata, column shorthands, and the shape of keys.

A tenant table has `customer_id`, an index that begins with it, foreign keys on `(customer_id, id)`, and
row-level security, which the migrations add.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

Id = Annotated[str, mapped_column(String(36))]
Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Born = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=text("app_now()"))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]
JsonList = Annotated[list[Any], mapped_column(JSONB, server_default=text("'[]'"))]
Short = Annotated[str, mapped_column(String(50))]
Name = Annotated[str, mapped_column(String(255))]
Words = Annotated[str, mapped_column(Text)]
Version = Annotated[int, mapped_column(server_default=text("1"))]
Count = Annotated[int, mapped_column(server_default=text("0"))]
Total = Annotated[int, mapped_column(BigInteger, server_default=text("0"))]
Position = Annotated[int, mapped_column(Identity(always=True))]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pk",
            "fk": "%(table_name)s_%(column_0_N_name)s_fk",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )


def one_of(column: str, values: Iterable[object]) -> str:
    """The check that a text column holds a member of a closed set."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"
