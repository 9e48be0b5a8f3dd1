"""What a picture's bytes say that its pixels do not."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from xlearner_mm.datasets.image_file import ImageFile, png_damage

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def encoded(kind, pixels=PIXELS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def opened(tmp_path, content, backend_args=None):
    (tmp_path / 'picture').write_bytes(content)
    return ImageFile.open(str(tmp_path / 'picture'), backend_args)


JPEGS = {'baseline': encoded('JPEG'), 'progressive': encoded('JPEG', progressive=True)}


@pytest.mark.parametrize('kind', JPEGS)
def test_a_whole_jpeg_has_its_end_also_with_bytes_after_it(tmp_path, kind):
    assert not opened(tmp_path, JPEGS[kind]).lacks_its_end
    assert not opened(tmp_path, JPEGS[kind] + bytes(100)).lacks_its_end


@pytest.mark.parametrize('kind', JPEGS)
@pytest.mark.parametrize('share', [0.1, 0.5, 0.99])
def test_a_jpeg_cut_short_or_filled_up_with_zeros_lacks_its_end(tmp_path, kind, share):
    content = JPEGS[kind]
    start = content[: int(len(content) * share)]
    assert opened(tmp_path, start).lacks_its_end
    assert opened(tmp_path, start + bytes(len(content) - len(start))).lacks_its_end


def test_the_end_of_a_thumbnail_is_not_the_picture_s(tmp_path):
    thumbnail = encoded('JPEG', PIXELS[::4, ::4])
    segment = b'Exif\0\0' + thumbnail
    content = b'\xff\xd8\xff\xe1' + (len(segment) + 2).to_bytes(2, 'big') + segment + JPEGS['baseline'][2:]
    assert not opened(tmp_path, content).lacks_its_end
    assert opened(tmp_path, content[:-50]).lacks_its_end


@pytest.mark.parametrize('content', [b'', b'\xff', b'\xff\xd8', b'\xff\xd8\xff\xda', b'no picture'])
def test_any_bytes_can_be_looked_at(tmp_path, content):
    assert opened(tmp_path, content).lacks_its_end == content.startswith(b'\xff\xd8')
    assert opened(tmp_path, content).bits == 8
    assert opened(tmp_path, content).orientation == 1


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_the_orientation_is_read_where_opencv_obeys_it(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(kind, exif=exif.tobytes())
    assert opened(tmp_path, content).orientation == orientation
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == ((64, 48) if orientation == 6 else (48, 64))


@pytest.mark.parametrize('kind', ['.png', '.tiff'])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_bits_of_a_channel_are_seen(tmp_path, kind, channels):
    # Of three channels of floats, OpenCV makes 16 bits a channel.
    kinds = (np.uint8, np.uint16, np.float32) if (kind, channels) == ('.tiff', 1) else (np.uint8, np.uint16)
    for dtype in kinds:
        _, content = cv2.imencode(kind, PIXELS[..., :channels].astype(dtype))
        assert opened(tmp_path, content.tobytes()).bits == 8 * np.dtype(dtype).itemsize


@pytest.mark.parametrize('start', [b'\x89PNG\r\n\x1a\n', b'II*\0', b'MM\0*', b'II*\0\xff\xff\xff\xff'])
def test_of_a_header_cut_short_there_are_eight_bits(tmp_path, start):
    assert opened(tmp_path, start).bits == 8


def test_another_file_backend_sees_the_same(tmp_path):
    cut = JPEGS['baseline'][:-9]
    assert opened(tmp_path, cut, backend_args=dict(backend='local')).lacks_its_end


def test_a_damaged_png_is_recognised_wherever_a_byte_is_changed():
    content = encoded('PNG', PIXELS[:8, :8])
    assert png_damage(content) is None
    assert png_damage(JPEGS['baseline']) is None
    for position in range(8, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        assert png_damage(bytes(damaged)) is not None, position
        assert png_damage(content[:position]) == 'is truncated'
