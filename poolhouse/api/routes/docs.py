"""`/docs`: the reference, as Swagger UI, from files that came with the installation; no network is needed."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

from poolhouse.api.problems import Problem

#: The package that carries Swagger UI's files.
_PACKAGE = "fastapi_swagger.resources"
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Poolhouse API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon-32x32.png">
</head>
<body>
<noscript>The document behind this page: <a href="openapi.json">openapi.json</a></noscript>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
#: Swagger UI sets styles in elements, and has its icons in `data:` addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> Response:
    """The page."""
    return Response(_PAGE, media_type="text/html", headers={"content-security-policy": _POLICY})


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    """One of its files."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers={"cache-control": "max-age=3600"})
    if name not in _ASSETS:
        raise Problem(404, f"there is nothing at /docs/assets/{name}")
    data = resources.files(_PACKAGE).joinpath(name).read_bytes()
    return Response(data, media_type=_ASSETS[name], headers={"cache-control": "max-age=3600"})
