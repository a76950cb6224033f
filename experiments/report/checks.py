"""Warnings in words, each with its arithmetic. A pure function of what a run recorded; silent on a healthy run."""

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.experiments.report.folder import find_number, number
from preflab.experiments.report.judged import judged_by
from preflab.experiments.report.statistics import wilson_interval
from preflab.experiments.report.words import JUDGMENTS, count, percent, plain, signed, spoken, steps

Row = Mapping[str, Any]

GAP_KEYS = ("expert_gap", "own_gap", "gap")
SPREAD_KEYS = ("judged_spread", "spread")
_CEILING_SLACK = 0.005  # accuracy this close below the best possible one cannot be told from it
_FEW_HELDOUT = 20  # an accuracy of .8 on 20 answers has an interval of .58 to .92
_MOST_TIES = 0.5
_MOST_SKIPS = 0.5
_WEIGHTS_PER_COMPARISON = 100  # a (64, 64) network on Humanoid with 400 answers has about 70 (stack.md, item 12)
_LENGTH_CHANGE = 0.1
_LENGTH_SHARE = 0.5


def find_warnings(record: Row, history: Sequence[Row], card: Row) -> list[str]:
    """Returns one sentence for each thing that a reader should know before believing the run's figures.

    Args:
        record: the run's flat row. Used besides the names of design.md, where present: `n_weights` (weights of one
            member of the reward ensemble) and `gold_return_constant` (that of REWARD=constant at the same budget).
        history: measurements, the initial one first.
        card: the oracle's card; `gap` (of the expert) and `judged_spread` are looked for at any depth.
    """
    found = [
        _misspecified(record, card),
        _experimental(record),
        _beaten_by_constant(record),
        _proxy_up_gold_down(history),
        _episode_length(record, history),
        _expert_gap(card),
        _ceiling(record),
        _ties(record, history),
        _skips(record),
        _few_heldout(record),
        _weights(record),
        _denominator(record),
    ]
    return [sentence for sentence in found if sentence]


def _misspecified(record: Row, card: Row) -> str:
    if record.get("is_misspecified") is not True:
        return ""
    likelihood = str(record.get("likelihood", "an unnamed rule"))
    sentence = (
        f"The likelihood is misspecified: the human judged by {judged_by(record, card)}; the learner assumed "
        f"{JUDGMENTS.get(likelihood, spoken(likelihood))}."
    )
    accuracy, best = number(record, "heldout_accuracy"), number(record, "best_possible_accuracy")
    if accuracy is None or best is None:
        return sentence
    if accuracy >= best:
        return f"{sentence} It cost no accuracy here: {accuracy:.2f} held out, best possible {best:.2f}."
    return (
        f"{sentence} Held-out accuracy is {accuracy:.2f} where {best:.2f} is possible: {best - accuracy:.2f} short, "
        "and the part of it that comes from this assumption does not shrink with more comparisons."
    )


def _experimental(record: Row) -> str:
    if record.get("likelihood") != "regret" or record.get("reward") == "regret_tabular":
        return ""
    return (
        "The regret likelihood is experimental in control. On Pendulum, with 200 answers by regret and seeds 100 to 104, it "
        "ended at a gold return of −1,060 [−1,348, −771], where partial return ended at −801 [−1,044, −558] and both began at "
        "−1,181 (held-out accuracy 0.69 against 0.63). Compare with REWARD=ensemble."
    )


def _beaten_by_constant(record: Row) -> str:
    constant, final = number(record, "gold_return_constant"), number(record, "gold_return_final")
    if constant is None or final is None or record.get("reward") == "constant":
        return ""
    low, high = number(record, "gold_return_final_low"), number(record, "gold_return_final_high")
    if (final if low is None else low) > constant:
        return ""
    interval = "" if low is None or high is None else f" (interval {plain(low)} to {plain(high)})"
    return (
        f"The result does not beat a constant reward: gold {plain(final)}{interval}, {plain(constant)} with "
        f"REWARD=constant, {signed(final - constant)} apart. What does not beat a constant reward is no result."
    )


def _proxy_up_gold_down(history: Sequence[Row]) -> str:
    measured = [row for row in history if number(row, "gold_return_mean") is not None]
    if len(measured) < 2:
        return ""
    last = measured[-1]
    i_peak = max(range(len(measured)), key=lambda i: number(measured[i], "gold_return_mean") or 0.0)
    peak = measured[i_peak]
    lowest, highest = number(peak, "gold_return_low"), number(last, "gold_return_high")
    fell_from, fell_to = number(peak, "gold_return_mean") or 0.0, number(last, "gold_return_mean") or 0.0
    if (highest if highest is not None else fell_to) >= (lowest if lowest is not None else fell_from):
        return ""
    since = next((row for row in measured[i_peak:-1] if number(row, "proxy_return_mean") is not None), None)
    rose_from, rose_to = (None if row is None else number(row, "proxy_return_mean") for row in (since, last))
    if since is None or rose_from is None or rose_to is None or rose_to <= rose_from:
        return ""
    return (
        f"Proxy up, gold down: gold fell from {plain(fell_from)} at {steps(number(peak, 'n_env_steps'))} steps to "
        f"{plain(fell_to)} at {steps(number(last, 'n_env_steps'))} ({signed(fell_to - fell_from)}, intervals apart) "
        f"while the proxy rose from {plain(rose_from)} at {steps(number(since, 'n_env_steps'))} to {plain(rose_to)} "
        f"({signed(rose_to - rose_from)}): the agent now optimizes the reward's errors."
    )


