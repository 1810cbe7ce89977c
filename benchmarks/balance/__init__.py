"""How evenly devices are busy to the end: simulated, and with real jobs."""
