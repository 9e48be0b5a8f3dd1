"""A published folder: its card states recorded facts alone, and every snippet of it loads the same features."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

import xlearner_mm
from tests.engine.test_squeeze_training import STEPS, train_straight
from tests.export.conftest import NORMALIZATION
from xlearner_mm.checkpoint import read_checkpoint, sha256_of
from xlearner_mm.checkpoint.stem import flat_name
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone, publish_backbone
from xlearner_mm.registry import MODELS
from xlearner_mm.report.results import read_results
from xlearner_mm.testing import tiny_expanded, tiny_resnet

RESNET18 = dict(type='XLearnerResNet', depth=18)
PRUNED = {'branches.shared.backbone.layer1.0.conv1': 3}
IMAGES = torch.linspace(-2, 2, 2 * 3 * 64 * 64).view(2, 3, 64, 64)


def front_matter(folder):
    return yaml.safe_load((folder / 'README.md').read_text().split('---')[1])


def tables(folder):
    rows = re.findall(r'^\| (.*) \|$', (folder / 'README.md').read_text(), re.MULTILINE)
    return [[cell.strip() for cell in row.split('|')] for row in rows]


def snippets(folder):
    """Return heading -> code of the loading section."""
    parts = (folder / 'README.md').read_text().split('\n### ')[1:]
    codes = {part.splitlines()[0]: re.search(r'```python\n(.*?)```', part, re.DOTALL) for part in parts}
    return {title: code[1] for title, code in codes.items() if code}


@pytest.fixture(scope='module')
def squeeze(tmp_path_factory):
    """The work directory of a real squeeze, with the moving average of its weights."""
    return train_straight(tmp_path_factory.mktemp('squeeze')) / 'straight'


def test_a_card_states_what_the_training_has_recorded(squeeze, tmp_path):
    meta = publish_backbone(str(squeeze), tmp_path / 'student')
    logged = read_results(squeeze).metrics(STEPS)
    sources, rows = meta['sources'], {row[0]: row[1:] for row in tables(tmp_path / 'student')}
    assert rows['source'] == ['task', 'dataset', 'images', 'metric', 'score (%)', 'fidelity (%)']
    for name, task in sources.items():
        kind, images, metric, score, fidelity = rows[name][1:]
        assert (rows[name][0], kind, images) == (task, 'TinyImageDataset', '8')
        if name in ('birds', 'cars'):
            assert metric == 'score'
            assert float(score) == pytest.approx(100 * logged[f'{name}/score'], abs=0.06)
            assert float(fidelity) == pytest.approx(logged[f'{name}/fidelity'], abs=0.06)
        else:
            assert (metric, score, fidelity) == ('-', '-', '-')
    checkpoint = squeeze / f'iter_{STEPS}.pth'
    assert rows['checkpoint'] == [f'{checkpoint.name}, SHA-256 {sha256_of(str(checkpoint))}']
    assert rows['teacher'] == [f'iter_9.pth, SHA-256 {meta["teacher"]["sha256"]}']
    assert rows['weights'] == ['moving average']
    assert f'torch {torch.__version__}' in rows['versions'][0]
    text = (tmp_path / 'student/README.md').read_text()
    assert '## Not known' not in text
    assert str(NORMALIZATION[0]) in text
    assert 'RGB' in text
    (model,) = front_matter(tmp_path / 'student')['model-index']
    found = {result['dataset']['name']: result for result in model['results']}
    assert set(found) == {'birds', 'cars'}
    assert found['birds']['task']['type'] == 'image-classification'
    assert found['birds']['metrics'][0]['value'] == pytest.approx(100 * logged['birds/score'], abs=0.006)


def test_a_published_folder_is_a_checkpoint_everywhere(squeeze, tmp_path):
    meta = publish_backbone(str(squeeze), tmp_path / 'student', license='apache-2.0')
    assert {path.name for path in (tmp_path / 'student').iterdir()} == {'README.md', 'config.json', 'model.safetensors'}
    assert json.loads((tmp_path / 'student/config.json').read_text())['xlearner'] == meta
    ours = xlearner_mm.get_backbone(tmp_path / 'student')
    assert ours.meta == meta
    with torch.no_grad():
        levels = zip(ours(IMAGES), xlearner_mm.get_backbone(squeeze)(IMAGES), strict=True)
        assert all(torch.equal(a, b) for a, b in levels)
    loaded = MODELS.build(tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'student'))))
    loaded.init_weights()
    assert torch.equal(loaded.conv1.weight, ours.net.conv1.weight)
    assert front_matter(tmp_path / 'student')['license'] == 'apache-2.0'


@pytest.mark.parametrize(
    ('change', 'missing', 'known'),
    [
        (dict(ema=False), 'scores: the moving average', ['images']),
        (dict(without='*/vis_data/scalars.json'), f'scores: no validation after step {STEPS}', ['dataset', 'images']),
        (dict(without='squeeze.py'), 'datasets and scores', ['images']),
        (dict(without='run.json'), 'numbers of images, and versions', ['dataset', 'score (%)']),
    ],
)
def test_what_is_not_recorded_is_left_out_and_said(squeeze, tmp_path, change, missing, known):
    shutil.copytree(squeeze, tmp_path / 'training')
    for path in list((tmp_path / 'training').glob(change.pop('without', '-'))):
        path.unlink()
    publish_backbone(str(tmp_path / 'training'), tmp_path / 'student', **change)
    assert f'- {missing}' in (tmp_path / 'student/README.md').read_text()
    columns = {'dataset', 'images', 'score (%)'} & set(tables(tmp_path / 'student')[0])
    assert columns >= set(known)
    if 'scores' in missing:
        assert 'score (%)' not in columns
        assert 'model-index' not in front_matter(tmp_path / 'student')


def test_a_checkpoint_between_two_validations_has_no_scores(squeeze, tmp_path):
    shutil.copytree(squeeze, tmp_path / 'training')
    content = read_checkpoint(str(squeeze / f'iter_{STEPS}.pth'))
    content['meta']['iter'] = STEPS - 1
    torch.save(content, tmp_path / 'training/iter_19.pth')
    publish_backbone(str(tmp_path / 'training/iter_19.pth'), tmp_path / 'student')
    assert f'- scores: no validation after step {STEPS - 1}' in (tmp_path / 'student/README.md').read_text()


def test_a_branch_has_no_scores_which_are_of_it_with_its_links(trained, tmp_path):
    _, checkpoint = trained(tiny_expanded('cls', 'det'))
    publish_backbone(checkpoint, tmp_path / 'det', branch='det')
    assert '- scores: the branch was validated with its links' in (tmp_path / 'det/README.md').read_text()


def test_an_export_says_that_it_knows_nothing_of_its_training(trained, tmp_path):
    export_backbone(trained(tiny_resnet())[1], tmp_path / 'b.pth')
    publish_backbone(str(tmp_path / 'b.pth'), tmp_path / 'student')
    assert (
        '- scores, datasets and versions: the card was written from an export'
        in (tmp_path / 'student/README.md').read_text()
    )


def test_no_config_beside_a_checkpoint_is_executed(trained, tmp_path):
    _, checkpoint = trained(tiny_resnet())
    (tmp_path / 'config.py').write_text(
        f"open({str(tmp_path / 'executed')!r}, 'w')\n"
        "sources = dict(birds=dict(dataset=dict(type='A')), boxes=dict(dataset=dict(_scope_='mmdet', type='B')))\n"
    )
    publish_backbone(checkpoint, tmp_path / 'student')
    assert not (tmp_path / 'executed').exists()
    assert [row[:3] for row in tables(tmp_path / 'student')[2:4]] == [
        ['birds', 'cls', 'A'],
        ['boxes', 'det', 'mmdet.B'],
    ]


def test_a_license_is_left_to_be_filled_in(trained, tmp_path):
    publish_backbone(trained(tiny_resnet())[1], tmp_path / 'student')
    text = (tmp_path / 'student/README.md').read_text()
    assert 'license: null  # fill in' in text
    assert front_matter(tmp_path / 'student')['license'] is None


@pytest.mark.parametrize(
    ('config', 'libraries'),
    [
        (RESNET18, {'Python', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'torchvision'}),
        (tiny_resnet(stem_channels=64), {'Python', 'mmdet', 'mmseg', 'mmpretrain', 'timm'}),
        (tiny_resnet(type='XLearnerResNetV1c', base_channels=8), {'Python', 'mmdet', 'mmseg', 'mmpretrain'}),
        (tiny_expanded('cls', 'det'), {'Python', 'mmdet', 'mmseg', 'mmpretrain'}),
        (
            tiny_expanded(branches=dict(shared=tiny_resnet(stem_channels=64))),
            {'Python', 'mmdet', 'mmseg', 'mmpretrain'},
        ),
        (tiny_expanded('shared', widths=PRUNED), {'Python', 'mmdet', 'mmseg', 'mmpretrain'}),
    ],
    ids=['torchvision', 'timm', 'deep stem', 'expanded', 'of one branch', 'of one branch, pruned'],
)
def test_each_snippet_loads_the_backbone(trained, tmp_path, monkeypatch, config, libraries):
    own, checkpoint = trained(config)
    monkeypatch.chdir(tmp_path)
    publish_backbone(checkpoint, tmp_path / 'mine', expanded='branches' in config)
    Image.fromarray(np.full((80, 90, 3), 99, np.uint8)).save('photo.jpg')
    found = snippets(tmp_path / 'mine')
    assert set(found) == libraries
    for library in {'timm', 'torchvision'} - libraries:
        assert f'### {library}\n\nNot possible: ' in (tmp_path / 'mine/README.md').read_text()
    with torch.no_grad():
        levels = own(IMAGES)
        for library in libraries & {'Python', 'timm', 'torchvision'}:
            names = {}
            exec(found[library], names)
            check_features(names['backbone'].eval(), levels)
        assert names.get('features') is None or names['features'].shape == (1, levels[-1].shape[1])
        for library in ('mmdet', 'mmseg', 'mmpretrain'):
            check_config(library, found[library], tmp_path, own)


def check_features(backbone, levels):
    if isinstance(backbone, xlearner_mm.export.backbone.Backbone):
        assert all(torch.equal(a, b) for a, b in zip(backbone(IMAGES), levels, strict=True))
    else:
        torch.testing.assert_close(backbone(IMAGES), levels[-1].mean((2, 3)), atol=1e-4, rtol=1e-4)


def flat(state):
    """Weights under the same name in every library, each of which names a deep stem in its own way."""
    return {flat_name(key): value for key, value in state.items()}


def check_config(library, text, folder, own):
    """Build the config's whole model, load the backbone, and run both."""
    (folder / f'{library}.py').write_text(text)
    cfg = Config.fromfile(folder / f'{library}.py')
    init_default_scope(library)
    settings = cfg.get('data_preprocessor') or cfg.model.data_preprocessor
    own_order = settings.get('to_rgb', settings.get('bgr_to_rgb'))
    assert (settings.mean, settings.std, own_order) == (*NORMALIZATION[:2], True)
    model = MODELS.build(cfg.model).eval()
    model.backbone.init_weights()
    loaded, expected = flat(model.backbone.state_dict()), flat(own.state_dict())
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
    model(IMAGES, mode='tensor')


