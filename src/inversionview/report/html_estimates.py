"""What a reading says of the whole preimage, as HTML: its size, what may be missing, bits, other epsilons."""

from __future__ import annotations

from inversionview.report.estimates import best_bits, bits_row, curve_header, curve_rows, share_known
from inversionview.report.html_page import escaped
from inversionview.report.reading import Reading, facts


def draw_facts(reading: Reading) -> str:
    """Return the size of the preimage and each way in which its completeness was estimated; empty without any."""
    said = facts(reading)
    if not said:
        return ""
    lines = "".join(f"<p><b>{escaped(fact.label)}:</b> {escaped(fact.words)}</p>" for fact in said)
    note = "" if reading["exact"] else "<p><small>in brackets: 95% intervals</small></p>"
    return f'<div class="facts">{lines}{note}</div>'


def draw_estimates(reading: Reading) -> str:
    """Return tables of the features told of most, and of what other epsilons would give; empty without any."""
    tables = [_bits(reading)] if reading.get("bits") else []
    tables += [_curve(reading)] if reading.get("curve") else []
    return f'<div class="estimates">{"".join(tables)}</div>' if tables else ""


def _bits(reading: Reading) -> str:
    rows = ""
    for known in best_bits(reading["bits"]):
        bits, of, interval = bits_row(known, exact=reading["exact"])
        width = 100 * share_known(known["bits"], known["of"])
        rows += (
            f'<tr><th scope="row">{escaped(known["name"])}</th><td class="n">{escaped(bits)}</td>'
            f'<td>{escaped(of)}</td><td class="share"><span><i style="width:{width:.4g}%"></i></span></td>'
            f"<td>{escaped(interval)}</td></tr>"
        )
    about = "Bits about features: H(feature) − H(feature | preimage)"
    return f'<div class="scroll"><table><caption>{about}</caption><tbody>{rows}</tbody></table></div>'


def _curve(reading: Reading) -> str:
    exact = reading["exact"]
    header = "".join(f'<th scope="col" class="n">{escaped(name)}</th>' for name in curve_header(exact=exact))
    rows = ""
    for ours, (epsilon, *cells) in curve_rows(reading["curve"], reading["epsilon"], exact=exact):
        values = "".join(f'<td class="n">{escaped(cell)}</td>' for cell in cells)
        kind = ' class="ours" aria-current="true"' if ours else ""
        rows += f'<tr{kind}><th scope="row" class="n">{"▸ " if ours else ""}{escaped(epsilon)}</th>{values}</tr>'
    return (
        f'<div class="scroll"><table class="curve"><caption>Other ε</caption><thead><tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
