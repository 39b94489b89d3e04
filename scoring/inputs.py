"""The meta-model's input: raw predictors, then one column per policy that has coefficients of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Inputs:
    """Layout of the input [n, d + len(policies)], float32. `policies` are those with coefficients of their own.

    Every other policy has all policy columns NaN. The model fills them with their training means, as if of an average
    policy: the pooled model.
    """

    policies: tuple[str, ...]

    @cached_property
    def _codes(self) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self.policies, np.eye(len(self.policies), dtype=np.float32), strict=True))

    def encode(self, values: NDArray[np.float32], policies: Sequence[str]) -> NDArray[np.float32]:
        """Append the policy columns to `values` [n, d]; `policies` is [n]."""
        if not self.policies:
            return values
        pooled = np.full(len(self.policies), np.nan, dtype=np.float32)
        codes = self._codes
        columns = np.array([codes.get(policy, pooled) for policy in policies], dtype=np.float32)
        return np.concatenate((values, columns.reshape(len(values), len(self.policies))), axis=1)
