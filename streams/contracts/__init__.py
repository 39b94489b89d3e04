"""What others rely on: the schemas of the records' values, and (`headers`) the names of the headers that dead letters carry."""

from streams.contracts.headers import DEAD_LETTER_HEADERS
from streams.contracts.loading import SCHEMAS, load_schema

__all__ = ["DEAD_LETTER_HEADERS", "SCHEMAS", "load_schema"]
