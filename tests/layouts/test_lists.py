"""Lists of files and labels."""

import unicodedata

import pytest

from tests.layouts.folders import found, labels, noted, pictures, text
from xlearner_mm.errors import SourceError

NAMES = [f'{i}.jpg' for i in range(10)]


def lines(split):
    with open(split.dataset['ann_file']) as file:
        return file.readlines()


@pytest.fixture
def root(tmp_path):
    pictures(tmp_path / 'pets' / 'images', *NAMES)
    return tmp_path / 'pets'


def pairs(labels=('cat', 'dog'), names=NAMES, form='{},{}'):
    return [form.format(name, labels[i % len(labels)]) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ('file', 'lines'),
    [
        ('labels.csv', ['filename,label', *pairs()]),
        ('labels.csv', ['breed;id;weight', *pairs(form='{1};{0};1.5')]),
        ('labels.csv', ['id,species', *pairs(names=[n.removesuffix('.jpg') for n in NAMES])]),
        ('images.csv', pairs()),
        ('images.tsv', pairs(form='{}\t{}')),
        ('list.txt', pairs(form='images/{} {}')),
        ('annotations/all.csv', pairs(form='images\\{},{}')),
    ],
)
def test_a_list_is_read_by_header_or_order(root, tmp_path, file, lines):
    text(root / file, *lines)
    layout = found('cls', root, tmp_path)
    assert layout.kind == 'list of files and labels'
    assert layout.classes == ('cat', 'dog')
    read = labels(layout) | labels(layout, 'val')
    assert read == {name: ('cat', 'dog')[i % 2] for i, name in enumerate(NAMES)}


def test_lists_of_both_parts_are_kept_apart(root, tmp_path):
    text(root / 'train.txt', *pairs(names=NAMES[:6], form='{} {}'))
    text(root / 'val.txt', *pairs(names=NAMES[6:], form='{} {}'))
    layout = found('cls', root, tmp_path)
    assert set(labels(layout)) == set(NAMES[:6])
    assert set(labels(layout, 'val')) == set(NAMES[6:])
    assert not layout.val.from_split


def test_a_column_may_state_the_part(root, tmp_path):
    lines = [f'{name},{"cat" if i % 2 else "dog"},{"valid" if i > 7 else "train"}' for i, name in enumerate(NAMES)]
    text(root / 'labels.csv', 'image,class,split', *lines)
    assert set(labels(found('cls', root, tmp_path), 'val')) == set(NAMES[8:])


def test_a_list_of_no_part_leaves_images_in_the_parts_of_their_folders(tmp_path):
    names = pictures(tmp_path / 'pets', *(f'train/{n}' for n in NAMES[:6]), *(f'validation/{n}' for n in NAMES[6:]))
    text(tmp_path / 'pets/labels.csv', 'image,label', *pairs(names=names))
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert set(labels(layout)) == set(NAMES[:6])
    assert set(labels(layout, 'val')) == set(NAMES[6:])


def test_images_of_one_part_are_all_there_is(tmp_path):
    names = pictures(tmp_path / 'pets', *(f'test/{name}' for name in NAMES))
    text(tmp_path / 'pets/labels.csv', 'image,label', *pairs(names=names))
    assert found('cls', tmp_path / 'pets', tmp_path).val.from_split


def test_the_part_decides_between_images_of_the_same_name(tmp_path):
    pictures(tmp_path / 'pets', *(f'{part}/{name}' for part in ('train', 'val') for name in NAMES))
    for part in ('train', 'val'):
        text(tmp_path / 'pets' / f'{part}.csv', *pairs())
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert all(line.startswith('train/') for line in lines(layout.train))
    assert all(line.startswith('val/') for line in lines(layout.val))


def test_a_list_without_labels_takes_them_from_class_folders(tmp_path):
    names = pictures(tmp_path / 'food', *(f'images/{cls}/{cls}{i}.jpg' for cls in ('pie', 'soup') for i in range(5)))
    text(tmp_path / 'food/train.txt', *(name.removeprefix('images/').removesuffix('.jpg') for name in names[::2]))
    text(tmp_path / 'food/test.txt', *(name.removeprefix('images/').removesuffix('.jpg') for name in names[1::2]))
    layout = found('cls', tmp_path / 'food', tmp_path)
    assert labels(layout) == {name.split('/')[-1]: name.split('/')[1] for name in names[::2]}
    assert len(labels(layout, 'val')) == 5


