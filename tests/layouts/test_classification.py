"""Class folders, with and without a validation part."""

import pytest
from PIL import Image

from tests.layouts.folders import found, labels, noted, pictures, read, text
from xlearner_mm.errors import SourceError


def class_folders(root, part, count=2, classes=('cat', 'dog'), suffix='.jpg'):
    return pictures(root, *(f'{part}{cls}/{part[:2]}{cls}{i}{suffix}' for cls in classes for i in range(count)))


@pytest.mark.parametrize(('train', 'val'), [('train/', 'val/'), ('Training/', 'valid/'), ('train/', 'test/')])
def test_folders_for_both_parts_are_read_as_they_are(tmp_path, train, val):
    class_folders(tmp_path / 'pets', train)
    class_folders(tmp_path / 'pets', val, count=1)
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert (layout.kind, layout.classes) == ('class folders', ('cat', 'dog'))
    assert (layout.train.images, layout.val.images, layout.val.from_split) == (4, 2, False)
    assert layout.train.dataset['data_prefix'] == train.rstrip('/')
    assert labels(layout, 'val') == {f'{val[:2]}cat0.jpg': 'cat', f'{val[:2]}dog0.jpg': 'dog'}
    assert noted(layout, 'test') == (val == 'test/')
    assert not (tmp_path / 'out').exists()


def test_a_missing_validation_part_is_drawn_class_by_class(tmp_path):
    class_folders(tmp_path / 'pets', '', count=20)
    layout = found('cls', tmp_path / 'pets', tmp_path)
    train, val = labels(layout), labels(layout, 'val')
    assert sorted(val.values()) == ['cat'] * 2 + ['dog'] * 2
    assert len(train) == 36
    assert not set(train) & set(val)
    assert layout.val.from_split
    assert noted(layout, '4 of 40', 'seed 0')


