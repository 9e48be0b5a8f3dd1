"""A tiny squeeze with validation, for its hooks and for trainings from a config file."""

import torch
from mmengine.evaluator import BaseMetric

from xlearner_mm.registry import METRICS, MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet

from ..models.expansion.reference import randomise
from .tiny_runner import image_sources


@METRICS.register_module()
class ScoreMetric(BaseMetric):
    """Mean score of the classes that were predicted: a metric that every change of the features changes."""

    default_prefix = None

    def process(self, data_batch, data_samples):
        self.results += [float(sample['pred_score'].max()) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(score=sum(results) / len(results))


@METRICS.register_module()
class NothingFoundMetric(BaseMetric):
    """Gives no metric, as stock detection metrics do where nothing is detected."""

    def process(self, data_batch, data_samples):
        self.results += list(data_samples)

    def compute_metrics(self, results):
        return {}


def validated_sources(*names, metric='ScoreMetric'):
    """Sources with validation, and those of the tiny ones that have none."""
    sources = image_sources()
    for name in names:
        sources[name].update(
            val_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=dict(type='TinyImageDataset', source=name, length=6, seed=1),
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            val_evaluator=dict(type='NothingFoundMetric' if name == 'boxes' else metric),
            primary_metric='score',
            primary_scale=100,
        )
    return sources


def write_teacher(path, seed=0):
    """Save an expansion stage and return the config that a distiller takes."""
    torch.manual_seed(seed)
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=image_sources())
    learner = MODELS.build(cfg)
    learner.init_weights()
    randomise(learner.backbone)
    torch.save(dict(state_dict=learner.state_dict(), meta={}), path)
    return dict(model=cfg, checkpoint=str(path))


def tiny_squeeze(teacher, **kwargs):
    return {**dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet()), **kwargs}


def validation(sources=None):
    """A validation's settings: of these sources, or of those at the top level of a config."""
    given = {} if sources is None else dict(sources=sources)
    return dict(
        val_cfg=dict(type='MultiSourceValLoop'),
        val_dataloader=dict(),
        val_evaluator=dict(type='MultiSourceEvaluator', **given),
    )
