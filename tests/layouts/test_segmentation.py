"""Images and masks."""

import numpy as np
import pytest
from PIL import Image

from tests.datasets.small_sources import turned
from tests.fixtures.pictures import HEIGHT, WIDTH
from tests.layouts.folders import found, mask, noted, pictures, read, text
from xlearner_mm.datasets.stock_datasets import build_deferred
from xlearner_mm.errors import BadImageError, SourceError

NAMES = [f'{i}.jpg' for i in range(10)]
LOADING = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def write(root, images='images', masks='masks', names=NAMES, values=(0, 1, 2, 255), tail='.png', **settings):
    for name in pictures(root, *(f'{images}/{name}' for name in names)):
        stem = name.split('/')[-1].rsplit('.', 1)[0]
        mask(root / masks / f'{stem}{tail}', *values, **settings)
    return root


def files(layout, part='train'):
    """Return file name of image -> that of its mask."""
    return {i['img_path'].split('/')[-1]: i['seg_map_path'].split('/')[-1] for i in read(layout, part)}


def loaded(layout, part='train'):
    """Return values of the first mask as the stock pipeline loads it."""
    dataset = build_deferred(getattr(layout, part).with_pipeline(LOADING))
    dataset.full_init()
    return set(np.unique(dataset[0]['gt_seg_map']).tolist())


@pytest.mark.parametrize(
    ('images', 'masks'),
    [
        ('images/{}', 'masks/{}'),
        ('img_dir/{}', 'ann_dir/{}'),
        ('images/{}', 'annotations/{}'),
        ('{}/images', '{}/masks'),
        ('{}/img', '{}/labels'),
        ('{}', '{}annot'),
        ('{}_images', '{}_masks'),
    ],
)
def test_folders_of_both_parts_are_read_as_they_are(tmp_path, images, masks):
    for part, names in (('train', NAMES[:6]), ('val', NAMES[6:])):
        write(tmp_path / 'a', images.format(part), masks.format(part), names)
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert (layout.kind, layout.classes) == ('images and masks', ('class 0', 'class 1', 'class 2'))
    assert layout.train.dataset['data_prefix'] == dict(
        img_path=images.format('train'), seg_map_path=masks.format('train')
    )
    assert files(layout, 'val') == {name: name.replace('.jpg', '.png') for name in NAMES[6:]}
    assert loaded(layout) == {0, 1, 2, 255}
    assert noted(layout, 'classes.txt')
    assert not (tmp_path / 'out').exists()


def test_folders_of_other_programs_that_the_stock_dataset_would_read_are_left_out(tmp_path):
    for part, names in (('train', NAMES[:6]), ('val', NAMES[6:])):
        write(tmp_path / 'a', f'images/{part}', f'masks/{part}', names)
    pictures(tmp_path / 'a', 'images/train/@eaDir/z.jpg')
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert set(files(layout)) == set(NAMES[:6])
    assert layout.val.dataset['data_prefix']['img_path'] == 'images/val'


def test_one_part_is_split_by_lists(tmp_path):
    layout = found('seg', write(tmp_path / 'a'), tmp_path)
    assert (layout.train.images, layout.val.images, layout.val.from_split) == (9, 1, True)
    assert files(layout) | files(layout, 'val') == {name: name.replace('.jpg', '.png') for name in NAMES}


def test_lists_of_voc_state_the_parts(tmp_path):
    root = write(tmp_path / 'VOC2012', 'JPEGImages', 'SegmentationClass', mode='P')
    write(root, 'JPEGImages', 'SegmentationObject', values=(0, 9, 17))
    for part, names in dict(train='0123', val='456').items():
        text(root / f'ImageSets/Segmentation/{part}.txt', *names)
    layout = found('seg', root, tmp_path)
    assert layout.classes == ('class 0', 'class 1', 'class 2')
    assert set(files(layout, 'val')) == {'4.jpg', '5.jpg', '6.jpg'}
    assert loaded(layout) == {0, 1, 2, 255}
    assert noted(layout, 'no list', '3 (JPEGImages/7.jpg')


def test_years_of_voc_with_the_same_names_are_kept_apart(tmp_path):
    for year, split in (('VOC2007', dict(train='01', val='2')), ('VOC2012', dict(train='2', val='013'))):
        root = write(tmp_path / 'a' / year, 'JPEGImages', 'SegmentationClass', NAMES[:4])
        for part, names in split.items():
            text(root / f'ImageSets/Segmentation/{part}.txt', *names)
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert (layout.train.images, layout.val.images) == (3, 4)
    assert sorted(info['img_path'].split('/')[-3] for info in read(layout)) == ['VOC2007', 'VOC2007', 'VOC2012']
    assert noted(layout, 'no list', '1 (VOC2007/JPEGImages/3.jpg)')


