"""Whether preferred goes in circles: how many triples of segments do, and one of them."""

from collections.abc import Mapping

from preflab.experiments.report.folder import RunFolder, number
from preflab.experiments.report.page import note, say, section, table
from preflab.experiments.report.words import percent, plain, spoken

_NEXT = ("b", "c", "a")


def circles_section(run: RunFolder) -> str:
    """Returns the section on circles; nothing for a human who has none and could not have any."""
    found = run.card.get("intransitive")
    share = number(found, "share_of_triples") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or share is None or not (share or _may_go_in_circles(run.card)):
        return ""
    segments = f"{plain(number(found, 'n_segments'), 2)} segments of the calibration pool"
    if not share:
        return section("Circles", note(f"No triple of {segments} goes in a circle: there is an order of all of them."))
    amount = percent(share) if share >= 0.005 else f"{100 * share:.2g} %"
    text = (
        f"Of the decided triples of {segments}, {amount} go in a circle: a is likelier preferred to b, b to c, and c to a. No "
        "reward says so: whatever it pays the three, it has one of these pairs wrong."
    )
    return section("Circles", note(text), _example(found.get("example")))


def _may_go_in_circles(card: Mapping[str, object]) -> bool:
    response = card.get("response")
    kind = response.get("kind") if isinstance(response, Mapping) else None
    return kind in ("hierarchy", "preference_matrix") or isinstance(card.get("humans"), Mapping)


def _example(example: object) -> str:
    """Returns three segments that go in a circle, each with its chance to be preferred to the next."""
    if not isinstance(example, Mapping) or len(example.get("p") or []) != len(_NEXT):
        return ""
    names = [str(name) for name in example if name not in ("p", "segments")]
    rows = [
        [f"<b>{'abc'[i]}</b>", *(say(float(example[name][i])) for name in names),
         f"<b>{following}</b> with {percent(float(example['p'][i]))}"]
        for i, following in enumerate(_NEXT)
    ]
    heads = ["for example", *map(spoken, names), "is preferred to"]
    return table(heads, rows) + note("Gold is the segment's sum; a tie or a skip counts half.")
