"""A probe from a config to its test metric, on pictures whose classes a random backbone can tell apart."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tests.export.colors import NORM, config_text, write_colors
from xlearner_mm.engine.launch import launch
from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline.progress import ProgressFile
from xlearner_mm.registry import MODELS
from xlearner_mm.report.results import read_results
from xlearner_mm.testing import CHANNELS, tiny_resnet
from xlearner_mm.transfer.probing.features import FeatureExtractor
from xlearner_mm.transfer.probing.run import run_probe
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.rows import read_result
from xlearner_mm.transfer.transfer_set import transfer_to_set


@pytest.fixture
def task(tmp_path):
    """Config and checkpoint of a probe, and a folder to work in."""
    write_colors(tmp_path / 'data')
    config = tmp_path / 'cls_colors.py'
    config.write_text(config_text(tmp_path / 'data'))
    torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, tmp_path / 'backbone.pth')
    return config, tmp_path


def probe(task, folder='out', **settings):
    config, root = task
    status = transfer_to_set(
        config, root / folder, str(root / 'backbone.pth'), Protocol(**settings), features=root / 'features'
    )
    assert status == 0
    return read_result(root / folder)


def test_a_broken_image_is_named_with_its_split(task, capsys):
    config, root = task
    (root / 'data/train/red/0.png').write_bytes(b'no image')
    assert transfer_to_set(config, root / 'out', str(root / 'backbone.pth'), Protocol()) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: training images: ')
    assert 'red/0.png' in error
    assert error.endswith('; replace the file, or remove it from the annotations')


def test_test_labels_do_not_affect_the_selection(task):
    """Test labels that are wrong change the metric, and neither the penalty nor a weight."""
    honest = probe(task, 'honest')
    folders = task[1] / 'data' / 'test'
    (folders / 'red').rename(folders / 'was_red')
    (folders / 'blue').rename(folders / 'red')
    (folders / 'was_red').rename(folders / 'blue')
    permuted = probe(task, 'permuted')
    assert permuted.metrics != honest.metrics
    assert (permuted.probe.C, permuted.probe.curve) == (honest.probe.C, honest.probe.curve)
    weights = [
        torch.load(task[1] / folder / 'probe.pth')['state_dict']['head.fc.weight'] for folder in ('honest', 'permuted')
    ]
    assert torch.equal(*weights)


def test_without_a_test_split_the_choice_is_the_same_and_only_the_last_step_fails(task, capsys):
    honest = probe(task, 'honest')
    shutil.rmtree(task[1] / 'data' / 'test')
    config, root = task
    assert transfer_to_set(config, root / 'blind', str(root / 'backbone.pth'), Protocol()) == 1
    assert read_result(root / 'blind') is None
    assert torch.load(root / 'blind' / 'probe.pth')['meta']['C'] == honest.probe.C
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize('norm', [NORM, ''], ids=['batch norm', 'plain neck'])
def test_the_stock_test_of_its_checkpoint_gives_the_same_metrics(task, norm, monkeypatch):
    config, root = task
    config.write_text(config_text(root / 'data', norm))
    metrics = probe(task).metrics
    assert 50 < metrics['accuracy/top1'] < 100
    tested = {}
    monkeypatch.setattr(
        'mmengine.runner.Runner.call_hook',
        lambda self, name, **kwargs: tested.update(kwargs.get('metrics', {})) if name == 'after_test_epoch' else None,
    )
    options = ['model.backbone.init_cfg=None']
    assert (
        launch('test', str(root / 'out' / config.name), str(root / 'test'), options, checkpoint=str(root / 'out')) == 0
    )
    assert tested == pytest.approx(metrics)


def test_features_are_extracted_once_until_an_image_changes(task, monkeypatch):
    runs = []
    run = FeatureExtractor._run
    monkeypatch.setattr(FeatureExtractor, '_run', lambda self, *args: runs.append(args[1]) or run(self, *args))
    first = probe(task, 'first')
    assert probe(task, 'second').metrics == first.metrics
    assert probe(task, 'third', probe='knn').probe.probe == 'knn'
    assert runs == ['training images', 'test images']
    Image.new('RGB', (32, 32)).save(task[1] / 'data' / 'train' / 'red' / '0.png')
    probe(task, 'fourth')
    assert runs[2:] == ['training images']


def test_progress_of_a_probe_is_written_for_each_split(task, monkeypatch):
    seen = []
    monkeypatch.setattr(ProgressFile, '_write', lambda self, step, now: seen.append((step, self.steps)))
    probe(task)
    assert {step / steps for step, steps in seen} >= {0.0, 0.5, 1.0}
    assert [step / steps for step, steps in seen] == sorted(step / steps for step, steps in seen)


def test_other_weights_have_other_features(task):
    probe(task, 'one')
    torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, task[1] / 'backbone.pth')
    probe(task, 'two')
    assert len(list((task[1] / 'features').glob('*.npz'))) == 4


def test_the_classifier_names_its_classes_where_mmpretrains_inferencer_reads_them(task):
    probe(task, 'one')
    meta = torch.load(task[1] / 'one' / 'probe.pth')['meta']
    folders = sorted(folder.name for folder in (task[1] / 'data' / 'train').iterdir())
    assert meta['dataset_meta'] == {'classes': folders}


def test_features_are_the_frozen_backbone_s_pooled_last_level(task):
    root = task[1]
    probe(task)
    backbone = MODELS.build(tiny_resnet())
    backbone.load_state_dict(torch.load(root / 'backbone.pth')['state_dict'])
    values = np.load(kept_test_features(root))['values']
    assert values.shape == (27, CHANNELS[-1])
    assert values[0] == pytest.approx(pooled_last_level(backbone, root / 'data' / 'test' / 'blue' / '0.png'), abs=1e-4)


def test_features_and_checkpoint_of_a_random_start_agree(task):
    """Also where some of its features are there already, as after an interruption."""
    config, root = task
    results = []
    for folder in ('first', 'again'):
        features = root / 'features'
        assert transfer_to_set(config, root / folder, None, Protocol(), seed=3, features=features) == 0
        results.append(read_result(root / folder).metrics)
        state = torch.load(root / folder / 'probe.pth')['state_dict']
        backbone = MODELS.build(dict(type='XLearnerResNet', depth=18))
        backbone.load_state_dict(
            {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
        )
        kept = kept_test_features(root)
        values = np.load(kept)['values']
        expected = pooled_last_level(backbone, root / 'data' / 'test' / 'blue' / '0.png')
        assert values[0] == pytest.approx(expected, rel=1e-3, abs=1e-3)
        kept.unlink()
    assert results[0] == results[1]


def kept_test_features(root):
    return next(path for path in (root / 'features').glob('*.npz') if len(np.load(path)['labels']) == 27)


def pooled_last_level(backbone, path):
    image = np.asarray(Image.open(path), dtype=np.float32)
    image = (image - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    with torch.no_grad():
        last = backbone.eval()(torch.tensor(image, dtype=torch.float32).permute(2, 0, 1)[None])[-1]
    return last.mean(dim=(2, 3))[0].numpy()


def test_a_share_of_the_images_is_recorded_and_used(task):
    result = probe(task, 'tenth', data_fraction=0.5)
    record = json.loads((task[1] / 'tenth' / 'data_fraction.json').read_text())
    assert result.probe.training_images == len(record['parts'][0]['indices']) == 18
    assert (
        Config.fromfile(task[1] / 'tenth' / 'cls_colors.py').train_dataloader.dataset.indices
        == record['parts'][0]['indices']
    )


EPOCHS = 'train_cfg = dict(by_epoch=True, max_epochs=2)\n'
REPEATED = "train_dataloader['dataset'] = dict(type='RepeatDataset', times=3, dataset=train_dataloader['dataset'])\n"


@pytest.mark.parametrize(('lines', 'fraction', 'images'), [(EPOCHS, 0.5, 18), (REPEATED, 1.0, 36)])
def test_images_that_a_training_repeats_are_one_each(task, lines, fraction, images):
    """Else the penalty would be chosen on copies of the images that it is fitted to."""
    config, _ = task
    config.write_text(config.read_text() + lines)
    found = probe(task, 'repeated', data_fraction=fraction).probe
    assert found.training_images == images
    assert found.validation_images < images / 2


def test_a_head_is_trained_by_the_stock_runner_on_request(task):
    result = probe(task, 'sgd', probe='sgd')
    assert result.metrics == read_results(task[1] / 'sgd').metrics()
    kept = torch.load(task[1] / 'sgd' / 'iter_2.pth', weights_only=False)['state_dict']
    given = torch.load(task[1] / 'backbone.pth')['state_dict']
    assert all(torch.equal(kept[f'backbone.{key}'], value) for key, value in given.items())


def test_a_fine_tuned_backbone_changes_and_is_not_probed(task):
    assert probe(task, 'tuned', frozen=False).probe is None
    kept = torch.load(task[1] / 'tuned' / 'iter_2.pth', weights_only=False)['state_dict']
    given = torch.load(task[1] / 'backbone.pth')['state_dict']
    assert not torch.equal(kept['backbone.layer1.0.conv1.weight'], given['layer1.0.conv1.weight'])


def test_a_config_without_a_linear_head_is_refused(task):
    config, root = task
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'model.backbone': {**tiny_resnet(out_indices=(3,)), '_delete_': True}})
    cfg.model.head = dict(type='StackedLinearClsHead', num_classes=3, in_channels=32, mid_channels=[8])
    with pytest.raises(ConfigError, match='StackedLinearClsHead .*linear classifier'):
        run_probe(cfg, root / 'out', root / 'features', 'random', 'lbfgs', 0)


def test_features_of_channels_last_are_the_same_up_to_rounding_and_cached_apart(task):
    settings = Config.fromfile(str(task[0]))
    dataset = settings.test_dataloader.dataset.to_dict()
    plain, strided = (
        FeatureExtractor(settings.model.to_dict(), 'w', task[1] / 'cache', memory_format=memory_format)
        for memory_format in ('contiguous', 'channels_last')
    )
    wanted = plain.extract(dataset, 'test').values
    formats = []
    strided.backbone().register_forward_pre_hook(
        lambda _, images: formats.append(images[0].is_contiguous(memory_format=torch.channels_last))
    )
    np.testing.assert_allclose(strided.extract(dataset, 'test').values, wanted, rtol=1e-5, atol=1e-5)
    assert all(formats)
    assert formats
    assert len(list((task[1] / 'cache').iterdir())) == 2
