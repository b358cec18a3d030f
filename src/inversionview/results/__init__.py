"""What every verb returns: each result declared once, as a frozen dataclass of plain values, with its units.

`convert` makes JSON of them and reads it back; `inversionview.report` draws them.
"""
