"""Initialisers of weights: families and spreads against the formulas, layer by layer, and fields out of range."""

import math

import pytest
import torch
from nets import ACTS, BATCH, RELU, chain, make_kit, option
from scipy import stats
from torch import nn

from trainer.base.layers import with_linear_input
from trainer.init.data_dependent import DataDependent, Lsuv, RandomWalk
from trainer.init.fixed_scale import (
    Constant,
    LargeNormal,
    Normal,
    Ones,
    SmallNormal,
    Torch,
    TruncatedNormal,
    Uniform,
    Zeros,
)
from trainer.init.structured import Orthogonal
from trainer.init.variance_scaling import (
    Auto,
    FanInUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
)
from trainer.norm import Batch, Layer
from trainer.reg.dropconnect import DropConnect

WEIGHT_LAYERS = (0, 3, 6, 7)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(8, 40, (3, 5)), Batch()(40), nn.ReLU()),
        *(nn.Conv2d(40, 60, 5, groups=2), Layer()(60), nn.Flatten()),
        *(nn.Linear(60, 70), nn.Linear(70, 110, bias=False)),
    )


# In, out: a kernel's area times the channels of a group.
FANS = [(8 * 15, 40 * 15), (20 * 25, 30 * 25), (60, 70), (70, 110)]

CUT = stats.truncnorm(-2, 2)
UNIFORM = stats.uniform(-1, 2)

FAMILIES = [
    (SmallNormal(), stats.norm, lambda i, o: 0.01**2),
    (LargeNormal(), stats.norm, lambda i, o: 0.05**2),
    (Normal(), stats.norm, lambda i, o: 1),
    (Normal(std=0.3), stats.norm, lambda i, o: 0.09),
    (Uniform(), UNIFORM, lambda i, o: 0.05**2 / 3),
    (TruncatedNormal(), CUT, lambda i, o: 0.05**2 * CUT.var()),
    (FanInUniform(), UNIFORM, lambda i, o: 1 / (3 * i)),
    (LecunNormal(), stats.norm, lambda i, o: 1 / i),
    (LecunNormal(gain=2.0), stats.norm, lambda i, o: 4 / i),
    (LecunUniform(), UNIFORM, lambda i, o: 1 / i),
    (LecunUniform(gain="act"), UNIFORM, lambda i, o: 2 / i),
    (XavierNormal(), stats.norm, lambda i, o: 2 / (i + o)),
    (XavierNormal(gain="act"), stats.norm, lambda i, o: 4 / (i + o)),
    (XavierUniform(), UNIFORM, lambda i, o: 2 / (i + o)),
    (XavierUniform(gain=0.5), UNIFORM, lambda i, o: 0.5 / (i + o)),
    (HeNormal(), stats.norm, lambda i, o: 2 / i),
    (HeNormal(gain="act"), stats.norm, lambda i, o: 2 / i),
    (HeUniform(), UNIFORM, lambda i, o: 2 / i),
    (HeUniform(gain=1.0), UNIFORM, lambda i, o: 1 / i),
    (VarianceScaling(), CUT, lambda i, o: 1 / i),
    (VarianceScaling(scale=3.0, mode="fan_out", distribution="normal"), stats.norm, lambda i, o: 3 / o),
    (VarianceScaling(scale=2.0, mode="fan_avg", distribution="uniform"), UNIFORM, lambda i, o: 4 / (i + o)),
]


@pytest.mark.parametrize(("init", "family", "variance"), FAMILIES)
@pytest.mark.parametrize("dropped", [False, True])
def test_weights_have_the_formulas_family_and_variance(init, family, variance, dropped, model):
    if dropped:
        DropConnect(p=0.5)(model)
    state = model.state_dict()
    kept = {name: value.clone() for name, value in state.items() if name.endswith("bias") or name[0] in "14"}
    init(model, *BATCH, RELU)
    after = model.state_dict()
    assert len(kept) == 3 + 5 + 2  # biases and norms
    assert all(torch.equal(after[name], value) for name, value in kept.items())
    model.eval()
    for layer, fans in zip((model[index] for index in WEIGHT_LAYERS), FANS, strict=True):
        weight = layer.weight.detach().flatten().double()
        z, n = weight / math.sqrt(variance(*fans)), weight.numel()
        m4, m8 = (family.moment(order) / family.var() ** (order / 2) for order in (4, 8))
        # Means of z, z^2, z^4 over n draws deviate by sqrt(Var / n); five of them, once in 10^6.
        assert abs(z.mean()) < 5 * math.sqrt(1 / n)
        assert abs(z.square().mean() - 1) < 5 * math.sqrt((m4 - 1) / n)
        assert abs(z.pow(4).mean() - m4) < 5 * math.sqrt((m8 - m4**2) / n)


def test_means_are_those_of_the_fields(model):
    for init, mean, std in (
        (Normal(mean=2.0, std=0.1), 2, 0.1),
        (TruncatedNormal(mean=-1.0, std=0.1), -1, 0.088),
        (Uniform(low=1.0, high=3.0), 2, 0.577),
    ):
        init(model, *BATCH, RELU)
        assert abs(model[3].weight.mean() - mean) < 5 * std / math.sqrt(model[3].weight.numel())


