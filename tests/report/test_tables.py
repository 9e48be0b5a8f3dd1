"""A table of cells in its forms."""

import io

from rich.console import Console

from xlearner_mm.report.tables import Table, csv_text, markdown, print_table

TABLE = Table(['method', 'AP'], [['x', '40.0'], ['y [a|b]', '-']], frozenset({(0, 1)}), frozenset({1}))


def test_markdown_has_the_best_in_bold_and_the_faint_in_italics():
    assert markdown(TABLE).splitlines() == [
        '| method | AP |',
        '| --- | ---: |',
        '| x | **40.0** |',
        r'| *y [a\|b]* | - |',
    ]


def test_marks_of_the_slides_are_not_emphasis():
    assert markdown(Table(['m'], [['77.1*']])).splitlines()[-1] == r'| 77.1\* |'


def test_csv_quotes_values_and_leaves_unknown_ones_empty():
    assert csv_text([['a', 'b'], ['x, y', None], ['z', 1.5]]) == 'a,b\n"x, y",\nz,1.5\n'


def test_files_get_unwrapped_lines_and_names_are_not_markup():
    out = io.StringIO()
    print_table(Table(['method', 'AP'], [['long ' * 30 + '[bold]', '40.0']]), 'title', Console(file=out, width=40))
    assert 'long ' * 30 + '[bold] │ 40.0' in out.getvalue()


def test_a_terminal_gets_every_letter_within_its_width():
    out = io.StringIO()
    console = Console(file=out, width=30, force_terminal=True, color_system=None)
    print_table(Table(['method', 'AP'], [['abcdefghij' * 5, '40.0']]), 'title', console)
    assert max(map(len, out.getvalue().splitlines())) <= 30
    assert out.getvalue().count('j') == 5
