"""The libraries' inferencers run on an image file with what a transfer leaves behind: a config, a checkpoint."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.fixtures.pictures import write_picture
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.registry import MODELS

CONFIGS = {'mmdet': 'det_voc_mini', 'mmseg': 'seg_voc_mini', 'mmpretrain': 'cls_letters'}


@pytest.fixture
def transferred(tmp_path):
    """A function that writes a transfer's checkpoint, with weights at random, and returns its config, it, an image."""

    def write(library):
        config = f'configs/mini/transfer/{CONFIGS[library]}.py'
        cfg = Config.fromfile(config)
        cfg.model.backbone.init_cfg = None
        model = MODELS.build({**cfg.model, '_scope_': library})
        meta = dict(dataset_meta=dict(cfg.val_dataloader.dataset.get('metainfo') or {'classes': list('abc')}))
        torch.save({'state_dict': model.state_dict(), 'meta': meta}, tmp_path / 'iter_250.pth')
        write_picture(tmp_path / 'image.jpg')
        return config, str(tmp_path / 'iter_250.pth'), str(tmp_path / 'image.jpg')

    return write


def inferencer_class(library):
    if library == 'mmdet':
        from mmdet.apis import DetInferencer as Inferencer
    elif library == 'mmseg':
        from mmseg.apis import MMSegInferencer as Inferencer
    else:
        from mmpretrain.apis import ImageClassificationInferencer as Inferencer
    return Inferencer


@pytest.mark.parametrize('library', CONFIGS)
def test_an_image_file_is_read(transferred, library):
    config, checkpoint, image = transferred(library)
    with DefaultScope.overwrite_default_scope(library):
        inferencer = inferencer_class(library)(config, checkpoint, device='cpu')
        assert isinstance(inferencer.model.backbone, XLearnerResNet)
        given = inferencer(image, **(dict(no_save_vis=True) if library == 'mmdet' else {}))
    if library == 'mmdet':
        (found,) = given['predictions']
        assert {'labels', 'scores', 'bboxes'} <= set(found)
    elif library == 'mmseg':
        assert np.asarray(given['predictions']).ndim == 2
    else:
        assert len(given[0]['pred_scores']) == 20
