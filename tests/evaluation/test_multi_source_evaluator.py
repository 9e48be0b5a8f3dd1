import pytest
import torch

from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.evaluation import MultiSourceEvaluator
from xlearner_mm.testing import index_sources


def sources(**changes):
    both = index_sources(a=(8, 1), b=(8, 1), c=(8, 1))
    for name in 'ab':
        both[name] |= dict(
            val_dataloader=dict(batch_size=4),
            val_evaluator=dict(_scope_='mmpretrain', type='Accuracy'),
            primary_metric='accuracy/top1',
        )
    both['a'].update(changes)
    return both


def predictions(correct, total):
    from mmpretrain.structures import DataSample

    scores = torch.eye(2)
    samples = [DataSample().set_gt_label(0).set_pred_score(scores[int(i >= correct)]) for i in range(total)]
    return [sample.to_dict() for sample in samples]


def test_metrics_are_prefixed_and_equal_the_stock_ones():
    evaluator = MultiSourceEvaluator(sources())
    evaluator.process('a', predictions(3, 4))
    assert evaluator.evaluate('a', 4) == {'a/accuracy/top1': 75.0}


def test_sources_without_evaluator_are_left_out():
    assert list(MultiSourceEvaluator(sources()).evaluators) == ['a', 'b']


def test_the_aggregate_is_the_mean_of_primary_metrics_in_percent():
    evaluator = MultiSourceEvaluator(sources(primary_scale=100, primary_metric='mAP'))
    assert evaluator.aggregate({'a/mAP': 0.5, 'b/accuracy/top1': 70.0}) == {'sources/mean': 60.0}


def test_a_source_without_a_metric_value_counts_as_0():
    assert MultiSourceEvaluator(sources()).aggregate({'b/accuracy/top1': 70.0}) == {'sources/mean': 35.0}


def test_an_unreported_primary_metric_is_refused():
    evaluator = MultiSourceEvaluator(sources(primary_metric='top-1'))
    with pytest.raises(SourceError, match=r"source 'a': primary_metric 'top-1' is not among .*accuracy/top1"):
        evaluator.aggregate({'a/accuracy/top1': 1.0, 'b/accuracy/top1': 1.0})


def test_a_misspelled_metric_is_refused_by_source():
    with pytest.raises(SourceError, match="source 'a': .*val_evaluator.* built.*Acuracy"):
        MultiSourceEvaluator(sources(val_evaluator=dict(type='Acuracy')))


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(ConfigError, match='nothing.* evaluated'):
        MultiSourceEvaluator(index_sources(a=(8, 1)))
