"""Write the backbone of a checkpoint of either stage to a file of its own, for other configs and other libraries.

python tools/export_backbone.py work_dirs/xlearner_r18_squeeze --out backbone.pth
python tools/export_backbone.py work_dirs/xlearner_r50_squeeze --which best --format timm --out resnet50.safetensors
python tools/export_backbone.py work_dirs/xlearner_r_r50_expansion --expanded --out xlearner_r.onnx
python tools/export_backbone.py work_dirs/xlearner_r50_squeeze --card --license apache-2.0 --out xlearner-r50
"""

import argparse
import sys

# As in xlearner_mm.export.FORMATS, which would import torch for a help.
FORMATS = ('mm', 'torchvision', 'timm', 'safetensors', 'onnx')


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='a checkpoint of either stage, an export, or a work dir')
    parser.add_argument('--out', required=True, help='the file to write, e.g. backbone.pth; with --card, a folder')
    parser.add_argument(
        '--format', choices=FORMATS, help='default: by the name of the file, mm for .pth; torchvision and timm as asked'
    )
    parser.add_argument('--which', choices=('last', 'best'), default='last', help='which checkpoint of a work dir')
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help="the weights' moving average, or the model's own; default: the average where one was kept",
    )
    parser.add_argument(
        '--card',
        action='store_true',
        help='a folder for a model hub: safetensors, config.json and a model card; edited cards are refused',
    )
    parser.add_argument('--license', help='of the published weights, e.g. apache-2.0 (default: left to be filled in)')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--branch', help='of an expansion checkpoint of several branches: which one, without its links')
    what.add_argument(
        '--expanded', action='store_true', help='the whole expanded backbone, for type XLearnerExpandedBackbone'
    )
    args = parser.parse_args()
    if args.card and args.format not in (None, 'safetensors'):
        parser.error('--card writes safetensors: leave --format out')
    if args.license and not args.card:
        parser.error('--license is a field of the card: add --card')
    return args


def main() -> int:
    """Export; return the exit status."""
    args = parse_args()
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.export import export_backbone, publish_backbone

    choice = {'expanded': args.expanded, 'which': args.which, 'ema': args.ema}
    try:
        if args.card:
            meta = publish_backbone(args.checkpoint, args.out, args.branch, license=args.license, **choice)
        else:
            meta = export_backbone(args.checkpoint, args.out, args.branch, format=args.format, **choice)
    except USER_ERRORS as error:
        return print_error(error)
    average = ', moving average' if meta['ema'] else ''
    print(
        f'{args.out} ({meta["format"]["name"]}): {meta["backbone"]["type"]} with channels {meta["channels"]} from the '
        f'{meta["stage"]} stage{average} on {", ".join(meta["sources"])}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
