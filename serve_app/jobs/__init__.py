"""Asynchronous jobs: catalogues posted to the service, tagged by the engine of `serve_app.catalog`."""
