"""How many images a source has, and batches of them: from its files, or from what is declared and assumed."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from xlearner_mm.datasets.annotations import read_annotations, read_by_name
from xlearner_mm.datasets.errors import refuse_unknown
from xlearner_mm.datasets.guarded_reading import leaves
from xlearner_mm.datasets.source import DECLARED, Source, SourceError
from xlearner_mm.datasets.spread import spread
from xlearner_mm.engine.dry_run.pictures import stand_in_items

PICTURE = (640, 480)
"""Width and height of a picture that nothing is known of."""
_TRIES = 16


@dataclass(frozen=True)
class SourceData:
    """A source's data set, read where its files are there.

    Args:
        name: the source's name.
        dataset: the stock data set.
        images: how many images it has; None where that is unknown.
        origin: where that number is from.
        batch_size: images per step and process.
        picture: width and height of pictures that stand in; None where the data set's own are read.
        absent: a file that is not there although the data set's folders are. Defaults to None.
    """

    name: str
    dataset: Dataset
    images: int | None
    origin: str
    batch_size: int
    picture: tuple[int, int] | None
    absent: str | None = None

    def items(self, folder: str) -> list[dict[str, Any]]:
        """Return some items as the source's pipeline gives them, enough to see sizes that vary at random.

        Args:
            folder: where pictures that stand in are written.

        Raises:
            SourceError: an item cannot be made.
        """
        count = max(2, min(self.batch_size, _TRIES))
        if self.picture is not None:
            return stand_in_items(self.dataset, folder, self.picture, count)
        assert self.images is not None
        chosen = spread(self.images, count)
        return [self.dataset[chosen[i % len(chosen)]] for i in range(count)]


def read_source(
    name: str,
    dataset: Any,
    settings: Mapping[str, Any],
    batch_size: int,
    declared: Mapping[str, Any],
    source: Source | None = None,
) -> SourceData:
    """Read a source's annotations if its folders are there.

    Args:
        name: the source's name.
        dataset: the stock data set, its annotations not read yet.
        settings: its config.
        batch_size: images per step and process.
        declared: ``images`` and ``picture`` (width, height), for where the files are not there.
        source: whose data set it is. Defaults to None: of a training on one stock data set.

    Raises:
        SourceError: the files are there, but cannot be read or hold no image; an unknown setting in ``declared``.
    """
    refuse_unknown('declared', declared, DECLARED)
    absent = None
    if all(osp.isdir(root) for root in _roots(settings)):
        try:
            if source is None:
                read_by_name(dataset)
            else:
                read_annotations(source, dataset, list(leaves(dataset)))
            images = len(dataset)
        except FileNotFoundError as error:
            absent = str(error.filename or error)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f'its dataset cannot be read: {type(error).__name__}: {error}') from error
        else:
            if images == 0:
                raise SourceError('its dataset is empty: check its paths and filters')
            return SourceData(name, dataset, images, 'its files', batch_size, None)
    number = declared.get('images')
    picture = tuple(declared.get('picture', PICTURE))
    return SourceData(name, dataset, number, 'declared' if number else 'unknown', batch_size, picture, absent)


def _roots(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get('data_root'):
        yield settings['data_root']
    for inner in (settings.get('dataset'), *(settings.get('datasets') or ())):
        if isinstance(inner, Mapping):
            yield from _roots(inner)