def test_names_may_have_ends(tmp_path):
    for part, names in (('train', 'ab'), ('val', 'cd')):
        names = [f'{name}_000_leftImg8bit.png' for name in names]
        pictures(tmp_path / 'a', *(f'leftImg8bit/{part}/aachen/{name}' for name in names))
        for name in names:
            for kind in ('color', 'labelIds', 'labelTrainIds'):
                file = name.replace('leftImg8bit', f'gtFine_{kind}')
                mask(tmp_path / 'a/gtFine' / part / 'aachen' / file, *((0, 1) if kind == 'labelTrainIds' else (7, 24)))
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert layout.classes == ('class 0', 'class 1')
    assert files(layout)['a_000_leftImg8bit.png'] == 'a_000_gtFine_labelTrainIds.png'


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_masks_may_be_beside_their_images(tmp_path, suffix):
    for part, names in (('train', 'abcd'), ('valid', 'efg')):
        write(tmp_path / 'a', part, part, [f'{name}.{suffix}' for name in names], tail='_mask.png')
        text(tmp_path / 'a' / part / '_classes.csv', 'Pixel Value, Class', '0, background', '1, road', '2, car')
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert layout.classes == ('background', 'road', 'car')
    assert files(layout)[f'a.{suffix}'] == 'a_mask.png'
    assert len(files(layout, 'val')) == 3


def test_images_of_several_suffixes_are_read_together(tmp_path):
    write(tmp_path / 'a', names=[f'{i}.{"JPG" if i % 2 else "png"}' for i in range(30)])
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert layout.train.dataset['type'] == 'ConcatDataset'
    assert files(layout)['1.JPG'] == '1.png'
    assert layout.train.images == 27


@pytest.mark.parametrize('names', [['sky', 'road', 'car'], ['0 sky', '1 road', '2 car']])
def test_a_file_names_the_classes(tmp_path, names):
    text(write(tmp_path / 'a') / 'classes.txt', *names)
    assert found('seg', tmp_path / 'a', tmp_path).classes == ('sky', 'road', 'car')


@pytest.mark.parametrize('names', [['1 road', '2 car'], ['ignore', 'road', 'car']])
def test_zero_may_stand_for_no_class(tmp_path, names):
    text(write(tmp_path / 'a') / 'labels.txt', *names)
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert layout.classes == ('road', 'car')
    assert loaded(layout) == {0, 1, 255}
    assert noted(layout, 'labels.txt', 'ignored')


def test_more_names_than_values_are_said(tmp_path):
    text(write(tmp_path / 'a') / 'classes.txt', 'sky', 'road', 'car', 'bike')
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert layout.classes[-1] == 'bike'
    assert noted(layout, 'classes.txt', '1 (bike)')


@pytest.mark.parametrize('names', [(), ('sky', 'road', 'car')])
def test_a_class_in_validation_masks_alone_is_said(tmp_path, names):
    write(tmp_path / 'a', 'images/train', 'masks/train', NAMES[:6], values=(0, 1))
    write(tmp_path / 'a', 'images/val', 'masks/val', NAMES[6:])
    if names:
        text(tmp_path / 'a/classes.txt', *names)
    layout = found('seg', tmp_path / 'a', tmp_path)
    assert layout.classes == (names or ('class 0', 'class 1', 'class 2'))
    assert noted(layout, 'without a pixel in the 6 training masks', f'1 ({layout.classes[2]})')


@pytest.mark.parametrize(
    ('values', 'names', 'message'),
    [
        ((0,), (), r'0 alone; expected two classes: number and name another$'),
        ((1, 255), (), r'1, 255 alone, and 255 .*two classes: write 0 in place of 255, .*, or number'),
        ((0, 1), ('1 road', '2 car'), r'0, 1 alone beside 0, which is none by classes\.txt.*two classes'),
    ],
)
def test_a_single_training_class_is_refused(tmp_path, values, names, message):
    write(tmp_path / 'a', 'images/train', 'masks/train', NAMES[:6], values=values)
    write(tmp_path / 'a', 'images/val', 'masks/val', NAMES[6:])
    if names:
        text(tmp_path / 'a/classes.txt', *names)
    with pytest.raises(SourceError, match=rf"'mine'.*masks/train/0\.png .*{message}"):
        found('seg', tmp_path / 'a', tmp_path)


