import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from torch import nn

from xlearner_mm.analysis.dry_run import dry_run
from xlearner_mm.analysis.dry_run.blueprint import stand_in_datasets, stand_in_teachers
from xlearner_mm.analysis.dry_run.run import state_per_byte, static_memory
from xlearner_mm.datasets.stock_datasets import build_deferred
from xlearner_mm.models.distillation.teachers import BackboneTeacher

CONFIGS = Path(__file__).parents[3] / 'configs'
EXPANSION = CONFIGS / 'mini' / 'xlearner_r18_expansion.py'
SQUEEZE = CONFIGS / 'mini' / 'xlearner_r18_squeeze.py'
PROBE = CONFIGS / 'mini' / 'transfer' / 'cls_letters.py'


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No data, and no checkpoint of an earlier stage."""
    monkeypatch.chdir(tmp_path)


def figures(config, **settings):
    assert dry_run(str(config), json_file='figures.json', **settings) == 0
    return json.loads(Path('figures.json').read_text())


def refused(capsys, *options, config=EXPANSION):
    assert dry_run(str(config), options=list(options)) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


def test_a_dry_run_without_data_prints_the_cost(capsys):
    found = figures(EXPANSION, world_size=64, flops_per_second=1e12, utilization=0.5)
    digits = found['sources'][0]
    assert (digits['name'], digits['images'], digits['images_from']) == ('digits', 3000, 'declared')
    assert digits['batch_shape'] == [24, 3, 64, 64]
    assert digits['epochs'] == 450 * 64 * 24 / 3000
    assert digits['steps_per_epoch'] == 2  # 3000 images, 1536 of them a step
    assert found['steps'] == 450
    assert found['memory']['optimizer'] == 2 * found['memory']['gradients']
    assert found['memory']['gradient buckets'] == found['memory']['gradients']
    assert found['flops_per_step'] == sum(source['flops_per_step'] for source in found['sources'])
    seconds = 450 * found['flops_per_step'] / (1e12 * 0.5)
    assert found['gpu_hours'] == pytest.approx(64 * seconds / 3600)
    printed = capsys.readouterr().out
    assert 'declared' in printed
    assert '50% of 1e+12 FLOP/s' in printed
    assert not list(Path().glob('work_dirs'))


def test_a_compiled_training_costs_what_it_costs_eagerly():
    compiled = figures(EXPANSION, options=["model.compile={'dynamic': True}"])
    assert compiled['flops_per_step'] == figures(EXPANSION)['flops_per_step']


@pytest.mark.slow
def test_resnet_50_on_the_base_sources_fits_on_a_card_of_24_gb():
    found = figures(CONFIGS / 'expansion' / 'xlearner_r50_500k_base.py', world_size=64)
    assert {source['graph'] for source in found['sources']} == {'cls', 'det'}
    assert found['peak_bytes'] <= 15e9


@pytest.mark.slow
def test_the_trainings_for_one_gpu_fit_on_a_card_of_24_gb_in_a_night_as_their_readme_says():
    hours = 0.0
    readme = (CONFIGS / 'one_gpu' / 'README.md').read_text()
    for stage in ('expansion', 'squeeze'):
        config = CONFIGS / 'one_gpu' / f'xlearner_seg_r50_{stage}.py'
        found = figures(config, flops_per_second=60e12, utilization=1.0)
        epochs = ', '.join(f'{source["epochs"]:.1f}' for source in found['sources'])
        (row,) = [line for line in readme.splitlines() if line.startswith(f'| `{config.name}`')]
        assert row.split(' | ')[2:4] == [f'{found["steps"]:,}', epochs]
        memory, night = map(float, row.removesuffix(' |').split(' | ')[4:])
        assert found['peak_bytes'] <= 22e9
        assert memory == pytest.approx(found['peak_bytes'] / 1e9, rel=0.02)
        assert night == pytest.approx(found['gpu_hours'], rel=0.02)
        hours += found['gpu_hours']
    assert hours <= 12, 'and at most 24 where a card reaches half of 60 TFLOP/s'


@pytest.mark.slow
@pytest.mark.parametrize('config', ['det/det_voc0712.py', 'seg/seg_voc12.py'])
def test_transfers_on_one_gpu_take_what_their_readme_says(config):
    found = figures(CONFIGS / 'transfer' / config, flops_per_second=60e12, utilization=1.0)
    readme = ' '.join((CONFIGS / 'one_gpu' / 'README.md').read_text().split())
    assert f'{found["peak_bytes"] / 1e9:.1f} GB and {found["gpu_hours"]:.1f} GPU-hours' in readme


def test_one_backward_pass_for_all_needs_the_graphs_of_all_branches():
    joint, by_branch = (figures(EXPANSION, options=[f'model.backward={backward}']) for backward in ('joint', 'branch'))
    graphs = {}
    for source in by_branch['sources']:
        graphs.setdefault(source['graph'], []).append(source)
    images = sum(source['image_bytes'] for source in by_branch['sources'])
    beyond = [
        sum(s['saved_bytes'] - s['image_bytes'] for s in graph) + max(s['extra_bytes'] for s in graph)
        for graph in graphs.values()
    ]
    assert len(beyond) == 2
    assert by_branch['activation_bytes'] == images + max(beyond)
    assert joint['activation_bytes'] == sum(s['saved_bytes'] for s in joint['sources']) + max(
        s['extra_bytes'] for s in joint['sources']
    )


def test_a_squeeze_can_be_dry_run_before_its_expansion():
    found = figures(SQUEEZE)
    assert found['model'] == 'FitNetDistiller'
    assert found['notes'][0].startswith('work_dirs/xlearner_r18_expansion (of teacher) is not there yet')
    assert found['memory']['frozen teachers'] > found['memory']['parameters']
    assert found['gpu_hours'] is None


def test_missing_checkpoints_of_earlier_stages_are_noted():
    notes = figures(CONFIGS / 'mini' / 'xlearner_r_r18_expansion.py')['notes']
    for task in ('cls', 'det'):
        assert any(
            f"branch '{task}': " in note and f'work_dirs/xlearner_r_{task}_r18_squeeze' in note for note in notes
        )


def test_declarations_of_a_stock_training_give_steps_and_epochs():
    config = Path('declaring.py')
    config.write_text(f"_base_ = '{PROBE}'\ndeclared = dict(images=500, picture=(64, 64))\n")
    source = figures(config)['sources'][0]
    assert (source['images'], source['images_from'], source['pictures']) == (500, 'declared', 'random, 64 x 64')
    assert source['epochs'] is not None


def test_a_misspelled_declaration_is_refused(capsys):
    config = Path('declaring.py')
    config.write_text(f"_base_ = '{PROBE}'\ndeclared = dict(image=500)\n")
    assert "declared: unknown setting 'image'; did you mean 'images'" in refused(capsys, config=config)


def test_a_missing_file_in_an_existing_folder_is_noted():
    Path('here').mkdir()
    found = figures(EXPANSION, options=['sources.det_shapes.dataset.data_root=here'])
    (note,) = [note for note in found['notes'] if 'validation' not in note]
    assert note.startswith("source 'det_shapes': here/")
    assert note.endswith('is not there, although its data_root is: check its name')


def test_images_held_in_memory_are_random():
    source = figures(CONFIGS / 'transfer' / 'cls' / 'cls_cifar10.py')['sources'][0]
    assert source['batch_shape'][-2:] == [224, 224]


def test_undeclared_numbers_are_unknown(capsys):
    found = figures(PROBE)
    source = found['sources'][0]
    assert (source['images'], source['images_from'], source['epochs']) == (None, 'unknown', None)
    assert 'unknown' in capsys.readouterr().out


def test_a_linear_probe_of_a_stock_library_keeps_its_backbone_frozen():
    found = figures(PROBE)
    assert found['frozen_parameters'] > 10 * found['trained_parameters']


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ('sources.digits.network.head.in_channels=64', "source 'digits'"),
        ('model.backbone.reconciliation.topologi=lower', 'topologi'),
        ("model.compile={'mod': 'default'}", "unknown setting 'mod'"),
        ('sources.shapes.batchsize=4', "unknown setting 'batchsize'"),
        ('optim_wrapper.optimizer.lrate=1', 'lrate'),
        ('train_cfg.max_iterz=3', 'max_iterz'),
        ('train_dataloader.batch_size=5', 'train_dataloader.batch_size is 5'),
        ("sources.digits.dataset={'split_': 'train'}", 'split_'),
        ('sources.det_shapes.network.bbox_head.num_classes=2', "source 'det_shapes': its dataset has 5 classes"),
        ("sources.det_shapes.val_evaluator={'metric': 'boxes'}", "source 'det_shapes': validation cannot be built"),
    ],
)
def test_errors_of_a_config_are_found_in_one_line(capsys, option, said):
    assert said in refused(capsys, option)


def test_a_missing_setting_is_found(capsys):
    config = Path('without_size.py')
    config.write_text(
        f"_base_ = '{EXPANSION}'\n"
        "sources = dict(digits=dict(_delete_=True, task='cls', dataset=dict(type='CustomDataset')))\n"
    )
    assert "source 'digits': missing setting(s) ['batch_size']" in refused(capsys, config=config)


def test_settings_of_the_dry_run_itself_are_checked(capsys):
    assert dry_run(str(EXPANSION), world_size=0) == 1
    assert dry_run(str(EXPANSION), utilization=1.5) == 1
    assert dry_run('no_such_config.py') == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(',')[0] for line in lines[:2]] == [
        'error: --world-size must be at least 1',
        'error: --utilization must be above 0 and at most 1',
    ]
    assert 'no_such_config.py does not exist' in lines[2]


@pytest.mark.parametrize(
    ('optimizer', 'copies'),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1),
        (lambda p: torch.optim.AdamW(p, lr=0.1), 2),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True), 3),
    ],
)
def test_optimizer_state_is_measured(optimizer, copies):
    model = nn.Linear(8, 8)
    assert state_per_byte(optimizer(model.parameters())) == copies


def test_frozen_parameters_have_neither_gradients_nor_state():
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 5, bias=False))
    model[0].requires_grad_(False)
    wrapper = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad]))
    memory = static_memory(model, wrapper, [], world_size=2)
    assert memory == {
        'parameters': 600,
        'buffers': 0,
        'gradients': 200,
        'optimizer': 400,
        'gradient buckets': 200,
        'frozen teachers': 0,
        'moving average': 0,
    }


def test_one_process_has_no_buckets_and_a_moving_average_is_a_copy():
    model = nn.Linear(10, 10, bias=False)
    memory = static_memory(model, OptimWrapper(torch.optim.SGD(model.parameters(), lr=1)), [EMAHook()], world_size=1)
    assert memory['gradient buckets'] == 0
    assert memory['moving average'] == memory['parameters']


@pytest.mark.parametrize(
    ('config', 'kind', 'classes'),
    [('seg/seg_voc12.py', 'PascalVOCDataset', 21), ('cls/cls_cars.py', 'StanfordCars', 196)],
)
def test_a_stock_dataset_that_looks_for_its_files_is_replaced_in_the_scope_of_its_config(config, kind, classes):
    cfg = Config.fromfile(CONFIGS / 'transfer' / config)
    dataset = cfg.train_dataloader.dataset
    (note,) = set(stand_in_datasets([dataset], cfg.default_scope))
    assert note.endswith(f'stands in for {kind}')
    for leaf in dataset.get('datasets', [dataset]):
        assert len(build_deferred({'_scope_': cfg.default_scope, **leaf}).metainfo['classes']) == classes


def test_a_dataset_that_checks_files_in_its_constructor_is_declared(capsys):
    cars = Config.fromfile(CONFIGS / '_base_' / 'sources' / 'stanford_cars.py').stanford_cars
    loaders = [cars.dataset, cars.val_dataloader.dataset]
    settings = [dict(dataset=cars.dataset), dict(val_dataloader=dict(cars.val_dataloader))]
    notes = stand_in_datasets(settings)
    assert notes == ['data/Stanford_Cars/ is not there: an empty dataset stands in for StanfordCars'] * 2
    for built in (build_deferred(loader) for loader in loaders):
        assert len(built.metainfo['classes']) == 196
        assert len(built.pipeline.transforms) == 4


@pytest.mark.parametrize(
    'settings',
    [
        dict(name='timm/vit_tiny_patch16_224', embed_dim=12, depth=1, num_heads=2),
        dict(name='mmpretrain::resnet/resnet18_8xb32_in1k'),
    ],
)
def test_random_weights_stand_in_for_an_absent_foundation_teacher(settings, tmp_path):
    pytest.importorskip('timm')
    cfg = Config.fromfile(EXPANSION)
    foundation = dict(type='FoundationBackbone', **settings)
    cfg.model.hints = dict(digits=dict(model=foundation, checkpoint='absent.pth'))
    assert stand_in_teachers(cfg, str(tmp_path)) == ['absent.pth (of digits)']
    BackboneTeacher(foundation, cfg.model.hints.digits.checkpoint, 'hint')