def test_a_card_is_written_again_unless_it_was_edited(trained, tmp_path):
    _, checkpoint = trained(tiny_resnet())
    publish_backbone(checkpoint, tmp_path)
    publish_backbone(checkpoint, tmp_path, license='mit')
    assert front_matter(tmp_path)['license'] == 'mit'
    card, weights = tmp_path / 'README.md', (tmp_path / 'model.safetensors').read_bytes()
    card.write_text(card.read_text().replace('license: mit', 'license: bsd-3-clause'))
    with pytest.raises(CheckpointError, match=r'README\.md was edited.*another folder.*--license'):
        publish_backbone(trained(tiny_resnet())[1], tmp_path)
    assert front_matter(tmp_path)['license'] == 'bsd-3-clause'
    assert (tmp_path / 'model.safetensors').read_bytes() == weights
    card.unlink()
    publish_backbone(checkpoint, tmp_path)
    assert front_matter(tmp_path)['license'] is None


@pytest.mark.parametrize(
    ('file', 'text'),
    [
        ('README.md', '# my project\n\n---\nlibrary_name: xlearner_mm\n'),
        ('README.md', '---\nlibrary_name: timm\n---\n'),
        ('config.json', '{"mine": 1}'),
        ('config.json', '[]'),
        ('config.json', 'no JSON'),
    ],
)
def test_files_of_something_else_are_left_alone(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    with pytest.raises(CheckpointError, match=f'{file} is not.*another folder'):
        publish_backbone('any.pth', tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(file, text)]


def test_a_folder_that_is_a_file_and_a_missing_package_are_refused(trained, tmp_path, monkeypatch):
    _, checkpoint = trained(tiny_resnet())
    (tmp_path / 'taken').write_text('a file')
    with pytest.raises(CheckpointError, match='taken is a file.*folder'):
        publish_backbone(checkpoint, tmp_path / 'taken')
    monkeypatch.setitem(__import__('sys').modules, 'timm', None)
    with pytest.raises(CheckpointError, match=r'needs timm.*pip install -e \.\[export\]'):
        publish_backbone(checkpoint, tmp_path / 'student')
    assert not (tmp_path / 'student').exists()