@pytest.mark.parametrize('names', [['cat', 'dog', 'owl'], ['0 cat', '1 dog', '2 owl'], ['0: cat', '1: dog', '2: owl']])
def test_numbers_are_named_by_a_file_of_class_names(root, tmp_path, names):
    text(root / 'labels.csv', *pairs(labels=(2, 0)))
    text(root / 'classes.txt', *names)
    layout = found('cls', root, tmp_path)
    assert layout.classes == ('cat', 'owl')
    assert (labels(layout) | labels(layout, 'val'))['0.jpg'] == 'owl'
    assert noted(layout, 'classes.txt', 'dog')


def test_a_list_called_as_names_are_is_no_list_of_names(root, tmp_path):
    text(root / 'labels.txt', *pairs(labels=(1, 0), form='{} {}'))
    layout = found('cls', root, tmp_path)
    assert layout.classes == ('0', '1')
    assert (labels(layout) | labels(layout, 'val'))['0.jpg'] == '1'


def test_numbers_without_names_are_in_their_order(root, tmp_path):
    text(root / 'labels.csv', *pairs(labels=(10, 9)))
    assert found('cls', root, tmp_path).classes == ('9', '10')


def test_fewer_names_than_numbers_are_refused(root, tmp_path):
    text(root / 'labels.csv', *pairs(labels=(0, 2)))
    text(root / 'classes.txt', 'cat', 'dog')
    with pytest.raises(SourceError, match=r'classes.txt.*2 classes.*label 2'):
        found('cls', root, tmp_path)


def test_files_of_windows_and_of_other_spellings_of_umlauts_are_read(tmp_path):
    name = 'Möwe 1.jpg'
    pictures(tmp_path / 'birds', unicodedata.normalize('NFD', name), *NAMES)
    text(tmp_path / 'birds/labels.csv', *pairs(names=[name, *NAMES]), encoding='cp1252')
    layout = found('cls', tmp_path / 'birds', tmp_path)
    assert noted(layout, 'labels.csv', '1252')
    assert layout.train.images + layout.val.images == 11


@pytest.mark.parametrize('file', ['labels.csv', 'labels.txt'])
def test_files_of_powershell_are_read(root, tmp_path, file):
    text(root / file, *pairs((0, 1), form='{},{}' if file == 'labels.csv' else '{} {}'), encoding='utf-16')
    text(root / 'classes.txt', 'Möwe', 'dog', encoding='utf-16')
    assert found('cls', root, tmp_path).classes == ('Möwe', 'dog')


def test_images_without_labels_are_left_out_and_said(root, tmp_path):
    text(root / 'labels.csv', 'file,label', *pairs(names=NAMES[:8]), '8.jpg,')
    layout = found('cls', root, tmp_path)
    assert layout.train.images + layout.val.images == 8
    assert noted(layout, 'labels.csv', '1 (images/8.jpg)')
    assert noted(layout, '9.jpg', 'no list')


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (['file,label', *pairs(), 'gone.jpg,cat'], r'1 of 11 images.*gone\.jpg'),
        (['file,label', *pairs(), '0.jpg,dog'], r"0\.jpg two labels, 'cat' and 'dog'"),
        (['file,a,b', *pairs(form='{},{},1')], r"columns \['file', 'a', 'b'\].*'label'"),
        (['file,Cat,Dog', *pairs(labels=('1,0', '0,1'))], r"0 and 1 for each class \(Cat, Dog\).*one column .*'label'"),
        (['file_name,width', *pairs((96, 72))], r"columns \['file_name', 'width'\].*'label'"),
        (['file,label,split', *pairs(form='{},{},maybe')], r"part 'maybe'.*train"),
    ],
)
def test_a_list_that_contradicts_the_folder_is_refused_by_name(root, tmp_path, lines, message):
    text(root / 'labels.csv', *lines)
    with pytest.raises(SourceError, match=rf"'mine'.*labels\.csv.*{message}"):
        found('cls', root, tmp_path)


