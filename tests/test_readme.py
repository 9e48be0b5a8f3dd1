"""Examples of the README, and the config of docs/transfer.md."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from xlearner_mm.models import XLearnerResNet
from xlearner_mm.registry import MODELS, init_default_scope

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PAGES = {'mmdet': README, 'mmseg': (ROOT / 'docs' / 'transfer.md').read_text()}
CONFIGS = {
    name: re.search(rf"```python\n(_base_ = '{name}::.*?)```", page, re.DOTALL)[1] for name, page in PAGES.items()
}


@pytest.mark.parametrize('snippet', CONFIGS.values(), ids=CONFIGS)
def test_a_downstream_config_is_read_and_built_and_loads_an_export(snippet, tmp_path):
    torch.manual_seed(1)
    exported = {'state_dict': XLearnerResNet(50).state_dict(), 'meta': {}}
    torch.save(exported, tmp_path / 'backbone.pth')
    (tmp_path / 'config.py').write_text(snippet.replace('backbone.pth', str(tmp_path / 'backbone.pth')))
    cfg = Config.fromfile(tmp_path / 'config.py')
    init_default_scope(cfg.default_scope)
    backbone = MODELS.build(cfg.model.backbone)
    assert isinstance(backbone, XLearnerResNet)
    backbone.init_weights()
    assert torch.equal(backbone.layer4[2].conv3.weight, exported['state_dict']['layer4.2.conv3.weight'])


def test_links_to_files_exist():
    for target in re.findall(r'\]\(([^)#]+)\)', README):
        assert target.startswith('http') or (ROOT / target).exists(), target


def test_tools_named_exist():
    for tool in re.findall(r'(?:python|bash) (tools/\w+\.\w+)', README):
        assert (ROOT / tool).is_file(), tool
