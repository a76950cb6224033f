"""Networks that see images: members one by one, both layouts, images as bytes until they are read."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from preflab import seeding, storage
from preflab.errors import InvalidArgument
from preflab.inputs import StepInputs, encode_images, image_shapes, in_parts, vectors_of, with_vectors
from preflab.networks import EnsembleMLP, Normalizer, encode, encoded_size, number_columns
from preflab.networks_image import EnsembleCNN, EnsembleImageEncoder, convolutions, ensemble_network
from preflab.observations import pack

SPACE = gym.spaces.Dict({
    "camera": gym.spaces.Box(0, 255, (9, 12, 3), np.uint8), "door": gym.spaces.Discrete(3), "place": gym.spaces.Box(-1, 1, (2,)),
})


def pixels(n: int, shape: tuple[int, ...] = (3, 9, 12), seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).integers(256, size=(n, *shape), dtype=np.uint8))


def one_by_one(encoder: EnsembleImageEncoder, images: torch.Tensor) -> torch.Tensor:
    """(K, B, features), each member computed alone."""
    rows = []
    for member in range(encoder.n_members):
        hidden = images.float() / 255 - 0.5
        for weight, bias, stride in zip(encoder.weights, encoder.biases, encoder.strides, strict=True):
            padding = weight.shape[-1] // 2
            hidden = torch.relu(torch.nn.functional.conv2d(hidden, weight[member], bias[member], stride, padding))
        rows.append(hidden.flatten(1))
    return torch.stack(rows)


@pytest.mark.parametrize("shape", [(3, 9, 12), (1, 40, 36), (4, 2, 1)], ids=str)
def test_grouped_convolutions_equal_a_loop_over_members(shape: tuple[int, int, int]) -> None:
    encoder = EnsembleImageEncoder(3, shape, "relu", seeding.torch_generator(0, "weights"))
    with torch.no_grad():
        for bias in encoder.biases:
            bias.normal_(generator=seeding.torch_generator(1, "bias"))
    images = pixels(5, shape)
    assert encoder(images).shape == (3, 5, encoder.n_features)
    assert torch.allclose(encoder(images), one_by_one(encoder, images), atol=1e-4)


def test_a_member_is_trained_alone_and_its_weights_are_counted() -> None:
    network = EnsembleCNN(3, 2, [(3, 9, 12)], (8,), "relu", seeding.torch_generator(0))
    inputs = StepInputs(torch.ones(4, 2), (pixels(4),))
    assert network(inputs).shape == (3, 4)
    network(inputs)[1].sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None and len(parameter) == 3
        assert parameter.grad[[0, 2]].abs().sum() == 0
    first = next(network.encoders.parameters())
    assert first.grad is not None and first.grad[1].abs().sum() > 0
    # 9 × 12 → 9 × 12 × 8 → 5 × 6 × 16 → 3 × 3 × 16 = 144 features, and two numbers beside them.
    assert network.n_weights == (8 * 27 + 8) + (16 * 72 + 16) + (16 * 144 + 16) + (146 * 8 + 8) + (8 + 1)


def test_a_network_of_images_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    made, again = (EnsembleCNN(2, 2, [(3, 9, 12)], (8,), "tanh", seeding.torch_generator(seed)) for seed in (0, 1))
    storage.save_tensors(path, made.state_dict())
    again.load_state_dict(storage.load_tensors(path))
    inputs = StepInputs(torch.ones(4, 2), (pixels(4),))
    assert torch.equal(made(inputs), again(inputs))


def test_convolutions_bring_every_size_down_to_four() -> None:
    for size in range(1, 300):
        side, layers = size, convolutions(size, size)
        for _, kernel, stride in layers:
            assert kernel % 2 == 1 and kernel >= stride
            side = -(-side // stride)
        assert side <= 4 and len(layers) <= 4, size


def test_without_images_the_network_is_a_perceptron() -> None:
    network = ensemble_network(2, 3, [], (4,), "tanh", seeding.torch_generator(0))
    assert isinstance(network, EnsembleMLP)
    same = EnsembleMLP(2, 3, (4,), "tanh", seeding.torch_generator(0))
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), same.parameters(), strict=True))


def test_a_dict_is_encoded_part_by_part_with_images_apart() -> None:
    rng = np.random.default_rng(0)
    obs = {
        "camera": rng.integers(256, size=(4, 9, 12, 3), dtype=np.uint8), "door": np.array([0, 2, 1, 0]),
        "place": rng.uniform(-1, 1, (4, 2)).astype(np.float32),
    }
    packed = pack(SPACE, obs)
    expected = np.concatenate([np.eye(3, dtype=np.float32)[obs["door"]], obs["place"]], axis=1)
    assert encoded_size(SPACE) == 5 and np.array_equal(encode(SPACE, packed).numpy(), expected)
    assert number_columns(SPACE).tolist() == [False] * 3 + [True] * 2
    assert image_shapes(SPACE) == [(3, 9, 12)]
    (image,) = encode_images(SPACE, packed)
    assert image.dtype == torch.uint8 and np.array_equal(image.numpy(), obs["camera"].transpose(0, 3, 1, 2))
    assert encode(SPACE["camera"], obs["camera"]).shape == (4, 0) and encoded_size(SPACE["camera"]) == 0
    assert torch.equal(encode_images(SPACE["camera"], obs["camera"])[0], image)


def test_both_layouts_of_an_image_are_one_input() -> None:
    first, last = (gym.spaces.Box(0, 255, shape, np.uint8) for shape in ((3, 9, 12), (9, 12, 3)))
    image = pixels(2).numpy()
    assert torch.equal(encode_images(first, image)[0], encode_images(last, image.transpose(0, 2, 3, 1))[0])


def test_inputs_with_images_are_indexed_and_normalized_like_a_tensor() -> None:
    inputs = StepInputs(torch.arange(6.0).reshape(3, 2), (pixels(3),))
    taken = inputs[torch.tensor([2, 0])]
    assert len(taken) == 2 and taken.vectors.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert torch.equal(taken.images[0], inputs.images[0][[2, 0]])
    normalizer = Normalizer(2)
    normalizer.set(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 2.0]))
    normalized = normalizer(inputs)
    assert normalized.vectors.tolist() == [[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]
    assert normalized.images[0] is inputs.images[0]
    plain = torch.ones(2, 2)
    assert vectors_of(plain) is plain and with_vectors(plain, plain) is plain
    with pytest.raises(InvalidArgument, match="uint8"):
        StepInputs(torch.zeros(3, 2), (pixels(3).float(),))


def test_parts_cover_all_rows_and_are_small_where_images_are_large() -> None:
    inputs = StepInputs(torch.arange(300.0)[:, None], (torch.zeros(300, 3, 128, 128, dtype=torch.uint8),))
    parts = list(in_parts(inputs))
    assert [len(part) for part in parts] == [85, 85, 85, 45]
    assert torch.equal(torch.cat([vectors_of(part) for part in parts]), inputs.vectors)
    assert len(list(in_parts(torch.zeros(0, 3)))) == 1 and len(list(in_parts(inputs[:0]))) == 1
