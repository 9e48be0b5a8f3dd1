"""Inspection of images: each file is read once, by its loader."""

import builtins
from collections import Counter
from pathlib import Path

import pytest
from mmengine.fileio import LocalBackend, register_backend

from tests.datasets.small_sources import FORMS
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.errors import SourceError

READ = Counter()


@register_backend('counting')
class CountingBackend(LocalBackend):
    """Counts how often a file is read."""

    def get(self, filepath):
        READ[Path(filepath).name] += 1
        return super().get(filepath)


def source_of(form, folder, backend_args):
    source = FORMS[form](folder)
    for step in source['dataset']['pipeline']:
        if step['type'].startswith('Load'):
            step['backend_args'] = backend_args
    return source


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('remote', [True, False])
def test_every_file_is_read_once(tmp_path, form, remote, monkeypatch):
    source = source_of(form, tmp_path, dict(backend='counting') if remote else None)
    dataset = MultiSourceDataset({'pets': source})
    if not remote:
        plain = builtins.open
        monkeypatch.setattr(
            builtins, 'open', lambda *args, **kw: READ.update([Path(args[0]).name]) or plain(*args, **kw)
        )
    READ.clear()
    sample = dataset[0]['data']['data_samples']
    paths = [sample.img_path, *([sample.seg_map_path] if source['task'] == 'seg' else [])]
    assert Counter(Path(path).name for path in paths) == READ


def test_a_changed_file_is_read_again(tmp_path):
    dataset = MultiSourceDataset({'pets': FORMS['class_folders'](tmp_path)})
    path = Path(dataset[0]['data']['data_samples'].img_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    with pytest.raises(SourceError, match='is truncated'):
        dataset[0]
    path.write_bytes(content)
    assert dataset[0]['data']['inputs'].numel() > 0
