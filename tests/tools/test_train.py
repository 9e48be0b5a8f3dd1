"""Options of tools/train.py that would have no effect are refused."""

import sys

import pytest

from tools.train import parse_args

OPTIONS = [['--world-size', '8'], ['--flops-per-second', '1e12'], ['--utilization', '0.5'], ['--json', 'figures.json']]


@pytest.mark.parametrize('words', OPTIONS)
def test_options_of_a_dry_run_need_one(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py', *words])
    with pytest.raises(SystemExit, match='2'):
        parse_args()
    assert f'{words[0]} is for --dry-run alone' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py', '--dry-run', *words])
    assert parse_args().dry_run
