import pytest
import torch
import torchvision
from torchvision.models._utils import IntermediateLayerGetter

from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone

LAYERS = {f'layer{i}': i - 1 for i in range(1, 5)}


@pytest.mark.parametrize('depth', [18, 50])
def test_torchvisions_resnet_loads_it_strictly_and_gives_the_same_features(trained, tmp_path, depth):
    backbone, checkpoint = trained(dict(type='XLearnerResNet', depth=depth))
    export_backbone(checkpoint, tmp_path / 'backbone.pth', format='torchvision')
    model = getattr(torchvision.models, f'resnet{depth}')()
    model.fc = torch.nn.Identity()
    model.load_state_dict(torch.load(tmp_path / 'backbone.pth', weights_only=True))
    images = torch.randn(2, 3, 75, 64)
    with torch.no_grad():
        theirs = IntermediateLayerGetter(model.eval(), LAYERS)(images)
        for level, ours in enumerate(backbone(images)):
            torch.testing.assert_close(theirs[level], ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(base_channels=4), 'a ResNet with base_channels=4, which is 64 there'),
        (dict(deep_stem=True), 'a ResNet with deep_stem=True'),
        (dict(avg_down=True), 'a ResNet with avg_down=True'),
    ],
)
def test_other_widths_and_stems_are_refused_by_name(trained, tmp_path, settings, message):
    _, checkpoint = trained(dict(type='XLearnerResNet', depth=18, **settings))
    with pytest.raises(CheckpointError, match=f'torchvision cannot hold .* {message}'):
        export_backbone(checkpoint, tmp_path / 'backbone.pth', format='torchvision')
    assert not list(tmp_path.glob('backbone*'))
