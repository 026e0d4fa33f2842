"""From downloads to prepared datasets: one module per source, run as ``python -m data.<module>``."""
