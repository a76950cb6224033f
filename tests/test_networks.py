"""Shared networks: an ensemble is its members one by one, inputs are encoded and standardized as stated."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from preflab import seeding, storage
from preflab.errors import InvalidArgument
from preflab.networks import EnsembleMLP, Normalizer, encode, encoded_size


@pytest.fixture
def ensemble() -> EnsembleMLP:
    return EnsembleMLP(3, 4, (8, 5), "tanh", seeding.torch_generator(0, "weights"))


def one_by_one(ensemble: EnsembleMLP, inputs: torch.Tensor) -> torch.Tensor:
    """(K, B) outputs, each member computed alone by `torch.nn.functional.linear`."""
    rows = []
    for member in range(ensemble.n_members):
        hidden = inputs if inputs.dim() == 2 else inputs[member]
        for i, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            hidden = torch.nn.functional.linear(hidden, weight[member].T, bias[member, 0])
            hidden = torch.tanh(hidden) if i < len(ensemble.weights) - 1 else hidden
        rows.append(hidden[:, 0])
    return torch.stack(rows)


@pytest.mark.parametrize("shape", [(7, 4), (3, 7, 4)], ids=["one batch for all", "a batch each"])
def test_the_batched_product_equals_a_loop_over_members(ensemble: EnsembleMLP, shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape, generator=seeding.torch_generator(0, "inputs"))
    with torch.no_grad():
        for bias in ensemble.biases:
            bias.normal_(generator=seeding.torch_generator(1, "bias"))
    assert torch.allclose(ensemble(inputs), one_by_one(ensemble, inputs), atol=1e-6)


def test_gradients_of_one_member_leave_the_others_alone(ensemble: EnsembleMLP) -> None:
    ensemble(torch.ones(2, 4))[1].sum().backward()
    for parameter in ensemble.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].abs().sum() > 0
        assert parameter.grad[[0, 2]].abs().sum() == 0


def test_a_one_unit_network_computes_what_is_written_on_it() -> None:
    net = EnsembleMLP(2, 1, (1,), "relu", seeding.torch_generator(0))
    with torch.no_grad():
        net.weights[0].copy_(torch.tensor([[[2.0]], [[-1.0]]]))
        net.biases[0].copy_(torch.tensor([[[1.0]], [[0.0]]]))
        net.weights[1].copy_(torch.tensor([[[3.0]], [[1.0]]]))
    # Member 0: 3 · relu(2x + 1); member 1: relu(−x).
    assert net(torch.tensor([[1.0], [-2.0]])).tolist() == [[9.0, 0.0], [0.0, 2.0]]


def test_weights_are_orthogonal_differ_between_members_and_come_from_the_generator() -> None:
    made = [EnsembleMLP(2, 6, (4,), generator=seeding.torch_generator(seed, "w")) for seed in (0, 0, 1)]
    first = made[0].weights[0][0]
    assert torch.allclose(first.T @ first, 2 * torch.eye(4), atol=1e-5)  # gain √2
    assert torch.isclose(made[0].weights[1][0].norm(), torch.tensor(1.0))  # last layer, gain 1
    assert not torch.allclose(first, made[0].weights[0][1])
    assert torch.equal(first, made[1].weights[0][0])
    assert not torch.allclose(first, made[2].weights[0][0])


@pytest.mark.usefixtures("still_global_generators")
def test_drawing_weights_moves_no_global_generator() -> None:
    EnsembleMLP(2, 3, (4, 4), generator=seeding.torch_generator(0))


def test_weights_are_counted_per_member(ensemble: EnsembleMLP) -> None:
    assert ensemble.n_weights == (4 * 8 + 8) + (8 * 5 + 5) + (5 + 1)


def test_an_ensemble_survives_its_file(ensemble: EnsembleMLP, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("weights") / "ensemble.safetensors"
    storage.save_tensors(path, ensemble.state_dict())
    again = EnsembleMLP(3, 4, (8, 5), generator=seeding.torch_generator(9))
    again.load_state_dict(storage.load_tensors(path))
    inputs = torch.ones(2, 4)
    assert torch.equal(ensemble(inputs), again(inputs))


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="tanh, relu"):
        EnsembleMLP(1, 1, (1,), "swish")


def test_a_normalizer_starts_as_the_identity_and_standardizes_once_set() -> None:
    normalizer = Normalizer(3, clip=2.0)
    row = torch.tensor([[1.0, -1.5, 0.5]])
    assert torch.equal(normalizer(row), row)
    normalizer.set(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([2.0, 0.5, 0.0]))
    # (1 − 1)/2; −1.5/0.5 = −3, clipped to −2; a constant input keeps scale 1.
    assert normalizer(row).tolist() == [[0.0, -2.0, 0.0]]
    assert set(normalizer.state_dict()) == {"mean", "scale"}


def test_boxes_are_flattened_and_discretes_one_hot() -> None:
    box = gym.spaces.Box(-1.0, 1.0, (2, 2))
    assert encoded_size(box) == 4
    assert encode(box, np.arange(4.0).reshape(1, 2, 2)).tolist() == [[0.0, 1.0, 2.0, 3.0]]
    assert encode(box, np.zeros((0, 2, 2))).shape == (0, 4)
    discrete = gym.spaces.Discrete(3, start=5)
    assert encoded_size(discrete) == 3
    assert encode(discrete, np.array([5, 7])).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert encode(discrete, np.zeros(0, np.int64)).shape == (0, 3)
    with pytest.raises(InvalidArgument, match="Box or Discrete"):
        encoded_size(gym.spaces.MultiBinary(2))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_loop_over_members_is_the_batched_product(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = EnsembleMLP(3, 4, (16, 8), activation, torch.Generator().manual_seed(0))
    inputs, found = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), []
    for threshold in (1, 10**9):
        monkeypatch.setattr("preflab.networks._LOOPED_FLOATS", threshold)
        network.zero_grad()
        outputs = network(inputs)
        torch.autograd.backward((outputs * torch.linspace(-1, 1, 50)).sum())
        gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
        found.append([outputs.detach(), *gradients])
    assert len(found[0]) == 7
    for looped, batched in zip(*found, strict=True):
        torch.testing.assert_close(looped, batched, atol=1e-6, rtol=1e-5)
