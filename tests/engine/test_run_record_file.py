import json

import pytest

from xlearner_mm.engine.run_record import RECORD, add_start, read_starts
from xlearner_mm.errors import ConfigError

FIRST = dict(time='1', command='train', iteration=0, versions=dict(torch='2.11'), data=dict(birds=dict(images=8)))


def test_every_start_is_kept_in_order(tmp_path):
    assert read_starts(tmp_path) == []
    assert add_start(tmp_path, FIRST) == []
    add_start(tmp_path, dict(FIRST, iteration=4))
    assert [start['iteration'] for start in read_starts(tmp_path)] == [0, 4]
    assert json.loads((tmp_path / RECORD).read_text())['starts'][0] == FIRST


def test_what_differs_from_the_start_before_is_named(tmp_path):
    add_start(tmp_path, FIRST)
    assert add_start(tmp_path, dict(FIRST, time='2', command='train --resume', iteration=4)) == []
    again = dict(FIRST, versions=dict(torch='2.12'), data=dict(birds=dict(images=9), cars=dict(images=3)))
    assert add_start(tmp_path, again) == ['versions.torch', 'data.birds.images', 'data.cars']


@pytest.mark.parametrize('content', ['', '{"starts":', '[]', '{}'])
def test_a_damaged_record_is_named_and_left_alone(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(ConfigError, match='run.json is damaged .*move it away'):
        add_start(tmp_path, FIRST)
    assert (tmp_path / RECORD).read_text() == content