def test_torch_leaves_torchs_uniform_draw(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Torch()(model, *BATCH, RELU)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # The largest of 4200 lies below 0.95 of the bound with odds 0.95^4200.
    for index, (fan_in, _) in zip(WEIGHT_LAYERS, FANS):
        assert 0.95 / math.sqrt(fan_in) < model[index].weight.abs().max() <= 1 / math.sqrt(fan_in)


@pytest.mark.parametrize(("init", "value"), [(Zeros(), 0.0), (Ones(), 1.0), (Constant(value=-0.3), -0.3)])
@pytest.mark.parametrize("dropped", [False, True])
def test_constants_are_constant(init, value, dropped, model):
    if dropped:
        DropConnect(p=0.5)(model)
    init(model, *BATCH, RELU)
    assert all((model.eval()[index].weight == torch.tensor(value)).all() for index in WEIGHT_LAYERS)


@pytest.mark.parametrize(
    "init", [*(init for init, _, _ in FAMILIES), Auto(), Orthogonal(), RandomWalk(), DataDependent(), Lsuv()]
)
def test_the_same_seed_draws_the_same_weights(init):
    drawn, images = [], torch.randn(20, 12, generator=torch.Generator().manual_seed(5))
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = chain(16, 3, nn.Tanh, inputs=12)
        init(model, images, None, nn.Tanh)
        drawn.append(model[2].weight.detach().clone())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softplus"])
def test_auto_gives_outputs_of_variance_one_in_every_layer(name):
    torch.manual_seed(1)
    act, x = ACTS[name][0], torch.randn(256, 400)
    model = chain(400, 4, act)
    for layer in model[::2]:
        nn.init.zeros_(layer.bias)
    Auto()(model, x, None, act)
    for part in model[:-1]:
        x = part(x)
        if isinstance(part, nn.Linear):
            # Mean square over units given the weights: each row's own length, 400 of variance 2/400, so 1 +- 0.005 n;
            # 10 % is far out.
            assert abs(x.square().mean() - 1) < 0.1
    assert abs(model[0].weight.std() * 20 - 1) < 5 / math.sqrt(2 * 160000)


def test_auto_leaves_out_the_gain_where_no_activation_comes_before():
    """Behind a norm, or another layer: marked ones get 1 / fan_in, the others relu's 2 / fan_in."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(400, 400) for _ in range(4)))
    with_linear_input(model[1])
    Auto()(model, None, None, RELU)
    # 160,000 draws: the deviation errs by 0.2 %.
    found = [400 * layer.weight.var().item() for layer in model]
    assert found == pytest.approx([1, 1, 2, 0.01 * 2], rel=0.02)


def test_a_vision_transformer_keeps_the_variance_of_its_queries_at_one():
    """Behind a norm; with an activation's gain, 1.5 of gelu squared, attention would look at one patch alone."""
    torch.manual_seed(0)
    model = option("vit_tiny", depth=1)((3, 32, 32), 10, make_kit(Layer(), act=nn.GELU))
    Auto()(model, None, None, nn.GELU)
    seen = []
    model.layers[0].branch[1].queries_keys_values.register_forward_hook(lambda layer, x, output: seen.append(output))
    model(torch.randn(8, 3, 32, 32))
    assert seen[0].var().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmallNormal(std=-0.1), "std must be >= 0, got -0.1"),
        (lambda: LargeNormal(std=math.nan), "std must be >= 0, got nan"),
        (lambda: Normal(mean=math.inf), "mean must be in"),
        (lambda: Normal(std=-1.0), "std must be >= 0"),
        (lambda: TruncatedNormal(std=-1.0), "std must be >= 0"),
        (lambda: Constant(value=math.nan), "value must be in"),
        (lambda: Uniform(low=0.1), "low must be < high, got low=0.1 and high=0.05"),
        (lambda: VarianceScaling(scale=0.0), "scale must be > 0"),
        (lambda: VarianceScaling(mode="fan"), "mode must be one of fan_in, fan_out, fan_avg, got fan"),
        (lambda: VarianceScaling(distribution="cauchy"), "distribution must be one of"),
        (lambda: Lsuv(tolerance=0.0), "tolerance must be > 0"),
        (lambda: DataDependent(alpha=1.5), "alpha must be in"),
        (lambda: DataDependent(rounds=-1), "rounds must be >= 0"),
        *(
            (lambda init=init: init(gain=0.0), "gain must be > 0, got 0.0")
            for init in (LecunNormal, LecunUniform, XavierNormal, XavierUniform, HeNormal, HeUniform)
        ),
        (lambda: Orthogonal(gain="relu"), "gain must be > 0, or act, got relu"),
    ],
)
def test_a_field_out_of_its_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("init", "value"),
    [(Normal(mean=0.5, std=0.0), 0.5), (SmallNormal(std=0.0), 0), (LargeNormal(std=0.0), 0),
     (TruncatedNormal(mean=-0.5, std=0.0), -0.5)],
)  # fmt: skip
def test_a_deviation_of_0_gives_every_weight_the_mean(init, value, model):
    init(model, *BATCH, RELU)
    assert all((model[place].weight == value).all() for place in WEIGHT_LAYERS)
