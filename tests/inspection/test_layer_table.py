"""The layer table: parameters, multiplications and memory against figures worked by hand."""

import pytest
import torch
from nets import make_kit, option
from torch import nn

from trainer.inspection.calls import call_order
from trainer.inspection.cost import measure_cost
from trainer.inspection.layer_table import count, layer_rows
from trainer.model.alexnet import AlexNet
from trainer.model.lenet import LeNet
from trainer.norm import Batch

CPU = torch.device("cpu")


def totals(model, shape, samples=2):
    rows = count(model, torch.randn(samples, *shape))
    return sum(row.parameters for row in rows), sum(row.macs for row in rows), rows


def test_lenet_by_hand():
    parameters, macs, rows = totals(LeNet((1, 28, 28), 10, make_kit()), (1, 28, 28))
    convs = [28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25]  # outputs x kernel x channels
    assert [row.macs for row in rows if row.macs] == [*convs, 400 * 120, 120 * 84, 84 * 10]
    assert macs == 416_520 and parameters == 61_706
    assert [row.shape for row in rows if row.kind == "Conv2d"] == [(6, 28, 28), (16, 10, 10)]


def test_alexnet_by_hand():
    parameters, macs, rows = totals(AlexNet((3, 224, 224), 1000, make_kit()), (3, 224, 224), samples=1)
    convs = [55**2 * 64 * 3 * 121, 27**2 * 192 * 64 * 25, 13**2 * 384 * 192 * 9, 13**2 * 256 * 384 * 9]
    expected = [*convs, 13**2 * 256 * 256 * 9, 9216 * 4096, 4096 * 4096, 4096 * 1000]
    assert [row.macs for row in rows if row.macs] == expected
    assert macs == 714_188_480 and parameters == 61_100_840


def test_resnet20_by_hand():
    model = option("resnet20")((3, 32, 32), 10, make_kit(norm=Batch()))
    parameters, macs, _ = totals(model, (3, 32, 32))
    stages = [6 * 32**2 * 16 * 144, 16**2 * 32 * (144 + 5 * 288), 8**2 * 64 * (288 + 5 * 576)]
    assert macs == 32**2 * 16 * 27 + sum(stages) + 64 * 10 == 40_551_040
    assert parameters == 269_722


def test_a_vision_transformer_by_hand():
    """64 patches of 48 numbers; a block: queries, keys and values, scores, sums of values, merging, dense layers."""
    model = option("vit_tiny", depth=2)((3, 32, 32), 10, make_kit())
    _, macs, rows = totals(model, (3, 32, 32))
    block = 64 * (192 * 576 + 2 * 64 * 192 + 192 * 192 + 2 * 192 * 768)
    assert macs == 64 * 48 * 192 + 2 * block + 192 * 10
    shapes = [row.shape for row in rows if row.kind == "Linear"]
    assert shapes == 2 * [(64, 576), (64, 192), (64, 768), (64, 192)] + [(10,)]


def test_activations_and_what_is_kept_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    rows = count(model, torch.randn(4, 2, 3))
    assert [row.activation_bytes for row in rows] == [0, 4 * 5, 4 * 5, 4 * 3]  # a flattened input is the input
    assert [row.stored_bytes for row in rows] == [0, 4 * 4 * 6, 4 * 4 * 5, 0]  # inputs; tanh's output is both layers'
    assert sum(row.stored_bytes for row in rows) == 4 * 4 * (6 + 5)


@pytest.mark.parametrize("hidden", [[], [7], [64, 32], [300, 300, 300]])
def test_the_multiplications_of_dense_layers_are_as_many_as_their_weights(hidden):
    """CU: the cost of a pass is linear in the parameters; the way back takes two such products for each of its one."""
    model = option("mlp", hidden=hidden)((11,), 5, make_kit())
    _, macs, _ = totals(model, (11,))
    widths = [11, *hidden, 5]
    assert macs == sum(i * o for i, o in zip(widths, widths[1:]))
    assert macs == sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)


def test_groups_divide_the_multiplications():
    rows = count(nn.Conv2d(8, 16, 3, padding=1, groups=4), torch.randn(2, 8, 5, 5))
    assert [row.macs for row in rows] == [25 * 16 * 2 * 9] and rows[0].name == ""


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (nn.LSTM(3, 5, batch_first=True), 7 * 4 * 5 * (3 + 5)),
        (nn.GRU(3, 5, batch_first=True), 7 * 3 * 5 * (3 + 5)),
    ],
)
def test_recurrent_layers(model, macs):
    (row,) = count(model, torch.randn(2, 7, 3))
    assert row.macs == macs and row.shape == (7, 5) and row.parameters == sum(map(torch.numel, model.parameters()))


class Own(nn.Module):
    """A user's module: attention, activations as functions, a shared layer, an own weight and one that is not used."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.shared, self.unused = nn.Linear(4, 4), nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(4, 3))

    def forward(self, x):
        x, _ = self.attention(x, x, x, need_weights=False)
        x = torch.tanh(self.shared(torch.relu(self.shared(x)))) @ self.scale
        return x.mean(1)


def test_a_users_own_module():
    model = Own()
    rows = {row.name: row for row in count(model, torch.randn(2, 5, 4))}
    assert rows["attention"].macs == 4 * 5 * 4 * 4 + 2 * 5 * 5 * 4  # four projections, scores and mixing
    assert rows["attention"].parameters == sum(map(torch.numel, model.attention.parameters()))
    assert rows["shared"].macs == 2 * 5 * 16 and rows["shared"].calls == 2 and rows["shared"].parameters == 20
    assert rows[""].kind == "Own itself" and rows[""].macs == 5 * 4 * 3 and rows[""].parameters == 12
    assert rows["unused"].note == "not called" and rows["unused"].parameters == 56
    assert sum(row.parameters for row in rows.values()) == sum(map(torch.numel, model.parameters()))


def test_a_weight_that_two_layers_share_counts_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert [row.parameters for row in count(model, torch.randn(2, 4))] == [20, 0, 4]


def test_operations_that_torch_does_not_count_are_unknown():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.bilinear = nn.Bilinear(3, 3, 2)

        def forward(self, x):
            return self.bilinear(x, x)

    (row,) = count(Pair(), torch.randn(2, 3))
    assert row.macs is None and "Bilinear" in row.note
    table = nn.Sequential(nn.Embedding(5, 4), nn.Flatten())
    assert [row.macs for row in count(table, torch.zeros(2, 3, dtype=torch.long))] == [0, 0]


def test_times_are_of_every_layer_and_the_hooks_are_gone():
    model = nn.Sequential(nn.Linear(300, 300), nn.Sequential(nn.ReLU(), nn.Linear(300, 2)))
    rows = layer_rows(model, torch.randn(64, 300), CPU)
    assert [row.name for row in rows] == ["0", "1.0", "1.1"] and all(row.seconds > 0 for row in rows)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert call_order(model, torch.randn(2, 300)) == ["", "0", "1", "1.0", "1.1"]
    cost = measure_cost(lambda: model(torch.randn(64, 300)).sum(), [*model.parameters()], 64, CPU)
    assert cost.forward > 0 and cost.backward > 0
    assert cost.throughput == pytest.approx(64 / (cost.forward + cost.backward))
