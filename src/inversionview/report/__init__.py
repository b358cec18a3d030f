"""Draw readings and measurements, given as plain data (lists, floats, strings), for terminals, notebooks and browsers.

`reading.py` says what a `Reading` holds; `html.py` and `terminal.py` draw it with the colours of `colors.py`.
"""
