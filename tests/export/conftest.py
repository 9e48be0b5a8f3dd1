import pytest
import torch

from xlearner_mm.export.stored_backbone import without_start
from xlearner_mm.registry import MODELS

NORMALIZATION = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']


@torch.no_grad()
def randomise(module):
    """Weights and statistics as a training leaves them: no link is zero, no statistic its start."""
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if not value.is_floating_point():
            continue
        if name.endswith('running_var') or 'norm' in name or 'bn' in name:
            value.copy_(torch.rand_like(value) + 0.5)
        elif value.dim() > 1:
            torch.nn.init.kaiming_normal_(value)
    module.eval()
    return module


def description(config, **more):
    stage = 'expansion' if 'branches' in config else 'squeeze'
    sources = {'birds': 'cls', 'boxes': 'det'}
    return {'stage': stage, 'backbone': config, 'sources': sources, 'normalization': NORMALIZATION, **more}


@pytest.fixture
def trained(tmp_path):
    """Build a backbone and save the checkpoint of a stage that holds it."""

    def save(config, name='iter_9.pth', **more):
        backbone = randomise(MODELS.build(without_start(config)))
        prefix = 'backbone.' if 'branches' in config else 'student.'
        state = {prefix + key: value for key, value in backbone.state_dict().items()}
        meta = {'iter': 9, 'time': '20260101_120000', 'xlearner': description(config, **more)}
        torch.save({'state_dict': state, 'meta': meta}, tmp_path / name)
        return backbone, str(tmp_path / name)

    return save
