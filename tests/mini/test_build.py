from __future__ import annotations

import hashlib

import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.mini import CATALOG, MARKER, build, is_complete, make_mini

ONE_OF_EACH_LAYOUT = ['digits', 'symbols', 'det_digits', 'seg_things', 'voc_mini', 'nyu_mini']


def digests(root):
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes(tmp_path):
    make_mini(tmp_path / 'a', seed=3, only=ONE_OF_EACH_LAYOUT, scale=0.005)
    # Written alone and in another order, a set must come out the same.
    for name in reversed(ONE_OF_EACH_LAYOUT):
        make_mini(tmp_path / 'b', seed=3, only=[name], scale=0.005)
    assert digests(tmp_path / 'a') == digests(tmp_path / 'b')


def test_another_seed_gives_other_images(tmp_path):
    for seed in (0, 1):
        make_mini(tmp_path / str(seed), seed=seed, only=['symbols'], scale=0.01)
    first, second = (digests(tmp_path / seed / 'symbols') for seed in '01')
    assert set(first) == set(second)
    assert not {v for k, v in first.items() if k != MARKER} & set(second.values())


def test_no_image_is_in_two_splits(mini_root):
    for name in CATALOG:
        pictures = [
            digest for path, digest in digests(mini_root / name).items() if path.endswith('.jpg') or name == 'digits'
        ]
        assert len(pictures) == len(set(pictures)), name


def test_writes_the_counts_it_promises(mini_root):
    for name in ('digits', 'letters'):
        for split, count in CATALOG[name].scaled(0.01).items():
            assert len(list((mini_root / name / split).glob('*/*'))) == count


def test_every_set_gets_a_sheet(mini_root):
    assert {path.stem for path in (mini_root / 'sheets').iterdir()} == set(CATALOG)


def test_keeps_what_is_complete(tmp_path):
    lines = []
    make_mini(tmp_path, only=['symbols'], scale=0.01)
    before = (tmp_path / 'symbols' / MARKER).stat().st_mtime_ns
    make_mini(tmp_path, only=['symbols'], scale=0.01, report=lines.append)
    assert (tmp_path / 'symbols' / MARKER).stat().st_mtime_ns == before
    assert 'there already' in lines[0]


def test_another_seed_or_scale_replaces_the_set(tmp_path):
    make_mini(tmp_path, only=['symbols'], scale=0.02)
    make_mini(tmp_path, only=['symbols'], scale=0.01, seed=1)
    counts = CATALOG['symbols'].scaled(0.01)
    assert is_complete(tmp_path / 'symbols', 1, counts)
    assert len(list((tmp_path / 'symbols' / 'train').glob('*/*'))) == counts['train']


def test_an_interrupted_run_is_not_marked_complete(tmp_path, monkeypatch):
    entry = CATALOG['symbols']
    recipe = build.RECIPES['symbols']

    def interrupted(rng, index, held_out):
        if index == 5:
            raise KeyboardInterrupt
        return recipe(rng, index, held_out)

    with monkeypatch.context() as patch:
        patch.setitem(build.RECIPES, 'symbols', interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_mini(tmp_path, only=['symbols'], scale=0.01)
    assert not (tmp_path / 'symbols').exists()
    make_mini(tmp_path, only=['symbols'], scale=0.01)
    assert is_complete(tmp_path / 'symbols', 0, entry.scaled(0.01))
    assert not list(tmp_path.glob('.symbols*'))


def test_a_damaged_marker_does_not_count_as_complete(tmp_path):
    make_mini(tmp_path, only=['symbols'], scale=0.01)
    (tmp_path / 'symbols' / MARKER).write_text('{"version"')
    assert not is_complete(tmp_path / 'symbols', 0, CATALOG['symbols'].scaled(0.01))


def test_errors_name_the_fix(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown sets \['imagenet'\]; XL-Mini has .*'digits'"):
        make_mini(tmp_path, only=['imagenet'])
    with pytest.raises(ConfigError, match='scale.*positive, got 0'):
        make_mini(tmp_path, scale=0)
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'XL-Mini .*written.*file'):
        make_mini(tmp_path / 'file')
