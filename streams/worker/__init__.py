"""The worker process: agents joined to source and sink, its web pages, metrics and logs."""
