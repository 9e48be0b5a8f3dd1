import json
from datetime import datetime, timezone

import pytest
import torch

import xlearner_mm
from tests.export.conftest import NORMALIZATION
from xlearner_mm.checkpoint import read_checkpoint, sha256_of
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone
from xlearner_mm.export.stored_backbone import find_backbone
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet, tiny_sources


def saved(tmp_path, backbone):
    learner = MODELS.build(dict(type='ExpansionLearner', backbone=backbone, sources=tiny_sources()))
    learner.init_weights()
    path = str(tmp_path / 'expansion.pth')
    torch.save({'state_dict': learner.state_dict(), 'meta': {'xlearner': learner.describe()}}, path)
    return learner, path


@pytest.fixture
def expansion(tmp_path):
    return saved(tmp_path, tiny_expanded())


def test_a_squeeze_checkpoint_gives_its_student(expansion, tmp_path):
    _, teacher = expansion
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())
    distiller = MODELS.build(
        dict(type='FitNetDistiller', teacher=dict(model=cfg, checkpoint=teacher), student=tiny_resnet())
    )
    path, out = str(tmp_path / 'squeeze.pth'), tmp_path / 'deep' / 'backbone.pth'
    torch.save({'state_dict': distiller.state_dict(), 'meta': {'xlearner': distiller.describe()}}, path)
    meta = export_backbone(path, out)
    written = torch.load(out, weights_only=True)
    assert written['state_dict'].keys() == distiller.student.state_dict().keys()
    assert written['meta'] == meta
    assert meta['stage'] == 'squeeze'
    assert meta['backbone'] == tiny_resnet()
    assert meta['sources'] == {'birds': 'cls', 'cars': 'cls', 'boxes': 'det', 'masks': 'seg'}
    loaded = MODELS.build(tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=str(out))))
    loaded.init_weights()
    assert torch.equal(loaded.layer4[1].conv2.weight, distiller.student.layer4[1].conv2.weight)


def test_hard_sharing_gives_its_only_branch(tmp_path):
    backbone = tiny_expanded('shared', tasks=dict(cls='shared', det='shared', seg='shared'))
    learner, path = saved(tmp_path, backbone)
    export_backbone(path, tmp_path / 'b.pth')
    state = read_checkpoint(str(tmp_path / 'b.pth'))['state_dict']
    assert torch.equal(state['conv1.weight'], learner.backbone.branches['shared'].backbone.conv1.weight)


def test_a_branch_can_be_chosen(expansion, tmp_path):
    learner, path = expansion
    export_backbone(path, tmp_path / 'b.pth', branch='det')
    state = read_checkpoint(str(tmp_path / 'b.pth'))['state_dict']
    assert torch.equal(state['conv1.weight'], learner.backbone.branches['det'].backbone.conv1.weight)


@pytest.mark.parametrize(
    ('branch', 'message'),
    [(None, r"with branches \['cls', 'det', 'seg'\]: name the one"), ('depth', "has no branch 'depth'")],
)
def test_an_expansion_checkpoint_needs_a_branch(expansion, tmp_path, branch, message):
    with pytest.raises(CheckpointError, match=message):
        export_backbone(expansion[1], tmp_path / 'b.pth', branch=branch)
    assert not (tmp_path / 'b.pth').exists()


