"""In every stock config with a plain ResNet, ours takes its place and computes the same."""

from collections.abc import Iterator

import pytest
import torch

from .stock_walk import Found, as_ours, assert_ours_is_stock, built, files_of, folder_of, resnets_in

# Files that MMEngine cannot read with the stock type either: the package lacks their base, their base is of the newer
# kind, or lacks what they take from it. Of them, only those below `sort/` have a ResNet.
UNREADABLE = {
    'mmdet': {
        'sort/faster-rcnn_r50_fpn_8xb2-4e_mot17train_test-mot17train.py',
        'sort/faster-rcnn_r50_fpn_8xb2-8e_mot20halftrain_test-mot20halfval.py',
        'sort/faster-rcnn_r50_fpn_8xb2-8e_mot20train_test-mot20train.py',
        'bytetrack/bytetrack_yolox_x_8xb4-amp-80e_crowdhuman-mot17halftrain_test-mot17test.py',
    },
    'mmseg': set(),
    'mmpretrain': {
        'replknet/deploy/replknet-31B-deploy_32xb64_in1k-384px.py',
        'replknet/deploy/replknet-31B-deploy_32xb64_in1k.py',
        'replknet/replknet-31B_32xb64_in1k-384px.py',
        'replknet/replknet-31B_32xb64_in1k.py',
        'swin_transformer_v2/swinv2-base-w12_8xb128_in21k-192px.py',
        'swin_transformer_v2/swinv2-large-w12_8xb128_in21k-192px.py',
    },
}
# A norm with eps=0 runs on no current torch, whichever the backbone's type.
REFUSED_BY_TORCH = {
    'mmdet': {
        'nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco.py',
        'nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py',
    },
    'mmseg': set(),
    'mmpretrain': set(),
}
SAMPLE = [
    ('mmdet', 'empirical_attention/faster-rcnn_r50-attn1111-dcn_fpn_1x_coco.py'),
    ('mmdet', 'faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py'),
    ('mmdet', 'reid/reid_r50_8xb32-6e_mot15train80_test-mot15val20.py'),
    ('mmseg', 'fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    ('mmseg', 'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py'),
    ('mmpretrain', 'resnet/resnetv1d50_8xb32_in1k.py'),
    ('mmpretrain', 'resnet/resnet50_8xb256-rsb-a1-600e_in1k.py'),
]
"""DCN with attention, caffe and dilated, of another library, dilated with a deep stem, nested, pooled, stochastic."""


@pytest.mark.parametrize(('library', 'file'), SAMPLE, ids=[file.split('/')[1] for _, file in SAMPLE])
def test_a_stock_config_of_every_kind(library, file):
    found = resnets_in(folder_of(library) / file)
    assert found
    for one in found:
        assert_ours_is_stock(one, also_training=True)


@pytest.mark.slow
@pytest.mark.parametrize('library', UNREADABLE)
def test_all_stock_configs(library, capsys):
    with_resnet: dict[str, list[Found]] = dict(walk(library))
    first = {one.identity: one for found in with_resnet.values() for one in found}
    equal = {identity for identity, one in first.items() if runs_and_equals(one)}
    good = {name for name, found in with_resnet.items() if all(one.identity in equal for one in found)}
    with capsys.disabled():
        print(f'\n{library}: {len(good)} of {len(with_resnet)} configs equal stock, {len(first)} distinct backbones')
    assert set(with_resnet) - good == REFUSED_BY_TORCH[library]
    # A walk that finds nothing proves nothing.
    assert len(with_resnet) >= {'mmdet': 400, 'mmseg': 400, 'mmpretrain': 50}[library]


@pytest.mark.parametrize('file', sorted(REFUSED_BY_TORCH['mmdet']))
def test_exceptions_also_fail_with_the_stock_type(file):
    (found,) = resnets_in(folder_of('mmdet') / file)
    for cfg in (found.cfg, as_ours(found.cfg)):
        net = built(cfg, found.scope)
        net.eval()
        with pytest.raises(ValueError, match='eps .*positive.*got 0'):
            net(torch.zeros(1, 3, 32, 32))


def walk(library: str) -> Iterator[tuple[str, list[Found]]]:
    """Yield every file that holds a plain ResNet."""
    unreadable = set()
    for path in files_of(library):
        name = path.relative_to(folder_of(library)).as_posix()
        try:
            found = resnets_in(path)
        except (FileNotFoundError, KeyError, RuntimeError):
            unreadable.add(name)
            continue
        if found:
            yield name, found
    assert unreadable == UNREADABLE[library]


def runs_and_equals(one: Found) -> bool:
    """Compare, and say which it is when it differs."""
    try:
        assert_ours_is_stock(one)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        print(f'{one.scope} {one.place} {one.cfg}: {error}')
        return False
    return True
