"""How backbones of each family are run stage by stage."""

from __future__ import annotations

from torch import nn

from xlearner_mm.models.expansion.stages.base import Stages, StagesError
from xlearner_mm.models.expansion.stages.convnext import ConvNeXtStages
from xlearner_mm.models.expansion.stages.resnet import ResNetStages
from xlearner_mm.models.expansion.stages.swin import SwinStages

FAMILIES: tuple[type[Stages], ...] = (ResNetStages, SwinStages, ConvNeXtStages)

__all__ = ['FAMILIES', 'Stages', 'StagesError', 'stages_of']


def stages_of(backbone: nn.Module) -> Stages:
    """Return the adapter that runs a built backbone stage by stage.

    Args:
        backbone: any stock backbone.

    Raises:
        StagesError: no family knows it, or one of its settings stands against it.
    """
    for family in FAMILIES:
        if family.fits(backbone):
            return family(backbone)
    known = ', '.join(family.family for family in FAMILIES)
    raise StagesError(
        f'{type(backbone).__name__} does not expose its stages in a way known here, so no link can be put between '
        f'them; use a backbone of one of these families: {known}'
    )