@pytest.mark.parametrize('file', ['labels.csv', 'labels.txt'])
@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ([*NAMES[:3], *(f'gone {i}.jpg' for i in range(7))], r'7 of 10 images .*\(gone 0\.jpg, .*\): add them, or'),
        ([f'{i}.png' for i in range(10)], r'10 of 10 .*\(0\.png, .*: correct the suffixes, as in .*0\.jpg, or add'),
    ],
)
def test_a_list_of_mostly_missing_images_is_refused_as_a_list(root, tmp_path, file, names, message):
    text(root / file, *pairs(('golden retriever', 'poodle'), names, '{},{}' if file == 'labels.csv' else '{} {}'))
    with pytest.raises(SourceError, match=rf"'mine'.*{file} names {message}"):
        found('cls', root, tmp_path)


def test_names_may_differ_by_case(root, tmp_path):
    text(root / 'labels.csv', 'file,label', *pairs(names=[name.upper() for name in NAMES]))
    layout = found('cls', root, tmp_path)
    assert set(labels(layout) | labels(layout, 'val')) == set(NAMES)


def test_a_list_of_mostly_missing_images_beside_another_or_class_folders_is_left_and_said(root, tmp_path):
    gone = pairs(names=[f'gone{i}.jpg' for i in range(10)])
    text(root / 'train.csv', 'file,label', *pairs())
    text(root / 'test.csv', 'file,label', *gone)
    assert noted(found('cls', root, tmp_path), 'not used', 'images are not in the folder', '1 (test.csv)')
    pictures(tmp_path / 'food', *(f'{cls}/{cls}{i}.jpg' for cls in ('pie', 'soup') for i in range(5)))
    text(tmp_path / 'food/labels.csv', 'file,label', *gone)
    layout = found('cls', tmp_path / 'food', tmp_path)
    assert layout.kind == 'class folders'
    assert noted(layout, 'not used', 'images are not in the folder', '1 (labels.csv)')
    assert sum('no validation part' in note for note in layout.notes) == 1


def test_a_table_of_other_things_leaves_class_folders_alone(tmp_path):
    names = pictures(tmp_path / 'pets', *(f'{cls}/{cls}{i}.jpg' for cls in ('cat', 'dog') for i in range(5)))
    text(tmp_path / 'pets/sizes.csv', 'file,width,height', *(f'{name},96,72' for name in names))
    (tmp_path / 'pets/noise.txt').write_bytes(b'\0,\xff\n\0,1\n')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert (layout.kind, layout.classes) == ('class folders', ('cat', 'dog'))
    assert noted(layout, 'sizes.csv', 'not used')


@pytest.mark.parametrize(
    ('file', 'rows'),
    [
        ('metadata.csv', ['file,size', *(f'{{}},{100 + i}' for i in range(8))]),
        ('predictions.csv', ['file,predicted', *['{},a'] * 8]),
        ('faces.csv', [*['{},left', '{},right'] * 4]),
    ],
)
def test_a_table_without_a_column_called_label_replaces_no_class_folders(tmp_path, file, rows):
    images = [f'{part}/{cls}/{part}{i}{cls}.jpg' for part in ('train', 'val') for cls in 'ab' for i in range(2)]
    pictures(tmp_path / 'pets', *images)
    text(tmp_path / 'pets' / file, *rows[:-8], *(row.format(name) for row, name in zip(rows[-8:], images, strict=True)))
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert (layout.kind, layout.classes) == ('class folders', ('a', 'b'))
    assert layout.val.images == 4
    assert noted(layout, f'{file} is not used')


def test_a_list_without_header_is_taken_where_it_agrees_with_the_class_folders(tmp_path):
    images = pictures(tmp_path / 'pets', *(f'{cls}/{cls}{i}.jpg' for cls in ('n01', 'n02') for i in range(3)))
    text(tmp_path / 'pets/train.txt', *(f'{name} {int(name[2]) - 1}' for name in images if '2.' not in name))
    text(tmp_path / 'pets/val.txt', *(f'{name} {int(name[2]) - 1}' for name in images if '2.' in name))
    text(tmp_path / 'pets/classes.txt', 'heron', 'kite')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert labels(layout, 'val') == {'n012.jpg': 'heron', 'n022.jpg': 'kite'}
    assert not noted(layout, 'in place of the class folders')


