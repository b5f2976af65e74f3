"""What the sample telemetry is made of."""
