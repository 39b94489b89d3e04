"""Records that were set aside: how dead letters are read from outside, and how they are put back. What they look like: streams.pipeline.dead_letters."""
