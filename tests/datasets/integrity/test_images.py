"""Valid images are read correctly; silent faults are errors that name the file."""

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from tests.datasets import small_sources
from tests.datasets.small_sources import (
    class_folders,
    class_list,
    coco,
    label_maps,
    turned,
    voc,
    write_coco,
    write_xml,
)
from tests.fixtures.pictures import HEIGHT, WIDTH, write_labels
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.errors import SourceError


@TRANSFORMS.register_module()
class NowAndThenNothing:
    """A crop that leaves nothing in some of its draws, and in all of them for ``never``."""

    def __init__(self, never=False):
        self.never, self.calls = never, 0

    def __call__(self, data):
        self.calls += 1
        return None if self.never or self.calls % 3 else data


def dataset_of(source, **settings):
    return MultiSourceDataset({'pets': {**source, **settings}})


def refused(dataset, message, index=0):
    with pytest.raises(SourceError, match=f"source 'pets': .*{message}"):
        dataset[index]


def ramp(height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2, y * 3, x + y], -1).astype(np.uint8)


COLORS = ramp()
GRAY = np.array(Image.fromarray(COLORS).convert('L'))
THRICE = np.repeat(GRAY[..., None], 3, -1)
FEW = Image.fromarray(COLORS).quantize(16)
MODES = {
    'CMYK': ('jpg', Image.fromarray(COLORS).convert('CMYK'), COLORS),
    'gray': ('jpg', Image.fromarray(GRAY), THRICE),
    '16-bit': ('png', Image.fromarray(GRAY.astype(np.uint16) * 257), THRICE),
    'palette': ('png', FEW, np.array(FEW.convert('RGB'))),
    'alpha': ('png', Image.fromarray(np.dstack([COLORS, GRAY])), COLORS),
    'gray with alpha': ('png', Image.fromarray(np.dstack([GRAY, GRAY[::-1]])), THRICE),
    'two colors': ('png', Image.fromarray(GRAY).convert('1'), None),
}


@pytest.mark.parametrize('mode', MODES)
def test_images_of_other_modes_are_read_as_their_colors(tmp_path, mode):
    kind, picture, colors = MODES[mode]
    source = class_folders(tmp_path)
    picture.save(tmp_path / 'train' / 'cat' / f'-0.{kind}')
    colors = np.array(picture.convert('RGB')) if colors is None else colors
    found = dataset_of(source)[0]['data']['inputs'].permute(1, 2, 0).numpy()[..., ::-1].astype(int)
    assert np.abs(found - colors).mean() < 2


def test_a_12_bit_image_is_refused(tmp_path):
    source = class_folders(tmp_path)
    Image.fromarray(GRAY.astype(np.uint16) * 16).save(tmp_path / 'train' / 'cat' / '-0.png')
    refused(dataset_of(source), r'-0\.png has 16 bits a channel, but uses 12 or fewer')


def test_a_16_bit_image_is_refused_where_pillow_would_clip_it(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'][0]['imdecode_backend'] = 'pillow'
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / 'train' / 'cat' / '-0.png')
    refused(dataset_of(source), r'-0\.png has 16 bits a channel, which Pillow clips')


@pytest.mark.parametrize(
    ('backend', 'picture', 'message'),
    [
        ('cv2', GRAY.astype(np.uint16) * 16, 'has 16 bits a channel, but uses 12 or fewer'),
        ('pillow', GRAY.astype(np.uint16) * 257, 'has 16 bits a channel, which Pillow clips'),
        ('pillow', GRAY.astype(np.float32) / 255, 'has 32 bits a channel'),
    ],
)
def test_a_tiff_whose_values_are_not_colors_is_refused(tmp_path, backend, picture, message):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'][0]['imdecode_backend'] = backend
    Image.fromarray(picture).save(tmp_path / 'train' / 'cat' / '-0.tif')
    refused(dataset_of(source), rf'-0\.tif {message}')


@pytest.mark.parametrize(
    'labels', [np.full((HEIGHT, WIDTH), 258, np.uint16), np.full((HEIGHT, WIDTH), 1.5, np.float32)]
)
def test_a_tiff_whose_labels_would_be_cut_is_refused(tmp_path, labels):
    source = label_maps(tmp_path)
    Image.fromarray(labels).save(tmp_path / 'maps' / '0.png', format='TIFF')
    refused(dataset_of(source), r'0\.jpg cannot be used: its label map .*0\.png has labels above 255 or between')


