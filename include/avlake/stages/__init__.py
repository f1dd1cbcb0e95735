"""One file per step of the way of the data; the command line and the Dags call the same functions."""
