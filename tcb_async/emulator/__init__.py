"""WeChat's side of the wire in one process, with faults."""