def test_a_class_that_the_sample_of_masks_misses_is_looked_for_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr('xlearner_mm.layouts.masks._READ', 2)
    write(tmp_path / 'a', 'images/train', 'masks/train', values=(0,))
    write(tmp_path / 'a', 'images/val', 'masks/val', ['x.jpg'])
    mask(tmp_path / 'a/masks/train/5.png', 0, 1, 2)
    text(tmp_path / 'a/classes.txt', 'sky', 'road', 'car')
    assert found('seg', tmp_path / 'a', tmp_path).classes == ('sky', 'road', 'car')


def test_fewer_names_than_values_are_refused(tmp_path):
    text(write(tmp_path / 'a', values=(0, 1, 2, 3)) / 'classes.txt', 'sky', 'road')
    with pytest.raises(SourceError, match=r"'mine'.*classes\.txt names 2 classes.*0 to 1.*masks/\d\.png has 3"):
        found('seg', tmp_path / 'a', tmp_path)


def test_names_without_that_of_zero_are_refused_with_both_fixes(tmp_path):
    text(write(tmp_path / 'a') / 'classes.txt', 'road', 'car')
    with pytest.raises(SourceError, match=r"names 2 classes.*has 2: add.*'1 NAME'"):
        found('seg', tmp_path / 'a', tmp_path)


def test_the_advice_on_two_values_and_one_name_leads_to_two_classes(tmp_path):
    path = write(tmp_path / 'a', values=(0, 1)) / 'classes.txt'
    text(path, 'road')
    with pytest.raises(SourceError, match=r"names 1 classes.*has 1: add .*'0 background' and '1 road'") as error:
        found('seg', tmp_path / 'a', tmp_path)
    assert '1 NAME' not in str(error.value)
    text(path, '1 road')
    with pytest.raises(SourceError, match=r"beside 0, .*: name 0 as .*'0 background' and '1 road' do, or") as error:
        found('seg', tmp_path / 'a', tmp_path)
    assert '255' not in str(error.value)
    text(path, '0 background', '1 road')
    assert found('seg', tmp_path / 'a', tmp_path).classes == ('background', 'road')


def test_images_and_masks_without_the_other_are_left_out_and_said(tmp_path):
    root = write(tmp_path / 'a')
    pictures(root, 'images/unlabeled.jpg')
    mask(root / 'masks/gone.png', 0, 1)
    layout = found('seg', root, tmp_path)
    assert noted(layout, 'images without mask', '1 (images/unlabeled.jpg)')
    assert noted(layout, 'masks without image', '1 (masks/gone.png)')
    assert 'unlabeled.jpg' not in files(layout) | files(layout, 'val')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(tail='.jpg'), r'masks/0\.jpg .*JPEG.*PNG'),
        (dict(mode='RGB'), r'masks/\d\.png .*3 bands, all equal.*convert'),
        (dict(values=(0, 255)), r'masks/\d\.png .*0, 255 alone.*write 1'),
        (dict(values=(0, 85, 170)), r'values 0, 85, 170.*0, 1, 2'),
        (dict(values=(0, 1, 300)), r'masks/\d\.png has the value 300'),
        (
            dict(tail='_a.png', names=['x.jpg', 'y.jpg'], images='images', masks='masks/z'),
            r'no mask is named as an image',
        ),
    ],
)
def test_masks_that_are_no_maps_of_classes_are_refused_by_name(tmp_path, settings, message):
    write(tmp_path / 'a', **settings)
    with pytest.raises(SourceError, match=rf"'mine'.*{message}"):
        found('seg', tmp_path / 'a', tmp_path)


@pytest.mark.parametrize(
    ('values', 'kind', 'message'),
    [
        ((0, 1, 2), np.float32, r'holds floating-point numbers \(float32\).*0 to 254.*: save them as a PNG of 8 bits'),
        ((-1, 0, 1), np.int32, r'has the value -1; expected class numbers from 0 to 254, and 255 for none'),
    ],
)
def test_values_that_are_no_class_numbers_are_refused(tmp_path, values, kind, message):
    write(tmp_path / 'a', tail='.tif')
    values = np.tile(np.resize(np.array(values, kind), WIDTH), (HEIGHT, 1))
    Image.fromarray(values).save(tmp_path / 'a/masks/3.tif')
    with pytest.raises(SourceError, match=rf"'mine'.*masks/3\.tif {message}"):
        found('seg', tmp_path / 'a', tmp_path)


