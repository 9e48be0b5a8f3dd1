"""A backbone as a folder that can be uploaded to a model hub: weights, settings and a model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import starmap
from pathlib import Path
from typing import Any

import yaml

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.checkpoint import META_KEY, resolve_checkpoint
from xlearner_mm.checkpoint.reading import PUBLISHED
from xlearner_mm.config.text import assignment
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.exporter import export_backbone
from xlearner_mm.export.formats import plain_resnet_of, require, timm_state, torchvision_state
from xlearner_mm.export.stored_backbone import StoredBackbone, find_backbone
from xlearner_mm.export.training_facts import Facts, read_facts
from xlearner_mm.normalization import RGB, Normalization

CARD, CONFIG = 'README.md', 'config.json'
_CARD_DIGEST = 'card_sha256'
"""Key of the config: the card as it was written."""
_HUB_TASKS = {'cls': 'image-classification', 'det': 'object-detection', 'seg': 'image-segmentation'}
_LICENSE = 'fill in: the licenses of the sources decide it'
_PAPER = 'https://arxiv.org/abs/2203.08764'
# Deep stem, pooling shortcut -> the type that has them.
_RESNETS = {(False, False): '', (True, False): 'V1c', (True, True): 'V1d'}


def publish_backbone(
    checkpoint: str,
    folder: str | Path,
    branch: str | None = None,
    *,
    license: str | None = None,
    expanded: bool = False,
    which: str = 'last',
    ema: bool | None = None,
) -> dict[str, Any]:
    """Write a checkpoint's backbone as a folder for a model hub.

    It holds ``model.safetensors``, ``config.json`` (our metadata, and timm's where timm has the network) and the card,
    ``README.md``. The card states what the checkpoint, and the logs beside it, record; what they do not, it names. A
    card edited by hand, and a card or config of something else, is never replaced.

    Args:
        checkpoint: a checkpoint of either stage, an export, or a work directory.
        folder: the folder to write; its name is the model's.
        branch: as for :func:`~xlearner_mm.export.export_backbone`. Defaults to None.
        license: identifier of a license, such as ``'apache-2.0'``. Defaults to None: left to be filled in.
        expanded: as for ``export_backbone``. Defaults to False.
        which: as for ``export_backbone``. Defaults to ``'last'``.
        ema: as for ``export_backbone``. Defaults to None.

    Returns:
        The metadata.

    Raises:
        CheckpointError: it cannot be exported, timm or torchvision is not installed, or the folder holds an edited card
            or files of something else.
    """
    folder = Path(folder)
    if folder.is_file():
        raise CheckpointError(f'{folder} is a file: name a folder for the model and its card')
    _refuse_others(folder)
    require('timm')
    path = resolve_checkpoint(checkpoint, which)
    meta = export_backbone(path, folder / PUBLISHED, branch, expanded=expanded, ema=ema)
    stored = find_backbone(str(folder / PUBLISHED), expanded=expanded)
    facts = read_facts(path, meta)
    other = _other_libraries(stored)
    timm = _timm_config(meta, other['timm']) if 'model' in other['timm'] else {}
    text = card(folder.resolve().name, stored, facts, other, license)
    settings = {**timm, META_KEY: meta, _CARD_DIGEST: _digest(text)}
    atomic_write_text(folder / CONFIG, json.dumps(settings, indent=1) + '\n')
    atomic_write_text(folder / CARD, text)
    return meta


def _refuse_others(folder: Path) -> None:
    """Refuse a folder with a card that was edited since it was written, or with a card or config of something else."""
    text = (folder / CARD).read_text(encoding='utf-8', errors='replace') if (folder / CARD).exists() else ''
    settings: Any = {}
    if (folder / CONFIG).exists():
        try:
            settings = json.loads((folder / CONFIG).read_text(encoding='utf-8'))
        except ValueError:
            settings = None
        if not isinstance(settings, dict) or META_KEY not in settings:
            raise CheckpointError(f'{folder / CONFIG} is not of an exported backbone: name another folder')
    if text and '\nlibrary_name: xlearner_mm\n' not in text.split('\n---')[0] + '\n':
        raise CheckpointError(f'{folder / CARD} is not the card of an exported backbone: name another folder')
    if text and _digest(text) != settings.get(_CARD_DIGEST):
        raise CheckpointError(
            f'{folder / CARD} was edited since it was written: name another folder, or move the card away and '
            'take over its edits afterwards (a license by --license)'
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _other_libraries(stored: StoredBackbone) -> dict[str, dict[str, Any]]:
    """Return, for timm and torchvision, how to build the model, or why it cannot be loaded as ``refused``."""
    found: dict[str, dict[str, Any]] = {}
    for name, convert in (('timm', timm_state), ('torchvision', torchvision_state)):
        try:
            state, found[name] = convert(stored)
        except CheckpointError as error:
            found[name] = {'refused': str(error).replace(stored.path, 'this file').split('; export')[0]}
        else:
            if state.keys() != stored.state.keys():
                found[name] = {'refused': f'{name} names its weights differently: export with --format {name}'}
    return found


def _timm_config(meta: Mapping[str, Any], timm: Mapping[str, Any]) -> dict[str, Any]:
    mean, std, _ = meta['normalization']
    scaled = {'mean': [v / 255 for v in mean or (0,) * 3], 'std': [v / 255 for v in std or (255,) * 3]}
    return {
        'architecture': timm['model'],
        'num_classes': 0,
        'num_features': meta['channels'][-1],
        'model_args': timm['kwargs'],
        'pretrained_cfg': {**scaled, 'num_classes': 0, 'first_conv': 'conv1', 'classifier': 'fc'},
    }


def card(
    name: str, stored: StoredBackbone, facts: Facts, other: Mapping[str, Mapping[str, Any]], license: str | None
) -> str:
    """Return a model card as Markdown with front matter.

    Args:
        name: of the model and its folder.
        stored: the published backbone.
        facts: of its training.
        other: library -> how to build the model, or why it cannot be loaded.
        license: identifier of a license; None: to be filled in.
    """
    meta = stored.meta
    text = yaml.safe_dump(_front_matter(name, meta, facts, other, license), sort_keys=False, allow_unicode=True)
    parts = [
        '---\n' + text.replace('license: null', f'license: null  # {_LICENSE}') + '---',
        f'# {name}\n\nBackbone `{meta["backbone"]["type"]}` from the {meta["stage"]} stage of [X-Learner]({_PAPER}), '
        f'trained on {len(meta["sources"])} labeled sources together. It has no head: it returns features of '
        f'{len(meta["channels"])} levels with {_listed(meta["channels"])} channels and strides '
        f'{_listed(meta["strides"])}.',
        '## Sources and scores\n\n' + _sources(meta, facts),
        '## Training\n\n' + _training(meta, facts),
        '## Normalization\n\n' + _normalization(meta),
        '## Loading\n\n' + _loading(name, stored, other),
        '## License\n\n' + (f'{license}.' if license else f'Not stated yet; {_LICENSE}.'),
    ]
    if facts.missing:
        parts.insert(-1, '## Not known\n\n' + '\n'.join(f'- {reason}' for reason in facts.missing))
    return '\n\n'.join(parts) + '\n'


def _front_matter(
    name: str,
    meta: Mapping[str, Any],
    facts: Facts,
    other: Mapping[str, Mapping[str, Any]],
    license: str | None,
) -> dict[str, Any]:
    libraries = [library for library, found in other.items() if 'model' in found]
    results = [
        {
            'task': {'type': _HUB_TASKS[task]},
            'dataset': {'name': source, 'type': source},
            'metrics': [{'type': facts.scores[source].metric, 'value': facts.scores[source].value}],
        }
        for source, task in meta['sources'].items()
        if source in facts.scores and task in _HUB_TASKS
    ]
    return {
        'library_name': 'xlearner_mm',
        'pipeline_tag': 'image-feature-extraction',
        'license': license,
        'tags': ['x-learner', 'backbone', 'mmdetection', 'mmsegmentation', 'mmpretrain', *libraries],
        **({'model-index': [{'name': name, 'results': results}]} if results else {}),
    }


def _sources(meta: Mapping[str, Any], facts: Facts) -> str:
    fidelity = any(score.fidelity is not None for score in facts.scores.values())
    columns = [('source', list(meta['sources'])), ('task', list(meta['sources'].values()))]
    columns += [('dataset', [facts.datasets.get(name, '-') for name in meta['sources']])] if facts.datasets else []
    columns += [('images', [f'{facts.images[n]:,}' for n in meta['sources']])] if facts.images else []
    if facts.scores:
        scores = [facts.scores.get(name) for name in meta['sources']]
        columns.append(('metric', [s.metric if s else '-' for s in scores]))
        columns.append(('score (%)', [f'{s.value:.1f}' if s else '-' for s in scores]))
        if fidelity:
            kept = [s.fidelity if s else None for s in scores]
            columns.append(('fidelity (%)', ['-' if value is None else f'{value:.1f}' for value in kept]))
    rows = [
        [title for title, _ in columns],
        ['---'] * len(columns),
        *zip(*(cells for _, cells in columns), strict=True),
    ]
    table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    said = ''
    if fidelity:
        said = (
            '\n\nScores are of the validation parts, with the frozen heads of the expansion stage reading this '
            "backbone. Fidelity is the score in percent of the branch's own."
        )
    return table + (said or ('\n\nScores are of the validation parts.' if facts.scores else ''))


def _training(meta: Mapping[str, Any], facts: Facts) -> str:
    teachers = {'teacher': meta.get('teacher'), **(meta.get('further_teachers') or {})}
    rows = {
        'stage': meta['stage'],
        'branch': meta.get('branch'),
        'iterations': meta.get('iterations'),
        'weights': 'moving average' if meta.get('ema') else 'as trained',
        'finished': meta.get('trained'),
        'checkpoint': f'{meta["exported_from"]}, SHA-256 {meta["exported_from_sha256"]}',
        **{name: f'{t["checkpoint"]}, SHA-256 {t.get("sha256")}' for name, t in teachers.items() if t},
        'versions': ', '.join(f'{library} {version}' for library, version in facts.versions.items()),
        'exported': f'{meta["date"]}, xlearner_mm {meta["xlearner_mm_version"]}',
    }
    lines = [f'| {name} | {value} |' for name, value in rows.items() if value not in (None, '')]
    return '\n'.join(['| | |', '|---|---|', *lines])


def _normalization(meta: Mapping[str, Any]) -> str:
    normalization = Normalization.parse(meta['normalization'])
    mean, std, order = normalization.record()
    return (
        f'Images of values 0 to 255, channels in {order.upper()} order: '
        f'{"nothing is subtracted" if mean is None else f"minus {mean}"}, '
        f'{"nothing is divided" if std is None else f"divided by {std}"}.'
    )


def _loading(name: str, stored: StoredBackbone, other: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [
        f'`{name}` is the downloaded folder.',
        _section(
            'Python',
            f'import xlearner_mm\n\nbackbone = xlearner_mm.get_backbone({name!r})  # a frozen torch.nn.Module\n'
            f"features = xlearner_mm.extract_features({name!r}, ['photo.jpg'])",
        ),
    ]
    for library, settings in _downstream(f'{name}/{PUBLISHED}', stored).items():
        first = '`import xlearner_mm` before the config is read.\n\n' if library == 'mmseg' else ''
        parts.append(_section(library, '\n'.join(starmap(assignment, settings.items())), first))
    order = Normalization.parse(stored.meta['normalization']).order
    feed = '' if order == RGB else f'Feed {order.upper()} images.\n\n'
    for library, found in other.items():
        if 'refused' in found:
            parts.append(f'### {library}\n\nNot possible: {found["refused"]}.')
        elif library == 'timm':
            code = f'import timm\n\nbackbone = timm.create_model({f"local-dir:{name}"!r}, pretrained=True)'
            parts.append(_section(library, code, feed))
        else:
            code = (
                f'import torch, torchvision\nfrom safetensors.torch import load_file\n\n'
                f'backbone = torchvision.models.{found["model"]}()\nbackbone.fc = torch.nn.Identity()\n'
                f'backbone.load_state_dict(load_file({f"{name}/{PUBLISHED}"!r}))'
            )
            parts.append(_section(library, code, feed))
    return '\n\n'.join(parts)


def _section(title: str, code: str, first: str = '') -> str:
    return f'### {title}\n\n{first}```python\n{code}\n```'


def _downstream(file: str, stored: StoredBackbone) -> dict[str, dict[str, Any]]:
    """Return library -> a config of it with this backbone; none for backbones without the four levels of a ResNet."""
    channels = list(stored.meta['channels'])
    if len(channels) != 4:
        return {}
    backbone = {**_settings(stored), 'init_cfg': {'type': 'Pretrained', 'checkpoint': file}}
    mean, std, order = stored.meta['normalization']
    seen = {'mean': mean, 'std': std, 'bgr_to_rgb': order == RGB}
    last = {'out_indices': [3]} if '_delete_' in backbone else {}
    imports = {'custom_imports': {'imports': ['xlearner_mm']}}
    return {
        'mmdet': {
            '_base_': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
            **imports,
            'model': {'data_preprocessor': seen, 'backbone': backbone, 'neck': {'in_channels': channels}},
        },
        'mmseg': {
            '_base_': 'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
            **imports,
            'model': {
                'data_preprocessor': seen,
                'pretrained': None,
                'backbone': backbone,
                'decode_head': {'in_channels': channels[3]},
                'auxiliary_head': {'in_channels': channels[2]},
            },
        },
        'mmpretrain': {
            '_base_': 'mmpretrain::resnet/resnet50_8xb32_in1k.py',
            **imports,
            'data_preprocessor': {'mean': mean, 'std': std, 'to_rgb': order == RGB},
            'model': {'backbone': {**backbone, **last}, 'head': {'in_channels': channels[3]}},
        },
    }


def _settings(stored: StoredBackbone) -> dict[str, Any]:
    """Return settings that replace those of a stock ResNet: of our type for plain ones, else all that is recorded."""
    try:
        resnet = plain_resnet_of(stored, 'a config')
        kind = _RESNETS[resnet.deep_stem, resnet.avg_down]
    except (CheckpointError, KeyError):
        return {'_delete_': True, **stored.config}
    widths = {'stem_channels': resnet.stem_channels, 'base_channels': resnet.base_channels}
    usual = set(widths.values()) == {64}
    return {'type': f'XLearnerResNet{kind}', 'depth': resnet.depth, **({} if usual else widths)}


def _listed(values: list[int]) -> str:
    return ', '.join(map(str, values))
