"""The HTTP service: `create_app()` makes it, and an application adds what is its own.

    def create() -> FastAPI:
        app = create_app()
        app.include_router(simple_call("/submit-report", "make_report"))
        return app

with `api = "api.app:create"` in pipeline.toml. Routers, middleware, dependencies and authentication are FastAPI's.
"""

from poolhouse.api.app import create_app
from poolhouse.api.routes.submissions import simple_call

__all__ = ["create_app", "simple_call"]