def test_a_jpeg_called_png_is_refused_as_one(tmp_path):
    write(tmp_path / 'a')
    pictures(tmp_path / 'a', 'masks/3.jpg')
    (tmp_path / 'a/masks/3.jpg').rename(tmp_path / 'a/masks/3.png')
    with pytest.raises(SourceError, match=r'masks/3\.png .*JPEG.*PNG'):
        found('seg', tmp_path / 'a', tmp_path)


def test_colors_in_place_of_classes_are_refused(tmp_path):
    write(tmp_path / 'a')
    pictures(tmp_path / 'a', 'masks/3.png')
    with pytest.raises(SourceError, match=r'masks/3\.png.*3 bands, of \d+ colors.*number of its class'):
        found('seg', tmp_path / 'a', tmp_path)


def test_a_mask_of_another_size_is_refused_by_name(tmp_path):
    mask(write(tmp_path / 'a') / 'masks/5.png', 0, 1, size=(48, 36))
    with pytest.raises(BadImageError, match=r"'mine'.*images/5\.jpg.*96 x 72.*masks/5\.png of 48 x 36"):
        found('seg', tmp_path / 'a', tmp_path)


def test_a_mask_of_an_image_as_stored_is_to_be_rotated_and_not_resized(tmp_path):
    turned(write(tmp_path / 'a') / 'images/5.jpg', 6)
    with pytest.raises(BadImageError, match=r'5\.jpg is of 72 x 96 .*EXIF.*5\.png of 96 x 72; rotate.*remove'):
        found('seg', tmp_path / 'a', tmp_path)
    mask(tmp_path / 'a/masks/5.png', 0, 1, size=(72, 96))
    assert found('seg', tmp_path / 'a', tmp_path).train.images == 9


def test_a_mask_of_swapped_sides_is_to_be_rotated_and_not_resized(tmp_path):
    mask(write(tmp_path / 'a') / 'masks/5.png', 0, 1, size=(72, 96))
    with pytest.raises(BadImageError, match=r'5\.jpg is of 96 x 72 pixels, but .*of 72 x 96; rotate the') as error:
        found('seg', tmp_path / 'a', tmp_path)
    assert 'EXIF' not in str(error.value)


@pytest.mark.parametrize('file', ['masks/5.png', 'images/5.jpg'])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, file):
    (write(tmp_path / 'a') / file).write_bytes(b'no image')
    with pytest.raises(BadImageError, match=rf"'mine'.*{file} cannot be read"):
        found('seg', tmp_path / 'a', tmp_path)


def test_several_masks_for_each_image_are_refused(tmp_path):
    write(tmp_path / 'a', tail='_one.png')
    write(tmp_path / 'a', tail='_two.png')
    with pytest.raises(SourceError, match=r'_one, _two.*one'):
        found('seg', tmp_path / 'a', tmp_path)


def test_images_that_share_a_mask_are_refused(tmp_path):
    pictures(write(tmp_path / 'a'), 'images/5.png')
    with pytest.raises(SourceError, match=r"'mine'.*images/5\.jpg and images/5\.png.*one mask.*rename"):
        found('seg', tmp_path / 'a', tmp_path)


@pytest.mark.parametrize('other', ['masks/5.tif', 'labels/5.png'])
def test_masks_of_the_same_image_are_refused(tmp_path, other):
    mask(write(tmp_path / 'a') / other, 0, 1)
    with pytest.raises(SourceError, match=r"'mine'.*(masks|labels)/5\..* and masks/5\..* masks of images/5\.jpg.*move"):
        found('seg', tmp_path / 'a', tmp_path)


def test_images_of_one_name_without_a_mask_are_left_out(tmp_path):
    pictures(write(tmp_path / 'a'), 'images/x.jpg', 'images/x.png')
    assert noted(found('seg', tmp_path / 'a', tmp_path), 'images without mask', '2 (')


def test_spaces_and_umlauts_are_read(tmp_path):
    names = [f'Straße {i}.jpg' for i in range(10)]
    layout = found('seg', write(tmp_path / 'Städte im Süden', names=names), tmp_path)
    assert 'Straße 1.png' in {**files(layout), **files(layout, 'val')}.values()
    assert loaded(layout) == {0, 1, 2, 255}
