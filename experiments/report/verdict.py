"""The top of a report: what was run, the score, and gold from → to beside the agent that was trained on gold."""

from collections.abc import Mapping
from typing import Any

from preflab.experiments.report.folder import RunFolder, number
from preflab.experiments.report.judged import belief
from preflab.experiments.report.page import note
from preflab.experiments.report.words import count, duration, escape, plain, steps, what_ran


def headline(run: RunFolder) -> str:
    """Returns the first line: what was run, and what the learner believed about the human."""
    text = belief(run.record, run.card)
    text = escape(text[0].upper() + text[1:])
    marked = text.replace(": misspecified", ": <em>misspecified</em>")
    return f'<p class="what">{escape(what_ran(run.record))}</p><h1>{marked}.</h1>'


def verdict(run: RunFolder) -> str:
    """Returns the score beside a scale that holds gold before, gold after with its interval, and the gold agent."""
    score = number(run.record, "score")
    about = "score: the share of what training on gold itself gains"
    box = f'<div class="score"><b>{score_text(score)}</b><span>{about}</span></div>'
    if score is None:
        box = '<div class="score none"><b>no score</b><span>no agent trained on gold to compare with</span></div>'
    return f'<div class="verdict">{box}{_scale(run.record)}</div>' + note(_sentence(run.record, score))


def score_text(score: float | None) -> str:
    """Returns a score with two decimals and a true minus, or a dash."""
    return "–" if score is None else f"{score:.2f}".replace("-", "−")


def _sentence(record: Mapping[str, Any], score: float | None) -> str:
    before, after = number(record, "gold_return_initial"), number(record, "gold_return_final")
    gold = number(record, "gold_return_gold_agent")
    if score is None or before is None or after is None or gold is None:
        source = record.get("gold_agent_source") if gold is None else None
        why = f" There is no score: {source}." if source else ""
        return f"Gold return is the task's own reward per episode, which the agent never saw.{why}"
    return (
        f"Score = (gold after − before) / (gold agent − before) = ({plain(after)} − {plain(before)}) / ({plain(gold)} "
        f"− {plain(before)}). Gold is the task's own reward per episode, which this agent never saw; the gold agent is "
        "the same agent trained on it for the same steps. One seed: the interval is over evaluation episodes only."
    ).replace("− −", "+ ")


def _scale(record: Mapping[str, Any]) -> str:
    before, after = number(record, "gold_return_initial"), number(record, "gold_return_final")
    low, high = number(record, "gold_return_final_low"), number(record, "gold_return_final_high")
    gold = number(record, "gold_return_gold_agent")
    known = [value for value in (before, after, low, high, gold) if value is not None]
    if after is None or len(known) < 2 or max(known) == min(known):
        return f'<p>Gold return after training: <b class="gold">{plain(after)}</b></p>'
    start, width = min(known), max(known) - min(known)

    def place(value: float) -> float:
        return 2 + 96 * (value - start) / width

    parts = ['<i class="track"></i>']
    if before is not None:
        left, right = sorted((place(before), place(after)))
        parts.append(f'<i class="gain" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>')
    if low is not None and high is not None:
        parts.append(f'<i class="whisker" style="left:{place(low):.2f}%;width:{place(high) - place(low):.2f}%"></i>')
    for value in (before, gold):
        parts += [] if value is None else [f'<i class="mark" style="left:{place(value):.2f}%"></i>']
    parts.append(f'<i class="dot" style="left:{place(after):.2f}%"></i>')
    interval = "" if low is None or high is None else f" ({plain(low)} to {plain(high)})"
    parts.append(_label(place(after), "over", f"after training{interval}", after))
    close = before is not None and gold is not None and abs(place(before) - place(gold)) < 45
    parts += [] if before is None else [_label(place(before), "under", "before", before)]
    parts += (
        [] if gold is None else [_label(place(gold), "under low" if close else "under", "agent trained on gold", gold)]
    )
    return f'<div class="scale">{"".join(parts)}</div>'


def _label(place: float, kind: str, text: str, value: float) -> str:
    """Returns a label that grows away from the nearer edge, so that it stays on the page."""
    side = f"left:{place:.2f}%" if place <= 50 else f"right:{100 - place:.2f}%;text-align:right"
    return f'<span class="{kind}" style="{side}"><b>{plain(value)}</b>{escape(text)}</span>'


def facts(run: RunFolder) -> str:
    """Returns the handful of figures that a reader wants next."""
    record = run.record
    accuracy, best = number(record, "heldout_accuracy"), number(record, "best_possible_accuracy")
    forward = _forward(record)
    items: list[tuple[str, str, str]] = [
        ("answers", count(number(record, "n_comparisons")), _skipped(record)),
        ("held-out accuracy", "–" if accuracy is None else f"{accuracy:.2f}",
         "" if best is None else f"best possible {best:.2f}"),
        ("env steps", steps(number(record, "n_env_steps")), ""),
        ("deterministic gold", plain(number(record, "gold_return_final_deterministic")), "without exploration noise"),
        ("forward reward", plain(forward), "an episode, alive bonus apart") if forward is not None else ("", "", ""),
        ("wall time", duration(number(record, "wall_seconds")), ""),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}{f'<small>{escape(more)}</small>' if more else ''}</dd></div>"
        for name, value, more in items if name and value != "–"
    )
    return f'<dl class="facts">{cells}</dl>' if cells else ""


def _forward(record: Mapping[str, Any]) -> float | None:
    """Returns the forward part of gold, which the alive bonus would otherwise hide."""
    names = ["gold_forward_final", *(key for key in record if "forward" in key and key.endswith("_final"))]
    return next((value for name in names if (value := number(record, name)) is not None), None)


def _skipped(record: Mapping[str, Any]) -> str:
    queries, skips = number(record, "n_queries"), number(record, "n_skips")
    return f"to {count(queries)} queries, {count(skips)} skipped" if queries is not None and skips else ""
