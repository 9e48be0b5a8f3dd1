import pytest

from xlearner_mm.datasets import parse_sources
from xlearner_mm.errors import ConfigError, SourceError

GOOD = dict(task='cls', batch_size=4, dataset=dict(type='X'))


@pytest.mark.parametrize(
    ('network', 'expected'),
    [
        ({}, None),
        (dict(head=dict(num_classes=10), data_preprocessor=dict(num_classes=1000)), 10),
        (dict(bbox_head=dict(num_classes=80), panoptic_head=dict(num_things_classes=80, num_stuff_classes=53)), 133),
        (dict(heads=[dict(num_classes=3), dict(num_classes=5)]), 5),
    ],
)
def test_the_classes_of_a_head_are_the_most_that_a_part_tells_apart(network, expected):
    assert parse_sources(dict(coco=dict(**GOOD, network=network)))['coco'].head_classes == expected


def test_known_settings_are_read():
    sources = parse_sources(dict(imagenet=dict(**GOOD, loss_weight=0.5)))
    assert sources['imagenet'].name == 'imagenet'
    assert sources['imagenet'].loss_weight == 0.5


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(GOOD, batch_size=0), r"source 'coco': batch_size must be .* at least 1, got 0"),
        (dict(GOOD, batchsize=4), r"source 'coco': unknown setting 'batchsize'; did you mean 'batch_size'\?"),
        (dict(task='cls', batch_size=4), r"source 'coco': missing setting\(s\) \['dataset'\]"),
        (dict(GOOD, loss_weight=-1.0), r"source 'coco': loss_weight must be a number that is not negative, got -1"),
        (dict(GOOD, loss_weight='a'), r"source 'coco': loss_weight must be a number that is not negative, got 'a'"),
        (dict(GOOD, loss_weight=float('nan')), r"source 'coco': loss_weight must be a number .*, got nan"),
        (dict(GOOD, data_fraction=0), r'coco.*data_fraction.*above 0.*got 0'),
        (dict(GOOD, data_fraction=1.5), r'coco.*data_fraction.*at most 1.*got 1\.5'),
        (dict(GOOD, strict_paths='yes'), r"source 'coco': strict_paths must be True or False, got 'yes'"),
        (
            dict(GOOD, val_evaluator=dict(type='Accuracy')),
            r"source 'coco': val_dataloader and val_evaluator go together",
        ),
        (
            dict(GOOD, bad_data=dict(polcy='skip')),
            r"source 'coco': bad_data: unknown setting 'polcy'; did you mean 'policy'\?",
        ),
        (dict(GOOD, bad_data=dict(policy='warn')), r"source 'coco': bad_data\.policy is 'warn', choose from"),
        (
            dict(GOOD, bad_data=dict(max_share=1)),
            r"source 'coco': bad_data\.max_share must be from 0 to below 1, got 1",
        ),
        (dict(GOOD, bad_data='skip'), r"source 'coco': bad_data must be a dict of settings, got 'skip'"),
        ('coco.py', r"source 'coco': expected a dict of settings"),
    ],
)
def test_a_bad_source_is_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse_sources(dict(coco=settings))


@pytest.mark.parametrize('name', ['lossy', 'a.b', 'a__b', '1st'])
def test_a_name_that_would_confuse_the_log_is_refused(name):
    with pytest.raises(SourceError, match='identifier'):
        parse_sources({name: GOOD})


@pytest.mark.parametrize('name', ['train', 'type', 'keys', 'training'])
def test_a_name_that_its_network_could_not_have_is_refused(name):
    with pytest.raises(SourceError, match=f"source '{name}': .*ModuleDict.*rename"):
        parse_sources({name: GOOD})


def test_no_source_is_refused():
    with pytest.raises(ConfigError, match='empty'):
        parse_sources({})
