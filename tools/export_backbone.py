"""Write the backbone of a checkpoint of either stage to a file of its own, for other configs and other libraries.

python tools/export_backbone.py work_dirs/xlearner_r18_squeeze --out backbone.pth
python tools/export_backbone.py work_dirs/xlearner_r50_squeeze --which best --format timm --out resnet50.safetensors
python tools/export_backbone.py work_dirs/xlearner_r_r50_expansion --expanded --out xlearner_r.onnx
"""

import argparse
import sys

# As in xlearner_mm.export.FORMATS, which would import torch for a help.
FORMATS = ('mm', 'torchvision', 'timm', 'safetensors', 'onnx')


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='a checkpoint of either stage, an export, or a work dir')
    parser.add_argument('--out', required=True, help='the file to write, e.g. backbone.pth')
    parser.add_argument(
        '--format', choices=FORMATS, help='default: by the name of the file, mm for .pth; torchvision and timm as asked'
    )
    parser.add_argument('--which', choices=('last', 'best'), default='last', help='which checkpoint of a work dir')
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help="the weights' moving average, or the model's own; default: the average where one was kept",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--branch', help='of an expansion checkpoint of several branches: which one, without its links')
    what.add_argument(
        '--expanded', action='store_true', help='the whole expanded backbone, for type XLearnerExpandedBackbone'
    )
    return parser.parse_args()


def main() -> int:
    """Export; return the exit status."""
    args = parse_args()
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.export import export_backbone

    try:
        meta = export_backbone(
            args.checkpoint,
            args.out,
            args.branch,
            format=args.format,
            expanded=args.expanded,
            which=args.which,
            ema=args.ema,
        )
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
