"""Draw readings and measurements, given as plain data (lists, floats, strings), for terminals, notebooks and browsers.

`reading.py` says what a `Reading` holds, `estimates.py` what is said of a whole preimage, `map.py` what a `Map` holds;
`html.py`, `terminal.py`, `map_html.py`, `map_terminal.py` draw them with the colours of `colors.py`.
"""
