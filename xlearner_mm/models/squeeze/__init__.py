"""Squeeze: the branches distilled into one plain backbone."""

from xlearner_mm.models.squeeze.fitnet_distiller import FitNetDistiller

__all__ = ['FitNetDistiller']
