"""One file per source of recordings: how a drop is listed, fetched, parsed and labelled."""
