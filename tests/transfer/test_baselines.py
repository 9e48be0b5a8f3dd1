"""Configs of baselines: published checkpoints as rows of the suite."""

from pathlib import Path

import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.transfer.suite import Baseline

FOLDER = Path(__file__).parents[2] / 'configs' / 'transfer' / 'baselines'
CONFIGS = sorted(FOLDER.glob('*.py'))


def written(tmp_path, **settings):
    config = tmp_path / 'baseline.py'
    config.write_text(''.join(f'{name} = {value!r}\n' for name, value in settings.items()))
    return config


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_each_tool_documents_its_usage_with_an_existing_config(config, tmp_path, monkeypatch):
    text = config.read_text()
    assert text.startswith('# ')
    assert f'python tools/transfer.py configs/transfer/baselines/{config.name} --suite paper' in text
    with pytest.raises(ConfigError, match=r'no checkpoints/\S+: .*published file'):
        Baseline.read(config)
    monkeypatch.chdir(tmp_path)
    named = Path(text.partition("checkpoint = '")[2].partition("'")[0])
    named.parent.mkdir()
    named.touch()
    baseline = Baseline.read(config)
    assert baseline.checkpoint == str(named)
    assert baseline.name


def test_rows_have_names_of_their_own():
    names = [path.read_text().partition("name = '")[2].partition("'")[0] for path in CONFIGS]
    assert len(set(names)) == len(names) == 6


def test_the_readme_lists_every_baseline():
    text = (FOLDER.parent / 'README.md').read_text()
    assert all(path.name in text for path in CONFIGS)


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="unknown setting 'chekpoint'.*'checkpoint'"):
        Baseline.read(written(tmp_path, chekpoint='a.pth', name='a'))


def test_a_missing_setting_is_named(tmp_path):
    with pytest.raises(ConfigError, match='checkpoint and name'):
        Baseline.read(written(tmp_path, paper=[]))


def test_a_row_that_the_slides_do_not_have_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no row 'SimCLRv2'"):
        Baseline.read(written(tmp_path, checkpoint='a.pth', name='a', paper=['SimCLRv2']))
