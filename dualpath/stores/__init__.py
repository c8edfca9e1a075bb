"""The stores by the names they had, for repos that still say them; new ones name those in `dualpath.feast`."""
