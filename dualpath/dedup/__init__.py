"""The ids of accepted events, remembered in files and searched by every micro-batch."""
