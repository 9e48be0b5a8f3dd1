import json

import pytest

from xlearner_mm.report.results import ResultError
from xlearner_mm.visualization.squeeze_curves import read_squeeze, save_squeeze_curves


@pytest.fixture
def log(tmp_path):
    def write(*records):
        folder = tmp_path / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))
        return tmp_path

    return write


def losses(step, **more):
    return {'step': step, 'loss': 3.0, 'loss_cls_0': 1.0 / step, 'loss_det_birds_3': 2.0 / step, **more}


def test_losses_are_by_teacher_and_level(log):
    curves = read_squeeze(log(losses(1), losses(2)))
    assert curves.losses == {'cls': {0: [(1, 1.0), (2, 0.5)]}, 'det_birds': {3: [(1, 2.0), (2, 1.0)]}}
    assert (curves.similarities, curves.fidelity) == ({}, {})


def test_similarities_are_where_they_were_measured_and_fidelity_at_validations(log):
    folder = log(
        losses(1),
        losses(2, **{'similarity/cls_0': 0.5, 'similarity/det_birds_3': 0.25}),
        {'digits/accuracy/top1': 80.0, 'digits/fidelity': 95.0, 'sources/fidelity': 90.0, 'step': 2},
    )
    curves = read_squeeze(folder)
    assert curves.similarities == {'cls': {0: [(2, 0.5)]}, 'det_birds': {3: [(2, 0.25)]}}
    assert curves.fidelity == {'digits': [(2, 95.0)], 'sources': [(2, 90.0)]}


def test_other_trainings_are_refused(log):
    folder = log({'step': 1, 'loss': 1.0, 'digits.loss': 1.0})
    with pytest.raises(ResultError, match=r'no loss_<branch>_<level>: .*squeeze'):
        read_squeeze(folder)


def test_the_figure_has_a_panel_for_every_logged_value(log, tmp_path):
    folder = log(losses(1, **{'similarity/cls_0': 0.5}), losses(2), {'digits/fidelity': 95.0, 'step': 2})
    curves = read_squeeze(folder)
    sizes = []
    for number in range(2):
        save_squeeze_curves(curves, tmp_path / f'{number}.png')
        sizes.append(_height(tmp_path / f'{number}.png'))
        curves.similarities.clear()
        curves.fidelity.clear()
    assert sizes[0] > 2.5 * sizes[1]


def test_the_command_draws(log, tmp_path, run_tool):
    _, output, errors = run_tool('visualize_squeeze.py', log(losses(1), losses(2)), '--out', tmp_path / 'drawn.png')
    assert 'drawn.png: losses\n' in output, errors
    assert (tmp_path / 'drawn.png').read_bytes().startswith(b'\x89PNG')


def _height(path):
    return int.from_bytes(path.read_bytes()[20:24], 'big')
