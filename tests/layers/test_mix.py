"""The block of small decoders: what it sees, and what it leaves as it is."""

import torch

from fcp.layers.mix import MixBlock


def test_a_block_without_an_answer_changes_nothing():
    block = MixBlock(8)
    with torch.no_grad():
        for parameter in list(block.parameters())[-2:]:
            parameter.zero_()  # the last convolution
    maps = torch.randn(2, 8, 6, 7)
    assert torch.equal(block(maps), maps)


def test_equals_the_steps_by_hand():
    block, maps = MixBlock(4), torch.randn(1, 4, 5, 6)
    spread = block.spatial(maps)
    normed = (spread - spread.mean()) / (spread.var(correction=0) + block.norm.eps).sqrt()
    cells = normed.flatten(2)[0].T  # (L, C)
    expand, reduce = (conv.weight[:, :, 0, 0] for conv in (block.expand, block.reduce))
    hidden = torch.nn.functional.gelu(cells @ expand.T + block.expand.bias)
    expected = maps.flatten(2)[0].T + hidden @ reduce.T + block.reduce.bias
    found = block(maps).flatten(2)[0].T
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
