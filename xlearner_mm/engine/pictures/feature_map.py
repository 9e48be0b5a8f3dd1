"""From checkpoints to the picture of their features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xlearner_mm.engine.pictures.feature_columns import Snapshot, group_columns, take_snapshots
from xlearner_mm.engine.pictures.feature_figure import save_feature_figure
from xlearner_mm.engine.pictures.sample_images import SampleImage, images_of_files, images_of_sources
from xlearner_mm.engine.pictures.trained_model import TrainedModel, load_trained
from xlearner_mm.transfer.checkpoint import resolve_checkpoint


def draw_features(
    checkpoints: Sequence[str],
    out: Path,
    levels: Sequence[int] = (1,),
    files: Sequence[Path] = (),
    sources: Sequence[str] = (),
    count: int = 1,
    config: str | None = None,
    options: Sequence[str] = (),
) -> None:
    """Draw the features of branches and student of some checkpoints on the same images.

    Args:
        checkpoints: of either stage, of one training or of several with the same branches and sources.
        out: the PNG; whole or not there.
        levels: the levels i, one block of rows each. Defaults to (1,).
        files: image files to look at. Defaults to (): validation images.
        sources: whose validation images, or (the first) whose pipeline reads the files. Defaults to (): all.
        count: validation images of every source. Defaults to 1.
        config: the training's config. Defaults to None: the one beside each checkpoint.
        options: ``KEY=VALUE`` overrides of the config.

    Raises:
        CheckpointError: a checkpoint that cannot be read, or not with this config or teacher.
        SourceError: a source without validation images.
        FileNotFoundError: a config or an image that is not there.
        ValueError: a level that is not there to look at, or checkpoints of different branches.
    """
    paths = [resolve_checkpoint(checkpoint) for checkpoint in checkpoints]
    several = len({Path(path).parent for path in paths}) > 1
    images: list[SampleImage] = []
    taken: list[list[Snapshot]] = []
    for trained in (load_trained(path, config, options) for path in paths):
        # The first model's pipelines and normalisation; one squeeze's checkpoints share them, as do its branches.
        images = images or _images(trained, files, sources, count)
        taken.append(take_snapshots(trained, _label(trained, several), images, levels))
    branches = {tuple(snapshots[0].teachers) for snapshots in taken}
    if len(branches) > 1:
        raise ValueError(f'the checkpoints have different branches, {sorted(branches)}: draw each by itself')
    by_level = zip(*taken, strict=True)
    save_feature_figure(images, {level: group_columns(s) for level, s in zip(levels, by_level, strict=True)}, out)


def _images(trained: TrainedModel, files: Sequence[Path], sources: Sequence[str], count: int) -> list[SampleImage]:
    if files:
        return images_of_files(trained.model, files, next(iter(sources), None))
    return images_of_sources(trained.model, sources, count)


def _label(trained: TrainedModel, several: bool) -> str:
    path = Path(trained.checkpoint)
    step = f'step {trained.step}' if trained.step else path.stem
    return f'{path.parent.name}\n{step}' if several else step
