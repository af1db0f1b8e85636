"""Networks that were trained on arrays in another order of axes."""

import torch
from torch import nn

from IoUSynthLib.published.axes import ReversedAxes


def test_reversed_axes_let_a_network_see_the_authors_order():
    torch.manual_seed(0)
    network = nn.Conv3d(1, 2, (1, 3, 5), padding=(0, 1, 2))
    image = torch.randn(1, 1, 4, 5, 6)
    with torch.no_grad():
        result = ReversedAxes(network)(image)
        expected = network(image.permute(0, 1, 4, 3, 2))
    assert torch.equal(result[0, 1], expected[0, 1].permute(2, 1, 0))
    with torch.no_grad():
        network = nn.Conv2d(1, 1, (1, 3), padding=(0, 1))
        assert torch.allclose(ReversedAxes(network)(image[:, :, 0]).mT, network(image[:, :, 0].mT))
