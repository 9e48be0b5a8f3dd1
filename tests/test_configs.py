"""Every config of ours parses, builds, and holds to the house's rules."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

from tests.reduction import with_teachers
from xlearner_mm.datasets import parse_sources
from xlearner_mm.mini import CATALOG
from xlearner_mm.photos import CATALOG as PHOTOS
from xlearner_mm.registry import MODELS, init_default_scope
from xlearner_mm.sources import with_sources

ROOT = Path(__file__).parents[1] / 'configs'


def folders(path):
    """Below `configs`, whatever the folders above it are called."""
    return path.relative_to(ROOT).parts


CONFIGS = sorted(p for p in ROOT.rglob('*.py') if not {'_base_', 'baselines'} & set(folders(p)))
SOURCES = sorted((ROOT / '_base_' / 'sources').glob('*.py'))
TRANSFERS = [path for path in CONFIGS if 'transfer' in folders(path)]
MINI_TRANSFERS = [path for path in TRANSFERS if {'mini', 'photo'} & set(folders(path))]
BUILT_TRANSFERS = [
    path
    if path in MINI_TRANSFERS or path.stem in ('cls_dtd', 'depth_nyu')
    else pytest.param(path, marks=pytest.mark.slow)
    for path in TRANSFERS
]
SQUEEZES = [path for path in CONFIGS if 'teacher_checkpoint' in path.read_text()]
LEARNERS = [path for path in CONFIGS if path not in TRANSFERS + SQUEEZES]


def slow_at_paper_scale(paths, *but):
    """Building two ResNet-50s with their heads takes seconds: one of them is enough between the slow runs."""
    fast = [path for path in paths if {'mini', 'photo'} & set(folders(path)) or path.stem in but]
    return [path if path in fast else pytest.param(path, marks=pytest.mark.slow) for path in paths]


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('path', CONFIGS, ids=name)
def test_names_are_identifiers_and_the_first_line_describes_the_config(path):
    assert re.fullmatch(r'[a-z][a-z0-9_]*', path.stem)
    assert path.read_text().startswith('# ')
    assert f'python tools/train.py configs/{name(path)}' in path.read_text()


@pytest.mark.parametrize('path', SOURCES, ids=name)
def test_a_source_file_describes_its_source_completely(path):
    cfg = Config.fromfile(path)
    assert list(cfg) == [path.stem]
    source = parse_sources(cfg.to_dict())[path.stem]
    assert source.network
    assert source.val_evaluator
    assert source.primary_metric


@pytest.mark.parametrize('path', LEARNERS, ids=name)
def test_sources_are_listed_at_top_level_alone(path):
    assert not re.search(r'sources=|batch_size=sum|source\[', path.read_text())
    cfg = Config.fromfile(path)
    filled = with_sources(cfg)
    parts = [filled['train_dataloader']['dataset'], filled['val_evaluator'], filled['test_evaluator'], filled['model']]
    for part in parts:
        assert list(part['sources']) == list(cfg.sources)
        assert all(part['sources'][name] is source for name, source in parts[0]['sources'].items()), 'parsed once'
    assert filled['train_dataloader']['batch_size'] == sum(s.batch_size for s in cfg.sources.values())


@pytest.mark.parametrize('path', LEARNERS, ids=name)
def test_a_learner_is_optimized_branch_by_branch(path):
    assert Config.fromfile(path).optim_wrapper.constructor == 'PerBranchOptimWrapperConstructor'


@pytest.mark.parametrize('path', TRANSFERS, ids=name)
def test_a_transfer_has_no_branches_to_optimize(path):
    assert 'PerBranch' not in str(Config.fromfile(path).optim_wrapper)


@pytest.mark.parametrize('path', LEARNERS + SQUEEZES, ids=name)
def test_a_stage_is_logged_as_text_and_in_tensorboard(path):
    backends = [backend.type for backend in Config.fromfile(path).visualizer.vis_backends]
    assert backends == ['LocalVisBackend', 'TensorboardVisBackend']


@pytest.mark.parametrize('path', slow_at_paper_scale(LEARNERS, 'xlearner_r50_500k_base_cls_det'), ids=name)
def test_a_learner_builds_and_its_batch_size_is_the_sum_of_its_sources(path, tmp_path):
    cfg = with_teachers(Config.fromfile(path), tmp_path)
    filled = with_sources(cfg)
    learner = MODELS.build(filled['model'])
    assert filled['train_dataloader']['batch_size'] == sum(s.batch_size for s in learner.sources.values())
    assert {s['type'] for s in cfg.custom_hooks} >= {'StageMetaHook'}
    assert cfg.runner_type == 'XLearnerRunner'


@pytest.mark.parametrize('path', slow_at_paper_scale(SQUEEZES), ids=name)
def test_a_squeeze_builds_on_the_checkpoint_of_its_expansion(path, tmp_path):
    cfg = Config.fromfile(path)
    cfg.model.teacher.checkpoint = str(tmp_path / 'expansion.pth')
    model = with_sources(cfg)['model']
    teacher = MODELS.build({key: value for key, value in model.teacher.model.items() if key != 'hints'})
    torch.save({'state_dict': teacher.state_dict()}, tmp_path / 'expansion.pth')
    distiller = MODELS.build(model)
    assert set(distiller.branch_of.values()) == set(teacher.backbone.branches)


@pytest.mark.parametrize(
    'path', slow_at_paper_scale([path for path in LEARNERS if path.stem.startswith('xlearner_r_')]), ids=name
)
def test_half_width_branches_are_initialized_from_their_squeezes(path, tmp_path):
    """X-Learner_r: each task's model is squeezed first, then the students are linked."""
    cfg = Config.fromfile(path)
    squeezes = {config.stem: config for config in SQUEEZES}
    students = {}
    for branch, settings in cfg.model.backbone.branches.items():
        squeeze = squeezes[Path(settings.init_cfg.checkpoint).name]
        squeeze_cfg = with_teachers(Config.fromfile(squeeze), tmp_path)
        assert Path(Config.fromfile(squeeze).teacher_checkpoint).name in {learner.stem for learner in LEARNERS}
        distiller = MODELS.build(with_sources(squeeze_cfg)['model'])
        distiller.init_weights()
        settings.init_cfg.checkpoint = str(tmp_path / f'{branch}.pth')
        torch.save({'state_dict': distiller.state_dict()}, settings.init_cfg.checkpoint)
        students[branch] = distiller.student.state_dict()
        assert next(iter(distiller.targets.values())).channels[3] == 2 * distiller.student.feat_dim
    learner = MODELS.build(with_sources(cfg)['model'])
    learner.init_weights()
    for branch, state in students.items():
        started = learner.backbone.branches[branch].backbone.state_dict()
        assert all(torch.equal(value, started[key]) for key, value in state.items())


