"""The way of a record from intake to decision. Pure: no client, no clock but the one passed in.

What is listed here is the matcher, to embed in a test or a program of one's own; the stages around it are the worker's.
"""

from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals, Case, Dead, Matched, Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record

__all__ = [
    "REQUESTS",
    "RESPONSES",
    "Arrivals",
    "Case",
    "Dead",
    "DeadLetter",
    "Limits",
    "Matched",
    "Matcher",
    "Output",
    "PartitionStore",
    "Reason",
    "Record",
]
