"""What Gatepost costs, measured side by side with doing nothing and with others that do a similar job.

``python -m benchmarks`` measures all of it, ``python -m benchmarks asgi tokens`` two subjects; ``--quick`` takes a
tenth of the rounds. Nothing is asserted: a shared machine is too noisy for a verdict in microseconds.
"""
