"""The page that holds a report: a small style sheet of its own, no script, nothing fetched."""

from collections.abc import Mapping, Sequence

from preflab.experiments.report.words import MISSING, escape, spoken

CSS = """
:root{color-scheme:light;--ink:#23211d;--muted:#77736a;--line:#e4dfd3;--paper:#fdfcf8;--wash:#f6f3ea;
--gold:#a06a00;--proxy:#2b5c8a;--bad:#a3372c}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:54rem;margin:0 auto;padding:2.2rem 1.2rem 4rem}
.what{margin:0;color:var(--muted);font-size:.92rem}
h1{font-size:1.45rem;line-height:1.25;font-weight:650;margin:.15rem 0 1.4rem;letter-spacing:-.01em;text-wrap:balance}
h1 em,.bad{font-style:normal;color:var(--bad)}
h2{font-size:1.08rem;font-weight:650;margin:2.8rem 0 .5rem;padding-top:.7rem;border-top:1px solid var(--line)}
p{margin:.5rem 0;max-width:42rem}
.note{color:var(--muted);font-size:.88rem}
.gold{color:var(--gold)}.proxy{color:var(--proxy)}
.warnings{border-left:4px solid var(--bad);background:#fbefe9;padding:.7rem 1rem .8rem;margin:0 0 1.6rem}
.warnings h2{margin:0 0 .2rem;padding:0;border:0;color:var(--bad);font-size:1rem}
.warnings ul{margin:0;padding-left:1.1rem}.warnings li{margin:.35rem 0;font-size:.93rem;line-height:1.42}
.verdict{display:grid;grid-template-columns:auto 1fr;gap:.2rem 2rem;align-items:center}
.score b{display:block;font-size:3.6rem;line-height:1;font-weight:650;letter-spacing:-.03em}
.score span{display:block;max-width:10rem;font-size:.85rem;line-height:1.3;color:var(--muted);margin-top:.35rem}
.score.none b{font-size:1.7rem;color:var(--muted)}
.scale{position:relative;height:7.2rem;margin:0 .6rem}
.scale i{position:absolute;display:block}
.scale .track{left:0;right:0;top:3.1rem;height:2px;background:var(--line)}
.scale .gain{top:3.02rem;height:.3rem;background:var(--gold);opacity:.45}
.scale .whisker{top:2.93rem;height:.5rem;background:var(--gold);opacity:.3}
.scale .dot{top:2.68rem;width:1rem;height:1rem;margin-left:-.5rem;border-radius:50%;background:var(--gold);
border:2px solid var(--paper)}
.scale .mark{top:2.75rem;width:2px;height:.85rem;background:var(--ink)}
.scale span{position:absolute;white-space:nowrap;font-size:.86rem;line-height:1.25}
.scale .under{top:3.85rem;color:var(--muted)}.scale .under.low{top:5.4rem}.scale .over{top:.15rem}
.scale b{font-weight:650;font-size:1.1rem;color:var(--ink);display:block}.scale .over b{color:var(--gold)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.1rem,1fr));gap:.7rem 1.2rem;
margin:1.2rem 0 0;padding:0}
.facts div{border-top:2px solid var(--ink);padding-top:.3rem}
.facts dt{font-size:.8rem;color:var(--muted)}.facts dd{margin:0;font-size:1.15rem;font-weight:600}
.facts dd small{font-weight:400;font-size:.78rem;color:var(--muted);display:block;line-height:1.3}
figure{margin:.6rem 0;max-width:48rem}figure svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif!important}
.two{display:grid;grid-template-columns:1fr 1fr;gap:1.6rem}
video{width:100%;max-width:32rem;display:block;background:#000}
.pair{max-width:44rem;margin:1.1rem 0 1.4rem;padding:.7rem .8rem .8rem;background:var(--wash);break-inside:avoid}
.pair.wrong{background:#fbefe9;box-shadow:inset 4px 0 0 var(--bad)}
.pair h3{font-size:.95rem;font-weight:600;margin:0 0 .5rem;line-height:1.35}
.pair h3 small{font-weight:400;color:var(--muted);font-size:.84rem}
.side{padding:.35rem .45rem .3rem;border:2px solid transparent;margin:.25rem 0}
.side.won{border-color:var(--ink);background:#fff}
.side header{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.84rem;align-items:baseline}
.side header b{font-size:.9rem}.side img{display:block;width:100%;height:auto;margin:.25rem 0 .15rem}
.steps{display:grid;font-size:.76rem;line-height:1.25;text-align:center}
.steps span{white-space:nowrap;overflow:hidden}
.bar{display:flex;height:1.7rem;margin:.8rem 0 .6rem;overflow:hidden}.bar i{display:block;min-width:1px}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.3rem;list-style:none;margin:0;padding:0;font-size:.88rem}
.key i{display:inline-block;width:.75rem;height:.75rem;margin-right:.4rem;vertical-align:-.05rem}
dl.card{display:grid;grid-template-columns:minmax(8rem,14rem) 1fr;margin:.4rem 0;font-size:.9rem}
dl.card>dt,dl.card>dd{padding:.22rem 0;border-bottom:1px solid var(--line)}
dl.card>dt{color:var(--muted);padding-right:1rem}dl.card>dd{margin:0;overflow-wrap:anywhere}
dl.card>.group{grid-column:1/-1;font-weight:600;color:var(--ink);padding-top:.9rem}
dl.card>.nested{grid-column:1/-1;padding:0 0 0 1rem;border:0}
dl.card table{overflow-wrap:normal}
dl.card dl.card{margin:0;grid-template-columns:minmax(7rem,13rem) 1fr}
.record{columns:2;column-gap:2.4rem;font-size:.84rem}
.record div{display:flex;justify-content:space-between;gap:1rem;border-bottom:1px solid var(--line);padding:.14rem 0;
break-inside:avoid}
.record span:first-child{color:var(--muted)}.record span:last-child{text-align:right;overflow-wrap:anywhere}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.84rem}
pre{background:var(--wash);padding:.6rem .8rem;margin:.35rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
ol.next{padding-left:1.2rem}ol.next li{margin:.7rem 0}
.scroll{overflow-x:auto}.scroll+.scroll{margin-top:1rem}
table{border-collapse:collapse;font-size:.9rem;width:100%}
th{text-align:right;font-weight:600;color:var(--muted);font-size:.8rem;vertical-align:bottom;
border-bottom:2px solid var(--ink)}
th,td{padding:.32rem .5rem}td{text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal}
td small{display:block;color:var(--muted)}
.shade{display:block;font-style:normal;background:rgba(43,92,138,var(--a));margin:0 -.3rem;padding:0 .3rem}
a{color:var(--proxy)}summary{cursor:pointer;color:var(--muted);font-size:.9rem;margin-top:.8rem}
footer{margin-top:3rem;color:var(--muted);font-size:.82rem}
@media(max-width:38rem){main{padding:1.2rem .9rem 3rem}h1{font-size:1.2rem}.verdict{grid-template-columns:1fr}
.score{display:flex;gap:1rem;align-items:center}.score b{font-size:2.9rem}.score span{max-width:none}
.two{grid-template-columns:1fr}
.record{columns:1}dl.card,dl.card dl.card{grid-template-columns:8.5rem 1fr}.pair{margin-left:-.9rem;margin-right:-.9rem}
.steps{font-size:.62rem}.side{padding:.3rem .2rem}}
@media print{body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}h2{break-after:avoid}
figure,.verdict,.facts,.warnings,ol.next li{break-inside:avoid}video,summary{display:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def page(title: str, body: Sequence[str]) -> str:
    """Returns a whole html page with `title` (plain text) and the parts of `body` (html)."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Returns a section under a heading, or nothing if it has no parts."""
    inside = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def note(text: str) -> str:
    """Returns a remark in small print; `text` is plain."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def figure(svg: str) -> str:
    """Returns an inline figure, or nothing."""
    return f"<figure>{svg}</figure>" if svg else ""


def folded(summary: str, inside: str) -> str:
    """Returns html that is shown when its summary (plain text) is opened."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def shares_bar(parts: Sequence[tuple[str, str, float, str]]) -> str:
    """Returns one bar of parts (label, color, amount, what is said of it), and below it what each is, the largest first."""
    total = sum(amount for _, _, amount, _ in parts)
    bars = "".join(
        f'<i style="flex:{amount / total:.5f} 0 0;background:{color}"></i>' for _, color, amount, _ in parts if amount
    )
    keys = "".join(
        f'<li><i style="background:{color}"></i>{escape(label)} <b>{escape(said)}</b></li>'
        for label, color, amount, said in sorted(parts, key=lambda part: -part[2]) if amount
    )
    return f'<div class="bar">{bars}</div><ul class="key">{keys}</ul>'