def test_the_split_depends_on_the_seed_alone(tmp_path):
    class_folders(tmp_path / 'pets', '', count=30)
    drawn = [set(labels(found('cls', tmp_path / 'pets', tmp_path, seed=seed), 'val')) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_validation_folder_that_is_the_training_folder_is_left_out_and_said(tmp_path):
    class_folders(tmp_path / 'pets', 'train/', count=4)
    (tmp_path / 'pets/val').symlink_to('train')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.val.from_split
    assert all('/train/' in info['img_path'] for info in read(layout) + read(layout, 'val'))
    assert noted(layout, 'left out', 'val/ is train/')


def test_a_link_within_a_class_folder_is_not_read_by_the_stock_dataset(tmp_path):
    class_folders(tmp_path / 'pets', 'train/')
    class_folders(tmp_path / 'pets', 'val/')
    (tmp_path / 'pets/train/cat/more').symlink_to(tmp_path / 'pets/val/cat')
    assert len(labels(found('cls', tmp_path / 'pets', tmp_path))) == 4


def test_the_only_image_of_a_class_is_trained(tmp_path):
    class_folders(tmp_path / 'pets', '', count=10)
    pictures(tmp_path / 'pets', 'owl/o.jpg')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert labels(layout)['o.jpg'] == 'owl'
    assert 'owl' not in labels(layout, 'val').values()
    assert noted(layout, 'owl/o.jpg')


def test_a_folder_that_holds_nothing_but_the_class_folders_is_looked_through(tmp_path):
    class_folders(tmp_path / 'pets' / 'pets_v2' / 'images', '', count=4)
    (tmp_path / 'pets' / 'README.md').write_text('pets')
    assert found('cls', tmp_path / 'pets', tmp_path).classes == ('cat', 'dog')


def test_a_training_part_alone_is_split(tmp_path):
    class_folders(tmp_path / 'pets', 'train/', count=4)
    (tmp_path / 'pets' / 'data.yaml').write_text('nc: 2')
    assert found('cls', tmp_path / 'pets', tmp_path).val.from_split


def test_class_folders_may_be_below_images_beside_other_files(tmp_path):
    class_folders(tmp_path / 'pets', 'images/', count=4)
    pictures(tmp_path / 'pets', 'docs/page.jpg')
    (tmp_path / 'pets' / 'bounding_boxes.txt').write_text('1 2 3 4 5')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert noted(layout, 'docs/page.jpg')


def test_parts_may_be_below_images_beside_other_files(tmp_path):
    class_folders(tmp_path / 'pets', 'images/train/')
    class_folders(tmp_path / 'pets', 'images/val/', count=1)
    pictures(tmp_path / 'pets', 'images/more/1.jpg', 'docs/page.jpg')
    (tmp_path / 'pets' / 'classes.txt').write_text('cat\ndog\n')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert (layout.train.images, layout.val.images, layout.val.from_split) == (4, 2, False)
    assert layout.train.dataset['data_prefix'] == 'images/train'
    assert set(labels(layout, 'val').values()) == {'cat', 'dog'}
    assert noted(layout, 'beside images/train/', '2 (docs, images/more)')


def test_parts_may_be_within_the_classes(tmp_path):
    for cls in ('cat', 'dog'):
        pictures(
            tmp_path / 'pets', *(f'{cls}/{part}/{cls}{part}{i}.jpg' for part in ('train', 'test') for i in range(2))
        )
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert labels(layout) == {
        'cattrain0.jpg': 'cat',
        'cattrain1.jpg': 'cat',
        'dogtrain0.jpg': 'dog',
        'dogtrain1.jpg': 'dog',
    }
    assert len(labels(layout, 'val')) == 4
    assert noted(layout, 'test part is used for validation')


def test_parts_within_some_classes_alone_are_refused(tmp_path):
    pictures(tmp_path / 'pets', 'cat/train/1.jpg', 'cat/test/2.jpg', 'dog/3.jpg', 'dog/4.jpg')
    with pytest.raises(SourceError, match=r"'mine'.*cat/train/1\.jpg.*2 beside such \(dog/3\.jpg, dog/4\.jpg\)"):
        found('cls', tmp_path / 'pets', tmp_path)


def test_a_class_in_validation_alone_is_left_out_and_the_others_keep_their_labels(tmp_path):
    class_folders(tmp_path / 'pets', 'train/')
    class_folders(tmp_path / 'pets', 'val/', classes=('bear', 'cat', 'dog'))
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert labels(layout, 'val') == {'vacat0.jpg': 'cat', 'vacat1.jpg': 'cat', 'vadog0.jpg': 'dog', 'vadog1.jpg': 'dog'}
    assert noted(layout, "'bear'", 'validation alone', '2')


def test_a_class_of_another_spelling_in_validation_is_refused(tmp_path):
    class_folders(tmp_path / 'pets', 'train/', classes=('cat', 'dog'))
    class_folders(tmp_path / 'pets', 'val/', classes=('Cat', 'dog'))
    with pytest.raises(SourceError, match=r"'mine'.*pets.*'Cat'.*'cat'"):
        found('cls', tmp_path / 'pets', tmp_path)


def test_a_class_without_validation_images_is_said(tmp_path):
    class_folders(tmp_path / 'pets', 'train/', classes=('cat', 'dog', 'owl'))
    class_folders(tmp_path / 'pets', 'val/')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert noted(layout, '(owl)', 'without validation')
    assert set(labels(layout, 'val').values()) == {'cat', 'dog'}


@pytest.mark.parametrize(
    'extra', ['train/@eaDir/cat0.jpg', 'train/cat/@eaDir/cat0.jpg', 'train/cat/.cache/a.jpg', 'train/empty']
)
def test_what_a_stock_dataset_would_take_for_a_class_is_not_one(tmp_path, extra):
    class_folders(tmp_path / 'pets', 'train/')
    class_folders(tmp_path / 'pets', 'val/')
    if extra.endswith('.jpg'):
        pictures(tmp_path / 'pets', extra)
    else:
        (tmp_path / 'pets' / extra).mkdir()
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert len(labels(layout)) == 4


def test_suffixes_that_the_stock_dataset_skips_are_listed(tmp_path):
    class_folders(tmp_path / 'pets', 'train/')
    class_folders(tmp_path / 'pets', 'val/')
    Image.new('RGB', (9, 9)).save(tmp_path / 'pets/train/dog/new.webp')
    assert labels(found('cls', tmp_path / 'pets', tmp_path))['new.webp'] == 'dog'


@pytest.mark.parametrize('part', ['train/', ''])
def test_class_folders_without_images_that_are_read_are_said(tmp_path, part):
    class_folders(tmp_path / 'pets', part, count=4)
    class_folders(tmp_path / 'pets', part and 'val/')
    (tmp_path / 'pets' / part / 'empty').mkdir()
    (tmp_path / 'pets' / part / '@eaDir').mkdir()
    for i in range(3):
        text(tmp_path / 'pets' / part / f'owl/{i}.GIF', 'GIF89a')
    text(tmp_path / 'pets' / part / 'dog/9.heic', 'heic')
    layout = found('cls', tmp_path / 'pets', tmp_path)
    assert layout.classes == ('cat', 'dog')
    assert noted(layout, f'folders of {part or "./"} without an image', '2 (empty, owl)')
    assert noted(layout, 'suffix is not read', f'4 ({part}dog/9.heic, {part}owl/0.GIF')


def test_images_beside_the_class_folders_are_left_out_and_said(tmp_path):
    class_folders(tmp_path / 'pets', '', count=4)
    pictures(tmp_path / 'pets', 'cover.jpg')
    assert noted(found('cls', tmp_path / 'pets', tmp_path), '1 (cover.jpg)')


def test_classes_may_be_called_as_parts_or_roles(tmp_path):
    class_folders(tmp_path / 'traffic', '', count=4, classes=('bus', 'train'))
    class_folders(tmp_path / 'faces', '', count=4, classes=('mask', 'no_mask'))
    class_folders(tmp_path / 'roads', 'images/', count=4, classes=('bus', 'train'))
    pictures(tmp_path / 'roads', 'docs/page.jpg')
    assert found('cls', tmp_path / 'traffic', tmp_path).classes == ('bus', 'train')
    assert found('cls', tmp_path / 'faces', tmp_path).classes == ('mask', 'no_mask')
    assert found('cls', tmp_path / 'roads', tmp_path).classes == ('bus', 'train')


def test_spaces_and_umlauts_are_read(tmp_path):
    class_folders(tmp_path / 'Meine Vögel', '', count=10, classes=('Grüner Specht', 'Möwe'))
    layout = found('cls', tmp_path / 'Meine Vögel', tmp_path)
    assert set(labels(layout).values()) == {'Grüner Specht', 'Möwe'}
    assert all((tmp_path / info['img_path']).is_file() for info in read(layout))


def test_one_class_is_refused(tmp_path):
    class_folders(tmp_path / 'pets', 'train/', classes=('cat',))
    class_folders(tmp_path / 'pets', 'val/', classes=('cat',))
    with pytest.raises(SourceError, match=r"'cat' alone.*two classes"):
        found('cls', tmp_path / 'pets', tmp_path)
