"""Measure a step of both stages against stock networks trained one by one.

python tools/benchmark/step.py --scale mini
python tools/benchmark/step.py --scale r50 --device cuda

Expansion: the forward and backward pass of all sources, against the same stock networks, one after another. Squeeze: a
step of the distiller, against the student's forward and backward pass and the frozen teacher's forward pass. Optimizer:
one update of all parameters, against the expansion's forward and backward pass. Both stages, student and teacher are in
the configured memory format, stock networks in the contiguous one. --channels-last: that memory format against the
contiguous one, in both stages and of the stock networks. --compile: torch.compile, against eager, in both stages.
--hooks: our hooks of every step in a training of XL-Mini, against its steps. Random images and labels; medians of
interleaved rounds, on a CPU of the process's CPU time with one thread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORMATS = {'contiguous': 'contiguous_format', 'channels_last': 'channels_last'}
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scale', choices=('mini', 'r50'), default='mini', help='XL-Mini w/ seg, or ResNet-50')
    parser.add_argument('--device', default='cpu', help='cpu, or a CUDA device')
    parser.add_argument('--size', type=int, help='height and width of the images; as trained, or 224 for r50')
    parser.add_argument('--batch-size', type=int, help='images of every source; as trained, or 4 for r50')
    parser.add_argument('--links', nargs='+', help='types of link; as the config has them')
    parser.add_argument('--channels-last', action='store_true', help='measure that memory format too')
    parser.add_argument('--compile', action='store_true', help='measure compiled branches, teachers and students too')
    parser.add_argument('--hooks', action='store_true', help='measure our hooks instead')
    parser.add_argument('--rounds', type=int, default=15, help='rounds that count')
    parser.add_argument('--json', type=Path, help='file for the figures')
    return parser.parse_args()


def main() -> None:
    """Print the ratios of both stages."""
    args = parse_args()
    import torch
    from measurement import Ratio, medians, print_ratios
    from mmengine.logging import MMLogger
    from random_batches import batch_of

    MMLogger.get_instance('mmengine', log_level='ERROR')
    torch.manual_seed(0)
    if args.device == 'cpu':
        torch.set_num_threads(1)
    if args.hooks:
        line = Ratio('our hooks', 'of a step', 'training step', *hook_seconds(args.rounds))
        print_ratios('XL-Mini, cpu', [line], args.json)
        return
    model, sources = training_of(args.scale, args.batch_size)
    batches = {name: batch_of(source, args.size or source['size'], args.device) for name, source in sources.items()}
    lines: list[Ratio] = []
    for link in args.links or [None]:
        learner = build_learner(model, sources, link, args.device)
        own = laid_out(batches, learner.data_preprocessor.memory_format)
        ways = {f'expansion {link or ""}'.strip(): step_of(learner, own)}
        stock = {name: step_of_stock(learner, name, batches[name], args.device) for name in sources}
        distill, student, teacher = squeeze_of(learner, model, sources, own, args.device)
        others: dict[str, Callable[[], None]] = {}  # beside the configured ways
        if args.channels_last:
            for form, name_in_torch in FORMATS.items():
                laid = laid_out(batches, getattr(torch, name_in_torch))
                others[f'expansion, {form}'] = step_of(learner, laid)
                others[f'squeeze, {form}'] = squeeze_of(learner, model, sources, laid, args.device)[0]
            strided = {f'strided {name}': step_of_stock(learner, name, laid[name], args.device) for name in sources}
            others |= strided
        if args.compile:
            fast = build_learner({**model, 'compile': {}}, sources, link, args.device)
            others['compiled expansion'] = step_of(fast, own)
            others['compiled squeeze'] = squeeze_of(learner, model, sources, own, args.device, compile={})[0]
        ways |= {'squeeze': distill, 'student': student, 'teacher': teacher, 'optimizer': optimizer_step(learner)}
        ways['fused'] = optimizer_step(learner, fused=True)
        flops = {name: flops_of(way) for name, way in {**ways, **stock}.items() if name not in ('optimizer', 'fused')}
        taken = medians({**ways, **stock, **others}, args.rounds, args.device)
        (first, *_) = ways
        lines += [
            Ratio(
                'expansion',
                link or 'as configured',
                'stock networks',
                taken[first],
                sum(taken[name] for name in stock),
                flops[first] / sum(flops[name] for name in stock),
            ),
            Ratio(
                'squeeze',
                link or 'as configured',
                'student + teacher',
                taken['squeeze'],
                taken['student'] + taken['teacher'],
                flops['squeeze'] / (flops['student'] + flops['teacher']),
            ),
            Ratio('optimizer', link or 'as configured', 'expansion', taken['optimizer'], taken[first]),
            Ratio('optimizer', 'fused', 'expansion', taken['fused'], taken[first]),
        ]
        if args.channels_last:
            lines += [
                Ratio(stage, 'channels_last', 'contiguous', *(taken[f'{stage}, {form}'] for form in reversed(FORMATS)))
                for stage in ('expansion', 'squeeze')
            ]
            total = sum(taken[name] for name in strided)
            lines.append(
                Ratio('expansion', 'channels_last', 'stock, channels_last', taken['expansion, channels_last'], total)
            )
        if args.compile:
            lines += [
                Ratio(stage, 'compiled', 'eager', taken[f'compiled {stage}'], taken[eager])
                for stage, eager in (('expansion', first), ('squeeze', 'squeeze'))
            ]
    images = sum(len(batch['inputs']) for batch in batches.values())
    print_ratios(f'{args.scale}, {images} images a step of {len(sources)} sources, {args.device}', lines, args.json)


def laid_out(batches: Mapping[str, Any], memory_format: Any) -> dict[str, Any]:
    """Return batches with images of a memory format."""
    return {
        name: {**batch, 'inputs': batch['inputs'].contiguous(memory_format=memory_format)}
        for name, batch in batches.items()
    }


def training_of(scale: str, batch_size: int | None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the learner's config without sources, and the sources, each with a ``size`` of its images."""
    from mmengine.config import Config

    if scale == 'mini':
        config = Config.fromfile(CONFIGS / 'mini' / 'xlearner_seg_r18_expansion.py')
        sources = {name: {**source.to_dict(), 'size': 64} for name, source in config.sources.items()}
    else:
        config = Config.fromfile(CONFIGS / '_base_' / 'models' / 'xlearner_seg_r50.py')
        sources = {name: {'task': name, 'network': own, 'size': 224} for name, own in r50_networks().items()}
    for source in sources.values():
        source['batch_size'] = batch_size or source.get('batch_size', 4)
        source.setdefault('dataset', {'type': 'BaseDataset'})
    model = config.model.to_dict()
    model.pop('sources', None)
    return model, sources


