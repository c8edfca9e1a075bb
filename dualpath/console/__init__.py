"""What the commands do and show: one module per group of commands, below `dualpath.cli`."""