def test_a_list_whose_labels_are_taken_in_place_of_class_folders_is_said(tmp_path):
    images = pictures(tmp_path / 'pets', *(f'{folder}/{folder}{i}.jpg' for folder in ('jan', 'feb') for i in range(4)))
    text(tmp_path / 'pets/labels.csv', 'file,label', *pairs(names=images))
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert noted(layout, 'in place of the class folders', 'labels.csv')


def test_a_list_of_one_class_beside_class_folders_is_refused_by_name(tmp_path):
    images = pictures(tmp_path / 'pets', *(f'{cls}/{cls}{i}.jpg' for cls in 'ab' for i in range(3)))
    text(tmp_path / 'pets/predictions.csv', 'file,label', *(f'{name},b' for name in images))
    with pytest.raises(SourceError, match=r"predictions\.csv .*'b' alone.*move the file"):
        found('cls', tmp_path / 'pets', tmp_path)


def test_the_column_of_fastai_states_the_part(root, tmp_path):
    text(root / 'labels.csv', 'name,label,is_valid', *(f'{n},{"ab"[i % 2]},{i > 7}' for i, n in enumerate(NAMES)))
    layout = found('cls', root, tmp_path)
    assert set(labels(layout, 'val')) == set(NAMES[8:])
    assert not layout.val.from_split


def test_a_list_whose_first_image_is_missing_has_no_header(root, tmp_path):
    text(root / 'labels.csv', 'gone.jpg,cat', *pairs())
    with pytest.raises(SourceError, match=r'labels\.csv names 1 of 11 images.*gone'):
        found('cls', root, tmp_path)


def test_a_list_that_states_no_part_is_left_beside_those_that_do_and_said(root, tmp_path):
    text(root / 'train.csv', 'image,label', *pairs())
    text(root / 'sample_submission.csv', 'image,label', *pairs())
    assert noted(found('cls', root, tmp_path), 'sample_submission.csv', 'no part')


@pytest.mark.parametrize('names', [NAMES, [f'my photo {i}.jpg' for i in range(10)]])
def test_names_of_classes_and_images_in_a_text_may_have_spaces(tmp_path, names):
    pictures(tmp_path / 'pets/images', *names)
    text(tmp_path / 'pets/labels.txt', *pairs(labels=('golden retriever', 'poodle'), names=names, form='{} {}'))
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('golden retriever', 'poodle')
    assert (labels(layout) | labels(layout, 'val'))[names[0]] == 'golden retriever'


def test_labels_of_yolo_are_no_list(root, tmp_path):
    for i in range(10):
        text(root / f'labels/{i}.txt', f'{i} 0.5 0.5 0.2 1e-1')
    with pytest.raises(SourceError, match='looks like YOLO'):
        found('cls', root, tmp_path)


def test_a_table_of_numbers_that_name_several_images_is_no_list(tmp_path):
    for part in ('train', 'val'):
        pictures(tmp_path / 'pets', *(f'data/{part}/{cls}/{i}.jpg' for cls in ('cat', 'dog') for i in range(3)))
    text(tmp_path / 'pets/notes.csv', 'x,y', '1,2')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert (layout.kind, layout.classes) == ('class folders', ('cat', 'dog'))
    assert layout.val.dataset['data_prefix'] == 'data/val'


def test_a_name_of_several_images_is_refused_with_its_list(tmp_path):
    pictures(tmp_path / 'pets', *(f'{folder}/{i}.jpg' for folder in ('x', 'y') for i in range(3)))
    text(tmp_path / 'pets/labels.csv', 'file,label', '1.jpg,cat', '2.jpg,dog')
    with pytest.raises(SourceError, match=r"'1\.jpg' in labels\.csv \(x/1\.jpg, y/1\.jpg\)"):
        found('cls', tmp_path / 'pets', tmp_path)


def test_rows_may_lack_cells(root, tmp_path):
    text(root / 'labels.csv', 'species,note,file', *pairs(form='{1},,{0}'), 'owl')
    with pytest.raises(SourceError, match=r'labels\.csv names 1 of 11'):
        found('cls', root, tmp_path)


def test_two_lists_of_one_part_are_refused(root, tmp_path):
    text(root / 'a.csv', *pairs())
    text(root / 'b.csv', *pairs())
    with pytest.raises(SourceError, match=r'a\.csv and b\.csv'):
        found('cls', root, tmp_path)
