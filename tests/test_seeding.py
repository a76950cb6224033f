"""Generators by name: the same wherever they are derived, unrelated where the names differ."""

import numpy as np
import pytest
import torch

from preflab import seeding


def test_a_key_is_the_same_on_every_machine() -> None:
    # printf '0\x1foracle' | b2sum -l 64
    assert seeding.key(0, "oracle").to_bytes(8, "little").hex() == "9ecbff235704bcfa"


def test_seeds_and_names_all_matter() -> None:
    keys = {
        seeding.key(seed, *names)
        for seed in (0, 1, -1)
        for names in ((), ("a",), ("b",), ("a", "b"), ("ab",), ("b", "a"), ("a", 0), ("a", 1))
    }
    assert len(keys) == 3 * 8


def test_generators_repeat_by_name_and_differ_between_names() -> None:
    first, again, other = (seeding.generator(3, *names).random(4) for names in (("x", 1), ("x", 1), ("x", 2)))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()
    draws = [torch.rand(4, generator=seeding.torch_generator(3, *names)) for names in (("x", 1), ("x", 1), ("x", 2))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.isclose(draws[0], draws[2]).any()


@pytest.mark.usefixtures("still_global_generators")
def test_no_global_generator_moves() -> None:
    seeding.generator(0, "a").random(3)
    torch.rand(3, generator=seeding.torch_generator(0, "a"))
    seeding.counter_uniforms(seeding.key(0, "a"), np.arange(3))
    assert 0 <= seeding.small_seed(0, "a") < 2**31


def test_small_seeds_fit_every_library() -> None:
    seeds = [seeding.small_seed(i, "env") for i in range(1000)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**31
    assert len(set(seeds)) == 1000  # a collision among 1000 of 2^31: probability 2e-4, and fixed by the seed


def splitmix(bits: int) -> int:
    """SplitMix64's finalizer on Python's integers (Steele, Lea & Flood 2014, figure 16: mix64variant13)."""
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % 2**64
    return bits ^ (bits >> 31)


def test_counter_uniforms_equal_exact_integer_arithmetic() -> None:
    golden, stream = 0x9E3779B97F4A7C15, seeding.key(5, "answers")
    counters = [0, 1, 2, 12345, 2**40]
    expected = [
        (splitmix((splitmix((counter * golden + stream) % 2**64) + golden) % 2**64) >> 11) / 2**53
        for counter in counters
    ]
    assert seeding.counter_uniforms(stream, counters).tolist() == expected


def test_order_and_batching_of_counters_do_not_matter(rng: np.random.Generator) -> None:
    stream, counters = seeding.key(0, "answers"), np.arange(500)
    whole = seeding.counter_uniforms(stream, counters)
    shuffled = rng.permutation(500)
    assert np.array_equal(seeding.counter_uniforms(stream, counters[shuffled]), whole[shuffled])
    assert [float(seeding.counter_uniforms(stream, [i])[0]) for i in (0, 7, 499)] == whole[[0, 7, 499]].tolist()


def test_counter_uniforms_are_uniform_and_unrelated_between_neighbors_and_streams() -> None:
    """Chi-square at 1e-4 each (fixed seeds, so either always or never): 99 and 2 × 24 degrees of freedom."""
    n = 100_000
    uniforms = seeding.counter_uniforms(seeding.key(0, "a"), np.arange(n))
    other = seeding.counter_uniforms(seeding.key(0, "b"), np.arange(n))
    assert 0 <= uniforms.min() < uniforms.max() < 1
    assert chi_square(np.bincount((uniforms * 100).astype(int), minlength=100)) < 160.1  # χ²(99): 1e-4
    for neighbors in (np.roll(uniforms, 1), other):
        cells = (uniforms * 5).astype(int) * 5 + (neighbors * 5).astype(int)
        assert chi_square(np.bincount(cells, minlength=25)) < 58.6  # χ²(24): 1e-4


def chi_square(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())
