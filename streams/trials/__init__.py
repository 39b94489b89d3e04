"""What tries the stream out, and is no part of it: brokers to run it on, worker processes, the demo and the stress test."""