@pytest.mark.parametrize('content', [b'', b'no picture', b'\xff\xd8'])
def test_an_unreadable_image_is_named(tmp_path, content):
    source = class_folders(tmp_path)
    (tmp_path / 'train' / 'cat' / '0.jpg').write_bytes(content)
    refused(dataset_of(source), r'cat/0\.jpg cannot be read')


def test_an_image_padded_with_zeros_is_named(tmp_path):
    source = class_folders(tmp_path)
    path = tmp_path / 'train' / 'cat' / '0.jpg'
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    refused(dataset_of(source), r'cat/0\.jpg is truncated')


def test_a_transform_that_returns_none_does_not_substitute_an_image(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'][0]['ignore_empty'] = True
    (tmp_path / 'train' / 'cat' / '0.jpg').write_bytes(b'')
    refused(dataset_of(source), r'cat/0\.jpg cannot be read: its loader returned None')


def test_an_augmentation_that_drops_the_image_is_repeated_on_it(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'].insert(1, dict(type='NowAndThenNothing'))
    dataset = dataset_of(source)
    assert [dataset[i]['data']['data_samples'].img_path for i in range(len(dataset))] == [
        dataset.datasets['pets'].get_data_info(i)['img_path'] for i in range(len(dataset))
    ]


def test_an_augmentation_that_always_drops_the_image_is_an_error(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'].insert(1, dict(type='NowAndThenNothing', never=True))
    refused(dataset_of(source), r'cat/0\.jpg has nothing left of it after its augmentation, in 20 tries')


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied_in_classification(tmp_path, orientation):
    source = class_folders(tmp_path)
    turned(tmp_path / 'train' / 'cat' / '0.jpg', orientation)
    shape = dataset_of(source)[0]['data']['inputs'].shape[1:]
    assert shape == ((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH))


def test_boxes_on_a_rotated_image_are_used_if_its_annotated_size_is_rotated(tmp_path):
    source = coco(tmp_path)

    def swap(content):
        content['images'][0].update(width=HEIGHT, height=WIDTH)

    write_coco(tmp_path, swap)
    turned(tmp_path / 'train' / '0.jpg', 6)
    assert dataset_of(source)[0]['data']['inputs'].shape[1:] == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ('orientation', 'message'),
    [(6, r'is of 72 x 96 pixels, but annotated as 96 x 72; .*EXIF orientation'), (3, 'has EXIF orientation 3')],
)
def test_boxes_of_an_image_rotated_after_annotation_are_refused(tmp_path, orientation, message):
    source = coco(tmp_path)
    turned(tmp_path / 'train' / '0.jpg', orientation)
    refused(dataset_of(source), rf'0\.jpg {message}.*color_ignore_orientation')
    source['dataset']['pipeline'][0]['color_type'] = 'color_ignore_orientation'
    assert dataset_of(source)[0]['data']['inputs'].shape[1:] == (HEIGHT, WIDTH)


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path):
    source = coco(tmp_path)
    Image.fromarray(ramp(50, 60)).save(tmp_path / 'train' / '0.jpg')
    refused(dataset_of(source), r'0\.jpg is of 60 x 50 pixels, but annotated as 96 x 72;')


@pytest.mark.parametrize(
    ('box', 'message'),
    [
        ([30, 12, 30, 48], r'has a box of no area: \(29, 11, 29, 47\) in 96 x 72 pixels'),
        ([60, 12, 20, 48], 'has a box of no area'),
        ([100, 12, 140, 48], 'has a box outside of the picture'),
        ([20, 12, 60, 480], 'has a box far larger than the picture'),
    ],
)
def test_boxes_that_no_object_has_are_refused(tmp_path, box, message):
    source = voc(tmp_path)
    write_xml(tmp_path / 'Annotations' / '0.xml', box)
    refused(dataset_of(source), rf'0\.jpg {message}')


def test_boxes_partly_outside_are_left_to_the_pipeline(tmp_path):
    source = voc(tmp_path)
    write_xml(tmp_path / 'Annotations' / '0.xml', [-20, 12, 110, 60])
    boxes = dataset_of(source)[0]['data']['data_samples'].gt_instances.bboxes
    assert boxes.tensor.tolist() == [[-21, 11, 109, 59]]


@pytest.mark.parametrize('label', [-1, 2])
def test_a_label_outside_of_the_classes_is_refused(tmp_path, label):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text(f'0.jpg {label}\n1.jpg 1\n')
    refused(dataset_of(source), rf'0\.jpg has label {label}, but there are 2 classes')


def test_classes_are_those_of_the_head(tmp_path):
    source = class_list(tmp_path)
    del source['dataset']['metainfo']
    network = dict(head=dict(num_classes=1))
    refused(dataset_of(source, network=network), 'has label 1, but there are 1 classes', index=1)
    with pytest.raises(SourceError, match=r'dataset.* 2 classes.* head 1 .*train\.txt\)'):
        dataset_of(class_list(tmp_path), network=network)


def test_label_maps_of_another_size_are_refused_even_if_loaded_after_resizing(tmp_path):
    source = label_maps(tmp_path)
    Image.fromarray(np.zeros((36, 48), np.uint8)).save(tmp_path / 'maps' / '0.png')
    refused(dataset_of(source), r'0\.jpg is of \(H, W\) = \(72, 96\), but its label map .*0\.png of \(36, 48\)')
    source['dataset']['pipeline'].insert(1, dict(type='Resize', scale=(48, 36)))
    refused(dataset_of(source), r'but its label map .*0\.png of \(36, 48\)')
    assert dataset_of(source)[1]['data']['inputs'].shape[1:] == (36, 48)


@pytest.mark.parametrize(
    ('pixels', 'message'),
    [
        (np.full((HEIGHT, WIDTH), 4, np.uint8), 'has label 4 in its label map .*, but there are 4 classes'),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), r'but its label map .*0\.png of \(72, 96, 3\)'),
        (np.full((HEIGHT, WIDTH), 256, np.uint16), 'has labels above 255'),
    ],
)
def test_label_maps_of_other_values_or_modes_are_refused(tmp_path, pixels, message):
    source = label_maps(tmp_path)
    cv2.imwrite(str(tmp_path / 'maps' / '0.png'), pixels)
    refused(dataset_of(source), message)


