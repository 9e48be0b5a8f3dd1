"""The transfer suite: protocol, sets, probes and jobs."""
