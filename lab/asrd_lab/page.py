"""The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from collections.abc import Mapping, Sequence
from html import escape

from asrd_lab.findings import MB, Findings
from asrd_lab.trends import Trend
from asrd_lab.verdict import NAMES

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #5b6570; --rule: #dfe3e8; --box: #f5f7f9;
  --c0: #0b62b8; --c1: #b3470b; --c2: #1a7f4b; --c3: #8d3fb0; --c4: #a8760a; --c5: #c22b5d; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e8ed; --soft: #9aa5b1; --rule: #313941;
  --box: #1d232a; --c0: #6cb1f5; --c1: #f0935c; --c2: #5fc891; --c3: #c791e3; --c4: #dcb14f; --c5: #f07ea3; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--paper); color: var(--ink); }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 0.3rem; }
p { margin: 0.4rem 0; } .soft, figcaption { color: var(--soft); }
.verdict { background: var(--box); border-left: 4px solid var(--c2); padding: 0.6rem 1rem; margin: 1rem 0; }
.verdict.sick { border-color: var(--c5); } .verdict p:first-child { font-weight: 600; }
pre { background: var(--box); padding: 0.7rem 1rem; overflow-x: auto; white-space: pre-wrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.25rem 0.8rem 0.25rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } .wide { overflow-x: auto; }
figure { margin: 0.6rem 0; } svg { width: 100%; height: auto; }
.grid { stroke: var(--rule); } .tick { font-size: 11px; fill: var(--soft); }
.axis { font-size: 12px; fill: var(--ink); }
.mark circle { fill-opacity: 0.7; } .trend { stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.9rem; }
.key { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 50%; margin-right: 0.35rem; }
"""
_COLOURS = "".join(
    f".mark.c{i} {{ fill: var(--c{i}); }} .trend.c{i} {{ stroke: var(--c{i}); }} "
    f".key.c{i} {{ background: var(--c{i}); }}\n"
    for i in range(6)
)

Figure = tuple[str, str, str]


def page(subject: str, found: Findings, figures: Sequence[Figure], about: Mapping[str, str], missing: int) -> str:
    """The whole report; ``missing`` jobs are still to be done."""
    parts = [
        f"<h1>asrd lab: {escape(subject)}</h1>",
        f'<p class="soft">{escape(", ".join(f"{name} {value}" for name, value in about.items()))}</p>',
        f'<p class="soft"><b>Not complete:</b> {missing} jobs are still to be done.</p>' if missing else "",
        _verdict(found),
        _advice(found),
        *(_figure(*one) for one in figures),
        _latencies(found),
        _memories(found),
        _lengths(found),
        _NOTES,
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>asrd lab: {escape(subject)}'
    )
    return f"<!doctype html>\n<html lang=en><head>{head}</title><style>{_STYLE}{_COLOURS}</style></head>\n<body>" + (
        "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


_NOTES = """<h2>How to read this</h2>
<p class="soft">The time of a job says nothing by itself: a longer clip, or a second attempt at decoding, is more work
and no slower worker. What work costs (encoder windows, decoding steps) is fitted to jobs 2 to 20 of each worker by
non-negative least squares; every time is divided by what its work should take. Slopes are Theil-Sen estimates over the
ages of workers, p is the one-sided Mann-Kendall test. A change counts when p &lt; 0.001, when the second half of the
run still rises, and when it amounts to 5 % of the time, or 2 % and 4 MB of the memory, over the run; a slow-down also
has to show in most experiments. E3 runs with the system's own allocator. <code>report.json</code> has all raw
numbers.</p>"""


def _verdict(found: Findings) -> str:
    sick = "" if found.health in ("healthy", "unknown") else " sick"
    return f'<div class="verdict{sick}">' + "".join(f"<p>{escape(said)}</p>" for said in found.verdict) + "</div>"


def _advice(found: Findings) -> str:
    if found.advice is None:
        return ""
    advice = found.advice
    said = f"Starting workers takes {advice.cost_percent:.2f} % of a worker's time with it"
    if advice.spared_percent >= 0.1:
        said += f"; without it, {advice.spared_percent:.1f} % are lost over {advice.spared_jobs} jobs"
    return f"<h2>Recommended policy</h2><pre>{escape(advice.toml)}</pre><p>{escape(said)}.</p>"


def _figure(heading: str, about: str, plot: str) -> str:
    return f"<h2>{escape(heading)}</h2><figure><figcaption>{escape(about)}</figcaption>{plot}</figure>"


def _latencies(found: Findings) -> str:
    rows = [
        (
            NAMES[one.experiment],
            one.jobs,
            f"{one.median_s:.3f}",
            f"{one.p95_s:.3f}",
            f"{one.spread:.2f}x",
            f"{one.spread_same_work:.2f}x",
            f"{one.trend.per_job:+.3%}",
            _p(one.trend),
        )
        for one in found.latency
    ]
    columns = ("latency", "jobs", "median s", "p95 s", "spread", "for the same work", "a job", "p")
    return _table("Latency in figures", columns, rows)


def _memories(found: Findings) -> str:
    rows = [
        (
            NAMES[one.experiment] + kind,
            one.jobs,
            f"{one.baseline / MB:.0f}",
            f"{one.peak / MB:.0f}",
            f"{one.trend.per_job / MB:+.3f}",
            _p(one.trend),
        )
        for kind, group in (("", found.memory), (", GPU", found.vram))
        for one in group
    ]
    return _table("Memory in figures", ("memory", "jobs", "warm MB", "peak MB", "MB a job", "p"), rows)


def _lengths(found: Findings) -> str:
    rows = [
        (f"about {one.segments}", one.jobs, f"{one.audio_s:.1f}", f"{one.median_s:.3f}", f"{one.same_work:.2f}")
        for one in found.lengths
    ]
    return _table("Clips by length", ("segments", "jobs", "audio s", "median s", "by its work"), rows)


def _table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<h2>{escape(heading)}</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _p(found: Trend) -> str:
    return f"{found.p:.2g}" if found.p >= 0.001 else "< 0.001"
