"""Draw readings and measurements, given as plain data (lists, floats, strings), for terminals, notebooks and browsers.

`reading.py` says what a `Reading` holds, `estimates.py` what is said of a whole preimage, `map.py` what a `Map` holds.
`terminal.py` and its neighbours draw them in a terminal. For a browser `wire.py` packs them with the sentences and
tables of `words.py`; the modules of `static` draw that on the viewer's page, in a notebook (`widget.py`) and in a file
(`page.py`), and where no script runs there are plain tables (`plain.py`).
"""
