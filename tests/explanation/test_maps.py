"""Maps by Grad-CAM and saliency: equal to values worked by hand, and the network as it was before."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("captum", reason="needs the extra: pip install -e '.[explain]'")

from trainer.explanation.attribution import answers_in, evaluating, grad_cam, saliency  # noqa: E402
from trainer.explanation.maps import Explainer, explainer_of, maps_of  # noqa: E402

PICTURE = torch.tensor([[1.0, 2.0], [0.0, -3.0]])


def lens(weights=((2.0, -1.0), (-1.0, 1.0)), activation=None):
    """Two maps, the image and its negative; their means; one dense layer (classes, maps)."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        activation or nn.Identity(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, len(weights)),
    )
    net[0].weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    net[4].weight.data = torch.tensor(weights)
    return net.eval()


def images(*values):
    return torch.stack([torch.as_tensor(value, dtype=torch.float32).view(1, 2, 2) for value in values])


@pytest.mark.parametrize("answer, added", [(0, 3.0), (1, -2.0)])
def test_grad_cam_of_average_pooling_and_a_dense_layer_is_the_weighted_sum_of_the_maps(answer, added):
    """d output / d A_k = w_k / 4 at every place: the map is (w_1 A_1 + w_2 A_2) / 4 = (w_1 - w_2) image / 4."""
    net, picture = lens(), images(PICTURE)
    with evaluating(net):
        found = grad_cam(answers_in(net, "classification"), net[0], picture, torch.tensor([answer]))
    torch.testing.assert_close(found[0], added * PICTURE / 4, rtol=0, atol=1e-7)
    map_ = maps_of(net, picture, torch.tensor([answer]))[0]
    positive = (added * PICTURE).clamp(min=0)
    torch.testing.assert_close(map_, positive / positive.max(), rtol=0, atol=1e-6)


def test_the_map_is_of_the_activations_where_they_follow_the_convolution():
    """A = relu(image), relu(-image): the map of class 0 is 2 relu(image) - relu(-image), its positive part."""
    for activation in (nn.ReLU(), nn.ReLU(inplace=True)):
        map_ = maps_of(lens(activation=activation), images(PICTURE), torch.tensor([0]))[0]
        torch.testing.assert_close(map_, torch.tensor([[0.5, 1.0], [0.0, 0.0]]), rtol=0, atol=1e-6)


def test_images_of_a_batch_have_their_own_classes_and_maps():
    net, batch = lens(), images(PICTURE, PICTURE, 5 * PICTURE, PICTURE.T)
    together = maps_of(net, batch, torch.tensor([0, 1, 0, 1]))
    alone = [maps_of(net, image[None], torch.tensor([answer]))[0] for image, answer in zip(batch, (0, 1, 0, 1))]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-6)
    assert torch.equal(together[0].argmax(), torch.tensor(1)) and together[1].argmax() == 3
    torch.testing.assert_close(together[0], together[2], rtol=0, atol=1e-6)  # scaled to the largest


