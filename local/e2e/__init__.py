"""The whole pipeline on real files: submits through every call, breaks things, and checks all that comes out.

Through public interfaces alone (the API, Pub/Sub's REST, Cloud Storage's JSON API), so it runs on any backend; and
against values computed by the standard library, not by the code that it checks.
"""
