"""The estimated peak of memory against the one that a training really has: within 20%."""

import copy
import gc
from pathlib import Path

import pytest
import torch

from tests.analysis.dry_run.measured import cpu_peak, gpu_peak, short_training
from tests.fixtures import write_fixtures
from tests.reduction import smaller
from xlearner_mm.analysis.dry_run import estimate_config
from xlearner_mm.mini import make_mini

CONFIGS = Path(__file__).parents[3] / 'configs'
SOURCES = ['digits', 'shapes', 'textures', 'det_shapes', 'det_digits']


@pytest.fixture(scope='module')
def mini_data(tmp_path_factory):
    root = tmp_path_factory.mktemp('mini')
    make_mini(root / 'data' / 'xl_mini', only=SOURCES, scale=0.02)
    return root


def paper_width(folder, steps=2):
    """Two ResNet-50, one a task, in the batches of the paper's training, on smaller images."""
    cfg = short_training(CONFIGS / 'expansion' / 'xlearner_r50_500k_base_cls_det.py', folder, steps)
    cfg.sources = {
        name: {**smaller(cfg.sources[name], ('scale', 'crop_size', 'size'), factor), 'batch_size': batch_size}
        for name, factor, batch_size in (('imagenet1k', 2, 32), ('coco', 3, 2))
    }
    return cfg


def estimated(cfg):
    found = estimate_config(copy.deepcopy(cfg))
    gc.collect()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'backward'),
    [
        ('xlearner_r18_expansion', 'branch'),
        ('xlearner_r18_expansion', 'joint'),
        ('xlearner_r18_squeeze', None),
    ],
)
def test_in_miniature_the_peak_is_within_a_fifth(mini_data, monkeypatch, tmp_path, name, backward):
    monkeypatch.chdir(mini_data)
    cfg = short_training(CONFIGS / 'mini' / f'{name}.py', tmp_path)
    if backward is not None:
        cfg.model.backward = backward
    peak, measured = estimated(cfg).peak_bytes, cpu_peak(cfg)
    print(f'{name} {backward}: {peak / 1e6:.1f} estimated, {measured / 1e6:.1f} measured (MB)')
    assert peak == pytest.approx(measured, rel=0.2)


@pytest.mark.slow
def test_extrapolated_peak_at_paper_width_is_within_20_percent(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_fixtures(tmp_path / 'data', ('imagenet1k', 'coco'))
    cfg = paper_width(tmp_path / 'work')
    found = estimated(cfg)
    measured = cpu_peak(cfg)
    print(f'{found.peak_bytes / 1e6:.1f} estimated, {measured / 1e6:.1f} measured (MB)')
    assert not any(source.tried == 'the whole batch' for source in found.sources)
    assert found.peak_bytes == pytest.approx(measured, rel=0.2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_gpu_the_peak_is_within_a_fifth(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_fixtures(tmp_path / 'data', ('imagenet1k', 'coco'))
    cfg = paper_width(tmp_path / 'work')
    assert estimated(cfg).peak_bytes == pytest.approx(gpu_peak(cfg), rel=0.2)
