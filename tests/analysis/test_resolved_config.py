"""A config as a training gets it: complete, and itself a config of the same training."""

from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from mmengine.config import Config

from xlearner_mm.analysis.resolved_config import resolve
from xlearner_mm.config.options import load_config
from xlearner_mm.engine import runner as runner_module
from xlearner_mm.sources import parse_sources, with_sources

CONFIGS = Path(__file__).parents[2] / 'configs'
EXPANSION = str(CONFIGS / 'mini/xlearner_r18_expansion.py')


def loaded(config, *options):
    return load_config(str(CONFIGS / config), None, options, 'none')


def at(settings, path):
    return reduce(getitem, path.split('.'), settings)


class Handed(Exception):
    """Ends the building of a runner with the settings that it was handed."""


def handed_to_the_runner(cfg, monkeypatch):
    """Return the settings that MMEngine's runner is built from by ``XLearnerRunner.from_cfg``."""

    def stop(self, model, *args, **kwargs):
        raise Handed({**kwargs, 'model': model})

    monkeypatch.setattr(runner_module.ResumableRunner, '__init__', stop)
    with pytest.raises(Exception) as ended:  # noqa: PT011 - in one line, with its cause
        runner_module.XLearnerRunner.from_cfg(cfg)
    return ended.value.__cause__.args[0]


@pytest.mark.parametrize(
    ('config', 'learner'),
    [('mini/xlearner_r18_expansion.py', 'model'), ('mini/xlearner_r18_squeeze.py', 'model.teacher.model')],
)
def test_components_have_the_sources_that_the_runner_hands_to_them(config, learner, monkeypatch):
    cfg = loaded(config)
    resolved = resolve(cfg)
    handed = handed_to_the_runner(cfg, monkeypatch)
    assert 'sources' not in resolved
    for path in (learner, 'val_evaluator', 'train_dataloader.dataset'):
        assert parse_sources(at(resolved, path)['sources']) == at(handed, path)['sources'], path
    assert resolved['train_dataloader']['batch_size'] == handed['train_dataloader']['batch_size'] == 104


def test_a_step_of_a_transfer_is_shared_by_its_processes(monkeypatch):
    cfg = loaded('transfer/det/det_coco.py')
    resolved = resolve(cfg)
    handed = handed_to_the_runner(cfg, monkeypatch)
    for name in ('train_dataloader', 'optim_wrapper', 'train_cfg', 'param_scheduler'):
        assert resolved[name] == handed[name], name
    assert resolve(cfg, world_size=2)['images_per_step']['processes'] == 2
    assert cfg.images_per_step == 16, 'the config itself is left unchanged'


def test_what_is_printed_is_a_config_of_the_same_training(run_tool, tmp_path):
    status, text, _ = run_tool('print_config.py', EXPANSION, '--cfg-options', 'sources.digits.batch_size=7')
    assert status == 0
    (tmp_path / 'printed.py').write_text(text)
    printed = Config.fromfile(tmp_path / 'printed.py').to_dict()
    assert printed == resolve(loaded(EXPANSION, 'sources.digits.batch_size=7'))
    assert printed['model']['sources']['digits']['batch_size'] == 7
    assert with_sources(printed) == printed, 'the runner adds nothing'


def test_raw_is_the_config_with_its_bases_and_options(run_tool, tmp_path):
    status, text, _ = run_tool('print_config.py', EXPANSION, '--raw', '--cfg-options', 'train_cfg.max_iters=3')
    assert status == 0
    (tmp_path / 'printed.py').write_text(text)
    assert Config.fromfile(tmp_path / 'printed.py').to_dict() == loaded(EXPANSION, 'train_cfg.max_iters=3').to_dict()


def test_bad_input_ends_in_one_line(run_tool):
    status, _, errors = run_tool('print_config.py', EXPANSION, '--cfg-options', 'sources.digits.batch_size=0')
    assert status == 1
    assert errors.startswith("error: source 'digits': batch_size")
    assert errors.count('\n') == 1
