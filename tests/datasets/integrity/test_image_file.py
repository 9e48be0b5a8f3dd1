"""What a picture's bytes say that its pixels do not."""

import io
import struct
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from xlearner_mm.datasets.integrity.image_file import ImageFile, png_damage

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
def test_a_complete_jpeg_is_accepted_with_trailing_bytes(tmp_path, kind):
    assert not opened(tmp_path, JPEGS[kind]).lacks_its_end
    assert not opened(tmp_path, JPEGS[kind] + bytes(100)).lacks_its_end


@pytest.mark.parametrize('kind', JPEGS)
@pytest.mark.parametrize('share', [0.1, 0.5, 0.99])
def test_a_truncated_or_zero_padded_jpeg_lacks_its_end_marker(tmp_path, kind, share):
    content = JPEGS[kind]
    start = content[: int(len(content) * share)]
    assert opened(tmp_path, start).lacks_its_end
    assert opened(tmp_path, start + bytes(len(content) - len(start))).lacks_its_end


def test_the_end_marker_of_a_thumbnail_does_not_count(tmp_path):
    thumbnail = encoded('JPEG', PIXELS[::4, ::4])
    segment = b'Exif\0\0' + thumbnail
    content = b'\xff\xd8\xff\xe1' + (len(segment) + 2).to_bytes(2, 'big') + segment + JPEGS['baseline'][2:]
    assert not opened(tmp_path, content).lacks_its_end
    assert opened(tmp_path, content[:-50]).lacks_its_end


@pytest.mark.parametrize('content', [b'', b'\xff', b'\xff\xd8', b'\xff\xd8\xff\xda', b'no picture'])
def test_any_bytes_can_be_inspected(tmp_path, content):
    assert opened(tmp_path, content).lacks_its_end == content.startswith(b'\xff\xd8')
    assert opened(tmp_path, content).bits == 8
    assert opened(tmp_path, content).orientation() == 1


SHOWN = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
CORNER = np.zeros((32, 48, 3), np.uint8)
CORNER[:8, :16] = 250


def seen(content, backend='cv2'):
    """The orientation in which a backend of mmcv shows a picture of :data:`CORNER`."""
    decoded = mmcv.imfrombytes(content, backend=backend)
    return next(
        key
        for key, show in SHOWN.items()
        if show(CORNER).shape == decoded.shape and np.abs(show(CORNER) - decoded.astype(float)).mean() < 9
    )


def exif(*entries, order='<', tag=0x0112):
    """EXIF data of a directory of (type, count, value of four bytes)."""
    start = {'<': b'II*\0', '>': b'MM\0*'}[order] + struct.pack(order + 'IH', 8, len(entries))
    rows = [struct.pack(order + 'HHI', tag, kind, count) + value for kind, count, value in entries]
    return start + b''.join(rows) + bytes(4)


def short(number, order='<'):
    return 3, 1, struct.pack(order + 'HH', number, 0)


def segment(content, marker=b'\xff\xe1'):
    return marker + struct.pack('>H', len(content) + 2) + content


def jpeg_of(data, before=b''):
    content = encoded('JPEG', CORNER)
    return content[:2] + before + segment(b'Exif\0\0' + data) + content[2:]


def png_of(data, late=False):
    content = encoded('PNG', CORNER)
    place = len(content) - 12 if late else 33
    part = b'eXIf' + data
    return content[:place] + struct.pack('>I', len(data)) + part + struct.pack('>I', zlib.crc32(part)) + content[place:]


@pytest.mark.parametrize('number', [0, *range(1, 9), 9, 255, 65535])
@pytest.mark.parametrize('order', '<>')
def test_orientation_agrees_with_opencv_and_pillow_and_unknown_numbers_mean_as_stored(tmp_path, number, order):
    data = exif(short(number, order), order=order)
    turned = number if number in range(1, 9) else 1
    for content in (jpeg_of(data), png_of(data), png_of(data, late=True)):
        assert opened(tmp_path, content).orientation() == seen(content) == turned
        assert opened(tmp_path, content).orientation('pillow') == seen(content, 'pillow') == turned


@pytest.mark.parametrize('number', [0, 1, 3, 6, 9])
def test_orientation_of_a_tiff(tmp_path, number):
    content = encoded('TIFF', CORNER, tiffinfo={0x0112: number})
    assert opened(tmp_path, content).orientation() == seen(content)


SIX = struct.pack('<HH', 6, 0)
ODD = {
    'of another type': exif((4, 1, SIX)),
    'of another type, the other order': exif((4, 1, struct.pack('>I', 6)), order='>'),
    'a text': exif((2, 2, b'6\0\0\0')),
    'a float': exif((11, 1, struct.pack('<f', 6))),
    'two numbers': exif((3, 2, struct.pack('<HH', 6, 1))),
    'no number': exif((3, 0, SIX)),
    'of a type that is none': exif((0, 1, SIX)),
    'twice': exif(short(3), short(6)),
    'of another tag': exif(short(6), tag=0x0113),
    'cut short': exif(short(6))[:-9],
    'no directory': b'II*\0',
    'no EXIF data': b'no EXIF data at all',
    'nothing': b'',
}


@pytest.mark.parametrize('case', ODD)
def test_malformed_exif_data_is_read_as_opencv_does(tmp_path, case):
    assert opened(tmp_path, jpeg_of(ODD[case])).orientation() == seen(jpeg_of(ODD[case]))


@pytest.mark.parametrize(
    ('before', 'turned'),
    [
        (segment(bytes(60_000), b'\xff\xe2'), 6),
        (segment(b'http://ns.adobe.com/xap/1.0/\0<x/>'), 1),
        (segment(b'Exif\0\0' + exif(short(3))), 3),
    ],
)
def test_opencv_reads_only_the_first_exif_segment(tmp_path, before, turned):
    content = jpeg_of(exif(short(6)), before)
    assert opened(tmp_path, content).orientation() == seen(content) == turned


def test_an_image_above_pillows_limit_has_an_orientation(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    assert opened(tmp_path, jpeg_of(exif(short(6)))).orientation() == 6


@pytest.mark.parametrize('kind', ['.png', '.tiff'])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_bits_of_a_channel_are_seen(tmp_path, kind, channels):
    # Of three channels of floats, OpenCV makes 16 bits a channel.
    kinds = (np.uint8, np.uint16, np.float32) if (kind, channels) == ('.tiff', 1) else (np.uint8, np.uint16)
    for dtype in kinds:
        _, content = cv2.imencode(kind, PIXELS[..., :channels].astype(dtype))
        assert opened(tmp_path, content.tobytes()).bits == 8 * np.dtype(dtype).itemsize


@pytest.mark.parametrize('start', [b'\x89PNG\r\n\x1a\n', b'II*\0', b'MM\0*', b'II*\0\xff\xff\xff\xff'])
def test_a_truncated_header_counts_as_eight_bits(tmp_path, start):
    assert opened(tmp_path, start).bits == 8


def test_other_file_backends_give_the_same_result(tmp_path):
    cut = JPEGS['baseline'][:-9]
    assert opened(tmp_path, cut, backend_args=dict(backend='local')).lacks_its_end


def test_any_changed_byte_of_a_png_is_detected():
    content = encoded('PNG', PIXELS[:8, :8])
    assert png_damage(content) is None
    assert png_damage(JPEGS['baseline']) is None
    for position in range(8, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        assert png_damage(bytes(damaged)) is not None, position
        assert png_damage(content[:position]) == 'is truncated'