@pytest.mark.parametrize('path', BUILT_TRANSFERS, ids=name)
def test_a_transfer_names_our_backbone_and_nothing_else_of_ours(path):
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.type == 'XLearnerResNet'
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    text = str({key: value for key, value in cfg.items() if key != 'custom_imports'})
    assert set(re.findall(r"'(XLearner\w*|MultiSource\w*|TaskPort|FitNet\w*)'", text)) == {'XLearnerResNet'}
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    assert type(MODELS.build({**cfg.model, '_scope_': cfg.default_scope})).__module__.startswith(cfg.default_scope)


def configs_of(folder):
    """All trainings of a folder; transfers of the mini ones are listed by their README alone."""
    large = [path for path in TRANSFERS if path not in MINI_TRANSFERS]
    return (
        large
        if folder == 'transfer'
        else [path for path in CONFIGS if folder in folders(path) and path not in TRANSFERS]
    )


@pytest.mark.parametrize('folder', ['expansion', 'squeeze', 'transfer', 'one_gpu', 'mini', 'photo'])
def test_the_metafile_and_the_readme_know_every_config(folder):
    stages = {path.relative_to(ROOT.parent).as_posix() for path in configs_of(folder)}
    metafile = ROOT / folder / 'metafile.yml'
    assert {model['Config'] for model in yaml.safe_load(metafile.read_text())['Models']} == stages
    assert all(Path(config).name in (ROOT / folder / 'README.md').read_text() for config in stages)
    assert f'configs/{folder}/metafile.yml' in yaml.safe_load((ROOT.parent / 'model-index.yml').read_text())['Import']


def test_every_mini_set_has_its_config():
    assert {p.stem.removeprefix('mini_') for p in SOURCES if p.stem.startswith('mini_')} == {
        entry.name for entry in CATALOG.values() if entry.role == 'source'
    }
    transfer = {p.stem for p in MINI_TRANSFERS if 'mini' in folders(p)}
    assert transfer == {
        f'{entry.task}_{entry.name.replace("voc_seg", "voc")}' for entry in CATALOG.values() if entry.role == 'transfer'
    }


@pytest.mark.parametrize(
    'path', [*(p for p in SOURCES if p.stem.startswith(('mini_', 'photo_'))), *MINI_TRANSFERS], ids=name
)
def test_classes_are_those_of_the_set_on_disk(path):
    cfg = Config.fromfile(path).to_dict()
    described = next(iter(cfg.values())) if path in SOURCES else cfg
    family, folder = re.search(r"'data/xl_(mini|photo)/(?:source/|transfer/)?(\w+)", str(cfg)).groups()
    entry = {'mini': CATALOG, 'photo': PHOTOS}[family][folder]
    count = entry.classes if family == 'photo' else len(entry.classes)
    if entry.task == 'depth':
        assert not count
        return
    dataset = described['dataset'] if path in SOURCES else described['train_dataloader']['dataset']
    if entry.task == 'cls':
        model = described['network'] if path in SOURCES else described['model']
        assert model['head']['num_classes'] == count
    elif family == 'photo':
        assert len(dataset['metainfo']['classes']) == count
    else:
        assert tuple(dataset['metainfo']['classes'])[-count:] == entry.classes