def test_a_small_map_is_enlarged_between_its_places():
    net = nn.Sequential(nn.AvgPool2d(2), lens()[0], nn.AdaptiveAvgPool2d(1), nn.Flatten(), lens()[4]).eval()
    picture = torch.arange(64.0).view(1, 1, 8, 8)
    small = 3 * F.avg_pool2d(picture, 2)
    expected = F.interpolate(small, (8, 8), mode="bilinear")[0, 0]
    found = maps_of(net, picture, torch.tensor([0]))[0]
    torch.testing.assert_close(found, expected / expected.max(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("task, answer, expected", [("binary", 1, [[1, 2], [0, 0]]), ("binary", 0, [[0, 0], [0, 3]])])
def test_class_0_of_binary_data_is_the_negative_output(task, answer, expected):
    map_ = maps_of(lens([[2.0, -1.0]]), images(PICTURE), torch.tensor([answer]), task)[0]
    torch.testing.assert_close(map_, torch.tensor(expected) / max(map(max, expected)), rtol=0, atol=1e-6)


def test_the_map_of_a_value_shows_what_moves_it_up_or_down():
    """Output 1 of the regression is -2 times the mean of the image."""
    map_ = maps_of(lens(), images(PICTURE), torch.tensor([1]), "regression")[0]
    torch.testing.assert_close(map_, PICTURE.abs() / 3, rtol=0, atol=1e-6)


def test_saliency_of_a_linear_model_is_its_weight():
    torch.manual_seed(0)
    net, batch, answers = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(2, 3, 2, 2), torch.tensor([2, 0])
    weight = net[1].weight[answers].detach().view(2, 3, 2, 2)
    with evaluating(net):
        network = answers_in(net, "classification")
        for draws in (0, 1, 25):
            gradient = saliency(network, batch, answers, draws=draws)
            torch.testing.assert_close(gradient, weight, rtol=1e-6, atol=1e-6)
    explainer = explainer_of(net, batch)
    assert explainer.method == "saliency" and explainer.reason == "the model has no convolution"
    strongest = weight.abs().amax(1)  # of the channels
    torch.testing.assert_close(
        explainer(batch, answers), strongest / strongest.amax((1, 2), keepdim=True), rtol=1e-5, atol=1e-6
    )


def test_smoothed_saliency_is_the_gradient_averaged_over_the_noise():
    """Of sum x^3 the gradient is 3 x^2, and its mean under noise of deviation s is 3 (x^2 + s^2)."""

    def cubes(batch):
        return batch.pow(3).flatten(1).sum(1, keepdim=True)

    batch, answers = torch.tensor([0.0, 0.5, 1.0, 2.0]).view(1, 1, 2, 2), torch.tensor([0])
    plain = saliency(cubes, batch, answers, draws=0)
    torch.testing.assert_close(plain, 3 * batch**2, rtol=1e-6, atol=0)
    smoothed = saliency(cubes, batch, answers, draws=20_000, noise=0.15)
    deviation = 0.15 * 2.0  # of the range of the values
    # The mean of 20,000 draws of 6 x s z has a deviation of 0.025 where x is 2: four of them.
    torch.testing.assert_close(smoothed, 3 * (batch**2 + deviation**2), rtol=0, atol=0.1)


def test_saliency_does_not_depend_on_the_other_images_of_a_batch():
    torch.manual_seed(0)
    net, batch = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(3, 1, 4, 4)
    batch[1] *= 50
    answers = torch.tensor([0, 1, 1])
    alone = torch.cat([maps_of(net, batch[[place]], answers[[place]]) for place in range(3)])
    torch.testing.assert_close(maps_of(net, batch, answers), alone, rtol=1e-4, atol=1e-5)


class Inplace(nn.Module):
    """Network that changes its input, with batch norm and dropout."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x.mul_(2).sub_(1)
        return self.head(self.drop(F.relu_(self.norm(self.conv(x)))).mean((2, 3)))


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", ["cam", "saliency"])
def test_the_network_its_gradients_and_the_images_are_as_before(frozen, training, method):
    torch.manual_seed(0)
    net, batch, answers = Inplace(), torch.rand(2, 1, 8, 8), torch.tensor([0, 2])
    net(batch.clone()).sum().backward()
    net.train(training).requires_grad_(not frozen)
    net.norm.eval()
    before, modes = copy.deepcopy(net.state_dict()), [part.training for part in net.modules()]
    gradients, draws = [part.grad.clone() for part in net.parameters()], torch.get_rng_state()
    kept, hooks = batch.clone(), [len(part._forward_hooks) for part in net.modules()]
    explainer = explainer_of(net, batch) if method == "cam" else Explainer(module=net)
    maps = explainer(batch, answers)
    assert maps.shape == (2, 8, 8) and not maps.requires_grad and maps.grad_fn is None
    assert [part.training for part in net.modules()] == modes
    assert all(part.requires_grad != frozen for part in net.parameters())
    assert all(torch.equal(part.grad, gradient) for part, gradient in zip(net.parameters(), gradients))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(batch, kept) and batch.grad is None and not batch.requires_grad
    assert torch.equal(torch.get_rng_state(), draws)
    assert [len(part._forward_hooks) for part in net.modules()] == hooks
    again = explainer(batch, answers)
    assert torch.equal(maps, again)  # no dropout, no batch statistics


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_can_be_asked_for_where_gradients_are_off(context):
    net, expected = lens(), maps_of(lens(), images(PICTURE), torch.tensor([0]))
    with context():
        assert torch.equal(maps_of(net, images(PICTURE), torch.tensor([0])), expected)


def test_images_with_the_channels_last_have_the_same_maps():
    torch.manual_seed(0)
    net = Inplace().eval()
    batch, answers = torch.rand(2, 1, 8, 8).expand(2, 1, 8, 8), torch.tensor([0, 1])
    net.conv, wide = nn.Conv2d(3, 4, 3, padding=1), batch.repeat(1, 3, 1, 1) * torch.rand(2, 3, 8, 8)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    found = maps_of(last, wide.to(memory_format=torch.channels_last), answers)
    torch.testing.assert_close(found, maps_of(net, wide, answers), rtol=1e-4, atol=1e-5)


def test_the_largest_of_a_map_is_1_and_one_without_evidence_is_0():
    net = lens([[1.0, 1.0], [2.0, -1.0]])  # class 0: image - image
    maps = maps_of(net, images(PICTURE, PICTURE), torch.tensor([0, 1]))
    assert maps[0].eq(0).all() and maps[1].max() == 1 and maps[1].min() == 0
    net[4].weight.data.fill_(torch.nan)
    assert maps_of(net, images(PICTURE), torch.tensor([1])).eq(0).all()


def test_no_images_have_no_maps_and_one_pixel_has_one():
    assert maps_of(lens(), torch.zeros(0, 1, 2, 2), torch.zeros(0, dtype=torch.long)).shape == (0, 2, 2)
    explainer = explainer_of(lens(), torch.ones(1, 1, 1, 1))
    assert explainer.reason == "the feature maps of the model have one place"
    assert explainer(torch.ones(1, 1, 1, 1), torch.tensor([0])).tolist() == [[[1.0]]]


def test_many_images_are_taken_a_few_at_a_time():
    net, sizes = lens(), []
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    many = images(*[PICTURE] * 200)
    assert maps_of(net, many, torch.zeros(200, dtype=torch.long)).shape == (200, 2, 2)
    assert max(sizes) <= 64
    sizes.clear()
    maps_of(net, torch.rand(5, 1, 800, 800), torch.zeros(5, dtype=torch.long))
    assert max(sizes) == 1  # a million values in one pass


def bars(count, seed):
    """Noise of 20 x 20 pixels with a bar of five, level (class 0) or upright (class 1), and the bar's middle."""
    rng = torch.Generator().manual_seed(seed)
    pictures, classes = torch.randn(count, 1, 20, 20, generator=rng) * 0.3, torch.arange(count) % 2
    rows, columns = torch.randint(0, 16, (2, count), generator=rng)
    for picture, upright, row, column in zip(pictures[:, 0], classes, rows, columns):
        bar = picture[row : row + 5, column + 2] if upright else picture[row + 2, column : column + 5]
        bar += 2
    return pictures, classes, torch.stack([rows + 2, columns + 2])


def small_net(seed):
    torch.manual_seed(seed)
    conv = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    conv += [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))


def test_maps_find_what_a_trained_network_goes_by_and_those_of_a_random_one_differ():
    """The sanity check of Adebayo et al. (2018), arXiv:1810.03292: maps must depend on the weights.

    Of six seeds the trained networks found every bar, and the maps' correlation with the random ones was 0.35 at most.
    """
    net, (pictures, classes, _) = small_net(0), bars(512, 0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(60):
        part = torch.arange(64) + step % 8 * 64
        loss = F.cross_entropy(net(pictures[part]), classes[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pictures, classes, (rows, columns) = bars(100, 1)
    trained, fresh = (maps_of(each, pictures, classes).flatten(1) for each in (net, small_net(100)))
    places = trained.argmax(1)
    near = ((places // 20 - rows).abs() <= 3) & ((places % 20 - columns).abs() <= 3)
    assert near.float().mean() >= 0.95
    one, two = (maps - maps.mean(1, keepdim=True) for maps in (trained, fresh))
    correlation = (one * two).sum(1) / (one.norm(dim=1) * two.norm(dim=1)).clamp(min=1e-9)
    assert correlation.mean() < 0.6
