"""The worked examples of the pages run, on tiny data."""

import doctest
import json
import sys

import fsspec
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import save_file

from tests.docs.pages import ROOT, blocks, write_files
from xlearner_mm import XLearnerRunner
from xlearner_mm.analysis.check_sources import check_config
from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.engine.launch import launch
from xlearner_mm.export import export_backbone
from xlearner_mm.mini import make_mini
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
]


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    root = tmp_path_factory.mktemp('examples')
    sources = ['digits', 'shapes', 'textures', 'det_shapes', 'det_digits']
    make_mini(root / 'data/xl_mini', scale=0.02, only=sources, report=lambda line: None)
    return root


@pytest.fixture
def inside(mini, monkeypatch):
    monkeypatch.chdir(mini)
    monkeypatch.syspath_prepend(str(mini))
    return mini


def draw_images(folder, names, size=(80, 60)):
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for name in names:
        Image.fromarray(noise.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)


def last_metrics(work_dir):
    log = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return {key: value for line in log for key, value in json.loads(line).items()}


def test_a_folder_of_images_becomes_a_source_of_both_stages(inside, capfd):
    write_files('own_source.md', inside)
    for split in ('train', 'val'):
        for kind in ('heron', 'kite'):
            draw_images(inside / 'data/birds' / split / kind, [f'{i}.jpg' for i in range(5)])
    assert check_config('birds/expansion.py', 5, None, []) == 0
    assert 'birds' in capfd.readouterr().out

    assert launch('train', 'birds/expansion.py', options=SHORT) == 0
    logged = last_metrics(inside / 'work_dirs/expansion')
    assert {'birds.loss', 'digits.loss', 'birds/accuracy/top1', 'source_epoch/birds'} <= logged.keys()

    assert launch('train', 'birds/squeeze.py', options=SHORT) == 0
    logged = last_metrics(inside / 'work_dirs/squeeze')
    assert 'birds/accuracy/top1' in logged
    assert 'birds' in export_backbone('work_dirs/squeeze', 'birds.pth')['sources']


def test_a_custom_head_and_metric_make_a_new_task(inside):
    write_files('own_task.md', inside)
    for split in ('train', 'val'):
        names = [f'{split}_{i}.jpg' for i in range(4)]
        draw_images(inside / 'data/counting', names)
        (inside / f'data/counting/{split}.txt').write_text(''.join(f'{name} {i}\n' for i, name in enumerate(names)))
    try:
        assert launch('train', 'counting/expansion.py', work_dir='work_dirs/counting', options=SHORT) == 0
    finally:
        forget('counting', 'CountHead', 'CountError')
    logged = last_metrics(inside / 'work_dirs/counting')
    assert {'counting.loss', 'counting/count/within_one', 'counting/count/mae', 'gradient/count'} <= logged.keys()
    trained = read_checkpoint('work_dirs/counting')['state_dict']
    assert 'backbone.links.cls_0__count_0.gamma.conv.weight' in trained, 'linked with the other branches'
    assert 'networks.counting.head.count.weight' in trained


PARTS = {
    'NarrowLink': 'links.cls_0__det_2.gamma.1.conv.weight',
    'UnitScale': 'standardizers.cls_0.variance',
    'WideGuidance': 'guidance.det_3.hidden.weight',
    'MobileNetV2Stages': 'branches.cls.backbone.layer7.0.conv.1.conv.weight',
}


def test_custom_parts_train_in_both_stages(inside):
    write_files('extending.md', inside)
    try:
        for stage, work_dir in (('expansion', 'narrow'), ('squeeze', 'parts'), ('mobilenet_expansion', 'mobile')):
            assert launch('train', f'extending/{stage}.py', work_dir=f'work_dirs/{work_dir}', options=SHORT) == 0
        link = MODELS.build(dict(type='NarrowLink', in_channels=8, out_channels=4, in_stride=4, out_stride=16))
        assert [name for name, width in link.inner_widths() if width.prunable] == [f'gamma.{i}.conv' for i in range(3)]
        assert MODELS.build(dict(type='AbsoluteLoss'))(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)).shape == (2,)
    finally:
        forget('extending', *PARTS, 'AbsoluteLoss')
    keys = {key for run in ('narrow', 'parts', 'mobile') for key in read_checkpoint(f'work_dirs/{run}')['state_dict']}
    for part, key in PARTS.items():
        assert any(known.endswith(key) for known in keys), part


def test_a_transfer_set_is_one_config(inside):
    write_files('extending.md', inside)
    for split in ('train', 'test'):
        for kind in ('heron', 'kite'):
            draw_images(inside / 'data/birds' / split / kind, [f'{i}.jpg' for i in range(5)])
    options = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    assert launch('train', 'extending/cls_birds.py', work_dir='work_dirs/cls_birds', options=options) == 0
    assert 'accuracy/top1' in last_metrics(inside / 'work_dirs/cls_birds')


SMALL = dict(
    dinov2=dict(embed_dim=12, depth=1, num_heads=2),
    imagenet1k=dict(arch=dict(embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=24)),
)
"""Sizes of the models of the page on foundation teachers."""


