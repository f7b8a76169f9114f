"""Whether instances are healthy: probes, their checks, and restarts for want of life."""
