"""The notebook runs from labeled folders to features, and shows what it printed."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / 'docs' / 'quickstart.ipynb'


def outputs_of(notebook):
    """Return text of the outputs of each code cell."""
    return [
        ''.join(output.get('text', '') or str(output.get('data', '')) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == 'code'
    ]


def test_the_committed_notebook_shows_its_outputs():
    outputs = outputs_of(nbformat.read(NOTEBOOK, 4))
    assert 'numbers' in outputs[1]
    assert 'LinearClsHead' in outputs[2]
    assert 'XLearnerResNet' in outputs[3]
    assert 'image/png' in outputs[4]


@pytest.mark.slow
def test_it_runs_from_folders_to_features(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=1500, resources={'metadata': {'path': str(tmp_path)}}).execute()
    assert (tmp_path / 'quickstart' / 'out' / 'backbone.pth').is_file()
    assert outputs_of(notebook)[-1] == '(16, 32, 64, 128) torch.Size([4, 128])\n'