def warning_box(warnings: Sequence[str]) -> str:
    """Returns the box of warnings, or nothing if there are none."""
    if not warnings:
        return ""
    head = "One warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<aside class="warnings"><h2>{head}</h2><ul>{items}</ul></aside>'


def definitions(values: Mapping[str, object]) -> str:
    """Returns a nested mapping as a definition table: plain entries, then a group a mapping (of mappings: a grid)."""
    simple = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    rows = [f"<dt>{escape(spoken(key))}</dt><dd>{escape(say(value))}</dd>" for key, value in simple.items()]
    for key, value in values.items():
        if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) and row for row in value.values()):
            columns = list(dict.fromkeys(name for row in value.values() for name in row))
            cells = [
                [escape(spoken(name)), *(escape(say(row.get(column))) for column in columns)]
                for name, row in value.items()
            ]
            grid = table(["", *map(spoken, columns)], cells)
            rows.append(f'<dt class="group">{escape(spoken(key))}</dt><dd class="nested">{grid}</dd>')
        elif isinstance(value, Mapping) and value:
            rows.append(f'<dt class="group">{escape(spoken(key))}</dt><dd class="nested">{definitions(value)}</dd>')
    return f'<dl class="card">{"".join(rows)}</dl>' if rows else ""


def say(value: object) -> str:
    """Returns any json value as a person reads it."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−") if abs(value) >= 10_000 else str(value).replace("-", "−")
    if isinstance(value, float):
        return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}").replace("-", "−")
    if isinstance(value, list | tuple):
        return ", ".join(say(item) for item in value) or MISSING
    if isinstance(value, Mapping):
        return ", ".join(f"{spoken(key)} {say(item)}" for key, item in value.items()) or MISSING
    return str(value)


def record_table(record: Mapping[str, object]) -> str:
    """Returns every entry of a flat record, under its own name, in columns."""
    rows = "".join(
        f"<div><span>{escape(key)}</span><span>{escape(say(record[key]))}</span></div>" for key in sorted(record)
    )
    return f'<div class="record">{rows}</div>' if rows else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table; cells are html, the heads plain text."""
    cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></div>'
