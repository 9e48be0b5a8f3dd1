"""A list of samples of several sources in, one batch per source out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import pseudo_collate

from xlearner_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def multi_source_collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Group samples by source and collate each group as the stock libraries do.

    Args:
        samples: items of :class:`~xlearner_mm.datasets.MultiSourceDataset`.

    Returns:
        ``{'coco': {'inputs': [...], 'data_samples': [...]}, 'imagenet': ...}``, in the order of first
        appearance. Images stay a list: those of a detection source differ in size until its own
        data preprocessor pads them.
    """
    groups: dict[str, list] = {}
    for sample in samples:
        groups.setdefault(sample['source'], []).append(sample['data'])
    return {source: pseudo_collate(group) for source, group in groups.items()}
