"""Checkpoints of both stages in miniature with their configs beside them, as trainings leave them."""

from pathlib import Path

import torch

from xlearner_mm.config.options import load_config
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import with_sources

CONFIGS = Path(__file__).parents[2] / 'configs' / 'mini'


def save_expansion(folder: Path, step: int = 2) -> str:
    cfg = load_config(str(CONFIGS / 'xlearner_seg_r18_expansion.py'), None, [], 'none')
    return _save(folder, cfg, [step])[0]


def save_squeeze(folder: Path, teacher: str, steps=(3, 5)) -> list[str]:
    options = [f'model.teacher.checkpoint={teacher}', 'model.start_from=None']
    cfg = load_config(str(CONFIGS / 'xlearner_seg_r18_squeeze.py'), None, options, 'none')
    return _save(folder, cfg, steps)


def _save(folder, cfg, steps):
    folder.mkdir()
    cfg.dump(folder / 'training.py')
    model, paths = MODELS.build(with_sources(cfg)['model']), []
    for step in steps:
        torch.manual_seed(step)
        model.init_weights()
        paths.append(str(folder / f'iter_{step}.pth'))
        torch.save(dict(state_dict=model.state_dict(), meta=dict(iter=step, xlearner=model.describe())), paths[-1])
        for module in model.modules():  # each step's weights are its own
            module._is_init = False
    (folder / 'last_checkpoint').write_text(paths[-1])
    return paths