def r50_networks() -> dict[str, dict[str, Any]]:
    """A stock classifier, RetinaNet and FCN of ResNet-50."""
    from mmengine.hub import get_config

    normalization = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}
    detector = get_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py').model.to_dict()
    detector['backbone'] = {'type': 'ResNet', 'depth': 50, 'out_indices': (0, 1, 2, 3)}
    return {
        'cls': {
            '_scope_': 'mmpretrain',
            'type': 'ImageClassifier',
            'data_preprocessor': {'type': 'ClsDataPreprocessor', 'num_classes': 1000, 'to_rgb': True, **normalization},
            'backbone': {'type': 'ResNet', 'depth': 50, 'out_indices': (3,)},
            'neck': {'type': 'GlobalAveragePooling'},
            'head': {'type': 'LinearClsHead', 'num_classes': 1000, 'in_channels': 2048},
        },
        'det': {'_scope_': 'mmdet', **detector},
        'seg': {
            '_scope_': 'mmseg',
            'type': 'EncoderDecoder',
            'data_preprocessor': {
                'type': 'SegDataPreProcessor',
                'size': (224, 224),
                'bgr_to_rgb': True,
                **normalization,
            },
            'backbone': {'type': 'ResNet', 'depth': 50, 'out_indices': (0, 1, 2, 3)},
            'decode_head': {'type': 'FCNHead', 'in_channels': 2048, 'in_index': 3, 'channels': 512, 'num_classes': 150},
        },
    }


def build_learner(
    model: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]], link: str | None, device: str
) -> Any:
    """The learner with one type of link."""
    import copy

    from xlearner_mm.registry import MODELS

    config = copy.deepcopy(dict(model))
    if link is not None:
        config['backbone'].setdefault('reconciliation', {})['link'] = {'type': link}
    own = {name: {key: value for key, value in source.items() if key != 'size'} for name, source in sources.items()}
    learner = MODELS.build({**config, 'sources': own})
    return learner.to(device).train()


def step_of(learner: Any, batches: Mapping[str, dict[str, Any]]) -> Callable[[], None]:
    """The forward and backward pass of all sources."""
    inputs = {name: batch['inputs'] for name, batch in batches.items()}
    samples = {name: batch['data_samples'] for name, batch in batches.items()}

    def run() -> None:
        learner.zero_grad()
        learner.parse_losses(learner.loss(inputs, samples))[0].backward()

    return run


def step_of_stock(learner: Any, name: str, batch: dict[str, Any], device: str) -> Callable[[], None]:
    """The forward and backward pass of one source's stock network, alone."""
    import copy

    from mmengine.registry import MODELS

    source = learner.sources[name]
    network = copy.deepcopy(dict(source.network))
    own = dict(learner.backbone_cfg['branches'][learner.backbone.branch_of(source.task)])
    network['backbone'] = {**own, 'type': 'XLearnerResNet', 'out_indices': network['backbone']['out_indices']}
    model = MODELS.build(network).to(device).train()

    def run() -> None:
        model.zero_grad()
        model.parse_losses(model(batch['inputs'], batch['data_samples'], mode='loss'))[0].backward()

    return run


