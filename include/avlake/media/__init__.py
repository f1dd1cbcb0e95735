"""Opening recordings: probe, decode, archives, the clip and the sandbox it runs in."""

DECODER_VERSION = 1  # raised when the same bytes decode, or fail to open, differently: a part of every measurement
