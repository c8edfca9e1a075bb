"""The offline store by its old name; use `dualpath.feast.offline`."""

from dualpath.feast.offline import DualpathOfflineStore, DualpathOfflineStoreConfig

__all__ = ["DualpathOfflineStore", "DualpathOfflineStoreConfig"]
