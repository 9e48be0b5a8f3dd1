import pytest
import torch

from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet, tiny_sources
from xlearner_mm.transfer import CheckpointError, read_checkpoint
from xlearner_mm.transfer.export import export_backbone


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
def test_an_expansion_checkpoint_needs_to_know_which_branch(expansion, tmp_path, branch, message):
    with pytest.raises(CheckpointError, match=message):
        export_backbone(expansion[1], tmp_path / 'b.pth', branch=branch)
    assert not (tmp_path / 'b.pth').exists()


def test_any_other_checkpoint_is_refused(tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save({'state_dict': {}, 'meta': {}}, path)
    with pytest.raises(CheckpointError, match='does not describe its backbone'):
        export_backbone(path, tmp_path / 'b.pth')
