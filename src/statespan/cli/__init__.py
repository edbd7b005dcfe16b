"""The command line: a thin verb a job."""

__all__: list[str] = []
