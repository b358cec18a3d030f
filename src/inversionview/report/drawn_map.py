"""A map that draws itself in a notebook; in every other way it is the plain document."""

from __future__ import annotations

from typing import Any, cast

from inversionview.report.map import Map


class DrawnMap(dict[str, Any]):
    """The document of a map, with pages and notebooks that show it."""

    def to_html(self) -> str:
        """Return a self-contained HTML page that shows the map."""
        from inversionview.report.map_html import render_map_html

        return render_map_html(self._map, title=f"Map of {self['study']}")

    def _repr_html_(self) -> str:
        from inversionview.report.map_html import render_map_fragment

        return render_map_fragment(self._map)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        from inversionview.report.widget import widget_bundle
        from inversionview.report.wire import pack_map

        return widget_bundle("map", lambda: pack_map(self._map))

    @property
    def _map(self) -> Map:
        return cast(Map, self)
