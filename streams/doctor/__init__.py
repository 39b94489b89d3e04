"""What is wrong with a pipeline, and the command that mends it: `gather` looks, with deadlines; the checks judge what was found."""

from streams.doctor import connection as connection  # the order of the imports is that of the checks

from streams.doctor import checks as checks  # isort: skip
from streams.doctor.checking import CHECKS, Finding, State, examine
from streams.doctor.gathering import gather

__all__ = ["CHECKS", "Finding", "State", "examine", "gather"]