def test_foundation_models_teach_in_both_stages(tmp_path, monkeypatch):
    pytest.importorskip('timm')
    monkeypatch.chdir(tmp_path)
    configs = []
    for number, block in enumerate(blocks('python', 'foundation_teachers.md')):
        (tmp_path / f'{number}.py').write_text(block.text)
        configs.append(Config.fromfile(f'{number}.py').model)
    taught, hinted = configs
    assert taught.type == 'FitNetDistiller'

    def settings_of(teachers):
        [(name, settings)] = teachers.items()
        settings.model.update(SMALL[name])
        (tmp_path / settings.checkpoint).parent.mkdir(exist_ok=True)
        write = save_file if settings.checkpoint.endswith('.safetensors') else torch.save
        write(MODELS.build(settings.model).model.state_dict(), settings.checkpoint)
        return settings.to_dict()

    learner = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())
    hints = dict(birds=settings_of(hinted.hints))
    expansion = MODELS.build(dict(learner, hints=hints))
    torch.save(dict(state_dict=expansion.state_dict(), meta={}), 'expansion.pth')
    squeeze = MODELS.build(
        dict(
            type='FitNetDistiller',
            teacher=dict(model=learner, checkpoint='expansion.pth'),
            student=tiny_resnet(),
            further_teachers=dict(dinov2=settings_of(taught.further_teachers)),
        )
    )
    for model, name in ((expansion, 'birds.hint_loss_2'), (squeeze, 'loss_dinov2_2')):
        losses = model(**model.data_preprocessor(tiny_batch(), True), mode='loss')
        assert torch.isfinite(losses[name])


def forget(package, *names):
    """Let no other test see an example's registered classes."""
    from mmengine.registry import METRICS

    for name in names:
        for registry in (MODELS, METRICS):
            registry._module_dict.pop(name, None)
    for module in [name for name in sys.modules if name.partition('.')[0] == package]:
        del sys.modules[module]


def test_a_source_is_read_from_object_storage(tmp_path, monkeypatch):
    write_files('clusters.md', tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    draw_images(tmp_path / 'images', ['1.jpg', '2.jpg'])
    images = [{'id': i, 'file_name': f'{i}.jpg', 'width': 60, 'height': 80} for i in (1, 2)]
    boxes = [
        {'id': i, 'image_id': i, 'category_id': 1, 'bbox': [5, 5, 20, 20], 'area': 400, 'iscrowd': 0} for i in (1, 2)
    ]
    content = {'images': images, 'annotations': boxes, 'categories': [{'id': 1, 'name': 'bird'}]}
    with fsspec.open('memory://boxes/train.json', 'w') as file:
        json.dump(content, file)
    for name in ('1.jpg', '2.jpg'):
        with fsspec.open(f'memory://boxes/images/{name}', 'wb') as file:
            file.write((tmp_path / 'images' / name).read_bytes())

    from mmengine.fileio.backends import backends, prefix_to_backends

    before = dict(backends), dict(prefix_to_backends)
    try:
        __import__('bucket.fsspec_backend')
        source = Config.fromfile(tmp_path / 'bucket/source.py').bucket_boxes
        sample = MultiSourceDataset({'bucket_boxes': source})[1]
    finally:
        for registry, content in zip((backends, prefix_to_backends), before, strict=True):
            registry.clear()
            registry.update(content)
        forget('bucket')
    assert sample['data']['inputs'].shape == (3, 80, 60)
    assert len(sample['data']['data_samples'].gt_instances) == 1


def test_training_from_python_equals_the_tool(inside):
    (inside / 'configs').symlink_to(ROOT / 'configs')
    (shown,) = [block.text for block in blocks('python', 'get_started.md') if 'from_cfg' in block.text]
    assert 'max_iters = 100' in shown
    namespace = {}
    exec(shown.replace('max_iters = 100', 'max_iters = 2'), namespace)
    assert isinstance(namespace['runner'], XLearnerRunner)
    assert 'sources/mean' in last_metrics(inside / 'work_dirs/notebook')
    assert read_checkpoint('work_dirs/notebook')['meta']['iter'] == 2


def test_the_python_functions_return_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = {f'student.{key}': value for key, value in XLearnerResNet(18).state_dict().items()}
    normalization = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']
    backbone = {'type': 'XLearnerResNet', 'depth': 18}
    meta = {'stage': 'squeeze', 'backbone': backbone, 'normalization': normalization, 'sources': {'birds': 'cls'}}
    torch.save({'state_dict': weights, 'meta': meta}, 'squeeze.pth')
    export_backbone('squeeze.pth', 'backbone.pth')
    draw_images(tmp_path, ['photo.jpg', 'drawing.png'])
    shown = [block for block in blocks('python', 'transfer.md') if '>>>' in block.text]
    assert shown
    for block in shown:
        test = doctest.DocTestParser().get_doctest(block.text, {}, 'transfer.md', None, 0)
        results = doctest.DocTestRunner().run(test)
        assert results.attempted
        assert not results.failed
