"""What is not tensors in mmengine's own training checkpoints, and is data all the same."""

from __future__ import annotations

import pickle
from typing import Any


def mmengine_state_types() -> list:
    """Plain-data types in mmengine's training checkpoints (its message hub's histories)."""
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    def statistics_method(owner: type, name: str) -> Any:
        # Histories refer to their own methods by `getattr`, which is not given to files as it is.
        if owner is not HistoryBuffer or name.startswith('_'):
            raise pickle.UnpicklingError(f'{name} of {owner} is not plain data')
        return getattr(owner, name)

    numpy_core = getattr(np, '_core', None) or np.core
    dtypes = [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', 'u8', '?')]
    return [
        HistoryBuffer,
        (statistics_method, 'builtins.getattr'),
        numpy_core.multiarray._reconstruct,
        numpy_core.multiarray.scalar,
        np.ndarray,
        np.dtype,
        *dtypes,
    ]
