"""The files of all heads and devices are configs that build."""

import pytest

from tests.pretraining.conftest import CPU, GPU, a_layout
from xlearner_mm.config.options import read_config
from xlearner_mm.config.unknown_setting import refuse_misspelled
from xlearner_mm.pretraining.choices import Backbone, choose_batch_size, choose_network, choose_size
from xlearner_mm.pretraining.lengths import Lengths
from xlearner_mm.pretraining.source_file import source_choices, source_text
from xlearner_mm.pretraining.stage_files import expansion_choices, expansion_text, squeeze_choices, squeeze_text
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import parse_sources, with_sources

NARROW = Backbone(18, 8)


def write(out, layouts, device, steps=100):
    (out / 'sources').mkdir()
    for layout in layouts:
        size = choose_size(layout, device)
        network = choose_network(layout, device, NARROW, size.value, steps)
        choices = [size, choose_batch_size(layout, device, size.value), *source_choices(layout), network]
        (out / f'sources/{layout.name}.py').write_text(source_text(layout, choices, 1))
    tasks, lengths = list(dict.fromkeys(layout.task for layout in layouts)), Lengths(steps, steps, 'a reason')
    chosen = expansion_choices(tasks, NARROW, 'a reason', device, lengths, 1, 3)
    (out / 'expansion.py').write_text(expansion_text(layouts, chosen, out))
    chosen = squeeze_choices(tasks, NARROW, device, lengths)
    (out / 'squeeze.py').write_text(squeeze_text([layout.name for layout in layouts], chosen, out))


@pytest.mark.parametrize('device', [CPU, GPU], ids=lambda device: device.kind)
def test_both_stages_are_configs_without_misspelled_settings(tmp_path, device):
    crowd = a_layout('det', short=600, per_image=40, name='crowd')
    layouts = [a_layout('cls', short=300), a_layout('det', short=600), crowd, a_layout('seg', short=600)]
    write(tmp_path, layouts, device)
    for stage in ('expansion', 'squeeze'):
        cfg = read_config(str(tmp_path / f'{stage}.py'))
        refuse_misspelled(cfg)
        assert list(parse_sources(cfg.sources)) == ['my_cls', 'my_det', 'crowd', 'my_seg']
        assert cfg.work_dir == str(tmp_path / 'stages' / stage)
        assert cfg.randomness.seed == 3
        half = cfg.optim_wrapper.type == 'AmpOptimWrapper'
        assert half == (device is GPU)
    learner = MODELS.build(with_sources(read_config(str(tmp_path / 'expansion.py')))['model'])
    assert list(learner.backbone.branches) == ['cls', 'det', 'seg']
    kinds = {name: type(network).__name__ for name, network in learner.networks.items()}
    assert kinds['crowd'] == ('FasterRCNN' if device is GPU else 'ATSS')


def test_a_squeeze_starts_as_the_first_branch_and_reads_the_expansion(tmp_path):
    write(tmp_path, [a_layout('det'), a_layout('seg')], CPU)
    model = read_config(str(tmp_path / 'squeeze.py')).model
    assert model.start_from == 'det'
    assert model.teacher.checkpoint == str(tmp_path / 'stages/expansion')
    assert model.student == model.teacher.model.backbone.branches.det


def test_a_source_may_be_called_as_a_setting_is(tmp_path):
    write(tmp_path, [a_layout('cls', name='model'), a_layout('cls', name='lr')], CPU)
    cfg = read_config(str(tmp_path / 'expansion.py'))
    assert list(cfg.sources) == ['model', 'lr']
    assert cfg.model.type == 'ExpansionLearner'
    assert cfg.model.backbone.reconciliation.topology == 'none', 'one task has one branch'
