"""The transfer suite: sets and protocol, configs, probes, jobs and rows."""
