import pytest

from xlearner_mm.errors import ConfigError

from ..tiny_runner import logged, tiny_runner

HOOK = dict(type='SourceEpochHook')


def test_every_source_has_its_own_epochs(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK], max_iters=6)
    runner.train()
    # 2 of 8 images a step, logged after steps 2, 4 and 6
    assert logged(runner)['source_epoch/boxes'] == [0.5, 1.0, 1.5]


def test_a_sampler_without_sources_is_refused(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK])
    runner._train_dataloader['sampler'] = dict(type='InfiniteSampler')
    with pytest.raises(ConfigError, match='SourceEpochHook.*MultiSourceSampler.*InfiniteSampler'):
        runner.train()