def _episode_length(record: Row, history: Sequence[Row]) -> str:
    if record.get("form") != "terminating":
        return ""
    pairs = [(number(row, "episode_length_mean"), number(row, "proxy_return_mean")) for row in history]
    known = [(length, proxy) for length, proxy in pairs if length and proxy is not None]
    if len(known) < 2:
        return ""
    (length_0, proxy_0), (length_1, proxy_1) = known[0], known[-1]
    gain, rate_0, rate_1 = proxy_1 - proxy_0, proxy_0 / length_0, proxy_1 / length_1
    from_length = (length_1 - length_0) * (rate_0 + rate_1) / 2  # with the rest, (rate_1 − rate_0) · mean length, exact
    if gain <= 0 or abs(length_1 - length_0) < _LENGTH_CHANGE * length_0 or from_length < _LENGTH_SHARE * gain:
        return ""
    word = "Longer" if length_1 > length_0 else "Shorter"
    return (
        f"{word} episodes explain the higher proxy: it rose by {signed(gain)} an episode, of which "
        f"{signed(from_length)} ({percent(from_length / gain)}) is the length alone, {plain(length_0)} → "
        f"{plain(length_1)} steps at {plain((rate_0 + rate_1) / 2)} a step. In this form an episode's end leaks the "
        "task: compare with REWARD=constant."
    )


def _expert_gap(card: Row) -> str:
    gap, spread = find_number(card, *GAP_KEYS), find_number(card, *SPREAD_KEYS)
    if gap is None or spread is None or abs(gap) <= spread:
        return ""
    ratio = f", {abs(gap) / spread:.1f} times as much" if spread > 0 else ""
    return (
        f"The expert's own gap is larger than what it judges: gap {plain(abs(gap))}, spread of the judged segments "
        f"{plain(spread)}{ratio}. Answers then say more about the expert's errors than about the segments."
    )


def _ceiling(record: Row) -> str:
    accuracy, best = number(record, "heldout_accuracy"), number(record, "best_possible_accuracy")
    n = number(record, "n_heldout_comparisons")
    if accuracy is None or best is None or accuracy < best - _CEILING_SLACK or (n is not None and n < _FEW_HELDOUT):
        return ""
    return (
        f"Accuracy is at its ceiling: {accuracy:.3f} held out, best possible {best:.3f} ({signed(accuracy - best, 2)})."
        " It can no longer tell two learners apart, and more answers of this kind cannot raise it."
    )


def _few_heldout(record: Row) -> str:
    n, accuracy = number(record, "n_heldout_comparisons"), number(record, "heldout_accuracy")
    if n is None or accuracy is None or n >= _FEW_HELDOUT:
        return ""
    low, high = wilson_interval(accuracy, n)
    return (
        f"Held-out accuracy rests on {count(n)} answers: {accuracy:.2f}, with an interval from {low:.2f} to {high:.2f}."
        f" From {_FEW_HELDOUT} on it begins to mean something."
    )


def _ties(record: Row, history: Sequence[Row]) -> str:
    share = next((value for row in reversed(history) if (value := number(row, "tie_share")) is not None), None)
    ties, n = number(record, "n_ties"), number(record, "n_comparisons")
    share = ties / n if ties is not None and n else share
    if share is None or share < _MOST_TIES:
        return ""
    counted = (
        "" if n is None else f" ({count(share * n)} of {count(n)}; {count((1 - share) * n)} strict answers are left)"
    )
    head = "All answers were ties" if share >= 0.9995 else f"{percent(share)} of the answers were ties"
    return f"{head}{counted}. A tie says little about which segment is better: ask about more different segments."


def _skips(record: Row) -> str:
    queries, skips = number(record, "n_queries"), number(record, "n_skips")
    if not queries or skips is None or skips / queries < _MOST_SKIPS:
        return ""
    if skips == queries:
        return f"Every query was skipped, all {count(queries)} of them: no reward was learned, and the agent was paid nothing."
    return (
        f"Most of the budget went into skips: {count(skips)} of {count(queries)} queries ({percent(skips / queries)}) "
        "were charged and brought no comparison."
    )


def _weights(record: Row) -> str:
    n, weights = number(record, "n_comparisons"), number(record, "n_weights")
    if n is None or weights is None or weights <= _WEIGHTS_PER_COMPARISON * n:
        return ""
    each = f": {count(weights / n)} weights for each answer" if n else ""
    return (
        f"Reward training saw {count(n)} comparisons for {count(weights)} weights in each network{each}. Expect it to "
        "memorize."
    )


def _denominator(record: Row) -> str:
    initial, gold = number(record, "gold_return_initial"), number(record, "gold_return_gold_agent")
    low, high = number(record, "gold_return_final_low"), number(record, "gold_return_final_high")
    if initial is None or gold is None or low is None or high is None or gold - initial > high - low:
        return ""
    return (
        f"The score says little here: training on gold itself gains {signed(gold - initial)} ({plain(initial)} → "
        f"{plain(gold)}), no more than the {plain(high - low)} that the interval of the final gold return is wide."
    )
