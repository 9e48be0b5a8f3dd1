"""check_sources names missing and broken data before a job starts."""

import io
import json
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.mutations import mutated
from tests.datasets.small_sources import FORMS, class_folders, coco, label_maps, turned, voc, write_coco
from tests.fixtures import write_fixtures
from xlearner_mm.analysis.check_sources import check_config, check_source, save_contact_sheet
from xlearner_mm.sources import parse_sources

BASES = Path(__file__).parents[2] / 'configs' / '_base_'
SOURCES = ('places365', 'coco', 'ade20k')
CONFIG = f"""
_base_ = {[str(BASES / 'sources' / f'{source}.py') for source in SOURCES]}
sources = dict({', '.join(f'{source}=_base_.{source}' for source in SOURCES)})
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
            'sources.ade20k.network.decode_head.num_classes=151',
            "source 'ade20k' (train): network.decode_head.num_classes: is 151, but the dataset has 150 classes",
        ),
        ('sources.coco.dataset.data_root=data/no', "source 'coco' (train): its dataset: "),
        ('sources.coco.val_dataloader.dataset.data_root=data/no', "source 'coco' (val): its dataset: "),
    ],
)
def test_changed_settings_are_checked(data, capfd, option, message):
    assert check(option) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert message in errors[0]


def test_samples_are_spread_over_the_split(data, capfd):
    Path(JPEG).unlink()
    assert check(samples=2) == 0, 'the first and the last were opened'
    assert check(samples=None) == 1


def test_a_config_without_sources_is_refused(data, capfd):
    assert check(config=BASES / 'default_runtime.py') == 1
    assert 'default_runtime.py has no sources' in capfd.readouterr().err


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


def test_unreadable_annotations_are_reported_without_default_settings(data, capfd):
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


def reports_of(source, samples=None):
    (parsed,) = parse_sources({'pets': source}).values()
    return check_source(parsed, samples)


def problems_of(source):
    return [str(problem) for report in reports_of(source) for problem in report.problems]


def png(pixels, **settings):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', **settings)
    return buffer.getvalue()


def test_an_image_above_pillows_limit_is_read_as_in_training(tmp_path, monkeypatch):
    source = class_folders(tmp_path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    (report,) = reports_of(source)
    assert report.problems == []
    assert len(report.sizes) == 6
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_sizes_are_those_of_images_as_they_are_loaded(tmp_path):
    source = class_folders(tmp_path)
    turned(tmp_path / 'train/cat/turned.jpg', orientation=6, size=(90, 70))
    (report,) = reports_of(source)
    assert (70, 90) in report.sizes


def test_an_image_above_opencvs_limit_is_a_problem_of_that_image(tmp_path):
    source = class_folders(tmp_path)
    content = bytearray(png(np.zeros((2, 2), np.uint8)))
    content[16:24] = (40_000).to_bytes(4, 'big') * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    (tmp_path / 'train' / 'cat' / 'huge.png').write_bytes(content)
    (problem,) = problems_of(source)
    assert 'huge.png: is of 40000 x 40000 pixels, more than OpenCV reads' in problem


def make_pipe(path):
    os.mkfifo(path)


def make_folder(path):
    path.mkdir()


def make_link(path):
    path.symlink_to('nowhere.jpg')


ODD = {
    'is no file, but a folder, a pipe or a device': make_pipe,
    'is no file, but a folder': make_folder,
    'is a link to nowhere.jpg, which does not exist': make_link,
    'cannot be read (0 bytes)': lambda path: path.touch(),
    'cannot be read (9 bytes)': lambda path: path.write_bytes(b'GIF89a\0\0\0'),
}


@pytest.mark.parametrize('told', ODD)
@pytest.mark.parametrize('name', ['odd.jpg', os.fsdecode(b'odd\xff.jpg'), 'o d [red].jpg'])
def test_any_unreadable_file_with_an_image_name_is_a_problem_of_that_file(tmp_path, told, name):
    source = class_folders(tmp_path)
    (tmp_path / 'train.txt').write_text('')
    ODD[told](tmp_path / 'train' / 'cat' / name)
    listed = ['cat/0.jpg 0', f'cat/{name} 0', 'dog/1.jpg 1']
    (tmp_path / 'list.json').write_text(
        json.dumps(
            dict(
                metainfo=dict(classes=['cat', 'dog']),
                data_list=[dict(img_path=line[:-2], gt_label=int(line[-1])) for line in listed],
            )
        )
    )
    source['dataset'].update(type='BaseDataset', ann_file='list.json')
    (problem,) = problems_of(source)
    assert told in problem
    assert f'{tmp_path}/train/cat/{name}' in problem
    save_contact_sheet(tmp_path / 'sheet.png', reports_of(source))


@pytest.mark.parametrize('name', ['a\0b.jpg', 'a' * 300 + '.jpg', '\ud800.jpg', 5])
def test_impossible_file_names_are_problems(tmp_path, name):
    source = class_folders(tmp_path)
    listed = [dict(img_path=each, gt_label=0) for each in ('cat/0.jpg', name)]
    (tmp_path / 'list.json').write_text(json.dumps(dict(metainfo={}, data_list=listed)))
    source['dataset'].update(type='BaseDataset', ann_file='list.json')
    assert len(problems_of(source)) == 1


@pytest.mark.parametrize('content', ['[' * 100_000, '9' * 5000, '{"images": 3}', '\0', '"' * 9])
def test_annotations_that_crash_a_reader_are_a_problem_of_the_dataset(tmp_path, content):
    source = coco(tmp_path)
    (tmp_path / 'train.json').write_text(content)
    (problem,) = problems_of(source)
    assert 'its dataset: ' in problem
    assert 'train.json' in problem


def test_boxes_that_cannot_be_drawn_do_not_end_the_sheet(tmp_path):
    source = voc(tmp_path)
    path = tmp_path / 'Annotations' / '0.xml'
    path.write_text(path.read_text().replace('<xmax>60', '<xmax>5'))
    reports = reports_of(source)
    assert ['a box of no area' in str(problem) for problem in reports[0].problems] == [True]
    save_contact_sheet(tmp_path / 'sheet.png', reports)


@pytest.mark.parametrize(('color_type', 'shown'), [('color', (72, 96)), ('color_ignore_orientation', (96, 72))])
def test_the_sheet_shows_pictures_as_they_are_loaded(tmp_path, color_type, shown):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'][0]['color_type'] = color_type
    for path in (tmp_path / 'train').rglob('*.jpg'):
        turned(path, 6)
    save_contact_sheet(tmp_path / 'sheet.png', reports_of(source)[:1])
    with Image.open(tmp_path / 'sheet.png') as sheet:
        tile = np.asarray(sheet.convert('L'))[16:172, 2:158]  # a picture is scaled to 156 pixels from its corner
    assert (tile[10, 140] > 250, tile[140, 10] > 250) == (shown[0] < shown[1], shown[0] > shown[1])


def test_damaged_files_of_every_form_are_problems_and_no_tracebacks(tmp_path):
    generator = random.Random(0)
    for form in FORMS:
        source = FORMS[form](tmp_path / form)
        files = sorted(path for path in (tmp_path / form).rglob('*') if path.is_file())
        for _ in range(6):
            path = generator.choice(files)
            valid = path.read_bytes()
            path.write_bytes(mutated(valid, generator))
            save_contact_sheet(tmp_path / 'sheet.png', reports_of(source))
            path.write_bytes(valid)
        assert problems_of(source) == []


def test_masks_of_0_and_255_are_a_problem_and_a_class_that_is_rare_a_note(tmp_path):
    source = label_maps(tmp_path)
    for path in (tmp_path / 'maps').iterdir():
        path.write_bytes(png(np.resize(np.array([0, 255], np.uint8), (72, 96))))
    (report,) = reports_of(source)
    assert ["hold only class 'a' beside 255" in str(problem) for problem in report.problems] == [True]
    for path in (tmp_path / 'maps').iterdir():
        path.write_bytes(png(np.resize(np.array([0, 1, 3], np.uint8), (72, 96))))
    (report,) = reports_of(source)
    assert report.problems == []
    assert ['do not hold 1 of the 4 classes: c' in note for note in report.notes] == [True]


def with_validation(source, evaluator, **settings):
    loader = dict(batch_size=1, dataset=source['dataset'] | dict(test_mode=True) | settings)
    return source | dict(val_dataloader=loader, val_evaluator=evaluator)


def test_unmeasurable_annotations_are_a_problem_of_the_validation(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, lambda content: content['annotations'][0].update(iscrowd=None))
    metric = dict(_scope_='mmdet', type='CocoMetric', ann_file=str(tmp_path / 'train.json'))
    (problem,) = problems_of(with_validation(source, metric))
    assert problem.startswith("source 'pets' (val): its dataset: its val_evaluator CocoMetric cannot measure by")
    assert 'has iscrowd=None' in problem


def test_other_classes_in_the_validation_are_a_problem(tmp_path):
    source = label_maps(tmp_path)
    metric = dict(_scope_='mmseg', type='IoUMetric')
    (problem,) = problems_of(with_validation(source, metric, metainfo=dict(classes=list('bacd'))))
    assert "(val): its dataset: label 0 is 'a' in" in problem
