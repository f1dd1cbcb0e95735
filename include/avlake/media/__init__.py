"""Opening recordings: probe, decode, archives, the clip and the sandbox it runs in."""
