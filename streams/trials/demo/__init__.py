"""The demo: recorded LLM answers through a real worker, with a threshold swapped half-way."""

from streams.trials.demo.run import run_demo

__all__ = ["run_demo"]