def squeeze_of(
    learner: Any,
    model: Mapping[str, Any],
    sources: Mapping[str, Mapping[str, Any]],
    batches: Mapping[str, dict[str, Any]],
    device: str,
    **settings: Any,
) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """A step of the distiller with settings, the student's forward and backward pass, the teacher's forward pass."""
    import torch
    from mmengine.config import Config

    from xlearner_mm.registry import MODELS

    depth = learner.backbone_cfg['branches']['cls']['depth']
    base = 'mini_squeeze_r18' if depth == 18 else f'squeeze_r{depth}'
    config = Config.fromfile(CONFIGS / '_base_' / 'models' / f'{base}.py').squeeze.to_dict()
    own = {name: {key: value for key, value in source.items() if key != 'size'} for name, source in sources.items()}
    teacher_config = {**model, 'backbone': learner.backbone_cfg, 'sources': own}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'expansion.pth'
        torch.save({'state_dict': learner.state_dict(), 'meta': {}}, path)
        teacher_of = {'model': teacher_config, 'checkpoint': str(path)}
        distiller = MODELS.build({**config, **settings, 'teacher': teacher_of})
    distiller.to(device).train()
    inputs = {name: batch['inputs'] for name, batch in batches.items()}
    images = list(inputs.values())
    whole = torch.cat(images) if len({tuple(part.shape[1:]) for part in images}) == 1 else None
    teacher = learner.backbone

    def distill() -> None:
        distiller.zero_grad()
        distiller.parse_losses(distiller.loss(inputs))[0].backward()

    def student() -> None:
        distiller.zero_grad()
        for part in images if whole is None else [whole]:
            sum(level.mean() for level in distiller.student(part)).backward()

    @torch.no_grad()
    def teach() -> None:
        training = teacher.training
        teacher.eval()
        for part in images if whole is None else [whole]:
            teacher.forward_branches(part)
        teacher.train(training)

    return distill, student, teach


def optimizer_step(learner: Any, **settings: Any) -> Callable[[], None]:
    """An update of all parameters by SGD, as the wrapper of the expansion's configs builds it; settings of SGD."""
    from mmengine.optim import build_optim_wrapper

    wrapper = build_optim_wrapper(
        learner,
        {
            'type': 'OptimWrapper',
            'constructor': 'PerBranchOptimWrapperConstructor',
            'optimizer': {'type': 'SGD', 'lr': 1e-6, 'momentum': 0.9, 'weight_decay': 1e-4, **settings},
            'paramwise_cfg': {'norm_decay_mult': 0.0},
        },
    )

    def run() -> None:
        wrapper.step()

    return run


def hook_seconds(steps: int) -> tuple[float, float]:
    """Median CPU seconds of our hooks, and of the model's and optimizer's work, in a step of a training."""
    import os
    import time
    from collections import defaultdict
    from statistics import median

    from xlearner_mm.config.options import load_config
    from xlearner_mm.engine.runner import XLearnerRunner
    from xlearner_mm.mini import make_mini

    taken: dict[str, dict[int, float]] = {'hooks': defaultdict(float), 'steps': defaultdict(float)}

    def timed(owner: Any, method: str, what: str) -> None:
        plain = getattr(owner, method)

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = plain(*args, **kwargs)
            taken[what][runner.iter] += time.process_time() - start
            return result

        setattr(owner, method, run)

    with tempfile.TemporaryDirectory() as folder:
        make_mini(Path(folder, 'data', 'xl_mini'), scale=0.05)
        cfg = load_config(str(CONFIGS / 'mini' / 'xlearner_r18_expansion.py'), f'{folder}/work', [], 'none')
        for part in ('val', 'test'):
            cfg.update({f'{part}_{key}': None for key in ('cfg', 'dataloader', 'evaluator')})
        cfg.train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': steps}
        # A batch of a worker is unmapped with its last reference, which is in a hook of ours.
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.log_level = 'ERROR'
        before = os.getcwd()
        os.chdir(folder)
        try:
            runner = XLearnerRunner.from_cfg(cfg)
            timed(runner.model, 'train_step', 'steps')
            for hook in runner.hooks:
                for method in ('before_train_iter', 'after_train_iter'):
                    if type(hook).__module__.startswith('xlearner_mm'):
                        timed(hook, method, 'hooks')
            runner.train()
        finally:
            os.chdir(before)
    hooks, step = (median(list(seconds.values())[2:-1]) for seconds in taken.values())
    return hooks, step


def flops_of(way: Callable[[], object]) -> int:
    """FLOPs of one call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops()


if __name__ == '__main__':
    main()
