"""The picture of a report: panels and their content."""

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from xlearner_mm.report.figure import Panel, draw_panel, draw_rows, height_of, panel_lines, row_colors
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.rows import RowProtocol, make_row, make_score

CLS = [f'set{number}' for number in range(10)]


def row(name, cls=CLS, value=50.0, coco=None, **protocol):
    transfer = {key: make_score('cls', 'accuracy/top1', value) for key in cls}
    transfer['voc'] = make_score('det', 'pascal_voc/AP50', value)
    if coco is not None:
        transfer['coco'] = make_score('det', 'coco/bbox_mAP', coco, extra=True)
    return make_row(name, transfer, protocol=RowProtocol(**protocol))


def titles(rows):
    return [[panel.title for panel in line] for line in panel_lines(rows)]


class TestPanels:
    def test_tasks_stand_first_then_five_sets_a_line(self):
        assert titles([row('x')]) == [['Classification', 'Detection'], CLS[:5], CLS[5:]]

    def test_a_task_of_one_set_has_one_panel_that_names_it(self):
        (line,) = panel_lines([row('x', cls=['cars'])])
        assert line == [
            Panel('avg_cls', 'Classification', 'AVG Cls, cars'),
            Panel('det_ap50', 'Detection', 'AP50, voc'),
        ]

    def test_an_extra_set_has_its_own_column_and_metric(self):
        (line,) = panel_lines([row('x', cls=['cars'], coco=40.0)])
        assert line[-1] == Panel('coco', 'coco', 'det, AP')

    def test_a_task_that_only_the_paper_has_gets_its_panel(self):
        assert titles([row('x', cls=['cars']), *paper_rows()]) == [['Classification', 'Detection', 'Segmentation']]


class TestPanel:
    @pytest.fixture
    def drawn(self):
        def draw(rows, column, chance=None):
            axes = Figure().subplots()
            draw_panel(axes, Panel(column, 'title', 'metric'), rows, row_colors(rows), chance)
            return axes

        return draw

    def test_every_row_has_its_number_and_the_best_is_bold(self, drawn):
        axes = drawn([*paper_rows(['X-Learner']), row('x', value=[40.0, 60.0]), row('y', value=70.0)], 'avg_cls')
        numbers = {text.get_text(): text.get_weight() for text in axes.texts}
        del numbers['metric']
        assert numbers == {'77.1': 'normal', '50.0 ± 14.1': 'normal', '70.0': 'bold'}

    def test_a_missing_value_is_a_dash_without_a_dot(self, drawn):
        axes = drawn([row('x', coco=[]), row('y', coco=40.0), row('z', coco=44.0)], 'coco')
        assert [text.get_text() for text in axes.texts][:3] == ['-', '40.0', '44.0']
        assert len(axes.containers) == 2

    def test_the_papers_dots_are_hollow_and_gray(self, drawn):
        rows = [*paper_rows(['X-Learner']), row('x')]
        paper, ours = (container[0] for container in drawn(rows, 'avg_cls').containers)
        assert paper.get_markerfacecolor() == 'white'
        assert ours.get_markerfacecolor() == ours.get_color() != paper.get_color()

    def test_all_dots_and_the_chance_lie_within_the_axis(self, drawn):
        axes = drawn([row('x', value=[20.0, 60.0]), row('y', value=90.0)], 'set0', chance=10.0)
        left, right = axes.get_xlim()
        assert left < 10
        assert right > 90
        assert max(axes.get_xticks()) <= 100

    def test_a_single_value_is_drawn_on_the_whole_scale(self, drawn):
        assert list(drawn([row('x', value=77.7)], 'set0').get_xticks()) == [0, 50, 100]

    def test_axes_do_not_zoom_into_tiny_differences(self, drawn):
        left, right = drawn([row('x', value=50.0), row('y', value=50.1)], 'set0').get_xlim()
        assert right - left > 2


def test_a_method_keeps_its_color_under_every_protocol():
    rows = [row('x', frozen=True), row('x', frozen=False), row('y', frozen=True)]
    first, second, other = (row_colors(rows)[entry.method] for entry in rows)
    assert first == second != other


def test_twelve_rows_of_two_protocols_fit_with_the_papers():
    rows = [*paper_rows(), *(row(f'm{number}', frozen=bool(number % 2), seeds=1) for number in range(12))]
    figure = Figure(figsize=(13, height_of(rows)), layout='constrained')
    part = figure.subfigures(1, 1)
    draw_rows(part, rows, {})
    figure.draw_without_rendering()
    named = [axes for axes in figure.axes if axes.get_yticklabels() and axes.get_yticklabels()[0].get_text()]
    for axes in named:
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(not one.overlaps(other) for one, other in pairwise(boxes))
