"""Run directories: their record, how they are found, and the network they hold."""