def test_a_label_map_with_a_flipped_bit_is_refused(tmp_path):
    source = label_maps(tmp_path)
    path = tmp_path / 'maps' / '0.png'
    content = bytearray(path.read_bytes())
    content[content.index(b'IEND') - 5] ^= 1  # in the checksum of the pixels
    path.write_bytes(bytes(content))
    with Image.open(path) as picture:
        picture.load()
    refused(dataset_of(source), r'0\.jpg cannot be used: its label map .*0\.png is damaged')


def test_an_undecodable_label_map_is_named_with_its_image(tmp_path):
    source = label_maps(tmp_path)
    (tmp_path / 'maps' / '0.png').write_bytes(b'no picture')
    refused(dataset_of(source), r'0\.jpg cannot be used with its map .*maps/0\.png: cannot identify')


def test_another_ignored_value_is_the_head_s(tmp_path):
    source = label_maps(tmp_path)
    write_labels(tmp_path / 'maps' / '0.png', [0, 1, 3, 9])
    refused(dataset_of(source), 'has label 9')
    network = dict(decode_head=dict(num_classes=4, ignore_index=9))
    assert 9 in dataset_of(source, network=network)[0]['data']['data_samples'].gt_sem_seg.data


@pytest.mark.parametrize('form', small_sources.FORMS)
def test_valid_data_is_read_through_wrappers(tmp_path, form):
    source = small_sources.FORMS[form](tmp_path)
    plain = dataset_of(source)
    inner = {k: v for k, v in source['dataset'].items() if k != '_scope_'}
    source['dataset'] = dict(_scope_=source['dataset']['_scope_'], type='RepeatDataset', times=2, dataset=dict(inner))
    wrapped = dataset_of(source)
    assert len(wrapped) == 2 * len(plain) == 2 * small_sources.COUNT
    for i in range(len(plain)):
        assert (plain[i]['data']['inputs'] == wrapped[i]['data']['inputs']).all()


@pytest.mark.parametrize('folder', ['.ipynb_checkpoints', '__MACOSX'])
@pytest.mark.parametrize('classes', [2, 3])
def test_folders_of_other_programs_are_refused_as_classes(tmp_path, folder, classes):
    source = class_folders(tmp_path)
    (tmp_path / 'train' / folder).mkdir()
    (tmp_path / 'train' / 'cat' / '0.jpg').rename(tmp_path / 'train' / folder / '0.jpg')
    with pytest.raises(SourceError, match=rf"'pets': .*takes \['{folder}'\] of .*train.*delete") as caught:
        dataset_of(source, network=dict(head=dict(num_classes=classes)))
    assert 'set its num_classes' not in str(caught.value)


def test_a_transform_out_of_scope_is_explained_with_its_scope(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'].append(dict(type='PackDetInputs'))
    with pytest.raises(SourceError, match=r"'pets': .*no transform 'PackDetInputs' .*mmpretrain.* mmdet"):
        dataset_of(source)
