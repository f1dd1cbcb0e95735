"""What a pipeline's report shows: one module per kind of page, each with `render`."""
