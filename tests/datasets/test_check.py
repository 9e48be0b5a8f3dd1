"""The check of sources names what is missing or broken before a job starts."""

import json
from pathlib import Path

import pytest
from PIL import Image

from xlearner_mm.datasets.check_report import check_config
from xlearner_mm.testing.fixtures import write_fixtures

BASES = Path(__file__).parents[2] / 'configs' / '_base_'
SOURCES = ('places365', 'coco', 'ade20k')
CONFIG = f"""
_base_ = {[str(BASES / 'sources' / f'{source}.py') for source in SOURCES]}
sources = dict({', '.join(f'{source}=_base_.{source}' for source in SOURCES)})
model = dict(sources=sources)
train_dataloader = dict(dataset=dict(sources=sources))
val_dataloader = dict(sources=sources)
"""
JPEG = 'data/coco/train2017/000000000002.jpg'


@pytest.fixture
def data(tmp_path, monkeypatch):
    write_fixtures(tmp_path / 'data', SOURCES)
    (tmp_path / 'config.py').write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('COLUMNS', '120')
    return tmp_path / 'data'


def check(*options, config='config.py', **kwargs):
    return check_config(str(config), options=options, **kwargs)


def test_good_sources_are_a_table_and_a_contact_sheet(data, capfd):
    assert check(sheet='sheets/sheet.png') == 0
    out, err = capfd.readouterr()
    assert 'error' not in err
    for source in SOURCES:
        (train, val) = [line for line in out.splitlines() if f' {source} ' in line]
        assert ' train ' in train
        assert ' val ' in val
        assert '96x72' in train
    assert '365' in out
    with Image.open('sheets/sheet.png') as sheet:
        assert sheet.height % len(SOURCES) == 0
        assert len(sheet.getcolors(1 << 24)) > 1000, 'pictures are drawn'


def test_a_missing_and_a_truncated_file_are_named_with_their_sources(data, capfd):
    Path('data/places365/val_256/Places365_val_00000002.jpg').unlink()
    content = Path(JPEG).read_bytes()
    Path(JPEG).write_bytes(content[: len(content) // 2])
    assert check(sheet='sheet.png') == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 2
    assert lines[0].endswith(
        "source 'places365' (val): data/places365/val_256/Places365_val_00000002.jpg: does not exist"
    )
    assert f"source 'coco' (train): {JPEG}: cannot be read" in lines[1]


def test_a_missing_label_map_is_named(data, capfd):
    path = Path('data/ade/ADEChallengeData2016/annotations/training/ADE_train_00000001.png')
    path.unlink()
    assert check() == 1
    assert f"source 'ade20k' (train): {path}: does not exist" in capfd.readouterr().err


def test_a_missing_annotation_file_does_not_hide_the_other_sources(data, capfd):
    Path('data/coco/annotations/instances_train2017.json').unlink()
    assert check() == 1
    out, err = capfd.readouterr()
    assert "source 'coco' (train): its dataset: " in err
    assert 'instances_train2017.json' in err
    assert 'places365' in out


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'model.sources.ade20k.network.decode_head.num_classes=151',
            "source 'ade20k' (train): network.decode_head.num_classes: is 151, but the dataset has 150 classes",
        ),
        ('train_dataloader.dataset.sources.coco.dataset.data_root=data/no', "source 'coco' (train): its dataset: "),
        ('val_dataloader.sources.coco.val_dataloader.dataset.data_root=data/no', "source 'coco' (val): its dataset: "),
    ],
)
def test_settings_are_those_of_the_component_that_reads_them(data, capfd, option, message):
    assert check(option) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert message in errors[0]


def test_samples_are_spread_over_the_split(data, capfd):
    Path(JPEG).unlink()
    assert check(samples=2) == 0, 'the first and the last were opened'
    assert check(samples=None) == 1


def test_a_config_without_sources_is_refused(data, capfd):
    assert check(config=BASES / 'default_runtime.py') == 1
    assert 'has no train_dataloader.dataset.sources' in capfd.readouterr().err


def test_labels_that_do_not_fit_their_pictures_are_found_beside_files_that_cannot_be_read(data, capfd):
    path = Path('data/coco/annotations/instances_train2017.json')
    content = json.loads(path.read_text())
    content['images'][1]['width'] = 500
    path.write_text(json.dumps(content))
    unreadable = JPEG.replace('2.jpg', '1.jpg')
    Path(unreadable).write_bytes(b'no picture')
    assert check() == 1
    first, second = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert f"source 'coco' (train): {unreadable}: cannot be read" in first
    assert f"source 'coco' (train): {JPEG}: is of 96 x 72 pixels, but annotated as 500 x 72" in second


def test_annotations_of_which_none_can_be_read_are_told_without_a_setting_that_nobody_made(data, capfd):
    path = Path('data/coco/annotations/instances_train2017.json')
    content = json.loads(path.read_text())
    for found in content['annotations']:
        found['bbox'] = [10, 10, -5, 8]
    path.write_text(json.dumps(content))
    assert check() == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert "source 'coco' (train): its dataset: " in line
    assert 'none of its' in line
    assert 'max_share' not in line
