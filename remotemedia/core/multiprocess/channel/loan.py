"""Arrays lent out of a node's payload pool, to be filled in place and published without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from remotemedia import _ring
from remotemedia.core.multiprocess.channel.form import FORM

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["loan_array"]


def loan_array(
    segment: _ring.Segment, shape: int | tuple[int, ...], dtype: npt.DTypeLike, spin_ns: int
) -> npt.NDArray[Any]:
    """A writable array in ``segment``'s pool; waits while there is no room. See ``Publisher.loan``."""
    while True:
        freed = segment.freed
        if (array := segment.try_loan(shape, dtype, FORM)) is not None:
            return array
        segment.wait_memory(spin_ns, 0, freed)
