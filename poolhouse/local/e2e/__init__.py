"""The whole pipeline on real files: submits through every call, breaks things, and checks all that comes out.

Through public interfaces alone (the API, Pub/Sub's REST, Cloud Storage's JSON API), so it runs on any backend; and
against values computed by the standard library (Parquet and zstd are read by the libraries made for them), not by the
code that it checks. Every task type of the API is run: those that ship with each of their operations and steps, those
of the project's own with the example of their payload.
"""
