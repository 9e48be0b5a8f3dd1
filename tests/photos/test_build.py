"""Sets of XL-Photo are complete and of one version, or refused with the command that makes them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import partial

import pytest

from tests.photos import repositories
from xlearner_mm.errors import ConfigError
from xlearner_mm.photos import CATALOG, build, check_photos, check_photos_of, clone_commands, folders, make_photos

TINY = {
    'signs': replace(CATALOG['signs'], images={'train': 4, 'val': 2}, convert=partial(folders.convert_signs, train=2))
}


@pytest.fixture
def made(tmp_path):
    repositories.hand_signs(tmp_path / 'raw')
    make_photos(tmp_path / 'raw', tmp_path / 'out', catalog=TINY)
    return tmp_path


def test_a_complete_set_is_kept(made):
    lines = []
    make_photos(made / 'no clone is needed', made / 'out', report=lines.append, catalog=TINY)
    assert lines == ['[1/1] signs (source, cls): 4 train, 2 val: kept']
    check_photos(made / 'out', catalog=TINY)


def test_a_set_without_a_marker_is_accepted_when_its_files_are_all_there(made):
    (made / 'out/source/signs/xl_photo.json').unlink()
    check_photos(made / 'out', catalog=TINY)


def test_a_missing_set_is_named_with_the_command_that_writes_it(tmp_path):
    command = rf'python tools/make_photos\.py \S+ {tmp_path} --only signs --clone makes it'
    with pytest.raises(ConfigError, match=f'signs.*missing; {command}'):
        check_photos(tmp_path, catalog=TINY)


def test_a_half_converted_set_is_counted(made):
    next((made / 'out/source/signs/train/0').iterdir()).unlink()
    with pytest.raises(ConfigError, match=r'signs.*train.*3 images.*4.*tools/make_photos\.py'):
        check_photos(made / 'out', catalog=TINY)


def test_a_set_without_its_annotations_is_refused(made):
    catalog = {'signs': replace(TINY['signs'], lists={'annotations/train.json': 2})}
    with pytest.raises(ConfigError, match=r'signs.*annotations/train\.json is missing.*tools/make_photos\.py'):
        check_photos(made / 'out', catalog=catalog)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('train.json', '', r'train\.json is damaged \(JSONDecodeError'),
        ('train.json', '{"images": [{"id": 1}, ', r'train\.json is damaged \(JSONDecodeError'),
        ('train.json', '[]', r'train\.json is damaged'),
        ('train.json', '{"annotations": []}', r'train\.json is damaged.*images'),
        ('train.json', '{"images": [{"id": 1}]}', r'train\.json lists 1 images, expected 2'),
        ('train.txt', '0001\n', r'train\.txt lists 1 images, expected 2'),
    ],
)
def test_a_damaged_or_shortened_list_is_named(made, name, content, message):
    catalog = {'signs': replace(TINY['signs'], lists={name: 2})}
    path = made / 'out/source/signs' / name
    path.write_text('0001\n0002\n' if path.suffix == '.txt' else '{"images": [{"id": 1}, {"id": 2}]}')
    check_photos(made / 'out', catalog=catalog)
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        check_photos(made / 'out', catalog=catalog)


def test_another_version_is_refused_and_replaced(made):
    marker = made / 'out/source/signs/xl_photo.json'
    marker.write_text(json.dumps({'version': 99}))
    with pytest.raises(ConfigError, match=r'signs.*version 99.*1'):
        check_photos(made / 'out', catalog=TINY)
    make_photos(made / 'raw', made / 'out', catalog=TINY)
    check_photos(made / 'out', catalog=TINY)


def test_a_damaged_marker_is_named(made):
    (made / 'out/source/signs/xl_photo.json').write_text('{')
    with pytest.raises(ConfigError, match=r'xl_photo\.json.*damaged'):
        check_photos(made / 'out', catalog=TINY)


def test_a_failed_conversion_leaves_no_set(tmp_path):
    clone = repositories.hand_signs(tmp_path / 'raw')
    (clone / 'Dataset/1/IMG_2.JPG').write_bytes(b'')
    # `--clone` keeps a folder that is there.
    fix = f'delete {clone}, then python tools/make_photos.py {tmp_path / "raw"} {tmp_path / "out"} --only signs --clone'
    with pytest.raises(ConfigError, match=f'signs.*IMG_2.*not a readable picture.*; {re.escape(fix)} makes it'):
        make_photos(tmp_path / 'raw', tmp_path / 'out', catalog=TINY)
    assert not (tmp_path / 'out/source/signs').exists()


def test_a_missing_clone_is_named_with_its_repository(tmp_path):
    with pytest.raises(ConfigError, match=r'Sign-Language-Digits-Dataset.*missing.*ardamavi/'):
        make_photos(tmp_path, tmp_path / 'out', catalog=TINY)


def test_an_unknown_set_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r'sings.*signs'):
        make_photos(tmp_path, tmp_path / 'out', only=['sings'])


def test_each_repository_is_cloned_once_and_only_where_it_is_missing(tmp_path):
    (tmp_path / 'BCCD_Dataset').mkdir()
    commands = clone_commands(tmp_path, ['objects', 'boxes', 'cells'])
    assert commands == [
        ['git', 'clone', '--depth', '1', 'https://github.com/seshuad/IMagenet', str(tmp_path / 'IMagenet')]
    ]


def test_the_sets_that_a_config_reads_are_checked(made, monkeypatch):
    monkeypatch.setattr(build, 'CATALOG', TINY)
    signs = (made / 'out').rename(made / 'xl_photo') / 'source/signs'
    of_source = {'sources': {'signs': {'dataset': {'type': 'CustomDataset', 'data_root': f'{signs}/'}}}}
    wrapped = {'type': 'ConcatDataset', 'datasets': [{'type': 'CustomDataset', 'data_root': str(signs)}]}
    configs = [of_source, {'test_dataloader': {'dataset': wrapped}}]
    for config in configs:
        check_photos_of(config)
    elsewhere = shutil.copytree(made / 'xl_photo', made / 'photographs') / 'source/signs'
    configs.append({'val_dataloader': {'dataset': {'data_root': str(elsewhere)}}})
    check_photos_of(configs[-1])
    for folder in (signs, elsewhere):
        next((folder / 'train/0').iterdir()).unlink()
    for config in configs:
        with pytest.raises(ConfigError, match=r"'signs': .*train holds 3 images, expected 4; .*make_photos\.py"):
            check_photos_of(config)


@pytest.mark.parametrize('root', ['xl_photo/source', 'xl_photo/signs', 'source/signs', 'xl_photo/source/own'])
def test_data_elsewhere_is_not_of_xl_photo(tmp_path, root):
    check_photos_of({'train_dataloader': {'dataset': {'data_root': str(tmp_path / root)}}, 'val_dataloader': None})
