"""What the path of a tracking call says about its events: Segment's paths for servers, the short ones of its browser client, its pixel."""

from collections.abc import Mapping
from dataclasses import dataclass

_TYPES = ("track", "identify", "page", "screen", "group", "alias")


@dataclass(frozen=True, slots=True)
class Route:
    """`type` is empty where each event says its own."""

    type: str = ""
    is_batch: bool = False
    historical: bool = False
    is_metrics: bool = False


_ROUTES: Mapping[str, Route] = {
    **{f"/v1/{kind}": Route(type=kind) for kind in _TYPES},
    **{f"/v1/{kind[0]}": Route(type=kind) for kind in _TYPES},
    **dict.fromkeys(("/v1/batch", "/v1/b"), Route(is_batch=True)),
    "/v1/import": Route(is_batch=True, historical=True),
    "/v1/m": Route(is_metrics=True),
}
ROUTES: Mapping[str, Route] = {**_ROUTES, **{f"{path}/": route for path, route in _ROUTES.items()}}

PIXELS: Mapping[str, Route] = {"/v1/pixel": Route(), **{f"/v1/pixel/{kind}": Route(type=kind) for kind in _TYPES}}
