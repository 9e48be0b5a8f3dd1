"""Choices follow from the data, the device and the wishes, and from nothing else."""

import math

import pytest

from tests.pretraining.conftest import CPU, GPU, a_layout
from xlearner_mm.errors import ConfigError
from xlearner_mm.pretraining.choices import (
    Backbone,
    Peak,
    choose_backbone,
    choose_batch_size,
    choose_network,
    choose_size,
    class_weights,
    factor_that_fits,
    find_device,
    fitting,
)


def size_of(task, device, **sizes):
    return choose_size(a_layout(task, **sizes), device).value


@pytest.mark.parametrize(('short', 'on_cpu', 'on_gpu'), [(28, 64, 64), (75, 64, 64), (90, 96, 96), (480, 96, 224)])
def test_classification_takes_the_own_size_up_to_a_limit_of_the_device(short, on_cpu, on_gpu):
    assert size_of('cls', CPU, short=short) == on_cpu
    assert size_of('cls', GPU, short=short) == on_gpu


def test_crops_of_segmentation_are_larger():
    assert size_of('seg', GPU, short=1024, long=2048) == 512
    assert size_of('seg', CPU, short=1024, long=2048) == 128


def test_detectors_on_a_gpu_see_at_most_the_stock_scale():
    assert size_of('det', GPU, short=480, long=640) == (640, 480)
    long, short = size_of('det', GPU, short=3000, long=4000)
    assert (long, short) == (1056, 800)


@pytest.mark.parametrize('relative_size', [0.05, 0.1, 0.3])
def test_detectors_on_a_cpu_see_the_median_object_large_enough(relative_size):
    long, short = size_of('det', CPU, short=480, long=640, relative_size=relative_size)
    assert 128 <= long <= 320
    pixels = relative_size * math.sqrt(long * short)
    assert pixels >= 20 or long == 320, 'as far as the limit allows'


def test_no_image_is_enlarged_beyond_two_strides():
    assert size_of('det', CPU, short=64, relative_size=0.05) == (64, 64)
    assert size_of('cls', GPU, short=20) == 64


def test_a_step_takes_at_most_half_of_a_small_source():
    assert choose_batch_size(a_layout('cls', images=20), GPU, 64).value == 10
    assert choose_batch_size(a_layout('cls', images=2000), GPU, 64).value == 64
    assert (
        choose_batch_size(a_layout('det'), CPU, (64, 64)).value
        > choose_batch_size(a_layout('det'), CPU, (320, 320)).value
    )


@pytest.mark.parametrize(
    ('layout', 'device', 'size', 'kind'),
    [
        (a_layout('cls'), CPU, 64, 'LinearClsHead'),
        (a_layout('det'), GPU, (640, 480), 'ATSSHead'),
        (a_layout('det', per_image=30), CPU, (320, 320), 'ATSSHead'),
        (a_layout('det', per_image=30), GPU, (640, 480), 'StandardRoIHead'),
        (a_layout('seg'), CPU, 128, 'FCNHead'),
        (a_layout('seg'), GPU, 512, 'UPerHead'),
    ],
)
def test_heads_follow_from_the_data(layout, device, size, kind):
    network = choose_network(layout, device, Backbone(18, 64), size, steps=10_000).value
    heads = [network.get(key) for key in ('head', 'bbox_head', 'roi_head', 'decode_head')]
    assert [head['type'] for head in heads if head] == [kind]
    assert network['backbone']['out_indices'] == ((3,) if layout.task == 'cls' else (0, 1, 2, 3))


def test_anchors_at_the_first_level_are_of_the_median_object():
    layout = a_layout('det', relative_size=0.25)
    for side, anchor in ((64, 2), (128, 4), (512, 8)):
        head = choose_network(layout, CPU, Backbone(18, 16), (side, side), 100).value['bbox_head']
        assert head['anchor_generator']['octave_base_scale'] == anchor
        assert max(head['anchor_generator']['strides']) <= side / 2


def test_heads_of_a_short_training_start_larger():
    short, long = (choose_network(a_layout('cls'), CPU, Backbone(18, 16), 64, n).value for n in (100, 100_000))
    assert short['head']['init_cfg']['std'] > long['head']['init_cfg']['std'] == 0.01


def test_a_class_of_most_pixels_weighs_less_in_a_short_training():
    assert class_weights([0.85, 0.03, 0.03, 0.05, 0.04]) == pytest.approx([0.217, 1, 1, 0.894, 1], abs=1e-3)
    assert class_weights([0.4, 0.3, 0.3]) is None
    assert class_weights([0.9, 0.1, 0.0, 0.1])[2] == 1, 'it was not seen'
    assert class_weights([]) is None

    def loss(steps):
        network = choose_network(a_layout('seg'), CPU, Backbone(18, 16), 64, steps, [0.96, 0.04]).value
        return network['decode_head']['loss_decode']

    assert loss(100)['class_weight'][0] < 0.5 * loss(100)['class_weight'][1]
    assert 'class_weight' not in loss(100_000)


def test_the_backbone_follows_from_device_and_images_unless_asked_for():
    assert choose_backbone(None, CPU, 10**6)[0] == Backbone(18, 16)
    assert choose_backbone(None, GPU, 10**6)[0] == Backbone(50, 64)
    assert choose_backbone(None, GPU, 1000)[0] == Backbone(18, 64)
    assert choose_backbone('resnet50', CPU, 10)[0] == Backbone(50, 64)
    assert choose_backbone('resnet34-w32', GPU, 10)[0] == Backbone(34, 32)


@pytest.mark.parametrize('wanted', ['resnet19', 'vit', 'resnet18-w', 'resnet18-w6', 'resnet18-w0'])
def test_an_unknown_backbone_is_refused(wanted):
    with pytest.raises(ConfigError, match=f"'{wanted}'.*resnet50"):
        choose_backbone(wanted, CPU, 10)


def test_batches_are_halved_until_all_stages_fit():
    stages = [Peak(fixed=1e9, least=0.1e9, batch=3e9), Peak(fixed=2e9, least=0.1e9, batch=6e9)]
    assert factor_that_fits(stages, 8e9) == 1
    assert factor_that_fits(stages, 5e9) == 0.5
    assert factor_that_fits(stages, 4e9) == 0.25
    with pytest.raises(ConfigError, match=r'2\.4 GB.*2\.0'):
        factor_that_fits(stages, 2e9)


def test_a_batch_that_had_to_shrink_says_so():
    usual = choose_batch_size(a_layout('det'), GPU, (640, 480))
    assert fitting(usual, 1.0, GPU) == usual
    shrunk = fitting(usual, 0.25, GPU)
    assert shrunk.value == usual.value / 4
    assert '20.0 GB' in shrunk.reason
    assert fitting(choose_batch_size(a_layout('det', images=2), GPU, 64), 0.5, GPU).value == 1


def test_a_device_that_is_not_there_is_refused():
    import torch

    with pytest.raises(ConfigError, match="'tpu'"):
        find_device('tpu')
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match='no GPU'):
            find_device('cuda')
        assert find_device().kind == 'cpu'