def test_any_other_checkpoint_is_refused(tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save({'state_dict': {}, 'meta': {}}, path)
    with pytest.raises(CheckpointError, match='not describe.* backbone'):
        export_backbone(path, tmp_path / 'b.pth')


def test_metadata_is_plain_and_records_the_origin_of_weights(trained, tmp_path):
    teacher = dict(checkpoint='/home/someone/work_dirs/expansion/iter_9.pth', sha256='ab' * 32)
    _, checkpoint = trained(tiny_resnet(), teacher=teacher, tasks=dict(cls='cls'))
    before = datetime.now(timezone.utc).replace(microsecond=0)
    meta = export_backbone(checkpoint, tmp_path / 'b.safetensors')
    assert json.loads(json.dumps(meta)) == meta == read_checkpoint(str(tmp_path / 'b.safetensors'))['meta']
    assert before <= datetime.fromisoformat(meta.pop('date')) <= datetime.now(timezone.utc)
    assert meta == {
        'stage': 'squeeze',
        'backbone': tiny_resnet(),
        'branch': None,
        'tasks': {'cls': 'cls'},
        'sources': {'birds': 'cls', 'boxes': 'det'},
        'normalization': NORMALIZATION,
        'exported_from': 'iter_9.pth',
        'exported_from_sha256': sha256_of(checkpoint),
        'iterations': 9,
        'trained': '20260101_120000',
        'ema': False,
        'teacher': {'checkpoint': 'iter_9.pth', 'sha256': 'ab' * 32},
        'further_teachers': {},
        'xlearner_mm_version': xlearner_mm.__version__,
        'channels': [4, 8, 16, 32],
        'strides': [4, 8, 16, 32],
        'format': {'name': 'safetensors'},
    }


@pytest.mark.parametrize(('ema', 'value', 'recorded'), [(None, 2.0, True), (True, 2.0, True), (False, 1.0, False)])
def test_the_moving_average_or_the_weights_themselves(trained, tmp_path, ema, value, recorded):
    _, checkpoint = trained(tiny_resnet())
    content = read_checkpoint(checkpoint)
    own = {f'module.{key}': torch.full_like(weight, 1) for key, weight in content['state_dict'].items()}
    content['state_dict'] = {key: torch.full_like(weight, 2) for key, weight in content['state_dict'].items()}
    torch.save({**content, 'ema_state_dict': {'steps': torch.tensor(9), **own}}, checkpoint)
    meta = export_backbone(checkpoint, tmp_path / 'b.pth', ema=ema)
    assert meta['ema'] is recorded
    assert (read_checkpoint(str(tmp_path / 'b.pth'))['state_dict']['conv1.weight'] == value).all()


def test_a_moving_average_where_there_is_none_is_an_error(trained, tmp_path):
    _, checkpoint = trained(tiny_resnet())
    with pytest.raises(CheckpointError, match=r'iter_9\.pth .*no moving average'):
        export_backbone(checkpoint, tmp_path / 'b.pth', ema=True)
    export_backbone(checkpoint, tmp_path / 'b.pth', ema=False)
    with pytest.raises(CheckpointError, match='is an export: .*moving average'):
        export_backbone(str(tmp_path / 'b.pth'), tmp_path / 'c.pth', ema=False)


@pytest.mark.parametrize(('which', 'name'), [('last', 'iter_9.pth'), ('best', 'best_mean_share_iter_8.pth')])
def test_the_last_or_the_best_of_a_work_directory(trained, tmp_path, which, name):
    kept = {name: trained(tiny_resnet(), name)[0] for name in ('best_mean_share_iter_8.pth', 'iter_9.pth')}
    (tmp_path / 'last_checkpoint').write_text('iter_9.pth')
    meta = export_backbone(str(tmp_path), tmp_path / 'out' / 'b.pth', which=which)
    assert meta['exported_from'] == name
    state = read_checkpoint(str(tmp_path / 'out' / 'b.pth'))['state_dict']
    assert torch.equal(state['conv1.weight'], kept[name].conv1.weight)


def test_an_export_can_be_exported_to_another_format(trained, tmp_path):
    backbone, checkpoint = trained(tiny_expanded('cls', 'det'))
    first = export_backbone(checkpoint, tmp_path / 'a.safetensors', expanded=True)
    second = export_backbone(str(tmp_path / 'a.safetensors'), tmp_path / 'b.pth', branch='det')
    assert (second['branch'], second['stage']) == ('det', first['stage'])
    state = read_checkpoint(str(tmp_path / 'b.pth'))['state_dict']
    assert torch.equal(state['conv1.weight'], backbone.branches['det'].backbone.conv1.weight)


def test_a_pruned_backbone_keeps_its_widths_and_is_exported_as_a_whole(trained, tmp_path):
    widths = {'branches.cls.backbone.layer1.0.conv1': 3, 'branches.det.backbone.layer4.1.conv1': 20}
    backbone, checkpoint = trained(tiny_expanded('cls', 'det', widths=widths))
    meta = export_backbone(checkpoint, tmp_path / 'p.safetensors', expanded=True)
    assert meta['backbone']['widths'] == widths
    again = find_backbone(str(tmp_path / 'p.safetensors'), expanded=True).build()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(again(images), backbone(images), strict=True))
    with pytest.raises(CheckpointError, match="was pruned: branch 'det'.*take the whole"):
        export_backbone(checkpoint, tmp_path / 'b.pth', branch='det')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(branch='cls'), 'it has a student, not branches'),
        (dict(expanded=True), 'it has a student, not branches'),
        (dict(format='keras'), "unknown format 'keras', choose from"),
        (dict(format='onnx'), r'b\.pth: name a file of format onnx \*\.onnx'),
    ],
)
def test_unexportable_backbones_are_refused_before_writing(trained, tmp_path, settings, message):
    _, checkpoint = trained(tiny_resnet())
    with pytest.raises(CheckpointError, match=message):
        export_backbone(checkpoint, tmp_path / 'b.pth', **settings)
    assert not list(tmp_path.glob('b.pth*'))


def test_settings_that_are_not_of_the_weights_are_refused(trained, tmp_path):
    _, checkpoint = trained(tiny_resnet())
    content = read_checkpoint(checkpoint)
    content['meta']['xlearner']['backbone']['depth'] = 34
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match=r'iter_9\.pth .*fit.*missing:\s+layer1\.2\.bn1'):
        export_backbone(checkpoint, tmp_path / 'b.pth')


def test_an_unwritable_target_is_named_and_left_clean(trained, tmp_path):
    _, checkpoint = trained(tiny_resnet())
    (tmp_path / 'taken').write_text('a file')
    with pytest.raises(CheckpointError, match=r'taken/b\.pth .*written'):
        export_backbone(checkpoint, tmp_path / 'taken' / 'b.pth')
    (tmp_path / 'b.pth').mkdir()
    with pytest.raises(CheckpointError, match=r'b\.pth .*written'):
        export_backbone(checkpoint, tmp_path / 'b.pth')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['b.pth', 'iter_9.pth', 'taken']
