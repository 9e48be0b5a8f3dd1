"""Families of stock backbones that can be branches, one file each; importing them registers them."""

from xlearner_mm.models.expansion.stages import convnext, resnet, swin  # noqa: F401
